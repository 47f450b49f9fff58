/*-------------------------------------------------------------------------
 *
 * sender_database.h
 *	  The one connection of bs_sender to its database, without waiting.
 *
 * Connecting happens in a thread of its own, because libpq waits for names and
 * for each host of a list; what is asked then goes without waiting, one question
 * at a time, each a transaction of its own.
 *
 * src/sender/sender_database.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_DATABASE_H
#define BS_SENDER_DATABASE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/amqp/payload.h"
#include "sender/sender_value.h"

/* What stands in the way of work. */
typedef enum BsObstacle
{
	BS_OBSTACLE_NONE,
	BS_OBSTACLE_WAIT,			/* it may pass: no user yet, paused, a copy */
	BS_OBSTACLE_SETUP			/* an administrator must act: no extension,
								 * another version, rights */
} BsObstacle;

typedef struct BsDatabase
{
	PGconn	   *conn;			/* NULL: there is none */
	struct BsConnecting *connecting;	/* the thread; NULL: there is none */
	int			connecting_fd;	/* readable when it has come to an end */
	int64_t		next_try_ms;
	int			failures;		/* in a row */
	uint64_t	connections;	/* made so far */
	bool		asked;			/* an answer is due */
	bool		flushing;		/* what is asked is not sent whole */
	PGresult   *answer;			/* the last result of it */
	int64_t		asked_wall_us;
	char		schema[140];	/* quoted, once it was looked */
	char		installation[BS_PAYLOAD_INSTALLATION_MAX];
	char		name[64];		/* as the server calls it */
	char		error[256];		/* of what failed last */
} BsDatabase;

extern void bs_database_init(BsDatabase *database);

/* Connects if it is time to, and takes what the server says. */
extern void bs_database_run(BsDatabase *database);

/* Can something be asked? */
extern bool bs_database_is_idle(const BsDatabase *database);

/* What to wait for: a descriptor or -1, whether also for writing, a time. */
extern int	bs_database_fd(const BsDatabase *database);
extern bool bs_database_wants_write(const BsDatabase *database);
extern int64_t bs_database_next_ms(const BsDatabase *database);

/*
 * Asks; results come in binary form if there are arguments, otherwise, and of
 * the last statement, as text.  False, and the connection is gone, if that
 * failed.
 */
extern bool bs_database_ask(BsDatabase *database, const char *sql,
							const BsArguments *arguments);

/*
 * Has what was asked come to its end?  Then *answer is the result, the caller's to
 * PQclear(), or NULL and the reason in database->error: refused by the server, or
 * the connection is lost, and what became of it is unknown.
 */
extern bool bs_database_take(BsDatabase *database, PGresult **answer);

/* Ends the connection; the next one is tried at once, or after a failure later. */
extern void bs_database_disconnect(BsDatabase *database, bool failed);

/* For good. */
extern void bs_database_close(BsDatabase *database);

/*
 * Waits: connects, looks, and gives what stands in the way, with the reason in
 * database->error.  For --check.
 */
extern BsObstacle bs_database_check(BsDatabase *database);

/* The question what is there: the answer goes to bs_database_take_look(). */
extern const char *bs_database_look_sql(void);
extern BsObstacle bs_database_take_look(BsDatabase *database,
										const PGresult *answer);

/* Longest report of a sender, see bs_work_ask_state(). */
#define BS_REPORT_SIZE	3072

/*
 * After a look that found no obstacle: the state of the installation, and with it
 * what "report" adds to the columns that are asked for, "" or ", expression".
 */
extern bool bs_database_ask_state(BsDatabase *database, const char *report);
extern BsObstacle bs_database_take_state(BsDatabase *database,
										 const PGresult *answer);

#endif							/* BS_SENDER_DATABASE_H */
