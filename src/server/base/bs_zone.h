/*-------------------------------------------------------------------------
 *
 * bs_zone.h
 *	  Which time zone names are taken.
 *
 * src/server/base/bs_zone.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_ZONE_H
#define BS_ZONE_H

#include "pgtime.h"

/*
 * The rules of a zone, or NULL where the name is not one of the IANA time zone
 * database in its exact spelling (RFC 6557; no abbreviations, no POSIX strings).
 * An old name that the server lacks has the rules of its new one, if tzdata.zi
 * says which that is; pg_get_timezone_name() gives the new name then.  Reads that
 * file when it is needed first, and again when the zone files have changed.
 */
extern pg_tz *bs_zone_find(const text *name);

/*
 * The hint for an unknown name; it names the package with the old names if the
 * server lacks them.
 */
extern const char *bs_zone_hint(void);

/*
 * A number that changes when the server's time zone database is replaced.
 * Follows the folder itself too, because a new tree may be put in its place.
 */
extern uint64 bs_zone_stamp(void);

#endif							/* BS_ZONE_H */
