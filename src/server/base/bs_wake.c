/*-------------------------------------------------------------------------
 *
 * bs_wake.c
 *	  Waking the workers of this database when a transaction commits that gives
 *	  them work.
 *
 * A wish is noted, acted on at commit and forgotten at rollback; the callback is
 * registered once a backend.  No LISTEN: an idle listener would hold up the
 * cluster's NOTIFY queue.
 *
 * A due row may also come into being without a wish: by a prepared transaction, an
 * attached partition, replication, or with triggers off.  So nothing sleeps for
 * longer than LONGEST_SLEEP_MS, whatever it knows to be due.
 *
 * src/server/base/bs_wake.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "server/base/bs_group.h"
#include "server/base/bs_time.h"
#include "server/base/bs_wake.h"
#include "server/base/bs_worker.h"

#define LONGEST_SLEEP_MS	30000

PG_FUNCTION_INFO_V1(bs_wake_sql);
PG_FUNCTION_INFO_V1(bs_wake_senders_sql);

static bool callback_registered = false;
static bool plan_wish = false;
static TimestampTz due_wish = DT_NOEND;

static void
wake_scheduler(bool plan)
{
	BsGroup    *group = bs_group_own();
	BsWorkerSlot *scheduler;

	if (group == NULL)
		return;
	scheduler = &group->workers[0];
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	group->plan_wanted |= plan;
	group->recovery_wanted |= !plan;
	if (scheduler->pid != 0)
		SetLatch(scheduler->latch);
	LWLockRelease(bs_shared->lock);
}

void
bs_wake_scheduler(void)
{
	wake_scheduler(true);
}

void
bs_wake_recovery(void)
{
	wake_scheduler(false);
}

/*
 * Wakes the senders that would sleep past "due", the instant of a message.
 *
 * The sleep is lowered here, so that of many commits with messages for the same
 * instant one sets the latch.
 */
static void
wake_senders(TimestampTz due)
{
	BsGroup    *group = bs_group_own();
	int			i;

	if (group == NULL)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	for (i = 1; i < bs_shared->group_size; i++)
	{
		BsWorkerSlot *sender = &group->workers[i];

		if (due < sender->sleep_until)
		{
			sender->sleep_until = due;
			if (sender->pid != 0)
				SetLatch(sender->latch);
		}
	}
	LWLockRelease(bs_shared->lock);
}

void
bs_wake_announce_sleep(void)
{
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	bs_worker_slot()->sleep_until = DT_NOEND;
	LWLockRelease(bs_shared->lock);
}

TimestampTz
bs_wake_settle_sleep(TimestampTz due)
{
	BsWorkerSlot *slot = bs_worker_slot();

	due = Min(due, bs_time_ms_from_now(LONGEST_SLEEP_MS));
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	if (due < slot->sleep_until)
		slot->sleep_until = due;
	due = slot->sleep_until;
	LWLockRelease(bs_shared->lock);
	return due;
}

void
bs_wake_never(void)
{
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	bs_worker_slot()->sleep_until = DT_NOBEGIN;
	LWLockRelease(bs_shared->lock);
}

TimestampTz
bs_wake_sleep_until(void)
{
	TimestampTz due;

	LWLockAcquire(bs_shared->lock, LW_SHARED);
	due = bs_worker_slot()->sleep_until;
	LWLockRelease(bs_shared->lock);
	return due;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	/*
	 * No callback comes when a prepared transaction is committed: what it has
	 * planned is looked for from now on, as if it were committed.
	 */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
	{
		if (plan_wish)
			bs_wake_scheduler();
		if (due_wish != DT_NOEND)
			wake_senders(due_wish);
	}
	else if (event != XACT_EVENT_ABORT)
		return;
	plan_wish = false;
	due_wish = DT_NOEND;
}

static void
register_callback(void)
{
	if (!callback_registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		callback_registered = true;
	}
}

Datum
bs_wake_sql(PG_FUNCTION_ARGS)
{
	register_callback();
	plan_wish = true;
	due_wish = DT_NOBEGIN;
	PG_RETURN_VOID();
}

Datum
bs_wake_senders_sql(PG_FUNCTION_ARGS)
{
	TimestampTz due = PG_GETARG_TIMESTAMPTZ(0);

	register_callback();
	if (due < due_wish)
		due_wish = due;
	PG_RETURN_VOID();
}
