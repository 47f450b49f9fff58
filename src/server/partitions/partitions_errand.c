/*-------------------------------------------------------------------------
 *
 * partitions_errand.c
 *	  A query in another database of this server: pg_cron keeps its jobs in one
 *	  database only.
 *
 * A background worker connects there, runs the query as the caller and leaves;
 * question and answer are in a segment of dynamic shared memory.  What the query
 * did is committed, whatever becomes of the caller's transaction.
 *
 * src/server/partitions/partitions_errand.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "server/base/bs_compat.h"
#include "server/base/bs_txn.h"
#include "server/base/bs_worker.h"

#define ERRAND_LIMIT_MS		30000
#define ERRAND_ANSWER_SIZE	(60 * 1024)

typedef enum BsErrandState
{
	BS_ERRAND_OPEN,				/* asked; no answer yet, or never */
	BS_ERRAND_DONE,				/* committed, the answer is there */
	BS_ERRAND_FAILED			/* rolled back, the message is there */
} BsErrandState;

/*
 * The worker alone writes to it after it has been started, the caller reads once
 * the worker is gone: so it needs no lock.
 */
typedef struct BsErrand
{
	Oid			database;
	Oid			role;
	BsErrandState state;
	int			sqlerrcode;
	char		answer[ERRAND_ANSWER_SIZE]; /* JSON, or the error message */
	char		query[FLEXIBLE_ARRAY_MEMBER];
} BsErrand;

extern PGDLLEXPORT void bs_errand_worker_main(Datum main_arg);

PG_FUNCTION_INFO_V1(bs_run_in_database);

static void
run_query(BsErrand *errand)
{
	char	   *answer = NULL;

	bs_txn_begin("a query for another database");
	if (SPI_execute(errand->query, false, 0) < 0)
		elog(ERROR, "could not run the query");
	if (SPI_processed > 0 && SPI_tuptable != NULL)
		answer = SPI_getvalue(SPI_tuptable->vals[0],
							  SPI_tuptable->tupdesc, 1);
	if (answer == NULL)
		answer = "null";
	if (strlen(answer) >= sizeof(errand->answer))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the answer is longer than %d bytes",
						(int) sizeof(errand->answer) - 1)));
	strlcpy(errand->answer, answer, sizeof(errand->answer));
	bs_txn_commit();
	errand->state = BS_ERRAND_DONE;
}

void
bs_errand_worker_main(Datum main_arg)
{
	MemoryContext context = CurrentMemoryContext;
	dsm_segment *segment;
	BsErrand   *errand;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	segment = dsm_attach(DatumGetUInt32(main_arg));
	if (segment == NULL)
		proc_exit(0);			/* the caller gave up */
	errand = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnectionByOid(errand->database,
											  errand->role, 0);
	bs_worker_fix_session();

	PG_TRY();
	{
		run_query(errand);
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(context);
		data = CopyErrorData();
		errand->sqlerrcode = data->sqlerrcode;
		strlcpy(errand->answer, data->message, sizeof(errand->answer));
		errand->state = BS_ERRAND_FAILED;
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	dsm_detach(segment);
	proc_exit(0);
}

static BackgroundWorkerHandle *
start_worker(dsm_segment * segment)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker.bgw_notify_pid = MyProcPid;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name),
			 "birthday_scheduler");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name),
			 "bs_errand_worker_main");
	snprintf(worker.bgw_name, sizeof(worker.bgw_name),
			 "birthday_scheduler errand");
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "%s", worker.bgw_name);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker could be started"),
				 errhint("Raise \"max_worker_processes\".")));
	return handle;
}

/*
 * Until the worker is gone, at most ERRAND_LIMIT_MS; it is ended where the time
 * is up or the caller is interrupted.
 */
static void
wait_for_worker(BackgroundWorkerHandle *handle)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   ERRAND_LIMIT_MS);

	PG_TRY();
	{
		for (;;)
		{
			BgwHandleStatus status;
			pid_t		pid;

			CHECK_FOR_INTERRUPTS();
			status = GetBackgroundWorkerPid(handle, &pid);
			if (status == BGWH_STOPPED)
				break;
			if (GetCurrentTimestamp() >= deadline)
				ereport(ERROR,
						(errcode(ERRCODE_QUERY_CANCELED),
						 errmsg("no answer from the other database within %d seconds",
								ERRAND_LIMIT_MS / 1000)));
			(void) WaitLatch(MyLatch,
							 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 100, BS_WAIT_EVENT);
			ResetLatch(MyLatch);
		}
	}
	PG_CATCH();
	{
		TerminateBackgroundWorker(handle);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

Datum
bs_run_in_database(PG_FUNCTION_ARGS)
{
	char	   *database = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	dsm_segment *segment;
	BsErrand   *errand;
	Datum		result;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only superusers can run a query in another database")));
	/* Released with the transaction where an error comes in between. */
	segment = dsm_create(offsetof(BsErrand, query) + strlen(query) + 1, 0);
	errand = dsm_segment_address(segment);
	memset(errand, 0, offsetof(BsErrand, query));
	errand->database = get_database_oid(database, false);
	errand->role = GetUserId();
	errand->state = BS_ERRAND_OPEN;
	memcpy(errand->query, query, strlen(query) + 1);

	wait_for_worker(start_worker(segment));
	if (errand->state == BS_ERRAND_OPEN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the worker for database \"%s\" left without an answer",
						database),
				 errhint("The server log says why.")));
	if (errand->state == BS_ERRAND_FAILED)
		ereport(ERROR,
				(errcode(errand->sqlerrcode),
				 errmsg("%s", errand->answer),
				 errcontext("query in database \"%s\"", database)));
	result = DirectFunctionCall1(jsonb_in, CStringGetDatum(errand->answer));
	dsm_detach(segment);
	PG_RETURN_DATUM(result);
}
