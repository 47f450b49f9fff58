/*-------------------------------------------------------------------------
 *
 * mail_relay.h
 *	  A mail relay that follows a script, inside the test's own loop.
 *
 * No thread and no process: a test that waits for the mailer polls the relay's
 * sockets as well, so a mailer that blocks is a test that fails.
 *
 * test/unit/mail_relay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_MAIL_RELAY_H
#define BS_MAIL_RELAY_H

#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

#include "host.h"

/* How a reply begins that is more than text. */
#define CLOSE		"\1"		/* close after the text */
#define RESET		"\2"		/* the same with RST */
#define HANG		"\3"		/* nothing more after the text */
#define DRIP		"\4"		/* an octet at a time */
#define FLOOD		"\5"		/* the text, and then without end */

/*
 * What a relay says in one mail's course.  NULL: the usual.  "next" is for the
 * following mails on the same connection.
 */
typedef struct BsScript
{
	const char *greeting;
	const char *ehlo;
	const char *starttls;
	const char *rset;
	const char *mail;
	const char *rcpt;
	const char *data;
	const char *body;			/* said once the first octets are there */
	const char *dot;
	const char *http;			/* a whole answer; makes it an HTTP server */
	bool		http_early;		/* said before the request's body is read */
	bool		deaf;			/* does not read a body until allowed */
	const struct BsScript *next;
} BsScript;

#define RELAY_CONNECTIONS	128
#define RELAY_MAILS			256

typedef struct BsRelayLink
{
	int			in;
	int			out;			/* the same, but for TLS */
	const BsScript *script;
	bool		in_body;
	bool		body_said;
	bool		hangs;
	bool		floods;
	bool		ends;			/* close when all is written */
	bool		resets;
	bool		drips;
	int			mails;
	char	   *input;
	size_t		input_len;
	size_t		searched;		/* no end of a body before this */
	char	   *output;
	size_t		output_len;
} BsRelayLink;

typedef struct BsRelay
{
	int			listener;
	int			port;
	const BsScript *scripts[RELAY_CONNECTIONS]; /* by connection; the last one
												 * that is set is kept */
	bool		plain_ehlo;		/* does not offer PIPELINING and SIZE */
	bool		may_read;		/* "deaf" connections hear again */
	int			crowded;		/* commands that came before they were asked
								 * for */
	int			connected;
	BsRelayLink connections[RELAY_CONNECTIONS];
	char		log[16384];		/* commands, one a line */
	int			mails;
	char	   *mail[RELAY_MAILS];	/* without dots doubled; HTTP: bodies */
	size_t		mail_len[RELAY_MAILS];
	char		request[8192];	/* HTTP: the last head */
	void		(*on_starttls) (BsRelayLink *connection);
} BsRelay;

extern void relay_open(BsRelay *relay, const BsScript *script);
extern void relay_close(BsRelay *relay);
extern void relay_say(BsRelayLink *connection, const char *words);
extern void relay_write(BsRelayLink *connection);
extern BsRelayLink *relay_add_connection(BsRelay *relay, int in, int out);

/* What there is to wait for; at most RELAY_CONNECTIONS + 1 entries. */
extern int	relay_poll(BsRelay *relay, struct pollfd *fds);

extern void relay_serve(BsRelay *relay, const struct pollfd *fds, int count);

#endif							/* BS_MAIL_RELAY_H */
