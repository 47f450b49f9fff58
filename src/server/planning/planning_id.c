/*-------------------------------------------------------------------------
 *
 * planning_id.c
 *	  Keys of messages.
 *
 * UUIDs of version 7 (RFC 9562, section 5.7) begin with the time: what is planned
 * together, and so due together, has neighbouring entries in the index of keys.
 * Random keys would have every message touch a page of its own.
 *
 * src/server/planning/planning_id.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "port.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "server/base/bs_time.h"

PG_FUNCTION_INFO_V1(bs_uuidv7);

#define US_PER_MS	1000
#define RANDOM_LEN	8			/* octets of an id */
#define RANDOM_IDS	128			/* as many ids share a call of the generator */

/*
 * add_random
 *		Strong random values (section 6.9), fetched for many ids at once, as a
 *		call costs far more than its octets.  No two processes have the same: the
 *		postmaster, of which all are copies, makes no ids.
 */
static void
add_random(unsigned char *octets)
{
	static unsigned char fetched[RANDOM_IDS * RANDOM_LEN];
	static size_t left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(fetched, sizeof(fetched)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		left = sizeof(fetched);
	}
	left -= RANDOM_LEN;
	memcpy(octets, fetched + left, RANDOM_LEN);
}

/*
 * Octets 0 to 5 are milliseconds since 1970, and 12 bits after the version are
 * the part of a millisecond (section 6.2, method 3).
 */
Datum
bs_uuidv7(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	uint64		us = (uint64) bs_time_to_unix_us(GetCurrentTimestamp());
	uint64		ms = us / US_PER_MS;
	unsigned	fraction = (unsigned) (us % US_PER_MS) * 4096 / US_PER_MS;

	add_random(id->data + UUID_LEN - RANDOM_LEN);
	for (int i = 0; i < 6; i++)
		id->data[i] = (unsigned char) (ms >> (40 - 8 * i));
	id->data[6] = 0x70 | (unsigned char) (fraction >> 8);
	id->data[7] = (unsigned char) fraction;
	id->data[8] = 0x80 | (id->data[8] & 0x3f);
	PG_RETURN_UUID_P(id);
}
