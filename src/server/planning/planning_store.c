/*-------------------------------------------------------------------------
 *
 * planning_store.c
 *	  The SQL side of the scheduler.
 *
 * Every function opens and ends its transactions itself: a pass is many short
 * ones, so that it holds no user's lock for long.  What fails (a lock that is not
 * to be had, a full disk) is tried again later.
 *
 * src/server/planning/planning_store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "postmaster/interrupt.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "server/base/bs_failpoint.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_shmem.h"
#include "server/base/bs_time.h"
#include "server/base/bs_txn.h"
#include "server/base/bs_worker.h"
#include "server/planning/planning_store.h"

#define STEP_US		USECS_PER_SEC	/* less is no step of the clock */

PG_FUNCTION_INFO_V1(bs_live_senders);

/*
 * All arguments are given, and with their exact types: so no function that others
 * put into our schema can be a better match than ours.
 */
static BsStatement plan_begin = {
	.sql = "SELECT p.state::pg_catalog.text, false, 0::int8, 0::int8, 0::int8,"
	"       0::int8, NULL::pg_catalog.text, NULL::pg_catalog.text"
	"  FROM %s.bs_plan_step(pg_catalog.jsonb_build_object("
	"       'as_of', pg_catalog.now(),"
	"       'until', pg_catalog.now() + $1, 'upkeep', true), 5000) AS p (state)",
	.nargs = 1,
	.argtypes = {INTERVALOID}
};

static BsStatement plan_step = {
	.sql = "SELECT p.state::pg_catalog.text, (p.state -> 'done')::bool,"
	"       (p.state -> 'planned')::int8, (p.state -> 'changed')::int8,"
	"       (p.state -> 'skipped')::int8, (p.state -> 'failed')::int8,"
	"       p.state ->> 'failed_user', p.state ->> 'failed_code'"
	"  FROM %s.bs_plan_step($1::pg_catalog.jsonb, 5000) AS p (state)",
	.nargs = 1,
	.argtypes = {TEXTOID}
};

static BsStatement claim_holders = {
	.sql = "SELECT %s.bs_claim_holders(pg_catalog.clock_timestamp())"
};

static BsStatement recover = {
	.sql = "SELECT recovered, expired, next_lease_end"
	"  FROM %s.bs_recover($1, $2, $3)",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, BOOLOID, TIMESTAMPTZOID}
};

static int64
get_int64(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static void
get_text(int column, char *text, Size size)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[0],
									 SPI_tuptable->tupdesc, column);

	strlcpy(text, value ? value : "", size);
}

/* One step of a pass; the state outlives the transaction in "caller". */
typedef struct BsPlanWork
{
	MemoryContext caller;
	char	   *state;			/* NULL before the first step */
	bool		done;
	BsPlanned  *result;
} BsPlanWork;

static void
plan_work(void *arg)
{
	BsPlanWork *work = arg;
	Interval	horizon = {.time = (TimeOffset) bs_settings.horizon_s * USECS_PER_SEC};
	Datum		value;
	bool		isnull;

	BS_FAILPOINT("plan-begin");
	if (work->state == NULL)
	{
		value = IntervalPGetDatum(&horizon);
		bs_txn_execute(&plan_begin, &value, NULL);
	}
	else
	{
		value = CStringGetTextDatum(work->state);
		bs_txn_execute(&plan_step, &value, NULL);
		pfree(work->state);
	}
	work->state = MemoryContextStrdup(work->caller,
									  SPI_getvalue(SPI_tuptable->vals[0],
												   SPI_tuptable->tupdesc, 1));
	work->done = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc,
											2, &isnull));
	work->result->planned = get_int64(3);
	work->result->changed = get_int64(4);
	work->result->skipped = get_int64(5);
	work->result->failed = get_int64(6);
	get_text(7, work->result->failed_user, sizeof(work->result->failed_user));
	get_text(8, work->result->failed_code, sizeof(work->result->failed_code));
	BS_FAILPOINT("plan-before-commit");
}

bool
bs_planning_pass(BsPlanned *result)
{
	BsPlanWork	work = {.caller = CurrentMemoryContext,.result = result};
	char		error[256];

	while (!work.done)
	{
		bs_worker_check_signals();
		if (ShutdownRequestPending)
			return false;
		if (!bs_txn_try("planning", plan_work, &work, error, sizeof(error)))
		{
			bs_worker_report_error(error);
			return false;
		}
		BS_FAILPOINT("plan-after-commit");
	}
	return true;
}

/*
 * stepped_us
 *		By how much leases are longer than the wall clock says.
 *
 * That is how far the clock was stepped forward within the last lease, and how
 * long the last recovery was held up, as by a standby that it waited for:
 * "held_up_us".  Senders were held up by the same, and one that is alive and well
 * would lose all that it has under way, and it would be sent twice.
 */
static int64
stepped_us(int64 held_up_us)
{
	static TimestampTz last_wall = 0;
	static int64 last_ms = 0;
	static int64 step_us = 0;
	static int64 step_over_ms = 0;
	TimestampTz wall = GetCurrentTimestamp();
	int64		ms = bs_time_monotonic_ms();
	int64		ahead_us = wall - last_wall - (ms - last_ms) * 1000;

	if (ms >= step_over_ms)
		step_us = 0;
	if (last_wall == 0 || ahead_us <= STEP_US)
		ahead_us = 0;
	if (held_up_us > STEP_US)
		ahead_us += held_up_us;
	if (ahead_us > 0)
	{
		step_us += ahead_us;
		step_over_ms = ms + (int64) bs_settings.lease_s * 1000;
	}
	last_wall = wall;
	last_ms = ms;
	return step_us;
}

/*
 * In whatever group: one that is just leaving a database may have been in
 * another group than those that begin there.
 */
static bool
is_live_here(const char *identity)
{
	bool		live = false;
	int			i;
	int			j;

	LWLockAcquire(bs_shared->lock, LW_SHARED);
	for (i = 0; i < bs_shared->group_count; i++)
		for (j = 0; j < bs_shared->group_size; j++)
		{
			BsWorkerSlot *slot = &bs_shared->groups[i].workers[j];

			if (slot->pid != 0 && strcmp(slot->identity, identity) == 0)
				live = true;
		}
	LWLockRelease(bs_shared->lock);
	return live;
}

/*
 * In whatever group, as above.  One that stands still for longer than the lease is
 * not among them.
 */
Datum
bs_live_senders(PG_FUNCTION_ARGS)
{
	int64		since_ms = bs_time_monotonic_ms() - (int64) bs_settings.lease_s * 1000;
	Datum	   *live;
	int			count = 0;
	int			i;
	int			j;

	if (bs_shared == NULL)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(TEXTOID));
	live = palloc(sizeof(Datum) * bs_shared->group_count *
				  bs_shared->group_size);
	LWLockAcquire(bs_shared->lock, LW_SHARED);
	for (i = 0; i < bs_shared->group_count; i++)
		for (j = 0; j < bs_shared->group_size; j++)
		{
			BsWorkerSlot *slot = &bs_shared->groups[i].workers[j];
			int64		holding_ms = (int64) pg_atomic_read_u64(&slot->holding_ms);

			if (slot->pid != 0 && holding_ms != 0 && holding_ms >= since_ms)
				live[count++] = CStringGetTextDatum(slot->identity);
		}
	LWLockRelease(bs_shared->lock);
	PG_RETURN_ARRAYTYPE_P(construct_array(live, count, TEXTOID, -1, false,
										  TYPALIGN_INT));
}

/*
 * The in-server senders that hold messages and do not run any more.  First
 * who holds, then who lives: whoever claimed was in shared memory before.
 */
static ArrayType *
find_dead_senders(void)
{
	Datum	   *dead;
	int			count = 0;
	uint64		i;

	bs_txn_execute(&claim_holders, NULL, NULL);
	dead = palloc(sizeof(Datum) * (SPI_processed + 1));
	for (i = 0; i < SPI_processed; i++)
	{
		char	   *holder = SPI_getvalue(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1);

		if (strncmp(holder, "server/", 7) == 0 && !is_live_here(holder))
			dead[count++] = CStringGetTextDatum(holder);
	}
	return construct_array(dead, count, TEXTOID, -1, false, TYPALIGN_INT);
}

typedef struct BsRecoverWork
{
	int64		recovered;
	int64		expired;
	int64		stepped_us;
	TimestampTz next_lease_end;
} BsRecoverWork;

static void
recover_work(void *arg)
{
	BsRecoverWork *work = arg;
	Datum		args[3];
	Datum		value;
	bool		isnull;

	args[0] = PointerGetDatum(find_dead_senders());
	args[1] = BoolGetDatum(bs_settings.delivery_guarantee == BS_GUARANTEE_AT_MOST_ONCE);
	args[2] = TimestampTzGetDatum(GetCurrentTimestamp() - work->stepped_us);
	BS_FAILPOINT("recover-begin");
	bs_txn_execute(&recover, args, NULL);
	if (get_int64(1) > 0)
		BS_FAILPOINT("recover-before-commit");
	work->recovered = get_int64(1);
	work->expired = get_int64(2);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						  3, &isnull);
	work->next_lease_end = isnull ? DT_NOEND :
		DatumGetTimestampTz(value) + work->stepped_us;
}

bool
bs_planning_recover(int64 *recovered, int64 *expired,
					TimestampTz *next_lease_end)
{
	static int64 held_up_ms = 0;
	BsRecoverWork work = {.stepped_us = stepped_us(held_up_ms * 1000)};
	int64		started_ms = bs_time_monotonic_ms();
	char		error[256];
	bool		done = bs_txn_try("recovering messages of lost senders",
								  recover_work, &work, error, sizeof(error));

	held_up_ms = bs_time_monotonic_ms() - started_ms;
	if (!done)
	{
		bs_worker_report_error(error);
		return false;
	}
	if (work.recovered > 0)
		BS_FAILPOINT("recover-after-commit");
	*recovered = work.recovered;
	*expired = work.expired;
	*next_lease_end = work.next_lease_end;
	return true;
}
