/*-------------------------------------------------------------------------
 *
 * sender_log.c
 *	  The log of bs_sender, on standard error: lines for people, or JSON.
 *
 * src/sender/sender_log.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_log.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"

#define QUIET_MS		60000
#define SAME_QUIET_MS	3600000

static bool as_json = false;
static char last_error[256];
static char last_logged[256];
static int64_t last_logged_ms = 0;

void
bs_log_set_json(bool json)
{
	as_json = json;
}

/*
 * The time in UTC, as RFC 3339 has it.
 */
static void
write_time(char *buf, size_t size)
{
	int64_t		now_ms = bs_clock_wall_ms();
	time_t		seconds = (time_t) (now_ms / 1000);
	struct tm	parts;
	size_t		len;

	gmtime_r(&seconds, &parts);
	len = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(buf + len, size - len, ".%03dZ", (int) (now_ms % 1000));
}

void
bs_log(BsLogLevel level, const char *format,...)
{
	static const char *const words[] = {"error", "warning", "info"};
	char		now[40];
	char		message[1024];
	va_list		args;
	cJSON	   *line;
	char	   *text = NULL;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	write_time(now, sizeof(now));
	if (as_json)
	{
		line = cJSON_CreateObject();
		cJSON_AddStringToObject(line, "time", now);
		cJSON_AddStringToObject(line, "level", words[level]);
		cJSON_AddStringToObject(line, "message", message);
		text = cJSON_PrintUnformatted(line);
		cJSON_Delete(line);
	}
	if (text != NULL)
		fprintf(stderr, "%s\n", text);
	else
		fprintf(stderr, "%s %s: %s\n", now, words[level], message);
	free(text);
}

void
bs_log_trouble(const char *message)
{
	int64_t		now_ms = bs_clock_ms();
	int64_t		quiet_ms;

	snprintf(last_error, sizeof(last_error), "%s", message);
	quiet_ms = strcmp(last_error, last_logged) == 0 ? SAME_QUIET_MS : QUIET_MS;
	if (last_logged_ms != 0 && now_ms < last_logged_ms + quiet_ms)
		return;
	last_logged_ms = now_ms;
	memcpy(last_logged, last_error, sizeof(last_logged));
	bs_log(BS_LOG_ERROR, "%s", message);
}

void
bs_log_recovery(const char *message)
{
	last_error[0] = '\0';
	last_logged_ms = 0;
	bs_log(BS_LOG_INFO, "%s", message);
}

const char *
bs_log_last_error(void)
{
	return last_error;
}
