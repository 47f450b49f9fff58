/*-------------------------------------------------------------------------
 *
 * sender_supply.c
 *	  What bs_sender works with: relay, broker, pages, and the settings they follow.
 *
 * src/sender/sender_supply.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_state.h"

#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/sending/broker.h"
#include "core/sending/relay.h"
#include "sender/sender_log.h"
#include "sender/sender_settings.h"

/*
 * Ends the process at the start; later waits until it is mended.
 */
void
bs_supply_report_obstacle(const char *message, bool for_good)
{
	if (for_good && !bs_sender.has_begun)
	{
		bs_log(BS_LOG_ERROR, "%s", message);
		bs_sender.exit_code = BS_EXIT_CONFIG;
		return;
	}
	if (strcmp(message, bs_sender.obstacle) != 0)
		bs_log(BS_LOG_WARNING, "idle: %s", message);
	snprintf(bs_sender.obstacle, sizeof(bs_sender.obstacle), "%s", message);
	bs_sender.is_ready = false;
}

void
bs_supply_close_link(void)
{
	if (bs_sender.turn.outbox.consumer != NULL)
		(void) bs_consumer_flush(bs_sender.turn.outbox.consumer);
	bs_consumer_destroy(bs_outbox_set_consumer(&bs_sender.turn.outbox, NULL));
	bs_amqp_destroy(bs_sender.turn.link);
	bs_sender.turn.link = NULL;
}

/*
 * A link to the broker if there is to be one.
 */
void
bs_supply_look_at_broker(void)
{
	BsLinkUse	use = {
		.database = bs_sender.database.name,
		.connection_name = bs_sender.identity,
		.prefetch = bs_settings.amqp_prefetch
	};
	BsConsumer *consumer;
	char		password[BS_SECRET_MAX];
	char		error[256] = "\"amqp_url\" is not set";

	if (bs_settings.queue != BS_QUEUE_RABBITMQ || !bs_sender.is_ready ||
		bs_sender.turn.outbox.mailer == NULL || bs_sender.turn.held_back)
	{
		if (bs_sender.turn.link != NULL && bs_sender.question != BS_QUESTION_COPIES)
			bs_supply_close_link();
		return;
	}
	if (bs_sender.turn.link != NULL || bs_clock_ms() < bs_sender.renew_at_ms)
		return;
	if (bs_settings.amqp_url[0] != '\0' &&
		bs_broker_read_password(&bs_settings, password, sizeof(password),
								error, sizeof(error)))
		bs_sender.turn.link = bs_broker_make_link(&bs_settings, &use, password,
												  error, sizeof(error));
	explicit_bzero(password, sizeof(password));
	consumer = bs_sender.turn.link == NULL ? NULL :
		bs_consumer_create(bs_sender.turn.link, use.prefetch,
						   bs_sender.database.installation);
	if (consumer == NULL)
	{
		bs_amqp_destroy(bs_sender.turn.link);
		bs_sender.turn.link = NULL;
		bs_log_trouble(error);
		bs_sender.renew_at_ms = bs_clock_ms() + BS_RECHECK_MS;
		return;
	}
	bs_consumer_destroy(bs_outbox_set_consumer(&bs_sender.turn.outbox, consumer));
	bs_sender.claim_at_ms = 0;
}

/*
 * Nothing stands in the way any more.
 */
void
bs_supply_report_work(void)
{
	static bool reported = false;
	bool		working = bs_sender.is_ready && !bs_sender.turn.held_back && bs_sender.turn.outbox.mailer != NULL;

	if (working && !reported)
	{
		bs_sender.obstacle[0] = '\0';
		bs_log_recovery("at work");
	}
	reported = working || (reported && bs_sender.turn.held_back);
}

/*
 * After a change: a new mailer, once nothing is held.
 */
void
bs_supply_renew(void)
{
	BsMailer   *mailer;
	char		error[256] = "out of memory";

	if (!bs_outbox_is_empty(&bs_sender.turn.outbox) || bs_sender.question == BS_QUESTION_CLAIM ||
		bs_sender.question == BS_QUESTION_COPIES || bs_clock_ms() < bs_sender.renew_at_ms)
		return;
	bs_supply_close_link();
	mailer = bs_relay_make_mailer(&bs_settings, error, sizeof(error));
	if (!bs_turn_set_mailer(&bs_sender.turn, mailer))
	{
		bs_supply_report_obstacle(error, true);
		bs_sender.renew_at_ms = bs_clock_ms() + BS_RECHECK_MS;
		return;
	}
	bs_sender.turn.held_back = false;
	bs_sender.renew_at_ms = 0;
	bs_sender.claim_at_ms = 0;
	bs_sender.due_known = true;
}

void
bs_supply_observe(BsHistogramKind kind, int64_t us)
{
	bs_sender.totals.buckets[kind][bs_histogram_bucket(kind, us)]++;
	bs_sender.totals.sum_us[kind] += us > 0 ? us : 0;
}

void
bs_supply_fill_stats(BsSenderStats *stats)
{
	*stats = bs_sender.totals;
	stats->connections = bs_sender.database.connections;
	stats->waiting = bs_sender.turn.outbox.waiting_count;
	stats->under_way = bs_sender.turn.outbox.mailer ? bs_mailer_busy(bs_sender.turn.outbox.mailer) : 0;
	stats->unrecorded = bs_sender.turn.outbox.ended_count + bs_sender.turn.outbox.recording_count;
	stats->database_up = bs_sender.database.conn != NULL && bs_sender.looked;
	stats->broker_wanted = bs_settings.queue == BS_QUEUE_RABBITMQ;
	stats->broker_up = bs_sender.turn.link != NULL && bs_amqp_is_up(bs_sender.turn.link);
	stats->breaker_closed = bs_sender.turn.outbox.host->breaker->state == BS_BREAKER_CLOSED;
	stats->relay_ready = bs_sender.turn.outbox.mailer != NULL;
	memcpy(stats->obstacle, bs_sender.obstacle, sizeof(stats->obstacle));
	snprintf(stats->last_error, sizeof(stats->last_error), "%s",
			 bs_log_last_error());
}

void
bs_supply_open_pages(void)
{
	static char opened[128];
	const char *listen = bs_settings.listen;
	char		error[256];

	if (bs_sender.pages != NULL && strcmp(opened, listen) == 0)
		return;
	bs_pages_close(bs_sender.pages);
	bs_sender.pages = NULL;
	snprintf(opened, sizeof(opened), "%s", listen);
	if (listen[0] == '\0')
		return;
	bs_sender.pages = bs_pages_open(listen, bs_supply_fill_stats, error, sizeof(error));
	if (bs_sender.pages == NULL)
		bs_supply_report_obstacle(error, true);
}

/*
 * The settings of all sources together, which may have changed.
 */
bool
bs_supply_finish_settings(void)
{
	BsSettingsError error;
	bool		changed;

	if (!bs_settings_finish(&changed, &error))
	{
		bs_supply_report_obstacle(error.text, true);
		return false;
	}
	bs_log_set_json(bs_settings.log_format == BS_LOG_JSON);
	if (changed)
	{
		bs_sender.turn.held_back = true;
		bs_sender.renew_at_ms = 0;
		bs_supply_open_pages();
	}
	return true;
}
