/*-------------------------------------------------------------------------
 *
 * sender_loop.c
 *	  The life of bs_sender: one loop, one place where it waits.
 *
 * What becomes of messages is in core/sending/outbox.c, as for the senders in the
 * server; here it meets the database, the broker, and the signals.
 *
 * src/sender/sender_loop.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_loop.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "sender/sender_log.h"
#include "sender/sender_notify.h"
#include "sender/sender_settings.h"
#include "sender/sender_state.h"

#define SHUTDOWN_RECORD_MS	5000	/* for the database to take outcomes */

static BsBucket bucket;
static BsBreaker breaker;
static const char *config_path;
static int	signals = -1;
static int64_t watchdog_ms = -1;	/* how often it is told; -1: never */
static int64_t watchdog_at_ms;

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

static void
count_attempt(BsOutcome outcome, int64_t us)
{
	bs_sender.totals.outcomes[outcome]++;
	if (us >= 0)
		bs_supply_observe(BS_HISTOGRAM_DELIVERY, us);
}

static void
log_limit(int limit)
{
	if (limit > 0)
		bs_log(BS_LOG_WARNING, "uses %d connections: the relay takes no more; from time to time one more is tried",
			   limit);
	else
		bs_log(BS_LOG_INFO, "uses all connections again");
}

static void
count_results(const BsClaim *const *claims, const BsResult *const *results,
			  int count)
{
	char		id[BS_UUID_TEXT];
	int			i;

	for (i = 0; i < count; i++)
	{
		const BsResult *result = results[i];

		switch (result->next)
		{
			case BS_NEXT_SENT:
				bs_sender.totals.sent++;
				bs_supply_observe(BS_HISTOGRAM_LATENESS,
								  result->ended_us - claims[i]->send_time_us);
				break;
			case BS_NEXT_RETRYING:
				bs_sender.totals.retried++;
				break;
			case BS_NEXT_RELEASED:
				bs_sender.totals.released++;
				break;
			case BS_NEXT_FAILED:
			case BS_NEXT_EXPIRED:
				bs_sender.totals.failed++;
				bs_uuid_write(claims[i]->id, id);
				bs_log(BS_LOG_WARNING, "message %s was given up: %s (reply code %d)",
					   id, result->reason, result->code);
				break;
		}
	}
}

static void
count_too_late(int count, int of)
{
	bs_sender.totals.late += count;
	bs_log(BS_LOG_WARNING,
		   "%d of %d outcomes came too late: the messages had been given up for lost, had changed hands or were deleted",
		   count, of);
}

static void
log_link(const BsAmqpEvent *event)
{
	char		message[320];

	if (event->kind == BS_AMQP_UP)
	{
		bs_log_recovery("connected to the broker");
		return;
	}
	snprintf(message, sizeof(message), "the broker: %s", event->text);
	bs_log_trouble(message);
}

static void
count_copies(const BsConsumerCounts *counts)
{
	BsConsumerCounts *totals = &bs_sender.totals.copies;
	int			i;

	totals->consumed += counts->consumed;
	totals->dropped += counts->dropped;
	totals->failed += counts->failed;
	if (counts->excess > 0)
		bs_log_trouble("the broker sends more than it was asked for");
	for (i = 0; i < BS_PAYLOAD_FAULTS; i++)
	{
		if (counts->faults[i] > 0 && totals->faults[i] == 0)
			bs_log(BS_LOG_WARNING, "a message was moved to the dead letters: %s",
				   bs_payload_fault_name((BsPayloadFault) i));
		totals->faults[i] += counts->faults[i];
	}
}

static const BsTurnHost host = {
	.outbox = {
		.bucket = &bucket,
		.breaker = &breaker,
		.random = next_random,
		.breaker_moved = log_breaker,
		.limit_moved = log_limit,
		.attempted = count_attempt,
		.report_error = bs_log_trouble
	},
	.claim_at_ms = bs_dialogue_claim_at_ms,
	.claim_due = bs_dialogue_claim_due,
	.claim_copies = bs_dialogue_claim_copies,
	.record = bs_dialogue_record,
	.is_waiting = bs_dialogue_is_waiting,
	.recorded = count_results,
	.too_late = count_too_late,
	.link_moved = log_link,
	.count_copies = count_copies
};

/*
 * Who claims: no other sender ever has the same name, and the server does not take it
 * for one of its own, whose end it would see.
 */
static void
make_identity(void)
{
	char		name[256] = "";
	unsigned	number = 0;
	char	   *c;

	(void) gethostname(name, sizeof(name) - 1);
	for (c = name; *c != '\0'; c++)
		if (!isalnum((unsigned char) *c) && *c != '.' && *c != '-')
			*c = '-';
	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
		number = (unsigned) bs_clock_wall_us();
	srandom(number);
	snprintf(bs_sender.identity, sizeof(bs_sender.identity), "remote/%.50s/%d/%08x", name,
			 (int) getpid(), number);
}

static void
reload(void)
{
	BsSettingsError error;
	char	   *before = strdup(bs_settings.database);

	bs_notify_reloading();
	if (!bs_settings_load(config_path, &error))
		bs_log(BS_LOG_ERROR, "the settings stay as they were: %s", error.text);
	else if (bs_supply_finish_settings())
	{
		bs_log(BS_LOG_INFO, "settings loaded");
		bs_sender.turn.held_back = true;	/* secrets may have changed */
		bs_sender.renew_at_ms = 0;
		bs_sender.reconnect_wanted = before == NULL ||
			strcmp(before, bs_settings.database) != 0;
	}
	free(before);
	bs_sender.look_at_ms = 0;
	bs_notify("READY=1");
}

static void
begin_stop(void)
{
	if (bs_sender.turn.outbox.stopping)
		return;
	bs_log(BS_LOG_INFO, "stopping");
	bs_notify("STOPPING=1");
	bs_turn_stop(&bs_sender.turn);
}

/*
 * Once nothing is under way, the database has a while to take what is to be
 * recorded. A claim whose answer is on its way is given back as well.
 */
static void
go_on_stopping(void)
{
	const BsOutbox *outbox = &bs_sender.turn.outbox;

	if (bs_turn_is_over(&bs_sender.turn) && bs_outbox_is_empty(outbox) &&
		bs_sender.question != BS_QUESTION_CLAIM &&
		bs_sender.question != BS_QUESTION_COPIES)
		bs_sender.exit_code = 0;
	else if (bs_clock_ms() - bs_sender.turn.stop_begun_ms >= SHUTDOWN_RECORD_MS)
	{
		bs_log(BS_LOG_ERROR, "%d messages are left to their lease: the database does not take what became of them",
			   outbox->job_count - outbox->free_count);
		bs_sender.exit_code = 1;
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
	int64_t		now_ms = bs_clock_ms();
	int64_t		ms = bs_turn_wait_ms(&bs_sender.turn);

	ms = soonest(ms, bs_dialogue_next_ms(), now_ms);
	if (bs_sender.renew_at_ms > 0)
		ms = soonest(ms, bs_sender.renew_at_ms, now_ms);
	if (bs_sender.turn.outbox.stopping)
		ms = shorter(ms, 50);
	if (watchdog_ms >= 0)
		ms = soonest(ms, watchdog_at_ms, now_ms);
	if (bs_sender.pages != NULL)
		ms = shorter(ms, bs_pages_deadline_ms(bs_sender.pages));
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
	if (bs_database_fd(&bs_sender.database) >= 0)
		fds[count++] = (struct pollfd)
	{
		.fd = bs_database_fd(&bs_sender.database),
			.events = bs_database_wants_write(&bs_sender.database) ? POLLIN | POLLOUT :
			POLLIN
	};
	if (bs_sender.turn.outbox.mailer != NULL)
		fds[count++] = (struct pollfd)
	{
		.fd = bs_mailer_fd(bs_sender.turn.outbox.mailer),.events = POLLIN
	};
	if (bs_sender.turn.link != NULL)
		fds[count++] = (struct pollfd)
	{
		.fd = bs_amqp_fd(bs_sender.turn.link),.events = POLLIN
	};
	if (bs_sender.pages != NULL)
		fds[count++] = (struct pollfd)
	{
		.fd = bs_pages_fd(bs_sender.pages),.events = POLLIN
	};
	if (poll(fds, count, (int) longest_wait_ms()) < 0 && errno != EINTR)
		bs_sender.exit_code = 1;
}

static void
turn(void)
{
	take_signals();
	bs_dialogue_run();
	if (bs_sender.turn.held_back || bs_sender.reconnect_wanted)
	{
		bs_outbox_release_waiting(&bs_sender.turn.outbox, "released",
								  bs_outbox_wall_us(&bs_sender.turn.outbox));
		if (bs_sender.turn.held_back && bs_sender.state_known && !bs_sender.turn.outbox.stopping)
			bs_supply_renew();
		if (!bs_sender.has_begun && !bs_sender.turn.held_back)
		{
			bs_sender.has_begun = true;
			bs_notify("READY=1");
		}
	}
	bs_supply_report_work();
	bs_supply_look_at_broker();
	bs_dialogue_ask();
	bs_turn_run(&bs_sender.turn);
	if (bs_sender.turn.outbox.stopping)
		go_on_stopping();
	if (bs_sender.pages != NULL)
		bs_pages_run(bs_sender.pages);
	if (watchdog_ms >= 0 && bs_clock_ms() >= watchdog_at_ms)
	{
		bs_notify("WATCHDOG=1");
		watchdog_at_ms = bs_clock_ms() + watchdog_ms;
	}
}

static void
close_all(void)
{
	bs_supply_close_link();
	bs_pages_close(bs_sender.pages);
	bs_database_close(&bs_sender.database);
	bs_turn_end(&bs_sender.turn);
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
	bs_turn_init(&bs_sender.turn, &host, &bs_settings);
	bs_database_init(&bs_sender.database);
	watchdog_ms = bs_notify_watchdog_ms();
	bs_log(BS_LOG_INFO, "bs_sender %s begins as %s", BS_VERSION, bs_sender.identity);
	bs_supply_open_pages();

	while (bs_sender.exit_code < 0)
	{
		turn();
		if (bs_sender.exit_code < 0)
			wait_for_work();
	}
	bs_log(BS_LOG_INFO, "ends");
	close_all();
	return bs_sender.exit_code;
}
