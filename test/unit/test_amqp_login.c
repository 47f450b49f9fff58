/*-------------------------------------------------------------------------
 *
 * test_amqp_login.c
 *	  How a link comes up: login, declarations, and what a broker can say
 *	  against it.
 *
 * test/unit/test_amqp_login.c
 *
 *-------------------------------------------------------------------------
 */
#include "amqp_host.h"

#include <pthread.h>

#define PROPERTIES \
	" product=birthday_scheduler connection_name=test capabilities={" \
	" publisher_confirms=1 basic.nack=1 connection.blocked=1" \
	" consumer_cancel_notify=1 authentication_failure_close=1}\n"

#define DECLARATIONS \
	"exchange.declare birthday.messages topic durable\n" \
	"exchange.declare birthday.messages.dlx direct durable\n" \
	"queue.declare birthday.messages.dlq durable x-queue-type=quorum\n" \
	"queue.bind birthday.messages.dlq birthday.messages.dlx" \
	" birthday.messages.dlq\n" \
	"queue.declare birthday.messages.queue durable x-queue-type=quorum" \
	" x-dead-letter-exchange=birthday.messages.dlx" \
	" x-dead-letter-routing-key=birthday.messages.dlq" \
	" x-dead-letter-strategy=at-least-once x-overflow=reject-publish\n" \
	"queue.bind birthday.messages.queue birthday.messages #\n"

#define LOOKS_AT_EXCHANGE \
	"exchange.declare birthday.messages topic durable passive\n"
#define LOOKS_AT_DEAD \
	"queue.declare birthday.messages.dlq durable passive" \
	" x-queue-type=quorum\n"
#define LOOKS_AT_QUEUE \
	"queue.declare birthday.messages.queue durable passive" \
	" x-queue-type=quorum x-dead-letter-exchange=birthday.messages.dlx" \
	" x-dead-letter-routing-key=birthday.messages.dlq" \
	" x-dead-letter-strategy=at-least-once x-overflow=reject-publish\n"
#define LOOKS	LOOKS_AT_EXCHANGE LOOKS_AT_DEAD LOOKS_AT_QUEUE

#define START	"start-ok PLAIN |us|secret" PROPERTIES

/* ---- all is well ---- */

static void
is_up(bool drips, int window, int prefetch, const char *log,
	  const char *what)
{
	reset_config();
	config.window = window;
	config.prefetch = prefetch;
	broker_open(&broker);
	broker.drips = drips;
	open_link_to_broker();
	ok(wait_for_events(BS_AMQP_UP, 1), "%s: it comes up", what);
	is_str(event_story(), "up", "%s: and nothing else happens", what);
	is_str(broker.log, log, "%s: everything is declared", what);
	is_int(bs_amqp_room(amqp), window, "%s: room for the window", what);
	finish();
}

static void
test_up(void)
{
	is_up(false, 10, 0, START "tune-ok 2 131072 30\nopen our host\n"
		  "channel.open 1\n" DECLARATIONS "confirm.select\n", "publisher");
	is_up(false, 0, 20, START "tune-ok 2 131072 30\nopen our host\n"
		  "channel.open 1\n" DECLARATIONS "basic.qos 20\n"
		  "basic.consume birthday.messages.queue\n", "consumer");
	is_up(true, 5, 5, START "tune-ok 2 131072 30\nopen our host\n"
		  "channel.open 1\n" DECLARATIONS "confirm.select\nbasic.qos 5\n"
		  "basic.consume birthday.messages.queue\n", "octet by octet");
}

static void
is_tuned(uint16_t heartbeat, uint32_t frame_max, int64_t silence_ms,
		 const char *wanted, const char *what)
{
	reset_config();
	config.silence_ms = silence_ms;
	broker_open(&broker);
	broker.heartbeat = heartbeat;
	broker.frame_max = frame_max;
	open_link_to_broker();
	wait_for_events(BS_AMQP_UP, 1);
	ok(strstr(broker.log, wanted) != NULL, "tuned: %s", what);
	finish();
}

static void
test_tuned(void)
{
	is_tuned(60, 131072, 10000, "tune-ok 2 131072 5\n", "half the silence");
	is_tuned(2, 131072, 10000, "tune-ok 2 131072 2\n", "the broker's less");
	is_tuned(0, 0, 10000, "tune-ok 2 131072 5\n", "no limits of the broker");
	is_tuned(60, 4096, 900, "tune-ok 2 4096 1\n", "the least of everything");
}

/* ---- the password ---- */

static void
is_login(const char *user_info, const char *password, const char *wanted)
{
	char		url[200];
	char		line[200];

	reset_config();
	config.password = password;
	broker_open(&broker);
	snprintf(url, sizeof(url), "amqp://%s127.0.0.1:%d", user_info,
			 broker.port);
	open_link(url);
	wait_for_events(BS_AMQP_UP, 1);
	snprintf(line, sizeof(line), "start-ok PLAIN %s product", wanted);
	ok(strncmp(broker.log, line, strlen(line)) == 0, "login: \"%s\"",
	   user_info);
	ok(strstr(broker.log, "\nopen /\n") != NULL,
	   "login: the usual virtual host");
	finish();
}

static void
test_password(void)
{
	is_login("", NULL, "|guest|guest");
	is_login("", "p", "|guest|p");
	is_login("u@", "p", "|u|p");
	is_login("u@", NULL, "|u|");
	is_login("u%40x@", ",q\xc3\xa4", "|u@x|,q\xc3\xa4");
}

/* ---- refusals ---- */

static int	refuse_channel;
static amqp_method_number_t refuse_at;
static int	refuse_code;
static const char *refuse_text;
static bool refuse_unless_passive;

/* One method is answered with a refusal, of channel 0: of the connection. */
static bool
refuse(BsBroker *to, uint16_t channel, amqp_method_number_t id, void *method)
{
	amqp_queue_declare_t *queue = method;
	amqp_exchange_declare_t *exchange = method;

	if (id != refuse_at)
		return false;
	if (refuse_unless_passive &&
		((id == AMQP_QUEUE_DECLARE_METHOD && queue->passive) ||
		 (id == AMQP_EXCHANGE_DECLARE_METHOD && exchange->passive)))
		return false;
	if (refuse_code == 0)
		to->ends = true;
	else if (refuse_channel == 0)
		broker_close_connection(to, refuse_code, refuse_text);
	else
		broker_close_channel(to, channel, refuse_code, refuse_text);
	return true;
}

static void
is_refused(amqp_method_number_t at, int channel, int code, const char *text,
		   const char *wanted, bool permanent)
{
	char		what[100];

	reset_config();
	config.backoff_initial_ms = config.backoff_max_ms = 30000;
	config.prefetch = 1;
	broker_open(&broker);
	broker.hook = refuse;
	refuse_at = at;
	refuse_channel = channel;
	refuse_code = code;
	refuse_text = text;
	refuse_unless_passive = false;
	open_link_to_broker();
	snprintf(what, sizeof(what), "refused with %d at %s", code,
			 at == 0 ? "the greeting" : amqp_method_name(at));
	is_down(wanted, permanent, what);
	is_str(event_story(), "down", "%s: once", what);
	ok(strstr(last_event(BS_AMQP_DOWN)->text, "secret") == NULL,
	   "%s: no secrets", what);
	ok(bs_amqp_deadline_ms(amqp) >= 14000, "%s: it waits", what);
	if (code != 0)
		wait_for(broker.in < 0);
	if (code != 0 && channel == 0)
		ok(strstr(broker.log, "close-ok\n") != NULL, "%s: acknowledged",
		   what);
	if (code != 0 && channel != 0)
		is_int(broker.farewells, 1, "%s: with a farewell", what);
	finish();
}

static void
test_refusals(void)
{
	is_refused(AMQP_CONNECTION_START_OK_METHOD, 0, 403,
			   "ACCESS_REFUSED - Login was refused",
			   ": 403 ACCESS_REFUSED - Login was refused", true);
	is_refused(AMQP_CONNECTION_START_OK_METHOD, 0, 0, "",
			   "closed the connection during the login", true);
	is_refused(0, 0, 0, "", "the broker closed the connection", false);
	is_refused(AMQP_CONNECTION_OPEN_METHOD, 0, 530,
			   "NOT_ALLOWED - vhost our host not found",
			   ": 530 NOT_ALLOWED - vhost our host not found", true);
	is_refused(AMQP_CONNECTION_OPEN_METHOD, 0, 402, "INVALID_PATH", ": 402 ",
			   true);
	is_refused(AMQP_CONNECTION_OPEN_METHOD, 0, 404, "NOT_FOUND", ": 404 ",
			   true);
	is_refused(AMQP_CONNECTION_OPEN_METHOD, 0, 320,
			   "CONNECTION_FORCED - shutdown", ": 320 CONNECTION_FORCED",
			   false);
	is_refused(AMQP_QUEUE_DECLARE_METHOD, 1, 406,
			   "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for "
			   "queue 'birthday.messages.dlq' in vhost '/': received the "
			   "value 'quorum' of type 'longstr' but current is none",
			   ": 406 PRECONDITION_FAILED - inequivalent arg 'x-queue-type'",
			   true);
	is_refused(AMQP_EXCHANGE_DECLARE_METHOD, 1, 406, "PRECONDITION_FAILED",
			   ": 406 ", true);
	is_refused(AMQP_BASIC_CONSUME_METHOD, 1, 403,
			   "ACCESS_REFUSED - access to queue", ": 403 ACCESS_REFUSED",
			   true);
	is_refused(AMQP_QUEUE_BIND_METHOD, 1, 404, "NOT_FOUND - no exchange",
			   ": 404 NOT_FOUND - no exchange", false);
	is_refused(AMQP_CONNECTION_OPEN_METHOD, 0, 541,
			   "a\tb\r\n\xff\xe2\x80\xae" "c\x7f \xc3\xa4",
			   ": 541 a b \xef\xbf\xbd c \xc3\xa4", false);
}

/* Who may not declare looks whether all is there. */
static void
test_passive(void)
{
	reset_config();
	broker_open(&broker);
	broker.hook = refuse;
	refuse_at = AMQP_QUEUE_DECLARE_METHOD;
	refuse_channel = 1;
	refuse_code = 403;
	refuse_text = "ACCESS_REFUSED";
	refuse_unless_passive = true;
	open_link_to_broker();
	ok(wait_for_events(BS_AMQP_UP, 1), "no right to declare: it comes up");
	is_str(event_story(), "up", "no right to declare: nothing else happens");
	ok(strstr(broker.log, "channel.close-ok 1\nchannel.open 1\n" LOOKS) !=
	   NULL, "no right to declare: it looks");

	broker.log[0] = '\0';
	broker_drop(&broker);
	ok(wait_for_events(BS_AMQP_UP, 2), "no right to declare: and again");
	ok(strstr(broker.log, "channel.open 1\n" LOOKS) != NULL,
	   "no right to declare: from the beginning this time");
	ok(strstr(broker.log, "close-ok") == NULL,
	   "no right to declare: no refusal is needed for it");
	finish();
}

static bool
nothing_is_there(BsBroker *to, uint16_t channel, amqp_method_number_t id,
				 void *method)
{
	amqp_exchange_declare_t *exchange = method;

	if (id != AMQP_EXCHANGE_DECLARE_METHOD)
		return false;
	if (exchange->passive)
		broker_close_channel(to, channel, 404, "NOT_FOUND - no exchange 'x'");
	else
		broker_close_channel(to, channel, 403, "ACCESS_REFUSED");
	return true;
}

static void
test_passive_without(void)
{
	reset_config();
	broker_open(&broker);
	broker.hook = nothing_is_there;
	open_link_to_broker();
	is_down("404 NOT_FOUND - no exchange 'x'; and this user may not declare it",
			false, "no right to declare, and nothing there");
	broker.hook = NULL;
	broker.log[0] = '\0';
	ok(wait_for_events(BS_AMQP_UP, 1),
	   "no right to declare: a right that is given later is used");
	ok(strstr(broker.log, DECLARATIONS) != NULL,
	   "no right to declare: to declare");
	finish();
}

static const char *hidden;

/* Refuses to declare, and to look at one of the queues. */
static bool
hide(BsBroker *to, uint16_t channel, amqp_method_number_t id, void *method)
{
	amqp_queue_declare_t *queue = method;

	if (id != AMQP_QUEUE_DECLARE_METHOD ||
		(queue->passive && (queue->queue.len != strlen(hidden) ||
							memcmp(queue->queue.bytes, hidden,
								   strlen(hidden)) != 0)))
		return false;
	broker_close_channel(to, channel, 403, "ACCESS_REFUSED");
	return true;
}

/* Looking is a right, too. */
static void
test_passive_hidden(void)
{
	reset_config();
	config.window = 1;
	broker_open(&broker);
	broker.hook = hide;
	hidden = config.dead_letter_queue;
	open_link_to_broker();
	ok(wait_for_events(BS_AMQP_UP, 1), "dead letters are hidden: it comes up");
	is_str(event_story(), "up", "dead letters are hidden: and stays up");
	ok(strstr(broker.log, "channel.open 1\n" LOOKS_AT_EXCHANGE
			  "channel.close-ok 1\nchannel.open 1\n"
			  LOOKS_AT_EXCHANGE LOOKS_AT_QUEUE) != NULL,
	   "dead letters are hidden: it looks at the rest");
	broker.log[0] = '\0';
	bs_amqp_ask_depth(amqp);
	ok(wait_for_events(BS_AMQP_DEPTH, 1), "dead letters are hidden: depth");
	is_int(last_event(BS_AMQP_DEPTH)->ready, strlen(config.queue),
		   "dead letters are hidden: how many wait");
	is_int(last_event(BS_AMQP_DEPTH)->dead, -1,
		   "dead letters are hidden: how many are dead is unknown");
	is_str(broker.log, "channel.open 2\n"
		   "queue.declare birthday.messages.queue passive\n",
		   "dead letters are hidden: it does not ask for them");

	broker.hook = NULL;
	broker_drop(&broker);
	ok(wait_for_events(BS_AMQP_UP, 2), "dead letters are shown: it comes up");
	bs_amqp_ask_depth(amqp);
	ok(wait_for_events(BS_AMQP_DEPTH, 2), "dead letters are shown: depth");
	is_int(last_event(BS_AMQP_DEPTH)->dead, strlen(config.dead_letter_queue),
		   "dead letters are shown: they are counted again");
	finish();

	reset_config();
	broker_open(&broker);
	broker.hook = hide;
	hidden = config.queue;
	open_link_to_broker();
	is_down(": 403 ACCESS_REFUSED", true, "the queue itself is hidden");
	finish();
}

/* ---- what is not AMQP, or not fit ---- */

static const char *raw;
static size_t raw_len;

static bool
say_raw(BsBroker *to, uint16_t channel, amqp_method_number_t id, void *method)
{
	(void) channel;
	(void) method;
	if (id != 0)
		return false;
	broker_raw(to, raw, raw_len);
	return true;
}

static void
is_no_broker(const char *words, size_t len, const char *wanted,
			 bool permanent, const char *what)
{
	reset_config();
	config.backoff_initial_ms = config.backoff_max_ms = 30000;
	broker_open(&broker);
	broker.hook = say_raw;
	raw = words;
	raw_len = len;
	open_link_to_broker();
	is_down(wanted, permanent, what);
	finish();
}

#define IS_NO_BROKER(words, wanted, permanent, what) \
	is_no_broker(words, sizeof(words) - 1, wanted, permanent, what)

/* A whole connection.start, by hand. */
#define START_HEAD(len)	"\1\0\0\0\0\0" len "\0\12\0\12"

static void
test_no_broker(void)
{
	IS_NO_BROKER("AMQP\0\1\0\0", "does not speak AMQP 0-9-1", true,
				 "AMQP 1.0");
	IS_NO_BROKER("HTTP/1.1 400 Bad Request\r\n", "no known type", false,
				 "HTTP");
	IS_NO_BROKER("220 relay.test\r\n", "no known type", false, "SMTP");
	IS_NO_BROKER("\1\0\0\0\1\0\0", "too large", false, "a large frame");
	IS_NO_BROKER("\1\0\3\0\0\0\1", "no channel of ours", false,
				 "a channel of nobody");
	IS_NO_BROKER("\2\0\0\0\0\0\1", "no channel of ours", false,
				 "a message on channel 0");
	IS_NO_BROKER("\10\0\1\0\0\0\0\xCE", "a heartbeat is none", false,
				 "a heartbeat on a channel");
	IS_NO_BROKER("\1\0\0\0\0\0\4\0\12\0\12\xCF", "does not end", false,
				 "a frame without its end");
	IS_NO_BROKER("\1\0\0\0\0\0\3\0\12\0\xCE", "has no name", false,
				 "a method without a name");
	IS_NO_BROKER("\1\0\0\0\0\0\4\0\12\0\36\xCE", "10.30 on channel 0", false,
				 "a method out of turn");
	IS_NO_BROKER("\1\0\0\0\0\0\4\0\143\0\143\xCE", "99.99 on channel 0",
				 false, "a method of nobody");
	IS_NO_BROKER("\2\0\1\0\0\0\0\xCE", "has no head", false,
				 "the head of no message");
	IS_NO_BROKER("\3\0\1\0\0\0\0\xCE", "belongs to no message", false,
				 "the body of no message");
	IS_NO_BROKER(START_HEAD("\4") "\xCE", "not speak AMQP 0-9-1", true,
				 "connection.start: nothing in it");
	IS_NO_BROKER(START_HEAD("\6") "\0\10\xCE", "not speak AMQP 0-9-1", true,
				 "connection.start of 0-8");
	IS_NO_BROKER(START_HEAD("\12") "\0\11\0\0\0\1\xCE",
				 "not speak AMQP 0-9-1", true,
				 "connection.start: a table without end");
	IS_NO_BROKER(START_HEAD("\16") "\0\11\0\0\0\0\377\377\377\377\xCE",
				 "not speak AMQP 0-9-1", true,
				 "connection.start: words without end");
}

/* A connection.start whose table is as deep as one can be. */
static void *
take_deep_start(void *arg)
{
	static char frame[16384];
	size_t		depth = 2000;
	size_t		table = depth * 7;
	size_t		at = 13;
	size_t		i;

	(void) arg;
	memcpy(frame, "\1\0\0\0\0\0\0\0\12\0\12\0\11", 13);
	for (i = 0; i < depth; i++)
	{
		broker_number(frame + at, 4, table - i * 7);
		memcpy(frame + at + 4, "\1xF", 3);
		at += 7;
	}
	broker_number(frame + at, 4, 0);
	memcpy(frame + at + 4, "\0\0\0\5PLAIN\0\0\0\0\xCE", 14);
	at += 17;
	broker_number(frame + 3, 4, at - 7);
	reset_config();
	broker_open(&broker);
	broker.hook = say_raw;
	raw = frame;
	raw_len = at + 1;
	open_link_to_broker();
	ok(wait_for_events(BS_AMQP_UP, 1),
	   "2000 tables in each other do no harm");
	finish();
	return NULL;
}

static void
test_deep_start(void)
{
	pthread_attr_t attributes;
	pthread_t	thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 512 * 1024);
	if (pthread_create(&thread, &attributes, take_deep_start, NULL) == 0)
		pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
}

static void
test_unfit(void)
{
	reset_config();
	broker_open(&broker);
	broker.mechanisms = "XPLAIN PLAINX EXTERNAL";
	open_link_to_broker();
	is_down("does not offer the login PLAIN", true, "no PLAIN");
	finish();

	reset_config();
	broker_open(&broker);
	broker.channel_max = 1;
	open_link_to_broker();
	is_down("too few channels", true, "one channel");
	finish();

	reset_config();
	broker_open(&broker);
	broker.frame_max = 4095;
	open_link_to_broker();
	is_down("frames are too small", true, "small frames");
	finish();
}

/* ---- settings ---- */

static void
is_unfit(const char *what)
{
	char		error[256] = "";
	BsAmqpLink *made;

	config.urls = "amqp://127.0.0.1";
	made = bs_amqp_create(&config, error, sizeof(error));
	ok(made == NULL && error[0] != '\0', "settings: %s: %s", what, error);
	bs_amqp_destroy(made);
}

static void
test_settings(void)
{
	char		long_name[300];
	char		error[64] = "";

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	reset_config();
	config.exchange = "";
	is_unfit("no name");
	reset_config();
	config.queue = long_name;
	is_unfit("a long name");
	reset_config();
	config.dead_letter_queue = config.queue;
	is_unfit("dead letters in the queue itself");
	reset_config();
	config.window = BS_AMQP_WINDOW_MAX + 1;
	is_unfit("a large window");
	reset_config();
	config.prefetch = -1;
	is_unfit("a negative prefetch");
	reset_config();
	config.silence_ms = 0;
	is_unfit("no patience");
	reset_config();
	config.urls = "amqp://";
	ok(bs_amqp_create(&config, error, sizeof(error)) == NULL, "settings: %s",
	   error);
	bs_amqp_destroy(NULL);
}

int
main(void)
{
	host_begin();
	test_up();
	test_tuned();
	test_password();
	test_refusals();
	test_passive();
	test_passive_without();
	test_passive_hidden();
	test_no_broker();
	test_deep_start();
	test_unfit();
	test_settings();
	return host_end();
}
