/*-------------------------------------------------------------------------
 *
 * amqp_broker_loop.c
 *	  What the broker under script hears, and its part of the test's loop.
 *
 * test/unit/amqp_broker_loop.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* memmem(), accept4() */
#include "amqp_broker_loop.h"

#define AS_TEXT(octets)	(int) (octets).len, (const char *) (octets).bytes

/* ---- what it hears ---- */

static void
broker_note_table(BsBroker *broker, amqp_table_t table)
{
	int			i;

	for (i = 0; i < table.num_entries; i++)
	{
		amqp_table_entry_t entry = table.entries[i];

		broker_note(broker, " %.*s=", AS_TEXT(entry.key));
		if (entry.value.kind == AMQP_FIELD_KIND_UTF8)
			broker_note(broker, "%.*s", AS_TEXT(entry.value.value.bytes));
		else if (entry.value.kind == AMQP_FIELD_KIND_BOOLEAN)
			broker_note(broker, "%d", entry.value.value.boolean);
		else if (entry.value.kind == AMQP_FIELD_KIND_TABLE)
		{
			broker_note(broker, "{");
			broker_note_table(broker, entry.value.value.table);
			broker_note(broker, "}");
		}
	}
}

static void
broker_note_start_ok(BsBroker *broker, amqp_connection_start_ok_t *method)
{
	size_t		i;
	char	   *response = method->response.bytes;

	for (i = 0; i < method->response.len; i++)
	{
		if (response[i] == '\0')
			response[i] = '|';
	}
	broker_note(broker, "start-ok %.*s %.*s", AS_TEXT(method->mechanism),
				AS_TEXT(method->response));
	broker_note_table(broker, method->client_properties);
	broker_note(broker, "\n");
}

/* Login, and what ends a connection. */
static void
broker_hear_connection(BsBroker *broker, amqp_method_number_t id,
					   void *method)
{
	amqp_connection_tune_t tune = {0};
	amqp_connection_tune_ok_t *tune_ok = method;
	amqp_connection_open_ok_t open_ok = {{0}};

	switch (id)
	{
		case AMQP_CONNECTION_START_OK_METHOD:
			broker_note_start_ok(broker, method);
			tune.channel_max = broker->channel_max;
			tune.frame_max = broker->frame_max;
			tune.heartbeat = broker->heartbeat;
			broker_say(broker, 0, AMQP_CONNECTION_TUNE_METHOD, &tune);
			break;
		case AMQP_CONNECTION_TUNE_OK_METHOD:
			broker_note(broker, "tune-ok %d %d %d\n", tune_ok->channel_max,
						(int) tune_ok->frame_max, tune_ok->heartbeat);
			break;
		case AMQP_CONNECTION_OPEN_METHOD:
			broker_note(broker, "open %.*s\n",
						AS_TEXT(((amqp_connection_open_t *)
								 method)->virtual_host));
			broker_say(broker, 0, AMQP_CONNECTION_OPEN_OK_METHOD, &open_ok);
			break;
		case AMQP_CONNECTION_CLOSE_METHOD:
			broker->farewells++;
			break;
		case AMQP_CONNECTION_CLOSE_OK_METHOD:
			broker_note(broker, "close-ok\n");
			break;
		default:
			broker_note(broker, "method %x\n", id);
	}
}

/* Requests of one reply each. */
static void
broker_hear_request(BsBroker *broker, uint16_t channel,
					amqp_method_number_t id, void *method)
{
	amqp_exchange_declare_t *exchange = method;
	amqp_queue_declare_t *queue = method;
	amqp_queue_bind_t *bind = method;
	amqp_basic_qos_t *qos = method;
	amqp_basic_consume_t *consume = method;
	amqp_queue_declare_ok_t declared = {{0}, 0, 0};
	amqp_basic_consume_ok_t consumed = {amqp_cstring_bytes("ctag")};
	amqp_channel_open_ok_t opened = {{0}};
	char		nothing[64] = "";

	switch (id)
	{
		case AMQP_CHANNEL_OPEN_METHOD:
			broker_note(broker, "channel.open %d\n", channel);
			broker_say(broker, channel, AMQP_CHANNEL_OPEN_OK_METHOD, &opened);
			break;
		case AMQP_CHANNEL_CLOSE_OK_METHOD:
			broker_note(broker, "channel.close-ok %d\n", channel);
			broker->closing[channel] = false;
			break;
		case AMQP_EXCHANGE_DECLARE_METHOD:
			broker_note(broker, "exchange.declare %.*s %.*s%s%s\n",
						AS_TEXT(exchange->exchange), AS_TEXT(exchange->type),
						exchange->durable ? " durable" : "",
						exchange->passive ? " passive" : "");
			broker_say(broker, channel, AMQP_EXCHANGE_DECLARE_OK_METHOD,
					   nothing);
			break;
		case AMQP_QUEUE_DECLARE_METHOD:
			broker_note(broker, "queue.declare %.*s%s%s",
						AS_TEXT(queue->queue),
						queue->durable ? " durable" : "",
						queue->passive ? " passive" : "");
			broker_note_table(broker, queue->arguments);
			broker_note(broker, "\n");
			declared.queue = queue->queue;
			declared.message_count = (uint32_t) queue->queue.len;
			declared.consumer_count = broker->consumers;
			if (channel == 2 && broker->depth_is_lost)
				broker_close_channel(broker, 2, 404, "NOT_FOUND - no queue");
			else
				broker_say(broker, channel, AMQP_QUEUE_DECLARE_OK_METHOD,
						   &declared);
			break;
		case AMQP_QUEUE_BIND_METHOD:
			broker_note(broker, "queue.bind %.*s %.*s %.*s\n",
						AS_TEXT(bind->queue), AS_TEXT(bind->exchange),
						AS_TEXT(bind->routing_key));
			broker_say(broker, channel, AMQP_QUEUE_BIND_OK_METHOD, nothing);
			break;
		case AMQP_CONFIRM_SELECT_METHOD:
			broker_note(broker, "confirm.select\n");
			broker_say(broker, channel, AMQP_CONFIRM_SELECT_OK_METHOD,
					   nothing);
			break;
		case AMQP_BASIC_QOS_METHOD:
			broker_note(broker, "basic.qos %d%s\n", qos->prefetch_count,
						qos->global ? " global" : "");
			broker_say(broker, channel, AMQP_BASIC_QOS_OK_METHOD, nothing);
			break;
		case AMQP_BASIC_CONSUME_METHOD:
			broker_note(broker, "basic.consume %.*s%s%s\n",
						AS_TEXT(consume->queue),
						consume->no_ack ? " no-ack" : "",
						consume->exclusive ? " exclusive" : "");
			broker_say(broker, channel, AMQP_BASIC_CONSUME_OK_METHOD,
					   &consumed);
			break;
		default:
			broker_note(broker, "method %x\n", id);
	}
}

static void
broker_hear_publish(BsBroker *broker, amqp_basic_publish_t *publish)
{
	BsBrokerMessage *message = &broker->message[broker->messages];

	memset(message, 0, sizeof(*message));
	message->mandatory = publish->mandatory;
	snprintf(message->key, sizeof(message->key), "%.*s",
			 AS_TEXT(publish->routing_key));
}

static void
broker_hear_method(BsBroker *broker, uint16_t channel,
				   amqp_bytes_t payload)
{
	uint32_t	id;
	amqp_bytes_t arguments = {payload.len - 4, (char *) payload.bytes + 4};
	void	   *method = NULL;

	memcpy(&id, payload.bytes, 4);
	id = ntohl(id);
	if (amqp_decode_method(id, &broker->pool, arguments, &method) !=
		AMQP_STATUS_OK)
		broker_note(broker, "undecodable %x\n", id);
	else if (channel > 2 ||
			 (broker->closing[channel] && id != AMQP_CHANNEL_CLOSE_OK_METHOD))
		 /* what was under way counts for nothing */ ;
	else if (id == AMQP_BASIC_PUBLISH_METHOD)
		broker_hear_publish(broker, method);
	else if (id == AMQP_BASIC_ACK_METHOD)
	{
		broker->acks++;
		broker->ack_tag = ((amqp_basic_ack_t *) method)->delivery_tag;
		broker->ack_multiple = ((amqp_basic_ack_t *) method)->multiple;
	}
	else if (id == AMQP_BASIC_REJECT_METHOD)
	{
		if (((amqp_basic_reject_t *) method)->requeue)
			broker_note(broker, "requeue\n");
		broker->rejects++;
		broker->reject_tag = ((amqp_basic_reject_t *) method)->delivery_tag;
	}
	else if (broker->mute ||
			 (broker->hook != NULL &&
			  broker->hook(broker, channel, id, method)))
		 /* nothing */ ;
	else if (channel == 0)
		broker_hear_connection(broker, id, method);
	else
		broker_hear_request(broker, channel, id, method);
	recycle_amqp_pool(&broker->pool);
}

static void
broker_end_message(BsBroker *broker)
{
	if (++broker->messages == BROKER_MESSAGES)
		broker->messages = BROKER_MESSAGES - 1;
	if (broker->confirms)
		broker_ack(broker, (uint64_t) broker->messages, false);
}

static void
broker_hear_head(BsBroker *broker, amqp_bytes_t payload)
{
	BsBrokerMessage *message = &broker->message[broker->messages];
	amqp_bytes_t rest = {payload.len - 12, (char *) payload.bytes + 12};
	amqp_basic_properties_t *properties = NULL;
	void	   *decoded = NULL;
	const unsigned char *at = payload.bytes;
	int			i;

	if (amqp_decode_properties(AMQP_BASIC_CLASS, &broker->pool, rest,
							   &decoded) == AMQP_STATUS_OK)
	{
		properties = decoded;
		snprintf(message->id, sizeof(message->id), "%.*s",
				 AS_TEXT(properties->message_id));
		message->persistent = properties->delivery_mode == 2;
		if (properties->content_type.len != 16 ||
			memcmp(properties->content_type.bytes, "application/json",
				   16) != 0)
			broker_note(broker, "content type\n");
	}
	recycle_amqp_pool(&broker->pool);
	broker->body_left = 0;
	for (i = 4; i < 12; i++)
		broker->body_left = broker->body_left << 8 | at[i];
	message->body_len = broker->body_left;
	if (broker->body_left == 0)
		broker_end_message(broker);
}

static void
broker_hear_body(BsBroker *broker, amqp_bytes_t payload)
{
	BsBrokerMessage *message = &broker->message[broker->messages];

	if (message->frames++ == 0)
		snprintf(message->body, sizeof(message->body), "%.*s",
				 AS_TEXT(payload));
	broker->body_left -= payload.len < broker->body_left ? payload.len :
		broker->body_left;
	if (broker->body_left == 0)
		broker_end_message(broker);
}

/* How many octets were one frame or greeting; 0: it is not whole. */
static size_t
broker_hear_frame(BsBroker *broker, char *at, size_t len)
{
	amqp_bytes_t payload;
	uint32_t	size;
	uint16_t	channel;

	if (len >= 8 && memcmp(at, "AMQP\0\0\11\1", 8) == 0)
	{
		if (!broker->mute && (broker->hook == NULL ||
							  !broker->hook(broker, 0, 0, NULL)))
			broker_start(broker);
		return 8;
	}
	if (len < 7)
		return 0;
	memcpy(&channel, at + 1, 2);
	memcpy(&size, at + 3, 4);
	payload.len = ntohl(size);
	payload.bytes = at + 7;
	if (len < payload.len + 8)
		return 0;
	if (at[payload.len + 7] != '\xCE' ||
		payload.len + 8 > broker->frame_max)
		broker_note(broker, "bad frame\n");
	if (*at == AMQP_FRAME_METHOD)
		broker_hear_method(broker, ntohs(channel), payload);
	else if (*at == AMQP_FRAME_HEADER)
		broker_hear_head(broker, payload);
	else if (*at == AMQP_FRAME_BODY)
		broker_hear_body(broker, payload);
	else if (*at == AMQP_FRAME_HEARTBEAT)
		broker->heartbeats++;
	else
		broker_note(broker, "bad frame\n");
	return payload.len + 8;
}

static void
broker_hear(BsBroker *broker)
{
	size_t		at = 0;
	size_t		len;

	while (broker->in >= 0 &&
		   (len = broker_hear_frame(broker, broker->input + at,
									broker->input_len - at)) > 0)
		at += len;
	if (broker->in < 0)
		return;
	broker->input_len -= at;
	memmove(broker->input, broker->input + at, broker->input_len);
}

static void
broker_read(BsBroker *broker)
{
	char		buffer[65536];
	ssize_t		len = read(broker->in, buffer, sizeof(buffer));

	if (len <= 0)
	{
		if (len == 0 || errno != EAGAIN)
			broker_drop(broker);
		return;
	}
	broker->input = realloc(broker->input, broker->input_len + len);
	memcpy(broker->input + broker->input_len, buffer, len);
	broker->input_len += len;
	broker_hear(broker);
}

void
broker_write(BsBroker *broker)
{
	ssize_t		len = 0;

	if (broker->in >= 0 && broker->output_len > 0)
	{
		len = write(broker->out, broker->output,
					broker->drips ? 1 : broker->output_len);
		if (len > 0)
		{
			broker->output_len -= len;
			memmove(broker->output, broker->output + len,
					broker->output_len);
		}
	}
	if (len < 0 && errno != EAGAIN)
		broker_drop(broker);
	else if (broker->in >= 0 && broker->output_len == 0 && broker->ends)
		broker_drop(broker);
}

/* ---- its part of the loop ---- */

void
broker_attach(BsBroker *broker, int in, int out)
{
	broker_drop(broker);
	broker->in = in;
	broker->out = out;
	broker->connections++;
}

int
broker_poll(BsBroker *broker, struct pollfd *fds)
{
	int			count = 0;

	fds[count++] = poll_entry(broker->listener, POLLIN);
	if (broker->in >= 0 && !broker->deaf)
		fds[count++] = poll_entry(broker->in, POLLIN);
	if (broker->in >= 0 && broker->output_len > 0)
		fds[count++] = poll_entry(broker->out, POLLOUT);
	return count;
}

void
broker_serve(BsBroker *broker, const struct pollfd *fds, int count)
{
	int			i;
	int			sock;
	int			small = 16384;

	for (i = 1; i < count; i++)
	{
		if (broker->in >= 0 && fds[i].fd == broker->in &&
			(fds[i].events & POLLIN) && fds[i].revents != 0)
			broker_read(broker);
	}
	broker_write(broker);
	if (!(fds[0].revents & POLLIN))
		return;
	sock = accept4(broker->listener, NULL, NULL, SOCK_NONBLOCK);
	if (sock < 0)
		return;
	if (broker->deaf)
		setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	broker_attach(broker, sock, sock);
}
