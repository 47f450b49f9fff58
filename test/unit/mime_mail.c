/*-------------------------------------------------------------------------
 *
 * mime_mail.c
 *	  The mail that the tests of the writers change, build and read back.
 *
 * test/unit/mime_mail.c
 *
 *-------------------------------------------------------------------------
 */
#include "mime_mail.h"

BsMail		mail;
char	   *built;
size_t		built_len;

void
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

const char *
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

const char *
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

void
good(const char *name)
{
	const char *wrong = build();

	ok(wrong == NULL, "%s%s%s", name, wrong == NULL ? "" : ": ",
	   wrong == NULL ? "" : wrong);
}

const char *
body(void)
{
	const char *at = built == NULL ? NULL : strstr(built, "\r\n\r\n");

	return at == NULL ? "" : at + 4;
}

void
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

int
mime_done(void)
{
	free(built);
	built = NULL;
	(void) header("none");
	return tap_done();
}
