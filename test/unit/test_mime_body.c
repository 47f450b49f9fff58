/*-------------------------------------------------------------------------
 *
 * test_mime_body.c
 *	  Tests of the mail writer's bodies, and of the JSON writer.
 *
 * test/unit/test_mime_body.c
 *
 *-------------------------------------------------------------------------
 */
#include "mime_mail.h"

/* Bodies of 50000 octets, made of one line again and again. */
static void
test_big_bodies(void)
{
	static const char *const units[] = {
		"x", "=", " ", "\r", "\n", "\r\n", "From \n", "From F", ".\n", " \n",
		"x=", "\xC3\xA9", "xxxxxxxx\xC3\xA9"
	};
	size_t		size = 50000;
	char	   *text = malloc(size + 1);
	size_t		i;

	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
	{
		size_t		width = strlen(units[i]);
		size_t		at;
		char		name[80];

		for (at = 0; at + width <= size; at += width)
			memcpy(text + at, units[i], width);
		text[at] = '\0';
		snprintf(name, sizeof(name), "I41 a big body, number %d", (int) i);
		good_body(text, name);
	}
	free(text);
}

static void
test_bodies(void)
{
	char		text[6000];
	char		name[80];
	size_t		i;

	good_body("", "an empty body");
	good_body("x", "a body without a line end");
	good_body("x\n", "with one");
	good_body("x\n\n", "with two");
	good_body("\n", "of one alone");
	good_body("\n\n\nx", "with some in front");
	good_body("a\nb\r\nc\rd\n\re", "I41 LF, CRLF, CR");
	good_body("\r", "I41 a bare CR");
	good_body("a\r\r\nb", "I41 a CR before a CRLF");
	good_body("a\r\r\r", "I41 CRs at the end");
	good_body("a \nb\t\nc ", "blanks at line ends");
	good_body(" ", "a blank");
	good_body("\t", "a tab");
	good_body(" \r\n \r", "blanks and CRs");
	good_body(".", "I41 a dot");
	good_body(".\n..\n...\n.\r\n.\r.\n", "I41 lines of dots");
	good_body("\n.\n", "S15 LF dot LF");
	good_body("\r.\r", "S15 CR dot CR");
	good_body("\n.\r\n", "S15 LF dot CRLF");
	good_body("\r\n.\r\n", "S15 CRLF dot CRLF");
	good_body("\r\n.\r\nMAIL FROM:<x@y.org>\r\n", "S15 a command");
	good_body("From me\nFrom you\n From us", "lines that begin with From");
	good_body("=", "an equals sign");
	good_body("=3D=\n=", "several");
	good_body("--\n-- \n--=_bs_\n", "lines of hyphens");
	good_body("--=_bs_8e02b24ede150267--\r\n--=_bs_8e02b24ede150267\r\n",
			  "the boundary itself");
	good_body(ANNA_CYRILLIC " " ARABIC " " CHINESE " " FAMILY "\n",
			  "EC-UD-005 many scripts");
	good_body("\x01\x02\x03\x1B[2J\x7F\n", "I41 controls");
	good_body("\xFF\xFE\x80\n", "I41 what is not UTF-8");
	good_body("<script>alert('x')</script>", "EC-SEC-002 a script");

	start();
	mail.text = ZOE " has her birthday, and we all wish her a good day.\n";
	build();
	is_str(header("Content-Transfer-Encoding"), "quoted-printable",
		   "mostly ASCII stays readable");
	mail.text = CHINESE;
	build();
	is_str(header("Content-Transfer-Encoding"), "base64",
		   "what would triple does not");
	mail.text = "a\r";
	build();
	is_str(body(), "a=0D=\r\n", "I41 a bare CR is written =0D");
	mail.text = "a ";
	build();
	is_str(body(), "a=20=\r\n", "a blank at the end is written =20");

	/* Each length around the ends of lines, of each class of octets. */
	for (i = 0; i < 165; i++)
	{
		static const char *const endings[] = {
			"", "\n", " ", " \n", "=", "=\n", "\r", "\r\n", " x", "\xC3\xA9",
			"\t\r\n", "From "
		};
		const char *wrong = NULL;
		size_t		j;

		for (j = 0; j < 12 * 3 && wrong == NULL; j++)
		{
			static const char fill[3] = {'x', '=', ' '};

			memset(text, fill[j % 3], i);
			strcpy(text + i, endings[j / 3]);
			start();
			mail.text = text;
			wrong = build();
			if (wrong == NULL)
			{
				mail.html = text;
				wrong = build();
			}
		}
		if (wrong != NULL || i % 80 == 0)
			ok(wrong == NULL, "lines of %d and their ends %s", (int) i,
			   wrong == NULL ? "" : wrong);
	}

	memset(text, 'x', 5000);
	text[5000] = '\0';
	good_body(text, "I41 a line of 5000");
	for (i = 0; i < 5000; i++)
		text[i] = i % 2 ? ' ' : '.';
	good_body(text, "I41 of dots and blanks");
	for (i = 0; i < 5000; i += 2)
		memcpy(text + i, "\xC3\xA9", 2);
	good_body(text, "I41 of two octets a character");
	for (i = 1; i < 256; i++)
	{
		snprintf(name, sizeof(name), "octet 0x%02X in a body", (unsigned) i);
		snprintf(text, sizeof(text), "a%c%cb\n%c\n%c", (int) i, (int) i,
				 (int) i, (int) i);
		if (i < 0x20 || i == 0x7F)
			good_body(text, name);
		else
		{
			start();
			mail.text = text;
			if (build() != NULL)
				ok(false, "%s", name);
		}
	}
}

static const char *
json(void)
{
	static char *text;
	size_t		len;
	const char *wrong;

	free(text);
	text = bs_mime_json(&mail, &len);
	if (text == NULL)
		return "no JSON";
	wrong = json_check(&mail, text, len);
	return wrong == NULL ? text : wrong;
}

static void
test_json(void)
{
	char		text[16];
	int			octet;

	start();
	is_str(json(), "{\"email\":\"anna@example.org\",\"name\":\"Anna Lee\","
		   "\"subject\":\"Happy birthday\","
		   "\"message\":\"Hey, Anna Lee it's your birthday\\n\","
		   "\"idempotency_key\":\"" KEY "\"}", "the JSON of a mail");
	mail.to_name = NULL;
	mail.html = "<p>\"</p>";
	mail.text = "\\ \" / \b\f\n\r\t\x01\x1F\x7F \xE2\x80\xA8\xE2\x80\xA9 "
		FAMILY;
	mail.subject = "a\r\nb";
	is_str(json(), "{\"email\":\"anna@example.org\","
		   "\"subject\":\"a b\","
		   "\"message\":\"\\\\ \\\" / \\b\\f\\n\\r\\t\\u0001\\u001F\\u007F "
		   "\\u2028\\u2029 " FAMILY "\","
		   "\"html\":\"<p>\\\"</p>\","
		   "\"idempotency_key\":\"" KEY "\"}", "escapes");
	mail.text = "\xFF\xED\xA0\x80\xC3";
	mail.html = NULL;
	ok(strstr(json(), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
			  "\xEF\xBF\xBD\"") != NULL, "I13 JSON is UTF-8 in any case");
	for (octet = 1; octet < 0x100; octet++)
	{
		snprintf(text, sizeof(text), "a%cb", octet);
		start();
		mail.text = mail.html = mail.subject = mail.to_name = text;
		if (octet < 0x20 || octet == 0x7F || json()[0] != '{')
			ok(json()[0] == '{', "octet 0x%02X in JSON", octet);
	}
}

int
main(void)
{
	/* A body comes out as it went in, in lines of at most 76. */
	test_bodies();
	/* However big it is. */
	test_big_bodies();
	/* JSON is strict, and carries the same. */
	test_json();

	start();
	mail.to_address = NULL;
	(void) json();
	return mime_done();
}
