/*-------------------------------------------------------------------------
 *
 * sender_setting.c
 *	  One setting of bs_sender: its value as it is written.
 *
 * Numbers take the units that postgresql.conf takes, and are rounded as there.
 *
 * src/sender/sender_setting.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_setting.h"

#include <libpq-fe.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct BsUnit
{
	const char *name;
	double		s;				/* in seconds; 0: no unit of time */
	double		kb;				/* in kB; 0: no unit of memory */
} BsUnit;

static const BsUnit units[] = {
	{"us", 1e-6, 0}, {"ms", 1e-3, 0}, {"s", 1, 0}, {"min", 60, 0},
	{"h", 3600, 0}, {"d", 86400, 0},
	{"B", 0, 1 / 1024.0}, {"kB", 0, 1}, {"MB", 0, 1024}, {"GB", 0, 1048576},
	{"TB", 0, 1073741824}
};

static bool
check_database(const char *value, const char **reason)
{
	char	   *message = NULL;
	PQconninfoOption *options;
	PQconninfoOption *option;

	*reason = NULL;
	/* A bare word is the name of a database. */
	if (strchr(value, '=') == NULL && strstr(value, "://") == NULL)
		return true;
	options = PQconninfoParse(value, &message);
	PQfreemem(message);
	if (options == NULL)
		*reason = "It must be a connection string as libpq takes it.";
	for (option = options; option != NULL && option->keyword; option++)
		if (option->val != NULL && strcmp(option->keyword, "password") == 0)
			*reason = "A password belongs into libpq's password file.";
	PQconninfoFree(options);
	return *reason == NULL;
}

/* What a unit is worth in the setting's own; 0: it has no such unit. */
static double
unit_factor(const BsSetting *setting, const char *unit)
{
	size_t		i;

	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(unit, units[i].name) == 0)
			return setting->kind == BS_KIND_SECONDS ? units[i].s :
				setting->kind == BS_KIND_MS ? units[i].s * 1000 :
				setting->kind == BS_KIND_KB ? units[i].kb : 0;
	return 0;
}

static const char *
unit_of(const BsSetting *setting)
{
	return setting->kind == BS_KIND_SECONDS ? "s" :
		setting->kind == BS_KIND_MS ? "ms" :
		setting->kind == BS_KIND_KB ? "kB" : "";
}

static bool
read_number(const BsSetting *setting, const char *value, double *number,
			char *reason, size_t size)
{
	char	   *end;
	double		factor = 1;
	bool		good;

	*number = strtod(value, &end);
	good = end != value;
	while (*end == ' ')
		end++;
	if (*end != '\0')
	{
		factor = unit_factor(setting, end);
		good = good && factor > 0;
	}
	*number *= factor;
	if (setting->kind == BS_KIND_COUNT)
		good = good && *number == floor(*number);
	else if (setting->kind != BS_KIND_REAL)
		*number = rint(*number);
	if (!good)
		snprintf(reason, size, "It must be a number%s.",
				 setting->kind == BS_KIND_KB ?
				 ", with one of the units kB, MB, GB" :
				 setting->kind == BS_KIND_SECONDS || setting->kind == BS_KIND_MS ?
				 ", with one of the units ms, s, min, h, d" : "");
	else if (!bs_setting_takes_number(setting, *number))
	{
		good = false;
		snprintf(reason, size, "It must lie between %.10g and %.10g%s%s.",
				 setting->min, setting->max,
				 *unit_of(setting) != '\0' ? " " : "", unit_of(setting));
	}
	return good;
}

static void
store_number(const BsSetting *setting, double number, BsSettings *settings)
{
	if (settings == NULL)
		return;
	if (setting->kind == BS_KIND_REAL)
		*(double *) ((char *) settings + setting->offset) = number;
	else
		*(int *) ((char *) settings + setting->offset) = (int) number;
}

static void
store_text(const BsSetting *setting, const char *text, BsSettings *settings)
{
	if (settings != NULL)
		*(char **) ((char *) settings + setting->offset) = strdup(text);
}

bool
bs_setting_store(const BsSetting *setting, const char *value, BsSettings *settings,
				 char *reason, size_t size)
{
	const char *why = "";
	double		number;
	int			word;

	switch (setting->kind)
	{
		case BS_KIND_TEXT:
			if (setting == &bs_setting_table[BS_AT_database] ?
				!check_database(value, &why) :
				!bs_setting_takes_text(setting, value, &why))
			{
				snprintf(reason, size, "%s", why);
				return false;
			}
			store_text(setting, value, settings);
			return true;
		case BS_KIND_WORD:
			word = bs_setting_find_word(setting, value, strlen(value));
			if (word < 0)
			{
				snprintf(reason, size, "It must be one of: %s",
						 setting->words);
				return false;
			}
			store_number(setting, word, settings);
			return true;
		default:
			if (!read_number(setting, value, &number, reason, size))
				return false;
			store_number(setting, number, settings);
			return true;
	}
}

void
bs_setting_store_default(const BsSetting *setting, BsSettings *settings)
{
	if (setting->kind == BS_KIND_TEXT)
		store_text(setting, setting->text, settings);
	else
		store_number(setting, setting->number, settings);
}

const char *
bs_setting_show_default(const BsSetting *setting, char *buf, size_t size)
{
	const char *word = setting->words;
	int			place;

	switch (setting->kind)
	{
		case BS_KIND_TEXT:
			return setting->text;
		case BS_KIND_WORD:
			for (place = 0; place < (int) setting->number; place++)
				word += strcspn(word, " ") + 1;
			snprintf(buf, size, "%.*s", (int) strcspn(word, " "), word);
			return buf;
		default:
			snprintf(buf, size, "%.10g%s", setting->number, unit_of(setting));
			return buf;
	}
}
