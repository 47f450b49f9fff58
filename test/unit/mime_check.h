/*-------------------------------------------------------------------------
 *
 * mime_check.h
 *	  A second reader of what bs_mime_build() and bs_mime_json() write.
 *
 * Shares no code with the writer, is slow and strict, and compares what it has
 * read with the BsMail that went in.  The unit tests and the fuzzer use it.
 * Every function that returns a string returns NULL if all is well, and
 * what is wrong otherwise.
 *
 * test/unit/mime_check.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_MIME_CHECK_H
#define BS_MIME_CHECK_H

#include <stdio.h>

#include "mime_check_text.h"
#include "core/mime/mime.h"

/* Header fields: unfolded values, in the order of the mail. */
typedef struct CheckField
{
	CheckText	name;
	CheckText	value;
} CheckField;

typedef struct CheckFields
{
	CheckField	fields[32];
	size_t		count;
} CheckFields;

extern void check_free_fields(CheckFields *fields);
extern const char *check_field(const CheckFields *fields, const char *name);

/* Reads header lines up to and including the empty one. */
extern const char *check_read_fields(const char **at, const char *end, CheckFields *fields);

/*
 * mime_check
 *		What is wrong with the octets as a writing of this mail?
 */
extern const char *mime_check(const BsMail *mail, const char *out, size_t len);

/*
 * json_check
 *		What is wrong with the octets as the JSON of this mail?
 */
extern const char *json_check(const BsMail *mail, const char *out, size_t len);

#endif							/* BS_MIME_CHECK_H */
