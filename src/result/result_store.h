/*-------------------------------------------------------------------------
 *
 * result_store.h
 *	  Recording what became of attempts, the SQL side.
 *
 * src/result/result_store.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_RESULT_STORE_H
#define BS_RESULT_STORE_H

#include "net/net_mail.h"
#include "queue/queue_store.h"

/* What is to be written of one attempt. */
typedef struct BsResult
{
	BsNextState next;
	const char *reason;			/* static; column status_reason */
	TimestampTz next_attempt;	/* where next is RETRYING or RELEASED */
	int			code;			/* 0: no answer came */
	TimestampTz ended_at;
	char		reply[BS_MAIL_REPLY_MAX];
	char		error[256];
} BsResult;

/*
 * Writes the results of "count" claims; gives how many were taken.  Those that
 * were not had been given up for lost and belong to somebody else.  Inside a
 * transaction of the caller's.
 */
extern int	bs_result_record(const BsClaim *const *claims,
							 const BsResult *const *results, int count);

#endif							/* BS_RESULT_STORE_H */
