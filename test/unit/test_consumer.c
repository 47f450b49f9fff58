/*-------------------------------------------------------------------------
 *
 * test_consumer.c
 *	  The copies that the broker handed to a sender, and what it is told of them.
 *
 * test/unit/test_consumer.c
 *
 *-------------------------------------------------------------------------
 */
#include "outbox_host.h"

#define PREFETCH	8

static const BsScript usual = {0};

static BsPayload keys[ROWS];
static BsCopyTag tags[ROWS];
static BsConsumerCounts counts; /* of all so far */

static void
open_all(void)
{
	reset_rules();
	open_outbox(&usual);
	open_broker(PREFETCH);
	memset(&counts, 0, sizeof(counts));
}

static void
close_all(void)
{
	close_broker();
	close_outbox();
}

static bool
take_counts(void)
{
	BsConsumerCounts more;
	bool		any = bs_consumer_take_counts(consumer, &more);
	int			i;

	counts.consumed += more.consumed;
	counts.dropped += more.dropped;
	counts.failed += more.failed;
	counts.excess += more.excess;
	for (i = 0; i < BS_PAYLOAD_FAULTS; i++)
		counts.faults[i] += more.faults[i];
	return any;
}

static bool
wait_for_copies(uint64_t count)
{
	return wait_for((take_counts(), counts.consumed >= count));
}

static int
peek(int limit)
{
	return bs_consumer_peek(consumer, limit, keys, tags);
}

/* Which messages are given out, "1 2". */
static const char *
peek_story(int limit)
{
	static char story[512];
	int			count = peek(limit);
	int			i;

	story[0] = '\0';
	for (i = 0; i < count; i++)
	{
		size_t		used = strlen(story);

		snprintf(story + used, sizeof(story) - used, "%s%d", i > 0 ? " " : "",
				 keys[i].id[14] << 8 | keys[i].id[15]);
	}
	return story;
}

/* Takes so many of those that wait, to this state. */
static void
settle(int first, int count, BsCopyState state)
{
	int			i;

	for (i = first; i < first + count; i++)
		bs_consumer_settle(consumer, tags[i], state);
}

static void
test_copies(void)
{
	BsCopyTag	first;

	open_all();
	ok(bs_consumer_next_claim_ms(consumer) == INT64_MAX, "nothing to claim");
	is_int(peek(10), 0, "nothing to look at");
	ok(!bs_consumer_flush(consumer), "nothing to tell");
	ok(!take_counts(), "nothing has happened");
	deliver(1, 11);
	deliver(2, 12);
	deliver(3, 13);
	ok(wait_for_copies(3), "three copies");
	is_int(bs_consumer_next_claim_ms(consumer), 0, "to be claimed at once");
	is_str(peek_story(2), "11 12", "the first two");
	is_str(peek_story(10), "11 12 13", "or all, in their order");
	is_int(keys[0].send_time_us / SECOND_US, 1772269200, "with their time");
	ok(!take_counts(), "looking counts for nothing");

	first = tags[0];
	bs_consumer_settle(consumer, first, BS_COPY_HELD);
	is_str(peek_story(10), "12 13", "what is held does not wait");
	bs_consumer_drop(consumer, tags[0], BS_COPY_DONE);
	is_int(bs_consumer_untold(consumer), 1, "one to tell of");
	ok(!bs_consumer_flush(consumer), "but not before the one that is held");
	bs_consumer_settle(consumer, first, BS_COPY_DONE);
	ok(flush_copies(1, 0), "then the broker is told");
	ok(broker.ack_tag == 2 && broker.ack_multiple, "of the second, and all before it");
	close_all();
}

/* Those before the first that is held go at once, one by one where many wait. */
static void
test_order(void)
{
	int			i;

	open_all();
	for (i = 1; i <= PREFETCH; i++)
		deliver((uint64_t) i, i);
	ok(wait_for_copies(PREFETCH), "as many as there is room for");
	peek(PREFETCH);
	settle(0, PREFETCH, BS_COPY_HELD);
	ok(bs_consumer_next_claim_ms(consumer) == INT64_MAX, "all are held");
	settle(1, 2, BS_COPY_DONE);
	ok(!bs_consumer_flush(consumer), "two that are done wait for the first");
	is_int(bs_consumer_untold(consumer), 2, "as long as they are few");
	settle(3, 1, BS_COPY_DEAD);
	ok(flush_copies(2, 1), "of three the broker is told at once");
	ok(!broker.ack_multiple, "one by one");
	is_int(broker.ack_tag, 3, "of the done");
	is_int(broker.reject_tag, 4, "and the dead");
	is_int(bs_consumer_untold(consumer), 0, "all is told");

	settle(1, 3, BS_COPY_HELD);
	is_int(bs_consumer_untold(consumer), 0, "what was told of is nobody's");
	settle(0, 1, BS_COPY_DONE);
	settle(4, 1, BS_COPY_DEAD);
	settle(5, 1, BS_COPY_DONE);
	ok(flush_copies(3, 2), "now the first");
	ok(broker.ack_multiple, "with one acknowledgement for all that are done");
	is_int(broker.ack_tag, 6, "up to the last of them");
	is_int(broker.reject_tag, 5, "the dead among them by itself");

	/* An acknowledgement names what was not told of before. */
	settle(6, 1, BS_COPY_DEAD);
	ok(flush_copies(3, 3), "a dead one alone");
	settle(7, 1, BS_COPY_DONE);
	ok(flush_copies(4, 3), "the last one");
	is_int(broker.ack_tag, 8, "by its own name");
	for (i = 1; i <= PREFETCH; i++)
		deliver((uint64_t) (PREFETCH + i), i);
	ok(wait_for_copies(2 * PREFETCH), "there is room for as many more");
	is_int(counts.excess, 0, "none is too many");
	is_int(downs, 0, "the link has lived through it");
	close_all();
}

static void
test_unreadable(void)
{
	static const char foreign[] = "{\"version\":1,\"installation\":\"1/2\","
	"\"id\":\"7d000000-0000-0000-0000-000000000001\","
	"\"send_time\":\"2026-03-01T07:00:00.000000Z\"}";
	static char large[5000];

	memset(large, ' ', sizeof(large));
	open_all();
	broker_deliver(&broker, 1, false, "{", 1, 1);
	broker_deliver(&broker, 2, false, large, sizeof(large), sizeof(large));
	broker_deliver(&broker, 3, false, foreign, strlen(foreign), 7);
	broker_deliver(&broker, 4, false, "", 0, 1);
	deliver(5, 5);
	ok(wait_for_copies(5), "all are received");
	is_int(counts.faults[BS_PAYLOAD_MALFORMED], 2, "two are no copies");
	is_int(counts.faults[BS_PAYLOAD_OVERSIZED], 1, "one is too long");
	is_int(counts.faults[BS_PAYLOAD_FOREIGN], 1, "one is somebody else's");
	is_str(peek_story(10), "5", "one is ours");
	is_int(bs_consumer_untold(consumer), 4, "four are dead on arrival");
	ok(flush_copies(0, 4), "and rejected");
	is_int(broker.acks, 0, "nothing is acknowledged");
	is_str(strstr(broker.log, "requeue"), NULL, "nothing is handed back");
	is_str(peek_story(10), "5", "ours still waits");
	close_all();
}

static void
test_locked(void)
{
	static const int waits[] = {20, 40, 80, 160, 320, 640, 1000, 1000};
	size_t		i;

	open_all();
	deliver(1, 1);
	deliver(2, 2);
	ok(wait_for_copies(2), "two copies");
	peek(2);
	settle(0, 1, BS_COPY_LOCKED);
	settle(1, 1, BS_COPY_HELD);
	for (i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
	{
		int64_t		before = now_ms();
		int64_t		next_ms;

		bs_consumer_wait_for_locks(consumer);
		next_ms = bs_consumer_next_claim_ms(consumer);
		ok(next_ms >= before + waits[i] && next_ms <= now_ms() + waits[i],
		   "locked: asked again in %d ms", waits[i]);
	}
	is_int(peek(2), 0, "until then it is left alone");
	deliver(3, 3);
	ok(wait_for_copies(3), "another one");
	is_int(bs_consumer_next_claim_ms(consumer), 0, "is claimed at once");
	is_str(peek_story(10), "3", "by itself");
	ok(wait_for(peek(10) == 2), "the time comes");
	is_str(peek_story(10), "1 3", "the locked one is the first");
	is_str(peek_story(1), "1", "also where there is room for one");
	settle(0, 1, BS_COPY_HELD);
	is_str(peek_story(10), "3", "it is claimed");
	settle(0, 1, BS_COPY_LOCKED);
	bs_consumer_wait_for_locks(consumer);
	ok(bs_consumer_next_claim_ms(consumer) <= now_ms() + 20,
	   "the next lock begins with a short wait");
	close_all();
}

/* The connection ends: what was handed out means nothing any more. */
static void
test_lost_connection(void)
{
	BsCopyTag	old[3];

	open_all();
	deliver(1, 1);
	deliver(2, 2);
	deliver(3, 3);
	ok(wait_for_copies(3), "three copies");
	peek(3);
	memcpy(old, tags, sizeof(old));
	settle(0, 1, BS_COPY_HELD);
	settle(1, 1, BS_COPY_DONE);
	broker_drop(&broker);
	ok(wait_for(downs == 1), "the connection ends");
	ok(bs_consumer_next_claim_ms(consumer) == INT64_MAX, "nothing is to be claimed");
	is_int(bs_consumer_untold(consumer), 0, "nothing is to be told");
	ok(wait_for(ups == 2), "there is another");
	deliver(1, 3);
	deliver(2, 1);
	ok(wait_for_copies(5), "copies come again, in another order");
	bs_consumer_settle(consumer, old[0], BS_COPY_DONE);
	bs_consumer_settle(consumer, old[2], BS_COPY_DEAD);
	is_int(bs_consumer_untold(consumer), 0, "what was held before settles nothing");
	is_str(peek_story(10), "3 1", "all wait");
	settle(0, 2, BS_COPY_DONE);
	ok(flush_copies(1, 0), "and are told of");
	ok(broker.ack_tag == 2 && broker.ack_multiple, "by their new tags");
	close_all();
}

/* What no broker does. */
static void
test_excess(void)
{
	int			i;

	open_all();
	for (i = 1; i <= PREFETCH; i++)
		deliver((uint64_t) i, i);
	deliver(PREFETCH, 100);
	deliver(PREFETCH + 1, 101);
	ok(wait_for_copies(PREFETCH + 2), "two more than were asked for");
	is_int(counts.excess, 2, "are counted, and not taken");
	is_int(peek(ROWS), PREFETCH, "there is no room for them");
	settle(0, PREFETCH, BS_COPY_DONE);
	ok(flush_copies(1, 0), "the others are told of");
	is_int(broker.ack_tag, PREFETCH, "and they are not");
	deliver(3, 3);
	ok(wait_for_copies(PREFETCH + 3), "a tag that was there before");
	is_int(counts.excess, 3, "is not taken either");
	is_int(peek(ROWS), 0, "nothing waits");
	close_all();
}

static void
test_counts(void)
{
	static const BsCopyTag none = {0};

	open_all();
	deliver(1, 1);
	deliver(2, 2);
	deliver(3, 3);
	ok(wait_for_copies(3), "three copies");
	peek(3);
	bs_consumer_drop(consumer, tags[0], BS_COPY_DONE);
	bs_consumer_drop(consumer, tags[1], BS_COPY_DONE);
	bs_consumer_drop(consumer, tags[2], BS_COPY_DEAD);
	ok(take_counts(), "something has happened");
	is_int(counts.dropped, 2, "two were of no use");
	is_int(counts.failed, 1, "one was of a message that failed");
	ok(!take_counts(), "which is told once");
	ok(flush_copies(1, 1), "the broker is told");

	/* Messages that came without a broker have no copy. */
	bs_consumer_settle(consumer, none, BS_COPY_DONE);
	bs_consumer_settle(NULL, tags[0], BS_COPY_DONE);
	bs_consumer_drop(NULL, tags[0], BS_COPY_DONE);
	is_int(bs_consumer_untold(consumer), 0, "no copy, nothing to tell");
	ok(!take_counts(), "and nothing to count");
	close_all();
}

int
main(void)
{
	host_begin();
	test_copies();
	test_order();
	test_unreadable();
	test_locked();
	test_lost_connection();
	test_excess();
	test_counts();
	return host_end();
}
