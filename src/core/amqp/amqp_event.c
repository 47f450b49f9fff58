/*-------------------------------------------------------------------------
 *
 * amqp_event.c
 *	  The events of a link, which wait to be taken, and its failing.
 *
 * src/core/amqp/amqp_event.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/amqp_private.h"

#include "core/base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NOTES_KEPT_FREE		8

BsAmqpNote *
bs_amqp_note(BsAmqpLink *link, BsAmqpEventKind kind)
{
	BsAmqpNote *note = &link->notes[link->note_count++];

	memset(note, 0, sizeof(*note));
	note->kind = kind;
	note->epoch = link->epoch;
	return note;
}

/* A frame has one event, or settles all that is unconfirmed. */
bool
bs_amqp_has_room(const BsAmqpLink *link)
{
	return link->note_size - link->note_count >
		bs_amqp_outstanding(link) + NOTES_KEPT_FREE &&
		BS_AMQP_ARENA_SIZE - link->arena_used >
		BS_AMQP_BODY_MAX + 1 + 2 * BS_AMQP_TEXT_SIZE;
}

const char *
bs_amqp_keep_text(BsAmqpLink *link, const char *text, size_t len)
{
	char	   *kept = link->arena + link->arena_used;

	bs_utf8_clean(text, len, kept, BS_AMQP_TEXT_SIZE);
	link->arena_used += strlen(kept) + 1;
	return kept;
}

bool
bs_amqp_next(BsAmqpLink *link, BsAmqpEvent *event)
{
	const BsAmqpNote *note = &link->notes[link->note_first];

	if (link->note_first == link->note_count)
		return false;
	link->note_first++;
	event->kind = note->kind;
	event->permanent = note->permanent;
	event->tag = note->tag;
	event->epoch = note->epoch;
	event->redelivered = note->redelivered;
	event->body_len = (size_t) note->body_len;
	event->body = note->body;
	event->ready = note->ready;
	event->dead = note->dead;
	snprintf(event->text, sizeof(event->text), "%s",
			 note->text != NULL ? note->text : "");
	return true;
}

bool
bs_amqp_is_up(const BsAmqpLink *link)
{
	return link->state == BS_AMQP_STATE_UP && !link->failed;
}

void
bs_amqp_fail(BsAmqpLink *link, bool for_good, const char *format,...)
{
	const BsAmqpAddress *address = &link->addresses[link->address];
	char		text[1024];
	int			len;
	va_list		args;
	BsAmqpNote *note;

	if (link->state == BS_AMQP_STATE_IDLE || link->failed)
		return;
	len = snprintf(text, sizeof(text), strchr(address->host, ':') != NULL ?
				   "[%.100s]:%d: " : "%.100s:%d: ",
				   address->host, address->port);
	va_start(args, format);
	vsnprintf(text + len, sizeof(text) - (size_t) len, format, args);
	va_end(args);

	note = bs_amqp_note(link, BS_AMQP_DOWN);
	note->permanent = for_good;
	note->text = bs_amqp_keep_text(link, text, strlen(text));
	link->failed = true;
	link->failed_for_good = for_good;
}
