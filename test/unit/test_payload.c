/*-------------------------------------------------------------------------
 *
 * test_payload.c
 *	  The body of a message in the broker.
 *
 * test/unit/test_payload.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

#include <limits.h>
#include <stdlib.h>

#include "core/amqp/amqp.h"
#include "core/amqp/payload.h"

#define OURS	"7393018472650183942/16384"
#define ID		"0b9f2c1e-5a7d-4e3b-8f60-9a1b2c3d4e5f"
#define TIME	"2026-03-01T07:00:00.000000Z"
#define TIME_US	INT64_C(1772348400000000)

static const uint8_t id_bytes[16] = {
	0x0b, 0x9f, 0x2c, 0x1e, 0x5a, 0x7d, 0x4e, 0x3b,
	0x8f, 0x60, 0x9a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f
};

/*
 * What was written by versions that people have run must be read by all that
 * come after: lines are added here, never changed.
 */
static const char *const golden[] = {
	/* version 1 */
	"{\"version\":1,\"installation\":\"" OURS "\",\"id\":\"" ID "\","
	"\"send_time\":\"" TIME "\"}",
};

/* ---- reading ---- */

static BsPayloadFault
read_body(const char *body, BsPayload *payload)
{
	/* without a final NUL, in memory of its own length */
	size_t		len = strlen(body);
	char	   *copy = malloc(len > 0 ? len : 1);
	BsPayloadFault fault;

	memcpy(copy, body, len);
	fault = bs_payload_read(copy, len, OURS, payload);
	free(copy);
	return fault;
}

/* As it fits into a line. */
static const char *
shown(const char *body)
{
	static char line[101];
	size_t		i;

	snprintf(line, sizeof(line), "%s", body);
	for (i = 0; line[i] != '\0'; i++)
	{
		if (line[i] < ' ' || line[i] == '#')
			line[i] = '.';
	}
	return line;
}

static void
is_fault(const char *body, const char *wanted)
{
	BsPayload	payload;

	is_str(bs_payload_fault_name(read_body(body, &payload)), wanted,
		   "%s: %s", wanted, shown(body));
}

static void
is_ours(const char *body)
{
	BsPayload	payload = {{0}, 0};

	is_str(bs_payload_fault_name(read_body(body, &payload)), "ok",
		   "ok: %s", shown(body));
	ok(memcmp(payload.id, id_bytes, 16) == 0, "its id");
	is_int(payload.send_time_us, TIME_US, "its time");
}

#define V	"\"version\":1"
#define I	"\"installation\":\"" OURS "\""
#define D	"\"id\":\"" ID "\""
#define T	"\"send_time\":\"" TIME "\""

static void
test_read(void)
{
	size_t		i;

	for (i = 0; i < sizeof(golden) / sizeof(golden[0]); i++)
		is_ours(golden[i]);
	is_ours("{" T "," D "," I "," V "}");
	is_ours(" \t\r\n{ " V " , " I " ,\n" D "," T " } \t\r\n");
	is_ours("{" V "," I ",\"id\":\"0B9F2C1E-5A7D-4E3B-8F60-9A1B2C3D4E5F\","
			T "}");
	is_ours("{\"version\":2," I "," D "," T ",\"more\":{\"of\":[1,\"it\",null]}}");
	is_ours("{\"version\":1000000," I "," D "," T ",\"Version\":0,"
			"\"ID\":\"\\n\"}");
	is_ours("{" V ",\"installation\":\"7393018472650183942\\/16384\"," D ","
			T "}");
}

static void
test_not_json(void)
{
	is_fault("", "malformed");
	is_fault(" ", "malformed");
	is_fault("x", "malformed");
	is_fault("null", "malformed");
	is_fault("[]", "malformed");
	is_fault("\"" ID "\"", "malformed");
	is_fault("{}", "malformed");
	is_fault("{" V "," I "," D "," T, "malformed");
	is_fault("{" V "," I "," D "," T "}}", "malformed");
	is_fault("{" V "," I "," D "," T "}{}", "malformed");
	is_fault("{" V "," I "," D "," T "} x", "malformed");
	is_fault("{" V "," I "," D "," T "}\v", "malformed");
	is_fault("[{" V "," I "," D "," T "}]", "malformed");
	is_fault("{" V "," I "," D ",\"send_time\":\"" TIME, "malformed");
	is_fault("{" V "," I "," D "," T ",\"x\":\"\\u0000\"}", "malformed");
	is_fault("{" V "," I ",\"id\":\"" ID "\\u0000\"," T "}", "malformed");
	is_fault("{" V "," I "," D "," T ",}", "malformed");
	is_fault("{" V "," I "," D "," T ",\"x\"}", "malformed");
}

static void
test_members(void)
{
	is_fault("{" I "," D "," T "}", "malformed");
	is_fault("{" V "," D "," T "}", "malformed");
	is_fault("{" V "," I "," T "}", "malformed");
	is_fault("{" V "," I "," D "}", "malformed");
	is_fault("{\"Version\":1," I "," D "," T "}", "malformed");

	is_fault("{\"version\":\"1\"," I "," D "," T "}", "malformed");
	is_fault("{\"version\":0," I "," D "," T "}", "malformed");
	is_fault("{\"version\":-1," I "," D "," T "}", "malformed");
	is_fault("{\"version\":1.5," I "," D "," T "}", "malformed");
	is_fault("{\"version\":1e99," I "," D "," T "}", "malformed");
	is_fault("{\"version\":true," I "," D "," T "}", "malformed");
	is_fault("{\"version\":null," I "," D "," T "}", "malformed");
	is_fault("{\"version\":[1]," I "," D "," T "}", "malformed");

	is_fault("{" V ",\"installation\":1," D "," T "}", "malformed");
	is_fault("{" V ",\"installation\":\"1234567890123456789012345678901234567890\","
			 D "," T "}", "malformed");
	is_fault("{" V ",\"installation\":\"\"," D "," T "}", "foreign");
	is_fault("{" V ",\"installation\":\"7393018472650183942/16385\"," D ","
			 T "}", "foreign");
	is_fault("{" V ",\"installation\":\"7393018472650183942/1638\"," D ","
			 T "}", "foreign");
	is_fault("{" V ",\"installation\":\"" OURS "0\"," D "," T "}", "foreign");

	/* a name twice: which one counts? */
	is_fault("{" V "," V "," I "," D "," T "}", "malformed");
	is_fault("{" V "," I "," D "," D "," T "}", "malformed");
	is_fault("{" V "," I "," D "," T "," T "}", "malformed");
	is_fault("{" V "," I "," D "," T ",\"x\":1,\"y\":2,\"x\":3}", "malformed");
	is_fault("{" V "," I "," D "," T ",\"\\u0069d\":1}", "malformed");
}

static void
is_bad_id(const char *id)
{
	char		body[512];

	snprintf(body, sizeof(body), "{" V "," I ",\"id\":%s," T "}", id);
	is_fault(body, "malformed");
}

static void
test_ids(void)
{
	is_bad_id("\"\"");
	is_bad_id("1");
	is_bad_id("null");
	is_bad_id("9223372036854775808");
	is_bad_id("\"0b9f2c1e5a7d4e3b8f609a1b2c3d4e5f\"");
	is_bad_id("\"{" ID "}\"");
	is_bad_id("\"" ID " \"");
	is_bad_id("\" " ID "\"");
	is_bad_id("\"0b9f2c1e-5a7d-4e3b-8f60-9a1b2c3d4e5\"");
	is_bad_id("\"0b9f2c1e-5a7d-4e3b-8f60-9a1b2c3d4e5g\"");
	is_bad_id("\"0b9f2c1e-5a7d-4e3b-8f609-a1b2c3d4e5f\"");
	is_bad_id("\"0b9f2c1e-5a7d-4e3b-8f60-9a1b2c3d4e-f\"");
	is_bad_id("\"0b9f2c1e_5a7d_4e3b_8f60_9a1b2c3d4e5f\"");
	is_bad_id("\"0b9f2c1e-5a7d-4e3b-8f60-9a1b2c3d4e\xc3\xa4\"");
	is_bad_id("\"0b9f2c1e-5a7d-4e3b-8f60-9a1b2c3d+e5f\"");
}

static void
is_time(const char *time, int64_t us)
{
	char		body[512];
	BsPayload	payload;

	snprintf(body, sizeof(body), "{" V "," I "," D ",\"send_time\":\"%s\"}",
			 time);
	if (us < 0)
		is_fault(body, "malformed");
	else
	{
		is_str(bs_payload_fault_name(read_body(body, &payload)), "ok",
			   "time: %s", time);
		is_int(payload.send_time_us, us, "time: %s", time);
	}
}

static void
test_times(void)
{
	is_time("1970-01-01T00:00:00.000000Z", 0);
	is_time("1970-01-01T00:00:00.000001Z", 1);
	is_time("2000-02-29T23:59:59.999999Z", INT64_C(951868799999999));
	is_time("2024-12-31T12:34:56.789012Z", INT64_C(1735648496789012));
	is_time("2100-03-01T00:00:00.000000Z", INT64_C(4107542400000000));
	is_time("9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999));

	is_time("", -1);
	is_time("1969-12-31T23:59:59.999999Z", -1);
	is_time("0000-01-01T00:00:00.000000Z", -1);
	is_time("2023-02-29T00:00:00.000000Z", -1);
	is_time("2100-02-29T00:00:00.000000Z", -1);
	is_time("2026-00-01T00:00:00.000000Z", -1);
	is_time("2026-13-01T00:00:00.000000Z", -1);
	is_time("2026-04-31T00:00:00.000000Z", -1);
	is_time("2026-04-00T00:00:00.000000Z", -1);
	is_time("2026-03-01T24:00:00.000000Z", -1);
	is_time("2026-03-01T07:60:00.000000Z", -1);
	is_time("2026-03-01T07:00:60.000000Z", -1);
	is_time("2026-03-01T07:00:00Z", -1);
	is_time("2026-03-01T07:00:00.000Z", -1);
	is_time("2026-03-01T07:00:00.0000000Z", -1);
	is_time("2026-03-01 07:00:00.000000Z", -1);
	is_time("2026-03-01T07:00:00.000000z", -1);
	is_time("2026-03-01T07:00:00.000000+", -1);
	is_time("2026-03-01T07:00:00,000000Z", -1);
	is_time("+026-03-01T07:00:00.000000Z", -1);
	is_time("2026-3-001T07:00:00.000000Z", -1);
	is_time("2026-03-01T-7:00:00.000000Z", -1);
}

/* What is hostile, and what is too long to be looked at. */
static void
test_hostile(void)
{
	static char body[BS_AMQP_BODY_MAX + 2];
	BsPayload	payload;
	size_t		len;
	size_t		i;

	memset(body, '[', BS_AMQP_BODY_MAX);
	is_str(bs_payload_fault_name(read_body(body, &payload)), "malformed",
		   "as deep as can be");
	for (i = 0; i + 5 <= BS_AMQP_BODY_MAX; i += 5)
		memcpy(body + i, "{\"\":1", 5);
	body[i] = '\0';
	is_str(bs_payload_fault_name(read_body(body, &payload)), "malformed",
		   "objects in objects");
	body[0] = '{';
	for (i = 1; i + 5 < BS_AMQP_BODY_MAX; i += 5)
		memcpy(body + i, "\"\":1,", 5);
	body[i - 1] = '}';
	body[i] = '\0';
	is_str(bs_payload_fault_name(read_body(body, &payload)), "malformed",
		   "as many members as can be");

	memset(body, ' ', sizeof(body));
	len = (size_t) snprintf(body, sizeof(body), "%s", golden[0]);
	body[len] = ' ';
	body[BS_AMQP_BODY_MAX] = '\0';
	is_str(bs_payload_fault_name(read_body(body, &payload)), "ok",
		   "as much white space as can be");
	is_str(bs_payload_fault_name(bs_payload_read("", BS_AMQP_BODY_MAX + 1,
												 OURS, &payload)),
		   "oversized", "one octet too many, and none is looked at");
	is_str(bs_payload_fault_name(bs_payload_read("", SIZE_MAX, OURS,
												 &payload)),
		   "oversized", "as long as can be");
	is_str(bs_payload_fault_name(bs_payload_read("{\0}", 3, OURS, &payload)),
		   "malformed", "a NUL within");
	memcpy(body, golden[0], len);
	is_str(bs_payload_fault_name(bs_payload_read(body, len - 1, OURS,
												 &payload)),
		   "malformed", "nothing beyond the length is read");
}

/* ---- writing ---- */

static void
test_write(void)
{
	char		body[BS_PAYLOAD_MAX];
	BsPayload	payload;
	BsPayload	again;
	size_t		len;
	uint64_t	random = 88172645463325252;
	int			wrong = 0;
	int			i;

	memcpy(payload.id, id_bytes, 16);
	payload.send_time_us = TIME_US;
	len = bs_payload_write(body, sizeof(body), OURS, &payload);
	is_str(body, golden[sizeof(golden) / sizeof(golden[0]) - 1],
		   "what is written");
	is_int(len, strlen(body), "its length");
	is_int(bs_payload_write(body, len + 1, OURS, &payload), len,
		   "room that just suffices");
	is_int(bs_payload_write(body, len, OURS, &payload), 0,
		   "room that does not");
	is_int(bs_payload_write(body, sizeof(body), "a\"b", &payload), 0,
		   "an installation that would break out");
	is_int(bs_payload_write(body, sizeof(body),
							"1234567890123456789012345678901234567890",
							&payload), 0, "one that is too long");
	ok(bs_payload_write(body, sizeof(body),
						"123456789012345678901234567890123456789",
						&payload) > 0, "the longest one");
	payload.send_time_us = -1;
	is_int(bs_payload_write(body, sizeof(body), OURS, &payload), 0,
		   "a time before 1970");
	payload.send_time_us = INT64_C(253402300800000000);
	is_int(bs_payload_write(body, sizeof(body), OURS, &payload), 0,
		   "a time after 9999");

	for (i = 0; i < 20000; i++)
	{
		size_t		at;

		for (at = 0; at < 16; at++)
		{
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			payload.id[at] = (uint8_t) random;
		}
		payload.send_time_us = (int64_t) (random %
										  UINT64_C(253402300800000000));
		len = bs_payload_write(body, sizeof(body), OURS, &payload);
		wrong += len == 0 ||
			bs_payload_read(body, len, OURS, &again) != BS_PAYLOAD_OK ||
			memcmp(again.id, payload.id, 16) != 0 ||
			again.send_time_us != payload.send_time_us;
	}
	is_int(wrong, 0, "what is written is read");
}

int
main(void)
{
	test_read();
	test_not_json();
	test_members();
	test_ids();
	test_times();
	test_hostile();
	test_write();
	return tap_done();
}
