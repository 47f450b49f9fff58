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

#include "core/base/buffer.h"

static void
put_int32(char *buf, int32_t value)
{
	uint32_t	bits = (uint32_t) value;
	int			i;

	for (i = 3; i >= 0; i--, bits >>= 8)
		buf[i] = (char) (bits & 255);
}

int32_t
bs_int4_read(const char *bytes)
{
	uint32_t	bits = 0;
	int			i;

	for (i = 0; i < 4; i++)
		bits = bits << 8 | (unsigned char) bytes[i];
	return (int32_t) bits;
}

/* From 1970 to 2000. */
#define EPOCHS_US	INT64_C(946684800000000)

void
bs_instant_write(int64_t unix_us, char *buf)
{
	uint64_t	bits = (uint64_t) (unix_us - EPOCHS_US);

	put_int32(buf, (int32_t) (bits >> 32));
	put_int32(buf + 4, (int32_t) (bits & 0xffffffff));
}

int64_t
bs_instant_read(const char *bytes)
{
	uint64_t	bits = (uint64_t) (uint32_t) bs_int4_read(bytes) << 32 |
	(uint32_t) bs_int4_read(bytes + 4);
	int64_t		unix_us;

	/* 'infinity' is the largest there is. */
	return __builtin_add_overflow((int64_t) bits, EPOCHS_US, &unix_us) ?
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
	put_int32(head, count > 0 ? 1 : 0);
	put_int32(head + 4, 1);
	put_int32(head + 8, (int32_t) element);
	put_int32(head + 12, count);
	put_int32(head + 16, 1);
	bs_buffer_add(&buf, head, count > 0 ? 20 : 12);
	for (i = 0; i < count; i++)
	{
		int			len = 0;
		const char *value = next(arg, i, &len);

		put_int32(length, len);
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
