/*-------------------------------------------------------------------------
 *
 * bs_module.c
 *	  Loading of the library, and what SQL can ask of it as a whole.
 *
 * src/server/base/bs_module.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "server/base/bs_column_guard.h"
#include "server/base/bs_compat.h"
#include "server/base/bs_group.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_shmem.h"
#include "server/base/bs_worker.h"

BS_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

PG_FUNCTION_INFO_V1(bs_library_version);
PG_FUNCTION_INFO_V1(bs_is_preloaded);
PG_FUNCTION_INFO_V1(bs_system_identifier);
PG_FUNCTION_INFO_V1(bs_horizon);
PG_FUNCTION_INFO_V1(bs_max_lateness);
PG_FUNCTION_INFO_V1(bs_retention);
PG_FUNCTION_INFO_V1(bs_capped);

void
_PG_init(void)
{
	bs_guc_define();
	/* pg_upgrade starts servers in which nothing may work. */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	bs_column_guard_install();
	bs_group_define_room();
	bs_shmem_request_hooks();
	bs_worker_register_all();
}

Datum
bs_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(BS_VERSION));
}

Datum
bs_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(bs_shared != NULL);
}

Datum
bs_system_identifier(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) GetSystemIdentifier());
}

static Datum
seconds_to_interval(int seconds)
{
	Interval   *result = palloc0(sizeof(Interval));

	result->time = (TimeOffset) seconds * USECS_PER_SEC;
	PG_RETURN_INTERVAL_P(result);
}

Datum
bs_horizon(PG_FUNCTION_ARGS)
{
	return seconds_to_interval(bs_settings.horizon_s);
}

Datum
bs_max_lateness(PG_FUNCTION_ARGS)
{
	return seconds_to_interval(bs_settings.max_lateness_s);
}

Datum
bs_retention(PG_FUNCTION_ARGS)
{
	if (bs_settings.retention_s == 0)
		PG_RETURN_NULL();
	return seconds_to_interval(bs_settings.retention_s);
}

/*
 * The session's user and not the current one, which is the owner of the function
 * that asks.
 */
Datum
bs_capped(PG_FUNCTION_ARGS)
{
	TimestampTz instant = PG_GETARG_TIMESTAMPTZ(0);
	Interval   *back = PG_GETARG_INTERVAL_P(1);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz first;

	if (superuser_arg(GetSessionUserId()))
		PG_RETURN_TIMESTAMPTZ(instant);
	first = now - back->time - back->day * USECS_PER_DAY;
	PG_RETURN_TIMESTAMPTZ(Max(first, Min(instant, now)));
}
