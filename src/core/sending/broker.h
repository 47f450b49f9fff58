/*-------------------------------------------------------------------------
 *
 * broker.h
 *	  From settings to a link to the broker, and the names in it.
 *
 * src/core/sending/broker.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_BROKER_H
#define BS_CORE_BROKER_H

#include "core/base/secret.h"
#include "core/sending/settings.h"

#define BS_BROKER_NAME_SIZE	256 /* bytes, with the final NUL */

/* What a link needs beside settings. */
typedef struct BsLinkUse
{
	const char *database;		/* its name is put into names with %d */
	const char *connection_name;	/* as the broker shows it */
	int			window;			/* as in BsAmqpConfig */
	int			prefetch;
} BsLinkUse;

/* The first line of the broker's password file, "" where none is set. */
extern bool bs_broker_read_password(const BsSettings *settings,
									char *password, size_t size,
									char *error, size_t error_size);

/*
 * A link to the broker; NULL and the reason, without secrets, in error where they
 * do not make one.
 */
extern BsAmqpLink *bs_broker_make_link(const BsSettings *settings,
									   const BsLinkUse *use,
									   const char *password,
									   char *error, size_t error_size);

/*
 * May a setting name an exchange or a queue so?  *reason is a static full
 * sentence.
 */
extern bool bs_broker_check_name(const char *name, const char **reason);

/*
 * The name that a setting stands for: in it %d is the name of the database, and
 * %% a percent sign.  False, and *reason a static full sentence, if the broker
 * would not take it.
 */
extern bool bs_broker_expand_name(const char *name, const char *database,
								  char *buf, const char **reason);

/* Is the name of the database in it? */
extern bool bs_broker_has_database(const char *name);

#endif							/* BS_CORE_BROKER_H */
