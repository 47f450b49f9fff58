/*-------------------------------------------------------------------------
 *
 * relay.h
 *	  From settings to a mailer or a link to the broker; secrets, which are files
 *	  that settings name.
 *
 * Secrets are read each time, and live no longer than that call outside of the
 * libraries that need them.
 *
 * src/core/sending/relay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_RELAY_H
#define BS_CORE_RELAY_H

#include "core/sending/settings.h"

#define BS_SECRET_MAX	8192	/* bytes */

/* What a link to the broker needs beside settings. */
typedef struct BsLinkUse
{
	const char *database;		/* its name is put into names with %d */
	const char *connection_name;	/* as the broker shows it */
	int			window;			/* as in BsAmqpConfig */
	int			prefetch;
} BsLinkUse;

/*
 * Is the lease long enough for the time limit of a transfer?  A transfer is begun
 * only if the lease outlasts it, and a claimed message may wait half a lease for a
 * connection.  With a shorter lease the message would be sent by two senders.  If it
 * is not, the reason is in error.
 */
extern bool bs_relay_check_lease(const BsSettings *settings,
								 char *error, size_t error_size);

/*
 * Reads the file that <prefix><setting> names; it must be closed to all but this
 * process's user.  False and the reason, without any contents, in error where it
 * cannot be used.
 */
extern bool bs_secret_read(const char *prefix, const char *setting,
						   const char *path, char *buf, size_t size,
						   char *error, size_t error_size);

/*
 * A mailer for these settings; NULL and the reason, without secrets, in error
 * where they do not make one.
 */
extern BsMailer *bs_relay_make_mailer(const BsSettings *settings,
									  char *error, size_t error_size);

/* The first line of the broker's password file, "" where none is set. */
extern bool bs_relay_read_amqp_password(const BsSettings *settings,
										char *password, size_t size,
										char *error, size_t error_size);

/* A link to the broker, likewise; names that are too long make none either. */
extern BsAmqpLink *bs_relay_make_link(const BsSettings *settings,
									  const BsLinkUse *use,
									  const char *password,
									  char *error, size_t error_size);

/*
 * May a setting name an exchange or a queue so?  *reason is a static full
 * sentence.
 */
extern bool bs_relay_check_amqp_name(const char *name, const char **reason);

#define BS_AMQP_NAME_SIZE	256 /* bytes, with the final NUL */

/*
 * The name that a setting stands for: in it %d is the name of the database, and
 * %% a percent sign.  False, and *reason a static full sentence, where the broker
 * would not take it.
 */
extern bool bs_relay_expand_amqp_name(const char *name, const char *database,
									  char *buf, const char **reason);

/* Is the name of the database in it? */
extern bool bs_relay_has_database(const char *name);

#endif							/* BS_CORE_RELAY_H */
