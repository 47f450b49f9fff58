/*-------------------------------------------------------------------------
 *
 * sender_setting.h
 *	  One setting of bs_sender: what it is called, and which values it takes.
 *
 * src/sender/sender_setting.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_SETTING_H
#define BS_SENDER_SETTING_H

#include "sender/sender_settings.h"

typedef enum BsSettingType
{
	BS_TYPE_TEXT,
	BS_TYPE_COUNT,
	BS_TYPE_MS,
	BS_TYPE_BYTES,
	BS_TYPE_REAL,
	BS_TYPE_WORD				/* of a list, its place in it is stored */
} BsSettingType;

/* Who may say it. */
typedef enum BsVoice
{
	BS_VOICE_HERE,				/* flags, environment, file */
	BS_VOICE_BOTH,				/* the server where nothing is said here */
	BS_VOICE_SERVER				/* the server alone */
} BsVoice;

typedef bool (*BsSettingCheck) (const char *value, const char **reason);

typedef struct BsSetting
{
	const char *name;
	BsSettingType type;
	BsVoice		voice;
	size_t		offset;
	const char *usual;
	const char *unit;			/* of a bare number of BS_TYPE_MS or _BYTES */
	double		min;
	double		max;
	const char *words;			/* of BS_TYPE_WORD, each ended by a blank */
	BsSettingCheck check;
	bool		secret;			/* errors do not repeat it */
	const char *help;
} BsSetting;

#define BS_SETTINGS 34			/* in the table */

/* In the order of --help. */
extern const BsSetting bs_setting_table[BS_SETTINGS];

/*
 * Puts a value into its place in the settings; NULL settings: only looks whether
 * that can be.  False, and a full sentence in reason, where not.
 */
extern bool bs_setting_store(const BsSetting *setting, const char *value,
							 BsSettings *settings, char *reason, size_t size);

#endif							/* BS_SENDER_SETTING_H */
