/*-------------------------------------------------------------------------
 *
 * sender_notify.h
 *	  What the service manager is told, if there is one: sd_notify(3).
 *
 * src/sender/sender_notify.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_NOTIFY_H
#define BS_SENDER_NOTIFY_H

#include <stdint.h>

/* One or more lines as sd_notify(3) has them: "READY=1\nSTATUS=...". */
extern void bs_notify(const char *state);

/* "RELOADING=1" with the time that goes with it. */
extern void bs_notify_reloading(void);

/* How often "WATCHDOG=1" is waited for, in ms; -1: it is not. */
extern int64_t bs_notify_watchdog_ms(void);

#endif							/* BS_SENDER_NOTIFY_H */
