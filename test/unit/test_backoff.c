/*-------------------------------------------------------------------------
 *
 * test_backoff.c
 *	  How long to wait after what has failed.
 *
 * test/unit/test_backoff.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

#include <limits.h>
#include <math.h>
#include <stdint.h>

#include "core/base/backoff.h"

/* It doubles from the first wait to the longest, and stays there. */
static void
test_doubling(void)
{
	is_int(bs_backoff_ms(1, 250, 15000), 250, "the first wait");
	is_int(bs_backoff_ms(2, 250, 15000), 500, "twice as long");
	is_int(bs_backoff_ms(6, 250, 15000), 8000, "the last below the longest");
	is_int(bs_backoff_ms(7, 250, 15000), 15000, "the longest");
	is_int(bs_backoff_ms(INT_MAX, 250, 15000), 15000, "and it stays there");
	is_int(bs_backoff_ms(3, 250, 1000), 1000, "a longest that is met exactly");
	is_int(bs_backoff_ms(0, 250, 15000), 250, "no failure counts as the first");
	is_int(bs_backoff_ms(-3, 250, 15000), 250, "and so do fewer");
}

/* Settings may be anything. */
static void
test_odd_limits(void)
{
	is_int(bs_backoff_ms(1, 9000, 700), 700, "a first wait above the longest");
	is_int(bs_backoff_ms(5, 0, 100), 16, "a first wait of 0 is one of 1 ms");
	is_int(bs_backoff_ms(1, -5, 100), 1, "and so is a negative one");
	is_int(bs_backoff_ms(4, 100, 0), 0, "a longest of 0");
	is_int(bs_backoff_ms(4, 100, -1), 0, "a negative longest is 0");
	ok(bs_backoff_ms(INT_MAX, 3, INT64_MAX) == INT64_MAX,
	   "the doubling does not run over");
}

static void
test_locked(void)
{
	int			sum = 0;
	int			i;

	is_int(bs_backoff_locked_ms(1), 5, "locked: begins at 5 ms");
	is_int(bs_backoff_locked_ms(2), 10, "locked: doubles");
	for (i = 3; i < 9; i++)
		sum += bs_backoff_locked_ms(i);
	is_int(sum, 20 + 40 + 80 + 160 + 320 + 640, "locked: and again");
	is_int(bs_backoff_locked_ms(9), 1000, "locked: up to a second");
	is_int(bs_backoff_locked_ms(109), 1000, "locked: and stays there");
}

static void
test_jitter(void)
{
	is_int(bs_backoff_jitter_ms(1000, 0), 500, "jitter: half at least");
	is_int(bs_backoff_jitter_ms(1000, 0.5), 750, "jitter: the middle");
	is_int(bs_backoff_jitter_ms(1000, 1), 1000, "jitter: all of it at most");
	is_int(bs_backoff_jitter_ms(1001, 0), 501, "jitter: an odd wait");
	is_int(bs_backoff_jitter_ms(1, 0), 1, "jitter: a wait of 1 ms stays");
	is_int(bs_backoff_jitter_ms(0, 0), 0, "jitter: no wait stays none");
	is_int(bs_backoff_jitter_ms(1000, NAN), 500, "jitter: no number is 0");
	is_int(bs_backoff_jitter_ms(1000, -7), 500, "jitter: below 0 is 0");
	is_int(bs_backoff_jitter_ms(1000, 7), 1000, "jitter: above 1 is 1");
	ok(bs_backoff_jitter_ms(INT64_MAX, 0.25) > INT64_MAX / 2,
	   "jitter: the longest wait of all");
}

int
main(void)
{
	test_doubling();
	test_odd_limits();
	test_locked();
	test_jitter();
	return tap_done();
}
