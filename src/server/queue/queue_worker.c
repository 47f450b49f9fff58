/*-------------------------------------------------------------------------
 *
 * queue_worker.c
 *	  The publisher: process life and loop.
 *
 * Where birthday_scheduler.queue is not rabbitmq it sleeps, without a
 * connection.  A process of its own, because what is due shall not wait for a
 * long planning pass.
 *
 * src/server/queue/queue_worker.c
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

#include "core/mail/mail.h"
#include "server/base/bs_compat.h"
#include "server/base/bs_failpoint.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_time.h"
#include "server/base/bs_wake.h"
#include "server/base/bs_worker.h"
#include "server/queue/queue_publisher.h"

extern PGDLLEXPORT void bs_queue_worker_main(Datum main_arg);

static WaitEventSet *wait_set = NULL;
static TimestampTz next_look = DT_NOBEGIN;	/* at readiness and settings */
static uint32 link_number = 0;	/* of the publisher's link */

static void
make_wait_set(BsAmqpLink *link)
{
	if (wait_set)
		FreeWaitEventSet(wait_set);
	wait_set = bs_create_wait_event_set(3);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
					  NULL, NULL);
	if (link)
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, bs_amqp_fd(link),
						  NULL, NULL);
}

/*
 * Is there to be a link, and which?  Asked after a reload and every
 * BS_WORKER_RECHECK_MS.
 */
static void
look_at_settings(BsPublisher *publisher)
{
	BsAmqpLink *link = NULL;

	next_look = DT_NOEND;
	if (publisher->redeclare)
		bs_queue_close_link();
	if (bs_settings.queue == BS_QUEUE_RABBITMQ)
	{
		next_look = bs_time_ms_from_now(BS_WORKER_RECHECK_MS);
		if (publisher->link == NULL)
			bs_wake_announce_sleep();
		if (bs_worker_is_ready(true))
			link = bs_queue_open_link(BS_PUBLISHER_WINDOW, 0);
	}
	else
	{
		bs_worker_start_succeeded();
		bs_worker_set_state("idle");
		bs_wake_never();
	}
	if (link == NULL)
		bs_queue_close_link();
	else if (!bs_amqp_is_up(link))
		bs_worker_set_state("no broker");
	if (link != publisher->link || link_number != bs_queue_link_number() ||
		wait_set == NULL)
	{
		link_number = bs_queue_link_number();
		bs_publisher_set_link(publisher, link);
		make_wait_set(link);
		/* What was QUEUED a moment ago is put back, if it has to be. */
		if (bs_settings.queue != BS_QUEUE_RABBITMQ)
			bs_wake_recovery();
	}
}

/*
 * Where there was nothing to be done yet, a commit may have changed that.
 */
static bool
is_look_due(const BsPublisher *publisher)
{
	TimestampTz now = GetCurrentTimestamp();

	return now >= next_look ||
		(publisher->redeclare && now >= publisher->next_read) ||
		(bs_settings.queue == BS_QUEUE_RABBITMQ && publisher->link == NULL &&
		 bs_wake_sleep_until() == DT_NOBEGIN);
}

static void
wait_for_work(const BsPublisher *publisher)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = Min(next_look, bs_publisher_next_moment(publisher));
	int64		link_ms = publisher->link ?
	bs_amqp_deadline_ms(publisher->link) : -1;
	int64		ms = 60000;
	WaitEvent	event;

	if (next <= now)
		ms = 0;
	else if (next != DT_NOEND)
		ms = Min(ms, TimestampDifferenceMilliseconds(now, next));
	if (link_ms >= 0)
		ms = Min(ms, link_ms);
	if (WaitEventSetWait(wait_set, (long) ms, &event, 1, BS_WAIT_EVENT) > 0 &&
		event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
}

void
bs_queue_worker_main(Datum main_arg)
{
	static BsPublisher publisher;
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
										 "birthday_scheduler publisher turn",
										 ALLOCSET_DEFAULT_SIZES);
	bs_publisher_init(&publisher);
	config_loaded = PgReloadTime;

	for (;;)
	{
		MemoryContextSwitchTo(turn_context);
		MemoryContextReset(turn_context);
		bs_worker_check_signals();
		if (ShutdownRequestPending)
		{
			BS_FAILPOINT("publisher-stop");
			bs_publisher_record(&publisher, true);
			bs_queue_close_link();
			proc_exit(1);
		}
		if (config_loaded != PgReloadTime || is_look_due(&publisher))
		{
			config_loaded = PgReloadTime;
			look_at_settings(&publisher);
		}
		bs_publisher_collect(&publisher);
		bs_publisher_record(&publisher, false);
		bs_publisher_publish(&publisher);
		wait_for_work(&publisher);
	}
}
