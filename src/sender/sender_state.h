/*-------------------------------------------------------------------------
 *
 * sender_state.h
 *	  What the parts of bs_sender share: one process, one outbox, one of each.
 *
 * src/sender/sender_state.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_STATE_H
#define BS_SENDER_STATE_H

#include "core/sending/turn.h"
#include "sender/sender_database.h"
#include "sender/sender_http.h"
#include "sender/sender_work.h"

#define BS_RECHECK_MS	10000	/* how often to look what is there */
#define BS_REPORT_MS	30000	/* how often an idle sender says that it lives */

/* What the database was asked. */
typedef enum BsQuestion
{
	BS_QUESTION_NONE,
	BS_QUESTION_LOOK,
	BS_QUESTION_STATE,
	BS_QUESTION_CLAIM,
	BS_QUESTION_COPIES,
	BS_QUESTION_NEXT_DUE,
	BS_QUESTION_RECORD,
	BS_QUESTION_RELEASE
} BsQuestion;

typedef struct BsSenderState
{
	BsTurn		turn;
	BsDatabase	database;
	BsPages    *pages;			/* NULL: there are none */
	BsSenderStats totals;
	char		identity[BS_IDENTITY_SIZE];
	BsQuestion	question;		/* whose answer is due */
	bool		looked;			/* at this connection */
	bool		state_known;	/* looked, and found what time may mend at
								 * most */
	bool		is_ready;		/* nothing stands in the way */
	bool		has_begun;		/* nothing but time stood in the way once */
	char		obstacle[256];	/* what does; "": nothing */
	int64_t		look_at_ms;
	int64_t		claim_at_ms;	/* not before */
	bool		due_known;		/* what is due then is known to be */
	int			busy;			/* looks in a row at what was due and locked */
	int64_t		renew_at_ms;
	bool		reconnect_wanted;	/* to the database, likewise */
	int			exit_code;		/* -1: it goes on */
} BsSenderState;

extern BsSenderState bs_sender;

/* ---- sender_supply.c: relay, broker, pages and settings ---- */

/*
 * What stands in the way.  At the start that ends the process if it is for good;
 * later it may be mended.
 */
extern void bs_supply_report_obstacle(const char *message, bool for_good);

/* To the log, if nothing stands in the way any more. */
extern void bs_supply_report_work(void);

/* The settings of all sources together, which may have changed. */
extern bool bs_supply_finish_settings(void);

/* After a change: a new mailer, once nothing is held. */
extern void bs_supply_renew(void);

/* A link to the broker if there is to be one. */
extern void bs_supply_look_at_broker(void);
extern void bs_supply_close_link(void);

extern void bs_supply_open_pages(void);

/* Into a histogram. */
extern void bs_supply_observe(BsHistogramKind kind, int64_t us);

/* What the pages show, and the database is told. */
extern void bs_supply_fill_stats(BsSenderStats *stats);

/* ---- sender_dialogue.c: questions and answers ---- */

/* Connects, and takes the answer to what was asked. */
extern void bs_dialogue_run(void);

/* Asks how things are, if it is time to. */
extern void bs_dialogue_ask(void);

/* As BsTurnHost has them: claims and records, one question at a time. */
extern int64_t bs_dialogue_claim_at_ms(BsTurn *turn);
extern void bs_dialogue_claim_due(BsTurn *turn, int limit, int64_t bytes);
extern void bs_dialogue_claim_copies(BsTurn *turn, const BsPayload *keys,
									 int count, int64_t bytes);
extern void bs_dialogue_record(BsTurn *turn, const BsClaim *const *claims,
							   const BsResult *const *results, int count);
extern bool bs_dialogue_is_waiting(BsTurn *turn);

/*
 * When there is something to ask, by bs_clock_ms(); INT64_MAX: not before
 * something else has happened.
 */
extern int64_t bs_dialogue_next_ms(void);

#endif							/* BS_SENDER_STATE_H */
