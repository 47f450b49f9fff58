/*-------------------------------------------------------------------------
 *
 * planning_store.h
 *	  A planning pass, step by step.
 *
 * src/server/planning/planning_store.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_PLANNING_STORE_H
#define BS_PLANNING_STORE_H

#include "datatype/timestamp.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/uuid.h"

/* What the next step does. */
typedef enum BsPlanStage
{
	BS_PLAN_BEGIN,				/* finds out what there is to do */
	BS_PLAN_SLICES,				/* plans the next users of a slice */
	BS_PLAN_REFRESH,			/* brings the next pending messages up to date */
	BS_PLAN_PARTITIONS,			/* makes the months ahead */
	BS_PLAN_RETENTION,			/* drops old months */
	BS_PLAN_DONE
} BsPlanStage;

/* A row of bs_plan_slices(). */
typedef struct BsPlanSlice
{
	char		message_type[51];
	char		date_source[21];
	DateADT		local_date;
	int32		month_day;
} BsPlanSlice;

/*
 * Each step may be a transaction of its own, so that no user's lock is held for
 * long.  The cursor moves before the commit: when a step fails, give up the pass.
 */
typedef struct BsPlanPass
{
	/* Set by the caller, all else is zero at first. */
	TimestampTz as_of;
	TimestampTz until;
	int			chunk;			/* users or messages of a step, at most */
	bool		upkeep;			/* look after the partitions at the end */
	MemoryContext context;		/* lives as long as the pass */

	/* The cursor. */
	BsPlanStage stage;
	TimestampTz began;
	TimestampTz window_from;
	ArrayType  *missing;		/* months without partitions */
	BsPlanSlice *slices;
	int			slice_count;
	int			slice;
	bool		has_last;		/* go on after last_id, else from the first */
	pg_uuid_t	last_id;		/* user, or message sent at last_time */
	TimestampTz last_time;
	int			size;			/* of the next step: chunk, less after errors */
	int			failed_in_a_row;

	/* What it came to. */
	int64		planned;		/* messages made */
	int64		changed;		/* messages brought up to date or cancelled */
	int64		skipped;		/* users and messages that others had locked */
	int64		past_triggers;	/* users and messages changed past the
								 * triggers */
	int64		failed;			/* users whose planning ended with an error */
	pg_uuid_t	failed_user;	/* one of them */
	char		failed_code[8]; /* and its SQLSTATE */
	char	   *trouble;		/* why months are missing, or NULL */
	int64		steps;
} BsPlanPass;

/*
 * The whole pass from now to the horizon, each step a transaction, with the
 * upkeep of the partitions; false if it was not finished.
 */
extern bool bs_planning_pass(BsPlanPass *pass);

#endif							/* BS_PLANNING_STORE_H */
