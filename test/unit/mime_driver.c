/*-------------------------------------------------------------------------
 *
 * mime_driver.c
 *	  Builds the mails that mime_roundtrip.py asks for.
 *
 * Reads from standard input, for each mail, the nine strings of BsMail in
 * their order (four octets of length, most significant first, and the octets;
 * a length of 0xFFFFFFFF stands for NULL) and eight octets of date.  Writes
 * the mail and the JSON in the same form.  Ends with its input.
 *
 * test/unit/mime_driver.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/mime/mime.h"

#define ABSENT	UINT32_C(0xFFFFFFFF)
#define LEN_MAX	(64 * 1024 * 1024)

static bool
read_number(int octets, uint64_t *number)
{
	*number = 0;
	while (octets-- > 0)
	{
		int			c = getchar();

		if (c == EOF)
			return false;
		*number = *number << 8 | (uint64_t) c;
	}
	return true;
}

static bool
read_string(char **string)
{
	uint64_t	len;

	*string = NULL;
	if (!read_number(4, &len))
		return false;
	if (len == ABSENT)
		return true;
	if (len > LEN_MAX || (*string = malloc(len + 1)) == NULL)
		return false;
	(*string)[len] = '\0';
	return fread(*string, 1, len, stdin) == len;
}

static void
write_string(char *string, size_t len)
{
	uint32_t	number = string == NULL ? ABSENT : (uint32_t) len;

	putchar((int) (number >> 24 & 0xFF));
	putchar((int) (number >> 16 & 0xFF));
	putchar((int) (number >> 8 & 0xFF));
	putchar((int) (number & 0xFF));
	if (string != NULL)
		fwrite(string, 1, len, stdout);
	free(string);
}

int
main(void)
{
	bool		more = true;

	while (more)
	{
		char	   *strings[9] = {NULL};
		uint64_t	date;
		size_t		len;
		BsMail		mail;
		char	   *built;
		int			i;

		for (i = 0; i < 9 && more; i++)
			more = read_string(&strings[i]);
		if (more && read_number(8, &date))
		{
			mail.from = strings[0];
			mail.reply_to = strings[1];
			mail.to_name = strings[2];
			mail.to_address = strings[3];
			mail.subject = strings[4];
			mail.text = strings[5];
			mail.html = strings[6];
			mail.idempotency_key = strings[7];
			mail.list_unsubscribe = strings[8];
			mail.date = (int64_t) date;
			built = bs_mime_build(&mail, &len);
			write_string(built, len);
			built = bs_mime_json(&mail, &len);
			write_string(built, len);
			fflush(stdout);
		}
		for (i = 0; i < 9; i++)
			free(strings[i]);
	}
	return 0;
}
