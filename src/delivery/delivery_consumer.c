/*-------------------------------------------------------------------------
 *
 * delivery_consumer.c
 *	  The copies of messages that the broker handed to this sender.
 *
 * Nothing here is ever handed back: a copy that is not needed is acknowledged,
 * because the database is the record, and what it says is published again.
 *
 * src/delivery/delivery_consumer.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "bs_failpoint.h"
#include "bs_time.h"
#include "bs_worker.h"
#include "delivery/delivery_consumer.h"
#include "net/net_payload.h"
#include "queue/queue_link.h"

typedef struct BsCopy
{
	BsCopyKey	key;
	BsCopyState state;
} BsCopy;

struct BsConsumer
{
	BsAmqpLink *link;
	int			prefetch;
	uint32		epoch;			/* of the connection */
	uint64		first_tag;		/* the oldest in the ring */
	uint64		next_tag;		/* expected */
	uint64		waiting_from;	/* none before it waits */
	int			waiting;
	int			unsettled;		/* done or dead, and the broker does not know */
	TimestampTz fault_logged;
	BsCopy	   *ring;			/* of prefetch entries, by tag */
};

static BsCopy *
copy_at(const BsConsumer *consumer, uint64 tag)
{
	return &consumer->ring[tag % consumer->prefetch];
}

BsConsumer *
bs_consumer_create(MemoryContext context, BsAmqpLink *link, int prefetch)
{
	BsConsumer *consumer =
	MemoryContextAllocZero(context, sizeof(BsConsumer) +
						   sizeof(BsCopy) * prefetch);

	consumer->link = link;
	consumer->prefetch = prefetch;
	consumer->ring = (BsCopy *) (consumer + 1);
	consumer->first_tag = consumer->next_tag = consumer->waiting_from = 1;
	return consumer;
}

/*
 * The connection has ended: what was not acknowledged comes again, perhaps to
 * another sender, who will find out what became of it.
 */
static void
forget_copies(BsConsumer *consumer, uint32 epoch)
{
	consumer->epoch = epoch;
	consumer->first_tag = consumer->next_tag = consumer->waiting_from = 1;
	consumer->waiting = 0;
	consumer->unsettled = 0;
}

/*
 * A body that is none of ours, for the counters, and now and then for the log.
 */
static void
report_fault(BsConsumer *consumer, BsPayloadFault fault)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	bs_shared->broker.faults[fault]++;
	LWLockRelease(bs_shared->lock);
	if (TimestampDifferenceExceeds(consumer->fault_logged, now, 60000))
	{
		consumer->fault_logged = now;
		ereport(LOG,
				(errmsg("birthday_scheduler moved a message to the dead letters: %s",
						bs_payload_fault_name(fault)),
				 errdetail("Further ones are logged once a minute and sender; bs_metrics() counts them.")));
	}
}

static void
take_delivery(BsConsumer *consumer, const BsAmqpEvent *event)
{
	BsCopyTag	tag = {.epoch = event->epoch,.tag = event->tag};
	BsPayloadFault fault;
	BsPayload	payload;
	BsCopy	   *copy;

	if (event->epoch != consumer->epoch)
		forget_copies(consumer, event->epoch);
	if (event->tag != consumer->next_tag ||
		event->tag - consumer->first_tag >= (uint64) consumer->prefetch)
	{
		/* No broker does that; the copy comes again on the next connection. */
		bs_worker_report_error("the broker numbers its deliveries with gaps");
		return;
	}
	consumer->next_tag++;
	copy = copy_at(consumer, tag.tag);
	copy->state = BS_COPY_WAITING;
	consumer->waiting++;

	fault = bs_payload_read(event->body, event->body_len,
							bs_queue_installation(), &payload);
	if (fault != BS_PAYLOAD_OK)
	{
		report_fault(consumer, fault);
		bs_consumer_settle(consumer, tag, BS_COPY_DEAD);
		return;
	}
	BS_FAILPOINT("copy-delivered");
	memcpy(copy->key.id.data, payload.id, UUID_LEN);
	copy->key.scheduled_send_time = bs_time_from_unix_us(payload.send_time_us);
}

void
bs_consumer_run(BsConsumer *consumer)
{
	BsAmqpEvent event;
	int			taken = 0;

	bs_amqp_run(consumer->link);
	while (bs_amqp_next(consumer->link, &event))
	{
		switch (event.kind)
		{
			case BS_AMQP_UP:
				bs_queue_report(&event);
				break;
			case BS_AMQP_DOWN:
				bs_queue_report(&event);
				forget_copies(consumer, 0);
				break;
			case BS_AMQP_DELIVERED:
				take_delivery(consumer, &event);
				taken++;
				break;
			default:
				break;			/* of publishers */
		}
	}
	if (taken > 0)
	{
		LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
		bs_shared->broker.consumed += taken;
		LWLockRelease(bs_shared->lock);
	}
}

int
bs_consumer_waiting(const BsConsumer *consumer)
{
	return consumer->waiting;
}

int
bs_consumer_peek(const BsConsumer *consumer, int limit, BsCopyKey *keys,
				 BsCopyTag *tags)
{
	int			count = 0;
	uint64		tag;

	for (tag = consumer->waiting_from;
		 tag < consumer->next_tag && count < limit; tag++)
	{
		const BsCopy *copy = copy_at(consumer, tag);

		if (copy->state != BS_COPY_WAITING)
			continue;
		keys[count] = copy->key;
		tags[count].epoch = consumer->epoch;
		tags[count++].tag = tag;
	}
	return count;
}

void
bs_consumer_settle(BsConsumer *consumer, BsCopyTag copy_tag, BsCopyState state)
{
	BsCopy	   *copy;

	if (consumer == NULL || copy_tag.epoch != consumer->epoch ||
		copy_tag.tag < consumer->first_tag ||
		copy_tag.tag >= consumer->next_tag)
		return;
	copy = copy_at(consumer, copy_tag.tag);
	if (copy->state == BS_COPY_WAITING)
	{
		consumer->waiting--;
		while (consumer->waiting_from < consumer->next_tag &&
			   (consumer->waiting_from == copy_tag.tag ||
				copy_at(consumer, consumer->waiting_from)->state != BS_COPY_WAITING))
			consumer->waiting_from++;
	}
	copy->state = state;
	if (state == BS_COPY_DONE || state == BS_COPY_DEAD)
		consumer->unsettled++;
}

static void
tell_broker(BsConsumer *consumer, uint64 tag, BsCopyState state, bool multiple)
{
	if (state == BS_COPY_DEAD)
		bs_amqp_reject(consumer->link, consumer->epoch, tag);
	else
		bs_amqp_ack(consumer->link, consumer->epoch, tag, multiple);
}

/*
 * bs_consumer_flush
 *		Tell the broker of those that are done or dead.
 *
 * Those at the front of the ring go with one acknowledgement.  One that is slow
 * must not keep all behind it from the broker, which would send no more: where
 * a quarter of the prefetch is done and waits behind it, those go one by one.
 *
 * An acknowledgement of "all up to" one that was settled before is an error to
 * the broker, so it names the last one that was not.
 */
bool
bs_consumer_flush(BsConsumer *consumer)
{
	int			untold = consumer->unsettled;
	uint64		last_done = 0;
	uint64		tag;

	if (untold == 0)
		return false;
	BS_FAILPOINT("ack-before");
	for (tag = consumer->first_tag; tag < consumer->next_tag; tag++)
	{
		BsCopy	   *copy = copy_at(consumer, tag);

		if (copy->state == BS_COPY_WAITING || copy->state == BS_COPY_HELD)
			break;
		if (copy->state == BS_COPY_DEAD)
			tell_broker(consumer, tag, copy->state, false);
		else if (copy->state == BS_COPY_DONE)
			last_done = tag;
		if (copy->state != BS_COPY_SETTLED)
			consumer->unsettled--;
	}
	consumer->first_tag = tag;
	if (last_done != 0)
		tell_broker(consumer, last_done, BS_COPY_DONE, true);

	if (consumer->unsettled > consumer->prefetch / 4)
	{
		for (; tag < consumer->next_tag; tag++)
		{
			BsCopy	   *copy = copy_at(consumer, tag);

			if (copy->state != BS_COPY_DONE && copy->state != BS_COPY_DEAD)
				continue;
			tell_broker(consumer, tag, copy->state, false);
			copy->state = BS_COPY_SETTLED;
			consumer->unsettled--;
		}
	}
	BS_FAILPOINT("ack-after");
	return consumer->unsettled < untold;
}
