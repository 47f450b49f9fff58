/*-------------------------------------------------------------------------
 *
 * monitoring_stats.c
 *	  What the workers are at, for SQL.
 *
 * src/monitoring/monitoring_stats.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "bs_shmem.h"
#include "bs_worker.h"

PG_FUNCTION_INFO_V1(bs_worker_stats);

#define STATS_COLUMNS 9

Datum
bs_worker_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	if (bs_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("birthday_scheduler is not loaded at server start"),
				 errhint("Add birthday_scheduler to \"shared_preload_libraries\" and restart the server.")));
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
