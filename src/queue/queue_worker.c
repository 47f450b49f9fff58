/*-------------------------------------------------------------------------
 *
 * queue_worker.c
 *	  The publisher: hands due messages to the broker.
 *
 * src/queue/queue_worker.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "bs_worker.h"

extern PGDLLEXPORT void bs_queue_worker_main(Datum main_arg);

void
bs_queue_worker_main(Datum main_arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGINT, bs_worker_cancel_on_timeout);
	bs_worker_start(DatumGetInt32(main_arg));

	for (;;)
	{
		bs_worker_check_signals();
		if (ShutdownRequestPending)
			proc_exit(1);
		bs_worker_set_state("idle");
		bs_worker_sleep_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  60000));
	}
}
