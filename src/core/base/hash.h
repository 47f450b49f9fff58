/*-------------------------------------------------------------------------
 *
 * hash.h
 *	  A hash of octets: FNV-1a with 64 bits.
 *
 * Not for what others may choose so that it collides.
 *
 * src/core/base/hash.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_HASH_H
#define BS_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

extern uint64_t bs_hash(const void *octets, size_t len);

#endif							/* BS_CORE_HASH_H */
