/*-------------------------------------------------------------------------
 *
 * mail_slot.c
 *	  A slot: what SMTP and HTTP do with one alike.
 *
 * src/core/mail/mail_slot.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/mail_private.h"

#include <stdio.h>
#include <stdlib.h>

int
bs_mailer_busy(const BsMailer *mailer)
{
	int			count = 0;
	int			i;

	for (i = 0; i < mailer->slot_count; i++)
		count += mailer->slots[i].state != BS_SLOT_FREE;
	return count;
}

const char *
bs_mail_curl_error(const BsMailSlot *slot, CURLcode code)
{
	return slot->curl_error[0] != '\0' ? slot->curl_error :
		curl_easy_strerror(code);
}

bool
bs_mail_start_curl(BsMailSlot *slot)
{
	slot->curl_error[0] = '\0';
	slot->in_multi = bs_curl_add(&slot->mailer->loop, slot->easy);
	return slot->in_multi;
}

void
bs_mail_stop_curl(BsMailSlot *slot)
{
	if (!slot->in_multi)
		return;
	slot->in_multi = false;
	(void) curl_multi_remove_handle(slot->mailer->loop.multi, slot->easy);
}

void
bs_mail_free_body(BsMailSlot *slot)
{
	free(slot->body);
	slot->body = NULL;
	if (slot->key_header != NULL)
	{
		slot->key_header->next = NULL;	/* the rest is shared */
		curl_slist_free_all(slot->key_header);
		slot->key_header = NULL;
	}
}

void
bs_mail_conclude(BsMailSlot *slot, BsOutcome outcome,
				 long response_code, const char *error)
{
	BsMailResult *result = &slot->result;

	result->outcome = outcome;
	result->response_code = (int) response_code;
	bs_mail_text_clean(&slot->said, slot->recipient,
					   result->reply, sizeof(result->reply));
	snprintf(result->error, sizeof(result->error), "%s", error);
}

void
bs_mail_finish(BsMailSlot *slot)
{
	bs_mail_free_body(slot);
	slot->result.ended_ms = bs_clock_wall_ms();
	slot->mailer->used_ms = bs_clock_ms();
	slot->done_number = slot->mailer->done_count++;
	slot->state = BS_SLOT_DONE;
}
