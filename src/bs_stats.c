/*-------------------------------------------------------------------------
 *
 * bs_stats.c
 *	  What is counted in shared memory.
 *
 * src/bs_stats.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/timestamp.h"

#include "bs_group.h"

PG_FUNCTION_INFO_V1(bs_count_moves);

/* From a relay next door to a day of outage; from a local relay to a timeout. */
const double bs_histogram_bounds[BS_HISTOGRAMS][BS_HISTOGRAM_BOUNDS] = {
	[BS_HISTOGRAM_LATENESS] = {
		0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600,
	21600, 86400},
	[BS_HISTOGRAM_DELIVERY] = {
		0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
	10, 30, 60, 120}
};

/* Of the transaction that is open. */
static int64 wishes[BS_MOVES];
static bool callback_registered = false;

static void
init_all(pg_atomic_uint64 *counters, int count)
{
	int			i;

	for (i = 0; i < count; i++)
		pg_atomic_init_u64(&counters[i], 0);
}

void
bs_stats_init(BsStats *stats)
{
	int			i;

	for (i = 0; i < BS_HISTOGRAMS; i++)
	{
		init_all(stats->histograms[i].counts, BS_HISTOGRAM_BOUNDS + 1);
		init_all(&stats->histograms[i].sum_us, 1);
	}
	init_all(stats->outcomes, BS_OUTCOMES);
	init_all(stats->moves, BS_MOVES);
	init_all(&stats->passes, 1);
	init_all(&stats->passes_failed, 1);
	init_all(&stats->last_pass_at, 1);
	init_all(&stats->last_pass_us, 1);
}

void
bs_stats_observe(BsHistogramKind kind, int64 us)
{
	BsGroup    *group = bs_group_own();
	BsHistogram *histogram;
	double		seconds = (double) Max(us, 0) / USECS_PER_SEC;
	int			i = 0;

	if (group == NULL)
		return;
	histogram = &group->stats.histograms[kind];
	while (i < BS_HISTOGRAM_BOUNDS && seconds > bs_histogram_bounds[kind][i])
		i++;
	pg_atomic_fetch_add_u64(&histogram->counts[i], 1);
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
