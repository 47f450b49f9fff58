/*-------------------------------------------------------------------------
 *
 * queue_publisher.h
 *	  The messages that the publisher has under way.
 *
 *	  due --> unconfirmed --> confirmed --> recorded as QUEUED
 *
 * What is refused, or unconfirmed when the connection ends, is due as before.
 *
 * src/server/queue/queue_publisher.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_QUEUE_PUBLISHER_H
#define BS_QUEUE_PUBLISHER_H

#include "lib/ilist.h"

#include "server/queue/queue_link.h"
#include "server/queue/queue_store.h"

#define BS_PUBLISHER_WINDOW 2048

typedef struct BsOutgoing
{
	dlist_node	node;
	BsDue		due;
} BsOutgoing;

typedef struct BsPublisher
{
	BsAmqpLink *link;			/* NULL: none is wanted, or can be made */
	dlist_head	free;
	dlist_head	unconfirmed;
	dlist_head	confirmed;
	int			free_count;
	int			unconfirmed_count;
	int			confirmed_count;
	TimestampTz next_read;		/* not before */
	bool		held;			/* next_read waits for what is under way */
	int			busy;			/* reads in a row that brought nothing */
	TimestampTz first_confirm;	/* that is not recorded */
	TimestampTz next_record;	/* not before: the last one failed, or left
								 * some */
	int			record_failures;	/* in a row */
	int			refusals;		/* in a row that made it wait */
	bool		redeclare;		/* at next_read, over a new connection */
	TimestampTz next_depth;		/* when to ask for the depth */
	bool		queue_is_empty; /* as the last answer said */
	BsOutgoing	items[BS_PUBLISHER_WINDOW];
} BsPublisher;

extern void bs_publisher_init(BsPublisher *publisher);

/*
 * Uses this link from now on, NULL for none; what is under way is due as before,
 * and a second copy does no harm.
 */
extern void bs_publisher_set_link(BsPublisher *publisher, BsAmqpLink *link);

/* Runs the link and takes its events. */
extern void bs_publisher_collect(BsPublisher *publisher);

/* Reads what is due, if there is room and it is time, and publishes it. */
extern void bs_publisher_publish(BsPublisher *publisher);

/* Confirmed --> recorded, if it is worth a transaction, or "at_once". */
extern void bs_publisher_record(BsPublisher *publisher, bool at_once);

/* When there is something to do even if nothing happens. */
extern TimestampTz bs_publisher_next_moment(const BsPublisher *publisher);

#endif							/* BS_QUEUE_PUBLISHER_H */
