/*-------------------------------------------------------------------------
 *
 * bs_last_error.h
 *	  The error that ends a worker, kept in its slot.
 *
 * src/server/base/bs_last_error.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_LAST_ERROR_H
#define BS_LAST_ERROR_H

#include "server/base/bs_shmem.h"

/*
 * For a worker that has taken a slot: from now on the error that ends this
 * process is the slot's last_error, "cannot start: ..." until the start succeeds.
 */
extern void bs_last_error_watch(BsWorkerSlot *own_slot);

#endif							/* BS_LAST_ERROR_H */
