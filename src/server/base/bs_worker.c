/*-------------------------------------------------------------------------
 *
 * bs_worker.c
 *	  What the scheduler and the senders have in common.
 *
 * A worker always leaves with exit code 1: the postmaster never starts one
 * again that left with 0.
 *
 * src/server/base/bs_worker.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "core/base/backoff.h"
#include "server/base/bs_compat.h"
#include "server/base/bs_group.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_last_error.h"
#include "server/base/bs_txn.h"
#include "server/base/bs_wake.h"
#include "server/base/bs_worker.h"
#include "server/base/bs_zone.h"

static BsGroup *worker_group = NULL;
static int	worker_number = -1;
static char connected_database[NAMEDATALEN];
static char connected_role[NAMEDATALEN];
static char last_readiness[160];
static TimestampTz last_error_logged = 0;
static char last_error_text[256];
static uint64 zone_stamp = 0;
static bool readiness_failed = false;

static BsStatement installation_state = {
	.sql = "SELECT %s.bs_installation_state()"
};

const char *
bs_worker_label(int number)
{
	static char label[32];

	if (number == 0)
		return "scheduler";
	if (number == bs_group_size() - 1)
		return "publisher";
	snprintf(label, sizeof(label), "sender %d", number);
	return label;
}

const char *
bs_worker_name(void)
{
	static char name[NAMEDATALEN + 64];

	snprintf(name, sizeof(name), "birthday_scheduler %s",
			 bs_worker_label(worker_number));
	if (bs_shared->group_count > 1)
		snprintf(name + strlen(name), sizeof(name) - strlen(name), " of %s",
				 connected_database);
	return name;
}

const char *
bs_worker_database(void)
{
	return connected_database;
}

static void
register_worker(int group, int number)
{
	BackgroundWorker worker;
	const char *function = "bs_delivery_worker_main";

	if (number == 0)
		function = "bs_planning_worker_main";
	else if (number == bs_group_size() - 1)
		function = "bs_queue_worker_main";
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	worker.bgw_main_arg = Int32GetDatum(group * bs_group_size() + number);
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name),
			 "birthday_scheduler");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name),
			 "%s", function);
	snprintf(worker.bgw_type, sizeof(worker.bgw_type),
			 "birthday_scheduler %s", bs_worker_label(number));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "%s", worker.bgw_type);
	if (bs_group_count() > 1)
		snprintf(worker.bgw_name, sizeof(worker.bgw_name), "%s, group %d",
				 worker.bgw_type, group + 1);
	RegisterBackgroundWorker(&worker);
}

/*
 * Kind by kind: where max_worker_processes is too small, every database has its
 * scheduler before one has a sender, and a sender before one has two.
 */
void
bs_worker_register_all(void)
{
	int			size = bs_group_size();
	int			i;
	int			group;

	for (i = 0; i < size; i++)
	{
		/* Scheduler, sender 1, publisher, and then the other senders. */
		int			number = i < 2 ? i : i == 2 ? size - 1 : i - 1;

		for (group = 0; group < bs_group_count(); group++)
			register_worker(group, number);
	}
}

BsWorkerSlot *
bs_worker_slot(void)
{
	return &worker_group->workers[worker_number];
}

/*
 * The end of any worker: its slot is free, and the scheduler looks after what
 * it held.
 */
static void
leave_slot(int code, Datum arg)
{
	BsWorkerSlot *slot = bs_worker_slot();
	BsWorkerSlot *scheduler = &worker_group->workers[0];

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	slot->pid = 0;
	slot->latch = NULL;
	slot->identity[0] = '\0';
	slot->sleep_until = DT_NOBEGIN;
	pg_atomic_write_u64(&slot->holding_ms, 0);
	strlcpy(slot->state, "stopped", sizeof(slot->state));
	worker_group->recovery_wanted |= slot != scheduler;
	if (slot != scheduler && scheduler->pid != 0)
		SetLatch(scheduler->latch);
	LWLockRelease(bs_shared->lock);
}

static int
take_slot(void)
{
	BsWorkerSlot *slot = bs_worker_slot();
	int			failed_starts;

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	slot->pid = MyProcPid;
	slot->latch = MyLatch;
	slot->started_at = GetCurrentTimestamp();
	slot->sleep_until = DT_NOBEGIN;
	slot->sessions = slot->session_limit = 0;
	if (slot->settings_time != PgReloadTime)
		slot->failed_starts = 0;	/* the settings were changed since */
	slot->settings_time = PgReloadTime;
	failed_starts = slot->failed_starts++;
	strlcpy(slot->state, "starting", sizeof(slot->state));
	snprintf(slot->identity, sizeof(slot->identity), "server/%d/%lld",
			 MyProcPid, (long long) slot->started_at);
	LWLockRelease(bs_shared->lock);
	before_shmem_exit(leave_slot, (Datum) 0);
	return failed_starts;
}

/*
 * Settings of the role or database must not change what a worker does.
 */
void
bs_worker_fix_session(void)
{
	static const char *const fixed[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"statement_timeout", "0"},
		{"lock_timeout", "300ms"},	/* below deadlock_timeout: we give way */
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"client_min_messages", "error"},
		{"jit", "off"},
	};
	int			i;

	for (i = 0; i < lengthof(fixed); i++)
		SetConfigOption(fixed[i][0], fixed[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	/* A claim that is lost in a crash is a message that is sent twice. */
	if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF)
		SetConfigOption("synchronous_commit", "local",
						PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Without a time limit: nothing else can give work to who has no database.
 */
static void
sleep_for_reload(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH,
					 -1, BS_WAIT_EVENT);
	ResetLatch(MyLatch);
}

/*
 * Waits until this group has a database, and where the last starts came to
 * nothing for a while longer: no use in hurrying.
 */
static void
await_database(int failed_starts)
{
	TimestampTz until = DT_NOBEGIN;

	if (failed_starts > 0)
		until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											bs_backoff_ms(failed_starts, 1000, 60000));
	bs_group_follow_list();
	for (;;)
	{
		bool		named = bs_group_get_name(worker_group,
											  connected_database);

		if (named && GetCurrentTimestamp() >= until)
			return;
		if (named)
			bs_worker_sleep_until(until);
		else
			sleep_for_reload();
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(1);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			bs_group_follow_list();
			until = DT_NOBEGIN;
		}
	}
}

/*
 * The counts of a slot are those of one database.
 */
static void
begin_counts(void)
{
	BsWorkerSlot *slot = bs_worker_slot();

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	if (slot->database != MyDatabaseId)
	{
		slot->sent = slot->failed = slot->retried = 0;
		slot->last_error_at = 0;
	}
	slot->database = MyDatabaseId;
	LWLockRelease(bs_shared->lock);
}

/*
 * If there are several databases, says which one a line in the log is about.
 */
static void
add_context(void *arg)
{
	errcontext("%s", bs_worker_name());
}

void
bs_worker_start(int place)
{
	static ErrorContextCallback context = {.callback = add_context};
	int			failed_starts;

	worker_group = &bs_shared->groups[place / bs_shared->group_size];
	worker_number = place % bs_shared->group_size;
	failed_starts = take_slot();
	bs_last_error_watch(bs_worker_slot());
	BackgroundWorkerUnblockSignals();
	await_database(failed_starts);
	if (bs_shared->group_count > 1)
	{
		context.previous = error_context_stack;
		error_context_stack = &context;
	}
	strlcpy(connected_role, bs_settings.role, sizeof(connected_role));
	BackgroundWorkerInitializeConnection(connected_database,
										 connected_role[0] ? connected_role : NULL,
										 0);
	if (!bs_group_connected(worker_group, connected_database))
		proc_exit(1);
	begin_counts();
	bs_worker_fix_session();
	pgstat_report_appname(bs_worker_name());
	ereport(LOG,
			(errmsg("birthday_scheduler %s started in database \"%s\"",
					bs_worker_label(worker_number), connected_database)));
	if (worker_number == 0 && connected_role[0] == '\0')
		ereport(WARNING,
				(errmsg("the workers of birthday_scheduler run as a superuser"),
				 errhint("Set \"birthday_scheduler.role\" to a role that has LOGIN and what bs_grant(role, 'worker') gives.")));
}

static void
wake_everybody(void)
{
	int			i;
	int			j;

	for (i = 0; i < bs_shared->group_count; i++)
		for (j = 0; j < bs_shared->group_size; j++)
		{
			BsWorkerSlot *slot = &bs_shared->groups[i].workers[j];

			if (slot->pid != 0)
				SetLatch(slot->latch);
		}
}

/*
 * A process keeps the zone rules that it has read, so one that has read older
 * ones leaves and is started afresh.  Schedulers look at the files, the others
 * at what they found.
 */
static void
check_zone_rules(void)
{
	uint64		stamp;

	if (worker_number == 0)
	{
		stamp = bs_zone_stamp();
		LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
		if (bs_shared->zone_stamp != stamp)
		{
			bs_shared->zone_stamp = stamp;
			wake_everybody();
		}
		LWLockRelease(bs_shared->lock);
	}
	else
		stamp = bs_shared->zone_stamp;	/* one aligned word */
	if (zone_stamp == 0)
		zone_stamp = stamp;
	if (stamp != zone_stamp && !ShutdownRequestPending)
	{
		ereport(LOG,
				(errmsg("the time zone database has changed, starting afresh")));
		ShutdownRequestPending = true;
	}
}

void
bs_worker_cancel_on_timeout(BS_SIGNAL_ARGS)
{
	if (get_timeout_indicator(LOCK_TIMEOUT, false))
	{
		InterruptPending = true;
		QueryCancelPending = true;
		SetLatch(MyLatch);
	}
}

void
bs_worker_check_signals(void)
{
	QueryCancelPending = false; /* came when there was no statement to cancel */
	CHECK_FOR_INTERRUPTS();
	check_zone_rules();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		bs_worker_fix_session();
		last_error_logged = 0;	/* who changed something wants to know */
		bs_group_follow_list();
		if (!bs_group_is_unchanged(worker_group) ||
			strcmp(connected_role, bs_settings.role) != 0)
		{
			ereport(LOG,
					(errmsg("\"birthday_scheduler.database\" or \"birthday_scheduler.role\" was changed, connecting anew")));
			LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
			bs_worker_slot()->failed_starts = 0;
			LWLockRelease(bs_shared->lock);
			ShutdownRequestPending = true;
		}
	}
}

void
bs_worker_sleep_until(TimestampTz until)
{
	long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													 until);

	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, BS_WAIT_EVENT);
	ResetLatch(MyLatch);
}

void
bs_worker_set_state(const char *state)
{
	BsWorkerSlot *slot = bs_worker_slot();

	if (strcmp(slot->state, state) == 0)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	strlcpy(slot->state, state, sizeof(slot->state));
	LWLockRelease(bs_shared->lock);
}

void
bs_worker_report_error(const char *message)
{
	BsWorkerSlot *slot = bs_worker_slot();
	TimestampTz now = GetCurrentTimestamp();
	int			quiet_ms = 60000;

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	slot->last_error_at = now;
	strlcpy(slot->last_error, message, sizeof(slot->last_error));
	LWLockRelease(bs_shared->lock);

	if (strcmp(message, last_error_text) == 0)
		quiet_ms = 3600000;
	if (TimestampDifferenceExceeds(last_error_logged, now, quiet_ms))
	{
		last_error_logged = now;
		strlcpy(last_error_text, message, sizeof(last_error_text));
		ereport(LOG,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("birthday_scheduler: %s", message),
				 errdetail("Further errors of this worker are logged once a minute, the same one once an hour; bs_workers shows the last one.")));
	}
}

void
bs_worker_report_recovery(const char *message)
{
	BsWorkerSlot *slot = bs_worker_slot();

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	slot->last_error_at = 0;
	LWLockRelease(bs_shared->lock);
	last_error_logged = 0;
	ereport(LOG, (errmsg("birthday_scheduler: %s", message)));
}

void
bs_worker_add_counts(int sent, int failed, int retried)
{
	BsWorkerSlot *slot = bs_worker_slot();

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	slot->sent += sent;
	slot->failed += failed;
	slot->retried += retried;
	LWLockRelease(bs_shared->lock);
}

typedef struct BsReadiness
{
	bool		sending;
	char		obstacle[160];	/* empty: ready */
} BsReadiness;

/*
 * What stands in the way of work.  Inside a transaction.
 */
static void
find_obstacle(void *arg)
{
	BsReadiness *readiness = arg;
	char		version[32];
	const char *obstacle = "";
	char	   *state;

	switch (bs_txn_find_extension(version, sizeof(version)))
	{
		case BS_PRESENCE_ABSENT:
			obstacle = "the extension is not created in this database";
			break;
		case BS_PRESENCE_OTHER_VERSION:
			obstacle = psprintf("the extension has version %s and the library %s; "
								"ALTER EXTENSION ... UPDATE, or restart with the other library",
								version, BS_VERSION);
			break;
		case BS_PRESENCE_READY:
			bs_txn_execute(&installation_state, NULL, NULL);
			state = SPI_getvalue(SPI_tuptable->vals[0],
								 SPI_tuptable->tupdesc, 1);
			if (strcmp(state, "new") == 0)
				obstacle = "no user was added yet";
			else if (strcmp(state, "copy") == 0)
				obstacle = "this database is a copy; bs_resume() adopts it";
			else if (readiness->sending && strcmp(state, "paused") == 0)
				obstacle = "sending is paused by bs_pause()";
			break;
	}
	strlcpy(readiness->obstacle, obstacle, sizeof(readiness->obstacle));
}

void
bs_worker_start_succeeded(void)
{
	BsWorkerSlot *slot = bs_worker_slot();

	if (slot->failed_starts == 0)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	slot->failed_starts = 0;
	if (slot->start_failed)
		slot->last_error_at = 0;
	slot->start_failed = false;
	LWLockRelease(bs_shared->lock);
}

bool
bs_worker_is_ready(bool sending)
{
	BsReadiness readiness = {.sending = sending};
	char		error[256];

	if (!bs_txn_try("looking for the extension", find_obstacle, &readiness,
					error, sizeof(error)))
	{
		bs_worker_report_error(error);
		readiness_failed = true;
		return false;
	}

	bs_worker_start_succeeded();
	if (readiness_failed)
		bs_worker_report_recovery("the extension can be used again");
	readiness_failed = false;
	if (strcmp(readiness.obstacle, last_readiness) != 0)
	{
		if (readiness.obstacle[0] != '\0')
			ereport(LOG,
					(errmsg("birthday_scheduler is idle: %s",
							readiness.obstacle)));
		else
			ereport(LOG, (errmsg("birthday_scheduler is at work")));
		strlcpy(last_readiness, readiness.obstacle, sizeof(last_readiness));
	}
	bs_worker_set_state(readiness.obstacle[0] != '\0' ? "idle" : "working");
	return readiness.obstacle[0] == '\0';
}

static void
find_extension(void *arg)
{
	char		version[32];

	*(BsPresence *) arg = bs_txn_find_extension(version, sizeof(version));
}

bool
bs_worker_is_extension_gone(void)
{
	BsPresence	presence = BS_PRESENCE_READY;
	char		error[256];

	return bs_txn_try("looking for the extension", find_extension, &presence,
					  error, sizeof(error)) &&
		presence == BS_PRESENCE_ABSENT;
}
