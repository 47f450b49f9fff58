/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  Secrets: files that settings name, and memory that is wiped.
 *
 * src/core/base/secret.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
bs_secret_read(const char *prefix, const char *setting, const char *path,
			   char *buf, size_t size, char *error, size_t error_size)
{
	struct stat st;
	ssize_t		len;
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
	{
		snprintf(error, error_size,
				 "the file of \"%s%s\" cannot be opened: %s",
				 prefix, setting, strerror(errno));
		return false;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
		(st.st_uid != geteuid() && st.st_uid != 0) ||
		(st.st_mode & (S_IRWXO | S_IWGRP | S_IXGRP)) != 0 ||
		(st.st_uid == geteuid() && (st.st_mode & S_IRGRP) != 0))
	{
		snprintf(error, error_size,
				 "the file of \"%s%s\" must be a plain file of mode 0600 that belongs to the user who reads it (or root's, 0640)",
				 prefix, setting);
		close(fd);
		return false;
	}
	len = read(fd, buf, size - 1);
	close(fd);
	if (len < 0 || len == (ssize_t) size - 1 ||
		memchr(buf, '\0', len) != NULL)
	{
		snprintf(error, error_size,
				 "the file of \"%s%s\" is too long or not text",
				 prefix, setting);
		return false;
	}
	buf[len] = '\0';
	return true;
}

bool
bs_secret_read_line(const char *prefix, const char *setting, const char *path,
					char *buf, size_t size, char *error, size_t error_size)
{
	buf[0] = '\0';
	if (path == NULL || path[0] == '\0')
		return true;
	if (!bs_secret_read(prefix, setting, path, buf, size,
						error, error_size))
		return false;
	buf[strcspn(buf, "\r\n")] = '\0';
	return true;
}

void
bs_secret_free(void *memory)
{
	if (memory == NULL)
		return;
	explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
}
