/*-------------------------------------------------------------------------
 *
 * uuid.c
 *	  UUIDs as text (RFC 9562, section 4).
 *
 * src/core/base/uuid.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/uuid.h"

static bool
is_before_dash(int octet)
{
	return octet == 3 || octet == 5 || octet == 7 || octet == 9;
}

void
bs_uuid_write(const uint8_t uuid[BS_UUID_SIZE], char *buf)
{
	static const char digits[] = "0123456789abcdef";
	int			i;

	for (i = 0; i < BS_UUID_SIZE; i++)
	{
		*buf++ = digits[uuid[i] >> 4];
		*buf++ = digits[uuid[i] & 15];
		if (is_before_dash(i))
			*buf++ = '-';
	}
	*buf = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
bs_uuid_read(const char *string, uint8_t uuid[BS_UUID_SIZE])
{
	int			i;

	for (i = 0; i < BS_UUID_SIZE; i++)
	{
		int			high = hex_value(string[0]);
		int			low = high < 0 ? -1 : hex_value(string[1]);

		if (low < 0)
			return false;
		uuid[i] = (uint8_t) (high << 4 | low);
		string += 2;
		if (is_before_dash(i) && *string++ != '-')
			return false;
	}
	return *string == '\0';
}
