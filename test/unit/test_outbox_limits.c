/*-------------------------------------------------------------------------
 *
 * test_outbox_limits.c
 *	  What a sender makes of trouble: retries, doubts, the breaker.
 *
 * test/unit/test_outbox_limits.c
 *
 *-------------------------------------------------------------------------
 */
#include "outbox_host.h"

static const BsScript usual = {0};

/* ---- one attempt ---- */

/* Sends one message; how it ended. */
static const char *
send_one(int number, int attempt)
{
	BsClaim		claim = make_claim(number);

	claim.attempts = attempt;
	begin_claim(&claim);
	finish_messages(1);
	return ending(number);
}

/* Is the next attempt so long after now? */
static bool
is_in(int number, int64_t began_us, int64_t wait_ms)
{
	int64_t		due_us = row[number].next_attempt_us;

	/* Moments of attempts are in whole milliseconds. */
	return due_us >= began_us - 1000 + wait_ms * 1000 &&
		due_us <= bs_clock_wall_us() + wait_ms * 1000;
}

static void
test_retry(void)
{
	static const BsScript later = {.rcpt = "450 later\r\n",.data = "554 no\r\n"};
	int64_t		began_us = bs_clock_wall_us();
	BsClaim		claim;

	reset_rules();
	open_outbox(&later);
	is_str(send_one(1, 1), "RETRYING later 450", "put off: tried again");
	ok(is_in(1, began_us, 30000), "at the earliest after half the wait");
	chance = 0.5;
	send_one(2, 1);
	ok(is_in(2, began_us, 45000), "or a part of the other half");
	chance = 0;
	send_one(3, 4);
	ok(is_in(3, began_us, 240000), "which doubles");
	is_str(send_one(4, 5), "FAILED attempts 450", "after so many it ends");
	claim = make_claim(5);
	claim.send_time_us -= (rules.max_lateness_s - 20) * INT64_C(1000000);
	begin_claim(&claim);
	finish_messages(1);
	is_str(ending(5), "EXPIRED too_late 450", "or where the next would be too late");
	is_str(row[5].reply, "450 later", "with the relay's words");
	is_int(attempts[BS_OUTCOME_LATER], 5, "five attempts");
	is_int(errors, 0, "of which nobody is told: it is the message's matter");
	is_int(relay.mails, 0, "nothing was sent");
	close_outbox();
}

static void
test_refused(void)
{
	static const BsScript unknown = {.rcpt = "550 unknown\r\n",.data = "554 no\r\n"};
	BsClaimString strings[BS_CLAIM_STRINGS] = {
		{"nobody\r\nRCPT TO:<a@b.example>", 29}, {"Zo", 2}, {"s", 1}, {"t", 1},
		{NULL, 0}, {"key", 3}
	};
	BsClaim		claim;

	reset_rules();
	rules.breaker = 0.1;
	open_outbox(&unknown);
	is_str(send_one(1, 1), "FAILED refused 550", "refused for good");
	ok(last_us >= 0, "by a relay that was asked");
	is_int(breaker.good[0] + breaker.good[1] + breaker.good[2] + breaker.good[3] +
		   breaker.good[4] + breaker.good[5] + breaker.good[6] + breaker.good[7] +
		   breaker.good[8] + breaker.good[9], 1, "which speaks for it");

	claim = make_claim(2);
	free(claim.strings);
	bs_claim_set_strings(&claim, strings);
	begin_claim(&claim);
	finish_messages(1);
	is_str(ending(2), "FAILED refused 0", "an address that is none");
	ok(last_us == -1, "nobody was asked");
	is_int(breaker.good[0] + breaker.good[1] + breaker.good[2] + breaker.good[3] +
		   breaker.good[4] + breaker.good[5] + breaker.good[6] + breaker.good[7] +
		   breaker.good[8] + breaker.good[9], 1, "and it speaks for nobody");
	ok(strstr(relay.log, "a@b.example") == NULL, "no command was slipped in");
	ok(strstr(row[2].error, "nobody") == NULL, "its error does not repeat it");
	close_outbox();
}

static void
test_in_doubt(void)
{
	static const BsScript gone = {.dot = CLOSE ""};
	static const BsScript not_now = {.dot = "451 not now\r\n"};
	static const BsScript no = {.greeting = "554 no\r\n"};
	int			pass;

	for (pass = 0; pass < 2; pass++)
	{
		reset_rules();
		rules.delivery_guarantee = pass == 0 ? BS_GUARANTEE_AT_LEAST_ONCE :
			BS_GUARANTEE_AT_MOST_ONCE;
		open_outbox(&gone);
		is_str(send_one(1, 1), pass == 0 ? "RETRYING in_doubt 0" :
			   "FAILED in_doubt 0", "handed over, and no answer: %s",
			   pass == 0 ? "again, for at least one" : "ended, for at most one");
		is_int(relay.mails, 1, "it may have arrived");
		is_int(attempts[BS_OUTCOME_IN_DOUBT], 1, "it is counted so");
		is_int(errors, 1, "the host is told");
		ok(strncmp(last_error, "the relay: ", 11) == 0, "that it is the relay");
		ok(strstr(last_error, "p1@") == NULL, "and not of whom");
		is_str(send_one(2, 5), "FAILED in_doubt 0",
			   "after the last attempt the doubt is the reason");
		close_outbox();
	}

	/* What surely did not arrive is tried again in any case. */
	reset_rules();
	rules.delivery_guarantee = BS_GUARANTEE_AT_MOST_ONCE;
	open_outbox(&not_now);
	is_str(send_one(1, 1), "RETRYING later 451", "at most one: put off");
	close_outbox();
	open_outbox(&no);
	is_str(send_one(1, 1), "RETRYING trouble 554", "at most one: trouble");
	ok(strstr(last_error, "554") != NULL, "which the host is told");
	close_outbox();
}

/* ---- sessions that the relay ends ---- */

static void
test_again(void)
{
	static const BsScript enough = {.mail = CLOSE "421 enough\r\n"};
	static const BsScript two = {.next = &enough};
	int			i;

	reset_rules();
	open_outbox(&two);
	relay.scripts[4] = &usual;
	begin(1, 8);
	finish_messages(8);
	for (i = 1; i <= 8 && strcmp(ending(i), "SENT accepted 250") == 0 &&
		 arrived(i) == 1; i++)
		;
	is_int(i, 9, "a session for each: all are sent, each once");
	is_str(recorded_story(), "1 2 3 4 5 6 7 8", "nobody overtakes");
	is_int(relay.connected, 5, "a new connection after each farewell");
	is_int(attempts[BS_OUTCOME_AGAIN], 4, "which is counted for what it is");
	is_int(errors, 0, "and is no trouble");
	close_outbox();

	/* There is an end to that. */
	open_outbox(&two);
	begin(1, 2);
	TAILQ_LAST(&outbox.waiting, BsJobList)->again = rules.mail_connections + 1;
	finish_messages(2);
	is_str(ending(1), "SENT accepted 250", "the first goes");
	is_str(ending(2), "RETRYING trouble 421", "a farewell too many is trouble");
	is_int(errors, 1, "which the host is told");
	close_outbox();

	/* At the end nothing is begun again. */
	open_outbox(&two);
	begin(1, 1);
	finish_messages(1);
	begin(2, 1);
	step();
	outbox.stopping = true;
	finish_messages(1);
	is_str(ending(2), "RELEASED again 421", "given back, no attempt spent");
	close_outbox();
}

/* ---- the breaker ---- */

static void
test_breaker(void)
{
	static const BsScript down = {.greeting = "554 down\r\n"};
	int64_t		began_us = bs_clock_wall_us();
	int			i;

	reset_rules();
	rules.breaker = 0.5;
	rules.rate_limit = 1000;
	open_outbox(&down);
	begin(1, 14);
	ok(wait_for_ended(14), "all end");
	is_str(moves, "open", "ten troubles: it opens, and the host is told once");
	is_int(attempts[BS_OUTCOME_TROUBLE], 10, "ten attempts were made");
	is_int(record(true), 14, "all are recorded");
	is_str(ending(10), "RETRYING trouble 554", "the tenth was tried");
	is_str(ending(11), "RELEASED trouble 0", "the eleventh was not");
	is_str(ending(14), "RELEASED trouble 0", "nor the last");
	ok(row[11].next_attempt_us > began_us + 25 * SECOND_US &&
	   row[11].next_attempt_us <= bs_clock_wall_us() + 30 * SECOND_US,
	   "it is due when the breaker may close");
	is_int(bs_outbox_claim_limit(&outbox), 0, "nothing is claimed meanwhile");
	ok(outbox.claim_after_ms > now_ms() - 1000 &&
	   outbox.claim_after_ms <= now_ms() + 1000, "for a second at a time");

	/* A copy of the broker's may come all the same. */
	bucket.tokens = 7;
	bucket.filled_ms = now_ms() + 60000;
	outbox.submit_after_ms = 0;
	begin(15, 1);
	step();
	is_int(record(true), 1, "what is begun all the same");
	is_str(ending(15), "RELEASED trouble 0", "is given back");
	ok(bucket.tokens == 7, "and costs nothing of the rate");
	memset(&bucket, 0, sizeof(bucket));

	/* One to probe with, though there is room for two. */
	rules.mail_connections = 2;
	bs_outbox_set_mailer(&outbox, make_mailer());
	breaker.open_until_ms = now_ms();
	outbox.submit_after_ms = 0;
	is_int(bs_outbox_claim_limit(&outbox), 1, "then one may be claimed");
	begin(16, 3);
	step();
	is_int(outbox.waiting_count, 2, "one probes, two wait");
	is_int(breaker.state, BS_BREAKER_PROBING, "for what it finds out");
	is_int(outbox.ended_count, 0, "they are not put off");
	ok(outbox.submit_after_ms > 0 && outbox.submit_after_ms <= now_ms() + 50,
	   "but looked at soon");
	ok(wait_for_ended(3), "the probe fails");
	is_str(moves, "open open", "it is open again");
	record(true);
	is_str(ending(16), "RETRYING trouble 554", "the probe is an attempt");
	is_str(ending(17), "RELEASED trouble 0", "the others are given back");

	breaker.open_until_ms = now_ms();
	outbox.submit_after_ms = 0;
	relay.scripts[relay.connected] = &usual;
	begin(19, 3);
	finish_messages(3);
	is_str(moves, "open open closed", "a probe that goes closes it");
	for (i = 19; i <= 21 && strcmp(ending(i), "SENT accepted 250") == 0; i++)
		;
	is_int(i, 22, "and all of them go");
	is_int(bs_outbox_claim_limit(&outbox), 32, "all may be claimed again");
	ok(locked > 0, "all of it under the lock");

	/* Of a probe that is never reported another may be made, in time. */
	breaker.state = BS_BREAKER_PROBING;
	breaker.open_until_ms = now_ms() + 30000;
	is_int(bs_outbox_claim_limit(&outbox), 0, "while it lasts nobody claims");
	rules.breaker = 0;
	is_int(bs_outbox_claim_limit(&outbox), 32, "without a breaker everybody does");
	close_outbox();
}

/* Senders that share nothing need no lock, and no counters. */
static void
test_alone(void)
{
	static const BsOutboxHost alone = {
		.bucket = &bucket,
		.breaker = &breaker,
		.random = host_random,
		.breaker_moved = host_breaker_moved,
		.report_error = host_report_error
	};

	reset_rules();
	rules.breaker = 0.5;
	open_outbox(&usual);
	outbox.host = &alone;
	is_str(send_one(1, 1), "SENT accepted 250", "sent");
	is_int(locked, 0, "without a lock");
	is_int(attempts[BS_OUTCOME_ACCEPTED], 0, "and not counted");
	close_outbox();
}

/* ---- memory ---- */

/* Begins messages whose texts have that many octets. */
static void
begin_large(int first, int count, size_t octets)
{
	int			i;

	for (i = first; i < first + count; i++)
	{
		BsClaim		claim = make_claim(i);
		char	   *text = malloc(octets + 1);
		BsClaimString strings[BS_CLAIM_STRINGS] = {
			{claim.recipient_email, strlen(claim.recipient_email)}, {"Zo", 2},
			{"Hey", 3}, {text, octets}, {NULL, 0},
			{claim.idempotency_key, strlen(claim.idempotency_key)}
		};
		char	   *old = claim.strings;

		memset(text, 'x', octets);
		ok(bs_claim_set_strings(&claim, strings), "a large letter");
		free(old);
		free(text);
		begin_claim(&claim);
	}
}

static void
test_memory(void)
{
	reset_rules();
	rules.mail_connections = 8;
	rules.sender_memory_kb = 4096;
	open_outbox(&usual);
	is_int((int) bs_outbox_claim_bytes(&outbox), 1 << 20, "a quarter of the memory is for claims");
	ok(bs_outbox_has_room(&outbox), "nothing is held: there is room");
	begin_large(1, 1, 500000);
	ok(bs_outbox_claim_bytes(&outbox) < (1 << 20) - 500000, "a letter takes what it has");
	ok(bs_outbox_has_room(&outbox), "less than half: there is room");
	begin_large(2, 1, 500000);
	ok(!bs_outbox_has_room(&outbox), "more than half: there is none, though jobs are free");
	ok(outbox.free_count > outbox.job_count / 2, "and they are");
	begin_large(3, 2, 500000);
	is_int((int) (bs_outbox_claim_bytes(&outbox) < 0), 1, "beyond what was asked for");

	/*
	 * Four letters of half a megabyte, under way at once, would take more
	 * than 4 MB.
	 */
	while (bs_outbox_submit(&outbox))
		;
	ok(bs_mailer_busy(outbox.mailer) >= 1, "one is under way at least");
	ok(outbox.waiting_count >= 1, "one waits for memory");
	ok(bs_mailer_bytes(outbox.mailer) >= 500000, "what is under way is counted");
	ok(outbox.claim_bytes + (int64_t) bs_mailer_bytes(outbox.mailer) <= bs_outbox_memory(&outbox), "and is within the limit");
	finish_messages(4);
	is_int(relay.mails, 4, "all are sent");
	is_int((int) outbox.claim_bytes, 0, "nothing is counted any more");
	is_int((int) bs_mailer_bytes(outbox.mailer), 0, "nor under way");
	ok(bs_outbox_has_room(&outbox), "there is room again");

	/* One that is larger than all is let through alone. */
	begin_large(5, 1, 3 << 20);
	finish_messages(1);
	is_str(ending(5), "SENT accepted 250", "a letter beyond the limit is sent");
	close_outbox();
}

int
main(void)
{
	host_begin();
	test_retry();
	test_refused();
	test_in_doubt();
	test_again();
	test_breaker();
	test_alone();
	test_memory();
	return host_end();
}
