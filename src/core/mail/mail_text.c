/*-------------------------------------------------------------------------
 *
 * mail_text.c
 *	  What the other side said, made fit for a row and a log.
 *
 * An answer may hold anything, and relays like to repeat the address, which
 * must not be kept beyond its own column.
 *
 * src/core/mail/mail_text.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/mail_private.h"

#include <string.h>
#include <strings.h>

#include "core/base/utf8.h"

#define RECIPIENT_MARK	"<recipient>"

void
bs_mail_text_reset(BsMailText *said)
{
	said->len = 0;
	said->cut = false;
}

void
bs_mail_text_add(BsMailText *said, const char *data, size_t len)
{
	size_t		room = sizeof(said->raw) - said->len;

	if (said->cut)
		return;
	if (len > room)
	{
		said->cut = true;
		len = room;
	}
	if (len > 0)
		memcpy(said->raw + said->len, data, len);
	said->len += len;
}

/*
 * How many octets at "at" are the address, with the angle brackets around it; 0
 * if it is not there.
 */
static size_t
match_address(const BsMailText *said, size_t at,
			  const char *address, size_t address_len)
{
	size_t		open = at < said->len && said->raw[at] == '<';
	size_t		end = at + open + address_len;

	if (address_len == 0 || end > said->len ||
		strncasecmp(said->raw + at + open, address, address_len) != 0)
		return 0;
	if (open && end < said->len && said->raw[end] == '>')
		end++;
	return end - at;
}

/*
 * bs_mail_text_clean
 *		The text as it may be stored.
 *
 * Where the text was cut, the address may have been cut with it: as many octets
 * as the beginning of one may have are left out.
 */
void
bs_mail_text_clean(const BsMailText *said, const char *address,
				   char *out, size_t size)
{
	size_t		address_len = address != NULL ? strlen(address) : 0;
	size_t		end = said->len;
	size_t		at = 0;
	BsUtf8Output output = {out, size, 0, false, false};

	if (said->cut)
		end -= address_len < end ? address_len : end;

	while (at < end && !output.full)
	{
		size_t		matched = match_address(said, at, address, address_len);

		if (matched > 0)
		{
			bs_utf8_put(&output, RECIPIENT_MARK, strlen(RECIPIENT_MARK));
			at += matched;
		}
		else
			at += bs_utf8_put_clean(&output, said->raw + at, said->len - at);
	}
	out[output.len] = '\0';
}
