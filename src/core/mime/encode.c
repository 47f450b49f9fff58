/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  The encodings that a mail is made of.
 *
 * What leaves here is ASCII without a control character other than the CRLF of
 * line ends, so what is put together from it cannot be broken by a value.
 *
 * src/core/mime/encode.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mime/encode.h"

#include <stdint.h>
#include <string.h>

#include "core/base/utf8.h"

/* Of the lines of a body, without CRLF (RFC 2045, 6.7 and 6.8). */
#define BODY_LINE		76
#define BASE64_LINE		57		/* octets that fill such a line */

#define WORD_START		"=?UTF-8?B?"
#define WORD_END		"?="
#define WORD_OVERHEAD	(sizeof(WORD_START) - 1 + sizeof(WORD_END) - 1)

/* What quoted-printable does with an octet. */
typedef enum QpClass
{
	QP_ENCODE,					/* always "=XX" */
	QP_LITERAL,					/* stands for itself */
	QP_BLANK,					/* likewise, but not at the end of a line */
	QP_CR,						/* part of a line break, or encoded */
	QP_LF,						/* a line break */
	QP_CLASS_COUNT
} QpClass;

static const unsigned char qp_classes[256] = {
	['!'...'<'] = QP_LITERAL,
	['>'...'~'] = QP_LITERAL,
	[' '] = QP_BLANK,
	['\t'] = QP_BLANK,
	['\r'] = QP_CR,
	['\n'] = QP_LF,
};

static const char hex_digits[] = "0123456789ABCDEF";

static inline bool
is_printable(char c)
{
	return c >= 0x20 && c < 0x7F;
}

void
bs_encode_clean(BsBuffer *out, const char *text, BsEncodeClean what)
{
	const char *end = text + strlen(text);
	bool		in_run = false; /* the last one was a control */
	size_t		blanks = 0;

	out->len = 0;
	while (text < end)
	{
		const char *from = text;
		uint32_t	code;
		size_t		width;

		while (is_printable(*text))
			text++;

		if (text > from)
		{
			bs_buffer_add(out, from, (size_t) (text - from));
			in_run = false;
			continue;
		}

		width = bs_utf8_decode(text, (size_t) (end - text), &code);
		if (width == 0)
		{
			bs_buffer_add_string(out, BS_UTF8_REPLACEMENT);
			in_run = false;
			text++;

			continue;
		}
		if (bs_utf8_is_control(code))
		{
			if (!in_run)
				bs_buffer_add_char(out, ' ');
			in_run = true;
		}
		else if (what != BS_ENCODE_NAME || !bs_utf8_is_bidi(code))
		{
			bs_buffer_add(out, text, width);
			in_run = false;
		}
		text += width;
	}
	if (bs_buffer_failed(out))
		return;

	while (out->len > 0 && out->data[out->len - 1] == ' ')
		out->len--;
	while (blanks < out->len && out->data[blanks] == ' ')
		blanks++;
	out->len -= blanks;
	memmove(out->data, out->data + blanks, out->len);
	out->data[out->len] = '\0';
}

bool
bs_encode_is_plain(const char *text, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (!is_printable(text[i]) ||
			(text[i] == '=' && i + 1 < len && text[i + 1] == '?'))
			return false;
	}
	return true;
}

/*
 * The octets in base64, without line breaks; returns the end of what it wrote.
 */
static char *
put_base64(char *to, const char *bytes, size_t len)
{
	static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *in = (const unsigned char *) bytes;

	for (; len >= 3; in += 3, len -= 3)
	{
		*to++ = digits[in[0] >> 2];
		*to++ = digits[(in[0] & 0x03) << 4 | in[1] >> 4];
		*to++ = digits[(in[1] & 0x0F) << 2 | in[2] >> 6];
		*to++ = digits[in[2] & 0x3F];
	}
	if (len > 0)
	{
		unsigned char second = len > 1 ? in[1] : 0;

		*to++ = digits[in[0] >> 2];
		*to++ = digits[(in[0] & 0x03) << 4 | second >> 4];
		*to++ = len > 1 ? digits[(second & 0x0F) << 2] : '=';
		*to++ = '=';
	}
	return to;
}

static inline size_t
base64_size(size_t len)
{
	return (len + 2) / 3 * 4;
}

size_t
bs_encode_words(BsBuffer *out, const char *text, size_t len, size_t column)
{
	size_t		at = 0;

	for (;;)
	{
		size_t		room = BS_ENCODE_WORD_LINE - column;
		size_t		take;
		char	   *to;

		take = (room - WORD_OVERHEAD) / 4 * 3;
		if (take >= len - at)
			take = len - at;
		else
		{
			/* Back to the start of a character. */
			while (take > 0 && (text[at + take] & 0xC0) == 0x80)
				take--;
		}

		bs_buffer_add_string(out, WORD_START);
		to = bs_buffer_room(out, base64_size(take));
		if (to != NULL)
			out->len += (size_t) (put_base64(to, text + at, take) - to);
		bs_buffer_add_string(out, WORD_END);
		column += WORD_OVERHEAD + base64_size(take);
		at += take;
		if (at == len)
			return column;
		bs_buffer_add_string(out, "\r\n ");
		column = 1;
	}
}

static inline char *
put_soft_break(char *to)
{
	*to++ = '=';
	*to++ = '\r';
	*to++ = '\n';
	return to;
}

/* Does the octet stand for itself, wherever the line ends? */
static inline bool
stands_inside(const unsigned char *in)
{
	return qp_classes[in[0]] == QP_LITERAL ||
		(qp_classes[in[0]] == QP_BLANK && qp_classes[in[1]] == QP_LITERAL);
}

/*
 * add_quoted_printable
 *		The text in quoted-printable.
 *
 * "size" is what the result can have at most, soft line breaks aside.  Where
 * the body is the last thing in the mail and its text ends without a line
 * break, so does the body, in a soft one.
 */
static void
add_quoted_printable(BsBuffer *out, const char *text, size_t len, size_t size,
					 bool last)
{
	const unsigned char *in = (const unsigned char *) text;
	char	   *start;
	char	   *to;
	size_t		column = 0;
	size_t		i;

	/* A line that is broken softly holds at least 73 octets before the "=". */
	start = bs_buffer_room(out, size + (size / (BODY_LINE - 3) + 2) * 3);
	if (start == NULL)
		return;
	to = start;

	for (i = 0; i < len; i++)
	{
		bool		at_end;
		bool		encode;
		size_t		line;

		/* Most octets stand for themselves and have room. */
		while (column > 0 && column < BODY_LINE - 1 && stands_inside(in + i))
		{
			*to++ = (char) in[i++];
			column++;
		}
		if (i == len)
			break;

		if (in[i] == '\n' || (in[i] == '\r' && in[i + 1] == '\n'))
		{
			i += in[i] == '\r';
			*to++ = '\r';
			*to++ = '\n';
			column = 0;
			continue;
		}

		/* The NUL behind the text ends the last line. */
		at_end = in[i + 1] == '\0' || in[i + 1] == '\n' ||
			(in[i + 1] == '\r' && in[i + 2] == '\n');
		encode = qp_classes[in[i]] != QP_LITERAL &&
			(qp_classes[in[i]] != QP_BLANK || at_end);

		/* The last octet of a line may use the place of the soft break. */
		line = BODY_LINE - 1;
		if (at_end && !(last && in[i + 1] == '\0'))
			line = BODY_LINE;
		if (column + (encode ? 3 : 1) > line)
		{
			to = put_soft_break(to);
			column = 0;
		}

		/* Some mailboxes change "From " at the start of a line. */
		if (column == 0 && in[i] == 'F' && strncmp(text + i, "From ", 5) == 0)
			encode = true;
		if (encode)
		{
			*to++ = '=';
			*to++ = hex_digits[in[i] >> 4];
			*to++ = hex_digits[in[i] & 0x0F];
			column += 3;
		}
		else
		{
			*to++ = (char) in[i];
			column++;
		}
	}
	if (last && column > 0)
		to = put_soft_break(to);
	out->len += (size_t) (to - start);
}

/*
 * The text with every line break as CRLF, the canonical form of RFC 2049, 4.
 */
static void
add_canonical(BsBuffer *out, const char *text, size_t len)
{
	const char *end = text + len;

	while (text < end)
	{
		const char *lf = memchr(text, '\n', (size_t) (end - text));

		if (lf == NULL)
		{
			bs_buffer_add(out, text, (size_t) (end - text));
			break;
		}
		bs_buffer_add(out, text, (size_t) (lf - text));
		bs_buffer_add_string(out, lf > text && lf[-1] == '\r' ? "\n" : "\r\n");
		text = lf + 1;
	}
}

static void
add_base64(BsBuffer *out, const char *text, size_t len, size_t line_breaks)
{
	BsBuffer	canonical;
	size_t		at = 0;

	bs_buffer_init(&canonical, len + line_breaks, BS_BUFFER_NO_LIMIT);
	add_canonical(&canonical, text, len);
	if (bs_buffer_failed(&canonical))
	{
		bs_buffer_free(out);
		out->no_memory = true;
		return;
	}
	while (at < canonical.len)
	{
		size_t		take = canonical.len - at;
		char	   *to = bs_buffer_room(out, BODY_LINE + 2);

		if (to == NULL)
			break;
		if (take > BASE64_LINE)
			take = BASE64_LINE;
		if (at > 0)
		{
			*to++ = '\r';
			*to++ = '\n';
			out->len += 2;
		}
		out->len += (size_t) (put_base64(to, canonical.data + at, take) - to);
		at += take;
	}
	bs_buffer_free(&canonical);
}

void
bs_encode_body(BsBuffer *out, const char *text, bool last)
{
	size_t		counts[QP_CLASS_COUNT] = {0};
	size_t		len;
	size_t		qp_size;
	size_t		base64_len;

	for (len = 0; text[len] != '\0'; len++)
		counts[qp_classes[(unsigned char) text[len]]]++;

	/* Near enough to choose by: blanks at line ends are rare. */
	qp_size = len + 2 * counts[QP_ENCODE] + counts[QP_LF];
	base64_len = base64_size(len + counts[QP_LF]);
	base64_len += base64_len / BODY_LINE * 2;

	bs_buffer_add_string(out, "Content-Transfer-Encoding: ");
	if (qp_size + qp_size / BODY_LINE * 3 <= base64_len)
	{
		bs_buffer_add_string(out, "quoted-printable\r\n\r\n");
		/* Every "From " has a blank, which leaves room for its "=46". */
		qp_size += 2 * (counts[QP_CR] + counts[QP_BLANK]);
		qp_size += 2 * counts[QP_BLANK];
		add_quoted_printable(out, text, len, qp_size, last);
	}
	else
	{
		bs_buffer_add_string(out, "base64\r\n\r\n");
		add_base64(out, text, len, counts[QP_LF]);
		if (last)
			bs_buffer_add_string(out, "\r\n");
	}
}

/* Adds "\u" and four hexadecimal digits. */
static void
add_json_code(BsBuffer *out, uint32_t code)
{
	char	   *to = bs_buffer_room(out, 6);

	if (to == NULL)
		return;
	to[0] = '\\';
	to[1] = 'u';
	to[2] = hex_digits[code >> 12 & 0x0F];
	to[3] = hex_digits[code >> 8 & 0x0F];
	to[4] = hex_digits[code >> 4 & 0x0F];
	to[5] = hex_digits[code & 0x0F];
	out->len += 6;
}

void
bs_encode_json(BsBuffer *out, const char *text)
{
	static const char short_escapes[256] = {
		['"'] = '"',['\\'] = '\\',['\b'] = 'b',['\f'] = 'f',
		['\n'] = 'n',['\r'] = 'r',['\t'] = 't',
	};
	const char *end = text + strlen(text);

	bs_buffer_add_char(out, '"');
	while (text < end)
	{
		const char *from = text;
		uint32_t	code;
		size_t		width;
		char		escape;

		while (is_printable(*text) && *text != '"' && *text != '\\')
			text++;

		if (text > from)
		{
			bs_buffer_add(out, from, (size_t) (text - from));
			continue;
		}

		width = bs_utf8_decode(text, (size_t) (end - text), &code);
		escape = short_escapes[(unsigned char) *text];
		if (width == 0)
		{
			bs_buffer_add_string(out, BS_UTF8_REPLACEMENT);
			width = 1;
		}
		else if (escape != '\0')
		{
			bs_buffer_add_char(out, '\\');
			bs_buffer_add_char(out, escape);
		}
		else if (bs_utf8_is_control(code))
			add_json_code(out, code);
		else
			bs_buffer_add(out, text, width);
		text += width;
	}
	bs_buffer_add_char(out, '"');
}
