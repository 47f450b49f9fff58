/*-------------------------------------------------------------------------
 *
 * sender_value.h
 *	  Values of questions and answers in libpq's binary form.
 *
 * src/sender/sender_value.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_VALUE_H
#define BS_SENDER_VALUE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* Arguments of a question, in libpq's binary form but for text. */
#define BS_ARGUMENTS_MAX	10

typedef struct BsArguments
{
	int			count;
	Oid			types[BS_ARGUMENTS_MAX];
	char	   *values[BS_ARGUMENTS_MAX];
	int			lengths[BS_ARGUMENTS_MAX];
	int			formats[BS_ARGUMENTS_MAX];
	bool		no_memory;
} BsArguments;

extern void bs_arguments_add_text(BsArguments *arguments, Oid type,
								  const char *value);

/*
 * An array of "count" values; next() gives the place and length of each, length
 * -1: NULL.  What it gives is copied before it is called again.
 */
typedef const char *(*BsArrayValue) (void *arg, int i, int *len);

extern void bs_arguments_add_array(BsArguments *arguments, Oid type,
								   Oid element, int count, BsArrayValue next,
								   void *arg);
extern void bs_arguments_free(BsArguments *arguments);

/* The server's instants, in network order into 8 bytes and back. */
extern void bs_instant_write(int64_t unix_us, char *buf);
extern int64_t bs_instant_read(const char *bytes);
extern int32_t bs_int4_read(const char *bytes);

#define BS_OID_INT8			20
#define BS_OID_INT4			23
#define BS_OID_TEXT			25
#define BS_OID_INT4_ARRAY		1007
#define BS_OID_TEXT_ARRAY		1009
#define BS_OID_TIMESTAMPTZ		1184
#define BS_OID_TIMESTAMPTZ_ARRAY 1185
#define BS_OID_INTERVAL		1186
#define BS_OID_UUID			2950
#define BS_OID_UUID_ARRAY		2951

#endif							/* BS_SENDER_VALUE_H */
