/*-------------------------------------------------------------------------
 *
 * sender_settings.c
 *	  What bs_sender is told: by flags, the environment, a file, and the server.
 *
 * Every source leaves its words in a row of the table; they are read together in
 * bs_settings_finish(), so that a reload that is no good changes nothing.
 *
 * src/sender/sender_settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/sending/relay.h"
#include "sender/sender_file.h"
#include "sender/sender_setting.h"

#define DEFAULT_FILE	"/etc/birthday_scheduler/bs_sender.conf"

typedef enum BsSource
{
	SOURCE_FLAG,
	SOURCE_ENVIRONMENT,
	SOURCE_FILE,
	SOURCE_SERVER,
	SOURCE_COUNT
} BsSource;

static const char *const source_names[] = {
	[SOURCE_FLAG] = "the command line",
	[SOURCE_ENVIRONMENT] = "the environment",
	[SOURCE_FILE] = "the file",
	[SOURCE_SERVER] = "the server"
};

static char *words_of[BS_SETTING_COUNT][SOURCE_COUNT];	/* NULL: nothing was
														 * said */
static bool is_set = false;		/* bs_settings has values */

BsSettings	bs_settings = {.prefix = ""};

static bool
is_ours(int setting)
{
	return bs_setting_table[setting].host != BS_SETTING_SERVER;
}

/* May flags, environment and file say it? */
static bool
is_told_here(int setting)
{
	return is_ours(setting) && bs_setting_table[setting].host != BS_SETTING_RULE;
}

static int
find_setting(const char *name, size_t len)
{
	int			i;
	size_t		k;

	for (i = 0; i < BS_SETTING_COUNT; i++)
	{
		if (!is_ours(i))
			continue;
		for (k = 0; k < len && bs_setting_table[i].name[k] != '\0'; k++)
			if (bs_setting_table[i].name[k] != (name[k] == '-' ? '_' : tolower((unsigned char) name[k])))
				break;
		if (k == len && bs_setting_table[i].name[k] == '\0')
			return i;
	}
	return -1;
}

static void
say(int setting, BsSource source, const char *value)
{
	free(words_of[setting][source]);
	words_of[setting][source] = value != NULL ? strdup(value) : NULL;
}

static void
release(BsSettings *settings)
{
	int			i;

	for (i = 0; i < BS_SETTING_COUNT; i++)
		if (bs_setting_table[i].kind == BS_KIND_TEXT)
			free(*(char **) ((char *) settings + bs_setting_table[i].offset));
	memset(settings, 0, sizeof(*settings));
}

static bool
equal(const BsSettings *a, const BsSettings *b)
{
	int			i;

	for (i = 0; i < BS_SETTING_COUNT; i++)
	{
		const char *x = (const char *) a + bs_setting_table[i].offset;
		const char *y = (const char *) b + bs_setting_table[i].offset;
		bool		same;

		switch (bs_setting_table[i].kind)
		{
			case BS_KIND_TEXT:
				same = strcmp(*(char *const *) x, *(char *const *) y) == 0;
				break;
			case BS_KIND_REAL:
				same = memcmp(x, y, sizeof(double)) == 0;
				break;
			default:
				same = memcmp(x, y, sizeof(int)) == 0;
				break;
		}
		if (!same)
			return false;
	}
	return true;
}

bool
bs_settings_finish(bool *changed, BsSettingsError *error)
{
	BsSettings	next;
	char		reason[256];
	int			i;
	int			source;

	error->exit_code = BS_EXIT_CONFIG;
	memset(&next, 0, sizeof(next));
	next.prefix = "";
	for (i = 0; i < BS_SETTING_COUNT; i++)
	{
		const BsSetting *setting = &bs_setting_table[i];
		const char *value = NULL;

		for (source = 0; source < SOURCE_COUNT && value == NULL; source++)
		{
			if (source != SOURCE_SERVER || setting->host == BS_SETTING_SHARED ||
				setting->host == BS_SETTING_RULE)
				value = words_of[i][source];
		}
		if (value == NULL)
			bs_setting_store_default(setting, &next);
		else if (!bs_setting_store(setting, value, &next,
								   reason, sizeof(reason)))
		{
			snprintf(error->text, sizeof(error->text),
					 "invalid value for \"%s\" from %s: %s", setting->name,
					 source_names[source - 1], reason);
			release(&next);
			return false;
		}
	}
	if (!bs_relay_check_lease(&next, error->text, sizeof(error->text)))
	{
		release(&next);
		return false;
	}
	*changed = !is_set || !equal(&bs_settings, &next);
	if (is_set)
		release(&bs_settings);
	bs_settings = next;
	is_set = true;
	return true;
}

/* ---- sources ---- */

/*
 * Is it a value for that setting, at all and from here?
 */
static bool
take(int setting, BsSource source, const char *value, BsSettingsError *error)
{
	char		reason[256];

	error->exit_code = BS_EXIT_CONFIG;
	if (!bs_setting_store(&bs_setting_table[setting], value, NULL, reason, sizeof(reason)))
	{
		if (bs_setting_table[setting].flags & BS_SETTING_SECRET)
			snprintf(error->text, sizeof(error->text),
					 "invalid value for \"%s\" in %s: %s",
					 bs_setting_table[setting].name, source_names[source], reason);
		else
			snprintf(error->text, sizeof(error->text),
					 "invalid value for \"%s\" in %s: \"%.60s\". %s",
					 bs_setting_table[setting].name, source_names[source], value, reason);
		return false;
	}
	error->exit_code = BS_EXIT_USAGE;
	say(setting, source, value);
	return true;
}

static int
find_ours(const char *name, size_t len)
{
	int			setting = find_setting(name, len);

	return setting >= 0 && is_told_here(setting) ? setting : -1;
}

bool
bs_settings_take_flags(int argc, char **argv, BsCommand *command,
					   BsSettingsError *error)
{
	int			i;

	memset(command, 0, sizeof(*command));
	error->exit_code = BS_EXIT_USAGE;
	for (i = 1; i < argc; i++)
	{
		const char *word = argv[i];
		size_t		len = strcspn(word, "=");
		const char *value = word[len] == '=' ? word + len + 1 : NULL;
		int			setting;

		if (strcmp(word, "--help") == 0 || strcmp(word, "-?") == 0)
			command->help = true;
		else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
			command->version = true;
		else if (strcmp(word, "--check") == 0)
			command->check = true;
		else
		{
			setting = len > 2 && strncmp(word, "--", 2) == 0 ?
				find_ours(word + 2, len - 2) : -1;
			if (setting < 0 && (len != 8 || strncmp(word, "--config", len) != 0))
			{
				snprintf(error->text, sizeof(error->text),
						 "unknown argument \"%.60s\"", word);
				return false;
			}
			if (value == NULL && ++i < argc)
				value = argv[i];
			if (value == NULL)
			{
				snprintf(error->text, sizeof(error->text),
						 "\"%.60s\" needs a value", word);
				return false;
			}
			if (setting < 0)
				command->config_file = value;
			else if (!take(setting, SOURCE_FLAG, value, error))
				return false;
		}
	}
	return true;
}

static bool
take_environment(BsSettingsError *error)
{
	int			i;

	for (i = 0; i < BS_SETTING_COUNT; i++)
	{
		char		name[80] = "BS_SENDER_";
		size_t		len = strlen(name);
		const char *value;
		const char *c;

		for (c = bs_setting_table[i].name; *c != '\0' && len < sizeof(name) - 1; c++)
			name[len++] = (char) toupper((unsigned char) *c);
		name[len] = '\0';
		value = is_told_here(i) ? getenv(name) : NULL;
		if (value != NULL && !take(i, SOURCE_ENVIRONMENT, value, error))
			return false;
	}
	return true;
}

static bool
take_line(const char *name, const char *value, char *reason, size_t size)
{
	BsSettingsError error;
	int			setting = find_ours(name, strlen(name));

	if (setting < 0)
	{
		snprintf(reason, size, "there is no setting \"%.60s\"", name);
		return false;
	}
	if (take(setting, SOURCE_FILE, value, &error))
		return true;
	snprintf(reason, size, "%s", error.text);
	return false;
}

bool
bs_settings_load(const char *config_file, BsSettingsError *error)
{
	char	   *before[BS_SETTING_COUNT];
	const char *path = config_file != NULL ? config_file :
	getenv("BS_SENDER_CONFIG");
	bool		good = true;
	int			i;

	error->exit_code = BS_EXIT_CONFIG;
	for (i = 0; i < BS_SETTING_COUNT; i++)
	{
		before[i] = words_of[i][SOURCE_FILE];
		words_of[i][SOURCE_FILE] = NULL;
	}
	if (path == NULL && access(DEFAULT_FILE, F_OK) == 0)
		path = DEFAULT_FILE;
	if (path != NULL)
		good = bs_file_read(path, take_line, error->text, sizeof(error->text));
	good = good && take_environment(error);
	for (i = 0; i < BS_SETTING_COUNT; i++)
	{
		char	   *unwanted = good ? before[i] : words_of[i][SOURCE_FILE];

		if (!good)
			words_of[i][SOURCE_FILE] = before[i];
		free(unwanted);
	}
	return good;
}

void
bs_settings_take_server(const char *name, const char *value)
{
	int			setting = find_setting(name, strlen(name));

	if (setting >= 0)
		say(setting, SOURCE_SERVER, value);
}

void
bs_settings_print_help(void)
{
	char		buf[64];
	int			i;

	for (i = 0; i < BS_SETTING_COUNT; i++)
	{
		const BsSetting *setting = &bs_setting_table[i];
		const char *usual = bs_setting_show_default(setting, buf, sizeof(buf));

		if (!is_told_here(i))
			continue;
		printf("  %-26s %s", setting->name, setting->short_text);
		if (setting->host == BS_SETTING_SHARED)
			printf(" [the server's]");
		else if (usual[0] != '\0')
			printf(" [%s]", usual);
		printf("\n");
	}
}

void
bs_settings_free(void)
{
	int			i;
	int			source;

	for (i = 0; i < BS_SETTING_COUNT; i++)
		for (source = 0; source < SOURCE_COUNT; source++)
			say(i, (BsSource) source, NULL);
	if (is_set)
		release(&bs_settings);
	is_set = false;
}
