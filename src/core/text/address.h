/*-------------------------------------------------------------------------
 *
 * address.h
 *	  Which e-mail addresses are taken.
 *
 * This check is the only defence of the envelope: libcurl passes what it is
 * given, CR and LF included, to the relay.
 *
 * src/core/text/address.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_ADDRESS_H
#define BS_CORE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Octets, local part and domain together: a path has 256 with its angle brackets
 * (RFC 5321, section 4.5.3.1.3).
 */
#define BS_ADDRESS_MAX	254

/*
 * Is this an addr-spec (RFC 5321, section 4.1.2, without quoted local parts,
 * address literals and comments) in ASCII: a dot-atom of at most 64 octets,
 * "@", and a domain of at least two labels of 1 to 63 letters, digits and
 * inner hyphens, the last one not all digits?  A local part with "=?" in it is
 * refused too: some programs decode encoded words (RFC 2047) in addresses, and
 * send to another one than was checked.
 *
 * If not, *reason is a static full sentence that says which rule is broken and
 * never quotes the address; if so, it is NULL.  "reason" may be NULL.
 */
extern bool bs_address_check(const char *address, size_t len,
							 const char **reason);

#endif							/* BS_CORE_ADDRESS_H */
