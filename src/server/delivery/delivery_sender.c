/*-------------------------------------------------------------------------
 *
 * delivery_sender.c
 *	  A sender in the server: the host of a turn. Its limits are shared with the
 *	  others, in shared memory, and its outcomes are recorded in transactions.
 *
 * What becomes of messages is in core/sending, without the server.
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
#include "server/delivery/delivery_claim.h"
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
	const BsClaim *const *claims;
	const BsResult *const *results;
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

static void
record(BsTurn *turn, const BsClaim *const *claims,
	   const BsResult *const *results, int count)
{
	BsRecordWork work = {claims, results, count, 0};
	char		error[256];

	if (bs_txn_try("recording outcomes", record_work, &work,
				   error, sizeof(error)))
	{
		bs_turn_recorded(turn, work.recorded);
		return;
	}
	bs_worker_report_error(error);
	bs_turn_recorded(turn, -1);
	if (bs_worker_is_extension_gone())
		bs_outbox_forget(&turn->outbox);
}

static void
log_too_late(int count, int of)
{
	ereport(LOG,
			(errmsg("%d of %d outcomes came too late: the messages had been given up for lost, had changed hands or were deleted",
					count, of)));
}

/*
 * To the shared counters.
 */
static void
count_copies(const BsConsumerCounts *counts)
{
	static TimestampTz fault_logged = DT_NOBEGIN;
	BsGroup    *group = bs_group_own();
	TimestampTz now = GetCurrentTimestamp();
	int			fault = BS_PAYLOAD_OK;
	int			i;

	if (group != NULL)
	{
		LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
		group->broker.consumed += counts->consumed;
		group->broker.dropped += counts->dropped;
		group->broker.failed += counts->failed;
		for (i = 0; i < BS_PAYLOAD_FAULTS; i++)
			group->broker.faults[i] += counts->faults[i];
		LWLockRelease(bs_shared->lock);
	}
	for (i = 0; i < BS_PAYLOAD_FAULTS; i++)
		if (counts->faults[i] > 0)
			fault = i;
	if (counts->excess > 0)
		bs_worker_report_error("the broker sends more than it was asked for");
	if (fault != BS_PAYLOAD_OK &&
		TimestampDifferenceExceeds(fault_logged, now, 60000))
	{
		fault_logged = now;
		ereport(LOG,
				(errmsg("birthday_scheduler moved a message to the dead letters: %s",
						bs_payload_fault_name((BsPayloadFault) fault)),
				 errdetail("Further ones are logged once a minute and sender; bs_metrics() counts them.")));
	}
}

#ifdef BS_FAILPOINTS
static void
pass_failpoint(const char *point)
{
	BS_FAILPOINT(point);
}
#endif

static BsTurnHost host = {
	.outbox = {
		.lock = lock_limits,
		.unlock = unlock_limits,
		.random = next_random,
		.breaker_moved = log_breaker,
		.sessions_elsewhere = count_sessions_elsewhere,
		.limit_moved = note_limit,
		.attempted = bs_stats_attempt,
		.report_error = bs_worker_report_error
	},
	.claim_at_ms = bs_delivery_claim_at_ms,
	.claim_due = bs_delivery_claim_due,
	.claim_copies = bs_delivery_claim_copies,
	.record = record,
	.recorded = report_results,
	.too_late = log_too_late,
	.link_moved = bs_queue_report,
	.count_copies = count_copies,
#ifdef BS_FAILPOINTS
	.at = pass_failpoint
#endif
};

void
bs_delivery_sender_init(BsSender *sender)
{
	memset(sender, 0, sizeof(*sender));
	host.outbox.bucket = &bs_shared->bucket;
	host.outbox.breaker = &bs_shared->breaker;
	bs_turn_init(&sender->turn, &host, &bs_settings);
	sender->next_claim = DT_NOBEGIN;
	sender->ready_until = DT_NOBEGIN;
}

void
bs_delivery_publish_sessions(const BsSender *sender)
{
	BsWorkerSlot *slot = bs_worker_slot();
	int			sessions = sender->turn.outbox.mailer == NULL ? 0 :
	bs_mailer_sessions(sender->turn.outbox.mailer);

	if (slot->sessions == sessions)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	slot->sessions = sessions;
	LWLockRelease(bs_shared->lock);
}
