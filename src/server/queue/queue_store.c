/*-------------------------------------------------------------------------
 *
 * queue_store.c
 *	  Publishing and claiming due messages, the SQL side.
 *
 * Nothing here opens or ends a transaction; callers do that with
 * bs_txn_begin() and bs_txn_commit().
 *
 * src/server/queue/queue_store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "server/base/bs_guc.h"
#include "server/base/bs_time.h"
#include "server/base/bs_txn.h"
#include "server/queue/queue_store.h"

/* Columns of bs_claim(), in order. */
enum
{
	COL_ID = 1,
	COL_SCHEDULED_SEND_TIME,
	COL_CLAIM_TOKEN,
	COL_ATTEMPTS,
	COL_FIRST_STRING
};

/* Exact arguments, as in planning_store.c. */
static BsStatement claim = {
	.sql = "SELECT id, scheduled_send_time, claim_token, attempts,"
	"       recipient_email, recipient_name, subject, message_content,"
	"       html_content, idempotency_key"
	"  FROM %s.bs_claim($1, $2, $3, pg_catalog.clock_timestamp(), $4)",
	.nargs = 4,
	.argtypes = {TEXTOID, INT4OID, INTERVALOID, INT8OID}
};

static BsStatement claim_copies = {
	.sql = "SELECT id, scheduled_send_time, claim_token, attempts,"
	"       recipient_email, recipient_name, subject, message_content,"
	"       html_content, idempotency_key"
	"  FROM %s.bs_claim_copies($1, $2, $3, $4,"
	"       pg_catalog.clock_timestamp(), $5)",
	.nargs = 5,
	.argtypes = {TEXTOID, INTERVALOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, INT8OID}
};

static BsStatement due_messages = {
	.sql = "SELECT id, scheduled_send_time, due_at, message_type"
	"  FROM %s.bs_due_messages($1, $2, $3, pg_catalog.clock_timestamp())",
	.nargs = 3,
	.argtypes = {INT4OID, UUIDARRAYOID, BOOLOID}
};

static BsStatement mark_queued = {
	.sql = "SELECT id"
	"  FROM %s.bs_mark_queued($1, $2, $3, $4, pg_catalog.clock_timestamp())"
	"       AS m (id)",
	.nargs = 4,
	.argtypes = {UUIDARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	INTERVALOID}
};

static BsStatement next_due_at = {
	.sql = "SELECT %s.bs_next_due(pg_catalog.clock_timestamp())"
};

static Datum
get_fixed(HeapTuple tuple, int column)
{
	bool		isnull;

	return SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);
}

/*
 * Takes a row of bs_claim() or bs_claim_copies().
 */
static void
copy_claim(HeapTuple tuple, BsClaim *claim)
{
	BsClaimString strings[BS_CLAIM_STRINGS];
	bool		isnull;
	Datum		attempts = SPI_getbinval(tuple, SPI_tuptable->tupdesc,
										 COL_ATTEMPTS, &isnull);
	bool		is_locked = isnull;
	Datum		token = SPI_getbinval(tuple, SPI_tuptable->tupdesc,
									  COL_CLAIM_TOKEN, &isnull);
	int			i;

	memset(claim, 0, sizeof(*claim));
	memcpy(claim->id, DatumGetUUIDP(get_fixed(tuple, COL_ID)), BS_UUID_SIZE);
	claim->send_time_us =
		bs_time_to_unix_us(DatumGetTimestampTz(get_fixed(tuple,
														 COL_SCHEDULED_SEND_TIME)));
	claim->is_locked = is_locked;
	claim->attempts = is_locked ? 0 : DatumGetInt32(attempts);
	if (isnull)
		return;
	memcpy(claim->token, DatumGetUUIDP(token), BS_UUID_SIZE);
	for (i = 0; i < BS_CLAIM_STRINGS; i++)
	{
		Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc,
										  COL_FIRST_STRING + i, &isnull);
		text	   *string = isnull ? NULL : DatumGetTextPP(value);

		strings[i].data = isnull ? NULL : VARDATA_ANY(string);
		strings[i].len = isnull ? 0 : VARSIZE_ANY_EXHDR(string);
	}
	if (!bs_claim_set_strings(claim, strings))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

static TimestampTz
read_next_due(void)
{
	Datum		value;
	bool		isnull;

	bs_txn_execute(&next_due_at, NULL, NULL);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						  1, &isnull);
	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

static Datum
uuid_array(Datum *values, int count)
{
	return PointerGetDatum(construct_array(values, count, UUIDOID, UUID_LEN,
										   false, TYPALIGN_CHAR));
}

static Datum
timestamptz_array(Datum *values, int count)
{
	return PointerGetDatum(construct_array(values, count, TIMESTAMPTZOID, 8,
										   FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

int
bs_queue_claim(const char *claimed_by, int limit, int64 max_bytes,
			   BsClaim *claims, TimestampTz *next_due)
{
	Interval	lease = {.time = (TimeOffset) bs_settings.lease_s * USECS_PER_SEC};
	Datum		args[4];
	int			count;
	int			i;

	args[0] = CStringGetTextDatum(claimed_by);
	args[1] = Int32GetDatum(limit);
	args[2] = IntervalPGetDatum(&lease);
	args[3] = Int64GetDatum(max_bytes);
	bs_txn_execute(&claim, args, NULL);
	count = (int) SPI_processed;
	for (i = 0; i < count; i++)
		copy_claim(SPI_tuptable->vals[i], &claims[i]);
	*next_due = count < limit ? read_next_due() : GetCurrentTimestamp();
	return count;
}

int
bs_queue_claim_copies(const char *claimed_by, const BsPayload *keys, int count,
					  int64 max_bytes, BsClaim *claims)
{
	Interval	lease = {.time = (TimeOffset) bs_settings.lease_s * USECS_PER_SEC};
	Datum	   *ids = palloc(sizeof(Datum) * count);
	Datum	   *times = palloc(sizeof(Datum) * count);
	Datum		args[5];
	int			i;

	for (i = 0; i < count; i++)
	{
		ids[i] = PointerGetDatum(keys[i].id);
		times[i] =
			TimestampTzGetDatum(bs_time_from_unix_us(keys[i].send_time_us));
	}
	args[0] = CStringGetTextDatum(claimed_by);
	args[1] = IntervalPGetDatum(&lease);
	args[2] = uuid_array(ids, count);
	args[3] = timestamptz_array(times, count);
	args[4] = Int64GetDatum(max_bytes);
	bs_txn_execute(&claim_copies, args, NULL);
	for (i = 0; i < (int) SPI_processed && i < count; i++)
		copy_claim(SPI_tuptable->vals[i], &claims[i]);
	return i;
}

int
bs_queue_read_due(int limit, const pg_uuid_t *under_way, int under_way_count,
				  bool again, BsDue *dues, TimestampTz *next_due)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(under_way_count, 1));
	Datum		args[3];
	int			count;
	int			i;

	for (i = 0; i < under_way_count; i++)
		ids[i] = UUIDPGetDatum(&under_way[i]);
	args[0] = Int32GetDatum(limit);
	args[1] = uuid_array(ids, under_way_count);
	args[2] = BoolGetDatum(again);
	bs_txn_execute(&due_messages, args, NULL);
	count = (int) SPI_processed;
	for (i = 0; i < count; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];

		dues[i].id = *DatumGetUUIDP(get_fixed(tuple, 1));
		dues[i].scheduled_send_time = DatumGetTimestampTz(get_fixed(tuple, 2));
		dues[i].due_at = DatumGetTimestampTz(get_fixed(tuple, 3));
		text_to_cstring_buffer(DatumGetTextPP(get_fixed(tuple, 4)),
							   dues[i].message_type,
							   sizeof(dues[i].message_type));
	}
	*next_due = count < limit ? read_next_due() : GetCurrentTimestamp();
	return count;
}

int
bs_queue_mark_queued(const BsDue *const *dues, int count, pg_uuid_t *left)
{
	Interval	lease = {.time = (TimeOffset) bs_settings.lease_s * USECS_PER_SEC};
	Datum	   *ids = palloc(sizeof(Datum) * count);
	Datum	   *send_times = palloc(sizeof(Datum) * count);
	Datum	   *due_ats = palloc(sizeof(Datum) * count);
	Datum		args[4];
	int			i;

	for (i = 0; i < count; i++)
	{
		ids[i] = UUIDPGetDatum(&dues[i]->id);
		send_times[i] = TimestampTzGetDatum(dues[i]->scheduled_send_time);
		due_ats[i] = TimestampTzGetDatum(dues[i]->due_at);
	}
	args[0] = uuid_array(ids, count);
	args[1] = timestamptz_array(send_times, count);
	args[2] = timestamptz_array(due_ats, count);
	args[3] = IntervalPGetDatum(&lease);
	bs_txn_execute(&mark_queued, args, NULL);
	for (i = 0; i < (int) SPI_processed && i < count; i++)
		left[i] = *DatumGetUUIDP(get_fixed(SPI_tuptable->vals[i], 1));
	return i;
}
