/*-------------------------------------------------------------------------
 *
 * fuzz_reply.c
 *	  Any octets at all as the answers to two mails.
 *
 * The first octet of the input is a set of flags (see below).  The others are
 * what the server says, but for two: at NUL it listens until the client has no
 * more to say, and SOH closes the connection; what follows is for the next one.
 * When all is said, connections are closed: so nothing ever waits for a clock.
 *
 * No network: connect() is ours, and gives libcurl one end of a socket pair.
 *
 * What must hold: each mail has one result, soon; none is accepted but by a
 * 2xx to a whole mail; nothing is released that nobody aborted.
 *
 * test/fuzz/fuzz_reply.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* memmem() */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "must.h"
#include "core/mail/mail.h"

#define FLAG_HTTP		1
#define FLAG_DRIP		2		/* the server says one octet at a time */
#define FLAG_LOGIN		4
#define FLAG_ABORT		8		/* the host loses patience at the end */

#define INPUT_MAX		16384	/* longer inputs are not looked at */
#define MAILS			2
#define TIMEOUT_MS		100
#define LIMIT_MS		3000
#define HEARD_MAX		65536
#define SPOKEN_MAX		65536

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct
{
	int			sock;			/* the server's end, or -1 */
	uint8_t		flags;
	const uint8_t *words;		/* what is to be said */
	size_t		len;
	size_t		said;
	bool		listens;		/* until the client has no more to say */
	size_t		spoken_len;
	char		spoken[SPOKEN_MAX]; /* what was said; LF between connections */
	size_t		heard_len;
	char		heard[HEARD_MAX];
}			server;

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
hang_up(void)
{
	if (server.sock >= 0)
		close(server.sock);
	server.sock = -1;
}

static void
note_spoken(const void *words, size_t len)
{
	MUST(len <= sizeof(server.spoken) - server.spoken_len);
	memcpy(server.spoken + server.spoken_len, words, len);
	server.spoken_len += len;
}

/* libcurl's call comes here. */
int
connect(int sock, const struct sockaddr *address, socklen_t len)
{
	int			pair[2];

	(void) address;
	(void) len;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0)
		return -1;
	if (dup2(pair[1], sock) < 0)
		return -1;
	close(pair[1]);
	hang_up();
	server.sock = pair[0];
	server.listens = false;
	note_spoken("\n", 1);
	return 0;
}

static void
hear(void)
{
	char		buffer[65536];
	ssize_t		len;

	while ((len = recv(server.sock, buffer, sizeof(buffer), 0)) > 0)
	{
		size_t		room = sizeof(server.heard) - server.heard_len;
		size_t		kept = (size_t) len < room ? (size_t) len : room;

		memcpy(server.heard + server.heard_len, buffer, kept);
		server.heard_len += kept;
	}
	if (len == 0 || (len < 0 && errno != EAGAIN))
		hang_up();
}

static void
speak(void)
{
	while (server.sock >= 0 && !server.listens && server.said < server.len)
	{
		const uint8_t *from = server.words + server.said;
		size_t		left = server.len - server.said;
		size_t		count = 0;

		if (*from <= 1)
		{
			server.said++;
			if (*from == 0)
				server.listens = true;
			else
				hang_up();
			continue;
		}
		while (count < left && from[count] > 1)
			count++;
		if (server.flags & FLAG_DRIP)
			count = 1;
		if (send(server.sock, from, count, MSG_NOSIGNAL) != (ssize_t) count)
			hang_up();
		note_spoken(from, count);
		server.said += count;
		if (server.flags & FLAG_DRIP)
			break;
	}
}

/* The first line from "from" on that begins so, or NULL. */
static const char *
find_line(const char *from, const char *start)
{
	const char *end = server.spoken + server.spoken_len;
	size_t		len = strlen(start);

	for (; from + len <= end; from++)
	{
		if (from[-1] == '\n' && memcmp(from, start, len) == 0)
			return from;
	}
	return NULL;
}

/* Could what was said and heard so far make a mail an accepted one? */
static bool
may_be_accepted(void)
{
	const char *at = server.spoken + 1;

	if (server.flags & FLAG_HTTP)
	{
		for (; (at = find_line(at, "HTTP/1.")) != NULL; at++)
		{
			if (at + 10 < server.spoken + server.spoken_len && at[9] == '2')
				return memmem(server.heard, server.heard_len,
							  "\r\n\r\n{", 5) != NULL;
		}
		return false;
	}
	at = find_line(at, "354");
	return at != NULL && find_line(at, "2") != NULL &&
		memmem(server.heard, server.heard_len, "\r\n.\r\n", 5) != NULL;
}

static BsMailer *
make_mailer(void)
{
	BsMailerConfig config = {0};
	char		error[256];
	BsMailer   *mailer;

	config.url = server.flags & FLAG_HTTP ? "http://127.0.0.1/" :
		"smtp://127.0.0.1/me.example";
	config.from = "a@b.example";
	config.tls = BS_MAIL_TLS_OFFERED;
	config.connections = 1;
	config.timeout_ms = TIMEOUT_MS;
	config.connect_timeout_ms = TIMEOUT_MS;
	if (server.flags & FLAG_LOGIN)
	{
		config.user = "us";
		config.password = "secret";
	}
	mailer = bs_mailer_create(&config, error, sizeof(error));
	MUST(mailer != NULL);
	return mailer;
}

static void
check_result(const BsMailResult *result)
{
	MUST(result->outcome >= BS_OUTCOME_ACCEPTED);
	MUST(result->outcome <= BS_OUTCOME_RELEASED);
	MUST(result->outcome != BS_OUTCOME_ACCEPTED || may_be_accepted());
	MUST(result->outcome != BS_OUTCOME_RELEASED ||
		 (server.flags & FLAG_ABORT));
	MUST(memchr(result->reply, 0, sizeof(result->reply)) != NULL);
	MUST(memchr(result->error, 0, sizeof(result->error)) != NULL);
	MUST(strcasestr(result->reply, "zoe@example.org") == NULL);
	MUST(result->retry_after_ms >= -1 &&
		 result->retry_after_ms <= 24 * 3600 * 1000);
}

static void
send_mail(BsMailer *mailer, uint64_t tag)
{
	BsMail		mail = {0};
	BsMailResult result;
	int64_t		began = now_ms();

	mail.from = "a@b.example";
	mail.to_address = "zoe@example.org";
	mail.subject = "s";
	mail.text = ".\n";
	mail.idempotency_key = "7d444840-9dc0:BIRTHDAY:2026-02-28";
	server.heard_len = 0;
	server.spoken_len = 0;
	note_spoken("\n", 1);
	MUST(bs_mailer_submit(mailer, &mail, tag));
	while (!bs_mailer_next(mailer, &result))
	{
		struct pollfd fd = {bs_mailer_fd(mailer), POLLIN, 0};
		size_t		heard_before = server.heard_len;

		MUST(now_ms() - began < LIMIT_MS);
		bs_mailer_run(mailer);
		if (server.sock >= 0)
			hear();
		if (poll(&fd, 1, 0) > 0 || bs_mailer_deadline_ms(mailer) == 0 ||
			server.heard_len != heard_before)
			continue;

		/* The client has nothing to do until the server does something. */
		server.listens = false;
		if (server.sock < 0)
			poll(&fd, 1, (int) bs_mailer_deadline_ms(mailer));
		else if (server.said < server.len)
			speak();
		else if (server.flags & FLAG_ABORT)
			bs_mailer_abort(mailer);
		else
			hang_up();
	}
	MUST(result.tag == tag);
	check_result(&result);
	MUST(bs_mailer_room(mailer) == 1);
	MUST(!bs_mailer_next(mailer, &result));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	BsMailer   *mailer;
	uint64_t	tag;

	if (!ready)
		ready = bs_mailer_global_init();
	if (size < 1 || size > INPUT_MAX)
		return 0;
	server.sock = -1;
	server.flags = data[0];
	server.words = data + 1;
	server.len = size - 1;
	server.said = 0;
	server.listens = false;
	mailer = make_mailer();
	for (tag = 1; tag <= MAILS; tag++)
		send_mail(mailer, tag);
	bs_mailer_destroy(mailer);
	hang_up();
	return 0;
}
