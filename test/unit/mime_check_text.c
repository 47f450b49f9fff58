/*-------------------------------------------------------------------------
 *
 * mime_check_text.c
 *	  Strings, UTF-8, base64 and quoted-printable for mime_check.h.
 *
 * test/unit/mime_check_text.c
 *
 *-------------------------------------------------------------------------
 */
#include "mime_check_text.h"

/* What is allocated for a text of this length: a power of two. */
static size_t
check_size(size_t len)
{
	size_t		size = 32;

	while (size <= len)
		size *= 2;
	return size;
}

void
check_put(CheckText *text, const void *bytes, size_t len)
{
	size_t		size = check_size(text->len + len);

	if (text->data == NULL || size != check_size(text->len))
		text->data = realloc(text->data, size);

	if (text->data == NULL)
		exit(99);
	if (len > 0)
		memcpy(text->data + text->len, bytes, len);
	text->len += len;
	text->data[text->len] = '\0';
}

const char *
check_find(const char *in, size_t len, const char *what)
{
	size_t		width = strlen(what);

	for (; len >= width; in++, len--)
	{
		if (memcmp(in, what, width) == 0)
			return in;
	}
	return NULL;
}

bool
check_equal(const CheckText *a, const CheckText *b)
{
	return a->len == b->len && (a->len == 0 ||
								memcmp(a->data, b->data, a->len) == 0);
}

size_t
check_encode_utf8(uint32_t code, unsigned char *to)
{
	if (code < 0x80)
	{
		to[0] = (unsigned char) code;
		return 1;
	}
	if (code < 0x800)
	{
		to[0] = (unsigned char) (0xC0 | code >> 6);
		to[1] = (unsigned char) (0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000)
	{
		if (code >= 0xD800 && code < 0xE000)
			return 0;
		to[0] = (unsigned char) (0xE0 | code >> 12);
		to[1] = (unsigned char) (0x80 | (code >> 6 & 0x3F));
		to[2] = (unsigned char) (0x80 | (code & 0x3F));
		return 3;
	}
	if (code > 0x10FFFF)
		return 0;
	to[0] = (unsigned char) (0xF0 | code >> 18);
	to[1] = (unsigned char) (0x80 | (code >> 12 & 0x3F));
	to[2] = (unsigned char) (0x80 | (code >> 6 & 0x3F));
	to[3] = (unsigned char) (0x80 | (code & 0x3F));
	return 4;
}

size_t
check_decode_utf8(const char *bytes, size_t len, uint32_t *code)
{
	const unsigned char *in = (const unsigned char *) bytes;
	static const unsigned char masks[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
	size_t		width;

	for (width = 1; width <= 4 && width <= len; width++)
	{
		unsigned char again[4];
		uint32_t	value = in[0] & masks[width];
		size_t		i;

		for (i = 1; i < width; i++)
			value = value << 6 | (in[i] & 0x3F);
		if (check_encode_utf8(value, again) == width &&
			memcmp(again, in, width) == 0)
		{
			*code = value;
			return width;
		}
	}
	return 0;
}

bool
check_is_control(uint32_t code)
{
	return code <= 0x1F || code == 0x7F || (code >= 0x80 && code <= 0x9F) ||
		code == 0x2028 || code == 0x2029;
}

bool
check_is_utf8(const char *bytes, size_t len)
{
	uint32_t	code;
	size_t		width;

	for (; len > 0; bytes += width, len -= width)
	{
		width = check_decode_utf8(bytes, len, &code);
		if (width == 0)
			return false;
	}
	return true;
}

CheckText
check_clean(const char *text, bool name)
{
	static const uint32_t bidi[] = {
		0x061C, 0x200E, 0x200F, 0x202A, 0x202B, 0x202C, 0x202D, 0x202E,
		0x2066, 0x2067, 0x2068, 0x2069
	};
	CheckText	out = {NULL, 0};
	size_t		len = text == NULL ? 0 : strlen(text);
	bool		in_run = false;
	size_t		skip = 0;
	size_t		i = 0;

	check_put(&out, "", 0);
	while (i < len)
	{
		uint32_t	code;
		size_t		width = check_decode_utf8(text + i, len - i, &code);
		bool		dropped = false;
		size_t		j;

		if (width == 0)
		{
			check_put(&out, "\xEF\xBF\xBD", 3);
			in_run = false;
			i++;
			continue;
		}
		for (j = 0; j < sizeof(bidi) / sizeof(bidi[0]); j++)
			dropped = dropped || (name && code == bidi[j]);
		if (check_is_control(code))
		{
			if (!in_run)
				check_put(&out, " ", 1);
			in_run = true;
		}
		else if (!dropped)
		{
			check_put(&out, text + i, width);
			in_run = false;
		}
		i += width;
	}
	while (out.len > 0 && out.data[out.len - 1] == ' ')
		out.data[--out.len] = '\0';
	while (skip < out.len && out.data[skip] == ' ')
		skip++;
	memmove(out.data, out.data + skip, out.len - skip + 1);
	out.len -= skip;
	return out;
}

CheckText
check_canonical(const char *text)
{
	CheckText	out = {NULL, 0};
	size_t		i;

	check_put(&out, "", 0);
	for (i = 0; text != NULL && text[i] != '\0'; i++)
	{
		if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r'))
			check_put(&out, "\r", 1);
		check_put(&out, text + i, 1);
	}
	return out;
}

static int
check_base64_digit(char c)
{
	static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c == '\0' ? NULL : strchr(digits, c);

	return at == NULL ? -1 : (int) (at - digits);
}

const char *
check_base64_quads(const char *from, size_t len, CheckText *out)
{
	size_t		i;

	if (len % 4 != 0)
		return "base64 that is not made of quads";
	for (i = 0; i < len; i += 4)
	{
		int			a = check_base64_digit(from[i]);
		int			b = check_base64_digit(from[i + 1]);
		int			c = check_base64_digit(from[i + 2]);
		int			d = check_base64_digit(from[i + 3]);
		bool		final = i + 4 == len;
		unsigned char bytes[3];

		if (a < 0 || b < 0 ||
			(c < 0 && !(final && from[i + 2] == '=' && from[i + 3] == '=')) ||
			(d < 0 && !(final && from[i + 3] == '=')))
			return "a character that is not base64";
		bytes[0] = (unsigned char) (a << 2 | b >> 4);
		bytes[1] = (unsigned char) ((b & 0x0F) << 4 | (c < 0 ? 0 : c >> 2));
		bytes[2] = (unsigned char) (c < 0 || d < 0 ? 0 : (c & 0x03) << 6 | d);
		check_put(out, bytes, c < 0 ? 1 : d < 0 ? 2 : 3);
	}
	return NULL;
}

const char *
check_read_base64(const char *body, size_t len, CheckText *out)
{
	CheckText	quads = {NULL, 0};
	const char *wrong;
	size_t		i = 0;

	check_put(&quads, "", 0);
	while (i < len)
	{
		const char *end = strstr(body + i, "\r\n");
		size_t		line = end == NULL || end > body + len ?
		len - i : (size_t) (end - body) - i;

		if (line == 0 || line > 76)
		{
			free(quads.data);
			return "a line of base64 that is empty or longer than 76";
		}
		check_put(&quads, body + i, line);
		i += line + 2;
	}
	wrong = check_base64_quads(quads.data, quads.len, out);
	free(quads.data);
	return wrong;
}

static int
check_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

const char *
check_read_qp(const char *body, size_t len, CheckText *out)
{
	size_t		line = 0;
	size_t		i = 0;

	while (i < len)
	{
		char		c = body[i];

		if (c == '\r')
		{
			if (i > 0 && (body[i - 1] == ' ' || body[i - 1] == '\t'))
				return "a blank at the end of a line";
			check_put(out, "\r\n", 2);
			i += 2;
			line = 0;
			continue;
		}
		if (line == 0 && len - i >= 5 && memcmp(body + i, "From ", 5) == 0)
			return "a line that begins with \"From \"";
		if (c == '=' && i + 2 < len && body[i + 1] == '\r')
		{
			if (line + 1 > 76)
				return "a soft break behind column 76";
			i += 3;
			line = 0;
			continue;
		}
		if (c == '=')
		{
			int			high = i + 2 < len ? check_hex_digit(body[i + 1]) : -1;
			int			low = i + 2 < len ? check_hex_digit(body[i + 2]) : -1;
			char		byte = (char) (high * 16 + low);

			if (high < 0 || low < 0)
				return "\"=\" without two hexadecimal digits";
			check_put(out, &byte, 1);
			i += 3;
			line += 3;
		}
		else
		{
			if ((c < 0x20 && c != '\t') || c > 0x7E)
				return "an octet that should have been encoded";
			check_put(out, &c, 1);
			i++;
			line++;
		}
		if (line > 76)
			return "a line longer than 76";
	}
	if (len > 0 && (body[len - 1] == ' ' || body[len - 1] == '\t'))
		return "a blank at the end of the body";
	return NULL;
}

CheckText
check_repair(const char *text)
{
	CheckText	out = {NULL, 0};
	size_t		len = text == NULL ? 0 : strlen(text);
	size_t		i = 0;

	check_put(&out, "", 0);
	while (i < len)
	{
		uint32_t	code;
		size_t		width = check_decode_utf8(text + i, len - i, &code);

		if (width == 0)
			check_put(&out, "\xEF\xBF\xBD", 3);
		else
			check_put(&out, text + i, width);
		i += width == 0 ? 1 : width;
	}
	return out;
}
