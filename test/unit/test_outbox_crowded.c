/*-------------------------------------------------------------------------
 *
 * test_outbox_crowded.c
 *	  A relay that takes fewer sessions than there are connections.
 *
 * test/unit/test_outbox_crowded.c
 *
 *-------------------------------------------------------------------------
 */
#include "outbox_host.h"

#include "core/mail/mail_private.h"

static const BsScript usual = {0};
static const BsScript full = {.greeting = CLOSE "421 4.7.0 too many\r\n"};
static int	told[16];			/* limits that the host was told */
static int	told_count;
static int	elsewhere;			/* sessions of other senders */

static void
note_limit(int limit)
{
	if (told_count < 16)
		told[told_count++] = limit;
}

static int
count_elsewhere(void)
{
	return elsewhere;
}

static BsOutboxHost crowded_host;

static void
open_crowded(int connections, const BsScript *first)
{
	reset_rules();
	rules.mail_connections = connections;
	rules.breaker = 0.5;
	told_count = elsewhere = 0;
	open_outbox(first);
	crowded_host = outbox_host;
	crowded_host.limit_moved = note_limit;
	crowded_host.sessions_elsewhere = count_elsewhere;
	outbox.host = &crowded_host;
}

static void
test_limit(void)
{
	int			i;

	open_crowded(6, &usual);
	relay.scripts[2] = &full;	/* and all that follow */
	begin(1, 60);
	finish_messages(60);
	for (i = 1; i <= 60 && strcmp(ending(i), "SENT accepted 250") == 0 &&
		 arrived(i) == 1; i++)
		;
	is_int(i, 61, "two of six sessions are let in: all is sent, each once");
	is_int(relay.connected, 6, "each of the others was refused once");
	is_int(attempts[BS_OUTCOME_TROUBLE], 0, "that is no trouble");
	is_str(moves, "", "and the breaker does not hear of it");
	is_int(told[told_count - 1], 2, "the host is told of the limit");
	is_int(bs_mailer_limit(outbox.mailer), 2, "which is known");
	is_int(bs_outbox_claim_limit(&outbox), 2 * BS_JOBS_PER_CONNECTION,
		   "no more is claimed than two sessions work off");
	ok(bs_outbox_has_room(&outbox), "and there is room for that");
	begin(61, 20);
	ok(!bs_outbox_has_room(&outbox), "with more than half there is none");
	finish_messages(20);
	is_int(relay.connected, 6, "no other session is tried soon");

	/* Later one more is tried, by one message, at no cost. */
	outbox.mailer->raise_ms = now_ms();
	begin(81, 32);
	finish_messages(32);
	is_int(relay.connected, 7, "later one more is tried");
	is_int(attempts[BS_OUTCOME_TROUBLE], 0, "its refusal is no trouble either");
	is_int(bs_mailer_window(outbox.mailer), 2, "and the limit stays");

	/* The relay takes all of them now. */
	relay.scripts[relay.connected] = &usual;
	for (i = 0; i < 4; i++)
	{
		outbox.mailer->raise_ms = now_ms();
		begin(113 + i * 20, 20);
		finish_messages(20);
	}
	is_int(bs_mailer_window(outbox.mailer), 6, "one by one all are used again");
	is_int(told[told_count - 1], 0, "and the host is told");
	is_int(relay.connected - 7, 4, "by as many new sessions");
	close_outbox();
}

/* The last octets of trouble: nobody is let in. */
static void
test_down(void)
{
	open_crowded(4, &full);
	begin(1, 30);
	ok(wait_for(moves[0] != '\0'), "a relay that lets nobody in: the breaker opens");
	is_str(moves, "open", "once");
	is_int(attempts[BS_OUTCOME_TROUBLE], 10, "after ten attempts");
	is_int(told_count > 0 ? told[told_count - 1] : 0, 0, "and no limit is known");
	ok(relay.connected <= 16, "a session at a time found that out");
	is_int(bs_mailer_window(outbox.mailer), 1, "which it goes on with");
	finish_messages(30);

	breaker.open_until_ms = now_ms();
	outbox.submit_after_ms = 0;
	relay.scripts[relay.connected] = &usual;
	begin(31, 16);
	finish_messages(16);
	is_int(bs_mailer_window(outbox.mailer), 4, "once it is back all are used at once");
	is_int(arrived(46), 1, "and all goes out");
	close_outbox();
}

/* All sessions that the relay takes are other senders'. */
static void
test_elsewhere(void)
{
	int64_t		began_us;

	open_crowded(3, &full);
	elsewhere = 2;
	began_us = bs_outbox_wall_us(&outbox);
	begin(1, 10);
	ok(wait_for_ended(10), "others have all sessions: all is given back");
	record(true);
	is_str(ending(1), "RELEASED again 0", "unharmed");
	is_str(ending(10), "RELEASED again 0", "to the last");
	is_int(attempts[BS_OUTCOME_TROUBLE], 0, "that is no trouble");
	is_str(moves, "", "nor the breaker's business");
	is_int(errors, 0, "nor an error");
	ok(row[10].next_attempt_us <= began_us + 3 * SECOND_US, "others may have it soon");
	ok(outbox.claim_after_ms > now_ms() + 3000, "this sender stands back for a while");
	is_int(relay.connected <= 3, 1, "after one try");

	elsewhere = 0;
	outbox.submit_after_ms = outbox.claim_after_ms = 0;
	begin(11, 1);
	finish_messages(1);
	is_str(ending(11), "RETRYING trouble 421", "if nobody has one, it is trouble");
	close_outbox();
}

int
main(void)
{
	host_begin();
	test_limit();
	test_down();
	test_elsewhere();
	return host_end();
}
