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

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bs_guc.h"
#include "delivery/delivery_relay.h"

#define SECRET_MAX	8192		/* bytes */
#define HEADERS_MAX 32

/*
 * read_secret
 *		Contents of a file that only the server's user can read.
 *
 * False and the reason in error where it is none.
 */
static bool
read_secret(const char *setting, const char *path, char *buf, size_t size,
			char *error, size_t error_size)
{
	struct stat st;
	ssize_t		len;
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
	{
		snprintf(error, error_size,
				 "the file of \"birthday_scheduler.%s\" cannot be opened: %s",
				 setting, strerror(errno));
		return false;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
		(st.st_uid != geteuid() && st.st_uid != 0) ||
		(st.st_mode & (S_IRWXO | S_IWGRP | S_IXGRP)) != 0 ||
		(st.st_uid == geteuid() && (st.st_mode & S_IRGRP) != 0))
	{
		snprintf(error, error_size,
				 "the file of \"birthday_scheduler.%s\" must be a plain file of mode 0600 that belongs to the server's user (or root's, 0640)",
				 setting);
		close(fd);
		return false;
	}
	len = read(fd, buf, size - 1);
	close(fd);
	if (len < 0 || len == (ssize_t) size - 1 ||
		memchr(buf, '\0', len) != NULL)
	{
		snprintf(error, error_size,
				 "the file of \"birthday_scheduler.%s\" is too long or not text",
				 setting);
		return false;
	}
	buf[len] = '\0';
	return true;
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

BsMailer *
bs_delivery_make_mailer(char *error, size_t error_size)
{
	BsMailerConfig config;
	char		password[SECRET_MAX];
	char		headers[SECRET_MAX];
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
		if (!read_secret("mail_password_file", bs_mail_password_file,
						 password, sizeof(password), error, error_size))
			return NULL;
		password[strcspn(password, "\r\n")] = '\0';
	}
	header_lines[0] = NULL;
	if (bs_http_headers_file[0] != '\0')
	{
		if (!read_secret("http_headers_file", bs_http_headers_file,
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
