/*-------------------------------------------------------------------------
 *
 * bs_column_guard.h
 *	  Refuses further columns in tables of the extension.
 *
 * src/server/base/bs_column_guard.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_COLUMN_GUARD_H
#define BS_COLUMN_GUARD_H

/* While preloading: ALTER TABLE ... ADD COLUMN on them fails with 0A000. */
extern void bs_column_guard_install(void);

#endif							/* BS_COLUMN_GUARD_H */
