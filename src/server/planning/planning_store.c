/*-------------------------------------------------------------------------
 *
 * planning_store.c
 *	  A planning pass, step by step.
 *
 * The work is SQL; this keeps the place and decides what follows an error.  The
 * scheduler runs each step in a transaction of its own, bs_plan() all in one.
 *
 * src/server/planning/planning_store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "postmaster/interrupt.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "server/base/bs_failpoint.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_txn.h"
#include "server/base/bs_worker.h"
#include "server/planning/planning_store.h"

#define CHUNK			5000
#define MANY_FAILURES	100		/* in a row: the fault is hardly theirs */

PG_FUNCTION_INFO_V1(bs_plan_pass);

/*
 * All arguments are given, and with their exact types: so no function that others
 * put into our schema can be a better match than ours.
 */
static BsStatement plan_begin = {
	.sql = "SELECT as_of, until, began, window_from, missing, trouble"
	"  FROM %s.bs_plan_begin($1, $2)",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static BsStatement plan_slices = {
	.sql = "SELECT message_type, date_source, local_date, month_day"
	"  FROM %s.bs_plan_slices($1, $2)",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/* Columns of the two that follow, in order. */
enum
{
	COL_LAST_ID = 1,
	COL_DONE,
	COL_SKIPPED,
	COL_PAST_TRIGGERS,
	COL_TRIED,
	COL_FAILED_USER,
	COL_FAILED_CODE,
	COL_LAST_TIME				/* of bs_plan_refresh() alone */
};

static BsStatement plan_slice = {
	.sql = "SELECT last_id, planned, skipped, past_triggers, tried,"
	"       failed_user, failed_code"
	"  FROM %s.bs_plan_slice($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	.nargs = 9,
	.argtypes = {VARCHAROID, VARCHAROID, DATEOID, INT4OID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, DATEARRAYOID, UUIDOID, INT4OID}
};

static BsStatement plan_refresh = {
	.sql = "SELECT last_id, changed, skipped, past_triggers, tried,"
	"       failed_user, failed_code, last_time"
	"  FROM %s.bs_plan_refresh($1, $2, $3, $4, $5)",
	.nargs = 5,
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID, INT4OID}
};

static BsStatement plan_end = {
	.sql = "SELECT %s.bs_plan_end($1, $2, $3, $4, $5, $6, $7)",
	.nargs = 7,
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, DATEARRAYOID, INT8OID, INT8OID,
	UUIDOID, TEXTOID}
};

static BsStatement upkeep = {
	.sql = "SELECT %s.bs_upkeep($1, 'scheduler'::pg_catalog.text)",
	.nargs = 1,
	.argtypes = {TEXTOID}
};

static Datum
get(int row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, isnull);
}

static void
get_text(int row, int column, char *text, Size size)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row],
									 SPI_tuptable->tupdesc, column);

	strlcpy(text, value ? value : "", size);
}

static void
begin(BsPlanPass *pass)
{
	Datum		args[2] = {TimestampTzGetDatum(pass->as_of),
	TimestampTzGetDatum(pass->until)};
	MemoryContext caller;
	Datum		trouble;
	bool		isnull;
	int			i;

	bs_txn_execute(&plan_begin, args, NULL);
	pass->as_of = DatumGetTimestampTz(get(0, 1, &isnull));
	pass->until = DatumGetTimestampTz(get(0, 2, &isnull));
	pass->began = DatumGetTimestampTz(get(0, 3, &isnull));
	pass->window_from = DatumGetTimestampTz(get(0, 4, &isnull));
	pass->last_time = DT_NOBEGIN;
	pass->size = pass->chunk;
	caller = MemoryContextSwitchTo(pass->context);
	pass->missing = DatumGetArrayTypePCopy(get(0, 5, &isnull));
	trouble = get(0, 6, &isnull);
	if (!isnull)
		pass->trouble = TextDatumGetCString(trouble);
	MemoryContextSwitchTo(caller);

	args[0] = TimestampTzGetDatum(pass->window_from);
	args[1] = TimestampTzGetDatum(pass->until);
	bs_txn_execute(&plan_slices, args, NULL);
	pass->slice_count = (int) SPI_processed;
	pass->slices = MemoryContextAllocZero(pass->context,
										  sizeof(BsPlanSlice) * (pass->slice_count + 1));
	for (i = 0; i < pass->slice_count; i++)
	{
		BsPlanSlice *slice = &pass->slices[i];

		get_text(i, 1, slice->message_type, sizeof(slice->message_type));
		get_text(i, 2, slice->date_source, sizeof(slice->date_source));
		slice->local_date = DatumGetDateADT(get(i, 3, &isnull));
		slice->month_day = DatumGetInt32(get(i, 4, &isnull));
	}
}

/*
 * take_answer
 *		Count what a step has done, and move the cursor; false if the same is to
 *		be tried again.
 *
 * What failed is tried again in halves, until one user or message is left, which
 * is counted and passed over.  After many errors in a row what fails is passed
 * over as it is.
 */
static bool
take_answer(BsPlanPass *pass, int64 *done)
{
	bool		isnull;
	int			tried = (int) DatumGetInt64(get(0, COL_TRIED, &isnull));
	Datum		user = get(0, COL_FAILED_USER, &isnull);
	bool		failed = !isnull;
	Datum		last_id;

	if (failed && tried > 1 && pass->failed_in_a_row < MANY_FAILURES)
	{
		pass->size = tried / 2;
		return false;
	}
	if (failed)
	{
		if (pass->failed == 0)
		{
			pass->failed_user = *DatumGetUUIDP(user);
			get_text(0, COL_FAILED_CODE, pass->failed_code,
					 sizeof(pass->failed_code));
		}
		pass->failed += tried;
		pass->failed_in_a_row++;
		pass->size = pass->failed_in_a_row < MANY_FAILURES ? 1 : pass->chunk;
	}
	else if (tried > 0)
	{
		pass->failed_in_a_row = 0;
		pass->size = Min(pass->size * 2, pass->chunk);
	}
	*done += DatumGetInt64(get(0, COL_DONE, &isnull));
	pass->skipped += DatumGetInt64(get(0, COL_SKIPPED, &isnull));
	pass->past_triggers += DatumGetInt64(get(0, COL_PAST_TRIGGERS, &isnull));
	last_id = get(0, COL_LAST_ID, &isnull);
	pass->has_last = !isnull;
	if (pass->has_last)
		pass->last_id = *DatumGetUUIDP(last_id);
	return true;
}

static void
run_slice(BsPlanPass *pass)
{
	BsPlanSlice *slice = &pass->slices[pass->slice];
	Datum		args[9] = {
		CStringGetTextDatum(slice->message_type),
		CStringGetTextDatum(slice->date_source),
		DateADTGetDatum(slice->local_date),
		Int32GetDatum(slice->month_day),
		TimestampTzGetDatum(pass->window_from),
		TimestampTzGetDatum(pass->until),
		PointerGetDatum(pass->missing),
		UUIDPGetDatum(&pass->last_id),
		Int32GetDatum(pass->size)
	};

	bs_txn_execute(&plan_slice, args, pass->has_last ? NULL : "       n ");
	if (take_answer(pass, &pass->planned) && !pass->has_last)
		pass->slice++;
}

static void
end(BsPlanPass *pass)
{
	Datum		args[7] = {
		TimestampTzGetDatum(pass->as_of),
		TimestampTzGetDatum(pass->until),
		PointerGetDatum(pass->missing),
		Int64GetDatum(pass->past_triggers),
		Int64GetDatum(pass->failed),
		UUIDPGetDatum(&pass->failed_user),
		CStringGetTextDatum(pass->failed_code)
	};

	bs_txn_execute(&plan_end, args, pass->failed > 0 ? NULL : "     nn");
	pass->stage = pass->upkeep ? BS_PLAN_PARTITIONS : BS_PLAN_DONE;
}

static void
run_refresh(BsPlanPass *pass)
{
	Datum		args[5] = {
		TimestampTzGetDatum(pass->as_of),
		TimestampTzGetDatum(pass->began),
		TimestampTzGetDatum(pass->last_time),
		UUIDPGetDatum(&pass->last_id),
		Int32GetDatum(pass->size)
	};
	Datum		last_time;
	bool		isnull;

	bs_txn_execute(&plan_refresh, args, pass->has_last ? NULL : "   n ");
	last_time = get(0, COL_LAST_TIME, &isnull);
	if (isnull)
		end(pass);
	else if (take_answer(pass, &pass->changed))
		pass->last_time = DatumGetTimestampTz(last_time);
}

static void
run_upkeep(const char *task)
{
	Datum		arg = CStringGetTextDatum(task);

	bs_txn_execute(&upkeep, &arg, NULL);
}

/*
 * One step, inside a transaction and with SPI connected.
 */
static void
run_step(BsPlanPass *pass)
{
	pass->steps++;
	switch (pass->stage)
	{
		case BS_PLAN_BEGIN:
			begin(pass);
			pass->stage = BS_PLAN_SLICES;
			break;
		case BS_PLAN_SLICES:
			if (pass->slice < pass->slice_count)
			{
				run_slice(pass);
				break;
			}
			pass->stage = BS_PLAN_REFRESH;
			/* FALLTHROUGH */
		case BS_PLAN_REFRESH:
			run_refresh(pass);
			break;
		case BS_PLAN_PARTITIONS:
			run_upkeep("partitions");
			pass->stage = BS_PLAN_RETENTION;
			break;
		case BS_PLAN_RETENTION:
			run_upkeep("retention");
			pass->stage = BS_PLAN_DONE;
			break;
		case BS_PLAN_DONE:
			break;
	}
}

static void
plan_work(void *arg)
{
	BS_FAILPOINT("plan-begin");
	run_step(arg);
	BS_FAILPOINT("plan-before-commit");
}

bool
bs_planning_pass(BsPlanPass *pass)
{
	char		error[256];

	pass->as_of = GetCurrentTimestamp();
	pass->until = pass->as_of + (int64) bs_settings.horizon_s * USECS_PER_SEC;
	pass->chunk = CHUNK;
	pass->upkeep = true;
	pass->context = CurrentMemoryContext;
	while (pass->stage != BS_PLAN_DONE)
	{
		bs_worker_check_signals();
		if (ShutdownRequestPending)
			return false;
		if (!bs_txn_try("planning", plan_work, pass, error, sizeof(error)))
		{
			bs_worker_report_error(error);
			return false;
		}
		BS_FAILPOINT("plan-after-commit");
	}
	return true;
}

Datum
bs_plan_pass(PG_FUNCTION_ARGS)
{
	BsPlanPass	pass = {
		.as_of = PG_GETARG_TIMESTAMPTZ(0),
		.until = PG_GETARG_TIMESTAMPTZ(1),
		.chunk = Min(PG_GETARG_INT32(2), CHUNK),
		.context = CurrentMemoryContext
	};
	TupleDesc	tupdesc;
	Datum		values[8];
	bool		nulls[8] = {false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	while (pass.stage != BS_PLAN_DONE)
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		run_step(&pass);
		SPI_finish();
	}
	values[0] = Int64GetDatum(pass.planned);
	values[1] = Int64GetDatum(pass.changed);
	values[2] = Int64GetDatum(pass.skipped);
	values[3] = Int64GetDatum(pass.failed);
	values[4] = UUIDPGetDatum(&pass.failed_user);
	values[5] = CStringGetTextDatum(pass.failed_code);
	nulls[4] = nulls[5] = pass.failed == 0;
	nulls[6] = pass.trouble == NULL;
	values[6] = nulls[6] ? (Datum) 0 : CStringGetTextDatum(pass.trouble);
	values[7] = Int64GetDatum(pass.steps);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}
