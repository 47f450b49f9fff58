/*-------------------------------------------------------------------------
 *
 * bs_stats.h
 *	  What is counted in shared memory for each database that has workers,
 *	  since server start: outlives the workers that count.
 *
 * If this process's database has no workers, nothing is counted.  Every number
 * is an atomic of its own, so there is no lock to wait for; numbers that are
 * read together may be a message apart.
 *
 * src/server/base/bs_stats.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_STATS_H
#define BS_STATS_H

#include "datatype/timestamp.h"
#include "port/atomics.h"

#include "core/base/histogram.h"
#include "core/mail/outcome.h"

typedef struct BsHistogram
{
	pg_atomic_uint64 counts[BS_HISTOGRAM_BOUNDS + 1];
	pg_atomic_uint64 sum_us;	/* right behind them, see bs_count_report() */
} BsHistogram;

/* Moves of messages that happen in SQL; counted when they are committed. */
typedef enum BsMove
{
	BS_MOVE_PLANNED,			/* made */
	BS_MOVE_UPDATED,			/* brought up to date or cancelled */
	BS_MOVE_CANCELLED,
	BS_MOVE_RECOVERED,			/* taken from senders that are gone */
	BS_MOVE_EXPIRED
} BsMove;

#define BS_MOVES (BS_MOVE_EXPIRED + 1)

#define BS_OUTCOMES (BS_OUTCOME_RELEASED + 1)

/* Counters and nothing else: bs_group_clear() sets every word to 0. */
typedef struct BsStats
{
	BsHistogram histograms[BS_HISTOGRAMS];
	pg_atomic_uint64 outcomes[BS_OUTCOMES]; /* of attempts */
	pg_atomic_uint64 moves[BS_MOVES];
	pg_atomic_uint64 passes;	/* planning passes that were finished */
	pg_atomic_uint64 passes_failed;
	pg_atomic_uint64 last_pass_at;	/* TimestampTz; 0: none yet */
	pg_atomic_uint64 last_pass_us;	/* how long it took */
} BsStats;

/* Negative values count as 0: the relay's clock is ours, but clocks are set. */
extern void bs_stats_observe(BsHistogramKind kind, int64 us);

/* One attempt came to its end, after "us"; -1: the relay was not asked. */
extern void bs_stats_attempt(BsOutcome outcome, int64 us);

extern void bs_stats_move(BsMove move, int64 count);

/* A planning pass ended, at last_pass_at if it was finished. */
extern void bs_stats_pass(bool finished, TimestampTz started_at);

#endif							/* BS_STATS_H */
