/*-------------------------------------------------------------------------
 *
 * host.h
 *	  What the hosts of the mailer and of the link have in common: a clock, a
 *	  limit to every wait, and what must hold at the end.
 *
 * test/unit/host.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_HOST_H
#define BS_HOST_H

#include "tap.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "core/mail/mail.h"

/* A call that takes longer has waited; a busy machine may take a part of it. */
#define BLOCKED_MS	5000

#define LIMIT_MS	100000		/* of any one wait: far more than is needed */

extern int64_t now_ms(void);
extern int64_t longest_call_ms;
extern void note_call(int64_t began_ms);
extern struct pollfd poll_entry(int fd, short events);

/* A listening socket on a free port of the loopback. */
extern int	listen_somewhere(int backlog, int *port);

extern void host_begin(void);
extern int	host_end(void);

#endif							/* BS_HOST_H */
