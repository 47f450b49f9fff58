/*-------------------------------------------------------------------------
 *
 * test_base.c
 *	  The small things of core/base: UUIDs as text, hashes, numbers in network
 *	  order, ASCII.
 *
 * test/unit/test_base.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

#include <string.h>

#include "core/base/bigendian.h"
#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/utf8.h"
#include "core/base/uuid.h"

static void
test_uuid(void)
{
	static const uint8_t uuid[BS_UUID_SIZE] = {
		0x01, 0x9a, 0xf0, 0x0f, 0x70, 0x07, 0x7e, 0xe7,
		0x80, 0xbc, 0xde, 0xad, 0xbe, 0xef, 0x00, 0xff
	};
	static const char *const no_uuids[] = {
		"",
		"0",
		"019af00f-7007-7ee7-80bc-deadbeef00f",
		"019af00f-7007-7ee7-80bc-deadbeef00ff0",
		"019af00f-7007-7ee7-80bc-deadbeef00fg",
		"019af00f-7007-7ee7-80bc-deadbeef00f ",
		" 19af00f-7007-7ee7-80bc-deadbeef00ff",
		"019af00f+7007-7ee7-80bc-deadbeef00ff",
		"019af00f70077ee780bcdeadbeef00ff",
		"{019af00f-7007-7ee7-80bc-deadbeef00ff}",
		"019af00-f7007-7ee7-80bc-deadbeef00ff",
		"019af00f-7007-7ee7-80bc-",
	};
	uint8_t		read[BS_UUID_SIZE] = {0};
	char		text[BS_UUID_TEXT];
	size_t		i;

	bs_uuid_write(uuid, text);
	is_str(text, "019af00f-7007-7ee7-80bc-deadbeef00ff", "a UUID as text");
	ok(bs_uuid_read(text, read) && memcmp(read, uuid, sizeof(uuid)) == 0,
	   "and back");
	memset(read, 0, sizeof(read));
	ok(bs_uuid_read("019AF00F-7007-7ee7-80BC-DEADBEEF00FF", read) &&
	   memcmp(read, uuid, sizeof(uuid)) == 0, "in upper case");
	for (i = 0; i < sizeof(no_uuids) / sizeof(no_uuids[0]); i++)
		ok(!bs_uuid_read(no_uuids[i], read), "\"%s\" is not a UUID",
		   no_uuids[i]);
}

/* From draft-eastlake-fnv, appendix C. */
static void
test_hash(void)
{
	ok(bs_hash("", 0) == UINT64_C(0xcbf29ce484222325), "the hash of nothing");
	ok(bs_hash("a", 1) == UINT64_C(0xaf63dc4c8601ec8c), "of a letter");
	ok(bs_hash("foobar", 6) == UINT64_C(0x85944171f73967e8), "of a word");
	ok(bs_hash("\xff", 1) != bs_hash("\x7f", 1), "all bits count");
}

static void
test_bigendian(void)
{
	unsigned char octets[10];

	memset(octets, 0xEE, sizeof(octets));
	bs_bigendian_write(octets + 1, 8, UINT64_C(0x8122334455667788));
	ok(memcmp(octets, "\xEE\x81\x22\x33\x44\x55\x66\x77\x88\xEE", 10) == 0,
	   "8 octets, and none around them");
	ok(bs_bigendian_read(octets + 1, 8) == UINT64_C(0x8122334455667788),
	   "and back");
	is_int(bs_bigendian_read(octets + 1, 1), 0x81, "one octet");
	is_int(bs_bigendian_read(octets + 1, 3), 0x812233, "three");
	bs_bigendian_write(octets, 4, (uint64_t) -2);
	ok(memcmp(octets, "\xFF\xFF\xFF\xFE\x44", 5) == 0, "a negative number");
	is_int((int32_t) bs_bigendian_read(octets, 4), -2, "and back");
}

static void
test_ascii(void)
{
	ok(bs_ascii_is_control('\0') && bs_ascii_is_control('\t') &&
	   bs_ascii_is_control('\x1f') && bs_ascii_is_control('\x7f'),
	   "C0 and DEL are controls");
	ok(!bs_ascii_is_control(' ') && !bs_ascii_is_control('~') &&
	   !bs_ascii_is_control('\x80') && !bs_ascii_is_control('\xff'),
	   "blanks, letters and what is beyond ASCII are not");
	ok(bs_ascii_is_visible("") && bs_ascii_is_visible("!~<>"),
	   "visible characters");
	ok(!bs_ascii_is_visible("a b") && !bs_ascii_is_visible("ab\n") &&
	   !bs_ascii_is_visible("\x7f") && !bs_ascii_is_visible("\xc3\xa4"),
	   "a blank, a control or an umlaut is not visible ASCII");
}

static void
test_clock(void)
{
	int64_t		before = bs_clock_ms();
	int64_t		wall_us = bs_clock_wall_us();

	ok(bs_clock_ms() >= before, "the monotonic clock does not go back");
	ok(bs_clock_wall_ms() - wall_us / 1000 < 3600000 &&
	   wall_us / 1000 - bs_clock_wall_ms() < 3600000,
	   "the wall clock is the same in both units");
}

int
main(void)
{
	test_uuid();
	test_hash();
	test_bigendian();
	test_ascii();
	test_clock();
	return tap_done();
}
