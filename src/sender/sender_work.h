/*-------------------------------------------------------------------------
 *
 * sender_work.h
 *	  What bs_sender asks of its database: claims, records, and when to come back.
 *
 * The functions are those that the in-server senders call.
 *
 * src/sender/sender_work.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_WORK_H
#define BS_SENDER_WORK_H

#include "core/sending/claim.h"
#include "sender/sender_database.h"
#include "sender/sender_http.h"

#define BS_IDENTITY_SIZE 100	/* of message_logs.claimed_by */

/*
 * The state of the installation, and the report that this sender lives and how it
 * does; NULL: no report.
 */
extern bool bs_work_ask_state(BsDatabase *database, const char *identity,
							  const BsSenderStats *stats);

/* Up to "limit" due messages, with letters of about max_bytes octets. */
extern bool bs_work_ask_claim(BsDatabase *database, const char *identity,
							  int limit, int64_t max_bytes);

/* Those of these messages that are due. */
extern bool bs_work_ask_copies(BsDatabase *database, const char *identity,
							   const BsPayload *keys, int count,
							   int64_t max_bytes);

/*
 * The answer to both: at most "max" claims, as bs_claim() and bs_claim_copies()
 * give them; their number.  Memory that is short, or a row that is none of theirs,
 * leaves the rest to their lease.
 */
extern int	bs_work_take_claims(const PGresult *answer, BsClaim *claims,
								int max);

/*
 * Gives back what was claimed under this name with none of these tokens: its
 * answer was lost.
 */
extern bool bs_work_ask_release(BsDatabase *database, const char *identity,
								const uint8_t *const *tokens, int count);

/* When is the next message due? */
extern bool bs_work_ask_next_due(BsDatabase *database);

/*
 * In how many ms, 0 where one is, INT64_MAX where none is planned; and the
 * database's clock, us since 1970, which stays as it was if there is no answer.
 */
extern int64_t bs_work_take_next_due(const PGresult *answer,
									 int64_t *clock_us);

/* Writes these results. */
extern bool bs_work_ask_record(BsDatabase *database,
							   const BsClaim *const *claims,
							   const BsResult *const *results, int count);

/* How many of them were taken, or released. */
extern int	bs_work_take_count(const PGresult *answer);

#endif							/* BS_SENDER_WORK_H */
