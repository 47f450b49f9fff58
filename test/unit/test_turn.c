/*-------------------------------------------------------------------------
 *
 * test_turn.c
 *	  One turn of a sender, played by both hosts: one whose database answers at
 *	  once, as a worker's does, and one whose answers come in a later turn.
 *
 * test/unit/test_turn.c
 *
 *-------------------------------------------------------------------------
 */
#include "outbox_host.h"

#include "core/sending/turn.h"

static const BsScript usual = {0};

static BsTurn sender;

/* The database: messages from next_due to last_due are due. */
static int	next_due;
static int	last_due;
static int	fail_records;		/* so many fail from now on */
static bool lose_answer;		/* the next record is written, its answer lost */
static bool gone;				/* what is recorded next was deleted */

/* What the host saw. */
static int	asked;				/* questions that are open */
static int	most_asked;
static int	claims_asked;
static int	too_late;
static int	times_recorded[ROWS];

/* The second host: the answer comes when "answer" is called. */
static bool answers_later;
static BsClaim held_claims[256];
static int	held_count;
static int	held_record;
static enum
{
	NOTHING, CLAIM, RECORD
}			open_question;

static int64_t
host_claim_at_ms(BsTurn *turn)
{
	(void) turn;
	return next_due <= last_due ? 0 : INT64_MAX;
}

static void
ask(int what)
{
	open_question = what;
	asked++;
	if (asked > most_asked)
		most_asked = asked;
}

static void
answer(void)
{
	int			what = open_question;

	open_question = NOTHING;
	asked = 0;
	if (what == CLAIM)
		bs_turn_claimed(&sender, held_claims, held_count);
	else if (what == RECORD)
		bs_turn_recorded(&sender, held_record);
}

static void
host_claim_due(BsTurn *turn, int limit, int64_t bytes)
{
	(void) turn;
	(void) bytes;
	claims_asked++;
	for (held_count = 0; held_count < limit && next_due <= last_due; held_count++)
		held_claims[held_count] = make_claim(next_due++);
	ask(CLAIM);
	if (!answers_later)
		answer();
}

static void
host_claim_copies(BsTurn *turn, const BsPayload *keys, int count, int64_t bytes)
{
	(void) turn;
	(void) keys;
	(void) count;
	(void) bytes;
	ok(false, "no copies are claimed without a broker");
}

static void
host_record(BsTurn *turn, const BsClaim *const *claims,
			const BsResult *const *results, int count)
{
	int			i;

	held_record = 0;
	if (fail_records > 0)
	{
		fail_records--;
		held_record = -1;
	}
	/* What it has it does not take again. */
	for (i = 0; i < count && held_record >= 0 && !gone; i++)
	{
		int			number = number_of(claims[i]);

		if (times_recorded[number] > 0)
			continue;
		times_recorded[number]++;
		row[number] = *results[i];
		held_record++;
	}
	gone = false;
	if (lose_answer)
	{
		lose_answer = false;
		turn->record_is_unsure = true;
		held_record = -1;
	}
	ask(RECORD);
	if (!answers_later)
		answer();
}

static bool
host_is_waiting(BsTurn *turn)
{
	(void) turn;
	return open_question != NOTHING;
}

static void
host_recorded(const BsClaim *const *claims, const BsResult *const *results,
			  int count)
{
	(void) claims;
	(void) results;
	recorded_count += count;
}

static void
host_too_late(int count, int of)
{
	(void) of;
	too_late += count;
}

static BsTurnHost turn_host = {
	.claim_at_ms = host_claim_at_ms,
	.claim_due = host_claim_due,
	.claim_copies = host_claim_copies,
	.record = host_record,
	.is_waiting = host_is_waiting,
	.recorded = host_recorded,
	.too_late = host_too_late
};

/* One turn of the loop, of the relay, and, every other time, of the database. */
static void
go(void)
{
	struct pollfd fds[RELAY_CONNECTIONS + 1];
	int			count = relay_poll(&relay, fds);
	int64_t		ms = bs_turn_wait_ms(&sender);
	static bool even;

	fds[count] = poll_entry(bs_mailer_fd(sender.outbox.mailer), POLLIN);
	poll(fds, (nfds_t) count + 1, open_question != NOTHING ? 0 : ms > 100 ? 100 : (int) ms);
	relay_serve(&relay, fds, count);
	even = !even;
	if (open_question != NOTHING && even)
		answer();
	bs_turn_run(&sender);
}

#define go_until(condition) \
({ \
	int64_t		go_until_ms = now_ms() + LIMIT_MS; \
	while (!(condition) && now_ms() < go_until_ms) \
		go(); \
	(condition); \
})

/* Nothing is held, and no answer is to come. */
static bool
is_idle(void)
{
	return bs_outbox_is_empty(&sender.outbox) && open_question == NOTHING;
}

static void
open_sender(bool later, int connections, const BsScript *script)
{
	reset_rules();
	rules.mail_connections = connections;
	rules.lease_s = 300;
	forget_notes();
	memset(times_recorded, 0, sizeof(times_recorded));
	next_due = 1;
	last_due = 0;
	asked = most_asked = claims_asked = too_late = fail_records = 0;
	open_question = NOTHING;
	answers_later = later;
	relay_open(&relay, script);
	turn_host.outbox = outbox_host;
	bs_turn_init(&sender, &turn_host, &rules);
	ok(bs_turn_set_mailer(&sender, make_mailer()), "a mailer");
	sender.held_back = false;
}

static void
close_sender(void)
{
	ok(bs_outbox_is_empty(&sender.outbox), "nothing is held at the end");
	bs_turn_end(&sender);
	relay_close(&relay);
}

static int
count_recorded(int times)
{
	int			count = 0;
	int			i;

	for (i = 1; i < ROWS; i++)
		count += times_recorded[i] == times;
	return count;
}

static int
count_next(BsNextState next)
{
	int			count = 0;
	int			i;

	for (i = 1; i < ROWS; i++)
		count += times_recorded[i] > 0 && row[i].next == next;
	return count;
}

static void
test_all_are_sent(bool later)
{
	const char *host = later ? "later" : "at once";

	open_sender(later, 2, &usual);
	last_due = 100;
	ok(go_until(recorded_count == 100), "%s: 100 are recorded", host);
	is_int(count_next(BS_NEXT_SENT), 100, "%s: as sent", host);
	is_int(count_recorded(1), 100, "%s: each once", host);
	is_int(most_asked, 1, "%s: one question at a time", host);
	ok(claims_asked >= 4, "%s: no more are claimed than there is room for", host);
	is_int(too_late, 0, "%s: none is too late", host);
	close_sender();
}

/* Nothing new is claimed while outcomes cannot be recorded. */
static void
test_record_fails(bool later)
{
	const char *host = later ? "later" : "at once";
	int			before;

	open_sender(later, 1, &usual);
	last_due = 16;
	fail_records = 3;
	ok(go_until(fail_records == 0), "%s: three records fail", host);
	before = claims_asked;
	last_due = 20;
	ok(go_until(sender.outbox.record_failures == 0 || claims_asked > before),
	   "%s: then one is taken", host);
	is_int(sender.outbox.record_failures, 0, "%s: before anything is claimed", host);
	ok(go_until(recorded_count == 20), "%s: all are recorded", host);
	is_int(count_recorded(1), 20, "%s: each once", host);
	close_sender();
}

/* A record whose answer is lost is asked again, and is not late then. */
static void
test_answer_is_lost(bool later)
{
	const char *host = later ? "later" : "at once";

	open_sender(later, 1, &usual);
	lose_answer = true;
	last_due = 5;
	ok(go_until(is_idle() && next_due > 5), "%s: all are recorded", host);
	is_int(count_recorded(1), 5, "%s: each once", host);
	is_int(too_late, 0, "%s: the database had them", host);
	gone = true;
	last_due = 6;
	ok(go_until(is_idle() && next_due > 6), "%s: one more is asked", host);
	is_int(too_late, 1, "%s: it is late if the database has it not", host);
	close_sender();
}

/* A new mailer is wanted: nothing is claimed, what waits is given back. */
static void
test_held_back(bool later)
{
	const char *host = later ? "later" : "at once";
	int			before;

	open_sender(later, 1, &usual);
	last_due = 16;
	ok(go_until(sender.outbox.waiting_count > 0), "%s: some wait", host);
	sender.held_back = true;
	last_due = 20;
	before = claims_asked;
	ok(go_until(is_idle()), "%s: nothing is held any more", host);
	is_int(claims_asked, before, "%s: nothing is claimed", host);
	ok(count_next(BS_NEXT_RELEASED) > 0, "%s: what waited is given back", host);
	is_int(count_recorded(1), next_due - 1, "%s: each is recorded once", host);
	ok(bs_turn_set_mailer(&sender, make_mailer()), "%s: another mailer", host);
	sender.held_back = false;
	ok(go_until(next_due > 20 && is_idle()), "%s: it goes on", host);
	close_sender();
}

/* What is under way gets half a second, then it is in doubt. */
static void
test_stop(bool later)
{
	static const BsScript silent = {.dot = HANG ""};
	const char *host = later ? "later" : "at once";
	int64_t		began;

	open_sender(later, 1, &silent);
	last_due = 5;
	ok(go_until(relay.mails == 1 && open_question == NOTHING), "%s: one is handed over", host);
	is_int(sender.outbox.waiting_count, 4, "%s: four wait", host);
	bs_turn_stop(&sender);
	began = now_ms();
	ok(!bs_turn_is_over(&sender), "%s: it is waited for", host);
	ok(go_until(bs_turn_is_over(&sender)), "%s: not for ever", host);
	ok(now_ms() - began >= 450, "%s: half a second", host);
	ok(go_until(is_idle()), "%s: all is recorded", host);
	is_int(count_next(BS_NEXT_RELEASED), 4, "%s: four are given back", host);
	is_int(count_next(BS_NEXT_RETRYING), 1, "%s: one is in doubt", host);
	is_str(row[1].reason, "in_doubt", "%s: the first", host);
	close_sender();
}

int
main(void)
{
	int			later;

	host_begin();
	for (later = 0; later < 2; later++)
	{
		test_all_are_sent(later);
		test_record_fails(later);
		test_answer_is_lost(later);
		test_held_back(later);
		test_stop(later);
	}
	return host_end();
}
