/*-------------------------------------------------------------------------
 *
 * planning_calendar.c
 *	  Local dates as instants, for SQL.
 *
 * The zone rules are read in C, because SQL's AT TIME ZONE takes some names for
 * fixed offsets.  The server's rule: a time inside the gap of a clock change is
 * later by the gap, and one that comes twice is the later of the two.
 *
 * src/server/planning/planning_calendar.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "core/text/date.h"
#include "server/base/bs_zone.h"

PG_FUNCTION_INFO_V1(bs_send_time);
PG_FUNCTION_INFO_V1(bs_send_time_or_null);
PG_FUNCTION_INFO_V1(bs_occurrence);
PG_FUNCTION_INFO_V1(bs_month_day);
PG_FUNCTION_INFO_V1(bs_celebrated);

static void
split_date(DateADT date, struct pg_tm *tm)
{
	j2date(date + POSTGRES_EPOCH_JDATE,
		   &tm->tm_year, &tm->tm_mon, &tm->tm_mday);
}

static DateADT
join_date(BsDate date)
{
	return date2j(date.year, date.month, date.day) - POSTGRES_EPOCH_JDATE;
}

static TimestampTz
local_to_instant(pg_tz *zone, DateADT date, TimeADT time)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;
	TimestampTz result;

	if (DATE_NOT_FINITE(date))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an infinite date has no send time")));
	if (time >= USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("send time must be before 24:00")));
	memset(&tm, 0, sizeof(tm));
	split_date(date, &tm);
	time2tm(time, &tm, &fsec);
	tm.tm_isdst = -1;
	tz = DetermineTimeZoneOffset(&tm, zone);
	if (tm2timestamp(&tm, fsec, &tz, &result) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return result;
}

Datum
bs_send_time(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	pg_tz	   *zone = bs_zone_find(name);

	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%.100s\" is not known",
						text_to_cstring(name)),
				 errhint("%s", bs_zone_hint())));
	PG_RETURN_TIMESTAMPTZ(local_to_instant(zone, PG_GETARG_DATEADT(1),
										   PG_GETARG_TIMEADT(2)));
}

Datum
bs_send_time_or_null(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	pg_tz	   *zone = bs_zone_find(name);

	if (zone == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(local_to_instant(zone, PG_GETARG_DATEADT(1),
										   PG_GETARG_TIMEADT(2)));
}

static BsFeb29Policy
get_policy(text *word)
{
	BsFeb29Policy policy;

	if (!bs_date_parse_policy(VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word),
							  &policy))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%.20s\" is not a policy for 29 February",
						text_to_cstring(word)),
				 errhint("Write feb28, mar1 or skip.")));
	return policy;
}

Datum
bs_occurrence(PG_FUNCTION_ARGS)
{
	DateADT		event_date = PG_GETARG_DATEADT(0);
	int32		year = PG_GETARG_INT32(1);
	BsFeb29Policy policy = get_policy(PG_GETARG_TEXT_PP(2));
	struct pg_tm tm;
	BsDate		event;
	BsDate		occurrence;

	if (DATE_NOT_FINITE(event_date))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an infinite date is not celebrated")));
	if (year < 1 || year > 9999)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("year must lie between 1 and 9999, not %d", year)));
	split_date(event_date, &tm);
	event.year = tm.tm_year;
	event.month = tm.tm_mon;
	event.day = tm.tm_mday;
	if (!bs_date_occurrence(event, year, policy, &occurrence))
		PG_RETURN_NULL();
	PG_RETURN_DATEADT(join_date(occurrence));
}

Datum
bs_month_day(PG_FUNCTION_ARGS)
{
	DateADT		date = PG_GETARG_DATEADT(0);
	struct pg_tm tm;

	if (DATE_NOT_FINITE(date))
		PG_RETURN_NULL();
	split_date(date, &tm);
	PG_RETURN_INT32(bs_date_month_day(tm.tm_mon, tm.tm_mday));
}

Datum
bs_celebrated(PG_FUNCTION_ARGS)
{
	DateADT		date = PG_GETARG_DATEADT(0);
	BsFeb29Policy policy = get_policy(PG_GETARG_TEXT_PP(1));
	struct pg_tm tm;
	BsDate		day;
	int			keys[2];
	Datum		elements[2];
	int			count;
	int			i;

	if (DATE_NOT_FINITE(date))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nothing is celebrated on an infinite date")));
	split_date(date, &tm);
	day.year = tm.tm_year;
	day.month = tm.tm_mon;
	day.day = tm.tm_mday;
	count = bs_date_celebrated(day, policy, keys);
	for (i = 0; i < count; i++)
		elements[i] = Int32GetDatum(keys[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, count, INT4OID,
										  sizeof(int32), true, TYPALIGN_INT));
}
