/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  What an answer of the relay means, and what comes next.
 *
 * Whose fault it is decides what happens: a fault of this message must not stop
 * the others, and a fault of the relay or of our settings must not use up this
 * message.  A message is never called accepted, nor safely refused, without a
 * whole answer to the whole message.
 *
 * SMTP.  The first row that fits counts; "definite" is an answer of 400 to 599
 * that was read whole.
 *
 *	body handed over, 2xx					ACCEPTED
 *	body handed over, no definite answer	IN_DOUBT (also 1xx and 3xx)
 *	421 on a connection used before			AGAIN: the relay ends sessions that
 *											have lasted, the next one is welcome
 *	4xx to MAIL and DATA and 452 to RCPT,
 *	on a connection used before				AGAIN: the relay takes a limited number
 *											of mails a session
 *	421, 432 before MAIL is taken, 452 or a
 *	closed connection before MAIL is sent,
 *	while other sessions are open			AGAIN: the relay takes no more sessions
 *	421 on a fresh connection				TROUBLE: the relay is closing down
 *	greeting, EHLO, STARTTLS, AUTH, TLS,
 *	name, connect: anything					TROUBLE: no message was named yet
 *	530, 534, 535, 538, 503 anywhere		TROUBLE: it wants a login, or lost its
 *											place (RFC 4954, section 6)
 *	504 anywhere							TROUBLE: it does not like our name for
 *											EHLO, and says so at RCPT as a rule
 *	432, 454 before the body				TROUBLE: the same, for now; after the
 *											body 454 throttles and is LATER
 *	552 to MAIL								REFUSED: SIZE= is too large (RFC 1870)
 *	other 4xx and 5xx to MAIL				TROUBLE: nothing of this message is
 *											in it but its size; the sender address
 *											is the same for all
 *	4xx to RCPT, DATA, body					LATER
 *	5xx to RCPT, DATA, body					REFUSED
 *	connection broken before the body, on
 *	one that was used before				AGAIN: it had been closed while idle
 *	anything else							TROUBLE
 *
 * HTTP.  A status counts however the transfer ends afterwards.
 *
 *	2xx										ACCEPTED, if the request was handed
 *											over; a server that answers before is
 *											TROUBLE
 *	401, 402, 403, 407						TROUBLE: key, account or settings
 *	3xx, 404, 405, 415						TROUBLE: mail_url leads elsewhere;
 *											redirects are not followed
 *	408, 409, 425, 429						LATER (409: the same key is in hand)
 *	other 4xx								REFUSED: 413, too large (RFC 9110,
 *											15.5.14); 451, not for legal reasons
 *											(RFC 7725), which in SMTP is LATER
 *	5xx and above							TROUBLE.  502 and 504 leave open what
 *											happened behind the gateway: that is
 *											what the Idempotency-Key is for
 *	none or 1xx, request handed over		IN_DOUBT
 *	none or 1xx, before that				TROUBLE
 *
 * src/core/mail/outcome.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/outcome.h"

#include <curl/curl.h>

#include "core/base/backoff.h"

#define CLASS_OF(code) ((code) / 100)

/* How long before its deadline a message that has to wait longer is tried. */
#define LAST_CHANCE_MS 60000

static bool
is_refusal(long code)
{
	return code >= 400 && code <= 599;
}

/* The answer says that we are not logged in, or out of step. */
static bool
is_session_fault(long code, bool before_body)
{
	switch (code)
	{
		case 503:
		case 504:
		case 530:
		case 534:
		case 535:
		case 538:
			return true;
		case 432:
		case 454:
			return before_body;
		default:
			return false;
	}
}

static bool
is_broken_link(int curl_code)
{
	return curl_code == CURLE_SEND_ERROR || curl_code == CURLE_RECV_ERROR ||
		curl_code == CURLE_GOT_NOTHING;
}

/*
 * bs_outcome_is_crowded
 *		Has the relay refused one more session?
 *
 * Relays say so by 421 or 432, as a greeting or at MAIL, by 452 before that, or
 * they do not let the connection in.
 */
bool
bs_outcome_is_crowded(const BsSmtpFacts *facts)
{
	long		code = facts->response_code;

	if (facts->body_ended || facts->reused || facts->phase > BS_SMTP_MAIL)
		return false;
	if (code == 421 || code == 432)
		return true;
	return facts->phase == BS_SMTP_CONNECT &&
		(code == 452 ||
		 (!is_refusal(code) && (facts->curl_code == CURLE_COULDNT_CONNECT ||
								is_broken_link(facts->curl_code))));
}

static BsOutcome
outcome_of_smtp_refusal(const BsSmtpFacts *facts)
{
	long		code = facts->response_code;

	if (code == 421)
		return facts->reused ? BS_OUTCOME_AGAIN : BS_OUTCOME_TROUBLE;
	if (facts->reused && CLASS_OF(code) == 4 &&
		(facts->phase == BS_SMTP_MAIL || facts->phase == BS_SMTP_DATA ||
		 (facts->phase == BS_SMTP_RCPT && code == 452)))
		return BS_OUTCOME_AGAIN;
	if (facts->phase == BS_SMTP_CONNECT ||
		is_session_fault(code, facts->phase < BS_SMTP_BODY))
		return BS_OUTCOME_TROUBLE;
	if (facts->phase == BS_SMTP_MAIL)
		return code == 552 ? BS_OUTCOME_REFUSED : BS_OUTCOME_TROUBLE;
	return CLASS_OF(code) == 4 ? BS_OUTCOME_LATER : BS_OUTCOME_REFUSED;
}

/*
 * bs_outcome_smtp
 *		What became of a message that was sent over SMTP.
 *
 * CURLINFO_RESPONSE_CODE keeps the last code that was read, so after an error
 * it may be the answer to an earlier command.  Such an answer let the session
 * go on, so it is 2xx or 3xx: these count only where all went well, 4xx and 5xx
 * before the body always.  After the body a refusal counts where the transport
 * has nothing else to complain of: libcurl's own SMTP reports every answer but
 * 250 as CURLE_WEIRD_SERVER_REPLY.
 */
BsOutcome
bs_outcome_smtp(const BsSmtpFacts *facts)
{
	int			curl_code = facts->curl_code;
	long		code = facts->response_code;

	if (facts->body_ended)
	{
		if (curl_code == CURLE_OK && facts->phase == BS_SMTP_BODY &&
			CLASS_OF(code) == 2)
			return BS_OUTCOME_ACCEPTED;
		if (!is_refusal(code) ||
			(curl_code != CURLE_OK && curl_code != CURLE_WEIRD_SERVER_REPLY))
			return BS_OUTCOME_IN_DOUBT;
	}

	if (facts->others > 0 && bs_outcome_is_crowded(facts))
		return BS_OUTCOME_AGAIN;
	if (is_refusal(code))
		return outcome_of_smtp_refusal(facts);

	if (facts->reused && facts->phase > BS_SMTP_CONNECT &&
		facts->phase < BS_SMTP_BODY && is_broken_link(curl_code))
		return BS_OUTCOME_AGAIN;

	return BS_OUTCOME_TROUBLE;
}

/*
 * bs_outcome_http
 *		What became of a message that was given to a mail API.
 */
BsOutcome
bs_outcome_http(const BsHttpFacts *facts)
{
	long		code = facts->response_code;

	if (code < 200)
		return facts->body_ended ? BS_OUTCOME_IN_DOUBT : BS_OUTCOME_TROUBLE;

	switch (CLASS_OF(code))
	{
		case 2:
			return facts->body_ended ? BS_OUTCOME_ACCEPTED : BS_OUTCOME_TROUBLE;
		case 4:
			break;
		default:
			return BS_OUTCOME_TROUBLE;
	}

	switch (code)
	{
		case 401:
		case 402:
		case 403:
		case 404:
		case 405:
		case 407:
		case 415:
			return BS_OUTCOME_TROUBLE;
		case 408:
		case 409:
		case 425:
		case 429:
			return BS_OUTCOME_LATER;
		default:
			return BS_OUTCOME_REFUSED;
	}
}

bool
bs_next_is_attempt(BsNextState next)
{
	return next == BS_NEXT_RETRYING || next == BS_NEXT_RELEASED;
}

static int64_t
add_saturating(int64_t a, int64_t b)
{
	int64_t		sum;

	if (__builtin_add_overflow(a, b, &sum))
		return b > 0 ? INT64_MAX : INT64_MIN;
	return sum;
}

/* The wait before the next attempt. */
static int64_t
retry_wait_ms(const BsRetryFacts *facts)
{
	int64_t		wait = bs_backoff_ms(facts->attempts, facts->retry_initial_ms,
									 facts->retry_max_ms);

	wait = bs_backoff_jitter_ms(wait, facts->random);
	return wait > facts->retry_after_ms ? wait : facts->retry_after_ms;
}

static BsVerdict
verdict(BsNextState next, const char *reason)
{
	BsVerdict	result = {next, 0, reason};

	return result;
}

/*
 * bs_retry_decide
 *		What to write into the row after an attempt.
 *
 * A message that is in doubt after its last attempt ends with that reason
 * rather than with "attempts", because it may have arrived.
 */
BsVerdict
bs_retry_decide(const BsRetryFacts *facts)
{
	BsVerdict	result;

	switch (facts->outcome)
	{
		case BS_OUTCOME_ACCEPTED:
			return verdict(BS_NEXT_SENT, "accepted");
		case BS_OUTCOME_REFUSED:
			return verdict(BS_NEXT_FAILED, "refused");
		case BS_OUTCOME_AGAIN:
			return verdict(BS_NEXT_RELEASED, "again");
		case BS_OUTCOME_RELEASED:
			return verdict(BS_NEXT_RELEASED, "released");
		case BS_OUTCOME_IN_DOUBT:
			if (facts->at_most_once || facts->attempts >= facts->max_attempts)
				return verdict(BS_NEXT_FAILED, "in_doubt");
			result = verdict(BS_NEXT_RETRYING, "in_doubt");
			break;
		case BS_OUTCOME_LATER:
			result = verdict(BS_NEXT_RETRYING, "later");
			break;
		default:
			result = verdict(BS_NEXT_RETRYING, "trouble");
			break;
	}

	if (facts->attempts >= facts->max_attempts)
		return verdict(BS_NEXT_FAILED, "attempts");

	result.next_attempt_ms = add_saturating(facts->now_ms, retry_wait_ms(facts));
	if (result.next_attempt_ms > facts->deadline_ms)
	{
		/*
		 * The relay may ask for more than there is: one attempt before the
		 * end.
		 */
		result.next_attempt_ms = add_saturating(facts->deadline_ms, -LAST_CHANCE_MS);
		if (result.next_attempt_ms <= facts->now_ms)
			return verdict(BS_NEXT_EXPIRED, "too_late");
	}
	return result;
}
