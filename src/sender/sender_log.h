/*-------------------------------------------------------------------------
 *
 * sender_log.h
 *	  The log of bs_sender, on standard error: lines for people, or JSON.
 *
 * Ids and reasons, never an address, a name or a secret.
 *
 * src/sender/sender_log.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_LOG_H
#define BS_SENDER_LOG_H

#include <stdbool.h>

typedef enum BsLogLevel
{
	BS_LOG_ERROR,
	BS_LOG_WARNING,
	BS_LOG_INFO
} BsLogLevel;

extern void bs_log_set_json(bool json);

extern void bs_log(BsLogLevel level, const char *format,...)
			__attribute__((format(printf, 2, 3)));

/*
 * An error that may come again and again: further ones are logged once a minute,
 * the same one once an hour.  bs_log_last_error() has it in any case.
 */
extern void bs_log_trouble(const char *message);

/* What was in trouble works again: the next trouble is logged at once. */
extern void bs_log_recovery(const char *message);

/* "" if there was none since the last recovery. */
extern const char *bs_log_last_error(void);

#endif							/* BS_SENDER_LOG_H */
