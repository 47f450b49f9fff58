/*-------------------------------------------------------------------------
 *
 * sender_work.c
 *	  What bs_sender asks of its database: claims, records, and when to come back.
 *
 * All arguments are given, and with their exact types: so no function that others
 * put into the schema can be a better match than ours.
 *
 * src/sender/sender_work.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_work.h"

#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"
#include "sender/sender_settings.h"

/* Columns of bs_claim(), in order. */
enum
{
	COL_ID,
	COL_SCHEDULED_SEND_TIME,
	COL_CLAIM_TOKEN,
	COL_ATTEMPTS,
	COL_FIRST_STRING,
	COL_HTML = COL_FIRST_STRING + 4,
	CLAIM_COLUMN_COUNT = COL_FIRST_STRING + BS_CLAIM_STRINGS
};

#define CLAIM_COLUMNS \
	"SELECT id, scheduled_send_time, claim_token, attempts," \
	"       recipient_email, recipient_name, subject, message_content," \
	"       html_content, idempotency_key"

/*
 * Asks with the schema in its place; the arguments are freed.
 */
static bool
ask(BsDatabase *database, const char *format, BsArguments *arguments)
{
	char		sql[1024];
	bool		asked;

	snprintf(sql, sizeof(sql), format, database->schema);
	asked = bs_database_ask(database, sql, arguments);
	bs_arguments_free(arguments);
	return asked;
}

static void
add_lease(BsArguments *arguments)
{
	char		lease[40];

	snprintf(lease, sizeof(lease), "%lld ms",
			 bs_settings.lease_s * 1000LL);
	bs_arguments_add_text(arguments, BS_OID_INTERVAL, lease);
}

static void
add_bytes(BsArguments *arguments, int64_t bytes)
{
	char		number[24];

	snprintf(number, sizeof(number), "%lld", (long long) bytes);
	bs_arguments_add_text(arguments, BS_OID_INT8, number);
}

/*
 * Appends an array of numbers as SQL.
 */
static void
add_numbers(char *sql, size_t size, const uint64_t *numbers, int count,
			const uint64_t *last)
{
	size_t		len = strlen(sql);
	int			i;

	len += snprintf(sql + len, size - len, ", '{");
	for (i = 0; i < count && len < size; i++)
		len += snprintf(sql + len, size - len, "%s%llu", i > 0 ? "," : "",
						(unsigned long long) numbers[i]);
	if (last != NULL && len < size)
		len += snprintf(sql + len, size - len, ",%llu",
						(unsigned long long) *last);
	if (len < size)
		snprintf(sql + len, size - len, "}'::int8[]");
}

bool
bs_work_ask_state(BsDatabase *database, const char *identity,
				  const BsSenderStats *stats)
{
	char		sql[BS_REPORT_SIZE];
	uint64_t	results[3];
	char	   *trouble;
	size_t		len;
	int			i;

	if (stats == NULL)
		return bs_database_ask_state(database, "");
	results[0] = stats->sent;
	results[1] = stats->failed;
	results[2] = stats->retried;
	/* What is in our name needs no quoting, see make_identity(). */
	snprintf(sql, sizeof(sql),
			 ", %s.bs_report_sender('%s'::text, '%lld ms'::interval, %d, '%s'::text",
			 database->schema, identity, bs_settings.lease_s * 1000LL,
			 stats->waiting + stats->under_way + stats->unrecorded,
			 !stats->relay_ready ? "no relay" :
			 stats->obstacle[0] != '\0' ? "idle" :
			 !stats->breaker_closed ? "breaker" : "working");
	add_numbers(sql, sizeof(sql), results, 3, NULL);
	add_numbers(sql, sizeof(sql), stats->outcomes, BS_OUTCOME_RELEASED + 1, NULL);
	for (i = 0; i < BS_HISTOGRAMS; i++)
		add_numbers(sql, sizeof(sql), stats->buckets[i],
					BS_HISTOGRAM_BOUNDS + 1, &stats->sum_us[i]);
	trouble = PQescapeLiteral(database->conn, stats->last_error,
							  strlen(stats->last_error));
	len = strlen(sql);
	snprintf(sql + len, sizeof(sql) - len, ", %s::text)",
			 trouble != NULL ? trouble : "''");
	PQfreemem(trouble);
	return bs_database_ask_state(database, sql);
}

bool
bs_work_ask_claim(BsDatabase *database, const char *identity, int limit,
				  int64_t max_bytes)
{
	BsArguments arguments = {0};
	char		number[16];

	snprintf(number, sizeof(number), "%d", limit);
	bs_arguments_add_text(&arguments, BS_OID_TEXT, identity);
	bs_arguments_add_text(&arguments, BS_OID_INT4, number);
	add_lease(&arguments);
	add_bytes(&arguments, max_bytes);
	return ask(database,
			   CLAIM_COLUMNS
			   "  FROM %s.bs_claim($1, $2, $3, clock_timestamp(), $4)",
			   &arguments);
}

static const char *
next_key_id(void *arg, int i, int *len)
{
	const BsPayload *keys = arg;

	*len = BS_UUID_SIZE;
	return (const char *) keys[i].id;
}

static const char *
next_key_time(void *arg, int i, int *len)
{
	static char instant[8];
	const BsPayload *keys = arg;

	bs_instant_write(keys[i].send_time_us, instant);
	*len = sizeof(instant);
	return instant;
}

bool
bs_work_ask_copies(BsDatabase *database, const char *identity,
				   const BsPayload *keys, int count, int64_t max_bytes)
{
	BsArguments arguments = {0};
	void	   *arg = (void *) keys;

	bs_arguments_add_text(&arguments, BS_OID_TEXT, identity);
	add_lease(&arguments);
	bs_arguments_add_array(&arguments, BS_OID_UUID_ARRAY, BS_OID_UUID,
						   count, next_key_id, arg);
	bs_arguments_add_array(&arguments, BS_OID_TIMESTAMPTZ_ARRAY,
						   BS_OID_TIMESTAMPTZ, count, next_key_time, arg);
	add_bytes(&arguments, max_bytes);
	return ask(database,
			   CLAIM_COLUMNS
			   "  FROM %s.bs_claim_copies($1, $2, $3, $4, clock_timestamp(), $5)",
			   &arguments);
}

/*
 * Is there a value of that many octets?
 */
static bool
has_value(const PGresult *answer, int row, int column, int len)
{
	return row < PQntuples(answer) && column < PQnfields(answer) &&
		!PQgetisnull(answer, row, column) &&
		PQgetlength(answer, row, column) == len;
}

/*
 * False if memory is short, or the row does not come from bs_claim().
 */
static bool
read_claim(const PGresult *answer, int row, BsClaim *claim)
{
	BsClaimString strings[BS_CLAIM_STRINGS];
	int			i;

	memset(claim, 0, sizeof(*claim));
	if (PQnfields(answer) != CLAIM_COLUMN_COUNT ||
		!has_value(answer, row, COL_ID, BS_UUID_SIZE) ||
		!has_value(answer, row, COL_SCHEDULED_SEND_TIME, 8))
		return false;
	memcpy(claim->id, PQgetvalue(answer, row, COL_ID), BS_UUID_SIZE);
	claim->send_time_us =
		bs_instant_read(PQgetvalue(answer, row, COL_SCHEDULED_SEND_TIME));
	claim->is_locked = PQgetisnull(answer, row, COL_ATTEMPTS);
	if (!claim->is_locked)
	{
		if (!has_value(answer, row, COL_ATTEMPTS, 4))
			return false;
		claim->attempts = bs_int4_read(PQgetvalue(answer, row, COL_ATTEMPTS));
	}
	if (PQgetisnull(answer, row, COL_CLAIM_TOKEN))
		return true;
	if (claim->is_locked || claim->attempts < 1 ||
		!has_value(answer, row, COL_CLAIM_TOKEN, BS_UUID_SIZE))
		return false;
	memcpy(claim->token, PQgetvalue(answer, row, COL_CLAIM_TOKEN),
		   BS_UUID_SIZE);
	for (i = 0; i < BS_CLAIM_STRINGS; i++)
	{
		int			column = COL_FIRST_STRING + i;
		bool		is_null = PQgetisnull(answer, row, column);

		if (is_null && column != COL_HTML)
			return false;
		strings[i].data = is_null ? NULL : PQgetvalue(answer, row, column);
		strings[i].len = PQgetlength(answer, row, column);
	}
	return bs_claim_set_strings(claim, strings);
}

int
bs_work_take_claims(const PGresult *answer, BsClaim *claims, int max)
{
	int			row;

	for (row = 0; row < PQntuples(answer) && row < max; row++)
		if (!read_claim(answer, row, &claims[row]))
			break;
	return row;
}

static const char *
next_known_token(void *arg, int i, int *len)
{
	*len = BS_UUID_SIZE;
	return (const char *) ((const uint8_t *const *) arg)[i];
}

bool
bs_work_ask_release(BsDatabase *database, const char *identity,
					const uint8_t *const *tokens, int count)
{
	BsArguments arguments = {0};

	bs_arguments_add_text(&arguments, BS_OID_TEXT, identity);
	bs_arguments_add_array(&arguments, BS_OID_UUID_ARRAY, BS_OID_UUID,
						   count, next_known_token, (void *) tokens);
	return ask(database,
			   "SELECT %s.bs_release_claims($1, $2, clock_timestamp())::int4",
			   &arguments);
}

bool
bs_work_ask_next_due(BsDatabase *database)
{
	BsArguments arguments = {0};

	return ask(database,
			   "SELECT n.due, clock_timestamp()"
			   "  FROM %s.bs_next_due(clock_timestamp()) AS n (due)",
			   &arguments);
}

int64_t
bs_work_take_next_due(const PGresult *answer, int64_t *clock_us)
{
	int64_t		now_us;
	int64_t		due_us;

	if (!has_value(answer, 0, 1, 8))
		return INT64_MAX;
	now_us = bs_instant_read(PQgetvalue(answer, 0, 1));
	if (now_us < 0)
		return INT64_MAX;
	*clock_us = now_us;
	if (!has_value(answer, 0, 0, 8))
		return INT64_MAX;
	due_us = bs_instant_read(PQgetvalue(answer, 0, 0));
	/* Rounded up, or it would be asked for too early. */
	return due_us <= now_us ? 0 : (due_us - now_us - 1) / 1000 + 1;
}

/* ---- outcomes ---- */

typedef struct BsRecordRows
{
	const BsClaim *const *claims;
	const BsResult *const *results;
	char		number[8];
} BsRecordRows;

static const char *
next_id(void *arg, int i, int *len)
{
	*len = BS_UUID_SIZE;
	return (const char *) ((BsRecordRows *) arg)->claims[i]->id;
}

static const char *
next_token(void *arg, int i, int *len)
{
	*len = BS_UUID_SIZE;
	return (const char *) ((BsRecordRows *) arg)->claims[i]->token;
}

static const char *
instant(BsRecordRows *rows, int64_t unix_us, int *len)
{
	bs_instant_write(unix_us, rows->number);
	*len = 8;
	return rows->number;
}

static const char *
next_send_time(void *arg, int i, int *len)
{
	BsRecordRows *rows = arg;

	return instant(rows, rows->claims[i]->send_time_us, len);
}

static const char *
next_ended_at(void *arg, int i, int *len)
{
	BsRecordRows *rows = arg;

	return instant(rows, rows->results[i]->ended_us, len);
}

static const char *
next_attempt(void *arg, int i, int *len)
{
	BsRecordRows *rows = arg;
	const BsResult *result = rows->results[i];

	if (bs_next_is_attempt(result->next))
		return instant(rows, result->next_attempt_us, len);
	*len = -1;
	return NULL;
}

static const char *
next_state(void *arg, int i, int *len)
{
	const char *word = bs_result_word(((BsRecordRows *) arg)->results[i]->next);

	*len = (int) strlen(word);
	return word;
}

static const char *
next_reason(void *arg, int i, int *len)
{
	const char *reason = ((BsRecordRows *) arg)->results[i]->reason;

	*len = (int) strlen(reason);
	return reason;
}

static const char *
next_code(void *arg, int i, int *len)
{
	BsRecordRows *rows = arg;
	uint32_t	code = (uint32_t) rows->results[i]->code;
	int			k;

	*len = code != 0 ? 4 : -1;
	for (k = 3; k >= 0; k--, code >>= 8)
		rows->number[k] = (char) (code & 255);
	return rows->number;
}

/*
 * Text from the relay, which may be anything: NULL if it is empty or no UTF-8.
 */
static const char *
foreign_text(const char *text, int *len)
{
	size_t		size = strlen(text);

	*len = size == 0 || bs_utf8_valid(text, size) != size ? -1 : (int) size;
	return text;
}

static const char *
next_reply(void *arg, int i, int *len)
{
	return foreign_text(((BsRecordRows *) arg)->results[i]->reply, len);
}

static const char *
next_error(void *arg, int i, int *len)
{
	return foreign_text(((BsRecordRows *) arg)->results[i]->error, len);
}

bool
bs_work_ask_record(BsDatabase *database, const BsClaim *const *claims,
				   const BsResult *const *results, int count)
{
	static const struct
	{
		Oid			type;
		Oid			element;
		BsArrayValue next;
	}			columns[] =

	{
		{BS_OID_UUID_ARRAY, BS_OID_UUID, next_id},
		{BS_OID_TIMESTAMPTZ_ARRAY, BS_OID_TIMESTAMPTZ, next_send_time},
		{BS_OID_UUID_ARRAY, BS_OID_UUID, next_token},
		{BS_OID_TEXT_ARRAY, BS_OID_TEXT, next_state},
		{BS_OID_TEXT_ARRAY, BS_OID_TEXT, next_reason},
		{BS_OID_TIMESTAMPTZ_ARRAY, BS_OID_TIMESTAMPTZ, next_attempt},
		{BS_OID_INT4_ARRAY, BS_OID_INT4, next_code},
		{BS_OID_TEXT_ARRAY, BS_OID_TEXT, next_reply},
		{BS_OID_TEXT_ARRAY, BS_OID_TEXT, next_error},
		{BS_OID_TIMESTAMPTZ_ARRAY, BS_OID_TIMESTAMPTZ, next_ended_at}
	};
	BsRecordRows rows = {.claims = claims,.results = results};
	BsArguments arguments = {0};
	size_t		i;

	for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		bs_arguments_add_array(&arguments, columns[i].type,
							   columns[i].element, count, columns[i].next,
							   &rows);
	return ask(database,
			   "SELECT %s.bs_record($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)::int4",
			   &arguments);
}

int
bs_work_take_count(const PGresult *answer)
{
	return has_value(answer, 0, 0, 4) ?
		bs_int4_read(PQgetvalue(answer, 0, 0)) : 0;
}
