/*-------------------------------------------------------------------------
 *
 * relay.c
 *	  From settings to a mailer or a link to the broker.
 *
 * src/core/sending/relay.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/relay.h"

#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"

#define HEADERS_MAX			32

/* Of the link to the broker. */
#define CONNECT_TIMEOUT_MS	8000
#define SILENCE_MS			8000	/* reported within ten seconds */
#define CONFIRM_TIMEOUT_MS	30000
#define CONSUMER_CHECK_MS	10000
#define BACKOFF_INITIAL_MS	250
#define BACKOFF_MAX_MS		15000

static bool
is_set(const char *string)
{
	return string != NULL && string[0] != '\0';
}

/*
 * Cuts "text" into its lines in place; gives their number, or -1 where there
 * are more than "max".
 */
static int
split_lines(char *text, const char **lines, int max)
{
	int			count = 0;
	char	   *line = text;

	while (*line)
	{
		char	   *end = line + strcspn(line, "\r\n");
		char	   *next = end + strspn(end, "\r\n");

		*end = '\0';
		if (*line)
		{
			if (count == max)
				return -1;
			lines[count++] = line;
		}
		line = next;
	}
	lines[count] = NULL;
	return count;
}

bool
bs_relay_check_lease(const char *prefix, int64_t lease_ms, int64_t timeout_ms,
					 char *error, size_t error_size)
{
	if (lease_ms >= 2 * timeout_ms)
		return true;
	snprintf(error, error_size,
			 "\"%slease\" (%lld ms) must be at least twice \"%smail_timeout\" (%lld ms): what is handed over when the lease has ended may be sent twice",
			 prefix, (long long) lease_ms, prefix, (long long) timeout_ms);
	return false;
}

/* What is read from secret files; wiped however its block is left. */
typedef struct BsSecrets
{
	char		password[BS_SECRET_MAX];
	char		headers[BS_SECRET_MAX];
} BsSecrets;

static void
wipe_secrets(BsSecrets *secrets)
{
	explicit_bzero(secrets, sizeof(*secrets));
}

BsMailer *
bs_relay_make_mailer(const BsRelaySettings *settings,
					 char *error, size_t error_size)
{
	BsMailerConfig config;
	__attribute__((cleanup(wipe_secrets))) BsSecrets secrets;
	char	   *password = secrets.password;
	char	   *headers = secrets.headers;
	const char *header_lines[HEADERS_MAX + 1];

	if (!is_set(settings->mail_url) || !is_set(settings->mail_from))
	{
		snprintf(error, error_size, "\"%s%s\" is not set", settings->prefix,
				 is_set(settings->mail_url) ? "mail_from" : "mail_url");
		return NULL;
	}
	if (!bs_relay_check_lease(settings->prefix, settings->lease_ms,
							  settings->mail_timeout_ms, error, error_size))
		return NULL;
	if (!bs_secret_read_line(settings->prefix, "mail_password_file",
							 settings->mail_password_file,
							 password, BS_SECRET_MAX, error, error_size))
		return NULL;
	header_lines[0] = NULL;
	if (is_set(settings->http_headers_file))
	{
		if (!bs_secret_read(settings->prefix, "http_headers_file",
							settings->http_headers_file,
							headers, BS_SECRET_MAX, error, error_size))
			return NULL;
		if (split_lines(headers, header_lines, HEADERS_MAX) < 0)
		{
			snprintf(error, error_size,
					 "the file of \"%shttp_headers_file\" has more than %d lines",
					 settings->prefix, HEADERS_MAX);
			return NULL;
		}
	}
	memset(&config, 0, sizeof(config));
	config.url = settings->mail_url;
	config.user = settings->mail_user;
	config.password = password;
	config.ca_file = settings->mail_ca_file;
	config.from = settings->mail_from;
	config.http_headers = header_lines;
	/* A man in the middle can strip STARTTLS from the offer. */
	config.tls = settings->mail_tls == BS_MAIL_TLS_OFFERED && is_set(password) ?
		BS_MAIL_TLS_REQUIRED : settings->mail_tls;
	config.connections = settings->mail_connections;
	config.timeout_ms = settings->mail_timeout_ms;
	config.connect_timeout_ms = settings->mail_timeout_ms < 30000 ?
		settings->mail_timeout_ms : 30000;
	config.helo = settings->mail_helo;
	return bs_mailer_create(&config, error, error_size);
}

bool
bs_relay_read_amqp_password(const BsBrokerSettings *settings, char *password,
							size_t size, char *error, size_t error_size)
{
	return bs_secret_read_line(settings->prefix, "amqp_password_file",
							   settings->amqp_password_file, password, size,
							   error, error_size);
}

/*
 * They are short strings (AMQP 0-9-1, section 4.2.5.3) in UTF-8, "amq." is the
 * broker's own, and RabbitMQ drops line ends without a word.
 */
static const char *
find_name_fault(const char *name)
{
	size_t		len = strlen(name);
	size_t		width;
	uint32_t	code;

	if (len == 0 || len >= BS_AMQP_NAME_SIZE)
		return "It must have between 1 and 255 bytes.";
	if (strncmp(name, "amq.", 4) == 0)
		return "Names that begin with \"amq.\" are the broker's own.";
	for (; len > 0; name += width, len -= width)
	{
		width = bs_utf8_decode(name, len, &code);
		if (width == 0 || bs_utf8_is_control(code))
			return "It must be UTF-8 without control characters.";
	}
	return NULL;
}

bool
bs_relay_check_amqp_name(const char *name, const char **reason)
{
	const char *at = name;

	*reason = find_name_fault(name);
	while (*reason == NULL && (at = strchr(at, '%')) != NULL)
	{
		if (at[1] != 'd' && at[1] != '%')
			*reason = "After % comes d, for the name of the database, or another %.";
		at += 2;
	}
	return *reason == NULL;
}

bool
bs_relay_has_database(const char *name)
{
	const char *at = name;

	while ((at = strchr(at, '%')) != NULL && at[1] == '%')
		at += 2;
	return at != NULL;
}

bool
bs_relay_expand_amqp_name(const char *name, const char *database,
						  char *buf, const char **reason)
{
	size_t		len = 0;

	if (!bs_relay_check_amqp_name(name, reason))
		return false;
	for (; *name != '\0'; name++)
	{
		const char *part = name;
		size_t		part_len = 1;

		if (*name == '%' && *++name == 'd')
		{
			if (!is_set(database))
			{
				*reason = "The name of the database is not known.";
				return false;
			}
			part = database;
			part_len = strlen(database);
		}
		if (part_len >= BS_AMQP_NAME_SIZE - len)
		{
			*reason = "With the name of the database it is longer than 255 bytes.";
			return false;
		}
		memcpy(buf + len, part, part_len);
		len += part_len;
	}
	buf[len] = '\0';
	*reason = find_name_fault(buf);
	return *reason == NULL;
}

BsAmqpLink *
bs_relay_make_link(const BsBrokerSettings *settings, const char *password,
				   char *error, size_t error_size)
{
	const char *const named[][2] = {
		{"amqp_exchange", settings->amqp_exchange},
		{"amqp_queue", settings->amqp_queue},
		{"amqp_dead_letter_exchange", settings->amqp_dead_letter_exchange},
		{"amqp_dead_letter_queue", settings->amqp_dead_letter_queue}
	};
	char		names[4][BS_AMQP_NAME_SIZE];
	BsAmqpConfig config = {
		.urls = settings->amqp_url,
		.password = password,
		.ca_file = settings->amqp_ca_file,
		.exchange = names[0],
		.queue = names[1],
		.dead_letter_exchange = names[2],
		.dead_letter_queue = names[3],
		.connection_name = settings->connection_name,
		.window = settings->window,
		.prefetch = settings->prefetch,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
		.silence_ms = SILENCE_MS,
		.confirm_timeout_ms = CONFIRM_TIMEOUT_MS,
		.consumer_check_ms = settings->prefetch > 0 ? CONSUMER_CHECK_MS : 0,
		.backoff_initial_ms = BACKOFF_INITIAL_MS,
		.backoff_max_ms = BACKOFF_MAX_MS
	};
	const char *reason;
	int			i;

	for (i = 0; i < 4; i++)
		if (!bs_relay_expand_amqp_name(named[i][1], settings->database,
									   names[i], &reason))
		{
			snprintf(error, error_size, "\"%s%s\" makes no name: %s",
					 settings->prefix, named[i][0], reason);
			return NULL;
		}
	return bs_amqp_create(&config, error, error_size);
}
