/*-------------------------------------------------------------------------
 *
 * delivery_worker.c
 *	  A sender: process life and loop.
 *
 * One loop turn takes every message that the sender holds as far as it goes
 * and then waits, always in the same place, for the latch, the one descriptor of
 * the mailer and that of the link to the broker, or the next moment that
 * something is wanted.
 *
 * src/server/delivery/delivery_worker.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/base/clock.h"
#include "core/sending/relay.h"
#include "server/base/bs_compat.h"
#include "server/base/bs_failpoint.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_time.h"
#include "server/base/bs_wake.h"
#include "server/base/bs_worker.h"
#include "server/delivery/delivery_claim.h"
#include "server/delivery/delivery_sender.h"
#include "server/queue/queue_link.h"

#define SHUTDOWN_GRACE_MS	500 /* for answers that are under way */
#define IDLE_CONNECTION_MS	20000
#define LONGEST_WAIT_MS		60000

extern PGDLLEXPORT void bs_delivery_worker_main(Datum main_arg);

static WaitEventSet *wait_set = NULL;
static bool mailer_wanted = true;	/* the settings changed, or at start */
static TimestampTz mailer_retry_at = DT_NOBEGIN;
static bool ready = false;
static TimestampTz ready_until = DT_NOBEGIN;
static BsAmqpLink *broker_link = NULL;
static uint32 broker_link_number = 0;
static TimestampTz broker_look_at = DT_NOBEGIN; /* is there to be a link? */

static void
make_wait_set(BsMailer *mailer)
{
	if (wait_set)
		FreeWaitEventSet(wait_set);
	wait_set = bs_create_wait_event_set(4);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
					  NULL, NULL);
	if (mailer)
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, bs_mailer_fd(mailer),
						  NULL, NULL);
	if (broker_link)
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE,
						  bs_amqp_fd(broker_link), NULL, NULL);
}

/*
 * After a reload: a new mailer, once nothing is under way with the old one.
 */
static void
renew_mailer(BsSender *sender)
{
	char		error[256] = "out of memory";
	BsMailer   *mailer;

	if (!bs_outbox_is_empty(&sender->outbox))
		return;					/* drains first: nothing new is begun */
	mailer = bs_relay_make_mailer(&bs_settings, error, sizeof(error));
	if (!bs_outbox_set_mailer(&sender->outbox, mailer))
		mailer = NULL;
	make_wait_set(mailer);
	mailer_wanted = mailer == NULL;
	if (mailer == NULL)
	{
		bs_worker_report_error(error);
		bs_worker_set_state("no relay");
		mailer_retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  BS_WORKER_RECHECK_MS);
	}
	else
		sender->next_claim = DT_NOBEGIN;
}

/*
 * Looks at most once in BS_WORKER_RECHECK_MS.
 */
static bool
is_ready(TimestampTz now)
{
	if (now >= ready_until)
	{
		ready = bs_worker_is_ready(true);
		ready_until = TimestampTzPlusMilliseconds(now, BS_WORKER_RECHECK_MS);
	}
	return ready;
}

/*
 * Opens, renews or closes the link to the broker, as settings and readiness
 * want it; after a reload and every BS_WORKER_RECHECK_MS.
 */
static void
look_at_broker(BsSender *sender)
{
	TimestampTz now = GetCurrentTimestamp();
	BsAmqpLink *link = NULL;
	BsConsumer *consumer = NULL;

	broker_look_at = DT_NOEND;
	if (bs_settings.queue == BS_QUEUE_RABBITMQ)
	{
		broker_look_at = bs_time_ms_from_now(BS_WORKER_RECHECK_MS);
		bs_wake_announce_sleep();
		if (sender->outbox.mailer != NULL && is_ready(now))
		{
			link = bs_queue_open_link(0, bs_settings.amqp_prefetch);
			if (link != NULL)	/* the broker wakes us */
				bs_wake_never();
		}
	}
	if (link == NULL)
		bs_queue_close_link();
	else if (!bs_amqp_is_up(link))
		bs_worker_set_state("no broker");
	if (link == broker_link && broker_link_number == bs_queue_link_number())
		return;
	broker_link = link;
	broker_link_number = bs_queue_link_number();
	if (link != NULL)
	{
		consumer = bs_consumer_create(link, bs_settings.amqp_prefetch,
									  bs_queue_installation());
		if (consumer == NULL)
			ereport(FATAL,
					(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	bs_consumer_destroy(bs_outbox_set_consumer(&sender->outbox, consumer));
	make_wait_set(sender->outbox.mailer);
	sender->next_claim = DT_NOBEGIN;
}

/*
 * Where nothing could be consumed yet, a commit may have changed that.
 */
static bool
is_broker_due(const BsSender *sender, TimestampTz now)
{
	if (mailer_wanted && sender->outbox.mailer != NULL)
		return false;			/* what is under way comes to its end first */
	if (bs_settings.queue == BS_QUEUE_RABBITMQ && broker_link == NULL &&
		bs_wake_sleep_until() == DT_NOBEGIN)
	{
		ready_until = DT_NOBEGIN;
		return true;
	}
	return now >= broker_look_at;
}

static bool
may_claim(const BsSender *sender)
{
	const BsOutbox *outbox = &sender->outbox;

	return outbox->mailer != NULL && !mailer_wanted && !outbox->stopping &&
		outbox->record_failures == 0 &&
		bs_outbox_has_room(outbox);
}

static void
claim_if_due(BsSender *sender)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		now_ms = bs_time_monotonic_ms();
	const BsOutbox *outbox = &sender->outbox;
	TimestampTz lowered;

	if (!may_claim(sender) || now_ms < outbox->claim_after_ms)
		return;
	if (bs_settings.queue == BS_QUEUE_RABBITMQ)
	{
		if (outbox->consumer != NULL && now >= sender->next_claim &&
			now_ms >= bs_consumer_next_claim_ms(outbox->consumer))
			bs_delivery_claim_copies(sender);
		return;
	}
	/* A commit may have brought something that is due sooner. */
	lowered = bs_wake_sleep_until();
	if (lowered < sender->next_claim && outbox->submit_after_ms <= now_ms)
	{
		sender->next_claim = lowered;
		if (lowered == DT_NOBEGIN)
			ready_until = DT_NOBEGIN;
	}
	if (now < sender->next_claim)
		return;
	if (!is_ready(now))
	{
		bs_wake_announce_sleep();
		sender->next_claim =
			bs_wake_settle_sleep(ready_until);
		return;
	}
	bs_delivery_claim_due(sender);
	if (outbox->waiting_count == 0 && sender->next_claim <= now)
		ready_until = DT_NOBEGIN;
}

/*
 * When to look at what can be claimed, in ms from now.
 */
static int64
claim_ms(const BsSender *sender, TimestampTz now, int64 now_ms)
{
	const BsOutbox *outbox = &sender->outbox;
	int64		ms;

	if (!may_claim(sender) ||
		(bs_settings.queue == BS_QUEUE_RABBITMQ && outbox->consumer == NULL))
		return LONGEST_WAIT_MS;
	ms = sender->next_claim <= now ? 0 :
		TimestampDifferenceMilliseconds(now, sender->next_claim);
	if (bs_settings.queue == BS_QUEUE_RABBITMQ)
	{
		int64		copies_ms = bs_consumer_next_claim_ms(outbox->consumer);

		if (copies_ms == INT64_MAX)
			return LONGEST_WAIT_MS;
		ms = Max(ms, copies_ms - now_ms);
	}
	return Max(ms, outbox->claim_after_ms - now_ms);
}

/*
 * Tells recovery that this sender lives and knows what becomes of its messages:
 * their claims are not given up then, though the lease ends.
 */
static void
note_holding(const BsOutbox *outbox)
{
	pg_atomic_write_u64(&bs_worker_slot()->holding_ms,
						bs_outbox_is_empty(outbox) ? 0 :
						(uint64) bs_time_monotonic_ms());
}

static void
wait_for_work(BsSender *sender)
{
	BsOutbox   *outbox = &sender->outbox;
	TimestampTz now = GetCurrentTimestamp();
	int64		now_ms = bs_time_monotonic_ms();
	TimestampTz next = TimestampTzPlusMilliseconds(now, LONGEST_WAIT_MS);
	int64		outbox_ms = bs_outbox_next_ms(outbox);
	int64		mailer_ms = outbox->mailer ?
	bs_mailer_deadline_ms(outbox->mailer) : -1;
	int64		link_ms = broker_link ? bs_amqp_deadline_ms(broker_link) : -1;
	int64		ms;
	WaitEvent	event;

	if (mailer_wanted)
		next = Min(next, Max(mailer_retry_at, now));
	if (!mailer_wanted || outbox->mailer == NULL)
		next = Min(next, Max(broker_look_at, now));
	ms = next <= now ? 0 : TimestampDifferenceMilliseconds(now, next);
	ms = Min(ms, claim_ms(sender, now, now_ms));
	ms = Min(ms, Max(outbox_ms - now_ms, 0));
	if (mailer_ms >= 0)
		ms = Min(ms, mailer_ms);
	if (link_ms >= 0)
		ms = Min(ms, link_ms);
	if (!bs_outbox_is_empty(outbox))
		ms = Min(ms, (int64) bs_settings.lease_s * 1000 / 4);	/* see note_holding() */

	if (WaitEventSetWait(wait_set, (long) ms, &event, 1, BS_WAIT_EVENT) > 0 &&
		event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
}

/*
 * The end: what is under way gets a short grace, then it is in doubt; what was
 * not begun is given back.
 */
static void
stop(BsSender *sender)
{
	BsOutbox   *outbox = &sender->outbox;
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													SHUTDOWN_GRACE_MS);

	outbox->stopping = true;
	bs_outbox_release_waiting(outbox, "released", bs_clock_wall_us());
	while (outbox->mailer != NULL && bs_mailer_busy(outbox->mailer) > 0)
	{
		TimestampTz now = GetCurrentTimestamp();
		WaitEvent	event;
		int64		mailer_ms = bs_mailer_deadline_ms(outbox->mailer);
		long		ms = TimestampDifferenceMilliseconds(now, until);

		if (now >= until)
		{
			bs_mailer_abort(outbox->mailer);
			bs_delivery_collect(sender);
			break;
		}
		if (mailer_ms >= 0)
			ms = Min(ms, mailer_ms);
		if (WaitEventSetWait(wait_set, ms, &event, 1, BS_WAIT_EVENT) > 0 &&
			event.events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		bs_mailer_run(outbox->mailer);
		bs_delivery_collect(sender);
	}
	BS_FAILPOINT("stop-before-record");
	(void) bs_delivery_record(sender);
	BS_FAILPOINT("stop-after-record");
	if (outbox->consumer != NULL)
		(void) bs_consumer_flush(outbox->consumer);
	bs_queue_close_link();
	bs_mailer_destroy(outbox->mailer);
	proc_exit(1);
}

void
bs_delivery_worker_main(Datum main_arg)
{
	static BsSender sender;
	BsOutbox   *outbox = &sender.outbox;
	MemoryContext turn_context;
	TimestampTz config_loaded;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, bs_worker_cancel_on_timeout);
	bs_worker_start(DatumGetInt32(main_arg));
	if (!bs_mailer_global_init())
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("libcurl cannot be initialized")));
	turn_context = AllocSetContextCreate(TopMemoryContext,
										 "birthday_scheduler sender turn",
										 ALLOCSET_DEFAULT_SIZES);
	bs_delivery_sender_init(&sender);
	config_loaded = PgReloadTime;

	for (;;)
	{
		MemoryContextSwitchTo(turn_context);
		MemoryContextReset(turn_context);
		bs_worker_check_signals();
		if (ShutdownRequestPending)
			stop(&sender);
		if (config_loaded != PgReloadTime)
		{
			config_loaded = PgReloadTime;
			mailer_wanted = true;
			mailer_retry_at = DT_NOBEGIN;
			broker_look_at = DT_NOBEGIN;
		}
		if (mailer_wanted && GetCurrentTimestamp() >= mailer_retry_at)
			renew_mailer(&sender);
		if (is_broker_due(&sender, GetCurrentTimestamp()))
			look_at_broker(&sender);

		if (outbox->mailer != NULL)
			bs_mailer_run(outbox->mailer);
		if (outbox->consumer != NULL)
			bs_delivery_consume(&sender, broker_link);
		bs_delivery_collect(&sender);
		if (bs_outbox_should_record(outbox) &&
			!bs_delivery_record(&sender) && bs_worker_is_extension_gone())
			bs_outbox_forget(outbox);
		claim_if_due(&sender);
		if (mailer_wanted)
			bs_outbox_release_waiting(outbox, "released", bs_clock_wall_us());
		note_holding(outbox);
		bs_delivery_submit(&sender);
		if (outbox->consumer != NULL)
			bs_delivery_acknowledge(&sender, broker_link);
		if (outbox->mailer != NULL)
			bs_mailer_close_idle(outbox->mailer, IDLE_CONNECTION_MS);
		bs_delivery_publish_sessions(&sender);
		wait_for_work(&sender);
	}
}
