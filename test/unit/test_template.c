/*-------------------------------------------------------------------------
 *
 * test_template.c
 *	  Tests of the templates.
 *
 * test/unit/test_template.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "core/text/template.h"
#include "tap.h"

static BsTemplateValue values[BS_TEMPLATE_NAME_COUNT];

static void
set(BsTemplateName name, const char *text)
{
	values[name].data = text;
	values[name].len = text == NULL ? 0 : strlen(text);
}

/* Everyone's values, with what breaks mails in them. */
static void
set_all(void)
{
	set(BS_TEMPLATE_FIRST_NAME, "Zo\xC3\xAB");
	set(BS_TEMPLATE_LAST_NAME, "O'Neill & <S\xC3\xB6hne>");
	set(BS_TEMPLATE_FULL_NAME, "Zo\xC3\xAB O'Neill & <S\xC3\xB6hne>");
	set(BS_TEMPLATE_AGE, "42");
	set(BS_TEMPLATE_YEARS, "42");
	set(BS_TEMPLATE_ORDINAL, "42nd");
	set(BS_TEMPLATE_DATE, "2026-05-01");
	set(BS_TEMPLATE_CITY, "Oslo");
	set(BS_TEMPLATE_COUNTRY, NULL);
}

/* What "source" renders to; an error or NULL as text. */
static const char *
render_as(const char *source, BsTemplateEscape escape)
{
	static char *text;
	BsTemplateError error;
	BsTemplate *tmpl = bs_template_parse(source, strlen(source), &error);
	size_t		len = 0;
	bool		too_long = false;

	free(text);
	text = NULL;
	if (tmpl == NULL)
	{
		text = strdup(error.message);
		return text;
	}
	text = bs_template_render(tmpl, values, escape, &len, &too_long);
	bs_template_free(tmpl);
	if (text == NULL)
		return too_long ? "(too long)" : "(no memory)";
	if (strlen(text) != len)
		return "(wrong length)";
	return text;
}

static const char *
render(const char *source)
{
	return render_as(source, BS_TEMPLATE_PLAIN);
}

static bool
is_ascii(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (*text < 0x20 || *text > 0x7E)
			return false;
	}
	return true;
}

static void
refuses_bytes(const char *source, size_t len, size_t position,
			  const char *message, const char *name)
{
	BsTemplateError error;
	BsTemplate *tmpl = bs_template_parse(source, len, &error);

	ok(tmpl == NULL, "refuses %s", name);
	if (tmpl != NULL)
	{
		bs_template_free(tmpl);
		return;
	}
	is_int(error.position, position, "refuses %s: the place", name);
	is_str(error.message, message, "refuses %s: the message", name);
	ok(is_ascii(error.message) && is_ascii(error.hint) &&
	   (error.hint[0] == '\0' || error.hint[strlen(error.hint) - 1] == '.'),
	   "refuses %s: the hint \"%s\"", name, error.hint);
}

static void
refuses(const char *source, size_t position, const char *message,
		const char *name)
{
	refuses_bytes(source, strlen(source), position, message, name);
}

static void
test_values(void)
{
	char		source[64];
	int			i;

	set_all();
	is_str(render(""), "", "an empty template is an empty text");
	is_str(render("Hey"), "Hey", "text is text");
	is_str(render("Hey, {{full_name}} it's your birthday"),
		   "Hey, Zo\xC3\xAB O'Neill & <S\xC3\xB6hne> it's your birthday",
		   "EC-UD-004 the birthday text");
	is_str(render("{{first_name}}{{city}}"), "Zo\xC3\xABOslo",
		   "two tags without text between");
	is_str(render("{{  city\t}}"), "Oslo", "blanks within the braces");
	is_str(render("[{{country}}]"), "[]", "an absent value is nothing");
	set(BS_TEMPLATE_COUNTRY, "");
	is_str(render("[{{country}}]"), "[]", "nor is an empty one anything");
	for (i = 0; i < BS_TEMPLATE_NAME_COUNT; i++)
	{
		set((BsTemplateName) i, bs_template_names[i]);
		snprintf(source, sizeof(source), "<{{%s}}>", bs_template_names[i]);
		render(source);
		ok(strlen(bs_template_names[i]) > 0 &&
		   strncmp(render(source) + 1, bs_template_names[i],
				   strlen(bs_template_names[i])) == 0,
		   "{{%s}} is the value of that name", bs_template_names[i]);
	}
	set_all();
	set(BS_TEMPLATE_FIRST_NAME, "{{email}}{{#age}}}}{{");
	is_str(render("{{first_name}}!"), "{{email}}{{#age}}}}{{!",
		   "I38 a value is not read as a template");
	set(BS_TEMPLATE_FIRST_NAME, "'); DROP TABLE users; --");
	is_str(render("{{first_name}}"), "'); DROP TABLE users; --",
		   "I37 SQL in a value is text");
	set(BS_TEMPLATE_FIRST_NAME, "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80");
	is_str(render("{{first_name}}"),
		   "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80",
		   "EC-UD-005 emoji stay as they are");
	set(BS_TEMPLATE_FIRST_NAME, "Anna  Maria");
	is_str(render("{{first_name}}"), "Anna  Maria",
		   "EC-UD-008 so do inner blanks");
}

static void
test_text(void)
{
	set_all();
	is_str(render("a { b } c"), "a { b } c", "a brace alone is text");
	is_str(render("{"), "{", "also at the end");
	is_str(render("}"), "}", "of either kind");
	is_str(render("{ {city} }"), "{ {city} }", "two apart begin no tag");
	is_str(render("{{city}}}"), "Oslo}", "a brace behind a tag is text");
	is_str(render("{ {{city}} }"), "{ Oslo }", "and apart before it");
	is_str(render("a\n\r\n\tb \n"), "a\n\r\n\tb \n", "white space stays");
	is_str(render("{{#age}}\nx\n{{/age}}\ny"), "\nx\n\ny",
		   "so do the line breaks around a tag that stands alone");
	is_str(render("\xE2\x82\xAC {{city}} \xE2\x82\xAC"),
		   "\xE2\x82\xAC Oslo \xE2\x82\xAC", "text is UTF-8");
}

static void
test_sections(void)
{
	set_all();
	is_str(render("{{#age}}You are {{age}}.{{/age}}"), "You are 42.",
		   "# where there is a value");
	is_str(render("{{^age}}no{{/age}}yes"), "yes", "^ where there is none");
	is_str(render("{{#country}}no{{/country}}yes"), "yes", "# is skipped");
	is_str(render("{{^country}}yes{{/country}}"), "yes", "^ is not");
	is_str(render("{{ # city }}{{city}}{{ / city }}"), "Oslo",
		   "blanks around the sign");
	is_str(render("{{#city}}a{{#age}}b{{/age}}c{{/city}}d"), "abcd",
		   "a section within a section");
	is_str(render("{{#city}}a{{#country}}b{{/country}}c{{/city}}d"), "acd",
		   "an absent one within a present one");
	is_str(render("{{#country}}a{{#city}}b{{/city}}c{{/country}}d"), "d",
		   "a present one within an absent one");
	is_str(render("{{#age}}{{#age}}x{{/age}}{{^age}}y{{/age}}{{/age}}"), "x",
		   "the same name within itself");
	is_str(render("{{#age}}{{/age}}"), "", "an empty section");
	set(BS_TEMPLATE_AGE, NULL);
	set(BS_TEMPLATE_ORDINAL, NULL);
	is_str(render("Happy {{#ordinal}}{{ordinal}} {{/ordinal}}birthday"),
		   "Happy birthday", "EC-BD-021, EC-AN-006 no count at age 0");
	set(BS_TEMPLATE_ORDINAL, "1st");
	is_str(render("Happy {{#ordinal}}{{ordinal}} {{/ordinal}}birthday"),
		   "Happy 1st birthday", "EC-BD-022 the 1st");
}

static void
test_errors(void)
{
	refuses("{{foo}}", 1, "unknown name \"foo\"", "I38 an unknown name");
	refuses("Hi {{name}}", 4, "unknown name \"name\"", "the place of it");
	refuses("\xC3\xA9\xF0\x9F\x8E\x82\xE6\xBC\xA2 {{x}}", 5,
			"unknown name \"x\"", "the place in characters");
	refuses("{{First_Name}}", 1, "unknown name \"First_Name\"", "capitals");
	refuses("{{first name}}", 1, "unknown name \"first name\"", "a blank");
	refuses("{{first_name\n}}", 1, "unknown name", "a line break in a tag");
	refuses("{{\xC3\xA9}}", 1, "unknown name", "a name that is not ASCII");
	refuses("{{city.x}}", 1, "unknown name \"city.x\"", "a path");
	refuses("{{cit}}", 1, "unknown name \"cit\"", "half a name");
	refuses("{{#foo}}{{/foo}}", 1, "unknown name \"foo\"",
			"a section of an unknown name");
	refuses("{{city}}{{/foo}}", 9, "unknown name \"foo\"",
			"the close of an unknown name");
	refuses("{{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}}",
			1, "unknown name", "a name too long to quote");
	refuses("Hi {{city", 4, "tag is not closed", "I38 no closing braces");
	refuses("Hi {{", 4, "tag is not closed", "nothing behind the braces");
	refuses("{{city}", 1, "tag is not closed", "one closing brace");
	refuses("{{city {{age}}", 1, "tag is not closed", "a tag within a tag");
	refuses("a{{#city}}b", 2, "section \"city\" is not closed",
			"an open section");
	refuses("{{#age}}{{^city}}x{{#date}}y", 19,
			"section \"date\" is not closed", "the innermost of several");
	refuses("{{#age}}{{/city}}", 9,
			"\"{{/city}}\" does not match the open section \"age\"",
			"a close of another section");
	refuses("{{#age}}{{#city}}{{/age}}{{/city}}", 18,
			"\"{{/age}}\" does not match the open section \"city\"",
			"sections that cross");
	refuses("x{{/age}}", 2, "\"{{/age}}\" closes no section",
			"a close without a section");
	refuses("x{{}}", 2, "tag is empty", "an empty tag");
	refuses("x{{ \t }}", 2, "tag is empty", "a tag of blanks");
	refuses("x{{#}}", 2, "tag is empty", "an empty section");
	refuses("x{{ / }}", 2, "tag is empty", "an empty close");
	refuses("x{{{city}}}", 2, "triple braces are not supported",
			"three braces");
	refuses("{{{", 1, "triple braces are not supported", "nothing but them");
	refuses("{{&city}}", 1, "tag \"{{&\" is not supported", "no escaping");
	refuses("{{>city}}", 1, "tag \"{{>\" is not supported", "a partial");
	refuses("{{!city}}", 1, "tag \"{{!\" is not supported", "a comment");
	refuses("{{=<% %>=}}", 1, "tag \"{{=\" is not supported", "delimiters");
	refuses("{{ & city}}", 1, "tag \"{{&\" is not supported",
			"a blank before");
	refuses("city}}", 5, "\"}}\" closes no tag", "I38 braces that close");
	refuses("{{city}} }}", 10, "\"}}\" closes no tag", "behind a tag");
	refuses("{{city}}}}", 9, "\"}}\" closes no tag", "four of them");
	refuses_bytes("a\0b", 3, 2, "template contains a NUL byte",
				  "EC-DV-004 a NUL byte");
	refuses_bytes("{{city\0}}", 9, 7, "template contains a NUL byte",
				  "EC-DV-004 also in a tag");
	refuses("\xC3\xA9\xFF", 2, "template is not valid UTF-8",
			"I13 bytes that are not UTF-8");
	refuses("x\xED\xA0\x80", 2, "template is not valid UTF-8",
			"I13 a surrogate");
	refuses("x\xC0\x80", 2, "template is not valid UTF-8",
			"I13 an overlong form");
	refuses("x\xE0\x80\x80", 2, "template is not valid UTF-8",
			"I13 one of three octets");
	refuses("x\xF0\x80\x80\x80", 2, "template is not valid UTF-8",
			"I13 one of four");
	refuses("x\xF4\x90\x80\x80", 2, "template is not valid UTF-8",
			"I13 beyond Unicode");
	refuses("xy\xE2\x82", 3, "template is not valid UTF-8",
			"I13 a character that is cut off");
}

static void
test_hints(void)
{
	BsTemplateError error;
	int			i;

	ok(bs_template_parse("{{foo}}", 7, &error) == NULL, "an unknown name");
	for (i = 0; i < BS_TEMPLATE_NAME_COUNT; i++)
		ok(strstr(error.hint, bs_template_names[i]) != NULL,
		   "the hint lists %s", bs_template_names[i]);
	ok(bs_template_parse("{{#age}}{{/city}}", 17, &error) == NULL &&
	   strstr(error.hint, "\"age\"") != NULL,
	   "the hint names the section that is open");
}

/* A template of "depth" nested sections around an x. */
static char *
nested(int depth)
{
	char	   *source = malloc((size_t) depth * 16 + 2);
	size_t		len = 0;
	int			i;

	for (i = 0; i < depth; i++)
		len += (size_t) sprintf(source + len, "{{#age}}");
	source[len++] = 'x';
	source[len] = '\0';
	for (i = 0; i < depth; i++)
		len += (size_t) sprintf(source + len, "{{/age}}");
	return source;
}

static void
test_limits(void)
{
	char	   *source;
	char	   *value;
	BsTemplateError error;
	BsTemplate *tmpl;
	size_t		len;
	size_t		i;
	bool		too_long;

	set_all();
	source = nested(BS_TEMPLATE_MAX_DEPTH);
	is_str(render(source), "x", "sixteen sections within each other");
	free(source);
	source = nested(BS_TEMPLATE_MAX_DEPTH + 1);
	refuses(source, 16 * 8 + 1, "sections are nested more than 16 deep",
			"EC-DV-020 a seventeenth");
	free(source);
	source = nested(10000);
	is_str(render(source), "sections are nested more than 16 deep",
		   "or ten thousand");
	free(source);

	source = malloc(BS_TEMPLATE_MAX_SOURCE + 2);
	memset(source, 'a', BS_TEMPLATE_MAX_SOURCE + 1);
	tmpl = bs_template_parse(source, BS_TEMPLATE_MAX_SOURCE, &error);
	ok(tmpl != NULL, "I39 the longest template");
	bs_template_free(tmpl);
	refuses_bytes(source, BS_TEMPLATE_MAX_SOURCE + 1, 0,
				  "template is longer than 262144 bytes", "I39 a longer one");

	/* 26214 tags: names of 40 letters fit into the text, of 200 do not. */
	for (i = 0; i + 10 <= BS_TEMPLATE_MAX_SOURCE; i += 10)
		memcpy(source + i, "{{  city}}", 10);
	value = malloc(201);
	memset(value, 'n', 200);
	value[200] = '\0';
	set(BS_TEMPLATE_CITY, value);
	tmpl = bs_template_parse(source, i, &error);
	ok(tmpl != NULL, "S16 a template of tags alone");
	too_long = false;
	ok(bs_template_render(tmpl, values, BS_TEMPLATE_PLAIN, &len,
						  &too_long) == NULL && too_long,
	   "I39 is refused where its text would be too long");
	ok(bs_template_render(tmpl, values, BS_TEMPLATE_HTML, &len,
						  &too_long) == NULL && too_long, "I39 as HTML too");
	ok(bs_template_render(tmpl, values, BS_TEMPLATE_HEADER, &len,
						  &too_long) == NULL && too_long, "I39 as a header too");
	values[BS_TEMPLATE_CITY].len = 40;
	free(bs_template_render(tmpl, values, BS_TEMPLATE_PLAIN, &len, &too_long));
	is_int(len, i / 10 * 40, "I39 and rendered where it fits");
	bs_template_free(tmpl);
	free(value);

	value = malloc(BS_TEMPLATE_MAX_OUTPUT + 1);
	memset(value, 'n', BS_TEMPLATE_MAX_OUTPUT + 1);
	values[BS_TEMPLATE_CITY].data = value;
	values[BS_TEMPLATE_CITY].len = BS_TEMPLATE_MAX_OUTPUT;
	tmpl = bs_template_parse("{{city}}", 8, &error);
	free(bs_template_render(tmpl, values, BS_TEMPLATE_PLAIN, &len, &too_long));
	ok(len == BS_TEMPLATE_MAX_OUTPUT && !too_long, "I39 the longest text");
	values[BS_TEMPLATE_CITY].len++;
	ok(bs_template_render(tmpl, values, BS_TEMPLATE_PLAIN, &len,
						  &too_long) == NULL && too_long,
	   "I39 and one byte more");
	bs_template_free(tmpl);
	free(value);
	free(source);
	bs_template_free(NULL);
}

static void
test_html(void)
{
	set_all();
	is_str(render_as("<b>{{last_name}}</b> & \"'", BS_TEMPLATE_HTML),
		   "<b>O&#39;Neill &amp; &lt;S\xC3\xB6hne&gt;</b> & \"'",
		   "I40 values are escaped, the template is not");
	set(BS_TEMPLATE_FIRST_NAME, "<script>alert(\"x\")</script>");
	is_str(render_as("{{first_name}}", BS_TEMPLATE_HTML),
		   "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;",
		   "I40, EC-SEC-002, EC-DV-006 a script is text");
	is_str(render_as("{{first_name}}", BS_TEMPLATE_PLAIN),
		   "<script>alert(\"x\")</script>", "I40 and stays raw in plain text");
	set(BS_TEMPLATE_FIRST_NAME, "&amp;");
	is_str(render_as("{{first_name}}", BS_TEMPLATE_HTML), "&amp;amp;",
		   "an ampersand is always one");
	set(BS_TEMPLATE_FIRST_NAME, "<");
	is_str(render_as("{{first_name}}", BS_TEMPLATE_HTML), "&lt;",
		   "a value of one bracket");
}

static void
test_header(void)
{
	char		value[16];
	char		wanted[16];
	int			octet;

	set_all();
	is_str(render_as("To {{last_name}}", BS_TEMPLATE_HEADER),
		   "To O'Neill & <S\xC3\xB6hne>", "nothing is escaped in a header");
	for (octet = 1; octet < 0x20; octet++)
	{
		snprintf(value, sizeof(value), "a%cb", octet);
		set(BS_TEMPLATE_CITY, value);
		is_str(render_as("{{city}}", BS_TEMPLATE_HEADER), "a b",
			   "I04 octet 0x%02X is a blank in a header", octet);
	}
	values[BS_TEMPLATE_CITY].data = "a\0b";
	values[BS_TEMPLATE_CITY].len = 3;
	is_str(render_as("{{city}}", BS_TEMPLATE_HEADER), "a b",
		   "I04 and octet 0x00");
	set(BS_TEMPLATE_CITY, "a\x7F" "b");
	is_str(render_as("{{city}}", BS_TEMPLATE_HEADER), "a b",
		   "I04 and octet 0x7F");
	for (octet = 0x80; octet < 0xC0; octet++)
	{
		snprintf(value, sizeof(value), "a\xC2%cb", octet);
		snprintf(wanted, sizeof(wanted), octet < 0xA0 ? "a b" : "a\xC2%cb",
				 octet);
		set(BS_TEMPLATE_CITY, value);
		is_str(render_as("{{city}}", BS_TEMPLATE_HEADER), wanted,
			   "I04 U+%04X", octet);
	}
	set(BS_TEMPLATE_CITY, "a\xE2\x80\xA8" "b\xE2\x80\xA9" "c\xE2\x80\xAA" "d");
	is_str(render_as("{{city}}", BS_TEMPLATE_HEADER),
		   "a b c\xE2\x80\xAA" "d", "I04 U+2028 and U+2029, not U+202A");
	set(BS_TEMPLATE_CITY, "a\r\nBcc: x@y.org\r\n\r\nb");
	is_str(render_as("{{city}}", BS_TEMPLATE_HEADER), "a Bcc: x@y.org b",
		   "S14 a run is one blank");
	set(BS_TEMPLATE_CITY, "\n x");
	is_str(render_as("a\n{{city}}\n", BS_TEMPLATE_HEADER), "a  x ",
		   "a run may begin in the text and end in a value");
	set(BS_TEMPLATE_CITY, "a\xE2\x80");
	is_str(render_as("{{city}}", BS_TEMPLATE_HEADER), "a\xE2\x80",
		   "a value that is cut off is not read beyond its end");
	set(BS_TEMPLATE_CITY, "a\xC2");
	is_str(render_as("{{city}}", BS_TEMPLATE_HEADER), "a\xC2",
		   "nor this one");
	set(BS_TEMPLATE_CITY, "a%0d%0ab");
	is_str(render_as("{{city}}", BS_TEMPLATE_HEADER), "a%0d%0ab",
		   "I04 %%0d%%0a stays what it is");
}

int
main(void)
{
	/* A tag is the value of its name, exactly once and as it is. */
	test_values();
	/* All other text stays as it is, to the last blank. */
	test_text();
	/* A section is there if its value is, or if it is not. */
	test_sections();
	/* What is no template is refused, with the place and the reason. */
	test_errors();
	/* A hint tells what could have been meant. */
	test_hints();
	/* Depth, source and output have limits. */
	test_limits();
	/* No value can bring markup of its own. */
	test_html();
	/* No value can end a line of a header. */
	test_header();
	return tap_done();
}
