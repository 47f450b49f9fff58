/*-------------------------------------------------------------------------
 *
 * date.c
 *	  Calendar arithmetic on the proleptic Gregorian calendar.
 *
 * src/core/text/date.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/text/date.h"

#include <stdio.h>
#include <string.h>

static const char *const policy_words[] = {
	[BS_FEB29_FEB28] = "feb28",
	[BS_FEB29_MAR1] = "mar1",
	[BS_FEB29_SKIP] = "skip",
};

bool
bs_date_parse_policy(const char *word, size_t len, BsFeb29Policy *policy)
{
	size_t		i;

	for (i = 0; i < sizeof(policy_words) / sizeof(policy_words[0]); i++)
	{
		if (strlen(policy_words[i]) == len &&
			memcmp(policy_words[i], word, len) == 0)
		{
			*policy = (BsFeb29Policy) i;
			return true;
		}
	}
	return false;
}

bool
bs_date_is_leap(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

bool
bs_date_is_valid(BsDate date)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (date.year < 1 || date.year > 9999 ||
		date.month < 1 || date.month > 12 || date.day < 1)
		return false;
	if (date.month == 2 && date.day == 29)
		return bs_date_is_leap(date.year);
	return date.day <= days[date.month - 1];
}

/*
 * Years are counted from March, so that the day that comes and goes is a year's
 * last; eras of 400 years are all of the same length.
 */
#define DAYS_OF_ERA			146097
#define DAYS_BEFORE_1970	719468	/* since 1 March of the year 0 */

/* Of the months before the one that comes "month" after March. */
static int
days_before_month(int month)
{
	return (153 * month + 2) / 5;
}

/* Of the first "year" years of an era. */
static int
days_before_year(int year)
{
	return year * 365 + year / 4 - year / 100;
}

int32_t
bs_date_to_days(BsDate date)
{
	int			year = date.month > 2 ? date.year : date.year - 1;

	return year / 400 * DAYS_OF_ERA + days_before_year(year % 400) +
		days_before_month((date.month + 9) % 12) + date.day - 1 -
		DAYS_BEFORE_1970;
}

BsDate
bs_date_from_days(int32_t days)
{
	int			era = (days + DAYS_BEFORE_1970) / DAYS_OF_ERA;
	int			day = (days + DAYS_BEFORE_1970) % DAYS_OF_ERA;
	int			year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int			month;
	BsDate		date;

	day -= days_before_year(year);
	month = (5 * day + 2) / 153;
	date.day = day - days_before_month(month) + 1;
	date.month = month < 10 ? month + 3 : month - 9;
	date.year = era * 400 + year + (date.month <= 2);
	return date;
}

int
bs_date_month_day(int month, int day)
{
	return month * 100 + day;
}

/*
 * bs_date_occurrence
 *		The day of "year" on which the event is celebrated.
 *
 * Always from the event itself: going from year to year, 28 February would
 * stick once a common year has been met.
 */
bool
bs_date_occurrence(BsDate event, int year, BsFeb29Policy policy,
				   BsDate *occurrence)
{
	BsDate		day = event;

	if (!bs_date_is_valid(event))
		return false;
	day.year = year;
	if (event.month == 2 && event.day == 29 && !bs_date_is_leap(year))
	{
		switch (policy)
		{
			case BS_FEB29_FEB28:
				day.day = 28;
				break;
			case BS_FEB29_MAR1:
				day.month = 3;
				day.day = 1;
				break;
			case BS_FEB29_SKIP:
				return false;
		}
	}
	if (!bs_date_is_valid(day))
		return false;
	*occurrence = day;
	return true;
}

int
bs_date_celebrated(BsDate day, BsFeb29Policy policy, int month_days[2])
{
	int			own = bs_date_month_day(day.month, day.day);
	int			count = 0;

	if (!bs_date_is_valid(day))
		return 0;
	month_days[count++] = own;
	if (!bs_date_is_leap(day.year) &&
		((policy == BS_FEB29_FEB28 && own == 228) ||
		 (policy == BS_FEB29_MAR1 && own == 301)))
		month_days[count++] = 229;
	return count;
}

void
bs_date_ordinal(int number, char *buf, size_t size)
{
	int			tens = number / 10 % 10;
	int			units = number % 10;
	const char *suffix = "th";

	if (tens < 0)
		tens = -tens;
	if (units < 0)
		units = -units;
	if (tens != 1)
	{
		if (units == 1)
			suffix = "st";
		else if (units == 2)
			suffix = "nd";
		else if (units == 3)
			suffix = "rd";
	}
	snprintf(buf, size, "%d%s", number, suffix);
}
