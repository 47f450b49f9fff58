/*-------------------------------------------------------------------------
 *
 * monitoring_stats.c
 *	  What the workers are at and what they saw of the broker, for SQL.
 *
 * src/monitoring/monitoring_stats.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "bs_shmem.h"
#include "bs_worker.h"

PG_FUNCTION_INFO_V1(bs_worker_stats);
PG_FUNCTION_INFO_V1(bs_broker_stats);

#define STATS_COLUMNS 9

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

static void
require_preloading(void)
{
	if (bs_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("birthday_scheduler is not loaded at server start"),
				 errhint("Add birthday_scheduler to \"shared_preload_libraries\" and restart the server.")));
}

Datum
bs_worker_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	require_preloading();
	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < bs_shared->worker_count; i++)
	{
		Datum		values[STATS_COLUMNS];
		bool		nulls[STATS_COLUMNS] = {0};
		BsWorkerSlot slot;

		LWLockAcquire(bs_shared->lock, LW_SHARED);
		slot = bs_shared->workers[i];
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
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 values, nulls);
	}
	return (Datum) 0;
}

Datum
bs_broker_stats(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	BsBrokerStats broker;
	Datum		values[BROKER_COLUMNS];
	bool		nulls[BROKER_COLUMNS] = {0};

	require_preloading();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != BROKER_COLUMNS)
		elog(ERROR, "bs_broker_stats() is declared in another form");

	LWLockAcquire(bs_shared->lock, LW_SHARED);
	broker = bs_shared->broker;
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
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
