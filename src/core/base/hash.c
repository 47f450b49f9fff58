/*-------------------------------------------------------------------------
 *
 * hash.c
 *	  A hash of octets: FNV-1a with 64 bits.
 *
 * src/core/base/hash.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/hash.h"

uint64_t
bs_hash(const void *octets, size_t len)
{
	const unsigned char *at = octets;
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);

	while (len-- > 0)
		hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
	return hash;
}
