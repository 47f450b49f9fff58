/*-------------------------------------------------------------------------
 *
 * mime_check_text.h
 *	  Strings, UTF-8, base64 and quoted-printable for mime_check.h.
 *
 * Written a second time, slow and strict, because a reader that shared code
 * with the writer would share its faults.
 *
 * test/unit/mime_check_text.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_MIME_CHECK_TEXT_H
#define BS_MIME_CHECK_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A string of the reader's own; the caller frees it. */
typedef struct CheckText
{
	char	   *data;
	size_t		len;
} CheckText;

extern void check_put(CheckText *text, const void *bytes, size_t len);

/* Where the octets are in others, or NULL: memmem() by hand. */
extern const char *check_find(const char *in, size_t len, const char *what);

extern bool check_equal(const CheckText *a, const CheckText *b);

/* Code point to UTF-8, straight from the table of RFC 3629, section 3. */
extern size_t check_encode_utf8(uint32_t code, unsigned char *to);

/*
 * check_decode_utf8
 *		Decodes by encoding again: what does not come back is not UTF-8.
 */
extern size_t check_decode_utf8(const char *bytes, size_t len, uint32_t *code);

extern bool check_is_control(uint32_t code);
extern bool check_is_utf8(const char *bytes, size_t len);

/* What a reader must see of a subject or, with "name", of a display name. */
extern CheckText check_clean(const char *text, bool name);

/* The text with LF and CRLF as CRLF. */
extern CheckText check_canonical(const char *text);

/* Whole quads without anything between them; padding only at the end. */
extern const char *check_base64_quads(const char *from, size_t len, CheckText *out);

/* The lines of a body in base64. */
extern const char *check_read_base64(const char *body, size_t len, CheckText *out);

/* The lines of a body in quoted-printable. */
extern const char *check_read_qp(const char *body, size_t len, CheckText *out);

/* The text with U+FFFD for each byte that is not UTF-8. */
extern CheckText check_repair(const char *text);

#endif							/* BS_MIME_CHECK_TEXT_H */
