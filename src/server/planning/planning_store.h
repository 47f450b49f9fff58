/*-------------------------------------------------------------------------
 *
 * planning_store.h
 *	  The SQL side of the scheduler.
 *
 * src/server/planning/planning_store.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_PLANNING_STORE_H
#define BS_PLANNING_STORE_H

#include "datatype/timestamp.h"

/* What one planning pass came to. */
typedef struct BsPlanned
{
	int64		planned;		/* messages made */
	int64		changed;		/* messages brought up to date or cancelled */
	int64		skipped;		/* users and messages that others had locked */
	int64		failed;			/* users whose planning ended with an error */
	char		failed_user[40];	/* one of them */
	char		failed_code[8]; /* and its SQLSTATE */
} BsPlanned;

/*
 * A whole pass, each step a transaction, with the upkeep of the partitions at
 * its end; false where it was not finished.
 */
extern bool bs_planning_pass(BsPlanned *result);

/*
 * Puts back what is held by senders that are gone or whose lease ended, expires
 * what is too late; *next_lease_end is DT_NOEND where nothing is held.  False
 * where that failed.
 */
extern bool bs_planning_recover(int64 *recovered, int64 *expired,
								TimestampTz *next_lease_end);

#endif							/* BS_PLANNING_STORE_H */
