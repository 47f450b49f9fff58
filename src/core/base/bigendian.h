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

extern uint64_t bs_bigendian_read(const void *octets, int width);

/* The lower "width" octets of the number. */
extern void bs_bigendian_write(void *octets, int width, uint64_t number);

#endif							/* BS_CORE_BIGENDIAN_H */
