/*-------------------------------------------------------------------------
 *
 * turn.c
 *	  One turn of a sender's loop, the same for every host.
 *
 * src/core/sending/turn.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/turn.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"

#define SHUTDOWN_GRACE_MS	500 /* for answers that are under way */
#define IDLE_CONNECTION_MS	20000
#define LONGEST_WAIT_MS		60000

void
bs_turn_init(BsTurn *turn, const BsTurnHost *host, const BsSettings *settings)
{
	memset(turn, 0, sizeof(*turn));
	turn->host = host;
	turn->held_back = true;
	bs_outbox_init(&turn->outbox, &host->outbox, settings);
}

static void
free_lists(BsTurn *turn)
{
	free(turn->keys);
	free(turn->copies);
	free(turn->claims);
	free(turn->results);
	turn->keys = NULL;
	turn->copies = NULL;
	turn->claims = NULL;
	turn->results = NULL;
	turn->size = 0;
}

static bool
make_lists(BsTurn *turn)
{
	int			size = turn->outbox.job_count;

	if (size <= turn->size)
		return true;
	free_lists(turn);
	turn->keys = calloc(size, sizeof(*turn->keys));
	turn->copies = calloc(size, sizeof(*turn->copies));
	turn->claims = calloc(size, sizeof(*turn->claims));
	turn->results = calloc(size, sizeof(*turn->results));
	if (turn->keys == NULL || turn->copies == NULL || turn->claims == NULL ||
		turn->results == NULL)
		return false;
	turn->size = size;
	return true;
}

bool
bs_turn_set_mailer(BsTurn *turn, BsMailer *mailer)
{
	if (!bs_outbox_set_mailer(&turn->outbox, mailer) || mailer == NULL)
		return false;
	if (make_lists(turn))
		return true;
	(void) bs_outbox_set_mailer(&turn->outbox, NULL);
	return false;
}

void
bs_turn_end(BsTurn *turn)
{
	bs_outbox_forget(&turn->outbox);
	bs_mailer_destroy(turn->outbox.mailer);
	free(turn->outbox.jobs);
	free_lists(turn);
}

static void
pass(const BsTurn *turn, const char *point)
{
	if (turn->host->at != NULL)
		turn->host->at(point);
}

static bool
is_waiting(BsTurn *turn)
{
	return turn->host->is_waiting != NULL && turn->host->is_waiting(turn);
}

static bool
by_copies(const BsTurn *turn)
{
	return turn->outbox.settings->queue == BS_QUEUE_RABBITMQ;
}

/* ---- the broker ---- */

static void
count_copies(BsTurn *turn)
{
	BsConsumerCounts counts;

	if (bs_consumer_take_counts(turn->outbox.consumer, &counts))
		turn->host->count_copies(&counts);
}

static void
run_link(BsTurn *turn)
{
	BsAmqpEvent event;

	if (turn->link == NULL)
		return;
	bs_amqp_run(turn->link);
	while (bs_consumer_next(turn->outbox.consumer, &event))
		turn->host->link_moved(&event);
	if (bs_consumer_next_claim_ms(turn->outbox.consumer) == 0)
		pass(turn, "copy-delivered");
	count_copies(turn);
}

static void
acknowledge(BsTurn *turn)
{
	if (turn->link == NULL || bs_consumer_untold(turn->outbox.consumer) == 0)
		return;
	pass(turn, "ack-before");
	if (bs_consumer_flush(turn->outbox.consumer))
	{
		pass(turn, "ack-after");
		run_link(turn);
	}
}

/* ---- recording ---- */

static void
record(BsTurn *turn)
{
	turn->result_count = bs_outbox_begin_record(&turn->outbox, turn->claims,
												turn->results);
	pass(turn, "record-before");
	turn->host->record(turn, turn->claims, turn->results, turn->result_count);
}

void
bs_turn_recorded(BsTurn *turn, int count)
{
	if (count < 0)
	{
		bs_outbox_end_record(&turn->outbox, false);
		return;
	}
	pass(turn, "record-after-commit");
	/* What was asked twice may have been written the first time. */
	if (count < turn->result_count && !turn->record_is_unsure)
		turn->host->too_late(turn->result_count - count, turn->result_count);
	turn->record_is_unsure = false;
	turn->host->recorded(turn->claims, turn->results, turn->result_count);
	bs_outbox_end_record(&turn->outbox, true);
}

/* ---- claiming ---- */

static bool
may_claim(const BsTurn *turn)
{
	const BsOutbox *outbox = &turn->outbox;

	return !turn->held_back && outbox->mailer != NULL && !outbox->stopping &&
		outbox->record_failures == 0 && bs_outbox_has_room(outbox);
}

int64_t
bs_turn_next_claim_ms(BsTurn *turn)
{
	const BsOutbox *outbox = &turn->outbox;
	int64_t		at_ms;

	if (!may_claim(turn) || (by_copies(turn) && outbox->consumer == NULL))
		return INT64_MAX;
	at_ms = turn->host->claim_at_ms(turn);
	if (by_copies(turn))
	{
		int64_t		copies_ms = bs_consumer_next_claim_ms(outbox->consumer);

		if (copies_ms > at_ms)
			at_ms = copies_ms;
	}
	return at_ms > outbox->claim_after_ms ? at_ms : outbox->claim_after_ms;
}

static void
claim(BsTurn *turn)
{
	BsOutbox   *outbox = &turn->outbox;
	int			limit = bs_outbox_claim_limit(outbox);
	int64_t		bytes = bs_outbox_claim_bytes(outbox);

	if (limit == 0)
		return;

	/*
	 * The lease counts from here, by a clock that cannot be set: the database
	 * counts from a later moment.
	 */
	turn->asked_ms = bs_clock_ms();
	if (!by_copies(turn))
	{
		turn->host->claim_due(turn, limit, bytes);
		return;
	}
	turn->key_count = bs_consumer_peek(outbox->consumer, limit, turn->keys,
									   turn->copies);
	if (turn->key_count > 0)
		turn->host->claim_copies(turn, turn->keys, turn->key_count, bytes);
}

static int64_t
lease_until_ms(const BsTurn *turn)
{
	return turn->asked_ms + turn->outbox.settings->lease_s * INT64_C(1000);
}

void
bs_turn_claimed(BsTurn *turn, const BsClaim *claims, int count)
{
	BsCopyTag	no_copy = {0};
	int			i;

	for (i = 0; i < count; i++)
		bs_outbox_begin(&turn->outbox, &claims[i], lease_until_ms(turn),
						no_copy);
}

void
bs_turn_claimed_copies(BsTurn *turn, BsClaim *claims, int count)
{
	bs_outbox_begin_copies(&turn->outbox, turn->keys, turn->copies,
						   turn->key_count, claims, count,
						   lease_until_ms(turn));
	if (turn->outbox.consumer != NULL)
		count_copies(turn);
}

/* ---- the turn ---- */

static void
release_waiting(BsTurn *turn)
{
	bs_outbox_release_waiting(&turn->outbox, "released",
							  bs_outbox_wall_us(&turn->outbox));
}

void
bs_turn_listen(BsTurn *turn)
{
	if (turn->outbox.mailer != NULL)
		bs_mailer_run(turn->outbox.mailer);
	run_link(turn);
	while (bs_outbox_collect(&turn->outbox))
		pass(turn, "answer");
}

void
bs_turn_run(BsTurn *turn)
{
	BsOutbox   *outbox = &turn->outbox;

	bs_turn_listen(turn);
	if (!is_waiting(turn) && bs_outbox_should_record(outbox))
		record(turn);
	if (!is_waiting(turn) && bs_clock_ms() >= bs_turn_next_claim_ms(turn))
		claim(turn);
	if (turn->held_back || outbox->stopping)
		release_waiting(turn);
	if (outbox->waiting_count > 0)
		pass(turn, "submit-before");
	while (bs_outbox_submit(outbox))
		pass(turn, "submit-after");
	acknowledge(turn);
	if (outbox->mailer != NULL)
		bs_mailer_close_idle(outbox->mailer, IDLE_CONNECTION_MS);
}

static int64_t
shorter(int64_t ms, int64_t other_ms)
{
	return other_ms >= 0 && other_ms < ms ? other_ms : ms;
}

static int64_t
until(int64_t at_ms, int64_t now_ms)
{
	return at_ms <= now_ms ? 0 : at_ms - now_ms;
}

int64_t
bs_turn_wait_ms(BsTurn *turn)
{
	int64_t		now_ms = bs_clock_ms();
	int64_t		ms = LONGEST_WAIT_MS;
	bool		waiting = is_waiting(turn);

	ms = shorter(ms, until(bs_outbox_next_ms(&turn->outbox, !waiting), now_ms));
	if (!waiting)
		ms = shorter(ms, until(bs_turn_next_claim_ms(turn), now_ms));
	if (turn->outbox.mailer != NULL)
		ms = shorter(ms, bs_mailer_deadline_ms(turn->outbox.mailer));
	if (turn->link != NULL)
		ms = shorter(ms, bs_amqp_deadline_ms(turn->link));
	if (turn->stop_begun_ms != 0)
		ms = shorter(ms, until(turn->stop_begun_ms + SHUTDOWN_GRACE_MS, now_ms));
	return ms;
}

void
bs_turn_stop(BsTurn *turn)
{
	if (turn->stop_begun_ms != 0)
		return;
	turn->stop_begun_ms = bs_clock_ms();
	turn->outbox.stopping = true;
	turn->outbox.record_after_ms = 0;
	release_waiting(turn);
}

bool
bs_turn_is_over(BsTurn *turn)
{
	BsMailer   *mailer = turn->outbox.mailer;

	if (mailer != NULL && bs_mailer_busy(mailer) > 0 &&
		bs_clock_ms() >= turn->stop_begun_ms + SHUTDOWN_GRACE_MS)
	{
		bs_mailer_abort(mailer);
		while (bs_outbox_collect(&turn->outbox))
			pass(turn, "answer");
	}
	return mailer == NULL || bs_mailer_busy(mailer) == 0;
}
