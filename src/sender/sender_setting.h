/*-------------------------------------------------------------------------
 *
 * sender_setting.h
 *	  One setting of bs_sender: its value as it is written.
 *
 * src/sender/sender_setting.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_SETTING_H
#define BS_SENDER_SETTING_H

#include "core/sending/settings.h"

/*
 * Puts a value into its place in the settings; NULL settings: only looks whether
 * that can be.  False, and a full sentence in reason, if not.
 */
extern bool bs_setting_store(const BsSetting *setting, const char *value,
							 BsSettings *settings, char *reason, size_t size);

/* Puts the default there. */
extern void bs_setting_store_default(const BsSetting *setting,
									 BsSettings *settings);

/* The default as it is written, "" for an empty one. */
extern const char *bs_setting_show_default(const BsSetting *setting, char *buf,
										   size_t size);

#endif							/* BS_SENDER_SETTING_H */
