/*-------------------------------------------------------------------------
 *
 * users_check.c
 *	  What the values of a user must be; cleans them on the way.
 *
 * The first fault is noted, not thrown: the trigger throws it, an import lists
 * it beside those of other rows.
 *
 * src/users/users_check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "net/net_address.h"
#include "users/users_check.h"
#include "bs_zone.h"

const BsUserColumnInfo bs_user_columns[BS_USER_COLUMN_COUNT] = {
	[BS_USER_FIRST_NAME] = {"first_name", VARCHAROID, 100, true},
	[BS_USER_LAST_NAME] = {"last_name", VARCHAROID, 100, true},
	[BS_USER_EMAIL] = {"email", VARCHAROID, 255, true},
	[BS_USER_TIMEZONE] = {"timezone", VARCHAROID, 100, true},
	[BS_USER_BIRTHDAY_DATE] = {"birthday_date", DATEOID, 0, false},
	[BS_USER_ANNIVERSARY_DATE] = {"anniversary_date", DATEOID, 0, false},
	[BS_USER_LOCATION_CITY] = {"location_city", VARCHAROID, 100, false},
	[BS_USER_LOCATION_COUNTRY] = {"location_country", VARCHAROID, 100, false}
};

bool
bs_user_set_fault(BsUserValues *user, BsUserColumn column, int code,
				  const char *message, const char *hint)
{
	user->fault.column = column;
	user->fault.code = code;
	user->fault.message = message;
	user->fault.hint = hint;
	return false;
}

static void
replace(BsUserValues *user, BsUserColumn column, Datum value, bool isnull)
{
	user->value[column] = value;
	user->isnull[column] = isnull;
	user->replaced[column] = true;
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
 * Is the control character at "at" let pass?  In a restore, yes.
 *
 * What a dump brings came into its table before, perhaps while triggers were off,
 * and must not be lost: scripts of pg_dump and pg_restore, and nobody else, turn
 * check_function_bodies off.
 */
static bool
takes_control(BsUserValues *user, BsUserColumn column, const char *data, int at)
{
	if (!check_function_bodies)
		return true;
	return bs_user_set_fault(user, column, ERRCODE_INVALID_PARAMETER_VALUE,
							 psprintf("%s must not contain control characters",
									  bs_user_columns[column].name),
							 psprintf("Character %d is U+%04X. U+0001 to U+001F, U+007F to U+009F, U+2028 and U+2029 are not taken.",
									  pg_mbstrlen_with_len(data, at) + 1,
									  utf8_to_unicode((const unsigned char *) data + at)));
}

/*
 * clean_text
 *		No control characters, outer blanks off, Unicode form NFC.
 *
 * Returns the text as it came where nothing is to be done, which is the rule, and
 * NULL with a fault.  In a restore control characters become blanks.
 * A text that was within its column's limit stays so: no step makes it longer,
 * but for the few characters whose NFC is longer, and those are checked.
 */
static text *
clean_text(BsUserValues *user, BsUserColumn column)
{
	text	   *value = DatumGetTextPP(user->value[column]);
	int			max_chars = bs_user_columns[column].max_chars;
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
			if (!takes_control(user, column, data, i))
				return NULL;
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
		{
			bs_user_set_fault(user, column, ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
							  psprintf("%s is longer than %d characters in Unicode form NFC",
									   bs_user_columns[column].name, max_chars), NULL);
			return NULL;
		}
	}
	return result;
}

/*
 * Cleans one text column in place.  What an UPDATE leaves as it is was looked at
 * when it came.
 */
static bool
check_text(BsUserValues *user, BsUserColumn column)
{
	text	   *cleaned;

	if (user->isnull[column])
		return true;
	if (user->changed[column])
	{
		cleaned = clean_text(user, column);
		if (cleaned == NULL)
			return false;
		if (PointerGetDatum(cleaned) != user->value[column])
			replace(user, column, PointerGetDatum(cleaned), false);
	}
	if (VARSIZE_ANY_EXHDR(DatumGetTextPP(user->value[column])) > 0)
		return true;
	if (bs_user_columns[column].required)
		return bs_user_set_fault(user, column, ERRCODE_INVALID_PARAMETER_VALUE,
								 psprintf("%s must not be empty",
										  bs_user_columns[column].name), NULL);
	replace(user, column, (Datum) 0, true);
	return true;
}

static bool
check_email(BsUserValues *user)
{
	text	   *value;
	const char *reason;

	if (user->isnull[BS_USER_EMAIL])
		return true;
	/* Blanks around it are trimmed; a control inside must not become one. */
	value = DatumGetTextPP(DirectFunctionCall1(btrim1,
											   user->value[BS_USER_EMAIL]));
	if (VARSIZE_ANY_EXHDR(value) !=
		VARSIZE_ANY_EXHDR(DatumGetTextPP(user->value[BS_USER_EMAIL])))
		replace(user, BS_USER_EMAIL, PointerGetDatum(value), false);
	if (bs_address_check(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
						 &reason))
		return true;
	return bs_user_set_fault(user, BS_USER_EMAIL, ERRCODE_INVALID_PARAMETER_VALUE,
							 "email is not an address that mail can be sent to",
							 reason);
}

/*
 * Sets the zone's rules.  A name that the server does not know any more (its zone
 * database was replaced) is no reason to refuse a change of something else, nor a
 * row that a dump brings (see takes_control).
 */
static bool
check_timezone(BsUserValues *user, pg_tz **zone)
{
	text	   *value;

	*zone = NULL;
	if (user->isnull[BS_USER_TIMEZONE])
		return true;
	value = DatumGetTextPP(user->value[BS_USER_TIMEZONE]);
	*zone = bs_zone_find(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	if (*zone != NULL || !user->changed[BS_USER_TIMEZONE] ||
		!check_function_bodies)
		return true;
	return bs_user_set_fault(user, BS_USER_TIMEZONE, ERRCODE_INVALID_PARAMETER_VALUE,
							 psprintf("time zone \"%s\" is not known",
									  pnstrdup(VARDATA_ANY(value),
											   pg_mbcliplen(VARDATA_ANY(value),
															VARSIZE_ANY_EXHDR(value), 100))),
							 "Use a name such as Area/City, in the exact spelling of the view pg_timezone_names; abbreviations and POSIX strings are not taken.");
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

static bool
check_dates(BsUserValues *user, pg_tz *zone)
{
	static const DateADT oldest = (DateADT) (2378497 - POSTGRES_EPOCH_JDATE);	/* 1800-01-01 */
	BsUserColumn column;

	for (column = BS_USER_BIRTHDAY_DATE; column <= BS_USER_ANNIVERSARY_DATE;
		 column++)
	{
		const char *name = bs_user_columns[column].name;
		DateADT		date;

		if (user->isnull[column])
			continue;
		date = DatumGetDateADT(user->value[column]);
		if (DATE_NOT_FINITE(date) || date < oldest)
			return bs_user_set_fault(user, column, ERRCODE_INVALID_PARAMETER_VALUE,
									 psprintf("%s must not be before 1800-01-01 or infinite",
											  name), NULL);
		if (zone != NULL && date > local_today(zone))
			return bs_user_set_fault(user, column, ERRCODE_INVALID_PARAMETER_VALUE,
									 psprintf("%s must not lie in the future", name),
									 "Today's date by the user's own clock is the latest.");
	}
	if (!user->isnull[BS_USER_BIRTHDAY_DATE] &&
		!user->isnull[BS_USER_ANNIVERSARY_DATE] &&
		DatumGetDateADT(user->value[BS_USER_ANNIVERSARY_DATE]) <=
		DatumGetDateADT(user->value[BS_USER_BIRTHDAY_DATE]))
		return bs_user_set_fault(user, BS_USER_ANNIVERSARY_DATE,
								 ERRCODE_INVALID_PARAMETER_VALUE,
								 "anniversary_date must be later than birthday_date",
								 NULL);
	return true;
}

bool
bs_user_check(BsUserValues *user)
{
	pg_tz	   *zone;

	return check_text(user, BS_USER_FIRST_NAME) &&
		check_text(user, BS_USER_LAST_NAME) &&
		check_text(user, BS_USER_LOCATION_CITY) &&
		check_text(user, BS_USER_LOCATION_COUNTRY) &&
		check_email(user) &&
		check_timezone(user, &zone) &&
		check_dates(user, zone);
}
