/*-------------------------------------------------------------------------
 *
 * bs_schema.h
 *	  May code of the extension run in the schema that it stands in?
 *
 * src/server/base/bs_schema.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SCHEMA_H
#define BS_SCHEMA_H

/*
 * Defines birthday_scheduler.schema.  Every function whose body names objects of
 * ours as text sets it to the schema that it was created in, and its check hook
 * is the guard.
 */
extern void bs_schema_define_guard(void);

/*
 * The schema of the extension as it is called now, quoted; for text of
 * statements.  Error 55000 if its owner is not trusted, or if the extension does
 * not exist.  Inside a transaction; static.
 */
extern const char *bs_schema_require(void);

#endif							/* BS_SCHEMA_H */
