/*-------------------------------------------------------------------------
 *
 * test_date.c
 *	  Tests of the calendar arithmetic.
 *
 * test/unit/test_date.c
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>

#include "core/text/date.h"
#include "tap.h"

static const BsFeb29Policy policies[] = {
	BS_FEB29_FEB28, BS_FEB29_MAR1, BS_FEB29_SKIP
};

/* The occurrence as text, "none" where there is none. */
static const char *
occurrence(int year, int month, int day, int in_year, BsFeb29Policy policy)
{
	static char text[64];
	BsDate		event = {year, month, day};
	BsDate		found = {0, 0, 0};

	if (!bs_date_occurrence(event, in_year, policy, &found))
		return "none";
	snprintf(text, sizeof(text), "%04d-%02d-%02d",
			 found.year, found.month, found.day);
	return text;
}

static const char *
celebrated(int year, int month, int day, BsFeb29Policy policy)
{
	static char text[64];
	BsDate		date = {year, month, day};
	int			found[2] = {0, 0};
	int			count = bs_date_celebrated(date, policy, found);

	if (count == 2)
		snprintf(text, sizeof(text), "%d %d", found[0], found[1]);
	else if (count == 1)
		snprintf(text, sizeof(text), "%d", found[0]);
	else
		snprintf(text, sizeof(text), "none");
	return text;
}

static const char *
ordinal(int number)
{
	static char text[16];

	bs_date_ordinal(number, text, sizeof(text));
	return text;
}

static void
test_policy(void)
{
	BsFeb29Policy policy = BS_FEB29_SKIP;

	ok(bs_date_parse_policy("feb28", 5, &policy) && policy == BS_FEB29_FEB28,
	   "EC-BD-003 feb28 is a policy");
	ok(bs_date_parse_policy("mar1", 4, &policy) && policy == BS_FEB29_MAR1,
	   "EC-BD-003 mar1 is a policy");
	ok(bs_date_parse_policy("skip", 4, &policy) && policy == BS_FEB29_SKIP,
	   "EC-BD-003 skip is a policy");
	ok(!bs_date_parse_policy("", 0, &policy), "the empty word is none");
	ok(!bs_date_parse_policy("FEB28", 5, &policy), "case counts");
	ok(!bs_date_parse_policy("feb2", 4, &policy), "a part is none");
	ok(!bs_date_parse_policy("feb289", 6, &policy), "more is none");
	ok(bs_date_parse_policy("skipper", 4, &policy), "the length counts");
}

static void
test_calendar(void)
{
	static const struct
	{
		int			year;
		int			month;
		int			day;
		bool		valid;
		const char *name;
	}			cases[] = {
		{2000, 2, 29, true, "EC-BD-005, 017 29 February 2000 is a day"},
		{1900, 2, 29, false, "EC-BD-004, 016 29 February 1900 is none"},
		{2024, 2, 29, true, "29 February 2024 is a day"},
		{2023, 2, 29, false, "29 February 2023 is none"},
		{2100, 2, 29, false, "29 February 2100 is none"},
		{2024, 2, 30, false, "30 February is none"},
		{2024, 9, 31, false, "EC-BD-008 31 September is none"},
		{2024, 4, 31, false, "31 April is none"},
		{2024, 12, 31, true, "31 December is a day"},
		{2024, 12, 32, false, "32 December is none"},
		{2024, 1, 0, false, "day 0 is none"},
		{2024, 0, 1, false, "month 0 is none"},
		{2024, 13, 1, false, "month 13 is none"},
		{2024, -1, -1, false, "negative numbers are none"},
		{1850, 7, 4, true, "EC-BD-011 1850 is a year"},
		{2038, 1, 20, true, "EC-BD-018 2038 is a year"},
		{9999, 12, 31, true, "EC-BD-019 9999 is the last year"},
		{10000, 1, 1, false, "EC-BD-019 10000 is none"},
		{0, 1, 1, false, "EC-BD-020 the year 0 is none"},
		{-44, 3, 15, false, "EC-BD-020 years before it are none"},
		{INT_MAX, INT_MAX, INT_MAX, false, "huge numbers are none"},
		{INT_MIN, INT_MIN, INT_MIN, false, "nor are those below zero"},
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		BsDate		date = {cases[i].year, cases[i].month, cases[i].day};

		ok(bs_date_is_valid(date) == cases[i].valid, "%s", cases[i].name);
	}
	ok(bs_date_is_leap(2000) && bs_date_is_leap(2024) &&
	   !bs_date_is_leap(1900) && !bs_date_is_leap(2023),
	   "leap years are those of Gregory");
	is_int(bs_date_month_day(1, 1), 101, "1 January is 101");
	is_int(bs_date_month_day(12, 31), 1231, "31 December is 1231");
}

static void
test_occurrence(void)
{
	is_str(occurrence(1996, 2, 29, 2024, BS_FEB29_FEB28), "2024-02-29",
		   "EC-BD-001 29 February in a leap year");
	is_str(occurrence(1996, 2, 29, 2024, BS_FEB29_SKIP), "2024-02-29",
		   "EC-BD-001 whatever the policy");
	is_str(occurrence(1996, 2, 29, 2023, BS_FEB29_FEB28), "2023-02-28",
		   "EC-BD-002 29 February in a common year");
	is_str(occurrence(1996, 2, 29, 2023, BS_FEB29_MAR1), "2023-03-01",
		   "EC-BD-003 or 1 March");
	is_str(occurrence(1996, 2, 29, 2023, BS_FEB29_SKIP), "none",
		   "EC-BD-003 or not at all");
	is_str(occurrence(1996, 2, 29, 2100, BS_FEB29_FEB28), "2100-02-28",
		   "2100 is a common year");
	is_str(occurrence(1996, 2, 28, 2024, BS_FEB29_FEB28), "2024-02-28",
		   "28 February stays in a leap year");
	is_str(occurrence(1996, 3, 1, 2023, BS_FEB29_MAR1), "2023-03-01",
		   "1 March stays in a common year");
	is_str(occurrence(1990, 1, 1, 2025, BS_FEB29_FEB28), "2025-01-01",
		   "EC-BD-006 1 January");
	is_str(occurrence(1990, 12, 31, 2025, BS_FEB29_FEB28), "2025-12-31",
		   "EC-BD-007 31 December");
	is_str(occurrence(1990, 1, 31, 2025, BS_FEB29_FEB28), "2025-01-31",
		   "EC-BD-014 31 January");
	is_str(occurrence(1990, 2, 1, 2025, BS_FEB29_FEB28), "2025-02-01",
		   "EC-BD-014 1 February");
	is_str(occurrence(1850, 7, 4, 2026, BS_FEB29_FEB28), "2026-07-04",
		   "EC-BD-011 someone born in 1850");
	is_str(occurrence(1996, 2, 29, 2039, BS_FEB29_FEB28), "2039-02-28",
		   "EC-BD-018 beyond 2038");
	is_str(occurrence(2000, 5, 5, 9999, BS_FEB29_FEB28), "9999-05-05",
		   "EC-BD-019 the year 9999");
	is_str(occurrence(2000, 5, 5, 10000, BS_FEB29_FEB28), "none",
		   "EC-BD-019 no year beyond");
	is_str(occurrence(2000, 5, 5, 0, BS_FEB29_FEB28), "none",
		   "EC-BD-020 no year 0");
	is_str(occurrence(1900, 2, 29, 2024, BS_FEB29_FEB28), "none",
		   "EC-BD-004 an event that never was has no occurrence");
	is_str(occurrence(2000, 9, 31, 2024, BS_FEB29_FEB28), "none",
		   "EC-BD-008 nor has 31 September");
	is_str(occurrence(2012, 2, 29, 2015, BS_FEB29_FEB28), "2015-02-28",
		   "EC-AN-005 an anniversary on 29 February is like a birthday");
}

static void
test_celebrated(void)
{
	is_str(celebrated(2023, 2, 28, BS_FEB29_FEB28), "228 229",
		   "28 February of a common year is also theirs of the 29th");
	is_str(celebrated(2024, 2, 28, BS_FEB29_FEB28), "228",
		   "but not of a leap year");
	is_str(celebrated(2024, 2, 29, BS_FEB29_FEB28), "229",
		   "who have their own then");
	is_str(celebrated(2023, 3, 1, BS_FEB29_FEB28), "301",
		   "and nothing on 1 March");
	is_str(celebrated(2023, 3, 1, BS_FEB29_MAR1), "301 229",
		   "unless the policy says so");
	is_str(celebrated(2024, 3, 1, BS_FEB29_MAR1), "301",
		   "not in a leap year either");
	is_str(celebrated(2023, 2, 28, BS_FEB29_MAR1), "228",
		   "then 28 February is only itself");
	is_str(celebrated(2023, 2, 28, BS_FEB29_SKIP), "228",
		   "as where the day is skipped");
	is_str(celebrated(2023, 3, 1, BS_FEB29_SKIP), "301",
		   "and so is 1 March");
	is_str(celebrated(2023, 2, 29, BS_FEB29_FEB28), "none",
		   "nobody celebrates on a day that is none");
	is_str(celebrated(2024, 12, 31, BS_FEB29_FEB28), "1231",
		   "31 December is 31 December");
}

/*
 * The day an event has in a year is a day that celebrates it, and no other is.
 */
static void
test_agreement(void)
{
	static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	size_t		p;

	for (p = 0; p < 3; p++)
	{
		long		wrong = 0;
		long		found = 0;
		int			year;
		int			month;
		int			day;

		for (year = 1895; year <= 2105; year++)
			for (month = 1; month <= 12; month++)
				for (day = 1; day <= days[month - 1]; day++)
				{
					BsDate		date = {year, month, day};
					int			keys[2];
					int			count = bs_date_celebrated(date, policies[p],
														   keys);

					found += count;
					while (count-- > 0)
					{
						BsDate		event = {2000, keys[count] / 100,
						keys[count] % 100};
						BsDate		back = {0, 0, 0};

						if (!bs_date_occurrence(event, year, policies[p],
												&back) ||
							memcmp(&back, &date, sizeof(back)) != 0)
							wrong++;
					}
				}
		is_int(wrong, 0, "policy %d: who is celebrated has the day", (int) p);

		/* 211 years, 51 of them leap; "skip" loses 160 times 29 February. */
		is_int(found, policies[p] == BS_FEB29_SKIP ? 211 * 366 - 160 :
			   211 * 366, "policy %d: nobody is left out, nobody twice",
			   (int) p);
	}
}

static void
test_ordinal(void)
{
	static const struct
	{
		int			number;
		const char *text;
	}			cases[] = {
		{0, "0th"}, {1, "1st"}, {2, "2nd"}, {3, "3rd"}, {4, "4th"},
		{10, "10th"}, {11, "11th"}, {12, "12th"}, {13, "13th"},
		{14, "14th"}, {20, "20th"}, {21, "21st"}, {22, "22nd"},
		{23, "23rd"}, {24, "24th"}, {50, "50th"}, {99, "99th"},
		{100, "100th"}, {101, "101st"}, {102, "102nd"}, {103, "103rd"},
		{110, "110th"}, {111, "111th"}, {112, "112th"}, {113, "113th"},
		{121, "121st"}, {151, "151st"}, {1011, "1011th"}, {1111, "1111th"},
		{-1, "-1st"}, {-11, "-11th"},
		{INT_MAX, "2147483647th"}, {INT_MIN, "-2147483648th"},
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_str(ordinal(cases[i].number), cases[i].text,
			   "%s%d is the %s", cases[i].number == 1 ? "EC-BD-022 " : "",
			   cases[i].number, cases[i].text);
}

static void
is_day(int year, int month, int day, int32_t days)
{
	BsDate		date = {year, month, day};
	BsDate		back = bs_date_from_days(days);

	is_int(bs_date_to_days(date), days, "%04d-%02d-%02d is day %d",
		   year, month, day, (int) days);
	ok(back.year == year && back.month == month && back.day == day,
	   "and day %d is that date", (int) days);
}

static void
test_days(void)
{
	BsDate		date = {1, 1, 1};
	int32_t		days;
	int			wrong = 0;

	is_day(1970, 1, 1, 0);
	is_day(1969, 12, 31, -1);
	is_day(2000, 2, 29, 11016);
	is_day(2000, 3, 1, 11017);
	is_day(1900, 2, 28, -25509);
	is_day(1900, 3, 1, -25508);
	is_day(1, 1, 1, -719162);
	is_day(9999, 12, 31, 2932896);

	for (days = -719162; days <= 2932896; days++)
	{
		BsDate		found = bs_date_from_days(days);

		wrong += found.year != date.year || found.month != date.month ||
			found.day != date.day || bs_date_to_days(date) != days;
		date.day++;
		if (!bs_date_is_valid(date))
		{
			date.day = 1;
			date.month++;
		}
		if (date.month == 13)
		{
			date.month = 1;
			date.year++;
		}
	}
	is_int(wrong, 0, "each day of ten thousand years comes after the last");
}

int
main(void)
{
	/* Three words name a policy, and nothing else does. */
	test_policy();
	/* A date is a day of the Gregorian calendar from year 1 to 9999. */
	test_calendar();
	/* Only 29 February moves, only in common years, and as the policy says. */
	test_occurrence();
	/* The search of a day finds those whose day it is. */
	test_celebrated();
	/* Days are counted without a gap. */
	test_days();
	/* The two directions agree over two centuries. */
	test_agreement();
	/* English ordinals, with exceptions from 11 to 13 in each hundred. */
	test_ordinal();
	return tap_done();
}
