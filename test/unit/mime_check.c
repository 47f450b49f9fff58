/*-------------------------------------------------------------------------
 *
 * mime_check.c
 *	  A second reader of what bs_mime_build() and bs_mime_json() write.
 *
 * test/unit/mime_check.c
 *
 *-------------------------------------------------------------------------
 */
#include "mime_check.h"

void
check_free_fields(CheckFields *fields)
{
	size_t		i;

	for (i = 0; i < fields->count; i++)
	{
		free(fields->fields[i].name.data);
		free(fields->fields[i].value.data);
	}
	fields->count = 0;
}

const char *
check_field(const CheckFields *fields, const char *name)
{
	size_t		i;

	for (i = 0; i < fields->count; i++)
	{
		if (strcmp(fields->fields[i].name.data, name) == 0)
			return fields->fields[i].value.data;
	}
	return NULL;
}

const char *
check_read_fields(const char **at, const char *end, CheckFields *fields)
{
	fields->count = 0;
	for (;;)
	{
		const char *line = *at;
		const char *line_end = strstr(line, "\r\n");
		size_t		len;
		bool		has_word;

		if (line_end == NULL || line_end > end)
			return "a header without an end";
		len = (size_t) (line_end - line);
		*at = line_end + 2;
		if (len == 0)
			return NULL;
		has_word = strncmp(line, "List-", 5) != 0 &&
			check_find(line, len, "=?UTF-8?B?") != NULL;
		if (len > 998)
			return "a header line longer than 998";
		if (has_word && len > 76)
			return "a line with an encoded word longer than 76";
		if (line[0] == ' ')
		{
			CheckText  *value;

			if (fields->count == 0)
				return "a header that begins with a continuation";
			if (strspn(line, " ") == len)
				return "a folded line of blanks alone";
			value = &fields->fields[fields->count - 1].value;
			check_put(value, line, len);
		}
		else
		{
			const char *colon = memchr(line, ':', len);
			CheckField *field;
			size_t		skip;

			if (colon == NULL || colon == line)
				return "a header line without a name";
			if (fields->count == 32)
				return "too many headers";
			field = &fields->fields[fields->count++];
			memset(field, 0, sizeof(*field));
			check_put(&field->name, line, (size_t) (colon - line));
			skip = (size_t) (colon - line) + 1;
			if (skip < len && line[skip] == ' ')
				skip++;
			check_put(&field->value, line + skip, len - skip);
		}
	}
}

/* A value made of encoded words alone, or plain text without any. */
static const char *
check_read_words(const char *value, size_t len, CheckText *out)
{
	size_t		i = 0;

	check_put(out, "", 0);
	if (check_find(value, len, "=?") == NULL)
	{
		check_put(out, value, len);
		return NULL;
	}
	while (i < len)
	{
		const char *word = value + i;
		const char *end;
		size_t		before = out->len;
		const char *wrong;

		if (len - i < 12 || memcmp(word, "=?UTF-8?B?", 10) != 0)
			return "something that is no encoded word between encoded words";
		end = check_find(word + 10, len - i - 10, "?=");
		if (end == NULL)
			return "an encoded word without an end";
		if (end + 2 - word > 75)
			return "an encoded word longer than 75";
		wrong = check_base64_quads(word + 10, (size_t) (end - word) - 10, out);
		if (wrong != NULL)
			return wrong;
		if (!check_is_utf8(out->data + before, out->len - before))
			return "an encoded word that splits a character";
		i = (size_t) (end + 2 - value);
		if (i < len && value[i++] != ' ')
			return "encoded words that are not separated";
	}
	return NULL;
}

/* A mailbox must have this name and this address. */
static const char *
check_mailbox(const char *value, const char *name, const char *address)
{
	CheckText	wanted = check_clean(name, true);
	CheckText	got = {NULL, 0};
	CheckText	tail = {NULL, 0};
	const char *wrong = NULL;
	size_t		len;

	check_put(&tail, wanted.len > 0 ? " <" : "", wanted.len > 0 ? 2 : 0);
	check_put(&tail, address, strlen(address));
	check_put(&tail, ">", wanted.len > 0 ? 1 : 0);
	len = value == NULL ? 0 : strlen(value);
	if (len < tail.len || strcmp(value + len - tail.len, tail.data) != 0)
		wrong = "a mailbox with another address";
	else
	{
		len -= tail.len;
		if (len > 0 && value[0] == '"')
		{
			size_t		i;

			for (i = 1; i + 1 < len; i++)
			{
				if (value[i] == '"')
					wrong = "a quote within a quoted string";
				if (value[i] == '\\')
					i++;
				check_put(&got, value + i, 1);
			}
			if (value[len - 1] != '"' || i + 1 != len)
				wrong = "a quoted string that is not closed";
		}
		else
		{
			if (check_find(value, len, "=?") == NULL &&
				strcspn(value, "\"(),.:;<>@[\\]") < len)
				wrong = "a name that should have been quoted";
			if (wrong == NULL)
				wrong = check_read_words(value, len, &got);
		}
		if (wrong == NULL && !check_equal(&wanted, &got))
			wrong = "a mailbox with another name";
	}
	free(wanted.data);
	free(got.data);
	free(tail.data);
	return wrong;
}

/* A part's header fields have been read; its body must decode to the text. */
static const char *
check_part(const CheckFields *fields, const char *type, const char *body,
		   size_t len, bool last, const char *text)
{
	const char *content_type = check_field(fields, "Content-Type");
	const char *encoding = check_field(fields, "Content-Transfer-Encoding");
	CheckText	wanted = check_canonical(text);
	CheckText	got = {NULL, 0};
	const char *wrong = NULL;
	char		wanted_type[64];

	snprintf(wanted_type, sizeof(wanted_type), "text/%s; charset=utf-8", type);
	if (content_type == NULL || strcmp(content_type, wanted_type) != 0)
		wrong = "a part of another type";
	else if (encoding != NULL && strcmp(encoding, "quoted-printable") == 0)
		wrong = check_read_qp(body, len, &got);
	else if (encoding != NULL && strcmp(encoding, "base64") == 0)
	{
		if (last && len >= 2)
			len -= 2;
		wrong = check_read_base64(body, len, &got);
	}
	else
		wrong = "a part without an encoding";
	if (wrong == NULL && !check_equal(&wanted, &got))
		wrong = "a part that decodes to something else";
	free(wanted.data);
	free(got.data);
	return wrong;
}

static const char *
check_multipart(const char *content_type, const char *body, size_t len,
				const BsMail *mail)
{
	static const char start[] = "multipart/alternative; boundary=\"";
	const char *texts[2];
	static const char *const types[2] = {"plain", "html"};
	const char *end = body + len;
	const char *at = body;
	char		boundary[128];
	char		delimiter[160];
	size_t		i;

	texts[0] = mail->text;
	texts[1] = mail->html;
	if (strncmp(content_type, start, sizeof(start) - 1) != 0 ||
		strlen(content_type) > 100)
		return "another content type";
	snprintf(boundary, sizeof(boundary), "%s",
			 content_type + sizeof(start) - 1);
	if (strlen(boundary) < 3 || boundary[strlen(boundary) - 1] != '"')
		return "a boundary without quotes";
	boundary[strlen(boundary) - 1] = '\0';
	if (strstr(boundary, "=_") == NULL || strlen(boundary) > 70)
		return "a boundary that could be in a body";
	snprintf(delimiter, sizeof(delimiter), "--%s\r\n", boundary);
	if (strncmp(at, delimiter, strlen(delimiter)) != 0)
		return "a multipart that does not begin with its boundary";
	at += strlen(delimiter);

	for (i = 0; i < 2; i++)
	{
		CheckFields fields;
		const char *next;
		const char *wrong = check_read_fields(&at, end, &fields);

		snprintf(delimiter, sizeof(delimiter), "\r\n--%s%s\r\n", boundary,
				 i == 0 ? "" : "--");
		next = strstr(at, delimiter);
		/* A part without a body: its empty line is also the delimiter's. */
		if (wrong == NULL && next == NULL)
			wrong = "a part without an end";
		if (wrong == NULL && fields.count != 2)
			wrong = "a part with other headers";
		if (wrong == NULL)
			wrong = check_part(&fields, types[i], at, (size_t) (next - at),
							   false, texts[i]);
		check_free_fields(&fields);
		if (wrong != NULL)
			return wrong;
		at = next + strlen(delimiter);
	}
	return at == end ? NULL : "something behind the last boundary";
}

/* Which headers there are, each once, and none beside them. */
static const char *
check_names(const CheckFields *fields, const BsMail *mail)
{
	static const char *const always[] = {
		"Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted",
		"MIME-Version", "Content-Type"
	};
	static const char *const sometimes[] = {
		"Reply-To", "List-Unsubscribe", "List-Unsubscribe-Post",
		"Content-Transfer-Encoding"
	};
	bool		html = mail->html != NULL && mail->html[0] != '\0';
	bool		reply = mail->reply_to != NULL && mail->reply_to[0] != '\0';
	size_t		known = 0;
	size_t		i;
	size_t		j;

	for (i = 0; i < 8; i++)
	{
		size_t		found = 0;

		for (j = 0; j < fields->count; j++)
			found += strcmp(fields->fields[j].name.data, always[i]) == 0;
		if (found != 1)
			return "a header that is not there exactly once";
		known++;
	}
	for (i = 0; i < 4; i++)
	{
		size_t		found = 0;

		for (j = 0; j < fields->count; j++)
			found += strcmp(fields->fields[j].name.data, sometimes[i]) == 0;
		if (found > 1)
			return "a header that is there twice";
		known += found;
	}
	if (known != fields->count)
		return "a header that nobody asked for";
	if ((check_field(fields, "Reply-To") != NULL) != reply)
		return "Reply-To where it was not asked for, or the reverse";
	if ((check_field(fields, "Content-Transfer-Encoding") != NULL) == html)
		return "Content-Transfer-Encoding of a multipart, or of no part";
	if (mail->list_unsubscribe == NULL &&
		check_field(fields, "List-Unsubscribe") != NULL)
		return "List-Unsubscribe out of nothing";
	if (check_field(fields, "List-Unsubscribe") == NULL &&
		check_field(fields, "List-Unsubscribe-Post") != NULL)
		return "List-Unsubscribe-Post alone";
	return NULL;
}

const char *
mime_check(const BsMail *mail, const char *out, size_t len)
{
	const char *end = out + len;
	const char *at = out;
	CheckFields fields = {.count = 0};
	char		name[BS_MIME_NAME_MAX + 1];
	char		address[256];
	const char *reason;
	const char *wrong;
	const char *value;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) out[i];

		if (c >= 0x80 || (c < 0x20 && c != '\r' && c != '\n' && c != '\t') ||
			c == 0x7F)
			return "an octet that is not plain ASCII";
		if (c == '\r' && out[i + 1] != '\n')
			return "a bare CR";
		if (c == '\n' && (i == 0 || out[i - 1] != '\r'))
			return "a bare LF";
	}
	if (len < 2 || out[len - 1] != '\n')
		return "a last line without an end";

	wrong = check_read_fields(&at, end, &fields);
	if (wrong == NULL)
		wrong = check_names(&fields, mail);
	if (wrong == NULL)
	{
		CheckText	subject = {NULL, 0};
		CheckText	wanted = check_clean(mail->subject, false);

		value = check_field(&fields, "Subject");
		wrong = check_read_words(value, strlen(value), &subject);
		if (wrong == NULL && !check_equal(&subject, &wanted))
			wrong = "another subject";
		free(subject.data);
		free(wanted.data);
	}
	if (wrong == NULL)
		wrong = check_mailbox(check_field(&fields, "To"), mail->to_name,
							  mail->to_address);
	if (wrong == NULL &&
		!bs_mime_split_mailbox(mail->from, name, sizeof(name),
							   address, sizeof(address), &reason))
		wrong = "a sender that is none";
	if (wrong == NULL)
		wrong = check_mailbox(check_field(&fields, "From"), name, address);
	if (wrong == NULL)
	{
		value = check_field(&fields, "Content-Type");
		if (mail->html != NULL && mail->html[0] != '\0')
			wrong = check_multipart(value, at, (size_t) (end - at), mail);
		else
			wrong = check_part(&fields, "plain", at, (size_t) (end - at),
							   true, mail->text);
	}
	check_free_fields(&fields);
	return wrong;
}

/*
 * check_json_string
 *		Reads a JSON string and moves behind it.
 */
static const char *
check_json_string(const char **at, const char *end, CheckText *out)
{
	static const char plain[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	const char *in = *at;

	check_put(out, "", 0);
	if (in == end || *in++ != '"')
		return "no quote at the start of a JSON string";
	while (in < end && *in != '"')
	{
		unsigned char bytes[4];
		uint32_t	code;
		size_t		width;

		if (*in == '\\' && in + 1 < end && in[1] == 'u')
		{
			char		digits[5] = "";

			if (end - in < 6)
				return "a \\u that is cut off";
			memcpy(digits, in + 2, 4);
			if (strspn(digits, "0123456789ABCDEF") != 4)
				return "a \\u without four digits";
			code = (uint32_t) strtoul(digits, NULL, 16);
			check_put(out, bytes, check_encode_utf8(code, bytes));
			in += 6;
			continue;
		}
		if (*in == '\\')
		{
			const char *escape = in + 1 < end && in[1] != '\0' ?
			strchr(plain, in[1]) : NULL;

			if (escape == NULL)
				return "an unknown JSON escape";
			check_put(out, meant + (escape - plain), 1);
			in += 2;
			continue;
		}
		width = check_decode_utf8(in, (size_t) (end - in), &code);
		if (width == 0)
			return "JSON that is not UTF-8";
		if (check_is_control(code))
			return "a control character in JSON";
		check_put(out, in, width);
		in += width;
	}
	if (in == end)
		return "a JSON string without an end";
	*at = in + 1;
	return NULL;
}

/* The next member must be this, if there is a value for it. */
static const char *
check_json_member(const char **at, const char *end, char before,
				  const char *name, const CheckText *value)
{
	CheckText	got_name = {NULL, 0};
	CheckText	got = {NULL, 0};
	const char *wrong = NULL;

	if (*at == end || *(*at)++ != before)
		wrong = "JSON members that are not separated";
	if (wrong == NULL)
		wrong = check_json_string(at, end, &got_name);
	if (wrong == NULL && strcmp(got_name.data, name) != 0)
		wrong = "another JSON member";
	if (wrong == NULL && (*at == end || *(*at)++ != ':'))
		wrong = "a JSON member without a colon";
	if (wrong == NULL)
		wrong = check_json_string(at, end, &got);
	if (wrong == NULL && !check_equal(&got, value))
		wrong = "a JSON member with another value";
	free(got_name.data);
	free(got.data);
	return wrong;
}

const char *
json_check(const BsMail *mail, const char *out, size_t len)
{
	static const char *const names[6] = {
		"email", "name", "subject", "message", "html", "idempotency_key"
	};
	CheckText	values[6];
	const char *end = out + len;
	const char *at = out;
	const char *wrong = NULL;
	size_t		i;

	values[0] = check_repair(mail->to_address);
	values[1] = check_clean(mail->to_name, true);
	values[2] = check_clean(mail->subject, false);
	values[3] = check_repair(mail->text);
	values[4] = check_repair(mail->html);
	values[5] = check_repair(mail->idempotency_key);
	for (i = 0; i < 6; i++)
	{
		bool		optional = i == 1 || i == 4;

		if (wrong == NULL && (!optional || values[i].len > 0))
			wrong = check_json_member(&at, end, i == 0 ? '{' : ',',
									  names[i], &values[i]);
		free(values[i].data);
	}
	if (wrong == NULL && (end - at != 1 || *at != '}'))
		wrong = "JSON that does not end where it should";
	return wrong;
}
