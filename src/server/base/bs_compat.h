/*-------------------------------------------------------------------------
 *
 * bs_compat.h
 *	  Every difference between server versions 15 to 19 that touches us.
 *
 * Each stands once, with the version in which it came.  16 is not among the
 * servers that the tests run on.
 *
 * src/server/base/bs_compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_COMPAT_H
#define BS_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "birthday_scheduler needs PostgreSQL 15 or newer"
#endif

/* 16: the macros of variable-length values left postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 19: get_database_oid() and get_database_name() moved. */
#if PG_VERSION_NUM >= 190000
#include "catalog/pg_database.h"
#include "utils/lsyscache.h"
#else
#include "commands/dbcommands.h"
#endif

/* 17: named wait events of extensions. */
#include "utils/wait_event.h"

#define BS_WAIT_EVENT	PG_WAIT_EXTENSION

/* 17: AddWaitEventToSet and friends keep their form, the set gets an owner. */
#if PG_VERSION_NUM >= 170000
#define bs_create_wait_event_set(n)	CreateWaitEventSet(NULL, (n))
#else
#define bs_create_wait_event_set(n)	CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* 18: a magic block with name and version. */
#if PG_VERSION_NUM >= 180000
#define BS_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "birthday_scheduler", .version = BS_VERSION)
#else
#define BS_MODULE_MAGIC	PG_MODULE_MAGIC
#endif

/* 19: signal handlers take a second argument. */
#if PG_VERSION_NUM >= 190000
#define BS_SIGNAL_ARGS	SIGNAL_ARGS
#else
#define BS_SIGNAL_ARGS	int signo
#endif

/* 19: strings conform to the standard always, whatever is set. */
#if PG_VERSION_NUM >= 190000
#define BS_STANDARD_STRINGS true
#else
#define BS_STANDARD_STRINGS standard_conforming_strings
#endif

#endif							/* BS_COMPAT_H */
