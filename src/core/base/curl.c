/*-------------------------------------------------------------------------
 *
 * curl.c
 *	  libcurl without waiting: what the mailer and the link to a broker share.
 *
 * src/core/base/curl.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/curl.h"

#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/secret.h"

/* In an event: of libcurl's socket in the lower half. */
#define LIBCURL_EVENT		(UINT64_C(1) << 32)

/* ---- signals ---- */

/*
 * libcurl resolves names in threads.  They inherit the mask of the thread that
 * starts them, so signals are blocked around what may start one: a handler of
 * the host must not run there.  Signals that tell of a fault in this very code
 * stay as they are.
 */
static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/* ---- memory ---- */

static void *
realloc_secret(void *old, size_t size)
{
	size_t		old_size = old != NULL ? malloc_usable_size(old) : 0;
	void	   *new;

	if (size == 0)
		size = 1;				/* what that means differs */
	if (old_size >= size)
		return old;
	new = malloc(size);
	if (new == NULL)
		return NULL;
	if (old_size > 0)
		memcpy(new, old, old_size);
	bs_secret_free(old);
	return new;
}

/*
 * bs_curl_global_init
 *		curl_global_init(), with memory that is wiped when it is freed.
 *
 * libcurl copies passwords and headers, encodes them and sends them, and leaves
 * all of it behind.  Where something else in the process was first, its memory
 * is used, and this changes nothing.
 */
bool
bs_curl_global_init(void)
{
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc,
								bs_secret_free, realloc_secret, strdup,
								calloc) == CURLE_OK;
}

/* ---- what libcurl asks of us ---- */

static void
watch(BsCurlLoop *loop, curl_socket_t sock, int what, bool known)
{
	struct epoll_event event = {0};

	if (what == CURL_POLL_REMOVE)
	{
		(void) epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, sock, NULL);
		return;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	event.data.u64 = LIBCURL_EVENT | (uint32_t) sock;
	(void) epoll_ctl(loop->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
					 sock, &event);
}

/*
 * A socket that cannot be watched is not reported to libcurl, which would give
 * up the whole multi handle: the deadline ends its transfer.
 */
static int
on_socket(CURL *easy, curl_socket_t sock, int what, void *arg, void *known)
{
	BsCurlLoop *loop = arg;

	(void) easy;
	watch(loop, sock, what, known != NULL);
	if (known == NULL && what != CURL_POLL_REMOVE)
		curl_multi_assign(loop->multi, sock, loop);
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	BsCurlLoop *loop = arg;

	(void) multi;
	loop->due_ms = timeout_ms < 0 ? -1 : bs_clock_ms() + timeout_ms;
	return 0;
}

static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	BsCurlLoop *loop = arg;
	unsigned int patience = (unsigned int) loop->ack_timeout_ms;
	int			sock = socket(address->family,
							  address->socktype | SOCK_CLOEXEC,
							  address->protocol);

	(void) purpose;
	if (sock < 0)
		return CURL_SOCKET_BAD;
	if (patience > 0 &&
		(address->family == AF_INET || address->family == AF_INET6))
		(void) setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT,
						  &patience, sizeof(patience));
	return sock;
}

/* ---- making and unmaking ---- */

static CURLM *
make_multi(BsCurlLoop *loop)
{
	CURLM	   *multi = curl_multi_init();
	CURLMcode	code = CURLM_OK;

	if (multi == NULL)
		return NULL;

#define SET(option, value) \
	(code = code != CURLM_OK ? code : curl_multi_setopt(multi, option, value))

	SET(CURLMOPT_SOCKETFUNCTION, on_socket);
	SET(CURLMOPT_SOCKETDATA, loop);
	SET(CURLMOPT_TIMERFUNCTION, on_timer);
	SET(CURLMOPT_TIMERDATA, loop);
	SET(CURLMOPT_MAXCONNECTS, (long) loop->connections);
	SET(CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) loop->connections);
	SET(CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);
#ifdef BS_CURL_MULTI_QUICK_EXIT
	SET(BS_CURL_MULTI_QUICK_EXIT, 1L);
#endif
#undef SET

	if (code != CURLM_OK)
	{
		curl_multi_cleanup(multi);
		return NULL;
	}
	return multi;
}

void
bs_curl_init(BsCurlLoop *loop)
{
	loop->multi = NULL;
	loop->epoll_fd = -1;
	loop->due_ms = -1;
}

const char *
bs_curl_open(BsCurlLoop *loop, int connections, int64_t connect_timeout_ms,
			 int64_t ack_timeout_ms)
{
	loop->connections = connections;
	loop->connect_timeout_ms = connect_timeout_ms;
	loop->ack_timeout_ms = ack_timeout_ms;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return "A descriptor for waiting cannot be made.";
	loop->multi = make_multi(loop);
	if (loop->multi == NULL)
		return "There is not enough memory.";
	return NULL;
}

void
bs_curl_close(BsCurlLoop *loop)
{
	if (loop->multi != NULL)
		curl_multi_cleanup(loop->multi);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	bs_curl_init(loop);
}

/* libcurl closes its idle connections only together with the multi handle. */
void
bs_curl_renew(BsCurlLoop *loop)
{
	CURLM	   *multi = make_multi(loop);

	if (multi == NULL)
		return;
	curl_multi_cleanup(loop->multi);
	loop->multi = multi;
	loop->due_ms = -1;
}

/*
 * bs_curl_setup
 *		The options that all have in common.
 *
 * QUICK_EXIT: a thread that is stuck in getaddrinfo() when its transfer ends is
 * left behind and ends by itself.  Otherwise libcurl joins it in
 * curl_multi_remove_handle() and at its own timeout, and the host would wait.
 *
 * Certificates come from one file, ours or the system's, and not from a folder
 * beside it: only then does libcurl keep them for the next connection.  To read
 * the system's takes some 50 ms.
 */
CURLcode
bs_curl_setup(BsCurlLoop *loop, CURL *easy, const char *scheme,
			  const char *ca_file, int64_t timeout_ms)
{
	CURLcode	code = CURLE_OK;

#define SET(option, value) \
	(code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, loop);

	SET(CURLOPT_PROTOCOLS_STR, scheme);
	SET(CURLOPT_REDIR_PROTOCOLS_STR, scheme);	/* an empty list is an error */
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);

	SET(CURLOPT_TIMEOUT_MS, (long) timeout_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) loop->connect_timeout_ms);

	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (ca_file != NULL && ca_file[0] != '\0')
		SET(CURLOPT_CAINFO, ca_file);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_CA_CACHE_TIMEOUT, 3600L);
#undef SET
	return code;
}

/* ---- events ---- */

static void
run_socket(BsCurlLoop *loop, curl_socket_t sock, int what)
{
	sigset_t	saved;
	int			running;

	block_signals(&saved);
	(void) curl_multi_socket_action(loop->multi, sock, what, &running);
	restore_signals(&saved);
}

bool
bs_curl_add(BsCurlLoop *loop, CURL *easy)
{
	sigset_t	saved;
	bool		added;

	block_signals(&saved);
	added = curl_multi_add_handle(loop->multi, easy) == CURLM_OK;
	restore_signals(&saved);
	return added;
}

bool
bs_curl_take_event(BsCurlLoop *loop, const struct epoll_event *event)
{
	int			what = 0;

	if (!(event->data.u64 & LIBCURL_EVENT))
		return false;
	if (event->events & (EPOLLIN | EPOLLHUP))
		what |= CURL_CSELECT_IN;
	if (event->events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (event->events & EPOLLERR)
		what |= CURL_CSELECT_ERR;
	run_socket(loop, (curl_socket_t) (uint32_t) event->data.u64, what);
	return true;
}

/*
 * bs_curl_run_timer
 *		What libcurl's timer asks for.
 *
 * Asked once more if it is due at once, as after a handle was added; what
 * keeps coming is left for the next call.
 */
void
bs_curl_run_timer(BsCurlLoop *loop)
{
	int			i;

	for (i = 0; i < 4 && loop->due_ms >= 0 &&
		 loop->due_ms <= bs_clock_ms(); i++)
	{
		loop->due_ms = -1;
		run_socket(loop, CURL_SOCKET_TIMEOUT, 0);
	}
}

bool
bs_curl_watch(BsCurlLoop *loop, CURL *easy, uint32_t name)
{
	curl_socket_t sock = CURL_SOCKET_BAD;
	struct epoll_event event = {0};

	event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	event.data.u64 = name;
	curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &sock);
	return sock != CURL_SOCKET_BAD &&
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, sock, &event) == 0;
}

void
bs_curl_unwatch(BsCurlLoop *loop, CURL *easy)
{
	curl_socket_t sock = CURL_SOCKET_BAD;

	curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &sock);
	if (sock != CURL_SOCKET_BAD)
		(void) epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, sock, NULL);
}
