/*-------------------------------------------------------------------------
 *
 * fuzz_mime.c
 *	  Fuzzer of the mail and JSON writers, against a second reader.
 *
 * Input: eight octets of date, then the name, subject, text, HTML, URI, From,
 * Reply-To, address and key, each up to a NUL.  What the writer refuses of the
 * last four is replaced after it has been refused.
 *
 * test/fuzz/fuzz_mime.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/mime_check.h"
#include "core/mime/mime.h"
#include "core/text/address.h"

static void
must(bool condition, const char *what)
{
	if (!condition)
	{
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

/* The next string of the input; NULL behind its end. */
static const char *
next_string(const char **at, const char *end)
{
	const char *string = *at;

	if (string >= end)
		return NULL;
	*at += strlen(string) + 1;
	return string;
}

static bool
is_mailbox(const char *mailbox)
{
	char		name[BS_MIME_NAME_MAX + 1];
	char		address[BS_ADDRESS_MAX + 1];
	const char *reason = NULL;

	if (bs_mime_split_mailbox(mailbox, name, sizeof(name),
							  address, sizeof(address), &reason))
	{
		must(strpbrk(name, "\r\n") == NULL, "a name without line breaks");
		must(bs_address_check(address, strlen(address), NULL),
			 "an address that is one");
		return true;
	}
	must(reason != NULL && reason[strlen(reason) - 1] == '.', "a reason");
	return false;
}

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *strings;
	const char *at;
	const char *end;
	const char *wrong;
	BsMail		mail;
	char		id[512];
	char	   *built;
	size_t		len;
	bool		refused = false;

	if (size < sizeof(mail.date))
		return 0;
	memset(&mail, 0, sizeof(mail));
	memcpy(&mail.date, data, sizeof(mail.date));
	size -= sizeof(mail.date);
	strings = malloc(size + 1);
	memcpy(strings, data + sizeof(mail.date), size);
	strings[size] = '\0';
	at = strings;
	end = strings + size;
	mail.to_name = next_string(&at, end);
	mail.subject = next_string(&at, end);
	mail.text = next_string(&at, end);
	mail.html = next_string(&at, end);
	mail.list_unsubscribe = next_string(&at, end);
	mail.from = next_string(&at, end);
	mail.reply_to = next_string(&at, end);
	mail.to_address = next_string(&at, end);
	mail.idempotency_key = next_string(&at, end);

	refused = mail.to_address == NULL ||
		!bs_address_check(mail.to_address, strlen(mail.to_address), NULL) ||
		!bs_mime_message_id(mail.idempotency_key, id, sizeof(id));
	built = bs_mime_json(&mail, &len);
	must(refused == (built == NULL), "JSON of what is refused");
	free(built);
	if (!is_mailbox(mail.from))
		refused = true;
	if (mail.reply_to != NULL && mail.reply_to[0] != '\0' &&
		!is_mailbox(mail.reply_to))
		refused = true;
	errno = 0;
	built = bs_mime_build(&mail, &len);
	must(refused == (built == NULL), "a mail of what is refused");
	must(built != NULL || errno == EINVAL, "a refusal without errno");

	if (built == NULL)
	{
		if (!is_mailbox(mail.from))
			mail.from = "\"B. Day\" <post@example.org>";
		if (mail.reply_to != NULL && !is_mailbox(mail.reply_to))
			mail.reply_to = NULL;
		if (mail.to_address == NULL ||
			!bs_address_check(mail.to_address, strlen(mail.to_address), NULL))
			mail.to_address = "anna@example.org";
		if (!bs_mime_message_id(mail.idempotency_key, id, sizeof(id)))
			mail.idempotency_key = "u:T:2026-05-01";
		built = bs_mime_build(&mail, &len);
		must(built != NULL, "no mail");
	}
	must(strlen(built) == len, "the length");
	wrong = mime_check(&mail, built, len);
	must(wrong == NULL, wrong);
	free(built);

	built = bs_mime_json(&mail, &len);
	must(built != NULL && strlen(built) == len, "no JSON");
	wrong = json_check(&mail, built, len);
	must(wrong == NULL, wrong);
	free(built);
	free(strings);
	return 0;
}
