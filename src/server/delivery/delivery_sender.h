/*-------------------------------------------------------------------------
 *
 * delivery_sender.h
 *	  A sender in the server: the host of a turn (core/sending/turn.h).
 *
 * src/server/delivery/delivery_sender.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_DELIVERY_SENDER_H
#define BS_DELIVERY_SENDER_H

#include "datatype/timestamp.h"

#include "core/sending/turn.h"

typedef struct BsSender
{
	BsTurn		turn;			/* first: the turn's host gets it back */
	TimestampTz next_claim;		/* not before */
	int			busy;			/* looks in a row at what was due and locked */
	bool		ready;			/* at the last look */
	TimestampTz ready_until;	/* then it is looked at again */
} BsSender;

extern void bs_delivery_sender_init(BsSender *sender);

/* Tells the other senders how many sessions this one keeps, if that changed. */
extern void bs_delivery_publish_sessions(const BsSender *sender);

#endif							/* BS_DELIVERY_SENDER_H */
