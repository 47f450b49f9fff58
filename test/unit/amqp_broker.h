/*-------------------------------------------------------------------------
 *
 * amqp_broker.h
 *	  A broker that follows a script: what it is, and what it can say.
 *
 * By itself it greets, lets everybody in, lets everything be declared and writes
 * down what it hears (amqp_broker_loop.h); a test says the rest, or has a hook
 * that is asked first.  One connection at a time: a new one replaces the old.
 *
 * test/unit/amqp_broker.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_AMQP_BROKER_H
#define BS_AMQP_BROKER_H

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/base/compat.h"
#include BS_AMQP_HEADER

#include "host.h"

#define BROKER_MESSAGES		16384
#define BROKER_LOG_SIZE		65536

typedef struct BsBrokerMessage
{
	char		key[64];
	char		id[64];
	char		body[64];		/* its beginning */
	size_t		body_len;
	int			frames;			/* of the body */
	bool		mandatory;
	bool		persistent;
} BsBrokerMessage;

typedef struct BsBroker
{
	int			listener;
	int			port;
	int			in;				/* -1: not connected */
	int			out;			/* the same, but for TLS */
	char	   *input;
	size_t		input_len;
	char	   *output;
	size_t		output_len;
	size_t		output_size;
	amqp_pool_t pool;

	/* What it does */
	bool		deaf;			/* does not read */
	bool		drips;			/* writes an octet at a time */
	bool		ends;			/* closes when all is written */
	bool		mute;			/* answers nothing */
	bool		confirms;		/* each message at once */
	uint32_t	consumers;		/* what declaring says */
	bool		depth_is_lost;	/* on channel 2 nothing exists */
	const char *mechanisms;
	uint16_t	channel_max;
	uint32_t	frame_max;
	uint16_t	heartbeat;
	/* Is asked first; true: the method has been dealt with. */
	bool		(*hook) (struct BsBroker *broker, uint16_t channel,
						 amqp_method_number_t id, void *method);

	bool		closing[3];		/* channels: closed by us, not acknowledged */

	/* What it heard */
	int			connections;
	char		log[BROKER_LOG_SIZE];	/* methods, one a line, but for
										 * messages, acks and rejects */
	int			heartbeats;
	int			farewells;		/* connection.close */
	int			acks;
	int			rejects;
	uint64_t	ack_tag;		/* the last */
	bool		ack_multiple;
	uint64_t	reject_tag;
	int			messages;		/* on this connection */
	BsBrokerMessage message[BROKER_MESSAGES];
	size_t		body_left;
} BsBroker;

extern void broker_open(BsBroker *broker);
extern void broker_drop(BsBroker *broker);
extern void broker_close(BsBroker *broker);
extern void broker_note(BsBroker *broker, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern void broker_raw(BsBroker *broker, const void *data, size_t len);
extern void broker_number(char *at, int width, uint64_t number);
extern void broker_frame(BsBroker *broker, uint8_t type, uint16_t channel, const void *payload, size_t len);
extern void broker_say(BsBroker *broker, uint16_t channel, amqp_method_number_t id, void *method);
extern void broker_heartbeat(BsBroker *broker);
extern void broker_close_connection(BsBroker *broker, int code, const char *text);
extern void broker_close_channel(BsBroker *broker, int channel, int code, const char *text);
extern void broker_ack(BsBroker *broker, uint64_t number, bool multiple);
extern void broker_nack(BsBroker *broker, uint64_t number, bool multiple);

/* The head of a message; "properties" are its flags and what follows. */
extern void broker_head(BsBroker *broker, uint64_t body_len, const void *properties, size_t properties_len);

/* The body in frames of "piece". */
extern void broker_body(BsBroker *broker, const char *body, size_t len, size_t piece);

extern void broker_deliver_method(BsBroker *broker, uint64_t tag, bool redelivered);
extern void broker_deliver(BsBroker *broker, uint64_t tag, bool redelivered, const char *body, size_t len, size_t piece);

/* "id": the message-id, or NULL for a message without one. */
extern void broker_return(BsBroker *broker, int code, const char *id);

extern void broker_start(BsBroker *broker);

#endif							/* BS_AMQP_BROKER_H */
