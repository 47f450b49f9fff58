/*-------------------------------------------------------------------------
 *
 * backoff.h
 *	  How long to wait after what has failed.
 *
 * src/core/base/backoff.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_BACKOFF_H
#define BS_CORE_BACKOFF_H

#include <stdint.h>

/*
 * The wait after "failures" failures in a row: initial_ms (at least 1) after the
 * first, twice as long after each further one, at most longest_ms.
 */
extern int64_t bs_backoff_ms(int failures, int64_t initial_ms,
							 int64_t longest_ms);

/* The same for what another session holds: from 5 ms up to a second. */
extern int64_t bs_backoff_locked_ms(int failures);

/*
 * A wait from the upper half of this one, so that many do not come at once.
 * "random" is in [0, 1); another number counts as the nearest bound.
 */
extern int64_t bs_backoff_jitter_ms(int64_t wait_ms, double random);

#endif							/* BS_CORE_BACKOFF_H */
