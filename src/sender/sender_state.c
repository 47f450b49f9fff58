/*-------------------------------------------------------------------------
 *
 * sender_state.c
 *	  What the parts of bs_sender share: one process, one outbox, one of each.
 *
 * src/sender/sender_state.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_state.h"

BsSenderState bs_sender = {.exit_code = -1};
