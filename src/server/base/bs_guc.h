/*-------------------------------------------------------------------------
 *
 * bs_guc.h
 *	  The settings of the server, birthday_scheduler.*, which are in bs_settings.
 *
 * src/server/base/bs_guc.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_GUC_H
#define BS_GUC_H

#include "nodes/pg_list.h"

#include "core/sending/settings.h"

#define BS_SETTING_PREFIX	"birthday_scheduler."

#define BS_DATABASES_MAX	64

/* The values that hold now. */
extern BsSettings bs_settings;

/* Defines them; those that cannot change later only while preloading. */
extern void bs_guc_define(void);

/*
 * The names of databases in a value of birthday_scheduler.database, as C strings
 * of at most NAMEDATALEN - 1 bytes, in memory of the current context; false, and
 * in *reason a static full sentence, if it is no such list.
 */
extern bool bs_guc_split_databases(const char *value, List **names,
								   const char **reason);

#endif							/* BS_GUC_H */
