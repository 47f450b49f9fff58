/*-------------------------------------------------------------------------
 *
 * sender_notify.c
 *	  What the service manager is told, if there is one: sd_notify(3).
 *
 * The protocol is one datagram, and documented for being written without the
 * library, whose dependencies are those of a service manager.
 *
 * src/sender/sender_notify.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/clock.h"

void
bs_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t		len;
	int			fd;

	if (path == NULL || (path[0] != '/' && path[0] != '@'))
		return;
	len = strlen(path);
	if (len >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void) sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
				  (struct sockaddr *) &to,
				  (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

void
bs_notify_reloading(void)
{
	char		state[80];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
			 (long long) bs_clock_ms() * 1000);
	bs_notify(state);
}

int64_t
bs_notify_watchdog_ms(void)
{
	const char *interval = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	long long	us = interval != NULL ? strtoll(interval, NULL, 10) : 0;

	if (us <= 0 || (pid != NULL && strtol(pid, NULL, 10) != (long) getpid()))
		return -1;
	return us / 2000;
}
