/*-------------------------------------------------------------------------
 *
 * bs_time.h
 *	  The server's instants (us since 2000), those of src/core (ms or us since
 *	  1970), and its clock that is never set.
 *
 * src/server/base/bs_time.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_TIME_H
#define BS_TIME_H

#include "datatype/timestamp.h"
#include "portability/instr_time.h"
#include "utils/timestamp.h"

#define BS_TIME_EPOCHS_US \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static inline int64
bs_time_to_unix_us(TimestampTz instant)
{
	return instant + BS_TIME_EPOCHS_US;
}

static inline TimestampTz
bs_time_from_unix_us(int64 us)
{
	return us - BS_TIME_EPOCHS_US;
}

static inline int64
bs_time_to_unix_ms(TimestampTz instant)
{
	return bs_time_to_unix_us(instant) / 1000;
}

static inline TimestampTz
bs_time_from_unix_ms(int64 ms)
{
	return bs_time_from_unix_us(ms * 1000);
}

static inline TimestampTz
bs_time_ms_from_now(int64 ms)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

static inline int64
bs_time_monotonic_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

#endif							/* BS_TIME_H */
