/*-------------------------------------------------------------------------
 *
 * tls_server.h
 *	  The TLS side of a server under test: a child, openssl s_server.
 *
 * The server itself speaks to it in clear text, through pipes.
 *
 * test/unit/tls_server.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_TLS_SERVER_H
#define BS_TLS_SERVER_H

#include "host.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char tls_cert[64];
extern int	tls_port;
extern int	tls_in;				/* what the client says, in clear */
extern int	tls_out;

extern bool make_certificate(void);

/* A child that speaks TLS, and clear text through pipes. */
extern void start_tls_server(void);

extern void stop_tls_server(void);
extern int	connect_tls_server(void);
extern void remove_certificate(void);

#endif							/* BS_TLS_SERVER_H */
