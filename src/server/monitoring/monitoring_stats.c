/*-------------------------------------------------------------------------
 *
 * monitoring_stats.c
 *	  What the workers of this database are at, what they saw of broker and
 *	  relay, and what they counted, for SQL.
 *
 * A database that none serve has no workers, and everything is 0.
 *
 * src/server/monitoring/monitoring_stats.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "server/base/bs_group.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_time.h"
#include "server/base/bs_worker.h"

PG_FUNCTION_INFO_V1(bs_worker_stats);
PG_FUNCTION_INFO_V1(bs_broker_stats);
PG_FUNCTION_INFO_V1(bs_relay_stats);
PG_FUNCTION_INFO_V1(bs_scheduler_stats);
PG_FUNCTION_INFO_V1(bs_histogram_stats);

#define STATS_COLUMNS 11
#define RELAY_COLUMNS (3 + BS_OUTCOMES)
#define SCHEDULER_COLUMNS (BS_MOVES + 4)
#define HISTOGRAM_COLUMNS 5

/* Columns of bs_broker_stats(), in order. */
enum
{
	COL_UP,
	COL_BLOCKED,
	COL_SINCE,
	COL_READY,
	COL_DEAD,
	COL_COUNTED_AT,
	COL_PUBLISHED,
	COL_REFUSED,
	COL_CONSUMED,
	COL_DROPPED,
	COL_FAILED,
	COL_OVERSIZED,
	COL_MALFORMED,
	COL_FOREIGN,
	BROKER_COLUMNS
};

/*
 * The group of this database, or one without workers.
 */
static BsGroup *
find_group(void)
{
	static BsGroup nobodys = {.broker.ready = -1,.broker.dead = -1};
	BsGroup    *group;

	if (bs_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("birthday_scheduler is not loaded at server start"),
				 errhint("Add birthday_scheduler to \"shared_preload_libraries\" and restart the server.")));
	group = bs_group_find_own();
	return group != NULL ? group : &nobodys;
}

/* One row of as many columns as the function was declared with. */
static Datum
make_row(FunctionCallInfo fcinfo, int columns, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != columns)
		elog(ERROR, "function %u is declared in another form",
			 fcinfo->flinfo->fn_oid);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

Datum
bs_worker_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	BsGroup    *group = find_group();
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; group->workers != NULL && i < bs_shared->group_size; i++)
	{
		Datum		values[STATS_COLUMNS];
		bool		nulls[STATS_COLUMNS] = {0};
		BsWorkerSlot slot;

		LWLockAcquire(bs_shared->lock, LW_SHARED);
		slot = group->workers[i];
		LWLockRelease(bs_shared->lock);

		values[0] = CStringGetTextDatum(bs_worker_label(i));
		values[1] = Int32GetDatum((int32) slot.pid);
		nulls[1] = slot.pid == 0;
		values[2] = CStringGetTextDatum(slot.pid == 0 ? "stopped" : slot.state);
		values[3] = TimestampTzGetDatum(slot.started_at);
		nulls[3] = slot.pid == 0;
		values[4] = Int64GetDatum((int64) slot.sent);
		values[5] = Int64GetDatum((int64) slot.failed);
		values[6] = Int64GetDatum((int64) slot.retried);
		values[7] = CStringGetTextDatum(slot.last_error);
		values[8] = TimestampTzGetDatum(slot.last_error_at);
		nulls[7] = nulls[8] = slot.last_error_at == 0;
		values[9] = Int32GetDatum(slot.failed_starts);
		values[10] = Int32GetDatum(slot.session_limit);
		nulls[10] = slot.pid == 0 || slot.session_limit == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 values, nulls);
	}
	return (Datum) 0;
}

Datum
bs_broker_stats(PG_FUNCTION_ARGS)
{
	BsGroup    *group = find_group();
	BsBrokerStats broker;
	Datum		values[BROKER_COLUMNS];
	bool		nulls[BROKER_COLUMNS] = {0};

	LWLockAcquire(bs_shared->lock, LW_SHARED);
	broker = group->broker;
	LWLockRelease(bs_shared->lock);

	values[COL_UP] = BoolGetDatum(broker.up);
	values[COL_BLOCKED] = BoolGetDatum(broker.blocked);
	values[COL_SINCE] = TimestampTzGetDatum(broker.since);
	nulls[COL_SINCE] = broker.since == 0;
	values[COL_READY] = Int64GetDatum(broker.ready);
	nulls[COL_READY] = broker.ready < 0;
	values[COL_DEAD] = Int64GetDatum(broker.dead);
	nulls[COL_DEAD] = broker.dead < 0;
	values[COL_COUNTED_AT] = TimestampTzGetDatum(broker.counted_at);
	nulls[COL_COUNTED_AT] = broker.ready < 0 && broker.dead < 0;
	values[COL_PUBLISHED] = Int64GetDatum((int64) broker.published);
	values[COL_REFUSED] = Int64GetDatum((int64) broker.refused);
	values[COL_CONSUMED] = Int64GetDatum((int64) broker.consumed);
	values[COL_DROPPED] = Int64GetDatum((int64) broker.dropped);
	values[COL_FAILED] = Int64GetDatum((int64) broker.failed);
	values[COL_OVERSIZED] =
		Int64GetDatum((int64) broker.faults[BS_PAYLOAD_OVERSIZED]);
	values[COL_MALFORMED] =
		Int64GetDatum((int64) broker.faults[BS_PAYLOAD_MALFORMED]);
	values[COL_FOREIGN] =
		Int64GetDatum((int64) broker.faults[BS_PAYLOAD_FOREIGN]);
	return make_row(fcinfo, BROKER_COLUMNS, values, nulls);
}

static Datum
count_datum(pg_atomic_uint64 *counter)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(counter));
}

/*
 * Open is said only while nothing is tried; later the next mail is the probe.
 */
Datum
bs_relay_stats(PG_FUNCTION_ARGS)
{
	BsGroup    *group = find_group();
	Datum		values[RELAY_COLUMNS];
	bool		nulls[RELAY_COLUMNS] = {0};
	BsBreaker	breaker;
	int64		wait_ms;
	const char *state;
	int			i;

	LWLockAcquire(bs_shared->lock, LW_SHARED);
	breaker = bs_shared->breaker;
	LWLockRelease(bs_shared->lock);

	wait_ms = breaker.open_until_ms - bs_time_monotonic_ms();
	if (!(bs_settings.breaker > 0))
		state = "off";
	else if (breaker.state == BS_BREAKER_CLOSED)
		state = "closed";
	else if (breaker.state == BS_BREAKER_OPEN && wait_ms > 0)
		state = "open";
	else
		state = "probing";
	values[0] = CStringGetTextDatum(state);
	values[1] = TimestampTzGetDatum(bs_time_ms_from_now(wait_ms));
	nulls[1] = strcmp(state, "open") != 0;
	values[2] = count_datum(&bs_shared->breaker_opened);
	for (i = 0; i < BS_OUTCOMES; i++)
		values[3 + i] = count_datum(&group->stats.outcomes[i]);
	return make_row(fcinfo, RELAY_COLUMNS, values, nulls);
}

Datum
bs_scheduler_stats(PG_FUNCTION_ARGS)
{
	Datum		values[SCHEDULER_COLUMNS];
	bool		nulls[SCHEDULER_COLUMNS] = {0};
	BsStats    *stats = &find_group()->stats;
	TimestampTz last_pass_at;
	int			i;

	last_pass_at = (TimestampTz) pg_atomic_read_u64(&stats->last_pass_at);
	for (i = 0; i < BS_MOVES; i++)
		values[i] = count_datum(&stats->moves[i]);
	values[i++] = count_datum(&stats->passes);
	values[i++] = count_datum(&stats->passes_failed);
	nulls[i] = last_pass_at == 0;
	values[i++] = TimestampTzGetDatum(last_pass_at);
	nulls[i] = last_pass_at == 0;
	values[i++] = Float8GetDatum((double) pg_atomic_read_u64(&stats->last_pass_us) /
								 USECS_PER_SEC);
	return make_row(fcinfo, SCHEDULER_COLUMNS, values, nulls);
}

/*
 * Buckets are added up here, and their sum is the count: so the row agrees with
 * itself, whatever is counted meanwhile.
 */
Datum
bs_histogram_stats(PG_FUNCTION_ARGS)
{
	static const char *const labels[] = {
		[BS_HISTOGRAM_LATENESS] = "lateness",
		[BS_HISTOGRAM_DELIVERY] = "delivery"
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	BsGroup    *group = find_group();
	int			kind;

	InitMaterializedSRF(fcinfo, 0);
	for (kind = 0; kind < BS_HISTOGRAMS; kind++)
	{
		BsHistogram *histogram = &group->stats.histograms[kind];
		Datum		values[HISTOGRAM_COLUMNS];
		bool		nulls[HISTOGRAM_COLUMNS] = {0};
		Datum		bounds[BS_HISTOGRAM_BOUNDS];
		Datum		counts[BS_HISTOGRAM_BOUNDS];
		int64		count = 0;
		int			i;

		for (i = 0; i < BS_HISTOGRAM_BOUNDS; i++)
		{
			count += pg_atomic_read_u64(&histogram->counts[i]);
			bounds[i] = Float8GetDatum(bs_histogram_bounds[kind][i]);
			counts[i] = Int64GetDatum(count);
		}
		count += pg_atomic_read_u64(&histogram->counts[BS_HISTOGRAM_BOUNDS]);
		values[0] = CStringGetTextDatum(labels[kind]);
		values[1] = PointerGetDatum(construct_array(bounds, BS_HISTOGRAM_BOUNDS,
													FLOAT8OID, sizeof(float8),
													FLOAT8PASSBYVAL,
													TYPALIGN_DOUBLE));
		values[2] = PointerGetDatum(construct_array(counts, BS_HISTOGRAM_BOUNDS,
													INT8OID, sizeof(int64),
													FLOAT8PASSBYVAL,
													TYPALIGN_DOUBLE));
		values[3] = Float8GetDatum((double) pg_atomic_read_u64(&histogram->sum_us) /
								   USECS_PER_SEC);
		values[4] = Int64GetDatum(count);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 values, nulls);
	}
	return (Datum) 0;
}
