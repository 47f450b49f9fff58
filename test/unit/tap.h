/*-------------------------------------------------------------------------
 *
 * tap.h
 *	  Test Anything Protocol for the plain C tests, in a page.
 *
 * test/unit/tap.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_TAP_H
#define BS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define ok(condition, ...) tap_ok((condition), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, wanted, ...) \
	tap_is_str((got), (wanted), __FILE__, __LINE__, __VA_ARGS__)
#define is_int(got, wanted, ...) \
	tap_is_int((long long) (got), (long long) (wanted), \
			   __FILE__, __LINE__, __VA_ARGS__)

extern bool tap_ok(bool pass, const char *file, int line,
				   const char *format,...)
			__attribute__((format(printf, 4, 5)));
extern bool tap_is_str(const char *got, const char *wanted, const char *file,
					   int line, const char *format,...)
			__attribute__((format(printf, 5, 6)));
extern bool tap_is_int(long long got, long long wanted, const char *file,
					   int line, const char *format,...)
			__attribute__((format(printf, 5, 6)));

/* Prints how many tests there were; the program's exit code. */
extern int	tap_done(void);

#endif							/* BS_TAP_H */
