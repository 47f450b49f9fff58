/*-------------------------------------------------------------------------
 *
 * bs_secret.h
 *	  One setting may hold a password: its value stays out of the log.
 *
 * src/server/base/bs_secret.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SECRET_H
#define BS_SECRET_H

/* Keeps the value of birthday_scheduler.amqp_url out of the server log. */
extern void bs_secret_guard_log(void);

#endif							/* BS_SECRET_H */
