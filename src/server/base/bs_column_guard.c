/*-------------------------------------------------------------------------
 *
 * bs_column_guard.c
 *	  Refuses further columns in tables of the extension.
 *
 * A dump has CREATE EXTENSION instead of these tables, and COPY with the names of
 * all columns: with a column that the extension does not know it fails, and nobody
 * is restored.
 *
 * src/server/base/bs_column_guard.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "server/base/bs_column_guard.h"

static object_access_hook_type next_hook = NULL;

static bool
is_ours(Oid relation)
{
	Oid			extension = getExtensionOfObject(RelationRelationId, relation);

	return OidIsValid(extension) &&
		extension == get_extension_oid("birthday_scheduler", true);
}

static void
refuse_column(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (next_hook != NULL)
		next_hook(access, class_id, object_id, sub_id, arg);
	if (access == OAT_POST_CREATE && class_id == RelationRelationId &&
		sub_id > 0 && !creating_extension && !IsBinaryUpgrade &&
		is_ours(object_id))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" of birthday_scheduler cannot get another column",
						get_rel_name(object_id)),
				 errdetail("A dump of it could not be restored."),
				 errhint("Keep what you need beside it, in a table of your own with a foreign key to users (id).")));
}

void
bs_column_guard_install(void)
{
	next_hook = object_access_hook;
	object_access_hook = refuse_column;
}
