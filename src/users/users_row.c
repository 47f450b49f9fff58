/*-------------------------------------------------------------------------
 *
 * users_row.c
 *	  What a row of users must be: normalised and checked before it is written.
 *
 * A BEFORE ROW trigger in C, because a million users are loaded with COPY.  The
 * table's CHECK constraints say the same once more, for rows that come when
 * triggers are off; they cannot give hints, and they cannot know today's date.
 *
 * src/users/users_row.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "net/net_address.h"
#include "bs_zone.h"

PG_FUNCTION_INFO_V1(bs_users_before_write);
PG_FUNCTION_INFO_V1(bs_is_email);

/* The columns that are looked at, in the order of their checks. */
typedef enum BsUserColumn
{
	BS_USER_FIRST_NAME,
	BS_USER_LAST_NAME,
	BS_USER_EMAIL,
	BS_USER_TIMEZONE,
	BS_USER_BIRTHDAY_DATE,
	BS_USER_ANNIVERSARY_DATE,
	BS_USER_LOCATION_CITY,
	BS_USER_LOCATION_COUNTRY,
	BS_USER_CREATED_AT,
	BS_USER_UPDATED_AT,
	BS_USER_COLUMN_COUNT
} BsUserColumn;

static const char *const column_names[BS_USER_COLUMN_COUNT] = {
	[BS_USER_FIRST_NAME] = "first_name",
	[BS_USER_LAST_NAME] = "last_name",
	[BS_USER_EMAIL] = "email",
	[BS_USER_TIMEZONE] = "timezone",
	[BS_USER_BIRTHDAY_DATE] = "birthday_date",
	[BS_USER_ANNIVERSARY_DATE] = "anniversary_date",
	[BS_USER_LOCATION_CITY] = "location_city",
	[BS_USER_LOCATION_COUNTRY] = "location_country",
	[BS_USER_CREATED_AT] = "created_at",
	[BS_USER_UPDATED_AT] = "updated_at"
};

static Oid
column_type(BsUserColumn column)
{
	switch (column)
	{
		case BS_USER_BIRTHDAY_DATE:
		case BS_USER_ANNIVERSARY_DATE:
			return DATEOID;
		case BS_USER_CREATED_AT:
		case BS_USER_UPDATED_AT:
			return TIMESTAMPTZOID;
		default:
			return VARCHAROID;
	}
}

typedef struct BsUserRow
{
	HeapTuple	old;			/* NULL for an INSERT */
	TupleDesc	desc;
	int			attnum[BS_USER_COLUMN_COUNT];
	Datum		value[BS_USER_COLUMN_COUNT];
	bool		isnull[BS_USER_COLUMN_COUNT];
	int			replaced;		/* how many of the three below are used */
	int			replace_attnum[BS_USER_COLUMN_COUNT];
	Datum		replace_value[BS_USER_COLUMN_COUNT];
	bool		replace_isnull[BS_USER_COLUMN_COUNT];
} BsUserRow;

static void
replace(BsUserRow *row, BsUserColumn column, Datum value, bool isnull)
{
	int			i = row->replaced++;

	row->value[column] = value;
	row->isnull[column] = isnull;
	row->replace_attnum[i] = row->attnum[column];
	row->replace_value[i] = value;
	row->replace_isnull[i] = isnull;
}

/*
 * Does an UPDATE change this text?  True for an INSERT.
 */
static bool
is_changed(BsUserRow *row, BsUserColumn column)
{
	Datum		old;
	bool		isnull;

	if (row->old == NULL)
		return true;
	old = heap_getattr(row->old, row->attnum[column], row->desc, &isnull);
	if (isnull || row->isnull[column])
		return isnull != row->isnull[column];
	return !DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, old,
												 row->value[column]));
}

/*
 * Length in bytes of a blank or control character at "s", or 0: ASCII space and
 * controls, U+0080 to U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F,
 * U+205F and U+3000.
 */
static int
blank_length(const char *s, int left)
{
	unsigned char c = (unsigned char) s[0];
	int			len;
	pg_wchar	point;

	if (c <= ' ' || c == 0x7f)
		return 1;
	if (c < 0x80)
		return 0;
	len = pg_utf_mblen((const unsigned char *) s);
	if (len > left)
		return 0;
	point = utf8_to_unicode((const unsigned char *) s);
	if ((point >= 0x80 && point <= 0xa0) || point == 0x1680 ||
		(point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
		point == 0x2029 || point == 0x202f || point == 0x205f ||
		point == 0x3000)
		return len;
	return 0;
}

static bool
is_control(const char *s)
{
	unsigned char c = (unsigned char) s[0];

	if (c < 0x80)
		return c < ' ' || c == 0x7f;
	if (c == 0xc2)
		return (unsigned char) s[1] < 0xa0;
	return c == 0xe2 && (unsigned char) s[1] == 0x80 &&
		((unsigned char) s[2] == 0xa8 || (unsigned char) s[2] == 0xa9);
}

/*
 * Refuses a text for its control character at "at", or lets it pass in a restore.
 *
 * What a dump brings came into its table before, perhaps while triggers were off,
 * and must not be lost: scripts of pg_dump and pg_restore, and nobody else, turn
 * check_function_bodies off.
 */
static void
refuse_control(const char *data, int at, const char *column)
{
	if (!check_function_bodies)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must not contain control characters", column),
			 errhint("Character %d is U+%04X. U+0001 to U+001F, U+007F to U+009F, U+2028 and U+2029 are not taken.",
					 pg_mbstrlen_with_len(data, at) + 1,
					 utf8_to_unicode((const unsigned char *) data + at))));
}

/*
 * clean_text
 *		No control characters, outer blanks off, Unicode form NFC.
 *
 * Returns the text as it came where nothing is to be done, which is the rule.
 * In a restore control characters become blanks.
 * A text that was within its column's limit stays so: no step makes it longer,
 * but for the few characters whose NFC is longer, and those are checked.
 */
static text *
clean_text(text *value, int max_chars, const char *column)
{
	const char *data = VARDATA_ANY(value);
	int			len = VARSIZE_ANY_EXHDR(value);
	int			start = 0;
	int			end = 0;		/* past the last character that is no blank */
	bool		plain = true;
	bool		controls = false;
	int			i;
	text	   *result;

	for (i = 0; i < len;)
	{
		int			blank = blank_length(data + i, len - i);
		int			step = blank ? blank :
		pg_utf_mblen((const unsigned char *) data + i);

		if ((unsigned char) data[i] >= 0x80)
			plain = false;
		if (blank && is_control(data + i))
		{
			refuse_control(data, i, column);
			controls = true;
		}
		if (blank && i == start)
			start += blank;
		else if (!blank)
			end = i + step;
		i += step;
	}
	if (end < start)
		end = start;
	if (start == 0 && end == len && !controls && plain)
		return value;

	if (controls)
	{
		StringInfoData buf;

		initStringInfo(&buf);
		for (i = start; i < end;)
		{
			int			step = pg_utf_mblen((const unsigned char *) data + i);

			if (is_control(data + i))
				appendStringInfoChar(&buf, ' ');
			else
				appendBinaryStringInfo(&buf, data + i, step);
			i += step;
		}
		result = cstring_to_text_with_len(buf.data, buf.len);
	}
	else
		result = cstring_to_text_with_len(data + start, end - start);

	if (!plain)
	{
		result = DatumGetTextPP(DirectFunctionCall2(unicode_normalize_func,
													PointerGetDatum(result),
													CStringGetTextDatum("NFC")));
		if (pg_mbstrlen_with_len(VARDATA_ANY(result),
								 VARSIZE_ANY_EXHDR(result)) > max_chars)
			ereport(ERROR,
					(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
					 errmsg("%s is longer than %d characters in Unicode form NFC",
							column, max_chars)));
	}
	return result;
}

/*
 * Cleans one text column in place; true where anything is left of it.  What an
 * UPDATE leaves as it is was looked at when it came.
 */
static bool
clean_column(BsUserRow *row, BsUserColumn column, int max_chars)
{
	text	   *old;
	text	   *cleaned;

	if (row->isnull[column])
		return false;
	old = DatumGetTextPP(row->value[column]);
	if (!is_changed(row, column))
		return VARSIZE_ANY_EXHDR(old) > 0;
	cleaned = clean_text(old, max_chars, column_names[column]);
	if (cleaned != old)
		replace(row, column, PointerGetDatum(cleaned), false);
	return VARSIZE_ANY_EXHDR(cleaned) > 0;
}

static void
check_names(BsUserRow *row)
{
	BsUserColumn column;

	for (column = BS_USER_FIRST_NAME; column <= BS_USER_LAST_NAME; column++)
	{
		if (!clean_column(row, column, 100) && !row->isnull[column])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not be empty", column_names[column])));
	}
	for (column = BS_USER_LOCATION_CITY; column <= BS_USER_LOCATION_COUNTRY;
		 column++)
	{
		if (!clean_column(row, column, 100) && !row->isnull[column])
			replace(row, column, (Datum) 0, true);
	}
}

static void
check_email(BsUserRow *row)
{
	text	   *value;
	const char *reason;

	if (row->isnull[BS_USER_EMAIL])
		return;
	/* Blanks around it are trimmed; a control inside must not become one. */
	value = DatumGetTextPP(DirectFunctionCall1(btrim1,
											   row->value[BS_USER_EMAIL]));
	if (VARSIZE_ANY_EXHDR(value) !=
		VARSIZE_ANY_EXHDR(DatumGetTextPP(row->value[BS_USER_EMAIL])))
		replace(row, BS_USER_EMAIL, PointerGetDatum(value), false);
	if (!bs_address_check(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
						  &reason))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("email is not an address that mail can be sent to"),
				 errhint("%s", reason)));
}

/*
 * The zone's rules.  A name that the server does not know any more (its zone
 * database was replaced) is no reason to refuse a change of something else.
 */
static pg_tz *
check_timezone(BsUserRow *row)
{
	text	   *value;
	pg_tz	   *zone;

	if (row->isnull[BS_USER_TIMEZONE])
		return NULL;
	value = DatumGetTextPP(row->value[BS_USER_TIMEZONE]);
	zone = bs_zone_find(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	if (zone == NULL && is_changed(row, BS_USER_TIMEZONE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known",
						pnstrdup(VARDATA_ANY(value),
								 pg_mbcliplen(VARDATA_ANY(value),
											  VARSIZE_ANY_EXHDR(value), 100))),
				 errhint("Use a name such as Area/City, in the exact spelling of the view pg_timezone_names; abbreviations and POSIX strings are not taken.")));
	return zone;
}

/*
 * The date in that zone, now.
 */
static DateADT
local_today(pg_tz *zone)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	int			tz;
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(now, &tz, &tm, &fsec, NULL, zone) != 0)
		elog(ERROR, "timestamp out of range");
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}

static void
check_dates(BsUserRow *row, pg_tz *zone)
{
	static const DateADT oldest = (DateADT) (2378497 - POSTGRES_EPOCH_JDATE);	/* 1800-01-01 */
	BsUserColumn column;

	for (column = BS_USER_BIRTHDAY_DATE; column <= BS_USER_ANNIVERSARY_DATE;
		 column++)
	{
		DateADT		date;

		if (row->isnull[column])
			continue;
		date = DatumGetDateADT(row->value[column]);
		if (DATE_NOT_FINITE(date) || date < oldest)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not be before 1800-01-01 or infinite",
							column_names[column])));
		if (zone != NULL && date > local_today(zone))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not lie in the future",
							column_names[column]),
					 errhint("Today's date by the user's own clock is the latest.")));
	}
	if (!row->isnull[BS_USER_BIRTHDAY_DATE] &&
		!row->isnull[BS_USER_ANNIVERSARY_DATE] &&
		DatumGetDateADT(row->value[BS_USER_ANNIVERSARY_DATE]) <=
		DatumGetDateADT(row->value[BS_USER_BIRTHDAY_DATE]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("anniversary_date must be later than birthday_date")));
}

Datum
bs_users_before_write(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	tuple;
	BsUserRow	row;
	int			i;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bs_users_before_write can only be called as a BEFORE ROW trigger")));

	desc = RelationGetDescr(trigdata->tg_relation);
	tuple = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
		trigdata->tg_newtuple : trigdata->tg_trigtuple;
	row.old = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
		trigdata->tg_trigtuple : NULL;
	row.desc = desc;
	row.replaced = 0;
	for (i = 0; i < BS_USER_COLUMN_COUNT; i++)
	{
		row.attnum[i] = SPI_fnumber(desc, column_names[i]);
		if (row.attnum[i] <= 0 ||
			TupleDescAttr(desc, row.attnum[i] - 1)->atttypid != column_type(i))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table \"%s\" has no column \"%s\" of type %s",
							RelationGetRelationName(trigdata->tg_relation),
							column_names[i],
							format_type_be(column_type(i)))));
		row.value[i] = heap_getattr(tuple, row.attnum[i], desc,
									&row.isnull[i]);
	}

	check_names(&row);
	check_email(&row);
	check_dates(&row, check_timezone(&row));
	if (row.isnull[BS_USER_CREATED_AT])
		replace(&row, BS_USER_CREATED_AT,
				TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()),
				false);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ||
		row.isnull[BS_USER_UPDATED_AT])
		replace(&row, BS_USER_UPDATED_AT,
				TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()),
				false);

	if (row.replaced > 0)
		tuple = heap_modify_tuple_by_cols(tuple, desc, row.replaced,
										  row.replace_attnum,
										  row.replace_value,
										  row.replace_isnull);
	return PointerGetDatum(tuple);
}

Datum
bs_is_email(PG_FUNCTION_ARGS)
{
	text	   *address = PG_GETARG_TEXT_PP(0);
	const char *reason;

	PG_RETURN_BOOL(bs_address_check(VARDATA_ANY(address),
									VARSIZE_ANY_EXHDR(address), &reason));
}
