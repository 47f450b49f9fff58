/*-------------------------------------------------------------------------
 *
 * bs_secret.c
 *	  Secrets, which are files that settings name, and one setting that may hold
 *	  a password.
 *
 * src/bs_secret.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/elog.h"

#include "bs_secret.h"

static emit_log_hook_type prev_emit_log_hook = NULL;

/*
 * bs_secret_read
 *		Contents of a file that only the server's user can read.
 */
bool
bs_secret_read(const char *setting, const char *path, char *buf, size_t size,
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
 * At a reload the postmaster logs each setting that has changed, with its value,
 * and asks nobody whether it is secret.  A hook may leave a message out, but not
 * change it: so there is another one in its place.
 */
static void
keep_amqp_url(ErrorData *edata)
{
	if (!IsUnderPostmaster && edata->output_to_server &&
		edata->message != NULL && strchr(edata->message, '@') != NULL &&
		strstr(edata->message, "birthday_scheduler.amqp_url") != NULL)
	{
		edata->output_to_server = false;
		ereport(LOG,
				(errmsg("parameter \"birthday_scheduler.amqp_url\" changed")));
	}
	if (prev_emit_log_hook != NULL)
		prev_emit_log_hook(edata);
}

void
bs_secret_guard_log(void)
{
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = keep_amqp_url;
}
