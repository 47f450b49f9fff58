/*-------------------------------------------------------------------------
 *
 * sender_setting.c
 *	  One setting of bs_sender: what it is called, and which values it takes.
 *
 * src/sender/sender_setting.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_setting.h"

#include <libpq-fe.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sender/sender_file.h"

#define DAY_MS			INT64_C(86400000)
#define GIB				1073741824.0

#define AT(field) offsetof(BsSettings, field)

static bool
check_database(const char *value, const char **reason)
{
	char	   *message = NULL;
	PQconninfoOption *options;
	PQconninfoOption *option;

	*reason = NULL;
	/* A bare word is the name of a database. */
	if (strchr(value, '=') == NULL && strstr(value, "://") == NULL)
		return true;
	options = PQconninfoParse(value, &message);
	PQfreemem(message);
	if (options == NULL)
		*reason = "It must be a connection string as libpq takes it.";
	for (option = options; option != NULL && option->keyword; option++)
		if (option->val != NULL && strcmp(option->keyword, "password") == 0)
			*reason = "A password belongs into libpq's password file.";
	PQconninfoFree(options);
	return *reason == NULL;
}

static bool
check_amqp_urls(const char *value, const char **reason)
{
	*reason = NULL;
	if (*value == '\0')
		return true;
	if (!bs_amqp_check_urls(value, reason))
		return false;
	if (bs_amqp_has_password(value))
		*reason = "A password belongs into the file of amqp_password_file.";
	return *reason == NULL;
}

static bool
check_mail_url(const char *value, const char **reason)
{
	return *value == '\0' || bs_mailer_check_url(value, reason);
}

static bool
check_mailbox(const char *value, const char **reason)
{
	char		name[256];
	char		address[256];

	return *value == '\0' ||
		bs_mime_split_mailbox(value, name, sizeof(name),
							  address, sizeof(address), reason);
}

static bool
check_unsubscribe(const char *value, const char **reason)
{
	return *value == '\0' || bs_mime_check_unsubscribe(value, reason);
}

static bool
check_listen(const char *value, const char **reason)
{
	char		host[64];
	int			port;

	*reason = "It must be an address and a port, 127.0.0.1:9188 or [::1]:9188.";
	return *value == '\0' ||
		bs_file_split_address(value, host, sizeof(host), &port);
}

const BsSetting bs_setting_table[] = {
	{"database", BS_TYPE_TEXT, BS_VOICE_HERE, AT(database), "",.check = check_database,.secret = true,
	.help = "Connection string of libpq, or a name: hosts, service, TLS; read-write is asked for."},
	{"queue", BS_TYPE_WORD, BS_VOICE_BOTH, AT(queue), "postgres",.words = "postgres rabbitmq ",
	.help = "How due messages come."},
	{"poll_interval", BS_TYPE_MS, BS_VOICE_HERE, AT(poll_interval_ms), "500ms", "ms", 10, 30000,
	.help = "With queue = postgres: how often to look for what came up meanwhile."},
	{"lease", BS_TYPE_MS, BS_VOICE_BOTH, AT(lease_ms), "5min", "s", 2000, DAY_MS,
	.help = "How long a claimed message may be kept; at least twice mail_timeout."},
	{"mail_url", BS_TYPE_TEXT, BS_VOICE_HERE, AT(mail_url), "",.check = check_mail_url,.secret = true,
	.help = "Mail relay, smtp:// or smtps://, or HTTP mail API, http:// or https://."},
	{"mail_from", BS_TYPE_TEXT, BS_VOICE_BOTH, AT(mail_from), "",.check = check_mailbox,
	.help = "Sender of the mails."},
	{"mail_reply_to", BS_TYPE_TEXT, BS_VOICE_BOTH, AT(mail_reply_to), "",.check = check_mailbox,
	.help = "Where answers go."},
	{"mail_helo", BS_TYPE_TEXT, BS_VOICE_HERE, AT(mail_helo), "",.check = bs_mailer_check_helo,
	.help = "Name for EHLO; empty: the domain of mail_from."},
	{"mail_list_unsubscribe", BS_TYPE_TEXT, BS_VOICE_BOTH, AT(mail_list_unsubscribe), "",.check = check_unsubscribe,
	.help = "URI of the List-Unsubscribe header."},
	{"mail_user", BS_TYPE_TEXT, BS_VOICE_HERE, AT(mail_user), "",
	.help = "User name at the relay."},
	{"mail_password_file", BS_TYPE_TEXT, BS_VOICE_HERE, AT(mail_password_file), "",
	.help = "File whose first line is the password at the relay."},
	{"mail_tls", BS_TYPE_WORD, BS_VOICE_HERE, AT(mail_tls), "required",.words = "required offered off ",
	.help = "Whether smtp:// must be encrypted by STARTTLS."},
	{"mail_ca_file", BS_TYPE_TEXT, BS_VOICE_HERE, AT(mail_ca_file), "",
	.help = "Authorities that the relay's certificate is checked against."},
	{"mail_connections", BS_TYPE_COUNT, BS_VOICE_HERE, AT(mail_connections), "8",.min = 1,.max = 64,
	.help = "Connections to the relay."},
	{"mail_timeout", BS_TYPE_MS, BS_VOICE_HERE, AT(mail_timeout_ms), "60s", "ms", 100, 3600000,
	.help = "Time limit of one transfer."},
	{"sender_memory", BS_TYPE_BYTES, BS_VOICE_HERE, AT(sender_memory), "64MB", "kB", BS_SENDER_MEMORY_MIN_KB * 1024.0, 1024.0 * GIB,
	.help = "Memory that letters may take."},
	{"http_headers_file", BS_TYPE_TEXT, BS_VOICE_HERE, AT(http_headers_file), "",
	.help = "File of further header lines for the HTTP mail API."},
	{"rate_limit", BS_TYPE_REAL, BS_VOICE_HERE, AT(rate_limit), "0",.max = 1000000,
	.help = "Mails a second that this sender may begin; 0: no limit."},
	{"breaker", BS_TYPE_REAL, BS_VOICE_HERE, AT(breaker), "0.5",.max = 1,
	.help = "Share of failing attempts at which this sender pauses; 0: never."},
	{"amqp_url", BS_TYPE_TEXT, BS_VOICE_HERE, AT(amqp_url), "",.check = check_amqp_urls,.secret = true,
	.help = "RabbitMQ brokers, tried in turn, comma-separated."},
	{"amqp_password_file", BS_TYPE_TEXT, BS_VOICE_HERE, AT(amqp_password_file), "",
	.help = "File whose first line is the password at the broker."},
	{"amqp_ca_file", BS_TYPE_TEXT, BS_VOICE_HERE, AT(amqp_ca_file), "",
	.help = "Authorities that the broker's certificate is checked against."},
	{"amqp_exchange", BS_TYPE_TEXT, BS_VOICE_BOTH, AT(amqp_exchange), "birthday.messages",.check = bs_broker_check_name,
	.help = "Topic exchange of due messages."},
	{"amqp_queue", BS_TYPE_TEXT, BS_VOICE_BOTH, AT(amqp_queue), "birthday.messages.queue",.check = bs_broker_check_name,
	.help = "Quorum queue of due messages."},
	{"amqp_dead_letter_exchange", BS_TYPE_TEXT, BS_VOICE_BOTH, AT(amqp_dead_letter_exchange), "birthday.messages.dlx",.check = bs_broker_check_name,
	.help = "Direct exchange for what cannot be sent."},
	{"amqp_dead_letter_queue", BS_TYPE_TEXT, BS_VOICE_BOTH, AT(amqp_dead_letter_queue), "birthday.messages.dlq",.check = bs_broker_check_name,
	.help = "Quorum queue in which it ends."},
	{"amqp_prefetch", BS_TYPE_COUNT, BS_VOICE_HERE, AT(amqp_prefetch), "256",.min = 1,.max = BS_AMQP_WINDOW_MAX,
	.help = "Unacknowledged messages that the broker hands over."},
	{"listen", BS_TYPE_TEXT, BS_VOICE_HERE, AT(listen), "",.check = check_listen,
	.help = "Address and port of /health and /metrics, as 127.0.0.1:9188; empty: none."},
	{"log_format", BS_TYPE_WORD, BS_VOICE_HERE, AT(log_format), "plain",.words = "plain json ",
	.help = "Form of the log on standard error."},
	{"max_lateness", BS_TYPE_MS, BS_VOICE_SERVER, AT(max_lateness_ms), "1d",.unit = "s",.min = 60000,.max = 14.0 * DAY_MS},
	{"max_attempts", BS_TYPE_COUNT, BS_VOICE_SERVER, AT(max_attempts), "12",.min = 1,.max = 1000},
	{"retry_initial", BS_TYPE_MS, BS_VOICE_SERVER, AT(retry_initial_ms), "60s",.unit = "s",.min = 1000,.max = DAY_MS},
	{"retry_max", BS_TYPE_MS, BS_VOICE_SERVER, AT(retry_max_ms), "1h",.unit = "s",.min = 1000,.max = DAY_MS},
	{"delivery_guarantee", BS_TYPE_WORD, BS_VOICE_SERVER, AT(delivery_guarantee), "at_least_once",.words = "at_least_once at_most_once "}
};


_Static_assert(sizeof(bs_setting_table) == BS_SETTINGS * sizeof(BsSetting),
			   "BS_SETTINGS is the number of settings");

typedef struct BsUnit
{
	BsSettingType type;
	const char *name;
	double		factor;
} BsUnit;

static const BsUnit units[] = {
	{BS_TYPE_MS, "us", 0.001}, {BS_TYPE_MS, "ms", 1}, {BS_TYPE_MS, "s", 1000},
	{BS_TYPE_MS, "min", 60000}, {BS_TYPE_MS, "h", 3600000},
	{BS_TYPE_MS, "d", 86400000},
	{BS_TYPE_BYTES, "kB", 1024}, {BS_TYPE_BYTES, "MB", 1048576},
	{BS_TYPE_BYTES, "GB", GIB}
};

/*
 * A number and its unit, in ms or bytes.
 */
static bool
read_with_unit(const BsSetting *setting, const char *value, double *result)
{
	const char *unit = setting->unit;
	char	   *end;
	double		number = strtod(value, &end);
	size_t		i;

	if (end == value)
		return false;
	while (*end == ' ')
		end++;
	if (*end != '\0')
		unit = end;
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
	{
		if (units[i].type == setting->type && strcmp(unit, units[i].name) == 0)
		{
			*result = number * units[i].factor;
			return true;
		}
	}
	return false;
}

static const char *
name_units(BsSettingType type)
{
	return type == BS_TYPE_MS ? ", with one of the units ms, s, min, h, d" :
		type == BS_TYPE_BYTES ? ", with one of the units kB, MB, GB" : "";
}

/* The unit in which the limits of a type are shown. */
static const BsUnit *
find_limit_unit(BsSettingType type)
{
	static const BsUnit none = {BS_TYPE_COUNT, "", 1};
	static const BsUnit ms = {BS_TYPE_MS, " ms", 1};
	static const BsUnit mb = {BS_TYPE_BYTES, " MB", 1048576};

	return type == BS_TYPE_MS ? &ms : type == BS_TYPE_BYTES ? &mb : &none;
}

/*
 * The place of a word in a list, or -1.
 */
static int
find_word(const char *words, const char *value)
{
	size_t		len = strlen(value);
	int			place;

	for (place = 0; *words != '\0'; place++)
	{
		size_t		width = strcspn(words, " ");

		if (width == len && strncmp(words, value, len) == 0)
			return place;
		words += width + 1;
	}
	return -1;
}

static bool
read_number(const BsSetting *setting, const char *value, double *number,
			char *reason, size_t size)
{
	const BsUnit *unit = find_limit_unit(setting->type);
	char	   *end;
	bool		good;

	if (setting->unit != NULL)
		good = read_with_unit(setting, value, number);
	else
	{
		*number = strtod(value, &end);
		good = end != value && *end == '\0' &&
			(setting->type == BS_TYPE_REAL || *number == floor(*number));
	}
	if (!good)
		snprintf(reason, size, "It must be a number%s.",
				 name_units(setting->type));
	/* Written so that what is no number fails as well. */
	else if (!(*number >= setting->min && *number <= setting->max))
	{
		good = false;
		snprintf(reason, size, "It must lie between %.10g and %.10g%s.",
				 setting->min / unit->factor, setting->max / unit->factor, unit->name);
	}
	return good;
}

bool
bs_setting_store(const BsSetting *setting, const char *value, BsSettings *settings,
				 char *reason, size_t size)
{
	char		nowhere[sizeof(BsSettings)];
	char	   *place = (settings ? (char *) settings : nowhere) + setting->offset;
	const char *why = NULL;
	double		number;
	int			word;

	switch (setting->type)
	{
		case BS_TYPE_TEXT:
			if (setting->check != NULL && !setting->check(value, &why))
			{
				snprintf(reason, size, "%s", why);
				return false;
			}
			if (settings != NULL)
				*(char **) place = strdup(value);
			return true;
		case BS_TYPE_WORD:
			word = find_word(setting->words, value);
			if (word < 0)
			{
				snprintf(reason, size, "It must be one of: %s",
						 setting->words);
				return false;
			}
			*(int *) place = word;
			return true;
		case BS_TYPE_REAL:
			if (!read_number(setting, value, &number, reason, size))
				return false;
			memcpy(place, &number, sizeof(number));
			return true;
		default:
			if (!read_number(setting, value, &number, reason, size))
				return false;
			*(int64_t *) place = (int64_t) number;
			return true;
	}
}
