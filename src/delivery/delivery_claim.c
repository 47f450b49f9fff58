/*-------------------------------------------------------------------------
 *
 * delivery_claim.c
 *	  How a sender comes by messages.
 *
 * src/delivery/delivery_claim.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "bs_failpoint.h"
#include "bs_guc.h"
#include "bs_time.h"
#include "bs_txn.h"
#include "bs_wake.h"
#include "bs_worker.h"
#include "delivery/delivery_claim.h"

#define BUSY_MS 5				/* another sender is just taking what is due */

typedef struct BsClaimWork
{
	MemoryContext context;
	BsClaim    *claims;
	int			limit;
	int			count;
	TimestampTz next_due;		/* of bs_queue_claim() */
	BsCopyKey  *keys;			/* for bs_queue_claim_copies() */
} BsClaimWork;

static void
claim_due_work(void *arg)
{
	BsClaimWork *work = arg;

	BS_FAILPOINT("claim-begin");
	work->count = bs_queue_claim(bs_worker_slot()->identity, work->limit,
								 work->context, work->claims,
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
										work->context, work->claims);
	BS_FAILPOINT("copies-before-commit");
}

/*
 * How many may be claimed: one to probe with, or none, while the breaker is not
 * closed.
 */
static int
claim_limit(BsSender *sender)
{
	BsBreaker	breaker;
	int64		wait_ms;

	if (bs_breaker <= 0)
		return sender->free_count;
	LWLockAcquire(bs_shared->lock, LW_SHARED);
	breaker = bs_shared->breaker;
	LWLockRelease(bs_shared->lock);
	if (breaker.state == BS_BREAKER_CLOSED)
		return sender->free_count;
	wait_ms = breaker.open_until_ms - bs_time_monotonic_ms();
	if (wait_ms <= 0)
		return 1;
	sender->next_claim = bs_time_ms_from_now(Min(wait_ms, 1000));
	return 0;
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

	work->context = sender->claim_context;
	work->claims = palloc0(sizeof(BsClaim) * work->limit);
	if (bs_txn_try("claiming messages", step, work, error, sizeof(error)))
		return true;
	bs_worker_report_error(error);
	/* What was claimed was rolled back; its strings are nobody's. */
	for (i = 0; i < work->limit; i++)
		if (work->claims[i].strings)
			pfree(work->claims[i].strings);
	/* A change that stepped over what was claimed needs a pass. */
	bs_wake_scheduler();
	sender->next_claim = bs_time_ms_from_now(1000);
	return false;
}

void
bs_delivery_claim_due(BsSender *sender)
{
	BsClaimWork work = {.limit = claim_limit(sender)};
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz lease_until =
	TimestampTzPlusMilliseconds(start, (int64) bs_lease_s * 1000);
	BsCopyTag	no_copy = {0};
	int			i;

	if (work.limit == 0)
		return;
	bs_wake_announce_sleep(bs_worker_number());
	if (!claim_in_transaction(sender, claim_due_work, &work))
		return;
	if (work.count > 0)
		BS_FAILPOINT("claim-after-commit");
	for (i = 0; i < work.count; i++)
		bs_delivery_begin(sender, &work.claims[i], lease_until, no_copy);
	/* Due, but another sender is just taking it: no spinning meanwhile. */
	if (work.count < work.limit && work.next_due <= start)
		work.next_due = bs_time_ms_from_now(BUSY_MS);
	sender->next_claim = bs_wake_settle_sleep(bs_worker_number(),
											  work.next_due);
}

/*
 * The claim of this message, which is taken out of the list; NULL: there is
 * none, or another copy of the message has it.
 */
static BsClaim *
take_claim(BsClaim *claims, int count, const BsCopyKey *key)
{
	int			i;

	for (i = 0; i < count; i++)
	{
		if (claims[i].attempts >= 0 &&
			memcmp(&claims[i].id, &key->id, sizeof(key->id)) == 0)
			return &claims[i];
	}
	return NULL;
}

static void
count_copies(int dropped, int failed)
{
	if (dropped == 0 && failed == 0)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	bs_shared->broker.dropped += dropped;
	bs_shared->broker.failed += failed;
	LWLockRelease(bs_shared->lock);
}

void
bs_delivery_claim_copies(BsSender *sender)
{
	BsConsumer *consumer = sender->consumer;
	BsClaimWork work = {.limit = claim_limit(sender)};
	TimestampTz lease_until = bs_time_ms_from_now((int64) bs_lease_s * 1000);
	BsCopyTag  *tags = palloc(sizeof(BsCopyTag) * Max(work.limit, 1));
	int			dropped = 0;
	int			failed = 0;
	int			locked = 0;
	int			i;

	work.keys = palloc(sizeof(BsCopyKey) * Max(work.limit, 1));
	work.limit = bs_consumer_peek(consumer, work.limit, work.keys, tags);
	if (work.limit == 0 ||
		!claim_in_transaction(sender, claim_copies_work, &work))
		return;
	BS_FAILPOINT("copies-after-commit");
	for (i = 0; i < work.limit; i++)
	{
		BsClaim    *claim = take_claim(work.claims, work.count,
									   &work.keys[i]);

		if (claim == NULL)
		{
			/* Stale, early, finished, or another sender's. */
			bs_consumer_settle(consumer, tags[i], BS_COPY_DONE);
			dropped++;
		}
		else if (claim->is_locked)
		{
			bs_consumer_settle(consumer, tags[i], BS_COPY_LOCKED);
			locked++;
		}
		else if (claim->strings == NULL)
		{
			bs_consumer_settle(consumer, tags[i], BS_COPY_DEAD);
			failed++;
		}
		else
		{
			bs_consumer_settle(consumer, tags[i], BS_COPY_HELD);
			bs_delivery_begin(sender, claim, lease_until, tags[i]);
			claim->attempts = -1;	/* taken */
		}
	}
	count_copies(dropped, failed);
	if (locked > 0)
		bs_consumer_wait_for_locks(consumer);
	sender->next_claim = DT_NOBEGIN;
}
