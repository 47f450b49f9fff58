/*-------------------------------------------------------------------------
 *
 * bs_group.h
 *	  Which workers serve which database.
 *
 * Workers come in groups: a scheduler, the senders and a publisher for each
 * database that birthday_scheduler.database names.  There is room for so many
 * groups as was said at server start; a group without a database sleeps.
 *
 * src/server/base/bs_group.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_GROUP_H
#define BS_GROUP_H

#include "server/base/bs_shmem.h"

/*
 * While preloading, once the settings are there: the room, which is
 * birthday_scheduler.max_databases, and as many as are named at least.
 */
extern void bs_group_define_room(void);

/* Groups there is room for, and workers of each. */
extern int	bs_group_count(void);
extern int	bs_group_size(void);

/* Makes a group free, its counters 0; under the lock. */
extern void bs_group_clear(BsGroup *group);

/*
 * Brings the groups into line with birthday_scheduler.database as this process
 * read it last: who is named no longer loses its group, who is named and has
 * none gets one, the others keep theirs.  For the postmaster, once there is
 * shared memory, and for workers, at start and after a reload; it may be called
 * at any time and by all of them.
 */
extern void bs_group_follow_list(void);

/* The name of the database that a group serves; false, and "", for none. */
extern bool bs_group_get_name(const BsGroup *group, char *name);

/*
 * This process, a worker of the group, is connected to that database.  False
 * where the group serves another one by now.
 */
extern bool bs_group_connected(BsGroup *group, const char *name);

/*
 * Does it still serve it, without having been taken away and given back in the
 * meantime?
 */
extern bool bs_group_is_unchanged(const BsGroup *group);

/* Of the groups, how many have a database? */
extern int	bs_group_count_served(void);

/*
 * The group that serves this process's database; NULL if no group serves it, or
 * none of its workers has been connected yet.  Outside of transactions as well.
 */
extern BsGroup *bs_group_own(void);

/* The same inside a transaction: finds it before they are connected. */
extern BsGroup *bs_group_find_own(void);

#endif							/* BS_GROUP_H */
