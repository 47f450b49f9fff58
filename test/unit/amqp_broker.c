/*-------------------------------------------------------------------------
 *
 * amqp_broker.c
 *	  A broker that follows a script: what it is, and what it can say.
 *
 * test/unit/amqp_broker.c
 *
 *-------------------------------------------------------------------------
 */
#include "amqp_broker.h"

void
broker_open(BsBroker *broker)
{
	memset(broker, 0, sizeof(*broker));
	broker->in = -1;
	broker->mechanisms = "AMQPLAIN PLAIN";
	broker->channel_max = 2047;
	broker->frame_max = 131072;
	broker->heartbeat = 60;
	broker->listener = listen_somewhere(16, &broker->port);
	init_amqp_pool(&broker->pool, 4096);
}

void
broker_drop(BsBroker *broker)
{
	if (broker->in >= 0 && broker->in != broker->out)
		close(broker->out);
	if (broker->in >= 0)
		close(broker->in);
	broker->in = -1;
	free(broker->input);
	free(broker->output);
	broker->input = broker->output = NULL;
	broker->input_len = broker->output_len = broker->output_size = 0;
	broker->messages = 0;
	broker->body_left = 0;
	broker->ends = false;
	memset(broker->closing, 0, sizeof(broker->closing));
}

void
broker_close(BsBroker *broker)
{
	broker_drop(broker);
	if (broker->listener >= 0)
		close(broker->listener);
	broker->listener = -1;
	empty_amqp_pool(&broker->pool);
}

void
broker_note(BsBroker *broker, const char *format,...)
{
	size_t		used = strlen(broker->log);
	va_list		args;

	va_start(args, format);
	vsnprintf(broker->log + used, sizeof(broker->log) - used, format, args);
	va_end(args);
}

/* ---- what it says ---- */

void
broker_raw(BsBroker *broker, const void *data, size_t len)
{
	if (broker->in < 0)
		return;
	if (broker->output_len + len > broker->output_size)
	{
		broker->output_size = 2 * (broker->output_len + len);
		broker->output = realloc(broker->output, broker->output_size);
	}
	memcpy(broker->output + broker->output_len, data, len);
	broker->output_len += len;
}

void
broker_number(char *at, int width, uint64_t number)
{
	while (width-- > 0)
	{
		at[width] = (char) number;
		number >>= 8;
	}
}

void
broker_frame(BsBroker *broker, uint8_t type, uint16_t channel,
			 const void *payload, size_t len)
{
	char		head[7];

	head[0] = (char) type;
	broker_number(head + 1, 2, channel);
	broker_number(head + 3, 4, len);
	broker_raw(broker, head, 7);
	broker_raw(broker, payload, len);
	broker_raw(broker, "\xCE", 1);
}

void
broker_say(BsBroker *broker, uint16_t channel, amqp_method_number_t id,
		   void *method)
{
	char		buffer[70000];
	amqp_bytes_t arguments = {sizeof(buffer) - 4, buffer + 4};
	int			len = amqp_encode_method(id, method, arguments);

	broker_number(buffer, 4, id);
	broker_frame(broker, AMQP_FRAME_METHOD, channel, buffer, 4 + len);
}

void
broker_heartbeat(BsBroker *broker)
{
	broker_frame(broker, AMQP_FRAME_HEARTBEAT, 0, "", 0);
}

void
broker_close_connection(BsBroker *broker, int code, const char *text)
{
	amqp_connection_close_t close = {(uint16_t) code,
	amqp_cstring_bytes(text), 0, 0};

	broker_say(broker, 0, AMQP_CONNECTION_CLOSE_METHOD, &close);
}

void
broker_close_channel(BsBroker *broker, int channel, int code,
					 const char *text)
{
	amqp_channel_close_t close = {(uint16_t) code,
	amqp_cstring_bytes(text), 0, 0};

	broker_say(broker, (uint16_t) channel, AMQP_CHANNEL_CLOSE_METHOD, &close);
	broker->closing[channel] = true;
}

void
broker_ack(BsBroker *broker, uint64_t number, bool multiple)
{
	amqp_basic_ack_t ack = {number, multiple};

	broker_say(broker, 1, AMQP_BASIC_ACK_METHOD, &ack);
}

void
broker_nack(BsBroker *broker, uint64_t number, bool multiple)
{
	amqp_basic_nack_t nack = {number, multiple, 0};

	broker_say(broker, 1, AMQP_BASIC_NACK_METHOD, &nack);
}

void
broker_head(BsBroker *broker, uint64_t body_len,
			const void *properties, size_t properties_len)
{
	char	   *payload = malloc(12 + properties_len);

	broker_number(payload, 2, AMQP_BASIC_CLASS);
	broker_number(payload + 2, 2, 0);
	broker_number(payload + 4, 8, body_len);
	memcpy(payload + 12, properties, properties_len);
	broker_frame(broker, AMQP_FRAME_HEADER, 1, payload, 12 + properties_len);
	free(payload);
}

void
broker_body(BsBroker *broker, const char *body, size_t len, size_t piece)
{
	size_t		at;

	for (at = 0; at < len; at += piece)
		broker_frame(broker, AMQP_FRAME_BODY, 1, body + at,
					 len - at < piece ? len - at : piece);
}

void
broker_deliver_method(BsBroker *broker, uint64_t tag, bool redelivered)
{
	amqp_basic_deliver_t deliver = {
		amqp_cstring_bytes("ctag"), tag, redelivered,
		amqp_cstring_bytes("birthday.messages"),
		amqp_cstring_bytes("birthday")
	};

	broker_say(broker, 1, AMQP_BASIC_DELIVER_METHOD, &deliver);
}

void
broker_deliver(BsBroker *broker, uint64_t tag, bool redelivered,
			   const char *body, size_t len, size_t piece)
{
	broker_deliver_method(broker, tag, redelivered);
	broker_head(broker, len, "\0\0", 2);
	broker_body(broker, body, len, piece);
}

void
broker_return(BsBroker *broker, int code, const char *id)
{
	amqp_basic_return_t method = {
		(uint16_t) code, amqp_cstring_bytes("NO_ROUTE"),
		amqp_cstring_bytes("birthday.messages"),
		amqp_cstring_bytes("birthday")
	};
	amqp_basic_properties_t properties = {0};
	char		buffer[1024];
	amqp_bytes_t bytes = {sizeof(buffer), buffer};
	int			len;

	properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG |
		AMQP_BASIC_DELIVERY_MODE_FLAG;
	properties.content_type = amqp_cstring_bytes("application/json");
	properties.delivery_mode = 2;
	if (id != NULL)
	{
		properties._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
		properties.message_id = amqp_cstring_bytes(id);
	}
	len = amqp_encode_properties(AMQP_BASIC_CLASS, &properties, bytes);
	broker_say(broker, 1, AMQP_BASIC_RETURN_METHOD, &method);
	broker_head(broker, 2, buffer, (size_t) len);
	broker_body(broker, "{}", 2, 2);
}

void
broker_start(BsBroker *broker)
{
	amqp_connection_start_t start = {0, 9, {0}, {0}, {0}};

	start.mechanisms = amqp_cstring_bytes(broker->mechanisms);
	start.locales = amqp_cstring_bytes("en_US");
	broker_say(broker, 0, AMQP_CONNECTION_START_METHOD, &start);
}
