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

static int64_t lost_until_ms;	/* a claim may have been made until then that
								 * we do not know of */
static bool release_wanted;

static void
fail_question(BsQuestion failed)
{
	if (bs_sender.database.conn == NULL)
	{
		bs_sender.looked = false;
		bs_sender.is_ready = false;
		if (failed == BS_QUESTION_RECORD)
			bs_sender.turn.record_is_unsure = true;
		if (failed == BS_QUESTION_CLAIM || failed == BS_QUESTION_COPIES)
			lost_until_ms = bs_clock_ms() + bs_settings.lease_s * INT64_C(1000);
	}
	bs_log_trouble(bs_sender.database.error);
	if (failed == BS_QUESTION_RECORD)
		bs_turn_recorded(&bs_sender.turn, -1);
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
	bool		holding = !bs_outbox_is_empty(&bs_sender.turn.outbox);
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
			bs_outbox_forget(&bs_sender.turn.outbox);	/* the tables are gone */
		return;
	}
	bs_sender.turn.outbox.clock_ahead_us =
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
	BsClaim    *claims = calloc(bs_sender.turn.outbox.free_count, sizeof(BsClaim));
	int			count = 0;

	if (claims != NULL)
		count = bs_work_take_claims(answer, claims, bs_sender.turn.outbox.free_count);
	if (count < PQntuples(answer))
		bs_log_trouble("out of memory for claims, or the database gave none of ours");
	if (of_copies)
		bs_turn_claimed_copies(&bs_sender.turn, claims, count);
	else
	{
		bs_turn_claimed(&bs_sender.turn, claims, count);
		bs_sender.due_known = count > 0 && bs_sender.turn.outbox.free_count == 0;
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
	int64_t		clock_us = bs_sender.database.asked_wall_us + bs_sender.turn.outbox.clock_ahead_us;
	int64_t		due_ms = bs_work_take_next_due(answer, &clock_us);
	int64_t		poll_ms = bs_settings.poll_interval_ms;

	bs_sender.turn.outbox.clock_ahead_us = clock_us - bs_sender.database.asked_wall_us;
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
			bs_turn_recorded(&bs_sender.turn, bs_work_take_count(answer));
			break;
		case BS_QUESTION_RELEASE:
			take_release(answer);
			break;
		default:
			break;
	}
	PQclear(answer);
}

/*
 * What was claimed and is not among what is held.
 */
static bool
ask_release(void)
{
	const uint8_t **tokens = calloc(bs_sender.turn.outbox.job_count + 1, sizeof(*tokens));
	int			count = 0;
	bool		asked;
	int			i;

	release_wanted = false;
	if (tokens == NULL)
		return false;			/* the lease does it */
	for (i = 0; i < bs_sender.turn.outbox.job_count; i++)
		if (bs_sender.turn.outbox.jobs[i].claim.strings != NULL)
			tokens[count++] = bs_sender.turn.outbox.jobs[i].claim.token;
	asked = bs_work_ask_release(&bs_sender.database, bs_sender.identity, tokens, count);
	free(tokens);
	return asked;
}

/* ---- what a turn asks for ---- */

/*
 * What could not be asked is asked on the next connection.
 */
static bool
begin(BsQuestion question, bool asked)
{
	bs_sender.question = asked ? question : BS_QUESTION_NONE;
	if (!asked && bs_sender.database.conn == NULL)
	{
		bs_sender.looked = bs_sender.is_ready = false;
		bs_log_trouble(bs_sender.database.error);
	}
	return asked;
}

int64_t
bs_dialogue_claim_at_ms(BsTurn *turn)
{
	return bs_sender.is_ready && !bs_sender.reconnect_wanted ?
		bs_sender.claim_at_ms : INT64_MAX;
}

void
bs_dialogue_claim_due(BsTurn *turn, int limit, int64_t bytes)
{
	if (bs_sender.due_known)
		begin(BS_QUESTION_CLAIM,
			  bs_work_ask_claim(&bs_sender.database, bs_sender.identity, limit, bytes));
	else
		begin(BS_QUESTION_NEXT_DUE, bs_work_ask_next_due(&bs_sender.database));
}

void
bs_dialogue_claim_copies(BsTurn *turn, const BsPayload *keys, int count,
						 int64_t bytes)
{
	begin(BS_QUESTION_COPIES,
		  bs_work_ask_copies(&bs_sender.database, bs_sender.identity, keys, count, bytes));
}

void
bs_dialogue_record(BsTurn *turn, const BsClaim *const *claims,
				   const BsResult *const *results, int count)
{
	if (!begin(BS_QUESTION_RECORD,
			   bs_work_ask_record(&bs_sender.database, claims, results, count)))
		bs_turn_recorded(turn, -1);
}

bool
bs_dialogue_is_waiting(BsTurn *turn)
{
	return !bs_database_is_idle(&bs_sender.database) ||
		bs_sender.question != BS_QUESTION_NONE || !bs_sender.looked ||
		bs_sender.database.schema[0] == '\0';
}

void
bs_dialogue_ask(void)
{
	if (!bs_database_is_idle(&bs_sender.database) || bs_sender.question != BS_QUESTION_NONE)
		return;
	if (!bs_sender.looked ||
		(bs_clock_ms() >= bs_sender.look_at_ms && !bs_sender.turn.outbox.stopping))
		begin(BS_QUESTION_LOOK,
			  bs_database_ask(&bs_sender.database, bs_database_look_sql(), NULL));
	else if (bs_sender.database.schema[0] != '\0' && release_wanted)
		begin(BS_QUESTION_RELEASE, ask_release());
}

void
bs_dialogue_run(void)
{
	uint64_t	connections = bs_sender.database.connections;
	int			failures = bs_sender.database.failures;

	if (bs_sender.reconnect_wanted && bs_outbox_is_empty(&bs_sender.turn.outbox) &&
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

int64_t
bs_dialogue_next_ms(void)
{
	if (!bs_database_is_idle(&bs_sender.database))
		return bs_database_next_ms(&bs_sender.database);
	return !bs_sender.looked || release_wanted ? 0 : bs_sender.look_at_ms;
}
