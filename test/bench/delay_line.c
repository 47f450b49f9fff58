/*-------------------------------------------------------------------------
 *
 * delay_line.c
 *	  A line of some length to a server on this machine.
 *
 *	  delay_line PORT MS
 *
 * Listens on a free port, prints it, and hands octets on to PORT of this machine,
 * MS later, in both directions.  Order is kept, nothing is lost, and a line has
 * no limit to what is under way on it.  Runs until its standard input ends.
 *
 * All lines are of one length, so what was read first is due first: one queue
 * holds everything.  A timer wakes it, because what epoll_wait() counts in whole
 * milliseconds would make a line of 10 ms longer by a tenth.
 *
 * test/bench/delay_line.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* accept4() */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#define EVENTS			64
#define READ_OCTETS		65536

/* One end of a line; what comes in here goes out at the other. */
typedef struct End
{
	int			fd;
	bool		ended;			/* nothing more goes out here */
	struct End *other;
} End;

typedef struct Chunk
{
	struct Chunk *next;
	int64_t		due_ns;
	End		   *to;
	size_t		len;			/* 0: the end */
	char		octets[];
} Chunk;

static Chunk *first_chunk;
static Chunk *last_chunk;
static int64_t delay_ns;
static int	epoll_fd;

static void
die(const char *what)
{
	fprintf(stderr, "delay_line: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
watch(int fd, void *what)
{
	struct epoll_event event = {0};

	event.events = EPOLLIN;
	event.data.ptr = what;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
}

static int
make_socket(void)
{
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

static struct sockaddr_in
loopback(int port)
{
	struct sockaddr_in address = {0};

	address.sin_family = AF_INET;
	address.sin_port = htons((uint16_t) port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static int
listen_somewhere(void)
{
	struct sockaddr_in address = loopback(0);
	socklen_t	len = sizeof(address);
	int			fd = make_socket();

	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(fd, 1024) != 0 ||
		getsockname(fd, (struct sockaddr *) &address, &len) != 0)
		die("listen");
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static End *
make_end(int fd)
{
	End		   *end = calloc(1, sizeof(End));
	int			on = 1;

	if (end == NULL)
		die("a line");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	end->fd = fd;
	watch(fd, end);
	return end;
}

static void
open_line(int listening, int port)
{
	struct sockaddr_in address = loopback(port);
	int			near = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	int			far;
	End		   *end;

	if (near < 0)
		return;
	far = make_socket();
	if (connect(far, (struct sockaddr *) &address, sizeof(address)) != 0)
	{
		close(near);
		close(far);
		return;
	}
	end = make_end(near);
	end->other = make_end(far);
	end->other->other = end;
}

/* What has come in, or its end, is due at the other end some time later. */
static void
take_in(End *end)
{
	static char octets[READ_OCTETS];
	ssize_t		len = recv(end->fd, octets, sizeof(octets), MSG_DONTWAIT);
	Chunk	   *chunk;

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len <= 0)
	{
		len = 0;
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, end->fd, NULL);
	}
	chunk = malloc(sizeof(Chunk) + (size_t) len);
	if (chunk == NULL)
		die("octets under way");
	chunk->next = NULL;
	chunk->due_ns = now_ns() + delay_ns;
	chunk->to = end->other;
	chunk->len = (size_t) len;
	memcpy(chunk->octets, octets, (size_t) len);
	if (first_chunk == NULL)
		first_chunk = chunk;
	else
		last_chunk->next = chunk;
	last_chunk = chunk;
}

static void
hand_out(Chunk *chunk)
{
	End		   *end = chunk->to;

	if (chunk->len == 0)
	{
		shutdown(end->fd, SHUT_WR);
		end->ended = true;
		if (end->other->ended)
		{
			close(end->fd);
			close(end->other->fd);
			free(end->other);
			free(end);
		}
		return;
	}
	/* It waits for a peer that does not read; one that is gone has its end. */
	for (size_t sent = 0; sent < chunk->len;)
	{
		ssize_t		len = send(end->fd, chunk->octets + sent,
							   chunk->len - sent, MSG_NOSIGNAL);

		if (len < 0 && errno != EINTR)
			return;
		if (len > 0)
			sent += (size_t) len;
	}
}

static void
hand_out_due(int timer)
{
	struct itimerspec at = {0};

	while (first_chunk != NULL && first_chunk->due_ns <= now_ns())
	{
		Chunk	   *chunk = first_chunk;

		first_chunk = chunk->next;
		hand_out(chunk);
		free(chunk);
	}
	if (first_chunk == NULL)
		return;
	at.it_value.tv_sec = first_chunk->due_ns / 1000000000;
	at.it_value.tv_nsec = first_chunk->due_ns % 1000000000;
	timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

int
main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];
	int			listening;
	int			timer;
	int			port;

	if (argc != 3 || (port = atoi(argv[1])) <= 0 || atof(argv[2]) < 0)
	{
		fprintf(stderr, "usage: delay_line PORT MS\n");
		return 2;
	}
	delay_ns = (int64_t) (atof(argv[2]) * 1e6);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (epoll_fd < 0 || timer < 0)
		die("epoll and timer");
	listening = listen_somewhere();
	watch(STDIN_FILENO, NULL);
	watch(timer, &timer);
	watch(listening, &listening);

	for (;;)
	{
		int			count = epoll_wait(epoll_fd, events, EVENTS, -1);
		uint64_t	expired;

		for (int i = 0; i < count; i++)
		{
			void	   *what = events[i].data.ptr;

			if (what == NULL)
				return 0;
			if (what == &listening)
				open_line(listening, port);
			else if (what == &timer)
				(void) !read(timer, &expired, sizeof(expired));
			else
				take_in(what);
		}
		hand_out_due(timer);
	}
}
