/*-------------------------------------------------------------------------
 *
 * amqp_session.c
 *	  A session with a broker: login, and what the broker says.
 *
 * Only methods of the table "rules" are decoded, and each in its own time only;
 * tables of the broker's making are skipped by their length, never decoded:
 * librabbitmq follows them to any depth.
 *
 * src/core/amqp/amqp_session.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/amqp_private.h"

#include <string.h>

#define CHANNELS_NEEDED		2
#define HEARTBEAT_MAX_S		65535

static amqp_table_entry_t
true_entry(const char *key)
{
	amqp_table_entry_t entry = {amqp_cstring_bytes(key), {0}};

	entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
	entry.value.value.boolean = 1;
	return entry;
}

/* ---- login ---- */

void
bs_amqp_begin_session(BsAmqpLink *link)
{
	link->state = BS_AMQP_STATE_START;
	bs_amqp_put(link, "AMQP\0\0\11\1", 8);
}

/*
 * connection.start is read by hand, because of the table in it.  True, and the
 * mechanisms, if it is one of 0-9.
 */
static bool
read_start(const amqp_bytes_t *arguments, amqp_bytes_t *mechanisms)
{
	const char *at = arguments->bytes;
	size_t		left = arguments->len;
	size_t		len;

	if (left < 2 || at[0] != 0 || at[1] != 9)
		return false;
	at += 2;
	left -= 2;

	/* the server's properties */
	if (left < 4 || (len = bs_bigendian_read(at, 4)) > left - 4)
		return false;
	at += 4 + len;
	left -= 4 + len;

	if (left < 4 || (len = bs_bigendian_read(at, 4)) > left - 4)
		return false;
	mechanisms->bytes = (void *) (at + 4);
	mechanisms->len = len;
	return true;
}

/* Is it one of the words, with blanks between them? */
static bool
has_word(amqp_bytes_t words, const char *word)
{
	const char *at = words.bytes;
	const char *end = at + words.len;
	size_t		len = strlen(word);

	while (at < end)
	{
		const char *blank = memchr(at, ' ', (size_t) (end - at));

		if (blank == NULL)
			blank = end;
		if ((size_t) (blank - at) == len && memcmp(at, word, len) == 0)
			return true;
		at = blank + 1;
	}
	return false;
}

/* NUL, user, NUL, password (RFC 4616); NULL if it is too long. */
static const char *
plain_response(const BsAmqpLink *link, char *buf, size_t size, size_t *len)
{
	const BsAmqpAddress *address = &link->addresses[link->address];
	const char *password = link->config.password;
	size_t		user_len = strlen(address->user);
	size_t		password_len;

	if (password[0] == '\0')
		password = address->usual_password;
	password_len = strlen(password);
	*len = 2 + user_len + password_len;
	if (*len > size)
		return NULL;
	buf[0] = '\0';
	memcpy(buf + 1, address->user, user_len);
	buf[1 + user_len] = '\0';
	memcpy(buf + 2 + user_len, password, password_len);
	return buf;
}

static void
take_start(BsAmqpLink *link, const void *method)
{
	amqp_table_entry_t capabilities[] = {
		true_entry("publisher_confirms"),
		true_entry("basic.nack"),
		true_entry("connection.blocked"),
		true_entry("consumer_cancel_notify"),
		true_entry("authentication_failure_close"),
	};
	amqp_table_entry_t properties[] = {
		bs_amqp_string_entry("product", "birthday_scheduler"),
		bs_amqp_string_entry("connection_name", link->config.connection_name),
		{amqp_cstring_bytes("capabilities"), {0}},
	};
	amqp_connection_start_ok_t reply = {0};
	amqp_bytes_t mechanisms;
	char		response[4096];

	if (!read_start(method, &mechanisms))
	{
		bs_amqp_fail(link, true, "the broker does not speak AMQP 0-9-1");
		return;
	}
	if (!has_word(mechanisms, "PLAIN"))
	{
		bs_amqp_fail(link, true, "the broker does not offer the login PLAIN");
		return;
	}
	properties[2].value.kind = AMQP_FIELD_KIND_TABLE;
	properties[2].value.value.table.entries = capabilities;
	properties[2].value.value.table.num_entries =
		sizeof(capabilities) / sizeof(capabilities[0]);
	reply.client_properties.entries = properties;
	reply.client_properties.num_entries =
		sizeof(properties) / sizeof(properties[0]);
	reply.mechanism = amqp_cstring_bytes("PLAIN");
	reply.locale = amqp_cstring_bytes("en_US");
	reply.response.bytes = (void *) plain_response(link, response,
												   sizeof(response),
												   &reply.response.len);
	if (reply.response.bytes == NULL)
	{
		bs_amqp_fail(link, true, "the password is too long");
		return;
	}
	link->state = BS_AMQP_STATE_TUNE;
	bs_amqp_send_method(link, 0, AMQP_CONNECTION_START_OK_METHOD, &reply);
	explicit_bzero(response, sizeof(response));
	explicit_bzero(link->scratch, BS_AMQP_SCRATCH_SIZE);
}

/* Zero stands for no limit. */
static uint32_t
lower_of(uint32_t ours, uint32_t theirs)
{
	return theirs != 0 && theirs < ours ? theirs : ours;
}

/*
 * The broker sends at half the interval, so a broker that is alive is never
 * silent for longer than a quarter of what is allowed.
 */
static uint32_t
wanted_heartbeat(const BsAmqpLink *link)
{
	int64_t		seconds = link->config.silence_ms / 2000;

	if (seconds < 1)
		return 1;
	return seconds < HEARTBEAT_MAX_S ? (uint32_t) seconds : HEARTBEAT_MAX_S;
}

static void
take_tune(BsAmqpLink *link, const void *method)
{
	const amqp_connection_tune_t *tune = method;
	amqp_connection_tune_ok_t reply = {0};
	amqp_connection_open_t open = {0};

	if (tune->channel_max != 0 && tune->channel_max < CHANNELS_NEEDED)
	{
		bs_amqp_fail(link, true, "the broker allows too few channels");
		return;
	}
	if (tune->frame_max != 0 && tune->frame_max < AMQP_FRAME_MIN_SIZE)
	{
		bs_amqp_fail(link, true, "protocol error: frames are too small");
		return;
	}
	reply.channel_max = CHANNELS_NEEDED;
	reply.frame_max = lower_of(BS_AMQP_FRAME_MAX, tune->frame_max);
	reply.heartbeat = (uint16_t) lower_of(wanted_heartbeat(link),
										  tune->heartbeat);
	link->frame_max = reply.frame_max;
	link->heartbeat_ms = reply.heartbeat * 1000;
	bs_amqp_send_method(link, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &reply);

	open.virtual_host = amqp_cstring_bytes(link->addresses[link->address].vhost);
	link->state = BS_AMQP_STATE_OPEN;
	bs_amqp_send_method(link, 0, AMQP_CONNECTION_OPEN_METHOD, &open);
}

static void
take_open_ok(BsAmqpLink *link, const void *method)
{
	(void) method;
	link->state = BS_AMQP_STATE_CHANNEL;
	bs_amqp_open_channel(link, BS_AMQP_CHANNEL);
}

/* ---- trouble ---- */

/*
 * Must something be changed before it can work?  In operation a missing right to
 * write shows only when something is published; what is not found then has been
 * deleted, and the next connection declares it anew.
 */
static bool
is_permanent(const BsAmqpLink *link, int code)
{
	switch (code)
	{
		case AMQP_INVALID_PATH:
		case AMQP_ACCESS_REFUSED:
		case AMQP_NOT_ALLOWED:
			return true;
		case AMQP_NOT_FOUND:
			return link->state == BS_AMQP_STATE_OPEN;
		case AMQP_PRECONDITION_FAILED:
			return link->state == BS_AMQP_STATE_DECLARE;
		default:
			return false;
	}
}

/* The broker's code and text. */
static void
fail_with(BsAmqpLink *link, int code, amqp_bytes_t text)
{
	bool		missed = link->state == BS_AMQP_STATE_DECLARE &&
	link->passive && code == AMQP_NOT_FOUND;

	if (link->state == BS_AMQP_STATE_DECLARE)
		link->passive = false;
	bs_amqp_fail(link, is_permanent(link, code), "%d %.*s%s",
				 code, (int) text.len, (const char *) text.bytes,
				 missed ? "; and this user may not declare it" : "");
}

static void
take_connection_close(BsAmqpLink *link, const void *method)
{
	const amqp_connection_close_t *close = method;
	amqp_connection_close_ok_t reply = {0};

	if (sizeof(reply) + BS_AMQP_FRAME_EXTRA + 4 <= bs_amqp_out_room(link))
		bs_amqp_send_method(link, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &reply);
	link->closed_by_broker = true;
	fail_with(link, close->reply_code, close->reply_text);
}

/*
 * Without the right to declare, it may be that an administrator has declared
 * everything: look, and go on looking for as long as it is all there.  Since
 * RabbitMQ 4.2.6 looking needs a right as well.  Without one for the dead letters,
 * which no worker uses, their number is unknown, and the rest works.
 */
static void
take_channel_close(BsAmqpLink *link, const void *method)
{
	const amqp_channel_close_t *close = method;
	amqp_channel_close_ok_t reply = {0};

	if (link->state != BS_AMQP_STATE_DECLARE || link->dead_hidden ||
		close->reply_code != AMQP_ACCESS_REFUSED)
	{
		fail_with(link, close->reply_code, close->reply_text);
		return;
	}
	link->dead_hidden = link->passive;
	link->passive = true;
	link->state = BS_AMQP_STATE_CHANNEL;
	bs_amqp_send_method(link, BS_AMQP_CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD,
						&reply);
	bs_amqp_open_channel(link, BS_AMQP_CHANNEL);
}

static void
take_depth_channel_close(BsAmqpLink *link, const void *method)
{
	const amqp_channel_close_t *close = method;

	fail_with(link, close->reply_code, close->reply_text);
}

static void
take_blocked(BsAmqpLink *link, const void *method)
{
	const amqp_connection_blocked_t *blocked = method;

	link->blocked = true;
	bs_amqp_note(link, BS_AMQP_BLOCKED)->text =
		bs_amqp_keep_text(link, blocked->reason.bytes, blocked->reason.len);
}

static void
take_unblocked(BsAmqpLink *link, const void *method)
{
	(void) method;
	if (link->blocked)
	{
		link->blocked = false;
		link->confirm_ms = link->depth_asked_ms = bs_clock_ms();
		bs_amqp_note(link, BS_AMQP_UNBLOCKED);
	}
}

static void
take_cancel(BsAmqpLink *link, const void *method)
{
	(void) method;
	bs_amqp_fail(link, false, "the broker has ended the consumption of "
				 "queue \"%s\"", link->config.queue);
}

/* ---- what may come, and when ---- */

typedef struct BsAmqpRule
{
	amqp_method_number_t id;
	uint16_t	channel;
	BsAmqpState first;
	BsAmqpState last;
	void		(*take) (BsAmqpLink *link, const void *method); /* decoded */
} BsAmqpRule;

#define WHEN(state)		BS_AMQP_STATE_##state, BS_AMQP_STATE_##state
#define FROM(state)		BS_AMQP_STATE_##state, BS_AMQP_STATE_UP

static const BsAmqpRule rules[] = {
	{AMQP_BASIC_ACK_METHOD, 1, WHEN(UP), bs_amqp_take_ack},
	{AMQP_BASIC_DELIVER_METHOD, 1, WHEN(UP), bs_amqp_take_deliver},
	{AMQP_BASIC_NACK_METHOD, 1, WHEN(UP), bs_amqp_take_nack},
	{AMQP_BASIC_RETURN_METHOD, 1, WHEN(UP), bs_amqp_take_return},
	{AMQP_BASIC_CANCEL_METHOD, 1, WHEN(UP), take_cancel},
	{AMQP_CONNECTION_BLOCKED_METHOD, 0, FROM(TUNE), take_blocked},
	{AMQP_CONNECTION_UNBLOCKED_METHOD, 0, FROM(TUNE), take_unblocked},
	{AMQP_CHANNEL_OPEN_OK_METHOD, 2, WHEN(UP), bs_amqp_take_depth_channel},
	{AMQP_QUEUE_DECLARE_OK_METHOD, 2, WHEN(UP), bs_amqp_take_depth},
	{AMQP_CHANNEL_CLOSE_METHOD, 2, WHEN(UP), take_depth_channel_close},
	{AMQP_CONNECTION_START_METHOD, 0, WHEN(START), take_start}, /* its octets */
	{AMQP_CONNECTION_TUNE_METHOD, 0, WHEN(TUNE), take_tune},
	{AMQP_CONNECTION_OPEN_OK_METHOD, 0, WHEN(OPEN), take_open_ok},
	{AMQP_CHANNEL_OPEN_OK_METHOD, 1, WHEN(CHANNEL), bs_amqp_declare},
	{AMQP_CHANNEL_CLOSE_METHOD, 1, FROM(CHANNEL), take_channel_close},
	{AMQP_CONNECTION_CLOSE_METHOD, 0, FROM(START), take_connection_close},
};

static void
take_by_rule(BsAmqpLink *link, const BsAmqpRule *rule, amqp_bytes_t arguments)
{
	void	   *method = &arguments;

	if (rule->take != take_start &&
		amqp_decode_method(rule->id, &link->pool, arguments, &method) !=
		AMQP_STATUS_OK)
		bs_amqp_fail(link, false, "protocol error: a method cannot be read");
	else
		rule->take(link, method);
}

static void
take_method(BsAmqpLink *link, const BsAmqpFrame *frame)
{
	amqp_method_number_t id;
	amqp_bytes_t arguments;
	size_t		i;

	if (frame->payload.len < 4)
	{
		bs_amqp_fail(link, false, "protocol error: a method has no name");
		return;
	}
	id = (amqp_method_number_t) bs_bigendian_read(frame->payload.bytes, 4);
	arguments.bytes = (char *) frame->payload.bytes + 4;
	arguments.len = frame->payload.len - 4;

	if (link->content.method != 0 && frame->channel == BS_AMQP_CHANNEL)
	{
		bs_amqp_fail(link, false, "protocol error: a message breaks off");
		return;
	}
	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
	{
		const BsAmqpRule *rule = &rules[i];

		if (rule->id == id && rule->channel == frame->channel &&
			link->state >= rule->first && link->state <= rule->last)
		{
			take_by_rule(link, rule, arguments);
			return;
		}
	}
	if (link->state == BS_AMQP_STATE_DECLARE &&
		frame->channel == BS_AMQP_CHANNEL)
		bs_amqp_take_reply(link, id);
	else
		bs_amqp_fail(link, false, "protocol error: method %u.%u on channel %u "
					 "was not to be expected", (unsigned int) (id >> 16),
					 (unsigned int) (id & 0xffff), frame->channel);
}

/*
 * bs_amqp_take_input
 *		All whole frames of the input.
 *
 * Where there is no room for the events of another, the rest is left for the
 * next call.
 */
void
bs_amqp_take_input(BsAmqpLink *link)
{
	BsAmqpFrame frame;

	while (bs_amqp_is_open(link) && bs_amqp_has_room(link) &&
		   bs_amqp_next_frame(link, &frame))
	{
		switch (frame.type)
		{
			case AMQP_FRAME_METHOD:
				take_method(link, &frame);
				recycle_amqp_pool(&link->pool);
				break;
			case AMQP_FRAME_HEADER:
				bs_amqp_take_header(link, frame.payload);
				break;
			case AMQP_FRAME_BODY:
				bs_amqp_take_body(link, frame.payload);
				break;
			default:			/* a heartbeat is there to be received */
				break;
		}
	}
}
