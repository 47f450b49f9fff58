/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  The messages that a sender holds, from claim to recorded outcome.
 *
 * src/core/sending/outbox.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/backoff.h"
#include "core/base/clock.h"

#define RECORD_BATCH		64
#define RECORD_DELAY_MS		10	/* how long an outcome may wait for others */
#define RECORD_SLOW_MS		1000	/* nothing new is begun behind it */
#define PROBE_CHECK_MS		50	/* how often to look what a probe found out */
#define REFUSED_MS			250 /* between sessions that are refused alone */
#define STAND_BACK_MS		5000	/* while others have all sessions */

static BsBreakerRule
breaker_rule(const BsOutbox *outbox)
{
	BsBreakerRule rule = {
		.ratio = outbox->settings->breaker,
		.min_attempts = 10,
		.window_ms = 10000,
		.open_ms = 30000
	};

	return rule;
}

int64_t
bs_outbox_wall_us(const BsOutbox *outbox)
{
	return bs_clock_wall_us() + outbox->clock_ahead_us;
}

static void
lock_limits(const BsOutbox *outbox)
{
	if (outbox->host->lock != NULL)
		outbox->host->lock();
}

static void
unlock_limits(const BsOutbox *outbox)
{
	if (outbox->host->unlock != NULL)
		outbox->host->unlock();
}

void
bs_outbox_init(BsOutbox *outbox, const BsOutboxHost *host,
			   const BsSettings *settings)
{
	memset(outbox, 0, sizeof(*outbox));
	outbox->host = host;
	outbox->settings = settings;
	TAILQ_INIT(&outbox->free);
	TAILQ_INIT(&outbox->waiting);
	TAILQ_INIT(&outbox->ended);
	TAILQ_INIT(&outbox->recording);
}

bool
bs_outbox_is_empty(const BsOutbox *outbox)
{
	return outbox->free_count == outbox->job_count;
}

static void
tell_limit(BsOutbox *outbox)
{
	int			limit = bs_mailer_limit(outbox->mailer);

	if (limit == outbox->limit)
		return;
	outbox->limit = limit;
	if (outbox->host->limit_moved != NULL)
		outbox->host->limit_moved(limit);
}

bool
bs_outbox_set_mailer(BsOutbox *outbox, BsMailer *mailer)
{
	int			count = outbox->settings->mail_connections * BS_JOBS_PER_CONNECTION;
	int			i;

	bs_mailer_destroy(outbox->mailer);
	outbox->mailer = mailer;
	if (mailer != NULL)
		tell_limit(outbox);
	if (outbox->job_count == count)
		return true;
	free(outbox->jobs);
	TAILQ_INIT(&outbox->free);
	outbox->job_count = outbox->free_count = 0;
	outbox->jobs = calloc(count, sizeof(BsJob));
	if (outbox->jobs == NULL)
	{
		bs_mailer_destroy(outbox->mailer);
		outbox->mailer = NULL;
		return false;
	}
	for (i = 0; i < count; i++)
		TAILQ_INSERT_TAIL(&outbox->free, &outbox->jobs[i], node);
	outbox->job_count = outbox->free_count = count;
	return true;
}

BsConsumer *
bs_outbox_set_consumer(BsOutbox *outbox, BsConsumer *consumer)
{
	BsConsumer *former = outbox->consumer;
	int			i;

	outbox->consumer = consumer;
	for (i = 0; i < outbox->job_count; i++)
		outbox->jobs[i].copy.tag = 0;	/* the broker has them again */
	return former;
}

static void
set_free(BsOutbox *outbox, BsJob *job)
{
	free(job->claim.strings);
	job->claim.strings = NULL;
	outbox->claim_bytes -= job->claim.size;
	TAILQ_INSERT_HEAD(&outbox->free, job, node);
	outbox->free_count++;
}

static void
set_ended(BsOutbox *outbox, BsJob *job)
{
	job->ended_ms = bs_clock_ms();
	TAILQ_INSERT_TAIL(&outbox->ended, job, node);
	outbox->ended_count++;
}

static BsJob *
pop_waiting(BsOutbox *outbox)
{
	BsJob	   *job = TAILQ_FIRST(&outbox->waiting);

	TAILQ_REMOVE(&outbox->waiting, job, node);
	outbox->waiting_count--;
	return job;
}

static void
end_unharmed(BsOutbox *outbox, BsJob *job, const char *reason, int64_t due_us)
{
	memset(&job->result, 0, sizeof(job->result));
	job->result.next = BS_NEXT_RELEASED;
	job->result.reason = reason;
	job->result.next_attempt_us = due_us;
	job->result.ended_us = bs_outbox_wall_us(outbox);
	set_ended(outbox, job);
}

void
bs_outbox_release_waiting(BsOutbox *outbox, const char *reason, int64_t due_us)
{
	while (outbox->waiting_count > 0)
		end_unharmed(outbox, pop_waiting(outbox), reason, due_us);
}

/*
 * Tells the breaker of one attempt.  A message refused for its own sake speaks
 * for the relay: it answers, unless it never was asked.
 */
static void
report_to_breaker(const BsOutbox *outbox, const BsMailResult *mail)
{
	BsOutcome	outcome = mail->outcome;
	BsBreakerRule rule = breaker_rule(outbox);
	bool		trouble = outcome == BS_OUTCOME_TROUBLE ||
	outcome == BS_OUTCOME_IN_DOUBT;
	bool		changed;
	BsBreakerState state;

	if (outcome == BS_OUTCOME_AGAIN || outcome == BS_OUTCOME_RELEASED ||
		(outcome == BS_OUTCOME_REFUSED && mail->response_code == 0))
		return;
	lock_limits(outbox);
	changed = bs_breaker_report(outbox->host->breaker, &rule, trouble,
								bs_clock_ms());
	state = outbox->host->breaker->state;
	unlock_limits(outbox);
	if (changed)
		outbox->host->breaker_moved(state);
}

static void
report_attempt(const BsOutbox *outbox, const BsMailResult *mail)
{
	bool		asked = mail->outcome != BS_OUTCOME_RELEASED &&
	(mail->outcome != BS_OUTCOME_REFUSED || mail->response_code != 0);
	int64_t		ms = mail->ended_ms - mail->started_ms;

	if (outbox->host->attempted != NULL)
		outbox->host->attempted(mail->outcome,
								!asked ? -1 : ms > 0 ? ms * 1000 : 0);
}

static void
decide(const BsOutbox *outbox, BsJob *job, const BsMailResult *mail)
{
	const BsSettings *settings = outbox->settings;
	BsResult   *result = &job->result;
	BsRetryFacts facts = {
		.outcome = mail->outcome,
		.attempts = job->claim.attempts,
		.max_attempts = settings->max_attempts,
		.at_most_once = settings->delivery_guarantee == BS_GUARANTEE_AT_MOST_ONCE,
		.now_ms = bs_outbox_wall_us(outbox) / 1000,
		.deadline_ms = job->claim.send_time_us / 1000 + settings->max_lateness_s * INT64_C(1000),
		.retry_initial_ms = settings->retry_initial_s * INT64_C(1000),
		.retry_max_ms = settings->retry_max_s * INT64_C(1000),
		.retry_after_ms = mail->retry_after_ms,
		.random = outbox->host->random()
	};
	BsVerdict	verdict = bs_retry_decide(&facts);

	result->next = verdict.next;
	result->reason = verdict.reason;
	result->next_attempt_us = verdict.next == BS_NEXT_RETRYING ?
		verdict.next_attempt_ms * 1000 : bs_outbox_wall_us(outbox);
	result->code = mail->response_code;
	result->ended_us = mail->ended_ms * 1000 + outbox->clock_ahead_us;
	memcpy(result->reply, mail->reply, sizeof(result->reply));
	memcpy(result->error, mail->error, sizeof(result->error));
}

static void
report_trouble(const BsOutbox *outbox, const BsMailResult *mail)
{
	char		message[320];

	if (mail->outcome != BS_OUTCOME_TROUBLE &&
		mail->outcome != BS_OUTCOME_IN_DOUBT)
		return;
	if (mail->error[0])
		snprintf(message, sizeof(message), "the relay: %s", mail->error);
	else
		snprintf(message, sizeof(message), "the relay answered %d",
				 mail->response_code);
	outbox->host->report_error(message);
}

/*
 * The relay refused a session, and this sender has no other.  If other senders
 * have some, they are all that it takes: what this sender holds is given back for
 * them to send, and no attempt is spent.
 */
static bool
stand_back(BsOutbox *outbox, BsJob *job)
{
	int64_t		now_ms = bs_clock_ms();
	int64_t		due_us = bs_outbox_wall_us(outbox) + 1000000;

	outbox->submit_after_ms = now_ms + REFUSED_MS;
	if (outbox->host->sessions_elsewhere == NULL ||
		outbox->host->sessions_elsewhere() == 0)
		return false;
	outbox->submit_after_ms = outbox->claim_after_ms = now_ms + STAND_BACK_MS;
	end_unharmed(outbox, job, "again", due_us);
	bs_outbox_release_waiting(outbox, "again", due_us);
	return true;
}

bool
bs_outbox_collect(BsOutbox *outbox)
{
	BsMailResult mail;
	BsJob	   *job;

	if (outbox->mailer == NULL || !bs_mailer_next(outbox->mailer, &mail))
		return false;
	job = &outbox->jobs[mail.tag];
	tell_limit(outbox);
	if (mail.crowded && stand_back(outbox, job))
		return true;
	report_to_breaker(outbox, &mail);
	report_attempt(outbox, &mail);
	if (mail.outcome == BS_OUTCOME_AGAIN && !outbox->stopping)
	{
		/* A session that the relay ended is no attempt, within reason. */
		if (job->again++ <= outbox->settings->mail_connections)
		{
			TAILQ_INSERT_HEAD(&outbox->waiting, job, node);
			outbox->waiting_count++;
			return true;
		}
		mail.outcome = BS_OUTCOME_TROUBLE;
	}
	decide(outbox, job, &mail);
	set_ended(outbox, job);
	report_trouble(outbox, &mail);
	return true;
}

/*
 * May one more message be begun?  Where not, sets when to ask again; what
 * waits is given back if that is a while.  What a probe finds out is known
 * soon, and then nothing shall have been put off.
 */
static bool
admit(BsOutbox *outbox)
{
	BsBreakerRule rule = breaker_rule(outbox);
	BsBucket   *bucket = outbox->host->bucket;
	BsBreaker  *breaker = outbox->host->breaker;
	int64_t		now_ms = bs_clock_ms();
	int64_t		wait_ms = 0;
	bool		open = false;
	int			admitted;

	lock_limits(outbox);
	admitted = bs_bucket_take(bucket, outbox->settings->rate_limit, 1, now_ms,
							  &wait_ms);
	if (admitted > 0)
	{
		admitted = bs_breaker_admit(breaker, &rule, 1, now_ms, &wait_ms);
		if (admitted == 0)
		{
			open = breaker->state == BS_BREAKER_OPEN;
			if (!open && wait_ms > PROBE_CHECK_MS)
				wait_ms = PROBE_CHECK_MS;
			bs_bucket_give_back(bucket, outbox->settings->rate_limit, 1);
		}
	}
	unlock_limits(outbox);
	if (admitted > 0)
		return true;

	if (wait_ms < 1)
		wait_ms = 1;
	outbox->submit_after_ms = now_ms + wait_ms;
	if (open)
	{
		outbox->claim_after_ms = outbox->submit_after_ms;
		bs_outbox_release_waiting(outbox, "trouble",
								  bs_outbox_wall_us(outbox) + wait_ms * 1000);
	}
	return false;
}

/*
 * Would the lease end before the transfer must?
 */
static bool
is_lease_too_short(const BsOutbox *outbox, const BsJob *job, int64_t now_ms)
{
	return job->lease_until_ms - now_ms < outbox->settings->mail_timeout_ms;
}

/*
 * Is there memory for what goes over the wire?  Encoded, a letter may take three
 * times as much.  One is always let through.
 */
static bool
has_memory(const BsOutbox *outbox)
{
	const BsJob *job = TAILQ_FIRST(&outbox->waiting);

	return bs_mailer_busy(outbox->mailer) == 0 ||
		outbox->claim_bytes + (int64_t) bs_mailer_bytes(outbox->mailer) +
		3 * (int64_t) job->claim.size <= bs_outbox_memory(outbox);
}

/*
 * Nothing new is begun while outcomes cannot be recorded: all that is sent then
 * may be sent twice.
 */
static bool
may_submit(const BsOutbox *outbox, int64_t now_ms)
{
	return outbox->mailer != NULL && !outbox->stopping &&
		outbox->record_failures == 0 &&
		(outbox->recording_count == 0 ||
		 now_ms < outbox->recording_since_ms + RECORD_SLOW_MS) &&
		outbox->waiting_count > 0 && bs_mailer_room(outbox->mailer) > 0 &&
		has_memory(outbox);
}

bool
bs_outbox_submit(BsOutbox *outbox)
{
	const BsSettings *settings = outbox->settings;
	int64_t		now_ms = bs_clock_ms();
	int64_t		wall_us;
	BsJob	   *job;
	BsMail		mail;

	if (!may_submit(outbox, now_ms) || now_ms < outbox->submit_after_ms ||
		!admit(outbox))
		return false;
	job = pop_waiting(outbox);
	wall_us = bs_outbox_wall_us(outbox);
	if (is_lease_too_short(outbox, job, now_ms))
	{
		end_unharmed(outbox, job, "released", wall_us);
		return true;
	}
	if (wall_us < job->claim.send_time_us)
	{
		/* The clock was set back since it was claimed. */
		end_unharmed(outbox, job, "released", job->claim.send_time_us);
		return true;
	}
	if (wall_us > job->claim.send_time_us + settings->max_lateness_s * INT64_C(1000000))
	{
		/* It waited here until it was too late; the scheduler ends it. */
		end_unharmed(outbox, job, "released", wall_us);
		return true;
	}
	memset(&mail, 0, sizeof(mail));
	mail.from = settings->mail_from;
	mail.reply_to = settings->mail_reply_to;
	mail.to_name = job->claim.recipient_name;
	mail.to_address = job->claim.recipient_email;
	mail.subject = job->claim.subject;
	mail.text = job->claim.text;
	mail.html = job->claim.html;
	mail.idempotency_key = job->claim.idempotency_key;
	mail.list_unsubscribe = settings->mail_list_unsubscribe;
	/* The same at every attempt, so that a copy is the same to the octet. */
	mail.date = job->claim.send_time_us / 1000000;
	if (!bs_mailer_submit(outbox->mailer, &mail, job - outbox->jobs))
	{
		end_unharmed(outbox, job, "released", wall_us + 1000000);
		outbox->host->report_error("out of memory for a mail");
		return false;
	}
	return true;
}

bool
bs_outbox_should_record(const BsOutbox *outbox)
{
	int64_t		now_ms;

	if (outbox->ended_count == 0 || outbox->recording_count > 0)
		return false;
	now_ms = bs_clock_ms();
	if (now_ms < outbox->record_after_ms)
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

	TAILQ_CONCAT(&outbox->recording, &outbox->ended, node);
	outbox->recording_count = outbox->ended_count;
	outbox->ended_count = 0;
	outbox->recording_since_ms = bs_clock_ms();
	TAILQ_FOREACH(job, &outbox->recording, node)
	{
		claims[i] = &job->claim;
		results[i++] = &job->result;
	}
	return i;
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
		/* A lock that is in the way may go at any moment, and we be stopped. */
		outbox->record_after_ms = bs_clock_ms() +
			bs_backoff_ms(++outbox->record_failures, 100, 1000);
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
	/* A copy that is kept would take up the prefetch. */
	TAILQ_FOREACH(job, &outbox->ended, node)
		job->result.next = BS_NEXT_RELEASED;
	finish_jobs(outbox, &outbox->ended);
	outbox->ended_count = 0;
	outbox->record_failures = 0;
}

int64_t
bs_outbox_next_ms(const BsOutbox *outbox, bool may_record)
{
	int64_t		next_ms = INT64_MAX;

	if (may_record && outbox->ended_count > 0 && outbox->recording_count == 0)
	{
		next_ms = TAILQ_FIRST(&outbox->ended)->ended_ms + RECORD_DELAY_MS;
		if (next_ms < outbox->record_after_ms)
			next_ms = outbox->record_after_ms;
	}
	if (outbox->submit_after_ms > 0 && outbox->submit_after_ms < next_ms &&
		may_submit(outbox, bs_clock_ms()))
		next_ms = outbox->submit_after_ms;
	return next_ms;
}
