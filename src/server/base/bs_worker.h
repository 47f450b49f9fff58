/*-------------------------------------------------------------------------
 *
 * bs_worker.h
 *	  What the scheduler and the senders have in common: start, settings of the
 *	  session, readiness, sleep and end.
 *
 * src/server/base/bs_worker.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_WORKER_H
#define BS_WORKER_H

#include "server/base/bs_compat.h"
#include "server/base/bs_shmem.h"

/* "scheduler", "sender 1" and so on, "publisher"; static. */
extern const char *bs_worker_label(int number);

/*
 * This worker as others know it, "birthday_scheduler sender 1"; " of app" follows
 * if there is room for several databases; static.
 */
extern const char *bs_worker_name(void);

/* The database that this worker is connected to; static. */
extern const char *bs_worker_database(void);

/*
 * While preloading: for each database that there is room for one scheduler,
 * birthday_scheduler.senders senders, one publisher.
 */
extern void bs_worker_register_all(void);

/*
 * Takes the slot, waits for a database to serve and where the last starts
 * failed, connects to it and fixes what the settings of role and database could
 * change.  "place" is bgw_main_arg: workers counted through all groups.
 */
extern void bs_worker_start(int place);

/* The part of that which any process of ours with a database connection needs. */
extern void bs_worker_fix_session(void);

/*
 * This start came to something: the next one need not wait.  For workers that
 * do not ask bs_worker_is_ready(), which says so as well.
 */
extern void bs_worker_start_succeeded(void);

/*
 * Is there work to be done in this database?  Looks, in a transaction of its
 * own, for the extension, its version and the adoption; logs each change.
 * Sending adds: not paused.
 */
extern bool bs_worker_is_ready(bool sending);

/*
 * Is it certain that the extension does not exist (any more)?  False if that
 * cannot be found out.
 */
extern bool bs_worker_is_extension_gone(void);

/* Between transactions: interrupts, reload; leaves where a reload asks for it. */
extern void bs_worker_check_signals(void);

/*
 * The handler of SIGINT in a worker that talks to the network: the server's
 * lock_timeout comes as a SIGINT of our own, and a lock must not hold us up.
 * Anybody else's means to cancel a statement; ours take milliseconds.
 */
extern void bs_worker_cancel_on_timeout(BS_SIGNAL_ARGS);

/* Waits for the latch, at most until then; resets the latch. */
extern void bs_worker_sleep_until(TimestampTz until);

/* Shown by bs_workers; the error also goes to the log, at a limited rate. */
extern void bs_worker_set_state(const char *state);
extern void bs_worker_report_error(const char *message);

/* What was in trouble works again: to the log, and the next error as well. */
extern void bs_worker_report_recovery(const char *message);

extern void bs_worker_add_counts(int sent, int failed, int retried);

/* This worker's slot. */
extern BsWorkerSlot *bs_worker_slot(void);

#define BS_WORKER_RECHECK_MS 10000	/* how often to look for the extension */

#endif							/* BS_WORKER_H */
