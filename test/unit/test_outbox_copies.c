/*-------------------------------------------------------------------------
 *
 * test_outbox_copies.c
 *	  Messages whose copies came from the broker: claimed, sent, recorded, and
 *	  only then acknowledged.
 *
 * test/unit/test_outbox_copies.c
 *
 *-------------------------------------------------------------------------
 */
#include "outbox_host.h"

#define PREFETCH	32

static const BsScript usual = {0};

static BsPayload keys[ROWS];
static BsCopyTag tags[ROWS];

static void
open_all(const BsScript *script)
{
	reset_rules();
	rules.mail_connections = 2;
	open_outbox(script);
	open_broker(PREFETCH);
}

static void
close_all(void)
{
	close_broker();
	close_outbox();
}

/* So many copies, with tags from the first on, of messages with its numbers. */
static void
deliver_many(int first, int count)
{
	int			i;

	for (i = first; i < first + count; i++)
		deliver((uint64_t) i, i);
}

static bool
wait_for_copies(int count)
{
	return wait_for(bs_consumer_peek(consumer, ROWS, keys, tags) >= count);
}

/* The database claims these messages, of all copies that wait. */
static void
begin_copies(const int *numbers, int count)
{
	BsClaim		claims[ROWS];
	int			waiting = bs_consumer_peek(consumer, ROWS, keys, tags);
	int			i;

	for (i = 0; i < count; i++)
		claims[i] = make_claim(numbers[i]);
	bs_outbox_begin_copies(&outbox, keys, tags, waiting, claims, count,
						   now_ms() + LEASE_MS);
}

static void
test_sent(void)
{
	static const int numbers[] = {3, 1, 2};

	open_all(&usual);
	deliver_many(1, 3);
	ok(wait_for_copies(3), "three copies");
	begin_copies(numbers, 3);
	is_int(outbox.waiting_count, 3, "three claims, in any order");
	ok(wait_for_ended(3), "are sent");
	ok(!bs_consumer_flush(consumer), "what is not recorded is not acknowledged");
	record(false);
	ok(!bs_consumer_flush(consumer), "nor what could not be recorded");
	record(true);
	ok(flush_copies(1, 0), "then it is");
	ok(broker.ack_tag == 3 && broker.ack_multiple, "all at once");
	is_int(recorded_count, 3, "each is recorded once");
	close_all();
}

/* What the database says of each copy. */
static void
test_answers(void)
{
	BsClaim		claims[4];
	BsConsumerCounts counts;

	open_all(&usual);
	deliver_many(1, 4);
	deliver(5, 1);
	ok(wait_for_copies(5), "five copies, two of one message");
	claims[0] = make_claim(1);
	memset(&claims[1], 0, sizeof(BsClaim));
	make_id(2, claims[1].id);
	claims[1].is_locked = true;
	memset(&claims[2], 0, sizeof(BsClaim));
	make_id(3, claims[2].id);
	bs_outbox_begin_copies(&outbox, keys, tags, 5, claims, 3,
						   now_ms() + LEASE_MS);
	is_int(outbox.waiting_count, 1, "one is claimed");
	bs_consumer_take_counts(consumer, &counts);
	is_int(counts.dropped, 2, "one the database does not give, one is the second of its message");
	is_int(counts.failed, 1, "one has failed");
	is_int(bs_consumer_untold(consumer), 3, "those three are done with");
	ok(bs_consumer_next_claim_ms(consumer) > now_ms() - 1000 &&
	   bs_consumer_next_claim_ms(consumer) <= now_ms() + 20,
	   "the locked one is asked for soon");
	finish_messages(1);
	is_str(ending(1), "SENT accepted 250", "the claimed one is sent");
	is_int(relay.mails, 1, "once");

	/* While the letters take all room, nothing is waited for but room. */
	ok(wait_for_copies(1), "the locked one again");
	rules.sender_memory_kb = 0;
	memset(&claims[0], 0, sizeof(BsClaim));
	make_id(2, claims[0].id);
	claims[0].is_locked = true;
	bs_outbox_begin_copies(&outbox, keys, tags, 1, claims, 1,
						   now_ms() + LEASE_MS);
	ok(bs_consumer_next_claim_ms(consumer) <= now_ms(), "no room: it may be asked for at once");
	rules.sender_memory_kb = 65536;
	claims[0] = make_claim(2);
	bs_outbox_begin_copies(&outbox, keys, tags, 1, claims, 1,
						   now_ms() + LEASE_MS);
	finish_messages(1);
	is_str(ending(2), "SENT accepted 250", "now it is sent");
	ok(flush_copies(1, 1), "all is told");
	ok(broker.ack_tag == 5 && broker.ack_multiple, "four are done");
	is_int(broker.reject_tag, 3, "one is dead");
	is_int(downs, 0, "no complaints");
	close_all();
}

/* FAILED goes to the dead letters; what is tried again later does not. */
static void
test_ends(void)
{
	static const BsScript unknown = {.rcpt = "550 unknown\r\n",.data = "554 no\r\n"};
	static const BsScript later = {.rcpt = "450 later\r\n",.data = "554 no\r\n",.next = &unknown};
	static const int numbers[] = {1, 2};

	open_all(&later);
	rules.mail_connections = 1;
	bs_outbox_set_mailer(&outbox, make_mailer());
	deliver_many(1, 2);
	ok(wait_for_copies(2), "two copies");
	begin_copies(numbers, 2);
	finish_messages(2);
	is_str(ending(1), "RETRYING later 450", "one is put off");
	is_str(ending(2), "FAILED refused 550", "one is refused");
	ok(flush_copies(1, 1), "the broker is told");
	is_int(broker.ack_tag, 1, "the first waits in the database");
	is_int(broker.reject_tag, 2, "the second is a dead letter");
	close_all();
}

/* The connection to the broker ends while messages are held. */
static void
test_lost_broker(void)
{
	static const BsScript slow = {.dot = HANG ""};
	static const int numbers[] = {1, 2};
	static const int second[] = {2};

	open_all(&slow);
	relay.scripts[1] = &usual;
	deliver_many(1, 2);
	ok(wait_for_copies(2), "two copies");
	begin_copies(numbers, 2);
	ok(wait_for_ended(1) && wait_for(relay.mails == 2), "one is sent, one handed over");
	broker_drop(&broker);
	ok(wait_for(ups == 2), "another connection to the broker");
	deliver(1, 2);
	ok(wait_for_copies(1), "a copy comes again");
	record(true);
	ok(!bs_consumer_flush(consumer), "what was held by the old one acknowledges nothing");
	is_int(recorded_count, 1, "but is recorded");
	begin_copies(second, 0);
	ok(flush_copies(1, 0), "the new copy is of no use, and told of");
	is_int(broker.ack_tag, 1, "by its own tag");
	bs_mailer_abort(outbox.mailer);
	step();
	record(true);
	is_int(recorded_count, 2, "the other one is recorded as well");
	is_int(outbox.free_count, outbox.job_count, "nothing is held");
	is_int(relay.mails, 2, "each was sent once");
	close_all();
}

/* From one kind of queue to the other while messages are held. */
static void
test_other_consumer(void)
{
	static const int numbers[] = {1};
	BsConsumer *former;

	open_all(&usual);
	deliver_many(1, 1);
	ok(wait_for_copies(1), "a copy");
	begin_copies(numbers, 1);
	former = bs_outbox_set_consumer(&outbox, NULL);
	ok(former == consumer, "the consumer is given back");
	ok(bs_outbox_set_consumer(&outbox, former) == NULL, "and taken again");
	finish_messages(1);
	is_str(ending(1), "SENT accepted 250", "the message is sent");
	is_int(bs_consumer_untold(former), 0, "its copy is nobody's: the broker has it again");
	close_all();
}

/* The tables are gone: no copy may take up the prefetch for ever. */
static void
test_forget(void)
{
	static const BsScript slow = {.dot = HANG ""};
	static const BsScript unknown = {.rcpt = "550 unknown\r\n",.data = "554 no\r\n",.next = &slow};
	static const int numbers[] = {1, 2, 3, 4, 5};

	open_all(&unknown);
	relay.scripts[1] = &slow;
	deliver_many(1, 5);
	ok(wait_for_copies(5), "five copies");
	begin_copies(numbers, 5);
	ok(wait_for(relay.mails == 2), "two are handed over, two wait");
	is_int(outbox.ended_count, 1, "one is refused, and not recorded");
	bs_outbox_forget(&outbox);
	is_int(bs_consumer_untold(consumer), 5, "all are done with");
	ok(flush_copies(1, 0), "and told of");
	is_int(broker.ack_tag, 5, "all five");
	is_int(broker.rejects, 0, "none is a dead letter");
	close_all();
}

int
main(void)
{
	host_begin();
	test_sent();
	test_answers();
	test_ends();
	test_lost_broker();
	test_other_consumer();
	test_forget();
	return host_end();
}
