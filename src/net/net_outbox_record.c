/*-------------------------------------------------------------------------
 *
 * net_outbox_record.c
 *	  The last step of a message that a sender holds: its outcome is recorded.
 *
 * src/net/net_outbox_record.c
 *
 *-------------------------------------------------------------------------
 */
#include "net/net_outbox.h"

#include <stdlib.h>
#include <string.h>

#include "net/net_curl.h"

#define RECORD_BATCH		64
#define RECORD_DELAY_MS		10	/* how long an outcome may wait for others */
#define LOCKED_WAIT_MS		1000	/* until a locked row is tried again */

static void
set_free(BsOutbox *outbox, BsJob *job)
{
	free(job->claim.strings);
	job->claim.strings = NULL;
	TAILQ_INSERT_HEAD(&outbox->free, job, node);
	outbox->free_count++;
}

bool
bs_outbox_should_record(const BsOutbox *outbox)
{
	int64_t		now_ms = bs_net_clock_ms();

	if (outbox->recording_count > 0 || now_ms < outbox->record_after_ms)
		return false;
	if (outbox->locked_count > 0 && now_ms >= outbox->locked_until_ms)
		return true;
	if (outbox->ended_count == 0)
		return false;
	if (outbox->ended_count >= RECORD_BATCH || outbox->stopping ||
		outbox->mailer == NULL || bs_mailer_busy(outbox->mailer) == 0)
		return true;
	return now_ms >= TAILQ_FIRST(&outbox->ended)->ended_ms + RECORD_DELAY_MS;
}

int
bs_outbox_begin_record(BsOutbox *outbox, const BsClaim **claims,
					   const BsResult **results)
{
	const BsJob *job;
	int			i = 0;

	if (outbox->stopping || bs_net_clock_ms() >= outbox->locked_until_ms)
	{
		TAILQ_CONCAT(&outbox->ended, &outbox->locked, node);
		outbox->ended_count += outbox->locked_count;
		outbox->locked_count = 0;
	}
	TAILQ_CONCAT(&outbox->recording, &outbox->ended, node);
	outbox->recording_count = outbox->ended_count;
	outbox->ended_count = 0;
	outbox->recording_since_ms = bs_net_clock_ms();
	TAILQ_FOREACH(job, &outbox->recording, node)
	{
		claims[i] = &job->claim;
		results[i++] = &job->result;
	}
	return i;
}

int
bs_outbox_set_locked(BsOutbox *outbox, const uint8_t id[BS_UUID_SIZE],
					 const BsClaim **claims, const BsResult **results,
					 int count)
{
	BsJob	   *job = TAILQ_FIRST(&outbox->recording);
	int			i = 0;

	while (job != NULL && memcmp(job->claim.id, id, BS_UUID_SIZE) != 0)
		job = TAILQ_NEXT(job, node);
	while (i < count && memcmp(claims[i]->id, id, BS_UUID_SIZE) != 0)
		i++;
	if (job == NULL || i == count)
		return count;
	TAILQ_REMOVE(&outbox->recording, job, node);
	outbox->recording_count--;
	TAILQ_INSERT_TAIL(&outbox->locked, job, node);
	outbox->locked_count++;
	outbox->locked_until_ms = bs_net_clock_ms() + LOCKED_WAIT_MS;
	if (outbox->locked_count == 1)
		outbox->host->report_error("somebody keeps a row of message_logs locked: "
								   "what became of the message is recorded afterwards");
	count--;
	memmove(&claims[i], &claims[i + 1], sizeof(claims[0]) * (count - i));
	memmove(&results[i], &results[i + 1], sizeof(results[0]) * (count - i));
	return count;
}

/*
 * The copies of these jobs are done with, and they are free.
 */
static void
finish_jobs(BsOutbox *outbox, struct BsJobList *jobs)
{
	BsJob	   *job;

	while ((job = TAILQ_FIRST(jobs)) != NULL)
	{
		bs_consumer_settle(outbox->consumer, job->copy,
						   job->result.next == BS_NEXT_FAILED ?
						   BS_COPY_DEAD : BS_COPY_DONE);
		TAILQ_REMOVE(jobs, job, node);
		set_free(outbox, job);
	}
}

void
bs_outbox_end_record(BsOutbox *outbox, bool recorded)
{
	if (recorded)
	{
		outbox->record_failures = 0;
		finish_jobs(outbox, &outbox->recording);
	}
	else
	{
		/* What is in the way may go at any moment, and we be stopped. */
		int64_t		wait_ms = outbox->record_failures < 4 ?
		100 << outbox->record_failures : 1000;

		outbox->record_failures++;
		outbox->record_after_ms = bs_net_clock_ms() + wait_ms;
		TAILQ_CONCAT(&outbox->recording, &outbox->ended, node);
		TAILQ_CONCAT(&outbox->ended, &outbox->recording, node);
		outbox->ended_count += outbox->recording_count;
	}
	outbox->recording_count = 0;
}

void
bs_outbox_forget(BsOutbox *outbox)
{
	BsJob	   *job;

	if (outbox->mailer != NULL)
	{
		bs_mailer_abort(outbox->mailer);
		while (bs_outbox_collect(outbox))
			;
	}
	bs_outbox_release_waiting(outbox, "released", bs_outbox_wall_us(outbox));
	TAILQ_CONCAT(&outbox->ended, &outbox->locked, node);
	outbox->locked_count = 0;
	/* Nobody's any more; a copy that is kept would take up the prefetch. */
	TAILQ_FOREACH(job, &outbox->ended, node)
		job->result.next = BS_NEXT_RELEASED;
	finish_jobs(outbox, &outbox->ended);
	outbox->ended_count = 0;
	outbox->record_failures = 0;
}

int64_t
bs_outbox_next_record_ms(const BsOutbox *outbox)
{
	int64_t		next_ms = INT64_MAX;

	if (outbox->recording_count > 0)
		return INT64_MAX;
	if (outbox->ended_count > 0)
		next_ms = TAILQ_FIRST(&outbox->ended)->ended_ms + RECORD_DELAY_MS;
	if (outbox->locked_count > 0 && outbox->locked_until_ms < next_ms)
		next_ms = outbox->locked_until_ms;
	if (next_ms < outbox->record_after_ms)
		next_ms = outbox->record_after_ms;
	return next_ms;
}
