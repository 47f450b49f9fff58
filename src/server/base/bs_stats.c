/*-------------------------------------------------------------------------
 *
 * bs_stats.c
 *	  What is counted in shared memory.
 *
 * src/server/base/bs_stats.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "server/base/bs_group.h"

PG_FUNCTION_INFO_V1(bs_count_moves);
PG_FUNCTION_INFO_V1(bs_count_report);

/* Of the transaction that is open. */
static int64 wishes[BS_MOVES];
static bool callback_registered = false;

void
bs_stats_observe(BsHistogramKind kind, int64 us)
{
	BsGroup    *group = bs_group_own();
	BsHistogram *histogram;

	if (group == NULL)
		return;
	histogram = &group->stats.histograms[kind];
	pg_atomic_fetch_add_u64(&histogram->counts[bs_histogram_bucket(kind, us)], 1);
	pg_atomic_fetch_add_u64(&histogram->sum_us, Max(us, 0));
}

void
bs_stats_attempt(BsOutcome outcome, int64 us)
{
	BsGroup    *group = bs_group_own();

	if (group == NULL)
		return;
	pg_atomic_fetch_add_u64(&group->stats.outcomes[outcome], 1);
	if (us >= 0)
		bs_stats_observe(BS_HISTOGRAM_DELIVERY, us);
}

void
bs_stats_move(BsMove move, int64 count)
{
	BsGroup    *group = bs_group_own();

	if (group != NULL)
		pg_atomic_fetch_add_u64(&group->stats.moves[move], count);
}

void
bs_stats_pass(bool finished, TimestampTz started_at)
{
	BsGroup    *group = bs_group_own();
	BsStats    *stats;
	TimestampTz now = GetCurrentTimestamp();

	if (group == NULL)
		return;
	stats = &group->stats;
	if (!finished)
	{
		pg_atomic_fetch_add_u64(&stats->passes_failed, 1);
		return;
	}
	pg_atomic_fetch_add_u64(&stats->passes, 1);
	pg_atomic_write_u64(&stats->last_pass_us, Max(now - started_at, 0));
	pg_atomic_write_u64(&stats->last_pass_at, now);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	int			i;

	if (event == XACT_EVENT_COMMIT)
	{
		for (i = 0; i < BS_MOVES; i++)
			if (wishes[i] > 0)
				bs_stats_move(i, wishes[i]);
	}
	else if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
			 event != XACT_EVENT_PREPARE)
		return;
	memset(wishes, 0, sizeof(wishes));
}

/*
 * bs_count_moves
 *		Count moves of messages once this transaction commits.
 *
 * Arguments in the order of BsMove.  A savepoint that is rolled back is counted
 * all the same: these are figures for a graph, the rows are the record.
 */
Datum
bs_count_moves(PG_FUNCTION_ARGS)
{
	int			i;

	if (!callback_registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		callback_registered = true;
	}
	for (i = 0; i < BS_MOVES; i++)
		wishes[i] += PG_GETARG_INT64(i);
	PG_RETURN_VOID();
}

/*
 * The numbers of an array of as many as there are counters, added to them.
 */
static void
add_all(pg_atomic_uint64 *counters, int count, ArrayType *array)
{
	const int64 *numbers = (const int64 *) ARR_DATA_PTR(array);
	int			i;

	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != count ||
		ARR_HASNULL(array) || ARR_ELEMTYPE(array) != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d numbers are wanted", count)));
	for (i = 0; i < count; i++)
		pg_atomic_fetch_add_u64(&counters[i], Max(numbers[i], 0));
}

/*
 * bs_count_report
 *		Count what a remote sender has done since its last report.
 *
 * Attempts in the order of BsOutcome, and two histograms: the buckets and the sum
 * in microseconds.
 */
Datum
bs_count_report(PG_FUNCTION_ARGS)
{
	BsGroup    *group = bs_shared == NULL ? NULL : bs_group_find_own();
	int			i;

	if (group == NULL)
		PG_RETURN_VOID();
	add_all(group->stats.outcomes, BS_OUTCOMES, PG_GETARG_ARRAYTYPE_P(0));
	/* The sum follows the buckets, see BsHistogram. */
	for (i = 0; i < BS_HISTOGRAMS; i++)
		add_all(group->stats.histograms[i].counts, BS_HISTOGRAM_BOUNDS + 2,
				PG_GETARG_ARRAYTYPE_P(1 + i));
	PG_RETURN_VOID();
}
