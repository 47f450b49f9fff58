/*-------------------------------------------------------------------------
 *
 * utf8.c
 *	  Code points in UTF-8 (RFC 3629), and those that are not for headers; ASCII.
 *
 * src/core/base/utf8.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/utf8.h"

#include <string.h>

size_t
bs_utf8_decode(const char *bytes, size_t len, uint32_t *code)
{
	const unsigned char *in = (const unsigned char *) bytes;
	uint32_t	value;
	uint32_t	least;
	size_t		width;
	size_t		i;

	if (len == 0)
		return 0;
	if (in[0] < 0x80)
	{
		*code = in[0];
		return 1;
	}
	if (in[0] >= 0xC2 && in[0] < 0xE0)
	{
		width = 2;
		least = 0x80;
		value = in[0] & 0x1F;
	}
	else if (in[0] >= 0xE0 && in[0] < 0xF0)
	{
		width = 3;
		least = 0x800;
		value = in[0] & 0x0F;
	}
	else if (in[0] >= 0xF0 && in[0] < 0xF5)
	{
		width = 4;
		least = 0x10000;
		value = in[0] & 0x07;
	}
	else
		return 0;

	if (len < width)
		return 0;
	for (i = 1; i < width; i++)
	{
		if ((in[i] & 0xC0) != 0x80)
			return 0;
		value = value << 6 | (in[i] & 0x3F);
	}
	if (value < least || value > 0x10FFFF ||
		(value >= 0xD800 && value <= 0xDFFF))
		return 0;
	*code = value;
	return width;
}

size_t
bs_utf8_valid(const char *bytes, size_t len)
{
	size_t		at = 0;

	while (at < len)
	{
		uint32_t	code;
		size_t		width = bs_utf8_decode(bytes + at, len - at, &code);

		if (width == 0)
			break;
		at += width;
	}
	return at;
}

size_t
bs_utf8_count(const char *bytes, size_t len)
{
	size_t		count = 0;
	size_t		i;

	for (i = 0; i < len; i++)
		count += ((unsigned char) bytes[i] & 0xC0) != 0x80;
	return count;
}

bool
bs_ascii_is_visible(const char *string)
{
	while (*string > ' ' && *string <= '~')
		string++;
	return *string == '\0';
}

bool
bs_utf8_is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7F && code < 0xA0) ||
		code == 0x2028 || code == 0x2029;
}

bool
bs_utf8_is_bidi(uint32_t code)
{
	return code == 0x061C || code == 0x200E || code == 0x200F ||
		(code >= 0x202A && code <= 0x202E) ||
		(code >= 0x2066 && code <= 0x2069);
}

bool
bs_utf8_is_space(uint32_t code)
{
	return code == ' ' || code == 0xA0 || code == 0x1680 ||
		(code >= 0x2000 && code <= 0x200A) || code == 0x202F ||
		code == 0x205F || code == 0x3000;
}

bool
bs_utf8_is_invisible(uint32_t code)
{
	static const struct
	{
		uint32_t	first;
		uint32_t	last;
	}			ranges[] =

	{
		{0xAD, 0xAD}, {0x34F, 0x34F}, {0x61C, 0x61C}, {0x115F, 0x1160},
		{0x17B4, 0x17B5}, {0x180B, 0x180F}, {0x200B, 0x200F},
		{0x202A, 0x202E}, {0x2060, 0x206F}, {0x2800, 0x2800},
		{0x3164, 0x3164}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF},
		{0xFFA0, 0xFFA0}, {0xFFF0, 0xFFFB}, {0x1BCA0, 0x1BCA3},
		{0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF}
	};
	size_t		i;

	for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
	{
		if (code >= ranges[i].first && code <= ranges[i].last)
			return true;
	}
	return bs_utf8_is_space(code);
}

/* ---- what others said ---- */

void
bs_utf8_put(BsUtf8Output *out, const char *bytes, size_t len)
{
	size_t		blank = out->blank && out->len > 0;

	if (out->full || out->len + blank + len >= out->size)
	{
		out->full = true;
		return;
	}
	if (blank)
		out->data[out->len++] = ' ';
	memcpy(out->data + out->len, bytes, len);
	out->len += len;
	out->blank = false;
}

size_t
bs_utf8_put_clean(BsUtf8Output *out, const char *bytes, size_t len)
{
	uint32_t	code;
	size_t		width = bs_utf8_decode(bytes, len, &code);

	if (width == 0)
	{
		bs_utf8_put(out, BS_UTF8_REPLACEMENT, strlen(BS_UTF8_REPLACEMENT));
		return 1;
	}
	if (code == ' ' || bs_utf8_is_control(code) || bs_utf8_is_bidi(code))
		out->blank = true;
	else
		bs_utf8_put(out, bytes, width);
	return width;
}

void
bs_utf8_clean(const char *bytes, size_t len, char *out, size_t size)
{
	BsUtf8Output output = {out, size, 0, false, false};
	size_t		at = 0;

	while (at < len && !output.full)
		at += bs_utf8_put_clean(&output, bytes + at, len - at);
	out[output.len] = '\0';
}
