/*-------------------------------------------------------------------------
 *
 * queue_recovery.h
 *	  Puts back what senders held that are lost.
 *
 * src/server/queue/queue_recovery.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_QUEUE_RECOVERY_H
#define BS_QUEUE_RECOVERY_H

#include "datatype/timestamp.h"

/*
 * Puts back what is held by senders that are gone or whose lease ended, and
 * expires what is too late, in a transaction of its own.  Gives when to look
 * again; DT_NOEND: nothing is held.
 */
extern TimestampTz bs_queue_recover(void);

#endif							/* BS_QUEUE_RECOVERY_H */
