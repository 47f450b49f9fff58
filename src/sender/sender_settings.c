/*-------------------------------------------------------------------------
 *
 * sender_settings.c
 *	  What bs_sender is told: by flags, the environment, a file, and the server.
 *
 * Every source leaves its words in a row of the table; they are read together in
 * bs_settings_finish(), so that a reload that is no good changes nothing.
 *
 * src/sender/sender_settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_settings.h"

#include <ctype.h>
#include <errno.h>
#include <libpq-fe.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sender/sender_file.h"

#define DEFAULT_FILE	"/etc/birthday_scheduler/bs_sender.conf"
#define DAY_MS			INT64_C(86400000)

typedef enum BsSettingType
{
	TYPE_TEXT,
	TYPE_COUNT,
	TYPE_MS,
	TYPE_REAL,
	TYPE_WORD					/* of a list, its place in it is stored */
} BsSettingType;

typedef enum BsSource
{
	SOURCE_FLAG,
	SOURCE_ENVIRONMENT,
	SOURCE_FILE,
	SOURCE_SERVER,
	SOURCE_COUNT
} BsSource;

/* Who may say it. */
typedef enum BsVoice
{
	VOICE_HERE,					/* flags, environment, file */
	VOICE_BOTH,					/* the server where nothing is said here */
	VOICE_SERVER				/* the server alone */
} BsVoice;

typedef bool (*BsSettingCheck) (const char *value, const char **reason);

typedef struct BsSetting
{
	const char *name;
	BsSettingType type;
	BsVoice		voice;
	size_t		offset;
	const char *usual;
	const char *unit;			/* of a bare number of TYPE_MS */
	double		min;
	double		max;
	const char *words;			/* of TYPE_WORD, each ended by a blank */
	BsSettingCheck check;
	bool		secret;			/* errors do not repeat it */
	const char *help;
} BsSetting;

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

/* In the order of --help. */
static const BsSetting table[] = {
	{"database", TYPE_TEXT, VOICE_HERE, AT(database), "",.check = check_database,.secret = true,
	.help = "Connection string of libpq, or a name: hosts, service, TLS; read-write is asked for."},
	{"queue", TYPE_WORD, VOICE_BOTH, AT(queue), "postgres",.words = "postgres rabbitmq ",
	.help = "How due messages come."},
	{"poll_interval", TYPE_MS, VOICE_HERE, AT(poll_interval_ms), "500ms", "ms", 10, 60000,
	.help = "With queue = postgres: how often to look for what came up meanwhile."},
	{"lease", TYPE_MS, VOICE_BOTH, AT(lease_ms), "5min", "s", 2000, DAY_MS,
	.help = "How long a claimed message may be kept; at least twice mail_timeout."},
	{"mail_url", TYPE_TEXT, VOICE_HERE, AT(mail_url), "",.check = check_mail_url,.secret = true,
	.help = "Mail relay, smtp:// or smtps://, or HTTP mail API, http:// or https://."},
	{"mail_from", TYPE_TEXT, VOICE_BOTH, AT(mail_from), "",.check = check_mailbox,
	.help = "Sender of the mails."},
	{"mail_reply_to", TYPE_TEXT, VOICE_BOTH, AT(mail_reply_to), "",.check = check_mailbox,
	.help = "Where answers go."},
	{"mail_list_unsubscribe", TYPE_TEXT, VOICE_BOTH, AT(mail_list_unsubscribe), "",.check = check_unsubscribe,
	.help = "URI of the List-Unsubscribe header."},
	{"mail_user", TYPE_TEXT, VOICE_HERE, AT(mail_user), "",
	.help = "User name at the relay."},
	{"mail_password_file", TYPE_TEXT, VOICE_HERE, AT(mail_password_file), "",
	.help = "File whose first line is the password at the relay."},
	{"mail_tls", TYPE_WORD, VOICE_HERE, AT(mail_tls), "required",.words = "required offered off ",
	.help = "Whether smtp:// must be encrypted by STARTTLS."},
	{"mail_ca_file", TYPE_TEXT, VOICE_HERE, AT(mail_ca_file), "",
	.help = "Authorities that the relay's certificate is checked against."},
	{"mail_connections", TYPE_COUNT, VOICE_HERE, AT(mail_connections), "8",.min = 1,.max = 64,
	.help = "Connections to the relay."},
	{"mail_timeout", TYPE_MS, VOICE_HERE, AT(mail_timeout_ms), "60s", "ms", 100, 3600000,
	.help = "Time limit of one transfer."},
	{"http_headers_file", TYPE_TEXT, VOICE_HERE, AT(http_headers_file), "",
	.help = "File of further header lines for the HTTP mail API."},
	{"rate_limit", TYPE_REAL, VOICE_HERE, AT(rate_limit), "0",.max = 1000000,
	.help = "Mails a second that this sender may begin; 0: no limit."},
	{"breaker", TYPE_REAL, VOICE_HERE, AT(breaker), "0.5",.max = 1,
	.help = "Share of failing attempts at which this sender pauses; 0: never."},
	{"amqp_url", TYPE_TEXT, VOICE_HERE, AT(amqp_url), "",.check = check_amqp_urls,.secret = true,
	.help = "RabbitMQ brokers, tried in turn, comma-separated."},
	{"amqp_password_file", TYPE_TEXT, VOICE_HERE, AT(amqp_password_file), "",
	.help = "File whose first line is the password at the broker."},
	{"amqp_ca_file", TYPE_TEXT, VOICE_HERE, AT(amqp_ca_file), "",
	.help = "Authorities that the broker's certificate is checked against."},
	{"amqp_exchange", TYPE_TEXT, VOICE_BOTH, AT(amqp_exchange), "birthday.messages",.check = bs_relay_check_amqp_name,
	.help = "Topic exchange of due messages."},
	{"amqp_queue", TYPE_TEXT, VOICE_BOTH, AT(amqp_queue), "birthday.messages.queue",.check = bs_relay_check_amqp_name,
	.help = "Quorum queue of due messages."},
	{"amqp_dead_letter_exchange", TYPE_TEXT, VOICE_BOTH, AT(amqp_dead_letter_exchange), "birthday.messages.dlx",.check = bs_relay_check_amqp_name,
	.help = "Direct exchange for what cannot be sent."},
	{"amqp_dead_letter_queue", TYPE_TEXT, VOICE_BOTH, AT(amqp_dead_letter_queue), "birthday.messages.dlq",.check = bs_relay_check_amqp_name,
	.help = "Quorum queue in which it ends."},
	{"amqp_prefetch", TYPE_COUNT, VOICE_HERE, AT(amqp_prefetch), "256",.min = 1,.max = BS_AMQP_WINDOW_MAX,
	.help = "Unacknowledged messages that the broker hands over."},
	{"listen", TYPE_TEXT, VOICE_HERE, AT(listen), "",.check = check_listen,
	.help = "Address and port of /health and /metrics, as 127.0.0.1:9188; empty: none."},
	{"log_format", TYPE_WORD, VOICE_HERE, AT(log_format), "plain",.words = "plain json ",
	.help = "Form of the log on standard error."},
	{"max_lateness", TYPE_MS, VOICE_SERVER, AT(max_lateness_ms), "1d",.unit = "s",.min = 60000,.max = 14.0 * DAY_MS},
	{"max_attempts", TYPE_COUNT, VOICE_SERVER, AT(max_attempts), "12",.min = 1,.max = 1000},
	{"retry_initial", TYPE_MS, VOICE_SERVER, AT(retry_initial_ms), "60s",.unit = "s",.min = 1000,.max = DAY_MS},
	{"retry_max", TYPE_MS, VOICE_SERVER, AT(retry_max_ms), "1h",.unit = "s",.min = 1000,.max = DAY_MS},
	{"delivery_guarantee", TYPE_WORD, VOICE_SERVER, AT(delivery_guarantee), "at_least_once",.words = "at_least_once at_most_once "}
};

#define SETTINGS ((int) (sizeof(table) / sizeof(table[0])))

static const char *const source_names[] = {
	[SOURCE_FLAG] = "the command line",
	[SOURCE_ENVIRONMENT] = "the environment",
	[SOURCE_FILE] = "the file",
	[SOURCE_SERVER] = "the server"
};

static char *words_of[SETTINGS][SOURCE_COUNT];	/* NULL: nothing was said */
static BsSettings current;
static bool current_is_set = false;

static int
find_setting(const char *name, size_t len)
{
	int			i;
	size_t		k;

	for (i = 0; i < SETTINGS; i++)
	{
		for (k = 0; k < len && table[i].name[k] != '\0'; k++)
			if (table[i].name[k] != (name[k] == '-' ? '_' : tolower((unsigned char) name[k])))
				break;
		if (k == len && table[i].name[k] == '\0')
			return i;
	}
	return -1;
}

static void
say(int setting, BsSource source, const char *value)
{
	free(words_of[setting][source]);
	words_of[setting][source] = value != NULL ? strdup(value) : NULL;
}

/* ---- values ---- */

/*
 * A number and its unit, in ms.
 */
static bool
read_ms(const char *value, const char *unit, double *ms)
{
	static const struct
	{
		const char *name;
		double		ms;
	}			units[] =

	{
		{"us", 0.001}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000},
		{"d", 86400000}
	};
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
		if (strcmp(unit, units[i].name) == 0)
		{
			*ms = number * units[i].ms;
			return true;
		}
	}
	return false;
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
	char	   *end;
	bool		good;

	if (setting->type == TYPE_MS)
		good = read_ms(value, setting->unit, number);
	else
	{
		*number = strtod(value, &end);
		good = end != value && *end == '\0' &&
			(setting->type == TYPE_REAL || *number == floor(*number));
	}
	if (!good)
		snprintf(reason, size, "It must be a number%s.",
				 setting->type == TYPE_MS ?
				 ", with one of the units ms, s, min, h, d" : "");
	/* Written so that what is no number fails as well. */
	else if (!(*number >= setting->min && *number <= setting->max))
	{
		good = false;
		snprintf(reason, size, "It must lie between %.10g and %.10g%s.",
				 setting->min, setting->max,
				 setting->type == TYPE_MS ? " ms" : "");
	}
	return good;
}

/*
 * Puts a value into its place; NULL settings: only looks whether that can be.
 */
static bool
store(const BsSetting *setting, const char *value, BsSettings *settings,
	  char *reason, size_t size)
{
	char		nowhere[sizeof(BsSettings)];
	char	   *place = (settings ? (char *) settings : nowhere) + setting->offset;
	const char *why = NULL;
	double		number;
	int			word;

	switch (setting->type)
	{
		case TYPE_TEXT:
			if (setting->check != NULL && !setting->check(value, &why))
			{
				snprintf(reason, size, "%s", why);
				return false;
			}
			if (settings != NULL)
				*(char **) place = strdup(value);
			return true;
		case TYPE_WORD:
			word = find_word(setting->words, value);
			if (word < 0)
			{
				snprintf(reason, size, "It must be one of: %s",
						 setting->words);
				return false;
			}
			*(int *) place = word;
			return true;
		case TYPE_REAL:
			if (!read_number(setting, value, &number, reason, size))
				return false;
			*(double *) place = number;
			return true;
		default:
			if (!read_number(setting, value, &number, reason, size))
				return false;
			*(int64_t *) place = (int64_t) number;
			return true;
	}
}

static void
release(BsSettings *settings)
{
	int			i;

	for (i = 0; i < SETTINGS; i++)
		if (table[i].type == TYPE_TEXT)
			free(*(char **) ((char *) settings + table[i].offset));
	memset(settings, 0, sizeof(*settings));
}

static bool
equal(const BsSettings *a, const BsSettings *b)
{
	int			i;

	for (i = 0; i < SETTINGS; i++)
	{
		const char *x = (const char *) a + table[i].offset;
		const char *y = (const char *) b + table[i].offset;
		bool		same;

		switch (table[i].type)
		{
			case TYPE_TEXT:
				same = strcmp(*(char *const *) x, *(char *const *) y) == 0;
				break;
			case TYPE_WORD:
				same = memcmp(x, y, sizeof(int)) == 0;
				break;
			default:
				same = memcmp(x, y, sizeof(int64_t)) == 0;
				break;
		}
		if (!same)
			return false;
	}
	return true;
}

bool
bs_settings_finish(bool *changed, BsSettingsError *error)
{
	BsSettings	next;
	char		reason[256];
	int			i;
	int			source;

	error->exit_code = BS_EXIT_CONFIG;
	memset(&next, 0, sizeof(next));
	for (i = 0; i < SETTINGS; i++)
	{
		const char *value = NULL;

		for (source = 0; source < SOURCE_COUNT && value == NULL; source++)
		{
			if (source != SOURCE_SERVER || table[i].voice != VOICE_HERE)
				value = words_of[i][source];
		}
		if (!store(&table[i], value != NULL ? value : table[i].usual, &next,
				   reason, sizeof(reason)))
		{
			snprintf(error->text, sizeof(error->text),
					 "invalid value for \"%s\" from %s: %s", table[i].name,
					 source_names[source - 1], reason);
			release(&next);
			return false;
		}
	}
	if (next.lease_ms < 2 * next.mail_timeout_ms)
	{
		snprintf(error->text, sizeof(error->text),
				 "\"lease\" (%lld ms) must be at least twice \"mail_timeout\" (%lld ms): what is handed over when the lease has ended may be sent twice",
				 (long long) next.lease_ms, (long long) next.mail_timeout_ms);
		release(&next);
		return false;
	}
	*changed = !current_is_set || !equal(&current, &next);
	if (current_is_set)
		release(&current);
	current = next;
	current_is_set = true;
	return true;
}

const BsSettings *
bs_settings(void)
{
	return &current;
}

/* ---- sources ---- */

/*
 * Is it a value for that setting, at all and from here?
 */
static bool
take(int setting, BsSource source, const char *value, BsSettingsError *error)
{
	char		reason[256];

	error->exit_code = BS_EXIT_CONFIG;
	if (!store(&table[setting], value, NULL, reason, sizeof(reason)))
	{
		if (table[setting].secret)
			snprintf(error->text, sizeof(error->text),
					 "invalid value for \"%s\" in %s: %s",
					 table[setting].name, source_names[source], reason);
		else
			snprintf(error->text, sizeof(error->text),
					 "invalid value for \"%s\" in %s: \"%.60s\". %s",
					 table[setting].name, source_names[source], value, reason);
		return false;
	}
	error->exit_code = BS_EXIT_USAGE;
	say(setting, source, value);
	return true;
}

static int
find_ours(const char *name, size_t len)
{
	int			setting = find_setting(name, len);

	return setting >= 0 && table[setting].voice != VOICE_SERVER ? setting : -1;
}

bool
bs_settings_take_flags(int argc, char **argv, BsCommand *command,
					   BsSettingsError *error)
{
	int			i;

	memset(command, 0, sizeof(*command));
	error->exit_code = BS_EXIT_USAGE;
	for (i = 1; i < argc; i++)
	{
		const char *word = argv[i];
		size_t		len = strcspn(word, "=");
		const char *value = word[len] == '=' ? word + len + 1 : NULL;
		int			setting;

		if (strcmp(word, "--help") == 0 || strcmp(word, "-?") == 0)
			command->help = true;
		else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
			command->version = true;
		else if (strcmp(word, "--check") == 0)
			command->check = true;
		else
		{
			setting = len > 2 && strncmp(word, "--", 2) == 0 ?
				find_ours(word + 2, len - 2) : -1;
			if (setting < 0 && (len != 8 || strncmp(word, "--config", len) != 0))
			{
				snprintf(error->text, sizeof(error->text),
						 "unknown argument \"%.60s\"", word);
				return false;
			}
			if (value == NULL && ++i < argc)
				value = argv[i];
			if (value == NULL)
			{
				snprintf(error->text, sizeof(error->text),
						 "\"%.60s\" needs a value", word);
				return false;
			}
			if (setting < 0)
				command->config_file = value;
			else if (!take(setting, SOURCE_FLAG, value, error))
				return false;
		}
	}
	return true;
}

static bool
take_environment(BsSettingsError *error)
{
	int			i;

	for (i = 0; i < SETTINGS; i++)
	{
		char		name[80] = "BS_SENDER_";
		size_t		len = strlen(name);
		const char *value;
		const char *c;

		for (c = table[i].name; *c != '\0' && len < sizeof(name) - 1; c++)
			name[len++] = (char) toupper((unsigned char) *c);
		name[len] = '\0';
		value = table[i].voice != VOICE_SERVER ? getenv(name) : NULL;
		if (value != NULL && !take(i, SOURCE_ENVIRONMENT, value, error))
			return false;
	}
	return true;
}

static bool
take_line(const char *name, const char *value, char *reason, size_t size)
{
	BsSettingsError error;
	int			setting = find_ours(name, strlen(name));

	if (setting < 0)
	{
		snprintf(reason, size, "there is no setting \"%.60s\"", name);
		return false;
	}
	if (take(setting, SOURCE_FILE, value, &error))
		return true;
	snprintf(reason, size, "%s", error.text);
	return false;
}

bool
bs_settings_load(const char *config_file, BsSettingsError *error)
{
	char	   *before[SETTINGS];
	const char *path = config_file != NULL ? config_file :
	getenv("BS_SENDER_CONFIG");
	bool		good = true;
	int			i;

	error->exit_code = BS_EXIT_CONFIG;
	for (i = 0; i < SETTINGS; i++)
	{
		before[i] = words_of[i][SOURCE_FILE];
		words_of[i][SOURCE_FILE] = NULL;
	}
	if (path == NULL && access(DEFAULT_FILE, F_OK) == 0)
		path = DEFAULT_FILE;
	if (path != NULL)
		good = bs_file_read(path, take_line, error->text, sizeof(error->text));
	good = good && take_environment(error);
	for (i = 0; i < SETTINGS; i++)
	{
		char	   *unwanted = good ? before[i] : words_of[i][SOURCE_FILE];

		if (!good)
			words_of[i][SOURCE_FILE] = before[i];
		free(unwanted);
	}
	return good;
}

void
bs_settings_take_server(const char *name, const char *value)
{
	int			setting = find_setting(name, strlen(name));

	if (setting >= 0 && table[setting].voice != VOICE_HERE)
		say(setting, SOURCE_SERVER, value);
}

/* ---- as others want them ---- */

void
bs_settings_relay(BsRelaySettings *relay)
{
	memset(relay, 0, sizeof(*relay));
	relay->prefix = "";
	relay->mail_url = current.mail_url;
	relay->mail_from = current.mail_from;
	relay->mail_user = current.mail_user;
	relay->mail_password_file = current.mail_password_file;
	relay->mail_tls = (BsMailTls) current.mail_tls;
	relay->mail_ca_file = current.mail_ca_file;
	relay->mail_connections = (int) current.mail_connections;
	relay->mail_timeout_ms = current.mail_timeout_ms;
	relay->http_headers_file = current.http_headers_file;
}

void
bs_settings_broker(BsBrokerSettings *broker, const char *connection_name)
{
	memset(broker, 0, sizeof(*broker));
	broker->prefix = "";
	broker->amqp_url = current.amqp_url;
	broker->amqp_password_file = current.amqp_password_file;
	broker->amqp_ca_file = current.amqp_ca_file;
	broker->amqp_exchange = current.amqp_exchange;
	broker->amqp_queue = current.amqp_queue;
	broker->amqp_dead_letter_exchange = current.amqp_dead_letter_exchange;
	broker->amqp_dead_letter_queue = current.amqp_dead_letter_queue;
	broker->connection_name = connection_name;
	broker->prefetch = (int) current.amqp_prefetch;
}

void
bs_settings_rules(BsOutboxRules *rules)
{
	memset(rules, 0, sizeof(*rules));
	rules->from = current.mail_from;
	rules->reply_to = current.mail_reply_to;
	rules->list_unsubscribe = current.mail_list_unsubscribe;
	rules->connections = (int) current.mail_connections;
	rules->timeout_ms = current.mail_timeout_ms;
	rules->lease_ms = current.lease_ms;
	rules->max_lateness_ms = current.max_lateness_ms;
	rules->max_attempts = (int) current.max_attempts;
	rules->retry_initial_ms = current.retry_initial_ms;
	rules->retry_max_ms = current.retry_max_ms;
	rules->rate_limit = current.rate_limit;
	rules->breaker = current.breaker;
	rules->guarantee = (BsDeliveryGuarantee) current.delivery_guarantee;
}

void
bs_settings_print_help(void)
{
	int			i;

	for (i = 0; i < SETTINGS; i++)
	{
		if (table[i].voice == VOICE_SERVER)
			continue;
		printf("  %-26s %s", table[i].name, table[i].help);
		if (table[i].voice == VOICE_BOTH)
			printf(" [the server's]");
		else if (table[i].usual[0] != '\0')
			printf(" [%s]", table[i].usual);
		printf("\n");
	}
}

void
bs_settings_free(void)
{
	int			i;
	int			source;

	for (i = 0; i < SETTINGS; i++)
		for (source = 0; source < SOURCE_COUNT; source++)
			say(i, (BsSource) source, NULL);
	if (current_is_set)
		release(&current);
	current_is_set = false;
}
