/*-------------------------------------------------------------------------
 *
 * amqp_broker_loop.h
 *	  What the broker under script hears, and its part of the test's loop.
 *
 * No thread and no process: a test that waits for the link polls the broker's
 * sockets as well, so a link that blocks is a test that fails.
 *
 * test/unit/amqp_broker_loop.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_AMQP_BROKER_LOOP_H
#define BS_AMQP_BROKER_LOOP_H

#include "amqp_broker.h"

extern void broker_write(BsBroker *broker);
extern void broker_attach(BsBroker *broker, int in, int out);

/* What there is to wait for; at most 3 entries. */
extern int	broker_poll(BsBroker *broker, struct pollfd *fds);

extern void broker_serve(BsBroker *broker, const struct pollfd *fds, int count);

#endif							/* BS_AMQP_BROKER_LOOP_H */
