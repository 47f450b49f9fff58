/*-------------------------------------------------------------------------
 *
 * test_mail_smtp.c
 *	  One SMTP mail against a relay that misbehaves in every way.
 *
 * test/unit/test_mail_smtp.c
 *
 *-------------------------------------------------------------------------
 */
#include "mail_host.h"

static const BsMailCase smtp_cases[] = {
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
	{"closed during the body", {.body = CLOSE ""},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
};

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
	static const BsScript usual = {0};
	char		wanted[200];

	reset_mailer_config();
	begin(&usual);
	send_one("Hello\n");
	snprintf(wanted, sizeof(wanted), "EHLO me.example\n"
			 "MAIL FROM:<greetings@example.com> SIZE=%zu\n"
			 "RCPT TO:<Zoe.Doe@example.org>\nDATA\n", relay.mail_len[0]);
	is_str(relay.log, wanted, "the dialogue");
	stop();
	begin(&usual);
	relay.plain_ehlo = true;
	send_one("Hello\n");
	is_str(relay.log, "EHLO me.example\nMAIL FROM:<greetings@example.com>\n"
		   "RCPT TO:<Zoe.Doe@example.org>\nDATA\n",
		   "the dialogue with a relay that offers nothing");
	stop();
}

/* A body that the relay stops reading ends by the clock, and was not taken. */
static void
test_stalled_body(void)
{
	static const BsScript deaf = {.deaf = true};
	static const BsScript flood = {.dot = FLOOD "250 "};
	static const BsScript cut = {.body = CLOSE ""};
	static const BsScript early = {.body = "554 spam\r\n"};
	static const BsScript late = {.body = "250 taken\r\n"};
	char	   *long_words = make_long_text();
	int64_t		began;

	reset_mailer_config();
	mailer_config.timeout_ms = 300;
	begin(&deaf);
	submit(long_words, 1);
	began = now_ms();
	wait_for_results(1);
	is_int(results[0].outcome, BS_OUTCOME_TROUBLE, "body: stalled");
	ok(now_ms() - began < 300 + 3000, "body: ends in time");
	stop();

	reset_mailer_config();
	began = now_ms();
	begin(&flood);
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_IN_DOUBT,
		   "body: the reply to the dot has no end");
	ok(now_ms() - began < mailer_config.timeout_ms, "body: nobody waits for one");
	stop();

	begin(&cut);
	is_int(send_one(long_words).outcome, BS_OUTCOME_TROUBLE, "body: cut");
	stop();

	begin(&early);
	is_int(send_one(long_words).outcome, BS_OUTCOME_REFUSED,
		   "body: refused before its end");
	is_int(results[0].response_code, 554, "body: with a code");
	stop();

	begin(&late);
	is_int(send_one(long_words).outcome, BS_OUTCOME_TROUBLE,
		   "body: taken before its end is not taken");
	is_int(relay.mails, 0, "body: and no torn mail is left");
	stop();
	free(long_words);
}

static void
test_no_relay(void)
{
	int			port;
	BsMailResult result;
	static const BsScript usual = {0};

	relay_open(&relay, &usual);
	port = relay.port;
	relay_close(&relay);
	relay_open(&relay, &usual);
	reset_mailer_config();
	open_mailer(port);
	result = send_one("Hello\n");
	is_int(result.outcome, BS_OUTCOME_TROUBLE, "no relay: trouble");
	is_int(result.response_code, 0, "no relay: no code");
	ok(strlen(result.error) > 0, "no relay: %s", result.error);
	stop();
}

/* ---- login ---- */

static void
test_login(void)
{
	static const BsScript offers = {.ehlo = "250-relay.test\r\n"
	"250-PIPELINING\r\n250 AUTH GSSAPI NTLM PLAIN\r\n"};

	/* The relay asks for the password, and answers 502 to it. */
	reset_mailer_config();
	mailer_config.user = "us@example.com";
	mailer_config.password = "secret";
	begin(&offers);
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_TROUBLE,
		   "login: a refusal is trouble");
	is_int(results[0].response_code, 502, "login: with its code");
	ok(strstr(relay.log, "AUTH PLAIN") != NULL &&
	   strstr(relay.log, "AUTH GSSAPI") == NULL &&
	   strstr(relay.log, "AUTH NTLM") == NULL, "login: in a plain way");
	ok(strstr(results[0].error, "secret") == NULL, "login: no secret is told");
	stop();
}

int
main(void)
{
	host_begin();
	test_smtp_cases();
	test_dialogue();
	test_delivery();
	test_stalled_body();
	test_no_relay();
	test_login();
	return host_end();
}
