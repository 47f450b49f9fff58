/*-------------------------------------------------------------------------
 *
 * payload.c
 *	  The body of a message in the broker: which message, and nothing about
 *	  whom.
 *
 * Anybody with the right to publish can put anything into the queue.  cJSON
 * takes some things that are not quite JSON; what matters is that each member
 * of ours is exactly what we would have written.
 *
 * src/core/amqp/payload.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/payload.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "core/amqp/amqp.h"
#include "core/base/utf8.h"
#include "core/text/date.h"

#define VERSION			1
#define VERSION_MAX		1000000
#define TIME_LEN		27		/* 2026-03-01T07:00:00.000000Z */
#define US_PER_SECOND	INT64_C(1000000)
#define SECONDS_PER_DAY	INT64_C(86400)
#define US_END			(INT64_C(253402300800) * US_PER_SECOND) /* year 10000 */

/* ---- writing ---- */

size_t
bs_payload_write(char *buf, size_t size, const char *installation,
				 const BsPayload *payload)
{
	int64_t		seconds = payload->send_time_us / US_PER_SECOND;
	int			rest = (int) (seconds % SECONDS_PER_DAY);
	char		uuid[BS_UUID_TEXT];
	BsDate		date;
	int			len;

	if (payload->send_time_us < 0 || payload->send_time_us >= US_END ||
		strlen(installation) >= BS_PAYLOAD_INSTALLATION_MAX ||
		!bs_ascii_is_visible(installation) ||
		strpbrk(installation, "\"\\") != NULL)
		return 0;
	bs_uuid_write(payload->id, uuid);
	date = bs_date_from_days((int32_t) (seconds / SECONDS_PER_DAY));
	len = snprintf(buf, size,
				   "{\"version\":%d,\"installation\":\"%s\",\"id\":\"%s\","
				   "\"send_time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ\"}",
				   VERSION, installation, uuid,
				   date.year, date.month, date.day,
				   rest / 3600, rest / 60 % 60, rest % 60,
				   (int) (payload->send_time_us % US_PER_SECOND));
	return len > 0 && (size_t) len < size ? (size_t) len : 0;
}

/* ---- reading ---- */

static int
read_digits(const char *digits, int count)
{
	int			value = 0;

	while (count-- > 0)
		value = value * 10 + *digits++ - '0';
	return value;
}

static bool
read_time(const char *string, int64_t *us)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.ddddddZ";
	BsDate		date;
	int			hour;
	int			minute;
	int			second;
	int			i;

	if (strlen(string) != TIME_LEN)
		return false;
	for (i = 0; i < TIME_LEN; i++)
	{
		if (form[i] == 'd' ? string[i] < '0' || string[i] > '9' :
			string[i] != form[i])
			return false;
	}
	date.year = read_digits(string, 4);
	date.month = read_digits(string + 5, 2);
	date.day = read_digits(string + 8, 2);
	hour = read_digits(string + 11, 2);
	minute = read_digits(string + 14, 2);
	second = read_digits(string + 17, 2);
	if (!bs_date_is_valid(date) || date.year < 1970 ||
		hour > 23 || minute > 59 || second > 59)
		return false;
	*us = ((int64_t) bs_date_to_days(date) * SECONDS_PER_DAY +
		   hour * 3600 + minute * 60 + second) * US_PER_SECOND +
		read_digits(string + 20, 6);
	return true;
}

/* The names in an object must differ, or readers would not agree. */
static bool
has_duplicates(const cJSON *object)
{
	const cJSON *one;
	const cJSON *other;

	for (one = object->child; one != NULL; one = one->next)
	{
		for (other = one->next; other != NULL; other = other->next)
		{
			if (strcmp(one->string, other->string) == 0)
				return true;
		}
	}
	return false;
}

static const char *
string_of(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object,
																 name));
}

static BsPayloadFault
read_object(const cJSON *object, const char *installation, BsPayload *payload)
{
	const cJSON *version;
	const char *theirs;
	const char *id;
	const char *time;

	if (!cJSON_IsObject(object) || has_duplicates(object))
		return BS_PAYLOAD_MALFORMED;
	version = cJSON_GetObjectItemCaseSensitive(object, "version");
	theirs = string_of(object, "installation");
	id = string_of(object, "id");
	time = string_of(object, "send_time");
	if (!cJSON_IsNumber(version) || version->valuedouble < VERSION ||
		version->valuedouble > VERSION_MAX ||
		version->valuedouble != version->valueint)
		return BS_PAYLOAD_MALFORMED;
	if (theirs == NULL || strlen(theirs) >= BS_PAYLOAD_INSTALLATION_MAX ||
		id == NULL || !bs_uuid_read(id, payload->id) ||
		time == NULL || !read_time(time, &payload->send_time_us))
		return BS_PAYLOAD_MALFORMED;
	return strcmp(theirs, installation) == 0 ? BS_PAYLOAD_OK :
		BS_PAYLOAD_FOREIGN;
}

/* Nothing but white space (RFC 8259, section 2). */
static bool
is_blank(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' ||
						*at == '\r'))
		at++;
	return at == end;
}

/* "\u0000" anywhere, which cJSON takes for the end of a string. */
static bool
has_escaped_nul(const char *body, size_t len)
{
	static const char nul[] = "\\u0000";
	const size_t nul_len = sizeof(nul) - 1;
	size_t		at;

	for (at = 0; at + nul_len <= len; at++)
	{
		if (memcmp(body + at, nul, nul_len) == 0)
			return true;
	}
	return false;
}

/*
 * bs_payload_read
 *		Which message the body speaks of.
 *
 * The body comes from any user of the broker who may publish.
 */
BsPayloadFault
bs_payload_read(const char *body, size_t body_len, const char *installation,
				BsPayload *payload)
{
	const char *end = NULL;
	BsPayloadFault fault = BS_PAYLOAD_MALFORMED;
	cJSON	   *root;

	if (body_len > BS_AMQP_BODY_MAX)
		return BS_PAYLOAD_OVERSIZED;
	if (body_len == 0 || memchr(body, '\0', body_len) != NULL ||
		has_escaped_nul(body, body_len))
		return BS_PAYLOAD_MALFORMED;
	root = cJSON_ParseWithLengthOpts(body, body_len, &end, 0);
	if (root != NULL && is_blank(end, body + body_len))
		fault = read_object(root, installation, payload);
	cJSON_Delete(root);
	return fault;
}

const char *
bs_payload_fault_name(BsPayloadFault fault)
{
	static const char *const names[BS_PAYLOAD_FAULTS] = {
		[BS_PAYLOAD_OK] = "ok",
		[BS_PAYLOAD_OVERSIZED] = "oversized",
		[BS_PAYLOAD_MALFORMED] = "malformed",
		[BS_PAYLOAD_FOREIGN] = "foreign",
	};

	return names[fault];
}
