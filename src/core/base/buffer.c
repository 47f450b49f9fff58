/*-------------------------------------------------------------------------
 *
 * buffer.c
 *	  Bytes that grow at the end.
 *
 * The allocation never passes limit + 1 (the one is for the final NUL), so
 * bs_buffer_room() need not look at the limit.
 *
 * src/core/base/buffer.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/buffer.h"

#include <stdlib.h>

void
bs_buffer_init(BsBuffer *buf, size_t first, size_t limit)
{
	memset(buf, 0, sizeof(*buf));
	buf->limit = limit < BS_BUFFER_NO_LIMIT ? limit : BS_BUFFER_NO_LIMIT;
	buf->size = (first < buf->limit ? first : buf->limit) + 1;
	buf->data = malloc(buf->size);
	if (buf->data == NULL)
	{
		buf->size = 0;
		buf->no_memory = true;
	}
}

/*
 * bs_buffer_free
 *		Give the memory back.
 *
 * What remains counts as failed, so that a late append is harmless.
 */
void
bs_buffer_free(BsBuffer *buf)
{
	free(buf->data);
	buf->data = NULL;
	buf->len = 0;
	buf->size = 0;
}

char *
bs_buffer_grow(BsBuffer *buf, size_t more)
{
	size_t		size;
	char	   *data;

	if (bs_buffer_failed(buf))
		return NULL;
	if (more > buf->limit - buf->len)
	{
		bs_buffer_free(buf);
		buf->too_long = true;
		return NULL;
	}
	size = buf->size * 2;
	if (size < buf->len + more + 1)
		size = buf->len + more + 1;
	if (size > buf->limit + 1)
		size = buf->limit + 1;
	data = realloc(buf->data, size);
	if (data == NULL)
	{
		bs_buffer_free(buf);
		buf->no_memory = true;
		return NULL;
	}
	buf->data = data;
	buf->size = size;
	return data + buf->len;
}

char *
bs_buffer_take(BsBuffer *buf, size_t *len)
{
	char	   *data = buf->data;

	*len = buf->len;
	if (data != NULL)
		data[buf->len] = '\0';
	buf->data = NULL;
	buf->len = 0;
	buf->size = 0;
	return data;
}
