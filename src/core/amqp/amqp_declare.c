/*-------------------------------------------------------------------------
 *
 * amqp_declare.c
 *	  Channels, what is declared on them, and how full the queues are.
 *
 * src/core/amqp/amqp_declare.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/amqp_private.h"

#include <string.h>

amqp_table_entry_t
bs_amqp_string_entry(const char *key, const char *value)
{
	amqp_table_entry_t entry = {amqp_cstring_bytes(key), {0}};

	entry.value.kind = AMQP_FIELD_KIND_UTF8;
	entry.value.value.bytes = amqp_cstring_bytes(value);
	return entry;
}

void
bs_amqp_open_channel(BsAmqpLink *link, uint16_t channel)
{
	amqp_channel_open_t open = {0};

	bs_amqp_send_method(link, channel, AMQP_CHANNEL_OPEN_METHOD, &open);
}

/* ---- declarations ---- */

/* Sends a request whose reply is due after those of the requests before it. */
static void
request(BsAmqpLink *link, amqp_method_number_t id, void *method,
		amqp_method_number_t reply)
{
	link->replies[link->reply_count++] = reply;
	bs_amqp_send_method(link, BS_AMQP_CHANNEL, id, method);
}

static void
declare_exchange(BsAmqpLink *link, const char *name, const char *type)
{
	amqp_exchange_declare_t declare = {0};

	declare.exchange = amqp_cstring_bytes(name);
	declare.type = amqp_cstring_bytes(type);
	declare.durable = 1;
	declare.passive = link->passive;
	request(link, AMQP_EXCHANGE_DECLARE_METHOD, &declare,
			AMQP_EXCHANGE_DECLARE_OK_METHOD);
}

/* Bound to the exchange as well; with "routing_key" as the binding's key. */
static void
declare_queue(BsAmqpLink *link, const char *name, amqp_table_t arguments,
			  const char *exchange, const char *routing_key)
{
	amqp_queue_declare_t declare = {0};
	amqp_queue_bind_t bind = {0};

	declare.queue = amqp_cstring_bytes(name);
	declare.durable = 1;
	declare.passive = link->passive;
	declare.arguments = arguments;
	request(link, AMQP_QUEUE_DECLARE_METHOD, &declare,
			AMQP_QUEUE_DECLARE_OK_METHOD);
	if (link->passive)
		return;
	bind.queue = declare.queue;
	bind.exchange = amqp_cstring_bytes(exchange);
	bind.routing_key = amqp_cstring_bytes(routing_key);
	request(link, AMQP_QUEUE_BIND_METHOD, &bind, AMQP_QUEUE_BIND_OK_METHOD);
}

/*
 * The queue keeps a message until the dead letters have confirmed it
 * (at-least-once), which asks for reject-publish.
 */
static void
declare_topology(BsAmqpLink *link)
{
	const BsAmqpConfig *config = &link->config;
	amqp_table_entry_t entries[] = {
		bs_amqp_string_entry("x-queue-type", "quorum"),
		bs_amqp_string_entry("x-dead-letter-exchange", config->dead_letter_exchange),
		bs_amqp_string_entry("x-dead-letter-routing-key", config->dead_letter_queue),
		bs_amqp_string_entry("x-dead-letter-strategy", "at-least-once"),
		bs_amqp_string_entry("x-overflow", "reject-publish"),
	};
	amqp_table_t with_dead_letters = {
		sizeof(entries) / sizeof(entries[0]), entries
	};
	amqp_table_t quorum = {1, entries};

	declare_exchange(link, config->exchange, "topic");
	if (!link->passive)			/* only the queue uses it */
		declare_exchange(link, config->dead_letter_exchange, "direct");
	if (!link->dead_hidden)
		declare_queue(link, config->dead_letter_queue, quorum,
					  config->dead_letter_exchange, config->dead_letter_queue);
	declare_queue(link, config->queue, with_dead_letters,
				  config->exchange, "#");
}

void
bs_amqp_declare(BsAmqpLink *link, const void *method)
{
	amqp_confirm_select_t confirm = {0};
	amqp_basic_qos_t qos = {0};
	amqp_basic_consume_t consume = {0};

	(void) method;
	link->state = BS_AMQP_STATE_DECLARE;
	link->reply_count = 0;
	link->reply_next = 0;
	declare_topology(link);
	if (link->config.window > 0)
		request(link, AMQP_CONFIRM_SELECT_METHOD, &confirm,
				AMQP_CONFIRM_SELECT_OK_METHOD);
	if (link->config.prefetch > 0)
	{
		qos.prefetch_count = (uint16_t) link->config.prefetch;
		request(link, AMQP_BASIC_QOS_METHOD, &qos, AMQP_BASIC_QOS_OK_METHOD);
		consume.queue = amqp_cstring_bytes(link->config.queue);
		request(link, AMQP_BASIC_CONSUME_METHOD, &consume,
				AMQP_BASIC_CONSUME_OK_METHOD);
	}
}

/* Connected, logged in and declared. */
static void
come_up(BsAmqpLink *link)
{
	link->state = BS_AMQP_STATE_UP;
	link->up_since_ms = bs_clock_ms();
	link->tried = 0;
	bs_amqp_note(link, BS_AMQP_UP);
}

/* What the reply says is of no interest, only that it comes. */
void
bs_amqp_take_reply(BsAmqpLink *link, amqp_method_number_t id)
{
	if (link->replies[link->reply_next] != id)
		bs_amqp_fail(link, false, "protocol error: a reply is out of order");
	else if (++link->reply_next == link->reply_count)
		come_up(link);
}

/* ---- depth ---- */

static void
send_depth_questions(BsAmqpLink *link)
{
	amqp_queue_declare_t declare = {0};

	declare.passive = 1;
	declare.queue = amqp_cstring_bytes(link->config.queue);
	bs_amqp_send_method(link, BS_AMQP_DEPTH_CHANNEL,
						AMQP_QUEUE_DECLARE_METHOD, &declare);
	if (link->dead_hidden)
		return;
	declare.queue = amqp_cstring_bytes(link->config.dead_letter_queue);
	bs_amqp_send_method(link, BS_AMQP_DEPTH_CHANNEL,
						AMQP_QUEUE_DECLARE_METHOD, &declare);
}

void
bs_amqp_ask_depth(BsAmqpLink *link)
{
	if (!bs_amqp_is_up(link) || link->depth_asked)
		return;
	link->depth_asked = true;
	link->depth_asked_ms = bs_clock_ms();
	link->depth_answers = 0;
	if (link->depth_channel_open)
		send_depth_questions(link);
	else
		bs_amqp_open_channel(link, BS_AMQP_DEPTH_CHANNEL);
}

void
bs_amqp_take_depth_channel(BsAmqpLink *link, const void *method)
{
	(void) method;
	if (!link->depth_asked || link->depth_channel_open)
	{
		bs_amqp_fail(link, false, "protocol error: a channel opens unasked");
		return;
	}
	link->depth_channel_open = true;
	send_depth_questions(link);
}

/*
 * look_for_consumer
 *		Are we still among the consumers of the queue?
 *
 * A broker that loses a queue in a crash, or whose queue is deleted while nothing
 * serves it, cancels nobody.  One answer may be wrong: 0 is also what a queue that
 * is slow to answer has.
 */
static void
look_for_consumer(BsAmqpLink *link, uint32_t consumers)
{
	if (link->config.consumer_check_ms == 0 || consumers > 0)
		link->consumer_missed = 0;
	else if (++link->consumer_missed == 2)
		bs_amqp_fail(link, false, "the queue does not know its consumer");
}

void
bs_amqp_take_depth(BsAmqpLink *link, const void *method)
{
	const amqp_queue_declare_ok_t *answer = method;
	BsAmqpNote *note;

	if (!link->depth_asked || !link->depth_channel_open)
	{
		bs_amqp_fail(link, false, "protocol error: an answer comes unasked");
		return;
	}
	if (link->depth_answers++ == 0)
	{
		link->depth_ready = answer->message_count;
		look_for_consumer(link, answer->consumer_count);
		if (!link->dead_hidden || !bs_amqp_is_open(link))
			return;
	}
	link->depth_asked = false;
	note = bs_amqp_note(link, BS_AMQP_DEPTH);
	note->ready = link->depth_ready;
	note->dead = link->dead_hidden ? -1 : (int64_t) answer->message_count;
}
