/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The table of settings, and which values they take.
 *
 * src/core/sending/settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mime/mime.h"
#include "core/sending/broker.h"

#define ROW(name_, kind_, field, host_, flags_, short_, long_) \
	.name = name_, .kind = BS_KIND_##kind_, .host = BS_SETTING_##host_, \
	.offset = offsetof(BsSettings, field), .flags = flags_, \
	.short_text = short_, .long_text = long_
#define NUMBER(name, kind, field, host, number_, min_, max_, flags, ...) \
	{ROW(name, kind, field, host, flags, __VA_ARGS__), \
	 .number = number_, .min = min_, .max = max_},

const BsSetting bs_setting_table[BS_SETTING_COUNT] = {
#define BS_TEXT_NAMED(name, field, host, text_, check_, flags, ...) \
	{ROW(name, TEXT, field, host, flags, __VA_ARGS__), .text = text_, .check = check_},
#define BS_TEXT(name, ...)		BS_TEXT_NAMED(#name, name, __VA_ARGS__)
#define BS_COUNT(name, ...)	NUMBER(#name, COUNT, name, __VA_ARGS__)
#define BS_SECONDS(name, ...)	NUMBER(#name, SECONDS, name##_s, __VA_ARGS__)
#define BS_MS(name, ...)		NUMBER(#name, MS, name##_ms, __VA_ARGS__)
#define BS_KB(name, ...)		NUMBER(#name, KB, name##_kb, __VA_ARGS__)
#define BS_REAL(name, ...)		NUMBER(#name, REAL, name, __VA_ARGS__)
#define BS_WORD(name_, host, number_, words_, flags, ...) \
	{ROW(#name_, WORD, name_, host, flags, __VA_ARGS__), .number = number_, .words = words_},
#include "core/sending/settings.def"
#include "core/sending/settings_undef.h"
};

bool
bs_settings_split_listen(const char *value, char *host, size_t size, int *port)
{
	const char *colon = strrchr(value, ':');
	const char *from = value;
	size_t		len;
	char	   *end;
	long		number;

	if (colon == NULL || colon == value || colon[1] < '0' || colon[1] > '9')
		return false;
	number = strtol(colon + 1, &end, 10);
	if (*end != '\0' || number > 65535)
		return false;
	*port = (int) number;
	len = colon - value;
	if (*value == '[')
	{
		if (value[len - 1] != ']')
			return false;
		from++;
		len -= 2;
	}
	if (len == 0 || len >= size)
		return false;
	memcpy(host, from, len);
	host[len] = '\0';
	return true;
}

bool
bs_settings_check_listen(const char *value, const char **reason)
{
	char		host[64];
	int			port;

	*reason = "It must be an address and a port, 127.0.0.1:9188 or [::1]:9188.";
	return bs_settings_split_listen(value, host, sizeof(host), &port);
}

bool
bs_setting_takes_text(const BsSetting *setting, const char *value,
					  const char **reason)
{
	return *value == '\0' || setting->check == NULL ||
		setting->check(value, reason);
}

bool
bs_setting_takes_number(const BsSetting *setting, double value)
{
	if (value == 0 && (setting->flags & BS_SETTING_OR_ZERO))
		return true;
	/* Written so that what is no number fails as well. */
	return value >= setting->min && value <= setting->max;
}

int
bs_setting_find_word(const BsSetting *setting, const char *value, size_t len)
{
	const char *words = setting->words;
	int			place;

	for (place = 0; *words != '\0'; place++)
	{
		size_t		width = strcspn(words, " ");

		if (width == len && strncmp(words, value, len) == 0)
			return place;
		words += width;
		words += *words == ' ';
	}
	return -1;
}
