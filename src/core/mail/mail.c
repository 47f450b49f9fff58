/*-------------------------------------------------------------------------
 *
 * mail.c
 *	  The mailer: a window of slots over one libcurl multi handle.
 *
 * A slot is an easy handle, the mail that it carries and, for SMTP, the session
 * that it keeps, whose socket is watched under the slot's number.
 *
 * src/core/mail/mail.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/mail_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libcurl ends its transfers itself; this long after it should have, we do. */
#define CURL_GRACE_MS		1000

/* ---- a mail's way into a slot ---- */

/* Of the free slots the one whose session was used last, so that others age. */
static BsMailSlot *
choose_slot(BsMailer *mailer)
{
	BsMailSlot *best = NULL;
	int			i;

	for (i = 0; i < mailer->slot_count; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];

		if (slot->state != BS_SLOT_FREE)
			continue;
		if (best == NULL || (slot->smtp.open &&
							 (!best->smtp.open ||
							  slot->smtp.used_ms > best->smtp.used_ms)))
			best = slot;
	}
	return best;
}

/* What goes over the wire, into the slot.  False: see errno. */
static bool
build_body(BsMailSlot *slot, const BsMail *mail)
{
	errno = 0;
	slot->handed_over = false;
	slot->body_len = 0;
	if (slot->mailer->is_http)
		slot->body = bs_mime_json(mail, &slot->body_len);
	else
	{
		slot->body = bs_mime_build(mail, &slot->mail_len);
		if (slot->body != NULL)
			slot->body = bs_smtp_frame(slot->body, slot->mail_len,
									   &slot->body_len);
	}
	return slot->body != NULL;
}

/*
 * bs_mailer_submit
 *		Begin a transfer.
 *
 * A mail that can never be one, or an address that would break out of the
 * envelope, is refused here, with a result like any other.
 */
bool
bs_mailer_submit(BsMailer *mailer, const BsMail *mail, uint64_t tag)
{
	BsMailSlot *slot = bs_mailer_room(mailer) > 0 ? choose_slot(mailer) : NULL;
	const char *reason = "The address is missing.";
	bool		begun;

	if (slot == NULL)
		return false;
	memset(&slot->result, 0, sizeof(slot->result));
	slot->result.tag = tag;
	slot->result.retry_after_ms = -1;
	slot->result.started_ms = bs_clock_wall_ms();
	slot->deadline_ms = bs_clock_ms() + mailer->timeout_ms;
	slot->recipient[0] = '\0';
	bs_mail_text_reset(&slot->said);

	if (mail->to_address == NULL ||
		!bs_address_check(mail->to_address, strlen(mail->to_address), &reason))
	{
		bs_mail_conclude(slot, BS_OUTCOME_REFUSED, 0, reason);
		bs_mail_finish(slot);
		return true;
	}
	snprintf(slot->recipient, sizeof(slot->recipient), "%s", mail->to_address);

	if (!build_body(slot, mail))
	{
		if (errno != EINVAL)
			return false;
		bs_mail_conclude(slot, BS_OUTCOME_REFUSED, 0,
						 "The sender, the reply address or the key is not one.");
		bs_mail_finish(slot);
		return true;
	}

	begun = mailer->is_http ?
		bs_http_begin(slot, mail->idempotency_key) :
		bs_smtp_begin(slot);
	if (!begun)
		bs_mail_free_body(slot);
	return begun;
}

/* ---- the host's side ---- */

int
bs_mailer_room(const BsMailer *mailer)
{
	int			room = mailer->window - bs_mailer_busy(mailer);

	return room > 0 ? room : 0;
}

int
bs_mailer_sessions(const BsMailer *mailer)
{
	int			count = 0;
	int			i;

	for (i = 0; i < mailer->slot_count; i++)
		count += mailer->slots[i].smtp.open;
	return count;
}

int
bs_mailer_limit(const BsMailer *mailer)
{
	return mailer->limit;
}

int
bs_mailer_window(const BsMailer *mailer)
{
	return mailer->window;
}

size_t
bs_mailer_bytes(const BsMailer *mailer)
{
	size_t		bytes = 0;
	int			i;

	for (i = 0; i < mailer->slot_count; i++)
		if (mailer->slots[i].body != NULL)
			bytes += mailer->slots[i].body_len;
	return bytes;
}

int
bs_mailer_fd(const BsMailer *mailer)
{
	return mailer->loop.epoll_fd;
}

/* When a slot must be looked at if nothing happens before, or -1. */
static int64_t
slot_due_ms(const BsMailSlot *slot)
{
	switch (slot->state)
	{
		case BS_SLOT_CURL:
			return slot->deadline_ms + CURL_GRACE_MS;
		case BS_SLOT_TALKING:
			return slot->smtp.may_send ? 0 : slot->deadline_ms;
		case BS_SLOT_DONE:
			return 0;
		default:
			return -1;
	}
}

int64_t
bs_mailer_deadline_ms(BsMailer *mailer)
{
	int64_t		due = mailer->loop.due_ms;
	int64_t		left;
	int			i;

	for (i = 0; i < mailer->slot_count; i++)
	{
		int64_t		slot_due = slot_due_ms(&mailer->slots[i]);

		if (slot_due >= 0 && (due < 0 || slot_due < due))
			due = slot_due;
	}
	if (due < 0)
		return -1;
	left = due - bs_clock_ms();
	return left > 0 ? left : 0;
}

static void
collect_from_curl(BsMailer *mailer)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(mailer->loop.multi, &left)) != NULL)
	{
		CURLcode	code = message->data.result;
		char	   *slot = NULL;

		if (message->msg != CURLMSG_DONE ||
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
							  &slot) != CURLE_OK)
			continue;
		if (mailer->is_http)
			bs_http_ended((BsMailSlot *) slot, code);
		else if (bs_smtp_opened((BsMailSlot *) slot, code))
			bs_smtp_talk((BsMailSlot *) slot);
	}
}

/* Those that were cut short to let others have their turn, and the overdue. */
static void
run_due(BsMailer *mailer)
{
	int64_t		now = bs_clock_ms();
	int			i;

	for (i = 0; i < mailer->slot_count; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];

		if ((slot->state != BS_SLOT_CURL && slot->state != BS_SLOT_TALKING) ||
			now < slot_due_ms(slot))
			continue;
		if (now < slot->deadline_ms)
		{
			bs_smtp_step(slot);
			continue;
		}
		if (mailer->is_http)
			bs_http_ended(slot, CURLE_OPERATION_TIMEDOUT);
		else
			bs_smtp_expire(slot);
	}
}

/*
 * bs_mailer_run
 *		Move every transfer as far as it goes without waiting.
 */
void
bs_mailer_run(BsMailer *mailer)
{
	struct epoll_event events[2 * BS_MAIL_SLOTS_MAX];
	int			count = epoll_wait(mailer->loop.epoll_fd, events,
								   2 * BS_MAIL_SLOTS_MAX, 0);
	int			i;

	for (i = 0; i < count; i++)
	{
		if (!bs_curl_take_event(&mailer->loop, &events[i]))
			bs_smtp_step(&mailer->slots[events[i].data.u64]);
	}
	bs_curl_run_timer(&mailer->loop);
	collect_from_curl(mailer);
	run_due(mailer);
}

bool
bs_mailer_next(BsMailer *mailer, BsMailResult *result)
{
	BsMailSlot *first = NULL;
	int			i;

	for (i = 0; i < mailer->slot_count; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];

		if (slot->state == BS_SLOT_DONE &&
			(first == NULL || slot->done_number < first->done_number))
			first = slot;
	}
	if (first == NULL)
		return false;
	*result = first->result;
	first->state = BS_SLOT_FREE;
	return true;
}

/*
 * bs_mailer_abort
 *		End everything under way now.
 *
 * Answers that have arrived are taken in first: each is one doubt less.
 */
void
bs_mailer_abort(BsMailer *mailer)
{
	int			i;

	bs_mailer_run(mailer);
	for (i = 0; i < mailer->slot_count; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];

		if (slot->state != BS_SLOT_CURL && slot->state != BS_SLOT_TALKING)
			continue;
		if (mailer->is_http)
			bs_http_abort(slot);
		else
			bs_smtp_abort(slot);
	}
}

void
bs_mailer_close_idle(BsMailer *mailer, int64_t idle_ms)
{
	int64_t		now = bs_clock_ms();
	int			i;

	if (mailer->is_http)
	{
		if (mailer->used_ms != 0 && now - mailer->used_ms >= idle_ms &&
			bs_mailer_busy(mailer) == 0)
		{
			bs_curl_renew(&mailer->loop);
			mailer->used_ms = 0;
		}
		return;
	}
	for (i = 0; i < mailer->slot_count; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];

		if (slot->smtp.open && slot->state != BS_SLOT_TALKING &&
			now - slot->smtp.used_ms >= idle_ms)
			bs_smtp_close(slot, slot->state != BS_SLOT_TALKING);
	}
}
