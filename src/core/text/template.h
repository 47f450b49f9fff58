/*-------------------------------------------------------------------------
 *
 * template.h
 *	  Logic-less templates: {{name}}, {{#name}}...{{/name}} where the value is
 *	  present, {{^name}}...{{/name}} if it is absent.
 *
 * One pass: a value is never read as a template again.  An absent value (NULL
 * or the empty string) renders as nothing.  The syntax is a subset of
 * mustache(5) with one difference: text stays exactly as it is written, also
 * the line break behind a tag that stands on a line of its own.
 *
 * Spaces and tabs may stand between the braces and the name.  A single brace
 * is text; "{{" always begins a tag, and "}}" always ends one.  Partials,
 * comments, other delimiters and unescaped values ("{{{", "{{&") are refused.
 *
 * src/core/text/template.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_TEMPLATE_H
#define BS_CORE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

/* The names a template can use, in the order of bs_template_names[]. */
typedef enum BsTemplateName
{
	BS_TEMPLATE_FIRST_NAME,
	BS_TEMPLATE_LAST_NAME,
	BS_TEMPLATE_FULL_NAME,
	BS_TEMPLATE_AGE,			/* whole years since the event; absent if 0 */
	BS_TEMPLATE_YEARS,			/* the same number */
	BS_TEMPLATE_ORDINAL,		/* "1st", "22nd"; absent if 0 */
	BS_TEMPLATE_DATE,			/* the occasion's local date, YYYY-MM-DD */
	BS_TEMPLATE_CITY,
	BS_TEMPLATE_COUNTRY,
	BS_TEMPLATE_NAME_COUNT
} BsTemplateName;

extern const char *const bs_template_names[BS_TEMPLATE_NAME_COUNT];

/* UTF-8 without a final NUL; data == NULL means absent. */
typedef struct BsTemplateValue
{
	const char *data;
	size_t		len;
} BsTemplateValue;

#define BS_TEMPLATE_MAX_DEPTH	16	/* of nested sections */
#define BS_TEMPLATE_MAX_SOURCE	(256 * 1024)	/* bytes */
#define BS_TEMPLATE_MAX_OUTPUT	(1024 * 1024)	/* bytes */

typedef struct BsTemplateError
{
	size_t		position;		/* character (not byte) it begins at, from 1;
								 * 0 if it concerns the whole template */
	char		message[128];	/* lower case, no full stop; ASCII */
	char		hint[256];		/* a full sentence, or empty */
} BsTemplateError;

typedef struct BsTemplate BsTemplate;

/*
 * NULL and *error where the template cannot be used: a tag that is not as
 * above (position of its first brace), a section that is not closed (of its
 * opening tag) or nested too deep, a NUL byte, invalid UTF-8, too much
 * source, too little memory.  Keeps its own copy.
 */
extern BsTemplate *bs_template_parse(const char *source, size_t len,
									 BsTemplateError *error);
extern void bs_template_free(BsTemplate *tmpl);

typedef enum BsTemplateEscape
{
	BS_TEMPLATE_PLAIN,			/* values as they are */
	BS_TEMPLATE_HTML,			/* & < > " ' as character references */
	BS_TEMPLATE_HEADER			/* each run of C0/C1 controls, DEL, U+2028 or
								 * U+2029 becomes one space, also those of the
								 * template's own text */
} BsTemplateEscape;

/*
 * The text in malloc'ed memory, NUL-terminated, its length in *len.  NULL
 * if memory is short or the text would pass BS_TEMPLATE_MAX_OUTPUT
 * (*too_long tells which).  Takes time in proportion to the template and the
 * output, whatever the template says.
 */
extern char *bs_template_render(const BsTemplate *tmpl,
								const BsTemplateValue values[BS_TEMPLATE_NAME_COUNT],
								BsTemplateEscape escape,
								size_t *len, bool *too_long);

#endif							/* BS_CORE_TEMPLATE_H */
