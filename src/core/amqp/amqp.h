/*-------------------------------------------------------------------------
 *
 * amqp.h
 *	  A link to RabbitMQ (AMQP 0-9-1), without waiting.
 *
 * A link keeps one connection: it resolves, connects, logs in, declares
 * exchanges and queues, publishes with confirms or consumes, answers heartbeats,
 * notices a broker that is gone or silent, and connects anew with backoff to the
 * next of its addresses.  The host waits on one descriptor and one deadline by
 * its own means, calls bs_amqp_run(), and takes the events.  Nothing here
 * blocks, exits or logs.  A link belongs to one thread and does not survive
 * fork().
 *
 * src/core/amqp/amqp.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_AMQP_H
#define BS_CORE_AMQP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BS_AMQP_URLS_MAX	8	/* addresses in a list */
#define BS_AMQP_BODY_MAX	4096	/* bytes of a delivery that are kept */
#define BS_AMQP_WINDOW_MAX	8192	/* unconfirmed messages, or prefetch */

/* Strings are copied by bs_amqp_create(); NULL or "" where absent. */
typedef struct BsAmqpConfig
{
	const char *urls;			/* amqp://user@host:port/vhost or amqps://,
								 * comma-separated, tried in turn */
	const char *password;		/* "": none */
	const char *ca_file;		/* NULL: the system's store */
	const char *exchange;		/* topic */
	const char *queue;			/* quorum, bound to it by "#" */
	const char *dead_letter_exchange;	/* direct */
	const char *dead_letter_queue;	/* quorum, bound by its own name */
	const char *connection_name;	/* shown by the broker */
	int			window;			/* > 0: publish, with that many unconfirmed */
	int			prefetch;		/* > 0: consume, with that many unacknowledged */
	int64_t		connect_timeout_ms; /* from the name to the declared queues */
	int64_t		silence_ms;		/* a broker that says nothing for so long is
								 * gone; heartbeats are asked for at half */
	int64_t		confirm_timeout_ms; /* a broker that is not blocked and does
									 * not confirm for so long is gone */
	int64_t		consumer_check_ms;	/* > 0: who consumes asks so often whether
									 * the queue knows of it; DEPTH is the
									 * answer, or after two bad ones DOWN */
	int64_t		backoff_initial_ms; /* between attempts; doubles, with jitter */
	int64_t		backoff_max_ms;
} BsAmqpConfig;

typedef enum BsAmqpEventKind
{
	BS_AMQP_UP,					/* connected and declared */
	BS_AMQP_DOWN,				/* was up, or could not get up: "text" says
								 * why; what was published and not confirmed
								 * is unknown, what was delivered and not
								 * acknowledged comes again */
	BS_AMQP_BLOCKED,			/* the broker takes nothing: "text" says why */
	BS_AMQP_UNBLOCKED,
	BS_AMQP_CONFIRMED,			/* "tag" is safe */
	BS_AMQP_REFUSED,			/* "tag" is not: nacked or unroutable, as
								 * "text" says */
	BS_AMQP_DELIVERED,			/* a message, to be acknowledged or rejected */
	BS_AMQP_DEPTH				/* the answer to bs_amqp_ask_depth() */
} BsAmqpEventKind;

typedef struct BsAmqpEvent
{
	BsAmqpEventKind kind;
	bool		permanent;		/* DOWN: a setting or the broker must be
								 * changed (login, virtual host, rights, other
								 * arguments); tried again at backoff_max_ms */
	uint64_t	tag;			/* CONFIRMED, REFUSED: as given when
								 * published; DELIVERED: for bs_amqp_ack() */
	uint32_t	epoch;			/* DELIVERED: of the connection */
	bool		redelivered;	/* DELIVERED */
	size_t		body_len;		/* DELIVERED: whole length; where it is more
								 * than BS_AMQP_BODY_MAX, body is empty */
	const char *body;			/* DELIVERED: valid until the next call of
								 * bs_amqp_run() */
	int64_t		ready;			/* DEPTH: messages that wait in the queue */
	int64_t		dead;			/* DEPTH: in the dead letters; -1: unknown */
	char		text[256];		/* without secrets */
} BsAmqpEvent;

typedef struct BsAmqpLink BsAmqpLink;

/*
 * Is this a list of addresses that a link takes?  *reason is a static full
 * sentence that does not repeat it.
 */
extern bool bs_amqp_check_urls(const char *urls, const char **reason);

/*
 * NULL and the reason in error if it cannot be made.  bs_mailer_global_init()
 * must have been called in this process.
 */
extern BsAmqpLink *bs_amqp_create(const BsAmqpConfig *config,
								  char *error, size_t error_size);

/*
 * Hands what waits (acknowledgements) and the farewell to the system as far as
 * it takes them at once, and closes.  NULL is fine.
 */
extern void bs_amqp_destroy(BsAmqpLink *link);

/* Readable when there is something to do; the same for the link's life. */
extern int	bs_amqp_fd(const BsAmqpLink *link);

/*
 * In how many ms from now bs_amqp_run() wants to be called at the latest; 0 also
 * where events wait; -1: no hurry.
 */
extern int64_t bs_amqp_deadline_ms(const BsAmqpLink *link);

/* Reads, writes and connects as far as that goes without waiting. */
extern void bs_amqp_run(BsAmqpLink *link);

/*
 * Takes the next event; false: no event is left.  Until all are taken,
 * bs_amqp_run() does nothing.
 */
extern bool bs_amqp_next(BsAmqpLink *link, BsAmqpEvent *event);

extern bool bs_amqp_is_up(const BsAmqpLink *link);
extern bool bs_amqp_is_blocked(const BsAmqpLink *link);

/* How many bs_amqp_publish() calls would be taken now. */
extern int	bs_amqp_room(const BsAmqpLink *link);

/*
 * Publishes, persistent and mandatory, with content type application/json, a
 * body of at most BS_AMQP_BODY_MAX; CONFIRMED, REFUSED or DOWN follows.  False
 * if there is no room.  Goes out with the next bs_amqp_run().
 *
 * Once a message was unroutable there is no room, and DOWN follows when all are
 * settled: the next connection declares queue and binding anew.
 */
extern bool bs_amqp_publish(BsAmqpLink *link, const char *routing_key,
							const char *message_id, const char *body,
							size_t body_len, uint64_t tag);

/*
 * Acknowledges one delivery or all up to it; rejects one, which moves it to the
 * dead letters.  Nothing happens where the connection is not that of "epoch" any
 * more.  Goes out with the next bs_amqp_run().
 */
extern void bs_amqp_ack(BsAmqpLink *link, uint32_t epoch, uint64_t tag,
						bool multiple);
extern void bs_amqp_reject(BsAmqpLink *link, uint32_t epoch, uint64_t tag);

/*
 * Asks for the depth of both queues; DEPTH follows, or DOWN.  Nothing does where
 * the link is not up.
 */
extern void bs_amqp_ask_depth(BsAmqpLink *link);

#endif							/* BS_CORE_AMQP_H */
