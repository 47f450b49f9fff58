/*-------------------------------------------------------------------------
 *
 * planning_render.c
 *	  Templates for SQL: checked when stored, filled in when planned.
 *
 * src/server/planning/planning_render.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/text/date.h"
#include "core/text/template.h"
#include "server/base/bs_compat.h"

PG_FUNCTION_INFO_V1(bs_check_template);
PG_FUNCTION_INFO_V1(bs_render);

/* Of the last template that a call site used: they come in long runs. */
typedef struct BsRenderCache
{
	char	   *source;
	size_t		len;
	BsTemplate *tmpl;
	MemoryContextCallback free_callback;
} BsRenderCache;

static BsTemplate *
parse(text *source)
{
	BsTemplateError error;
	BsTemplate *tmpl = bs_template_parse(VARDATA_ANY(source),
										 VARSIZE_ANY_EXHDR(source), &error);

	if (tmpl == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 error.position > 0 ?
				 errmsg("%s at character %zu of the template",
						error.message, error.position) :
				 errmsg("%s", error.message),
				 error.hint[0] ? errhint("%s", error.hint) : 0));
	return tmpl;
}

static void
too_long_error(bool too_long)
{
	if (!too_long)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("the template can make a text of more than %d bytes",
					BS_TEMPLATE_MAX_OUTPUT)));
}

/*
 * bs_check_template
 *		Can it be used, for whatever user?
 *
 * It is tried with the longest values there can be, so that filling it in
 * cannot fail when a message is planned.  What stands in sections for absent
 * values is not in that text, but it is not longer than the source.
 */
Datum
bs_check_template(PG_FUNCTION_ARGS)
{
	BsTemplate *tmpl = parse(PG_GETARG_TEXT_PP(0));
	BsTemplateValue values[BS_TEMPLATE_NAME_COUNT];
	char		longest[201];
	size_t		len;
	bool		too_long = false;
	char	   *text;
	int			i;

	memset(longest, '"', sizeof(longest));	/* six bytes each in HTML */
	for (i = 0; i < BS_TEMPLATE_NAME_COUNT; i++)
	{
		values[i].data = longest;
		values[i].len = sizeof(longest);
	}
	text = bs_template_render(tmpl, values, BS_TEMPLATE_HTML, &len, &too_long);

	bs_template_free(tmpl);
	if (text == NULL)
		too_long_error(too_long);
	free(text);
	if (len > BS_TEMPLATE_MAX_OUTPUT - BS_TEMPLATE_MAX_SOURCE)
		too_long_error(true);
	PG_RETURN_BOOL(true);
}

static void
forget_template(void *arg)
{
	BsRenderCache *cache = arg;

	bs_template_free(cache->tmpl);
	cache->tmpl = NULL;
}

static BsTemplate *
parse_cached(FmgrInfo *flinfo, text *source)
{
	BsRenderCache *cache = flinfo->fn_extra;
	size_t		len = VARSIZE_ANY_EXHDR(source);

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(*cache));
		cache->free_callback.func = forget_template;
		cache->free_callback.arg = cache;
		MemoryContextRegisterResetCallback(flinfo->fn_mcxt,
										   &cache->free_callback);
		flinfo->fn_extra = cache;
	}
	if (cache->tmpl == NULL || cache->len != len ||
		memcmp(cache->source, VARDATA_ANY(source), len) != 0)
	{
		bs_template_free(cache->tmpl);
		cache->tmpl = NULL;
		if (cache->source)
			pfree(cache->source);
		cache->source = NULL;
		cache->tmpl = parse(source);
		cache->source = MemoryContextAlloc(flinfo->fn_mcxt, len + 1);
		memcpy(cache->source, VARDATA_ANY(source), len);
		cache->len = len;
	}
	return cache->tmpl;
}

static BsTemplateEscape
get_escape(text *word)
{
	char	   *escape = text_to_cstring(word);

	if (strcmp(escape, "plain") == 0)
		return BS_TEMPLATE_PLAIN;
	if (strcmp(escape, "html") == 0)
		return BS_TEMPLATE_HTML;
	if (strcmp(escape, "header") == 0)
		return BS_TEMPLATE_HEADER;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%.20s\" is not an escape", escape),
			 errhint("Write plain, html or header.")));
}

static void
set_value(BsTemplateValue *value, const char *data, size_t len)
{
	value->data = data;
	value->len = len;
}

static void
set_text_arg(FunctionCallInfo fcinfo, int argno, BsTemplateValue *value)
{
	text	   *arg;

	if (PG_ARGISNULL(argno))
		return;
	arg = PG_GETARG_TEXT_PP(argno);
	set_value(value, VARDATA_ANY(arg), VARSIZE_ANY_EXHDR(arg));
}

Datum
bs_render(PG_FUNCTION_ARGS)
{
	BsTemplateValue values[BS_TEMPLATE_NAME_COUNT];
	StringInfoData full_name;
	char		age[16];
	char		ordinal[24];
	char		date[MAXDATELEN + 1];
	BsTemplate *tmpl;
	BsTemplateEscape escape;
	char	   *rendered;
	size_t		len;
	bool		too_long = false;
	text	   *result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	tmpl = parse_cached(fcinfo->flinfo, PG_GETARG_TEXT_PP(0));
	escape = get_escape(PG_GETARG_TEXT_PP(1));

	memset(values, 0, sizeof(values));
	set_text_arg(fcinfo, 2, &values[BS_TEMPLATE_FIRST_NAME]);
	set_text_arg(fcinfo, 3, &values[BS_TEMPLATE_LAST_NAME]);
	initStringInfo(&full_name);
	appendBinaryStringInfo(&full_name,
						   values[BS_TEMPLATE_FIRST_NAME].data,
						   values[BS_TEMPLATE_FIRST_NAME].len);
	if (full_name.len > 0 && values[BS_TEMPLATE_LAST_NAME].len > 0)
		appendStringInfoChar(&full_name, ' ');
	appendBinaryStringInfo(&full_name,
						   values[BS_TEMPLATE_LAST_NAME].data,
						   values[BS_TEMPLATE_LAST_NAME].len);
	set_value(&values[BS_TEMPLATE_FULL_NAME], full_name.data, full_name.len);

	if (!PG_ARGISNULL(5) && !DATE_NOT_FINITE(PG_GETARG_DATEADT(5)))
	{
		int			year;
		int			month;
		int			day;

		j2date(PG_GETARG_DATEADT(5) + POSTGRES_EPOCH_JDATE,
			   &year, &month, &day);
		snprintf(date, sizeof(date), "%04d-%02d-%02d", year, month, day);
		set_value(&values[BS_TEMPLATE_DATE], date, strlen(date));
		if (!PG_ARGISNULL(4) && !DATE_NOT_FINITE(PG_GETARG_DATEADT(4)))
		{
			int			event_year;

			j2date(PG_GETARG_DATEADT(4) + POSTGRES_EPOCH_JDATE,
				   &event_year, &month, &day);
			if (year > event_year)
			{
				snprintf(age, sizeof(age), "%d", year - event_year);
				set_value(&values[BS_TEMPLATE_AGE], age, strlen(age));
				set_value(&values[BS_TEMPLATE_YEARS], age, strlen(age));
				bs_date_ordinal(year - event_year, ordinal, sizeof(ordinal));
				set_value(&values[BS_TEMPLATE_ORDINAL],
						  ordinal, strlen(ordinal));
			}
		}
	}
	set_text_arg(fcinfo, 6, &values[BS_TEMPLATE_CITY]);
	set_text_arg(fcinfo, 7, &values[BS_TEMPLATE_COUNTRY]);

	rendered = bs_template_render(tmpl, values, escape, &len, &too_long);
	if (rendered == NULL)
		too_long_error(too_long);
	/* cstring_to_text_with_len() throws if memory is short. */
	PG_TRY();
	{
		result = cstring_to_text_with_len(rendered, len);
	}
	PG_FINALLY();
	{
		free(rendered);
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(result);
}
