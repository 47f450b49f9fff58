/*-------------------------------------------------------------------------
 *
 * bs_last_error.c
 *	  The error that ends a worker, kept in its slot.
 *
 * The server ends a worker that it cannot connect, before any code of ours could
 * catch the error.  It passes the log's hook on its way.
 *
 * src/server/base/bs_last_error.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/elog.h"
#include "utils/timestamp.h"

#include "server/base/bs_last_error.h"

static emit_log_hook_type next_log_hook = NULL;
static BsWorkerSlot *slot;

/*
 * What to look at, for the errors with which the server refuses a connection.
 */
static const char *
start_advice(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION:
			return "; birthday_scheduler.role must name a role with LOGIN";
		case ERRCODE_UNDEFINED_DATABASE:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return "; see birthday_scheduler.database";
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return "; birthday_scheduler.role needs CONNECT on the database";
		case ERRCODE_TOO_MANY_CONNECTIONS:
			return "; see the connection limits of role and database";
	}
	return "";
}

/*
 * An error that reaches the log as such ends a worker: those that it survives
 * are caught before.  Without this note bs_workers would not know why a worker
 * never gets past its start, because the server ends it while it connects.
 */
static void
note_last_error(ErrorData *edata)
{
	if (edata->elevel >= ERROR && edata->elevel < PANIC &&
		edata->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN &&
		edata->message != NULL && !LWLockHeldByMe(bs_shared->lock))
	{
		bool		starting = strcmp(slot->state, "starting") == 0;

		LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
		slot->last_error_at = GetCurrentTimestamp();
		slot->start_failed = starting;
		snprintf(slot->last_error, sizeof(slot->last_error), "%s: %s%s",
				 starting ? "cannot start" : "ended", edata->message,
				 starting ? start_advice(edata->sqlerrcode) : "");
		LWLockRelease(bs_shared->lock);
	}
	if (next_log_hook != NULL)
		next_log_hook(edata);
}

void
bs_last_error_watch(BsWorkerSlot *own_slot)
{
	slot = own_slot;
	next_log_hook = emit_log_hook;
	emit_log_hook = note_last_error;
}
