/*-------------------------------------------------------------------------
 *
 * fuzz_amqp.c
 *	  Anything at all as what a broker says, while the host goes on publishing
 *	  and acknowledging.
 *
 * The first octet is a set of flags (see below), the others are steps: an octet
 * that says which, and what it needs.  A session that ends is followed by
 * another.  No sockets: what the broker says is put where it would have been
 * received, and what the link says is taken from where it would be sent.
 *
 * What must hold: a tag is confirmed or refused once, and only on the connection
 * on which it was published; events come in an order that makes sense; the link
 * itself sends nothing but whole frames of a fit size.
 *
 * test/fuzz/fuzz_amqp.c
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "must.h"
#include "core/amqp/amqp_private.h"
#include "core/base/utf8.h"

#define FLAG_PUBLISH	1
#define FLAG_CONSUME	2
#define FLAG_LOGGED_IN	4		/* sessions begin with a good login */
#define FLAG_DRIP		8		/* an octet at a time */

#define WINDOW			8
#define TAGS_MAX		4096

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef enum Step
{
	STEP_RAW,					/* octets as they are */
	STEP_METHOD,				/* a method by its place in the list */
	STEP_HEADER,
	STEP_BODY,
	STEP_HEARTBEAT,
	STEP_PUBLISH,
	STEP_ACK,
	STEP_REJECT,
	STEP_ASK_DEPTH,
	STEP_LAST = STEP_ASK_DEPTH
} Step;

static const amqp_method_number_t methods[] = {
	AMQP_BASIC_ACK_METHOD, AMQP_BASIC_NACK_METHOD, AMQP_BASIC_RETURN_METHOD,
	AMQP_BASIC_DELIVER_METHOD, AMQP_BASIC_CANCEL_METHOD,
	AMQP_CONNECTION_START_METHOD, AMQP_CONNECTION_TUNE_METHOD,
	AMQP_CONNECTION_OPEN_OK_METHOD, AMQP_CONNECTION_CLOSE_METHOD,
	AMQP_CONNECTION_BLOCKED_METHOD, AMQP_CONNECTION_UNBLOCKED_METHOD,
	AMQP_CHANNEL_OPEN_OK_METHOD, AMQP_CHANNEL_CLOSE_METHOD,
	AMQP_EXCHANGE_DECLARE_OK_METHOD, AMQP_QUEUE_DECLARE_OK_METHOD,
	AMQP_QUEUE_BIND_OK_METHOD, AMQP_CONFIRM_SELECT_OK_METHOD,
	AMQP_BASIC_QOS_OK_METHOD, AMQP_BASIC_CONSUME_OK_METHOD,
	AMQP_CONNECTION_SECURE_METHOD, AMQP_CHANNEL_FLOW_METHOD,
};

typedef struct Input
{
	const uint8_t *at;
	size_t		left;
} Input;

static BsAmqpLink *amqp;
static uint8_t flags;

/* What the host knows. */
static bool is_up;
static bool is_blocked;
static bool open_tag[TAGS_MAX]; /* published on this connection, not settled */
static int	tags;
static uint64_t delivered_tag;
static uint32_t delivered_epoch;

static uint8_t
take_octet(Input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

/* As many octets as the next one says, or as there are. */
static size_t
take_octets(Input *input, const uint8_t **octets)
{
	size_t		len = take_octet(input);

	if (len > input->left)
		len = input->left;
	*octets = input->at;
	input->at += len;
	input->left -= len;
	return len;
}

/* ---- what the link says ---- */

static uint64_t
out_number(uint64_t at, int width)
{
	uint64_t	number = 0;

	while (width-- > 0)
		number = number << 8 |
			(uint8_t) amqp->out[at++ % BS_AMQP_OUT_SIZE];
	return number;
}

static void
check_output(void)
{
	uint64_t	at = amqp->out_sent;

	MUST(bs_amqp_unsent(amqp) <= BS_AMQP_OUT_SIZE);
	while (at < amqp->out_end)
	{
		uint64_t	len;

		if (out_number(at, 8) == UINT64_C(0x414d515000000901))
		{
			at += 8;			/* the greeting */
			continue;
		}
		len = out_number(at + 3, 4);
		MUST(len <= amqp->frame_max - BS_AMQP_FRAME_EXTRA);
		MUST(out_number(at + 1, 2) <= BS_AMQP_DEPTH_CHANNEL);
		at += len + BS_AMQP_FRAME_EXTRA;
		MUST(out_number(at - 1, 1) == AMQP_FRAME_END);
	}
	MUST(at == amqp->out_end);
	amqp->out_sent = amqp->out_end;
}

/* ---- what the host hears ---- */

static void
check_event(const BsAmqpEvent *event)
{
	size_t		len = strnlen(event->text, sizeof(event->text));

	MUST(len < sizeof(event->text));
	MUST(bs_utf8_valid(event->text, len) == len);
	switch (event->kind)
	{
		case BS_AMQP_UP:
			MUST(!is_up);
			is_up = true;
			break;
		case BS_AMQP_DOWN:
			MUST(len > 0);
			is_up = is_blocked = false;
			memset(open_tag, 0, sizeof(open_tag));
			break;
		case BS_AMQP_BLOCKED:
			is_blocked = true;
			break;
		case BS_AMQP_UNBLOCKED:
			MUST(is_blocked);
			is_blocked = false;
			break;
		case BS_AMQP_CONFIRMED:
		case BS_AMQP_REFUSED:
			MUST(is_up && event->tag < TAGS_MAX && open_tag[event->tag]);
			MUST((event->kind == BS_AMQP_REFUSED) == (len > 0));
			open_tag[event->tag] = false;
			break;
		case BS_AMQP_DELIVERED:
			MUST(is_up && (flags & FLAG_CONSUME));
			if (event->body_len > BS_AMQP_BODY_MAX)
				MUST(event->body[0] == '\0');
			else
				MUST(memchr(event->body, 0, event->body_len + 1) != NULL);
			delivered_tag = event->tag;
			delivered_epoch = event->epoch;
			break;
		case BS_AMQP_DEPTH:
			MUST(is_up && event->ready >= 0 && event->dead >= 0);
			break;
	}
}

static void
take_events(void)
{
	BsAmqpEvent event;

	while (bs_amqp_next(amqp, &event))
		check_event(&event);
	amqp->note_first = amqp->note_count = 0;
	amqp->arena_used = 0;
	MUST(bs_amqp_is_up(amqp) == is_up);
	MUST(bs_amqp_is_blocked(amqp) == is_blocked);
	MUST(bs_amqp_room(amqp) <= WINDOW - bs_amqp_outstanding(amqp) ||
		 bs_amqp_room(amqp) == 0);
}

/* ---- what the broker says ---- */

static void
receive_some(const uint8_t *octets, size_t len)
{
	size_t		kept = amqp->in_end - amqp->in_start;

	memmove(amqp->in, amqp->in + amqp->in_start, kept);
	amqp->in_start = 0;
	amqp->in_end = kept;
	MUST(len <= BS_AMQP_FRAME_MAX - kept);
	memcpy(amqp->in + kept, octets, len);
	amqp->in_end += len;
	bs_amqp_take_input(amqp);
	check_output();
	take_events();
}

static void
receive(const uint8_t *octets, size_t len)
{
	size_t		piece = flags & FLAG_DRIP ? 1 : len;

	for (; len > 0 && bs_amqp_is_open(amqp); len -= piece, octets += piece)
		receive_some(octets, piece);
}

static void
receive_frame(uint8_t type, uint16_t channel, const char *payload,
			  size_t len)
{
	char		frame[1024];
	char	   *end;

	memcpy(frame + BS_AMQP_FRAME_HEAD, payload, len);
	end = bs_amqp_wrap(frame, type, channel, len);
	receive((const uint8_t *) frame, (size_t) (end - frame));
}

static void
receive_method(uint16_t channel, amqp_method_number_t id,
			   const void *arguments, size_t len)
{
	char		payload[512];

	bs_bigendian_write(payload, 4, id);
	memcpy(payload + 4, arguments, len);
	receive_frame(AMQP_FRAME_METHOD, channel, payload, len + 4);
}

static void
begin_session(void)
{
	int			i;

	amqp->failed = false;		/* as bs_amqp_run() leaves it */
	bs_amqp_reset_connection(amqp);
	bs_amqp_begin_session(amqp);
	check_output();
	if (!(flags & FLAG_LOGGED_IN))
		return;
	receive_method(0, AMQP_CONNECTION_START_METHOD,
				   "\0\11\0\0\0\0\0\0\0\5PLAIN\0\0\0\0", 19);
	receive_method(0, AMQP_CONNECTION_TUNE_METHOD, "\0\0\0\2\0\0\0\74", 8);
	receive_method(0, AMQP_CONNECTION_OPEN_OK_METHOD, "\0", 1);
	receive_method(1, AMQP_CHANNEL_OPEN_OK_METHOD, "\0\0\0\0", 4);
	for (i = 0; i < amqp->reply_count; i++)
		receive_method(1, amqp->replies[i], "\0\0\0\0\0\0\0\0\0", 9);
	MUST(is_up);
}

/* ---- steps ---- */

static void
publish(Input *input)
{
	static const char body[BS_AMQP_BODY_MAX];
	static const char *const ids[] = {"a", "b", "ab", ""};
	const char *id = ids[take_octet(input) % 4];
	size_t		len = (size_t) take_octet(input) * 16;
	int			room = bs_amqp_room(amqp);

	if (tags == TAGS_MAX)
		return;
	if (bs_amqp_publish(amqp, "k", id, body, len, (uint64_t) tags))
	{
		MUST(room > 0);
		open_tag[tags++] = true;
	}
	else
		MUST(room == 0);
	check_output();
}

static void
take_step(Input *input)
{
	Step		step = take_octet(input) % (STEP_LAST + 1);
	const uint8_t *octets;
	uint16_t	channel;
	amqp_method_number_t id;
	size_t		len;

	switch (step)
	{
		case STEP_RAW:
			len = take_octets(input, &octets);
			receive(octets, len);
			break;
		case STEP_METHOD:
			channel = take_octet(input) % 4;
			id = methods[take_octet(input) %
						 (sizeof(methods) / sizeof(methods[0]))];
			len = take_octets(input, &octets);
			receive_method(channel, id, octets, len);
			break;
		case STEP_HEADER:
		case STEP_BODY:
			len = take_octets(input, &octets);
			receive_frame(step == STEP_HEADER ? AMQP_FRAME_HEADER :
						  AMQP_FRAME_BODY, 1, (const char *) octets, len);
			break;
		case STEP_HEARTBEAT:
			receive_frame(AMQP_FRAME_HEARTBEAT, 0, "", 0);
			break;
		case STEP_PUBLISH:
			publish(input);
			break;
		case STEP_ACK:
			bs_amqp_ack(amqp, delivered_epoch, delivered_tag,
						take_octet(input) & 1);
			break;
		case STEP_REJECT:
			bs_amqp_reject(amqp, delivered_epoch, delivered_tag);
			break;
		case STEP_ASK_DEPTH:
			bs_amqp_ask_depth(amqp);
			break;
	}
	check_output();
	take_events();
}

static BsAmqpLink *
make_link(void)
{
	BsAmqpConfig config = {0};
	char		error[256];
	BsAmqpLink *made;

	config.urls = "amqp://u@127.0.0.1";
	config.exchange = "x";
	config.queue = "q";
	config.dead_letter_exchange = "dx";
	config.dead_letter_queue = "dq";
	config.window = flags & FLAG_PUBLISH ? WINDOW : 0;
	config.prefetch = flags & FLAG_CONSUME ? 8 : 0;
	config.connect_timeout_ms = config.silence_ms = 60000;
	config.confirm_timeout_ms = 60000;
	config.backoff_initial_ms = config.backoff_max_ms = 1;
	made = bs_amqp_create(&config, error, sizeof(error));
	MUST(made != NULL);
	return made;
}

/* To make one takes long: each kind is made once, and is as new each time. */
static void
renew_link(void)
{
	static BsAmqpLink *links[4];
	static BsAmqpLink fresh[4];
	int			kind = flags & (FLAG_PUBLISH | FLAG_CONSUME);
	amqp_pool_t pool;

	if (links[kind] == NULL)
	{
		links[kind] = make_link();
		fresh[kind] = *links[kind];
	}
	amqp = links[kind];
	pool = amqp->pool;
	*amqp = fresh[kind];
	amqp->pool = pool;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	Input		input = {data, size};

	if (!ready)
		ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	flags = take_octet(&input);
	is_up = is_blocked = false;
	memset(open_tag, 0, sizeof(open_tag));
	tags = 0;
	delivered_tag = delivered_epoch = 0;
	renew_link();
	while (input.left > 0)
	{
		if (!bs_amqp_is_open(amqp))
			begin_session();
		take_step(&input);
	}
	return 0;
}
