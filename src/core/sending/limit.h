/*-------------------------------------------------------------------------
 *
 * limit.h
 *	  Token bucket and circuit breaker as plain state and arithmetic.
 *
 * The host keeps the structs where all its workers see them and serialises the
 * calls; time comes in as a monotonic clock in milliseconds.  All zero is a
 * valid initial state of each.
 *
 * src/core/sending/limit.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_LIMIT_H
#define BS_CORE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct BsBucket
{
	double		tokens;
	int64_t		filled_ms;		/* 0: never used, begins full */
} BsBucket;

/*
 * Takes up to "wanted" tokens of a bucket that fills with "rate" a second and
 * holds one second's worth (at least 1).  Returns how many were taken; where 0,
 * *wait_ms is the time until there is one.  rate <= 0: no limit.
 */
extern int	bs_bucket_take(BsBucket *bucket, double rate, int wanted,
						   int64_t now_ms, int64_t *wait_ms);
extern void bs_bucket_give_back(BsBucket *bucket, double rate, int count);

#define BS_BREAKER_SLOTS	10

typedef struct BsBreakerRule
{
	double		ratio;			/* open at this share of troubles, e.g. 0.5;
								 * <= 0: never */
	int			min_attempts;	/* of at least min_attempts, e.g. 10 */
	int64_t		window_ms;		/* e.g. 10000 */
	int64_t		open_ms;		/* e.g. 30000 */
} BsBreakerRule;

typedef enum BsBreakerState
{
	BS_BREAKER_CLOSED,			/* mail flows */
	BS_BREAKER_OPEN,			/* nothing is tried until open_until_ms */
	BS_BREAKER_PROBING			/* one message is under way to find out */
} BsBreakerState;

typedef struct BsBreaker
{
	BsBreakerState state;
	int64_t		open_until_ms;	/* OPEN: the probe may start; PROBING: the
								 * probe is given up for lost */
	int64_t		slot_start_ms[BS_BREAKER_SLOTS];
	int			good[BS_BREAKER_SLOTS];
	int			bad[BS_BREAKER_SLOTS];
} BsBreaker;

/*
 * How many of "wanted" messages may be tried now: all, none, or one as a probe.
 * Where none, *wait_ms is when to ask again.  A probe that is never reported
 * counts as lost after open_ms.
 */
extern int	bs_breaker_admit(BsBreaker *breaker, const BsBreakerRule *rule,
							 int wanted, int64_t now_ms, int64_t *wait_ms);

/*
 * One attempt ended; "trouble" as in BS_OUTCOME_TROUBLE or IN_DOUBT.  Returns
 * true where the state changed (the host logs it).
 */
extern bool bs_breaker_report(BsBreaker *breaker, const BsBreakerRule *rule,
							  bool trouble, int64_t now_ms);

#endif							/* BS_CORE_LIMIT_H */
