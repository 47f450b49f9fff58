/*-------------------------------------------------------------------------
 *
 * users_row.c
 *	  A row of users, normalised and checked before it is written.
 *
 * A BEFORE ROW trigger in C, because a million users are loaded with COPY.  The
 * table's CHECK constraints say the same once more, for rows that come when
 * triggers are off; they cannot give hints, and they cannot know today's date.
 *
 * src/server/users/users_row.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "core/text/address.h"
#include "server/users/users_check.h"

PG_FUNCTION_INFO_V1(bs_users_before_write);
PG_FUNCTION_INFO_V1(bs_is_email);

/* The columns whose values are replaced, those of the check and three more. */
typedef struct BsReplacement
{
	int			count;
	int			attnum[BS_USER_COLUMN_COUNT + 3];
	Datum		value[BS_USER_COLUMN_COUNT + 3];
	bool		isnull[BS_USER_COLUMN_COUNT + 3];
} BsReplacement;

static void
replace(BsReplacement *replacement, int attnum, Datum value, bool isnull)
{
	int			i = replacement->count++;

	replacement->attnum[i] = attnum;
	replacement->value[i] = value;
	replacement->isnull[i] = isnull;
}

static int
find_column(Relation rel, const char *name, Oid type)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			attnum = SPI_fnumber(desc, name);

	if (attnum <= 0 || TupleDescAttr(desc, attnum - 1)->atttypid != type)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\" of type %s",
						RelationGetRelationName(rel), name,
						format_type_be(type))));
	return attnum;
}

/*
 * Does an UPDATE change this text, date or instant?
 */
static bool
is_changed(HeapTuple old_tuple, TupleDesc desc, int attnum,
		   Datum value, bool isnull)
{
	bool		old_isnull;
	Datum		old = heap_getattr(old_tuple, attnum, desc, &old_isnull);

	if (old_isnull || isnull)
		return old_isnull != isnull;
	switch (TupleDescAttr(desc, attnum - 1)->atttypid)
	{
		case DATEOID:
			return DatumGetDateADT(old) != DatumGetDateADT(value);
		case TIMESTAMPTZOID:
			return DatumGetTimestampTz(old) != DatumGetTimestampTz(value);
		default:
			return !DatumGetBool(DirectFunctionCall2Coll(texteq,
														 C_COLLATION_OID,
														 old, value));
	}
}

/*
 * next_version
 *		The version of a user who is written; "old" is NULL for an INSERT.
 *
 * It rises if one of the columns that messages are made from changes, or if the
 * statement sets another version, as a change of the user's dates does.  A restore
 * brings a user's version along.
 */
static int32
next_version(Relation rel, HeapTuple old, HeapTuple tuple,
			 const BsUserValues *user, const int *attnum)
{
	static const char *const instants[] = {"created_at", "deleted_at"};
	TupleDesc	desc = RelationGetDescr(rel);
	int			column = find_column(rel, "version", INT4OID);
	bool		isnull;
	int32		wanted = DatumGetInt32(heap_getattr(tuple, column, desc,
													&isnull));
	bool		changed = isnull;
	int32		version;
	int			i;

	if (old == NULL)
		return isnull || wanted < 1 ? 1 : wanted;
	version = DatumGetInt32(heap_getattr(old, column, desc, &isnull));
	changed |= wanted != version;
	for (i = 0; i < BS_USER_COLUMN_COUNT && !changed; i++)
		changed = is_changed(old, desc, attnum[i], user->value[i],
							 user->isnull[i]);
	for (i = 0; i < (int) lengthof(instants) && !changed; i++)
	{
		Datum		value;

		column = find_column(rel, instants[i], TIMESTAMPTZOID);
		value = heap_getattr(tuple, column, desc, &isnull);
		changed = is_changed(old, desc, column, value, isnull);
	}
	if (!changed)
		return version;
	return version < PG_INT32_MAX ? version + 1 : 1;
}

Datum
bs_users_before_write(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	rel;
	TupleDesc	desc;
	HeapTuple	old;			/* NULL for an INSERT */
	HeapTuple	tuple;
	BsUserValues user = {0};
	BsReplacement replacement = {0};
	int			attnum[BS_USER_COLUMN_COUNT];
	int			created_at;
	int			updated_at;
	bool		no_created_at;
	bool		no_updated_at;
	Datum		now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	int			i;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bs_users_before_write can only be called as a BEFORE ROW trigger")));

	rel = trigdata->tg_relation;
	desc = RelationGetDescr(rel);
	old = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
		trigdata->tg_trigtuple : NULL;
	tuple = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
		trigdata->tg_newtuple : trigdata->tg_trigtuple;
	for (i = 0; i < BS_USER_COLUMN_COUNT; i++)
	{
		attnum[i] = find_column(rel, bs_user_columns[i].name,
								bs_user_columns[i].type);
		user.value[i] = heap_getattr(tuple, attnum[i], desc, &user.isnull[i]);
		user.changed[i] = old == NULL ||
			(bs_user_columns[i].type == VARCHAROID &&
			 is_changed(old, desc, attnum[i], user.value[i], user.isnull[i]));
	}
	created_at = find_column(rel, "created_at", TIMESTAMPTZOID);
	updated_at = find_column(rel, "updated_at", TIMESTAMPTZOID);
	(void) heap_getattr(tuple, created_at, desc, &no_created_at);
	(void) heap_getattr(tuple, updated_at, desc, &no_updated_at);

	if (!bs_user_check(&user))
		ereport(ERROR,
				(errcode(user.fault.code),
				 errmsg("%s", user.fault.message),
				 user.fault.hint ? errhint("%s", user.fault.hint) : 0,
				 errtablecol(rel, attnum[user.fault.column])));

	for (i = 0; i < BS_USER_COLUMN_COUNT; i++)
	{
		if (user.replaced[i])
			replace(&replacement, attnum[i], user.value[i], user.isnull[i]);
	}
	if (no_created_at)
		replace(&replacement, created_at, now, false);
	if (old != NULL || no_updated_at)
		replace(&replacement, updated_at, now, false);
	replace(&replacement, find_column(rel, "version", INT4OID),
			Int32GetDatum(next_version(rel, old, tuple, &user, attnum)),
			false);

	tuple = heap_modify_tuple_by_cols(tuple, desc, replacement.count,
									  replacement.attnum,
									  replacement.value,
									  replacement.isnull);
	return PointerGetDatum(tuple);
}

Datum
bs_is_email(PG_FUNCTION_ARGS)
{
	text	   *address = PG_GETARG_TEXT_PP(0);
	const char *reason;

	PG_RETURN_BOOL(bs_address_check(VARDATA_ANY(address),
									VARSIZE_ANY_EXHDR(address), &reason));
}
