/*-------------------------------------------------------------------------
 *
 * backoff.c
 *	  How long to wait after what has failed.
 *
 * src/core/base/backoff.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/backoff.h"

#define LOCKED_INITIAL_MS	5
#define LOCKED_LONGEST_MS	1000

int64_t
bs_backoff_ms(int failures, int64_t initial_ms, int64_t longest_ms)
{
	int64_t		longest = longest_ms > 0 ? longest_ms : 0;
	int64_t		wait = initial_ms > 1 ? initial_ms : 1;

	for (; failures > 1 && wait < longest; failures--)
		wait = wait > longest / 2 ? longest : wait * 2;
	return wait < longest ? wait : longest;
}

int64_t
bs_backoff_locked_ms(int failures)
{
	return bs_backoff_ms(failures, LOCKED_INITIAL_MS, LOCKED_LONGEST_MS);
}

int64_t
bs_backoff_jitter_ms(int64_t wait_ms, double random)
{
	if (!(random >= 0))			/* NaN as well */
		random = 0;
	if (random > 1)
		random = 1;
	return wait_ms - (int64_t) ((double) (wait_ms / 2) * (1 - random));
}
