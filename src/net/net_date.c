/*-------------------------------------------------------------------------
 *
 * net_date.c
 *	  Calendar arithmetic on the proleptic Gregorian calendar.
 *
 * src/net/net_date.c
 *
 *-------------------------------------------------------------------------
 */
#include "net/net_date.h"

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
