/*-------------------------------------------------------------------------
 *
 * bs_guc.c
 *	  The settings of the server, birthday_scheduler.*, from the common table.
 *
 * Secrets are not settings: a setting names a file, and the worker reads it.
 *
 * src/server/base/bs_guc.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "server/base/bs_guc.h"
#include "server/base/bs_schema.h"

BsSettings	bs_settings = {.prefix = BS_SETTING_PREFIX};

/*
 * What is wrong with a name in that list; NULL: nothing.  "before" are those that
 * precede it.
 */
static const char *
find_name_fault(const char *name, const List *before)
{
	ListCell   *cell;

	if (*name == '\0' || strlen(name) >= NAMEDATALEN)
		return "The name of a database has between 1 and 63 bytes.";
	foreach(cell, before)
		if (strcmp(lfirst(cell), name) == 0)
		return "A database is named twice.";
	if (list_length(before) == BS_DATABASES_MAX)
		return "At most 64 databases can be named.";
	return NULL;
}

bool
bs_guc_split_databases(const char *value, List **names, const char **reason)
{
	List	   *found;
	ListCell   *cell;

	*names = NIL;
	*reason = "It must be a list of names, separated by commas; one with blanks, commas or quotes in it stands in double quotes.";
	if (!SplitGUCList(pstrdup(value), ',', &found))
		return false;
	*reason = "It must name a database.";
	foreach(cell, found)
	{
		*reason = find_name_fault(lfirst(cell), *names);
		if (*reason != NULL)
			return false;
		*names = lappend(*names, lfirst(cell));
	}
	return *names != NIL;
}

static bool
is_database_list(const char *value, const char **reason)
{
	List	   *names;

	return bs_guc_split_databases(value, &names, reason);
}

static bool
check_text(BsSettingIndex index, const char *value)
{
	const BsSetting *setting = &bs_setting_table[index];
	const char *reason;

	if (index == BS_AT_databases ? is_database_list(value, &reason) :
		bs_setting_takes_text(setting, value, &reason))
		return true;
	/* The usual message repeats the value. */
	if (setting->flags & BS_SETTING_SECRET)
		GUC_check_errmsg("invalid value for parameter \"" BS_SETTING_PREFIX "%s\"",
						 setting->name);
	GUC_check_errdetail("%s", reason);
	return false;
}

/*
 * The server has compared it with the limits but for those of BS_SETTING_OR_ZERO.
 */
static bool
check_number(BsSettingIndex index, double value)
{
	const BsSetting *setting = &bs_setting_table[index];

	if (bs_setting_takes_number(setting, value))
		return true;
	GUC_check_errdetail("It must be 0 or at least %.10g%s.",
						setting->kind == BS_KIND_SECONDS ?
						setting->min / 86400 : setting->min,
						setting->kind == BS_KIND_SECONDS ? " d" : "");
	GUC_check_errhint("%s", setting->long_text);
	return false;
}

/* A hook is not told whose value it checks, so each setting has one of its own. */
#define BS_TEXT_NAMED(name, field, ...) \
static bool \
check_##field(char **newval, void **extra, GucSource source) \
{ \
	return check_text(BS_AT_##field, *newval); \
}
#define BS_TEXT(name, ...) BS_TEXT_NAMED("", name, )
#define CHECK_INT(name) \
static bool \
check_##name(int *newval, void **extra, GucSource source) \
{ \
	return check_number(BS_AT_##name, *newval); \
}
#define BS_COUNT(name, ...) CHECK_INT(name)
#define BS_SECONDS(name, ...) CHECK_INT(name)
#define BS_MS(name, ...) CHECK_INT(name)
#define BS_KB(name, ...) CHECK_INT(name)
#define BS_REAL(name, ...)
#define BS_WORD(name, ...)
#include "core/sending/settings.def"
#include "core/sending/settings_undef.h"

typedef union BsCheckHook
{
	GucStringCheckHook text;
	GucIntCheckHook number;
} BsCheckHook;

static const BsCheckHook check_hooks[BS_SETTING_COUNT] = {
#define BS_TEXT_NAMED(name, field, ...) [BS_AT_##field] = {.text = check_##field},
#define BS_TEXT(name, ...) [BS_AT_##name] = {.text = check_##name},
#define BS_COUNT(name, ...) [BS_AT_##name] = {.number = check_##name},
#define BS_SECONDS(name, ...) [BS_AT_##name] = {.number = check_##name},
#define BS_MS(name, ...) [BS_AT_##name] = {.number = check_##name},
#define BS_KB(name, ...) [BS_AT_##name] = {.number = check_##name},
#define BS_REAL(name, ...)
#define BS_WORD(name, ...)
#include "core/sending/settings.def"
#include "core/sending/settings_undef.h"
};

/*
 * The words of a setting as the server wants them, which keeps them.
 */
static const struct config_enum_entry *
make_options(const BsSetting *setting)
{
	char	   *words = MemoryContextStrdup(TopMemoryContext, setting->words);
	struct config_enum_entry *options =
	MemoryContextAllocZero(TopMemoryContext,
						   sizeof(*options) * (strlen(words) / 2 + 2));
	int			count = 0;
	char	   *word;

	while ((word = strsep(&words, " ")) != NULL)
	{
		options[count].name = word;
		options[count].val = count;
		count++;
	}
	return options;
}

static int
guc_flags(const BsSetting *setting)
{
	static const int units[] = {
		[BS_KIND_SECONDS] = GUC_UNIT_S,
		[BS_KIND_MS] = GUC_UNIT_MS,
		[BS_KIND_KB] = GUC_UNIT_KB,
		[BS_KIND_WORD] = 0
	};

	return units[setting->kind] |
		(setting->flags & BS_SETTING_HIDDEN ? GUC_SUPERUSER_ONLY : 0) |
		(setting->flags & BS_SETTING_LIST ? GUC_LIST_INPUT : 0);
}

static void
define(BsSettingIndex index)
{
	const BsSetting *setting = &bs_setting_table[index];
	void	   *variable = (char *) &bs_settings + setting->offset;
	const char *long_text = setting->long_text[0] ? setting->long_text : NULL;
	GucContext	context = setting->flags & BS_SETTING_RESTART ?
	PGC_POSTMASTER : PGC_SIGHUP;
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), BS_SETTING_PREFIX "%s", setting->name);
	switch (setting->kind)
	{
		case BS_KIND_TEXT:
			DefineCustomStringVariable(name, setting->short_text, long_text,
									   variable, setting->text, context,
									   guc_flags(setting),
									   check_hooks[index].text, NULL, NULL);
			break;
		case BS_KIND_REAL:
			*(double *) variable = setting->number;
			DefineCustomRealVariable(name, setting->short_text, long_text,
									 variable, setting->number, setting->min,
									 setting->max, context,
									 guc_flags(setting), NULL, NULL, NULL);
			break;
		case BS_KIND_WORD:
			*(int *) variable = (int) setting->number;
			DefineCustomEnumVariable(name, setting->short_text, long_text,
									 variable, (int) setting->number,
									 make_options(setting), context,
									 guc_flags(setting), NULL, NULL, NULL);
			break;
		default:
			*(int *) variable = (int) setting->number;
			DefineCustomIntVariable(name, setting->short_text, long_text,
									variable, (int) setting->number,
									setting->flags & BS_SETTING_OR_ZERO ? 0 : (int) setting->min,
									(int) setting->max, context,
									guc_flags(setting),
									check_hooks[index].number, NULL, NULL);
			break;
	}
}

void
bs_guc_define(void)
{
	BsSettingIndex index;

	for (index = 0; index < BS_SETTING_COUNT; index++)
	{
		if (bs_setting_table[index].host == BS_SETTING_SENDER)
			continue;
		if (process_shared_preload_libraries_in_progress ||
			!(bs_setting_table[index].flags & BS_SETTING_RESTART))
			define(index);
	}
	bs_schema_define_guard();
	MarkGUCPrefixReserved("birthday_scheduler");
}
