/*-------------------------------------------------------------------------
 *
 * payload.h
 *	  The body of a message in the broker: which message, and nothing about
 *	  whom.
 *
 *	  {"version":1,"installation":"7393018472650183942/16384",
 *	   "id":"0b9f...","send_time":"2026-03-01T07:00:00.000000Z"}
 *
 * src/core/amqp/payload.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_PAYLOAD_H
#define BS_CORE_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/uuid.h"

#define BS_PAYLOAD_INSTALLATION_MAX	40	/* bytes, the final NUL included */
#define BS_PAYLOAD_MAX		256 /* of a body as we write it, NUL included */

typedef struct BsPayload
{
	uint8_t		id[BS_UUID_SIZE];	/* message_logs.id */
	int64_t		send_time_us;	/* scheduled_send_time, us since 1970 */
} BsPayload;

typedef enum BsPayloadFault
{
	BS_PAYLOAD_OK,
	BS_PAYLOAD_OVERSIZED,		/* longer than any of ours can be */
	BS_PAYLOAD_MALFORMED,		/* not JSON, or not as above */
	BS_PAYLOAD_FOREIGN			/* of another installation */
} BsPayloadFault;

#define BS_PAYLOAD_FAULTS	4

/* The length, or 0 where size does not suffice. */
extern size_t bs_payload_write(char *buf, size_t size,
							   const char *installation,
							   const BsPayload *payload);

/*
 * Reads what this or any older version wrote; unknown members are for newer
 * ones.  body_len may be more than what is there if that is too long to be
 * kept: nothing of such a body is read.
 */
extern BsPayloadFault bs_payload_read(const char *body, size_t body_len,
									  const char *installation,
									  BsPayload *payload);

/* "oversized", "malformed", "foreign", for counters and logs. */
extern const char *bs_payload_fault_name(BsPayloadFault fault);

#endif							/* BS_CORE_PAYLOAD_H */
