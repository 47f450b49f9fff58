/*-------------------------------------------------------------------------
 *
 * outcome.h
 *	  What an answer of the relay means, and what comes next.
 *
 * The one place where this is decided: by codes, never by text.
 *
 * src/core/mail/outcome.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_OUTCOME_H
#define BS_CORE_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

/* How one attempt ended. */
typedef enum BsOutcome
{
	BS_OUTCOME_ACCEPTED,		/* the relay took the message */
	BS_OUTCOME_REFUSED,			/* refused for good: this message, not the
								 * relay */
	BS_OUTCOME_LATER,			/* not accepted; this message may pass later */
	BS_OUTCOME_TROUBLE,			/* not accepted; the link, the relay or our
								 * settings are at fault: counts for the
								 * breaker */
	BS_OUTCOME_AGAIN,			/* not accepted; the relay ended the session
								 * (421), or takes no more sessions beside
								 * those that are open: again on another
								 * session, and no attempt is spent */
	BS_OUTCOME_IN_DOUBT,		/* handed over whole, and no answer came */
	BS_OUTCOME_RELEASED			/* never begun: given back unharmed */
} BsOutcome;

/* Where an SMTP session was: the command that was sent last. */
typedef enum BsSmtpPhase
{
	BS_SMTP_CONNECT,			/* greeting, EHLO, STARTTLS, AUTH */
	BS_SMTP_MAIL,
	BS_SMTP_RCPT,
	BS_SMTP_DATA,				/* DATA sent, no octet of the message yet */
	BS_SMTP_BODY				/* the message is under way or over */
} BsSmtpPhase;

typedef struct BsSmtpFacts
{
	int			curl_code;		/* CURLcode; CURLE_OK: an answer was read
								 * whole */
	long		response_code;	/* that answer; after an error possibly the
								 * one to an earlier command, see .c; 0: none */
	BsSmtpPhase phase;
	bool		body_ended;		/* handed over whole, final dot included */
	bool		reused;			/* the connection had carried a message before */
	int			others;			/* sessions of this sender that were open or
								 * being opened beside it */
} BsSmtpFacts;

typedef struct BsHttpFacts
{
	int			curl_code;
	long		response_code;	/* 0 if no status line came */
	bool		body_ended;		/* the request was handed over whole */
} BsHttpFacts;

extern BsOutcome bs_outcome_smtp(const BsSmtpFacts *facts);

/*
 * Has the relay refused one more session?  With others beside it that means how
 * many the relay takes; alone it means nothing about that.
 */
extern bool bs_outcome_is_crowded(const BsSmtpFacts *facts);

extern BsOutcome bs_outcome_http(const BsHttpFacts *facts);

typedef enum BsDeliveryGuarantee
{
	BS_GUARANTEE_AT_LEAST_ONCE, /* what is in doubt is sent again */
	BS_GUARANTEE_AT_MOST_ONCE	/* what is in doubt ends as FAILED */
} BsDeliveryGuarantee;

/* What is to be written into the row. */
typedef enum BsNextState
{
	BS_NEXT_SENT,
	BS_NEXT_FAILED,
	BS_NEXT_RETRYING,
	BS_NEXT_EXPIRED,
	BS_NEXT_RELEASED			/* back to where it was, the attempt uncounted */
} BsNextState;

/* Is there another attempt, so that the row needs to know when? */
extern bool bs_next_is_attempt(BsNextState next);

typedef struct BsRetryFacts
{
	BsOutcome	outcome;
	int			attempts;		/* including the one that just ended */
	int			max_attempts;
	bool		at_most_once;	/* delivery_guarantee */
	int64_t		now_ms;
	int64_t		deadline_ms;	/* scheduled send time + max_lateness */
	int64_t		retry_initial_ms;
	int64_t		retry_max_ms;
	int64_t		retry_after_ms; /* what the relay asked for, or -1 */
	double		random;			/* in [0, 1): the jitter, so that tests can
								 * choose it */
} BsRetryFacts;

typedef struct BsVerdict
{
	BsNextState next;
	int64_t		next_attempt_ms;	/* where next is BS_NEXT_RETRYING */
	const char *reason;			/* static status_reason: "accepted",
								 * "refused", "attempts", "too_late",
								 * "in_doubt", "later", "trouble", "again",
								 * "released" */
} BsVerdict;

/*
 * ACCEPTED ends as SENT, REFUSED as FAILED; AGAIN and RELEASED give the message
 * back, due at once and without an attempt spent: the host bounds how often.
 * IN_DOUBT ends as FAILED where at most one delivery is wanted, and is tried
 * again otherwise, as LATER and TROUBLE are, until max_attempts.
 *
 * Waits double from retry_initial to retry_max, each drawn from its upper half
 * (so at least half of it), never shorter than what the relay asked for.  A
 * retry that would begin after the deadline is not made: BS_NEXT_EXPIRED.
 */
extern BsVerdict bs_retry_decide(const BsRetryFacts *facts);

#endif							/* BS_CORE_OUTCOME_H */
