/*-------------------------------------------------------------------------
 *
 * date.h
 *	  Calendar arithmetic on the proleptic Gregorian calendar.
 *
 * No time zones here: what a local date is as an instant needs the server's
 * zone rules and is decided in the planning room.
 *
 * src/core/text/date.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_DATE_H
#define BS_CORE_DATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What becomes of 29 February in a year that has none. */
typedef enum BsFeb29Policy
{
	BS_FEB29_FEB28,				/* celebrated on 28 February */
	BS_FEB29_MAR1,				/* celebrated on 1 March */
	BS_FEB29_SKIP				/* not celebrated */
} BsFeb29Policy;

typedef struct BsDate
{
	int			year;			/* 1 to 9999 */
	int			month;			/* 1 to 12 */
	int			day;			/* 1 to 31 */
} BsDate;

/* "feb28", "mar1" or "skip"; false where the word is none of them. */
extern bool bs_date_parse_policy(const char *word, size_t len,
								 BsFeb29Policy *policy);

extern bool bs_date_is_leap(int year);

/*
 * Is there such a day?  No to 31 September, 29 February 1900 and the year 0.
 */
extern bool bs_date_is_valid(BsDate date);

/* Days since 1970-01-01, and back; the date must be one. */
extern int32_t bs_date_to_days(BsDate date);
extern BsDate bs_date_from_days(int32_t days);

/* 101 for 1 January to 1231 for 31 December: the key planning searches by. */
extern int	bs_date_month_day(int month, int day);

/*
 * The date in "year" on which the event's day is celebrated; false where the
 * policy skips that year, and where the event or the year (1 to 9999) is none.
 * Nothing is said of years before the event.
 */
extern bool bs_date_occurrence(BsDate event, int year, BsFeb29Policy policy,
							   BsDate *occurrence);

/*
 * The months and days whose events are celebrated on "day": its own, and
 * 29 February where the policy moves that day here.  At most two; returns
 * how many, 0 where "day" is not a date.
 */
extern int	bs_date_celebrated(BsDate day, BsFeb29Policy policy,
							   int month_days[2]);

/* English ordinal, "1st", "22nd", "113th", into buf (at least 16 bytes). */
extern void bs_date_ordinal(int number, char *buf, size_t size);

#endif							/* BS_CORE_DATE_H */
