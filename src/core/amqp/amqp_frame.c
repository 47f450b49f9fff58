/*-------------------------------------------------------------------------
 *
 * amqp_frame.c
 *	  Frames (AMQP 0-9-1, section 4.2.3), out and in.
 *
 * src/core/amqp/amqp_frame.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/amqp_private.h"

#include <string.h>

#define METHOD_ID_SIZE		4
#define CONTENT_HEAD_SIZE	12	/* class, weight, size of the body */

/* ---- out ---- */

void
bs_amqp_put(BsAmqpLink *link, const void *data, size_t len)
{
	size_t		at = link->out_end % BS_AMQP_OUT_SIZE;
	size_t		first = BS_AMQP_OUT_SIZE - at;

	if (first > len)
		first = len;
	memcpy(link->out + at, data, first);
	memcpy(link->out, (const char *) data + first, len - first);
	link->out_end += len;
}

char *
bs_amqp_wrap(char *at, uint8_t type, uint16_t channel, size_t payload_len)
{
	at[0] = (char) type;
	bs_bigendian_write(at + 1, 2, channel);
	bs_bigendian_write(at + 3, 4, payload_len);
	at += BS_AMQP_FRAME_HEAD + payload_len;
	*at++ = (char) AMQP_FRAME_END;
	return at;
}

char *
bs_amqp_encode_method(char *at, const char *end, uint16_t channel,
					  amqp_method_number_t id, void *method)
{
	size_t		room = (size_t) (end - at);
	char	   *payload = at + BS_AMQP_FRAME_HEAD;
	amqp_bytes_t arguments;
	int			len;

	if (room < BS_AMQP_FRAME_EXTRA + METHOD_ID_SIZE)
		return NULL;
	bs_bigendian_write(payload, METHOD_ID_SIZE, id);
	arguments.bytes = payload + METHOD_ID_SIZE;
	arguments.len = room - BS_AMQP_FRAME_EXTRA - METHOD_ID_SIZE;
	len = amqp_encode_method(id, method, arguments);
	if (len < 0)
		return NULL;
	return bs_amqp_wrap(at, AMQP_FRAME_METHOD, channel,
						METHOD_ID_SIZE + (size_t) len);
}

char *
bs_amqp_encode_header(char *at, const char *end, uint16_t channel,
					  size_t body_len, amqp_basic_properties_t *properties)
{
	size_t		room = (size_t) (end - at);
	char	   *payload = at + BS_AMQP_FRAME_HEAD;
	amqp_bytes_t rest;
	int			len;

	if (room < BS_AMQP_FRAME_EXTRA + CONTENT_HEAD_SIZE)
		return NULL;
	bs_bigendian_write(payload, 2, AMQP_BASIC_CLASS);
	bs_bigendian_write(payload + 2, 2, 0);
	bs_bigendian_write(payload + 4, 8, body_len);
	rest.bytes = payload + CONTENT_HEAD_SIZE;
	rest.len = room - BS_AMQP_FRAME_EXTRA - CONTENT_HEAD_SIZE;
	len = amqp_encode_properties(AMQP_BASIC_CLASS, properties, rest);
	if (len < 0)
		return NULL;
	return bs_amqp_wrap(at, AMQP_FRAME_HEADER, channel,
						CONTENT_HEAD_SIZE + (size_t) len);
}

void
bs_amqp_send_method(BsAmqpLink *link, uint16_t channel,
					amqp_method_number_t id, void *method)
{
	char	   *end = bs_amqp_encode_method(link->scratch,
											link->scratch +
											BS_AMQP_SCRATCH_SIZE,
											channel, id, method);
	size_t		len;

	if (link->failed)
		return;
	if (end == NULL)
	{
		bs_amqp_fail(link, true, "a request cannot be encoded");
		return;
	}
	len = (size_t) (end - link->scratch);
	if (len > bs_amqp_out_room(link))
	{
		bs_amqp_fail(link, false, "the broker does not read what we send");
		return;
	}
	bs_amqp_put(link, link->scratch, len);
}

void
bs_amqp_send_heartbeat(BsAmqpLink *link)
{
	char		frame[BS_AMQP_FRAME_EXTRA];

	bs_amqp_wrap(frame, AMQP_FRAME_HEARTBEAT, 0, 0);
	if (sizeof(frame) <= bs_amqp_out_room(link))
		bs_amqp_put(link, frame, sizeof(frame));
}

/* ---- in ---- */

/* How many octets a frame's payload may have. */
static size_t
payload_max(const BsAmqpLink *link)
{
	return (link->state < BS_AMQP_STATE_OPEN ? BS_AMQP_GREETING_MAX :
			link->frame_max) - BS_AMQP_FRAME_EXTRA;
}

/* What is wrong with a frame that begins so, or NULL. */
static const char *
find_fault(const BsAmqpLink *link, const BsAmqpFrame *frame)
{
	switch (frame->type)
	{
		case AMQP_FRAME_METHOD:
			if (frame->channel > BS_AMQP_DEPTH_CHANNEL)
				return "a frame is for no channel of ours";
			break;
		case AMQP_FRAME_HEADER:
		case AMQP_FRAME_BODY:
			if (frame->channel != BS_AMQP_CHANNEL)
				return "a frame is for no channel of ours";
			break;
		case AMQP_FRAME_HEARTBEAT:
			if (frame->channel != 0 || frame->payload.len != 0)
				return "a heartbeat is none";
			break;
		default:
			return "a frame is of no known type";
	}
	if (frame->payload.len > payload_max(link))
		return "a frame is too large";
	return NULL;
}

/*
 * bs_amqp_next_frame
 *		The next whole frame of the input.
 *
 * Everything in the head is checked before the rest is waited for.  A broker
 * that is not one of AMQP 0-9-1 answers with the greeting that it wants (section
 * 4.2.2).
 */
bool
bs_amqp_next_frame(BsAmqpLink *link, BsAmqpFrame *frame)
{
	const char *at = link->in + link->in_start;
	size_t		len = link->in_end - link->in_start;
	const char *fault;

	if (len < BS_AMQP_FRAME_HEAD)
		return false;
	if (link->state == BS_AMQP_STATE_START && memcmp(at, "AMQP", 4) == 0)
	{
		bs_amqp_fail(link, true, "the broker does not speak AMQP 0-9-1");
		return false;
	}
	frame->type = (uint8_t) at[0];
	frame->channel = (uint16_t) bs_bigendian_read(at + 1, 2);
	frame->payload.len = bs_bigendian_read(at + 3, 4);
	frame->payload.bytes = link->in + link->in_start + BS_AMQP_FRAME_HEAD;

	fault = find_fault(link, frame);
	if (fault == NULL)
	{
		if (len < frame->payload.len + BS_AMQP_FRAME_EXTRA)
			return false;
		link->in_start += frame->payload.len + BS_AMQP_FRAME_EXTRA;
		if ((uint8_t) link->in[link->in_start - 1] == AMQP_FRAME_END)
			return true;
		fault = "a frame does not end where it should";
	}
	bs_amqp_fail(link, false, "protocol error: %s", fault);
	return false;
}
