/*-------------------------------------------------------------------------
 *
 * net_mail_setup.c
 *	  Making and unmaking a mailer: the settings, and libcurl's options.
 *
 * src/net/net_mail_setup.c
 *
 *-------------------------------------------------------------------------
 */
#include "net/net_mail_private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

bool
bs_mailer_global_init(void)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

/* ---- the URL ---- */

static bool
url_has(CURLU *url, CURLUPart part)
{
	char	   *value = NULL;
	bool		has = curl_url_get(url, part, &value, 0) == CURLUE_OK;

	curl_free(value);
	return has;
}

static const char *
find_url_fault(CURLU *url, const char *given)
{
	char	   *scheme = NULL;
	bool		is_smtp;
	bool		is_http;

	if (curl_url_set(url, CURLUPART_URL, given, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return "It must be of the form scheme://host or scheme://host:port.";
	is_smtp = strcmp(scheme, "smtp") == 0 || strcmp(scheme, "smtps") == 0;
	is_http = strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0;
	curl_free(scheme);

	if (!is_smtp && !is_http)
		return "Only the smtp://, smtps://, http:// and https:// schemes can be used.";
	if (!url_has(url, CURLUPART_HOST))
		return "The host is missing.";
	if (url_has(url, CURLUPART_USER) || url_has(url, CURLUPART_PASSWORD) ||
		url_has(url, CURLUPART_OPTIONS))
		return "A user name or password does not belong here.";
	if (url_has(url, CURLUPART_FRAGMENT) ||
		(is_smtp && url_has(url, CURLUPART_QUERY)))
		return "Nothing can follow the path.";
	return NULL;
}

bool
bs_mailer_check_url(const char *url, const char **reason)
{
	CURLU	   *parsed;

	*reason = "There is no URL.";
	if (url == NULL || url[0] == '\0')
		return false;
	parsed = curl_url();
	*reason = "There is not enough memory.";
	if (parsed == NULL)
		return false;
	*reason = find_url_fault(parsed, url);
	curl_url_cleanup(parsed);
	return *reason == NULL;
}

/* ---- what libcurl asks of us ---- */

static void
watch(BsMailer *mailer, curl_socket_t sock, int what, bool known)
{
	struct epoll_event event = {0};

	if (what == CURL_POLL_REMOVE)
	{
		(void) epoll_ctl(mailer->epoll_fd, EPOLL_CTL_DEL, sock, NULL);
		return;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	event.data.u64 = BS_MAIL_CURL_EVENT | (uint32_t) sock;
	(void) epoll_ctl(mailer->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
					 sock, &event);
}

/*
 * A socket that cannot be watched is not reported to libcurl, which would give
 * up the whole multi handle: the deadline ends its transfer.
 */
static int
on_socket(CURL *easy, curl_socket_t sock, int what, void *arg, void *known)
{
	BsMailer   *mailer = arg;

	(void) easy;
	watch(mailer, sock, what, known != NULL);
	if (known == NULL && what != CURL_POLL_REMOVE)
		curl_multi_assign(mailer->multi, sock, mailer);
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	BsMailer   *mailer = arg;

	(void) multi;
	mailer->curl_due_ms = timeout_ms < 0 ? -1 :
		bs_mail_clock_ms() + timeout_ms;
	return 0;
}

/*
 * A peer that does not acknowledge what was sent is given up as early as one
 * that cannot be connected: so a kept connection that a firewall has forgotten
 * costs one connect timeout, not one transfer timeout.
 */
static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	BsMailSlot *slot = arg;
	unsigned int patience = (unsigned int) slot->mailer->connect_timeout_ms;
	int			sock = socket(address->family,
							  address->socktype | SOCK_CLOEXEC,
							  address->protocol);

	(void) purpose;
	if (sock < 0)
		return CURL_SOCKET_BAD;
	if (address->family == AF_INET || address->family == AF_INET6)
		(void) setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT,
						  &patience, sizeof(patience));
	return sock;
}

/* ---- making and unmaking ---- */

/*
 * The options that stay the same for the handle's life.
 *
 * QUICK_EXIT: a thread that is stuck in getaddrinfo() when its transfer ends is
 * left behind and ends by itself.  Otherwise libcurl joins it in
 * curl_multi_remove_handle() and at its own timeout, and the host would wait.
 *
 * Certificates come from one file, ours or the system's, and not from a folder
 * beside it: only then does libcurl keep them for the next connection.  To read
 * the system's takes some 50 ms.
 */
static CURLcode
setup_easy(BsMailSlot *slot, const BsMailerConfig *config, const char *scheme)
{
	BsMailer   *mailer = slot->mailer;
	CURL	   *easy = slot->easy;
	CURLcode	code = CURLE_OK;

#define SET(option, value) \
	(code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

	SET(CURLOPT_URL, config->url);
	SET(CURLOPT_PRIVATE, slot);
	SET(CURLOPT_ERRORBUFFER, slot->curl_error);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, slot);

	SET(CURLOPT_PROTOCOLS_STR, scheme);
	SET(CURLOPT_REDIR_PROTOCOLS_STR, scheme);	/* an empty list is an error */
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);

	SET(CURLOPT_TIMEOUT_MS, (long) mailer->timeout_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) mailer->connect_timeout_ms);
	SET(CURLOPT_SERVER_RESPONSE_TIMEOUT,
		(long) ((mailer->timeout_ms + 999) / 1000));

	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (config->ca_file != NULL && config->ca_file[0] != '\0')
		SET(CURLOPT_CAINFO, config->ca_file);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_CA_CACHE_TIMEOUT, 3600L);
	if (config->user != NULL && config->user[0] != '\0')
	{
		SET(CURLOPT_USERNAME, config->user);
		SET(CURLOPT_PASSWORD,
			config->password != NULL ? config->password : "");
	}
#undef SET

	if (code == CURLE_OK)
		code = mailer->is_http ? bs_http_setup(slot, config) :
			bs_smtp_setup(slot, config);
	return code;
}

CURLM *
bs_mail_make_multi(BsMailer *mailer)
{
	CURLM	   *multi = curl_multi_init();
	CURLMcode	code = CURLM_OK;

	if (multi == NULL)
		return NULL;

#define SET(option, value) \
	(code = code != CURLM_OK ? code : curl_multi_setopt(multi, option, value))

	SET(CURLMOPT_SOCKETFUNCTION, on_socket);
	SET(CURLMOPT_SOCKETDATA, mailer);
	SET(CURLMOPT_TIMERFUNCTION, on_timer);
	SET(CURLMOPT_TIMERDATA, mailer);
	SET(CURLMOPT_MAXCONNECTS, (long) mailer->slot_count);
	SET(CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) mailer->slot_count);
	SET(CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);
#undef SET

	if (code != CURLM_OK)
	{
		curl_multi_cleanup(multi);
		return NULL;
	}
	return multi;
}

/* A static full sentence on what is wrong with the settings, or NULL. */
static const char *
find_config_fault(BsMailer *mailer, const BsMailerConfig *config)
{
	const char *const *header = config->http_headers;
	const char *reason = NULL;
	char		name[BS_MIME_NAME_MAX + 1];

	if (!bs_mailer_check_url(config->url, &reason))
		return reason;
	if (config->from == NULL ||
		!bs_mime_split_mailbox(config->from, name, sizeof(name),
							   mailer->sender, sizeof(mailer->sender),
							   &reason))
		return reason != NULL ? reason : "The sender is missing.";
	if (config->connections < 1 || config->connections > BS_MAIL_SLOTS_MAX)
		return "The number of connections must be between 1 and 64.";
	if (config->timeout_ms < 1 || config->timeout_ms > INT32_MAX ||
		config->connect_timeout_ms < 1 ||
		config->connect_timeout_ms > INT32_MAX)
		return "The time limits must be positive.";
	for (; header != NULL && *header != NULL; header++)
	{
		const char *c;

		if (strchr(*header, ':') == NULL || (*header)[0] == ':')
			return "An HTTP header must be of the form \"Name: value\".";
		for (c = *header; *c != '\0'; c++)
		{
			if (((unsigned char) *c < ' ' && *c != '\t') || *c == 0x7f)
				return "An HTTP header must not contain control characters.";
		}
	}
	return NULL;
}

static const char *
build(BsMailer *mailer, const BsMailerConfig *config)
{
	static const char *const no_memory = "There is not enough memory.";
	const char *fault = find_config_fault(mailer, config);
	char		scheme[8];
	int			i;

	if (fault != NULL)
		return fault;
	snprintf(scheme, sizeof(scheme), "%.*s",
			 (int) strcspn(config->url, ":"), config->url);
	mailer->is_http = strncasecmp(scheme, "http", 4) == 0;
	mailer->timeout_ms = config->timeout_ms;
	mailer->connect_timeout_ms = config->connect_timeout_ms;

	mailer->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (mailer->epoll_fd < 0)
		return "A descriptor for waiting cannot be made.";
	mailer->slots = calloc((size_t) config->connections, sizeof(BsMailSlot));
	if (mailer->slots == NULL)
		return no_memory;
	mailer->slot_count = config->connections;
	mailer->multi = bs_mail_make_multi(mailer);
	if (mailer->multi == NULL)
		return no_memory;
	if (mailer->is_http)
	{
		mailer->http_headers = bs_http_headers(config);
		if (mailer->http_headers == NULL)
			return no_memory;
	}

	for (i = 0; i < mailer->slot_count; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];
		CURLcode	code;

		slot->mailer = mailer;
		slot->index = i;
		slot->easy = curl_easy_init();
		if (slot->easy == NULL)
			return no_memory;
		code = setup_easy(slot, config, scheme);
		if (code != CURLE_OK)
			return code == CURLE_OUT_OF_MEMORY ? no_memory :
				curl_easy_strerror(code);
	}
	return NULL;
}

BsMailer *
bs_mailer_create(const BsMailerConfig *config, char *error, size_t error_size)
{
	BsMailer   *mailer = calloc(1, sizeof(BsMailer));
	const char *fault = "There is not enough memory.";

	if (mailer != NULL)
	{
		mailer->epoll_fd = -1;
		mailer->curl_due_ms = -1;
		fault = build(mailer, config);
	}
	if (fault == NULL)
		return mailer;

	bs_mailer_destroy(mailer);
	if (error_size > 0)
		snprintf(error, error_size, "%s", fault);
	return NULL;
}

void
bs_mailer_destroy(BsMailer *mailer)
{
	int			i;

	if (mailer == NULL)
		return;
	for (i = 0; i < mailer->slot_count; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];

		if (slot->easy == NULL)
			continue;
		bs_smtp_close(slot, slot->state != BS_SLOT_TALKING);
		bs_mail_stop_curl(slot);
		curl_easy_cleanup(slot->easy);
		bs_mail_free_body(slot);
	}
	if (mailer->multi != NULL)
		curl_multi_cleanup(mailer->multi);
	curl_slist_free_all(mailer->http_headers);
	if (mailer->epoll_fd >= 0)
		close(mailer->epoll_fd);
	free(mailer->slots);
	free(mailer);
}
