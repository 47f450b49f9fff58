/*-------------------------------------------------------------------------
 *
 * bs_zone.c
 *	  Which time zone names are taken.
 *
 * The server takes much more than names of places: abbreviations, POSIX strings
 * ("UTC+3" is west of Greenwich, "Mars/Olympus0" is fine), any spelling in upper
 * and lower case.  For what it found in a file it keeps the file's spelling, for
 * what it read as a POSIX string the name in capitals.  So a name with a small
 * letter that comes back as it went in is a file; of names in capitals alone
 * there is a handful.
 *
 * src/bs_zone.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "bs_compat.h"
#include "bs_zone.h"

PG_FUNCTION_INFO_V1(bs_is_timezone);

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

pg_tz *
bs_zone_find(const char *name, size_t len)
{
	char		copy[TZ_STRLEN_MAX + 1];
	bool		has_small = false;
	size_t		i;
	pg_tz	   *zone;

	if (len == 0 || len > 100)
		return NULL;
	for (i = 0; i < len; i++)
	{
		char		c = name[i];

		if (c >= 'a' && c <= 'z')
			has_small = true;
		else if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
				   c == '/' || c == '_' || c == '-' || c == '+'))
			return NULL;
	}
	memcpy(copy, name, len);
	copy[len] = '\0';
	if (copy[0] == '/' || copy[len - 1] == '/')
		return NULL;			/* the server would log that it is no folder */

	if (!has_small && !is_among(copy, capital_names, lengthof(capital_names)))
		return NULL;
	if (strncmp(copy, "posix/", 6) == 0 || strncmp(copy, "right/", 6) == 0 ||
		is_among(copy, refused_names, lengthof(refused_names)))
		return NULL;
	zone = pg_tzset(copy);
	if (zone == NULL || !pg_tz_acceptable(zone) ||
		strcmp(pg_get_timezone_name(zone), copy) != 0)
		return NULL;
	return zone;
}

/* The zone files that stand for the database: new ones are written at an update. */
static const char *const zone_files[] = {
	"tzdata.zi", "zone1970.tab", "zone.tab", "UTC", "Europe/Kyiv",
	"America/New_York"
};

uint64
bs_zone_stamp(void)
{
	char		path[MAXPGPATH];
	char		dir[MAXPGPATH];
	struct stat st;
	uint64		stamp = 0;
	int			i;

	if (BS_SYSTEM_TZDIR[0] != '\0')
		strlcpy(dir, BS_SYSTEM_TZDIR, sizeof(dir));
	else
	{
		get_share_path(my_exec_path, path);
		snprintf(dir, sizeof(dir), "%.*s/timezone",
				 (int) sizeof(dir) - 10, path);
	}
	for (i = -1; i < (int) lengthof(zone_files); i++)
	{
		if (i < 0)
			strlcpy(path, dir, sizeof(path));
		else
			snprintf(path, sizeof(path), "%.*s/%s",
					 (int) sizeof(path) - 32, dir, zone_files[i]);
		if (stat(path, &st) != 0)
			continue;
		stamp = stamp * 31 + (uint64) st.st_ino;
		stamp = stamp * 31 + (uint64) st.st_mtim.tv_sec;
		stamp = stamp * 31 + (uint64) st.st_mtim.tv_nsec;
		stamp = stamp * 31 + (uint64) st.st_size;
	}
	return stamp;
}

Datum
bs_is_timezone(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);

	PG_RETURN_BOOL(bs_zone_find(VARDATA_ANY(name),
								VARSIZE_ANY_EXHDR(name)) != NULL);
}
