/*-------------------------------------------------------------------------
 *
 * mail_smtp.c
 *	  One mail as one transaction on an SMTP session that libcurl has opened.
 *
 * The dialogue is our own, over curl_easy_send() and curl_easy_recv(), because
 * libcurl's waits: see src/core/README.md.
 *
 * src/core/mail/mail_smtp.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/mail_private.h"

#include <stdio.h>
#include <string.h>

#define SESSION_LIFETIME_MS		300000
#define SESSION_FAILURES_MAX	5	/* before relays begin to slow us down */
#define IDLE_CHECK_MS			100
#define REPLY_LINES_MAX			128
#define REPLY_OCTETS_MAX		(64 * 1024)
#define SEND_OCTETS				(64 * 1024) /* of one call of libcurl's */
#define SEND_CALLS				4	/* before others get their turn */
#define REPLY_CODE_CLASS(code)	((code) / 100)

/* ---- the end of a mail and of a session ---- */

static BsSmtpPhase
phase_of(const BsMailSlot *slot)
{
	switch (slot->smtp.step)
	{
		case BS_STEP_RCPT:
			return BS_SMTP_RCPT;
		case BS_STEP_DATA:
			return BS_SMTP_DATA;
		case BS_STEP_BODY:
			return BS_SMTP_BODY;
		default:
			return BS_SMTP_MAIL;
	}
}

/* The mail ends, and the session with it. */
static void
end_session(BsMailSlot *slot)
{
	bs_smtp_close(slot, false);
	bs_mail_finish(slot);
}

/* The mail ends, and the session is fit for another. */
static void
end_mail(BsMailSlot *slot)
{
	BsSmtpSession *smtp = &slot->smtp;

	bs_mail_finish(slot);
	smtp->used_ms = bs_clock_ms();
	if (smtp->failures >= SESSION_FAILURES_MAX ||
		smtp->used_ms - smtp->opened_ms >= SESSION_LIFETIME_MS)
		bs_smtp_close(slot, true);
}

/* The session is of no use any more: the link broke or sense was lost. */
static void
break_off(BsMailSlot *slot, CURLcode code, const char *error)
{
	if (slot->state != BS_SLOT_TALKING)
	{
		bs_smtp_close(slot, false);
		return;
	}
	if (!slot->smtp.decided)
	{
		if (!slot->smtp.reply_began)
			bs_mail_text_reset(&slot->said);
		bs_smtp_conclude(slot, code, 0, phase_of(slot), error);
	}
	end_session(slot);
}

/* ---- sending ---- */

static void
queue_command(BsMailSlot *slot, BsSmtpStep step)
{
	BsSmtpSession *smtp = &slot->smtp;
	char	   *to = smtp->commands + smtp->sending_len;
	size_t		room = sizeof(smtp->commands) - smtp->sending_len;
	int			len;

	switch (step)
	{
		case BS_STEP_RSET:
			len = snprintf(to, room, "RSET\r\n");
			break;
		case BS_STEP_MAIL:
			len = snprintf(to, room, "MAIL FROM:<%s>", slot->mailer->sender);
			if (smtp->size)
				len += snprintf(to + len, room - len, " SIZE=%zu",
								slot->mail_len);
			len += snprintf(to + len, room - len, "\r\n");
			break;
		case BS_STEP_RCPT:
			len = snprintf(to, room, "RCPT TO:<%s>\r\n", slot->recipient);
			break;
		default:
			len = snprintf(to, room, "DATA\r\n");
			break;
	}
	smtp->sending_len += len;
}

/* What is awaited now, and with pipelining everything that can go with it. */
static void
start_commands(BsMailSlot *slot, BsSmtpStep step)
{
	BsSmtpSession *smtp = &slot->smtp;

	smtp->step = step;
	smtp->sending = smtp->commands;
	smtp->sending_len = 0;
	smtp->sent = 0;
	queue_command(slot, step);
	while (smtp->pipelining && step < BS_STEP_DATA)
		queue_command(slot, ++step);
}

static void
start_body(BsMailSlot *slot)
{
	BsSmtpSession *smtp = &slot->smtp;

	smtp->step = BS_STEP_BODY;
	smtp->sending = slot->body;
	smtp->sending_len = slot->body_len;
	smtp->sent = 0;
}

/*
 * Hands over what the connection takes.  The final dot is part of the last
 * octets, so that a body handed over whole is one that the relay may accept.
 *
 * It is bounded, because a peer that reads as fast as we write would keep us.
 * After CURLE_AGAIN the same octets must be offered from the same place: TLS
 * may have begun to send them.
 */
static CURLcode
send_more(BsMailSlot *slot)
{
	BsSmtpSession *smtp = &slot->smtp;
	int			calls;

	smtp->may_send = false;
	for (calls = 0; smtp->sent < smtp->sending_len; calls++)
	{
		size_t		left = smtp->sending_len - smtp->sent;
		size_t		sent = 0;
		CURLcode	code;

		if (calls == SEND_CALLS)
		{
			smtp->may_send = true;
			return CURLE_OK;
		}
		code = curl_easy_send(slot->easy, smtp->sending + smtp->sent,
							  left < SEND_OCTETS ? left : SEND_OCTETS, &sent);
		if (code == CURLE_AGAIN)
			return CURLE_OK;
		if (code != CURLE_OK)
			return code;
		smtp->sent += sent;
	}
	if (smtp->step == BS_STEP_BODY)
		slot->handed_over = true;
	return CURLE_OK;
}

/* ---- receiving ---- */

/*
 * The relay will have none of this mail.  RCPT and DATA leave a session that
 * can go on after RSET, and the end of the body one that can go on as it is; a
 * relay that answers 421, takes no MAIL, speaks before the body is over, or
 * out of turn, is left alone.
 */
static void
handle_rejection(BsMailSlot *slot, int code)
{
	BsSmtpSession *smtp = &slot->smtp;
	BsOutcome	outcome;

	bs_smtp_conclude(slot, CURLE_OK, code, phase_of(slot), "");
	outcome = slot->result.outcome;
	smtp->failures++;

	if (code == 421 || smtp->step < BS_STEP_RCPT ||
		(outcome != BS_OUTCOME_LATER && outcome != BS_OUTCOME_REFUSED) ||
		(smtp->step == BS_STEP_BODY && !slot->handed_over))
	{
		end_session(slot);
		return;
	}

	smtp->needs_reset = smtp->step != BS_STEP_BODY;
	if (smtp->step == BS_STEP_RCPT && smtp->pipelining)
	{
		smtp->decided = true;	/* DATA has been sent, its reply must come */
		smtp->step = BS_STEP_DATA;
		return;
	}
	end_mail(slot);
}

/*
 * The reply to a DATA that was sent along with a refused RCPT.  354 invites a
 * mail to nobody (RFC 2920, section 3.1): we close rather than send one.
 */
static void
handle_drained(BsMailSlot *slot, int code)
{
	if (code == 354 || code == 421 || REPLY_CODE_CLASS(code) < 4)
		end_session(slot);
	else
		end_mail(slot);
}

static void
handle_reply(BsMailSlot *slot, int code)
{
	BsSmtpSession *smtp = &slot->smtp;

	if (smtp->decided)
		handle_drained(slot, code);
	else if (smtp->step == BS_STEP_DATA ? code != 354 :
			 REPLY_CODE_CLASS(code) != 2)
		handle_rejection(slot, code);
	else if (smtp->step == BS_STEP_DATA)
		start_body(slot);
	else if (smtp->step == BS_STEP_BODY)
	{
		bs_smtp_conclude(slot, CURLE_OK, code, BS_SMTP_BODY, "");
		if (slot->result.outcome != BS_OUTCOME_ACCEPTED)
		{
			end_session(slot);	/* it answered before the body was over */
			return;
		}
		smtp->failures = 0;
		bs_smtp_raise_window(slot->mailer);
		end_mail(slot);
	}
	else if (smtp->pipelining)
		smtp->step++;
	else
		start_commands(slot, smtp->step + 1);
}

/*
 * One line of a reply, the code of its last line being the reply's.  "more" is
 * whether octets follow that have been received already.
 */
static void
handle_line(BsMailSlot *slot, bool more)
{
	BsSmtpSession *smtp = &slot->smtp;
	bool		last = false;
	int			code = bs_smtp_parse_line(smtp->line, smtp->line_len, &last);
	bool		unsent = smtp->sent < smtp->sending_len;

	if (!smtp->reply_began)
	{
		bs_mail_text_reset(&slot->said);
		bs_mail_text_add(&slot->said, smtp->line, smtp->line_len);
	}
	else if (smtp->line_len > 4)	/* without its code */
		bs_mail_text_add(&slot->said, smtp->line + 4, smtp->line_len - 4);
	slot->said.cut |= smtp->line_cut;
	smtp->reply_began = true;
	smtp->line_len = 0;
	smtp->line_cut = false;

	if (code == 0 || ++smtp->reply_lines > REPLY_LINES_MAX)
	{
		break_off(slot, CURLE_WEIRD_SERVER_REPLY,
				  "the answer is not one of SMTP");
		return;
	}
	if (!last)
		return;
	smtp->reply_began = false;
	smtp->reply_lines = 0;
	smtp->reply_octets = 0;

	/*
	 * The relay speaks before it was asked: what it says next would be taken
	 * for the answer to what we say next.
	 */
	if (REPLY_CODE_CLASS(code) < 4 && smtp->step != BS_STEP_BODY &&
		(smtp->step == BS_STEP_DATA || !smtp->pipelining) && (more || unsent))
	{
		break_off(slot, CURLE_WEIRD_SERVER_REPLY,
				  "the relay answers before it is asked");
		return;
	}

	handle_reply(slot, code);
}

/*
 * Octets become lines; of a line that is too long the beginning counts.  What
 * comes after the mail's end is 421 or nonsense, and ends the session.
 */
static void
take_octets(BsMailSlot *slot, const char *data, size_t len)
{
	BsSmtpSession *smtp = &slot->smtp;

	while (len > 0 && smtp->open)
	{
		const char *newline = memchr(data, '\n', len);
		size_t		count = newline != NULL ? (size_t) (newline - data) + 1 : len;
		size_t		room = sizeof(smtp->line) - smtp->line_len;
		size_t		kept = count < room ? count : room;

		smtp->reply_octets += count;
		if (slot->state != BS_SLOT_TALKING ||
			smtp->reply_octets > REPLY_OCTETS_MAX)
		{
			break_off(slot, CURLE_WEIRD_SERVER_REPLY,
					  "the answer has no end");
			return;
		}
		memcpy(smtp->line + smtp->line_len, data, kept);
		smtp->line_len += kept;
		smtp->line_cut |= kept < count;
		data += count;
		len -= count;
		if (newline != NULL)
			handle_line(slot, len > 0);
	}
}

/*
 * Takes in what has arrived, to the last octet: the descriptor is watched by
 * edge.  Bounded, because replies are, and nothing may come but replies.
 *
 * "send_code" is what sending ran into: the relay may have said why before it
 * went away.
 */
static void
receive(BsMailSlot *slot, CURLcode send_code)
{
	BsSmtpSession *smtp = &slot->smtp;
	char		buffer[4096];

	while (smtp->open)
	{
		size_t		len = 0;
		CURLcode	code = curl_easy_recv(slot->easy, buffer, sizeof(buffer),
										  &len);

		if (code == CURLE_AGAIN && send_code == CURLE_OK)
			return;
		if (code == CURLE_OK && len > 0)
		{
			take_octets(slot, buffer, len);
			continue;
		}
		if (send_code != CURLE_OK)
			code = send_code;
		break_off(slot, code == CURLE_OK ? CURLE_RECV_ERROR : code,
				  code == CURLE_OK ? "the relay closed the connection" :
				  curl_easy_strerror(code));
	}
}

/*
 * bs_smtp_step
 *		Take in and hand over what can be.
 *
 * What is received can bring something to send, and that is offered at once:
 * the descriptor does not tell again that it is writable.
 */
void
bs_smtp_step(BsMailSlot *slot)
{
	CURLcode	code;

	if (!slot->smtp.open)
		return;
	receive(slot, CURLE_OK);
	if (!slot->smtp.open || slot->state != BS_SLOT_TALKING)
		return;
	code = send_more(slot);
	if (code != CURLE_OK)
		receive(slot, code);
}

/* ---- the mail's beginning ---- */

void
bs_smtp_talk(BsMailSlot *slot)
{
	BsSmtpSession *smtp = &slot->smtp;
	CURLcode	code;

	slot->state = BS_SLOT_TALKING;
	smtp->decided = false;
	smtp->reply_began = false;
	smtp->reply_lines = 0;
	smtp->reply_octets = 0;
	smtp->line_len = 0;
	smtp->line_cut = false;
	start_commands(slot, smtp->needs_reset ? BS_STEP_RSET : BS_STEP_MAIL);
	smtp->needs_reset = false;
	smtp->may_send = false;
	code = send_more(slot);
	if (code != CURLE_OK)
		receive(slot, code);
}

/*
 * bs_smtp_begin
 *		Begin on the session that is open, or have one opened.
 *
 * A session that was idle is looked at first, so that one which the relay has
 * closed meanwhile costs nothing.
 */
bool
bs_smtp_begin(BsMailSlot *slot)
{
	BsSmtpSession *smtp = &slot->smtp;

	if (smtp->open && bs_clock_ms() - smtp->used_ms > IDLE_CHECK_MS)
		receive(slot, CURLE_OK);
	if (smtp->open)
	{
		smtp->reused = true;
		bs_smtp_talk(slot);
		return true;
	}

	memset(smtp, 0, sizeof(*smtp));
	if (!bs_mail_start_curl(slot))
		return false;
	slot->state = BS_SLOT_CURL;
	return true;
}

/*
 * bs_smtp_expire
 *		The mail's time is up.
 */
void
bs_smtp_expire(BsMailSlot *slot)
{
	if (slot->state == BS_SLOT_CURL)
		bs_smtp_open_failed(slot, CURLE_OPERATION_TIMEDOUT,
							"no session within the time limit");
	else
		break_off(slot, CURLE_OPERATION_TIMEDOUT,
				  slot->handed_over ?
				  "no answer to the message within the time limit" :
				  "no answer within the time limit");
}

/*
 * bs_smtp_abort
 *		The host wants an end.
 */
void
bs_smtp_abort(BsMailSlot *slot)
{
	if (!slot->smtp.decided)
	{
		bs_mail_text_reset(&slot->said);
		bs_mail_conclude(slot, slot->handed_over ? BS_OUTCOME_IN_DOUBT :
						 BS_OUTCOME_RELEASED, 0,
						 "ended before an answer came");
	}
	if (slot->state == BS_SLOT_CURL)
		bs_mail_stop_curl(slot);
	else
		bs_smtp_close(slot, false);
	bs_mail_finish(slot);
}
