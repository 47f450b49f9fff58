/*-------------------------------------------------------------------------
 *
 * mail_session.c
 *	  SMTP sessions: opened by libcurl, kept by an easy handle, closed.
 *
 * libcurl resolves, connects, greets, encrypts and logs in (CONNECT_ONLY).  The
 * easy handle keeps the session for as long as it stays in the multi handle, and
 * curl_easy_send() keeps the session attached to it, out of reach of libcurl's
 * upkeep of idle connections.
 *
 * src/core/mail/mail_session.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/mail_private.h"

#define WINDOW_HOLD_MS	30000	/* after a refused session */
#define WINDOW_STEP_MS	1000	/* after another one that was let in */

/* ---- how many sessions the relay takes ---- */

/* The other sessions that are open or being opened. */
static int
count_others(const BsMailSlot *slot)
{
	const BsMailer *mailer = slot->mailer;
	int			count = 0;
	int			i;

	for (i = 0; i < mailer->slot_count; i++)
		count += i != slot->index && (mailer->slots[i].smtp.open ||
									  mailer->slots[i].state == BS_SLOT_CURL);
	return count;
}

/*
 * The relay takes no session beside the others.
 *
 * Without others it is the relay that is in trouble: one session at a time finds
 * out when it is back, and then nothing holds up the next.
 */
static void
lower_window(BsMailer *mailer, int others)
{
	if (others == 0)
	{
		mailer->window = 1;
		mailer->limit = 0;
		mailer->raise_ms = 0;
		return;
	}
	mailer->window = others;
	mailer->limit = others;
	mailer->raise_ms = bs_clock_ms() + WINDOW_HOLD_MS;
}

/*
 * bs_smtp_raise_window
 *		Try one session more, if all are in use and the time has come.
 */
void
bs_smtp_raise_window(BsMailer *mailer)
{
	int64_t		now_ms;

	if (mailer->window == mailer->slot_count ||
		bs_mailer_busy(mailer) < mailer->window)
		return;
	now_ms = bs_clock_ms();
	if (now_ms < mailer->raise_ms)
		return;
	mailer->window++;
	if (mailer->raise_ms != 0)
		mailer->raise_ms = now_ms + WINDOW_STEP_MS;
	if (mailer->window == mailer->slot_count)
		mailer->limit = 0;
}

void
bs_smtp_conclude(BsMailSlot *slot, CURLcode code, long reply, BsSmtpPhase phase,
				 const char *error)
{
	BsSmtpFacts facts = {0};

	facts.curl_code = (int) code;
	facts.response_code = reply;
	facts.phase = phase;
	facts.body_ended = slot->handed_over;
	facts.reused = slot->smtp.reused;
	facts.others = count_others(slot);
	bs_mail_conclude(slot, bs_outcome_smtp(&facts), reply, error);
	if (bs_outcome_is_crowded(&facts))
	{
		slot->result.crowded = facts.others == 0;
		lower_window(slot->mailer, facts.others);
	}
}

/* ---- the session's beginning, as libcurl sees it ---- */

/*
 * Keeps the last reply's text, and what the relay offers.  Of the replies until
 * the session is open only those to EHLO are 250, and the last of them counts:
 * what was offered before STARTTLS may be forged (RFC 3207, section 4.2).
 */
static size_t
on_opening_line(char *line, size_t size, size_t count, void *arg)
{
	BsMailSlot *slot = arg;
	BsSmtpSession *smtp = &slot->smtp;
	size_t		len = size * count;
	bool		last = false;
	int			code = bs_smtp_parse_line(line, len, &last);

	if (!smtp->reply_began)
	{
		bs_mail_text_reset(&slot->said);
		if (code == 250)
		{
			smtp->pipelining = false;
			smtp->size = false;
		}
	}
	bs_mail_text_add(&slot->said, line, len);
	if (code == 250)
	{
		smtp->pipelining |= bs_smtp_offers(line, len, "PIPELINING");
		smtp->size |= bs_smtp_offers(line, len, "SIZE");
	}
	smtp->reply_began = !last;
	return len;
}

/* Nothing is ever downloaded; what comes in spite of that is dropped. */
static size_t
on_stray_data(char *data, size_t size, size_t count, void *arg)
{
	(void) data;
	(void) arg;
	return size * count;
}

/*
 * bs_smtp_setup
 *		The options of an easy handle that stay the same.
 *
 * GSSAPI and NTLM are left out of the ways to log in: they may block on a key
 * distribution centre, and pick themselves for any user name with an "@".
 */
CURLcode
bs_smtp_setup(BsMailSlot *slot, const BsMailerConfig *config)
{
	CURL	   *easy = slot->easy;
	CURLcode	code = CURLE_OK;
	long		use_ssl = CURLUSESSL_ALL;

#define SET(option, value) \
	(code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

	if (config->tls == BS_MAIL_TLS_OFFERED)
		use_ssl = CURLUSESSL_TRY;
	else if (config->tls == BS_MAIL_TLS_OFF)
		use_ssl = CURLUSESSL_NONE;

	SET(CURLOPT_CONNECT_ONLY, 1L);
	SET(CURLOPT_USE_SSL, use_ssl);
	SET(CURLOPT_LOGIN_OPTIONS, "AUTH=CRAM-MD5;AUTH=PLAIN;AUTH=LOGIN");
	SET(CURLOPT_HEADERFUNCTION, on_opening_line);
	SET(CURLOPT_HEADERDATA, slot);
	SET(CURLOPT_WRITEFUNCTION, on_stray_data);
#undef SET
	return code;
}

/*
 * bs_smtp_open_failed
 *		End the mail that wanted the session.
 *
 * libcurl keeps the last code that it read: only a refusal is the reason.
 */
void
bs_smtp_open_failed(BsMailSlot *slot, CURLcode code, const char *error)
{
	long		reply = 0;

	curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &reply);
	if (reply < 400 || reply > 599)
	{
		reply = 0;
		bs_mail_text_reset(&slot->said);
	}
	bs_smtp_conclude(slot, code, reply, BS_SMTP_CONNECT, error);
	bs_mail_stop_curl(slot);
	bs_mail_finish(slot);
}

/*
 * bs_smtp_opened
 *		libcurl has opened the session, or could not.
 */
bool
bs_smtp_opened(BsMailSlot *slot, CURLcode code)
{
	BsSmtpSession *smtp = &slot->smtp;

	if (code != CURLE_OK)
		bs_smtp_open_failed(slot, code, bs_mail_curl_error(slot, code));
	else if (!bs_curl_watch(&slot->mailer->loop, slot->easy,
							(uint32_t) slot->index))
		bs_smtp_open_failed(slot, CURLE_COULDNT_CONNECT,
							"the connection cannot be watched");
	else
	{
		smtp->open = true;
		smtp->opened_ms = smtp->used_ms = bs_clock_ms();
	}
	return smtp->open;
}

/*
 * bs_smtp_close
 *		Close the session, if there is one.
 *
 * The answer to QUIT is not waited for: nothing depends on it.
 */
void
bs_smtp_close(BsMailSlot *slot, bool polite)
{
	BsSmtpSession *smtp = &slot->smtp;
	size_t		sent;

	if (!smtp->open)
		return;
	smtp->open = false;
	if (polite)
		(void) curl_easy_send(slot->easy, "QUIT\r\n", 6, &sent);
	bs_curl_unwatch(&slot->mailer->loop, slot->easy);
	bs_mail_stop_curl(slot);
}
