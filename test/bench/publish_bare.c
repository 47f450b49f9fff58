/*-------------------------------------------------------------------------
 *
 * publish_bare.c
 *	  The least that a program can do to publish with confirms.
 *
 *	  publish_bare URL COUNT WINDOW BODY-SIZE
 *
 * librabbitmq's own blocking calls and nothing around them: what publish_link.c,
 * which has the same arguments, is compared with.  Both publish persistent and
 * mandatory messages through a topic exchange to a quorum queue with the
 * arguments that the extension gives to its own, and keep WINDOW of them
 * unconfirmed.  Prints one JSON object.  The exchange and the queue are made
 * before and removed after.
 *
 * test/bench/publish_bare.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "core/base/compat.h"
#include BS_AMQP_HEADER
#include BS_AMQP_TCP_HEADER

#define EXCHANGE	"bench.bare"
#define QUEUE		"bench.bare.queue"
#define DEAD		"bench.bare.dead"
#define PATIENCE_S	60

typedef struct Unconfirmed
{
	unsigned char *done;		/* by tag; tags begin with 1 */
	uint64_t	lowest;			/* nothing below waits */
	uint64_t	confirmed;
} Unconfirmed;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "publish_bare: %s: %s\n", what, why);
	exit(1);
}

static void
check_reply(amqp_rpc_reply_t reply, const char *what)
{
	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
		die(what, amqp_error_string2(reply.library_error));
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		die(what, "the broker refused");
}

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static double
seconds_of(struct timeval tv)
{
	return tv.tv_sec + tv.tv_usec / 1e6;
}

static amqp_connection_state_t
open_connection(char *url)
{
	struct amqp_connection_info info;
	amqp_connection_state_t conn = amqp_new_connection();
	amqp_socket_t *sock = amqp_tcp_socket_new(conn);

	if (amqp_parse_url(url, &info) != AMQP_STATUS_OK || info.ssl)
		die("URL", "amqp://user:password@host:port/vhost is wanted");
	if (amqp_socket_open(sock, info.host, info.port) != AMQP_STATUS_OK)
		die("connect", "nobody answers there");
	check_reply(amqp_login(conn, info.vhost, 0, 131072, 0,
						   AMQP_SASL_METHOD_PLAIN, info.user, info.password),
				"log in");
	amqp_channel_open(conn, 1);
	check_reply(amqp_get_rpc_reply(conn), "open a channel");
	return conn;
}

static amqp_table_entry_t
string_entry(const char *key, const char *value)
{
	amqp_table_entry_t entry;

	entry.key = amqp_cstring_bytes(key);
	entry.value.kind = AMQP_FIELD_KIND_UTF8;
	entry.value.value.bytes = amqp_cstring_bytes(value);
	return entry;
}

static void
declare_all(amqp_connection_state_t conn)
{
	amqp_bytes_t exchange = amqp_cstring_bytes(EXCHANGE);
	amqp_bytes_t queue = amqp_cstring_bytes(QUEUE);
	amqp_table_entry_t entries[] = {
		string_entry("x-queue-type", "quorum"),
		string_entry("x-dead-letter-exchange", DEAD),
		string_entry("x-dead-letter-routing-key", DEAD),
		string_entry("x-dead-letter-strategy", "at-least-once"),
		string_entry("x-overflow", "reject-publish"),
	};
	amqp_table_t arguments = {sizeof(entries) / sizeof(entries[0]), entries};

	amqp_queue_delete(conn, 1, queue, 0, 0);
	check_reply(amqp_get_rpc_reply(conn), "delete the queue");
	amqp_exchange_declare(conn, 1, exchange, amqp_cstring_bytes("topic"),
						  0, 1, 0, 0, amqp_empty_table);
	check_reply(amqp_get_rpc_reply(conn), "declare the exchange");
	amqp_queue_declare(conn, 1, queue, 0, 1, 0, 0, arguments);
	check_reply(amqp_get_rpc_reply(conn), "declare the queue");
	amqp_queue_bind(conn, 1, queue, exchange, amqp_cstring_bytes("#"),
					amqp_empty_table);
	check_reply(amqp_get_rpc_reply(conn), "bind the queue");
	amqp_confirm_select(conn, 1);
	check_reply(amqp_get_rpc_reply(conn), "ask for confirms");
}

/* One frame of the broker: a confirm, or the end. */
static void
take_frame(amqp_connection_state_t conn, Unconfirmed *wait)
{
	struct timeval patience = {PATIENCE_S, 0};
	amqp_frame_t frame;
	amqp_basic_ack_t *ack;
	int			status = amqp_simple_wait_frame_noblock(conn, &frame,
														&patience);

	if (status != AMQP_STATUS_OK)
		die("wait for a confirm", amqp_error_string2(status));
	if (frame.frame_type != AMQP_FRAME_METHOD ||
		frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
		die("wait for a confirm", "the broker says something else");
	ack = frame.payload.method.decoded;
	for (uint64_t tag = ack->multiple ? wait->lowest : ack->delivery_tag;
		 tag <= ack->delivery_tag; tag++)
	{
		wait->confirmed += !wait->done[tag];
		wait->done[tag] = 1;
	}
	while (wait->done[wait->lowest])
		wait->lowest++;
}

static void
publish_all(amqp_connection_state_t conn, uint64_t count, uint64_t window,
			size_t size)
{
	amqp_basic_properties_t properties;
	Unconfirmed wait = {calloc(count + 2, 1), 1, 0};
	amqp_bytes_t body = amqp_bytes_malloc(size);
	uint64_t	published = 0;

	if (wait.done == NULL || body.bytes == NULL)
		die("begin", "out of memory");
	memset(body.bytes, 'x', size);
	memset(&properties, 0, sizeof(properties));
	properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG |
		AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG;
	properties.content_type = amqp_cstring_bytes("application/json");
	properties.delivery_mode = 2;
	properties.message_id =
		amqp_cstring_bytes("00000000-0000-4000-8000-000000000000");

	while (wait.confirmed < count)
	{
		while (published < count && published - wait.confirmed < window)
		{
			int			status = amqp_basic_publish(conn, 1,
													amqp_cstring_bytes(EXCHANGE),
													amqp_cstring_bytes("birthday"),
													1, 0, &properties, body);

			if (status != AMQP_STATUS_OK)
				die("publish", amqp_error_string2(status));
			published++;
		}
		take_frame(conn, &wait);
		while (amqp_frames_enqueued(conn) || amqp_data_in_buffer(conn))
			take_frame(conn, &wait);
		amqp_maybe_release_buffers(conn);
	}
	amqp_bytes_free(body);
	free(wait.done);
}

int
main(int argc, char **argv)
{
	amqp_connection_state_t conn;
	struct rusage before;
	struct rusage after;
	double		start;
	double		took;
	long		count;
	long		window;
	long		size;

	if (argc != 5 || (count = atol(argv[2])) <= 0 ||
		(window = atol(argv[3])) <= 0 || (size = atol(argv[4])) < 0)
		die("usage", "publish_bare URL COUNT WINDOW BODY-SIZE");
	conn = open_connection(argv[1]);
	declare_all(conn);
	getrusage(RUSAGE_SELF, &before);
	start = now_s();
	publish_all(conn, count, window, size);
	took = now_s() - start;
	getrusage(RUSAGE_SELF, &after);
	printf("{\"confirmed\": %ld, \"seconds\": %.6f, \"rate\": %.1f,"
		   " \"cpu_user\": %.6f, \"cpu_system\": %.6f}\n",
		   count, took, count / took,
		   seconds_of(after.ru_utime) - seconds_of(before.ru_utime),
		   seconds_of(after.ru_stime) - seconds_of(before.ru_stime));
	amqp_queue_delete(conn, 1, amqp_cstring_bytes(QUEUE), 0, 0);
	amqp_exchange_delete(conn, 1, amqp_cstring_bytes(EXCHANGE), 0);
	amqp_connection_close(conn, AMQP_REPLY_SUCCESS);
	amqp_destroy_connection(conn);
	return 0;
}
