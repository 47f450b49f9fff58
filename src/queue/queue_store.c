/*-------------------------------------------------------------------------
 *
 * queue_store.c
 *	  Claiming due messages, the SQL side.
 *
 * Nothing here opens or ends a transaction; callers do that with
 * bs_txn_begin() and bs_txn_commit().
 *
 * src/queue/queue_store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "bs_guc.h"
#include "bs_txn.h"
#include "queue/queue_store.h"

/* Columns of bs_claim(), in order. */
enum
{
	COL_ID = 1,
	COL_SCHEDULED_SEND_TIME,
	COL_CLAIM_TOKEN,
	COL_ATTEMPTS,
	COL_FIRST_STRING,
	COL_STRING_COUNT = 6
};

static BsStatement claim = {
	.sql = "SELECT id, scheduled_send_time, claim_token, attempts,"
	"       recipient_email, recipient_name, subject, message_content,"
	"       html_content, idempotency_key"
	"  FROM %s.bs_claim($1, $2, $3)",
	.nargs = 3,
	.argtypes = {TEXTOID, INT4OID, INTERVALOID}
};

static BsStatement next_due_at = {
	.sql = "SELECT %s.bs_next_due()"
};

static Datum
get_fixed(HeapTuple tuple, int column)
{
	bool		isnull;

	return SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);
}

/*
 * Copies all strings of a row into one piece of memory.
 */
static void
copy_strings(HeapTuple tuple, MemoryContext result_cxt, BsClaim *result)
{
	const char **targets[COL_STRING_COUNT];
	text	   *values[COL_STRING_COUNT];
	Size		total = 0;
	char	   *next;
	int			i;

	targets[0] = &result->recipient_email;
	targets[1] = &result->recipient_name;
	targets[2] = &result->subject;
	targets[3] = &result->text;
	targets[4] = &result->html;
	targets[5] = &result->idempotency_key;

	for (i = 0; i < COL_STRING_COUNT; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc,
										  COL_FIRST_STRING + i, &isnull);

		values[i] = isnull ? NULL : DatumGetTextPP(value);
		if (values[i] != NULL)
			total += VARSIZE_ANY_EXHDR(values[i]) + 1;
	}
	next = result->strings = MemoryContextAlloc(result_cxt, total + 1);
	for (i = 0; i < COL_STRING_COUNT; i++)
	{
		Size		len;

		*targets[i] = NULL;
		if (values[i] == NULL)
			continue;
		len = VARSIZE_ANY_EXHDR(values[i]);
		memcpy(next, VARDATA_ANY(values[i]), len);
		next[len] = '\0';
		*targets[i] = next;
		next += len + 1;
	}
}

int
bs_queue_claim(const char *claimed_by, int limit, MemoryContext result_cxt,
			   BsClaim *claims, TimestampTz *next_due)
{
	Interval	lease = {.time = (TimeOffset) bs_lease_s * USECS_PER_SEC};
	Datum		args[3];
	int			count;
	int			i;
	Datum		value;
	bool		isnull;

	args[0] = CStringGetTextDatum(claimed_by);
	args[1] = Int32GetDatum(limit);
	args[2] = IntervalPGetDatum(&lease);
	bs_txn_execute(&claim, args, NULL);
	count = (int) SPI_processed;
	for (i = 0; i < count; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];

		claims[i].id = *DatumGetUUIDP(get_fixed(tuple, COL_ID));
		claims[i].token = *DatumGetUUIDP(get_fixed(tuple, COL_CLAIM_TOKEN));
		claims[i].scheduled_send_time =
			DatumGetTimestampTz(get_fixed(tuple, COL_SCHEDULED_SEND_TIME));
		claims[i].attempts = DatumGetInt32(get_fixed(tuple, COL_ATTEMPTS));
		copy_strings(tuple, result_cxt, &claims[i]);
	}

	*next_due = GetCurrentTimestamp();
	if (count < limit)
	{
		bs_txn_execute(&next_due_at, NULL, NULL);
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
							  1, &isnull);
		*next_due = isnull ? DT_NOEND : DatumGetTimestampTz(value);
	}
	return count;
}
