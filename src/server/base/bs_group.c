/*-------------------------------------------------------------------------
 *
 * bs_group.c
 *	  Which workers serve which database.
 *
 * What holds is what stands in shared memory, never a process's own idea of the
 * list: processes take up a reload one after the other, and one that is late must
 * not undo it.
 *
 * src/server/base/bs_group.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "server/base/bs_compat.h"
#include "server/base/bs_group.h"
#include "server/base/bs_guc.h"

BsShared   *bs_shared = NULL;

static int	room = 1;
static uint32 connected_generation = 0;

void
bs_group_define_room(void)
{
	List	   *names;
	const char *reason;

	room = bs_settings.max_databases;
	if (bs_guc_split_databases(bs_settings.databases, &names, &reason))
		room = Max(room, list_length(names));
}

int
bs_group_count(void)
{
	return room;
}

int
bs_group_size(void)
{
	return bs_settings.senders + 2;
}

/* They are counters and nothing else. */
static void
clear_stats(BsStats *stats)
{
	pg_atomic_uint64 *counters = (pg_atomic_uint64 *) stats;
	int			i;

	for (i = 0; i < sizeof(*stats) / sizeof(*counters); i++)
		pg_atomic_init_u64(&counters[i], 0);
}

/*
 * Workers that are still there count on for the former database; whoever comes
 * after them in a slot begins at 0.
 */
void
bs_group_clear(BsGroup *group)
{
	int			i;

	for (i = 0; i < bs_shared->group_size; i++)
		group->workers[i].database = InvalidOid;
	group->generation++;
	group->name[0] = '\0';
	group->database = InvalidOid;
	group->plan_wanted = group->recovery_wanted = false;
	memset(&group->broker, 0, sizeof(group->broker));
	group->broker.ready = group->broker.dead = -1;
	clear_stats(&group->stats);
}

/* "" finds one that is free. */
static BsGroup *
find_group(const char *name)
{
	int			i;

	for (i = 0; i < bs_shared->group_count; i++)
		if (strcmp(bs_shared->groups[i].name, name) == 0)
			return &bs_shared->groups[i];
	return NULL;
}

static bool
is_named(const List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
		return true;
	return false;
}

/*
 * How many of the names found no room.
 */
static int
follow_list(const List *names)
{
	int			left_out = 0;
	ListCell   *cell;
	int			i;

	for (i = 0; i < bs_shared->group_count; i++)
		if (bs_shared->groups[i].name[0] != '\0' &&
			!is_named(names, bs_shared->groups[i].name))
			bs_group_clear(&bs_shared->groups[i]);
	foreach(cell, names)
	{
		BsGroup    *group = find_group(lfirst(cell));

		if (group == NULL && (group = find_group("")) != NULL)
			strlcpy(group->name, lfirst(cell), sizeof(group->name));
		if (group == NULL)
			left_out++;
	}
	return left_out;
}

/*
 * bs_group_follow_list
 *		Bring the groups into line with birthday_scheduler.database.
 *
 * Who read the list before the one that is followed changes nothing; but where
 * that one seems to come from the future, the clock was set back.
 */
void
bs_group_follow_list(void)
{
	List	   *names;
	const char *reason;
	uint32		hash;
	int			left_out = 0;
	bool		is_new;

	if (!bs_guc_split_databases(bs_settings.databases, &names, &reason))
		elog(ERROR, "birthday_scheduler.database: %s", reason);
	hash = hash_bytes((const unsigned char *) bs_settings.databases,
					  strlen(bs_settings.databases));
	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	is_new = bs_shared->list_hash != hash;
	if (PgReloadTime >= bs_shared->list_read_at ||
		bs_shared->list_read_at > GetCurrentTimestamp())
	{
		bs_shared->list_read_at = PgReloadTime;
		bs_shared->list_hash = hash;
		left_out = follow_list(names);
	}
	LWLockRelease(bs_shared->lock);
	if (is_new && left_out > 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("birthday_scheduler has no workers for %d of the %d databases in \"birthday_scheduler.database\"",
						left_out, list_length(names)),
				 errhint("Raise \"birthday_scheduler.max_databases\" and restart the server.")));
}

bool
bs_group_get_name(const BsGroup *group, char *name)
{
	LWLockAcquire(bs_shared->lock, LW_SHARED);
	strlcpy(name, group->name, NAMEDATALEN);
	LWLockRelease(bs_shared->lock);
	return name[0] != '\0';
}

/*
 * A database that was dropped and made again begins with counters of its own.
 */
bool
bs_group_connected(BsGroup *group, const char *name)
{
	bool		ours;

	LWLockAcquire(bs_shared->lock, LW_EXCLUSIVE);
	ours = strcmp(group->name, name) == 0;
	if (ours && group->database != MyDatabaseId)
	{
		if (OidIsValid(group->database))
			bs_group_clear(group);
		strlcpy(group->name, name, sizeof(group->name));
		group->database = MyDatabaseId;
	}
	connected_generation = group->generation;
	LWLockRelease(bs_shared->lock);
	return ours;
}

bool
bs_group_is_unchanged(const BsGroup *group)
{
	bool		unchanged;

	LWLockAcquire(bs_shared->lock, LW_SHARED);
	unchanged = group->generation == connected_generation;
	LWLockRelease(bs_shared->lock);
	return unchanged;
}

int
bs_group_count_served(void)
{
	int			count = 0;
	int			i;

	LWLockAcquire(bs_shared->lock, LW_SHARED);
	for (i = 0; i < bs_shared->group_count; i++)
		count += bs_shared->groups[i].name[0] != '\0';
	LWLockRelease(bs_shared->lock);
	return count;
}

BsGroup *
bs_group_own(void)
{
	int			i;

	if (bs_shared == NULL || !OidIsValid(MyDatabaseId))
		return NULL;
	for (i = 0; i < bs_shared->group_count; i++)
		if (bs_shared->groups[i].database == MyDatabaseId)
			return &bs_shared->groups[i];
	return NULL;
}

BsGroup *
bs_group_find_own(void)
{
	BsGroup    *group = bs_group_own();
	char	   *name;

	if (group == NULL && bs_shared != NULL &&
		(name = get_database_name(MyDatabaseId)) != NULL)
	{
		LWLockAcquire(bs_shared->lock, LW_SHARED);
		group = find_group(name);
		LWLockRelease(bs_shared->lock);
	}
	return group;
}
