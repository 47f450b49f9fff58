/*-------------------------------------------------------------------------
 *
 * sender_database.c
 *	  The one connection of bs_sender to its database, without waiting.
 *
 * src/sender/sender_database.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_database.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/backoff.h"
#include "core/base/clock.h"
#include "sender/sender_settings.h"


/* What the thread works on; it is the thread's until "done" is readable. */
struct BsConnecting
{
	pthread_t	thread;
	char	   *database;
	int			done;			/* an eventfd */
	PGconn	   *conn;
};

/*
 * The role may have settings that would change what bs_sender does.
 * Waits for a synchronous standby are not statements, and may last.
 */
static const char look_sql[] =
"SET search_path = pg_catalog, pg_temp;"
"SET statement_timeout = '30s';"
"SET lock_timeout = '300ms';"	/* below deadlock_timeout: we give way */
"SET idle_in_transaction_session_timeout = 0;"
"SET idle_session_timeout = 0;"
"SET default_transaction_isolation = 'read committed';"
"SET default_transaction_deferrable = off;"
"SET TimeZone = 'UTC';"
"SET DateStyle = 'ISO, YMD';"
"SET IntervalStyle = 'postgres';"
"SET jit = off;"
"SELECT CASE WHEN current_setting('synchronous_commit') = 'off'"
"            THEN set_config('synchronous_commit', 'local', false) END;"
"SELECT e.extversion, quote_ident(n.nspname),"
"       has_schema_privilege(n.oid, 'USAGE'),"
"       (SELECT string_agg(f.name, ', ' ORDER BY f.name)"
"          FROM unnest('{bs_installation_state,bs_system_identifier,bs_claim,"
"bs_claim_copies,bs_next_due,bs_record,bs_release_claims,bs_report_sender}'::text[]) AS f (name)"
"         WHERE NOT EXISTS (SELECT FROM pg_proc p"
"                            WHERE p.pronamespace = n.oid AND p.proname = f.name"
"                              AND has_function_privilege(p.oid, 'EXECUTE'))),"
"       (SELECT json_object_agg(substr(s.name, 20), s.setting || coalesce(s.unit, ''))"
"          FROM pg_settings s"
"         WHERE s.name LIKE 'birthday\\_scheduler.%'),"
"       (extract(epoch FROM clock_timestamp()) * 1000000)::int8,"
"       (SELECT r.rolsuper FROM pg_roles r JOIN pg_database d ON d.datname = current_database()"
"         WHERE r.oid = CASE n.nspowner WHEN 'pg_database_owner'::regrole THEN d.datdba ELSE n.nspowner END)"
"  FROM (SELECT) one"
"       LEFT JOIN pg_extension e ON e.extname = 'birthday_scheduler'"
"       LEFT JOIN pg_namespace n ON n.oid = e.extnamespace";

/* ---- connecting ---- */

static void *
connect_in_thread(void *arg)
{
	struct BsConnecting *connecting = arg;
	const char *const keywords[] = {
		"connect_timeout", "keepalives_idle", "keepalives_interval",
		"keepalives_count", "tcp_user_timeout", "application_name",
		"dbname",
		"target_session_attrs", "client_encoding", NULL
	};
	const char *const values[] = {
		"5", "5", "3",
		"3", "15000", "bs_sender",
		connecting->database[0] != '\0' ? connecting->database : NULL,
		"read-write", "UTF8", NULL
	};
	uint64_t	one = 1;

	connecting->conn = PQconnectdbParams(keywords, values, 1);
	/* An eventfd takes its first number. */
	return write(connecting->done, &one, sizeof(one)) < 0 ? arg : NULL;
}

void
bs_database_init(BsDatabase *database)
{
	memset(database, 0, sizeof(*database));
	database->connecting_fd = -1;
}

/*
 * The first line of what libpq says, in error.
 */
static void
set_error(BsDatabase *database, const char *what, const char *message)
{
	snprintf(database->error, sizeof(database->error), "%s%.*s", what,
			 (int) strcspn(message, "\n"), message);
}

static void
put_off(BsDatabase *database)
{
	int64_t		wait_ms = bs_backoff_ms(++database->failures, 250, 15000);

	database->next_try_ms = bs_clock_ms() +
		bs_backoff_jitter_ms(wait_ms, (double) random() / RAND_MAX);
}

static void
begin_connecting(BsDatabase *database)
{
	struct BsConnecting *connecting = calloc(1, sizeof(*connecting));
	bool		begun = false;

	if (connecting != NULL)
	{
		connecting->database = strdup(bs_settings.database);
		connecting->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		begun = connecting->database != NULL && connecting->done >= 0 &&
			pthread_create(&connecting->thread, NULL, connect_in_thread,
						   connecting) == 0;
	}
	if (begun)
	{
		database->connecting = connecting;
		database->connecting_fd = connecting->done;
		return;
	}
	if (connecting != NULL)
	{
		free(connecting->database);
		if (connecting->done >= 0)
			close(connecting->done);
		free(connecting);
	}
	set_error(database, "no thread to connect in", "");
	put_off(database);
}

/*
 * The thread has come to its end.
 */
static void
end_connecting(BsDatabase *database)
{
	struct BsConnecting *connecting = database->connecting;

	pthread_join(connecting->thread, NULL);
	database->conn = connecting->conn;
	free(connecting->database);
	close(connecting->done);
	free(connecting);
	database->connecting = NULL;
	database->connecting_fd = -1;
	if (PQstatus(database->conn) == CONNECTION_OK &&
		PQsetnonblocking(database->conn, 1) == 0)
	{
		database->connections++;
		return;
	}
	set_error(database, "", PQerrorMessage(database->conn));
	PQfinish(database->conn);
	database->conn = NULL;
	put_off(database);
}

void
bs_database_disconnect(BsDatabase *database, bool failed)
{
	PQclear(database->answer);
	database->answer = NULL;
	database->asked = database->flushing = false;
	database->schema[0] = '\0';
	PQfinish(database->conn);
	database->conn = NULL;
	if (failed)
		put_off(database);
	else
		database->next_try_ms = 0;
}

void
bs_database_close(BsDatabase *database)
{
	bs_database_disconnect(database, false);
	if (database->connecting != NULL)
		pthread_detach(database->connecting->thread);	/* ends with us */
	database->connecting = NULL;
	database->connecting_fd = -1;
}

void
bs_database_run(BsDatabase *database)
{
	uint64_t	number;

	if (database->connecting != NULL)
	{
		if (read(database->connecting_fd, &number, sizeof(number)) > 0)
			end_connecting(database);
	}
	else if (database->conn == NULL &&
			 bs_clock_ms() >= database->next_try_ms)
		begin_connecting(database);
	if (database->conn == NULL)
		return;
	if (database->flushing)
		database->flushing = PQflush(database->conn) == 1;
	/* What is wrong comes up when the answer is taken. */
	(void) PQconsumeInput(database->conn);
}

bool
bs_database_is_idle(const BsDatabase *database)
{
	return database->conn != NULL && !database->asked;
}

int
bs_database_fd(const BsDatabase *database)
{
	if (database->connecting != NULL)
		return database->connecting_fd;
	return database->conn != NULL ? PQsocket(database->conn) : -1;
}

bool
bs_database_wants_write(const BsDatabase *database)
{
	return database->flushing;
}

int64_t
bs_database_next_ms(const BsDatabase *database)
{
	if (database->conn != NULL || database->connecting != NULL)
		return INT64_MAX;
	return database->next_try_ms;
}

/* ---- questions ---- */

bool
bs_database_ask(BsDatabase *database, const char *sql,
				const BsArguments *arguments)
{
	int			sent;

	database->asked_wall_us = bs_clock_wall_us();
	if (arguments == NULL)
		sent = PQsendQuery(database->conn, sql);
	else
		sent = !arguments->no_memory &&
			PQsendQueryParams(database->conn, sql, arguments->count,
							  arguments->types,
							  (const char *const *) arguments->values,
							  arguments->lengths, arguments->formats, 1);
	if (!sent)
	{
		set_error(database, "", PQerrorMessage(database->conn));
		bs_database_disconnect(database, true);
		return false;
	}
	database->asked = true;
	database->flushing = PQflush(database->conn) == 1;
	return true;
}

/*
 * What the server answered, in error, with its code: the message alone, because
 * what goes with it may name people.
 */
static void
set_server_error(BsDatabase *database, const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (message == NULL)
		set_error(database, "the database: ", PQresultErrorMessage(result));
	else
		snprintf(database->error, sizeof(database->error),
				 "the database: %s (SQLSTATE %s)", message, code);
}

bool
bs_database_take(BsDatabase *database, PGresult **answer)
{
	PGresult   *result;

	*answer = NULL;
	if (!database->asked)
		return false;
	while (!PQisBusy(database->conn))
	{
		result = PQgetResult(database->conn);
		if (result != NULL)
		{
			/* Of several statements the last one, or the first that failed. */
			if (PQresultStatus(database->answer) == PGRES_FATAL_ERROR &&
				database->answer != NULL)
				PQclear(result);
			else
			{
				PQclear(database->answer);
				database->answer = result;
			}
			continue;
		}
		database->asked = database->flushing = false;
		*answer = database->answer;
		database->answer = NULL;
		break;
	}
	if (PQstatus(database->conn) == CONNECTION_BAD)
	{
		if (*answer != NULL)
			set_server_error(database, *answer);
		else
			set_error(database, "the database: ",
					  PQerrorMessage(database->conn));
		PQclear(*answer);
		*answer = NULL;
		bs_database_disconnect(database, true);
		return true;
	}
	if (database->asked)
		return false;
	if (PQresultStatus(*answer) != PGRES_TUPLES_OK)
	{
		set_server_error(database, *answer);
		PQclear(*answer);
		*answer = NULL;
	}
	return true;
}

/* ---- what is there ---- */

const char *
bs_database_look_sql(void)
{
	return look_sql;
}

static void
take_settings(const char *json)
{
	cJSON	   *all = cJSON_Parse(json);
	const cJSON *one;

	cJSON_ArrayForEach(one, all)
	{
		if (cJSON_IsString(one) && cJSON_IsObject(all))
			bs_settings_take_server(one->string, one->valuestring);
	}
	cJSON_Delete(all);
}

/*
 * One row of as many columns as are read?  Whatever stands between us and
 * the server may have answers of its own.
 */
static bool
is_row(BsDatabase *database, const PGresult *answer, int columns)
{
	if (PQntuples(answer) == 1 && PQnfields(answer) >= columns)
		return true;
	set_error(database, "the database answers something else than was asked", "");
	return false;
}

BsObstacle
bs_database_take_look(BsDatabase *database, const PGresult *answer)
{
	const char *version;
	const char *missing;

	database->schema[0] = '\0';
	if (!is_row(database, answer, 7))
		return BS_OBSTACLE_SETUP;
	version = PQgetvalue(answer, 0, 0);
	missing = PQgetvalue(answer, 0, 3);
	if (PQgetisnull(answer, 0, 0))
		set_error(database,
				  "the extension birthday_scheduler is not created in this database", "");
	else if (strcmp(version, BS_VERSION) != 0)
		snprintf(database->error, sizeof(database->error),
				 "the extension has version %.20s and this is bs_sender %s: install the bs_sender of that version, or ALTER EXTENSION birthday_scheduler UPDATE",
				 version, BS_VERSION);
	else if (strcmp(PQgetvalue(answer, 0, 6), "t") != 0)
		set_error(database, "the schema of the extension does not belong to a superuser: its owner could put other functions in the place of the extension's", "");
	else if (strcmp(PQgetvalue(answer, 0, 2), "t") != 0 || missing[0] != '\0')
		snprintf(database->error, sizeof(database->error),
				 "the role may not use %s%s: SELECT bs_grant(role, 'sender') gives it the rights",
				 missing[0] != '\0' ? "" : "the schema of the extension",
				 missing);
	else
	{
		snprintf(database->schema, sizeof(database->schema), "%s",
				 PQgetvalue(answer, 0, 1));
		if (!PQgetisnull(answer, 0, 4))
			take_settings(PQgetvalue(answer, 0, 4));
		database->error[0] = '\0';
		return BS_OBSTACLE_NONE;
	}
	return BS_OBSTACLE_SETUP;
}

static void
write_state_sql(const BsDatabase *database, const char *report, char *sql,
				size_t size)
{
	snprintf(sql, size,
			 "SELECT %1$s.bs_installation_state(), %1$s.bs_is_preloaded(),"
			 "       %1$s.bs_library_version(),"
			 "       %1$s.bs_system_identifier() || '/' || d.oid,"
			 "       (extract(epoch FROM clock_timestamp()) * 1000000)::int8, d.datname%2$s"
			 "  FROM pg_database d WHERE d.datname = current_database()",
			 database->schema, report);
}

bool
bs_database_ask_state(BsDatabase *database, const char *report)
{
	char		sql[BS_REPORT_SIZE + 1024];

	write_state_sql(database, report, sql, sizeof(sql));
	return bs_database_ask(database, sql, NULL);
}

BsObstacle
bs_database_take_state(BsDatabase *database, const PGresult *answer)
{
	const char *state;
	const char *library;
	const char *why = NULL;

	if (!is_row(database, answer, 6))
		return BS_OBSTACLE_SETUP;
	state = PQgetvalue(answer, 0, 0);
	library = PQgetvalue(answer, 0, 2);
	snprintf(database->installation, sizeof(database->installation), "%s",
			 PQgetvalue(answer, 0, 3));
	snprintf(database->name, sizeof(database->name), "%s", PQgetvalue(answer, 0, 5));
	if (strcmp(PQgetvalue(answer, 0, 1), "t") != 0)
	{
		set_error(database, "birthday_scheduler is not in shared_preload_libraries of the server: nothing would plan messages or look after leases", "");
		return BS_OBSTACLE_SETUP;
	}
	if (strcmp(library, BS_VERSION) != 0)
		why = "the server has the library of another version loaded; restart it";
	else if (strcmp(state, "new") == 0)
		why = "no user was added yet";
	else if (strcmp(state, "copy") == 0)
		why = "this database is a copy; bs_resume() adopts it";
	else if (strcmp(state, "paused") == 0)
		why = "sending is paused by bs_pause()";
	set_error(database, why != NULL ? why : "", "");
	return why != NULL ? BS_OBSTACLE_WAIT : BS_OBSTACLE_NONE;
}

/*
 * Asks and waits; NULL and the reason in error.
 */
static PGresult *
ask_and_wait(BsDatabase *database, const char *sql)
{
	PGresult   *answer = PQexec(database->conn, sql);

	if (PQresultStatus(answer) == PGRES_TUPLES_OK)
		return answer;
	set_server_error(database, answer);
	PQclear(answer);
	return NULL;
}

BsObstacle
bs_database_check(BsDatabase *database)
{
	BsObstacle	obstacle = BS_OBSTACLE_SETUP;
	PGresult   *answer;
	char		sql[1024];

	begin_connecting(database);
	if (database->connecting == NULL)
		return obstacle;
	end_connecting(database);
	if (database->conn == NULL)
		return obstacle;
	PQsetnonblocking(database->conn, 0);
	answer = ask_and_wait(database, look_sql);
	if (answer != NULL)
		obstacle = bs_database_take_look(database, answer);
	PQclear(answer);
	if (obstacle != BS_OBSTACLE_NONE)
		return obstacle;
	write_state_sql(database, "", sql, sizeof(sql));
	answer = ask_and_wait(database, sql);
	obstacle = answer == NULL ? BS_OBSTACLE_SETUP :
		bs_database_take_state(database, answer);
	PQclear(answer);
	return obstacle;
}
