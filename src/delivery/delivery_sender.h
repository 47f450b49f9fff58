/*-------------------------------------------------------------------------
 *
 * delivery_sender.h
 *	  The messages that a sender holds, from claim to recorded outcome.
 *
 *	  claim --> waiting --> under way --> ended --> recorded
 *
 * Each step below takes as many messages one step further as it can, without
 * waiting for the network.
 *
 * src/delivery/delivery_sender.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_DELIVERY_SENDER_H
#define BS_DELIVERY_SENDER_H

#include "lib/ilist.h"

#include "delivery/delivery_consumer.h"
#include "result/result_store.h"

typedef struct BsJob
{
	dlist_node	node;			/* in one of the lists below */
	BsClaim		claim;
	BsResult	result;			/* once it has ended */
	TimestampTz lease_until;
	TimestampTz ended_at;		/* when it joined the list of the ended */
	int			again;			/* times the relay asked for a new session */
	BsCopyTag	copy;			/* its copy in the queue; tag 0: none */
} BsJob;

typedef struct BsSender
{
	BsMailer   *mailer;			/* NULL where the settings make none */
	BsConsumer *consumer;		/* NULL where there is no broker */
	MemoryContext claim_context;	/* of the claims' strings */
	BsJob	   *jobs;
	int			job_count;
	dlist_head	free;
	dlist_head	waiting;
	dlist_head	ended;
	int			free_count;
	int			waiting_count;
	int			ended_count;
	TimestampTz next_claim;		/* not before */
	TimestampTz next_submit;	/* not before: rate limit */
	TimestampTz next_record;	/* not before: the last one failed */
	int			record_failures;	/* in a row */
	bool		stopping;		/* nothing new is begun */
} BsSender;

extern void bs_delivery_sender_init(BsSender *sender);

/* Replaces the mailer; nothing may be under way. */
extern void bs_delivery_set_mailer(BsSender *sender, BsMailer *mailer);

/* Takes results from the mailer: under way --> ended. */
extern void bs_delivery_collect(BsSender *sender);

/* Waiting --> under way, as far as window, rate limit and breaker admit. */
extern void bs_delivery_submit(BsSender *sender);

/* Waiting --> ended, unharmed: given back to the database, due at "due". */
extern void bs_delivery_release_waiting(BsSender *sender, const char *reason,
										TimestampTz due);

/* Is it worth a transaction to write what has ended? */
extern bool bs_delivery_should_record(const BsSender *sender);

/*
 * Ended --> recorded.  Where that fails (disk full, a lock, failover) the
 * outcomes are kept for another try, and false is returned.
 */
extern bool bs_delivery_record(BsSender *sender);

/* Free --> waiting, with a claim of delivery_claim.c. */
extern void bs_delivery_begin(BsSender *sender, const BsClaim *claim,
							  TimestampTz lease_until, BsCopyTag copy);

/* Forgets everything: the tables are gone. */
extern void bs_delivery_forget(BsSender *sender);

/*
 * Takes copies from this consumer from now on, NULL: from none; returns the
 * one before.
 */
extern BsConsumer *bs_delivery_set_consumer(BsSender *sender,
											BsConsumer *consumer);

/* When there is something to do even if no descriptor becomes ready. */
extern TimestampTz bs_delivery_next_moment(const BsSender *sender);

#endif							/* BS_DELIVERY_SENDER_H */
