/*-------------------------------------------------------------------------
 *
 * broker.c
 *	  From settings to a link to the broker, and the names in it.
 *
 * src/core/sending/broker.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/broker.h"

#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"

/* Of the link to the broker. */
#define CONNECT_TIMEOUT_MS	8000
#define SILENCE_MS			8000	/* reported within ten seconds */
#define CONFIRM_TIMEOUT_MS	30000
#define CONSUMER_CHECK_MS	10000
#define BACKOFF_INITIAL_MS	250
#define BACKOFF_MAX_MS		15000

bool
bs_broker_read_password(const BsSettings *settings, char *password,
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

	if (len == 0 || len >= BS_BROKER_NAME_SIZE)
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
bs_broker_check_name(const char *name, const char **reason)
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
bs_broker_has_database(const char *name)
{
	const char *at = name;

	while ((at = strchr(at, '%')) != NULL && at[1] == '%')
		at += 2;
	return at != NULL;
}

bool
bs_broker_expand_name(const char *name, const char *database,
					  char *buf, const char **reason)
{
	size_t		len = 0;

	if (!bs_broker_check_name(name, reason))
		return false;
	for (; *name != '\0'; name++)
	{
		const char *part = name;
		size_t		part_len = 1;

		if (*name == '%' && *++name == 'd')
		{
			if (database == NULL || *database == '\0')
			{
				*reason = "The name of the database is not known.";
				return false;
			}
			part = database;
			part_len = strlen(database);
		}
		if (part_len >= BS_BROKER_NAME_SIZE - len)
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
bs_broker_make_link(const BsSettings *settings, const BsLinkUse *use,
					const char *password, char *error, size_t error_size)
{
	const char *const named[][2] = {
		{"amqp_exchange", settings->amqp_exchange},
		{"amqp_queue", settings->amqp_queue},
		{"amqp_dead_letter_exchange", settings->amqp_dead_letter_exchange},
		{"amqp_dead_letter_queue", settings->amqp_dead_letter_queue}
	};
	char		names[4][BS_BROKER_NAME_SIZE];
	BsAmqpConfig config = {
		.urls = settings->amqp_url,
		.password = password,
		.ca_file = settings->amqp_ca_file,
		.exchange = names[0],
		.queue = names[1],
		.dead_letter_exchange = names[2],
		.dead_letter_queue = names[3],
		.connection_name = use->connection_name,
		.window = use->window,
		.prefetch = use->prefetch,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
		.silence_ms = SILENCE_MS,
		.confirm_timeout_ms = CONFIRM_TIMEOUT_MS,
		.consumer_check_ms = use->prefetch > 0 ? CONSUMER_CHECK_MS : 0,
		.backoff_initial_ms = BACKOFF_INITIAL_MS,
		.backoff_max_ms = BACKOFF_MAX_MS
	};
	const char *reason;
	int			i;

	for (i = 0; i < 4; i++)
		if (!bs_broker_expand_name(named[i][1], use->database,
								   names[i], &reason))
		{
			snprintf(error, error_size, "\"%s%s\" makes no name: %s",
					 settings->prefix, named[i][0], reason);
			return NULL;
		}
	return bs_amqp_create(&config, error, error_size);
}
