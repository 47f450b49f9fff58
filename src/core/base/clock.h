/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  What time it is.
 *
 * src/core/base/clock.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_CLOCK_H
#define BS_CORE_CLOCK_H

#include <stdint.h>

/* The monotonic clock, which is never set: for waits and time limits. */
extern int64_t bs_clock_ms(void);

/* The wall clock, since 1970: for what other processes or people read. */
extern int64_t bs_clock_wall_ms(void);
extern int64_t bs_clock_wall_us(void);

#endif							/* BS_CORE_CLOCK_H */
