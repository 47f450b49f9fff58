/*-------------------------------------------------------------------------
 *
 * queue_link.h
 *	  This process's link to the broker, as the settings describe it.
 *
 * src/server/queue/queue_link.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_QUEUE_LINK_H
#define BS_QUEUE_LINK_H

#include "core/amqp/amqp.h"

/*
 * Has a link made, or made anew where the settings or secrets have changed;
 * publishes where window is not 0, consumes where prefetch is not.  NULL where
 * the settings make none: the error is reported, and the caller asks again after
 * BS_WORKER_RECHECK_MS.
 */
extern BsAmqpLink *bs_queue_open_link(int window, int prefetch);

/*
 * How many links were made so far: tells a new one from the one before, whose
 * address it may have.
 */
extern uint32 bs_queue_link_number(void);

/* Closes it, if there is one. */
extern void bs_queue_close_link(void);

/*
 * What UP, DOWN and BLOCKED mean for the log, and for bs_workers.
 */
extern void bs_queue_report(const BsAmqpEvent *event);

/* The name of this database in message bodies: static. */
extern const char *bs_queue_installation(void);

#endif							/* BS_QUEUE_LINK_H */
