/*-------------------------------------------------------------------------
 *
 * bs_guc.h
 *	  The settings, birthday_scheduler.*
 *
 * src/server/base/bs_guc.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_GUC_H
#define BS_GUC_H

#include "nodes/pg_list.h"

#include "core/mail/outcome.h"

#define BS_SETTING_PREFIX	"birthday_scheduler."

typedef enum BsQueueKind
{
	BS_QUEUE_POSTGRES,			/* senders claim due rows themselves */
	BS_QUEUE_RABBITMQ			/* they are published, senders consume */
} BsQueueKind;

extern char *bs_database;		/* a list, see bs_guc_split_databases() */
extern int	bs_max_databases;
extern char *bs_role;
extern int	bs_senders;
extern int	bs_queue;			/* BsQueueKind */
extern char *bs_amqp_url;
extern char *bs_amqp_password_file;
extern char *bs_amqp_ca_file;
extern char *bs_amqp_exchange;
extern char *bs_amqp_queue;
extern char *bs_amqp_dead_letter_exchange;
extern char *bs_amqp_dead_letter_queue;
extern int	bs_amqp_prefetch;
extern int	bs_horizon_s;
extern int	bs_plan_interval_s;
extern int	bs_max_lateness_s;
extern int	bs_lease_s;
extern char *bs_mail_url;
extern char *bs_mail_from;
extern char *bs_mail_reply_to;
extern char *bs_mail_user;
extern char *bs_mail_password_file;
extern int	bs_mail_tls;		/* BsMailTls */
extern char *bs_mail_ca_file;
extern char *bs_mail_helo;
extern int	bs_mail_connections;
extern int	bs_sender_memory_kb;
extern int	bs_mail_timeout_ms;
extern char *bs_mail_list_unsubscribe;
extern char *bs_http_headers_file;
extern int	bs_max_attempts;
extern int	bs_retry_initial_s;
extern int	bs_retry_max_s;
extern double bs_rate_limit;
extern double bs_breaker;
extern int	bs_delivery_guarantee;	/* BsDeliveryGuarantee */

extern int	bs_retention_s;		/* 0: everything is kept */

#define BS_DATABASES_MAX	64

#define BS_RETENTION_MIN_DAYS 62	/* two months, whichever */
#define BS_RETENTION_MAX_DAYS 24000

/* Defines them; those that cannot change later only while preloading. */
extern void bs_guc_define(void);

/*
 * The names of databases in a value of birthday_scheduler.database, as C strings
 * of at most NAMEDATALEN - 1 bytes, in memory of the current context; false, and
 * in *reason a static full sentence, where it is no such list.
 */
extern bool bs_guc_split_databases(const char *value, List **names,
								   const char **reason);

#endif							/* BS_GUC_H */
