/*-------------------------------------------------------------------------
 *
 * buffer.h
 *	  Bytes that grow at the end.
 *
 * A buffer remembers that memory was short or its limit passed, and from then
 * on takes nothing: callers append at will and ask once, in bs_buffer_take().
 *
 * src/core/base/buffer.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_BUFFER_H
#define BS_CORE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define BS_BUFFER_NO_LIMIT	((size_t) -1 / 4)

typedef struct BsBuffer
{
	char	   *data;			/* NULL once it has failed */
	size_t		len;
	size_t		size;			/* allocated; len < size unless it failed */
	size_t		limit;			/* len never passes this */
	bool		no_memory;
	bool		too_long;
} BsBuffer;

/* "first" bytes are allocated at once; at most "limit" are ever taken. */
extern void bs_buffer_init(BsBuffer *buf, size_t first, size_t limit);
extern void bs_buffer_free(BsBuffer *buf);

/* For bs_buffer_room() alone. */
extern char *bs_buffer_grow(BsBuffer *buf, size_t more);

/*
 * The bytes, NUL-terminated, are the caller's to free(), their number in *len;
 * NULL where the buffer has failed.  The buffer is empty afterwards and must
 * be initialised before it is used again.
 */
extern char *bs_buffer_take(BsBuffer *buf, size_t *len);

static inline bool
bs_buffer_failed(const BsBuffer *buf)
{
	return buf->data == NULL;
}

/*
 * bs_buffer_room
 *		Where the next "more" bytes go, or NULL.
 *
 * The caller writes them and adds their number to buf->len.
 */
static inline char *
bs_buffer_room(BsBuffer *buf, size_t more)
{
	if (more < buf->size - buf->len)
		return buf->data + buf->len;
	return bs_buffer_grow(buf, more);
}

static inline void
bs_buffer_add(BsBuffer *buf, const char *bytes, size_t len)
{
	char	   *to = bs_buffer_room(buf, len);

	if (to != NULL && len > 0)
	{
		memcpy(to, bytes, len);
		buf->len += len;
	}
}

static inline void
bs_buffer_add_string(BsBuffer *buf, const char *string)
{
	bs_buffer_add(buf, string, strlen(string));
}

static inline void
bs_buffer_add_char(BsBuffer *buf, char c)
{
	char	   *to = bs_buffer_room(buf, 1);

	if (to != NULL)
	{
		*to = c;
		buf->len++;
	}
}

#endif							/* BS_CORE_BUFFER_H */
