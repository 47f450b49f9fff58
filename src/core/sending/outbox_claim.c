/*-------------------------------------------------------------------------
 *
 * outbox_claim.c
 *	  How much the outbox has room for, and what becomes of a claim.
 *
 * Two things are counted: jobs, which connections can work off within a lease, and
 * octets, because a letter may have anything from a hundred to two million.
 *
 * src/core/sending/outbox_claim.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/outbox.h"

#include <string.h>

#include "core/base/clock.h"

/* How many jobs there are for as many sessions as the relay takes. */
static int
count_usable(const BsOutbox *outbox)
{
	int			usable;

	if (outbox->mailer == NULL)
		return outbox->job_count;
	usable = bs_mailer_window(outbox->mailer) * BS_JOBS_PER_CONNECTION;
	return usable < outbox->job_count ? usable : outbox->job_count;
}

static int
count_free(const BsOutbox *outbox)
{
	int			count = count_usable(outbox) -
	(outbox->job_count - outbox->free_count);

	return count > 0 ? count : 0;
}

int
bs_outbox_claim_limit(BsOutbox *outbox)
{
	int64_t		now_ms = bs_clock_ms();
	int64_t		wait_ms;
	BsBreaker	breaker;

	if (outbox->settings->breaker <= 0)
		return count_free(outbox);
	if (outbox->host->lock != NULL)
		outbox->host->lock();
	breaker = *outbox->host->breaker;
	if (outbox->host->unlock != NULL)
		outbox->host->unlock();
	if (breaker.state == BS_BREAKER_CLOSED)
		return count_free(outbox);
	wait_ms = breaker.open_until_ms - now_ms;
	if (wait_ms <= 0)
		return outbox->free_count > 0 ? 1 : 0;
	outbox->claim_after_ms = now_ms + (wait_ms < 1000 ? wait_ms : 1000);
	return 0;
}

int64_t
bs_outbox_claim_bytes(const BsOutbox *outbox)
{
	return bs_outbox_memory(outbox) / 4 - outbox->claim_bytes;
}

bool
bs_outbox_has_room(const BsOutbox *outbox)
{
	return count_free(outbox) >= count_usable(outbox) / 2 &&
		bs_outbox_claim_bytes(outbox) >= bs_outbox_memory(outbox) / 8;
}

void
bs_outbox_begin(BsOutbox *outbox, const BsClaim *claim,
				int64_t lease_until_ms, BsCopyTag copy)
{
	BsJob	   *job = TAILQ_FIRST(&outbox->free);

	TAILQ_REMOVE(&outbox->free, job, node);
	outbox->free_count--;
	job->claim = *claim;
	outbox->claim_bytes += claim->size;
	job->lease_until_ms = lease_until_ms;
	job->again = 0;
	job->copy = copy;
	TAILQ_INSERT_TAIL(&outbox->waiting, job, node);
	outbox->waiting_count++;
}

/*
 * The claim of this message; NULL: there is none, or another copy of the message
 * has it.
 */
static BsClaim *
find_claim(BsClaim *claims, int count, const BsPayload *key)
{
	int			i;

	for (i = 0; i < count; i++)
	{
		if (claims[i].attempts >= 0 &&
			memcmp(claims[i].id, key->id, BS_UUID_SIZE) == 0)
			return &claims[i];
	}
	return NULL;
}

void
bs_outbox_begin_copies(BsOutbox *outbox, const BsPayload *keys,
					   const BsCopyTag *copies, int count,
					   BsClaim *claims, int claim_count,
					   int64_t lease_until_ms)
{
	BsConsumer *consumer = outbox->consumer;
	int			locked = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		BsClaim    *claim = find_claim(claims, claim_count, &keys[i]);

		if (claim == NULL)
		{
			/* Stale, early, finished, or another sender's. */
			bs_consumer_drop(consumer, copies[i], BS_COPY_DONE);
		}
		else if (claim->is_locked)
		{
			bs_consumer_settle(consumer, copies[i], BS_COPY_LOCKED);
			locked++;
		}
		else if (claim->strings == NULL)
			bs_consumer_drop(consumer, copies[i], BS_COPY_DEAD);
		else
		{
			bs_consumer_settle(consumer, copies[i], BS_COPY_HELD);
			bs_outbox_begin(outbox, claim, lease_until_ms, copies[i]);
			claim->attempts = -1;	/* taken */
		}
	}

	/*
	 * What the letters left no room for is asked for as soon as there is
	 * some.
	 */
	if (locked > 0 && consumer != NULL && bs_outbox_claim_bytes(outbox) > 0)
		bs_consumer_wait_for_locks(consumer);
}
