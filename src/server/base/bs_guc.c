/*-------------------------------------------------------------------------
 *
 * bs_guc.c
 *	  The settings, birthday_scheduler.*
 *
 * Secrets are not settings: a setting names a file, and the worker reads it.
 *
 * src/server/base/bs_guc.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "core/amqp/amqp.h"
#include "core/mail/mail.h"
#include "core/mime/mime.h"
#include "core/sending/broker.h"
#include "core/sending/outbox.h"
#include "core/text/address.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_schema.h"

char	   *bs_database = NULL;
char	   *bs_role = NULL;
int			bs_max_databases = 1;
int			bs_senders = 2;
int			bs_queue = BS_QUEUE_POSTGRES;
char	   *bs_amqp_url = NULL;
char	   *bs_amqp_password_file = NULL;
char	   *bs_amqp_ca_file = NULL;
char	   *bs_amqp_exchange = NULL;
char	   *bs_amqp_queue = NULL;
char	   *bs_amqp_dead_letter_exchange = NULL;
char	   *bs_amqp_dead_letter_queue = NULL;
int			bs_amqp_prefetch = 256;
int			bs_horizon_s = 48 * 3600;
int			bs_plan_interval_s = 600;
int			bs_max_lateness_s = 24 * 3600;
int			bs_lease_s = 300;
char	   *bs_mail_url = NULL;
char	   *bs_mail_from = NULL;
char	   *bs_mail_reply_to = NULL;
char	   *bs_mail_helo = NULL;
char	   *bs_mail_user = NULL;
char	   *bs_mail_password_file = NULL;
int			bs_mail_tls = BS_MAIL_TLS_REQUIRED;
char	   *bs_mail_ca_file = NULL;
int			bs_mail_connections = 8;
int			bs_sender_memory_kb = 65536;
int			bs_mail_timeout_ms = 60000;
char	   *bs_mail_list_unsubscribe = NULL;
char	   *bs_http_headers_file = NULL;
int			bs_max_attempts = 12;
int			bs_retry_initial_s = 60;
int			bs_retry_max_s = 3600;
double		bs_rate_limit = 0;
double		bs_breaker = 0.5;
int			bs_delivery_guarantee = BS_GUARANTEE_AT_LEAST_ONCE;
int			bs_retention_s = 0;

static const struct config_enum_entry queue_options[] = {
	{"postgres", BS_QUEUE_POSTGRES, false},
	{"rabbitmq", BS_QUEUE_RABBITMQ, false},
	{NULL, 0, false}
};

static const struct config_enum_entry tls_options[] = {
	{"required", BS_MAIL_TLS_REQUIRED, false},
	{"offered", BS_MAIL_TLS_OFFERED, false},
	{"off", BS_MAIL_TLS_OFF, false},
	{NULL, 0, false}
};

static const struct config_enum_entry guarantee_options[] = {
	{"at_least_once", BS_GUARANTEE_AT_LEAST_ONCE, false},
	{"at_most_once", BS_GUARANTEE_AT_MOST_ONCE, false},
	{NULL, 0, false}
};

/*
 * What is wrong with a name in that list; NULL: nothing.  "before" are those that
 * precede it.
 */
static const char *
find_name_fault(const char *name, const List *before)
{
	ListCell   *cell;

	if (*name == '\0' || strlen(name) >= NAMEDATALEN)
		return "The name of a database has between 1 and 63 bytes.";
	foreach(cell, before)
		if (strcmp(lfirst(cell), name) == 0)
		return "A database is named twice.";
	if (list_length(before) == BS_DATABASES_MAX)
		return "At most 64 databases can be named.";
	return NULL;
}

bool
bs_guc_split_databases(const char *value, List **names, const char **reason)
{
	List	   *found;
	ListCell   *cell;

	*names = NIL;
	*reason = "It must be a list of names, separated by commas; one with blanks, commas or quotes in it stands in double quotes.";
	if (!SplitGUCList(pstrdup(value), ',', &found))
		return false;
	*reason = "It must name a database.";
	foreach(cell, found)
	{
		*reason = find_name_fault(lfirst(cell), *names);
		if (*reason != NULL)
			return false;
		*names = lappend(*names, lfirst(cell));
	}
	return *names != NIL;
}

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	List	   *names;
	const char *reason;

	if (!bs_guc_split_databases(*newval, &names, &reason))
	{
		GUC_check_errdetail("%s", reason);
		return false;
	}
	return true;
}

/*
 * A URL that is refused may hold a password; the usual message repeats it.
 */
static void
hide_value(const char *setting)
{
	GUC_check_errmsg("invalid value for parameter \"%s\"", setting);
}

static bool
check_mail_url(char **newval, void **extra, GucSource source)
{
	const char *reason;

	if (**newval != '\0' && !bs_mailer_check_url(*newval, &reason))
	{
		hide_value("birthday_scheduler.mail_url");
		GUC_check_errdetail("%s", reason);
		return false;
	}
	return true;
}

static bool
check_amqp_url(char **newval, void **extra, GucSource source)
{
	const char *reason;

	if (**newval != '\0' && !bs_amqp_check_urls(*newval, &reason))
	{
		hide_value("birthday_scheduler.amqp_url");
		GUC_check_errdetail("%s", reason);
		return false;
	}
	return true;
}

static bool
check_amqp_name(char **newval, void **extra, GucSource source)
{
	const char *reason;

	if (!bs_broker_check_name(*newval, &reason))
	{
		GUC_check_errdetail("%s", reason);
		return false;
	}
	return true;
}

static bool
check_mailbox(char **newval, void **extra, GucSource source)
{
	char		name[256];
	char		address[BS_ADDRESS_MAX + 1];
	const char *reason;

	if (**newval != '\0' &&
		!bs_mime_split_mailbox(*newval, name, sizeof(name),
							   address, sizeof(address), &reason))
	{
		GUC_check_errdetail("%s", reason);
		return false;
	}
	return true;
}

static bool
check_helo(char **newval, void **extra, GucSource source)
{
	const char *reason;

	if (**newval != '\0' && !bs_mailer_check_helo(*newval, &reason))
	{
		GUC_check_errdetail("%s", reason);
		return false;
	}
	return true;
}

static bool
check_unsubscribe(char **newval, void **extra, GucSource source)
{
	const char *reason;

	if (**newval != '\0' && !bs_mime_check_unsubscribe(*newval, &reason))
	{
		GUC_check_errdetail("%s", reason);
		return false;
	}
	return true;
}

/*
 * Shorter than what bs_drop_partitions() takes would fail every time.
 */
static bool
check_retention(int *newval, void **extra, GucSource source)
{
	if (*newval > 0 && *newval < BS_RETENTION_MIN_DAYS * 86400)
	{
		GUC_check_errdetail("It must be 0, which keeps everything, or at least %d days: planning still looks at the last two months.",
							BS_RETENTION_MIN_DAYS);
		return false;
	}
	return true;
}

static void
define_string(const char *name, const char *short_desc, const char *long_desc,
			  char **variable, const char *boot, int flags,
			  GucStringCheckHook check)
{
	DefineCustomStringVariable(name, short_desc, long_desc, variable, boot,
							   PGC_SIGHUP, flags, check, NULL, NULL);
}

static void
define_int(const char *name, const char *short_desc, const char *long_desc,
		   int *variable, int boot, int min, int max, int flags)
{
	DefineCustomIntVariable(name, short_desc, long_desc, variable,
							boot, min, max, PGC_SIGHUP, flags,
							NULL, NULL, NULL);
}

static void
define_workers(void)
{
	if (process_shared_preload_libraries_in_progress)
	{
		DefineCustomIntVariable("birthday_scheduler.senders",
								"Number of sender workers of each database.",
								"Each takes one slot of max_worker_processes, beside one for the scheduler and one for the publisher.",
								&bs_senders, bs_senders, 1, 64,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
		DefineCustomIntVariable("birthday_scheduler.max_databases",
								"Number of databases that there can be workers for.",
								"At least as many as birthday_scheduler.database names at server start. Each takes senders + 2 slots of max_worker_processes.",
								&bs_max_databases, bs_max_databases,
								1, BS_DATABASES_MAX,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
	}
	define_string("birthday_scheduler.database",
				  "Databases in which workers look for the extension, separated by commas.",
				  "Each has workers of its own. Double quotes hold a name with blanks, commas or quotes in it.",
				  &bs_database, "postgres", GUC_LIST_INPUT, check_databases);
	define_string("birthday_scheduler.role",
				  "Role that the workers run as.",
				  "It needs LOGIN and what bs_grant(role, 'worker') gives. Empty: the bootstrap superuser.",
				  &bs_role, "", 0, NULL);
	DefineCustomEnumVariable("birthday_scheduler.queue",
							 "How due messages reach the senders.",
							 NULL, &bs_queue, bs_queue, queue_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_amqp(void)
{
	define_string("birthday_scheduler.amqp_url",
				  "RabbitMQ brokers, amqp://user@host:port/vhost or amqps://, tried in turn.",
				  "Comma-separated. A password is better kept in amqp_password_file than here.",
				  &bs_amqp_url, "", GUC_SUPERUSER_ONLY, check_amqp_url);
	define_string("birthday_scheduler.amqp_password_file",
				  "File whose first line is the password at the broker.",
				  "For addresses without one. It must belong to the server's user and be closed to others.",
				  &bs_amqp_password_file, "", GUC_SUPERUSER_ONLY, NULL);
	define_string("birthday_scheduler.amqp_ca_file",
				  "Certificates of the authorities that the broker's is checked against.",
				  "Empty: those of the system.",
				  &bs_amqp_ca_file, "", 0, NULL);
	define_string("birthday_scheduler.amqp_exchange",
				  "Topic exchange that due messages are published to.",
				  "%d stands for the name of the database, %% for a percent sign.", &bs_amqp_exchange, "birthday.messages", 0,
				  check_amqp_name);
	define_string("birthday_scheduler.amqp_queue",
				  "Quorum queue that senders consume.",
				  "%d stands for the name of the database, %% for a percent sign.", &bs_amqp_queue, "birthday.messages.queue", 0,
				  check_amqp_name);
	define_string("birthday_scheduler.amqp_dead_letter_exchange",
				  "Direct exchange for what cannot be sent.",
				  "%d stands for the name of the database, %% for a percent sign.", &bs_amqp_dead_letter_exchange,
				  "birthday.messages.dlx", 0, check_amqp_name);
	define_string("birthday_scheduler.amqp_dead_letter_queue",
				  "Quorum queue in which it ends.",
				  "%d stands for the name of the database, %% for a percent sign.", &bs_amqp_dead_letter_queue,
				  "birthday.messages.dlq", 0, check_amqp_name);
	define_int("birthday_scheduler.amqp_prefetch",
			   "Unacknowledged messages that the broker hands to each sender.",
			   NULL, &bs_amqp_prefetch, bs_amqp_prefetch,
			   1, BS_AMQP_WINDOW_MAX, 0);
}

static void
define_planning(void)
{
	define_int("birthday_scheduler.horizon",
			   "How far ahead messages are planned.",
			   NULL, &bs_horizon_s, bs_horizon_s, 3600, 30 * 86400, GUC_UNIT_S);
	define_int("birthday_scheduler.plan_interval",
			   "Longest time between two planning passes.",
			   "bs_wake() makes the scheduler look sooner; it waits half of horizon at most.",
			   &bs_plan_interval_s, bs_plan_interval_s, 1, 86400, GUC_UNIT_S);
	define_int("birthday_scheduler.max_lateness",
			   "How late a message may still be sent.",
			   "Later it ends as EXPIRED.",
			   &bs_max_lateness_s, bs_max_lateness_s, 60, 14 * 86400,
			   GUC_UNIT_S);
	define_int("birthday_scheduler.lease",
			   "How long a sender may keep a message that it claimed.",
			   "At least twice mail_timeout, or nothing is sent.",
			   &bs_lease_s, bs_lease_s, 2, 86400, GUC_UNIT_S);
}

static void
define_partitions(void)
{
	DefineCustomIntVariable("birthday_scheduler.retention",
							"How long ago a month must have ended to be dropped.",
							"At least 62 d; months with unfinished messages stay, the ledger for thirteen months at least. 0: everything is kept.",
							&bs_retention_s, bs_retention_s,
							0, BS_RETENTION_MAX_DAYS * 86400,
							PGC_SIGHUP, GUC_UNIT_S,
							check_retention, NULL, NULL);
}

static void
define_mail(void)
{
	define_string("birthday_scheduler.mail_url",
				  "Mail relay (smtp://, smtps://) or HTTP mail API (http://, https://).",
				  "Empty: nothing is sent.",
				  &bs_mail_url, "", 0, check_mail_url);
	define_string("birthday_scheduler.mail_from",
				  "Sender of the mails, \"Name <address>\" or an address.",
				  NULL, &bs_mail_from, "", 0, check_mailbox);
	define_string("birthday_scheduler.mail_reply_to",
				  "Where answers go, \"Name <address>\" or an address.",
				  NULL, &bs_mail_reply_to, "", 0, check_mailbox);
	define_string("birthday_scheduler.mail_helo",
				  "Name by which senders introduce themselves to an SMTP relay.",
				  "A full host name, or an address in brackets. Empty: the domain of mail_from.",
				  &bs_mail_helo, "", 0, check_helo);
	define_string("birthday_scheduler.mail_user",
				  "User name at the relay.",
				  NULL, &bs_mail_user, "", GUC_SUPERUSER_ONLY, NULL);
	define_string("birthday_scheduler.mail_password_file",
				  "File whose first line is the password at the relay.",
				  "It must belong to the server's user and be closed to others.",
				  &bs_mail_password_file, "", GUC_SUPERUSER_ONLY, NULL);
	DefineCustomEnumVariable("birthday_scheduler.mail_tls",
							 "Whether smtp:// must be encrypted by STARTTLS.",
							 "With a password, offered means required.",
							 &bs_mail_tls, bs_mail_tls, tls_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_string("birthday_scheduler.mail_ca_file",
				  "Certificates of the authorities that the relay's is checked against.",
				  "Empty: those of the system.",
				  &bs_mail_ca_file, "", 0, NULL);
	define_int("birthday_scheduler.mail_connections",
			   "Connections to the relay that each sender keeps.",
			   NULL, &bs_mail_connections, bs_mail_connections, 1, 64, 0);
	define_int("birthday_scheduler.sender_memory",
			   "Memory that letters may take in each sender.",
			   "It bounds how many large letters are claimed and under way at a time.",
			   &bs_sender_memory_kb, bs_sender_memory_kb,
			   BS_SENDER_MEMORY_MIN_KB, MAX_KILOBYTES, GUC_UNIT_KB);
	define_int("birthday_scheduler.mail_timeout",
			   "Time limit of one transfer, connecting included.",
			   NULL, &bs_mail_timeout_ms, bs_mail_timeout_ms, 100, 3600000,
			   GUC_UNIT_MS);
	define_string("birthday_scheduler.mail_list_unsubscribe",
				  "URI of the List-Unsubscribe header, https:// or mailto:.",
				  NULL, &bs_mail_list_unsubscribe, "", 0, check_unsubscribe);
	define_string("birthday_scheduler.http_headers_file",
				  "File of further header lines for the HTTP mail API.",
				  "It must belong to the server's user and be closed to others.",
				  &bs_http_headers_file, "", GUC_SUPERUSER_ONLY, NULL);
}

static void
define_retry(void)
{
	define_int("birthday_scheduler.max_attempts",
			   "Attempts before a message ends as FAILED.",
			   NULL, &bs_max_attempts, bs_max_attempts, 1, 1000, 0);
	define_int("birthday_scheduler.retry_initial",
			   "Wait before the second attempt; it doubles from then on.",
			   NULL, &bs_retry_initial_s, bs_retry_initial_s, 1, 86400,
			   GUC_UNIT_S);
	define_int("birthday_scheduler.retry_max",
			   "Longest wait between two attempts.",
			   NULL, &bs_retry_max_s, bs_retry_max_s, 1, 86400, GUC_UNIT_S);
	DefineCustomRealVariable("birthday_scheduler.rate_limit",
							 "Mails a second that all senders together may begin.",
							 "0: no limit.",
							 &bs_rate_limit, bs_rate_limit, 0, 1000000,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("birthday_scheduler.breaker",
							 "Share of failing attempts at which sending pauses.",
							 "Of at least 10 attempts in 10 seconds; after 30 seconds one message probes. 0: never.",
							 &bs_breaker, bs_breaker, 0, 1,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("birthday_scheduler.delivery_guarantee",
							 "What becomes of a message whose acceptance is in doubt.",
							 "at_least_once sends it again with the same Message-ID, at_most_once ends it as FAILED.",
							 &bs_delivery_guarantee, bs_delivery_guarantee,
							 guarantee_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

void
bs_guc_define(void)
{
	define_workers();
	define_amqp();
	define_planning();
	define_partitions();
	define_mail();
	define_retry();
	bs_schema_define_guard();
	MarkGUCPrefixReserved("birthday_scheduler");
}
