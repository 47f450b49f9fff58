/*-------------------------------------------------------------------------
 *
 * amqp_host.c
 *	  A host for the link under test: its loop, its settings, its events.
 *
 * test/unit/amqp_host.c
 *
 *-------------------------------------------------------------------------
 */
#include "amqp_host.h"

const char *const event_names[] = {
	"up", "down", "blocked", "unblocked", "confirmed", "refused",
	"delivered", "depth"
};

BsBroker	broker;
BsAmqpLink *amqp;
BsAmqpConfig config;
BsAmqpEvent event[EVENTS_MAX_KEPT];
char		event_body[EVENTS_MAX_KEPT][64];
int			events;

/* ---- the loop ---- */

static void
take_events(void)
{
	while (events < EVENTS_MAX_KEPT && bs_amqp_next(amqp, &event[events]))
	{
		if (event[events].kind == BS_AMQP_DELIVERED)
			snprintf(event_body[events], sizeof(event_body[events]), "%s",
					 event[events].body);
		events++;
	}
}

static void
run_link(void)
{
	int64_t		began = now_ms();

	bs_amqp_run(amqp);
	note_call(began);
	take_events();
}

void
turn(int64_t patience_ms)
{
	struct pollfd fds[4];
	int			count = broker_poll(&broker, fds);
	int64_t		deadline = bs_amqp_deadline_ms(amqp);

	fds[count] = poll_entry(bs_amqp_fd(amqp), POLLIN);
	if (deadline >= 0 && deadline < patience_ms)
		patience_ms = deadline;
	poll(fds, count + 1, (int) patience_ms);
	broker_serve(&broker, fds, count);
	run_link();
}

void
serve_until_left(void)
{
	int64_t		until = now_ms() + LIMIT_MS;

	while (broker.in >= 0 && now_ms() < until)
	{
		struct pollfd fds[4];
		int			count = broker_poll(&broker, fds);

		poll(fds, count, 100);
		broker_serve(&broker, fds, count);
	}
}

int
count_events(BsAmqpEventKind kind)
{
	int			count = 0;
	int			i;

	for (i = 0; i < events; i++)
		count += event[i].kind == kind;
	return count;
}

const BsAmqpEvent *
last_event(BsAmqpEventKind kind)
{
	static const BsAmqpEvent none;
	int			i;

	for (i = events - 1; i >= 0; i--)
	{
		if (event[i].kind == kind)
			return &event[i];
	}
	return &none;
}

bool
wait_for_events(BsAmqpEventKind kind, int count)
{
	return wait_for(count_events(kind) >= count);
}

const char *
event_story(void)
{
	static char story[4096];
	int			i;

	story[0] = '\0';
	for (i = 0; i < events; i++)
	{
		size_t		used = strlen(story);

		snprintf(story + used, sizeof(story) - used, "%s%s",
				 i > 0 ? " " : "", event_names[event[i].kind]);
	}
	return story;
}

void
pass_time(int64_t ms)
{
	int64_t		until = now_ms() + ms;

	while (now_ms() < until)
		turn(until - now_ms());
}

/* ---- a link ---- */

void
reset_config(void)
{
	memset(&config, 0, sizeof(config));
	config.exchange = "birthday.messages";
	config.queue = "birthday.messages.queue";
	config.dead_letter_exchange = "birthday.messages.dlx";
	config.dead_letter_queue = "birthday.messages.dlq";
	config.connection_name = "test";
	config.connect_timeout_ms = 60000;
	config.silence_ms = 60000;
	config.confirm_timeout_ms = 60000;
	config.backoff_initial_ms = 1;
	config.backoff_max_ms = 1;
}

void
open_link(const char *urls)
{
	char		error[256] = "";

	events = 0;
	config.urls = urls;
	amqp = bs_amqp_create(&config, error, sizeof(error));
	config.urls = NULL;
	if (amqp == NULL)
		printf("# %s\n", error);
}

void
open_link_to_broker(void)
{
	char		url[100];

	config.password = "secret";
	snprintf(url, sizeof(url), "amqp://us@127.0.0.1:%d/our%%20host",
			 broker.port);
	open_link(url);
}

bool
begin_up(void)
{
	broker_open(&broker);
	open_link_to_broker();
	return ok(wait_for_events(BS_AMQP_UP, 1), "the link comes up");
}

void
finish(void)
{
	int64_t		began = now_ms();

	bs_amqp_destroy(amqp);
	note_call(began);
	amqp = NULL;
	broker_close(&broker);
}

void
is_down(const char *text, bool permanent, const char *what)
{
	const BsAmqpEvent *down;

	wait_for_events(BS_AMQP_DOWN, 1);
	down = last_event(BS_AMQP_DOWN);
	ok(strstr(down->text, text) != NULL, "%s: it says why", what);
	if (strstr(down->text, text) == NULL)
		printf("#      got: \"%s\"\n#   wanted: \"%s\"\n", down->text, text);
	is_int(down->permanent, permanent, "%s: %s", what,
		   permanent ? "something must be changed" : "it may pass");
}
