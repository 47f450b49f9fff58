/*-------------------------------------------------------------------------
 *
 * sender_value.c
 *	  Values of questions and answers in libpq's binary form.
 *
 * src/sender/sender_value.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_value.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bigendian.h"
#include "core/base/buffer.h"

int32_t
bs_int4_read(const char *bytes)
{
	return (int32_t) bs_bigendian_read(bytes, 4);
}

/* From 1970 to 2000. */
#define EPOCHS_US	INT64_C(946684800000000)

void
bs_instant_write(int64_t unix_us, char *buf)
{
	bs_bigendian_write(buf, 8, (uint64_t) (unix_us - EPOCHS_US));
}

int64_t
bs_instant_read(const char *bytes)
{
	int64_t		server_us = (int64_t) bs_bigendian_read(bytes, 8);
	int64_t		unix_us;

	/* 'infinity' is the largest there is. */
	return __builtin_add_overflow(server_us, EPOCHS_US, &unix_us) ?
		INT64_MAX : unix_us;
}

static void
add(BsArguments *arguments, Oid type, char *value, int length, int format)
{
	arguments->types[arguments->count] = type;
	arguments->values[arguments->count] = value;
	arguments->lengths[arguments->count] = length;
	arguments->formats[arguments->count++] = format;
	arguments->no_memory |= value == NULL;
}

void
bs_arguments_add_text(BsArguments *arguments, Oid type, const char *value)
{
	add(arguments, type, strdup(value), 0, 0);
}

/*
 * The binary form of an array (array_recv() of the server): number of dimensions,
 * whether there are NULLs, type, length, first subscript, and the elements.
 */
void
bs_arguments_add_array(BsArguments *arguments, Oid type, Oid element,
					   int count, BsArrayValue next, void *arg)
{
	BsBuffer	buf;
	char		head[20];
	char		length[4];
	char	   *data;
	size_t		total;
	int			i;

	bs_buffer_init(&buf, 1024, BS_BUFFER_NO_LIMIT);
	bs_bigendian_write(head, 4, count > 0 ? 1 : 0);
	bs_bigendian_write(head + 4, 4, 1);
	bs_bigendian_write(head + 8, 4, element);
	bs_bigendian_write(head + 12, 4, count);
	bs_bigendian_write(head + 16, 4, 1);
	bs_buffer_add(&buf, head, count > 0 ? 20 : 12);
	for (i = 0; i < count; i++)
	{
		int			len = 0;
		const char *value = next(arg, i, &len);

		bs_bigendian_write(length, 4, (uint64_t) len);
		bs_buffer_add(&buf, length, 4);
		if (len > 0)
			bs_buffer_add(&buf, value, len);
	}
	data = bs_buffer_take(&buf, &total);
	add(arguments, type, data, (int) total, 1);
}

void
bs_arguments_free(BsArguments *arguments)
{
	while (arguments->count > 0)
		free(arguments->values[--arguments->count]);
}
