/*-------------------------------------------------------------------------
 *
 * encode.h
 *	  The encodings that a mail is made of; private to mime.c.
 *
 * src/core/mime/encode.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_ENCODE_H
#define BS_CORE_ENCODE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/buffer.h"

/* A line of a header should not be longer than this (RFC 5322, 2.1.1) ... */
#define BS_ENCODE_LINE		78

/* ... and must not, if it contains an encoded word (RFC 2047, 2). */
#define BS_ENCODE_WORD_LINE	76

typedef enum BsEncodeClean
{
	BS_ENCODE_SUBJECT,			/* controls become blanks */
	BS_ENCODE_NAME				/* and bidirectional controls are dropped */
} BsEncodeClean;

/*
 * Replaces what is in "out" by the text as it may stand in a header:
 * well-formed UTF-8 (U+FFFD for each byte that is not), one blank for each
 * run of controls, no outer blanks.  NUL-terminated, unless the buffer has
 * failed.
 */
extern void bs_encode_clean(BsBuffer *out, const char *text,
							BsEncodeClean what);

/* Printable ASCII throughout, and nothing that looks like an encoded word? */
extern bool bs_encode_is_plain(const char *text, size_t len);

/*
 * The text as encoded words (RFC 2047, encoding B), folded, on a line of
 * which "column" octets, at least one, are used already: so no word has more
 * than 75.  Returns the octets used of the last line.
 */
extern size_t bs_encode_words(BsBuffer *out, const char *text, size_t len,
							  size_t column);

/*
 * The end of a part's header and its body: Content-Transfer-Encoding, empty
 * line, and the text in quoted-printable or base64 (RFC 2045, 6.7 and 6.8),
 * whichever is shorter.  Line breaks (LF or CRLF) become CRLF, a bare CR
 * stays one.
 *
 * What is decoded ends as the text does, with or without a line break.  What
 * is written ends in CRLF where "last" is set; otherwise the CRLF before the
 * boundary that follows is not part of the body (RFC 2046, 5.1.1).
 */
extern void bs_encode_body(BsBuffer *out, const char *text, bool last);

/* The text as a JSON string (RFC 8259, 7), quotes included. */
extern void bs_encode_json(BsBuffer *out, const char *text);

#endif							/* BS_CORE_ENCODE_H */
