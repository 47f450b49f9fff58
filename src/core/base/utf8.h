/*-------------------------------------------------------------------------
 *
 * utf8.h
 *	  Code points in UTF-8 (RFC 3629), and those that are not for headers; ASCII.
 *
 * src/core/base/utf8.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_UTF8_H
#define BS_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* U+FFFD, which stands for bytes that are not UTF-8. */
#define BS_UTF8_REPLACEMENT	"\xEF\xBF\xBD"

/*
 * The code point at the start of "len" bytes, and its width of 1 to 4.  0
 * where they do not begin with one: an overlong form, a surrogate, a value
 * past U+10FFFF, a character that is cut off, or nothing at all.
 */
extern size_t bs_utf8_decode(const char *bytes, size_t len, uint32_t *code);

/* How many of the bytes are well-formed characters, from the first on. */
extern size_t bs_utf8_valid(const char *bytes, size_t len);

/* The characters in well-formed UTF-8. */
extern size_t bs_utf8_count(const char *bytes, size_t len);

/* C0 and DEL; an octet of a longer character is not one. */
static inline bool
bs_ascii_is_control(char c)
{
	return (unsigned char) c < ' ' || c == 0x7F;
}

/* Nothing but ASCII, without controls and blanks. */
extern bool bs_ascii_is_visible(const char *string);

/* C0, DEL, C1, and the line and paragraph separators U+2028 and U+2029. */
extern bool bs_utf8_is_control(uint32_t code);

/*
 * The property Bidi_Control (UAX #9): marks, embeddings, overrides, isolates.
 */
extern bool bs_utf8_is_bidi(uint32_t code);

/* White space that is not a control: the property White_Space without C0 and C1. */
extern bool bs_utf8_is_space(uint32_t code);

/*
 * Leaves no mark on its own: white space, what the property
 * Default_Ignorable_Code_Point covers (blanks without width, joiners, directions,
 * Hangul fillers, variation selectors, tags), annotation anchors, and the empty
 * braille pattern.  Controls are not among them.
 */
extern bool bs_utf8_is_invisible(uint32_t code);

/*
 * What others said, made fit for a row and a log: well-formed, without controls
 * and outer blanks, a blank for each run of them.  The caller terminates the text.
 */
typedef struct BsUtf8Output
{
	char	   *data;
	size_t		size;			/* with room for the final NUL */
	size_t		len;
	bool		blank;			/* one is owed before the next character */
	bool		full;
} BsUtf8Output;

/* As it is, whole or not at all. */
extern void bs_utf8_put(BsUtf8Output *out, const char *bytes, size_t len);

/* One character, cleaned; how many bytes of the input it was. */
extern size_t bs_utf8_put_clean(BsUtf8Output *out, const char *bytes,
								size_t len);

extern void bs_utf8_clean(const char *bytes, size_t len,
						  char *out, size_t size);

#endif							/* BS_CORE_UTF8_H */
