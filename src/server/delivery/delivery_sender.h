/*-------------------------------------------------------------------------
 *
 * delivery_sender.h
 *	  The outbox of an in-server sender, and how its outcomes are recorded.
 *
 * src/server/delivery/delivery_sender.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_DELIVERY_SENDER_H
#define BS_DELIVERY_SENDER_H

#include "datatype/timestamp.h"

#include "core/sending/outbox.h"

typedef struct BsSender
{
	BsOutbox	outbox;
	TimestampTz next_claim;		/* not before */
	int			busy;			/* looks in a row at what was due and locked */
	TimestampTz fault_logged;
} BsSender;

extern void bs_delivery_sender_init(BsSender *sender);

/* Under way --> ended, all that has an answer. */
extern void bs_delivery_collect(BsSender *sender);

/* Tells the other senders how many sessions this one keeps, if that changed. */
extern void bs_delivery_publish_sessions(const BsSender *sender);

/* Waiting --> under way, as far as window, rate limit and breaker admit. */
extern void bs_delivery_submit(BsSender *sender);

/*
 * Ended --> recorded.  Where that fails (disk full, a lock, failover) the
 * outcomes are kept for another try, and false is returned.
 */
extern bool bs_delivery_record(BsSender *sender);

/* Runs the link and takes what the broker hands over. */
extern void bs_delivery_consume(BsSender *sender, BsAmqpLink *link);

/* Tells the broker of copies that are done with. */
extern void bs_delivery_acknowledge(BsSender *sender, BsAmqpLink *link);

/* To the shared counters: what has happened to copies. */
extern void bs_delivery_count_copies(BsSender *sender);

#endif							/* BS_DELIVERY_SENDER_H */
