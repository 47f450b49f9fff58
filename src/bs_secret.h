/*-------------------------------------------------------------------------
 *
 * bs_secret.h
 *	  Secrets, which are files that settings name.
 *
 * src/bs_secret.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SECRET_H
#define BS_SECRET_H

#define BS_SECRET_MAX	8192	/* bytes */

/*
 * Reads the file that birthday_scheduler.<setting> names; it must be closed to
 * all but the server's user.  False and the reason, without any contents, in
 * error where it cannot be used.
 */
extern bool bs_secret_read(const char *setting, const char *path,
						   char *buf, size_t size,
						   char *error, size_t error_size);

/* Keeps the value of birthday_scheduler.amqp_url out of the server log. */
extern void bs_secret_guard_log(void);

#endif							/* BS_SECRET_H */
