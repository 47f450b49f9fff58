/*-------------------------------------------------------------------------
 *
 * bs_failpoint.c
 *	  Failpoints: armed one at a time by a superuser, for all processes.
 *
 * The install script knows nothing of them.  A test makes the function itself:
 *
 *	  CREATE FUNCTION bs_failpoint_arm(name text, action text, hit integer)
 *	  RETURNS void LANGUAGE C STRICT AS 'birthday_scheduler';
 *
 * src/server/base/bs_failpoint.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "server/base/bs_failpoint.h"

#ifdef BS_FAILPOINTS

#include <signal.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "server/base/bs_shmem.h"

PG_FUNCTION_INFO_V1(bs_failpoint_arm);

static const char *const action_words[] = {
	[BS_FAILPOINT_KILL9] = "kill9",
	[BS_FAILPOINT_ERROR] = "error",
	[BS_FAILPOINT_FATAL] = "fatal",
	[BS_FAILPOINT_STOP] = "stop"
};

static BsFailpointAction
action_of(const char *word)
{
	int			i;

	for (i = 0; i < lengthof(action_words); i++)
		if (strcmp(word, action_words[i]) == 0)
			return (BsFailpointAction) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a failpoint cannot \"%s\"", word),
			 errhint("Use kill9, error, fatal or stop.")));
}

/*
 * bs_failpoint_arm(name, action, hit)
 *		The process that reaches it for the hit-th time, counted over all of
 *		them, does the action, once.
 */
Datum
bs_failpoint_arm(PG_FUNCTION_ARGS)
{
	BsFailpoint armed = {
		.action = action_of(text_to_cstring(PG_GETARG_TEXT_PP(1))),
		.hits_left = PG_GETARG_INT32(2)
	};

	if (!superuser() || bs_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("failpoints are for superusers of a server that has birthday_scheduler preloaded")));
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(0), armed.name,
						   sizeof(armed.name));
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	bs_shared->failpoint = armed;
	LWLockRelease(bs_shared->lock);
	PG_RETURN_VOID();
}

static bool
is_hit(const char *name, BsFailpointAction *action)
{
	BsFailpoint *armed = &bs_shared->failpoint;
	bool		hit = false;

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	if (strcmp(armed->name, name) == 0 && --armed->hits_left <= 0)
	{
		*action = armed->action;
		armed->name[0] = '\0';
		hit = true;
	}
	LWLockRelease(bs_shared->lock);
	return hit;
}

void
bs_failpoint_reach(const char *name)
{
	BsFailpointAction action;

	if (bs_shared == NULL || !is_hit(name, &action))
		return;
	ereport(LOG,
			(errmsg("failpoint \"%s\": %s", name, action_words[action])));
	switch (action)
	{
		case BS_FAILPOINT_KILL9:
			kill(MyProcPid, SIGKILL);
			break;
		case BS_FAILPOINT_ERROR:
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("failpoint \"%s\"", name)));
			break;
		case BS_FAILPOINT_FATAL:
			ereport(FATAL,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("failpoint \"%s\"", name)));
			break;
		case BS_FAILPOINT_STOP:
			kill(MyProcPid, SIGSTOP);
			break;
	}
}

#endif							/* BS_FAILPOINTS */
