/*-------------------------------------------------------------------------
 *
 * sender_file.h
 *	  A settings file of lines "name = value", and addresses with ports.
 *
 * src/sender/sender_file.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_FILE_H
#define BS_SENDER_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Takes a line's setting; false and the reason if it cannot. */
typedef bool (*BsFileLine) (const char *name, const char *value,
							char *reason, size_t size);

/*
 * Reads a file as postgresql.conf is written: "name = value", the "=" may be left
 * out, a value with blanks or "#" stands in single quotes with those in it
 * doubled, "#" begins a comment.  False, and where and why, in error.
 */
extern bool bs_file_read(const char *path, BsFileLine take_line,
						 char *error, size_t error_size);


#endif							/* BS_SENDER_FILE_H */
