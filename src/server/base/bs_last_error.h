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

/*
 * For a worker that has its slot: from now on the error that ends this process
 * is last_error of the slot, "cannot start: ..." until the start has succeeded.
 */
extern void bs_last_error_watch(void);

#endif							/* BS_LAST_ERROR_H */
