/*-------------------------------------------------------------------------
 *
 * result_store.h
 *	  Recording what became of attempts, the SQL side.
 *
 * src/server/result/result_store.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_RESULT_STORE_H
#define BS_RESULT_STORE_H

#include "core/sending/claim.h"

/*
 * Writes the results of "count" claims; gives how many were taken.  Those that
 * were not had been given up for lost and belong to another sender.  Inside a
 * transaction of the caller's.
 */
extern int	bs_result_record(const BsClaim *const *claims,
							 const BsResult *const *results, int count);

#endif							/* BS_RESULT_STORE_H */
