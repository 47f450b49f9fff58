/*-------------------------------------------------------------------------
 *
 * bs_schema.c
 *	  May code of the extension run in the schema that it stands in?
 *
 * Bodies in PL/pgSQL and statements of the workers name our objects as text,
 * "public.users", and run with the rights of a superuser or of the workers'
 * role.  The owner of the schema can rename it and put another one in its place,
 * with objects of the same names.  So nothing of ours runs unless the schema's
 * owner is a superuser, and its name is the one that the bodies carry.
 * An owner who is no superuser never passes, so renaming between the check and
 * the use gains nothing.
 *
 * The same guard pins the settings that change what our SQL means.
 *
 * src/server/base/bs_schema.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "server/base/bs_compat.h"
#include "server/base/bs_schema.h"

/* What the catalogs said last; void once one of them has changed. */
static struct
{
	bool		known;
	bool		watched;		/* callbacks are registered */
	bool		trusted;
	char		name[NAMEDATALEN];	/* "": there is no extension */
	char		quoted[NAMEDATALEN * 2 + 3];
	char		owner[NAMEDATALEN];
}			schema;

static char *guard_value = NULL;

/*
 * What changes the meaning of a statement or of a cast, and what our bodies are
 * written for.
 */
static const char *const meaning[][2] = {
	{"standard_conforming_strings", "on"},
	{"transform_null_equals", "off"},
	{"quote_all_identifiers", "off"},
	{"array_nulls", "on"},
	{"DateStyle", "ISO"},
	{"IntervalStyle", "postgres"},
};

static void
forget(Datum arg, int cache_id, uint32 hash_value)
{
	schema.known = false;
}

static Oid
find_extension_schema(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			found = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("birthday_scheduler"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		found = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * "pg_database_owner" stands for the owner of the database.
 */
static Oid
resolve_owner(Oid owner)
{
	HeapTuple	tuple;

	if (owner != ROLE_PG_DATABASE_OWNER)
		return owner;
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_database) GETSTRUCT(tuple))->datdba;
		ReleaseSysCache(tuple);
	}
	return owner;
}

static void
look(void)
{
	HeapTuple	tuple;

	if (!schema.watched)
	{
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget, (Datum) 0);
		CacheRegisterSyscacheCallback(DATABASEOID, forget, (Datum) 0);
		/* There is none for pg_extension; CREATE EXTENSION makes functions. */
		CacheRegisterSyscacheCallback(PROCOID, forget, (Datum) 0);
		schema.watched = true;
	}
	/* First, because a change that is seen meanwhile makes it void. */
	schema.known = true;
	schema.trusted = false;
	schema.name[0] = schema.owner[0] = '\0';
	tuple = SearchSysCache1(NAMESPACEOID,
							ObjectIdGetDatum(find_extension_schema()));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_namespace form = (Form_pg_namespace) GETSTRUCT(tuple);
		Oid			owner = resolve_owner(form->nspowner);
		char	   *owner_name = GetUserNameFromId(owner, true);

		schema.trusted = superuser_arg(owner);
		strlcpy(schema.name, NameStr(form->nspname), sizeof(schema.name));
		strlcpy(schema.quoted, quote_identifier(NameStr(form->nspname)),
				sizeof(schema.quoted));
		strlcpy(schema.owner, owner_name ? owner_name : "?",
				sizeof(schema.owner));
		ReleaseSysCache(tuple);
	}
}

/*
 * Is that the name that a body carries?  It is quoted there if it has to be, or
 * if the session that made it had quote_all_identifiers on.
 */
static bool
is_name(const char *carried)
{
	const char *name = schema.name;

	if (*carried != '"')
		return strcmp(carried, name) == 0;
	for (carried++; *name != '\0'; name++)
	{
		if (*carried++ != *name || (*name == '"' && *carried++ != '"'))
			return false;
	}
	return strcmp(carried, "\"") == 0;
}

/*
 * Why nothing may run; NULL: it may.  "expected" is the name that a body carries,
 * NULL for a statement that is made from the present name.
 */
static const char *
find_fault(const char *expected, const char **detail, const char **hint)
{
	if (!schema.known)
		look();
	if (schema.name[0] == '\0')
	{
		*detail = "The extension does not exist in this database.";
		*hint = "Call CREATE EXTENSION birthday_scheduler.";
		return "there is no schema of birthday_scheduler";
	}
	if (!schema.trusted)
	{
		*detail = psprintf("It belongs to \"%s\", who could put other objects in the place of the extension's.",
						   schema.owner);
		if (expected != NULL && creating_extension)
			*hint = "Type CREATE SCHEMA birthday; CREATE EXTENSION birthday_scheduler SCHEMA birthday;";
		else
			*hint = psprintf("As a superuser, type ALTER SCHEMA %s OWNER TO CURRENT_USER;",
							 schema.quoted);
		return psprintf("schema %s does not belong to a superuser",
						schema.quoted);
	}
	if (expected != NULL && !is_name(expected))
	{
		*detail = psprintf("The functions of birthday_scheduler were created in schema %s.",
						   expected);
		*hint = psprintf("As a superuser, type ALTER SCHEMA %s RENAME TO %s;",
						 schema.quoted, expected);
		return psprintf("schema %s was renamed", expected);
	}
	return NULL;
}

/*
 * For the function that is being entered; its end gives the caller's settings
 * back.  A session has them as a rule, and then nothing is set.
 */
static void
pin_meaning(void)
{
	int			i;

	if (BS_STANDARD_STRINGS && !Transform_null_equals &&
		!quote_all_identifiers && Array_nulls &&
		DateStyle == USE_ISO_DATES && IntervalStyle == INTSTYLE_POSTGRES)
		return;
	for (i = 0; i < lengthof(meaning); i++)
		(void) set_config_option(meaning[i][0], meaning[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
}

static bool
check_guard(char **newval, void **extra, GucSource source)
{
	const char *detail = NULL;
	const char *hint = NULL;
	const char *fault;

	/* No function is entered then. */
	if (**newval == '\0' || source == PGC_S_TEST || !IsTransactionState())
		return true;
	fault = find_fault(*newval, &detail, &hint);
	if (fault == NULL)
	{
		pin_meaning();
		return true;
	}
	GUC_check_errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE);
	GUC_check_errmsg("%s", fault);
	GUC_check_errdetail("%s", detail);
	GUC_check_errhint("%s", hint);
	return false;
}

void
bs_schema_define_guard(void)
{
	DefineCustomStringVariable("birthday_scheduler.schema",
							   "Schema that the running function of birthday_scheduler was created in.",
							   "Set by the functions themselves, never by hand.",
							   &guard_value, "", PGC_USERSET,
							   GUC_NO_SHOW_ALL | GUC_NO_RESET_ALL |
							   GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   check_guard, NULL, NULL);
}

const char *
bs_schema_require(void)
{
	const char *detail = NULL;
	const char *hint = NULL;
	const char *fault = find_fault(NULL, &detail, &hint);

	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", fault), errdetail("%s", detail),
				 errhint("%s", hint)));
	return schema.quoted;
}
