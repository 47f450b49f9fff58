/*-------------------------------------------------------------------------
 *
 * template.c
 *	  Logic-less templates.
 *
 * A template is compiled into an array of steps.  A section is a jump forward
 * over its steps, so rendering visits each step at most once, and a template
 * that can be parsed can be rendered.
 *
 * src/core/text/template.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/text/template.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buffer.h"
#include "core/base/utf8.h"

/* The longest name that an error message quotes. */
#define QUOTED_NAME_MAX	40

const char *const bs_template_names[BS_TEMPLATE_NAME_COUNT] = {
	[BS_TEMPLATE_FIRST_NAME] = "first_name",
	[BS_TEMPLATE_LAST_NAME] = "last_name",
	[BS_TEMPLATE_FULL_NAME] = "full_name",
	[BS_TEMPLATE_AGE] = "age",
	[BS_TEMPLATE_YEARS] = "years",
	[BS_TEMPLATE_ORDINAL] = "ordinal",
	[BS_TEMPLATE_DATE] = "date",
	[BS_TEMPLATE_CITY] = "city",
	[BS_TEMPLATE_COUNTRY] = "country",
};

typedef enum StepKind
{
	STEP_TEXT,					/* the template's own text */
	STEP_VALUE,					/* {{name}} */
	STEP_IF,					/* {{#name}}: go to "next" where absent */
	STEP_UNLESS					/* {{^name}}: go to "next" where present */
} StepKind;

typedef struct Step
{
	StepKind	kind;
	BsTemplateName name;		/* not of STEP_TEXT */
	uint32_t	offset;			/* of the text or the tag, in the source */
	uint32_t	len;			/* of the text */
	uint32_t	next;			/* of sections: the step after {{/name}} */
} Step;

struct BsTemplate
{
	char	   *source;
	size_t		len;
	Step	   *steps;
	size_t		count;			/* of steps */
	size_t		size;			/* steps allocated */
};

typedef struct Parser
{
	const char *source;
	size_t		len;
	BsTemplate *tmpl;
	size_t		depth;
	size_t		open[BS_TEMPLATE_MAX_DEPTH];	/* steps of open sections */
	BsTemplateError *error;
} Parser;

typedef struct Tag
{
	char		sigil;			/* '#', '^', '/', or '\0' of a value */
	size_t		offset;			/* of its first brace */
	size_t		end;			/* behind its last brace */
	BsTemplateName name;
} Tag;

/* In place of an offset: the error concerns the template as a whole. */
#define NOWHERE	((size_t) -1)

/* Notes the error, the offset of its place in the source first; is false. */
#define fail(...) (note_error(__VA_ARGS__), false)

__attribute__((format(printf, 4, 5)))
static void
note_error(const Parser *parser, size_t offset, const char *hint,
		   const char *format,...)
{
	BsTemplateError *error = parser->error;
	va_list		args;

	error->position = offset == NOWHERE ? 0 :
		bs_utf8_count(parser->source, offset) + 1;
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	snprintf(error->hint, sizeof(error->hint), "%s", hint);
}

static bool
fail_unknown_name(const Parser *parser, size_t offset,
				  const char *name, size_t len)
{
	char		hint[sizeof(parser->error->hint)] = "The names are ";
	bool		quotable = len <= QUOTED_NAME_MAX;
	size_t		used;
	size_t		i;

	for (i = 0; i < BS_TEMPLATE_NAME_COUNT; i++)
	{
		used = strlen(hint);
		snprintf(hint + used, sizeof(hint) - used, "%s%s",
				 bs_template_names[i],
				 i + 2 < BS_TEMPLATE_NAME_COUNT ? ", " :
				 i + 1 < BS_TEMPLATE_NAME_COUNT ? " and " : ".");
	}
	for (i = 0; i < len; i++)
	{
		if (name[i] < 0x20 || name[i] > 0x7E || name[i] == '"')
			quotable = false;
	}
	if (quotable)
		return fail(parser, offset, hint, "unknown name \"%.*s\"",
					(int) len, name);
	return fail(parser, offset, hint, "unknown name");
}

static Step *
add_step(Parser *parser, StepKind kind, size_t offset)
{
	BsTemplate *tmpl = parser->tmpl;
	Step	   *step;

	if (tmpl->count == tmpl->size)
	{
		size_t		size = tmpl->size > 0 ? tmpl->size * 2 : 16;
		Step	   *steps = realloc(tmpl->steps, size * sizeof(Step));

		if (steps == NULL)
		{
			note_error(parser, NOWHERE, "", "out of memory");
			return NULL;
		}
		tmpl->steps = steps;
		tmpl->size = size;
	}
	step = &tmpl->steps[tmpl->count++];
	memset(step, 0, sizeof(*step));
	step->kind = kind;
	step->offset = (uint32_t) offset;
	return step;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
starts_with(const Parser *parser, size_t offset, const char *two)
{
	return offset + 1 < parser->len &&
		parser->source[offset] == two[0] &&
		parser->source[offset + 1] == two[1];
}

/*
 * Where the "}}" of the tag is; false where another tag or the end comes
 * first.
 */
static bool
find_closing_braces(const Parser *parser, size_t offset, size_t *closing)
{
	size_t		i;

	for (i = offset + 2; i < parser->len; i++)
	{
		if (starts_with(parser, i, "}}"))
		{
			*closing = i;
			return true;
		}
		if (starts_with(parser, i, "{{"))
			break;
	}
	return fail(parser, offset, "Every \"{{\" needs a \"}}\".",
				"tag is not closed");
}

/* Reads the tag whose first brace is at "offset". */
static bool
read_tag(const Parser *parser, size_t offset, Tag *tag)
{
	const char *source = parser->source;
	size_t		from = offset + 2;
	size_t		to;
	size_t		i;

	if (from < parser->len && source[from] == '{')
		return fail(parser, offset,
					"Write {{name}}: how a value is escaped follows from where the text goes.",
					"triple braces are not supported");
	if (!find_closing_braces(parser, offset, &to))
		return false;
	tag->offset = offset;
	tag->end = to + 2;
	tag->sigil = '\0';

	while (from < to && is_blank(source[from]))
		from++;
	while (to > from && is_blank(source[to - 1]))
		to--;
	if (from < to && strchr("&>!=", source[from]) != NULL)
		return fail(parser, offset,
					"The tags are {{name}}, {{#name}}, {{^name}} and {{/name}}.",
					"tag \"{{%c\" is not supported", source[from]);
	if (from < to && strchr("#^/", source[from]) != NULL)
	{
		tag->sigil = source[from++];
		while (from < to && is_blank(source[from]))
			from++;
	}
	if (from == to)
		return fail(parser, offset, "Write a name between the braces.",
					"tag is empty");

	for (i = 0; i < BS_TEMPLATE_NAME_COUNT; i++)
	{
		if (strlen(bs_template_names[i]) == to - from &&
			memcmp(bs_template_names[i], source + from, to - from) == 0)
		{
			tag->name = (BsTemplateName) i;
			return true;
		}
	}
	return fail_unknown_name(parser, offset, source + from, to - from);
}

static bool
close_section(Parser *parser, const Tag *tag)
{
	const char *name = bs_template_names[tag->name];
	Step	   *open;
	char		hint[sizeof(parser->error->hint)];

	if (parser->depth == 0)
		return fail(parser, tag->offset, "No section is open here.",
					"\"{{/%s}}\" closes no section", name);
	open = &parser->tmpl->steps[parser->open[parser->depth - 1]];
	if (open->name != tag->name)
	{
		snprintf(hint, sizeof(hint),
				 "The section \"%s\" is open here and has to be closed first.",
				 bs_template_names[open->name]);
		return fail(parser, tag->offset, hint,
					"\"{{/%s}}\" does not match the open section \"%s\"",
					name, bs_template_names[open->name]);
	}
	open->next = (uint32_t) parser->tmpl->count;
	parser->depth--;
	return true;
}

static bool
add_tag(Parser *parser, const Tag *tag)
{
	StepKind	kind = STEP_VALUE;
	Step	   *step;

	if (tag->sigil == '/')
		return close_section(parser, tag);
	if (tag->sigil != '\0')
	{
		kind = tag->sigil == '#' ? STEP_IF : STEP_UNLESS;
		if (parser->depth == BS_TEMPLATE_MAX_DEPTH)
			return fail(parser, tag->offset, "",
						"sections are nested more than %d deep",
						BS_TEMPLATE_MAX_DEPTH);
		parser->open[parser->depth++] = parser->tmpl->count;
	}
	step = add_step(parser, kind, tag->offset);
	if (step == NULL)
		return false;
	step->name = tag->name;
	return true;
}

/* The text from "from" to the next tag, and how far that reached. */
static bool
add_text(Parser *parser, size_t from, size_t *end)
{
	size_t		i = from;
	Step	   *step;

	while (i < parser->len && !starts_with(parser, i, "{{"))
	{
		if (starts_with(parser, i, "}}"))
			return fail(parser, i,
						"Put a blank between two closing braces that belong to the text.",
						"\"}}\" closes no tag");
		i++;
	}
	*end = i;
	if (i == from)
		return true;
	step = add_step(parser, STEP_TEXT, from);
	if (step == NULL)
		return false;
	step->len = (uint32_t) (i - from);
	return true;
}

static bool
keep_source(Parser *parser)
{
	BsTemplate *tmpl = parser->tmpl;

	tmpl->source = malloc(parser->len + 1);
	if (tmpl->source == NULL)
		return fail(parser, NOWHERE, "", "out of memory");
	if (parser->len > 0)
		memcpy(tmpl->source, parser->source, parser->len);
	tmpl->source[parser->len] = '\0';
	tmpl->len = parser->len;
	return true;
}

static bool
parse(Parser *parser)
{
	size_t		at = 0;
	size_t		valid;
	const char *nul;

	if (parser->len > BS_TEMPLATE_MAX_SOURCE)
		return fail(parser, NOWHERE, "", "template is longer than %d bytes",
					BS_TEMPLATE_MAX_SOURCE);
	valid = bs_utf8_valid(parser->source, parser->len);
	nul = memchr(parser->source, '\0', valid);
	if (nul != NULL)
		return fail(parser, (size_t) (nul - parser->source), "",
					"template contains a NUL byte");
	if (valid < parser->len)
		return fail(parser, valid, "", "template is not valid UTF-8");

	while (at < parser->len)
	{
		Tag			tag;

		if (!add_text(parser, at, &at))
			return false;
		if (at == parser->len)
			break;
		if (!read_tag(parser, at, &tag) || !add_tag(parser, &tag))
			return false;
		at = tag.end;
	}
	if (parser->depth > 0)
	{
		const Step *open;

		open = &parser->tmpl->steps[parser->open[parser->depth - 1]];
		return fail(parser, open->offset, "Every section needs a {{/name}}.",
					"section \"%s\" is not closed",
					bs_template_names[open->name]);
	}
	return keep_source(parser);
}

BsTemplate *
bs_template_parse(const char *source, size_t len, BsTemplateError *error)
{
	BsTemplate *tmpl = calloc(1, sizeof(BsTemplate));
	Parser		parser;

	memset(error, 0, sizeof(*error));
	memset(&parser, 0, sizeof(parser));
	parser.source = source;
	parser.len = len;
	parser.tmpl = tmpl;
	parser.error = error;
	if (tmpl == NULL)
	{
		note_error(&parser, NOWHERE, "", "out of memory");
		return NULL;
	}
	if (!parse(&parser))
	{
		bs_template_free(tmpl);
		return NULL;
	}
	return tmpl;
}

void
bs_template_free(BsTemplate *tmpl)
{
	if (tmpl == NULL)
		return;
	free(tmpl->source);
	free(tmpl->steps);
	free(tmpl);
}

static void
add_html(BsBuffer *out, const char *text, size_t len)
{
	static const char *const references[256] = {
		['&'] = "&amp;",
		['<'] = "&lt;",
		['>'] = "&gt;",
		['"'] = "&quot;",
		['\''] = "&#39;",
	};
	size_t		from = 0;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		const char *reference = references[(unsigned char) text[i]];

		if (reference == NULL)
			continue;
		bs_buffer_add(out, text + from, i - from);
		bs_buffer_add_string(out, reference);
		from = i + 1;
	}
	bs_buffer_add(out, text + from, len - from);
}

/* The width of the control character that "text" begins with, or 0. */
static inline size_t
control_width(const char *text, size_t len)
{
	uint32_t	code;
	size_t		width;

	if (*text >= ' ' && *text <= '~')
		return 0;				/* as most are */
	width = bs_utf8_decode(text, len, &code);
	return width > 0 && bs_utf8_is_control(code) ? width : 0;
}

/*
 * add_header
 *		Controls as blanks, one for each run.
 *
 * "in_run" tells, from call to call, that the last character was a control, so
 * that a run which begins in the text and ends in a value is still one.
 */
static void
add_header(BsBuffer *out, const char *text, size_t len, bool *in_run)
{
	size_t		i = 0;

	while (i < len)
	{
		size_t		from = i;
		size_t		width = 0;

		while (i < len && (width = control_width(text + i, len - i)) == 0)
			i++;
		if (i > from)
		{
			bs_buffer_add(out, text + from, i - from);
			*in_run = false;
		}
		if (width > 0 && !*in_run)
		{
			bs_buffer_add_char(out, ' ');
			*in_run = true;
		}
		i += width;
	}
}

char *
bs_template_render(const BsTemplate *tmpl,
				   const BsTemplateValue values[BS_TEMPLATE_NAME_COUNT],
				   BsTemplateEscape escape, size_t *len, bool *too_long)
{
	BsBuffer	out;
	bool		in_run = false;
	size_t		i = 0;

	bs_buffer_init(&out, tmpl->len + 256, BS_TEMPLATE_MAX_OUTPUT);
	while (i < tmpl->count && !bs_buffer_failed(&out))
	{
		const Step *step = &tmpl->steps[i++];
		const BsTemplateValue *value = &values[step->name];
		bool		absent = value->data == NULL || value->len == 0;

		switch (step->kind)
		{
			case STEP_TEXT:
				if (escape == BS_TEMPLATE_HEADER)
					add_header(&out, tmpl->source + step->offset, step->len,
							   &in_run);
				else
					bs_buffer_add(&out, tmpl->source + step->offset,
								  step->len);
				break;
			case STEP_VALUE:
				if (absent)
					break;
				if (escape == BS_TEMPLATE_HEADER)
					add_header(&out, value->data, value->len, &in_run);
				else if (escape == BS_TEMPLATE_HTML)
					add_html(&out, value->data, value->len);
				else
					bs_buffer_add(&out, value->data, value->len);
				break;
			case STEP_IF:
				if (absent)
					i = step->next;
				break;
			case STEP_UNLESS:
				if (!absent)
					i = step->next;
				break;
		}
	}
	*too_long = out.too_long;
	return bs_buffer_take(&out, len);
}
