/*-------------------------------------------------------------------------
 *
 * test_amqp_consume.c
 *	  Consuming: deliveries of any form, acknowledgements, depth.
 *
 * test/unit/test_amqp_consume.c
 *
 *-------------------------------------------------------------------------
 */
#include "amqp_host.h"

#include <pthread.h>

static bool
begin_consumer(int prefetch)
{
	config.prefetch = prefetch;
	return begin_up();
}

/* ---- deliveries ---- */

static void
test_deliveries(void)
{
	static char large[BS_AMQP_BODY_MAX];
	const BsAmqpEvent *got = &event[1];

	memset(large, 'l', sizeof(large));
	reset_config();
	begin_consumer(10);
	broker_deliver(&broker, 1, false, "{\"a\":1}", 7, 7);
	broker_deliver(&broker, 2, true, "{\"b\":2}", 7, 1);
	broker_deliver(&broker, 3, false, "", 0, 1);
	broker_deliver(&broker, UINT64_MAX, false, large, sizeof(large), 1000);
	wait_for_events(BS_AMQP_DELIVERED, 4);
	is_str(event_story(), "up delivered delivered delivered delivered",
		   "four deliveries");
	ok(got[0].tag == 1 && got[1].tag == 2 && got[2].tag == 3 &&
	   got[3].tag == UINT64_MAX, "with their tags");
	ok(!got[0].redelivered && got[1].redelivered, "and marks");
	ok(got[0].epoch == got[3].epoch, "of one connection");
	is_str(event_body[1], "{\"a\":1}", "a body");
	is_str(event_body[2], "{\"b\":2}", "a body in many frames");
	is_int(got[1].body_len, 7, "in its length");
	is_str(event_body[3], "", "an empty body");
	is_int(got[2].body_len, 0, "in its length");
	is_int(got[3].body_len, sizeof(large), "the largest body");
	is_int(strspn(event_body[4], "l"), sizeof(event_body[4]) - 1,
		   "is there");
	finish();
}

/* Octet by octet, between heartbeats and answers on the other channel. */
static void
test_interleaved(void)
{
	reset_config();
	begin_consumer(10);
	broker.drips = true;
	bs_amqp_ask_depth(amqp);
	wait_for(strstr(broker.log, "queue.declare birthday.messages.dlq passive")
			 != NULL);
	broker_deliver_method(&broker, 1, false);
	broker_heartbeat(&broker);
	broker_head(&broker, 4, "\0\0", 2);
	broker_body(&broker, "ab", 2, 2);
	broker_heartbeat(&broker);
	broker_body(&broker, "cd", 2, 2);
	wait_for_events(BS_AMQP_DELIVERED, 1);
	is_str(event_body[events - 1], "abcd", "a body is put together");
	is_int(count_events(BS_AMQP_DEPTH), 1, "the answer between is heard");
	is_int(count_events(BS_AMQP_DOWN), 0, "all is well");
	finish();
}

/* Bodies that are too large to be kept are counted. */
static void
test_oversized(void)
{
	static char large[300000];

	reset_config();
	begin_consumer(10);
	broker_deliver(&broker, 1, false, large, BS_AMQP_BODY_MAX + 1, 4096);
	broker_deliver(&broker, 2, false, large, sizeof(large), 131064);
	broker_deliver(&broker, 3, false, "small", 5, 5);
	wait_for_events(BS_AMQP_DELIVERED, 3);
	is_int(event[1].body_len, BS_AMQP_BODY_MAX + 1, "one octet too many");
	is_str(event_body[1], "", "is not kept");
	is_int(event[2].body_len, sizeof(large), "very many are counted");
	is_str(event_body[3], "small", "what comes then is kept");
	bs_amqp_reject(amqp, event[2].epoch, 2);
	ok(wait_for(broker.rejects == 1), "and all can be answered");
	finish();
}

/* More than there is room for: the rest waits its turn. */
static void
test_flood(void)
{
	static char body[3000];
	int			i;
	int			wrong = 0;

	memset(body, 'x', sizeof(body));
	reset_config();
	begin_consumer(BS_AMQP_WINDOW_MAX);
	for (i = 1; i <= 8000; i++)
	{
		snprintf(body, sizeof(body), "%d ", i);
		broker_deliver(&broker, (uint64_t) i, false, body,
					   i % 8 == 0 ? sizeof(body) : 10, sizeof(body));
	}
	ok(wait_for_events(BS_AMQP_DELIVERED, 8000), "a flood is taken in");
	for (i = 1; i <= 8000; i++)
		wrong += event[i].tag != (uint64_t) i || atoi(event_body[i]) != i;
	is_int(wrong, 0, "each of it once and in order");
	finish();
}

/* Until the host has taken the events, all stays as it is. */
static void
test_not_taken(void)
{
	BsAmqpEvent first;
	BsAmqpEvent second;

	reset_config();
	begin_consumer(10);
	broker_deliver(&broker, 1, false, "one", 3, 3);
	broker_deliver(&broker, 2, false, "two", 3, 3);
	while (bs_amqp_deadline_ms(amqp) > 0 || !bs_amqp_next(amqp, &first))
	{
		struct pollfd fds[4];
		int			count = broker_poll(&broker, fds);

		poll(fds, count, 1);
		broker_serve(&broker, fds, count);
		if (amqp->note_first == amqp->note_count)
			bs_amqp_run(amqp);
	}
	is_int(bs_amqp_deadline_ms(amqp), 0, "events wait: at once");
	bs_amqp_run(amqp);
	is_str(first.body, "one", "a body stays while events wait");
	ok(bs_amqp_next(amqp, &second) && second.tag == 2,
	   "an event is not lost");
	is_str(second.body, "two", "nor its body");
	finish();
}

/* ---- what nobody should send ---- */

static void
is_nonsense(void (*say) (void), const char *wanted, const char *what)
{
	reset_config();
	config.backoff_initial_ms = config.backoff_max_ms = 30000;
	begin_consumer(10);
	say();
	is_down(wanted, false, what);
	is_int(count_events(BS_AMQP_DELIVERED), 0, "%s: nothing is delivered",
		   what);
	finish();
}

static void
say_two_methods(void)
{
	broker_deliver_method(&broker, 1, false);
	broker_deliver_method(&broker, 2, false);
}

static void
say_two_heads(void)
{
	broker_deliver_method(&broker, 1, false);
	broker_head(&broker, 4, "\0\0", 2);
	broker_head(&broker, 4, "\0\0", 2);
}

static void
say_body_without_head(void)
{
	broker_deliver_method(&broker, 1, false);
	broker_body(&broker, "abcd", 4, 4);
}

static void
say_long_body(void)
{
	broker_deliver_method(&broker, 1, false);
	broker_head(&broker, 4, "\0\0", 2);
	broker_body(&broker, "abcde", 5, 5);
}

static void
say_short_head(void)
{
	broker_deliver_method(&broker, 1, false);
	broker_frame(&broker, AMQP_FRAME_HEADER, 1, "\0\74\0\0\0\0\0\0\0\0\0", 11);
}

static void
say_other_class(void)
{
	broker_deliver_method(&broker, 1, false);
	broker_frame(&broker, AMQP_FRAME_HEADER, 1,
				 "\0\73\0\0\0\0\0\0\0\0\0\1\0\0", 14);
}

static void
say_torn_method(void)
{
	broker_frame(&broker, AMQP_FRAME_METHOD, 1, "\0\74\0\74\5ab", 7);
}

static void
say_large_frame(void)
{
	broker_raw(&broker, "\3\0\1\0\1\377\371", 7);
}

static void
say_unasked_depth(void)
{
	amqp_queue_declare_ok_t declared = {{0}, 1, 1};

	broker_say(&broker, 2, AMQP_QUEUE_DECLARE_OK_METHOD, &declared);
}

static void
say_unasked_channel(void)
{
	amqp_channel_open_ok_t opened = {{0}};

	broker_say(&broker, 2, AMQP_CHANNEL_OPEN_OK_METHOD, &opened);
}

static void
say_flow(void)
{
	amqp_channel_flow_t flow = {0};

	broker_say(&broker, 1, AMQP_CHANNEL_FLOW_METHOD, &flow);
}

static void
say_cancel(void)
{
	amqp_basic_cancel_t cancel = {amqp_cstring_bytes("ctag"), 1};

	broker_say(&broker, 1, AMQP_BASIC_CANCEL_METHOD, &cancel);
}

static void
test_nonsense(void)
{
	is_nonsense(say_two_methods, "a message breaks off", "two methods");
	is_nonsense(say_two_heads, "a message has no head", "two heads");
	is_nonsense(say_body_without_head, "belongs to no message",
				"a body without its head");
	is_nonsense(say_long_body, "belongs to no message",
				"a body longer than it says");
	is_nonsense(say_short_head, "a message has no head", "half a head");
	is_nonsense(say_other_class, "a message has no head",
				"the head of something else");
	is_nonsense(say_torn_method, "a method cannot be read", "half a method");
	is_nonsense(say_large_frame, "a frame is too large", "a large frame");
	is_nonsense(say_unasked_depth, "an answer comes unasked",
				"an answer to nothing");
	is_nonsense(say_unasked_channel, "a channel opens unasked",
				"a channel for nothing");
	is_nonsense(say_flow, "method 20.20 on channel 1", "channel.flow");
	is_nonsense(say_cancel, "has ended the consumption of queue "
				"\"birthday.messages.queue\"", "basic.cancel");

	reset_config();
	config.window = 1;
	begin_up();
	broker_deliver(&broker, 1, false, "x", 1, 1);
	is_down("a delivery comes unasked", false, "a delivery to who publishes");
	finish();
}

/*
 * Headers as deep as a frame can have them: with so small a stack nobody could
 * follow them.
 */
static void *
take_bomb(void *arg)
{
	static char properties[120000];
	size_t		depth = 17000;
	size_t		at = 2;
	size_t		i;

	(void) arg;
	properties[0] = 0x20;
	for (i = 0; i < depth; i++)
	{
		broker_number(properties + at, 4, (depth - i) * 7);
		memcpy(properties + at + 4, "\1xF", 3);
		at += 7;
	}
	at += 4;
	reset_config();
	begin_consumer(10);
	broker_deliver_method(&broker, 1, false);
	broker_head(&broker, 4, properties, at);
	broker_body(&broker, "abcd", 4, 4);
	wait_for_events(BS_AMQP_DELIVERED, 1);
	is_str(event_body[1], "abcd", "17000 tables in each other do no harm");
	finish();
	return NULL;
}

static void
test_bomb(void)
{
	pthread_attr_t attributes;
	pthread_t	thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 512 * 1024);
	if (pthread_create(&thread, &attributes, take_bomb, NULL) == 0)
		pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
}

/* ---- acknowledgements ---- */

static void
test_acks(void)
{
	uint32_t	epoch;

	reset_config();
	begin_consumer(10);
	broker_deliver(&broker, 1, false, "x", 1, 1);
	broker_deliver(&broker, 2, false, "x", 1, 1);
	wait_for_events(BS_AMQP_DELIVERED, 2);
	epoch = event[1].epoch;
	bs_amqp_ack(amqp, epoch, 1, false);
	ok(wait_for(broker.acks == 1), "an ack arrives");
	ok(broker.ack_tag == 1 && !broker.ack_multiple, "as it was given");
	bs_amqp_reject(amqp, epoch, 2);
	ok(wait_for(broker.rejects == 1), "a rejection arrives");
	ok(broker.reject_tag == 2 && strstr(broker.log, "requeue") == NULL,
	   "and is for good");
	bs_amqp_ack(amqp, epoch, UINT64_MAX, true);
	ok(wait_for(broker.acks == 2), "another ack arrives");
	ok(broker.ack_tag == UINT64_MAX && broker.ack_multiple,
	   "for all up to it");

	/* Between connections, and on the next one, it is too late. */
	broker_drop(&broker);
	wait_for_events(BS_AMQP_DOWN, 1);
	bs_amqp_ack(amqp, epoch, 3, false);
	wait_for_events(BS_AMQP_UP, 2);
	bs_amqp_ack(amqp, epoch, 4, false);
	bs_amqp_reject(amqp, epoch, 5);
	broker_deliver(&broker, 1, true, "x", 1, 1);
	wait_for_events(BS_AMQP_DELIVERED, 3);
	ok(last_event(BS_AMQP_DELIVERED)->epoch != epoch,
	   "another connection is another epoch");
	bs_amqp_ack(amqp, last_event(BS_AMQP_DELIVERED)->epoch, 1, false);
	ok(wait_for(broker.acks == 3), "an ack of its own arrives");
	is_int(broker.ack_tag, 1, "those of before do not");
	is_int(broker.rejects, 1, "nor do rejections");
	finish();
}

/* An ack that no buffer takes is a broker that is gone. */
static void
test_deaf(void)
{
	int			count = 0;

	reset_config();
	config.backoff_initial_ms = config.backoff_max_ms = 30000;
	begin_consumer(10);
	broker_deliver(&broker, 1, false, "x", 1, 1);
	wait_for_events(BS_AMQP_DELIVERED, 1);
	broker.deaf = true;
	while (bs_amqp_is_up(amqp) && ++count < 1000000)
	{
		bs_amqp_ack(amqp, event[1].epoch, 1, false);
		if (count % 1000 == 0)
			turn(0);
	}
	is_down("does not read what we send", false, "acks without end");
	finish();
}

/*
 * A link that fails while the host calls it says so at once, and closes the
 * connection when it is run next.
 */
static void
test_fails_in_call(void)
{
	BsAmqpEvent down = {0};
	int			count = 0;

	reset_config();
	begin_consumer(10);
	broker_deliver(&broker, 1, false, "x", 1, 1);
	wait_for_events(BS_AMQP_DELIVERED, 1);
	while (bs_amqp_is_up(amqp) && ++count < 1000000)
		bs_amqp_ack(amqp, event[1].epoch, 1, false);
	ok(!bs_amqp_is_up(amqp), "is not up any more");
	ok(bs_amqp_next(amqp, &down) && down.kind == BS_AMQP_DOWN,
	   "says that it is down");
	ok(!bs_amqp_next(amqp, &down), "once");
	is_int(bs_amqp_deadline_ms(amqp), 0, "wants to be run");
	bs_amqp_ask_depth(amqp);
	ok(!bs_amqp_next(amqp, &down), "takes no question");
	ok(wait_for_events(BS_AMQP_UP, 2), "and comes up again");
	finish();
}

/* What was acknowledged before the end is acknowledged. */
static void
test_farewell(void)
{
	int			i;

	reset_config();
	begin_consumer(100);
	for (i = 1; i <= 100; i++)
		broker_deliver(&broker, (uint64_t) i, false, "x", 1, 1);
	wait_for_events(BS_AMQP_DELIVERED, 100);
	for (i = 1; i <= 100; i++)
		bs_amqp_ack(amqp, event[i].epoch, event[i].tag, false);
	/* input that is never read */
	broker_deliver(&broker, 101, false, "x", 1, 1);
	broker_write(&broker);
	bs_amqp_destroy(amqp);
	amqp = NULL;
	serve_until_left();
	is_int(broker.acks, 100, "acks that waited arrive before the farewell");
	is_int(broker.farewells, 1, "and so does the farewell");
	broker_close(&broker);
}

/* ---- depth ---- */

static void
test_depth(void)
{
	reset_config();
	begin_consumer(10);
	bs_amqp_ask_depth(amqp);
	bs_amqp_ask_depth(amqp);
	wait_for_events(BS_AMQP_DEPTH, 1);
	is_int(last_event(BS_AMQP_DEPTH)->ready, strlen(config.queue),
		   "how many wait");
	is_int(last_event(BS_AMQP_DEPTH)->dead, strlen(config.dead_letter_queue),
		   "how many are dead");
	broker.log[0] = '\0';
	bs_amqp_ask_depth(amqp);
	wait_for_events(BS_AMQP_DEPTH, 2);
	is_str(broker.log, "queue.declare birthday.messages.queue passive\n"
		   "queue.declare birthday.messages.dlq passive\n",
		   "asked again, on the same channel");
	is_str(event_story(), "up depth depth", "each time once");

	broker.depth_is_lost = true;
	bs_amqp_ask_depth(amqp);
	is_down(": 404 NOT_FOUND - no queue", false, "a queue that is gone");
	broker.depth_is_lost = false;
	bs_amqp_ask_depth(amqp);
	ok(wait_for_events(BS_AMQP_UP, 2), "is declared anew");
	is_int(count_events(BS_AMQP_DEPTH), 2,
		   "a question while down is not answered");
	bs_amqp_ask_depth(amqp);
	ok(wait_for_events(BS_AMQP_DEPTH, 3), "one after that is");
	finish();
}

static void
test_consumer_is_known(void)
{
	reset_config();
	config.consumer_check_ms = 20;
	begin_consumer(10);
	broker.consumers = 1;
	ok(wait_for_events(BS_AMQP_DEPTH, 4), "who consumes asks by itself");
	is_int(count_events(BS_AMQP_DOWN), 0, "and stays while it is known");
	broker.consumers = 0;
	is_down("the queue does not know its consumer", false,
			"a queue that has lost its consumer");
	broker.consumers = 1;
	ok(wait_for_events(BS_AMQP_UP, 2), "is consumed anew");
	finish();
}

static bool
be_silent_on_two(BsBroker *to, uint16_t channel, amqp_method_number_t id,
				 void *method)
{
	(void) to;
	(void) id;
	(void) method;
	return channel == 2;
}

static void
test_no_depth(void)
{
	reset_config();
	config.confirm_timeout_ms = 100;
	begin_consumer(10);
	broker.hook = be_silent_on_two;
	bs_amqp_ask_depth(amqp);
	is_down("the broker does not answer", false, "no depth");
	finish();
}

int
main(void)
{
	host_begin();
	test_deliveries();
	test_interleaved();
	test_oversized();
	test_flood();
	test_not_taken();
	test_nonsense();
	test_bomb();
	test_acks();
	test_deaf();
	test_fails_in_call();
	test_farewell();
	test_depth();
	test_consumer_is_known();
	test_no_depth();
	return host_end();
}
