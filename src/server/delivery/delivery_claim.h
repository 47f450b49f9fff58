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

/* Claims what is due; sets next_claim. */
extern void bs_delivery_claim_due(BsSender *sender);

/*
 * Claims those of the waiting copies whose messages are due; the others are
 * settled.  Sets next_claim.
 */
extern void bs_delivery_claim_copies(BsSender *sender);

#endif							/* BS_DELIVERY_CLAIM_H */
