/*-------------------------------------------------------------------------
 *
 * users_check.c
 *	  What the values of a user must be; cleans them on the way.
 *
 * The first fault is noted, not thrown: the trigger throws it, an import lists
 * it beside those of other rows.
 *
 * src/server/users/users_check.c
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

#include "core/base/utf8.h"
#include "core/text/address.h"
#include "server/base/bs_zone.h"
#include "server/users/users_check.h"

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
 * The code point at "s" and its width; the server has checked the encoding.
 */
static int
decode(const char *s, int left, uint32_t *code)
{
	int			width = (int) bs_utf8_decode(s, left, code);

	if (width == 0)
		elog(ERROR, "text is not UTF-8");
	return width;
}

/*
 * Does it go from both ends of a name?  Joiners and fillers may belong to a word's
 * spelling, and stay.
 */
static bool
is_outer(uint32_t code)
{
	return bs_utf8_is_control(code) || bs_utf8_is_space(code) ||
		code == 0xAD || code == 0x200B || code == 0x2060 || code == 0xFEFF;
}

text *
bs_user_trim(text *value)
{
	const char *data = VARDATA_ANY(value);
	int			len = VARSIZE_ANY_EXHDR(value);
	int			start = 0;
	int			end = 0;		/* past the last character that is seen */
	int			i;

	for (i = 0; i < len;)
	{
		uint32_t	code;
		int			width = decode(data + i, len - i, &code);

		if (!bs_utf8_is_invisible(code))
			end = i + width;
		else if (i == start)
			start += width;
		i += width;
	}
	if (start == 0 && end == len)
		return value;
	return cstring_to_text_with_len(data + start, Max(end - start, 0));
}

/*
 * The first invisible character that is no ASCII blank, and its position, which
 * begins with 1; 0: there is none.
 */
static uint32_t
find_invisible(text *value, int *position)
{
	const char *data = VARDATA_ANY(value);
	int			len = VARSIZE_ANY_EXHDR(value);
	int			i;

	*position = 1;
	for (i = 0; i < len; (*position)++)
	{
		uint32_t	code;

		i += decode(data + i, len - i, &code);
		if (code != ' ' && bs_utf8_is_invisible(code))
			return code;
	}
	return 0;
}

/*
 * The hint for a value with an invisible character within; otherwise "hint".
 */
static const char *
explain_value(text *value, const char *hint)
{
	int			position;
	uint32_t	code = find_invisible(value, &position);

	return code == 0 ? hint :
		psprintf("It contains an invisible character, U+%04X, at position %d.",
				 code, position);
}

/*
 * The hint for a name of which nothing is seen; NULL for blanks.
 */
static const char *
explain_empty(text *value)
{
	int			position;
	uint32_t	code = find_invisible(value, &position);

	return code == 0 ? NULL :
		psprintf("It consists of invisible characters, such as U+%04X.", code);
}

/*
 * Is the control character at "at" let pass?  In a restore, yes.
 *
 * What a dump brings came into its table before, perhaps while triggers were off,
 * and must not be lost: only scripts of pg_dump and pg_restore turn
 * check_function_bodies off.
 */
static bool
takes_control(BsUserValues *user, BsUserColumn column, const char *data, int at,
			  uint32_t code)
{
	if (!check_function_bodies)
		return true;
	return bs_user_set_fault(user, column, ERRCODE_INVALID_PARAMETER_VALUE,
							 psprintf("%s must not contain control characters",
									  bs_user_columns[column].name),
							 psprintf("Character %d is U+%04X. U+0001 to U+001F, U+007F to U+009F, U+2028 and U+2029 are not taken.",
									  pg_mbstrlen_with_len(data, at) + 1, code));
}

/*
 * Where the text of a name begins and ends without what goes from its ends.
 */
typedef struct BsTextSpan
{
	int			start;
	int			end;
	bool		plain;			/* ASCII */
	bool		controls;		/* some were let pass */
	bool		visible;		/* something is seen of it */
} BsTextSpan;

/*
 * False with a fault.
 */
static bool
measure_text(BsUserValues *user, BsUserColumn column, const char *data, int len,
			 BsTextSpan *span)
{
	int			i;

	*span = (BsTextSpan)
	{
		.plain = true
	};
	for (i = 0; i < len;)
	{
		uint32_t	code;
		int			width = decode(data + i, len - i, &code);
		bool		control = bs_utf8_is_control(code);

		if (code >= 0x80)
			span->plain = false;
		if (control)
		{
			if (!takes_control(user, column, data, i, code))
				return false;
			span->controls = true;
		}
		else if (!bs_utf8_is_invisible(code))
			span->visible = true;
		if (!is_outer(code))
			span->end = i + width;
		else if (i == span->start)
			span->start += width;
		i += width;
	}
	if (span->end < span->start)
		span->end = span->start;
	return true;
}

static text *
blank_controls(const char *data, int len)
{
	StringInfoData buf;
	int			i;

	initStringInfo(&buf);
	for (i = 0; i < len;)
	{
		uint32_t	code;
		int			width = decode(data + i, len - i, &code);

		if (bs_utf8_is_control(code))
			appendStringInfoChar(&buf, ' ');
		else
			appendBinaryStringInfo(&buf, data + i, width);
		i += width;
	}
	return cstring_to_text_with_len(buf.data, buf.len);
}

/*
 * clean_text
 *		No control characters, outer blanks off, Unicode form NFC; empty where
 *		nothing of it is seen.
 *
 * Returns the text as it came if nothing is to be done, which is the rule, and
 * NULL with a fault.  In a restore control characters become blanks, and what
 * cannot be seen stays.
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
	BsTextSpan	span;
	text	   *result;

	if (!measure_text(user, column, data, len, &span))
		return NULL;
	if (!span.visible)
		return check_function_bodies ? cstring_to_text_with_len("", 0) : value;
	if (span.start == 0 && span.end == len && !span.controls && span.plain)
		return value;

	data += span.start;
	len = span.end - span.start;
	result = span.controls ? blank_controls(data, len) :
		cstring_to_text_with_len(data, len);
	if (!span.plain)
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
	text	   *given;

	if (user->isnull[column])
		return true;
	given = DatumGetTextPP(user->value[column]);
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
										  bs_user_columns[column].name),
								 explain_empty(given));
	replace(user, column, (Datum) 0, true);
	return true;
}

/*
 * Takes off what is around a value that has no room for it.
 */
static text *
trim_column(BsUserValues *user, BsUserColumn column)
{
	text	   *value = DatumGetTextPP(user->value[column]);
	text	   *trimmed = bs_user_trim(value);

	if (trimmed != value)
		replace(user, column, PointerGetDatum(trimmed), false);
	return trimmed;
}

static bool
check_email(BsUserValues *user)
{
	text	   *value;
	const char *reason;

	if (user->isnull[BS_USER_EMAIL])
		return true;
	value = trim_column(user, BS_USER_EMAIL);
	if (bs_address_check(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
						 &reason))
		return true;
	return bs_user_set_fault(user, BS_USER_EMAIL, ERRCODE_INVALID_PARAMETER_VALUE,
							 "email is not an address that mail can be sent to",
							 explain_value(value, reason));
}

/*
 * Sets the zone's rules.  A name that the server does not know any more (its zone
 * database was replaced) is no reason to refuse a change of something else, nor a
 * row that a dump brings (see takes_control).  An old name is written with its new
 * one if the server knows only that; a stored one stays.
 */
static bool
check_timezone(BsUserValues *user, pg_tz **zone)
{
	text	   *value;
	const char *known;

	*zone = NULL;
	if (user->isnull[BS_USER_TIMEZONE])
		return true;
	value = trim_column(user, BS_USER_TIMEZONE);
	*zone = bs_zone_find(value);
	if (!user->changed[BS_USER_TIMEZONE] || !check_function_bodies)
		return true;
	if (*zone != NULL)
	{
		known = pg_get_timezone_name(*zone);
		if (strlen(known) != VARSIZE_ANY_EXHDR(value) ||
			memcmp(known, VARDATA_ANY(value), strlen(known)) != 0)
			replace(user, BS_USER_TIMEZONE,
					PointerGetDatum(cstring_to_text(known)), false);
		return true;
	}
	return bs_user_set_fault(user, BS_USER_TIMEZONE, ERRCODE_INVALID_PARAMETER_VALUE,
							 psprintf("time zone \"%s\" is not known",
									  pnstrdup(VARDATA_ANY(value),
											   pg_mbcliplen(VARDATA_ANY(value),
															VARSIZE_ANY_EXHDR(value), 100))),
							 explain_value(value, bs_zone_hint()));
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
