/*-------------------------------------------------------------------------
 *
 * secret.h
 *	  Secrets: files that settings name, and memory that is wiped.
 *
 * src/core/base/secret.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_SECRET_H
#define BS_CORE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#define BS_SECRET_MAX	8192	/* bytes */

/*
 * Reads the file at "path", which the setting <prefix><setting> names.  It must be
 * a plain file that only this process's user can read.  False: it cannot be used,
 * and error has the reason, without any contents.
 */
extern bool bs_secret_read(const char *prefix, const char *setting,
						   const char *path, char *buf, size_t size,
						   char *error, size_t error_size);

/* The same for its first line; "" if the path is NULL or "". */
extern bool bs_secret_read_line(const char *prefix, const char *setting,
								const char *path, char *buf, size_t size,
								char *error, size_t error_size);

/* Wipes and frees what malloc() and its kin gave; NULL is nothing. */
extern void bs_secret_free(void *memory);

#endif							/* BS_CORE_SECRET_H */
