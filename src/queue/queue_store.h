/*-------------------------------------------------------------------------
 *
 * queue_store.h
 *	  Claiming due messages, the SQL side.
 *
 * src/queue/queue_store.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_QUEUE_STORE_H
#define BS_QUEUE_STORE_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* A message that this sender holds; the strings are UTF-8. */
typedef struct BsClaim
{
	pg_uuid_t	id;
	pg_uuid_t	token;			/* asked for when the outcome is recorded */
	TimestampTz scheduled_send_time;
	int			attempts;		/* this one included */
	char	   *strings;		/* what the pointers below point into; to be
								 * freed with pfree() */
	const char *recipient_email;
	const char *recipient_name;
	const char *subject;
	const char *text;
	const char *html;			/* or NULL */
	const char *idempotency_key;
} BsClaim;

/*
 * bs_queue_claim
 *		Lease up to "limit" due messages to this sender.
 *
 * Gives their number.  *next_due is when to ask again: now where there may be
 * more, DT_NOEND where nothing is planned.  The strings are allocated in
 * result_cxt, because the caller works on the batch outside the transaction.
 * Inside a transaction of the caller's.
 */
extern int	bs_queue_claim(const char *claimed_by, int limit,
						   MemoryContext result_cxt, BsClaim *claims,
						   TimestampTz *next_due);

#endif							/* BS_QUEUE_STORE_H */
