/*-------------------------------------------------------------------------
 *
 * delivery_claim.c
 *	  How a sender comes by messages.
 *
 * src/server/delivery/delivery_claim.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/base/backoff.h"
#include "server/base/bs_failpoint.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_time.h"
#include "server/base/bs_txn.h"
#include "server/base/bs_wake.h"
#include "server/base/bs_worker.h"
#include "server/delivery/delivery_claim.h"
#include "server/queue/queue_store.h"

typedef struct BsClaimWork
{
	BsClaim    *claims;
	int			limit;
	int64		max_bytes;
	int			count;
	TimestampTz next_due;		/* of bs_queue_claim() */
	const BsPayload *keys;		/* for bs_queue_claim_copies() */
} BsClaimWork;

static void
claim_due_work(void *arg)
{
	BsClaimWork *work = arg;

	BS_FAILPOINT("claim-begin");
	work->count = bs_queue_claim(bs_worker_slot()->identity, work->limit,
								 work->max_bytes, work->claims,
								 &work->next_due);
	if (work->count > 0)
		BS_FAILPOINT("claim-before-commit");
}

static void
claim_copies_work(void *arg)
{
	BsClaimWork *work = arg;

	BS_FAILPOINT("copies-begin");
	work->count = bs_queue_claim_copies(bs_worker_slot()->identity,
										work->keys, work->limit,
										work->max_bytes, work->claims);
	BS_FAILPOINT("copies-before-commit");
}

/*
 * Runs "step" in a transaction; if that fails, nothing is claimed and the
 * next claim is put off.
 */
static bool
claim_in_transaction(BsSender *sender, void (*step) (void *),
					 BsClaimWork *work)
{
	char		error[256];
	int			i;

	work->claims = palloc0(sizeof(BsClaim) * work->limit);
	if (bs_txn_try("claiming messages", step, work, error, sizeof(error)))
		return true;
	bs_worker_report_error(error);
	/* What was claimed was rolled back, and nothing else frees its strings. */
	for (i = 0; i < work->limit; i++)
		free(work->claims[i].strings);
	/* A change that stepped over what was claimed needs a pass. */
	bs_wake_scheduler();
	sender->next_claim = bs_time_ms_from_now(1000);
	return false;
}

bool
bs_delivery_is_ready(BsSender *sender, TimestampTz now)
{
	if (now >= sender->ready_until)
	{
		sender->ready = bs_worker_is_ready(true);
		sender->ready_until =
			TimestampTzPlusMilliseconds(now, BS_WORKER_RECHECK_MS);
	}
	return sender->ready;
}

int64
bs_delivery_claim_at_ms(BsTurn *turn)
{
	BsSender   *sender = (BsSender *) turn;
	TimestampTz now = GetCurrentTimestamp();
	int64		now_ms = bs_time_monotonic_ms();
	TimestampTz lowered = bs_wake_sleep_until();

	/* A commit may have brought something that is due sooner. */
	if (bs_settings.queue == BS_QUEUE_POSTGRES &&
		lowered < sender->next_claim && turn->outbox.submit_after_ms <= now_ms)
	{
		sender->next_claim = lowered;
		if (lowered == DT_NOBEGIN)
			sender->ready_until = DT_NOBEGIN;
	}
	return sender->next_claim <= now ? 0 :
		now_ms + TimestampDifferenceMilliseconds(now, sender->next_claim);
}

void
bs_delivery_claim_due(BsTurn *turn, int limit, int64 bytes)
{
	BsSender   *sender = (BsSender *) turn;
	BsClaimWork work = {.limit = limit,.max_bytes = bytes};
	TimestampTz start = GetCurrentTimestamp();

	bs_wake_announce_sleep();
	if (!bs_delivery_is_ready(sender, start))
	{
		sender->next_claim = bs_wake_settle_sleep(sender->ready_until);
		return;
	}
	if (!claim_in_transaction(sender, claim_due_work, &work))
		return;
	if (work.count > 0)
		BS_FAILPOINT("claim-after-commit");
	bs_turn_claimed(turn, work.claims, work.count);
	if (work.count > 0 || work.next_due > start)
		sender->busy = 0;
	/* Due, but another session has it locked: no spinning meanwhile. */
	if (work.count < work.limit && work.next_due <= start)
		work.next_due = bs_time_ms_from_now(bs_backoff_locked_ms(++sender->busy));
	sender->next_claim = bs_wake_settle_sleep(work.next_due);
	if (work.count == 0 && sender->next_claim <= start)
		sender->ready_until = DT_NOBEGIN;
}

void
bs_delivery_claim_copies(BsTurn *turn, const BsPayload *keys, int count,
						 int64 bytes)
{
	BsSender   *sender = (BsSender *) turn;
	BsClaimWork work = {.limit = count,.max_bytes = bytes,.keys = keys};

	if (!claim_in_transaction(sender, claim_copies_work, &work))
		return;
	BS_FAILPOINT("copies-after-commit");
	bs_turn_claimed_copies(turn, work.claims, work.count);
	sender->next_claim = DT_NOBEGIN;
}
