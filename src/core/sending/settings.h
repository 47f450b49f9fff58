/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings of the server's workers and of bs_sender: one table for both.
 *
 * settings.def has a line for each. The host keeps their values in bs_settings
 * and says where they come from.
 *
 * src/core/sending/settings.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_SETTINGS_H
#define BS_CORE_SETTINGS_H

#include "core/amqp/amqp.h"
#include "core/mail/mail.h"

#define BS_SENDER_MEMORY_MIN_KB 4096
#define BS_SENDER_MEMORY_MAX_KB INT32_MAX

typedef enum BsQueueKind
{
	BS_QUEUE_POSTGRES,			/* senders claim due rows themselves */
	BS_QUEUE_RABBITMQ			/* they are published, senders consume */
} BsQueueKind;

typedef enum BsLogFormat
{
	BS_LOG_PLAIN,
	BS_LOG_JSON
} BsLogFormat;

/* Whose setting it is. */
typedef enum BsSettingHost
{
	BS_SETTING_SERVER,			/* the server's alone */
	BS_SETTING_SENDER,			/* bs_sender's alone */
	BS_SETTING_EACH,			/* of both, each has its own value */
	BS_SETTING_SHARED,			/* of both; bs_sender takes the server's value
								 * if it is told none */
	BS_SETTING_RULE				/* the server's, which bs_sender always takes */
} BsSettingHost;

typedef enum BsSettingKind
{
	BS_KIND_TEXT,				/* char *, never NULL */
	BS_KIND_COUNT,				/* int */
	BS_KIND_SECONDS,			/* int */
	BS_KIND_MS,					/* int */
	BS_KIND_KB,					/* int, of 1,024 bytes */
	BS_KIND_REAL,				/* double */
	BS_KIND_WORD				/* int: the place of the word in the list */
} BsSettingKind;

#define BS_SETTING_HIDDEN	0x01	/* shown to superusers only */
#define BS_SETTING_SECRET	0x02	/* errors do not repeat its value */
#define BS_SETTING_RESTART	0x04	/* changes when the server starts */
#define BS_SETTING_LIST		0x08	/* names, separated by commas */
#define BS_SETTING_OR_ZERO	0x10	/* 0 is taken, whatever "min" is */

/*
 * Is it a value of this setting?  If it is not, *reason is a static full sentence.
 * The empty string is not shown to it: it stands for a setting that is not set.
 */
typedef bool (*BsSettingCheck) (const char *value, const char **reason);

typedef struct BsSetting
{
	const char *name;
	BsSettingKind kind;
	BsSettingHost host;
	size_t		offset;			/* of its field in BsSettings */
	const char *text;			/* default of BS_KIND_TEXT */
	double		number;			/* default of the others */
	double		min;
	double		max;
	const char *words;			/* of BS_KIND_WORD, separated by blanks */
	BsSettingCheck check;		/* NULL: every text is taken */
	int			flags;
	const char *short_text;
	const char *long_text;
} BsSetting;

typedef struct BsSettings
{
	const char *prefix;			/* of the names in errors; the host's */
#define BS_TEXT_NAMED(name, field, ...) char *field;
#define BS_TEXT(name, ...)		char *name;
#define BS_COUNT(name, ...)	int name;
#define BS_SECONDS(name, ...)	int name##_s;
#define BS_MS(name, ...)		int name##_ms;
#define BS_KB(name, ...)		int name##_kb;
#define BS_REAL(name, ...)		double name;
#define BS_WORD(name, ...)		int name;
#include "core/sending/settings.def"
#include "core/sending/settings_undef.h"
} BsSettings;

/* The place of each in the table, as BS_AT_mail_from. */
typedef enum BsSettingIndex
{
#define BS_TEXT_NAMED(name, field, ...) BS_AT_##field,
#define BS_TEXT(name, ...)		BS_AT_##name,
#define BS_COUNT(name, ...)	BS_AT_##name,
#define BS_SECONDS(name, ...)	BS_AT_##name,
#define BS_MS(name, ...)		BS_AT_##name,
#define BS_KB(name, ...)		BS_AT_##name,
#define BS_REAL(name, ...)		BS_AT_##name,
#define BS_WORD(name, ...)		BS_AT_##name,
#include "core/sending/settings.def"
#include "core/sending/settings_undef.h"
	BS_SETTING_COUNT
} BsSettingIndex;

extern const BsSetting bs_setting_table[BS_SETTING_COUNT];

/* The values that hold now; the host has it. */
extern BsSettings bs_settings;

/* Is it an address and a port? */
extern bool bs_settings_check_listen(const char *value, const char **reason);

/* Splits "address:port", the address of IPv6 in brackets. */
extern bool bs_settings_split_listen(const char *value, char *host,
									 size_t size, int *port);

/*
 * Is it a text, or a number in the unit of the kind, that the setting takes? If
 * it is not, *reason is a static full sentence, NULL where min and max say it.
 */
extern bool bs_setting_takes_text(const BsSetting *setting, const char *value,
								  const char **reason);
extern bool bs_setting_takes_number(const BsSetting *setting, double value);

/* The place of a word among the setting's, or -1. */
extern int	bs_setting_find_word(const BsSetting *setting, const char *value,
								 size_t len);

#endif							/* BS_CORE_SETTINGS_H */
