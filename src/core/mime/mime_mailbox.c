/*-------------------------------------------------------------------------
 *
 * mime_mailbox.c
 *	  Taking "Name <address>" apart; which URIs are taken.
 *
 * For settings, written by the administrator; what is taken is a small part of
 * what RFC 5322, section 3.4, allows, and the rest is refused with a reason.
 *
 * src/core/mime/mime_mailbox.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mime/mime.h"

#include <string.h>

#include "core/base/utf8.h"
#include "core/text/address.h"

/* Copies a display name without its quotes; false if it is not one. */
static bool
copy_name(const char *from, const char *end, char *name, size_t size,
		  const char **reason)
{
	bool		quoted = end - from >= 2 && *from == '"' && end[-1] == '"';
	size_t		len = 0;

	if (quoted)
	{
		from++;
		end--;
	}
	for (; from < end; from++)
	{
		if (*from == '"' || (!quoted && strchr(",;:@<>()[]\\", *from) != NULL))
		{
			*reason = "A name with punctuation has to be in double quotes, and a quote in it behind a backslash.";
			return false;
		}
		if (*from == '\\')
		{
			if (++from == end)
			{
				*reason = "The quotes around the name are not closed.";
				return false;
			}
		}
		if (len + 1 >= size)
		{
			*reason = "The name is too long.";
			return false;
		}
		name[len++] = *from;
	}
	name[len] = '\0';
	return true;
}

bool
bs_mime_split_mailbox(const char *mailbox, char *name, size_t name_size,
					  char *address, size_t address_size,
					  const char **reason)
{
	const char *end;
	const char *from;
	const char *to;
	const char *unused;
	size_t		width;

	if (reason == NULL)
		reason = &unused;
	*reason = NULL;
	if (mailbox == NULL)
		mailbox = "";
	while (*mailbox == ' ')
		mailbox++;
	end = mailbox + strlen(mailbox);
	while (end > mailbox && end[-1] == ' ')
		end--;
	for (from = mailbox; from < end; from += width)
	{
		uint32_t	code;

		width = bs_utf8_decode(from, (size_t) (end - from), &code);
		if (width == 0)
		{
			*reason = "It is not well-formed UTF-8.";
			return false;
		}
		if (bs_utf8_is_control(code))
		{
			*reason = "Control characters are not allowed in an address or a name.";
			return false;
		}
	}

	/* The last "<", because a quoted name may contain one. */
	from = mailbox;
	to = end;
	if (end > mailbox && end[-1] == '>')
	{
		to = end - 1;
		from = to;
		while (from > mailbox && from[-1] != '<')
			from--;
		if (from == mailbox)
		{
			*reason = "There is a \">\" without a \"<\" before it.";
			return false;
		}
		end = from - 1;
		while (end > mailbox && end[-1] == ' ')
			end--;
	}
	else
		end = mailbox;

	if (!bs_address_check(from, (size_t) (to - from), reason))
		return false;
	if (name_size == 0 || (size_t) (to - from) >= address_size)
	{
		*reason = "The address is too long.";
		return false;
	}
	memcpy(address, from, (size_t) (to - from));
	address[to - from] = '\0';
	return copy_name(mailbox, end, name, name_size, reason);
}

bool
bs_mime_check_mailbox(const char *mailbox, const char **reason)
{
	char		name[256];
	char		address[BS_ADDRESS_MAX + 1];

	return bs_mime_split_mailbox(mailbox, name, sizeof(name),
								 address, sizeof(address), reason);
}

bool
bs_mime_check_unsubscribe(const char *uri, const char **reason)
{
	*reason = NULL;
	if (strncmp(uri, "https://", 8) != 0 && strncmp(uri, "mailto:", 7) != 0)
		*reason = "It must be an https:// or mailto: URI.";
	else if (strlen(uri) > BS_MIME_URI_MAX)
		*reason = "It must have at most 900 bytes, because it stands on one line.";
	else if (!bs_ascii_is_visible(uri) || strpbrk(uri, "<>") != NULL)
		*reason = "Blanks, angle brackets, controls and characters beyond ASCII must be percent-encoded.";
	return *reason == NULL;
}
