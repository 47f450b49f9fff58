/*-------------------------------------------------------------------------
 *
 * sender_dialogue.c
 *	  What bs_sender asks its database, and what it makes of the answers.
 *
 * One question at a time; what is asked while another one is open waits for the next
 * turn of the loop.
 *
 * src/sender/sender_dialogue.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/backoff.h"
#include "core/base/clock.h"
#include "sender/sender_log.h"
#include "sender/sender_settings.h"

#define SOON_MS		5			/* at least, before what is due soon is
								 * claimed */

static int64_t asked_ms;		/* when */

/* Of a claim or record that is under way. */
static BsPayload *keys;
static BsCopyTag *copies;
static int	key_count;
static const BsClaim **recorded_claims;
static const BsResult **recorded_results;
static int	recorded_count;
static int	lists_size;

static bool record_is_unsure;	/* it was asked before, and perhaps heard */
static int64_t lost_until_ms;	/* a claim may have been made until then that
								 * we do not know of */
static bool release_wanted;

bool
bs_dialogue_make_lists(void)
{
	int			size = bs_sender.outbox.job_count;

	if (size <= lists_size)
		return true;
	free(keys);
	free(copies);
	free(recorded_claims);
	free(recorded_results);
	keys = calloc(size, sizeof(*keys));
	copies = calloc(size, sizeof(*copies));
	recorded_claims = calloc(size, sizeof(*recorded_claims));
	recorded_results = calloc(size, sizeof(*recorded_results));
	lists_size = size;
	return keys != NULL && copies != NULL && recorded_claims != NULL &&
		recorded_results != NULL;
}

static void
fail_question(BsQuestion failed)
{
	if (bs_sender.database.conn == NULL)
	{
		bs_sender.looked = false;
		bs_sender.is_ready = false;
		if (failed == BS_QUESTION_RECORD)
			record_is_unsure = true;
		if (failed == BS_QUESTION_CLAIM || failed == BS_QUESTION_COPIES)
			lost_until_ms = bs_clock_ms() + bs_settings.lease_s * INT64_C(1000);
	}
	bs_log_trouble(bs_sender.database.error);
	if (failed == BS_QUESTION_RECORD)
		bs_outbox_end_record(&bs_sender.outbox, false);
	/* Asked again: no lease ends for what we do not know of while we live. */
	if (failed == BS_QUESTION_RELEASE)
		lost_until_ms = bs_clock_ms() + bs_settings.lease_s * INT64_C(1000);
	bs_sender.claim_at_ms = bs_clock_ms() + 1000;
	bs_sender.due_known = false;
	if (bs_sender.looked)
		bs_sender.look_at_ms = 0;	/* why? */
}

/*
 * With each look the database hears that this sender lives, and so it must come
 * several times within a lease.
 */
static int64_t
look_interval_ms(void)
{
	int64_t		ms = bs_settings.lease_s * INT64_C(1000) / 4;

	return ms < BS_RECHECK_MS ? ms : BS_RECHECK_MS;
}

/*
 * The state, and the report: at each look while something is held or has been
 * since the last one, otherwise seldom.
 */
static bool
ask_state(void)
{
	static int64_t report_at_ms = 0;
	static uint64_t reported = 0;	/* claims */
	static bool was_holding = false;
	bool		holding = !bs_outbox_is_empty(&bs_sender.outbox);
	int64_t		now_ms = bs_clock_ms();
	BsSenderStats stats;

	if (!holding && !was_holding && bs_sender.totals.claimed == reported &&
		now_ms < report_at_ms)
		return bs_work_ask_state(&bs_sender.database, bs_sender.identity, NULL);
	was_holding = holding;
	reported = bs_sender.totals.claimed;
	report_at_ms = now_ms + BS_REPORT_MS;
	bs_supply_fill_stats(&stats);
	return bs_work_ask_state(&bs_sender.database, bs_sender.identity, &stats);
}

static void
take_look(const PGresult *answer)
{
	bool		absent = PQntuples(answer) == 1 && PQgetisnull(answer, 0, 0);
	BsObstacle	found = bs_database_take_look(&bs_sender.database, answer);

	bs_sender.look_at_ms = bs_clock_ms() + look_interval_ms();
	bs_sender.looked = true;
	if (found != BS_OBSTACLE_NONE)
	{
		bs_supply_report_obstacle(bs_sender.database.error, true);
		if (absent)
			bs_outbox_forget(&bs_sender.outbox);	/* the tables are gone */
		return;
	}
	bs_sender.outbox.clock_ahead_us =
		strtoll(PQgetvalue(answer, 0, 5), NULL, 10) - bs_sender.database.asked_wall_us;
	if (bs_supply_finish_settings())
		bs_sender.question = ask_state() ? BS_QUESTION_STATE : BS_QUESTION_NONE;
}

static void
take_state(const PGresult *answer)
{
	BsObstacle	found = bs_database_take_state(&bs_sender.database, answer);

	if (found != BS_OBSTACLE_NONE)
	{
		bs_supply_report_obstacle(bs_sender.database.error, found == BS_OBSTACLE_SETUP);
		if (found == BS_OBSTACLE_SETUP)
			return;
	}
	else if (!bs_sender.is_ready)
	{
		bs_sender.is_ready = true;
		bs_sender.claim_at_ms = 0;
	}
	/* The former connection's claim may still be under way in the server. */
	release_wanted = bs_clock_ms() < lost_until_ms;
	bs_sender.state_known = true;
}

static void
take_claims(const PGresult *answer, bool of_copies)
{
	BsClaim    *claims = calloc(bs_sender.outbox.free_count, sizeof(BsClaim));
	int64_t		lease_until_ms = asked_ms + bs_settings.lease_s * INT64_C(1000);
	BsCopyTag	no_copy = {0};
	int			count = 0;
	int			i;

	if (claims != NULL)
		count = bs_work_take_claims(answer, claims, bs_sender.outbox.free_count);
	if (count < PQntuples(answer))
		bs_log_trouble("out of memory for claims, or the database gave none of ours");
	if (of_copies)
		bs_outbox_begin_copies(&bs_sender.outbox, keys, copies, key_count,
							   claims, count, lease_until_ms);
	else
	{
		for (i = 0; i < count; i++)
			bs_outbox_begin(&bs_sender.outbox, &claims[i], lease_until_ms, no_copy);
		bs_sender.due_known = count > 0 && bs_sender.outbox.free_count == 0;
		if (count > 0)
			bs_sender.busy = 0;
		bs_sender.claim_at_ms = 0;
	}
	bs_sender.totals.claimed += count;
	free(claims);
}

static void
take_next_due(const PGresult *answer)
{
	int64_t		clock_us = bs_sender.database.asked_wall_us + bs_sender.outbox.clock_ahead_us;
	int64_t		due_ms = bs_work_take_next_due(answer, &clock_us);
	int64_t		poll_ms = bs_settings.poll_interval_ms;

	bs_sender.outbox.clock_ahead_us = clock_us - bs_sender.database.asked_wall_us;
	bs_sender.due_known = due_ms <= poll_ms;
	/* Due, but another session may have it locked: no spinning meanwhile. */
	if (due_ms <= 0)
		due_ms = bs_backoff_locked_ms(++bs_sender.busy);
	else
	{
		bs_sender.busy = 0;
		if (due_ms < SOON_MS)
			due_ms = SOON_MS;
	}
	bs_sender.claim_at_ms = bs_clock_ms() + (bs_sender.due_known ? due_ms : poll_ms);
}

static void
count_results(void)
{
	char		id[BS_UUID_TEXT];
	int			i;

	for (i = 0; i < recorded_count; i++)
	{
		const BsResult *result = recorded_results[i];

		switch (result->next)
		{
			case BS_NEXT_SENT:
				bs_sender.totals.sent++;
				bs_supply_observe(BS_HISTOGRAM_LATENESS, result->ended_us -
								  recorded_claims[i]->send_time_us);
				break;
			case BS_NEXT_RETRYING:
				bs_sender.totals.retried++;
				break;
			case BS_NEXT_RELEASED:
				bs_sender.totals.released++;
				break;
			case BS_NEXT_FAILED:
			case BS_NEXT_EXPIRED:
				bs_sender.totals.failed++;
				bs_uuid_write(recorded_claims[i]->id, id);
				bs_log(BS_LOG_WARNING, "message %s was given up: %s (reply code %d)",
					   id, result->reason, result->code);
				break;
		}
	}
}

static void
take_record(const PGresult *answer)
{
	int			taken = bs_work_take_count(answer);

	/* What was asked twice may have been taken the first time. */
	if (taken < recorded_count && !record_is_unsure)
	{
		bs_sender.totals.late += recorded_count - taken;
		bs_log(BS_LOG_WARNING,
			   "%d of %d outcomes came too late: the messages had been given up for lost, had changed hands or were deleted",
			   recorded_count - taken, recorded_count);
	}
	record_is_unsure = false;
	count_results();
	bs_outbox_end_record(&bs_sender.outbox, true);
}

static void
take_release(const PGresult *answer)
{
	int			count = bs_work_take_count(answer);

	if (count > 0)
		bs_log(BS_LOG_INFO, "gave back %d messages whose claim was lost with the connection",
			   count);
}

static void
take_answer(void)
{
	PGresult   *answer;
	BsQuestion	answered = bs_sender.question;

	if (!bs_database_take(&bs_sender.database, &answer))
		return;
	bs_sender.question = BS_QUESTION_NONE;
	if (answer == NULL)
	{
		fail_question(answered);
		return;
	}
	switch (answered)
	{
		case BS_QUESTION_LOOK:
			take_look(answer);
			break;
		case BS_QUESTION_STATE:
			take_state(answer);
			break;
		case BS_QUESTION_CLAIM:
		case BS_QUESTION_COPIES:
			take_claims(answer, answered == BS_QUESTION_COPIES);
			break;
		case BS_QUESTION_NEXT_DUE:
			take_next_due(answer);
			break;
		case BS_QUESTION_RECORD:
			take_record(answer);
			break;
		case BS_QUESTION_RELEASE:
			take_release(answer);
			break;
		default:
			break;
	}
	PQclear(answer);
}

static bool
may_claim(void)
{
	return bs_sender.is_ready && bs_sender.outbox.mailer != NULL && !bs_sender.renew_wanted &&
		!bs_sender.reconnect_wanted && !bs_sender.outbox.stopping &&
		bs_sender.outbox.record_failures == 0 &&
		bs_outbox_has_room(&bs_sender.outbox);
}

/*
 * When to claim, or to ask what is due, by bs_clock_ms(); INT64_MAX: not
 * before something else has happened.
 */
static int64_t
next_claim_ms(void)
{
	int64_t		at_ms = bs_sender.claim_at_ms;

	if (!may_claim())
		return INT64_MAX;
	if (bs_settings.queue == BS_QUEUE_RABBITMQ)
	{
		int64_t		copies_ms = bs_sender.outbox.consumer == NULL ? INT64_MAX :
		bs_consumer_next_claim_ms(bs_sender.outbox.consumer);

		if (copies_ms > at_ms)
			at_ms = copies_ms;
	}
	return at_ms > bs_sender.outbox.claim_after_ms ? at_ms : bs_sender.outbox.claim_after_ms;
}

static bool
ask_claim(void)
{
	int			limit = bs_outbox_claim_limit(&bs_sender.outbox);
	int64_t		bytes = bs_outbox_claim_bytes(&bs_sender.outbox);

	if (limit == 0)
		return false;
	if (bs_settings.queue == BS_QUEUE_RABBITMQ)
	{
		key_count = bs_consumer_peek(bs_sender.outbox.consumer, limit, keys, copies);
		if (key_count == 0 ||
			!bs_work_ask_copies(&bs_sender.database, bs_sender.identity, keys, key_count,
								bytes))
			return false;
		bs_sender.question = BS_QUESTION_COPIES;
	}
	else if (bs_sender.due_known)
	{
		if (!bs_work_ask_claim(&bs_sender.database, bs_sender.identity, limit, bytes))
			return false;
		bs_sender.question = BS_QUESTION_CLAIM;
	}
	else
	{
		if (!bs_work_ask_next_due(&bs_sender.database))
			return false;
		bs_sender.question = BS_QUESTION_NEXT_DUE;
	}
	return true;
}

static bool
ask_record(void)
{
	recorded_count = bs_outbox_begin_record(&bs_sender.outbox, recorded_claims,
											recorded_results);
	if (bs_work_ask_record(&bs_sender.database, recorded_claims, recorded_results,
						   recorded_count))
	{
		bs_sender.question = BS_QUESTION_RECORD;
		return true;
	}
	bs_outbox_end_record(&bs_sender.outbox, false);
	return false;
}

/*
 * What was claimed and is not among what is held.
 */
static bool
ask_release(void)
{
	const uint8_t **tokens = calloc(bs_sender.outbox.job_count + 1, sizeof(*tokens));
	int			count = 0;
	bool		asked = false;
	int			i;

	release_wanted = false;
	if (tokens == NULL)
		return true;			/* the lease does it */
	for (i = 0; i < bs_sender.outbox.job_count; i++)
		if (bs_sender.outbox.jobs[i].claim.strings != NULL)
			tokens[count++] = bs_sender.outbox.jobs[i].claim.token;
	asked = bs_work_ask_release(&bs_sender.database, bs_sender.identity, tokens, count);
	bs_sender.question = asked ? BS_QUESTION_RELEASE : BS_QUESTION_NONE;
	free(tokens);
	return asked;
}

/*
 * What is most urgent, one thing at a time.
 */
void
bs_dialogue_ask(void)
{
	int64_t		now_ms = bs_clock_ms();
	bool		asked = true;

	if (!bs_database_is_idle(&bs_sender.database) || bs_sender.question != BS_QUESTION_NONE)
		return;
	asked_ms = now_ms;
	if (!bs_sender.looked || (now_ms >= bs_sender.look_at_ms && !bs_sender.outbox.stopping))
	{
		asked = bs_database_ask(&bs_sender.database, bs_database_look_sql(), NULL);
		bs_sender.question = asked ? BS_QUESTION_LOOK : BS_QUESTION_NONE;
	}
	else if (bs_sender.database.schema[0] == '\0')
		return;
	else if (bs_outbox_should_record(&bs_sender.outbox))
		asked = ask_record();
	else if (release_wanted)
		asked = ask_release();
	else if (now_ms >= next_claim_ms())
		asked = ask_claim();
	if (!asked && bs_sender.database.conn == NULL)
	{
		bs_sender.looked = bs_sender.is_ready = false;
		bs_log_trouble(bs_sender.database.error);
	}
}

void
bs_dialogue_run(void)
{
	uint64_t	connections = bs_sender.database.connections;
	int			failures = bs_sender.database.failures;

	if (bs_sender.reconnect_wanted && bs_outbox_is_empty(&bs_sender.outbox) &&
		bs_sender.question == BS_QUESTION_NONE && bs_sender.database.connecting == NULL)
	{
		bs_sender.reconnect_wanted = bs_sender.looked = bs_sender.is_ready = false;
		bs_database_disconnect(&bs_sender.database, false);
	}
	bs_database_run(&bs_sender.database);
	if (bs_sender.database.connections != connections)
	{
		bs_sender.looked = false;
		bs_log(BS_LOG_INFO, "connected to the database");
	}
	else if (bs_sender.database.failures != failures)
		bs_log_trouble(bs_sender.database.error);
	take_answer();
	if (bs_sender.looked && bs_sender.database.conn != NULL && bs_sender.database.failures > 0)
		bs_sender.database.failures = 0;
}

void
bs_dialogue_free(void)
{
	free(keys);
	free(copies);
	free(recorded_claims);
	free(recorded_results);
}

int64_t
bs_dialogue_next_ms(void)
{
	int64_t		look_ms = bs_sender.looked ? bs_sender.look_at_ms : 0;
	int64_t		claim_ms = next_claim_ms();

	if (!bs_database_is_idle(&bs_sender.database))
		return bs_database_next_ms(&bs_sender.database);
	if (release_wanted)
		return 0;
	return look_ms < claim_ms ? look_ms : claim_ms;
}
