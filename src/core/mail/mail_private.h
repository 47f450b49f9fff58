/*-------------------------------------------------------------------------
 *
 * mail_private.h
 *	  What the parts of the mailer share, the lowest first: mail_text.c and
 *	  mail_wire.c, mail_slot.c, mail_session.c, mail_smtp.c and mail_http.c,
 *	  mail_setup.c, mail.c.  Each calls only those before it.
 *
 * src/core/mail/mail_private.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_MAIL_PRIVATE_H
#define BS_CORE_MAIL_PRIVATE_H

#include "core/base/clock.h"
#include "core/base/curl.h"
#include "core/mail/mail.h"
#include "core/text/address.h"

/* ---- an answer's text, mail_text.c ---- */

#define BS_MAIL_TEXT_RAW	2048

/* The beginning of what the other side said, as it came. */
typedef struct BsMailText
{
	size_t		len;
	bool		cut;			/* there was more, and none of it is kept */
	char		raw[BS_MAIL_TEXT_RAW];
} BsMailText;

extern void bs_mail_text_reset(BsMailText *said);
extern void bs_mail_text_add(BsMailText *said, const char *data, size_t len);

/*
 * As well-formed UTF-8 without controls and outer blanks into out; every
 * occurrence of the address, in any case and angle brackets included, becomes
 * "<recipient>".
 */
extern void bs_mail_text_clean(const BsMailText *said, const char *address,
							   char *out, size_t size);

/* ---- slots, mail_slot.c ---- */

#define BS_MAIL_SLOTS_MAX	64

typedef enum BsSlotState
{
	BS_SLOT_FREE,				/* no mail; an SMTP session may be kept open */
	BS_SLOT_CURL,				/* libcurl is at work: an SMTP session is
								 * being opened, or an HTTP exchange is under
								 * way */
	BS_SLOT_TALKING,			/* a mail is under way on an open session */
	BS_SLOT_DONE				/* the result waits for bs_mailer_next() */
} BsSlotState;

/* The SMTP command whose reply is awaited. */
typedef enum BsSmtpStep
{
	BS_STEP_RSET,				/* only after a mail that was not sent */
	BS_STEP_MAIL,
	BS_STEP_RCPT,
	BS_STEP_DATA,
	BS_STEP_BODY
} BsSmtpStep;

#define BS_SMTP_LINE_MAX	1024	/* RFC 5321, 4.5.3.1.5, says 512 */

typedef struct BsSmtpSession
{
	bool		open;			/* the socket is ours until closed */
	bool		pipelining;		/* RFC 2920; as EHLO said, after STARTTLS */
	bool		size;			/* RFC 1870 */
	bool		needs_reset;	/* a transaction was begun and not finished */
	bool		reused;			/* a mail went before this one */
	int			failures;		/* since the last mail that was taken */
	int64_t		opened_ms;
	int64_t		used_ms;

	BsSmtpStep	step;
	bool		decided;		/* the outcome is known, replies are still due */
	bool		reply_began;	/* a line of the awaited reply has come */
	int			reply_lines;
	size_t		reply_octets;
	size_t		line_len;
	bool		line_cut;
	char		line[BS_SMTP_LINE_MAX];
	const char *sending;		/* what is being sent: "commands" or the body */
	size_t		sending_len;
	size_t		sent;
	bool		may_send;		/* more, without any event */
	char		commands[2 * BS_ADDRESS_MAX + 128];
} BsSmtpSession;

typedef struct BsMailSlot
{
	struct BsMailer *mailer;
	int			index;
	CURL	   *easy;
	bool		in_multi;
	BsSlotState state;
	int64_t		deadline_ms;	/* of the transfer under way */
	uint64_t	done_number;	/* results are given out in this order */
	BsMailResult result;
	BsMailText	said;			/* by the other side */
	char		curl_error[CURL_ERROR_SIZE];
	char		recipient[BS_ADDRESS_MAX + 1];

	char	   *body;			/* as it goes over the wire, or the JSON */
	size_t		body_len;
	size_t		mail_len;		/* SMTP: before dots were doubled */
	bool		handed_over;	/* whole; from now on it may be in doubt */

	BsSmtpSession smtp;

	/* HTTP */
	size_t		body_sent;
	size_t		answer_len;
	int			status;			/* of the last status line, 0: none or none
								 * that is one */
	bool		head_began;		/* and not ended */
	struct curl_slist *key_header;
} BsMailSlot;

struct BsMailer
{
	bool		is_http;
	BsCurlLoop	loop;
	int64_t		timeout_ms;
	uint64_t	done_count;
	int64_t		used_ms;		/* the last time that a transfer ended */
	char		sender[BS_ADDRESS_MAX + 1];
	struct curl_slist *http_headers;
	int			slot_count;
	BsMailSlot *slots;

	/*
	 * SMTP: how many slots are used.  A refused session lowers it to the
	 * number of the others, and it stays there for a while; then each mail
	 * that is taken while all are in use raises it by one.
	 */
	int			window;
	int			limit;			/* bs_mailer_limit() */
	int64_t		raise_ms;		/* not before */
};

/*
 * What the result says: the outcome, the code and text of the answer (0: none),
 * and what the transport said ("" if nothing).
 */
extern void bs_mail_conclude(BsMailSlot *slot, BsOutcome outcome,
							 long response_code, const char *error);

/* The transfer is over and concluded: what is left is to take the result. */
extern void bs_mail_finish(BsMailSlot *slot);

/* libcurl's words on a code, those of this transfer if it has some. */
extern const char *bs_mail_curl_error(const BsMailSlot *slot, CURLcode code);

/* What only a mail under way has. */
extern void bs_mail_free_body(BsMailSlot *slot);

/* Gives the slot's easy handle to the multi handle, or takes it back. */
extern bool bs_mail_start_curl(BsMailSlot *slot);
extern void bs_mail_stop_curl(BsMailSlot *slot);

/* ---- SMTP sessions, mail_session.c ---- */

extern CURLcode bs_smtp_setup(BsMailSlot *slot, const BsMailerConfig *config);

/* "reply" 0: none came, and "code" says why. */
extern void bs_smtp_conclude(BsMailSlot *slot, CURLcode code, long reply,
							 BsSmtpPhase phase, const char *error);

/* A mail was taken: is it time to try one session more? */
extern void bs_smtp_raise_window(BsMailer *mailer);

/*
 * libcurl has opened the session, or could not: then the mail has ended.  True: the
 * session is open, and bs_smtp_talk() is next.
 */
extern bool bs_smtp_opened(BsMailSlot *slot, CURLcode code);

/* The mail that wanted a session ends. */
extern void bs_smtp_open_failed(BsMailSlot *slot, CURLcode code,
								const char *error);

/* "polite": with QUIT, which makes sense between two mails only. */
extern void bs_smtp_close(BsMailSlot *slot, bool polite);

/* ---- SMTP transactions, mail_smtp.c ---- */

/* The mail is in the slot; begins it on the open session or has one opened. */
extern bool bs_smtp_begin(BsMailSlot *slot);

/* The session is open: begins the mail on it. */
extern void bs_smtp_talk(BsMailSlot *slot);

/* Something may be read or written; also if no mail is under way. */
extern void bs_smtp_step(BsMailSlot *slot);

/* Time is up; the host wants an end. */
extern void bs_smtp_expire(BsMailSlot *slot);
extern void bs_smtp_abort(BsMailSlot *slot);

/* ---- SMTP's forms, mail_wire.c ---- */

/* The line's code, and whether its reply ends with it; 0: it is no reply. */
extern int	bs_smtp_parse_line(const char *line, size_t len, bool *last);

extern bool bs_smtp_offers(const char *line, size_t len, const char *keyword);

/*
 * Turns a mail of bs_mime_build() into what goes over the wire: dots doubled at
 * the start of lines, and the final dot (RFC 5321, 4.5.2).  Takes the mail over;
 * NULL if memory is short.
 */
extern char *bs_smtp_frame(char *mail, size_t len, size_t *framed_len);

/* ---- HTTP, mail_http.c ---- */

extern CURLcode bs_http_setup(BsMailSlot *slot,
							  const BsMailerConfig *config);

/* The headers that all requests have; NULL if memory is short. */
extern struct curl_slist *bs_http_headers(const BsMailerConfig *config);

extern bool bs_http_begin(BsMailSlot *slot, const char *idempotency_key);
extern void bs_http_ended(BsMailSlot *slot, CURLcode code);
extern void bs_http_abort(BsMailSlot *slot);

#endif							/* BS_CORE_MAIL_PRIVATE_H */
