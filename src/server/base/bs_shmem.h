/*-------------------------------------------------------------------------
 *
 * bs_shmem.h
 *	  What all processes of the server see: who works, what wakes whom, and the
 *	  limits that all senders share.
 *
 * src/server/base/bs_shmem.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SHMEM_H
#define BS_SHMEM_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "core/amqp/payload.h"
#include "core/sending/limit.h"
#include "server/base/bs_failpoint.h"
#include "server/base/bs_stats.h"

#define BS_SENDER_NAME_SIZE 64

/*
 * One per static worker: in each group slot 0 is the scheduler's, the last one
 * the publisher's, those between are the senders'.
 */
typedef struct BsWorkerSlot
{
	pid_t		pid;			/* 0: not running */
	Latch	   *latch;			/* valid while pid is not 0 */
	TimestampTz started_at;
	int			failed_starts;	/* in a row; counted before the work begins */
	bool		start_failed;	/* last_error is that of a start */
	TimestampTz settings_time;	/* when the settings were read that it began
								 * with */
	Oid			database;		/* whose counts these are */
	char		state[16];		/* "idle", "working", "waiting", "stopped" */
	char		identity[BS_SENDER_NAME_SIZE];	/* bs_claim(claimed_by) */
	TimestampTz sleep_until;	/* a sender's next look; see bs_wake.c */
	pg_atomic_uint64 holding_ms;	/* when it last made a turn with messages
									 * in hand, bs_time_monotonic_ms(); 0: it
									 * holds none; without the lock */
	int			sessions;		/* a sender's, that are open at the relay */
	int			session_limit;	/* how many the relay takes of it; 0: all */
	uint64		sent;
	uint64		failed;
	uint64		retried;
	TimestampTz last_error_at;
	char		last_error[256];	/* without addresses, names or secrets */
} BsWorkerSlot;

/* The broker as publisher and senders saw it; counts are since server start. */
typedef struct BsBrokerStats
{
	bool		up;				/* the publisher's connection */
	bool		blocked;		/* the broker takes nothing: short of memory
								 * or disk */
	TimestampTz since;			/* when one of them changed */
	int64		ready;			/* messages waiting in the queue, -1: unknown */
	int64		dead;			/* in the dead letters, -1: unknown */
	TimestampTz counted_at;		/* those two */
	uint64		published;		/* confirmed by the broker */
	uint64		refused;		/* nacked or unroutable */
	uint64		consumed;		/* copies that senders received */
	uint64		dropped;		/* of these: stale, early, or finished */
	uint64		failed;			/* of these: of messages that FAILED, rejected */
	uint64		faults[BS_PAYLOAD_FAULTS];	/* of these: unreadable, rejected */
} BsBrokerStats;

/* The workers of one database; bs_group.c says of which. */
typedef struct BsGroup
{
	BsStats		stats;			/* atomics, without the lock */
	char		name[NAMEDATALEN];	/* of the database; "": the group is free */
	uint32		generation;		/* of those whom it served */
	Oid			database;		/* as its workers found it, InvalidOid: not
								 * yet; one aligned word, read without the
								 * lock */
	bool		plan_wanted;
	bool		recovery_wanted;	/* a sender has gone that may hold
									 * messages */
	BsBrokerStats broker;
	BsWorkerSlot *workers;		/* group_size of them, in shared memory */
} BsGroup;

/* What there is once a server: the relay is the same for all databases. */
typedef struct BsShared
{
	pg_atomic_uint64 breaker_opened;
	LWLock	   *lock;			/* of everything below, and of the groups */
	uint64		zone_stamp;		/* of the zone database that a scheduler saw */
	BsBucket	bucket;
	BsBreaker	breaker;
#ifdef BS_FAILPOINTS
	BsFailpoint failpoint;
#endif
	TimestampTz list_read_at;	/* the list that the groups follow */
	uint32		list_hash;
	int			group_count;
	int			group_size;		/* workers of a group */
	BsGroup		groups[FLEXIBLE_ARRAY_MEMBER];
} BsShared;

/* NULL if the library is not in shared_preload_libraries; bs_group.c has it. */
extern BsShared *bs_shared;

/* While preloading: asks for the memory and registers the workers. */
extern void bs_shmem_request_hooks(void);

#endif							/* BS_SHMEM_H */
