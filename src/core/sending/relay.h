/*-------------------------------------------------------------------------
 *
 * relay.h
 *	  From settings to a mailer or a link to the broker.
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

#include "core/amqp/amqp.h"
#include "core/base/secret.h"
#include "core/mail/mail.h"

/* Settings; NULL or "" where they are not set. */
typedef struct BsRelaySettings
{
	const char *prefix;			/* of their names in errors */
	const char *mail_url;
	const char *mail_from;
	const char *mail_helo;		/* name for EHLO; "": the domain of mail_from */
	const char *mail_user;
	const char *mail_password_file;
	BsMailTls	mail_tls;
	const char *mail_ca_file;
	int			mail_connections;
	int64_t		mail_timeout_ms;
	int64_t		lease_ms;
	const char *http_headers_file;
} BsRelaySettings;

/* Names as they are set, with the place of the database's in them. */
typedef struct BsBrokerSettings
{
	const char *prefix;
	const char *database;
	const char *amqp_url;
	const char *amqp_password_file;
	const char *amqp_ca_file;
	const char *amqp_exchange;
	const char *amqp_queue;
	const char *amqp_dead_letter_exchange;
	const char *amqp_dead_letter_queue;
	const char *connection_name;
	int			window;			/* as in BsAmqpConfig */
	int			prefetch;
} BsBrokerSettings;

/*
 * Is the lease long enough for the time limit of a transfer?  A transfer is begun
 * only if the lease outlasts it, and a claimed message may wait half a lease for a
 * connection.  With a shorter lease the message would be sent by two senders.  If it
 * is not, the reason is in error.
 */
extern bool bs_relay_check_lease(const char *prefix, int64_t lease_ms,
								 int64_t timeout_ms,
								 char *error, size_t error_size);

/*
 * A mailer for these settings; NULL and the reason, without secrets, in error
 * where they do not make one.
 */
extern BsMailer *bs_relay_make_mailer(const BsRelaySettings *settings,
									  char *error, size_t error_size);

/* The first line of the broker's password file, "" where none is set. */
extern bool bs_relay_read_amqp_password(const BsBrokerSettings *settings,
										char *password, size_t size,
										char *error, size_t error_size);

/* A link to the broker, likewise; names that are too long make none either. */
extern BsAmqpLink *bs_relay_make_link(const BsBrokerSettings *settings,
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
