/*-------------------------------------------------------------------------
 *
 * must.h
 *	  What a fuzzer claims: where it does not hold, the run ends.
 *
 * test/fuzz/must.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_MUST_H
#define BS_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif							/* BS_MUST_H */
