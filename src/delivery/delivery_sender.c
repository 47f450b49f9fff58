/*-------------------------------------------------------------------------
 *
 * delivery_sender.c
 *	  The messages that a sender holds, from claim to recorded outcome.
 *
 * Transactions are open only inside bs_delivery_claim() and bs_delivery_record(),
 * and no network call is made there.
 *
 * src/delivery/delivery_sender.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "bs_failpoint.h"
#include "bs_guc.h"
#include "bs_time.h"
#include "bs_txn.h"
#include "bs_wake.h"
#include "bs_worker.h"
#include "delivery/delivery_sender.h"

#define JOBS_PER_CONNECTION 16
#define RECORD_BATCH		64
#define RECORD_DELAY_MS		10	/* how long an outcome may wait for others */
#define PROBE_CHECK_MS		50	/* how often to look what a probe found out */

static BsBreakerRule
breaker_rule(void)
{
	BsBreakerRule rule = {
		.ratio = bs_breaker,
		.min_attempts = 10,
		.window_ms = 10000,
		.open_ms = 30000
	};

	return rule;
}

void
bs_delivery_sender_init(BsSender *sender)
{
	memset(sender, 0, sizeof(*sender));
	dlist_init(&sender->free);
	dlist_init(&sender->waiting);
	dlist_init(&sender->ended);
	sender->claim_context = AllocSetContextCreate(TopMemoryContext,
												  "birthday_scheduler claims",
												  ALLOCSET_DEFAULT_SIZES);
}

void
bs_delivery_set_mailer(BsSender *sender, BsMailer *mailer)
{
	int			i;

	bs_mailer_destroy(sender->mailer);
	sender->mailer = mailer;
	if (sender->job_count == bs_mail_connections * JOBS_PER_CONNECTION)
		return;
	Assert(sender->free_count == sender->job_count);
	if (sender->jobs)
		pfree(sender->jobs);
	dlist_init(&sender->free);
	sender->job_count = bs_mail_connections * JOBS_PER_CONNECTION;
	sender->jobs = MemoryContextAllocZero(TopMemoryContext,
										  sizeof(BsJob) * sender->job_count);
	for (i = 0; i < sender->job_count; i++)
		dlist_push_tail(&sender->free, &sender->jobs[i].node);
	sender->free_count = sender->job_count;
}

BsConsumer *
bs_delivery_set_consumer(BsSender *sender, BsConsumer *consumer)
{
	BsConsumer *former = sender->consumer;
	int			i;

	sender->consumer = consumer;
	for (i = 0; i < sender->job_count; i++)
		sender->jobs[i].copy.tag = 0;	/* the broker has them again */
	return former;
}

static void
set_free(BsSender *sender, BsJob *job)
{
	pfree(job->claim.strings);
	job->claim.strings = NULL;
	dlist_push_head(&sender->free, &job->node);
	sender->free_count++;
}

static void
set_ended(BsSender *sender, BsJob *job)
{
	job->ended_at = GetCurrentTimestamp();
	dlist_push_tail(&sender->ended, &job->node);
	sender->ended_count++;
}

void
bs_delivery_begin(BsSender *sender, const BsClaim *claim,
				  TimestampTz lease_until, BsCopyTag copy)
{
	BsJob	   *job = dlist_container(BsJob, node,
									  dlist_pop_head_node(&sender->free));

	sender->free_count--;
	job->claim = *claim;
	job->lease_until = lease_until;
	job->again = 0;
	job->copy = copy;
	dlist_push_tail(&sender->waiting, &job->node);
	sender->waiting_count++;
}

static BsJob *
pop_waiting(BsSender *sender)
{
	sender->waiting_count--;
	return dlist_container(BsJob, node,
						   dlist_pop_head_node(&sender->waiting));
}

static void
end_unharmed(BsSender *sender, BsJob *job, const char *reason,
			 TimestampTz due)
{
	memset(&job->result, 0, sizeof(job->result));
	job->result.next = BS_NEXT_RELEASED;
	job->result.reason = reason;
	job->result.next_attempt = due;
	job->result.ended_at = GetCurrentTimestamp();
	set_ended(sender, job);
}

void
bs_delivery_release_waiting(BsSender *sender, const char *reason,
							TimestampTz due)
{
	while (sender->waiting_count > 0)
		end_unharmed(sender, pop_waiting(sender), reason, due);
}

/*
 * Tells the breaker of one attempt.  A message refused for its own sake speaks
 * for the relay: it answers, unless it never was asked.
 */
static void
report_to_breaker(const BsMailResult *mail)
{
	BsOutcome	outcome = mail->outcome;
	BsBreakerRule rule = breaker_rule();
	bool		trouble = outcome == BS_OUTCOME_TROUBLE ||
	outcome == BS_OUTCOME_IN_DOUBT;
	bool		changed;
	BsBreakerState state;

	if (outcome == BS_OUTCOME_AGAIN || outcome == BS_OUTCOME_RELEASED ||
		(outcome == BS_OUTCOME_REFUSED && mail->response_code == 0))
		return;
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	changed = bs_breaker_report(&bs_shared->breaker, &rule, trouble,
								bs_time_monotonic_ms());
	state = bs_shared->breaker.state;
	LWLockRelease(bs_shared->lock);
	if (changed && state == BS_BREAKER_OPEN)
		pg_atomic_fetch_add_u64(&bs_shared->stats.breaker_opened, 1);
	if (changed)
		ereport(LOG,
				(errmsg(state == BS_BREAKER_CLOSED ?
						"birthday_scheduler sends again: the relay answers" :
						"birthday_scheduler pauses sending for 30 seconds: too many attempts failed")));
}

static void
count_attempt(const BsMailResult *mail)
{
	bool		asked = mail->outcome != BS_OUTCOME_RELEASED &&
	(mail->outcome != BS_OUTCOME_REFUSED || mail->response_code != 0);

	bs_stats_attempt(mail->outcome, asked ?
					 Max(mail->ended_ms - mail->started_ms, 0) * 1000 : -1);
}

static void
decide(BsJob *job, const BsMailResult *mail)
{
	BsResult   *result = &job->result;
	TimestampTz deadline =
	TimestampTzPlusMilliseconds(job->claim.scheduled_send_time,
								(int64) bs_max_lateness_s * 1000);
	BsRetryFacts facts = {
		.outcome = mail->outcome,
		.attempts = job->claim.attempts,
		.max_attempts = bs_max_attempts,
		.at_most_once = bs_delivery_guarantee == BS_GUARANTEE_AT_MOST_ONCE,
		.now_ms = bs_time_to_unix_ms(GetCurrentTimestamp()),
		.deadline_ms = bs_time_to_unix_ms(deadline),
		.retry_initial_ms = (int64) bs_retry_initial_s * 1000,
		.retry_max_ms = (int64) bs_retry_max_s * 1000,
		.retry_after_ms = mail->retry_after_ms,
		.random = pg_prng_double(&pg_global_prng_state)
	};
	BsVerdict	verdict = bs_retry_decide(&facts);

	result->next = verdict.next;
	result->reason = verdict.reason;
	result->next_attempt = verdict.next == BS_NEXT_RETRYING ?
		bs_time_from_unix_ms(verdict.next_attempt_ms) : GetCurrentTimestamp();
	result->code = mail->response_code;
	result->ended_at = bs_time_from_unix_ms(mail->ended_ms);
	strlcpy(result->reply, mail->reply, sizeof(result->reply));
	strlcpy(result->error, mail->error, sizeof(result->error));
}

void
bs_delivery_collect(BsSender *sender)
{
	BsMailResult mail;

	if (sender->mailer == NULL)
		return;
	while (bs_mailer_next(sender->mailer, &mail))
	{
		BsJob	   *job = &sender->jobs[mail.tag];

		BS_FAILPOINT("answer");
		report_to_breaker(&mail);
		count_attempt(&mail);
		/* A session that the relay ended is no attempt, within reason. */
		if (mail.outcome == BS_OUTCOME_AGAIN && !sender->stopping &&
			job->again++ <= bs_mail_connections)
		{
			dlist_push_head(&sender->waiting, &job->node);
			sender->waiting_count++;
			continue;
		}
		if (mail.outcome == BS_OUTCOME_AGAIN && !sender->stopping)
			mail.outcome = BS_OUTCOME_TROUBLE;
		decide(job, &mail);
		set_ended(sender, job);
		if (mail.outcome == BS_OUTCOME_TROUBLE ||
			mail.outcome == BS_OUTCOME_IN_DOUBT)
		{
			char		message[320];

			if (mail.error[0])
				snprintf(message, sizeof(message), "the relay: %s",
						 mail.error);
			else
				snprintf(message, sizeof(message), "the relay answered %d",
						 mail.response_code);
			bs_worker_report_error(message);
		}
	}
}

/*
 * May one more message be begun?  Where not, sets when to ask again; what
 * waits is given back where that is a while.  What a probe finds out is known
 * soon, and then nothing shall have been put off.
 */
static bool
admit(BsSender *sender)
{
	BsBreakerRule rule = breaker_rule();
	int64		wait_ms = 0;
	bool		open = false;
	int			admitted;

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	admitted = bs_bucket_take(&bs_shared->bucket, bs_rate_limit, 1,
							  bs_time_monotonic_ms(), &wait_ms);
	if (admitted > 0)
	{
		admitted = bs_breaker_admit(&bs_shared->breaker, &rule, 1,
									bs_time_monotonic_ms(), &wait_ms);
		if (admitted == 0)
		{
			open = bs_shared->breaker.state == BS_BREAKER_OPEN;
			if (!open)
				wait_ms = Min(wait_ms, PROBE_CHECK_MS);
			bs_bucket_give_back(&bs_shared->bucket, bs_rate_limit, 1);
		}
	}
	LWLockRelease(bs_shared->lock);
	if (admitted > 0)
		return true;

	sender->next_submit = bs_time_ms_from_now(Max(wait_ms, 1));
	if (open)
	{
		sender->next_claim = Max(sender->next_claim, sender->next_submit);
		bs_delivery_release_waiting(sender, "trouble", sender->next_submit);
	}
	return false;
}

void
bs_delivery_submit(BsSender *sender)
{
	if (sender->mailer == NULL || sender->stopping ||
		sender->record_failures > 0)
		return;
	while (sender->waiting_count > 0 && bs_mailer_room(sender->mailer) > 0)
	{
		TimestampTz now = GetCurrentTimestamp();
		BsJob	   *job;
		BsMail		mail;

		if (now < sender->next_submit || !admit(sender))
			return;
		job = pop_waiting(sender);
		if (TimestampTzPlusMilliseconds(now, bs_mail_timeout_ms) >
			job->lease_until && job->lease_until - now <
			(TimestampTz) bs_lease_s * USECS_PER_SEC / 2)
		{
			/* The lease would end before the transfer must. */
			end_unharmed(sender, job, "released", now);
			continue;
		}
		if (now < job->claim.scheduled_send_time)
		{
			/* The clock was set back since it was claimed. */
			end_unharmed(sender, job, "released",
						 job->claim.scheduled_send_time);
			continue;
		}
		memset(&mail, 0, sizeof(mail));
		mail.from = bs_mail_from;
		mail.reply_to = bs_mail_reply_to[0] ? bs_mail_reply_to : NULL;
		mail.to_name = job->claim.recipient_name;
		mail.to_address = job->claim.recipient_email;
		mail.subject = job->claim.subject;
		mail.text = job->claim.text;
		mail.html = job->claim.html;
		mail.idempotency_key = job->claim.idempotency_key;
		mail.list_unsubscribe = bs_mail_list_unsubscribe[0] ?
			bs_mail_list_unsubscribe : NULL;
		/* The same at every attempt, so that a copy is the same to the octet. */
		mail.date = bs_time_to_unix_ms(job->claim.scheduled_send_time) / 1000;
		BS_FAILPOINT("submit-before");
		if (!bs_mailer_submit(sender->mailer, &mail, job - sender->jobs))
		{
			end_unharmed(sender, job, "released", bs_time_ms_from_now(1000));
			bs_worker_report_error("out of memory for a mail");
			return;
		}
		BS_FAILPOINT("submit-after");
	}
}

bool
bs_delivery_should_record(const BsSender *sender)
{
	const BsJob *oldest;
	TimestampTz now;

	if (sender->ended_count == 0)
		return false;
	now = GetCurrentTimestamp();
	if (now < sender->next_record)
		return false;
	if (sender->ended_count >= RECORD_BATCH || sender->stopping ||
		sender->mailer == NULL || bs_mailer_busy(sender->mailer) == 0)
		return true;
	oldest = dlist_container(BsJob, node,
							 sender->ended.head.next);
	return now >= TimestampTzPlusMilliseconds(oldest->ended_at,
											  RECORD_DELAY_MS);
}

/*
 * Counts for bs_workers, and a line in the log for what will never be sent.
 */
static void
report_results(const BsClaim *const *claims, const BsResult *const *results,
			   int count)
{
	int			sent = 0;
	int			failed = 0;
	int			retried = 0;
	int			i;

	for (i = 0; i < count; i++)
	{
		switch (results[i]->next)
		{
			case BS_NEXT_SENT:
				sent++;
				bs_stats_observe(BS_HISTOGRAM_LATENESS,
								 results[i]->ended_at -
								 claims[i]->scheduled_send_time);
				break;
			case BS_NEXT_RETRYING:
				retried++;
				break;
			case BS_NEXT_RELEASED:
				break;
			case BS_NEXT_FAILED:
			case BS_NEXT_EXPIRED:
				failed++;
				if (results[i]->next == BS_NEXT_EXPIRED)
					bs_stats_move(BS_MOVE_EXPIRED, 1);
				ereport(LOG,
						(errmsg("message %s was given up: %s (reply code %d)",
								DatumGetCString(DirectFunctionCall1(uuid_out,
																	UUIDPGetDatum(&claims[i]->id))),
								results[i]->reason, results[i]->code)));
				break;
		}
	}
	bs_worker_add_counts(sent, failed, retried);
}

typedef struct BsRecordWork
{
	const BsClaim **claims;
	const BsResult **results;
	int			count;
	int			recorded;
} BsRecordWork;

static void
record_work(void *arg)
{
	BsRecordWork *work = arg;

	work->recorded = bs_result_record(work->claims, work->results,
									  work->count);
}

bool
bs_delivery_record(BsSender *sender)
{
	BsRecordWork work;
	dlist_mutable_iter iter;
	char		error[256];
	int			i = 0;

	if (sender->ended_count == 0)
		return true;
	work.count = sender->ended_count;
	work.claims = palloc(sizeof(*work.claims) * work.count);
	work.results = palloc(sizeof(*work.results) * work.count);
	dlist_foreach_modify(iter, &sender->ended)
	{
		BsJob	   *job = dlist_container(BsJob, node, iter.cur);

		work.claims[i] = &job->claim;
		work.results[i++] = &job->result;
	}
	BS_FAILPOINT("record-before");
	if (!bs_txn_try("recording outcomes", record_work, &work,
					error, sizeof(error)))
	{
		bs_worker_report_error(error);
		sender->record_failures++;
		sender->next_record =
			bs_time_ms_from_now(Min(5000, 50 << Min(sender->record_failures, 10)));
		return false;
	}
	BS_FAILPOINT("record-after-commit");
	sender->record_failures = 0;
	if (work.recorded < work.count)
		ereport(LOG,
				(errmsg("%d of %d outcomes came too late: the messages had been given up for lost or changed hands",
						work.count - work.recorded, work.count)));
	report_results(work.claims, work.results, work.count);
	dlist_foreach_modify(iter, &sender->ended)
	{
		BsJob	   *job = dlist_container(BsJob, node, iter.cur);

		if (job->copy.tag != 0)
			bs_consumer_settle(sender->consumer, job->copy,
							   job->result.next == BS_NEXT_FAILED ?
							   BS_COPY_DEAD : BS_COPY_DONE);
		dlist_delete(iter.cur);
		set_free(sender, job);
	}
	sender->ended_count = 0;
	return true;
}

void
bs_delivery_forget(BsSender *sender)
{
	dlist_mutable_iter iter;

	if (sender->mailer != NULL)
	{
		bs_mailer_abort(sender->mailer);
		bs_delivery_collect(sender);
	}
	bs_delivery_release_waiting(sender, "released", GetCurrentTimestamp());
	dlist_foreach_modify(iter, &sender->ended)
	{
		BsJob	   *job = dlist_container(BsJob, node, iter.cur);

		/* Nobody's any more; a copy that is kept would take up the prefetch. */
		if (job->copy.tag != 0)
			bs_consumer_settle(sender->consumer, job->copy, BS_COPY_DONE);
		dlist_delete(iter.cur);
		set_free(sender, job);
	}
	sender->ended_count = 0;
	sender->record_failures = 0;
}

TimestampTz
bs_delivery_next_moment(const BsSender *sender)
{
	TimestampTz next = DT_NOEND;

	if (sender->ended_count > 0)
	{
		const BsJob *oldest = dlist_container(BsJob, node,
											  sender->ended.head.next);

		next = Max(sender->next_record,
				   TimestampTzPlusMilliseconds(oldest->ended_at,
											   RECORD_DELAY_MS));
	}
	if (sender->waiting_count > 0 && sender->next_submit > 0 &&
		sender->mailer != NULL && bs_mailer_room(sender->mailer) > 0 &&
		sender->record_failures == 0)
		next = Min(next, sender->next_submit);
	return next;
}
