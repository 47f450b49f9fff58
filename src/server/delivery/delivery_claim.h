/*-------------------------------------------------------------------------
 *
 * delivery_claim.h
 *	  How a sender comes by messages: it asks the database what is due, or which
 *	  of the copies from the broker it may have.
 *
 * src/server/delivery/delivery_claim.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_DELIVERY_CLAIM_H
#define BS_DELIVERY_CLAIM_H

#include "server/delivery/delivery_sender.h"

/* Can messages be claimed? Looks at most once in BS_WORKER_RECHECK_MS. */
extern bool bs_delivery_is_ready(BsSender *sender, TimestampTz now);

/* As BsTurnHost has them. */
extern int64 bs_delivery_claim_at_ms(BsTurn *turn);
extern void bs_delivery_claim_due(BsTurn *turn, int limit, int64 bytes);
extern void bs_delivery_claim_copies(BsTurn *turn, const BsPayload *keys,
									 int count, int64 bytes);

#endif							/* BS_DELIVERY_CLAIM_H */
