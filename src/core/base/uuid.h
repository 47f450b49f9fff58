/*-------------------------------------------------------------------------
 *
 * uuid.h
 *	  UUIDs as text (RFC 9562, section 4).
 *
 * src/core/base/uuid.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_UUID_H
#define BS_CORE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define BS_UUID_SIZE	16
#define BS_UUID_TEXT	37		/* bytes, the final NUL included */

/* Into buf, which has BS_UUID_TEXT bytes; in lower case. */
extern void bs_uuid_write(const uint8_t uuid[BS_UUID_SIZE], char *buf);

/* The whole string, in either case; false, and the UUID undefined: it is not one. */
extern bool bs_uuid_read(const char *string, uint8_t uuid[BS_UUID_SIZE]);

#endif							/* BS_CORE_UUID_H */
