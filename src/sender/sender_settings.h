/*-------------------------------------------------------------------------
 *
 * sender_settings.h
 *	  What bs_sender is told: by flags, the environment, a file, and the server.
 *
 * In this order: what a flag says holds, then BS_SENDER_<NAME>, then the file,
 * then, for what all senders of a database should do alike, the server's
 * birthday_scheduler.<name>, then the default.
 *
 * src/sender/sender_settings.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_SETTINGS_H
#define BS_SENDER_SETTINGS_H

#include "core/sending/settings.h"

#define BS_EXIT_USAGE	2
#define BS_EXIT_CONFIG	78		/* EX_CONFIG of sysexits.h */

typedef struct BsSettingsError
{
	int			exit_code;		/* BS_EXIT_USAGE or BS_EXIT_CONFIG */
	char		text[512];
} BsSettingsError;

/* What the command line says beside settings. */
typedef struct BsCommand
{
	bool		help;
	bool		version;
	bool		check;
	const char *config_file;	/* NULL: the usual one, if it is there */
} BsCommand;

/* Reads the command line, once.  False: the reason is in error. */
extern bool bs_settings_take_flags(int argc, char **argv, BsCommand *command,
								   BsSettingsError *error);

/*
 * Reads file and environment anew, and takes the flags; what the server says is
 * kept.  False, and nothing has changed, if any of it is not valid.
 */
extern bool bs_settings_load(const char *config_file, BsSettingsError *error);

/*
 * The server's value of a setting, with its unit ("300s"); one that it keeps to
 * itself is ignored.  bs_settings_finish() follows.
 */
extern void bs_settings_take_server(const char *name, const char *value);

/*
 * The settings that follow, which hold until the next call; false, and the former
 * ones hold, if they do not go together.  *changed: are they others?
 */
extern bool bs_settings_finish(bool *changed, BsSettingsError *error);

extern BsSettings bs_settings;

/* The settings as --help lists them, to standard output. */
extern void bs_settings_print_help(void);

/* To be called at the end, for the memory checkers' sake. */
extern void bs_settings_free(void);

#endif							/* BS_SENDER_SETTINGS_H */
