/*-------------------------------------------------------------------------
 *
 * fuzz_sender_file.c
 *	  Fuzzer of what bs_sender is told: the settings file, and what the server says.
 *
 * Input: a settings file; behind an octet 1, if there is one, words of the server's,
 * "name\0value\0..." with 1 for each NUL.
 *
 * Whatever is read can be written and read again; a line that is none says which it
 * is; settings that are taken lie within their bounds; a file that is no good
 * changes nothing.
 *
 * test/fuzz/fuzz_sender_file.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* memfd_create() */

#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "must.h"
#include "core/sending/settings.h"
#include "sender/sender_file.h"
#include "sender/sender_settings.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[40];
static int	file = -1;

/* What take_line() was given, a line each as we would write it. */
static char *written;
static size_t written_len;

static void
write_file(const void *data, size_t len)
{
	MUST(ftruncate(file, 0) == 0);
	MUST(pwrite(file, data, len, 0) == (ssize_t) len);
}

static void
add(char c)
{
	char	   *longer = realloc(written, written_len + 2);

	MUST(longer != NULL);
	written = longer;
	written[written_len++] = c;
	written[written_len] = '\0';
}

static bool
take_line(const char *name, const char *value, char *reason, size_t size)
{
	(void) reason;
	(void) size;
	MUST(name[0] != '\0');
	for (; *name != '\0'; name++)
	{
		MUST(isalnum((unsigned char) *name) || *name == '_');
		add(*name);
	}
	for (add('='), add('\''); *value != '\0'; value++)
	{
		MUST(*value != '\n');
		if (*value == '\'')
			add('\'');
		add(*value);
	}
	add('\'');
	add('\n');
	return true;
}

/* Reads the file; what was taken is in "written". */
static bool
read_file(char *error, size_t error_size)
{
	written_len = 0;
	error[0] = '\0';
	return bs_file_read(path, take_line, error, error_size);
}

static void
check_file(const void *data, size_t len)
{
	char		error[512];
	char	   *first;
	size_t		first_len;

	write_file(data, len);
	if (!read_file(error, sizeof(error)))
	{
		MUST(strstr(error, ", line ") != NULL);
		MUST(strstr(error, "name = value") != NULL);
		return;
	}
	/* Nothing behind a NUL is passed over. */
	MUST(memchr(data, '\0', len) == NULL);
	first_len = written_len;
	first = malloc(first_len + 1);
	MUST(first != NULL);
	if (first_len > 0)
		memcpy(first, written, first_len);
	write_file(first, first_len);
	MUST(read_file(error, sizeof(error)));
	MUST(written_len == first_len);
	MUST(first_len == 0 || memcmp(written, first, first_len) == 0);
	free(first);
}

static void
check_bounds(const BsSettings *settings)
{
	int			i;

	for (i = 0; i < BS_SETTING_COUNT; i++)
	{
		const BsSetting *setting = &bs_setting_table[i];
		const char *place = (const char *) settings + setting->offset;
		const char *reason;
		double		number;
		int			word;

		switch (setting->kind)
		{
			case BS_KIND_TEXT:
				MUST(*(char *const *) place != NULL);
				MUST(bs_setting_takes_text(setting, *(char *const *) place,
										   &reason));
				continue;
			case BS_KIND_WORD:
				memcpy(&word, place, sizeof(word));
				MUST(word >= 0 && word < 3);
				continue;
			case BS_KIND_REAL:
				memcpy(&number, place, sizeof(number));
				break;
			default:
				number = *(const int *) place;
				break;
		}
		MUST(bs_setting_takes_number(setting, number));
	}
	MUST(settings->lease_s * 1000LL >= 2LL * settings->mail_timeout_ms);
}

/* Name by name, to the end of them. */
static void
take_server(char *words, size_t len)
{
	char	   *end = words + len;

	while (words < end)
	{
		char	   *value = memchr(words, 1, (size_t) (end - words));
		char	   *next;

		if (value == NULL)
			return;
		*value++ = '\0';
		next = memchr(value, 1, (size_t) (end - value));
		if (next == NULL)
			next = end;
		*next = '\0';
		bs_settings_take_server(words, value);
		words = next + 1;
	}
}

static void
check_settings(const char *data, size_t len)
{
	BsSettingsError error = {0};
	char	   *copy = malloc(len + 1);
	char	   *words;
	bool		changed;

	MUST(copy != NULL);
	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	words = memchr(copy, 1, len);
	write_file("", 0);
	MUST(bs_settings_load(path, &error));
	MUST(bs_settings_finish(&changed, &error));
	check_bounds(&bs_settings);
	write_file(copy, words != NULL ? (size_t) (words - copy) : len);
	if (!bs_settings_load(path, &error))
	{
		MUST(error.text[0] != '\0');
		/* The former ones hold: the defaults. */
		MUST(bs_settings_finish(&changed, &error) && !changed);
	}
	else if (bs_settings_finish(&changed, &error))
		check_bounds(&bs_settings);
	else
		MUST(error.text[0] != '\0');
	if (words != NULL)
	{
		take_server(words + 1, len - (size_t) (words + 1 - copy));
		if (bs_settings_finish(&changed, &error))
			check_bounds(&bs_settings);
		else
			MUST(error.text[0] != '\0');
	}
	bs_settings_free();
	free(copy);
}

static void
check_address(const char *data, size_t len)
{
	char	   *value = strndup(data, len);
	char		host[64] = "";
	int			port = -1;

	MUST(value != NULL);
	if (bs_settings_split_listen(value, host, sizeof(host), &port))
	{
		MUST(port >= 0 && port <= 65535);
		MUST(host[0] != '\0');
		MUST(strstr(value, host) == value || strstr(value, host) == value + 1);
	}
	free(value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (file < 0)
	{
		file = memfd_create("settings", MFD_CLOEXEC);
		MUST(file >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
		MUST(bs_mailer_global_init());
	}
	check_file(data, size);
	check_settings((const char *) data, size);
	check_address((const char *) data, size);
	free(written);
	written = NULL;
	return 0;
}
