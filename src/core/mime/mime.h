/*-------------------------------------------------------------------------
 *
 * mime.h
 *	  A mail as the octets that follow DATA (RFC 5322, 2045-2047, 2049).
 *
 * Every line ends in CRLF and is ASCII; bodies are quoted-printable or base64
 * with lines of at most 76, headers are folded at 78 where they can be.
 * No value can begin a header of its own: names and subjects are encoded words
 * when they are anything but plain ASCII, and controls in them become spaces;
 * bidirectional controls are dropped from names, where they only deceive.
 * Dots at the start of a line are left to the transport (RFC 5321, 4.5.2).
 *
 * src/core/mime/mime.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_MIME_H
#define BS_CORE_MIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BS_MIME_NAME_MAX	1000	/* octets of the name in BsMail.from */
#define BS_MIME_URI_MAX		900 /* octets of a URI in a header */

/*
 * All strings are UTF-8 and NUL-terminated; NULL or "" where the part is
 * absent.  From, to_address and idempotency_key must be there.
 */
typedef struct BsMail
{
	const char *from;			/* "a@b.example" or "Name <a@b.example>" */
	const char *reply_to;		/* like from, or NULL */
	const char *to_name;		/* display name, or NULL */
	const char *to_address;		/* has passed bs_address_check() */
	const char *subject;
	const char *text;
	const char *html;			/* absent: the mail is text/plain alone */
	const char *idempotency_key;	/* user:type:YYYY-MM-DD */
	const char *list_unsubscribe;	/* URI, or NULL; left out if it is none */
	int64_t		date;			/* seconds since 1970-01-01 00:00:00 UTC */
} BsMail;

/*
 * The mail in malloc'ed memory, its length in *len.  The same BsMail gives
 * the same octets, at every attempt.  Headers, each once: Date, From,
 * Reply-To where set, To, Subject, Message-ID, Auto-Submitted: auto-generated
 * (RFC 3834), List-Unsubscribe (RFC 2369) on one line where set,
 * List-Unsubscribe-Post (RFC 8058) if that is an https URI, MIME-Version,
 * Content-Type, and Content-Transfer-Encoding unless there is HTML, which
 * makes the mail a multipart/alternative.
 *
 * The text that a reader decodes is the text that was given, to the last line
 * break, with LF and CRLF made CRLF.
 *
 * NULL with errno ENOMEM where memory is short, and with EINVAL where from,
 * reply_to, to_address or idempotency_key is none: such a mail will never be
 * one.
 */
extern char *bs_mime_build(const BsMail *mail, size_t *len);

/*
 * The Message-ID of an idempotency key, "<...>" included, into buf: derived
 * from the key alone, so that every attempt bears the same.  False where the
 * key is not of the form user:type:date (letters, digits and hyphens; the same
 * and underscores; YYYY-MM-DD), has more than 255 octets, or does not fit.
 */
extern bool bs_mime_message_id(const char *idempotency_key,
							   char *buf, size_t size);

/*
 * Splits "Name <address>" or "address": *name (may be empty) and *address
 * into the caller's buffers.  A name with punctuation other than a dot is
 * given in double quotes, with a backslash before a quote or backslash in it.
 * False, and *reason (static, a full sentence), where it is neither or the
 * address fails bs_address_check().  "reason" may be NULL.
 */
extern bool bs_mime_split_mailbox(const char *mailbox,
								  char *name, size_t name_size,
								  char *address, size_t address_size,
								  const char **reason);

/* Would bs_mime_split_mailbox() split it? */
extern bool bs_mime_check_mailbox(const char *mailbox, const char **reason);

/*
 * Is this a URI for List-Unsubscribe, https:// or mailto:, that fits one line?
 * *reason (static, a full sentence) where not.
 */
extern bool bs_mime_check_unsubscribe(const char *uri, const char **reason);

/*
 * The body that an HTTP mail API gets, as JSON (RFC 8259) in malloc'ed memory:
 * {"email", "name", "subject", "message", "html", "idempotency_key"}; "name"
 * and "html" are left out where absent.  Name and subject are cleaned as in a
 * header.  NULL as by bs_mime_build(), which looks at from as well.
 */
extern char *bs_mime_json(const BsMail *mail, size_t *len);

#endif							/* BS_CORE_MIME_H */
