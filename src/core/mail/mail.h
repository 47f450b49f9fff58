/*-------------------------------------------------------------------------
 *
 * mail.h
 *	  Mail transfer over SMTP or an HTTP mail API, without waiting.
 *
 * A mailer has a fixed window of libcurl handles that are reused.  The host
 * submits while there is room, waits on one descriptor and one deadline by its
 * own means, calls bs_mailer_run(), and takes the results.  Nothing here blocks,
 * exits or logs.  A mailer belongs to one thread and does not survive fork().
 *
 * src/core/mail/mail.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_MAIL_H
#define BS_CORE_MAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mail/outcome.h"
#include "core/mime/mime.h"

typedef enum BsMailTls
{
	BS_MAIL_TLS_REQUIRED,		/* STARTTLS or no delivery (the default) */
	BS_MAIL_TLS_OFFERED,		/* STARTTLS where the relay offers it */
	BS_MAIL_TLS_OFF
} BsMailTls;

/* Strings are copied by bs_mailer_create(); NULL or "" where absent. */
typedef struct BsMailerConfig
{
	const char *url;			/* smtp://, smtps://, http:// or https://; a
								 * path of the first two is the name for EHLO */
	const char *helo;			/* name for EHLO (RFC 5321, 4.1.1.1) if the
								 * URL has none; "": the domain of "from" */
	const char *user;
	const char *password;
	const char *ca_file;		/* NULL: the system's store */
	const char *from;			/* as BsMail.from: the envelope sender */
	const char *const *http_headers;	/* NULL-terminated "Name: value" lines */
	BsMailTls	tls;
	int			connections;	/* handles in the window, 1 to 64 */
	int64_t		timeout_ms;		/* of one whole transfer, connection included */
	int64_t		connect_timeout_ms;
} BsMailerConfig;

#define BS_MAIL_REPLY_MAX	512

typedef struct BsMailResult
{
	uint64_t	tag;			/* as given to bs_mailer_submit() */
	BsOutcome	outcome;
	int			response_code;	/* SMTP reply or HTTP status; 0: none came */
	char		reply[BS_MAIL_REPLY_MAX];	/* the answer's text, cut, valid
											 * UTF-8, without controls */
	char		error[256];		/* what the transport said; "" if nothing.
								 * Neither of them holds the recipient's
								 * address or a secret */
	int64_t		retry_after_ms; /* of an HTTP answer (RFC 9110, 10.2.3), or -1 */
	bool		crowded;		/* the relay refused a session, and this
								 * mailer had no other */
	int64_t		started_ms;		/* wall clock, ms since 1970 */
	int64_t		ended_ms;
} BsMailResult;

typedef struct BsMailer BsMailer;

/* Once a process, before any thread: bs_curl_global_init().  False: failed. */
extern bool bs_mailer_global_init(void);

/* Is this a name for EHLO, or ""?  *reason is a static full sentence. */
extern bool bs_mailer_check_helo(const char *name, const char **reason);

/*
 * Is this a URL that a mailer takes?  Only the four schemes, a host, no user
 * information; *reason is a static full sentence.
 */
extern bool bs_mailer_check_url(const char *url, const char **reason);

/* NULL and the reason in error if it cannot be made. */
extern BsMailer *bs_mailer_create(const BsMailerConfig *config,
								  char *error, size_t error_size);

/* Ends what is under way without a result.  NULL is fine. */
extern void bs_mailer_destroy(BsMailer *mailer);

/*
 * How many bs_mailer_submit() calls would be taken now: free handles, as far as
 * the relay takes sessions for them.
 */
extern int	bs_mailer_room(const BsMailer *mailer);

/* SMTP sessions that are open. */
extern int	bs_mailer_sessions(const BsMailer *mailer);

/*
 * How many sessions the relay takes of this mailer, as its refusals have told; 0:
 * as many as there are handles.
 */
extern int	bs_mailer_limit(const BsMailer *mailer);

/* How many are used at most: that, and from time to time one more to try. */
extern int	bs_mailer_window(const BsMailer *mailer);

/* Transfers begun and not yet taken by bs_mailer_next(). */
extern int	bs_mailer_busy(const BsMailer *mailer);

/*
 * Begins a transfer; the mail is built here, so that nothing of *mail is needed
 * afterwards.  False if there is no room or no memory: nothing has begun.  A
 * mail that can never be sent has its result, BS_OUTCOME_REFUSED, at once.
 */
extern bool bs_mailer_submit(BsMailer *mailer, const BsMail *mail,
							 uint64_t tag);

/* What the mails under way take, in bytes. */
extern size_t bs_mailer_bytes(const BsMailer *mailer);

/* Readable when there is something to do; the same for the mailer's life. */
extern int	bs_mailer_fd(const BsMailer *mailer);

/*
 * In how many ms from now bs_mailer_run() wants to be called at the latest; 0
 * also where results wait; -1: no hurry.
 */
extern int64_t bs_mailer_deadline_ms(BsMailer *mailer);

/* Moves every transfer as far as it goes without waiting. */
extern void bs_mailer_run(BsMailer *mailer);

/* Takes the next result; false: no result is left. */
extern bool bs_mailer_next(BsMailer *mailer, BsMailResult *result);

/*
 * Ends everything under way now; the results follow from bs_mailer_next():
 * BS_OUTCOME_IN_DOUBT for what was handed over whole, else BS_OUTCOME_RELEASED.
 */
extern void bs_mailer_abort(BsMailer *mailer);

/*
 * Closes connections (a relay dislikes idle ones) that no mail has used for
 * idle_ms; those to an HTTP API only all together, when nothing is under way.
 */
extern void bs_mailer_close_idle(BsMailer *mailer, int64_t idle_ms);

#endif							/* BS_CORE_MAIL_H */
