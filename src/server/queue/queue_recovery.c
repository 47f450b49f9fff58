/*-------------------------------------------------------------------------
 *
 * queue_recovery.c
 *	  Puts back what senders held that are lost; the scheduler calls it.
 *
 * The rows are judged by SQL, bs_recover().  Only C knows which senders of this
 * server live, and how far the clock was stepped.
 *
 * src/server/queue/queue_recovery.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "server/base/bs_failpoint.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_shmem.h"
#include "server/base/bs_time.h"
#include "server/base/bs_txn.h"
#include "server/base/bs_worker.h"
#include "server/queue/queue_recovery.h"

#define STEP_US		USECS_PER_SEC	/* less is no step of the clock */
#define RETRY_MS	1000		/* after a recovery that failed */

PG_FUNCTION_INFO_V1(bs_live_senders);

/* Exact arguments, as in planning_store.c. */
static BsStatement claim_holders = {
	.sql = "SELECT %s.bs_claim_holders(pg_catalog.clock_timestamp())"
};

static BsStatement recover = {
	.sql = "SELECT recovered, expired, next_lease_end"
	"  FROM %s.bs_recover($1, $2, $3)",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, BOOLOID, TIMESTAMPTZOID}
};

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
 * who holds, then who lives: a sender is in shared memory before it claims.
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
	int64		stepped_us;
	int64		recovered;
	int64		expired;
	TimestampTz next_lease_end;
} BsRecoverWork;

static void
recover_work(void *arg)
{
	BsRecoverWork *work = arg;
	Datum		args[3];
	Datum		values[3];
	bool		nulls[3];

	args[0] = PointerGetDatum(find_dead_senders());
	args[1] = BoolGetDatum(bs_settings.delivery_guarantee == BS_GUARANTEE_AT_MOST_ONCE);
	args[2] = TimestampTzGetDatum(GetCurrentTimestamp() - work->stepped_us);
	BS_FAILPOINT("recover-begin");
	bs_txn_execute(&recover, args, NULL);
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
					  values, nulls);
	work->recovered = DatumGetInt64(values[0]);
	work->expired = DatumGetInt64(values[1]);
	work->next_lease_end = nulls[2] ? DT_NOEND :
		DatumGetTimestampTz(values[2]) + work->stepped_us;
	if (work->recovered > 0)
		BS_FAILPOINT("recover-before-commit");
}

TimestampTz
bs_queue_recover(void)
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
		return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	}
	if (work.recovered > 0)
	{
		BS_FAILPOINT("recover-after-commit");
		ereport(LOG,
				(errmsg("birthday_scheduler put back %lld messages that no sender holds any more",
						(long long) work.recovered)));
	}
	if (work.expired > 0)
		ereport(WARNING,
				(errmsg("birthday_scheduler gave up %lld messages that are later than \"birthday_scheduler.max_lateness\"",
						(long long) work.expired),
				 errhint("They are in message_logs with status EXPIRED.")));
	return work.next_lease_end;
}
