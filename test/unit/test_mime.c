/*-------------------------------------------------------------------------
 *
 * test_mime.c
 *	  Tests of the mail writer: a whole mail, its date and its Message-ID.
 *
 * test/unit/test_mime.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <time.h>

#include "mime_mail.h"

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

	/*
	 * All of that, and what the tests beside this one say, holds for 10000
	 * mails of random nastiness.
	 */
	test_any();
	return mime_done();
}
