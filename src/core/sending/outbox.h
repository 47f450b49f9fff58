/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  The messages that a sender holds, from claim to recorded outcome.
 *
 *	  claim --> waiting --> under way --> ended --> being recorded --> recorded
 *
 * Each step below takes messages one step further without waiting.  Claiming and
 * recording are the host's, by its own way to the database; so is the clock that
 * leases run by: bs_clock_ms(), which cannot be set.
 *
 * src/core/sending/outbox.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_OUTBOX_H
#define BS_CORE_OUTBOX_H

#include <sys/queue.h>

#include "core/sending/claim.h"
#include "core/sending/consumer.h"
#include "core/sending/limit.h"
#include "core/sending/settings.h"

/* What the host brings along. */
typedef struct BsOutboxHost
{
	BsBucket   *bucket;			/* both may be shared with other senders */
	BsBreaker  *breaker;
	void		(*lock) (void); /* around their use; NULL: they are not shared */
	void		(*unlock) (void);
	double		(*random) (void);	/* in [0, 1) */
	void		(*breaker_moved) (BsBreakerState state);

	/*
	 * Sessions with the relay that others keep who share these limits. NULL:
	 * they are not shared.
	 */
	int			(*sessions_elsewhere) (void);

	/* The relay takes that many sessions of this sender; 0: all it wants. */
	void		(*limit_moved) (int limit);

	/*
	 * An attempt has ended, after "us"; -1: the relay was not asked. NULL: it
	 * is not counted.
	 */
	void		(*attempted) (BsOutcome outcome, int64_t us);
	void		(*report_error) (const char *error);
} BsOutboxHost;

#define BS_JOBS_PER_CONNECTION 16

typedef struct BsJob
{
	TAILQ_ENTRY(BsJob) node;	/* in one of the lists below */
	BsClaim		claim;
	BsResult	result;			/* once it has ended */
	int64_t		lease_until_ms;
	int64_t		ended_ms;		/* when it joined the list of the ended */
	int			again;			/* times the relay asked for a new session */
	BsCopyTag	copy;			/* its copy in the queue; tag 0: none */
} BsJob;

TAILQ_HEAD(BsJobList, BsJob);

typedef struct BsOutbox
{
	const BsOutboxHost *host;
	const BsSettings *settings; /* the host's, as they are now */
	BsMailer   *mailer;			/* NULL if the settings make none */
	BsConsumer *consumer;		/* NULL if there is no broker */
	BsJob	   *jobs;
	int			job_count;
	struct BsJobList free;
	struct BsJobList waiting;
	struct BsJobList ended;
	struct BsJobList recording; /* the host is writing them */
	int			free_count;
	int			waiting_count;
	int			ended_count;
	int			recording_count;
	int			limit;			/* of sessions, as the host knows it */
	int64_t		claim_bytes;	/* of the strings of all claims */
	int64_t		claim_after_ms; /* not before: the breaker */
	int64_t		submit_after_ms;	/* not before: rate limit, or the breaker */
	int64_t		record_after_ms;	/* not before: the last one failed */
	int64_t		recording_since_ms;
	int			record_failures;	/* in a row */
	bool		stopping;		/* nothing new is begun */
	int64_t		clock_ahead_us; /* the database's clock, of this machine's */
} BsOutbox;

/* Octets that letters may take. */
static inline int64_t
bs_outbox_memory(const BsOutbox *outbox)
{
	return outbox->settings->sender_memory_kb * INT64_C(1024);
}

/* The database's clock, us since 1970. */
extern int64_t bs_outbox_wall_us(const BsOutbox *outbox);

extern void bs_outbox_init(BsOutbox *outbox, const BsOutboxHost *host,
						   const BsSettings *settings);

/*
 * Replaces the mailer, by one for the number of connections that is set; nothing may
 * be held.  False if memory is short: then there is no mailer.
 */
extern bool bs_outbox_set_mailer(BsOutbox *outbox, BsMailer *mailer);

/*
 * Takes copies from this consumer from now on, NULL: from none; returns the
 * one before.
 */
extern BsConsumer *bs_outbox_set_consumer(BsOutbox *outbox,
										  BsConsumer *consumer);

/* Nothing is held, whatever its step. */
extern bool bs_outbox_is_empty(const BsOutbox *outbox);

/*
 * How many may be claimed: as many as there is room for; one to probe with, or
 * none, while the breaker is not closed.
 */
extern int	bs_outbox_claim_limit(BsOutbox *outbox);

/*
 * How many octets their letters may have: a quarter of the memory, less what is
 * held.  A quarter, because while they are claimed the letters are in memory twice
 * more, and what goes over the wire is larger than the letter.
 */
extern int64_t bs_outbox_claim_bytes(const BsOutbox *outbox);

/*
 * Is it worth a claim?  Half of the jobs that the sessions can work off are free,
 * and half of the octets.
 */
extern bool bs_outbox_has_room(const BsOutbox *outbox);

/* Free --> waiting, with a claim whose strings are handed over. */
extern void bs_outbox_begin(BsOutbox *outbox, const BsClaim *claim,
							int64_t lease_until_ms, BsCopyTag copy);

/*
 * The answer of bs_claim_copies() to these copies: free --> waiting for what was
 * claimed; the other copies are settled.
 */
extern void bs_outbox_begin_copies(BsOutbox *outbox, const BsPayload *keys,
								   const BsCopyTag *copies, int count,
								   BsClaim *claims, int claim_count,
								   int64_t lease_until_ms);

/* Waiting --> under way, one, as far as window, rate limit and breaker admit. */
extern bool bs_outbox_submit(BsOutbox *outbox);

/* Under way --> ended, one: takes a result from the mailer; false: none is there. */
extern bool bs_outbox_collect(BsOutbox *outbox);

/* Waiting --> ended, unharmed: given back to the database, due at "due_us". */
extern void bs_outbox_release_waiting(BsOutbox *outbox, const char *reason,
									  int64_t due_us);

/* Is it worth a transaction to write what has ended? */
extern bool bs_outbox_should_record(const BsOutbox *outbox);

/*
 * Ended --> being recorded, all; gives their number.  The arrays have room for
 * job_count.
 */
extern int	bs_outbox_begin_record(BsOutbox *outbox, const BsClaim **claims,
								   const BsResult **results);

/*
 * Being recorded --> recorded, and their copies are settled; or, if it failed
 * (disk full, a lock, failover), ended as before, for another try.
 */
extern void bs_outbox_end_record(BsOutbox *outbox, bool recorded);

/* Forgets everything: the tables are gone. */
extern void bs_outbox_forget(BsOutbox *outbox);

/*
 * When there is something to do even if no descriptor becomes ready, by
 * bs_clock_ms(); INT64_MAX: no such time.  "may_record": the host could record now.
 */
extern int64_t bs_outbox_next_ms(const BsOutbox *outbox, bool may_record);

#endif							/* BS_CORE_OUTBOX_H */
