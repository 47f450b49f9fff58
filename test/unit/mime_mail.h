/*-------------------------------------------------------------------------
 *
 * mime_mail.h
 *	  The mail that the tests of the writers change, build and read back.
 *
 * mime_check.h reads back every mail that is built here; what Python makes of
 * them is asked in mime_roundtrip.py.
 *
 * test/unit/mime_mail.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_MIME_MAIL_H
#define BS_MIME_MAIL_H

#include "mime_check.h"
#include "tap.h"

#define KEY "0b8f3c1e-6a1e-4c0d-9a53-0d3f1a2b3c4d:BIRTHDAY:2026-05-01"

#define ANNA_CYRILLIC	"\xD0\x90\xD0\xBD\xD0\xBD\xD0\xB0"
#define ARABIC			"\xD9\x85\xD8\xB1\xD8\xAD\xD8\xA8\xD8\xA7"
#define CHINESE			"\xE7\x8E\x8B\xE5\xB0\x8F\xE6\x98\x8E"
#define ZOE				"Zo\xC3\xAB M\xC3\xBCller"
#define FAMILY			"\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D" \
						"\xF0\x9F\x91\xA7\xE2\x80\x8D\xF0\x9F\x91\xA6"
#define OVERRIDE		"\xE2\x80\xAE"

extern BsMail mail;
extern char *built;
extern size_t built_len;

extern void start(void);

/* Builds the mail, reads it back, and says what is wrong, or NULL. */
extern const char *build(void);

/* A header of the mail built last, unfolded. */
extern const char *header(const char *name);

extern void good(const char *name);

/* What follows the first empty line. */
extern const char *body(void);

/* This text, alone and with HTML, is read back as it was. */
extern void good_body(const char *text, const char *name);

extern int	mime_done(void);

#endif							/* BS_MIME_MAIL_H */
