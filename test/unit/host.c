/*-------------------------------------------------------------------------
 *
 * host.c
 *	  What the hosts of the mailer and of the link have in common: a clock, a
 *	  limit to every wait, and what must hold at the end.
 *
 * test/unit/host.c
 *
 *-------------------------------------------------------------------------
 */
#include "host.h"

int64_t		longest_call_ms;
static int	host_descriptors;

int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
note_call(int64_t began_ms)
{
	int64_t		took = now_ms() - began_ms;

	if (took > longest_call_ms)
		longest_call_ms = took;
}

struct pollfd
poll_entry(int fd, short events)
{
	struct pollfd entry = {fd, events, 0};

	return entry;
}

int
listen_somewhere(int backlog, int *port)
{
	struct sockaddr_in address = {0};
	socklen_t	len = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *) &address, len) != 0 ||
		listen(listener, backlog) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &len) != 0)
		perror("# listen");
	*port = ntohs(address.sin_port);
	return listener;
}

static int
count_descriptors(void)
{
	DIR		   *folder = opendir("/proc/self/fd");
	int			count = 0;

	while (folder != NULL && readdir(folder) != NULL)
		count++;
	if (folder != NULL)
		closedir(folder);
	return count;
}

void
host_begin(void)
{
	/* None of these may have any effect. */
	setenv("all_proxy", "http://127.0.0.1:9", 1);
	setenv("http_proxy", "http://127.0.0.1:9", 1);
	setenv("no_proxy", "", 1);
	signal(SIGPIPE, SIG_IGN);

	ok(bs_mailer_global_init(), "libcurl is ready");
	host_descriptors = count_descriptors();
}

int
host_end(void)
{
	int64_t		until = now_ms() + LIMIT_MS;

	/* libcurl's threads close theirs when they end. */
	while (count_descriptors() > host_descriptors && now_ms() < until)
		poll(NULL, 0, 1);
	is_int(count_descriptors(), host_descriptors,
		   "no descriptor is left open");
	ok(longest_call_ms < BLOCKED_MS, "no call took long (%d ms)",
	   (int) longest_call_ms);
	return tap_done();
}
