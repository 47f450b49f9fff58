/*-------------------------------------------------------------------------
 *
 * planning_worker.c
 *	  The scheduler: plans ahead, looks after partitions, puts back what is
 *	  lost.
 *
 * Its work is SQL alone, so SIGTERM ends it wherever it is; what it had not
 * committed is done by its successor.
 *
 * src/server/planning/planning_worker.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/base/backoff.h"
#include "server/base/bs_group.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_wake.h"
#include "server/base/bs_worker.h"
#include "server/planning/planning_store.h"
#include "server/queue/queue_recovery.h"

/* How soon new time zone files are seen. */
#define LONGEST_WAIT_MS 30000

extern PGDLLEXPORT void bs_planning_worker_main(Datum main_arg);

/*
 * Takes the wish for a pass, if there is one.
 */
static bool
take_plan_wish(void)
{
	BsGroup    *group = bs_group_own();
	bool		wanted;

	if (group == NULL)
		return false;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	wanted = group->plan_wanted;
	group->plan_wanted = false;
	group->recovery_wanted = false;
	LWLockRelease(bs_shared->lock);
	return wanted;
}

static bool
is_wanted(void)
{
	BsGroup    *group = bs_group_own();
	bool		wanted;

	if (group == NULL)
		return false;
	LWLockAcquire(bs_shared->lock, LW_SHARED);
	wanted = group->plan_wanted || group->recovery_wanted;
	LWLockRelease(bs_shared->lock);
	return wanted;
}

/*
 * Until then, or until a session asks for a pass.
 *
 * The server lets the timer of bs_txn_try() run on after its transaction, and
 * when it rings it sets the latch: a turn for that would start the next timer.
 */
static void
sleep_until_wanted(TimestampTz until)
{
	do
		bs_worker_sleep_until(until);
	while (!ShutdownRequestPending && !ConfigReloadPending &&
		   !InterruptPending && !is_wanted() &&
		   GetCurrentTimestamp() < until);
}

/*
 * One planning pass; gives when the next one is wanted.
 *
 * A user whom a session was changing is planned by that session; if it rolled
 * back, the next pass has them, and it comes soon.  So does one after a failure.
 */
static TimestampTz
plan(int *incomplete)
{
	BsPlanPass	pass = {0};
	TimestampTz started_at = GetCurrentTimestamp();
	bool		complete = bs_planning_pass(&pass);

	/* Beyond the horizon, messages would come due before they are planned. */
	int64		wait_ms = (int64) Min(bs_settings.plan_interval_s, bs_settings.horizon_s / 2) * 1000;

	if (complete || !ShutdownRequestPending)
		bs_stats_pass(complete, started_at);
	if (pass.planned > 0 || pass.changed > 0)
		ereport(LOG,
				(errmsg("birthday_scheduler planned %lld messages and brought %lld up to date",
						(long long) pass.planned,
						(long long) pass.changed)));
	if (pass.failed > 0)
		ereport(WARNING,
				(errmsg("planning failed for %lld users, one of them is %s (SQLSTATE %s)",
						(long long) pass.failed,
						DatumGetCString(DirectFunctionCall1(uuid_out,
															UUIDPGetDatum(&pass.failed_user))),
						pass.failed_code)));
	if (complete && pass.skipped == 0)
		*incomplete = 0;
	else
		wait_ms = Min(wait_ms, bs_backoff_ms(++*incomplete, 250, 60000));
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms);
}

void
bs_planning_worker_main(Datum main_arg)
{
	TimestampTz next_pass = DT_NOBEGIN;
	int			incomplete = 0; /* passes in a row */
	MemoryContext turn_context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	bs_worker_start(DatumGetInt32(main_arg));
	turn_context = AllocSetContextCreate(TopMemoryContext,
										 "birthday_scheduler scheduler turn",
										 ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();

		MemoryContextSwitchTo(turn_context);
		MemoryContextReset(turn_context);
		bs_worker_check_signals();
		if (ShutdownRequestPending)
			proc_exit(1);

		if (bs_worker_is_ready(false))
		{
			/* The wish first: what is committed later makes a new one. */
			bool		wanted = take_plan_wish();
			TimestampTz next_turn;

			next_turn = TimestampTzPlusMilliseconds(now, (int64) bs_settings.lease_s * 1000);
			if (wanted || now >= next_pass)
				next_pass = plan(&incomplete);
			next_turn = Min(next_turn, next_pass);
			next_turn = Min(next_turn, bs_queue_recover());
			/* Never a spin, whatever the rows say. */
			next_turn = Max(next_turn,
							TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 50));
			next_turn = Min(next_turn,
							TimestampTzPlusMilliseconds(now, LONGEST_WAIT_MS));
			sleep_until_wanted(next_turn);
		}
		else
		{
			next_pass = DT_NOBEGIN;
			bs_worker_sleep_until(TimestampTzPlusMilliseconds(now,
															  BS_WORKER_RECHECK_MS));
		}
	}
}
