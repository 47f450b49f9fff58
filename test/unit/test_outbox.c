/*-------------------------------------------------------------------------
 *
 * test_outbox.c
 *	  The messages that a sender holds: begun, sent, recorded, given back.
 *
 * test/unit/test_outbox.c
 *
 *-------------------------------------------------------------------------
 */
#include "outbox_host.h"

static const BsScript usual = {0};

/* ---- from claim to record ---- */

static void
test_one(void)
{
	BsClaim		claim;
	BsMail		mail = {0};
	char	   *made;
	size_t		len;

	reset_rules();
	rules.mail_reply_to = "office@example.com";
	rules.mail_list_unsubscribe = "https://example.com/bye";
	open_outbox(&usual);
	is_int(outbox.job_count, 16, "room for sixteen a connection");
	is_int(bs_outbox_claim_limit(&outbox), 16, "all of it may be claimed");
	ok(!bs_outbox_submit(&outbox), "nothing to begin");
	ok(!bs_outbox_collect(&outbox), "nothing has ended");
	ok(!bs_outbox_should_record(&outbox), "nothing to record");
	ok(bs_outbox_next_ms(&outbox) == INT64_MAX, "no hurry");

	claim = make_claim(1);
	begin_claim(&claim);
	is_int(outbox.waiting_count, 1, "a claim waits");
	is_int(bs_outbox_claim_limit(&outbox), 15, "one less may be claimed");
	ok(!bs_outbox_is_empty(&outbox), "something is held");
	ok(wait_for_ended(1), "it is sent");
	ok(bs_outbox_should_record(&outbox), "worth recording, as nothing else is under way");
	is_int(attempts[BS_OUTCOME_ACCEPTED], 1, "one attempt is counted");
	ok(last_us >= 0, "with how long it took");
	is_int(relay.mails, 1, "the relay has a mail");

	mail.from = rules.mail_from;
	mail.reply_to = rules.mail_reply_to;
	mail.list_unsubscribe = rules.mail_list_unsubscribe;
	mail.to_name = claim.recipient_name;
	mail.to_address = claim.recipient_email;
	mail.subject = claim.subject;
	mail.text = claim.text;
	mail.idempotency_key = claim.idempotency_key;
	mail.date = claim.send_time_us / SECOND_US;
	made = bs_mime_build(&mail, &len);
	ok(relay.mail_len[0] == len && memcmp(relay.mail[0], made, len) == 0,
	   "of what was claimed, octet by octet");
	free(made);

	is_int(record(true), 1, "one outcome");
	is_str(ending(1), "SENT accepted 250", "is recorded");
	is_str(row[1].reply, "250 taken", "with the relay's words");
	ok(row[1].ended_us >= claim.send_time_us &&
	   row[1].ended_us <= bs_clock_wall_us(), "and its moment");
	ok(bs_outbox_is_empty(&outbox), "nothing is held");
	is_int(errors, 0, "no error");
	is_int(locked, 2, "the limits were asked and told, under the lock");
	close_outbox();
}

/* No more under way than there are connections; each once. */
static void
test_window(void)
{
	int			most = 0;
	int			i;

	reset_rules();
	rules.mail_connections = 3;
	open_outbox(&usual);
	begin(1, 40);
	while (outbox.ended_count < 40)
	{
		int			under_way = outbox.job_count - outbox.free_count -
		outbox.waiting_count - outbox.ended_count;

		most = under_way > most ? under_way : most;
		turn(100);
	}
	is_int(most, 3, "three at a time");
	ok(relay.connected <= 3, "on three connections at most");
	is_int(record(true), 40, "forty outcomes");
	for (i = 1; i <= 40 && arrived(i) == 1 && row[i].next == BS_NEXT_SENT; i++)
		;
	is_int(i, 41, "each message once");
	close_outbox();
}

/* The mailer may be replaced while nothing is held, by none as well. */
static void
test_mailer(void)
{
	reset_rules();
	open_outbox(&usual);
	rules.mail_connections = 4;
	ok(bs_outbox_set_mailer(&outbox, NULL), "no mailer");
	is_int(outbox.job_count, 64, "room by the new rules");
	begin(1, 1);
	step();
	is_int(outbox.waiting_count, 1, "what was claimed waits");
	ok(bs_outbox_next_ms(&outbox) == INT64_MAX, "for nothing in particular");
	bs_outbox_release_waiting(&outbox, "released", 1234567);
	ok(bs_outbox_should_record(&outbox), "what is given back goes at once");
	is_int(record(true), 1, "is recorded");
	is_str(ending(1), "RELEASED released 0", "as given back");
	ok(row[1].next_attempt_us == 1234567, "due when it was said");
	ok(bs_outbox_set_mailer(&outbox, make_mailer()), "a mailer again");
	begin(2, 1);
	finish_messages(1);
	is_str(ending(2), "SENT accepted 250", "sends");
	close_outbox();
}

/* ---- when to record ---- */

/* As if the first that ended had done so that long ago. */
static void
set_ended(int64_t ago_ms)
{
	TAILQ_FIRST(&outbox.ended)->ended_ms = now_ms() - ago_ms;
}

static void
test_batches(void)
{
	static const BsScript hangs = {.greeting = HANG ""};

	reset_rules();
	rules.mail_connections = 5;
	open_outbox(&hangs);
	relay.scripts[1] = &usual;
	begin(1, 64);
	ok(wait_for_ended(63), "63 are sent, and one is under way");
	set_ended(-60000);
	ok(!bs_outbox_should_record(&outbox), "63 wait for others");
	ok(bs_outbox_next_ms(&outbox) == TAILQ_FIRST(&outbox.ended)->ended_ms + 10,
	   "but not for long");
	begin(65, 1);
	ok(wait_for_ended(64), "one more");
	set_ended(-60000);
	ok(bs_outbox_should_record(&outbox), "64 are worth it");
	is_int(record(true), 64, "all of them");
	begin(66, 1);
	ok(wait_for_ended(1), "a single one");
	set_ended(-60000);
	ok(!bs_outbox_should_record(&outbox), "waits for others");
	set_ended(10);
	ok(bs_outbox_should_record(&outbox), "for ten milliseconds");
	set_ended(-60000);
	outbox.stopping = true;
	ok(bs_outbox_should_record(&outbox), "and not at all at the end");
	close_outbox();
}

static void
test_record_fails(void)
{
	static const int waits[] = {100, 200, 400, 800, 1000, 1000, 1000, 1000};
	const BsClaim *claims[ROWS];
	const BsResult *results[ROWS];
	size_t		i;

	reset_rules();
	open_outbox(&usual);
	begin(1, 3);
	ok(wait_for_ended(3), "three are sent");
	is_int(bs_outbox_begin_record(&outbox, claims, results), 3,
		   "the database has them");
	ok(!bs_outbox_should_record(&outbox), "one thing at a time");
	begin(4, 1);
	ok(wait_for_ended(1), "meanwhile another is sent");
	begin(5, 1);
	outbox.recording_since_ms -= 1000;
	step();
	is_int(outbox.waiting_count, 1, "but not where the database takes a second");
	ok(bs_outbox_next_ms(&outbox) == INT64_MAX, "for that there is no moment");
	bs_outbox_end_record(&outbox, false);
	is_int(outbox.ended_count, 4, "it failed: all of them are kept");

	for (i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
	{
		int64_t		before = now_ms() + waits[i];
		int64_t		wanted = outbox.record_after_ms;

		if (i > 0)
		{
			outbox.record_after_ms = 0;
			record(false);
			wanted = outbox.record_after_ms;
			ok(wanted >= before && wanted <= now_ms() + waits[i],
			   "failure %zu: again in %d ms", i + 1, waits[i]);
		}
		step();
		is_int(outbox.waiting_count, 1, "failure %zu: nothing is begun", i + 1);
		ok(!bs_outbox_should_record(&outbox),
		   "failure %zu: nor is it asked again", i + 1);
		is_int(bs_outbox_next_ms(&outbox), wanted, "failure %zu: until then",
			   i + 1);
	}
	outbox.record_after_ms = 0;
	ok(bs_outbox_should_record(&outbox), "the time has come");
	is_int(record(true), 4, "it works again");
	is_str(recorded_story(), "1 2 3 4", "in the order in which they ended");
	finish_messages(1);
	is_str(ending(5), "SENT accepted 250", "and it goes on");
	is_int(relay.mails, 5, "each was sent once");
	close_outbox();
}

/* ---- what is not begun ---- */

static void
test_lease(void)
{
	static const BsCopyTag no_copy = {0};
	BsClaim		claim;

	reset_rules();
	rules.mail_timeout_ms = 100000;
	open_outbox(&usual);
	claim = make_claim(1);
	bs_outbox_begin(&outbox, &claim, now_ms() + 99000, no_copy);
	begin(2, 1);
	finish_messages(2);
	is_str(ending(1), "RELEASED released 0",
		   "a lease that may end before the transfer: given back");
	ok(row[1].next_attempt_us <= bs_clock_wall_us(), "due at once");
	is_str(ending(2), "SENT accepted 250", "one that is long enough: sent");
	is_int(attempts[BS_OUTCOME_ACCEPTED], 1, "one attempt");
	is_int(relay.mails, 1, "one mail");

	/* After a reload with a longer time limit. */
	rules.mail_timeout_ms = 150000;
	claim = make_claim(3);
	bs_outbox_begin(&outbox, &claim, now_ms() + 140000, no_copy);
	claim = make_claim(4);
	bs_outbox_begin(&outbox, &claim, now_ms() + 160000, no_copy);
	finish_messages(2);
	is_str(ending(3), "RELEASED released 0", "the lease ends before the new limit: given back");
	is_str(ending(4), "SENT accepted 250", "the lease outlasts it: sent");
	close_outbox();
}

static void
test_early(void)
{
	const int64_t hour_us = 3600 * SECOND_US;
	int64_t		began_us = bs_clock_wall_us();
	int64_t		send_time_us = began_us + hour_us;
	BsClaim		claim;

	reset_rules();
	open_outbox(&usual);
	claim = make_claim(1);
	claim.send_time_us = send_time_us;
	begin_claim(&claim);
	finish_messages(1);
	is_str(ending(1), "RELEASED released 0", "before its moment: given back");
	ok(row[1].next_attempt_us == send_time_us, "due at its moment");
	is_int(relay.mails, 0, "and not sent");

	/* The moment is one of the database's clock. */
	outbox.clock_ahead_us = 2 * hour_us;
	claim = make_claim(2);
	claim.send_time_us = send_time_us;
	begin_claim(&claim);
	finish_messages(1);
	is_str(ending(2), "SENT accepted 250", "by that clock it has come");
	ok(row[2].ended_us >= began_us + 2 * hour_us - SECOND_US &&
	   row[2].ended_us <= bs_outbox_wall_us(&outbox),
	   "which also says when it ended");
	outbox.clock_ahead_us = -hour_us;
	begin(3, 1);
	outbox.clock_ahead_us = -2 * hour_us;
	finish_messages(1);
	is_str(ending(3), "RELEASED released 0", "a clock that was set back");
	close_outbox();
}

static void
test_late(void)
{
	BsClaim		claim;

	reset_rules();
	rules.max_lateness_s = 7200;
	open_outbox(&usual);
	claim = make_claim(1);
	claim.send_time_us = bs_clock_wall_us() - 7201 * SECOND_US;
	begin_claim(&claim);
	claim = make_claim(2);
	claim.send_time_us = bs_clock_wall_us() - 7100 * SECOND_US;
	begin_claim(&claim);
	finish_messages(2);
	is_str(ending(1), "RELEASED released 0", "too late when its turn comes: given back");
	is_str(ending(2), "SENT accepted 250", "late, but not too late: sent");
	is_int(relay.mails, 1, "one mail");
	close_outbox();
}

static void
test_rate(void)
{
	int64_t		began = now_ms();

	reset_rules();
	rules.mail_connections = 4;
	rules.rate_limit = 2;
	open_outbox(&usual);
	begin(1, 4);
	step();
	is_int(outbox.waiting_count, 2, "two a second: two go");
	ok(outbox.submit_after_ms > began && outbox.submit_after_ms <= now_ms() + 501,
	   "the next one in half a second");
	ok(bs_outbox_next_ms(&outbox) == outbox.submit_after_ms, "which is waited for");
	is_int(outbox.ended_count, 0, "nothing is given back for that");
	is_int(locked, 3, "the bucket is asked under the lock");
	ok(wait_for_ended(4), "all four go");
	ok(now_ms() - began >= 900, "in their time");
	is_int(record(true), 4, "and are recorded");
	is_int(relay.mails, 4, "once");
	close_outbox();
}

/* ---- the end of it ---- */

static void
test_stop(void)
{
	static const BsScript no_answer = {.dot = HANG ""};
	int			i;

	reset_rules();
	rules.mail_connections = 2;
	open_outbox(&no_answer);
	begin(1, 6);
	ok(wait_for(relay.mails == 2), "two were handed over");
	outbox.stopping = true;
	bs_outbox_release_waiting(&outbox, "released", bs_outbox_wall_us(&outbox));
	is_int(outbox.ended_count, 4, "what waits is given back");
	ok(bs_outbox_should_record(&outbox), "at once");
	is_int(record(true), 4, "and recorded");
	begin(7, 1);
	step();
	is_int(outbox.waiting_count, 1, "nothing is begun");
	bs_outbox_release_waiting(&outbox, "released", bs_outbox_wall_us(&outbox));
	bs_mailer_abort(outbox.mailer);
	step();
	is_int(outbox.ended_count, 3, "what is under way ends");
	is_int(record(true), 3, "and is recorded");
	for (i = 3; i <= 7 && strcmp(ending(i), "RELEASED released 0") == 0; i++)
		;
	is_int(i, 8, "five unharmed");
	is_str(ending(1), "RETRYING in_doubt 0", "one in doubt");
	is_str(ending(2), "RETRYING in_doubt 0", "and another");
	ok(bs_outbox_is_empty(&outbox), "nothing is held");
	is_int(attempts[BS_OUTCOME_IN_DOUBT], 2, "two attempts were made");
	close_outbox();
}

/* The tables are gone, whatever step each message has reached. */
static void
test_forget(void)
{
	static const BsScript no_answer = {.dot = HANG ""};
	static const BsScript one = {.next = &no_answer};

	reset_rules();
	open_outbox(&one);
	relay.scripts[1] = &usual;
	begin(1, 5);
	ok(wait_for(relay.mails == 2), "one is sent, one handed over, three wait");
	outbox.record_failures = 3;
	bs_outbox_forget(&outbox);
	ok(bs_outbox_is_empty(&outbox), "nothing is held");
	is_int(outbox.ended_count + outbox.waiting_count, 0, "in no list");
	ok(!bs_outbox_should_record(&outbox), "nothing is to be recorded");
	is_int(bs_mailer_busy(outbox.mailer), 0, "nothing is under way");
	begin(6, 16);
	finish_messages(16);
	is_str(ending(21), "SENT accepted 250", "it can go on, with all of its room");
	is_int(recorded_count, 16, "and of the others nothing comes up");
	close_outbox();
}

int
main(void)
{
	host_begin();
	test_one();
	test_window();
	test_mailer();
	test_batches();
	test_record_fails();
	test_lease();
	test_early();
	test_late();
	test_rate();
	test_stop();
	test_forget();
	return host_end();
}
