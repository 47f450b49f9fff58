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

static BsMail mail;
static char *built;
static size_t built_len;

static inline void
start(void)
{
	memset(&mail, 0, sizeof(mail));
	mail.from = "Birthdays <post@example.org>";
	mail.to_name = "Anna Lee";
	mail.to_address = "anna@example.org";
	mail.subject = "Happy birthday";
	mail.text = "Hey, Anna Lee it's your birthday\n";
	mail.idempotency_key = KEY;
	mail.date = INT64_C(1777622400);
}

/* Builds the mail, reads it back, and says what is wrong, or NULL. */
static inline const char *
build(void)
{
	const char *wrong;
	char	   *json;
	size_t		json_len;

	free(built);
	built = bs_mime_build(&mail, &built_len);
	if (built == NULL)
		return "no mail";
	wrong = mime_check(&mail, built, built_len);
	if (wrong == NULL)
	{
		json = bs_mime_json(&mail, &json_len);
		wrong = json == NULL ? "no JSON" : json_check(&mail, json, json_len);
		free(json);
	}
	return wrong;
}

/* A header of the mail built last, unfolded. */
static inline const char *
header(const char *name)
{
	static char *value;
	CheckFields fields;
	const char *at = built;

	free(value);
	value = NULL;
	if (built != NULL &&
		check_read_fields(&at, built + built_len, &fields) == NULL &&
		check_field(&fields, name) != NULL)
		value = strdup(check_field(&fields, name));
	if (built != NULL)
		check_free_fields(&fields);
	return value;
}

static inline void
good(const char *name)
{
	const char *wrong = build();

	ok(wrong == NULL, "%s%s%s", name, wrong == NULL ? "" : ": ",
	   wrong == NULL ? "" : wrong);
}

/* What follows the first empty line. */
static inline const char *
body(void)
{
	const char *at = built == NULL ? NULL : strstr(built, "\r\n\r\n");

	return at == NULL ? "" : at + 4;
}

/* This text, alone and with HTML, is read back as it was. */
static inline void
good_body(const char *text, const char *name)
{
	const char *wrong;

	start();
	mail.text = text;
	wrong = build();
	if (wrong == NULL)
	{
		mail.html = "<p>x</p>";
		wrong = build();
	}
	if (wrong == NULL)
	{
		mail.html = text;
		wrong = build();
	}
	ok(wrong == NULL, "%s%s%s", name, wrong == NULL ? "" : ": ",
	   wrong == NULL ? "" : wrong);
}

static inline int
mime_done(void)
{
	free(built);
	built = NULL;
	(void) header("none");
	return tap_done();
}

#endif							/* BS_MIME_MAIL_H */
