/*-------------------------------------------------------------------------
 *
 * fuzz_template.c
 *	  Fuzzer of the templates, against a second renderer.
 *
 * Input: one octet of escaping, two that say which names are absent, one of
 * the length of the value that the others have, the value, and the template.
 *
 * test/fuzz/fuzz_template.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/mime_check.h"
#include "must.h"
#include "core/text/template.h"

/* The name of a tag between "from" and "to". */
static int
find_name(const char *from, const char *to)
{
	int			i;

	for (i = 0; i < BS_TEMPLATE_NAME_COUNT; i++)
	{
		if (strlen(bs_template_names[i]) == (size_t) (to - from) &&
			strncmp(bs_template_names[i], from, (size_t) (to - from)) == 0)
			return i;
	}
	MUST(!"a name of an accepted template is known");
	return 0;
}

/* What the value has become in the text. */
static void
put_escaped(CheckText *out, const BsTemplateValue *value, bool html)
{
	size_t		i;

	for (i = 0; i < value->len; i++)
	{
		char		c = value->data[i];

		if (html && c == '&')
			check_put(out, "&amp;", 5);
		else if (html && c == '<')
			check_put(out, "&lt;", 4);
		else if (html && c == '>')
			check_put(out, "&gt;", 4);
		else if (html && c == '"')
			check_put(out, "&quot;", 6);
		else if (html && c == '\'')
			check_put(out, "&#39;", 5);
		else
			check_put(out, &c, 1);
	}
}

/* Renders an accepted template, from tag to tag and without a plan. */
static CheckText
render_again(const char *source, size_t len, const BsTemplateValue *values,
			 bool html)
{
	CheckText	out = {NULL, 0};
	bool		shown[BS_TEMPLATE_MAX_DEPTH + 1] = {true};
	int			depth = 0;
	const char *end = source + len;

	check_put(&out, "", 0);
	while (source < end && out.len <= BS_TEMPLATE_MAX_OUTPUT)
	{
		const char *to;
		const BsTemplateValue *value;
		char		sigil;

		if (end - source < 2 || source[0] != '{' || source[1] != '{')
		{
			if (shown[depth])
				check_put(&out, source, 1);
			source++;
			continue;
		}
		to = check_find(source, (size_t) (end - source), "}}");
		MUST(to != NULL);
		source += 2;
		source += strspn(source, " \t");
		sigil = *source;
		if (sigil == '#' || sigil == '^' || sigil == '/')
			source += 1 + strspn(source + 1, " \t");
		value = &values[find_name(source,
								  source + strcspn(source, " \t}"))];
		source = to + 2;
		if (sigil == '/')
		{
			MUST(depth > 0);
			depth--;
		}
		else if (sigil == '#' || sigil == '^')
		{
			MUST(depth < BS_TEMPLATE_MAX_DEPTH);
			shown[depth + 1] = shown[depth] &&
				(value->len > 0) == (sigil == '#');
			depth++;
		}
		else if (shown[depth])
			put_escaped(&out, value, html);
	}
	MUST(depth == 0 || out.len > BS_TEMPLATE_MAX_OUTPUT);
	return out;
}

/* Runs of controls as single blanks; the rest as it is, UTF-8 or not. */
static CheckText
without_controls(const CheckText *text)
{
	CheckText	out = {NULL, 0};
	bool		in_run = false;
	size_t		i = 0;

	check_put(&out, "", 0);
	while (i < text->len)
	{
		uint32_t	code = 0xFFFD;
		size_t		width = check_decode_utf8(text->data + i, text->len - i,
											  &code);

		if (width > 0 && check_is_control(code))
		{
			if (!in_run)
				check_put(&out, " ", 1);
			in_run = true;
		}
		else
		{
			check_put(&out, text->data + i, width == 0 ? 1 : width);
			in_run = false;
		}
		i += width == 0 ? 1 : width;
	}
	return out;
}

static void
check_error(const BsTemplateError *error, const char *source, size_t len)
{
	size_t		characters = 0;
	size_t		i;

	for (i = 0; i < len; i++)
		characters += ((unsigned char) source[i] & 0xC0) != 0x80;
	MUST(error->position <= characters + 1);
	MUST(error->message[0] != '\0');
	for (i = 0; error->message[i] != '\0'; i++)
		MUST(error->message[i] >= 0x20 && error->message[i] < 0x7F);
	for (i = 0; error->hint[i] != '\0'; i++)
		MUST(error->hint[i] >= 0x20 && error->hint[i] < 0x7F);
	MUST(i == 0 || error->hint[i - 1] == '.');
}

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	BsTemplateValue values[BS_TEMPLATE_NAME_COUNT] = {{NULL, 0}};
	BsTemplateEscape escape;
	BsTemplateError error;
	BsTemplate *tmpl;
	CheckText	wanted;
	char	   *source;
	char	   *text;
	size_t		value_len;
	size_t		len;
	bool		too_long;
	int			i;

	if (size < 4)
		return 0;
	escape = (BsTemplateEscape) (data[0] % 3);
	value_len = data[3] < size - 4 ? data[3] : size - 4;
	for (i = 0; i < BS_TEMPLATE_NAME_COUNT; i++)
	{
		if ((data[1] | data[2] << 8) >> i & 1)
			continue;
		values[i].data = (const char *) data + 4;
		values[i].len = value_len;
	}
	len = size - 4 - value_len;
	source = malloc(len + 1);
	memcpy(source, data + 4 + value_len, len);
	source[len] = '\0';

	tmpl = bs_template_parse(source, len, &error);
	if (tmpl == NULL)
	{
		check_error(&error, source, len);
		free(source);
		return 0;
	}
	MUST(strlen(source) == len && check_is_utf8(source, len));

	wanted = render_again(source, len, values, escape == BS_TEMPLATE_HTML);
	if (escape == BS_TEMPLATE_HEADER)
	{
		CheckText	cleaned = without_controls(&wanted);

		free(wanted.data);
		wanted = cleaned;
	}
	memset(source, 'x', len);
	text = bs_template_render(tmpl, values, escape, &len, &too_long);
	MUST((text == NULL) == too_long);
	if (text == NULL)
		MUST(wanted.len > BS_TEMPLATE_MAX_OUTPUT);
	else if (escape == BS_TEMPLATE_HEADER &&
			 !check_is_utf8((const char *) data + 4, value_len))
		MUST(text[len] == '\0');	/* halves of a character may meet in it */
	else
	{
		MUST(len == wanted.len && text[len] == '\0');
		MUST(memcmp(text, wanted.data, len) == 0);
	}
	free(text);
	free(wanted.data);
	free(source);
	bs_template_free(tmpl);
	return 0;
}
