/*-------------------------------------------------------------------------
 *
 * fuzz_sender_answer.c
 *	  Fuzzer of what bs_sender makes of its database's answers.
 *
 * Input: a letter that says which question was asked (see below), the number of
 * columns, and the fields row by row: an octet for the length, 255: NULL, and so
 * many octets.
 *
 * Whatever comes, what is taken is of the right form, and the rest is not taken.
 *
 * test/fuzz/fuzz_sender_answer.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <string.h>

#include "must.h"
#include "sender/sender_settings.h"
#include "sender/sender_work.h"

#define COLUMNS_MAX	12
#define CLAIMS_MAX	16

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static PGresult *
make_answer(const uint8_t *data, size_t size, int columns)
{
	PGresAttDesc attributes[COLUMNS_MAX];
	PGresult   *answer = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	size_t		at = 0;
	int			field;

	MUST(answer != NULL);
	memset(attributes, 0, sizeof(attributes));
	for (field = 0; field < columns; field++)
		attributes[field].name = (char *) "c";
	if (columns > 0)
		MUST(PQsetResultAttrs(answer, columns, attributes));
	for (field = 0; columns > 0 && at < size; field++)
	{
		size_t		len = data[at++];
		bool		is_null = len == 255;

		if (is_null || len > size - at)
			len = is_null ? 0 : size - at;
		MUST(PQsetvalue(answer, field / columns, field % columns,
						is_null ? NULL : (char *) (data + at),
						is_null ? -1 : (int) len));
		at += len;
	}
	return answer;
}

/* Is that field there, and so long? */
static bool
has_field(const PGresult *answer, int row, int column, int len)
{
	return row < PQntuples(answer) && column < PQnfields(answer) &&
		!PQgetisnull(answer, row, column) &&
		PQgetlength(answer, row, column) == len;
}

static void
check_string(const PGresult *answer, int row, int column, const char *string)
{
	if (PQgetisnull(answer, row, column))
		MUST(string == NULL);
	else
		MUST(strlen(string) <= (size_t) PQgetlength(answer, row, column) &&
			 memcmp(string, PQgetvalue(answer, row, column),
					strlen(string)) == 0);
}

static void
check_claims(const PGresult *answer)
{
	BsClaim		claims[CLAIMS_MAX];
	int			count = bs_work_take_claims(answer, claims, CLAIMS_MAX);
	int			i;

	MUST(count >= 0 && count <= CLAIMS_MAX && count <= PQntuples(answer));
	for (i = 0; i < count; i++)
	{
		const BsClaim *claim = &claims[i];

		MUST(PQnfields(answer) == 10);
		MUST(has_field(answer, i, 0, BS_UUID_SIZE));
		MUST(has_field(answer, i, 1, 8));
		MUST(memcmp(claim->id, PQgetvalue(answer, i, 0), BS_UUID_SIZE) == 0);
		if (claim->strings == NULL)
		{
			MUST(PQgetisnull(answer, i, 2));
			continue;
		}
		MUST(!claim->is_locked);
		MUST(has_field(answer, i, 2, BS_UUID_SIZE));
		MUST(has_field(answer, i, 3, 4));
		/* A mail cannot do without these. */
		MUST(claim->recipient_email != NULL && claim->recipient_name != NULL);
		MUST(claim->subject != NULL && claim->text != NULL);
		MUST(claim->idempotency_key != NULL);
		check_string(answer, i, 4, claim->recipient_email);
		check_string(answer, i, 8, claim->html);
		check_string(answer, i, 9, claim->idempotency_key);
		free(claim->strings);
	}
}

static void
check_next_due(const PGresult *answer)
{
	int64_t		clock_us = -7;
	int64_t		ms = bs_work_take_next_due(answer, &clock_us);

	MUST(ms >= 0);
	if (!has_field(answer, 0, 1, 8))
		MUST(clock_us == -7);
	if (!has_field(answer, 0, 0, 8))
		MUST(ms == INT64_MAX);
}

static void
check_look(const PGresult *answer)
{
	BsDatabase	database;

	bs_database_init(&database);
	if (bs_database_take_look(&database, answer) == BS_OBSTACLE_NONE)
		MUST(PQntuples(answer) == 1 && PQnfields(answer) >= 7);
	else
		MUST(database.error[0] != '\0');
	bs_settings_free();
}

static void
check_state(const PGresult *answer)
{
	BsDatabase	database;

	bs_database_init(&database);
	if (bs_database_take_state(&database, answer) == BS_OBSTACLE_NONE)
		MUST(PQntuples(answer) == 1 && PQnfields(answer) >= 6);
	else
		MUST(database.error[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PGresult   *answer;

	if (size < 2)
		return 0;
	answer = make_answer(data + 2, size - 2, data[1] % (COLUMNS_MAX + 1));
	switch (data[0])
	{
		case 'c':
			check_claims(answer);
			break;
		case 'd':
			check_next_due(answer);
			break;
		case 'n':
			if (!has_field(answer, 0, 0, 4))
				MUST(bs_work_take_count(answer) == 0);
			else
				(void) bs_work_take_count(answer);
			break;
		case 'l':
			check_look(answer);
			break;
		case 's':
			check_state(answer);
			break;
	}
	PQclear(answer);
	return 0;
}
