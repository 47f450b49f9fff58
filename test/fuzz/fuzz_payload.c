/*-------------------------------------------------------------------------
 *
 * fuzz_payload.c
 *	  Fuzzer of the reader of what comes out of the queue.
 *
 * Input: a body.  What is taken for a message is one that we could have
 * written: written again and read again it is the same, and its id and time are
 * there in the input, to the letter.
 *
 * test/fuzz/fuzz_payload.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* memmem() */

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "must.h"
#include "core/amqp/payload.h"

#define OURS	"7393018472650183942/16384"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Has the body the same octets, in small letters? */
static bool
has_part(const char *body, size_t size, const char *part, size_t len)
{
	return memmem(body, size, part, len) != NULL;
}

static void
check_message(const char *body, size_t size, const BsPayload *payload)
{
	char		again[BS_PAYLOAD_MAX];
	char	   *small = malloc(size);
	BsPayload	read;
	size_t		len = bs_payload_write(again, sizeof(again), OURS, payload);
	size_t		i;
	const char *id = strstr(again, "\"id\":\"");
	const char *time = strstr(again, "\"send_time\":\"");

	MUST(len > 0 && len < sizeof(again));
	MUST(bs_payload_read(again, len, OURS, &read) == BS_PAYLOAD_OK);
	MUST(memcmp(read.id, payload->id, sizeof(read.id)) == 0);
	MUST(read.send_time_us == payload->send_time_us);

	/* Where nothing is escaped, it is as it was. */
	if (memchr(body, '\\', size) == NULL)
	{
		for (i = 0; i < size; i++)
			small[i] = (char) tolower((unsigned char) body[i]);
		MUST(has_part(small, size, id + 6, 36));
		MUST(has_part(body, size, time + 13, 27));
		MUST(has_part(body, size, OURS, strlen(OURS)));
	}
	free(small);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* in memory of its own length, without a final NUL */
	char	   *body = malloc(size > 0 ? size : 1);
	BsPayload	payload;
	BsPayloadFault fault;

	memcpy(body, data, size);
	fault = bs_payload_read(body, size, OURS, &payload);
	MUST(bs_payload_fault_name(fault) != NULL);
	if (fault == BS_PAYLOAD_OK)
		check_message(body, size, &payload);
	free(body);
	return 0;
}
