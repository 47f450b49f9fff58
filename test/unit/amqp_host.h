/*-------------------------------------------------------------------------
 *
 * amqp_host.h
 *	  A host for the link under test: its loop, its settings, its events.
 *
 * One broker and one link at a time.
 *
 * test/unit/amqp_host.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_AMQP_HOST_H
#define BS_AMQP_HOST_H

#define _GNU_SOURCE				/* accept4() */
#include "host.h"
#include "amqp_broker_loop.h"

#include "core/amqp/amqp_private.h"

#define EVENTS_MAX_KEPT		32768

extern const char *const event_names[];
extern BsBroker broker;
extern BsAmqpLink *amqp;
extern BsAmqpConfig config;
extern BsAmqpEvent event[EVENTS_MAX_KEPT];	/* body: not to be used */
extern char event_body[EVENTS_MAX_KEPT][64];	/* its beginning */
extern int	events;

/* One turn of what a host does, and of the broker. */
extern void turn(int64_t patience_ms);

/* The broker alone goes on, until the link has disconnected. */
extern void serve_until_left(void);

/* Goes on until the condition holds; false if that takes longer than LIMIT_MS. */
#define wait_for(condition) \
({ \
	int64_t		wait_until_ms = now_ms() + LIMIT_MS; \
	while (!(condition) && now_ms() < wait_until_ms) \
		turn(100); \
	(condition); \
})

extern int	count_events(BsAmqpEventKind kind);

/* The last event of the kind; an empty one if there was none. */
extern const BsAmqpEvent *last_event(BsAmqpEventKind kind);

extern bool wait_for_events(BsAmqpEventKind kind, int count);

/* The kinds of all events so far, "up down ..." */
extern const char *event_story(void);

/* Runs broker and link for this long. */
extern void pass_time(int64_t ms);

extern void reset_config(void);
extern void open_link(const char *urls);
extern void open_link_to_broker(void);

/* A broker, and a link to it that is up. */
extern bool begin_up(void);

extern void finish(void);
extern void is_down(const char *text, bool permanent, const char *what);

#endif							/* BS_AMQP_HOST_H */
