/*-------------------------------------------------------------------------
 *
 * test_mime_header.c
 *	  Tests of the mail writer: names, subjects and other headers.
 *
 * test/unit/test_mime_header.c
 *
 *-------------------------------------------------------------------------
 */
#include "mime_mail.h"

/* The name as it stands in To, before the address. */
static const char *
to_name(const char *name)
{
	static char text[8192];
	const char *value;
	const char *wrong;
	const char *address;

	start();
	mail.to_name = name;
	wrong = build();
	if (wrong != NULL)
		return wrong;
	value = header("To");
	snprintf(text, sizeof(text), "%s", value);
	address = strstr(text, " <anna@example.org>");
	if (address != NULL)
		text[address - text] = '\0';
	return text;
}

static void
test_names(void)
{
	char		name[5001];
	size_t		i;
	int			octet;

	is_str(to_name("Anna Lee"), "Anna Lee", "a plain name");
	is_str(to_name("  Anna Lee "), "Anna Lee", "EC-UD-007 outer blanks go");
	is_str(to_name("Anna  Lee"), "=?UTF-8?B?QW5uYSAgTGVl?=",
		   "EC-UD-008 two blanks inside stay");
	is_str(to_name("J. R. Ewing"), "\"J. R. Ewing\"", "I16 dots are quoted");
	is_str(to_name("O'Neill"), "O'Neill", "an apostrophe needs no quotes");
	is_str(to_name("Lee, Anna"), "\"Lee, Anna\"", "I16 a comma");
	is_str(to_name("A; B: C"), "\"A; B: C\"", "I16 a semicolon, a colon");
	is_str(to_name("A <x@y.org>"), "\"A <x@y.org>\"", "I16 an address");
	is_str(to_name("Anna \"Nan\" \\Lee"), "\"Anna \\\"Nan\\\" \\\\Lee\"",
		   "I16 quotes and backslashes");
	is_str(to_name("\\"), "\"\\\\\"", "I16 a backslash alone");
	is_str(to_name("\""), "\"\\\"\"", "I16 a quote alone");
	is_str(to_name("=?utf-8?B?QQ==?="), "=?UTF-8?B?PT91dGYtOD9CP1FRPT0/PQ==?=",
		   "I16 what looks like an encoded word is encoded");
	is_str(to_name(ZOE), "=?UTF-8?B?Wm/DqyBNw7xsbGVy?=",
		   "EC-UD-004 accents");
	is_str(to_name(ANNA_CYRILLIC), "=?UTF-8?B?0JDQvdC90LA=?=",
		   "EC-UD-004 Cyrillic");
	is_str(to_name(ARABIC), "=?UTF-8?B?2YXYsdit2KjYpw==?=",
		   "EC-UD-004 Arabic");
	is_str(to_name(CHINESE), "=?UTF-8?B?546L5bCP5piO?=",
		   "EC-UD-004 Chinese");
	is_str(to_name(FAMILY),
		   "=?UTF-8?B?8J+RqeKAjfCfkanigI3wn5Gn4oCN8J+Rpg==?=",
		   "EC-UD-005 emoji and their joiners");
	is_str(to_name(OVERRIDE "Anna\xE2\x81\xA6 Lee\xE2\x80\x8F"), "Anna Lee",
		   "I11 controls of direction are dropped");
	is_str(to_name("A\nBcc: x@y.org\r\n\r\nHi"),
		   "\"A Bcc: x@y.org Hi\"", "S14 a name cannot begin a header");
	is_str(to_name("\r\n"), "anna@example.org", "a name of controls is none");
	is_str(to_name(OVERRIDE), "anna@example.org", "nor is one of direction");
	is_str(to_name("Anna\xFF"), "=?UTF-8?B?QW5uYe+/vQ==?=",
		   "I13 what is not UTF-8 is replaced");
	is_str(to_name("$(rm -rf /); `id`"), "\"$(rm -rf /); `id`\"",
		   "EC-SEC-003 shell is text");

	for (octet = 1; octet <= 0x7F; octet++)
	{
		if (octet == 0x20)
			octet = 0x7F;
		snprintf(name, sizeof(name), "a%cb", octet);
		is_str(to_name(name), "a b", "I04 octet 0x%02X in a name", octet);
	}
	is_str(to_name("a\xC2\x85" "b\xC2\x9F\xE2\x80\xA8" "c\xE2\x80\xA9" "d"),
		   "a b c d", "I04 C1 controls and separators");

	/* Any number of characters of any width is split between them. */
	for (i = 0; i < 200; i++)
	{
		static const char *const characters[] = {"a", "\xC3\xA9",
			"\xE7\x8E\x8B", "\xF0\x9F\x8E\x82"
		};
		const char *wrong = NULL;
		size_t		shift;

		for (shift = 0; shift < 4 && wrong == NULL; shift++)
		{
			size_t		n;

			memset(name, 'x', shift);
			name[shift] = '\0';
			for (n = 0; n < i; n++)
				strcat(name, characters[(shift + n / 50) % 4]);
			start();
			mail.to_name = mail.subject = name;
			wrong = build();
		}
		if (wrong != NULL || i % 50 == 0)
			ok(wrong == NULL, "EC-UD-001 names of %d characters %s", (int) i,
			   wrong == NULL ? "" : wrong);
	}
	memset(name, 'a', 100);
	name[100] = '\0';
	ok(strncmp(to_name(name), "=?UTF-8?B?", 10) == 0,
	   "EC-UD-001 a word of 100 letters is folded");
	memset(name, 'a', 5000);
	name[5000] = '\0';
	ok(strncmp(to_name(name), "=?UTF-8?B?", 10) == 0, "or one of 5000");

	start();
	mail.to_name = "Anna Maria Lee";
	mail.to_address = "a234567890123456789012345678901234567890@"
		"a123456789012345678901234567890.example.org";
	good("a long address has a line of its own");
	ok(strstr(built, "To: Anna Maria Lee\r\n <a234") != NULL,
	   "behind the name");
}

/* The subject as it stands in the mail. */
static const char *
subject(const char *text)
{
	const char *wrong;

	start();
	mail.subject = text;
	wrong = build();
	return wrong != NULL ? wrong : header("Subject");
}

static void
test_subjects(void)
{
	char		text[5001];
	const char *line;
	size_t		i;

	is_str(subject("Happy birthday!"), "Happy birthday!", "a plain subject");
	is_str(subject("a, b; \"c\" <d> (e) \\f"), "a, b; \"c\" <d> (e) \\f",
		   "punctuation means nothing in a subject");
	is_str(subject("a  b"), "a  b", "nor do two blanks");
	is_str(subject(" a "), "a", "outer blanks go");
	is_str(subject("a\r\nBcc: x@y.org\r\n\r\nb"), "a Bcc: x@y.org b",
		   "S14 a subject cannot begin a header");
	is_str(subject("a\tb\x7F"), "a b", "I04 controls are blanks");
	is_str(subject("\r\n"), "", "a subject of controls is empty");
	is_str(subject("=?utf-8?Q?x?="), "=?UTF-8?B?PT91dGYtOD9RP3g/PQ==?=",
		   "what looks like an encoded word is encoded");
	is_str(subject("a =? b"), "=?UTF-8?B?YSA9PyBi?=", "or its beginning");
	is_str(subject("1=? 2"), "=?UTF-8?B?MT0/IDI=?=", "within a word");
	is_str(subject("a = ? b"), "a = ? b", "but not this");
	is_str(subject("a="), "a=", "nor this");
	is_str(subject("Gl\xC3\xBC" "ckwunsch"),
		   "=?UTF-8?B?R2zDvGNrd3Vuc2No?=", "an umlaut");
	is_str(subject("\xD0\x90" OVERRIDE), "=?UTF-8?B?0JDigK4=?=",
		   "what is stored is sent: directions in a subject stay");

	/* Words of 9 and a blank: no line is longer than 78, none is short. */
	for (i = 0; i < 5000; i++)
		text[i] = i % 10 == 9 ? ' ' : 'w';
	text[4999] = '\0';
	ok(strlen(subject(text)) == 4999, "a long subject is folded");
	line = strstr(built, "\r\nSubject: ") + 2;
	for (i = 0; i < 5; i++)
	{
		const char *end = strstr(line, "\r\n");

		ok(end - line <= 78 && end - line > 67,
		   "at blanks, line %d of %d octets", (int) i, (int) (end - line));
		line = end + 2;
	}
	memset(text, 'a', 69);
	text[69] = '\0';
	is_str(subject(text), text, "a word of 69 fits behind \"Subject: \"");
	memset(text, 'a', 70);
	text[70] = '\0';
	ok(strncmp(subject(text), "=?UTF-8?B?", 10) == 0,
	   "a word of 70 does not");
	text[1] = ' ';
	memset(text + 2, 'b', 77);
	text[79] = '\0';
	is_str(subject(text), text, "a word of 77 has a line of its own");
	text[79] = 'b';
	text[80] = '\0';
	ok(strncmp(subject(text), "=?UTF-8?B?", 10) == 0,
	   "a word of 78 has none");
	memset(text, 'a', 5000);
	text[5000] = '\0';
	ok(strncmp(subject(text), "=?UTF-8?B?", 10) == 0, "a word of 5000");
	memset(text + 1, ' ', 4998);
	ok(strncmp(subject(text), "=?UTF-8?B?", 10) == 0, "4998 blanks");
}

static void
test_unsubscribe(void)
{
	static const char *const left_out[] = {
		"", "no uri", "example.org", "//example.org", ":x", "1https://x",
		"https://x y", "https://x>", "https://x\r\nBcc: a@b.org",
		"https://x\x7F", "https://m\xC3\xBCnchen.example", "<https://x>",
		"https://x\ty"
	};
	char		uri[2000];
	size_t		i;

	start();
	mail.list_unsubscribe = "https://example.org/u?id=1&t=%20,x";
	good("a page to unsubscribe");
	is_str(header("List-Unsubscribe"), "<https://example.org/u?id=1&t=%20,x>",
		   "is in brackets");
	is_str(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click",
		   "and takes one click");
	mail.list_unsubscribe = "HTTPS://example.org/";
	good("schemes have no case");
	is_str(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click",
		   "also for the click");
	mail.list_unsubscribe = "mailto:leave@example.org?subject=x";
	good("a mail to unsubscribe");
	is_str(header("List-Unsubscribe"), "<mailto:leave@example.org?subject=x>",
		   "is in brackets");
	is_str(header("List-Unsubscribe-Post"), NULL, "and takes no click");
	mail.list_unsubscribe = "http://example.org/";
	good("a page without TLS");
	is_str(header("List-Unsubscribe-Post"), NULL, "takes no click");
	for (i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
	{
		mail.list_unsubscribe = left_out[i];
		good("S17 what is no URI");
		is_str(header("List-Unsubscribe"), NULL, "S17 is left out");
	}
	memset(uri, 'x', sizeof(uri));
	memcpy(uri, "https://", 8);
	uri[998 - 20] = '\0';
	mail.list_unsubscribe = uri;
	good("a line of 998");
	ok(header("List-Unsubscribe") != NULL &&
	   strlen(header("List-Unsubscribe")) == 998 - 18, "is on one line");
	uri[998 - 20] = 'x';
	uri[998 - 19] = '\0';
	good("a line of 999");
	is_str(header("List-Unsubscribe"), NULL, "is none");
}

static void
split(const char *mailbox, const char *name, const char *address)
{
	static int	number;
	char		got_name[64];
	char		got_address[64];
	const char *reason = NULL;

	number++;
	if (!bs_mime_split_mailbox(mailbox, got_name, sizeof(got_name),
							   got_address, sizeof(got_address), &reason))
	{
		ok(address == NULL && reason != NULL &&
		   reason[strlen(reason) - 1] == '.', "mailbox %d is refused: %s",
		   number, reason);
		return;
	}
	is_str(got_name, name, "mailbox %d: the name", number);
	is_str(got_address, address, "mailbox %d: the address", number);
	ok(reason == NULL, "mailbox %d: no reason", number);
}

static void
test_split(void)
{
	char		name[8];
	char		address[8];
	const char *reason;

	split("a@b.org", "", "a@b.org");
	split("  a@b.org ", "", "a@b.org");
	split("<a@b.org>", "", "a@b.org");
	split("Anna Lee <a@b.org>", "Anna Lee", "a@b.org");
	split("Anna Lee<a@b.org>", "Anna Lee", "a@b.org");
	split(" Anna  Lee   <a@b.org> ", "Anna  Lee", "a@b.org");
	split("J. Lee <a@b.org>", "J. Lee", "a@b.org");
	split("\"Lee, Anna\" <a@b.org>", "Lee, Anna", "a@b.org");
	split("\"A \\\"B\\\" \\\\C\" <a@b.org>", "A \"B\" \\C", "a@b.org");
	split("\"a <x@y.org>\" <a@b.org>", "a <x@y.org>", "a@b.org");
	split("\"\" <a@b.org>", "", "a@b.org");
	split(ZOE " <a@b.org>", ZOE, "a@b.org");
	split(CHINESE "<a@b.org>", CHINESE, "a@b.org");
	split("", NULL, NULL);
	split(NULL, NULL, NULL);
	split("   ", NULL, NULL);
	split("Anna", NULL, NULL);
	split("Anna <>", NULL, NULL);
	split(">", NULL, NULL);
	split("<", NULL, NULL);
	split("<>", NULL, NULL);
	split("a@b.org>", NULL, NULL);
	split("Anna <a@b.org", NULL, NULL);
	split("Anna a@b.org", NULL, NULL);
	split("a@b.org, c@d.org", NULL, NULL);
	split("a@b.org, C <c@d.org>", NULL, NULL);
	split("A <a@b.org>, C <c@d.org>", NULL, NULL);
	split("Lee, Anna <a@b.org>", NULL, NULL);
	split("Anna (home) <a@b.org>", NULL, NULL);
	split("An\"na <a@b.org>", NULL, NULL);
	split("\"Anna <a@b.org>", NULL, NULL);
	split("\"An\"na\" <a@b.org>", NULL, NULL);
	split("\"Anna\\\" <a@b.org>", NULL, NULL);
	split("\" <a@b.org>", NULL, NULL);
	split("Anna <a@b.org> x", NULL, NULL);
	split("Anna << a@b.org>", NULL, NULL);
	split("Anna < a@b.org>", NULL, NULL);
	split("Anna <a@localhost>", NULL, NULL);
	split("Anna <a@b.org>\r\nBcc: x@y.org", NULL, NULL);
	split("Anna\r\nBcc: x <a@b.org>", NULL, NULL);
	split("Anna\t<a@b.org>", NULL, NULL);
	split("Anna\x7F <a@b.org>", NULL, NULL);
	ok(bs_mime_split_mailbox("Anna Le<a@b.org>", name, 8, address, 8, NULL),
	   "buffers that just hold the parts");
	ok(!bs_mime_split_mailbox("Anna Lee<a@b.org>", name, 8, address, 8,
							  &reason) && strstr(reason, "name is too long"),
	   "a name that does not fit");
	ok(!bs_mime_split_mailbox("A<aa@b.org>", name, 8, address, 8, &reason) &&
	   strstr(reason, "address is too long"), "an address that does not fit");
	ok(!bs_mime_split_mailbox("a@b.org", name, 0, address, 8, NULL),
	   "no buffer at all");

	start();
	mail.from = "\"Grüße, Post\" <post@example.org>";
	mail.reply_to = "Hilfe <help@example.org>";
	good("a sender with an umlaut");
	is_str(header("From"), "=?UTF-8?B?R3LDvMOfZSwgUG9zdA==?= <post@example.org>",
		   "is encoded");
	is_str(header("Reply-To"), "Hilfe <help@example.org>", "Reply-To");
}

int
main(void)
{
	/* A name is one name, whatever is in it, and comes out as it went in. */
	test_names();
	/* So does a subject. */
	test_subjects();
	/* List-Unsubscribe is one URI on one line, or is not there. */
	test_unsubscribe();
	/* "Name <address>" is taken apart, and nothing that is not quite that. */
	test_split();
	return mime_done();
}
