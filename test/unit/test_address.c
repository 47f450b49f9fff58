/*-------------------------------------------------------------------------
 *
 * test_address.c
 *	  Tests of the address check.
 *
 * test/unit/test_address.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "core/text/address.h"
#include "tap.h"

static bool
check(const char *address, const char **reason)
{
	return bs_address_check(address, strlen(address), reason);
}

static void
takes(const char *address, const char *name)
{
	const char *reason = "not asked";

	ok(check(address, &reason) && reason == NULL, "takes %s", name);
}

/*
 * A refusal has to give a sentence that contains "word" and not the address.
 */
static void
refuses(const char *address, const char *word, const char *name)
{
	const char *reason = NULL;
	bool		taken = check(address, &reason);

	ok(!taken && reason != NULL && strstr(reason, word) != NULL &&
	   reason[strlen(reason) - 1] == '.' &&
	   (strlen(address) < 4 || strstr(reason, address) == NULL),
	   "refuses %s (%s)", name, reason == NULL ? "no reason" : reason);
}

/* An address of exactly this many octets. */
static const char *
of_length(size_t local, size_t total)
{
	static char address[1024];
	size_t		i;

	memset(address, 'a', local);
	address[local] = '@';
	for (i = local + 1; i < total; i++)
		address[i] = (i - local) % 60 == 0 && i + 1 < total ? '.' : 'b';
	address[total] = '\0';
	return address;
}

static void
test_taken(void)
{
	takes("anna@example.org", "EC-UD-009 a plain address");
	takes("anna+party@example.org", "EC-UD-011 a plus tag");
	takes("a@b.c", "the shortest kind");
	takes("Anna.B.Lee@Mail.Example.ORG", "dots and capitals");
	takes("!#$%&'*+-/?=^_`{|}~@example.org", "all that an atom may contain");
	takes("1234567890@example.org", "digits alone before the @");
	takes("a@xn--mnchen-3ya.example", "an international domain in ASCII");
	takes("a@a-b.example", "a hyphen inside a label");
	takes("a@1.2.3.com", "labels of digits");
	takes("a@3com.example", "a label that begins with a digit");
	takes("a@b.c1", "a last label with a digit");
	takes("a@b.1c", "a last label that begins with one");
	takes("a=b?c=@example.org", "= and ? apart");
	takes("a%0d%0aBcc@example.org", "I04 %0d%0a, which is no line break");
	takes(of_length(64, 200), "I03 a local part of 64");
	takes(of_length(64, 254), "EC-UD-012 an address of 254");
	takes("o`hara@example.org", "a backtick in the local part");
	takes("a@abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz1.b",
		  "a label of 63");
	ok(bs_address_check("a@b.example", 11, NULL), "no reason is wanted");
	ok(!bs_address_check("a@b", 3, NULL), "not for a refusal either");
}

static void
test_refused(void)
{
	refuses("", "empty", "I01 nothing");
	refuses(" ", "blanks", "I01 a blank");
	refuses("   ", "blanks", "I01 blanks");
	refuses("anna", "no \"@\"", "EC-UD-010, I02 no @");
	refuses("@x.org", "nothing before", "I02 nothing before the @");
	refuses("a@", "nothing after", "I02 nothing after it");
	refuses("@", "nothing before", "I02 the @ alone");
	refuses("a@b@c.org", "more than one", "I02 two of them");
	refuses("a@@c.org", "more than one", "I02 two in a row");
	refuses(of_length(65, 200), "64", "I03 a local part of 65");
	refuses(of_length(64, 255), "254", "EC-UD-013, I03 an address of 255");
	refuses(of_length(30, 400), "254", "I03 an address of 400");
	refuses("a@x>", "letters", "I05 a bracket behind");
	refuses("<a@x.org>", "not allowed", "I05 brackets around");
	refuses("a@x.org,b@y.org", "more than one", "I05 two addresses");
	refuses("a@x.org, b@y.org", "blanks", "I05 two with a blank");
	refuses("a@x.org b@y.org", "blanks", "I05 two without a comma");
	refuses("a,b@y.org", "not allowed", "I05 a comma");
	refuses("a@y.org,", "letters", "I05 a comma at the end");
	refuses("a;b@y.org", "not allowed", "I05 a semicolon");
	refuses("\"Name\" <a@x.org>", "blanks", "I05 a name before");
	refuses("Name<a@x.org>", "not allowed", "I05 without a blank");
	refuses("a(c)@x.org", "not allowed", "I05 a comment");
	refuses("a@x.org(c)", "letters", "I05 a comment behind");
	refuses("a:b@x.org", "not allowed", "a colon");
	refuses("a\\b@x.org", "not allowed", "a backslash");
	refuses("a[b@x.org", "not allowed", "a square bracket");
	refuses("=?UTF-8?B?YUB4Lm9yZz4=?=@y.org", "encoded word",
			"I16 an encoded word");
	refuses("a=?@y.org", "encoded word", "I16 the beginning of one");
	refuses(".a@x.org", "dot", "I06 a dot in front");
	refuses("a.@x.org", "dot", "I06 a dot behind");
	refuses("a..b@x.org", "two dots", "I06 two dots");
	refuses(".@x.org", "dot", "I06 a dot alone");
	refuses("a@-x.org", "hyphen", "I06 a hyphen in front");
	refuses("a@x-.org", "hyphen", "I06 a hyphen behind");
	refuses("a@-.org", "hyphen", "I06 a hyphen alone");
	refuses("a@x.-", "hyphen", "I06 a hyphen as last label");
	refuses("a@abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz12.b",
			"63", "I06 a label of 64");
	refuses("a@x..org", "two dots", "I06 an empty label");
	refuses("a@.x.org", "begin or end with a dot", "I06 a dot after the @");
	refuses("a@x.org.", "begin or end with a dot", "I06 a dot at the end");
	refuses("a@.", "dot", "I06 a domain of one dot");
	refuses("\"a\"@x.org", "quoted", "I07 a quoted local part");
	refuses("\"a b\"@x.org", "blanks", "I07 with a blank");
	refuses("\"a@b\"@x.org", "more than one", "I07 with an @");
	refuses("a@[127.0.0.1]", "literal", "I08 an address literal");
	refuses("a@[IPv6:::1]", "literal", "I08 of the sixth kind");
	refuses("a@localhost", "two parts", "I08 a single label");
	refuses("a@127.0.0.1", "digits alone", "I08 four numbers");
	refuses("a@x.123", "digits alone", "I08 a last label of digits");
	refuses("a@m\xC3\xBCnchen.example", "xn--", "I09 an umlaut domain");
	refuses("jos\xC3\xA9@example.org", "ASCII", "I10 an accent in the name");
	refuses("a\xE2\x80\xAE@x.org", "invisible", "I11 an override of direction");
	refuses("a\xE2\x80\x8B@x.org", "invisible", "I11 a blank without width");
	refuses("a@x\xE3\x80\x80.org", "invisible", "I11 an ideographic blank");
	refuses("\xFF@x.org", "ASCII", "I13 what is not UTF-8");
	refuses("a@x_y.org", "letters", "an underscore in the domain");
	refuses("a@x/y.org", "letters", "a slash in the domain");
	refuses("a@x.org\r\nBcc: b@y.org", "control", "I04 a second header");
	refuses("a@x.org>\r\nRCPT TO:<b@y.org", "control", "I04 a second command");
	refuses(" a@x.org", "blanks", "a blank in front");
	refuses("a@x.org ", "blanks", "a blank behind");
}

static void
test_octets(void)
{
	int			octet;
	int			wrong = 0;
	int			place;

	for (octet = 0; octet < 256; octet++)
	{
		static const char control[] = "control";
		bool		is_control = octet < 0x20 || octet == 0x7F;

		for (place = 0; place <= 9; place++)
		{
			char		address[] = "ab@cd.efgh";
			const char *reason = NULL;
			bool		taken;

			address[place] = (char) octet;
			taken = bs_address_check(address, 10, &reason);
			if (is_control && (taken || strstr(reason, control) == NULL))
				wrong++;
			if ((octet >= 0x80 || strchr(" <>,;:\"()[]\\", octet) != NULL) &&
				taken)
				wrong++;
			if (!taken && reason == NULL)
				wrong++;
		}
		if (is_control)
			is_int(wrong, 0, "I04 refuses octet 0x%02X in every place", octet);
	}
	is_int(wrong, 0, "I05 and whatever else could end an address");
	ok(!bs_address_check("a@b.example\0.org", 16, NULL),
	   "EC-DV-004 a NUL byte hides nothing");
}

int
main(void)
{
	/* Addresses that people have are taken. */
	test_taken();
	/* What could mean something else to a relay is refused, with the rule. */
	test_refused();
	/* No octet that is special to SMTP or a header is taken anywhere. */
	test_octets();
	return tap_done();
}
