/*-------------------------------------------------------------------------
 *
 * consumer.c
 *	  The copies of messages that the broker handed to this sender.
 *
 * Nothing here is ever handed back: a copy that is not needed is acknowledged,
 * because the database is the record, and what it says is published again.
 *
 * src/core/sending/consumer.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/consumer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "core/base/backoff.h"
#include "core/base/clock.h"

typedef struct BsCopy
{
	TAILQ_ENTRY(BsCopy) node;
	BsPayload	key;
	uint64_t	tag;
	BsCopyState state;
} BsCopy;

TAILQ_HEAD(BsCopyList, BsCopy);

struct BsConsumer
{
	BsAmqpLink *link;
	int			prefetch;
	char		installation[BS_PAYLOAD_INSTALLATION_MAX];
	uint32_t	epoch;			/* of the connection */
	uint64_t	last_tag;
	int			waiting_count;
	int			locked_count;
	int			locked_looks;	/* in a row, after which some were locked */
	int64_t		locked_until_ms;	/* then the locked ones are looked at */
	int			untold;			/* done or dead, and the broker does not know */
	BsConsumerCounts counts;
	struct BsCopyList free;
	struct BsCopyList waiting;	/* by tag */
	struct BsCopyList taken;	/* all others; by tag, but for those that were
								 * dead on arrival */
	BsCopy	   *copies;			/* prefetch of them */
};

/*
 * The connection has ended: what was not acknowledged comes again, perhaps to
 * another sender, who will find out what became of it.
 */
static void
forget_copies(BsConsumer *consumer, uint32_t epoch)
{
	int			i;

	consumer->epoch = epoch;
	consumer->last_tag = 0;
	consumer->waiting_count = 0;
	consumer->locked_count = 0;
	consumer->locked_looks = 0;
	consumer->locked_until_ms = 0;
	consumer->untold = 0;
	TAILQ_INIT(&consumer->free);
	TAILQ_INIT(&consumer->waiting);
	TAILQ_INIT(&consumer->taken);
	for (i = 0; i < consumer->prefetch; i++)
		TAILQ_INSERT_TAIL(&consumer->free, &consumer->copies[i], node);
}

BsConsumer *
bs_consumer_create(BsAmqpLink *link, int prefetch, const char *installation)
{
	BsConsumer *consumer = calloc(1, sizeof(*consumer));

	if (consumer == NULL)
		return NULL;
	consumer->link = link;
	consumer->prefetch = prefetch;
	strncpy(consumer->installation, installation,
			sizeof(consumer->installation) - 1);
	consumer->copies = calloc(prefetch, sizeof(BsCopy));
	if (consumer->copies == NULL)
	{
		free(consumer);
		return NULL;
	}
	forget_copies(consumer, 0);
	return consumer;
}

void
bs_consumer_destroy(BsConsumer *consumer)
{
	if (consumer == NULL)
		return;
	free(consumer->copies);
	free(consumer);
}

static BsCopyTag
tag_of(const BsConsumer *consumer, const BsCopy *copy)
{
	BsCopyTag	tag = {
		.epoch = consumer->epoch,
		.place = copy - consumer->copies,
		.tag = copy->tag
	};

	return tag;
}

static void
take_delivery(BsConsumer *consumer, const BsAmqpEvent *event)
{
	BsPayloadFault fault;
	BsCopy	   *copy;

	consumer->counts.consumed++;
	if (event->epoch != consumer->epoch)
		forget_copies(consumer, event->epoch);
	copy = TAILQ_FIRST(&consumer->free);
	if (event->tag <= consumer->last_tag || copy == NULL)
	{
		/* No broker does that; the copy comes again on the next connection. */
		consumer->counts.excess++;
		return;
	}
	consumer->last_tag = event->tag;
	TAILQ_REMOVE(&consumer->free, copy, node);
	copy->tag = event->tag;
	copy->state = BS_COPY_WAITING;
	TAILQ_INSERT_TAIL(&consumer->waiting, copy, node);
	consumer->waiting_count++;

	fault = bs_payload_read(event->body, event->body_len,
							consumer->installation, &copy->key);
	if (fault != BS_PAYLOAD_OK)
	{
		consumer->counts.faults[fault]++;
		bs_consumer_settle(consumer, tag_of(consumer, copy), BS_COPY_DEAD);
	}
}

bool
bs_consumer_next(BsConsumer *consumer, BsAmqpEvent *event)
{
	while (bs_amqp_next(consumer->link, event))
	{
		switch (event->kind)
		{
			case BS_AMQP_UP:
				return true;
			case BS_AMQP_DOWN:
				forget_copies(consumer, 0);
				return true;
			case BS_AMQP_DELIVERED:
				take_delivery(consumer, event);
				break;
			default:
				break;			/* of publishers */
		}
	}
	return false;
}

bool
bs_consumer_take_counts(BsConsumer *consumer, BsConsumerCounts *counts)
{
	static const BsConsumerCounts nothing = {0};

	*counts = consumer->counts;
	consumer->counts = nothing;
	return memcmp(counts, &nothing, sizeof(nothing)) != 0;
}

int64_t
bs_consumer_next_claim_ms(const BsConsumer *consumer)
{
	if (consumer->waiting_count > 0)
		return 0;
	return consumer->locked_count > 0 ? consumer->locked_until_ms : INT64_MAX;
}

/*
 * Adds those of a list in this state; the new count.
 */
static int
peek_list(const BsConsumer *consumer, const struct BsCopyList *list,
		  BsCopyState state, int count, int limit, BsPayload *keys,
		  BsCopyTag *tags)
{
	const BsCopy *copy;

	TAILQ_FOREACH(copy, list, node)
	{
		if (count == limit)
			break;
		if (copy->state != state)
			continue;
		keys[count] = copy->key;
		tags[count++] = tag_of(consumer, copy);
	}
	return count;
}

int
bs_consumer_peek(const BsConsumer *consumer, int limit, BsPayload *keys,
				 BsCopyTag *tags)
{
	int			count = 0;

	if (consumer->locked_count > 0 &&
		bs_clock_ms() >= consumer->locked_until_ms)
		count = peek_list(consumer, &consumer->taken, BS_COPY_LOCKED,
						  count, limit, keys, tags);
	return peek_list(consumer, &consumer->waiting, BS_COPY_WAITING,
					 count, limit, keys, tags);
}

void
bs_consumer_wait_for_locks(BsConsumer *consumer)
{
	consumer->locked_until_ms = bs_clock_ms() +
		bs_backoff_ms(++consumer->locked_looks, 20, 1000);
}

void
bs_consumer_settle(BsConsumer *consumer, BsCopyTag copy_tag, BsCopyState state)
{
	BsCopy	   *copy;

	if (consumer == NULL || copy_tag.tag == 0 ||
		copy_tag.epoch != consumer->epoch)
		return;
	copy = &consumer->copies[copy_tag.place];
	if (copy->tag != copy_tag.tag)
		return;
	if (copy->state == BS_COPY_WAITING)
	{
		TAILQ_REMOVE(&consumer->waiting, copy, node);
		TAILQ_INSERT_TAIL(&consumer->taken, copy, node);
		consumer->waiting_count--;
	}
	consumer->locked_count += (state == BS_COPY_LOCKED) -
		(copy->state == BS_COPY_LOCKED);
	if (consumer->locked_count == 0)
		consumer->locked_looks = 0;
	copy->state = state;
	if (state == BS_COPY_DONE || state == BS_COPY_DEAD)
		consumer->untold++;
}

void
bs_consumer_drop(BsConsumer *consumer, BsCopyTag copy, BsCopyState state)
{
	if (consumer == NULL)
		return;
	if (state == BS_COPY_DEAD)
		consumer->counts.failed++;
	else
		consumer->counts.dropped++;
	bs_consumer_settle(consumer, copy, state);
}

int
bs_consumer_untold(const BsConsumer *consumer)
{
	return consumer->untold;
}

static void
set_free(BsConsumer *consumer, BsCopy *copy)
{
	copy->tag = 0;
	TAILQ_REMOVE(&consumer->taken, copy, node);
	TAILQ_INSERT_HEAD(&consumer->free, copy, node);
	consumer->untold--;
}

/*
 * bs_consumer_flush
 *		Tell the broker of those that are done or dead.
 *
 * Those before the first that is held go with one acknowledgement: everything
 * older was taken before, and is among them.  One that is slow must not keep all
 * behind it from the broker, which would send no more: where more than a quarter
 * of the prefetch is done and waits behind it, those go one by one.
 *
 * An acknowledgement of "all up to" one that was settled before is an error to
 * the broker, so it names the last one that was not.
 */
bool
bs_consumer_flush(BsConsumer *consumer)
{
	int			untold = consumer->untold;
	uint64_t	last_done = 0;
	BsCopy	   *copy;
	BsCopy	   *next;

	if (untold == 0)
		return false;
	for (copy = TAILQ_FIRST(&consumer->taken); copy != NULL; copy = next)
	{
		next = TAILQ_NEXT(copy, node);
		if (copy->state == BS_COPY_HELD || copy->state == BS_COPY_LOCKED)
			break;
		if (copy->state == BS_COPY_DONE)
			last_done = copy->tag;
		else
			bs_amqp_reject(consumer->link, consumer->epoch, copy->tag);
		set_free(consumer, copy);
	}
	if (last_done != 0)
		bs_amqp_ack(consumer->link, consumer->epoch, last_done, true);
	if (consumer->untold <= consumer->prefetch / 4)
		return consumer->untold < untold;

	for (copy = TAILQ_FIRST(&consumer->taken); copy != NULL; copy = next)
	{
		next = TAILQ_NEXT(copy, node);
		if (copy->state == BS_COPY_HELD || copy->state == BS_COPY_LOCKED)
			continue;
		if (copy->state == BS_COPY_DONE)
			bs_amqp_ack(consumer->link, consumer->epoch, copy->tag, false);
		else
			bs_amqp_reject(consumer->link, consumer->epoch, copy->tag);
		set_free(consumer, copy);
	}
	return consumer->untold < untold;
}
