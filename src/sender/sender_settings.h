/*-------------------------------------------------------------------------
 *
 * sender_settings.h
 *	  What bs_sender is told: by flags, the environment, a file, and the server.
 *
 * In this order: what a flag says holds, then BS_SENDER_<NAME>, then the file,
 * then, for what all senders of a database should do alike, the server's
 * birthday_scheduler.<name>, then the default.
 *
 * src/sender/sender_settings.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_SETTINGS_H
#define BS_SENDER_SETTINGS_H

#include "core/sending/broker.h"
#include "core/sending/outbox.h"
#include "core/sending/relay.h"

typedef enum BsSenderQueue
{
	BS_SENDER_QUEUE_POSTGRES,
	BS_SENDER_QUEUE_RABBITMQ
} BsSenderQueue;

typedef enum BsLogFormat
{
	BS_LOG_PLAIN,
	BS_LOG_JSON
} BsLogFormat;

/* Times are in ms; strings are never NULL. */
typedef struct BsSettings
{
	char	   *database;		/* libpq's */
	int			queue;			/* BsSenderQueue */
	int64_t		poll_interval_ms;
	int64_t		lease_ms;
	char	   *amqp_url;
	char	   *amqp_password_file;
	char	   *amqp_ca_file;
	char	   *amqp_exchange;
	char	   *amqp_queue;
	char	   *amqp_dead_letter_exchange;
	char	   *amqp_dead_letter_queue;
	int64_t		amqp_prefetch;
	char	   *mail_url;
	char	   *mail_from;
	char	   *mail_reply_to;
	char	   *mail_helo;
	char	   *mail_user;
	char	   *mail_password_file;
	int			mail_tls;		/* BsMailTls */
	char	   *mail_ca_file;
	int64_t		mail_connections;
	int64_t		mail_timeout_ms;
	int64_t		sender_memory;	/* bytes */
	char	   *mail_list_unsubscribe;
	char	   *http_headers_file;
	double		rate_limit;
	double		breaker;
	char	   *listen;
	int			log_format;		/* BsLogFormat */

	/* The server's alone. */
	int64_t		max_lateness_ms;
	int64_t		max_attempts;
	int64_t		retry_initial_ms;
	int64_t		retry_max_ms;
	int			delivery_guarantee; /* BsDeliveryGuarantee */
} BsSettings;

#define BS_EXIT_USAGE	2
#define BS_EXIT_CONFIG	78		/* EX_CONFIG of sysexits.h */

typedef struct BsSettingsError
{
	int			exit_code;		/* BS_EXIT_USAGE or BS_EXIT_CONFIG */
	char		text[512];
} BsSettingsError;

/* What the command line says beside settings. */
typedef struct BsCommand
{
	bool		help;
	bool		version;
	bool		check;
	const char *config_file;	/* NULL: the usual one, if it is there */
} BsCommand;

/* Reads the command line, once.  False: the reason is in error. */
extern bool bs_settings_take_flags(int argc, char **argv, BsCommand *command,
								   BsSettingsError *error);

/*
 * Reads file and environment anew, and takes the flags; what the server says is
 * kept.  False, and nothing has changed, where any of it is no good.
 */
extern bool bs_settings_load(const char *config_file, BsSettingsError *error);

/*
 * The server's value of a setting, with its unit ("300s"); one that it keeps to
 * itself is ignored.  bs_settings_finish() follows.
 */
extern void bs_settings_take_server(const char *name, const char *value);

/*
 * The settings that follow, which hold until the next call; false, and the former
 * ones hold, where they do not go together.  *changed: are they others?
 */
extern bool bs_settings_finish(bool *changed, BsSettingsError *error);

extern const BsSettings *bs_settings(void);

/* The same as the mailer and the link to the broker want them. */
extern void bs_settings_relay(BsRelaySettings *relay);
extern void bs_settings_broker(BsBrokerSettings *broker, const char *database,
							   const char *connection_name);
extern void bs_settings_rules(BsOutboxRules *rules);

/* The settings as --help lists them, to standard output. */
extern void bs_settings_print_help(void);

/* To be called at the end, for the memory checkers' sake. */
extern void bs_settings_free(void);

#endif							/* BS_SENDER_SETTINGS_H */
