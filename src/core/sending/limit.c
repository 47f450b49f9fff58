/*-------------------------------------------------------------------------
 *
 * limit.c
 *	  Token bucket and circuit breaker as plain state and arithmetic.
 *
 * The state lies in memory that outlives a change of settings, so a rate or a
 * rule may differ from call to call; what an old one left is cut to the new.
 *
 * src/core/sending/limit.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/limit.h"

#include <string.h>

/* No answer asks for a longer wait: the caller looks again. */
#define LONGEST_WAIT_MS		INT64_C(86400000)

static double
bucket_capacity(double rate)
{
	return rate > 1 ? rate : 1;
}

static bool
is_unlimited(double rate)
{
	return !(rate > 0) || rate > 1e15;	/* NaN as well */
}

/*
 * bs_bucket_take
 *		Take up to "wanted" tokens.
 */
int
bs_bucket_take(BsBucket *bucket, double rate, int wanted,
			   int64_t now_ms, int64_t *wait_ms)
{
	double		capacity;
	double		missing_ms;
	int			taken;

	*wait_ms = 0;
	if (wanted <= 0)
		return 0;
	if (is_unlimited(rate))
		return wanted;

	capacity = bucket_capacity(rate);
	if (bucket->filled_ms == 0)
		bucket->tokens = capacity;
	else if (now_ms > bucket->filled_ms)
		bucket->tokens += rate *
			((double) now_ms - (double) bucket->filled_ms) / 1000;
	if (!(bucket->tokens < capacity))
		bucket->tokens = capacity;
	bucket->filled_ms = now_ms != 0 ? now_ms : 1;

	if (bucket->tokens >= 1)
	{
		taken = bucket->tokens < wanted ? (int) bucket->tokens : wanted;
		bucket->tokens -= taken;
		return taken;
	}

	/* Rounded up, or the caller would come back too early. */
	missing_ms = (1 - bucket->tokens) / rate * 1000;
	*wait_ms = missing_ms < (double) LONGEST_WAIT_MS ?
		(int64_t) missing_ms + 1 : LONGEST_WAIT_MS;
	return 0;
}

/*
 * bs_bucket_give_back
 *		Return tokens that were taken and not needed.
 */
void
bs_bucket_give_back(BsBucket *bucket, double rate, int count)
{
	double		capacity = bucket_capacity(rate);

	if (count <= 0 || is_unlimited(rate) || bucket->filled_ms == 0)
		return;
	bucket->tokens += count;
	if (bucket->tokens > capacity)
		bucket->tokens = capacity;
}

static bool
breaker_is_off(const BsBreakerRule *rule)
{
	return !(rule->ratio > 0);
}

static int64_t
at_least(int64_t value, int64_t least)
{
	return value > least ? value : least;
}

static void
breaker_forget(BsBreaker *breaker)
{
	memset(breaker, 0, sizeof(*breaker));
	breaker->state = BS_BREAKER_CLOSED;
}

/* Nothing but the probe is tried for open_ms from now on. */
static void
breaker_hold(BsBreaker *breaker, const BsBreakerRule *rule,
			 BsBreakerState state, int64_t now_ms)
{
	breaker->state = state;
	breaker->open_until_ms = now_ms + at_least(rule->open_ms, 1);
}

/*
 * bs_breaker_admit
 *		How many messages may be tried now.
 *
 * A rule with a shorter open_ms takes effect at once, for a breaker that is
 * open already as well.
 */
int
bs_breaker_admit(BsBreaker *breaker, const BsBreakerRule *rule,
				 int wanted, int64_t now_ms, int64_t *wait_ms)
{
	int64_t		open_ms = at_least(rule->open_ms, 1);

	*wait_ms = 0;
	if (wanted <= 0)
		return 0;
	if (breaker_is_off(rule) && breaker->state != BS_BREAKER_CLOSED)
		breaker_forget(breaker);
	if (breaker->state == BS_BREAKER_CLOSED)
		return wanted;

	if (breaker->open_until_ms > now_ms + open_ms)
		breaker->open_until_ms = now_ms + open_ms;
	if (now_ms < breaker->open_until_ms)
	{
		*wait_ms = breaker->open_until_ms - now_ms;
		return 0;
	}

	breaker_hold(breaker, rule, BS_BREAKER_PROBING, now_ms);
	return 1;
}

/* Has the share of troubles in the window reached the rule's? */
static bool
breaker_is_due(const BsBreaker *breaker, const BsBreakerRule *rule,
			   int64_t now_ms, int64_t slot_ms)
{
	int64_t		good = 0;
	int64_t		bad = 0;
	int			i;

	for (i = 0; i < BS_BREAKER_SLOTS; i++)
	{
		int64_t		age = now_ms - breaker->slot_start_ms[i];

		if (age >= 0 && age < slot_ms * BS_BREAKER_SLOTS)
		{
			good += breaker->good[i];
			bad += breaker->bad[i];
		}
	}
	return good + bad >= at_least(rule->min_attempts, 1) &&
		(double) bad >= rule->ratio * (double) (good + bad);
}

/*
 * bs_breaker_report
 *		Count one attempt that ended.
 *
 * While the breaker is open, what ends was begun before and changes nothing.
 * While it probes, the first report decides: it may be that of an attempt which
 * was begun earlier, and tells as much about the relay.
 */
bool
bs_breaker_report(BsBreaker *breaker, const BsBreakerRule *rule,
				  bool trouble, int64_t now_ms)
{
	int64_t		slot_ms = at_least(rule->window_ms / BS_BREAKER_SLOTS, 1);
	int64_t		slot_start = now_ms - now_ms % slot_ms;
	int			slot = (int) (now_ms / slot_ms % BS_BREAKER_SLOTS);

	if (breaker_is_off(rule))
	{
		bool		was_closed = breaker->state == BS_BREAKER_CLOSED;

		breaker_forget(breaker);
		return !was_closed;
	}

	switch (breaker->state)
	{
		case BS_BREAKER_CLOSED:
			break;
		case BS_BREAKER_PROBING:
			if (trouble)
				breaker_hold(breaker, rule, BS_BREAKER_OPEN, now_ms);
			else
				breaker_forget(breaker);
			return true;
		default:
			return false;
	}

	if (slot < 0)				/* a clock before its epoch */
		return false;
	if (breaker->slot_start_ms[slot] != slot_start)
	{
		breaker->slot_start_ms[slot] = slot_start;
		breaker->good[slot] = 0;
		breaker->bad[slot] = 0;
	}
	if (trouble)
		breaker->bad[slot]++;
	else
		breaker->good[slot]++;

	/* Only trouble can open it: a success after many troubles must not. */
	if (!trouble || !breaker_is_due(breaker, rule, now_ms, slot_ms))
		return false;
	breaker_hold(breaker, rule, BS_BREAKER_OPEN, now_ms);
	return true;
}
