/*-------------------------------------------------------------------------
 *
 * users_import.c
 *	  What is wrong with a user who comes as text; nothing is thrown.
 *
 * A row that passes here passes the trigger and the column types as well, so that
 * one INSERT can take thousands of such rows.
 *
 * src/server/users/users_import.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"

#include "core/text/date.h"
#include "server/users/users_check.h"

PG_FUNCTION_INFO_V1(bs_user_fault);
PG_FUNCTION_INFO_V1(bs_trim);

/*
 * Does the text fit its column?  As varchar() has it, by which blanks at the end
 * are cut off.
 */
static bool
fits(const text *value, int max_chars)
{
	const char *data = VARDATA_ANY(value);
	int			len = VARSIZE_ANY_EXHDR(value);

	while (len > 0 && data[len - 1] == ' ')
		len--;
	return len <= max_chars || pg_mbstrlen_with_len(data, len) <= max_chars;
}

/*
 * Reads YYYY-MM-DD, and nothing else that a date can be written as: no "today",
 * no 02/03/04.
 */
static bool
parse_date(const text *value, Datum *result)
{
	static const char form[] = "dddd-dd-dd";
	const char *data = VARDATA_ANY(value);
	BsDate		date;
	int			i;

	if (VARSIZE_ANY_EXHDR(value) != sizeof(form) - 1)
		return false;
	for (i = 0; i < sizeof(form) - 1; i++)
	{
		if (form[i] == 'd' ? data[i] < '0' || data[i] > '9' :
			data[i] != form[i])
			return false;
	}
	date.year = (data[0] - '0') * 1000 + (data[1] - '0') * 100 +
		(data[2] - '0') * 10 + (data[3] - '0');
	date.month = (data[5] - '0') * 10 + (data[6] - '0');
	date.day = (data[8] - '0') * 10 + (data[9] - '0');
	if (!bs_date_is_valid(date))
		return false;
	*result = DateADTGetDatum(date2j(date.year, date.month, date.day) -
							  POSTGRES_EPOCH_JDATE);
	return true;
}

/*
 * Takes one value as text; false with a fault.
 */
static bool
take_value(BsUserValues *user, BsUserColumn column)
{
	const BsUserColumnInfo *info = &bs_user_columns[column];
	text	   *value;

	if (user->isnull[column])
		return !info->required ||
			bs_user_set_fault(user, column, ERRCODE_INVALID_PARAMETER_VALUE,
							  psprintf("%s must not be empty", info->name), NULL);
	value = DatumGetTextPP(user->value[column]);
	if (info->type == DATEOID)
		return parse_date(value, &user->value[column]) ||
			bs_user_set_fault(user, column, ERRCODE_INVALID_PARAMETER_VALUE,
							  psprintf("%s must be a date such as 1990-02-28",
									   info->name), NULL);
	return fits(value, info->max_chars) ||
		bs_user_set_fault(user, column, ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
						  psprintf("%s is longer than %d characters", info->name,
								   info->max_chars), NULL);
}

static Datum
fault_to_row(FunctionCallInfo fcinfo, const BsUserFault *fault)
{
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "bs_user_fault must give a row");
	values[0] = CStringGetTextDatum(bs_user_columns[fault->column].name);
	values[1] = CStringGetTextDatum(unpack_sql_state(fault->code));
	values[2] = CStringGetTextDatum(fault->message);
	if (fault->hint != NULL)
		values[3] = CStringGetTextDatum(fault->hint);
	else
		nulls[3] = true;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

Datum
bs_user_fault(PG_FUNCTION_ARGS)
{
	BsUserValues user = {0};
	BsUserColumn column;
	bool		good = true;

	for (column = 0; good && column < BS_USER_COLUMN_COUNT; column++)
	{
		user.value[column] = PG_GETARG_DATUM(column);
		user.isnull[column] = PG_ARGISNULL(column);
		user.changed[column] = true;
		good = take_value(&user, column);
	}
	if (good && bs_user_check(&user))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(fault_to_row(fcinfo, &user.fault));
}

Datum
bs_trim(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(bs_user_trim(PG_GETARG_TEXT_PP(0)));
}
