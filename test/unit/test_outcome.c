/*-------------------------------------------------------------------------
 *
 * test_outcome.c
 *	  What an answer means, and what comes next.
 *
 * test/unit/test_outcome.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

#include <curl/curl.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>

#include "core/mail/outcome.h"

/* ---- SMTP ---- */

static const char *const outcome_names[] = {
	"accepted", "refused", "later", "trouble", "again", "in doubt", "released"
};

typedef struct SmtpCase
{
	const char *what;
	int			curl_code;
	long		response_code;
	BsSmtpPhase phase;
	bool		body_ended;
	bool		reused;
	BsOutcome	outcome;
} SmtpCase;

#define ACCEPTED	BS_OUTCOME_ACCEPTED
#define REFUSED		BS_OUTCOME_REFUSED
#define LATER		BS_OUTCOME_LATER
#define TROUBLE		BS_OUTCOME_TROUBLE
#define AGAIN		BS_OUTCOME_AGAIN
#define IN_DOUBT	BS_OUTCOME_IN_DOUBT

static const SmtpCase smtp_cases[] = {
	/* What libcurl reports for a relay that fails in each way. */
	{"connection refused", 7, 0, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"no such name", 6, 0, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"silent after accept", 28, 0, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"silent after the greeting", 28, 220, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"greeting 450", 8, 450, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"greeting 500", 8, 500, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"greeting 421", 8, 421, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"closed before the greeting", 56, 0, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"closed at EHLO", 56, 220, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"421 to EHLO", 56, 421, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"STARTTLS is not offered", 64, 250, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"certificate does not verify", 60, 220, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"login denied", 67, 535, BS_SMTP_CONNECT, 0, 0, TROUBLE},
	{"our name is disliked, at RCPT", 55, 504, BS_SMTP_RCPT, 0, 0, TROUBLE},
	{"452 to DATA, on a session used before", 0, 452, BS_SMTP_DATA, 0, 1, AGAIN},
	{"452 to RCPT, on a session used before", 0, 452, BS_SMTP_RCPT, 0, 1, AGAIN},
	{"451 to MAIL, on a session used before", 0, 451, BS_SMTP_MAIL, 0, 1, AGAIN},
	{"450 to RCPT, on a session used before", 0, 450, BS_SMTP_RCPT, 0, 1, LATER},
	{"452 to DATA, on a fresh session", 0, 452, BS_SMTP_DATA, 0, 0, LATER},
	{"450 to MAIL", 55, 450, BS_SMTP_MAIL, 0, 0, TROUBLE},
	{"500 to MAIL", 55, 500, BS_SMTP_MAIL, 0, 0, TROUBLE},
	{"421 to MAIL", 55, 421, BS_SMTP_MAIL, 0, 0, TROUBLE},
	{"450 to RCPT", 55, 450, BS_SMTP_RCPT, 0, 0, LATER},
	{"500 to RCPT", 55, 500, BS_SMTP_RCPT, 0, 0, REFUSED},
	{"421 to RCPT", 55, 421, BS_SMTP_RCPT, 0, 0, TROUBLE},
	{"450 to DATA", 55, 450, BS_SMTP_DATA, 0, 0, LATER},
	{"500 to DATA", 55, 500, BS_SMTP_DATA, 0, 0, REFUSED},
	{"421 to DATA", 55, 421, BS_SMTP_DATA, 0, 0, TROUBLE},
	{"closed at MAIL, stale code", 56, 250, BS_SMTP_MAIL, 0, 0, TROUBLE},
	{"closed at RCPT, stale code", 56, 250, BS_SMTP_RCPT, 0, 0, TROUBLE},
	{"closed at DATA, stale code", 56, 250, BS_SMTP_DATA, 0, 0, TROUBLE},
	{"no answer to DATA", 28, 250, BS_SMTP_DATA, 0, 0, TROUBLE},
	{"550 during the body", 8, 550, BS_SMTP_BODY, 0, 0, REFUSED},
	{"450 after the dot", 8, 450, BS_SMTP_BODY, 1, 0, LATER},
	{"451 after the dot", 8, 451, BS_SMTP_BODY, 1, 0, LATER},
	{"500 after the dot", 8, 500, BS_SMTP_BODY, 1, 0, REFUSED},
	{"552 after the dot", 8, 552, BS_SMTP_BODY, 1, 0, REFUSED},
	{"554 after the dot", 8, 554, BS_SMTP_BODY, 1, 0, REFUSED},
	{"421 after the dot", 8, 421, BS_SMTP_BODY, 1, 0, TROUBLE},
	{"closed after the dot", 56, 354, BS_SMTP_BODY, 1, 0, IN_DOUBT},
	{"no answer to the dot", 28, 354, BS_SMTP_BODY, 1, 0, IN_DOUBT},
	{"half a reply to the dot", 56, 0, BS_SMTP_BODY, 1, 0, IN_DOUBT},
	{"taken", 0, 250, BS_SMTP_BODY, 1, 0, ACCEPTED},
	{"taken on a kept connection", 0, 250, BS_SMTP_BODY, 1, 1, ACCEPTED},

	/* A connection that was used before may have ended without our doing. */
	{"421 to MAIL, kept", 0, 421, BS_SMTP_MAIL, 0, 1, AGAIN},
	{"421 to RCPT, kept", 0, 421, BS_SMTP_RCPT, 0, 1, AGAIN},
	{"421 during the body, kept", 0, 421, BS_SMTP_BODY, 0, 1, AGAIN},
	{"421 after the dot, kept", 0, 421, BS_SMTP_BODY, 1, 1, AGAIN},
	{"closed at MAIL, kept", 56, 0, BS_SMTP_MAIL, 0, 1, AGAIN},
	{"cannot send MAIL, kept", 55, 0, BS_SMTP_MAIL, 0, 1, AGAIN},
	{"closed at DATA, kept", 56, 250, BS_SMTP_DATA, 0, 1, AGAIN},
	{"silent at MAIL, kept", 28, 0, BS_SMTP_MAIL, 0, 1, TROUBLE},
	{"nonsense at MAIL, kept", 8, 0, BS_SMTP_MAIL, 0, 1, TROUBLE},
	{"cut in the body, kept", 55, 0, BS_SMTP_BODY, 0, 1, TROUBLE},
	{"closed after the dot, kept", 56, 0, BS_SMTP_BODY, 1, 1, IN_DOUBT},

	/* Whose fault it is. */
	{"550 to MAIL: our sender", 0, 550, BS_SMTP_MAIL, 0, 1, TROUBLE},
	{"552 to MAIL: the size", 0, 552, BS_SMTP_MAIL, 0, 0, REFUSED},
	{"452 to MAIL: its disk", 0, 452, BS_SMTP_MAIL, 0, 0, TROUBLE},
	{"530 to MAIL: our login", 0, 530, BS_SMTP_MAIL, 0, 0, TROUBLE},
	{"530 to RCPT: our login", 0, 530, BS_SMTP_RCPT, 0, 0, TROUBLE},
	{"503 to RCPT: out of step", 0, 503, BS_SMTP_RCPT, 0, 0, TROUBLE},
	{"454 to RCPT: relay access", 0, 454, BS_SMTP_RCPT, 0, 0, TROUBLE},
	{"454 after the dot: throttled", 0, 454, BS_SMTP_BODY, 1, 0, LATER},
	{"550 to RCPT: the address", 0, 550, BS_SMTP_RCPT, 0, 0, REFUSED},
	{"452 to RCPT: the mailbox", 0, 452, BS_SMTP_RCPT, 0, 0, LATER},

	/* Answers that are none. */
	{"354 after the dot", 0, 354, BS_SMTP_BODY, 1, 0, IN_DOUBT},
	{"199 after the dot", 0, 199, BS_SMTP_BODY, 1, 0, IN_DOUBT},
	{"600 after the dot", 0, 600, BS_SMTP_BODY, 1, 0, IN_DOUBT},
	{"354 to MAIL", 0, 354, BS_SMTP_MAIL, 0, 0, TROUBLE},
	{"250 to DATA", 0, 250, BS_SMTP_DATA, 0, 0, TROUBLE},
	{"250 before the dot", 0, 250, BS_SMTP_BODY, 0, 0, TROUBLE},
};

static BsOutcome
smtp(int curl_code, long response_code, BsSmtpPhase phase,
	 bool body_ended, bool reused)
{
	BsSmtpFacts facts = {0};

	facts.curl_code = curl_code;
	facts.response_code = response_code;
	facts.phase = phase;
	facts.body_ended = body_ended;
	facts.reused = reused;
	return bs_outcome_smtp(&facts);
}

static void
test_smtp_cases(void)
{
	size_t		i;

	for (i = 0; i < sizeof(smtp_cases) / sizeof(smtp_cases[0]); i++)
	{
		const SmtpCase *row = &smtp_cases[i];
		BsOutcome	outcome = smtp(row->curl_code, row->response_code,
								   row->phase, row->body_ended, row->reused);

		is_str(outcome_names[outcome], outcome_names[row->outcome],
			   "smtp: %s", row->what);
	}
}

/* A session that is refused, beside others and alone. */
static void
test_crowded(void)
{
	static const struct
	{
		const char *what;
		int			curl_code;
		long		code;
		BsSmtpPhase phase;
		bool		body_ended;
		bool		reused;
		bool		crowded;
	}			rows[] = {
		{"421 as a greeting", 8, 421, BS_SMTP_CONNECT, 0, 0, 1},
		{"432 to EHLO", 56, 432, BS_SMTP_CONNECT, 0, 0, 1},
		{"452 as a greeting", 8, 452, BS_SMTP_CONNECT, 0, 0, 1},
		{"connection refused", 7, 0, BS_SMTP_CONNECT, 0, 0, 1},
		{"closed before the greeting", 56, 0, BS_SMTP_CONNECT, 0, 0, 1},
		{"closed after the greeting", 52, 220, BS_SMTP_CONNECT, 0, 0, 1},
		{"421 to MAIL, on a fresh session", 0, 421, BS_SMTP_MAIL, 0, 0, 1},
		{"432 to MAIL, on a fresh session", 0, 432, BS_SMTP_MAIL, 0, 0, 1},
		{"421 to MAIL, on a used session", 0, 421, BS_SMTP_MAIL, 0, 1, 0},
		{"452 to MAIL", 0, 452, BS_SMTP_MAIL, 0, 0, 0},
		{"421 to RCPT", 0, 421, BS_SMTP_RCPT, 0, 0, 0},
		{"421 to the body", 0, 421, BS_SMTP_BODY, 1, 0, 0},
		{"greeting 554", 8, 554, BS_SMTP_CONNECT, 0, 0, 0},
		{"login denied", 67, 535, BS_SMTP_CONNECT, 0, 0, 0},
		{"no such name", 6, 0, BS_SMTP_CONNECT, 0, 0, 0},
		{"certificate does not verify", 60, 220, BS_SMTP_CONNECT, 0, 0, 0},
		{"silent", 28, 0, BS_SMTP_CONNECT, 0, 0, 0},
	};
	size_t		i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		BsSmtpFacts facts = {
			.curl_code = rows[i].curl_code,.response_code = rows[i].code,
			.phase = rows[i].phase,.body_ended = rows[i].body_ended,
			.reused = rows[i].reused
		};
		BsOutcome	alone = bs_outcome_smtp(&facts);

		is_int(bs_outcome_is_crowded(&facts), rows[i].crowded,
			   "crowded: %s", rows[i].what);
		facts.others = 3;
		is_str(outcome_names[bs_outcome_smtp(&facts)],
			   outcome_names[rows[i].crowded ? AGAIN : alone],
			   "crowded: %s, beside others", rows[i].what);
		ok(!rows[i].crowded || alone == TROUBLE,
		   "crowded: %s, alone", rows[i].what);
	}
}

/* What holds for every combination of facts. */
static void
test_smtp_matrix(void)
{
	int			wrong_accept = 0;
	int			wrong_doubt = 0;
	int			wrong_again = 0;
	int			wrong_refusal = 0;
	int			wrong_other = 0;
	int			combination;

	for (combination = 0; combination < 5 * 2 * 2; combination++)
	{
		BsSmtpPhase phase = (BsSmtpPhase) (combination / 4);
		bool		ended = combination & 1;
		bool		reused = combination & 2;
		int			curl_code;
		long		code;

		for (curl_code = 0; curl_code < CURL_LAST; curl_code++)
			for (code = -1; code <= 700; code++)
			{
				BsOutcome	got = smtp(curl_code, code, phase, ended, reused);
				bool		refusal = code >= 400 && code <= 599;
				bool		definite = refusal &&
				(curl_code == 0 || curl_code == 8);
				bool		taken = ended && curl_code == 0 &&
				phase == BS_SMTP_BODY && code >= 200 && code <= 299;

				wrong_accept += (got == ACCEPTED) != taken;
				wrong_doubt += (got == IN_DOUBT) !=
					(ended && !definite && !taken);
				wrong_again += got == AGAIN && !reused;
				wrong_refusal += (got == REFUSED && (!refusal || code < 500)) ||
					(got == LATER && (!refusal || code >= 500));
				wrong_other += got < ACCEPTED || got > IN_DOUBT;
			}
	}
	is_int(wrong_accept, 0, "smtp: accepted on a 2xx to a whole body, only");
	is_int(wrong_doubt, 0, "smtp: in doubt without a definite answer, only");
	is_int(wrong_again, 0, "smtp: again on a kept connection, only");
	is_int(wrong_refusal, 0, "smtp: refused and later by 5xx and 4xx, only");
	is_int(wrong_other, 0, "smtp: nothing else comes out");
}

/* ---- HTTP ---- */

static BsOutcome
http(int curl_code, long status, bool body_ended)
{
	BsHttpFacts facts = {0};

	facts.curl_code = curl_code;
	facts.response_code = status;
	facts.body_ended = body_ended;
	return bs_outcome_http(&facts);
}

static void
test_http(void)
{
	static const struct
	{
		long		status;
		BsOutcome	outcome;
	}			rows[] = {
		{200, ACCEPTED}, {201, ACCEPTED}, {202, ACCEPTED}, {204, ACCEPTED},
		{301, TROUBLE}, {302, TROUBLE}, {304, TROUBLE}, {307, TROUBLE},
		{400, REFUSED}, {401, TROUBLE}, {402, TROUBLE}, {403, TROUBLE},
		{404, TROUBLE}, {405, TROUBLE}, {407, TROUBLE}, {408, LATER},
		{409, LATER}, {410, REFUSED}, {413, REFUSED}, {415, TROUBLE},
		{422, REFUSED}, {425, LATER}, {429, LATER}, {451, REFUSED},
		{500, TROUBLE}, {501, TROUBLE}, {502, TROUBLE},
		{503, TROUBLE}, {504, TROUBLE}, {999, TROUBLE},
		{0, IN_DOUBT}, {100, IN_DOUBT}, {103, IN_DOUBT},
	};
	int			wrong = 0;
	int			curl_code;
	long		status;
	size_t		i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		is_str(outcome_names[http(0, rows[i].status, true)],
			   outcome_names[rows[i].outcome],
			   "http: status %ld", rows[i].status);
	}
	is_int(http(CURLE_RECV_ERROR, 200, true), ACCEPTED,
		   "http: 200 counts although its body was cut");
	is_int(http(CURLE_WRITE_ERROR, 200, true), ACCEPTED,
		   "http: 200 counts although its body had no end");
	is_int(http(CURLE_SEND_ERROR, 413, false), REFUSED,
		   "http: 413 counts although the request was cut");
	is_int(http(CURLE_SEND_ERROR, 200, false), TROUBLE,
		   "http: 200 to half a request is nothing");
	is_int(http(CURLE_COULDNT_CONNECT, 0, false), TROUBLE,
		   "http: no connection");
	is_int(http(CURLE_OPERATION_TIMEDOUT, 0, true), IN_DOUBT,
		   "http: no answer in time");

	for (curl_code = 0; curl_code < CURL_LAST; curl_code++)
		for (status = 0; status < 1000; status++)
		{
			BsOutcome	whole = http(curl_code, status, true);
			BsOutcome	part = http(curl_code, status, false);

			wrong += (whole == ACCEPTED) != (status / 100 == 2);
			wrong += (whole == IN_DOUBT) != (status < 200);
			wrong += part == ACCEPTED || part == IN_DOUBT;
			wrong += whole == AGAIN || part == AGAIN;
		}
	is_int(wrong, 0, "http: accepted and in doubt by the status alone");
}

/* ---- what comes next ---- */

static BsRetryFacts
usual_facts(BsOutcome outcome, int attempts)
{
	BsRetryFacts facts = {0};

	facts.outcome = outcome;
	facts.attempts = attempts;
	facts.max_attempts = 5;
	facts.now_ms = 1000000;
	facts.deadline_ms = 1000000 + 86400000;
	facts.retry_initial_ms = 1000;
	facts.retry_max_ms = 60000;
	facts.retry_after_ms = -1;
	return facts;
}

static void
is_verdict(BsRetryFacts facts, BsNextState next, const char *reason,
		   const char *what)
{
	BsVerdict	verdict = bs_retry_decide(&facts);

	is_int(verdict.next, next, "next: %s", what);
	is_str(verdict.reason, reason, "reason: %s", what);
}

static void
test_verdicts(void)
{
	BsRetryFacts facts;

	is_verdict(usual_facts(ACCEPTED, 1), BS_NEXT_SENT, "accepted", "accepted");
	is_verdict(usual_facts(ACCEPTED, 99), BS_NEXT_SENT, "accepted",
			   "accepted, however often it was tried");
	is_verdict(usual_facts(REFUSED, 1), BS_NEXT_FAILED, "refused", "refused");
	is_verdict(usual_facts(LATER, 1), BS_NEXT_RETRYING, "later", "later");
	is_verdict(usual_facts(LATER, 5), BS_NEXT_FAILED, "attempts",
			   "later, and out of attempts");
	is_verdict(usual_facts(TROUBLE, 4), BS_NEXT_RETRYING, "trouble", "trouble");
	is_verdict(usual_facts(TROUBLE, 6), BS_NEXT_FAILED, "attempts",
			   "trouble, and past the attempts");
	is_verdict(usual_facts(AGAIN, 1), BS_NEXT_RELEASED, "again", "again");
	is_verdict(usual_facts(AGAIN, 5), BS_NEXT_RELEASED, "again",
			   "again, for no attempt is spent");
	is_verdict(usual_facts(BS_OUTCOME_RELEASED, 5), BS_NEXT_RELEASED,
			   "released", "released");
	is_verdict(usual_facts(IN_DOUBT, 1), BS_NEXT_RETRYING, "in_doubt",
			   "in doubt");
	is_verdict(usual_facts(IN_DOUBT, 5), BS_NEXT_FAILED, "in_doubt",
			   "in doubt at the last attempt");

	facts = usual_facts(IN_DOUBT, 1);
	facts.at_most_once = true;
	is_verdict(facts, BS_NEXT_FAILED, "in_doubt", "in doubt, at most once");
	facts.outcome = LATER;
	is_verdict(facts, BS_NEXT_RETRYING, "later", "later, at most once");

	facts = usual_facts(LATER, 1);
	facts.deadline_ms = facts.now_ms + 499;
	is_verdict(facts, BS_NEXT_EXPIRED, "too_late", "a millisecond too late");
	facts.deadline_ms = facts.now_ms + 7200000;
	facts.retry_after_ms = 86400000;
	is_verdict(facts, BS_NEXT_RETRYING, "later", "asked to wait beyond the end");
	is_int(bs_retry_decide(&facts).next_attempt_ms,
		   facts.deadline_ms - 60000, "it is tried a minute before");
	facts.now_ms = facts.deadline_ms - 60000;
	is_verdict(facts, BS_NEXT_EXPIRED, "too_late", "and not again after that");
	facts.now_ms = facts.deadline_ms - 7200000;
	facts.retry_after_ms = -1;
	facts.deadline_ms = facts.now_ms + 500;
	is_verdict(facts, BS_NEXT_RETRYING, "later", "just in time");
	facts.outcome = IN_DOUBT;
	facts.deadline_ms = facts.now_ms - 1;
	is_verdict(facts, BS_NEXT_EXPIRED, "too_late", "in doubt, and too late");
}

static int64_t
wait_ms(int attempts, double random, int64_t retry_after_ms)
{
	BsRetryFacts facts = usual_facts(LATER, attempts);
	BsVerdict	verdict;

	facts.max_attempts = INT_MAX;
	facts.random = random;
	facts.retry_after_ms = retry_after_ms;
	if (attempts == INT_MAX)
		facts.attempts = INT_MAX - 1;
	verdict = bs_retry_decide(&facts);
	return verdict.next == BS_NEXT_RETRYING ?
		verdict.next_attempt_ms - facts.now_ms : -1;
}

static void
test_backoff(void)
{
	BsRetryFacts facts = usual_facts(LATER, 1);
	int			wrong = 0;
	int			attempts;

	is_int(wait_ms(1, 0, -1), 500, "backoff: half of the first wait at least");
	is_int(wait_ms(1, 1, -1), 1000, "backoff: the first wait at most");
	is_int(wait_ms(2, 0, -1), 1000, "backoff: doubled");
	is_int(wait_ms(3, 0.5, -1), 3000, "backoff: doubled again, the middle");
	is_int(wait_ms(6, 1, -1), 32000, "backoff: the last below the cap");
	is_int(wait_ms(7, 1, -1), 60000, "backoff: the cap");
	is_int(wait_ms(1, 0, 7000), 7000, "backoff: what the relay asks for");
	is_int(wait_ms(7, 0, 7000), 30000, "backoff: longer than it asks for");
	is_int(wait_ms(1, NAN, -1), 500, "backoff: a jitter that is no number");
	is_int(wait_ms(1, -1e300, -1), 500, "backoff: a jitter below the range");
	is_int(wait_ms(1, 1e300, -1), 1000, "backoff: a jitter above the range");

	/* Every number of attempts that an integer holds, in steps. */
	for (attempts = 0;; attempts = attempts < 100 ? attempts + 1 :
		 attempts > INT_MAX / 2 ? INT_MAX : attempts * 2 - 1)
	{
		int64_t		least = wait_ms(attempts, 0, -1);
		int64_t		most = wait_ms(attempts, 1, -1);

		wrong += least < 500 || most > 60000 || least > most;
		wrong += attempts >= 7 && (least != 30000 || most != 60000);
		if (attempts == INT_MAX)
			break;
	}
	is_int(wrong, 0, "backoff: between its limits for 0 to 2^31 - 1 attempts");
	is_int(wait_ms(INT_MIN, 0, -1), 500, "backoff: attempts below nothing");

	facts.max_attempts = INT_MAX;
	facts.attempts = INT_MAX;
	is_verdict(facts, BS_NEXT_FAILED, "attempts", "the last of 2^31 - 1");

	/* Times at the edge of what can be written down. */
	facts = usual_facts(LATER, 3);
	facts.now_ms = INT64_MAX - 10;
	facts.deadline_ms = INT64_MAX;
	is_int(bs_retry_decide(&facts).next_attempt_ms, INT64_MAX,
		   "backoff: the end of time is not passed");
	facts = usual_facts(LATER, 40);
	facts.max_attempts = 100;
	facts.retry_initial_ms = 1;
	facts.retry_max_ms = INT64_MAX;
	facts.deadline_ms = INT64_MAX;
	is_int(bs_retry_decide(&facts).next_attempt_ms - facts.now_ms,
		   INT64_C(1) << 38, "backoff: no cap to speak of");
	facts.attempts = 90;
	facts.random = 1;
	is_int(bs_retry_decide(&facts).next_attempt_ms, INT64_MAX,
		   "backoff: no cap at all");
	facts.retry_initial_ms = -5;
	facts.retry_max_ms = -7;
	facts.random = 0;
	is_int(bs_retry_decide(&facts).next_attempt_ms, facts.now_ms,
		   "backoff: settings below nothing mean at once");
	facts = usual_facts(LATER, 1);
	facts.retry_initial_ms = 5000;
	facts.retry_max_ms = 100;
	is_int(bs_retry_decide(&facts).next_attempt_ms - facts.now_ms, 50,
		   "backoff: a cap below the first wait is the cap");
}

int
main(void)
{
	test_smtp_cases();
	test_crowded();
	test_smtp_matrix();
	test_http();
	test_verdicts();
	test_backoff();
	return tap_done();
}
