/*-------------------------------------------------------------------------
 *
 * consumer.h
 *	  The copies of messages that the broker handed to this sender.
 *
 *	  waiting --> held (claimed by a job) --> done --> acknowledged
 *	   |    \------^------------------------/  \-> dead --> rejected
 *	   \--> locked
 *
 * They are given out in the order in which they came, and forgotten once the
 * broker has been told.
 *
 * src/core/sending/consumer.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_CONSUMER_H
#define BS_CORE_CONSUMER_H

#include "core/amqp/amqp.h"
#include "core/amqp/payload.h"

/* Which copy; it means nothing once its connection has ended. */
typedef struct BsCopyTag
{
	uint32_t	epoch;
	uint32_t	place;
	uint64_t	tag;			/* 0: none */
} BsCopyTag;

typedef enum BsCopyState
{
	BS_COPY_WAITING,			/* not asked about yet */
	BS_COPY_LOCKED,				/* another session is changing its message: to
								 * be asked for again */
	BS_COPY_HELD,				/* its message is this sender's */
	BS_COPY_DONE,				/* may be acknowledged */
	BS_COPY_DEAD				/* belongs to the dead letters */
} BsCopyState;

/* What has happened to copies, for the host to add up. */
typedef struct BsConsumerCounts
{
	uint64_t	consumed;		/* received */
	uint64_t	dropped;		/* of these: stale, early, or finished */
	uint64_t	failed;			/* of these: of messages that FAILED, rejected */
	uint64_t	faults[BS_PAYLOAD_FAULTS];	/* of these: unreadable, rejected */
	uint64_t	excess;			/* more than the prefetch; not taken */
} BsConsumerCounts;

typedef struct BsConsumer BsConsumer;

/*
 * A consumer over this link, which stays the caller's, for copies of this
 * installation (see payload.h).  NULL if memory is short.
 */
extern BsConsumer *bs_consumer_create(BsAmqpLink *link, int prefetch,
									  const char *installation);
extern void bs_consumer_destroy(BsConsumer *consumer);

/*
 * Takes what the link, once run, has to say; true if the host is to report
 * this event (UP, DOWN), and to ask once more.
 */
extern bool bs_consumer_next(BsConsumer *consumer, BsAmqpEvent *event);

/* What has happened since the last call; false if that is nothing. */
extern bool bs_consumer_take_counts(BsConsumer *consumer,
									BsConsumerCounts *counts);

/*
 * When bs_consumer_peek() has something, by bs_clock_ms(): 0 if copies
 * wait, later if all are locked, INT64_MAX if none waits or is locked.
 */
extern int64_t bs_consumer_next_claim_ms(const BsConsumer *consumer);

/*
 * The first waiting copies, at most "limit", and before them those that were
 * locked for long enough: which messages they are of, and which copies.  They
 * keep waiting.
 */
extern int	bs_consumer_peek(const BsConsumer *consumer, int limit,
							 BsPayload *keys, BsCopyTag *tags);

/* Moves one on; nothing happens if its connection has ended. */
extern void bs_consumer_settle(BsConsumer *consumer, BsCopyTag copy,
							   BsCopyState state);

/* Moves one to done or dead that is no use, and counts it. */
extern void bs_consumer_drop(BsConsumer *consumer, BsCopyTag copy,
							 BsCopyState state);

/* Some are locked: leaves those alone for a while. */
extern void bs_consumer_wait_for_locks(BsConsumer *consumer);

/* How many are done or dead, and the broker does not know. */
extern int	bs_consumer_untold(const BsConsumer *consumer);

/*
 * Tells the broker of those that are done or dead, which goes out with the next
 * bs_amqp_run(); false if there is nothing to tell.
 */
extern bool bs_consumer_flush(BsConsumer *consumer);

#endif							/* BS_CORE_CONSUMER_H */
