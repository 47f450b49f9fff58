/*-------------------------------------------------------------------------
 *
 * result_store.c
 *	  Recording what became of attempts, the SQL side.
 *
 * Nothing here opens or ends a transaction; callers do that with
 * bs_txn_begin() and bs_txn_commit().
 *
 * src/server/result/result_store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "server/base/bs_failpoint.h"
#include "server/base/bs_time.h"
#include "server/base/bs_txn.h"
#include "server/result/result_store.h"

/* Arguments of bs_record(), in order. */
typedef enum BsRecordArg
{
	ARG_ID,
	ARG_SEND_TIME,
	ARG_TOKEN,
	ARG_STATE,
	ARG_REASON,
	ARG_NEXT_ATTEMPT,
	ARG_CODE,
	ARG_REPLY,
	ARG_ERROR,
	ARG_ENDED_AT,
	ARG_COUNT
} BsRecordArg;

static BsStatement record = {
	.sql = "SELECT %s.bs_record($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	.nargs = ARG_COUNT,
	.argtypes = {UUIDARRAYOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID,
	TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}
};

static const struct
{
	Oid			type;
	int16		len;
	bool		byval;
	char		align;
}			element[ARG_COUNT] =

{
	[ARG_ID] = {UUIDOID, UUID_LEN, false, TYPALIGN_CHAR},
	[ARG_SEND_TIME] = {TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE},
	[ARG_TOKEN] = {UUIDOID, UUID_LEN, false, TYPALIGN_CHAR},
	[ARG_STATE] = {TEXTOID, -1, false, TYPALIGN_INT},
	[ARG_REASON] = {TEXTOID, -1, false, TYPALIGN_INT},
	[ARG_NEXT_ATTEMPT] = {TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE},
	[ARG_CODE] = {INT4OID, 4, true, TYPALIGN_INT},
	[ARG_REPLY] = {TEXTOID, -1, false, TYPALIGN_INT},
	[ARG_ERROR] = {TEXTOID, -1, false, TYPALIGN_INT},
	[ARG_ENDED_AT] = {TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE}
};

/*
 * Text from the relay, which may be anything: NULL if it is empty or not
 * valid in this database.
 */
static Datum
foreign_text(const char *text, bool *isnull)
{
	int			len = strlen(text);

	*isnull = len == 0 || !pg_verifymbstr(text, len, true);
	return *isnull ? (Datum) 0 : CStringGetTextDatum(text);
}

static Datum
instant(int64 unix_us)
{
	return TimestampTzGetDatum(bs_time_from_unix_us(unix_us));
}

int
bs_result_record(const BsClaim *const *claims, const BsResult *const *results,
				 int count)
{
	Datum	   *values[ARG_COUNT];
	bool	   *nulls[ARG_COUNT];
	Datum		args[ARG_COUNT];
	bool		isnull;
	int			i;
	int			arg;

	for (arg = 0; arg < ARG_COUNT; arg++)
	{
		values[arg] = palloc(sizeof(Datum) * count);
		nulls[arg] = palloc0(sizeof(bool) * count);
	}
	for (i = 0; i < count; i++)
	{
		const BsClaim *claim = claims[i];
		const BsResult *result = results[i];

		values[ARG_ID][i] = PointerGetDatum(claim->id);
		values[ARG_SEND_TIME][i] = instant(claim->send_time_us);
		values[ARG_TOKEN][i] = PointerGetDatum(claim->token);
		values[ARG_STATE][i] =
			CStringGetTextDatum(bs_result_word(result->next));
		values[ARG_REASON][i] = CStringGetTextDatum(result->reason);
		values[ARG_NEXT_ATTEMPT][i] = instant(result->next_attempt_us);
		nulls[ARG_NEXT_ATTEMPT][i] = !bs_next_is_attempt(result->next);
		values[ARG_CODE][i] = Int32GetDatum(result->code);
		nulls[ARG_CODE][i] = result->code == 0;
		values[ARG_REPLY][i] = foreign_text(result->reply,
											&nulls[ARG_REPLY][i]);
		values[ARG_ERROR][i] = foreign_text(result->error,
											&nulls[ARG_ERROR][i]);
		values[ARG_ENDED_AT][i] = instant(result->ended_us);
	}
	for (arg = 0; arg < ARG_COUNT; arg++)
	{
		int			lower = 1;

		args[arg] = PointerGetDatum(construct_md_array(values[arg], nulls[arg],
													   1, &count, &lower,
													   element[arg].type,
													   element[arg].len,
													   element[arg].byval,
													   element[arg].align));
	}
	BS_FAILPOINT("record-begin");
	bs_txn_execute(&record, args, NULL);
	BS_FAILPOINT("record-before-commit");
	return (int) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc,
											 1, &isnull));
}
