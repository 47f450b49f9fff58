/*-------------------------------------------------------------------------
 *
 * delivery_consumer.h
 *	  The copies of messages that the broker handed to this sender.
 *
 *	  waiting --> held (claimed by a job) --> done --> acknowledged
 *	   |    \------^------------------------/  \-> dead --> rejected
 *	   \--> locked
 *
 * They are given out in the order in which they came, and forgotten once the
 * broker has been told.
 *
 * src/delivery/delivery_consumer.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_DELIVERY_CONSUMER_H
#define BS_DELIVERY_CONSUMER_H

#include "net/net_amqp.h"
#include "queue/queue_store.h"

/* Which copy; it means nothing any more where its connection has ended. */
typedef struct BsCopyTag
{
	uint32		epoch;
	uint32		place;
	uint64		tag;			/* 0: none */
} BsCopyTag;

typedef enum BsCopyState
{
	BS_COPY_WAITING,			/* nobody has looked at it */
	BS_COPY_LOCKED,				/* somebody is just changing its message: to
								 * be asked for again */
	BS_COPY_HELD,				/* its message is this sender's */
	BS_COPY_DONE,				/* may be acknowledged */
	BS_COPY_DEAD				/* belongs to the dead letters */
} BsCopyState;

typedef struct BsConsumer BsConsumer;

/*
 * A consumer over this link, which stays the caller's; to be freed by pfree().
 */
extern BsConsumer *bs_consumer_create(MemoryContext context, BsAmqpLink *link,
									  int prefetch);

/* Runs the link and takes its events. */
extern void bs_consumer_run(BsConsumer *consumer);

/*
 * When bs_consumer_peek() has something: DT_NOBEGIN where copies wait, later
 * where all are locked, DT_NOEND where there are none.
 */
extern TimestampTz bs_consumer_next_claim(const BsConsumer *consumer);

/*
 * The first waiting copies, at most "limit", and before them those that were
 * locked for long enough: which messages they are of, and which copies.  They
 * keep waiting.
 */
extern int	bs_consumer_peek(const BsConsumer *consumer, int limit,
							 BsCopyKey *keys, BsCopyTag *tags);

/* Moves one on; nothing happens where its connection has ended. */
extern void bs_consumer_settle(BsConsumer *consumer, BsCopyTag copy,
							   BsCopyState state);

/* Some are locked: leaves those alone for a while. */
extern void bs_consumer_wait_for_locks(BsConsumer *consumer);

/*
 * Tells the broker of those that are done or dead, which goes out with the next
 * bs_consumer_run(); false where there is nothing to tell.
 */
extern bool bs_consumer_flush(BsConsumer *consumer);

#endif							/* BS_DELIVERY_CONSUMER_H */
