/*-------------------------------------------------------------------------
 *
 * test_claim.c
 *	  What a sender has of a message: strings, words, ids.
 *
 * test/unit/test_claim.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

#include <stdlib.h>

#include "core/sending/claim.h"

static void
test_strings(void)
{
	const BsClaimString some[BS_CLAIM_STRINGS] = {
		{"zoe@example.org and more", 15}, {"", 0}, {"Hey, Zo\xc3\xab", 9},
		{"Hello\n", 6}, {NULL, 0}, {"key", 3}
	};
	const BsClaimString none[BS_CLAIM_STRINGS] = {{NULL, 0}};
	BsClaim		claim = {0};

	claim.html = "from before";
	ok(bs_claim_set_strings(&claim, some), "strings");
	is_str(claim.recipient_email, "zoe@example.org", "cut to its length");
	is_str(claim.recipient_name, "", "an empty one is one");
	is_str(claim.subject, "Hey, Zo\xc3\xab", "octets are not counted as letters");
	is_str(claim.text, "Hello\n", "ends of lines are kept");
	is_str(claim.html, NULL, "NULL is none, whatever was there");
	is_str(claim.idempotency_key, "key", "the last one");
	free(claim.strings);

	memset(&claim, 0, sizeof(claim));
	ok(bs_claim_set_strings(&claim, none), "nothing at all");
	ok(claim.strings != NULL, "is not the same as no memory");
	is_str(claim.recipient_email, NULL, "and nothing is there");
	free(claim.strings);
}

static void
test_words(void)
{
	is_str(bs_result_word(BS_NEXT_SENT), "SENT", "sent");
	is_str(bs_result_word(BS_NEXT_FAILED), "FAILED", "failed");
	is_str(bs_result_word(BS_NEXT_RETRYING), "RETRYING", "retrying");
	is_str(bs_result_word(BS_NEXT_EXPIRED), "EXPIRED", "expired");
	is_str(bs_result_word(BS_NEXT_RELEASED), "RELEASED", "released");
}

static void
test_uuid(void)
{
	static const uint8_t id[BS_UUID_SIZE] = {
		0x00, 0x9f, 0xa1, 0x0b, 0xff, 0x10, 0x4c, 0x7e,
		0x80, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd
	};
	struct
	{
		char		text[BS_UUID_TEXT];
		char		behind;
	}			buf = {.behind = 'x'};

	bs_uuid_write(id, buf.text);
	is_str(buf.text, "009fa10b-ff10-4c7e-8001-23456789abcd", "an id");
	is_int(buf.behind, 'x', "in as many octets as it says");
}

int
main(void)
{
	test_strings();
	test_words();
	test_uuid();
	return tap_done();
}
