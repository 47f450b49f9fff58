/*-------------------------------------------------------------------------
 *
 * sender_loop.h
 *	  The life of bs_sender: one loop, one place where it waits.
 *
 * src/sender/sender_loop.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_LOOP_H
#define BS_SENDER_LOOP_H

/*
 * Sends until SIGTERM or SIGINT, and gives the exit code: 0, 1 where outcomes
 * could not be recorded in time, BS_EXIT_CONFIG if it cannot begin.  The
 * settings are loaded; SIGHUP loads them anew from the same file.
 */
extern int	bs_loop_run(const char *config_file);

#endif							/* BS_SENDER_LOOP_H */
