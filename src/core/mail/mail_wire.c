/*-------------------------------------------------------------------------
 *
 * mail_wire.c
 *	  SMTP's forms: lines of replies, keywords of EHLO, dots.
 *
 * src/core/mail/mail_wire.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/mail_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * bs_smtp_parse_line
 *		A line of a reply (RFC 5321, section 4.2).
 *
 * Line ends are LF, with or without CR, as other clients take them.
 */
int
bs_smtp_parse_line(const char *line, size_t len, bool *last)
{
	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	if (len < 3 || line[0] < '2' || line[0] > '5' ||
		line[1] < '0' || line[1] > '9' || line[2] < '0' || line[2] > '9' ||
		(len > 3 && line[3] != ' ' && line[3] != '-'))
		return 0;
	*last = len == 3 || line[3] == ' ';
	return (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
}

/*
 * bs_smtp_offers
 *		Is this line of a reply to EHLO the keyword?
 */
bool
bs_smtp_offers(const char *line, size_t len, const char *keyword)
{
	size_t		keyword_len = strlen(keyword);

	return len >= 4 + keyword_len &&
		strncasecmp(line + 4, keyword, keyword_len) == 0 &&
		(len == 4 + keyword_len || strchr(" \r\n", line[4 + keyword_len]));
}

static bool
dot_begins_line(const char *mail, size_t at)
{
	return mail[at] == '.' &&
		(at == 0 || mail[at - 1] == '\n' || mail[at - 1] == '\r');
}

/*
 * bs_smtp_frame
 *		The mail as it goes over the wire.
 *
 * A dot after a bare CR or LF is doubled as well: some relays take those for the
 * end of a line, and "LF . CRLF" for the end of a mail.
 */
char *
bs_smtp_frame(char *mail, size_t len, size_t *framed_len)
{
	bool		ends_line = len == 0;
	size_t		dots = 0;
	size_t		from;
	size_t		to;
	char	   *framed;

	if (len >= 2)
		ends_line = memcmp(mail + len - 2, "\r\n", 2) == 0;
	for (from = 0; from < len; from++)
		dots += dot_begins_line(mail, from);

	framed = malloc(len + dots + sizeof("\r\n.\r\n"));
	if (framed != NULL)
	{
		for (from = 0, to = 0; from < len; from++)
		{
			if (dots > 0 && dot_begins_line(mail, from))
				framed[to++] = '.';
			framed[to++] = mail[from];
		}
		memcpy(framed + to, "\r\n.\r\n", 5);
		if (ends_line)
			memmove(framed + to, framed + to + 2, 3);
		*framed_len = to + (ends_line ? 3 : 5);
	}
	free(mail);
	return framed;
}
