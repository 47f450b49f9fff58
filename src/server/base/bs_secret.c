/*-------------------------------------------------------------------------
 *
 * bs_secret.c
 *	  One setting may hold a password: its value stays out of the log.
 *
 * src/server/base/bs_secret.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/elog.h"

#include "server/base/bs_secret.h"

static emit_log_hook_type prev_emit_log_hook = NULL;

/*
 * At a reload the postmaster logs each setting that has changed, with its value,
 * and asks nobody whether it is secret.  A hook may leave a message out, but not
 * change it: so there is another one in its place.
 */
static void
keep_amqp_url(ErrorData *edata)
{
	if (!IsUnderPostmaster && edata->output_to_server &&
		edata->message != NULL && strchr(edata->message, '@') != NULL &&
		strstr(edata->message, "birthday_scheduler.amqp_url") != NULL)
	{
		edata->output_to_server = false;
		ereport(LOG,
				(errmsg("parameter \"birthday_scheduler.amqp_url\" changed")));
	}
	if (prev_emit_log_hook != NULL)
		prev_emit_log_hook(edata);
}

void
bs_secret_guard_log(void)
{
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = keep_amqp_url;
}
