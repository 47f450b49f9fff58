/*-------------------------------------------------------------------------
 *
 * turn.h
 *	  One turn of a sender's loop, the same for every host.
 *
 *	  collect --> record --> claim --> submit --> acknowledge --> wait
 *
 * The host is a worker of the server or bs_sender. It claims and records by its
 * own way to the database, and may answer at once (the worker) or in a later turn
 * (bs_sender). It also waits, for the descriptors of mailer and link and for no
 * longer than bs_turn_wait_ms().
 *
 * src/core/sending/turn.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_TURN_H
#define BS_CORE_TURN_H

#include "core/sending/outbox.h"

typedef struct BsTurn BsTurn;

/* What the host does; what may be NULL says so. */
typedef struct BsTurnHost
{
	BsOutboxHost outbox;

	/*
	 * When it wants to claim, by bs_clock_ms(); INT64_MAX: not before
	 * something else has happened.
	 */
	int64_t		(*claim_at_ms) (BsTurn *turn);

	/*
	 * Claims up to "limit" due messages with at most "bytes" octets of
	 * letters. bs_turn_claimed() has the answer.
	 */
	void		(*claim_due) (BsTurn *turn, int limit, int64_t bytes);

	/*
	 * Likewise those of these copies; bs_turn_claimed_copies() has the
	 * answer.
	 */
	void		(*claim_copies) (BsTurn *turn, const BsPayload *keys, int count,
								 int64_t bytes);

	/* Records outcomes; bs_turn_recorded() has the answer. */
	void		(*record) (BsTurn *turn, const BsClaim *const *claims,
						   const BsResult *const *results, int count);

	/* Is an answer still to come? NULL: they come at once. */
	bool		(*is_waiting) (BsTurn *turn);

	/* These outcomes are in the database. */
	void		(*recorded) (const BsClaim *const *claims,
							 const BsResult *const *results, int count);

	/* That many outcomes came too late. */
	void		(*too_late) (int count, int of);

	/* The link came up or went down. */
	void		(*link_moved) (const BsAmqpEvent *event);

	/* What happened to copies since the last call. */
	void		(*count_copies) (const BsConsumerCounts *counts);

	/* Tests stop a worker at such a point; NULL: nothing does. */
	void		(*at) (const char *point);
} BsTurnHost;

struct BsTurn
{
	BsOutbox	outbox;
	const BsTurnHost *host;
	BsAmqpLink *link;			/* the host's; NULL: no broker is used */
	bool		held_back;		/* a new mailer is wanted: nothing is claimed,
								 * and what waits is given back */
	int64_t		asked_ms;		/* when the last claim was asked for */
	int64_t		stop_begun_ms;	/* 0: it goes on */

	/* Room for what is asked: as many as the outbox has jobs. */
	int			size;
	BsPayload  *keys;
	BsCopyTag  *copies;
	int			key_count;
	const BsClaim **claims;
	const BsResult **results;
	int			result_count;
	bool		record_is_unsure;	/* asked before, and perhaps heard */
};

extern void bs_turn_init(BsTurn *turn, const BsTurnHost *host,
						 const BsSettings *settings);

/*
 * Replaces the mailer; nothing may be held. False if memory is short: then there is
 * no mailer.
 */
extern bool bs_turn_set_mailer(BsTurn *turn, BsMailer *mailer);

/* Everything goes but the link. */
extern void bs_turn_end(BsTurn *turn);

/* All steps, as far as they go without waiting. */
extern void bs_turn_run(BsTurn *turn);

/* The first of them: what the broker says, and answers of the relay. */
extern void bs_turn_listen(BsTurn *turn);

/* Answers to claims: the strings are handed over. */
extern void bs_turn_claimed(BsTurn *turn, const BsClaim *claims, int count);
extern void bs_turn_claimed_copies(BsTurn *turn, BsClaim *claims, int count);

/* The answer to a record: how many were written; -1: it failed. */
extern void bs_turn_recorded(BsTurn *turn, int count);

/* When to claim, by bs_clock_ms(); INT64_MAX: not before something else happens. */
extern int64_t bs_turn_next_claim_ms(BsTurn *turn);

/*
 * How long the host may wait, in ms, if no descriptor is ready and it has nothing
 * of its own to do.
 */
extern int64_t bs_turn_wait_ms(BsTurn *turn);

/*
 * The end: nothing new is begun, what was not begun is given back. What is under way
 * gets half a second, then it is in doubt.
 */
extern void bs_turn_stop(BsTurn *turn);

/*
 * To be called after each turn from then on: true once nothing is under way, so
 * that only outcomes are left to record.
 */
extern bool bs_turn_is_over(BsTurn *turn);

#endif							/* BS_CORE_TURN_H */
