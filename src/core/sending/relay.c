/*-------------------------------------------------------------------------
 *
 * relay.c
 *	  From settings to a mailer.
 *
 * src/core/sending/relay.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/relay.h"

#include <stdio.h>
#include <string.h>

#include "core/base/secret.h"

#define HEADERS_MAX			32

static bool
is_set(const char *string)
{
	return string != NULL && string[0] != '\0';
}

/*
 * Cuts "text" into its lines in place; gives their number, or -1 if there
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
bs_relay_check_lease(const BsSettings *settings, char *error, size_t error_size)
{
	if ((int64_t) settings->lease_s * 1000 >= 2 * (int64_t) settings->mail_timeout_ms)
		return true;
	snprintf(error, error_size,
			 "\"%slease\" (%d s) must be at least twice \"%smail_timeout\" (%d ms): what is handed over when the lease has ended may be sent twice",
			 settings->prefix, settings->lease_s,
			 settings->prefix, settings->mail_timeout_ms);
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
bs_relay_make_mailer(const BsSettings *settings,
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
	if (!bs_relay_check_lease(settings, error, error_size))
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
		BS_MAIL_TLS_REQUIRED : (BsMailTls) settings->mail_tls;
	config.connections = settings->mail_connections;
	config.timeout_ms = settings->mail_timeout_ms;
	config.connect_timeout_ms = settings->mail_timeout_ms < 30000 ?
		settings->mail_timeout_ms : 30000;
	config.helo = settings->mail_helo;
	return bs_mailer_create(&config, error, error_size);
}
