/*-------------------------------------------------------------------------
 *
 * bs_wake.h
 *	  Waking the workers of this database when a transaction commits that gives
 *	  them work.
 *
 * src/server/base/bs_wake.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_WAKE_H
#define BS_WAKE_H

#include "datatype/timestamp.h"

/* Wakes the scheduler for a planning pass, now. */
extern void bs_wake_scheduler(void);

/* Wakes the scheduler to put back what is lost; no planning pass. */
extern void bs_wake_recovery(void);

/* ---- of the worker that calls them ---- */

/*
 * A sender, or the publisher if there is a broker, is about to ask when the
 * next message is due.
 */
extern void bs_wake_announce_sleep(void);

/*
 * It asked, and the answer was "due"; gives what it shall sleep to, which is
 * sooner where a commit came in between.
 */
extern TimestampTz bs_wake_settle_sleep(TimestampTz due);

/* No commit shall wake this worker. */
extern void bs_wake_never(void);

/* What it shall sleep to now. */
extern TimestampTz bs_wake_sleep_until(void);

#endif							/* BS_WAKE_H */
