/*-------------------------------------------------------------------------
 *
 * amqp.c
 *	  A link to RabbitMQ: its life and its clock.
 *
 * This is the driver: it calls the other parts, and none of them calls it.  A
 * part that cannot go on calls bs_amqp_fail(), which notes it; the connection is
 * closed here, once control is back.
 *
 * src/core/amqp/amqp.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/amqp_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/backoff.h"
#include "core/base/secret.h"

#define POOL_PAGE			4096
#define CURL_GRACE_MS		1000	/* libcurl ends its attempt itself, and
									 * says more; this long after, we do */
#define CONNECTIONS_MAX		2	/* the one before may not be gone yet */
#define PUBLISH_FIRST_GUESS 512 /* octets */

/* ---- up and down ---- */

void
bs_amqp_reset_connection(BsAmqpLink *link)
{
	int64_t		now = bs_clock_ms();

	link->epoch++;
	link->setup_due_ms = now + link->config.connect_timeout_ms;
	link->received_ms = link->sent_ms = now;
	link->may_read = link->may_write = false;
	link->send_code = CURLE_OK;
	link->in_start = link->in_end = 0;
	link->out_sent = link->out_end = 0;
	link->frame_max = BS_AMQP_FRAME_MAX;
	link->heartbeat_ms = 0;
	link->blocked = link->closed_by_broker = link->dead_hidden = false;
	link->depth_asked = link->depth_channel_open = false;
	link->depth_asked_ms = now;
	link->consumer_missed = 0;
	bs_amqp_reset_messages(link);
}

/* From 0 to 1. */
static double
next_random(void)
{
	uint32_t	random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t) bs_clock_ms() * UINT32_C(2654435761);
	return (double) random / UINT32_MAX;
}

/*
 * How long to wait before the next attempt.  All addresses have their turn
 * before there is a wait.  A link that does not stay up for long is no better
 * than one that does not come up.
 */
static int64_t
next_wait_ms(BsAmqpLink *link, bool permanent)
{
	const BsAmqpConfig *config = &link->config;
	bool		was_up = link->state == BS_AMQP_STATE_UP;
	int64_t		wait = config->backoff_max_ms;

	if (was_up && bs_clock_ms() - link->up_since_ms >=
		config->backoff_max_ms)
		link->failures = 0;
	link->all_permanent = permanent && (link->all_permanent ||
										link->tried == 0);
	link->tried++;
	link->address = (link->address + 1) % link->address_count;
	if (!was_up && link->tried < link->address_count)
		return 0;

	link->tried = 0;
	link->failures++;
	if (!link->all_permanent)
		wait = bs_backoff_ms(link->failures, config->backoff_initial_ms, wait);
	return bs_backoff_jitter_ms(wait, next_random());
}

/* Something has called bs_amqp_fail(): the connection ends. */
static void
give_up(BsAmqpLink *link)
{
	link->next_try_ms = bs_clock_ms() +
		next_wait_ms(link, link->failed_for_good);
	bs_amqp_disconnect(link, link->send_code == CURLE_OK);
	link->state = BS_AMQP_STATE_IDLE;
	link->failed = false;
	bs_amqp_reset_messages(link);
}

/* ---- the clock ---- */

/* The first of two moments, -1 being never. */
static int64_t
earlier(int64_t one, int64_t other)
{
	if (one < 0 || (other >= 0 && other < one))
		return other;
	return one;
}

/* When a heartbeat is to be sent.  What waits to be sent is as good as one. */
static int64_t
heartbeat_due_ms(const BsAmqpLink *link)
{
	if (link->heartbeat_ms == 0 || bs_amqp_unsent(link) > 0)
		return -1;
	return link->sent_ms + link->heartbeat_ms / 2;
}

/* When a consumer is to ask whether it still is one. */
static int64_t
consumer_due_ms(const BsAmqpLink *link)
{
	if (link->config.prefetch == 0 || link->config.consumer_check_ms == 0 ||
		link->depth_asked || link->state != BS_AMQP_STATE_UP)
		return -1;
	return link->depth_asked_ms + link->config.consumer_check_ms;
}

/* When the broker has kept us waiting for too long. */
static int64_t
answer_due_ms(const BsAmqpLink *link)
{
	int64_t		due = -1;

	if (link->blocked)
		return -1;
	if (bs_amqp_outstanding(link) > 0)
		due = link->confirm_ms;
	if (link->depth_asked)
		due = earlier(due, link->depth_asked_ms);
	return due < 0 ? -1 : due + link->config.confirm_timeout_ms;
}

static int64_t
due_ms(const BsAmqpLink *link)
{
	int64_t		due;

	if (link->failed)
		return 0;
	if (link->state == BS_AMQP_STATE_IDLE)
		return link->next_try_ms;
	if (link->state == BS_AMQP_STATE_CONNECTING)
		return earlier(link->loop.due_ms,
					   link->setup_due_ms + CURL_GRACE_MS);
	if (link->may_read || (link->may_write && bs_amqp_unsent(link) > 0))
		return 0;
	due = link->received_ms + link->config.silence_ms;
	if (link->state != BS_AMQP_STATE_UP)
		due = earlier(due, link->setup_due_ms);
	due = earlier(due, heartbeat_due_ms(link));
	due = earlier(due, consumer_due_ms(link));
	return earlier(due, answer_due_ms(link));
}

int64_t
bs_amqp_deadline_ms(const BsAmqpLink *link)
{
	int64_t		left;

	if (link->note_first < link->note_count)
		return 0;
	left = due_ms(link) - bs_clock_ms();
	return left > 0 ? left : 0;
}

static const char *const waits_for[] = {
	[BS_AMQP_STATE_CONNECTING] = "no connection",
	[BS_AMQP_STATE_START] = "no greeting",
	[BS_AMQP_STATE_TUNE] = "no answer to the login",
	[BS_AMQP_STATE_OPEN] = "no answer to the choice of the virtual host",
	[BS_AMQP_STATE_CHANNEL] = "no channel",
	[BS_AMQP_STATE_DECLARE] = "no answer to the declarations",
};

static void
look_at_clock(BsAmqpLink *link)
{
	int64_t		now = bs_clock_ms();
	int64_t		answer_due = answer_due_ms(link);
	int64_t		heartbeat_due = heartbeat_due_ms(link);
	int64_t		consumer_due = consumer_due_ms(link);
	bool		connecting = link->state == BS_AMQP_STATE_CONNECTING;

	if (link->state == BS_AMQP_STATE_IDLE || link->failed)
		return;
	if (link->state != BS_AMQP_STATE_UP &&
		now >= link->setup_due_ms + (connecting ? CURL_GRACE_MS : 0))
		bs_amqp_fail(link, false, "%s within the time limit",
					 waits_for[link->state]);
	else if (connecting)
		return;
	else if (now >= link->received_ms + link->config.silence_ms)
		bs_amqp_fail(link, false, "the broker has been silent for %lld ms",
					 (long long) (now - link->received_ms));
	else if (answer_due >= 0 && now >= answer_due)
		bs_amqp_fail(link, false, bs_amqp_outstanding(link) > 0 ?
					 "the broker does not confirm" :
					 "the broker does not answer");
	else if (consumer_due >= 0 && now >= consumer_due)
	{
		bs_amqp_ask_depth(link);
		bs_amqp_flush(link);
	}
	else if (heartbeat_due >= 0 && now >= heartbeat_due)
	{
		bs_amqp_send_heartbeat(link);
		bs_amqp_flush(link);
	}
}

static void
advance(BsAmqpLink *link)
{
	if (link->state == BS_AMQP_STATE_IDLE &&
		bs_clock_ms() >= link->next_try_ms)
	{
		bs_amqp_reset_connection(link);
		bs_amqp_connect(link);
	}
	bs_amqp_poll(link);
	if (bs_amqp_is_open(link))
		bs_amqp_transfer(link);
	look_at_clock(link);
}

/*
 * bs_amqp_run
 *		Read, write and connect as far as that goes without waiting.
 *
 * Events that were not taken keep everything as it is, so that none is lost.
 */
void
bs_amqp_run(BsAmqpLink *link)
{
	if (link->note_first < link->note_count)
		return;
	link->note_first = link->note_count = 0;
	link->arena_used = 0;

	if (!link->failed)
		advance(link);
	if (link->failed)
		give_up(link);
}

int
bs_amqp_fd(const BsAmqpLink *link)
{
	return link->loop.epoll_fd;
}

bool
bs_amqp_is_blocked(const BsAmqpLink *link)
{
	return link->blocked && bs_amqp_is_open(link);
}

/* ---- making and unmaking ---- */

static bool
is_name(const char *name)
{
	return name != NULL && name[0] != '\0' && strlen(name) <= 255;
}

static bool
is_time(int64_t ms)
{
	return ms >= 1 && ms <= INT32_MAX;
}

/* A static full sentence on what is wrong with the settings, or NULL. */
static const char *
find_config_fault(const BsAmqpConfig *config)
{
	if (!is_name(config->exchange) || !is_name(config->queue) ||
		!is_name(config->dead_letter_exchange) ||
		!is_name(config->dead_letter_queue))
		return "The name of an exchange or queue must have 1 to 255 bytes.";
	if (strcmp(config->exchange, config->dead_letter_exchange) == 0 ||
		strcmp(config->queue, config->dead_letter_queue) == 0)
		return "Dead letters need an exchange and a queue of their own.";
	if (config->window < 0 || config->window > BS_AMQP_WINDOW_MAX ||
		config->prefetch < 0 || config->prefetch > BS_AMQP_WINDOW_MAX)
		return "The window and the prefetch must be between 0 and 8192.";
	if (!is_time(config->connect_timeout_ms) ||
		!is_time(config->silence_ms) ||
		!is_time(config->confirm_timeout_ms) ||
		!is_time(config->backoff_initial_ms) ||
		!is_time(config->backoff_max_ms))
		return "The time limits must be positive.";
	return NULL;
}

/* Every string of the settings, in memory of the link's own. */
static bool
copy_strings(BsAmqpLink *link)
{
	const char **strings[] = {
		&link->config.password, &link->config.ca_file,
		&link->config.exchange, &link->config.queue,
		&link->config.dead_letter_exchange,
		&link->config.dead_letter_queue, &link->config.connection_name
	};
	const size_t count = sizeof(strings) / sizeof(strings[0]);
	size_t		size = 0;
	size_t		i;
	char	   *to;

	link->config.urls = NULL;
	for (i = 0; i < count; i++)
	{
		if (*strings[i] == NULL)
			*strings[i] = "";
		size += strlen(*strings[i]) + 1;
	}
	to = link->strings = malloc(size);
	if (to == NULL)
		return false;
	for (i = 0; i < count; i++)
	{
		size_t		len = strlen(*strings[i]) + 1;

		memcpy(to, *strings[i], len);
		*strings[i] = to;
		to += len;
	}
	return true;
}

static const char *
build(BsAmqpLink *link, const BsAmqpConfig *config)
{
	static const char *const no_memory = "There is not enough memory.";
	const char *fault = NULL;

	link->address_count = bs_amqp_parse_urls(config->urls, link->addresses,
											 &fault);
	if (link->address_count < 0)
		return fault;
	fault = find_config_fault(config);
	if (fault != NULL)
		return fault;
	link->config = *config;
	if (!copy_strings(link))
		return no_memory;

	link->note_size = config->window + BS_AMQP_NOTES_SPARE;
	link->notes = calloc((size_t) link->note_size, sizeof(BsAmqpNote));
	link->unconfirmed = calloc((size_t) config->window + 1,
							   sizeof(BsAmqpUnconfirmed));
	link->in = malloc(BS_AMQP_FRAME_MAX);
	link->out = malloc(BS_AMQP_OUT_SIZE);
	link->scratch = malloc(BS_AMQP_SCRATCH_SIZE);
	link->arena = malloc(BS_AMQP_ARENA_SIZE);
	if (link->notes == NULL || link->unconfirmed == NULL ||
		link->in == NULL || link->out == NULL || link->scratch == NULL ||
		link->arena == NULL)
		return no_memory;
	link->publish_max = PUBLISH_FIRST_GUESS;
	bs_amqp_reset_messages(link);

	/*
	 * A broker that is short of memory or disk does not read, and lives: what
	 * tells one that is gone is its silence.
	 */
	return bs_curl_open(&link->loop, CONNECTIONS_MAX,
						config->connect_timeout_ms, 0);
}

BsAmqpLink *
bs_amqp_create(const BsAmqpConfig *config, char *error, size_t error_size)
{
	BsAmqpLink *link = calloc(1, sizeof(BsAmqpLink));
	const char *fault = "There is not enough memory.";

	if (link != NULL)
	{
		bs_curl_init(&link->loop);
		init_amqp_pool(&link->pool, POOL_PAGE);
		fault = build(link, config);
	}
	if (fault == NULL)
		return link;

	bs_amqp_destroy(link);
	if (error_size > 0)
		snprintf(error, error_size, "%s", fault);
	return NULL;
}

void
bs_amqp_destroy(BsAmqpLink *link)
{
	if (link == NULL)
		return;
	bs_amqp_disconnect(link, true);
	bs_curl_close(&link->loop);
	empty_amqp_pool(&link->pool);
	bs_amqp_free_addresses(link->addresses);
	bs_secret_free(link->strings);
	free(link->notes);
	free(link->unconfirmed);
	free(link->in);
	bs_secret_free(link->out);
	free(link->scratch);
	free(link->arena);
	free(link);
}
