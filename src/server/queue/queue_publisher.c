/*-------------------------------------------------------------------------
 *
 * queue_publisher.c
 *	  The messages that the publisher has under way.
 *
 * Transactions are open only inside read_due() and bs_publisher_record(), and no
 * network call is made there.
 *
 * src/server/queue/queue_publisher.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "core/amqp/payload.h"
#include "core/base/backoff.h"
#include "server/base/bs_failpoint.h"
#include "server/base/bs_group.h"
#include "server/base/bs_time.h"
#include "server/base/bs_txn.h"
#include "server/base/bs_wake.h"
#include "server/base/bs_worker.h"
#include "server/queue/queue_publisher.h"

#define RECORD_BATCH		256
#define RECORD_DELAY_MS		10	/* how long a confirm may wait for others */
#define HELD_MS				20	/* at least, for what is under way; longer
								 * each time that nothing new is found */
#define IDLE_MS				500 /* between looks at what is overdue in the
								 * queue */
#define LEFT_WAIT_MS		250 /* before what was locked is tried again */
#define DEPTH_INTERVAL_MS	10000
#define REFUSED_WAIT_MS		250 /* after the first refusal in a row */
#define REFUSED_WAIT_MAX_MS 15000

static BsOutgoing *
first_of(dlist_head *list)
{
	return dlist_head_element(BsOutgoing, node, list);
}

void
bs_publisher_init(BsPublisher *publisher)
{
	int			i;

	memset(publisher, 0, sizeof(*publisher));
	dlist_init(&publisher->free);
	dlist_init(&publisher->unconfirmed);
	dlist_init(&publisher->confirmed);
	for (i = 0; i < BS_PUBLISHER_WINDOW; i++)
		dlist_push_tail(&publisher->free, &publisher->items[i].node);
	publisher->free_count = BS_PUBLISHER_WINDOW;
	publisher->refusals = 0;
	publisher->next_read = DT_NOBEGIN;
	publisher->next_record = DT_NOBEGIN;
	publisher->next_depth = DT_NOBEGIN;
}

static void
set_free(BsPublisher *publisher, BsOutgoing *item)
{
	dlist_delete(&item->node);
	dlist_push_head(&publisher->free, &item->node);
	publisher->free_count++;
}

static void
forget_unconfirmed(BsPublisher *publisher)
{
	while (publisher->unconfirmed_count > 0)
	{
		set_free(publisher, first_of(&publisher->unconfirmed));
		publisher->unconfirmed_count--;
	}
	publisher->next_read = DT_NOBEGIN;
}

static void
forget_confirmed(BsPublisher *publisher)
{
	while (publisher->confirmed_count > 0)
	{
		set_free(publisher, first_of(&publisher->confirmed));
		publisher->confirmed_count--;
	}
	publisher->record_failures = 0;
}

static void
note_state(const BsPublisher *publisher)
{
	BsGroup    *group = bs_group_own();

	if (group == NULL)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	group->broker.up = publisher->link != NULL &&
		bs_amqp_is_up(publisher->link);
	group->broker.blocked = publisher->link != NULL &&
		bs_amqp_is_blocked(publisher->link);
	group->broker.since = GetCurrentTimestamp();
	LWLockRelease(bs_shared->lock);
}

static void
note_depth(BsPublisher *publisher, int64 ready, int64 dead)
{
	BsGroup    *group = bs_group_own();

	publisher->queue_is_empty = ready == 0;
	if (group == NULL)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	group->broker.ready = ready;
	group->broker.dead = dead;
	group->broker.counted_at = GetCurrentTimestamp();
	LWLockRelease(bs_shared->lock);
}

static void
note_counts(int published, int refused)
{
	BsGroup    *group = bs_group_own();

	if (group == NULL)
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	group->broker.published += published;
	group->broker.refused += refused;
	LWLockRelease(bs_shared->lock);
}

void
bs_publisher_set_link(BsPublisher *publisher, BsAmqpLink *link)
{
	if (publisher->link == NULL && link == NULL)
		return;
	publisher->link = link;
	publisher->redeclare = false;
	forget_unconfirmed(publisher);
	forget_confirmed(publisher);
	note_depth(publisher, -1, -1);
	note_state(publisher);
}

static void
confirmed(BsPublisher *publisher, BsOutgoing *item)
{
	dlist_delete(&item->node);
	publisher->unconfirmed_count--;
	dlist_push_tail(&publisher->confirmed, &item->node);
	if (publisher->confirmed_count++ == 0)
		publisher->first_confirm = GetCurrentTimestamp();
	publisher->refusals = 0;
	BS_FAILPOINT("confirm");
}

/*
 * The broker has no queue for it, or no room in it.  That is true for all the
 * others as well, so nothing more is read for a while, and then over a new
 * connection, which declares anew what was deleted.
 */
static void
refused(BsPublisher *publisher, BsOutgoing *item, const char *reason)
{
	TimestampTz again =
	bs_time_ms_from_now(bs_backoff_ms(publisher->refusals + 1,
									  REFUSED_WAIT_MS,
									  REFUSED_WAIT_MAX_MS));

	set_free(publisher, item);
	publisher->unconfirmed_count--;
	publisher->redeclare = true;
	note_counts(0, 1);
	if (publisher->next_read < again)
	{
		char		message[320];

		publisher->next_read = again;
		publisher->refusals++;
		snprintf(message, sizeof(message), "the broker refused a message: %s",
				 reason);
		bs_worker_report_error(message);
	}
}

void
bs_publisher_collect(BsPublisher *publisher)
{
	BsAmqpEvent event;

	if (publisher->link == NULL)
		return;
	bs_amqp_run(publisher->link);
	while (bs_amqp_next(publisher->link, &event))
	{
		switch (event.kind)
		{
			case BS_AMQP_UP:
				publisher->next_depth = DT_NOBEGIN;
				publisher->next_read = DT_NOBEGIN;
				bs_queue_report(&event);
				note_state(publisher);
				break;
			case BS_AMQP_DOWN:
				forget_unconfirmed(publisher);
				bs_queue_report(&event);
				note_depth(publisher, -1, -1);
				note_state(publisher);
				break;
			case BS_AMQP_BLOCKED:
				bs_queue_report(&event);
				note_state(publisher);
				break;
			case BS_AMQP_UNBLOCKED:
				bs_worker_report_recovery("the broker takes messages again");
				note_state(publisher);
				break;
			case BS_AMQP_CONFIRMED:
				confirmed(publisher, &publisher->items[event.tag]);
				break;
			case BS_AMQP_REFUSED:
				refused(publisher, &publisher->items[event.tag], event.text);
				break;
			case BS_AMQP_DEPTH:
				note_depth(publisher, event.ready, event.dead);
				break;
			case BS_AMQP_DELIVERED:
				break;			/* nothing is consumed here */
		}
	}
	if (bs_amqp_is_up(publisher->link) &&
		GetCurrentTimestamp() >= publisher->next_depth)
	{
		bs_amqp_ask_depth(publisher->link);
		publisher->next_depth = bs_time_ms_from_now(DEPTH_INTERVAL_MS);
	}
}

typedef struct BsReadWork
{
	BsDue	   *dues;
	int			limit;
	int			count;
	const pg_uuid_t *under_way;
	int			under_way_count;
	bool		again;
	TimestampTz next_due;
} BsReadWork;

static void
read_work(void *arg)
{
	BsReadWork *work = arg;

	BS_FAILPOINT("due-begin");
	work->count = bs_queue_read_due(work->limit, work->under_way,
									work->under_way_count, work->again,
									work->dues, &work->next_due);
	if (work->count > 0)
		BS_FAILPOINT("due-before-commit");
}

static int
add_ids(dlist_head *list, pg_uuid_t *ids, int count)
{
	dlist_iter	iter;

	dlist_foreach(iter, list)
		ids[count++] = dlist_container(BsOutgoing, node, iter.cur)->due.id;
	return count;
}

/*
 * read_due
 *		What is due and not under way, into work; false if that failed.
 *
 * What was published once is published again only where the queue is empty:
 * there it has been lost, elsewhere it still waits for a sender.
 */
static bool
read_due(BsPublisher *publisher, BsReadWork *work)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * BS_PUBLISHER_WINDOW);
	TimestampTz start = GetCurrentTimestamp();
	char		error[256];

	work->dues = palloc(sizeof(BsDue) * work->limit);
	work->under_way = ids;
	work->under_way_count = add_ids(&publisher->unconfirmed, ids, 0);
	work->under_way_count = add_ids(&publisher->confirmed, ids,
									work->under_way_count);
	work->again = publisher->queue_is_empty;
	bs_wake_announce_sleep();
	if (!bs_txn_try("reading what is due", read_work, work,
					error, sizeof(error)))
	{
		bs_worker_report_error(error);
		publisher->next_read = bs_time_ms_from_now(1000);
		return false;
	}
	if (work->count > 0)
		BS_FAILPOINT("due-after-commit");

	/*
	 * What was due before is under way or waits in the queue: no spinning
	 * meanwhile.  What has become due since is read at once.
	 */
	publisher->held = publisher->free_count < BS_PUBLISHER_WINDOW ||
		work->count > 0;
	if (work->count > 0 || work->next_due > start)
		publisher->busy = 0;
	if (work->count < work->limit && work->next_due <= start)
		work->next_due =
			bs_time_ms_from_now(publisher->held ?
								Max(HELD_MS, bs_backoff_locked_ms(++publisher->busy)) :
								IDLE_MS);
	publisher->next_read = bs_wake_settle_sleep(work->next_due);
	return true;
}

/* Its type in lower case. */
static const char *
routing_key(const BsDue *due, char *key, Size size)
{
	Size		i;

	for (i = 0; i < size - 1 && due->message_type[i] != '\0'; i++)
		key[i] = pg_ascii_tolower((unsigned char) due->message_type[i]);
	key[i] = '\0';
	return key;
}

static bool
publish_one(BsPublisher *publisher, const BsDue *due)
{
	BsOutgoing *item = first_of(&publisher->free);
	BsPayload	payload;
	char		body[BS_PAYLOAD_MAX];
	char		key[sizeof(due->message_type)];
	char	   *id = DatumGetCString(DirectFunctionCall1(uuid_out,
														 UUIDPGetDatum(&due->id)));
	size_t		len;

	BS_FAILPOINT("publish-before");
	memcpy(payload.id, due->id.data, UUID_LEN);
	payload.send_time_us = bs_time_to_unix_us(due->scheduled_send_time);
	len = bs_payload_write(body, sizeof(body), bs_queue_installation(),
						   &payload);
	if (len == 0 ||
		!bs_amqp_publish(publisher->link,
						 routing_key(due, key, sizeof(key)), id, body, len,
						 item - publisher->items))
		return false;
	item->due = *due;
	dlist_delete(&item->node);
	publisher->free_count--;
	dlist_push_tail(&publisher->unconfirmed, &item->node);
	publisher->unconfirmed_count++;
	BS_FAILPOINT("publish-after");
	return true;
}

void
bs_publisher_publish(BsPublisher *publisher)
{
	BsReadWork	work = {0};
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	if (publisher->link == NULL || !bs_amqp_is_up(publisher->link) ||
		bs_amqp_is_blocked(publisher->link) || publisher->redeclare ||
		publisher->record_failures > 0 ||
		publisher->free_count < BS_PUBLISHER_WINDOW / 2)
		return;
	/* A commit may have brought something that is due sooner. */
	publisher->next_read = Min(publisher->next_read,
							   bs_wake_sleep_until());
	if (now < publisher->next_read)
		return;
	work.limit = Min(publisher->free_count, bs_amqp_room(publisher->link));
	if (work.limit == 0 || !read_due(publisher, &work))
		return;
	for (i = 0; i < work.count; i++)
		if (!publish_one(publisher, &work.dues[i]))
		{
			publisher->next_read = DT_NOBEGIN;
			break;
		}
	bs_publisher_collect(publisher);
}

typedef struct BsMarkWork
{
	const BsDue **dues;
	int			count;
	pg_uuid_t  *left;
	int			left_count;
} BsMarkWork;

static void
mark_work(void *arg)
{
	BsMarkWork *work = arg;

	BS_FAILPOINT("mark-begin");
	work->left_count = bs_queue_mark_queued(work->dues, work->count,
											work->left);
	BS_FAILPOINT("mark-before-commit");
}

static bool
is_left(const BsMarkWork *work, const BsDue *due)
{
	int			i;

	for (i = 0; i < work->left_count; i++)
		if (memcmp(&work->left[i], &due->id, sizeof(due->id)) == 0)
			return true;
	return false;
}

static bool
should_record(const BsPublisher *publisher, TimestampTz now)
{
	if (now < publisher->next_record)
		return false;
	return publisher->unconfirmed_count == 0 ||
		publisher->confirmed_count >= RECORD_BATCH ||
		now >= TimestampTzPlusMilliseconds(publisher->first_confirm,
										   RECORD_DELAY_MS);
}

/*
 * bs_publisher_record
 *		Confirmed --> recorded, if it is worth a transaction.
 *
 * What another session is changing is kept, or it would be read and published
 * again for as long as that lasts.
 */
void
bs_publisher_record(BsPublisher *publisher, bool at_once)
{
	BsMarkWork	work = {.count = 0};
	dlist_mutable_iter iter;
	char		error[256];

	if (publisher->confirmed_count == 0 ||
		(!at_once && !should_record(publisher, GetCurrentTimestamp())))
		return;
	work.dues = palloc(sizeof(*work.dues) * publisher->confirmed_count);
	work.left = palloc(sizeof(*work.left) * publisher->confirmed_count);
	dlist_foreach_modify(iter, &publisher->confirmed)
		work.dues[work.count++] =
		&dlist_container(BsOutgoing, node, iter.cur)->due;
	if (!bs_txn_try("recording what is queued", mark_work, &work,
					error, sizeof(error)))
	{
		bs_worker_report_error(error);
		publisher->record_failures++;
		publisher->next_record =
			bs_time_ms_from_now(bs_backoff_ms(publisher->record_failures, 100, 5000));
		return;
	}
	BS_FAILPOINT("mark-after-commit");
	publisher->record_failures = 0;
	dlist_foreach_modify(iter, &publisher->confirmed)
	{
		BsOutgoing *item = dlist_container(BsOutgoing, node, iter.cur);

		if (is_left(&work, &item->due))
			continue;
		set_free(publisher, item);
		publisher->confirmed_count--;
	}
	if (publisher->held && publisher->refusals == 0 &&
		work.left_count < work.count)
	{
		publisher->next_read = DT_NOBEGIN;	/* nothing hides what is next */
		publisher->busy = 0;
	}
	publisher->held = false;
	publisher->next_record = work.left_count == 0 ? DT_NOBEGIN :
		bs_time_ms_from_now(LEFT_WAIT_MS);
	note_counts(work.count - work.left_count, 0);
}

TimestampTz
bs_publisher_next_moment(const BsPublisher *publisher)
{
	TimestampTz next = DT_NOEND;

	if (publisher->confirmed_count > 0)
		next = Max(publisher->next_record,
				   TimestampTzPlusMilliseconds(publisher->first_confirm,
											   RECORD_DELAY_MS));
	if (publisher->link == NULL || !bs_amqp_is_up(publisher->link))
		return next;
	next = Min(next, publisher->next_depth);
	if (publisher->redeclare)
		next = Min(next, publisher->next_read);
	else if (!bs_amqp_is_blocked(publisher->link) &&
			 publisher->record_failures == 0 &&
			 publisher->free_count >= BS_PUBLISHER_WINDOW / 2 &&
			 bs_amqp_room(publisher->link) > 0)
		next = Min(next, publisher->next_read);
	return next;
}
