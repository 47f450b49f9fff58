/*-------------------------------------------------------------------------
 *
 * bigendian.h
 *	  Numbers in network order, of 1 to 8 octets.
 *
 * src/core/base/bigendian.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_BIGENDIAN_H
#define BS_CORE_BIGENDIAN_H

#include <stdint.h>

static inline uint64_t
bs_bigendian_read(const void *octets, int width)
{
	const unsigned char *at = octets;
	uint64_t	number = 0;

	while (width-- > 0)
		number = number << 8 | *at++;
	return number;
}

/* The lower "width" octets of the number. */
static inline void
bs_bigendian_write(void *octets, int width, uint64_t number)
{
	unsigned char *at = octets;

	while (width-- > 0)
	{
		at[width] = (unsigned char) number;
		number >>= 8;
	}
}

#endif							/* BS_CORE_BIGENDIAN_H */
