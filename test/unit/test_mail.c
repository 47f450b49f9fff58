/*-------------------------------------------------------------------------
 *
 * test_mail.c
 *	  The mailer against relays that misbehave in every way.
 *
 * test/unit/test_mail.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* memmem(), RTLD_NEXT */
#include "tap.h"
#include "mail_relay.h"

#include <dirent.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "net/net_mail_private.h"

#define LIMIT_MS	20000		/* of any one wait: far more than is needed */

static const char *const outcome_names[] = {
	"accepted", "refused", "later", "trouble", "again", "in doubt", "released"
};

static Relay relay;
static BsMailer *mailer;
static BsMailResult results[RELAY_MAILS];
static int	result_count;
static int64_t longest_call_ms;

/* ---- the loop ---- */

static void
note_call(int64_t began_ms)
{
	int64_t		took = now_ms() - began_ms;

	if (took > longest_call_ms)
		longest_call_ms = took;
}

/* One turn of what a host does, and of the relay. */
static void
turn(int64_t patience_ms)
{
	struct pollfd fds[RELAY_CONNECTIONS + 2];
	int			count = relay_poll(&relay, fds);
	int64_t		deadline = bs_mailer_deadline_ms(mailer);
	int64_t		began;

	fds[count].fd = bs_mailer_fd(mailer);
	fds[count].events = POLLIN;
	if (deadline >= 0 && deadline < patience_ms)
		patience_ms = deadline;
	poll(fds, count + 1, (int) patience_ms);
	relay_serve(&relay, fds, count);

	began = now_ms();
	bs_mailer_run(mailer);
	note_call(began);
	while (result_count < RELAY_MAILS &&
		   bs_mailer_next(mailer, &results[result_count]))
		result_count++;
}

static bool
wait_for_results(int wanted)
{
	int64_t		until = now_ms() + LIMIT_MS;

	while (result_count < wanted && now_ms() < until)
		turn(100);
	return result_count >= wanted;
}

static bool
wait_for_command(const char *command)
{
	int64_t		until = now_ms() + LIMIT_MS;

	while (strstr(relay.log, command) == NULL && now_ms() < until)
		turn(100);
	return strstr(relay.log, command) != NULL;
}

/* The relay alone goes on, until the mailer has something to read. */
static bool
wait_for_arrival(void)
{
	int64_t		until = now_ms() + LIMIT_MS;
	struct pollfd own;

	own.fd = bs_mailer_fd(mailer);
	own.events = POLLIN;
	while (now_ms() < until)
	{
		struct pollfd fds[RELAY_CONNECTIONS + 1];
		int			count = relay_poll(&relay, fds);

		poll(fds, count, 10);
		relay_serve(&relay, fds, count);
		if (poll(&own, 1, 0) == 1)
			return true;
	}
	return false;
}

/* ---- a mailer and its mails ---- */

static const char *scheme = "smtp";
static const char *host = "127.0.0.1";
static BsMailerConfig config;

static void
reset_config(void)
{
	memset(&config, 0, sizeof(config));
	config.from = "Greetings <greetings@example.com>";
	config.tls = BS_MAIL_TLS_OFF;
	config.connections = 1;
	config.timeout_ms = 10000;
	config.connect_timeout_ms = 5000;
}

static void
open_mailer(int port)
{
	char		url[256];
	char		error[256] = "";

	snprintf(url, sizeof(url), "%s://%s:%d%s", scheme, host, port,
			 strncmp(scheme, "http", 4) == 0 ? "/send?a=b" : "/me.example");
	config.url = url;
	mailer = bs_mailer_create(&config, error, sizeof(error));
	if (mailer == NULL)
		printf("# %s\n", error);
	config.url = NULL;
	result_count = 0;
}

static void
begin(const Script *script)
{
	relay_open(&relay, script);
	open_mailer(relay.port);
}

static void
finish(void)
{
	int64_t		began = now_ms();

	bs_mailer_destroy(mailer);
	note_call(began);
	mailer = NULL;
	relay_close(&relay);
}

static BsMail
make_mail(const char *text)
{
	static char key[64];
	static int	number;
	BsMail		mail = {0};

	snprintf(key, sizeof(key),
			 "7d444840-9dc0-11d1-b245-%012d:BIRTHDAY:2026-02-28", ++number);
	mail.from = "Greetings <greetings@example.com>";
	mail.to_name = "Zo\xc3\xab";
	mail.to_address = "Zoe.Doe@example.org";
	mail.subject = "Hey, Zo\xc3\xab it's your birthday";
	mail.text = text;
	mail.idempotency_key = key;
	mail.date = 1772269200;
	return mail;
}

static bool
submit(const char *text, uint64_t tag)
{
	BsMail		mail = make_mail(text);
	int64_t		began = now_ms();
	bool		begun = bs_mailer_submit(mailer, &mail, tag);

	if (strlen(text) < 10000)	/* else it takes long to build */
		note_call(began);
	return begun;
}

static BsMailResult
send_one(const char *text)
{
	static const BsMailResult none = {.outcome = BS_OUTCOME_RELEASED};
	int			wanted = result_count + 1;

	if (!submit(text, wanted) || !wait_for_results(wanted))
		return none;
	return results[wanted - 1];
}

/* A text that fills the buffers of any connection many times over. */
static char *
make_long_text(void)
{
	size_t		len = 12 * 1024 * 1024;
	char	   *text = malloc(len + 1);
	size_t		i;

	for (i = 0; i < len; i++)
		text[i] = i % 61 == 60 ? '\n' : i % 61 == 0 ? '.' : 'a' + i % 26;
	text[len] = '\0';
	return text;
}

/* ---- one mail on a fresh connection ---- */

typedef struct Case
{
	const char *what;
	Script		script;
	BsOutcome	outcome;
	int			code;
	const char *reply;			/* in the result's text; NULL: it is empty */
} Case;

static const Case smtp_cases[] = {
	{"usual", {0}, BS_OUTCOME_ACCEPTED, 250, "250 taken"},
	{"greeting 450", {.greeting = "450 busy\r\n"},
	BS_OUTCOME_TROUBLE, 450, "450 busy"},
	{"greeting 554", {.greeting = "554 go away\r\n"},
	BS_OUTCOME_TROUBLE, 554, "554 go away"},
	{"greeting 421 and end", {.greeting = CLOSE "421 no\r\n"},
	BS_OUTCOME_TROUBLE, 421, "421 no"},
	{"closed at once", {.greeting = CLOSE ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"reset at once", {.greeting = RESET ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"no greeting", {.greeting = HANG ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"half a greeting", {.greeting = HANG "220-wait"},
	BS_OUTCOME_TROUBLE, 0, NULL},
	{"greeting of another protocol", {.greeting = CLOSE "SSH-2.0-x\r\n"},
	BS_OUTCOME_TROUBLE, 0, NULL},
	{"greeting in lines", {.greeting = "220-one\r\n220 two\r\n"},
	BS_OUTCOME_ACCEPTED, 250, "250 taken"},
	{"EHLO 421", {.ehlo = CLOSE "421 no\r\n"}, BS_OUTCOME_TROUBLE, 421, "421 no"},
	{"no answer to EHLO", {.ehlo = HANG ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"closed at EHLO", {.ehlo = CLOSE ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"MAIL 450", {.mail = "450 4.3.2 busy\r\n"},
	BS_OUTCOME_TROUBLE, 450, "450 4.3.2 busy"},
	{"MAIL 550", {.mail = "550 not you\r\n"},
	BS_OUTCOME_TROUBLE, 550, "550 not you"},
	{"MAIL 552", {.mail = "552 too large\r\n"},
	BS_OUTCOME_REFUSED, 552, "552 too large"},
	{"MAIL 530", {.mail = "530 log in\r\n"},
	BS_OUTCOME_TROUBLE, 530, "530 log in"},
	{"MAIL 421", {.mail = CLOSE "421 bye\r\n"},
	BS_OUTCOME_TROUBLE, 421, "421 bye"},
	{"closed at MAIL", {.mail = CLOSE ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"no answer to MAIL", {.mail = HANG ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"MAIL 354", {.mail = "354 what\r\n"}, BS_OUTCOME_TROUBLE, 354, "354 what"},
	{"MAIL nonsense", {.mail = "hello\r\n"}, BS_OUTCOME_TROUBLE, 0, "hello"},
	{"RCPT 450", {.rcpt = "450 grey\r\n"}, BS_OUTCOME_LATER, 450, "450 grey"},
	{"RCPT 550, the address", {.rcpt =
			"550-5.1.1 <ZOE.doe@example.org>: unknown,\r\n"
	"550 5.1.1 zoe.doe@EXAMPLE.org\x01\xff\r\n"},
	BS_OUTCOME_REFUSED, 550, "550-5.1.1 <recipient>: unknown, 5.1.1 "
	"<recipient> \xef\xbf\xbd"},
	{"RCPT 421", {.rcpt = CLOSE "421 bye\r\n"},
	BS_OUTCOME_TROUBLE, 421, "421 bye"},
	{"closed at RCPT", {.rcpt = CLOSE ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"no answer to RCPT", {.rcpt = HANG ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"RCPT 251", {.rcpt = "251 forwarded\r\n"},
	BS_OUTCOME_ACCEPTED, 250, "250 taken"},
	{"RCPT refused, no answer to DATA",
		{.rcpt = "550 unknown\r\n",.data = HANG ""},
	BS_OUTCOME_REFUSED, 550, "550 unknown"},
	{"RCPT refused, closed at DATA",
		{.rcpt = "550 unknown\r\n",.data = CLOSE ""},
	BS_OUTCOME_REFUSED, 550, "550 unknown"},
	{"RCPT refused, DATA 354",
		{.rcpt = "550 unknown\r\n",.data = "354 go on\r\n"},
	BS_OUTCOME_REFUSED, 550, "550 unknown"},
	{"DATA 451", {.data = "451 disk\r\n"}, BS_OUTCOME_LATER, 451, "451 disk"},
	{"DATA 554", {.data = "554 no\r\n"}, BS_OUTCOME_REFUSED, 554, "554 no"},
	{"DATA 250", {.data = "250 what\r\n"}, BS_OUTCOME_TROUBLE, 250, "250 what"},
	{"closed at DATA", {.data = CLOSE ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"reset at DATA", {.data = RESET ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"no answer to DATA", {.data = HANG ""}, BS_OUTCOME_TROUBLE, 0, NULL},
	{"DATA 354 and 250 at once", {.data = "354 go on\r\n250 taken\r\n"},
	BS_OUTCOME_TROUBLE, 0, NULL},
	{"550 during the body", {.body = "550 spam\r\n"},
	BS_OUTCOME_REFUSED, 550, "550 spam"},
	{"dot 450", {.dot = "450 disk\r\n"}, BS_OUTCOME_LATER, 450, "450 disk"},
	{"dot 454", {.dot = "454 throttled\r\n"},
	BS_OUTCOME_LATER, 454, "454 throttled"},
	{"dot 554", {.dot = "554 spam\r\n"}, BS_OUTCOME_REFUSED, 554, "554 spam"},
	{"dot 421", {.dot = CLOSE "421 bye\r\n"},
	BS_OUTCOME_TROUBLE, 421, "421 bye"},
	{"dot 250 and end", {.dot = CLOSE "250 taken\r\n"},
	BS_OUTCOME_ACCEPTED, 250, "250 taken"},
	{"dot 250 and 421", {.dot = CLOSE "250 taken\r\n421 bye\r\n"},
	BS_OUTCOME_ACCEPTED, 250, "250 taken"},
	{"dot 250 without text", {.dot = "250\r\n"},
	BS_OUTCOME_ACCEPTED, 250, "250"},
	{"dot 250 with a bare LF", {.dot = "250 taken\n"},
	BS_OUTCOME_ACCEPTED, 250, "250 taken"},
	{"dot 250 in lines", {.dot = "250-one\r\n250-\r\n250 two\r\n"},
	BS_OUTCOME_ACCEPTED, 250, "250-one two"},
	{"dot 250, an octet at a time", {.dot = DRIP "250-a\r\n250 taken\r\n"},
	BS_OUTCOME_ACCEPTED, 250, "250-a taken"},
	{"closed after the dot", {.dot = CLOSE ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"reset after the dot", {.dot = RESET ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"no answer to the dot", {.dot = HANG ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"half a reply to the dot, and end", {.dot = CLOSE "250-taken\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, "250-taken"},
	{"half a line to the dot, and end", {.dot = CLOSE "250 tak"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"half a reply to the dot, and silence", {.dot = HANG "250-taken\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, "250-taken"},
	{"dot 354", {.dot = "354 what\r\n"}, BS_OUTCOME_IN_DOUBT, 354, "354 what"},
	{"dot nonsense", {.dot = "hello\r\n"}, BS_OUTCOME_IN_DOUBT, 0, "hello"},
	{"dot 2500", {.dot = "2500 taken\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, "2500 taken"},
	{"a reply to the dot without end", {.dot = FLOOD "250 "},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"closed during the body", {.body = CLOSE ""},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
};

static bool
is_slow(const Script *script)
{
	const char *replies[] = {
		script->greeting, script->ehlo, script->mail, script->rcpt,
		script->data, script->dot, script->http
	};
	size_t		i;

	for (i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
	{
		if (replies[i] != NULL && (*replies[i] == '\3' || *replies[i] == '\5'))
			return true;
	}
	return false;
}

static void
run_case(const Case *row, const char *how, bool plain_ehlo)
{
	BsMailResult result;
	int64_t		began = now_ms();

	reset_config();
	if (is_slow(&row->script))
		config.timeout_ms = 300;
	begin(&row->script);
	relay.plain_ehlo = plain_ehlo;
	result = send_one("Hello\n.\n..dots\n");
	is_str(outcome_names[result.outcome], outcome_names[row->outcome],
		   "%s: %s", how, row->what);
	is_int(result.response_code, row->code, "%s: %s: code", how, row->what);
	is_str(result.reply, row->reply ? row->reply : "",
		   "%s: %s: reply", how, row->what);
	if (is_slow(&row->script))
		ok(now_ms() - began < 300 + 1000, "%s: %s: ends in time",
		   how, row->what);
	ok(bs_mailer_busy(mailer) == 0 && bs_mailer_room(mailer) == 1,
	   "%s: %s: the handle is free again", how, row->what);
	finish();
}

static void
test_smtp_cases(void)
{
	size_t		i;

	for (i = 0; i < sizeof(smtp_cases) / sizeof(smtp_cases[0]); i++)
	{
		run_case(&smtp_cases[i], "pipelining", false);
		run_case(&smtp_cases[i], "step by step", true);
	}
}

/* ---- what goes over the wire ---- */

static void
test_dialogue(void)
{
	static const Script usual = {0};

	char		wanted[200];

	reset_config();
	begin(&usual);
	send_one("Hello\n");
	snprintf(wanted, sizeof(wanted), "EHLO me.example\n"
			 "MAIL FROM:<greetings@example.com> SIZE=%zu\n"
			 "RCPT TO:<Zoe.Doe@example.org>\nDATA\n", relay.mail_len[0]);
	is_str(relay.log, wanted, "the dialogue");
	finish();
	begin(&usual);
	relay.plain_ehlo = true;
	send_one("Hello\n");
	is_str(relay.log, "EHLO me.example\nMAIL FROM:<greetings@example.com>\n"
		   "RCPT TO:<Zoe.Doe@example.org>\nDATA\n",
		   "the dialogue with a relay that offers nothing");
	finish();
}

/* The relay has, octet by octet, what the MIME writer made. */
static void
is_delivered(const char *text, const char *what)
{
	BsMail		mail;
	size_t		len;
	char	   *made;
	static const Script usual = {0};
	static const Script taken = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n"};
	bool		is_http = strcmp(scheme, "http") == 0;

	reset_config();
	begin(is_http ? &taken : &usual);
	mail = make_mail(text);
	bs_mailer_submit(mailer, &mail, 1);
	wait_for_results(1);
	made = is_http ? bs_mime_json(&mail, &len) : bs_mime_build(&mail, &len);
	is_str(outcome_names[results[0].outcome], "accepted",
		   "%s: %s is accepted", scheme, what);
	ok(relay.mails == 1 && relay.mail_len[0] == len &&
	   memcmp(relay.mail[0], made, len) == 0,
	   "%s: %s arrives as it was made", scheme, what);
	free(made);
	finish();
}

static void
test_delivery(void)
{
	char	   *text = malloc(6000);
	char	   *long_text = make_long_text();

	memset(text, 'x', 5000);
	text[0] = '.';
	strcpy(text + 5000, "\n.\n..\n...\r\n.x\r\n");
	is_delivered("Hello\n", "a line");
	is_delivered("", "nothing");
	is_delivered(".", "a dot");
	is_delivered(".\r\n.\r\n", "dots alone");
	is_delivered("no newline", "a line without end");
	is_delivered(text, "a line of 5000");
	is_delivered(long_text, "a mail of megabytes");
	free(text);
	free(long_text);
}

static void
is_framed(const char *mail, const char *wanted)
{
	size_t		len;
	char	   *framed = bs_mail_smtp_frame(strdup(mail), strlen(mail), &len);

	ok(len == strlen(wanted) && memcmp(framed, wanted, len) == 0,
	   "frame: \"%zu octets\"", strlen(mail));
	free(framed);
}

static void
test_frame(void)
{
	is_framed("", ".\r\n");
	is_framed("a", "a\r\n.\r\n");
	is_framed("a\r\n", "a\r\n.\r\n");
	is_framed("a\n", "a\n\r\n.\r\n");
	is_framed("\r", "\r\r\n.\r\n");
	is_framed(".", "..\r\n.\r\n");
	is_framed(".\r\n..\r\na.\r\n", "..\r\n...\r\na.\r\n.\r\n");
	is_framed("a\n.\r\nb\r.\r\n", "a\n..\r\nb\r..\r\n.\r\n");
}

static void
is_clean(const char *raw, size_t len, const char *address, size_t size,
		 const char *wanted)
{
	BsMailText	text;
	char		out[BS_MAIL_REPLY_MAX];

	bs_mail_text_reset(&text);
	bs_mail_text_add(&text, raw, len);
	bs_mail_text_clean(&text, address, out, size);
	is_str(out, wanted, "text: %zu octets", len);
}

#define IS_CLEAN(raw, address, size, wanted) \
	is_clean(raw, sizeof(raw) - 1, address, size, wanted)

static void
test_text(void)
{
	char		raw[3000];
	char		wanted[BS_MAIL_REPLY_MAX];
	size_t		i;
	int			shown = 0;

	IS_CLEAN("", "a@b.cc", 512, "");
	IS_CLEAN(" \t\r\n a \r\n\r\n b \0 c ", "a@b.cc", 512, "a b c");
	IS_CLEAN("<a@b.cc>a@b.cc<A@B.CC <<a@b.cc>>", "a@b.cc", 512,
			 "<recipient><recipient><recipient> <<recipient>>");
	IS_CLEAN("a@b.c", "a@b.cc", 512, "a@b.c");
	IS_CLEAN("a", "", 512, "a");
	IS_CLEAN("a", NULL, 512, "a");
	IS_CLEAN("\xc3\xa9\xc3", "a@b.cc", 512, "\xc3\xa9\xef\xbf\xbd");
	IS_CLEAN("ab\xc3\xa9", "a@b.cc", 4, "ab");
	IS_CLEAN("a\xe2\x80\xa8" "b\xe2\x80\xae" "c", "x", 512, "a b c");
	IS_CLEAN("abc", "x", 1, "");

	/* An address is not shown in part, wherever the text is cut. */
	memset(wanted, 0, sizeof(wanted));
	for (i = 0; i < sizeof(raw); i++)
		raw[i] = "someone.with.a.long.name@a.long.domain.example "[i % 47];
	for (i = 0; i < 48; i++)
	{
		BsMailText	text;
		char		out[BS_MAIL_REPLY_MAX];

		bs_mail_text_reset(&text);
		bs_mail_text_add(&text, raw + 47 - i, 1900);
		bs_mail_text_add(&text, raw + (47 - i + 1900) % 47, 1000);
		bs_mail_text_clean(&text,
						   "Someone.with.a.long.name@a.long.domain.example",
						   out, sizeof(out));
		/* What the text begins with may be the end of one. */
		shown += strstr(out + i, "someone") != NULL;
	}
	is_int(shown, 0, "text: no address is shown in part");
}

/* ---- connections that are kept ---- */

static void
test_reuse(void)
{
	static const Script usual = {0};
	static const Script unknown = {.rcpt = "550 unknown\r\n"};
	static const Script second = {.rcpt = "550 unknown\r\n",.next = &usual};
	static const Script first = {.next = &second};
	static const Script spam = {.dot = "554 spam\r\n",.next = &usual};
	int			pass;
	int			i;

	reset_config();
	begin(&usual);
	for (i = 0; i < 20; i++)
		send_one("Hello\n");
	for (i = 0; i < 20 && results[i].outcome == BS_OUTCOME_ACCEPTED &&
		 results[i].tag == (uint64_t) i + 1; i++)
		;
	is_int(i, 20, "reuse: 20 mails one by one");
	is_int(relay.connected, 1, "reuse: on one connection");
	is_int(relay.mails, 20, "reuse: all are there");
	finish();

	for (pass = 0; pass < 2; pass++)
	{
		begin(&first);
		relay.plain_ehlo = pass == 1;
		send_one("Hello\n");
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_REFUSED,
			   "reuse: the second recipient is unknown");
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "reuse: the third mail goes on");
		is_int(relay.connected, 1, "reuse: on the same connection");
		ok(strstr(relay.log, "RSET\nMAIL") != NULL, "reuse: after RSET");
		finish();

		begin(&spam);
		relay.plain_ehlo = pass == 1;
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_REFUSED,
			   "reuse: refused after the dot");
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "reuse: the next goes on");
		is_int(relay.connected, 1, "reuse: on the same connection");
		ok(strstr(relay.log, "RSET") == NULL, "reuse: without RSET");
		finish();

		begin(&unknown);
		relay.plain_ehlo = pass == 1;
		for (i = 0; i < 12; i++)
			send_one("Hello\n");
		for (i = 0; i < 12 && results[i].outcome == BS_OUTCOME_REFUSED; i++)
			;
		is_int(i, 12, "reuse: 12 unknown recipients");
		is_int(relay.connected, 3, "reuse: a new connection after each five");
		ok(strstr(relay.log, "QUIT") != NULL, "reuse: with a farewell");
		finish();
	}
}

/* What a kept connection may do before the next mail's body is handed over. */
static void
test_reuse_broken(void)
{
	static const Script usual = {0};
	static const struct
	{
		const char *what;
		Script		second;
		BsOutcome	outcome;
	}			rows[] = {
		{"421 to MAIL", {.mail = CLOSE "421 enough\r\n"}, BS_OUTCOME_AGAIN},
		{"421 to RCPT", {.rcpt = CLOSE "421 enough\r\n"}, BS_OUTCOME_AGAIN},
		{"421 to DATA", {.data = CLOSE "421 enough\r\n"}, BS_OUTCOME_AGAIN},
		{"421 to the dot", {.dot = CLOSE "421 enough\r\n"}, BS_OUTCOME_AGAIN},
		{"closed at MAIL", {.mail = CLOSE ""}, BS_OUTCOME_AGAIN},
		{"reset at MAIL", {.mail = RESET ""}, BS_OUTCOME_AGAIN},
		{"closed at DATA", {.data = CLOSE ""}, BS_OUTCOME_AGAIN},
		{"silent at MAIL", {.mail = HANG ""}, BS_OUTCOME_TROUBLE},
		{"closed after the dot", {.dot = CLOSE ""}, BS_OUTCOME_IN_DOUBT},
	};
	size_t		i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		Script		first = {.next = &rows[i].second};

		reset_config();
		if (rows[i].outcome == BS_OUTCOME_TROUBLE)
			config.timeout_ms = 300;
		begin(&first);
		relay.scripts[1] = &usual;
		send_one("Hello\n");
		is_str(outcome_names[send_one("Hello\n").outcome],
			   outcome_names[rows[i].outcome], "kept: %s", rows[i].what);
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "kept: %s: the next mail goes", rows[i].what);
		is_int(relay.connected, 2, "kept: %s: on a new connection",
			   rows[i].what);
		finish();
	}

	/* What it did while nothing was under way costs nothing. */
	for (i = 0; i < 3; i++)
	{
		int64_t		until = now_ms() + LIMIT_MS;

		reset_config();
		begin(&usual);
		send_one("Hello\n");
		if (i > 0)
			relay_say(&relay.connections[0], "421 too long\r\n");
		relay.connections[0].ends = true;
		relay_write(&relay.connections[0]);
		if (i == 2)
		{
			/* The host was busy and did not call. */
			while (now_ms() < until && now_ms() - mailer->used_ms <= 150)
				poll(NULL, 0, 10);
		}
		else
		{
			while (now_ms() < until && mailer->slots[0].smtp.open)
				turn(100);
			ok(!mailer->slots[0].smtp.open, "kept: its end is noticed");
		}
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "kept: closed while idle");
		is_int(relay.connected, 2, "kept: another connection");
		finish();
	}
}

static void
test_close_idle(void)
{
	static const Script usual = {0};
	static const Script hangs = {.dot = HANG ""};
	static const Script http = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n"};

	reset_config();
	config.connections = 2;
	begin(&usual);
	relay.scripts[1] = &hangs;
	submit("Hello\n", 1);
	submit("Hello\n", 2);
	wait_for_results(1);
	bs_mailer_close_idle(mailer, 60000);
	ok(mailer->slots[0].smtp.open, "idle: not long enough");
	bs_mailer_close_idle(mailer, 0);
	ok(!mailer->slots[0].smtp.open, "idle: closed");
	ok(mailer->slots[1].smtp.open, "idle: not the one that is at work");
	ok(wait_for_command("QUIT"), "idle: with a farewell");
	finish();

	scheme = "http";
	reset_config();
	begin(&http);
	send_one("Hello\n");
	send_one("Hello\n");
	is_int(relay.connected, 1, "idle: http: one connection");
	bs_mailer_close_idle(mailer, 60000);
	send_one("Hello\n");
	is_int(relay.connected, 1, "idle: http: still the one");
	bs_mailer_close_idle(mailer, 0);
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
		   "idle: http: sent after a close");
	is_int(relay.connected, 2, "idle: http: on another connection");
	finish();
	scheme = "smtp";
}

static void
test_window(void)
{
	static const Script usual = {0};
	int			sent = 0;
	int			accepted = 0;
	int			i;
	bool		seen[200] = {0};

	reset_config();
	config.connections = 8;
	begin(&usual);
	is_int(bs_mailer_room(mailer), 8, "window: room for eight");
	is_int(bs_mailer_deadline_ms(mailer), -1, "window: no hurry");
	while (result_count < 200)
	{
		while (sent < 200 && bs_mailer_room(mailer) > 0)
			submit("Hello\n", sent++);
		if (bs_mailer_room(mailer) == 0 && submit("Hello\n", 999))
			break;
		turn(100);
	}
	for (i = 0; i < 200; i++)
	{
		accepted += results[i].outcome == BS_OUTCOME_ACCEPTED &&
			results[i].started_ms > INT64_C(1500000000000) &&
			results[i].ended_ms >= results[i].started_ms &&
			!seen[results[i].tag];
		seen[results[i].tag] = true;
	}
	is_int(accepted, 200, "window: 200 mails, each once");
	ok(relay.connected <= 8, "window: on eight connections at most");
	is_int(bs_mailer_busy(mailer), 0, "window: nothing is left");
	finish();
}

/* ---- mails that cannot be sent ---- */

static void
test_unsendable(void)
{
	static const Script usual = {0};
	static const char *const addresses[] = {
		"a@b.example>\r\nRCPT TO:<c@d.example", "a b@c.example", "", "a@b"
	};
	BsMail		mail;
	size_t		i;

	reset_config();
	begin(&usual);
	for (i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
	{
		mail = make_mail("Hello\n");
		mail.to_address = addresses[i];
		ok(bs_mailer_submit(mailer, &mail, 7), "unsendable: taken");
		ok(bs_mailer_deadline_ms(mailer) == 0, "unsendable: ready at once");
		ok(bs_mailer_next(mailer, &results[0]) && results[0].tag == 7 &&
		   results[0].outcome == BS_OUTCOME_REFUSED &&
		   results[0].error[0] != '\0', "unsendable: and refused");
	}
	mail = make_mail("Hello\n");
	mail.to_address = NULL;
	ok(bs_mailer_submit(mailer, &mail, 8) &&
	   bs_mailer_next(mailer, &results[0]) &&
	   results[0].outcome == BS_OUTCOME_REFUSED, "unsendable: no address");
	mail = make_mail("Hello\n");
	mail.idempotency_key = "a\r\nb";
	ok(bs_mailer_submit(mailer, &mail, 9) &&
	   bs_mailer_next(mailer, &results[0]) &&
	   results[0].outcome == BS_OUTCOME_REFUSED, "unsendable: no key");
	is_int(bs_mailer_room(mailer), 1, "unsendable: the handle is free");
	is_int(relay.connected, 0, "unsendable: nobody was asked");
	finish();
}

static void
test_config(void)
{
	static const struct
	{
		const char *url;
		bool		valid;
	}			urls[] = {
		{"smtp://relay", true}, {"smtps://relay.example:465", true},
		{"http://127.0.0.1:8080/send?x=y", true},
		{"https://[::1]/send", true}, {"smtp://relay/my.name", true},
		{"SMTP://relay", true},
		{"", false}, {"relay", false}, {"relay:25", false},
		{"smtp://", false}, {"ftp://relay", false},
		{"file:///etc/passwd", false}, {"gopher://relay", false},
		{"smtp://user@relay", false}, {"smtp://u:p@relay", false},
		{"smtp://;AUTH=PLAIN@relay", false}, {"smtp://relay:99999", false},
		{"smtp://relay?x", false}, {"http://relay/#x", false},
		{"smtp://re lay", false}, {"smtp://relay\r\n", false},
	};
	static const char *const bad_headers[][2] = {
		{"X-Key: a\r\nX-Other: b", NULL}, {"no colon", NULL},
		{": no name", NULL}, {"X-Key: a\x7f", NULL}
	};
	const char *reason;
	char		error[200];
	size_t		i;

	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		reason = NULL;
		ok(bs_mailer_check_url(urls[i].url, &reason) == urls[i].valid &&
		   (urls[i].valid || (reason != NULL &&
							  reason[strlen(reason) - 1] == '.')),
		   "url %zu: %s", i, urls[i].valid ? "taken" : "refused");
	}
	ok(!bs_mailer_check_url(NULL, &reason), "url: none");

	for (i = 0; i < 12; i++)
	{
		reset_config();
		config.url = "http://127.0.0.1/";
		if (i < 4)
			config.http_headers = bad_headers[i];
		else if (i == 4)
			config.url = "ftp://relay/";
		else if (i == 5)
			config.connections = 0;
		else if (i == 6)
			config.connections = 65;
		else if (i == 7)
			config.timeout_ms = 0;
		else if (i == 8)
			config.connect_timeout_ms = INT64_MAX;
		else if (i == 9)
			config.from = "nobody";
		else if (i == 10)
			config.from = NULL;
		else
			config.url = NULL;
		error[0] = '\0';
		ok(bs_mailer_create(&config, error, sizeof(error)) == NULL &&
		   error[0] != '\0', "config %zu is refused: %s", i, error);
	}
	bs_mailer_destroy(NULL);
	ok(true, "no mailer to destroy");
}

/* ---- ends that come from us ---- */

static void
is_aborted(const Script *script, const char *text, const char *until_command,
		   bool until_mail, BsOutcome outcome, const char *what)
{
	reset_config();
	begin(script);
	submit(text, 1);
	if (until_command != NULL)
		wait_for_command(until_command);
	else if (!until_mail)
	{
		int64_t		until = now_ms() + LIMIT_MS;

		while (relay.connected == 0 && now_ms() < until)
			turn(100);
	}
	if (until_mail)
	{
		int64_t		until = now_ms() + LIMIT_MS;

		while (relay.mails == 0 && now_ms() < until)
			turn(100);
	}
	is_int(bs_mailer_busy(mailer), 1, "abort: %s: under way", what);
	bs_mailer_abort(mailer);
	ok(bs_mailer_next(mailer, &results[0]) && results[0].tag == 1,
	   "abort: %s: has a result", what);
	is_str(outcome_names[results[0].outcome], outcome_names[outcome],
		   "abort: %s", what);
	is_int(bs_mailer_room(mailer), 1, "abort: %s: the handle is free", what);

	/* The relay sees the end, and no mail that was not whole. */
	if (relay.connected > 0)
	{
		int64_t		until = now_ms() + LIMIT_MS;

		relay.may_read = true;
		while (relay.connections[0].in >= 0 && now_ms() < until)
			turn(10);
	}
	is_int(relay.mails, until_mail, "abort: %s: no torn mail", what);
	finish();
}

static void
test_abort(void)
{
	static const Script no_greeting = {.greeting = HANG ""};
	static const Script no_mail = {.mail = HANG ""};
	static const Script no_data = {.data = HANG ""};
	static const Script no_dot = {.dot = HANG ""};
	static const Script half_dot = {.dot = HANG "250-half\r\n"};
	static const Script deaf = {.deaf = true};
	static const Script refused = {.rcpt = "550 unknown\r\n",.data = HANG ""};
	static const Script usual = {0};
	static const Script http = {.http = HANG ""};
	static const Script http_body = {.http = HANG "HTTP/1.1 200 OK\r\n"
	"Content-Length: 10\r\n\r\nabc"};
	char	   *long_text = make_long_text();

	is_aborted(&no_greeting, "Hello\n", NULL, false, BS_OUTCOME_RELEASED,
			   "no greeting yet");
	is_aborted(&no_mail, "Hello\n", "MAIL", false, BS_OUTCOME_RELEASED,
			   "no answer to MAIL yet");
	is_aborted(&no_data, "Hello\n", "DATA", false, BS_OUTCOME_RELEASED,
			   "no answer to DATA yet");
	is_aborted(&no_dot, "Hello\n", NULL, true, BS_OUTCOME_IN_DOUBT,
			   "no answer to the dot yet");
	is_aborted(&half_dot, "Hello\n", NULL, true, BS_OUTCOME_IN_DOUBT,
			   "half an answer to the dot");
	is_aborted(&deaf, long_text, "DATA", false, BS_OUTCOME_RELEASED,
			   "half of the body");
	is_aborted(&refused, "Hello\n", "DATA", false, BS_OUTCOME_REFUSED,
			   "refused, and one reply is missing");
	scheme = "http";
	is_aborted(&http, "Hello\n", NULL, true, BS_OUTCOME_IN_DOUBT,
			   "http: no answer yet");
	is_aborted(&http_body, "Hello\n", NULL, true, BS_OUTCOME_ACCEPTED,
			   "http: a status, and half a body");
	scheme = "smtp";

	/* An answer that has arrived is no doubt. */
	reset_config();
	begin(&usual);
	submit("Hello\n", 1);
	while (!mailer->slots[0].handed_over)
		turn(100);
	ok(wait_for_arrival(), "abort: an answer has arrived");
	bs_mailer_abort(mailer);
	ok(bs_mailer_next(mailer, &results[0]) &&
	   results[0].outcome == BS_OUTCOME_ACCEPTED, "abort: and counts");
	bs_mailer_abort(mailer);
	ok(!bs_mailer_next(mailer, &results[0]), "abort: of nothing");
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
		   "abort: the mailer can go on");
	finish();

	/* Destroyed in the middle of everything. */
	config.connections = 4;
	begin(&no_greeting);
	relay.scripts[1] = &no_dot;
	relay.scripts[2] = &deaf;
	relay.scripts[3] = &no_data;
	submit("Hello\n", 1);
	submit("Hello\n", 2);
	submit(long_text, 3);
	submit("Hello\n", 4);
	wait_for_command("DATA\nEHLO");
	while (relay.connected < 4 || relay.mails < 1)
		turn(100);
	finish();
	ok(true, "destroyed in the middle");
	free(long_text);
}

/* A body that the relay stops reading ends by the clock, and was not taken. */
static void
test_stalled_body(void)
{
	static const Script deaf = {.deaf = true};
	static const Script cut = {.body = CLOSE ""};
	static const Script early = {.body = "554 spam\r\n"};
	static const Script late = {.body = "250 taken\r\n"};
	char	   *long_text = make_long_text();
	int64_t		began = now_ms();

	reset_config();
	config.timeout_ms = 300;
	begin(&deaf);
	is_int(send_one(long_text).outcome, BS_OUTCOME_TROUBLE, "body: stalled");
	ok(now_ms() - began < 2000, "body: ends in time");
	finish();

	reset_config();
	begin(&cut);
	is_int(send_one(long_text).outcome, BS_OUTCOME_TROUBLE, "body: cut");
	finish();

	begin(&early);
	is_int(send_one(long_text).outcome, BS_OUTCOME_REFUSED,
		   "body: refused before its end");
	is_int(results[0].response_code, 554, "body: with a code");
	finish();

	begin(&late);
	is_int(send_one(long_text).outcome, BS_OUTCOME_TROUBLE,
		   "body: taken before its end is not taken");
	is_int(relay.mails, 0, "body: and no torn mail is left");
	finish();
	free(long_text);
}

static void
test_no_relay(void)
{
	int			port;
	BsMailResult result;
	static const Script usual = {0};

	relay_open(&relay, &usual);
	port = relay.port;
	relay_close(&relay);
	relay_open(&relay, &usual);
	reset_config();
	open_mailer(port);
	result = send_one("Hello\n");
	is_int(result.outcome, BS_OUTCOME_TROUBLE, "no relay: trouble");
	is_int(result.response_code, 0, "no relay: no code");
	ok(strlen(result.error) > 0, "no relay: %s", result.error);
	finish();
}

/* ---- names ---- */

static pthread_mutex_t resolver_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_changed = PTHREAD_COND_INITIALIZER;
static bool resolver_released;
static int	resolver_running;
static bool resolver_took_signals;

/* libcurl's threads come here: one name never gets an answer. */
int
getaddrinfo(const char *node, const char *service,
			const struct addrinfo *hints, struct addrinfo **found)
{
	int			(*original) (const char *, const char *,
							 const struct addrinfo *, struct addrinfo **);

	*(void **) &original = dlsym(RTLD_NEXT, "getaddrinfo");
	if (node != NULL && strcmp(node, "stuck.test") == 0)
	{
		sigset_t	mask;

		pthread_sigmask(SIG_SETMASK, NULL, &mask);
		pthread_mutex_lock(&resolver_mutex);
		resolver_running++;
		resolver_took_signals |= !sigismember(&mask, SIGTERM) ||
			!sigismember(&mask, SIGUSR1) || !sigismember(&mask, SIGALRM);
		pthread_cond_broadcast(&resolver_changed);
		while (!resolver_released)
			pthread_cond_wait(&resolver_changed, &resolver_mutex);
		resolver_running--;
		pthread_cond_broadcast(&resolver_changed);
		pthread_mutex_unlock(&resolver_mutex);
		return EAI_AGAIN;
	}
	return original(node, service, hints, found);
}

static int
resolvers_running(void)
{
	int			running;

	pthread_mutex_lock(&resolver_mutex);
	running = resolver_running;
	pthread_mutex_unlock(&resolver_mutex);
	return running;
}

static void
test_stuck_resolver(void)
{
	static const Script usual = {0};
	int64_t		until = now_ms() + LIMIT_MS;
	int64_t		began;
	int			before = (int) longest_call_ms;
	sigset_t	mask;

	longest_call_ms = 0;
	host = "stuck.test";
	reset_config();
	config.timeout_ms = 400;
	config.connect_timeout_ms = 200;
	begin(&usual);
	began = now_ms();
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_TROUBLE,
		   "resolver: stuck, and the mail ends all the same");
	ok(now_ms() - began < 1400, "resolver: in time");

	submit("Hello\n", 2);
	while (resolvers_running() < 2 && now_ms() < until)
		turn(10);
	began = now_ms();
	bs_mailer_abort(mailer);
	ok(bs_mailer_next(mailer, &results[0]) &&
	   results[0].outcome == BS_OUTCOME_RELEASED, "resolver: aborted");
	submit("Hello\n", 3);
	while (resolvers_running() < 3 && now_ms() < until)
		turn(10);
	began = now_ms();
	finish();
	ok(now_ms() - began < 200, "resolver: a mailer is destroyed under it");
	ok(longest_call_ms < 200, "resolver: nothing waited for it (%d ms)",
	   (int) longest_call_ms);
	host = "127.0.0.1";

	pthread_mutex_lock(&resolver_mutex);
	ok(!resolver_took_signals, "resolver: its threads take no signals");
	resolver_released = true;
	pthread_cond_broadcast(&resolver_changed);
	while (resolver_running > 0)
		pthread_cond_wait(&resolver_changed, &resolver_mutex);
	pthread_mutex_unlock(&resolver_mutex);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	ok(!sigismember(&mask, SIGTERM), "resolver: we take them still");
	if (before > longest_call_ms)
		longest_call_ms = before;
}

/* ---- HTTP ---- */

#define HTTP(status, headers, body) \
	{.http = "HTTP/1.1 " status "\r\n" headers "\r\n" body}

static const Case http_cases[] = {
	{"200", HTTP("200 OK", "Content-Length: 13\r\n", "{\"ok\": true}\n"),
	BS_OUTCOME_ACCEPTED, 200, "{\"ok\": true}"},
	{"202 without a body", HTTP("202 Accepted", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_ACCEPTED, 202, NULL},
	{"200 with garbage", HTTP("200 OK", "Content-Length: 8\r\n",
							  "\x01\xff\xfe<{ok\n"), BS_OUTCOME_ACCEPTED, 200,
	"\xef\xbf\xbd\xef\xbf\xbd<{ok"},
	{"200, body cut", {.http = CLOSE "HTTP/1.1 200 OK\r\n"
	"Content-Length: 100\r\n\r\nabc"}, BS_OUTCOME_ACCEPTED, 200, "abc"},
	{"200, body cut by RST", {.http = RESET "HTTP/1.1 200 OK\r\n"
	"Content-Length: 100\r\n\r\nabc"}, BS_OUTCOME_ACCEPTED, 200, "abc"},
	{"200, broken chunks", {.http = CLOSE "HTTP/1.1 200 OK\r\n"
	"Transfer-Encoding: chunked\r\n\r\nzzz\r\n"}, BS_OUTCOME_ACCEPTED, 200, NULL},
	{"200, headers cut", {.http = CLOSE "HTTP/1.1 200 OK\r\nA: b"},
	BS_OUTCOME_ACCEPTED, 200, NULL},
	{"200, headers hang", {.http = HANG "HTTP/1.1 200 OK\r\nA: b"},
	BS_OUTCOME_ACCEPTED, 200, NULL},
	{"200, an octet at a time", {.http = DRIP "HTTP/1.1 200 OK\r\n"
	"Content-Length: 2\r\n\r\nok"}, BS_OUTCOME_ACCEPTED, 200, "ok"},
	{"100 and then 200", {.http = "HTTP/1.1 100 Continue\r\n\r\n"
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	BS_OUTCOME_ACCEPTED, 200, NULL},
	{"100 alone", {.http = CLOSE "HTTP/1.1 100 Continue\r\n\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"the address in the answer", HTTP("200 OK", "Content-Length: 31\r\n",
									   "{\"to\": \"zoe.doe@EXAMPLE.org\"}  "), BS_OUTCOME_ACCEPTED, 200,
	"{\"to\": \"<recipient>\"}"},
	{"302", HTTP("302 Found", "Location: http://169.254.169.254/\r\n"
				 "Content-Length: 0\r\n", ""), BS_OUTCOME_REFUSED, 302, NULL},
	{"307 to a file", HTTP("307 Temporary", "Location: file:///etc/passwd\r\n"
						   "Content-Length: 0\r\n", ""), BS_OUTCOME_REFUSED, 307, NULL},
	{"400", HTTP("400 Bad Request", "Content-Length: 3\r\n", "bad"),
	BS_OUTCOME_REFUSED, 400, "bad"},
	{"401", HTTP("401 Unauthorized", "Content-Length: 0\r\n"
				 "WWW-Authenticate: Basic\r\n", ""), BS_OUTCOME_TROUBLE, 401, NULL},
	{"403", HTTP("403 Forbidden", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_TROUBLE, 403, NULL},
	{"404", HTTP("404 Not Found", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_REFUSED, 404, NULL},
	{"409", HTTP("409 Conflict", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_LATER, 409, NULL},
	{"429", HTTP("429 Too Many", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_LATER, 429, NULL},
	{"500", HTTP("500 Oops", "Content-Length: 4\r\n", "oops"),
	BS_OUTCOME_TROUBLE, 500, "oops"},
	{"503", HTTP("503 Busy", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_TROUBLE, 503, NULL},
	{"closed", {.http = CLOSE ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"reset", {.http = RESET ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"no answer", {.http = HANG ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"half a status line", {.http = CLOSE "HTTP/1.1 2"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"a status line that is none", {.http = CLOSE "HTTP/x.1 401 No\r\n\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"200 as a field of a 500", HTTP("500 Oops", "HTTP/1.1 200 OK\r\n"
									 "Content-Length: 0\r\n", ""), BS_OUTCOME_TROUBLE, 500, NULL},
	{"200 as a trailer of a 500", HTTP("500 Oops",
									   "Transfer-Encoding: chunked\r\n", "0\r\nHTTP/1.1 200 OK\r\n\r\n"),
	BS_OUTCOME_TROUBLE, 500, NULL},
	{"a status of four digits", HTTP("2000 OK", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"HTTP/1.0", {.http = CLOSE "HTTP/1.0 201 Made\r\n\r\nok"},
	BS_OUTCOME_ACCEPTED, 201, "ok"},
	{"not HTTP", {.http = CLOSE "250 taken\r\n"}, BS_OUTCOME_IN_DOUBT, 0, NULL},
};

static void
test_http_cases(void)
{
	size_t		i;

	scheme = "http";
	for (i = 0; i < sizeof(http_cases) / sizeof(http_cases[0]); i++)
		run_case(&http_cases[i], "http", false);
	scheme = "smtp";
}

static void
test_http_request(void)
{
	static const Script http = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n"};
	static const char *const headers[] = {
		"X-Tenant: seven", "Content-Type: application/vnd.mail+json", NULL
	};
	BsMail		mail = make_mail("Hello\n");
	char		key[100];

	scheme = "http";
	reset_config();
	begin(&http);
	bs_mailer_submit(mailer, &mail, 1);
	wait_for_results(1);
	snprintf(key, sizeof(key), "\r\nIdempotency-Key: %s\r\n",
			 mail.idempotency_key);
	ok(strncmp(relay.request, "POST /send?a=b HTTP/1.1\r\n", 25) == 0,
	   "request: a POST to the path");
	ok(strstr(relay.request, key) != NULL, "request: its key");
	ok(strstr(relay.request, "\r\nContent-Type: application/json\r\n") != NULL,
	   "request: its type");
	ok(strstr(relay.request, "\r\nExpect") == NULL, "request: no Expect");
	ok(strstr(relay.request, "\r\nAuthorization") == NULL,
	   "request: no password where there is none");
	finish();

	config.user = "us";
	config.password = "secret";
	config.http_headers = headers;
	begin(&http);
	send_one("Hello\n");
	ok(strstr(relay.request, "\r\nAuthorization: Basic dXM6c2VjcmV0\r\n") !=
	   NULL, "request: the password");
	ok(strstr(relay.request, "\r\nX-Tenant: seven\r\n") != NULL,
	   "request: a header of the user's");
	ok(strstr(relay.request, "application/vnd.mail+json") != NULL &&
	   strstr(relay.request, "application/json") == NULL,
	   "request: the user's type instead of ours");
	send_one("Hello\n");
	is_int(relay.connected, 1, "request: another on the same connection");
	is_int(relay.mails, 2, "request: both are there");
	finish();
	scheme = "smtp";
}

static void
is_retry_after(const char *status, const char *value, int64_t least,
			   int64_t most)
{
	char		answer[256];
	Script		http = {.http = answer};

	snprintf(answer, sizeof(answer), "HTTP/1.1 %s\r\nRetry-After: %s\r\n"
			 "Content-Length: 0\r\n\r\n", status, value);
	reset_config();
	begin(&http);
	send_one("Hello\n");
	ok(results[0].retry_after_ms >= least && results[0].retry_after_ms <= most,
	   "retry after \"%s\": %lld ms", value,
	   (long long) results[0].retry_after_ms);
	finish();
}

static void
test_retry_after(void)
{
	char		date[64];
	time_t		when = time(NULL) + 120;

	scheme = "http";
	is_retry_after("429 Slow", "120", 120000, 120000);
	is_retry_after("503 Busy", "7", 7000, 7000);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&when));
	is_retry_after("429 Slow", date, 110000, 121000);
	is_retry_after("429 Slow", "Thu, 01 Jan 1970 00:00:00 GMT", -1, -1);
	is_retry_after("429 Slow", "0", -1, -1);
	is_retry_after("429 Slow", "-5", -1, -1);
	is_retry_after("429 Slow", "soon", -1, -1);
	is_retry_after("429 Slow", "99999999999999999999", -1, 86400000);
	is_retry_after("503 Busy", "31536000", 86400000, 86400000);
	scheme = "smtp";
}

/* Answers that have no end are cut, and what was sent twice is not by us. */
static void
test_http_odd(void)
{
	static const Script flood = {.http = FLOOD "HTTP/1.1 200 OK\r\n\r\n"};
	static const Script flood_error = {.http = FLOOD "HTTP/1.1 503 No\r\n\r\n"};
	static const Script early = {.http = CLOSE "HTTP/1.1 413 Large\r\n"
	"Content-Length: 0\r\n\r\n",.http_early = true};
	static const Script early_ok = {.http = RESET "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n",.http_early = true};
	static const Script dies = {.http = CLOSE ""};
	static const Script usual = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n",.next = &dies};
	char	   *long_text = make_long_text();

	scheme = "http";
	reset_config();
	begin(&flood);
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
		   "http: 200 with a body without end");
	is_int(strlen(results[0].reply), BS_MAIL_REPLY_MAX - 1,
		   "http: of which the beginning is kept");
	finish();
	begin(&flood_error);
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_TROUBLE,
		   "http: 503 with a body without end");
	finish();

	begin(&early);
	is_int(send_one(long_text).response_code, 413,
		   "http: refused before the request was whole");
	finish();
	begin(&early_ok);
	is_int(send_one(long_text).outcome, BS_OUTCOME_TROUBLE,
		   "http: 200 before the request was whole is nothing");
	finish();

	/* libcurl would send it again by itself on a new connection. */
	begin(&usual);
	send_one("Hello\n");
	is_str(outcome_names[send_one("Hello\n").outcome], "in doubt",
		   "http: a kept connection dies under a whole request");
	is_int(relay.mails, 2, "http: the request was not sent again");
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
		   "http: the next goes");
	finish();
	scheme = "smtp";
	free(long_text);
}

/* ---- TLS ---- */

static char tls_folder[] = "/tmp/test_mail.XXXXXX";
static char tls_cert[64];
static pid_t tls_server;
static int	tls_port;
static int	tls_in;				/* what the client says, in clear */
static int	tls_out;

static bool
make_certificate(void)
{
	char		command[600];

	if (mkdtemp(tls_folder) == NULL)
		return false;
	snprintf(tls_cert, sizeof(tls_cert), "%s/cert", tls_folder);
	snprintf(command, sizeof(command),
			 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
			 "-nodes -keyout %s/key -out %s -days 2 -subj /CN=localhost "
			 "-addext subjectAltName=DNS:localhost >/dev/null 2>&1",
			 tls_folder, tls_cert);
	return system(command) == 0;
}

/* A child that speaks TLS, and clear text through pipes. */
static void
start_tls_server(void)
{
	int			to_child[2];
	int			from_child[2];
	char		accept[32];
	char		key[64];
	Relay		free_port;
	int64_t		until = now_ms() + LIMIT_MS;
	struct sockaddr_in address = {0};

	relay_open(&free_port, NULL);
	tls_port = free_port.port;
	relay_close(&free_port);
	snprintf(accept, sizeof(accept), "127.0.0.1:%d", tls_port);
	snprintf(key, sizeof(key), "%s/key", tls_folder);
	if (pipe(to_child) != 0 || pipe(from_child) != 0)
		return;
	fflush(stdout);
	tls_server = fork();
	if (tls_server == 0)
	{
		dup2(to_child[0], 0);
		dup2(from_child[1], 1);
		close(to_child[1]);
		close(from_child[0]);
		dup2(open("/dev/null", O_WRONLY), 2);
		execlp("openssl", "openssl", "s_server", "-quiet", "-accept", accept,
			   "-cert", tls_cert, "-key", key, (char *) NULL);
		_exit(127);
	}
	close(to_child[0]);
	close(from_child[1]);
	tls_in = from_child[0];
	tls_out = to_child[1];
	fcntl(tls_in, F_SETFL, O_NONBLOCK);
	fcntl(tls_out, F_SETFL, O_NONBLOCK);

	/* Ready when its port is taken; binding leaves no trace. */
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(tls_port);
	while (now_ms() < until)
	{
		int			probe = socket(AF_INET, SOCK_STREAM, 0);
		int			one = 1;
		bool		taken;

		setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		taken = bind(probe, (struct sockaddr *) &address,
					 sizeof(address)) != 0;
		close(probe);
		if (taken)
			break;
		poll(NULL, 0, 5);
	}
}

static void
stop_tls_server(void)
{
	kill(tls_server, SIGKILL);
	waitpid(tls_server, NULL, 0);
}

static int
connect_tls_server(void)
{
	struct sockaddr_in address = {0};
	int			sock = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(tls_port);
	if (connect(sock, (struct sockaddr *) &address, sizeof(address)) != 0)
		perror("# connect");
	return sock;
}

/* Copies between the two sockets until one of them ends. */
static void *
splice_main(void *arg)
{
	int		   *socks = arg;
	char		buffer[16384];
	bool		open = true;

	while (open)
	{
		struct pollfd fds[2] = {{socks[0], POLLIN, 0}, {socks[1], POLLIN, 0}};
		int			i;

		poll(fds, 2, LIMIT_MS);
		for (i = 0; i < 2 && open; i++)
		{
			ssize_t		len;

			if (fds[i].revents == 0)
				continue;
			len = read(socks[i], buffer, sizeof(buffer));
			open = len > 0 && write(socks[1 - i], buffer, len) == len;
		}
	}
	shutdown(socks[0], SHUT_RDWR);
	shutdown(socks[1], SHUT_RDWR);
	close(socks[0]);
	close(socks[1]);
	return NULL;
}

static pthread_t splice_thread;
static int	splice_socks[2];
static bool splice_runs;

/* The client's socket goes to the child; the relay goes on in clear text. */
static void
go_tls(RelayConnection *connection)
{
	splice_socks[0] = connection->in;
	splice_socks[1] = connect_tls_server();
	fcntl(splice_socks[0], F_SETFL, 0);
	splice_runs = pthread_create(&splice_thread, NULL, splice_main,
								 splice_socks) == 0;
	connection->in = tls_in;
	connection->out = tls_out;
}

static void
is_starttls(const Script *script, BsMailTls tls, bool trusted, bool usable,
			BsOutcome outcome, bool encrypted, const char *what)
{
	reset_config();
	config.tls = tls;
	config.ca_file = trusted ? tls_cert : NULL;
	host = usable ? "localhost" : "127.0.0.1";
	splice_runs = false;
	start_tls_server();
	begin(script);
	relay.on_starttls = script->starttls == NULL ? go_tls : NULL;
	is_str(outcome_names[send_one("Hello\n").outcome], outcome_names[outcome],
		   "starttls: %s", what);
	printf("# %s\n", results[0].error);
	is_int(splice_runs && outcome == BS_OUTCOME_ACCEPTED, encrypted,
		   "starttls: %s: %sencrypted", what, encrypted ? "" : "not ");
	if (outcome != BS_OUTCOME_ACCEPTED)
		ok(strstr(relay.log, "MAIL") == NULL,
		   "starttls: %s: no mail was named", what);
	if (outcome == BS_OUTCOME_ACCEPTED)
	{
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "starttls: %s: and another", what);
		is_int(relay.mails, 2, "starttls: %s: both are there", what);
	}
	bs_mailer_destroy(mailer);
	mailer = NULL;
	stop_tls_server();
	if (splice_runs)
		pthread_join(splice_thread, NULL);
	else
	{
		close(tls_in);
		close(tls_out);
	}
	relay_close(&relay);
	host = "127.0.0.1";
}

static void
test_starttls(void)
{
	/* The second EHLO, inside, has the same answer: nobody minds. */
	static const Script offers = {.ehlo = "250-relay.test\r\n"
	"250-STARTTLS\r\n250 PIPELINING\r\n"};
	static const Script usual = {0};
	static const Script denies = {.ehlo = "250-relay.test\r\n250 STARTTLS\r\n",
	.starttls = "454 not now\r\n"};
	static const Script injects = {.ehlo = "250-relay.test\r\n250 STARTTLS\r\n",
	.starttls = "220 go\r\n250-relay.test\r\n250 AUTH PLAIN\r\n"};

	is_starttls(&offers, BS_MAIL_TLS_REQUIRED, true, true,
				BS_OUTCOME_ACCEPTED, true, "required and given");
	is_starttls(&offers, BS_MAIL_TLS_OFFERED, true, true,
				BS_OUTCOME_ACCEPTED, true, "taken where offered");
	is_starttls(&offers, BS_MAIL_TLS_OFF, true, true,
				BS_OUTCOME_ACCEPTED, false, "off");
	is_starttls(&usual, BS_MAIL_TLS_OFFERED, true, true,
				BS_OUTCOME_ACCEPTED, false, "not offered");
	is_starttls(&usual, BS_MAIL_TLS_REQUIRED, true, true,
				BS_OUTCOME_TROUBLE, false, "required and not offered");
	is_starttls(&denies, BS_MAIL_TLS_REQUIRED, true, true,
				BS_OUTCOME_TROUBLE, false, "required and denied");
	is_starttls(&injects, BS_MAIL_TLS_REQUIRED, true, true,
				BS_OUTCOME_TROUBLE, false, "a reply slipped in before TLS");
	is_starttls(&offers, BS_MAIL_TLS_REQUIRED, false, true,
				BS_OUTCOME_TROUBLE, false, "nobody vouches");
	is_starttls(&offers, BS_MAIL_TLS_OFFERED, false, true,
				BS_OUTCOME_TROUBLE, false, "offered, and nobody vouches");
	is_starttls(&offers, BS_MAIL_TLS_REQUIRED, true, false,
				BS_OUTCOME_TROUBLE, false, "for another host");
}

static void
is_smtps(bool trusted, bool usable, BsOutcome outcome, const char *what)
{
	static const Script usual = {0};
	char	   *long_text = make_long_text();
	RelayConnection *connection;

	reset_config();
	config.tls = BS_MAIL_TLS_REQUIRED;
	config.ca_file = trusted ? tls_cert : NULL;
	scheme = "smtps";
	host = usable ? "localhost" : "127.0.0.1";
	start_tls_server();
	relay_open(&relay, &usual);
	open_mailer(tls_port);
	connection = relay_add_connection(&relay, tls_in, tls_out);
	relay_say(connection, "220 relay.test\r\n");
	relay_write(connection);
	is_str(outcome_names[send_one("Hello\n").outcome], outcome_names[outcome],
		   "smtps: %s", what);
	printf("# %s\n", results[0].error);
	if (outcome == BS_OUTCOME_ACCEPTED)
	{
		BsMail		mail = make_mail(long_text);
		size_t		len;
		char	   *made;

		bs_mailer_submit(mailer, &mail, 2);
		wait_for_results(2);
		made = bs_mime_build(&mail, &len);
		is_str(outcome_names[results[1].outcome], "accepted",
			   "smtps: megabytes");
		ok(relay.mails == 2 && relay.mail_len[1] == len &&
		   memcmp(relay.mail[1], made, len) == 0, "smtps: arrive whole");
		free(made);
	}
	bs_mailer_destroy(mailer);
	mailer = NULL;
	stop_tls_server();
	relay_close(&relay);
	free(long_text);
	scheme = "smtp";
	host = "127.0.0.1";
}

static void
test_tls(void)
{
	char		command[100];

	if (!make_certificate())
	{
		ok(true, "tls # SKIP no openssl");
		return;
	}
	is_smtps(true, true, BS_OUTCOME_ACCEPTED, "trusted");
	is_smtps(false, true, BS_OUTCOME_TROUBLE, "nobody vouches");
	is_smtps(true, false, BS_OUTCOME_TROUBLE, "for another host");
	test_starttls();
	snprintf(command, sizeof(command), "rm -r %s", tls_folder);
	if (system(command) != 0)
		printf("# %s is left\n", tls_folder);
}

/* ---- login ---- */

static void
test_login(void)
{
	static const Script offers = {.ehlo = "250-relay.test\r\n"
	"250-PIPELINING\r\n250 AUTH GSSAPI NTLM PLAIN\r\n"};

	/* The relay does not know AUTH and answers 502. */
	reset_config();
	config.user = "us@example.com";
	config.password = "secret";
	begin(&offers);
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_TROUBLE,
		   "login: a refusal is trouble");
	is_int(results[0].response_code, 502, "login: with its code");
	ok(strstr(relay.log, "AUTH PLAIN") != NULL &&
	   strstr(relay.log, "AUTH GSSAPI") == NULL &&
	   strstr(relay.log, "AUTH NTLM") == NULL, "login: in a plain way");
	ok(strstr(results[0].error, "secret") == NULL, "login: no secret is told");
	finish();
}

/* ---- all of it ---- */

static int
count_descriptors(void)
{
	DIR		   *folder = opendir("/proc/self/fd");
	int			count = 0;

	while (folder != NULL && readdir(folder) != NULL)
		count++;
	if (folder != NULL)
		closedir(folder);
	return count;
}

int
main(void)
{
	int			descriptors;

	/* None of these may have any effect. */
	setenv("all_proxy", "http://127.0.0.1:9", 1);
	setenv("http_proxy", "http://127.0.0.1:9", 1);
	setenv("no_proxy", "", 1);
	signal(SIGPIPE, SIG_IGN);

	ok(bs_mailer_global_init(), "libcurl is ready");
	descriptors = count_descriptors();
	test_config();
	test_frame();
	test_text();
	test_unsendable();
	test_dialogue();
	test_smtp_cases();
	test_delivery();
	test_reuse();
	test_reuse_broken();
	test_close_idle();
	test_window();
	test_stalled_body();
	test_no_relay();
	test_abort();
	test_login();
	test_http_cases();
	test_http_request();
	test_retry_after();
	test_http_odd();
	scheme = "http";
	test_delivery();
	scheme = "smtp";
	test_tls();
	test_stuck_resolver();
	is_int(count_descriptors(), descriptors, "no descriptor is left open");
	ok(longest_call_ms < 500, "no call took long (%d ms)",
	   (int) longest_call_ms);
	return tap_done();
}
