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

extern PGDLLEXPORT void bs_delivery_worker_main(Datum main_arg);

static WaitEventSet *wait_set = NULL;
static TimestampTz mailer_retry_at = DT_NOBEGIN;
static uint32 link_number = 0;
static TimestampTz broker_look_at = DT_NOBEGIN; /* is there to be a link? */

static void
make_wait_set(const BsTurn *turn)
{
	const BsMailer *mailer = turn->outbox.mailer;

	if (wait_set)
		FreeWaitEventSet(wait_set);
	wait_set = bs_create_wait_event_set(4);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
					  NULL, NULL);
	if (mailer)
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, bs_mailer_fd(mailer),
						  NULL, NULL);
	if (turn->link)
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE,
						  bs_amqp_fd(turn->link), NULL, NULL);
}

/*
 * After a reload: a new mailer, once nothing is under way with the old one.
 */
static void
renew_mailer(BsSender *sender)
{
	char		error[256] = "out of memory";
	BsMailer   *mailer;

	if (!bs_outbox_is_empty(&sender->turn.outbox))
		return;					/* drains first: nothing new is begun */
	mailer = bs_relay_make_mailer(&bs_settings, error, sizeof(error));
	sender->turn.held_back = !bs_turn_set_mailer(&sender->turn, mailer);
	make_wait_set(&sender->turn);
	if (sender->turn.held_back)
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
		if (sender->turn.outbox.mailer != NULL && bs_delivery_is_ready(sender, now))
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
	if (link == sender->turn.link && link_number == bs_queue_link_number())
		return;
	sender->turn.link = link;
	link_number = bs_queue_link_number();
	if (link != NULL)
	{
		consumer = bs_consumer_create(link, bs_settings.amqp_prefetch,
									  bs_queue_installation());
		if (consumer == NULL)
			ereport(FATAL,
					(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	bs_consumer_destroy(bs_outbox_set_consumer(&sender->turn.outbox, consumer));
	make_wait_set(&sender->turn);
	sender->next_claim = DT_NOBEGIN;
}

/*
 * Where nothing could be consumed yet, a commit may have changed that.
 */
static bool
is_broker_due(BsSender *sender, TimestampTz now)
{
	if (sender->turn.held_back && sender->turn.outbox.mailer != NULL)
		return false;			/* what is under way comes to its end first */
	if (bs_settings.queue == BS_QUEUE_RABBITMQ && sender->turn.link == NULL &&
		bs_wake_sleep_until() == DT_NOBEGIN)
	{
		sender->ready_until = DT_NOBEGIN;
		return true;
	}
	return now >= broker_look_at;
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
wait_at_most(int64 ms)
{
	WaitEvent	event;

	if (WaitEventSetWait(wait_set, (long) ms, &event, 1, BS_WAIT_EVENT) > 0 &&
		event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
}

static void
wait_for_work(BsSender *sender)
{
	BsOutbox   *outbox = &sender->turn.outbox;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;
	int64		ms = bs_turn_wait_ms(&sender->turn);

	if (sender->turn.held_back)
		next = mailer_retry_at;
	if (!sender->turn.held_back || outbox->mailer == NULL)
		next = Min(next, broker_look_at);
	if (next <= now)
		ms = 0;
	else if (next != DT_NOEND)
		ms = Min(ms, TimestampDifferenceMilliseconds(now, next));
	if (!bs_outbox_is_empty(outbox))
		ms = Min(ms, (int64) bs_settings.lease_s * 1000 / 4);	/* see note_holding() */
	wait_at_most(ms);
}

/*
 * The end: what is under way gets a short grace, then it is in doubt; what was
 * not begun is given back.
 */
static void
stop(BsSender *sender)
{
	BsTurn	   *turn = &sender->turn;

	bs_turn_stop(turn);
	while (!bs_turn_is_over(turn))
	{
		wait_at_most(bs_turn_wait_ms(turn));
		CHECK_FOR_INTERRUPTS();
		bs_turn_listen(turn);
	}
	BS_FAILPOINT("stop-before-record");
	bs_turn_run(turn);			/* records */
	BS_FAILPOINT("stop-after-record");
	bs_queue_close_link();
	bs_mailer_destroy(turn->outbox.mailer);
	proc_exit(1);
}

void
bs_delivery_worker_main(Datum main_arg)
{
	static BsSender sender;
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
			sender.turn.held_back = true;
			mailer_retry_at = DT_NOBEGIN;
			broker_look_at = DT_NOBEGIN;
		}
		if (sender.turn.held_back && GetCurrentTimestamp() >= mailer_retry_at)
			renew_mailer(&sender);
		if (is_broker_due(&sender, GetCurrentTimestamp()))
			look_at_broker(&sender);

		bs_turn_run(&sender.turn);
		note_holding(&sender.turn.outbox);
		bs_delivery_publish_sessions(&sender);
		wait_for_work(&sender);
	}
}
