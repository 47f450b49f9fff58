/*-------------------------------------------------------------------------
 *
 * delivery_relay.c
 *	  The mailer of a sender as the settings describe it.
 *
 * Secrets are read from files here, each time a mailer is made, and live no
 * longer than that call outside of libcurl.
 *
 * src/delivery/delivery_relay.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "bs_guc.h"
#include "bs_secret.h"
#include "delivery/delivery_relay.h"

#define HEADERS_MAX 32

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

BsMailer *
bs_delivery_make_mailer(char *error, size_t error_size)
{
	BsMailerConfig config;
	char		password[BS_SECRET_MAX];
	char		headers[BS_SECRET_MAX];
	const char *header_lines[HEADERS_MAX + 1];
	BsMailer   *mailer;

	if (bs_mail_url[0] == '\0' || bs_mail_from[0] == '\0')
	{
		snprintf(error, error_size,
				 "\"birthday_scheduler.%s\" is not set",
				 bs_mail_url[0] == '\0' ? "mail_url" : "mail_from");
		return NULL;
	}
	memset(&config, 0, sizeof(config));
	password[0] = '\0';
	if (bs_mail_password_file[0] != '\0')
	{
		if (!bs_secret_read("mail_password_file", bs_mail_password_file,
							password, sizeof(password), error, error_size))
			return NULL;
		password[strcspn(password, "\r\n")] = '\0';
	}
	header_lines[0] = NULL;
	if (bs_http_headers_file[0] != '\0')
	{
		if (!bs_secret_read("http_headers_file", bs_http_headers_file,
							headers, sizeof(headers), error, error_size))
			return NULL;
		if (split_lines(headers, header_lines, HEADERS_MAX) < 0)
		{
			snprintf(error, error_size,
					 "the file of \"birthday_scheduler.http_headers_file\" has more than %d lines",
					 HEADERS_MAX);
			return NULL;
		}
	}
	config.url = bs_mail_url;
	config.user = bs_mail_user;
	config.password = password;
	config.ca_file = bs_mail_ca_file;
	config.from = bs_mail_from;
	config.http_headers = header_lines;
	/* Whoever can strip STARTTLS from the offer must not get the password. */
	config.tls = bs_mail_tls == BS_MAIL_TLS_OFFERED && password[0] != '\0' ?
		BS_MAIL_TLS_REQUIRED : (BsMailTls) bs_mail_tls;
	config.connections = bs_mail_connections;
	config.timeout_ms = bs_mail_timeout_ms;
	config.connect_timeout_ms = Min(bs_mail_timeout_ms, 30000);
	mailer = bs_mailer_create(&config, error, error_size);
	explicit_bzero(password, sizeof(password));
	explicit_bzero(headers, sizeof(headers));
	return mailer;
}
