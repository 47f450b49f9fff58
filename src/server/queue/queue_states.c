/*-------------------------------------------------------------------------
 *
 * queue_states.c
 *	  The states of a message and its moves, for SQL.
 *
 * Immutable, so that a list becomes a constant before a query is planned.
 *
 * src/server/queue/queue_states.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "core/sending/state.h"

PG_FUNCTION_INFO_V1(bs_open_statuses);
PG_FUNCTION_INFO_V1(bs_waiting_statuses);
PG_FUNCTION_INFO_V1(bs_state_edges_sql);

static Datum
make_list(bool (*is_member) (BsState))
{
	Datum		members[BS_STATE_COUNT];
	int			count = 0;
	int			i;

	for (i = 0; i < BS_STATE_COUNT; i++)
		if (is_member(i))
			members[count++] = CStringGetTextDatum(bs_state_word(i));
	return PointerGetDatum(construct_array(members, count, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

Datum
bs_open_statuses(PG_FUNCTION_ARGS)
{
	return make_list(bs_state_is_open);
}

Datum
bs_waiting_statuses(PG_FUNCTION_ARGS)
{
	return make_list(bs_state_is_waiting);
}

Datum
bs_state_edges_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < bs_state_edge_count; i++)
	{
		const BsStateEdge *edge = &bs_state_edges[i];
		Datum		values[3];
		bool		nulls[3] = {false};

		nulls[0] = edge->from == BS_STATE_NONE;
		values[0] = nulls[0] ? (Datum) 0 :
			CStringGetTextDatum(bs_state_word(edge->from));
		values[1] = CStringGetTextDatum(bs_state_word(edge->to));
		values[2] = CStringGetTextDatum(edge->reason);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
