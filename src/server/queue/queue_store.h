/*-------------------------------------------------------------------------
 *
 * queue_store.h
 *	  Claiming due messages, the SQL side.
 *
 * src/server/queue/queue_store.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_QUEUE_STORE_H
#define BS_QUEUE_STORE_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "core/amqp/payload.h"
#include "core/sending/claim.h"

/* A message that is to be published. */
typedef struct BsDue
{
	pg_uuid_t	id;
	TimestampTz scheduled_send_time;
	TimestampTz due_at;			/* asked for when it is marked */
	char		message_type[51];
} BsDue;

/*
 * bs_queue_claim
 *		Lease up to "limit" due messages to this sender, with letters of about
 *		max_bytes octets.
 *
 * Gives their number.  *next_due is when to ask again: now if there may be
 * more, DT_NOEND if nothing is planned.  Inside a transaction of the caller's;
 * if that fails, the strings are the caller's to free.
 */
extern int	bs_queue_claim(const char *claimed_by, int limit,
						   int64 max_bytes, BsClaim *claims,
						   TimestampTz *next_due);

/*
 * bs_queue_claim_copies
 *		Lease those of these messages that are due to this sender.
 *
 * Gives the number of claims, at most one a key.  Those without strings are not
 * claimed but FAILED, or locked by another session, or beyond max_bytes.  Otherwise as
 * bs_queue_claim().
 */
extern int	bs_queue_claim_copies(const char *claimed_by,
								  const BsPayload *keys, int count,
								  int64 max_bytes, BsClaim *claims);

/*
 * bs_queue_read_due
 *		What is to be published, without those under way.
 *
 * Gives their number.  "again": also what is QUEUED and was not claimed within a
 * lease.  *next_due is when to ask again.  Inside a transaction of the caller's.
 */
extern int	bs_queue_read_due(int limit, const pg_uuid_t *under_way,
							  int under_way_count, bool again,
							  BsDue *dues, TimestampTz *next_due);

/*
 * bs_queue_mark_queued
 *		The broker has them; to be looked at again after a lease.
 *
 * Gives the number of those that another session is changing, and their ids in
 * "left", which has room for all: they are to be marked later.  Inside a
 * transaction of the caller's.
 */
extern int	bs_queue_mark_queued(const BsDue *const *dues, int count,
								 pg_uuid_t *left);

#endif							/* BS_QUEUE_STORE_H */
