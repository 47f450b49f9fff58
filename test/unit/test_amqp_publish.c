/*-------------------------------------------------------------------------
 *
 * test_amqp_publish.c
 *	  Publishing: confirms, refusals, a broker that is blocked, slow or gone.
 *
 * test/unit/test_amqp_publish.c
 *
 *-------------------------------------------------------------------------
 */
#include "amqp_host.h"

#define BODY	"{\"version\":1}"

static const char *
id_of(uint64_t tag)
{
	static char id[64];

	snprintf(id, sizeof(id), "00000000-0000-4000-8000-%012d", (int) tag);
	return id;
}

static bool
publish(uint64_t tag)
{
	return bs_amqp_publish(amqp, "birthday", id_of(tag), BODY, strlen(BODY),
						   tag);
}

/* Publishes "count" with tags from 101 on; the broker has them. */
static void
publish_all(int count)
{
	int			i;

	for (i = 1; i <= count; i++)
		ok(publish(100 + i), "message %d is taken", i);
	ok(wait_for(broker.messages == count), "the broker has all");
}

/* The tags of the events from "from" on, "confirmed 101 refused 102 ..." */
static const char *
tags_from(int from)
{
	static char story[8192];

	story[0] = '\0';
	for (; from < events; from++)
	{
		size_t		used = strlen(story);

		snprintf(story + used, sizeof(story) - used, "%s%s %d",
				 used > 0 ? " " : "", event_names[event[from].kind],
				 (int) event[from].tag);
	}
	return story;
}

static bool
begin_publisher(int window)
{
	config.window = window;
	return begin_up();
}

/* ---- confirms ---- */

static void
test_message(void)
{
	BsBrokerMessage *message = &broker.message[0];

	reset_config();
	begin_publisher(4);
	publish_all(1);
	is_str(message->key, "birthday", "the routing key is there");
	is_str(message->id, id_of(101), "the message-id is there");
	is_str(message->body, BODY, "the body is there");
	is_int(message->body_len, strlen(BODY), "in its length");
	ok(message->mandatory && message->persistent,
	   "it is mandatory and persistent");
	ok(strstr(broker.log, "content type") == NULL, "it is JSON");
	broker_ack(&broker, 1, false);
	wait_for_events(BS_AMQP_CONFIRMED, 1);
	is_str(tags_from(1), "confirmed 101", "and it is confirmed");
	finish();
}

static void
test_confirms(void)
{
	reset_config();
	begin_publisher(8);
	publish_all(8);
	is_int(bs_amqp_room(amqp), 0, "the window is full");
	ok(!publish(109), "and no more is taken");

	broker_ack(&broker, 3, false);
	broker_ack(&broker, 2, false);
	wait_for_events(BS_AMQP_CONFIRMED, 2);
	is_str(tags_from(1), "confirmed 103 confirmed 102",
		   "confirms come in any order");
	is_int(bs_amqp_room(amqp), 0, "room is behind the first alone");
	broker_ack(&broker, 5, true);
	wait_for_events(BS_AMQP_CONFIRMED, 5);
	is_str(tags_from(3), "confirmed 101 confirmed 104 confirmed 105",
		   "many at once, each is confirmed once");
	is_int(bs_amqp_room(amqp), 5, "five have made room");
	broker_ack(&broker, 5, true);
	broker_ack(&broker, 1, false);
	broker_nack(&broker, 7, false);
	wait_for_events(BS_AMQP_REFUSED, 1);
	is_str(tags_from(6), "refused 107", "what is confirmed stays so");
	ok(strstr(last_event(BS_AMQP_REFUSED)->text, "basic.nack") != NULL,
	   "a refusal says why");
	broker_ack(&broker, 0, true);
	wait_for_events(BS_AMQP_CONFIRMED, 7);
	is_str(tags_from(7), "confirmed 106 confirmed 108",
		   "number 0 confirms all there are, but what was refused");
	is_int(bs_amqp_room(amqp), 8, "the window is free");

	publish(201);
	publish(202);
	publish(203);
	wait_for(broker.messages == 11);
	broker_nack(&broker, 10, true);
	broker_nack(&broker, 0, true);
	wait_for_events(BS_AMQP_REFUSED, 4);
	is_str(tags_from(9), "refused 201 refused 202 refused 203",
		   "many are refused at once");
	is_int(count_events(BS_AMQP_DOWN), 0, "the link stays up");
	finish();
}

/* Numbers go round the ring many times, and each tag comes once. */
static void
test_many(void)
{
	static char seen[20000];
	int			published = 0;
	int			confirmed = 0;
	int			twice = 0;
	int			at = 0;

	reset_config();
	begin_publisher(37);
	broker.confirms = true;
	while (confirmed < (int) sizeof(seen) && count_events(BS_AMQP_DOWN) == 0)
	{
		while (published < (int) sizeof(seen) && bs_amqp_room(amqp) > 0)
		{
			publish((uint64_t) published);
			published++;
		}
		turn(100);
		for (; at < events; at++)
		{
			if (event[at].kind != BS_AMQP_CONFIRMED)
				continue;
			twice += seen[event[at].tag]++;
			confirmed++;
		}
		if (broker.messages > BROKER_MESSAGES - 100)
			break;
	}
	ok(confirmed > 10000, "%d messages are confirmed", confirmed);
	is_int(twice, 0, "none of them twice");
	finish();
}

static void
test_false_confirms(void)
{
	reset_config();
	begin_publisher(4);
	publish_all(2);
	broker_ack(&broker, 3, false);
	is_down("a confirm is for no message of ours", false,
			"a number that is none yet");
	is_int(count_events(BS_AMQP_CONFIRMED), 0, "nothing is confirmed by it");
	finish();

	reset_config();
	begin_publisher(4);
	publish_all(2);
	broker_ack(&broker, UINT64_MAX, true);
	is_down("a confirm is for no message of ours", false, "the largest one");
	finish();

	reset_config();
	begin_publisher(4);
	publish_all(2);
	broker_ack(&broker, 0, false);
	is_down("a confirm is for no message of ours", false,
			"number 0 for one message");
	finish();

	reset_config();
	config.prefetch = 1;
	begin_up();
	broker_ack(&broker, 1, false);
	is_down("a confirm is for no message of ours", false,
			"a confirm for who never published");
	finish();
}

/* ---- what no queue wants ---- */

static void
test_returns(void)
{
	reset_config();
	config.backoff_initial_ms = config.backoff_max_ms = 50;
	begin_publisher(8);
	publish_all(4);
	broker_return(&broker, 312, id_of(102));
	broker_ack(&broker, 2, false);
	broker_return(&broker, 312, id_of(104));
	broker_ack(&broker, 1, false);
	wait_for_events(BS_AMQP_CONFIRMED, 1);
	is_str(tags_from(1), "refused 102 confirmed 101",
		   "a message that is returned is refused, though acknowledged");
	ok(strstr(last_event(BS_AMQP_REFUSED)->text, "312 NO_ROUTE") != NULL,
	   "and says why");
	is_int(bs_amqp_room(amqp), 0, "nothing is taken meanwhile");
	is_int(count_events(BS_AMQP_DOWN), 0, "before all is settled it stays up");
	broker_ack(&broker, 4, true);
	is_down("no queue is bound to exchange \"birthday.messages\"", false,
			"then it goes down");
	is_str(tags_from(3), "confirmed 103 refused 104 down 0",
		   "nothing is left unknown");
	broker.log[0] = '\0';
	ok(wait_for_events(BS_AMQP_UP, 2), "and comes up again");
	ok(strstr(broker.log, "queue.bind birthday.messages.queue "
			  "birthday.messages #\n") != NULL, "with what was missing");
	is_int(bs_amqp_room(amqp), 8, "and takes messages");
	publish(1);
	wait_for(broker.messages == 1);
	broker_ack(&broker, 1, false);
	wait_for_events(BS_AMQP_CONFIRMED, 3);
	is_int(event[events - 1].tag, 1, "numbers begin anew");
	finish();
}

static void
is_false_return(const char *id, const char *what)
{
	reset_config();
	begin_publisher(4);
	publish_all(2);
	broker_ack(&broker, 1, false);
	wait_for_events(BS_AMQP_CONFIRMED, 1);
	broker_return(&broker, 312, id);
	broker_ack(&broker, 2, false);
	is_down("a message is returned that is none of ours", false, what);
	is_int(count_events(BS_AMQP_CONFIRMED), 1, "%s: nothing is confirmed",
		   what);
	finish();
}

/* The same message many times over: as many are refused as are returned. */
static void
test_same_message(void)
{
	int			i;

	reset_config();
	begin_publisher(8);
	for (i = 0; i < 5; i++)
		bs_amqp_publish(amqp, "birthday", id_of(7), "", 0, (uint64_t) i);
	wait_for(broker.messages == 5);
	broker_return(&broker, 313, id_of(7));
	broker_ack(&broker, 1, false);
	broker_return(&broker, 313, id_of(7));
	broker_ack(&broker, 5, true);
	wait_for_events(BS_AMQP_CONFIRMED, 3);
	is_str(tags_from(1), "refused 0 refused 1 confirmed 2 confirmed 3 "
		   "confirmed 4", "the same message: the first ones are meant");
	is_int(count_events(BS_AMQP_DOWN), 0, "other returns say nothing of queues");
	is_int(broker.message[0].body_len, 0, "a body can be empty");
	finish();
}

/* More often than it was published. */
static void
test_many_returns(void)
{
	int			i;

	reset_config();
	begin_publisher(8);
	for (i = 0; i < 2; i++)
		bs_amqp_publish(amqp, "birthday", id_of(7), "", 0, (uint64_t) i);
	wait_for(broker.messages == 2);
	for (i = 0; i < 3; i++)
		broker_return(&broker, 313, id_of(7));
	is_down("a message is returned that is none of ours", false,
			"returned three times, published twice");
	finish();
}

static void
test_false_returns(void)
{
	is_false_return(NULL, "returned without a message-id");
	is_false_return("somebody's", "returned: somebody else's");
	is_false_return("00000000-0000-4000-8000-000000000101",
					"returned: what was confirmed");
}

/* Properties as a liar may write them: nothing is read beyond the end. */
static void
is_odd_return(const char *properties, size_t len, const char *what)
{
	amqp_basic_return_t method = {312, {0}, {0}, {0}};

	reset_config();
	begin_publisher(4);
	publish_all(1);
	broker_say(&broker, 1, AMQP_BASIC_RETURN_METHOD, &method);
	broker_head(&broker, 0, properties, len);
	is_down("none of ours", false, what);
	finish();
}

#define IS_ODD_RETURN(properties, what) \
	is_odd_return(properties, sizeof(properties) - 1, what)

static void
test_odd_returns(void)
{
	IS_ODD_RETURN("", "no flags");
	IS_ODD_RETURN("\0\x80", "no room for the message-id");
	IS_ODD_RETURN("\0\x80\x24" "0", "a message-id that ends early");
	IS_ODD_RETURN("\x20\x80\xff\xff\xff\xff\1a", "headers without end");
	IS_ODD_RETURN("\x20\x80\0\0", "headers without a length");
	IS_ODD_RETURN("\xff\xff\0\0\0\0\0\0\2\1\0\0\0\0\0",
				  "all flags, and another word of them");
	IS_ODD_RETURN("\x80\x80\xff" "aaa", "a content type without end");
}

/* ---- a broker that takes nothing ---- */

static void
test_blocked(void)
{
	amqp_connection_blocked_t blocked = {
		amqp_cstring_bytes("low on\nmemory\xff")
	};
	char		nothing[8] = "";

	reset_config();
	config.confirm_timeout_ms = 1000;
	begin_publisher(4);
	publish_all(2);
	broker_say(&broker, 0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
	wait_for_events(BS_AMQP_BLOCKED, 1);
	is_str(last_event(BS_AMQP_BLOCKED)->text, "low on memory\xef\xbf\xbd",
		   "blocked: it says why");
	ok(bs_amqp_is_blocked(amqp) && bs_amqp_is_up(amqp), "blocked, and up");
	is_int(bs_amqp_room(amqp), 0, "blocked: no room");
	ok(!publish(1), "blocked: nothing is taken");
	pass_time(1300);
	is_int(count_events(BS_AMQP_DOWN), 0, "blocked: confirms can wait");

	broker_say(&broker, 0, AMQP_CONNECTION_UNBLOCKED_METHOD, nothing);
	wait_for_events(BS_AMQP_UNBLOCKED, 1);
	ok(!bs_amqp_is_blocked(amqp), "blocked no more");
	is_int(bs_amqp_room(amqp), 2, "room again");
	broker_ack(&broker, 2, true);
	wait_for_events(BS_AMQP_CONFIRMED, 2);
	is_int(count_events(BS_AMQP_DOWN), 0, "and confirms have time again");

	publish(3);
	wait_for(broker.messages == 3);
	broker_say(&broker, 0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
	wait_for_events(BS_AMQP_BLOCKED, 2);
	broker_drop(&broker);
	wait_for_events(BS_AMQP_DOWN, 1);
	ok(!bs_amqp_is_blocked(amqp), "what is down is not blocked");
	wait_for_events(BS_AMQP_UP, 2);
	ok(!bs_amqp_is_blocked(amqp), "another connection is not either");
	is_int(bs_amqp_room(amqp), 4, "and has all the room");
	finish();
}

static void
test_unconfirmed(void)
{
	int64_t		began;

	reset_config();
	config.confirm_timeout_ms = 1500;
	begin_publisher(4);
	pass_time(1600);
	is_int(count_events(BS_AMQP_DOWN), 0, "nothing to confirm: no hurry");
	began = now_ms();
	publish_all(2);
	while (now_ms() < began + 900)
		turn(10);
	broker_ack(&broker, 1, false);
	wait_for_events(BS_AMQP_CONFIRMED, 1);
	is_down("the broker does not confirm", false, "no confirm");
	ok(now_ms() - amqp->confirm_ms >= 1500 && amqp->confirm_ms >= began + 900,
	   "no confirm: since the last of them");
	is_int(broker.connections, 1, "no confirm: before anything else");
	ok(wait_for_events(BS_AMQP_UP, 2), "no confirm: and then it comes up");
	is_int(count_events(BS_AMQP_CONFIRMED), 1, "no confirm: is none");
	finish();
}

/* A broker that does not read: what we keep for it has an end. */
static void
test_deaf(void)
{
	static char body[BS_AMQP_BODY_MAX];
	int			taken = 0;
	int			sent;

	memset(body, 'b', sizeof(body));
	reset_config();
	config.connect_timeout_ms = 1500;
	begin_publisher(BS_AMQP_WINDOW_MAX);
	ok(!bs_amqp_publish(amqp, "k", "id", body, sizeof(body) + 1, 1),
	   "a body that is too large is not taken");
	broker.deaf = true;
	for (;;)
	{
		turn(0);
		sent = taken;
		while (bs_amqp_publish(amqp, "k", "id", body, sizeof(body),
							   (uint64_t) taken))
			taken++;
		if (taken == sent)
			break;
	}
	ok(taken > 100 && taken < BS_AMQP_WINDOW_MAX,
	   "a broker that does not read is sent %d messages", taken);
	is_int(bs_amqp_room(amqp), 0, "and no room is promised");
	is_int(bs_amqp_unsent(amqp) <= BS_AMQP_OUT_SIZE - BS_AMQP_OUT_RESERVE &&
		   bs_amqp_unsent(amqp) > 300000, 1, "the buffer is full, to its "
		   "reserve");
	ok(bs_amqp_deadline_ms(amqp) > 1000, "nothing spins meanwhile");
	pass_time(4500);
	is_int(count_events(BS_AMQP_DOWN), 0, "nor is it given up");
	broker.deaf = false;
	ok(wait_for(broker.messages == taken), "all arrive when it reads");
	is_int(broker.message[taken - 1].body_len, sizeof(body), "whole");
	is_int(broker.message[taken / 2].body_len, sizeof(body), "each of them");
	broker_ack(&broker, 0, true);
	ok(wait_for_events(BS_AMQP_CONFIRMED, taken), "and all are confirmed");
	ok(strstr(broker.log, "bad") == NULL, "no frame is torn");
	finish();
}

static void
test_small_frames(void)
{
	static char body[BS_AMQP_BODY_MAX];

	memset(body, 'b', sizeof(body));
	reset_config();
	config.window = 2;
	broker_open(&broker);
	broker.frame_max = 4096;
	open_link_to_broker();
	wait_for_events(BS_AMQP_UP, 1);
	bs_amqp_publish(amqp, "k", "id", body, sizeof(body), 1);
	bs_amqp_publish(amqp, "k", "id", body, 4088, 2);
	wait_for(broker.messages == 2);
	is_int(broker.message[0].frames, 2, "small frames: a body is cut");
	is_int(broker.message[1].frames, 1, "small frames: or just fits");
	ok(strstr(broker.log, "bad") == NULL, "small frames: none is too large");
	finish();
}

static void
test_unfit_names(void)
{
	char		name[300];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	reset_config();
	begin_publisher(2);
	ok(!bs_amqp_publish(amqp, name, "id", "", 0, 1),
	   "a routing key that is too long is not taken");
	ok(!bs_amqp_publish(amqp, "k", name, "", 0, 1),
	   "nor is a message-id");
	name[255] = '\0';
	ok(bs_amqp_publish(amqp, name, name, "", 0, 1), "255 octets are");
	is_int(bs_amqp_room(amqp), 1, "only that one takes room");
	ok(wait_for(broker.messages == 1), "and it arrives");
	finish();
}

/* ---- the end of a connection ---- */

static void
is_lost(bool of_channel, int code, const char *text, const char *wanted,
		bool permanent)
{
	char		what[64];

	snprintf(what, sizeof(what), "closed with %d", code);
	reset_config();
	begin_publisher(4);
	publish_all(2);
	broker_ack(&broker, 1, false);
	if (code == 0)
		broker.ends = true;
	else if (of_channel)
		broker_close_channel(&broker, 1, code, text);
	else
		broker_close_connection(&broker, code, text);
	is_down(wanted, permanent, what);
	is_str(tags_from(1), "confirmed 101 down 0",
		   "%s: what was confirmed before is confirmed", what);
	is_int(bs_amqp_room(amqp), 0, "%s: no room while down", what);
	ok(!publish(1), "%s: nothing is taken while down", what);
	ok(wait_for_events(BS_AMQP_UP, 2), "%s: it comes up again", what);
	is_int(bs_amqp_room(amqp), 4, "%s: with all the room", what);
	is_int(broker.connections, 2, "%s: at once", what);
	finish();
}

static void
test_lost(void)
{
	is_lost(true, 404, "NOT_FOUND - no exchange 'birthday.messages'",
			": 404 NOT_FOUND - no exchange 'birthday.messages'", false);
	is_lost(true, 403, "ACCESS_REFUSED - write access", ": 403 ACCESS_REFUSED",
			true);
	is_lost(true, 406, "PRECONDITION_FAILED - delivery acknowledgement on "
			"channel 1 timed out", ": 406 PRECONDITION_FAILED", false);
	is_lost(false, 320, "CONNECTION_FORCED - broker forced connection closure",
			": 320 CONNECTION_FORCED", false);
	is_lost(false, 0, "", "the broker closed the connection", false);
}

/* ---- the farewell ---- */

static void
test_farewell(void)
{
	reset_config();
	begin_publisher(4);
	publish(101);
	bs_amqp_destroy(amqp);
	amqp = NULL;
	serve_until_left();
	is_int(broker.farewells, 1, "who leaves says farewell");
	broker_close(&broker);

	reset_config();
	begin_publisher(4);
	broker.deaf = true;
	while (publish(1))
		turn(0);
	finish();
	ok(true, "a broker that does not listen keeps nobody");
}

int
main(void)
{
	host_begin();
	test_message();
	test_confirms();
	test_many();
	test_false_confirms();
	test_returns();
	test_same_message();
	test_many_returns();
	test_false_returns();
	test_odd_returns();
	test_blocked();
	test_unconfirmed();
	test_deaf();
	test_small_frames();
	test_unfit_names();
	test_lost();
	test_farewell();
	return host_end();
}
