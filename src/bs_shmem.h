/*-------------------------------------------------------------------------
 *
 * bs_shmem.h
 *	  What all processes of the server see: who works, what wakes whom, and the
 *	  limits that all senders share.
 *
 * src/bs_shmem.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SHMEM_H
#define BS_SHMEM_H

#include "datatype/timestamp.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "net/net_limit.h"

#define BS_SENDER_NAME_SIZE 64

/* One per static worker; slot 0 is the scheduler, the others are senders. */
typedef struct BsWorkerSlot
{
	pid_t		pid;			/* 0: not running */
	Latch	   *latch;			/* valid while pid is not 0 */
	TimestampTz started_at;
	int			failed_starts;	/* in a row; counted before the work begins */
	TimestampTz settings_time;	/* when the settings were read that it began
								 * with */
	char		state[16];		/* "idle", "working", "waiting", "stopped" */
	char		identity[BS_SENDER_NAME_SIZE];	/* bs_claim(claimed_by) */
	TimestampTz sleep_until;	/* a sender's next look; see bs_wake.c */
	uint64		sent;
	uint64		failed;
	uint64		retried;
	TimestampTz last_error_at;
	char		last_error[256];	/* without addresses, names or secrets */
} BsWorkerSlot;

typedef struct BsShared
{
	LWLock	   *lock;			/* of everything below */
	bool		plan_wanted;
	uint64		zone_stamp;		/* of the zone database that the scheduler saw */
	BsBucket	bucket;
	BsBreaker	breaker;
	int			worker_count;
	BsWorkerSlot workers[FLEXIBLE_ARRAY_MEMBER];
} BsShared;

/* NULL where the library is not in shared_preload_libraries. */
extern BsShared *bs_shared;

/* While preloading: asks for the memory and registers the workers. */
extern void bs_shmem_request_hooks(void);

#endif							/* BS_SHMEM_H */
