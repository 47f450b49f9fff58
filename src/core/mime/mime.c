/*-------------------------------------------------------------------------
 *
 * mime.c
 *	  A mail as the octets that follow DATA.
 *
 * The only place where values of rows meet the syntax of a header.  Names and
 * subjects go through bs_encode_clean() first; whatever else is put in
 * verbatim has been checked character by character.
 *
 * src/core/mime/mime.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mime/mime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/buffer.h"
#include "core/base/hash.h"
#include "core/base/utf8.h"
#include "core/mime/encode.h"
#include "core/text/address.h"
#include "core/text/date.h"

#define MESSAGE_ID_DOMAIN	"birthday-scheduler.invalid"

/* A key has at most 255 octets: the column of message_logs. */
#define KEY_MAX			255
#define MESSAGE_ID_MAX	(KEY_MAX + sizeof("<@" MESSAGE_ID_DOMAIN ">"))

/* No line of a header may be longer, CRLF aside (RFC 5322, 2.1.1). */
#define HEADER_LINE_MAX	998

/* "=_" is in no body: quoted-printable has "=XX", base64 has no "_". */
#define BOUNDARY_START	"=_bs_"
#define BOUNDARY_MAX	(sizeof(BOUNDARY_START) + 16)

#define SECONDS_OF_DAY	86400
#define FIRST_DAY		INT64_C(-25567) /* 1900-01-01 */
#define LAST_DAY		INT64_C(2932896)	/* 9999-12-31 */

static bool
is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Where the first of the octets that are no letter, digit or in "more" is. */
static const char *
skip_word(const char *word, const char *more)
{
	while (is_alpha(*word) || is_digit(*word) ||
		   (*word != '\0' && strchr(more, *word) != NULL))
		word++;
	return word;
}

/* Is this a date, YYYY-MM-DD, and nothing else? */
static bool
is_date(const char *text)
{
	static const char shape[] = "dddd-dd-dd";
	BsDate		date;
	size_t		i;

	for (i = 0; shape[i] != '\0'; i++)
	{
		if (shape[i] == 'd' ? !is_digit(text[i]) : text[i] != shape[i])
			return false;
	}
	date.year = (text[0] - '0') * 1000 + (text[1] - '0') * 100 +
		(text[2] - '0') * 10 + (text[3] - '0');
	date.month = (text[5] - '0') * 10 + (text[6] - '0');
	date.day = (text[8] - '0') * 10 + (text[9] - '0');
	return text[i] == '\0' && bs_date_is_valid(date);
}

bool
bs_mime_message_id(const char *idempotency_key, char *buf, size_t size)
{
	static const char end[] = "@" MESSAGE_ID_DOMAIN ">";
	const char *type;
	const char *date;
	size_t		len;
	size_t		i;

	if (idempotency_key == NULL)
		return false;
	type = skip_word(idempotency_key, "-");
	if (type == idempotency_key || *type++ != ':')
		return false;
	date = skip_word(type, "_-");
	if (date == type || *date++ != ':' || !is_date(date))
		return false;

	len = strlen(idempotency_key);
	if (len > KEY_MAX || size < 1 + len + sizeof(end))
		return false;
	buf[0] = '<';
	for (i = 0; i < len; i++)
		buf[i + 1] = idempotency_key[i] == ':' ? '.' : idempotency_key[i];
	memcpy(buf + 1 + len, end, sizeof(end));
	return true;
}

static char *
put_number(char *to, int64_t number, int digits)
{
	int			i;

	for (i = digits - 1; i >= 0; i--)
	{
		to[i] = (char) ('0' + number % 10);
		number /= 10;
	}
	return to + digits;
}

/*
 * add_date
 *		"Date: Thu, 01 Jan 1970 00:00:00 +0000" (RFC 5322, 3.3).
 *
 * Not by strftime(), which speaks the language of the locale.  A year that
 * does not have the four digits that everyone reads is brought to the nearest
 * day that does.
 */
static void
add_date(BsBuffer *out, int64_t seconds)
{
	static const char weekdays[7][4] = {
		"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"
	};
	static const char months[12][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun",
		"Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
	};
	int64_t		day = seconds / SECONDS_OF_DAY;
	int64_t		second = seconds % SECONDS_OF_DAY;
	BsDate		date;
	char		line[64];
	char	   *to = line;

	if (second < 0)
	{
		second += SECONDS_OF_DAY;
		day--;
	}
	if (day < FIRST_DAY)
		day = FIRST_DAY;
	if (day > LAST_DAY)
		day = LAST_DAY;

	date = bs_date_from_days((int32_t) day);

	memcpy(to, "Date: ", 6);
	memcpy(to + 6, weekdays[(day - FIRST_DAY) % 7], 3);
	memcpy(to + 9, ", ", 2);
	to = put_number(to + 11, date.day, 2);
	*to++ = ' ';
	memcpy(to, months[date.month - 1], 3);
	to[3] = ' ';
	to = put_number(to + 4, date.year, 4);
	*to++ = ' ';
	to = put_number(to, second / 3600, 2);
	*to++ = ':';
	to = put_number(to, second / 60 % 60, 2);
	*to++ = ':';
	to = put_number(to, second % 60, 2);
	bs_buffer_add(out, line, (size_t) (to - line));
	bs_buffer_add_string(out, " +0000\r\n");
}

/* Can the name stand as it is (RFC 5322, 3.2.5, phrase)? */
static bool
is_phrase(const char *name, size_t len)
{
	const char *end = name + len;

	while (name < end)
	{
		const char *from = name;

		name = skip_word(name, "!#$%&'*+-/=?^_`{|}~");
		if (name == from || (name < end && *name++ != ' '))
			return false;
	}
	return true;
}

/*
 * add_quoted_name
 *		The name as a quoted string (RFC 5322, 3.2.4), if it can be one.
 *
 * Two blanks in a row are as good as one to some readers, even in quotes.
 */
static bool
add_quoted_name(BsBuffer *out, const char *name, size_t len, size_t room)
{
	size_t		mark = out->len;
	size_t		i;

	bs_buffer_add_char(out, '"');
	for (i = 0; i < len; i++)
	{
		if (name[i] == ' ' && name[i + 1] == ' ')
			break;
		if (name[i] == '"' || name[i] == '\\')
			bs_buffer_add_char(out, '\\');
		bs_buffer_add_char(out, name[i]);
	}
	bs_buffer_add_char(out, '"');
	if (bs_buffer_failed(out) || (i == len && out->len - mark <= room))
		return true;
	out->len = mark;
	return false;
}

/* The header "label" with one mailbox; "label" ends in ": ". */
static void
add_mailbox(BsBuffer *out, const char *label, const char *name,
			const char *address, BsBuffer *scratch)
{
	size_t		column = strlen(label);
	size_t		line = BS_ENCODE_LINE;
	size_t		mark;

	bs_buffer_add_string(out, label);
	bs_encode_clean(scratch, name == NULL ? "" : name, BS_ENCODE_NAME);
	if (scratch->len == 0)
	{
		bs_buffer_add_string(out, address);
		bs_buffer_add_string(out, "\r\n");
		return;
	}

	mark = out->len;
	if (!bs_encode_is_plain(scratch->data, scratch->len))
		line = BS_ENCODE_WORD_LINE;
	else if (is_phrase(scratch->data, scratch->len) &&
			 scratch->len <= line - column)
		bs_buffer_add(out, scratch->data, scratch->len);
	else if (!add_quoted_name(out, scratch->data, scratch->len, line - column))
		line = BS_ENCODE_WORD_LINE;

	if (line == BS_ENCODE_WORD_LINE)
		column = bs_encode_words(out, scratch->data, scratch->len, column);
	else
		column += out->len - mark;
	if (column + strlen(address) + strlen(" <>") > line)
		bs_buffer_add_string(out, "\r\n");
	bs_buffer_add_string(out, " <");
	bs_buffer_add_string(out, address);
	bs_buffer_add_string(out, ">\r\n");
}

/*
 * add_folded
 *		Plain text, with a line break before blanks where a line is full.
 *
 * False, and nothing added, where a word does not fit in a line.
 */
static bool
add_folded(BsBuffer *out, const char *text, size_t len, size_t column)
{
	size_t		mark = out->len;
	size_t		at = 0;

	while (at < len)
	{
		size_t		next = at;
		size_t		width;

		while (next < len && text[next] == ' ')
			next++;
		while (next < len && text[next] != ' ')
			next++;
		width = next - at;
		if (column + width > BS_ENCODE_LINE)
		{
			if (at == 0 || width > BS_ENCODE_LINE)
			{
				if (!bs_buffer_failed(out))
					out->len = mark;
				return false;
			}
			bs_buffer_add_string(out, "\r\n");
			column = 0;
		}
		bs_buffer_add(out, text + at, width);
		column += width;
		at = next;
	}
	return true;
}

static void
add_subject(BsBuffer *out, const char *subject, BsBuffer *scratch)
{
	static const char label[] = "Subject: ";
	size_t		column = sizeof(label) - 1;

	bs_encode_clean(scratch, subject == NULL ? "" : subject,
					BS_ENCODE_SUBJECT);
	if (scratch->len == 0)
	{
		bs_buffer_add_string(out, "Subject:\r\n");
		return;
	}
	bs_buffer_add_string(out, label);
	if (!bs_encode_is_plain(scratch->data, scratch->len) ||
		!add_folded(out, scratch->data, scratch->len, column))
		bs_encode_words(out, scratch->data, scratch->len, column);
	bs_buffer_add_string(out, "\r\n");
}

/* Can this be put between "<" and ">" on one line of a header? */
static bool
is_uri(const char *uri)
{
	size_t		len = strlen(uri);
	const char *scheme_end = skip_word(uri, "+-.");

	if (!is_alpha(uri[0]) || *scheme_end != ':' ||
		len > HEADER_LINE_MAX - strlen("List-Unsubscribe: <>"))
		return false;
	return bs_ascii_is_visible(uri) && strpbrk(uri, "<>") == NULL;
}

/*
 * add_list_unsubscribe
 *		RFC 2369 and, for a web page, one click of RFC 8058.
 *
 * Never folded: signers and readers are known to disagree on it if it is.
 */
static void
add_list_unsubscribe(BsBuffer *out, const char *uri)
{
	if (uri == NULL || !is_uri(uri))
		return;
	bs_buffer_add_string(out, "List-Unsubscribe: <");
	bs_buffer_add_string(out, uri);
	bs_buffer_add_string(out, ">\r\n");
	if (strncasecmp(uri, "https:", 6) == 0)
		bs_buffer_add_string(out,
							 "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n");
}

/* The boundary that goes with a key. */
static void
make_boundary(const char *idempotency_key, char boundary[BOUNDARY_MAX])
{
	uint64_t	hash = bs_hash(idempotency_key, strlen(idempotency_key));
	char	   *to = boundary + sizeof(BOUNDARY_START) - 1;
	int			shift;

	memcpy(boundary, BOUNDARY_START, sizeof(BOUNDARY_START));
	for (shift = 60; shift >= 0; shift -= 4)
		*to++ = "0123456789abcdef"[hash >> shift & 0x0F];
	*to = '\0';
}

static void
add_part(BsBuffer *out, const char *type, const char *text, bool last)
{
	bs_buffer_add_string(out, "Content-Type: text/");
	bs_buffer_add_string(out, type);
	bs_buffer_add_string(out, "; charset=utf-8\r\n");
	bs_encode_body(out, text, last);
}

static void
add_content(BsBuffer *out, const BsMail *mail)
{
	const char *text = mail->text == NULL ? "" : mail->text;
	char		boundary[BOUNDARY_MAX];

	if (mail->html == NULL || mail->html[0] == '\0')
	{
		add_part(out, "plain", text, true);
		return;
	}
	make_boundary(mail->idempotency_key, boundary);
	bs_buffer_add_string(out, "Content-Type: multipart/alternative; boundary=\"");
	bs_buffer_add_string(out, boundary);
	bs_buffer_add_string(out, "\"\r\n\r\n--");
	bs_buffer_add_string(out, boundary);
	bs_buffer_add_string(out, "\r\n");
	add_part(out, "plain", text, false);
	bs_buffer_add_string(out, "\r\n--");
	bs_buffer_add_string(out, boundary);
	bs_buffer_add_string(out, "\r\n");
	add_part(out, "html", mail->html, false);
	bs_buffer_add_string(out, "\r\n--");
	bs_buffer_add_string(out, boundary);
	bs_buffer_add_string(out, "--\r\n");
}

/*
 * What both forms of a mail need; the caller's own checks have refused the
 * rest.
 */
static bool
can_be_sent(const BsMail *mail, char *message_id, size_t size)
{
	return mail->to_address != NULL &&
		bs_address_check(mail->to_address, strlen(mail->to_address), NULL) &&
		bs_mime_message_id(mail->idempotency_key, message_id, size);
}

/* Hands over what was built, with errno where memory was short. */
static char *
finish(BsBuffer *out, BsBuffer *scratch, size_t *len)
{
	if (bs_buffer_failed(scratch))
		bs_buffer_free(out);
	bs_buffer_free(scratch);
	if (bs_buffer_failed(out))
		errno = ENOMEM;
	return bs_buffer_take(out, len);
}

char *
bs_mime_build(const BsMail *mail, size_t *len)
{
	BsBuffer	out;
	BsBuffer	scratch;
	char		message_id[MESSAGE_ID_MAX];
	char		from_name[BS_MIME_NAME_MAX + 1];
	char		from_address[BS_ADDRESS_MAX + 1];
	char		reply_name[BS_MIME_NAME_MAX + 1];
	char		reply_address[BS_ADDRESS_MAX + 1];
	bool		reply = mail->reply_to != NULL && mail->reply_to[0] != '\0';

	*len = 0;
	if (!can_be_sent(mail, message_id, sizeof(message_id)) ||
		!bs_mime_split_mailbox(mail->from, from_name, sizeof(from_name),
							   from_address, sizeof(from_address), NULL) ||
		(reply &&
		 !bs_mime_split_mailbox(mail->reply_to, reply_name, sizeof(reply_name),
								reply_address, sizeof(reply_address), NULL)))
	{
		errno = EINVAL;
		return NULL;
	}

	bs_buffer_init(&out, 4096, BS_BUFFER_NO_LIMIT);
	bs_buffer_init(&scratch, 512, BS_BUFFER_NO_LIMIT);
	add_date(&out, mail->date);
	add_mailbox(&out, "From: ", from_name, from_address, &scratch);
	if (reply)
		add_mailbox(&out, "Reply-To: ", reply_name, reply_address, &scratch);
	add_mailbox(&out, "To: ", mail->to_name, mail->to_address, &scratch);
	add_subject(&out, mail->subject, &scratch);
	bs_buffer_add_string(&out, "Message-ID: ");
	bs_buffer_add_string(&out, message_id);
	bs_buffer_add_string(&out, "\r\nAuto-Submitted: auto-generated\r\n");
	add_list_unsubscribe(&out, mail->list_unsubscribe);
	bs_buffer_add_string(&out, "MIME-Version: 1.0\r\n");
	add_content(&out, mail);
	return finish(&out, &scratch, len);
}

static void
add_member(BsBuffer *out, const char *label, const char *value)
{
	bs_buffer_add_string(out, label);
	bs_encode_json(out, value);
}

char *
bs_mime_json(const BsMail *mail, size_t *len)
{
	BsBuffer	out;
	BsBuffer	scratch;
	char		message_id[MESSAGE_ID_MAX];

	*len = 0;
	if (!can_be_sent(mail, message_id, sizeof(message_id)))
	{
		errno = EINVAL;
		return NULL;
	}

	bs_buffer_init(&out, 2048, BS_BUFFER_NO_LIMIT);
	bs_buffer_init(&scratch, 512, BS_BUFFER_NO_LIMIT);
	add_member(&out, "{\"email\":", mail->to_address);
	bs_encode_clean(&scratch, mail->to_name == NULL ? "" : mail->to_name,
					BS_ENCODE_NAME);
	if (scratch.len > 0)
		add_member(&out, ",\"name\":", scratch.data);
	bs_encode_clean(&scratch, mail->subject == NULL ? "" : mail->subject,
					BS_ENCODE_SUBJECT);
	if (!bs_buffer_failed(&scratch))
		add_member(&out, ",\"subject\":", scratch.data);
	add_member(&out, ",\"message\":", mail->text == NULL ? "" : mail->text);
	if (mail->html != NULL && mail->html[0] != '\0')
		add_member(&out, ",\"html\":", mail->html);
	add_member(&out, ",\"idempotency_key\":", mail->idempotency_key);
	bs_buffer_add_char(&out, '}');
	return finish(&out, &scratch, len);
}
