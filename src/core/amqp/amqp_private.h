/*-------------------------------------------------------------------------
 *
 * amqp_private.h
 *	  What the parts of the link share, the lowest first: amqp_url.c,
 *	  amqp_event.c, amqp_frame.c, amqp_declare.c and amqp_message.c,
 *	  amqp_session.c, amqp_socket.c, amqp.c.  Each calls only those below.
 *
 * The library librabbitmq encodes and decodes single methods here and parses
 * URLs.  Sockets, frames and states are ours, because its own wait.
 *
 * src/core/amqp/amqp_private.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_AMQP_PRIVATE_H
#define BS_CORE_AMQP_PRIVATE_H

#include "core/base/compat.h"
#include BS_AMQP_HEADER

#include "core/amqp/amqp.h"
#include "core/base/bigendian.h"
#include "core/base/clock.h"
#include "core/base/curl.h"

#define BS_AMQP_FRAME_MAX		131072	/* asked for, and of our buffer */
#define BS_AMQP_FRAME_HEAD		7	/* type, channel, size */
#define BS_AMQP_FRAME_EXTRA		8	/* the same and the end's mark */
#define BS_AMQP_GREETING_MAX	16384	/* of a frame before the login is done */
#define BS_AMQP_OUT_SIZE		(512 * 1024)
#define BS_AMQP_OUT_RESERVE		(64 * 1024) /* not for publishing */
#define BS_AMQP_SCRATCH_SIZE	8192
#define BS_AMQP_ARENA_SIZE		(256 * 1024)
#define BS_AMQP_TEXT_SIZE		256 /* of BsAmqpEvent.text */
#define BS_AMQP_NOTES_SPARE		1024	/* beside one for each confirm */
#define BS_AMQP_REPLIES_MAX		16

#define BS_AMQP_CHANNEL			1	/* everything but questions */
#define BS_AMQP_DEPTH_CHANNEL	2	/* its closing does no harm */

/* ---- addresses, amqp_url.c ---- */

typedef struct BsAmqpAddress
{
	char	   *copy;			/* what the others point into, but for
								 * defaults */
	const char *host;			/* without brackets */
	const char *vhost;
	const char *user;
	const char *usual_password; /* if the settings have none */
	int			port;
	bool		tls;
} BsAmqpAddress;

/*
 * Fills "list" (BS_AMQP_URLS_MAX); their number, or -1 and the reason as in
 * bs_amqp_check_urls().  The list is to be freed in both cases.
 */
extern int	bs_amqp_parse_urls(const char *urls, BsAmqpAddress *list,
							   const char **reason);
extern void bs_amqp_free_addresses(BsAmqpAddress *list);

/* "http://host:port", or https, as libcurl wants it; to be freed by curl_free(). */
extern char *bs_amqp_curl_url(const BsAmqpAddress *address);

/* ---- the link ---- */

typedef enum BsAmqpState
{
	BS_AMQP_STATE_IDLE,			/* waits for the next attempt */
	BS_AMQP_STATE_CONNECTING,	/* libcurl is at work */
	BS_AMQP_STATE_START,		/* we have greeted, connection.start is due */
	BS_AMQP_STATE_TUNE,			/* we have logged in */
	BS_AMQP_STATE_OPEN,			/* we have asked for the virtual host */
	BS_AMQP_STATE_CHANNEL,		/* we have asked for a channel */
	BS_AMQP_STATE_DECLARE,		/* we have declared, replies are due */
	BS_AMQP_STATE_UP
} BsAmqpState;

/* An event that waits to be taken. */
typedef struct BsAmqpNote
{
	BsAmqpEventKind kind;
	uint32_t	epoch;
	bool		permanent;
	bool		redelivered;
	uint64_t	tag;
	uint64_t	body_len;
	const char *body;			/* in the arena */
	const char *text;			/* in the arena, static or NULL */
	int64_t		ready;
	int64_t		dead;			/* -1: unknown */
} BsAmqpNote;

/* A published message, by its number. */
typedef struct BsAmqpUnconfirmed
{
	uint64_t	tag;
	uint64_t	id_hash;		/* of its message-id */
	bool		settled;		/* confirmed or refused */
	const char *returned;		/* NULL, or why: its ack is a refusal */
} BsAmqpUnconfirmed;

/* A method with content, whose content is not complete. */
typedef struct BsAmqpContent
{
	amqp_method_number_t method;	/* 0: none */
	bool		has_header;
	bool		redelivered;
	uint64_t	tag;
	uint16_t	reply_code;
	uint64_t	id_hash;		/* 0: it has no message-id */
	uint64_t	body_len;
	uint64_t	body_got;
	char		body[BS_AMQP_BODY_MAX];
} BsAmqpContent;

struct BsAmqpLink
{
	/* Settings */
	BsAmqpConfig config;
	char	   *strings;		/* what its pointers point into */
	BsAmqpAddress addresses[BS_AMQP_URLS_MAX];
	int			address_count;

	/* The way to the broker */
	BsCurlLoop	loop;
	CURL	   *easy;			/* NULL: not connected */
	char		curl_error[CURL_ERROR_SIZE];
	BsAmqpState state;
	bool		failed;			/* bs_amqp_run() is to close the connection */
	bool		failed_for_good;	/* "permanent" of BsAmqpEvent */
	uint32_t	epoch;			/* of the connection */
	int			address;		/* in use, or the next to be tried */
	int			tried;			/* addresses, since the last wait */
	bool		all_permanent;	/* what they said */
	int			failures;		/* rounds, since the link was last up */
	int64_t		next_try_ms;	/* in BS_AMQP_STATE_IDLE */
	int64_t		setup_due_ms;	/* between IDLE and UP */
	int64_t		up_since_ms;
	int64_t		received_ms;	/* the last octet */
	int64_t		sent_ms;
	bool		may_read;		/* until it says that there is no more */
	bool		may_write;
	CURLcode	send_code;		/* what sending ran into */

	/* Octets */
	char	   *in;				/* BS_AMQP_FRAME_MAX */
	size_t		in_start;
	size_t		in_end;
	char	   *out;			/* a ring of BS_AMQP_OUT_SIZE */
	uint64_t	out_sent;		/* octets of all times; modulo the size their
								 * place */
	uint64_t	out_end;
	char	   *scratch;		/* BS_AMQP_SCRATCH_SIZE: frames in the making */
	amqp_pool_t pool;

	/* The session */
	uint32_t	frame_max;
	int			heartbeat_ms;	/* 0: none are sent */
	bool		passive;		/* no rights to declare: only look */
	bool		dead_hidden;	/* nor to look at the dead letters */
	bool		blocked;
	bool		closed_by_broker;	/* it has said farewell */
	amqp_method_number_t replies[BS_AMQP_REPLIES_MAX];	/* on BS_AMQP_CHANNEL */
	int			reply_count;
	int			reply_next;
	BsAmqpContent content;

	/* Depth */
	bool		depth_asked;
	bool		depth_channel_open;
	int			depth_answers;
	int64_t		depth_ready;
	int64_t		depth_asked_ms;
	int			consumer_missed;	/* answers in a row that knew none */

	/* Publishing */
	BsAmqpUnconfirmed *unconfirmed; /* config.window of them, by number */
	uint64_t	first_unconfirmed;
	uint64_t	next_number;	/* of a message; the first is 1 */
	uint64_t	next_returned;	/* where to look for the next that is returned */
	int64_t		confirm_ms;		/* the last time that there was progress */
	size_t		publish_max;	/* octets of the largest so far */
	bool		unroutable;		/* the queue or its binding is gone */

	/* Events */
	BsAmqpNote *notes;
	int			note_size;
	int			note_first;
	int			note_count;		/* the first included */
	char	   *arena;			/* BS_AMQP_ARENA_SIZE */
	size_t		arena_used;
};

/* ---- events, amqp_event.c ---- */

/* A new event; there is always room, see bs_amqp_has_room(). */
extern BsAmqpNote *bs_amqp_note(BsAmqpLink *link, BsAmqpEventKind kind);

/* For the events of one more frame. */
extern bool bs_amqp_has_room(const BsAmqpLink *link);

/* Cleaned and cut, in the arena. */
extern const char *bs_amqp_keep_text(BsAmqpLink *link, const char *text,
									 size_t len);

/*
 * Notes BS_AMQP_DOWN, and that the connection is to be closed.  The link counts as
 * neither open nor up from now on, and bs_amqp_run() closes it: the caller only
 * has to return.  Nothing happens if there is no connection, or it failed before.
 */
extern void bs_amqp_fail(BsAmqpLink *link, bool for_good,
						 const char *format,...)
			__attribute__((format(printf, 3, 4)));

/* Nothing of an earlier connection is left; another epoch begins. */
extern void bs_amqp_reset_connection(BsAmqpLink *link);

static inline bool
bs_amqp_is_open(const BsAmqpLink *link)
{
	return link->state >= BS_AMQP_STATE_START && !link->failed;
}

/* ---- the socket, amqp_socket.c ---- */

/* Has libcurl connect, which says later how it went. */
extern void bs_amqp_connect(BsAmqpLink *link);

/* What libcurl and the socket have to say. */
extern void bs_amqp_poll(BsAmqpLink *link);

/* Sends and receives as far as that goes without waiting. */
extern void bs_amqp_transfer(BsAmqpLink *link);

/* Tries once to send what waits. */
extern void bs_amqp_flush(BsAmqpLink *link);

/* Closes the connection, with a farewell if it makes sense. */
extern void bs_amqp_disconnect(BsAmqpLink *link, bool polite);

/* ---- frames, amqp_frame.c ---- */

typedef struct BsAmqpFrame
{
	uint8_t		type;
	uint16_t	channel;
	amqp_bytes_t payload;		/* in link->in */
} BsAmqpFrame;

/* Octets of output that are not sent yet, and for which there is room. */
static inline size_t
bs_amqp_unsent(const BsAmqpLink *link)
{
	return (size_t) (link->out_end - link->out_sent);
}

static inline size_t
bs_amqp_out_room(const BsAmqpLink *link)
{
	return BS_AMQP_OUT_SIZE - bs_amqp_unsent(link);
}

/* The caller has made sure that there is room. */
extern void bs_amqp_put(BsAmqpLink *link, const void *data, size_t len);

/*
 * Where the frame begins at "at", with its payload already in place: writes what
 * is around it, and returns where the frame ends.
 */
extern char *bs_amqp_wrap(char *at, uint8_t type, uint16_t channel,
						  size_t payload_len);

/*
 * A frame from "at" on, before "end".  Returns where it ends; NULL if it does
 * not fit or cannot be encoded.
 */
extern char *bs_amqp_encode_method(char *at, const char *end, uint16_t channel,
								   amqp_method_number_t id, void *method);
extern char *bs_amqp_encode_header(char *at, const char *end, uint16_t channel,
								   size_t body_len,
								   amqp_basic_properties_t *properties);

/* If there is no room, the link fails.  Nothing is sent on one that has failed. */
extern void bs_amqp_send_method(BsAmqpLink *link, uint16_t channel,
								amqp_method_number_t id, void *method);
extern void bs_amqp_send_heartbeat(BsAmqpLink *link);

/* True for the next whole frame; what is not a frame makes the link fail. */
extern bool bs_amqp_next_frame(BsAmqpLink *link, BsAmqpFrame *frame);

/* ---- login and what the broker says, amqp_session.c ---- */

/* The socket is ours: greet. */
extern void bs_amqp_begin_session(BsAmqpLink *link);

/* All whole frames in link->in, as far as there is room for their events. */
extern void bs_amqp_take_input(BsAmqpLink *link);

/* ---- declarations and depth, amqp_declare.c ---- */

extern amqp_table_entry_t bs_amqp_string_entry(const char *key,
											   const char *value);
extern void bs_amqp_open_channel(BsAmqpLink *link, uint16_t channel);

/* BS_AMQP_CHANNEL is open: asks for all that is needed on it. */
extern void bs_amqp_declare(BsAmqpLink *link, const void *method);

/* A reply to that, of which only the name is of interest. */
extern void bs_amqp_take_reply(BsAmqpLink *link, amqp_method_number_t id);

extern void bs_amqp_take_depth_channel(BsAmqpLink *link,
									   const void *method);
extern void bs_amqp_take_depth(BsAmqpLink *link, const void *method);

/* ---- messages, amqp_message.c ---- */

extern void bs_amqp_reset_messages(BsAmqpLink *link);
extern void bs_amqp_take_deliver(BsAmqpLink *link, const void *method);
extern void bs_amqp_take_return(BsAmqpLink *link, const void *method);
extern void bs_amqp_take_ack(BsAmqpLink *link, const void *method);
extern void bs_amqp_take_nack(BsAmqpLink *link, const void *method);
extern void bs_amqp_take_header(BsAmqpLink *link, amqp_bytes_t payload);
extern void bs_amqp_take_body(BsAmqpLink *link, amqp_bytes_t payload);

/* Messages that are neither confirmed nor refused, or come after such. */
static inline int
bs_amqp_outstanding(const BsAmqpLink *link)
{
	return (int) (link->next_number - link->first_unconfirmed);
}

#endif							/* BS_CORE_AMQP_PRIVATE_H */
