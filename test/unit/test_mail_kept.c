/*-------------------------------------------------------------------------
 *
 * test_mail_kept.c
 *	  Connections that are kept, and ends that come from the host.
 *
 * test/unit/test_mail_kept.c
 *
 *-------------------------------------------------------------------------
 */
#include "mail_host.h"

/* ---- connections that are kept ---- */

static void
test_reuse(void)
{
	static const BsScript usual = {0};
	static const BsScript unknown = {.rcpt = "550 unknown\r\n"};
	static const BsScript second = {.rcpt = "550 unknown\r\n",.next = &usual};
	static const BsScript first = {.next = &second};
	static const BsScript spam = {.dot = "554 spam\r\n",.next = &usual};
	int			pass;
	int			i;

	reset_mailer_config();
	begin(&usual);
	for (i = 0; i < 20; i++)
		send_one("Hello\n");
	for (i = 0; i < 20 && results[i].outcome == BS_OUTCOME_ACCEPTED &&
		 results[i].tag == (uint64_t) i + 1; i++)
		;
	is_int(i, 20, "reuse: 20 mails one by one");
	is_int(relay.connected, 1, "reuse: on one connection");
	is_int(relay.mails, 20, "reuse: all are there");
	stop();

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
		stop();

		begin(&spam);
		relay.plain_ehlo = pass == 1;
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_REFUSED,
			   "reuse: refused after the dot");
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "reuse: the next goes on");
		is_int(relay.connected, 1, "reuse: on the same connection");
		ok(strstr(relay.log, "RSET") == NULL, "reuse: without RSET");
		stop();

		begin(&unknown);
		relay.plain_ehlo = pass == 1;
		for (i = 0; i < 12; i++)
			send_one("Hello\n");
		for (i = 0; i < 12 && results[i].outcome == BS_OUTCOME_REFUSED; i++)
			;
		is_int(i, 12, "reuse: 12 unknown recipients");
		is_int(relay.connected, 3, "reuse: a new connection after each five");
		ok(strstr(relay.log, "QUIT") != NULL, "reuse: with a farewell");
		stop();
	}
}

/* What a kept connection may do before the next mail's body is handed over. */
static void
test_reuse_broken(void)
{
	static const BsScript usual = {0};
	static const struct
	{
		const char *what;
		BsScript	second;
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
		BsScript	first = {.next = &rows[i].second};

		reset_mailer_config();
		if (rows[i].outcome == BS_OUTCOME_TROUBLE)
			mailer_config.timeout_ms = 300;
		begin(&first);
		relay.scripts[1] = &usual;
		send_one("Hello\n");
		is_str(outcome_names[send_one("Hello\n").outcome],
			   outcome_names[rows[i].outcome], "kept: %s", rows[i].what);
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "kept: %s: the next mail goes", rows[i].what);
		is_int(relay.connected, 2, "kept: %s: on a new connection",
			   rows[i].what);
		stop();
	}

	/* What it did while nothing was under way costs nothing. */
	for (i = 0; i < 3; i++)
	{
		int64_t		until = now_ms() + LIMIT_MS;

		reset_mailer_config();
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
				take_turn(100);
			ok(!mailer->slots[0].smtp.open, "kept: its end is noticed");
		}
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "kept: closed while idle");
		is_int(relay.connected, 2, "kept: another connection");
		stop();
	}
}

static void
test_close_idle(void)
{
	static const BsScript usual = {0};
	static const BsScript hangs = {.dot = HANG ""};
	static const BsScript http = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n"};

	reset_mailer_config();
	mailer_config.connections = 2;
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
	stop();

	scheme = "http";
	reset_mailer_config();
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
	stop();
	scheme = "smtp";
}

static void
test_window(void)
{
	static const BsScript usual = {0};
	int			sent = 0;
	int			accepted = 0;
	int			i;
	bool		seen[200] = {0};

	reset_mailer_config();
	mailer_config.connections = 8;
	begin(&usual);
	is_int(bs_mailer_room(mailer), 8, "window: room for eight");
	is_int(bs_mailer_deadline_ms(mailer), -1, "window: no hurry");
	while (result_count < 200)
	{
		while (sent < 200 && bs_mailer_room(mailer) > 0)
			submit("Hello\n", sent++);
		if (bs_mailer_room(mailer) == 0 && submit("Hello\n", 999))
			break;
		take_turn(100);
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
	stop();
}

/* ---- ends that come from us ---- */

static void
is_aborted(const BsScript *script, const char *words, const char *until_command,
		   bool until_mail, BsOutcome outcome, const char *what)
{
	reset_mailer_config();
	begin(script);
	submit(words, 1);
	if (until_command != NULL)
		wait_for_command(until_command);
	else if (!until_mail)
	{
		int64_t		until = now_ms() + LIMIT_MS;

		while (relay.connected == 0 && now_ms() < until)
			take_turn(100);
	}
	if (until_mail)
	{
		int64_t		until = now_ms() + LIMIT_MS;

		while (relay.mails == 0 && now_ms() < until)
			take_turn(100);
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
			take_turn(10);
	}
	is_int(relay.mails, until_mail, "abort: %s: no torn mail", what);
	stop();
}

static void
test_abort(void)
{
	static const BsScript no_greeting = {.greeting = HANG ""};
	static const BsScript no_mail = {.mail = HANG ""};
	static const BsScript no_data = {.data = HANG ""};
	static const BsScript no_dot = {.dot = HANG ""};
	static const BsScript half_dot = {.dot = HANG "250-half\r\n"};
	static const BsScript deaf = {.deaf = true};
	static const BsScript refused = {.rcpt = "550 unknown\r\n",.data = HANG ""};
	static const BsScript usual = {0};
	static const BsScript http = {.http = HANG ""};
	static const BsScript http_body = {.http = HANG "HTTP/1.1 200 OK\r\n"
	"Content-Length: 10\r\n\r\nabc"};
	char	   *long_words = make_long_text();

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
	is_aborted(&deaf, long_words, "DATA", false, BS_OUTCOME_RELEASED,
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
	reset_mailer_config();
	begin(&usual);
	submit("Hello\n", 1);
	while (!mailer->slots[0].handed_over)
		take_turn(100);
	ok(wait_for_arrival(), "abort: an answer has arrived");
	bs_mailer_abort(mailer);
	ok(bs_mailer_next(mailer, &results[0]) &&
	   results[0].outcome == BS_OUTCOME_ACCEPTED, "abort: and counts");
	bs_mailer_abort(mailer);
	ok(!bs_mailer_next(mailer, &results[0]), "abort: of nothing");
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
		   "abort: the mailer can go on");
	stop();

	/* Destroyed in the middle of everything. */
	mailer_config.connections = 4;
	begin(&no_greeting);
	relay.scripts[1] = &no_dot;
	relay.scripts[2] = &deaf;
	relay.scripts[3] = &no_data;
	submit("Hello\n", 1);
	submit("Hello\n", 2);
	submit(long_words, 3);
	submit("Hello\n", 4);
	wait_for_command("DATA\nEHLO");
	while (relay.connected < 4 || relay.mails < 1)
		take_turn(100);
	stop();
	ok(true, "destroyed in the middle");
	free(long_words);
}

int
main(void)
{
	host_begin();
	test_reuse();
	test_reuse_broken();
	test_close_idle();
	test_window();
	test_abort();
	return host_end();
}
