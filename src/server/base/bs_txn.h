/*-------------------------------------------------------------------------
 *
 * bs_txn.h
 *	  The transaction bracket of the workers, and statements that are kept.
 *
 * src/server/base/bs_txn.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_TXN_H
#define BS_TXN_H

#include "executor/spi.h"

/* What the workers found of the extension in their database. */
typedef enum BsPresence
{
	BS_PRESENCE_ABSENT,			/* not created */
	BS_PRESENCE_OTHER_VERSION,	/* script and library differ */
	BS_PRESENCE_READY
} BsPresence;

/*
 * Statement timestamp, start, snapshot, SPI; "activity" is shown in
 * pg_stat_activity until the commit.
 */
extern void bs_txn_begin(const char *activity);
extern void bs_txn_commit(void);

/*
 * Runs "work" in a transaction of its own that must not take the worker with
 * it: an error ends the transaction, false is returned, and the reason is put
 * into error.  A shutdown that comes while it hangs (a lock, a synchronous
 * standby that is gone) ends the process within half a second, one that comes
 * while it works within five seconds.
 */
extern bool bs_txn_try(const char *activity, void (*work) (void *), void *arg,
					   char *error, Size error_size);

/*
 * Looks for the extension, inside a transaction.  Its schema may change when it
 * is dropped and created again; kept statements are made afresh then.
 */
extern BsPresence bs_txn_find_extension(char *version, Size version_size);

/* A statement text with one %s for the quoted schema, prepared once. */
typedef struct BsStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[10];
	SPIPlanPtr	plan;
	uint32		generation;		/* of the extension that it was made for */
} BsStatement;

/* Runs it; expected is the SPI code wanted, e.g. SPI_OK_SELECT. */
extern void bs_txn_execute(BsStatement *statement, Datum *values,
						   const char *nulls);

#endif							/* BS_TXN_H */
