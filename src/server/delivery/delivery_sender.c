/*-------------------------------------------------------------------------
 *
 * delivery_sender.c
 *	  The outbox of an in-server sender: its limits are shared with the others, in
 *	  shared memory, and its outcomes are recorded in transactions.
 *
 * What becomes of messages is in core/sending/outbox.c, without the server.
 *
 * src/server/delivery/delivery_sender.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "server/base/bs_failpoint.h"
#include "server/base/bs_group.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_txn.h"
#include "server/base/bs_worker.h"
#include "server/delivery/delivery_sender.h"
#include "server/queue/queue_link.h"
#include "server/result/result_store.h"

static void
lock_limits(void)
{
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
}

static void
unlock_limits(void)
{
	LWLockRelease(bs_shared->lock);
}

static double
next_random(void)
{
	return pg_prng_double(&pg_global_prng_state);
}

static void
log_breaker(BsBreakerState state)
{
	if (state == BS_BREAKER_OPEN)
		pg_atomic_fetch_add_u64(&bs_shared->breaker_opened, 1);
	ereport(LOG,
			(errmsg(state == BS_BREAKER_CLOSED ?
					"birthday_scheduler sends again: the relay answers" :
					"birthday_scheduler pauses sending for 30 seconds: too many attempts failed")));
}

/*
 * Of all databases: the relay is the server's.
 */
static int
count_sessions_elsewhere(void)
{
	const BsWorkerSlot *own = bs_worker_slot();
	int			count = 0;
	int			i;
	int			k;

	LWLockAcquire(bs_shared->lock, LW_SHARED);
	for (i = 0; i < bs_shared->group_count; i++)
		for (k = 0; k < bs_shared->group_size; k++)
		{
			const BsWorkerSlot *slot = &bs_shared->groups[i].workers[k];

			if (slot->pid != 0 && slot != own)
				count += slot->sessions;
		}
	LWLockRelease(bs_shared->lock);
	return count;
}

static void
note_limit(int limit)
{
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	bs_worker_slot()->session_limit = limit;
	LWLockRelease(bs_shared->lock);
	if (limit > 0)
		ereport(LOG,
				(errmsg("birthday_scheduler uses %d connections of this sender: the relay takes no more",
						limit),
				 errdetail("From time to time it tries one more.")));
	else
		ereport(LOG,
				(errmsg("birthday_scheduler uses all connections of this sender again")));
}

static BsOutboxHost host = {
	.lock = lock_limits,
	.unlock = unlock_limits,
	.random = next_random,
	.breaker_moved = log_breaker,
	.sessions_elsewhere = count_sessions_elsewhere,
	.limit_moved = note_limit,
	.attempted = bs_stats_attempt,
	.report_error = bs_worker_report_error
};

void
bs_delivery_sender_init(BsSender *sender)
{
	memset(sender, 0, sizeof(*sender));
	host.bucket = &bs_shared->bucket;
	host.breaker = &bs_shared->breaker;
	bs_outbox_init(&sender->outbox, &host, &bs_settings);
}

void
bs_delivery_collect(BsSender *sender)
{
	while (bs_outbox_collect(&sender->outbox))
		BS_FAILPOINT("answer");
}

void
bs_delivery_publish_sessions(const BsSender *sender)
{
	BsWorkerSlot *slot = bs_worker_slot();
	int			sessions = sender->outbox.mailer == NULL ? 0 :
	bs_mailer_sessions(sender->outbox.mailer);

	if (slot->sessions == sessions)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	slot->sessions = sessions;
	LWLockRelease(bs_shared->lock);
}

void
bs_delivery_submit(BsSender *sender)
{
	if (sender->outbox.waiting_count > 0)
		BS_FAILPOINT("submit-before");
	while (bs_outbox_submit(&sender->outbox))
		BS_FAILPOINT("submit-after");
}

/*
 * Counts for bs_workers, and a line in the log for what will never be sent.
 */
static void
report_results(const BsClaim *const *claims, const BsResult *const *results,
			   int count)
{
	char		id[BS_UUID_TEXT];
	int			sent = 0;
	int			failed = 0;
	int			retried = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		switch (results[i]->next)
		{
			case BS_NEXT_SENT:
				sent++;
				bs_stats_observe(BS_HISTOGRAM_LATENESS,
								 results[i]->ended_us -
								 claims[i]->send_time_us);
				break;
			case BS_NEXT_RETRYING:
				retried++;
				break;
			case BS_NEXT_RELEASED:
				break;
			case BS_NEXT_FAILED:
			case BS_NEXT_EXPIRED:
				failed++;
				if (results[i]->next == BS_NEXT_EXPIRED)
					bs_stats_move(BS_MOVE_EXPIRED, 1);
				bs_uuid_write(claims[i]->id, id);
				ereport(LOG,
						(errmsg("message %s was given up: %s (reply code %d)",
								id, results[i]->reason, results[i]->code)));
				break;
		}
	}
	bs_worker_add_counts(sent, failed, retried);
}

typedef struct BsRecordWork
{
	const BsClaim **claims;
	const BsResult **results;
	int			count;
	int			recorded;
} BsRecordWork;

static void
record_work(void *arg)
{
	BsRecordWork *work = arg;

	work->recorded = bs_result_record(work->claims, work->results,
									  work->count);
}

bool
bs_delivery_record(BsSender *sender)
{
	BsOutbox   *outbox = &sender->outbox;
	BsRecordWork work;
	char		error[256];

	if (outbox->ended_count == 0)
		return true;
	work.claims = palloc(sizeof(*work.claims) * outbox->ended_count);
	work.results = palloc(sizeof(*work.results) * outbox->ended_count);
	work.count = bs_outbox_begin_record(outbox, work.claims, work.results);
	BS_FAILPOINT("record-before");
	if (!bs_txn_try("recording outcomes", record_work, &work,
					error, sizeof(error)))
	{
		bs_worker_report_error(error);
		bs_outbox_end_record(outbox, false);
		return false;
	}
	BS_FAILPOINT("record-after-commit");
	if (work.recorded < work.count)
		ereport(LOG,
				(errmsg("%d of %d outcomes came too late: the messages had been given up for lost, had changed hands or were deleted",
						work.count - work.recorded, work.count)));
	report_results(work.claims, work.results, work.count);
	bs_outbox_end_record(outbox, true);
	return true;
}

void
bs_delivery_count_copies(BsSender *sender)
{
	BsGroup    *group = bs_group_own();
	TimestampTz now = GetCurrentTimestamp();
	BsConsumerCounts counts;
	int			fault = BS_PAYLOAD_OK;
	int			i;

	if (!bs_consumer_take_counts(sender->outbox.consumer, &counts))
		return;
	if (group != NULL)
	{
		LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
		group->broker.consumed += counts.consumed;
		group->broker.dropped += counts.dropped;
		group->broker.failed += counts.failed;
		for (i = 0; i < BS_PAYLOAD_FAULTS; i++)
			group->broker.faults[i] += counts.faults[i];
		LWLockRelease(bs_shared->lock);
	}
	for (i = 0; i < BS_PAYLOAD_FAULTS; i++)
		if (counts.faults[i] > 0)
			fault = i;
	if (counts.excess > 0)
		bs_worker_report_error("the broker sends more than it was asked for");
	if (fault != BS_PAYLOAD_OK &&
		TimestampDifferenceExceeds(sender->fault_logged, now, 60000))
	{
		sender->fault_logged = now;
		ereport(LOG,
				(errmsg("birthday_scheduler moved a message to the dead letters: %s",
						bs_payload_fault_name((BsPayloadFault) fault)),
				 errdetail("Further ones are logged once a minute and sender; bs_metrics() counts them.")));
	}
}

void
bs_delivery_consume(BsSender *sender, BsAmqpLink *link)
{
	BsAmqpEvent event;

	bs_amqp_run(link);
	while (bs_consumer_next(sender->outbox.consumer, &event))
		bs_queue_report(&event);
	if (bs_consumer_next_claim_ms(sender->outbox.consumer) == 0)
		BS_FAILPOINT("copy-delivered");
	bs_delivery_count_copies(sender);
}

void
bs_delivery_acknowledge(BsSender *sender, BsAmqpLink *link)
{
	if (bs_consumer_untold(sender->outbox.consumer) == 0)
		return;
	BS_FAILPOINT("ack-before");
	if (bs_consumer_flush(sender->outbox.consumer))
	{
		BS_FAILPOINT("ack-after");
		bs_delivery_consume(sender, link);
	}
}
