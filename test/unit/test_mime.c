/*-------------------------------------------------------------------------
 *
 * test_mime.c
 *	  Tests of the mail and JSON writers.
 *
 * mime_check.h reads back every mail that is built here; what Python makes of
 * them is asked in mime_roundtrip.py.
 *
 * test/unit/test_mime.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "mime_check.h"
#include "tap.h"

#define KEY "0b8f3c1e-6a1e-4c0d-9a53-0d3f1a2b3c4d:BIRTHDAY:2026-05-01"

#define ANNA_CYRILLIC	"\xD0\x90\xD0\xBD\xD0\xBD\xD0\xB0"
#define ARABIC			"\xD9\x85\xD8\xB1\xD8\xAD\xD8\xA8\xD8\xA7"
#define CHINESE			"\xE7\x8E\x8B\xE5\xB0\x8F\xE6\x98\x8E"
#define ZOE				"Zo\xC3\xAB M\xC3\xBCller"
#define FAMILY			"\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D" \
						"\xF0\x9F\x91\xA7\xE2\x80\x8D\xF0\x9F\x91\xA6"
#define OVERRIDE		"\xE2\x80\xAE"

static BsMail mail;
static char *built;
static size_t built_len;

static void
start(void)
{
	memset(&mail, 0, sizeof(mail));
	mail.from = "Birthdays <post@example.org>";
	mail.to_name = "Anna Lee";
	mail.to_address = "anna@example.org";
	mail.subject = "Happy birthday";
	mail.text = "Hey, Anna Lee it's your birthday\n";
	mail.idempotency_key = KEY;
	mail.date = INT64_C(1777622400);
}

/* Builds the mail, reads it back, and says what is wrong, or NULL. */
static const char *
build(void)
{
	const char *wrong;
	char	   *json;
	size_t		json_len;

	free(built);
	built = bs_mime_build(&mail, &built_len);
	if (built == NULL)
		return "no mail";
	wrong = mime_check(&mail, built, built_len);
	if (wrong == NULL)
	{
		json = bs_mime_json(&mail, &json_len);
		wrong = json == NULL ? "no JSON" : json_check(&mail, json, json_len);
		free(json);
	}
	return wrong;
}

/* A header of the mail built last, unfolded. */
static const char *
header(const char *name)
{
	static char *value;
	CheckFields fields;
	const char *at = built;

	free(value);
	value = NULL;
	if (built != NULL &&
		check_read_fields(&at, built + built_len, &fields) == NULL &&
		check_field(&fields, name) != NULL)
		value = strdup(check_field(&fields, name));
	if (built != NULL)
		check_free_fields(&fields);
	return value;
}

static void
good(const char *name)
{
	const char *wrong = build();

	ok(wrong == NULL, "%s%s%s", name, wrong == NULL ? "" : ": ",
	   wrong == NULL ? "" : wrong);
}

/* What follows the first empty line. */
static const char *
body(void)
{
	const char *at = built == NULL ? NULL : strstr(built, "\r\n\r\n");

	return at == NULL ? "" : at + 4;
}

/* This text, alone and with HTML, is read back as it was. */
static void
good_body(const char *text, const char *name)
{
	const char *wrong;

	start();
	mail.text = text;

	wrong = build();
	if (wrong == NULL)
	{
		mail.html = "<p>x</p>";
		wrong = build();
	}
	if (wrong == NULL)
	{
		mail.html = text;

		wrong = build();
	}
	ok(wrong == NULL, "%s%s%s", name, wrong == NULL ? "" : ": ",
	   wrong == NULL ? "" : wrong);
}

static void
test_whole(void)
{
	start();
	good("a plain mail");
	is_str(built,
		   "Date: Fri, 01 May 2026 08:00:00 +0000\r\n"
		   "From: Birthdays <post@example.org>\r\n"
		   "To: Anna Lee <anna@example.org>\r\n"
		   "Subject: Happy birthday\r\n"
		   "Message-ID: <0b8f3c1e-6a1e-4c0d-9a53-0d3f1a2b3c4d.BIRTHDAY."
		   "2026-05-01@birthday-scheduler.invalid>\r\n"
		   "Auto-Submitted: auto-generated\r\n"
		   "MIME-Version: 1.0\r\n"
		   "Content-Type: text/plain; charset=utf-8\r\n"
		   "Content-Transfer-Encoding: quoted-printable\r\n"
		   "\r\n"
		   "Hey, Anna Lee it's your birthday\r\n", "is this, to the octet");
	mail.html = "<p>Hey</p>";
	mail.reply_to = "help@example.org";
	mail.list_unsubscribe = "https://example.org/u?a=1";
	good("a mail with everything");
	is_str(header("Content-Type"),
		   "multipart/alternative; boundary=\"=_bs_8e02b24ede150267\"",
		   "the boundary follows from the key");
	is_str(header("Reply-To"), "help@example.org", "Reply-To");
	ok(strstr(body(), "\r\n\r\n<p>Hey</p>\r\n--=_bs_") != NULL,
	   "the HTML ends at the boundary");
	start();
	mail.text = NULL;
	mail.to_name = NULL;
	mail.subject = NULL;
	good("a mail of absent parts");
	is_str(header("Subject"), "", "has an empty subject");
	is_str(header("To"), "anna@example.org", "and a bare address");
	mail.text = mail.to_name = mail.subject = mail.html = mail.reply_to = "";
	good("a mail of empty parts");
}

static void
test_same_octets(void)
{
	char	   *first;
	size_t		len;

	start();
	mail.html = "<p>x</p>";
	first = bs_mime_build(&mail, &len);
	build();
	ok(first != NULL && len == built_len && memcmp(first, built, len) == 0,
	   "a second attempt has the same octets");
	free(first);
}

static void
test_date(void)
{
	static const struct
	{
		int64_t		seconds;
		const char *text;
	}			cases[] = {
		{0, "Thu, 01 Jan 1970 00:00:00 +0000"},
		{-1, "Wed, 31 Dec 1969 23:59:59 +0000"},
		{951782400, "Tue, 29 Feb 2000 00:00:00 +0000"},
		{951868799, "Tue, 29 Feb 2000 23:59:59 +0000"},
		{951868800, "Wed, 01 Mar 2000 00:00:00 +0000"},
		{1709164800, "Thu, 29 Feb 2024 00:00:00 +0000"},
		{INT64_C(2147483648), "Tue, 19 Jan 2038 03:14:08 +0000"},
		{INT64_C(4107542400), "Mon, 01 Mar 2100 00:00:00 +0000"},
		{INT64_C(253402300799), "Fri, 31 Dec 9999 23:59:59 +0000"},
		{INT64_C(253402300800), "Fri, 31 Dec 9999 00:00:00 +0000"},
		{INT64_MAX, "Fri, 31 Dec 9999 15:30:07 +0000"},
		{INT64_C(-2208988800), "Mon, 01 Jan 1900 00:00:00 +0000"},
		{INT64_C(-2208988801), "Mon, 01 Jan 1900 23:59:59 +0000"},
		{INT64_MIN, "Mon, 01 Jan 1900 08:29:52 +0000"},
	};
	int64_t		seconds;
	size_t		wrong = 0;
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		start();
		mail.date = cases[i].seconds;
		build();
		is_str(header("Date"), cases[i].text, "%sDate of %lld",
			   cases[i].seconds == INT64_C(2147483648) ? "EC-BD-018 " : "",
			   (long long) cases[i].seconds);
	}
	/* A bit more than two days a step, so that every day of the year comes. */
	for (seconds = INT64_C(-2208988800); seconds < INT64_C(7258118400);
		 seconds += 180001)
	{
		time_t		t = (time_t) seconds;
		struct tm	tm;
		char		text[64];

		mail.date = seconds;
		built = (free(built), bs_mime_build(&mail, &built_len));
		strftime(text, sizeof(text), "Date: %a, %d %b %Y %H:%M:%S +0000\r\n",
				 gmtime_r(&t, &tm));
		wrong += built == NULL || strncmp(built, text, strlen(text)) != 0;
	}
	is_int(wrong, 0, "dates from 1900 to 2199 are those of the C library");
}

static void
test_message_id(void)
{
	static const char *const refused[] = {
		"", ":", "::", "u", "u:T", "u:T:", "u::2026-05-01", ":T:2026-05-01",
		"u:T:2026-05-1", "u:T:2026-02-30", "u:T:2026-13-01", "u:T:0000-01-01",
		"u:T:2026-05-01 ", "u:T:2026-05-01:x", "u:T:20260501",
		"u:T>:2026-05-01", "u:T T:2026-05-01", "u:T\r\n:2026-05-01",
		"u@x:T:2026-05-01", "u.x:T:2026-05-01", "u:T.T:2026-05-01",
		"u:\xC3\x84:2026-05-01", "<u:T:2026-05-01", "u_u:T:2026-05-01",
		"u:T:2026/05/01", "u:T:-026-05-01"
	};
	char		id[512];
	char		key[300];
	size_t		i;

	ok(bs_mime_message_id(KEY, id, sizeof(id)), "a key has an id");
	is_str(id, "<0b8f3c1e-6a1e-4c0d-9a53-0d3f1a2b3c4d.BIRTHDAY.2026-05-01"
		   "@birthday-scheduler.invalid>", "which is this");
	ok(bs_mime_message_id("u:first_day-2:2024-02-29", id, sizeof(id)),
	   "types have underscores and hyphens");
	is_str(id, "<u.first_day-2.2024-02-29@birthday-scheduler.invalid>",
		   "and keep them");
	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		ok(!bs_mime_message_id(refused[i], id, sizeof(id)),
		   "no id for key %d, which is none", (int) i);
	ok(!bs_mime_message_id(NULL, id, sizeof(id)), "nor for no key");

	memset(key, 'u', sizeof(key));
	memcpy(key + 242, ":T:2026-05-01", 14);
	ok(bs_mime_message_id(key, id, sizeof(id)), "a key of 255");
	ok(strlen(id) == 255 + 29, "fits");
	key[242] = 'u';
	memcpy(key + 243, ":T:2026-05-01", 14);
	ok(!bs_mime_message_id(key, id, sizeof(id)), "no id for a key of 256");

	i = strlen("<u.T.2026-05-01@birthday-scheduler.invalid>");
	ok(bs_mime_message_id("u:T:2026-05-01", id, i + 1), "an exact buffer");
	ok(!bs_mime_message_id("u:T:2026-05-01", id, i), "one that is too small");
	ok(!bs_mime_message_id("u:T:2026-05-01", id, 0), "none at all");
}

static void
test_refused(void)
{
	size_t		len = 1;

	start();
	mail.to_address = "anna@example.org\r\nBcc: x@y.org";
	errno = 0;
	ok(bs_mime_build(&mail, &len) == NULL && errno == EINVAL && len == 0,
	   "S14 no mail to what is no address");
	ok(bs_mime_json(&mail, &len) == NULL && errno == EINVAL,
	   "S14 no JSON either");
	mail.to_address = NULL;
	ok(bs_mime_build(&mail, &len) == NULL && errno == EINVAL,
	   "nor to nobody");
	start();
	mail.from = "nobody";
	ok(bs_mime_build(&mail, &len) == NULL && errno == EINVAL,
	   "no mail from nobody");
	mail.from = NULL;
	ok(bs_mime_build(&mail, &len) == NULL && errno == EINVAL,
	   "nor without a sender");
	start();
	mail.reply_to = "a@b.org\nBcc: x@y.org";
	ok(bs_mime_build(&mail, &len) == NULL && errno == EINVAL,
	   "no answer to what is no address");
	start();
	mail.idempotency_key = "u:T>\r\nX: y:2026-05-01";
	ok(bs_mime_build(&mail, &len) == NULL && errno == EINVAL,
	   "S14 no mail of a key that is none");
	mail.idempotency_key = NULL;
	ok(bs_mime_build(&mail, &len) == NULL && errno == EINVAL, "nor without");
	ok(bs_mime_json(&mail, &len) == NULL && errno == EINVAL, "JSON neither");
}

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

/* Numbers that are the same in every run: xorshift64*. */
static uint64_t random_state = UINT64_C(0x9E3779B97F4A7C15);

static uint32_t
random_below(uint32_t limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t) ((random_state * UINT64_C(0x2545F4914F6CDD1D)) >> 33) %
		limit;
}

/* A string of pieces that have broken mails before. */
static char *
nasty(uint32_t max_pieces)
{
	static const char *const pieces[] = {
		"\r\n", "\n", "\r", "\t", " ", "  ", ".", "\n.\n", "\r\n.\r\n", "=",
		"=?", "?=", "=?UTF-8?B?QQ==?=", "=\r\n", "From ", "\nFrom ", "--",
		"--=_bs_8e02b24ede150267", "\r\n--=_bs_8e02b24ede150267--\r\n",
		"Bcc: x@y.org", "\r\nBcc: x@y.org", "\r\n\r\n", "a", "b c", "\"",
		"\\", "<", ">", ",", ";", ":", "(", ")", "@", "[", "]", "{{", "&",
		"\x01", "\x1B", "\x7F", "\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9",
		OVERRIDE, "\xE2\x81\xA6", "\xD8\x9C", "\xE2\x80\x8B", "\xEF\xBB\xBF",
		ZOE, ANNA_CYRILLIC, ARABIC, CHINESE, FAMILY, "e\xCC\x81",
		"\xFF", "\xC3", "\xE2\x80", "\xED\xA0\x80", "\xC0\x80",
		"\xF4\x90\x80\x80", "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww",
		"the quick brown fox jumps over the lazy dog and then over another",
		"                                                                  ",
	};
	CheckText	text = {NULL, 0};
	uint32_t	count = random_below(max_pieces + 1);

	check_put(&text, "", 0);
	while (count-- > 0)
	{
		const char *piece =
		pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))];
		uint32_t	times = random_below(8) == 0 ? random_below(30) : 1;

		while (times-- > 0)
			check_put(&text, piece, strlen(piece));
	}
	return text.data;
}

static void
test_any(void)
{
	const char *wrong = NULL;
	long		i;

	for (i = 0; i < 10000 && wrong == NULL; i++)
	{
		char	   *strings[5];
		size_t		j;

		for (j = 0; j < 5; j++)
			strings[j] = random_below(8) == 0 ? NULL :
				nasty(random_below(16) == 0 ? 60 : 8);
		start();
		mail.to_name = strings[0];
		mail.subject = strings[1];
		mail.text = strings[2];
		mail.html = strings[3];
		mail.list_unsubscribe = strings[4];
		wrong = build();
		for (j = 0; j < 5; j++)
			free(strings[j]);
	}
	ok(wrong == NULL, "S14 %ld mails of nasty values: %s", i,
	   wrong == NULL ? "all well" : wrong);
}

int
main(void)
{
	/* A mail is these octets and no others. */
	test_whole();
	/* The same mail is the same octets, at every attempt. */
	test_same_octets();
	/* Date is UTC, in English, in the form of RFC 5322. */
	test_date();
	/* Message-ID follows from the key, and only from a key. */
	test_message_id();
	/* What has not passed the checks makes no mail. */
	test_refused();
	/* A name is one name, whatever is in it, and comes out as it went in. */
	test_names();
	/* So is a subject. */
	test_subjects();
	/* List-Unsubscribe is one URI on one line, or is not there. */
	test_unsubscribe();
	/* A body comes out as it went in, in lines of at most 76. */
	test_bodies();
	/* However big it is. */
	test_big_bodies();
	/* "Name <address>" is taken apart, and nothing that is not quite that. */
	test_split();
	/* JSON is strict, and carries the same. */
	test_json();
	/* All of that holds for 10000 mails of random nastiness. */
	test_any();

	start();
	mail.to_address = NULL;
	free(built);
	built = NULL;
	(void) header("none");
	(void) json();
	return tap_done();
}
