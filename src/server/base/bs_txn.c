/*-------------------------------------------------------------------------
 *
 * bs_txn.c
 *	  The transaction bracket of the workers, and statements that are kept.
 *
 * No network traffic happens between begin and commit.  Without
 * pgstat_report_stat() after the commit autovacuum would never hear of what the
 * workers write.
 *
 * src/server/base/bs_txn.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "replication/syncrep.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "server/base/bs_schema.h"
#include "server/base/bs_txn.h"

/*
 * A shutdown looks so often at a statement, waits two looks for one that waits,
 * and SLOW_SQL_MS for one that works.
 */
#define STUCK_SQL_MS	250
#define SLOW_SQL_MS		5000

static bool txn_open = false;
static int	ticks_waiting = 0;	/* in a row, of STUCK_SQL_MS */
static int	ticks_of_shutdown = 0;
static Oid	extension_oid = InvalidOid;
static char planned_schema[NAMEDATALEN * 2 + 3];	/* kept plans are for it */
static uint32 extension_generation = 0;

void
bs_txn_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	txn_open = true;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pgstat_report_activity(STATE_RUNNING, activity);
}

void
bs_txn_commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	txn_open = false;
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * Every STUCK_SQL_MS: SIGTERM itself does not end a statement, so that an
 * outcome that is just being recorded is recorded, also on a machine that is
 * slow; one that hangs, on a lock or a standby, must not hold up a shutdown.
 */
static void
watch_transaction(void)
{
	if (!ShutdownRequestPending || !txn_open)
		return;
	if (MyProc->waitStatus == PROC_WAIT_STATUS_WAITING ||
		MyProc->syncRepState == SYNC_REP_WAITING)
		ticks_waiting++;
	else
		ticks_waiting = 0;
	if (ticks_waiting > 1 ||
		++ticks_of_shutdown > SLOW_SQL_MS / STUCK_SQL_MS)
	{
		InterruptPending = true;
		ProcDiePending = true;
		SetLatch(MyLatch);
	}
}

bool
bs_txn_try(const char *activity, void (*work) (void *), void *arg,
		   char *error, Size error_size)
{
	static TimeoutId watch = MAX_TIMEOUTS;
	MemoryContext caller = CurrentMemoryContext;
	volatile bool done = false;

	if (watch == MAX_TIMEOUTS)
		watch = RegisterTimeout(USER_TIMEOUT, watch_transaction);
	ticks_waiting = ticks_of_shutdown = 0;
	enable_timeout_every(watch,
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 STUCK_SQL_MS),
						 STUCK_SQL_MS);
	PG_TRY();
	{
		bs_txn_begin(activity);
		work(arg);
		bs_txn_commit();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(caller);
		data = CopyErrorData();
		snprintf(error, error_size, "%s failed: %s (SQLSTATE %s)",
				 activity, data->message,
				 unpack_sql_state(data->sqlerrcode));
		FreeErrorData(data);
		FlushErrorState();
		AbortCurrentTransaction();
		txn_open = false;
		pgstat_report_stat(true);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	PG_END_TRY();
	disable_timeout(watch, false);
	MemoryContextSwitchTo(caller);
	return done;
}

/*
 * bs_txn_find_extension
 *		Look the extension up in pg_extension.
 *
 * "version" gets the version of the script.
 */
BsPresence
bs_txn_find_extension(char *version, Size version_size)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	BsPresence	presence = BS_PRESENCE_ABSENT;

	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("birthday_scheduler"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);
		bool		isnull;
		Datum		found = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(rel), &isnull);
		char	   *found_version = isnull ? pstrdup("") :
		TextDatumGetCString(found);

		strlcpy(version, found_version, version_size);
		presence = strcmp(found_version, BS_VERSION) == 0 ?
			BS_PRESENCE_READY : BS_PRESENCE_OTHER_VERSION;
		if (form->oid != extension_oid)
		{
			extension_oid = form->oid;
			extension_generation++;
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return presence;
}

void
bs_txn_execute(BsStatement *statement, Datum *values, const char *nulls)
{
	const char *schema = bs_schema_require();
	int			code;

	if (strcmp(schema, planned_schema) != 0)
	{
		strlcpy(planned_schema, schema, sizeof(planned_schema));
		extension_generation++;
	}
	if (statement->plan != NULL &&
		statement->generation != extension_generation)
	{
		SPI_freeplan(statement->plan);
		statement->plan = NULL;
	}
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan;
		char	   *sql = psprintf(statement->sql, schema);

		plan = SPI_prepare(sql, statement->nargs, statement->argtypes);
		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s",
				 sql, SPI_result_code_string(SPI_result));
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "could not keep the plan for \"%s\"", sql);
		statement->plan = plan;
		statement->generation = extension_generation;
	}
	code = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (code != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\": %s",
			 statement->sql, SPI_result_code_string(code));
}
