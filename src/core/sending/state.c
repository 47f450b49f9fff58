/*-------------------------------------------------------------------------
 *
 * state.c
 *	  What can be true of a message, and how that may change.
 *
 * The moves are made by UPDATEs in sql/modules, each of which names the states
 * that it starts from; test/sql/queue_states.sql compares them with this table.
 *
 * src/core/sending/state.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/state.h"

#include <stddef.h>

static const char *const words[BS_STATE_COUNT] = {
	[BS_STATE_SCHEDULED] = "SCHEDULED",
	[BS_STATE_QUEUED] = "QUEUED",
	[BS_STATE_SENDING] = "SENDING",
	[BS_STATE_RETRYING] = "RETRYING",
	[BS_STATE_SENT] = "SENT",
	[BS_STATE_FAILED] = "FAILED",
	[BS_STATE_CANCELLED] = "CANCELLED",
	[BS_STATE_EXPIRED] = "EXPIRED"
};

const BsStateEdge bs_state_edges[] = {
	{BS_STATE_NONE, BS_STATE_SCHEDULED, "planned"},
	{BS_STATE_SCHEDULED, BS_STATE_QUEUED, "the broker confirmed a copy"},
	{BS_STATE_SCHEDULED, BS_STATE_SENDING, "claimed"},
	{BS_STATE_SCHEDULED, BS_STATE_CANCELLED, "owed no more, or by hand"},
	{BS_STATE_SCHEDULED, BS_STATE_EXPIRED, "later than max_lateness"},
	{BS_STATE_QUEUED, BS_STATE_SCHEDULED, "made afresh, or the broker is not used any more"},
	{BS_STATE_QUEUED, BS_STATE_RETRYING, "the same after an attempt, or by hand"},
	{BS_STATE_QUEUED, BS_STATE_SENDING, "claimed"},
	{BS_STATE_QUEUED, BS_STATE_CANCELLED, "owed no more, or by hand"},
	{BS_STATE_QUEUED, BS_STATE_EXPIRED, "later than max_lateness"},
	{BS_STATE_SENDING, BS_STATE_SENT, "the relay accepted it"},
	{BS_STATE_SENDING, BS_STATE_FAILED, "refused, or the last attempt failed"},
	{BS_STATE_SENDING, BS_STATE_RETRYING, "failed for now, given back, or the sender is lost"},
	{BS_STATE_SENDING, BS_STATE_EXPIRED, "the next attempt would be too late"},
	{BS_STATE_RETRYING, BS_STATE_QUEUED, "the broker confirmed a copy"},
	{BS_STATE_RETRYING, BS_STATE_SENDING, "claimed"},
	{BS_STATE_RETRYING, BS_STATE_CANCELLED, "owed no more, or by hand"},
	{BS_STATE_RETRYING, BS_STATE_EXPIRED, "later than max_lateness"},
	{BS_STATE_CANCELLED, BS_STATE_SCHEDULED, "owed again"},
	{BS_STATE_CANCELLED, BS_STATE_RETRYING, "owed again after an attempt, or by hand"},
	{BS_STATE_FAILED, BS_STATE_RETRYING, "by hand"},
	{BS_STATE_EXPIRED, BS_STATE_RETRYING, "by hand"}
};

const int	bs_state_edge_count = sizeof(bs_state_edges) / sizeof(bs_state_edges[0]);

const char *
bs_state_word(BsState state)
{
	return words[state];
}

bool
bs_state_is_open(BsState state)
{
	return state == BS_STATE_SENDING || bs_state_is_waiting(state);
}

bool
bs_state_is_waiting(BsState state)
{
	return state == BS_STATE_SCHEDULED || state == BS_STATE_QUEUED ||
		state == BS_STATE_RETRYING;
}
