/*-------------------------------------------------------------------------
 *
 * bs_failpoint.h
 *	  Places at which a test makes the process die, fail or stand still.
 *
 * BS_FAILPOINT("name") is nothing at all unless the library was built with
 * -DBS_FAILPOINTS (make FAILPOINTS=1).  It may stand where an error can be
 * thrown and no lock is held: never below a call of libcurl's.
 *
 * src/server/base/bs_failpoint.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_FAILPOINT_H
#define BS_FAILPOINT_H

#ifdef BS_FAILPOINTS

#define BS_FAILPOINT(name) bs_failpoint_reach(name)

typedef enum BsFailpointAction
{
	BS_FAILPOINT_KILL9,			/* as by the kernel */
	BS_FAILPOINT_ERROR,
	BS_FAILPOINT_FATAL,
	BS_FAILPOINT_STOP			/* SIGSTOP, until it gets SIGCONT */
} BsFailpointAction;

/* In shared memory; a crash of the server disarms it. */
typedef struct BsFailpoint
{
	char		name[64];		/* empty: none is armed */
	BsFailpointAction action;
	int			hits_left;		/* acts when that becomes 0 */
} BsFailpoint;

extern void bs_failpoint_reach(const char *name);

#else
#define BS_FAILPOINT(name) ((void) 0)
#endif

#endif							/* BS_FAILPOINT_H */
