/*-------------------------------------------------------------------------
 *
 * hash.h
 *	  A hash of octets: FNV-1a with 64 bits.
 *
 * Inputs with the same hash are easy to make: not for what an attacker chooses.
 *
 * src/core/base/hash.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_HASH_H
#define BS_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t
bs_hash(const void *octets, size_t len)
{
	const unsigned char *at = octets;
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);

	while (len-- > 0)
		hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
	return hash;
}

#endif							/* BS_CORE_HASH_H */
