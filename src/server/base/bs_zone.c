/*-------------------------------------------------------------------------
 *
 * bs_zone.c
 *	  Which time zone names are taken.
 *
 * Old names (US/Eastern) may be missing on a server: Debian 13 has them in a
 * package of their own.  Then they are read by the links of tzdata.zi, the text
 * form of the whole database, which lies beside the zones.
 *
 * The server takes much more than names of places: abbreviations, POSIX strings
 * ("UTC+3" is west of Greenwich, "Mars/Olympus0" is fine), any spelling in upper
 * and lower case.  For what it found in a file it keeps the file's spelling, for
 * what it read as a POSIX string the name in capitals.  So a name with a small
 * letter that comes back as it went in is a file; of names in capitals alone
 * there is a handful.
 *
 * src/server/base/bs_zone.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "server/base/bs_compat.h"
#include "server/base/bs_zone.h"

PG_FUNCTION_INFO_V1(bs_is_timezone);
PG_FUNCTION_INFO_V1(bs_zone_name);

#define MAX_NAME 100
#define LINKS_FILE "tzdata.zi"
#define MAX_LINK_LINE 256		/* longer ones are no links */
#define MAX_LINK_READS 20000	/* the file has some 4,300 lines */

/* An old name, and the one that has its rules. */
typedef struct ZoneLink
{
	char	   *name;
	char	   *target;
	pg_tz	   *zone;			/* of the target, once the name was missing */
} ZoneLink;

/* The links as they were read when the zone files had this stamp. */
static MemoryContext links_cxt;
static ZoneLink *links;
static int	link_count;
static uint64 links_stamp;
static TimestampTz links_checked;	/* start of the statement that looked last */

/* Names of the database that have no small letter. */
static const char *const capital_names[] = {
	"GB", "GMT", "GMT+0", "GMT-0", "GMT0", "NZ", "NZ-CHAT", "PRC", "ROC", "ROK",
	"UCT", "UTC", "W-SU"
};

/* In the folder, but not places. */
static const char *const refused_names[] = {
	"Factory", "localtime", "posixrules", "leapseconds", "Etc/Unknown"
};

static bool
is_among(const char *name, const char *const *names, int count)
{
	int			i;

	for (i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/*
 * May this be the name of a place?
 */
static bool
is_name(const char *name)
{
	size_t		len = strlen(name);
	bool		has_small = false;
	size_t		i;

	if (len == 0 || len > MAX_NAME)
		return false;
	for (i = 0; i < len; i++)
	{
		char		c = name[i];

		if (c >= 'a' && c <= 'z')
			has_small = true;
		else if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
				   c == '/' || c == '_' || c == '-' || c == '+'))
			return false;
	}
	if (name[0] == '/' || name[len - 1] == '/')
		return false;			/* the server would log that it is no folder */

	if (!has_small && !is_among(name, capital_names, lengthof(capital_names)))
		return false;
	return strncmp(name, "posix/", 6) != 0 && strncmp(name, "right/", 6) != 0 &&
		!is_among(name, refused_names, lengthof(refused_names));
}

/*
 * The rules of a zone that the server has under this name, for which is_name()
 * holds.
 */
static pg_tz *
find_file(const char *name)
{
	pg_tz	   *zone = pg_tzset(name);

	if (zone == NULL || !pg_tz_acceptable(zone) ||
		strcmp(pg_get_timezone_name(zone), name) != 0)
		return NULL;
	return zone;
}

/* The zone files that stand for the database: new ones are written at an update. */
static const char *const zone_files[] = {
	LINKS_FILE, "zone1970.tab", "zone.tab", "UTC", "Europe/Kyiv",
	"America/New_York"
};

/*
 * The path of a file in the folder of the zone database, or of the folder itself;
 * "path" has room for MAXPGPATH.
 */
static void
get_zone_path(char *path, const char *file)
{
	char		share[MAXPGPATH];

	if (BS_SYSTEM_TZDIR[0] != '\0')
		strlcpy(path, BS_SYSTEM_TZDIR, MAXPGPATH);
	else
	{
		get_share_path(my_exec_path, share);
		snprintf(path, MAXPGPATH, "%.*s/timezone", MAXPGPATH - 10, share);
	}
	if (file != NULL)
	{
		strlcat(path, "/", MAXPGPATH);
		strlcat(path, file, MAXPGPATH);
	}
}

uint64
bs_zone_stamp(void)
{
	char		path[MAXPGPATH];
	struct stat st;
	uint64		stamp = 0;
	int			i;

	for (i = -1; i < (int) lengthof(zone_files); i++)
	{
		get_zone_path(path, i < 0 ? NULL : zone_files[i]);
		if (stat(path, &st) != 0)
			continue;
		stamp = stamp * 31 + (uint64) st.st_ino;
		stamp = stamp * 31 + (uint64) st.st_mtim.tv_sec;
		stamp = stamp * 31 + (uint64) st.st_mtim.tv_nsec;
		stamp = stamp * 31 + (uint64) st.st_size;
	}
	return stamp;
}

static int
compare_links(const void *a, const void *b)
{
	return strcmp(((const ZoneLink *) a)->name, ((const ZoneLink *) b)->name);
}

/*
 * Keeps a line of tzdata.zi if it is a link: "L target name".
 */
static void
add_link(const char *line)
{
	char		target[MAX_NAME + 1];
	char		name[MAX_NAME + 1];

	if (sscanf(line, "L %" CppAsString2(MAX_NAME) "s %" CppAsString2(MAX_NAME) "s",
			   target, name) != 2)
		return;
	if ((link_count & (link_count - 1)) == 0)
	{
		int			room = Max(2 * link_count, 1);

		links = links == NULL ? palloc(room * sizeof(ZoneLink)) :
			repalloc(links, room * sizeof(ZoneLink));
	}
	links[link_count].name = pstrdup(name);
	links[link_count].target = pstrdup(target);
	links[link_count].zone = NULL;
	link_count++;
}

/*
 * Reads the links if the zone files are not those that were read before; looks
 * once a statement.  A server without tzdata.zi has none.
 */
static void
read_links(void)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();
	uint64		stamp;
	char		path[MAXPGPATH];
	char		line[MAX_LINK_LINE];
	bool		at_start = true;
	int			reads = 0;
	struct stat st;
	MemoryContext old_cxt;
	FILE	   *file;

	if (links_cxt == NULL)
		links_cxt = AllocSetContextCreate(TopMemoryContext,
										  "birthday_scheduler zone links",
										  ALLOCSET_SMALL_SIZES);
	else if (links_checked == now)
		return;
	links_checked = now;
	stamp = bs_zone_stamp();
	if (links_stamp == stamp)
		return;
	links = NULL;
	link_count = 0;
	links_stamp = 0;
	MemoryContextReset(links_cxt);

	get_zone_path(path, LINKS_FILE);
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
		(file = AllocateFile(path, "r")) != NULL)
	{
		old_cxt = MemoryContextSwitchTo(links_cxt);
		while (reads++ < MAX_LINK_READS &&
			   fgets(line, sizeof(line), file) != NULL)
		{
			bool		is_whole = strchr(line, '\n') != NULL;

			if (at_start && is_whole)
				add_link(line);
			at_start = is_whole;
		}
		MemoryContextSwitchTo(old_cxt);
		FreeFile(file);
		if (link_count > 0)
			qsort(links, link_count, sizeof(ZoneLink), compare_links);
	}
	links_stamp = stamp;
}

/*
 * The link of that name; NULL: there is no such link.
 */
static ZoneLink *
find_link(char *name)
{
	ZoneLink	key = {.name = name};

	read_links();
	if (link_count == 0)
		return NULL;
	return bsearch(&key, links, link_count, sizeof(ZoneLink), compare_links);
}

/*
 * The server remembers what it found and nothing else: it looks through its
 * folders each time that it is asked for a name that it lacks.  So what a link
 * came to is remembered here.
 */
pg_tz *
bs_zone_find(const text *name)
{
	char		copy[MAX_NAME + 1];
	ZoneLink   *link;
	pg_tz	   *zone;
	size_t		len = VARSIZE_ANY_EXHDR(name);

	if (len > MAX_NAME)
		return NULL;
	memcpy(copy, VARDATA_ANY(name), len);
	copy[len] = '\0';
	if (!is_name(copy))
		return NULL;
	link = links_cxt == NULL ? NULL : find_link(copy);
	if (link != NULL && link->zone != NULL)
		return link->zone;
	zone = find_file(copy);
	if (zone != NULL)
		return zone;
	link = find_link(copy);
	if (link == NULL || !is_name(link->target))
		return NULL;
	link->zone = find_file(link->target);
	return link->zone;
}

const char *
bs_zone_hint(void)
{
	static const char *const names =
	"Use a name such as Area/City, in the exact spelling of the view pg_timezone_names; abbreviations and POSIX strings are not taken.";

	if (find_file("US/Eastern") != NULL)
		return names;
	return psprintf("%s This server lacks old names such as US/Eastern: on Debian 13 and later they are in the package tzdata-legacy.",
					names);
}

Datum
bs_is_timezone(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);

	PG_RETURN_BOOL(bs_zone_find(name) != NULL);
}

/* The name by whose rules the server goes; NULL for an unknown zone. */
Datum
bs_zone_name(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	pg_tz	   *zone = bs_zone_find(name);

	if (zone == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(pg_get_timezone_name(zone)));
}
