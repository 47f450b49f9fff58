/*-------------------------------------------------------------------------
 *
 * bs_shmem.c
 *	  Shared memory of the extension.
 *
 * No pointers into a process, no descriptors: only state that survives the
 * process that wrote it.  The latches are those of PGPROC, which is shared.
 *
 * src/bs_shmem.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "bs_guc.h"
#include "bs_shmem.h"

BsShared   *bs_shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static Size
shared_size(void)
{
	return add_size(offsetof(BsShared, workers),
					mul_size(sizeof(BsWorkerSlot), bs_senders + 2));
}

static void
request_shmem(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("birthday_scheduler", 1);
}

static void
startup_shmem(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	bs_shared = ShmemInitStruct("birthday_scheduler", shared_size(), &found);
	if (!found)
	{
		memset(bs_shared, 0, shared_size());
		bs_shared->lock = &GetNamedLWLockTranche("birthday_scheduler")->lock;
		bs_shared->worker_count = bs_senders + 2;
		bs_shared->broker.ready = bs_shared->broker.dead = -1;
		bs_stats_init(&bs_shared->stats);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
bs_shmem_request_hooks(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
}
