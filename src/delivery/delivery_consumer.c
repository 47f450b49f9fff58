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

#include "lib/ilist.h"
#include "utils/timestamp.h"

#include "bs_failpoint.h"
#include "bs_time.h"
#include "bs_worker.h"
#include "delivery/delivery_consumer.h"
#include "net/net_payload.h"
#include "queue/queue_link.h"

#define LOCKED_WAIT_MS		20	/* doubles while any is locked */
#define LOCKED_WAIT_MAX_MS	1000

typedef struct BsCopy
{
	dlist_node	node;
	BsCopyKey	key;
	uint64		tag;
	BsCopyState state;
} BsCopy;

struct BsConsumer
{
	BsAmqpLink *link;
	int			prefetch;
	uint32		epoch;			/* of the connection */
	uint64		last_tag;
	int			waiting_count;
	int			locked_count;
	int			locked_wait_ms;
	TimestampTz locked_until;	/* then the locked ones are looked at */
	int			untold;			/* done or dead, and the broker does not know */
	TimestampTz fault_logged;
	dlist_head	free;
	dlist_head	waiting;		/* by tag */
	dlist_head	taken;			/* all others; by tag, but for those that were
								 * dead on arrival */
	BsCopy		copies[FLEXIBLE_ARRAY_MEMBER];	/* prefetch of them */
};

/*
 * The connection has ended: what was not acknowledged comes again, perhaps to
 * another sender, who will find out what became of it.
 */
static void
forget_copies(BsConsumer *consumer, uint32 epoch)
{
	int			i;

	consumer->epoch = epoch;
	consumer->last_tag = 0;
	consumer->waiting_count = 0;
	consumer->locked_count = 0;
	consumer->locked_wait_ms = LOCKED_WAIT_MS;
	consumer->locked_until = DT_NOBEGIN;
	consumer->untold = 0;
	dlist_init(&consumer->free);
	dlist_init(&consumer->waiting);
	dlist_init(&consumer->taken);
	for (i = 0; i < consumer->prefetch; i++)
		dlist_push_tail(&consumer->free, &consumer->copies[i].node);
}

BsConsumer *
bs_consumer_create(MemoryContext context, BsAmqpLink *link, int prefetch)
{
	BsConsumer *consumer =
	MemoryContextAllocZero(context, offsetof(BsConsumer, copies) +
						   sizeof(BsCopy) * prefetch);

	consumer->link = link;
	consumer->prefetch = prefetch;
	forget_copies(consumer, 0);
	return consumer;
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
	BsPayload	payload;
	BsCopy	   *copy;

	if (event->epoch != consumer->epoch)
		forget_copies(consumer, event->epoch);
	if (event->tag <= consumer->last_tag || dlist_is_empty(&consumer->free))
	{
		/* No broker does that; the copy comes again on the next connection. */
		bs_worker_report_error("the broker sends more than it was asked for");
		return;
	}
	consumer->last_tag = event->tag;
	copy = dlist_container(BsCopy, node, dlist_pop_head_node(&consumer->free));
	copy->tag = event->tag;
	copy->state = BS_COPY_WAITING;
	dlist_push_tail(&consumer->waiting, &copy->node);
	consumer->waiting_count++;

	fault = bs_payload_read(event->body, event->body_len,
							bs_queue_installation(), &payload);
	if (fault != BS_PAYLOAD_OK)
	{
		report_fault(consumer, fault);
		bs_consumer_settle(consumer, tag_of(consumer, copy), BS_COPY_DEAD);
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

TimestampTz
bs_consumer_next_claim(const BsConsumer *consumer)
{
	if (consumer->waiting_count > 0)
		return DT_NOBEGIN;
	return consumer->locked_count > 0 ? consumer->locked_until : DT_NOEND;
}

/*
 * Adds those of a list in this state; the new count.
 */
static int
peek_list(const BsConsumer *consumer, const dlist_head *list,
		  BsCopyState state, int count, int limit, BsCopyKey *keys,
		  BsCopyTag *tags)
{
	dlist_iter	iter;

	dlist_foreach(iter, (dlist_head *) list)
	{
		const BsCopy *copy = dlist_container(BsCopy, node, iter.cur);

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
bs_consumer_peek(const BsConsumer *consumer, int limit, BsCopyKey *keys,
				 BsCopyTag *tags)
{
	int			count = 0;

	if (consumer->locked_count > 0 &&
		GetCurrentTimestamp() >= consumer->locked_until)
		count = peek_list(consumer, &consumer->taken, BS_COPY_LOCKED,
						  count, limit, keys, tags);
	return peek_list(consumer, &consumer->waiting, BS_COPY_WAITING,
					 count, limit, keys, tags);
}

void
bs_consumer_wait_for_locks(BsConsumer *consumer)
{
	consumer->locked_until = bs_time_ms_from_now(consumer->locked_wait_ms);
	consumer->locked_wait_ms = Min(consumer->locked_wait_ms * 2,
								   LOCKED_WAIT_MAX_MS);
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
		dlist_delete(&copy->node);
		dlist_push_tail(&consumer->taken, &copy->node);
		consumer->waiting_count--;
	}
	consumer->locked_count += (state == BS_COPY_LOCKED) -
		(copy->state == BS_COPY_LOCKED);
	if (consumer->locked_count == 0)
		consumer->locked_wait_ms = LOCKED_WAIT_MS;
	copy->state = state;
	if (state == BS_COPY_DONE || state == BS_COPY_DEAD)
		consumer->untold++;
}

static void
set_free(BsConsumer *consumer, BsCopy *copy)
{
	copy->tag = 0;
	dlist_delete(&copy->node);
	dlist_push_head(&consumer->free, &copy->node);
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
	uint64		last_done = 0;
	dlist_mutable_iter iter;

	if (untold == 0)
		return false;
	BS_FAILPOINT("ack-before");
	dlist_foreach_modify(iter, &consumer->taken)
	{
		BsCopy	   *copy = dlist_container(BsCopy, node, iter.cur);

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

	if (consumer->untold > consumer->prefetch / 4)
	{
		dlist_foreach_modify(iter, &consumer->taken)
		{
			BsCopy	   *copy = dlist_container(BsCopy, node, iter.cur);

			if (copy->state == BS_COPY_HELD || copy->state == BS_COPY_LOCKED)
				continue;
			if (copy->state == BS_COPY_DONE)
				bs_amqp_ack(consumer->link, consumer->epoch, copy->tag, false);
			else
				bs_amqp_reject(consumer->link, consumer->epoch, copy->tag);
			set_free(consumer, copy);
		}
	}
	BS_FAILPOINT("ack-after");
	return consumer->untold < untold;
}
