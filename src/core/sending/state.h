/*-------------------------------------------------------------------------
 *
 * state.h
 *	  What can be true of a message, and how that may change.
 *
 * SQL has the words and the lists from here: bs_state_edges(),
 * bs_open_statuses(), bs_waiting_statuses().
 *
 * src/core/sending/state.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_STATE_H
#define BS_CORE_STATE_H

#include <stdbool.h>

typedef enum BsState
{
	BS_STATE_NONE,				/* there is no row yet */
	BS_STATE_SCHEDULED,			/* owed, no sender has it */
	BS_STATE_QUEUED,			/* the broker has confirmed a copy */
	BS_STATE_SENDING,			/* a sender holds the lease */
	BS_STATE_RETRYING,			/* waits for another attempt */
	BS_STATE_SENT,				/* the relay accepted it */
	BS_STATE_FAILED,			/* given up, the row says why */
	BS_STATE_CANCELLED,			/* owed no more */
	BS_STATE_EXPIRED			/* too late to be sent */
} BsState;

#define BS_STATE_COUNT	(BS_STATE_EXPIRED + 1)

typedef struct BsStateEdge
{
	BsState		from;
	BsState		to;
	const char *reason;
} BsStateEdge;

/* Every move that there is, each once. */
extern const BsStateEdge bs_state_edges[];
extern const int bs_state_edge_count;

/* The word in the column "status"; NULL for BS_STATE_NONE. */
extern const char *bs_state_word(BsState state);

/* Something is still to happen to it. */
extern bool bs_state_is_open(BsState state);

/* It is open and no sender holds it, so planning and operators may change it. */
extern bool bs_state_is_waiting(BsState state);

#endif							/* BS_CORE_STATE_H */
