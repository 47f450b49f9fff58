/*-------------------------------------------------------------------------
 *
 * bs_shmem.c
 *	  Shared memory of the extension.
 *
 * No pointers into a process, no descriptors: only state that survives the
 * process that wrote it.  The latches are those of PGPROC, which is shared, at
 * the same address in every process.
 *
 * src/server/base/bs_shmem.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "server/base/bs_group.h"
#include "server/base/bs_shmem.h"

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* The slots follow the groups. */
static Size
slots_offset(void)
{
	return MAXALIGN(add_size(offsetof(BsShared, groups),
							 mul_size(sizeof(BsGroup), bs_group_count())));
}

static Size
shared_size(void)
{
	return add_size(slots_offset(),
					mul_size(sizeof(BsWorkerSlot),
							 bs_group_count() * bs_group_size()));
}

static void
init_shared(void)
{
	BsWorkerSlot *slots = (BsWorkerSlot *) ((char *) bs_shared + slots_offset());
	int			i;

	memset(bs_shared, 0, shared_size());
	bs_shared->lock = &GetNamedLWLockTranche("birthday_scheduler")->lock;
	pg_atomic_init_u64(&bs_shared->breaker_opened, 0);
	for (i = 0; i < bs_group_count() * bs_group_size(); i++)
		pg_atomic_init_u64(&slots[i].holding_ms, 0);
	bs_shared->group_count = bs_group_count();
	bs_shared->group_size = bs_group_size();
	for (i = 0; i < bs_shared->group_count; i++)
	{
		bs_shared->groups[i].workers = slots + i * bs_shared->group_size;
		bs_group_clear(&bs_shared->groups[i]);
	}
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
		init_shared();
	LWLockRelease(AddinShmemInitLock);
	/* Also if no worker is ever started, as on a standby. */
	if (!found)
		bs_group_follow_list();
}

void
bs_shmem_request_hooks(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
}
