/*-------------------------------------------------------------------------
 *
 * fuzz_settings.c
 *	  Fuzzer of the checks of settings: whatever they let pass can be used.
 *
 * Input: a letter that says which setting (see below), and its value, which ends
 * at the first NUL, as a setting does.
 *
 * test/fuzz/fuzz_settings.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* memmem() */

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "must.h"
#include "core/amqp/amqp.h"
#include "core/mail/mail.h"
#include "core/mime/mime.h"

#define VALUE_MAX	8192

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
has_control(const char *value)
{
	for (; *value != '\0'; value++)
	{
		if ((unsigned char) *value < ' ' || *value == 0x7f)
			return true;
	}
	return false;
}

/* How many lines of the header begin so. */
static int
count_headers(const char *mail, size_t len, const char *start)
{
	const char *end = memmem(mail, len, "\r\n\r\n", 4);
	const char *line = mail;
	int			count = 0;

	MUST(end != NULL);
	while (line < end + 2)
	{
		const char *next = memmem(line, (size_t) (end + 2 - line), "\r\n", 2);

		MUST(next != NULL);
		MUST(next - line <= 998);
		if (strncasecmp(line, start, strlen(start)) == 0)
			count++;
		line = next + 2;
	}
	return count;
}

static char *
build_mail(const char *from, const char *reply_to, const char *unsubscribe,
		   size_t *len)
{
	BsMail		mail = {0};
	char	   *built;

	mail.from = from;
	mail.reply_to = reply_to;
	mail.to_address = "zoe@example.org";
	mail.subject = "s";
	mail.text = "t\n";
	mail.idempotency_key = "7d444840-9dc0:BIRTHDAY:2026-02-28";
	mail.list_unsubscribe = unsubscribe;
	built = bs_mime_build(&mail, len);
	MUST(built != NULL);
	return built;
}

/* mail_url: a mailer can be made of it, of four kinds and without a login. */
static void
check_mail_url(const char *value)
{
	BsMailerConfig config = {0};
	BsMailer   *mailer;
	const char *reason = NULL;
	const char *rest;
	char		error[256];

	if (!bs_mailer_check_url(value, &reason))
	{
		MUST(reason != NULL && reason[0] != '\0');
		return;
	}
	MUST(strncasecmp(value, "smtp://", 7) == 0 ||
		 strncasecmp(value, "smtps://", 8) == 0 ||
		 strncasecmp(value, "http://", 7) == 0 ||
		 strncasecmp(value, "https://", 8) == 0);
	MUST(!has_control(value));
	rest = strstr(value, "://") + 3;
	MUST(rest[0] != '\0' && rest[0] != '/');
	MUST(memchr(rest, '@', strcspn(rest, "/?#")) == NULL);

	config.url = value;
	config.from = "a@b.example";
	config.connections = 1;
	config.timeout_ms = 1000;
	config.connect_timeout_ms = 1000;
	mailer = bs_mailer_create(&config, error, sizeof(error));
	MUST(mailer != NULL);
	MUST(bs_mailer_room(mailer) == 1);
	bs_mailer_destroy(mailer);
}

/* amqp_url: a link can be made of it. */
static void
check_amqp_url(const char *value)
{
	BsAmqpConfig config = {0};
	BsAmqpLink *link;
	const char *reason = NULL;
	char		error[256];

	if (!bs_amqp_check_urls(value, &reason))
	{
		MUST(reason != NULL && reason[0] != '\0');
		return;
	}
	MUST(strstr(value, "amqp://") != NULL || strstr(value, "amqps://") != NULL);
	config.urls = value;
	config.exchange = "e";
	config.queue = "q";
	config.dead_letter_exchange = "x";
	config.dead_letter_queue = "d";
	config.connection_name = "c";
	config.window = 1;
	config.connect_timeout_ms = 1000;
	config.silence_ms = 1000;
	config.confirm_timeout_ms = 1000;
	config.backoff_initial_ms = 1000;
	config.backoff_max_ms = 1000;
	link = bs_amqp_create(&config, error, sizeof(error));
	MUST(link != NULL);
	MUST(!bs_amqp_is_up(link));
	bs_amqp_destroy(link);
}

/* mail_from, mail_reply_to: one header each, and no other than before. */
static void
check_mailbox(const char *value)
{
	char		name[256];
	char		address[256];
	const char *reason = NULL;
	char	   *mail;
	size_t		len;

	if (!bs_mime_split_mailbox(value, name, sizeof(name),
							   address, sizeof(address), &reason))
	{
		MUST(reason != NULL && reason[0] != '\0');
		return;
	}
	mail = build_mail(value, value, NULL, &len);
	MUST(count_headers(mail, len, "From:") == 1);
	MUST(count_headers(mail, len, "Reply-To:") == 1);
	MUST(count_headers(mail, len, "To:") == 1);
	MUST(count_headers(mail, len, "Bcc:") == 0);
	MUST(count_headers(mail, len, "Subject:") == 1);
	free(mail);
}

/* mail_list_unsubscribe: as it is, on one line. */
static void
check_unsubscribe(const char *value)
{
	const char *reason = NULL;
	char	   *mail;
	char	   *found;
	size_t		len;

	if (!bs_mime_check_unsubscribe(value, &reason))
	{
		MUST(reason != NULL && reason[0] != '\0');
		return;
	}
	mail = build_mail("a@b.example", NULL, value, &len);
	MUST(count_headers(mail, len, "List-Unsubscribe:") == 1);
	MUST(count_headers(mail, len, "List-Unsubscribe-Post:") ==
		 (value[0] == 'h'));
	MUST(count_headers(mail, len, "Bcc:") == 0);
	found = memmem(mail, len, "List-Unsubscribe: <", 19);
	MUST(found != NULL);
	found += 19;
	MUST(memcmp(found, value, strlen(value)) == 0);
	MUST(memcmp(found + strlen(value), ">\r\n", 3) == 0);
	free(mail);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	char	   *value;

	if (!ready)
		ready = bs_mailer_global_init();
	MUST(ready);
	if (size < 1 || size > VALUE_MAX)
		return 0;
	value = malloc(size);
	MUST(value != NULL);
	memcpy(value, data + 1, size - 1);
	value[size - 1] = '\0';
	switch (data[0])
	{
		case 'm':
			check_mail_url(value);
			break;
		case 'a':
			check_amqp_url(value);
			break;
		case 'f':
			check_mailbox(value);
			break;
		case 'u':
			check_unsubscribe(value);
			break;
	}
	free(value);
	return 0;
}
