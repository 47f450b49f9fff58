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
	BsPayload  *keys;			/* for bs_queue_claim_copies() */
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
 * Runs "step" in a transaction; where that fails, nothing is claimed and the
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
	/* What was claimed was rolled back; its strings are nobody's. */
	for (i = 0; i < work->limit; i++)
		free(work->claims[i].strings);
	/* A change that stepped over what was claimed needs a pass. */
	bs_wake_scheduler();
	sender->next_claim = bs_time_ms_from_now(1000);
	return false;
}

/*
 * Since the claim began, by a clock that nobody sets: the database counts from a
 * later moment.
 */
static int64
lease_until_ms(void)
{
	return bs_time_monotonic_ms() + (int64) bs_settings.lease_s * 1000;
}

void
bs_delivery_claim_due(BsSender *sender)
{
	BsClaimWork work = {
		.limit = bs_outbox_claim_limit(&sender->outbox),
		.max_bytes = bs_outbox_claim_bytes(&sender->outbox)
	};
	TimestampTz start = GetCurrentTimestamp();
	int64		until_ms = lease_until_ms();
	BsCopyTag	no_copy = {0};
	int			i;

	if (work.limit == 0)
		return;
	bs_wake_announce_sleep();
	if (!claim_in_transaction(sender, claim_due_work, &work))
		return;
	if (work.count > 0)
		BS_FAILPOINT("claim-after-commit");
	for (i = 0; i < work.count; i++)
		bs_outbox_begin(&sender->outbox, &work.claims[i], until_ms, no_copy);
	if (work.count > 0 || work.next_due > start)
		sender->busy = 0;
	/* Due, but another session has it locked: no spinning meanwhile. */
	if (work.count < work.limit && work.next_due <= start)
		work.next_due = bs_time_ms_from_now(bs_backoff_locked_ms(++sender->busy));
	sender->next_claim = bs_wake_settle_sleep(work.next_due);
}

void
bs_delivery_claim_copies(BsSender *sender)
{
	BsOutbox   *outbox = &sender->outbox;
	int			limit = bs_outbox_claim_limit(outbox);
	int64		until_ms = lease_until_ms();
	BsClaimWork work = {0};
	BsCopyTag  *tags;

	if (limit == 0)
		return;
	tags = palloc(sizeof(BsCopyTag) * limit);
	work.keys = palloc(sizeof(BsPayload) * limit);
	work.max_bytes = bs_outbox_claim_bytes(outbox);
	work.limit = bs_consumer_peek(outbox->consumer, limit, work.keys, tags);
	if (work.limit == 0 ||
		!claim_in_transaction(sender, claim_copies_work, &work))
		return;
	BS_FAILPOINT("copies-after-commit");
	bs_outbox_begin_copies(outbox, work.keys, tags, work.limit,
						   work.claims, work.count, until_ms);
	bs_delivery_count_copies(sender);
	sender->next_claim = DT_NOBEGIN;
}
