/*-------------------------------------------------------------------------
 *
 * test_limit.c
 *	  Token bucket and circuit breaker.
 *
 * test/unit/test_limit.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

#include <limits.h>
#include <math.h>
#include <stdint.h>

#include "core/sending/limit.h"

/* ---- bucket ---- */

static void
test_bucket(void)
{
	BsBucket	bucket = {0};
	int64_t		wait;

	is_int(bs_bucket_take(&bucket, 10, 4, 5000, &wait), 4,
		   "bucket: begins full");
	is_int(bs_bucket_take(&bucket, 10, 100, 5000, &wait), 6,
		   "bucket: holds one second's worth");
	is_int(wait, 0, "bucket: no wait where some were taken");
	is_int(bs_bucket_take(&bucket, 10, 1, 5000, &wait), 0, "bucket: empty");
	ok(wait >= 100 && wait <= 101, "bucket: the wait for one");
	is_int(bs_bucket_take(&bucket, 10, 1, 5050, &wait), 0, "bucket: not yet");
	ok(wait >= 50 && wait <= 51, "bucket: the rest of the wait");
	is_int(bs_bucket_take(&bucket, 10, 9, 5050 + wait, &wait), 1,
		   "bucket: one after the wait");
	is_int(bs_bucket_take(&bucket, 10, 3, 4000, &wait), 0,
		   "bucket: a clock that steps back brings nothing");
	is_int(bs_bucket_take(&bucket, 10, 99, 99000, &wait), 10,
		   "bucket: full again, and no more than full");
	bs_bucket_give_back(&bucket, 10, 3);
	is_int(bs_bucket_take(&bucket, 10, 99, 99000, &wait), 3,
		   "bucket: what was given back");
	bs_bucket_give_back(&bucket, 10, INT_MAX);
	is_int(bs_bucket_take(&bucket, 10, 99, 99000, &wait), 10,
		   "bucket: what was given back does not overflow it");
	bs_bucket_give_back(&bucket, 10, -5);
	is_int(bs_bucket_take(&bucket, 10, 0, 99000, &wait), 0,
		   "bucket: nothing wanted");
	is_int(wait, 0, "bucket: and no wait for nothing");
}

static void
test_bucket_rates(void)
{
	static const double unlimited[] = {0, -1, NAN, INFINITY, 1e300};
	BsBucket	bucket = {0};
	int64_t		wait = -1;
	size_t		i;

	for (i = 0; i < sizeof(unlimited) / sizeof(unlimited[0]); i++)
	{
		is_int(bs_bucket_take(&bucket, unlimited[i], 1000000, 1, &wait),
			   1000000, "bucket: no limit with a rate of %g", unlimited[i]);
		bs_bucket_give_back(&bucket, unlimited[i], 5);
	}

	is_int(bs_bucket_take(&bucket, 0.5, 5, 1000, &wait), 1,
		   "bucket: a slow one holds one");
	is_int(bs_bucket_take(&bucket, 0.5, 5, 1000, &wait), 0,
		   "bucket: and then none");
	ok(wait >= 2000 && wait <= 2001, "bucket: for two seconds");
	is_int(bs_bucket_take(&bucket, 0.5, 5, 1000 + wait, &wait), 1,
		   "bucket: and one again");
	is_int(bs_bucket_take(&bucket, 1e-12, 5, 9000, &wait), 0,
		   "bucket: a rate of almost none");
	is_int(wait, 86400000, "bucket: asks to look again after a day");
	is_int(bs_bucket_take(&bucket, 5, 99, INT64_MAX, &wait), 5,
		   "bucket: the end of time");

	bucket = (BsBucket)
	{
		0
	};
	is_int(bs_bucket_take(&bucket, 3, 3, 0, &wait), 3,
		   "bucket: begins full at time 0");
	is_int(bs_bucket_take(&bucket, 3, 3, 0, &wait), 0,
		   "bucket: but once only");
	bucket = (BsBucket)
	{
		0
	};
	(void) bs_bucket_take(&bucket, 1000, 0, 50, &wait);
	bs_bucket_give_back(&bucket, 1000, 5);
	is_int(bs_bucket_take(&bucket, 1000, 2000, 50, &wait), 1000,
		   "bucket: full although something was given back before");
	is_int(bs_bucket_take(&bucket, 10, 2000, 1050, &wait), 10,
		   "bucket: a lower rate makes it smaller");
}

/* However a minute is cut into calls, no more flows than rate and capacity. */
static void
test_bucket_flow(void)
{
	static const double rates[] = {0.3, 1, 7, 33.3, 1000};
	size_t		i;

	for (i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
	{
		BsBucket	bucket = {0};
		double		capacity = rates[i] > 1 ? rates[i] : 1;
		int64_t		now = 1000;
		int64_t		taken = 0;
		int64_t		wait;
		int			early = 0;
		unsigned int seed = 12345;

		while (now < 61000)
		{
			int			got = bs_bucket_take(&bucket, rates[i], 3, now, &wait);

			taken += got;
			early += got == 0 && wait < 1;
			seed = seed * 1103515245 + 12345;
			now += got > 0 ? (seed >> 16) % 3 : wait;
		}
		ok(taken <= 60 * rates[i] + capacity + 1 &&
		   taken >= 60 * rates[i] - 1 && early == 0,
		   "bucket: %g a second gives %lld in a minute",
		   rates[i], (long long) taken);
	}
}

/* ---- breaker ---- */

static const BsBreakerRule usual_rule = {0.5, 10, 10000, 30000};

static int
admit(BsBreaker *breaker, int wanted, int64_t now_ms)
{
	int64_t		wait;

	return bs_breaker_admit(breaker, &usual_rule, wanted, now_ms, &wait);
}

/* Reports "count" endings; how many of them changed the state. */
static int
report(BsBreaker *breaker, bool trouble, int count, int64_t now_ms)
{
	int			changes = 0;

	while (count-- > 0)
		changes += bs_breaker_report(breaker, &usual_rule, trouble, now_ms);
	return changes;
}

static void
test_breaker_opens(void)
{
	BsBreaker	breaker = {0};
	int64_t		wait;

	is_int(admit(&breaker, 100, 50000), 100, "breaker: begins closed");
	is_int(report(&breaker, true, 9, 50000), 0, "breaker: 9 troubles");
	is_int(admit(&breaker, 100, 50000), 100, "breaker: are too few");
	is_int(report(&breaker, true, 1, 50000), 1, "breaker: 10 open it");
	is_int(breaker.state, BS_BREAKER_OPEN, "breaker: open");
	is_int(bs_breaker_admit(&breaker, &usual_rule, 100, 50001, &wait), 0,
		   "breaker: nothing is tried");
	is_int(wait, 29999, "breaker: until the end");
	is_int(report(&breaker, true, 5, 50500), 0,
		   "breaker: what was under way changes nothing");
	is_int(report(&breaker, false, 5, 50500), 0,
		   "breaker: nor does a success of before");
	is_int(admit(&breaker, 100, 79999), 0, "breaker: still open");
	is_int(admit(&breaker, 100, 80000), 1, "breaker: one probe");
	is_int(breaker.state, BS_BREAKER_PROBING, "breaker: probing");
	is_int(bs_breaker_admit(&breaker, &usual_rule, 100, 80000, &wait), 0,
		   "breaker: one only");
	is_int(wait, 30000, "breaker: asks again when the probe is lost");
	is_int(report(&breaker, true, 1, 80100), 1, "breaker: the probe fails");
	is_int(admit(&breaker, 1, 110099), 0, "breaker: open as long again");
	is_int(admit(&breaker, 1, 110100), 1, "breaker: another probe");
	is_int(admit(&breaker, 1, 140099), 0, "breaker: no word of it yet");
	is_int(admit(&breaker, 1, 140100), 1, "breaker: given up, and another");
	is_int(report(&breaker, false, 1, 140200), 1, "breaker: it succeeds");
	is_int(breaker.state, BS_BREAKER_CLOSED, "breaker: closed");
	is_int(admit(&breaker, 100, 140200), 100, "breaker: mail flows");
	is_int(report(&breaker, true, 9, 140200), 0,
		   "breaker: what was before is forgotten");
}

static void
test_breaker_ratio(void)
{
	BsBreaker	breaker = {0};

	report(&breaker, false, 11, 1000);
	is_int(report(&breaker, true, 10, 1000), 0, "breaker: 10 of 21 is not half");
	is_int(report(&breaker, true, 1, 1000), 1, "breaker: 11 of 22 is");

	breaker = (BsBreaker)
	{
		0
	};
	report(&breaker, true, 9, 1000);
	is_int(report(&breaker, false, 1, 1000), 0,
		   "breaker: a success does not open it");
	is_int(breaker.state, BS_BREAKER_CLOSED, "breaker: so it stays closed");
	is_int(report(&breaker, true, 1, 1000), 1, "breaker: the next trouble does");
}

static void
test_breaker_window(void)
{
	BsBreaker	breaker = {0};
	int64_t		now;
	int			changes = 0;

	report(&breaker, true, 9, 100000);
	is_int(report(&breaker, true, 1, 110000), 0,
		   "breaker: what is ten seconds old is forgotten");
	breaker = (BsBreaker)
	{
		0
	};
	report(&breaker, true, 9, 100000);
	is_int(report(&breaker, true, 1, 109999), 1,
		   "breaker: what is younger is not");

	breaker = (BsBreaker)
	{
		0
	};
	for (now = 100000; now < 200000; now += 1200)
		changes += report(&breaker, true, 1, now);
	is_int(changes, 0, "breaker: troubles that are rare never open it");

	breaker = (BsBreaker)
	{
		0
	};
	changes = 0;
	for (now = 100000; now < 200000; now += 1000)
		changes += report(&breaker, true, 1, now);
	is_int(changes, 1, "breaker: one a second does");

	breaker = (BsBreaker)
	{
		0
	};
	report(&breaker, true, 9, 100000);
	is_int(report(&breaker, true, 1, 100000 + 10 * 10000), 0,
		   "breaker: a slot that comes round again is empty");
}

static void
test_breaker_rules(void)
{
	BsBreaker	breaker = {0};
	BsBreakerRule off = usual_rule;
	BsBreakerRule shorter = usual_rule;
	BsBreakerRule odd = {1e-9, -3, 0, -100};
	int64_t		wait;

	off.ratio = 0;
	shorter.open_ms = 500;
	report(&breaker, true, 10, 1000);
	is_int(bs_breaker_admit(&breaker, &shorter, 1, 1000, &wait), 0,
		   "breaker: a shorter rule");
	is_int(wait, 500, "breaker: holds at once");
	is_int(bs_breaker_admit(&breaker, &off, 7, 1000, &wait), 7,
		   "breaker: switched off while open");
	is_int(breaker.state, BS_BREAKER_CLOSED, "breaker: is closed");
	is_int(bs_breaker_report(&breaker, &off, true, 1000), 0,
		   "breaker: off, it counts nothing");
	is_int(report(&breaker, true, 9, 1000), 0,
		   "breaker: switched on, it begins anew");
	report(&breaker, true, 1, 1000);
	is_int(bs_breaker_report(&breaker, &off, false, 1000), 1,
		   "breaker: a report finds it open and the rule off");
	off.ratio = NAN;
	is_int(bs_breaker_admit(&breaker, &off, 7, 1000, &wait), 7,
		   "breaker: a ratio that is no number is off");
	is_int(bs_breaker_admit(&breaker, &usual_rule, 0, 1000, &wait), 0,
		   "breaker: nothing wanted");

	breaker = (BsBreaker)
	{
		0
	};
	is_int(bs_breaker_report(&breaker, &odd, true, 5), 1,
		   "breaker: the least rule opens at the first trouble");
	is_int(bs_breaker_admit(&breaker, &odd, 5, 5, &wait), 0,
		   "breaker: and for a moment");
	is_int(bs_breaker_admit(&breaker, &odd, 5, 5 + wait, &wait), 1,
		   "breaker: then probes");
}

int
main(void)
{
	test_bucket();
	test_bucket_rates();
	test_bucket_flow();
	test_breaker_opens();
	test_breaker_ratio();
	test_breaker_window();
	test_breaker_rules();
	return tap_done();
}
