/*-------------------------------------------------------------------------
 *
 * fuzz_address.c
 *	  Fuzzer of the address check and of "Name <address>".
 *
 * Input: an address, or a mailbox.
 *
 * test/fuzz/fuzz_address.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"
#include "core/mime/mime.h"
#include "core/text/address.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS	"0123456789"

/* The rules once more, with the string functions of the C library. */
static bool
is_address(const char *address, size_t len)
{
	char		copy[BS_ADDRESS_MAX + 1];
	char	   *domain;
	char	   *label;
	size_t		labels = 0;

	if (len > BS_ADDRESS_MAX || memchr(address, '\0', len) != NULL)
		return false;
	memcpy(copy, address, len);
	copy[len] = '\0';
	domain = strchr(copy, '@');
	if (domain == NULL || domain == copy || domain - copy > 64)
		return false;
	*domain++ = '\0';
	if (strspn(copy, LETTERS DIGITS "!#$%&'*+-/=?^_`{|}~.") != strlen(copy) ||
		strstr(copy, "..") != NULL || copy[0] == '.' ||
		copy[strlen(copy) - 1] == '.')
		return false;
	if (strstr(copy, "=?") != NULL)
		return false;
	if (strspn(domain, LETTERS DIGITS "-.") != strlen(domain))
		return false;
	while ((label = strsep(&domain, ".")) != NULL)
	{
		size_t		width = strlen(label);

		if (width == 0 || width > 63 || label[0] == '-' ||
			label[width - 1] == '-')
			return false;
		labels++;
		if (domain == NULL && strspn(label, DIGITS) == width)
			return false;
	}
	return labels >= 2;
}

/* Puts a name and an address together; they must come apart again. */
static void
check_split(const char *name, const char *address)
{
	char		mailbox[4096] = "\"";
	char		name_again[2048];
	char		address_again[BS_ADDRESS_MAX + 1];
	size_t		len = 1;
	size_t		i;

	for (i = 0; name[i] != '\0'; i++)
	{
		MUST((unsigned char) name[i] >= 0x20 && name[i] != 0x7F);
		if (name[i] == '"' || name[i] == '\\')
			mailbox[len++] = '\\';
		mailbox[len++] = name[i];
	}
	snprintf(mailbox + len, sizeof(mailbox) - len, "\" <%s>", address);
	MUST(bs_mime_split_mailbox(mailbox, name_again, sizeof(name_again),
							   address_again, sizeof(address_again), NULL));
	MUST(strcmp(address, address_again) == 0);
	MUST(strcmp(name, name_again) == 0);
}

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *reason = NULL;
	char	   *mailbox = malloc(size + 1);
	char		name[1024];
	char		address[BS_ADDRESS_MAX + 1];
	bool		taken;
	size_t		i;

	memcpy(mailbox, data == NULL ? (const uint8_t *) "" : data, size);
	mailbox[size] = '\0';

	taken = bs_address_check(mailbox, size, &reason);
	MUST(taken == (reason == NULL));
	MUST(taken == is_address(mailbox, size));
	for (i = 0; taken && i < size; i++)
		MUST(data[i] > 0x20 && data[i] < 0x7F &&
			 strchr("<>,;:\"()[]\\", data[i]) == NULL);
	if (taken)
	{
		MUST(bs_mime_split_mailbox(mailbox, name, sizeof(name), address,
								   sizeof(address), NULL));
		MUST(name[0] == '\0' && strcmp(address, mailbox) == 0);
	}

	reason = NULL;
	taken = bs_mime_split_mailbox(mailbox, name, sizeof(name), address,
								  sizeof(address), &reason);
	MUST(taken == (reason == NULL));
	if (taken)
	{
		MUST(is_address(address, strlen(address)));
		MUST(strstr(mailbox, address) != NULL);
		check_split(name, address);
	}
	free(mailbox);
	return 0;
}
