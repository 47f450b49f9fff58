/*-------------------------------------------------------------------------
 *
 * amqp_message.c
 *	  Messages: published and confirmed, delivered and acknowledged.
 *
 * A published message has a number, counted from 1 on each connection, and its
 * place in a ring until it and all before it are confirmed.  One that no queue
 * wants is returned first and acknowledged then.
 *
 * The properties of what the broker sends are walked over, not decoded: headers
 * can be nested deeper than any stack.
 *
 * src/core/amqp/amqp_message.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/amqp_private.h"

#include <string.h>

#include "core/base/hash.h"

#define CONTENT_HEAD_SIZE	12	/* class, weight, size of the body */
#define PERSISTENT			2

static const char *const nacked_text =
"its queue is full, or down (basic.nack)";
static const char *const unroutable_text =
"unroutable: no queue wants it (312 NO_ROUTE)";
static const char *const returned_text =
"the broker returned it";

static BsAmqpUnconfirmed *
unconfirmed_at(BsAmqpLink *link, uint64_t number)
{
	return &link->unconfirmed[number % (uint64_t) link->config.window];
}

/* Never 0, which stands for no message-id. */
static uint64_t
hash_id(const void *id, size_t len)
{
	uint64_t	hash = bs_hash(id, len);

	return hash != 0 ? hash : 1;
}

void
bs_amqp_reset_messages(BsAmqpLink *link)
{
	link->content.method = 0;
	link->first_unconfirmed = 1;
	link->next_number = 1;
	link->next_returned = 1;
	link->unroutable = false;
}

/* ---- out ---- */

int
bs_amqp_room(const BsAmqpLink *link)
{
	size_t		left = bs_amqp_out_room(link);
	int			window = link->config.window - bs_amqp_outstanding(link);

	if (!bs_amqp_is_up(link) || link->blocked || link->unroutable ||
		window <= 0 || left <= BS_AMQP_OUT_RESERVE)
		return 0;
	left = (left - BS_AMQP_OUT_RESERVE) / link->publish_max;
	return left < (size_t) window ? (int) left : window;
}

/* The body in as many frames as it takes. */
static void
put_body(BsAmqpLink *link, const char *body, size_t body_len)
{
	size_t		most = link->frame_max - BS_AMQP_FRAME_EXTRA;

	while (body_len > 0)
	{
		size_t		len = body_len < most ? body_len : most;
		char		around[BS_AMQP_FRAME_EXTRA];

		around[0] = AMQP_FRAME_BODY;
		bs_bigendian_write(around + 1, 2, BS_AMQP_CHANNEL);
		bs_bigendian_write(around + 3, 4, len);
		around[BS_AMQP_FRAME_HEAD] = (char) AMQP_FRAME_END;
		bs_amqp_put(link, around, BS_AMQP_FRAME_HEAD);
		bs_amqp_put(link, body, len);
		bs_amqp_put(link, around + BS_AMQP_FRAME_HEAD, 1);
		body += len;
		body_len -= len;
	}
}

bool
bs_amqp_publish(BsAmqpLink *link, const char *routing_key,
				const char *message_id, const char *body,
				size_t body_len, uint64_t tag)
{
	const char *end = link->scratch + BS_AMQP_SCRATCH_SIZE;
	amqp_basic_publish_t publish = {0};
	amqp_basic_properties_t properties = {0};
	BsAmqpUnconfirmed *unconfirmed;
	size_t		len;
	char	   *at;

	if (body_len > BS_AMQP_BODY_MAX || bs_amqp_room(link) == 0)
		return false;
	publish.exchange = amqp_cstring_bytes(link->config.exchange);
	publish.routing_key = amqp_cstring_bytes(routing_key);
	publish.mandatory = 1;
	properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG |
		AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG;
	properties.content_type = amqp_cstring_bytes("application/json");
	properties.delivery_mode = PERSISTENT;
	properties.message_id = amqp_cstring_bytes(message_id);

	at = bs_amqp_encode_method(link->scratch, end, BS_AMQP_CHANNEL,
							   AMQP_BASIC_PUBLISH_METHOD, &publish);
	if (at != NULL)
		at = bs_amqp_encode_header(at, end, BS_AMQP_CHANNEL, body_len,
								   &properties);
	if (at == NULL)
		return false;
	len = (size_t) (at - link->scratch) + body_len + 2 * BS_AMQP_FRAME_EXTRA;
	if (len > bs_amqp_out_room(link) - BS_AMQP_OUT_RESERVE)
		return false;
	if (len > link->publish_max)
		link->publish_max = len;
	bs_amqp_put(link, link->scratch, (size_t) (at - link->scratch));
	put_body(link, body, body_len);

	if (bs_amqp_outstanding(link) == 0)
		link->confirm_ms = bs_clock_ms();
	unconfirmed = unconfirmed_at(link, link->next_number++);
	unconfirmed->tag = tag;
	unconfirmed->id_hash = hash_id(message_id, strlen(message_id));
	unconfirmed->settled = false;
	unconfirmed->returned = NULL;
	return true;
}

void
bs_amqp_ack(BsAmqpLink *link, uint32_t epoch, uint64_t tag, bool multiple)
{
	amqp_basic_ack_t ack = {tag, multiple};

	if (bs_amqp_is_up(link) && epoch == link->epoch)
		bs_amqp_send_method(link, BS_AMQP_CHANNEL, AMQP_BASIC_ACK_METHOD,
							&ack);
}

void
bs_amqp_reject(BsAmqpLink *link, uint32_t epoch, uint64_t tag)
{
	amqp_basic_reject_t reject = {tag, 0};

	if (bs_amqp_is_up(link) && epoch == link->epoch)
		bs_amqp_send_method(link, BS_AMQP_CHANNEL, AMQP_BASIC_REJECT_METHOD,
							&reject);
}

/* ---- confirms ---- */

static void
settle(BsAmqpLink *link, uint64_t number, bool acked)
{
	BsAmqpUnconfirmed *unconfirmed = unconfirmed_at(link, number);
	bool		confirmed = acked && unconfirmed->returned == NULL;
	BsAmqpNote *note;

	if (unconfirmed->settled)
		return;
	unconfirmed->settled = true;
	note = bs_amqp_note(link, confirmed ? BS_AMQP_CONFIRMED : BS_AMQP_REFUSED);
	note->tag = unconfirmed->tag;
	if (unconfirmed->returned != NULL)
		note->text = unconfirmed->returned;
	else if (!acked)
		note->text = nacked_text;
}

/*
 * Acks come in any order; "multiple" settles all up to the number, and 0 with
 * it all there are.
 *
 * Where nothing can be routed, the next connection declares queue and binding
 * anew; this one ends when it owes nothing any more.
 */
static void
settle_all(BsAmqpLink *link, uint64_t number, bool multiple, bool acked)
{
	uint64_t	from = number;

	if (multiple)
	{
		from = link->first_unconfirmed;
		if (number == 0)
			number = link->next_number - 1;
	}
	if (number >= link->next_number || (number == 0 && !multiple))
	{
		bs_amqp_fail(link, false,
					 "protocol error: a confirm is for no message of ours");
		return;
	}
	for (; from <= number; from++)
	{
		if (from >= link->first_unconfirmed)
			settle(link, from, acked);
	}
	while (link->first_unconfirmed < link->next_number &&
		   unconfirmed_at(link, link->first_unconfirmed)->settled)
		link->first_unconfirmed++;
	link->confirm_ms = bs_clock_ms();
	if (link->unroutable && bs_amqp_outstanding(link) == 0)
		bs_amqp_fail(link, false,
					 "no queue is bound to exchange \"%s\"",
					 link->config.exchange);
}

void
bs_amqp_take_ack(BsAmqpLink *link, const void *method)
{
	const amqp_basic_ack_t *ack = method;

	settle_all(link, ack->delivery_tag, ack->multiple, true);
}

void
bs_amqp_take_nack(BsAmqpLink *link, const void *method)
{
	const amqp_basic_nack_t *nack = method;

	settle_all(link, nack->delivery_tag, nack->multiple, false);
}

/*
 * Returns come in the order of publishing, so the search begins behind the last
 * one.  A return that is for none of ours would leave one to be confirmed that
 * is not in the queue.
 */
static void
mark_returned(BsAmqpLink *link)
{
	int			count = bs_amqp_outstanding(link);
	uint64_t	number = link->next_returned;

	while (count-- > 0)
	{
		BsAmqpUnconfirmed *unconfirmed;

		if (number < link->first_unconfirmed || number >= link->next_number)
			number = link->first_unconfirmed;
		unconfirmed = unconfirmed_at(link, number++);
		if (unconfirmed->settled || unconfirmed->returned != NULL ||
			unconfirmed->id_hash != link->content.id_hash)
			continue;
		link->unroutable = link->content.reply_code == AMQP_NO_ROUTE;
		unconfirmed->returned = link->unroutable ?
			unroutable_text : returned_text;
		link->next_returned = number;
		return;
	}
	bs_amqp_fail(link, false,
				 "protocol error: a message is returned that is none of ours");
}

/* ---- in ---- */

void
bs_amqp_take_deliver(BsAmqpLink *link, const void *method)
{
	const amqp_basic_deliver_t *deliver = method;
	BsAmqpContent *content = &link->content;

	if (link->config.prefetch == 0)
	{
		bs_amqp_fail(link, false, "protocol error: a delivery comes unasked");
		return;
	}
	content->method = AMQP_BASIC_DELIVER_METHOD;
	content->has_header = false;
	content->tag = deliver->delivery_tag;
	content->redelivered = deliver->redelivered;
}

void
bs_amqp_take_return(BsAmqpLink *link, const void *method)
{
	const amqp_basic_return_t *returned = method;
	BsAmqpContent *content = &link->content;

	content->method = AMQP_BASIC_RETURN_METHOD;
	content->has_header = false;
	content->reply_code = returned->reply_code;
}

static void
end_content(BsAmqpLink *link)
{
	BsAmqpContent *content = &link->content;
	amqp_method_number_t method = content->method;
	BsAmqpNote *note;

	content->method = 0;
	if (method == AMQP_BASIC_RETURN_METHOD)
	{
		mark_returned(link);
		return;
	}
	note = bs_amqp_note(link, BS_AMQP_DELIVERED);
	note->tag = content->tag;
	note->redelivered = content->redelivered;
	note->body_len = content->body_len;
	note->body = "";
	if (content->body_len <= BS_AMQP_BODY_MAX)
	{
		char	   *body = link->arena + link->arena_used;

		memcpy(body, content->body, content->body_len);
		body[content->body_len] = '\0';
		link->arena_used += content->body_len + 1;
		note->body = body;
	}
}

/*
 * How many octets a property takes at "at"; more than "left" if it does not
 * end there.  What comes after the message-id is not walked over.
 */
static size_t
property_size(uint16_t flag, const char *at, size_t left)
{
	switch (flag)
	{
		case AMQP_BASIC_DELIVERY_MODE_FLAG:
		case AMQP_BASIC_PRIORITY_FLAG:
			return 1;
		case AMQP_BASIC_HEADERS_FLAG:
			return left < 4 ? 4 : 4 + bs_bigendian_read(at, 4);
		default:
			return left < 1 ? 1 : 1 + bs_bigendian_read(at, 1);
	}
}

/* The hash of the message-id; 0: there is none. */
static uint64_t
find_message_id(const char *at, size_t left)
{
	uint16_t	flags;
	uint16_t	flag;

	if (left < 2)
		return 0;
	flags = (uint16_t) bs_bigendian_read(at, 2);
	at += 2;
	left -= 2;
	for (flag = AMQP_BASIC_CONTENT_TYPE_FLAG;
		 flag >= AMQP_BASIC_MESSAGE_ID_FLAG; flag >>= 1)
	{
		size_t		size;

		if (!(flags & flag))
			continue;
		size = property_size(flag, at, left);
		if (size > left)
			return 0;
		if (flag == AMQP_BASIC_MESSAGE_ID_FLAG)
			return hash_id(at + 1, size - 1);
		at += size;
		left -= size;
	}
	return 0;
}

void
bs_amqp_take_header(BsAmqpLink *link, amqp_bytes_t payload)
{
	BsAmqpContent *content = &link->content;
	const char *at = payload.bytes;

	if (content->method == 0 || content->has_header ||
		payload.len < CONTENT_HEAD_SIZE ||
		bs_bigendian_read(at, 2) != AMQP_BASIC_CLASS)
	{
		bs_amqp_fail(link, false, "protocol error: a message has no head");
		return;
	}
	content->has_header = true;
	content->body_len = bs_bigendian_read(at + 4, 8);
	content->body_got = 0;
	content->id_hash = find_message_id(at + CONTENT_HEAD_SIZE,
									   payload.len - CONTENT_HEAD_SIZE);
	if (content->body_len == 0)
		end_content(link);
}

void
bs_amqp_take_body(BsAmqpLink *link, amqp_bytes_t payload)
{
	BsAmqpContent *content = &link->content;

	if (content->method == 0 || !content->has_header ||
		payload.len > content->body_len - content->body_got)
	{
		bs_amqp_fail(link, false, "protocol error: a body belongs to no message");
		return;
	}
	if (content->body_len <= BS_AMQP_BODY_MAX)
		memcpy(content->body + content->body_got, payload.bytes, payload.len);
	content->body_got += payload.len;
	if (content->body_got == content->body_len)
		end_content(link);
}
