/*-------------------------------------------------------------------------
 *
 * sender_loop.c
 *	  The life of bs_sender: one loop, one place where it waits.
 *
 * What becomes of messages is in net/net_outbox.c, as for the senders in the
 * server; here it meets the database, the broker, and the signals.
 *
 * src/sender/sender_loop.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "net/net_curl.h"
#include "net/net_outbox.h"
#include "sender/sender_http.h"
#include "sender/sender_log.h"
#include "sender/sender_notify.h"
#include "sender/sender_settings.h"
#include "sender/sender_work.h"

#define SHUTDOWN_GRACE_MS	500 /* for answers that are under way */
#define SHUTDOWN_RECORD_MS	5000	/* for the database to take outcomes */
#define RECHECK_MS			10000	/* how often to look what is there */
#define IDLE_CONNECTION_MS	20000
#define LONGEST_WAIT_MS		60000
#define BUSY_MS				5	/* another sender is just taking what is due */

/* What the database was asked. */
typedef enum BsQuestion
{
	QUESTION_NONE,
	QUESTION_LOOK,
	QUESTION_STATE,
	QUESTION_CLAIM,
	QUESTION_COPIES,
	QUESTION_NEXT_DUE,
	QUESTION_RECORD,
	QUESTION_RELEASE
} BsQuestion;

static BsOutbox outbox;
static BsBucket bucket;
static BsBreaker breaker;
static BsDatabase database;
static BsAmqpLink *broker_link;
static BsPages *pages;
static BsSenderStats totals;
static char identity[BS_IDENTITY_SIZE];
static const char *config_path;
static int	signals = -1;

static BsQuestion question;
static int64_t asked_ms;		/* when */
static bool looked;				/* at this connection */
static bool has_begun;			/* nothing stood in the way once, but time */
static bool state_known;		/* looked, and found what time may mend at
								 * most */
static bool is_ready;			/* nothing stands in the way */
static char obstacle[256];		/* what does; "": nothing */
static int64_t look_at_ms;
static int64_t claim_at_ms;		/* not before */
static bool due_known;			/* what is due then is known to be */
static bool renew_wanted = true;	/* mailer and link, once nothing is held */
static bool reconnect_wanted;	/* to the database, likewise */
static int64_t renew_at_ms;
static int64_t watchdog_ms = -1;	/* how often it is told; -1: never */
static int64_t watchdog_at_ms;
static int64_t stop_begun_ms;	/* 0: it goes on */
static int	exit_code = -1;

/* Of a claim or record that is under way. */
static BsPayload *keys;
static BsCopyTag *copies;
static int	key_count;
static const BsClaim **recorded_claims;
static const BsResult **recorded_results;
static int	recorded_count;
static int	lists_size;

static bool record_is_unsure;	/* it was asked before, and perhaps heard */
static int64_t lost_until_ms;	/* a claim may have been made until then that
								 * we do not know of */
static bool release_wanted;

/* ---- what the outbox wants of its host ---- */

static double
next_random(void)
{
	return (double) random() / ((double) RAND_MAX + 1);
}

static void
log_breaker(BsBreakerState state)
{
	bs_log(BS_LOG_WARNING, "%s", state == BS_BREAKER_CLOSED ?
		   "sends again: the relay answers" :
		   "pauses sending for 30 seconds: too many attempts failed");
}

static const BsOutboxHost host = {
	.bucket = &bucket,
	.breaker = &breaker,
	.random = next_random,
	.breaker_moved = log_breaker,
	.report_error = bs_log_trouble
};

/* ---- beginning and changing ---- */

/*
 * Who claims: nobody else ever has the same name, and the server does not take it
 * for one of its own, whose end it would see.
 */
static void
make_identity(void)
{
	char		name[256] = "";
	unsigned	number = 0;

	(void) gethostname(name, sizeof(name) - 1);
	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
		number = (unsigned) bs_net_wall_us();
	srandom(number);
	snprintf(identity, sizeof(identity), "remote/%.50s/%d/%08x", name,
			 (int) getpid(), number);
}

static bool
make_lists(void)
{
	int			size = outbox.job_count;

	if (size <= lists_size)
		return true;
	free(keys);
	free(copies);
	free(recorded_claims);
	free(recorded_results);
	keys = calloc(size, sizeof(*keys));
	copies = calloc(size, sizeof(*copies));
	recorded_claims = calloc(size, sizeof(*recorded_claims));
	recorded_results = calloc(size, sizeof(*recorded_results));
	lists_size = size;
	return keys != NULL && copies != NULL && recorded_claims != NULL &&
		recorded_results != NULL;
}

/*
 * Gives up at the start; later waits for somebody to mend it.
 */
static void
report_obstacle(const char *message, bool for_good)
{
	if (for_good && !has_begun)
	{
		bs_log(BS_LOG_ERROR, "%s", message);
		exit_code = BS_EXIT_CONFIG;
		return;
	}
	if (strcmp(message, obstacle) != 0)
		bs_log(BS_LOG_WARNING, "idle: %s", message);
	snprintf(obstacle, sizeof(obstacle), "%s", message);
	is_ready = false;
}

static void
close_link(void)
{
	if (outbox.consumer != NULL)
		(void) bs_consumer_flush(outbox.consumer);
	bs_consumer_destroy(bs_outbox_set_consumer(&outbox, NULL));
	bs_amqp_destroy(broker_link);
	broker_link = NULL;
}

/*
 * A link to the broker where there is to be one.
 */
static void
look_at_broker(void)
{
	BsBrokerSettings settings;
	BsConsumer *consumer;
	char		password[BS_SECRET_MAX];
	char		error[256] = "\"amqp_url\" is not set";

	if (bs_settings()->queue != BS_SENDER_QUEUE_RABBITMQ || !is_ready ||
		outbox.mailer == NULL || renew_wanted)
	{
		if (broker_link != NULL && question != QUESTION_COPIES)
			close_link();
		return;
	}
	if (broker_link != NULL || bs_net_clock_ms() < renew_at_ms)
		return;
	bs_settings_broker(&settings, identity);
	if (settings.amqp_url[0] != '\0' &&
		bs_relay_read_amqp_password(&settings, password, sizeof(password),
									error, sizeof(error)))
		broker_link = bs_relay_make_link(&settings, password,
										 error, sizeof(error));
	explicit_bzero(password, sizeof(password));
	consumer = broker_link == NULL ? NULL :
		bs_consumer_create(broker_link, settings.prefetch,
						   database.installation);
	if (consumer == NULL)
	{
		bs_amqp_destroy(broker_link);
		broker_link = NULL;
		bs_log_trouble(error);
		renew_at_ms = bs_net_clock_ms() + RECHECK_MS;
		return;
	}
	bs_consumer_destroy(bs_outbox_set_consumer(&outbox, consumer));
	claim_at_ms = 0;
}

/*
 * Nothing stands in the way any more.
 */
static void
report_work(void)
{
	static bool reported = false;
	bool		working = is_ready && !renew_wanted && outbox.mailer != NULL;

	if (working && !reported)
	{
		obstacle[0] = '\0';
		bs_log_recovery("at work");
	}
	reported = working || (reported && renew_wanted);
}

/*
 * After a change: a new mailer, once nothing is held.
 */
static void
renew(void)
{
	BsRelaySettings settings;
	BsMailer   *mailer;
	char		error[256] = "out of memory";

	if (!bs_outbox_is_empty(&outbox) || question == QUESTION_CLAIM ||
		question == QUESTION_COPIES || bs_net_clock_ms() < renew_at_ms)
		return;
	close_link();
	bs_settings_relay(&settings);
	mailer = bs_relay_make_mailer(&settings, error, sizeof(error));
	if (!bs_outbox_set_mailer(&outbox, mailer) || !make_lists())
		mailer = NULL;
	if (mailer == NULL)
	{
		report_obstacle(error, true);
		renew_at_ms = bs_net_clock_ms() + RECHECK_MS;
		return;
	}
	renew_wanted = false;
	renew_at_ms = 0;
	claim_at_ms = 0;
	due_known = true;
}

static void fill_stats(BsSenderStats *stats);

static void
open_pages(void)
{
	static char opened[128];
	const char *listen = bs_settings()->listen;
	char		error[256];

	if (pages != NULL && strcmp(opened, listen) == 0)
		return;
	bs_pages_close(pages);
	pages = NULL;
	snprintf(opened, sizeof(opened), "%s", listen);
	if (listen[0] == '\0')
		return;
	pages = bs_pages_open(listen, fill_stats, error, sizeof(error));
	if (pages == NULL)
		report_obstacle(error, true);
}

/*
 * The settings of all sources together, which may have changed.
 */
static bool
finish_settings(void)
{
	BsSettingsError error;
	BsOutboxRules rules;
	bool		changed;

	if (!bs_settings_finish(&changed, &error))
	{
		report_obstacle(error.text, true);
		return false;
	}
	bs_settings_rules(&rules);
	bs_outbox_set_rules(&outbox, &rules);
	bs_log_set_json(bs_settings()->log_format == BS_LOG_JSON);
	if (changed)
	{
		renew_wanted = true;
		renew_at_ms = 0;
		open_pages();
	}
	return true;
}

static void
reload(void)
{
	BsSettingsError error;
	char	   *before = strdup(bs_settings()->database);

	bs_notify_reloading();
	if (!bs_settings_load(config_path, &error))
		bs_log(BS_LOG_ERROR, "the settings stay as they were: %s", error.text);
	else if (finish_settings())
	{
		bs_log(BS_LOG_INFO, "settings loaded");
		renew_wanted = true;	/* secrets may have changed */
		renew_at_ms = 0;
		reconnect_wanted = before == NULL ||
			strcmp(before, bs_settings()->database) != 0;
	}
	free(before);
	look_at_ms = 0;
	bs_notify("READY=1");
}

/* ---- answers ---- */

static void
fail_question(BsQuestion failed)
{
	if (database.conn == NULL)
	{
		looked = false;
		is_ready = false;
		if (failed == QUESTION_RECORD)
			record_is_unsure = true;
		if (failed == QUESTION_CLAIM || failed == QUESTION_COPIES)
			lost_until_ms = bs_net_clock_ms() + bs_settings()->lease_ms;
	}
	bs_log_trouble(database.error);
	if (failed == QUESTION_RECORD)
		bs_outbox_end_record(&outbox, false);
	claim_at_ms = bs_net_clock_ms() + 1000;
	due_known = false;
	if (looked)
		look_at_ms = 0;			/* why? */
}

static void
take_look(const PGresult *answer)
{
	bool		absent = PQgetisnull(answer, 0, 0);
	BsObstacle	found = bs_database_take_look(&database, answer);

	look_at_ms = bs_net_clock_ms() + RECHECK_MS;
	looked = true;
	if (found != BS_OBSTACLE_NONE)
	{
		report_obstacle(database.error, true);
		if (absent)
			bs_outbox_forget(&outbox);	/* the tables are gone */
		return;
	}
	outbox.clock_ahead_us =
		strtoll(PQgetvalue(answer, 0, 5), NULL, 10) - database.asked_wall_us;
	if (finish_settings())
		question = bs_database_ask_state(&database) ? QUESTION_STATE :
			QUESTION_NONE;
}

static void
take_state(const PGresult *answer)
{
	BsObstacle	found = bs_database_take_state(&database, answer);

	if (found != BS_OBSTACLE_NONE)
	{
		report_obstacle(database.error, found == BS_OBSTACLE_SETUP);
		if (found == BS_OBSTACLE_SETUP)
			return;
	}
	else if (!is_ready)
	{
		is_ready = true;
		claim_at_ms = 0;
	}
	/* The former connection's claim may still be under way in the server. */
	release_wanted = bs_net_clock_ms() < lost_until_ms;
	state_known = true;
}

static void
take_claims(const PGresult *answer, bool of_copies)
{
	BsClaim    *claims = calloc(outbox.free_count, sizeof(BsClaim));
	int64_t		lease_until_ms = asked_ms + bs_settings()->lease_ms;
	BsCopyTag	no_copy = {0};
	int			count = 0;
	int			i;

	if (claims != NULL)
		count = bs_work_take_claims(answer, claims, outbox.free_count);
	if (count < PQntuples(answer))
		bs_log_trouble("out of memory for claims");
	if (of_copies)
		bs_outbox_begin_copies(&outbox, keys, copies, key_count,
							   claims, count, lease_until_ms);
	else
	{
		for (i = 0; i < count; i++)
			bs_outbox_begin(&outbox, &claims[i], lease_until_ms, no_copy);
		due_known = count > 0 && outbox.free_count == 0;
		claim_at_ms = 0;
	}
	totals.claimed += count;
	free(claims);
}

static void
take_next_due(const PGresult *answer)
{
	int64_t		clock_us;
	int64_t		due_ms = bs_work_take_next_due(answer, &clock_us);
	int64_t		poll_ms = bs_settings()->poll_interval_ms;

	outbox.clock_ahead_us = clock_us - database.asked_wall_us;
	due_known = due_ms <= poll_ms;
	/* Due, but another sender is just taking it: no spinning meanwhile. */
	if (due_ms < BUSY_MS)
		due_ms = BUSY_MS;
	claim_at_ms = bs_net_clock_ms() + (due_known ? due_ms : poll_ms);
}

static void
count_results(void)
{
	char		id[BS_UUID_TEXT];
	int			i;

	for (i = 0; i < recorded_count; i++)
	{
		const BsResult *result = recorded_results[i];

		switch (result->next)
		{
			case BS_NEXT_SENT:
				totals.sent++;
				break;
			case BS_NEXT_RETRYING:
				totals.retried++;
				break;
			case BS_NEXT_RELEASED:
				totals.released++;
				break;
			case BS_NEXT_FAILED:
			case BS_NEXT_EXPIRED:
				totals.failed++;
				bs_uuid_write(recorded_claims[i]->id, id);
				bs_log(BS_LOG_WARNING, "message %s was given up: %s (reply code %d)",
					   id, result->reason, result->code);
				break;
		}
	}
}

static void
take_record(const PGresult *answer)
{
	int			taken = bs_work_take_count(answer);

	/* What was asked twice may have been taken the first time. */
	if (taken < recorded_count && !record_is_unsure)
	{
		totals.late += recorded_count - taken;
		bs_log(BS_LOG_WARNING,
			   "%d of %d outcomes came too late: the messages had been given up for lost or changed hands",
			   recorded_count - taken, recorded_count);
	}
	record_is_unsure = false;
	count_results();
	bs_outbox_end_record(&outbox, true);
}

static void
take_release(const PGresult *answer)
{
	int			count = bs_work_take_count(answer);

	if (count > 0)
		bs_log(BS_LOG_INFO, "gave back %d messages whose claim was lost with the connection",
			   count);
}

static void
take_answer(void)
{
	PGresult   *answer;
	BsQuestion	answered = question;

	if (!bs_database_take(&database, &answer))
		return;
	question = QUESTION_NONE;
	if (answer == NULL)
	{
		fail_question(answered);
		return;
	}
	switch (answered)
	{
		case QUESTION_LOOK:
			take_look(answer);
			break;
		case QUESTION_STATE:
			take_state(answer);
			break;
		case QUESTION_CLAIM:
		case QUESTION_COPIES:
			take_claims(answer, answered == QUESTION_COPIES);
			break;
		case QUESTION_NEXT_DUE:
			take_next_due(answer);
			break;
		case QUESTION_RECORD:
			take_record(answer);
			break;
		case QUESTION_RELEASE:
			take_release(answer);
			break;
		default:
			break;
	}
	PQclear(answer);
}

/* ---- questions ---- */

static bool
may_claim(void)
{
	return is_ready && outbox.mailer != NULL && !renew_wanted &&
		!reconnect_wanted && !outbox.stopping &&
		outbox.record_failures == 0 &&
		outbox.free_count >= outbox.job_count / 2;
}

/*
 * When to claim, or to ask what is due, by bs_net_clock_ms(); INT64_MAX: not
 * before something else has happened.
 */
static int64_t
next_claim_ms(void)
{
	int64_t		at_ms = claim_at_ms;

	if (!may_claim())
		return INT64_MAX;
	if (bs_settings()->queue == BS_SENDER_QUEUE_RABBITMQ)
	{
		int64_t		copies_ms = outbox.consumer == NULL ? INT64_MAX :
		bs_consumer_next_claim_ms(outbox.consumer);

		if (copies_ms > at_ms)
			at_ms = copies_ms;
	}
	return at_ms > outbox.claim_after_ms ? at_ms : outbox.claim_after_ms;
}

static bool
ask_claim(void)
{
	int			limit = bs_outbox_claim_limit(&outbox);

	if (limit == 0)
		return false;
	if (bs_settings()->queue == BS_SENDER_QUEUE_RABBITMQ)
	{
		key_count = bs_consumer_peek(outbox.consumer, limit, keys, copies);
		if (key_count == 0 ||
			!bs_work_ask_copies(&database, identity, keys, key_count))
			return false;
		question = QUESTION_COPIES;
	}
	else if (due_known)
	{
		if (!bs_work_ask_claim(&database, identity, limit))
			return false;
		question = QUESTION_CLAIM;
	}
	else
	{
		if (!bs_work_ask_next_due(&database))
			return false;
		question = QUESTION_NEXT_DUE;
	}
	return true;
}

static bool
ask_record(void)
{
	recorded_count = bs_outbox_begin_record(&outbox, recorded_claims,
											recorded_results);
	if (bs_work_ask_record(&database, recorded_claims, recorded_results,
						   recorded_count))
	{
		question = QUESTION_RECORD;
		return true;
	}
	bs_outbox_end_record(&outbox, false);
	return false;
}

/*
 * What was claimed and is not among what is held.
 */
static bool
ask_release(void)
{
	const uint8_t **tokens = calloc(outbox.job_count + 1, sizeof(*tokens));
	int			count = 0;
	bool		asked = false;
	int			i;

	release_wanted = false;
	if (tokens == NULL)
		return true;			/* the lease does it */
	for (i = 0; i < outbox.job_count; i++)
		if (outbox.jobs[i].claim.strings != NULL)
			tokens[count++] = outbox.jobs[i].claim.token;
	asked = bs_work_ask_release(&database, identity, tokens, count);
	question = asked ? QUESTION_RELEASE : QUESTION_NONE;
	free(tokens);
	return asked;
}

/*
 * What is most urgent, one thing at a time.
 */
static void
ask_database(void)
{
	int64_t		now_ms = bs_net_clock_ms();
	bool		asked = true;

	if (!bs_database_is_idle(&database) || question != QUESTION_NONE)
		return;
	asked_ms = now_ms;
	if (!looked || (now_ms >= look_at_ms && !outbox.stopping))
	{
		asked = bs_database_ask(&database, bs_database_look_sql(), NULL);
		question = asked ? QUESTION_LOOK : QUESTION_NONE;
	}
	else if (database.schema[0] == '\0')
		return;
	else if (bs_outbox_should_record(&outbox))
		asked = ask_record();
	else if (release_wanted)
		asked = ask_release();
	else if (now_ms >= next_claim_ms())
		asked = ask_claim();
	if (!asked && database.conn == NULL)
	{
		looked = is_ready = false;
		bs_log_trouble(database.error);
	}
}

/* ---- the rest of a turn ---- */

static void
run_database(void)
{
	uint64_t	connections = database.connections;
	int			failures = database.failures;

	if (reconnect_wanted && bs_outbox_is_empty(&outbox) &&
		question == QUESTION_NONE && database.connecting == NULL)
	{
		reconnect_wanted = looked = is_ready = false;
		bs_database_disconnect(&database, false);
	}
	bs_database_run(&database);
	if (database.connections != connections)
	{
		looked = false;
		bs_log(BS_LOG_INFO, "connected to the database");
	}
	else if (database.failures != failures)
		bs_log_trouble(database.error);
	take_answer();
	if (looked && database.conn != NULL && database.failures > 0)
		database.failures = 0;
}

static void
count_copies(void)
{
	BsConsumerCounts counts;
	int			i;

	if (!bs_consumer_take_counts(outbox.consumer, &counts))
		return;
	totals.copies.consumed += counts.consumed;
	totals.copies.dropped += counts.dropped;
	totals.copies.failed += counts.failed;
	if (counts.excess > 0)
		bs_log_trouble("the broker sends more than it was asked for");
	for (i = 0; i < BS_PAYLOAD_FAULTS; i++)
	{
		if (counts.faults[i] > 0 && totals.copies.faults[i] == 0)
			bs_log(BS_LOG_WARNING, "a message was moved to the dead letters: %s",
				   bs_payload_fault_name((BsPayloadFault) i));
		totals.copies.faults[i] += counts.faults[i];
	}
}

static void
run_link(void)
{
	BsAmqpEvent event;
	char		message[320];

	bs_amqp_run(broker_link);
	while (bs_consumer_next(outbox.consumer, &event))
	{
		if (event.kind == BS_AMQP_UP)
		{
			bs_log_recovery("connected to the broker");
			continue;
		}
		snprintf(message, sizeof(message), "the broker: %s", event.text);
		bs_log_trouble(message);
	}
	count_copies();
}

static void
fill_stats(BsSenderStats *stats)
{
	*stats = totals;
	stats->connections = database.connections;
	stats->waiting = outbox.waiting_count;
	stats->under_way = outbox.mailer ? bs_mailer_busy(outbox.mailer) : 0;
	stats->unrecorded = outbox.ended_count + outbox.recording_count;
	stats->database_up = database.conn != NULL && looked;
	stats->broker_wanted = bs_settings()->queue == BS_SENDER_QUEUE_RABBITMQ;
	stats->broker_up = broker_link != NULL && bs_amqp_is_up(broker_link);
	stats->breaker_closed = breaker.state == BS_BREAKER_CLOSED;
	stats->relay_ready = outbox.mailer != NULL;
	memcpy(stats->obstacle, obstacle, sizeof(stats->obstacle));
	snprintf(stats->last_error, sizeof(stats->last_error), "%s",
			 bs_log_last_error());
}

static void
begin_stop(void)
{
	if (stop_begun_ms != 0)
		return;
	stop_begun_ms = bs_net_clock_ms();
	bs_log(BS_LOG_INFO, "stopping");
	bs_notify("STOPPING=1");
	outbox.stopping = true;
	bs_outbox_release_waiting(&outbox, "released",
							  bs_outbox_wall_us(&outbox));
}

/*
 * What is under way gets a short grace, then it is in doubt; then the database has
 * a while to take what is to be recorded.
 */
static void
go_on_stopping(void)
{
	int64_t		spent_ms = bs_net_clock_ms() - stop_begun_ms;

	if (outbox.mailer != NULL && bs_mailer_busy(outbox.mailer) > 0 &&
		spent_ms >= SHUTDOWN_GRACE_MS)
	{
		bs_mailer_abort(outbox.mailer);
		while (bs_outbox_collect(&outbox))
			;
	}
	/* A claim whose answer is on its way is given back as well. */
	if (outbox.waiting_count > 0)
		bs_outbox_release_waiting(&outbox, "released",
								  bs_outbox_wall_us(&outbox));
	if (bs_outbox_is_empty(&outbox) && question != QUESTION_CLAIM &&
		question != QUESTION_COPIES)
		exit_code = 0;
	else if (spent_ms >= SHUTDOWN_RECORD_MS)
	{
		bs_log(BS_LOG_ERROR, "%d messages are left to their lease: the database does not take what became of them",
			   outbox.job_count - outbox.free_count);
		exit_code = 1;
	}
}

static void
take_signals(void)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) == sizeof(info))
	{
		if (info.ssi_signo == SIGHUP)
			reload();
		else
			begin_stop();
	}
}

static int64_t
soonest(int64_t ms, int64_t at_ms, int64_t now_ms)
{
	if (at_ms == INT64_MAX)
		return ms;
	at_ms = at_ms > now_ms ? at_ms - now_ms : 0;
	return at_ms < ms ? at_ms : ms;
}

static int64_t
shorter(int64_t ms, int64_t other_ms)
{
	return other_ms >= 0 && other_ms < ms ? other_ms : ms;
}

/*
 * In how many ms there is something to do whatever the descriptors say.
 */
static int64_t
longest_wait_ms(void)
{
	int64_t		now_ms = bs_net_clock_ms();
	int64_t		ms = LONGEST_WAIT_MS;

	ms = soonest(ms, bs_outbox_next_ms(&outbox), now_ms);
	ms = soonest(ms, bs_database_next_ms(&database), now_ms);
	if (bs_database_is_idle(&database))
	{
		if (release_wanted)
			ms = 0;
		ms = soonest(ms, looked ? look_at_ms : 0, now_ms);
		ms = soonest(ms, next_claim_ms(), now_ms);
	}
	if (renew_at_ms > 0)
		ms = soonest(ms, renew_at_ms, now_ms);
	if (stop_begun_ms != 0)
		ms = shorter(ms, 50);
	if (watchdog_ms >= 0)
		ms = soonest(ms, watchdog_at_ms, now_ms);
	if (outbox.mailer != NULL)
		ms = shorter(ms, bs_mailer_deadline_ms(outbox.mailer));
	if (broker_link != NULL)
		ms = shorter(ms, bs_amqp_deadline_ms(broker_link));
	if (pages != NULL)
		ms = shorter(ms, bs_pages_deadline_ms(pages));
	return ms;
}

static void
wait_for_work(void)
{
	struct pollfd fds[5];
	int			count = 0;

	fds[count++] = (struct pollfd)
	{
		.fd = signals,.events = POLLIN
	};
	if (bs_database_fd(&database) >= 0)
		fds[count++] = (struct pollfd)
	{
		.fd = bs_database_fd(&database),
			.events = bs_database_wants_write(&database) ? POLLIN | POLLOUT :
			POLLIN
	};
	if (outbox.mailer != NULL)
		fds[count++] = (struct pollfd)
	{
		.fd = bs_mailer_fd(outbox.mailer),.events = POLLIN
	};
	if (broker_link != NULL)
		fds[count++] = (struct pollfd)
	{
		.fd = bs_amqp_fd(broker_link),.events = POLLIN
	};
	if (pages != NULL)
		fds[count++] = (struct pollfd)
	{
		.fd = bs_pages_fd(pages),.events = POLLIN
	};
	if (poll(fds, count, (int) longest_wait_ms()) < 0 && errno != EINTR)
		exit_code = 1;
}

static void
turn(void)
{
	take_signals();
	run_database();
	if (renew_wanted || reconnect_wanted)
	{
		bs_outbox_release_waiting(&outbox, "released",
								  bs_outbox_wall_us(&outbox));
		if (renew_wanted && state_known && stop_begun_ms == 0)
			renew();
		if (!has_begun && !renew_wanted)
		{
			has_begun = true;
			bs_notify("READY=1");
		}
	}
	report_work();
	look_at_broker();
	if (outbox.mailer != NULL)
		bs_mailer_run(outbox.mailer);
	if (broker_link != NULL)
		run_link();
	while (bs_outbox_collect(&outbox))
		;
	if (stop_begun_ms != 0)
		go_on_stopping();
	ask_database();
	while (bs_outbox_submit(&outbox))
		;
	if (broker_link != NULL && bs_consumer_flush(outbox.consumer))
		run_link();
	if (outbox.mailer != NULL)
		bs_mailer_close_idle(outbox.mailer, IDLE_CONNECTION_MS);
	if (pages != NULL)
		bs_pages_run(pages);
	if (watchdog_ms >= 0 && bs_net_clock_ms() >= watchdog_at_ms)
	{
		bs_notify("WATCHDOG=1");
		watchdog_at_ms = bs_net_clock_ms() + watchdog_ms;
	}
}

static void
close_all(void)
{
	close_link();
	bs_pages_close(pages);
	bs_database_close(&database);
	bs_outbox_forget(&outbox);
	bs_mailer_destroy(outbox.mailer);
	free(outbox.jobs);
	free(keys);
	free(copies);
	free(recorded_claims);
	free(recorded_results);
	close(signals);
}

int
bs_loop_run(const char *config_file)
{
	sigset_t	mask;

	config_path = config_file;
	/* Before any thread: they inherit it. */
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	make_identity();
	bs_outbox_init(&outbox, &host);
	bs_database_init(&database);
	watchdog_ms = bs_notify_watchdog_ms();
	bs_log(BS_LOG_INFO, "bs_sender %s begins as %s", BS_VERSION, identity);
	open_pages();

	while (exit_code < 0)
	{
		turn();
		if (exit_code < 0)
			wait_for_work();
	}
	bs_log(BS_LOG_INFO, "ends");
	close_all();
	return exit_code;
}
