/*-------------------------------------------------------------------------
 *
 * amqp_socket.c
 *	  The link's connection: opened by libcurl, used by us, closed.
 *
 * libcurl resolves, connects and encrypts (CONNECT_ONLY, as for HTTP, of which
 * nothing is ever spoken).  Afterwards the socket is watched by edge, so it is
 * read and written until it says that there is no more: with TLS there may be
 * octets that no descriptor tells of.
 *
 * src/core/amqp/amqp_socket.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/amqp_private.h"

#include <string.h>

#define EVENTS_MAX		8
#define SEND_OCTETS		(64 * 1024) /* of one call of libcurl's */
#define READ_CALLS		16		/* before the host gets its turn */
#define DRAIN_CALLS		16

/* ---- opening ---- */

static CURLcode
setup_easy(BsAmqpLink *link, const char *url, bool tls)
{
	CURL	   *easy = link->easy;
	CURLcode	code = bs_curl_setup(&link->loop, easy,
									 tls ? "https" : "http",
									 link->config.ca_file,
									 link->config.connect_timeout_ms);

#define SET(option, value) \
	(code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

	SET(CURLOPT_URL, url);
	SET(CURLOPT_ERRORBUFFER, link->curl_error);
	SET(CURLOPT_CONNECT_ONLY, 1L);
	SET(CURLOPT_SSL_ENABLE_ALPN, 0L);
#undef SET
	return code;
}

void
bs_amqp_connect(BsAmqpLink *link)
{
	const BsAmqpAddress *address = &link->addresses[link->address];
	char	   *url = bs_amqp_curl_url(address);

	link->state = BS_AMQP_STATE_CONNECTING;
	link->curl_error[0] = '\0';
	link->easy = curl_easy_init();
	if (url == NULL || link->easy == NULL ||
		setup_easy(link, url, address->tls) != CURLE_OK ||
		!bs_curl_add(&link->loop, link->easy))
		bs_amqp_fail(link, false, "there is not enough memory");
	curl_free(url);
}

/* Is it the broker's certificate, or ours that vouch for it? */
static bool
is_about_certificates(CURLcode code)
{
	return code == CURLE_PEER_FAILED_VERIFICATION ||
		code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR;
}

static void
connected(BsAmqpLink *link, CURLcode code)
{
	if (code == CURLE_OK && bs_curl_watch(&link->loop, link->easy, 0))
	{
		link->may_read = link->may_write = true;
		link->received_ms = bs_clock_ms();
		bs_amqp_begin_session(link);
	}
	else if (code == CURLE_OK)
		bs_amqp_fail(link, false, "the connection cannot be watched");
	else
		bs_amqp_fail(link, is_about_certificates(code), "%s",
					 link->curl_error[0] != '\0' ? link->curl_error :
					 curl_easy_strerror(code));
}

void
bs_amqp_poll(BsAmqpLink *link)
{
	struct epoll_event events[EVENTS_MAX];
	int			count = epoll_wait(link->loop.epoll_fd, events,
								   EVENTS_MAX, 0);
	CURLMsg    *message;
	int			left;
	int			i;

	for (i = 0; i < count; i++)
	{
		if (!bs_curl_take_event(&link->loop, &events[i]))
			link->may_read = link->may_write = true;
	}
	bs_curl_run_timer(&link->loop);
	while ((message = curl_multi_info_read(link->loop.multi, &left)) != NULL)
	{
		if (message->msg == CURLMSG_DONE &&
			message->easy_handle == link->easy &&
			link->state == BS_AMQP_STATE_CONNECTING)
			connected(link, message->data.result);
	}
}

/* ---- sending ---- */

/*
 * After CURLE_AGAIN the same octets must be offered from the same place, and no
 * fewer: TLS may have begun to send them.  In a ring they stay where they are.
 */
void
bs_amqp_flush(BsAmqpLink *link)
{
	while (link->may_write && bs_amqp_unsent(link) > 0)
	{
		size_t		at = link->out_sent % BS_AMQP_OUT_SIZE;
		size_t		len = bs_amqp_unsent(link);
		size_t		sent = 0;
		CURLcode	code;

		if (len > BS_AMQP_OUT_SIZE - at)
			len = BS_AMQP_OUT_SIZE - at;
		if (len > SEND_OCTETS)
			len = SEND_OCTETS;
		code = curl_easy_send(link->easy, link->out + at, len, &sent);
		if (code != CURLE_OK)
		{
			link->may_write = false;
			if (code != CURLE_AGAIN)
				link->send_code = code;
			return;
		}
		link->out_sent += sent;
		link->sent_ms = bs_clock_ms();
	}
	if (bs_amqp_unsent(link) == 0)
		link->out_sent = link->out_end = 0;
}

/* ---- receiving ---- */

/*
 * The end of the connection, as far as the socket tells.  Before brokers knew
 * how to say it, hanging up in the middle of the login meant a refusal.
 */
static void
broken(BsAmqpLink *link, CURLcode code)
{
	if (link->send_code != CURLE_OK)
		code = link->send_code;
	if (link->state == BS_AMQP_STATE_TUNE)
		bs_amqp_fail(link, true,
					 "the broker closed the connection during the login");
	else if (code == CURLE_OK)
		bs_amqp_fail(link, false, "the broker closed the connection");
	else
		bs_amqp_fail(link, false, "the connection broke: %s",
					 curl_easy_strerror(code));
}

static void
make_room(BsAmqpLink *link)
{
	if (link->in_start == 0)
		return;
	link->in_end -= link->in_start;
	memmove(link->in, link->in + link->in_start, link->in_end);
	link->in_start = 0;
}

static void
receive(BsAmqpLink *link)
{
	int			calls;

	for (calls = 0; calls < READ_CALLS; calls++)
	{
		size_t		len = 0;
		CURLcode	code;

		bs_amqp_take_input(link);
		if (!bs_amqp_is_open(link) || !bs_amqp_has_room(link) ||
			!link->may_read)
			return;
		make_room(link);
		code = curl_easy_recv(link->easy, link->in + link->in_end,
							  BS_AMQP_FRAME_MAX - link->in_end, &len);
		if (code == CURLE_AGAIN)
			link->may_read = false;
		else if (code != CURLE_OK || len == 0)
		{
			broken(link, code);
			return;
		}
		else
		{
			link->in_end += len;
			link->received_ms = bs_clock_ms();
		}
	}
}

/*
 * bs_amqp_transfer
 *		Send and receive as far as that goes without waiting.
 *
 * Where sending has failed, the broker may have said why before it went away.
 */
void
bs_amqp_transfer(BsAmqpLink *link)
{
	bs_amqp_flush(link);
	receive(link);
	if (bs_amqp_is_open(link))
		bs_amqp_flush(link);
	if (bs_amqp_is_open(link) && link->send_code != CURLE_OK &&
		!link->may_read)
		broken(link, link->send_code);
}

/* ---- closing ---- */

/*
 * Input that is left unread makes the system reset the connection, and what was
 * sent last might be lost with it.
 */
static void
drain(BsAmqpLink *link)
{
	size_t		len;
	int			calls;

	for (calls = 0; calls < DRAIN_CALLS; calls++)
	{
		if (curl_easy_recv(link->easy, link->in, BS_AMQP_FRAME_MAX,
						   &len) != CURLE_OK || len == 0)
			return;
	}
}

void
bs_amqp_disconnect(BsAmqpLink *link, bool polite)
{
	amqp_connection_close_t close = {0};
	char	   *end;

	if (link->easy == NULL)
		return;
	if (polite && link->state > BS_AMQP_STATE_OPEN && !link->closed_by_broker)
	{
		close.reply_code = AMQP_REPLY_SUCCESS;
		close.reply_text = amqp_cstring_bytes("goodbye");
		end = bs_amqp_encode_method(link->scratch, link->scratch +
									BS_AMQP_SCRATCH_SIZE, 0,
									AMQP_CONNECTION_CLOSE_METHOD, &close);
		if (end != NULL &&
			(size_t) (end - link->scratch) <= bs_amqp_out_room(link))
			bs_amqp_put(link, link->scratch, (size_t) (end - link->scratch));
	}
	if (link->state >= BS_AMQP_STATE_START)
	{
		if (polite)
		{
			bs_amqp_flush(link);
			drain(link);
		}
		bs_curl_unwatch(&link->loop, link->easy);
	}
	(void) curl_multi_remove_handle(link->loop.multi, link->easy);
	curl_easy_cleanup(link->easy);
	link->easy = NULL;
}
