/*-------------------------------------------------------------------------
 *
 * mail_host.h
 *	  A host for the mailer under test: its loop, its settings, its mails.
 *
 * One relay and one mailer at a time.
 *
 * test/unit/mail_host.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_MAIL_HOST_H
#define BS_MAIL_HOST_H

#define _GNU_SOURCE				/* memmem(), accept4() */
#include "host.h"
#include "mail_relay.h"

#include "core/mail/mail_private.h"

extern const char *const outcome_names[];
extern BsRelay relay;
extern BsMailer *mailer;
extern BsMailResult results[RELAY_MAILS];
extern int	result_count;

/* Where open_mailer() connects to, and how. */
extern const char *scheme;
extern const char *host;
extern BsMailerConfig mailer_config;

/* One turn of what a host does, and of the relay. */
extern void take_turn(int64_t patience_ms);

extern bool wait_for_results(int wanted);
extern bool wait_for_command(const char *command);

/* The relay alone goes on, until the mailer has something to read. */
extern bool wait_for_arrival(void);

extern void reset_mailer_config(void);
extern void open_mailer(int port);
extern void begin(const BsScript *script);
extern void stop(void);
extern BsMail make_mail(const char *words);
extern bool submit(const char *words, uint64_t tag);
extern BsMailResult send_one(const char *words);

/* A text that fills the buffers of any connection many times over. */
extern char *make_long_text(void);

typedef struct BsMailCase
{
	const char *what;
	BsScript	script;
	BsOutcome	outcome;
	int			code;
	const char *reply;			/* in the result's text; NULL: it is empty */
} BsMailCase;

extern void run_case(const BsMailCase *row, const char *how, bool plain_ehlo);

/* Texts that something on the way may take for more than text. */
extern void test_delivery(void);

#endif							/* BS_MAIL_HOST_H */
