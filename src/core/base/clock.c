/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  What time it is.
 *
 * src/core/base/clock.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/clock.h"

#include <time.h>

static int64_t
read_clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
bs_clock_ms(void)
{
	return read_clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
bs_clock_wall_ms(void)
{
	return read_clock_us(CLOCK_REALTIME) / 1000;
}

int64_t
bs_clock_wall_us(void)
{
	return read_clock_us(CLOCK_REALTIME);
}
