/*-------------------------------------------------------------------------
 *
 * test_amqp_clock.c
 *	  What a link does when time passes: silence, heartbeats, the next attempt
 *	  at the next address.
 *
 * test/unit/test_amqp_clock.c
 *
 *-------------------------------------------------------------------------
 */
#include "amqp_host.h"

/* ---- silence, at each step ---- */

static amqp_method_number_t silent_at;

static bool
be_silent(BsBroker *to, uint16_t channel, amqp_method_number_t id,
		  void *method)
{
	(void) channel;
	(void) method;
	to->mute = id == silent_at;
	return to->mute;
}

static void
is_silent(amqp_method_number_t at, const char *wanted)
{
	int64_t		began = now_ms();

	reset_config();
	config.connect_timeout_ms = 1000;
	config.backoff_initial_ms = config.backoff_max_ms = 30000;
	broker_open(&broker);
	broker.hook = be_silent;
	silent_at = at;
	open_link_to_broker();
	is_down(wanted, false, "silence");
	ok(now_ms() - began >= 1000, "silence: not too early");
	finish();
}

static void
test_silence(void)
{
	char		url[64];

	is_silent(0, "no greeting within the time limit");
	is_silent(AMQP_CONNECTION_START_OK_METHOD, "no answer to the login");
	is_silent(AMQP_CONNECTION_OPEN_METHOD, "choice of the virtual host");
	is_silent(AMQP_CHANNEL_OPEN_METHOD, "no channel within");
	is_silent(AMQP_QUEUE_BIND_METHOD, "no answer to the declarations");

	/* Nobody accepts: the connection itself stands, in the kernel. */
	reset_config();
	config.connect_timeout_ms = 1000;
	broker_open(&broker);
	snprintf(url, sizeof(url), "amqps://127.0.0.1:%d", broker.port);
	open_link(url);
	is_down("timed out after", false,
			"silence instead of TLS");
	finish();
}

/* ---- addresses and waits ---- */

static void
test_addresses(void)
{
	static BsBroker closed;
	char		urls[200];
	int64_t		began = now_ms();

	reset_config();
	config.backoff_initial_ms = 15000;
	config.backoff_max_ms = 60000;
	broker_open(&closed);
	broker_close(&closed);
	broker_open(&broker);
	snprintf(urls, sizeof(urls), "amqp://127.0.0.1:%d , amqp://[::1]:1,"
			 "amqp://127.0.0.1:%d", closed.port, broker.port);
	open_link(urls);
	ok(wait_for_events(BS_AMQP_UP, 1), "of three brokers the last is there");
	is_str(event_story(), "down down up", "and the others are named");
	ok(now_ms() - began < 7500, "nobody waits between them");
	ok(strstr(event[0].text, "127.0.0.1:") == event[0].text &&
	   strstr(event[1].text, "[::1]:1: ") == event[1].text,
	   "with host and port");
	broker_close_channel(&broker, 1, 403, "ACCESS_REFUSED");
	wait_for_events(BS_AMQP_DOWN, 3);
	ok(bs_amqp_deadline_ms(amqp) >= 29000,
	   "a right that is missing is no reason to hurry");
	finish();

	/* Two brokers in turn. */
	reset_config();
	broker_open(&broker);
	snprintf(urls, sizeof(urls), "amqp://a@127.0.0.1:%d,amqp://b@127.0.0.1:%d",
			 broker.port, broker.port);
	open_link(urls);
	wait_for_events(BS_AMQP_UP, 1);
	broker_drop(&broker);
	wait_for_events(BS_AMQP_UP, 2);
	broker_drop(&broker);
	wait_for_events(BS_AMQP_UP, 3);
	ok(strstr(broker.log, "PLAIN |a|") < strstr(broker.log, "PLAIN |b|") &&
	   strstr(strstr(broker.log, "PLAIN |b|"), "PLAIN |a|") != NULL,
	   "each address has its turn");
	is_str(event_story(), "up down up down up", "and is left when it closes");
	finish();
}

/* How long the link waits after the event, in steps of what was set. */
static int64_t
wait_after(int downs)
{
	wait_for_events(BS_AMQP_DOWN, downs);
	return bs_amqp_deadline_ms(amqp);
}

static void
test_backoff(void)
{
	char		url[64];
	int			i;

	reset_config();
	config.backoff_initial_ms = 20;
	config.backoff_max_ms = 100;
	broker_open(&broker);
	snprintf(url, sizeof(url), "amqp://127.0.0.1:%d", broker.port);
	close(broker.listener);
	broker.listener = -1;
	open_link(url);
	is_int(bs_amqp_deadline_ms(amqp), 0, "the first attempt is made at once");
	for (i = 0; i < 6; i++)
	{
		int64_t		most = i == 0 ? 20 : i == 1 ? 40 : i == 2 ? 80 : 100;
		int64_t		began;
		int64_t		wait = wait_after(i + 1);

		ok(wait <= most, "wait %d is at most %d ms (%d)", i + 1, (int) most,
		   (int) wait);
		began = now_ms();
		wait_for_events(BS_AMQP_DOWN, i + 2);
		ok(now_ms() - began >= wait - 2, "and kept");
	}
	ok(count_events(BS_AMQP_DOWN) == 7, "seven attempts");
	finish();
}

/* Up for long enough: the waits begin anew.  Not for long: they do not. */
static void
test_backoff_after_up(void)
{
	int			i;

	reset_config();
	config.backoff_initial_ms = 1;
	config.backoff_max_ms = 64;
	broker_open(&broker);
	open_link_to_broker();
	for (i = 0; i < 10; i++)
	{
		wait_for_events(BS_AMQP_UP, i + 1);
		broker_drop(&broker);
		wait_for_events(BS_AMQP_DOWN, i + 1);
	}
	ok(amqp->next_try_ms - now_ms() > 16,
	   "a link that is never up for long waits longer and longer");
	wait_for_events(BS_AMQP_UP, 11);
	pass_time(64);
	broker_drop(&broker);
	wait_for_events(BS_AMQP_DOWN, 11);
	ok(amqp->next_try_ms - now_ms() <= 1, "one that was up begins anew");
	finish();
}

/* ---- heartbeats and silence ---- */

static void
test_heartbeats(void)
{
	int64_t		began;

	reset_config();
	config.silence_ms = 2000;
	config.window = 4;
	begin_up();
	began = now_ms();
	broker_heartbeat(&broker);
	ok(wait_for(broker.heartbeats >= 3), "an idle link sends heartbeats");
	ok(now_ms() - began >= 1400, "every half of a second");
	broker_heartbeat(&broker);
	while (now_ms() < began + 2600)
	{
		broker_heartbeat(&broker);
		turn(100);
	}
	is_int(count_events(BS_AMQP_DOWN), 0, "those of the broker keep it up");
	is_down("the broker has been silent for ", false, "silence");
	ok(now_ms() - amqp->received_ms >= 2000, "silence: not too early");
	finish();
}

/* Messages are as good as heartbeats. */
static void
test_no_heartbeats(void)
{
	int64_t		until;

	reset_config();
	config.silence_ms = 4000;
	config.window = 4;
	begin_up();
	broker.confirms = true;
	until = now_ms() + 2500;
	while (now_ms() < until)
	{
		bs_amqp_publish(amqp, "k", "id", "", 0, 1);
		turn(100);
		poll(NULL, 0, 20);
	}
	is_int(broker.heartbeats, 0, "a busy link sends no heartbeats");
	ok(broker.messages > 10, "but messages");
	finish();
}

int
main(void)
{
	host_begin();
	test_silence();
	test_addresses();
	test_backoff();
	test_backoff_after_up();
	test_heartbeats();
	test_no_heartbeats();
	return host_end();
}
