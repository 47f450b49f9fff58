/*-------------------------------------------------------------------------
 *
 * address.c
 *	  Which e-mail addresses are taken.
 *
 * Works on octets and asks nothing of the locale.
 *
 * src/core/text/address.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/text/address.h"

#include <string.h>

#include "core/base/utf8.h"

#define LOCAL_MAX	64
#define LABEL_MAX	63

/* What an octet can be part of. */
#define IN_LABEL	1			/* a letter or a digit (RFC 5321, Let-dig) */
#define IN_ATOM		2			/* RFC 5322, 3.2.3, atext */
#define IS_DIGIT	4

static const unsigned char classes[256] = {
	['0'...'9'] = IN_LABEL | IN_ATOM | IS_DIGIT,
	['A'...'Z'] = IN_LABEL | IN_ATOM,
	['a'...'z'] = IN_LABEL | IN_ATOM,
	['!'] = IN_ATOM,['#'] = IN_ATOM,['$'] = IN_ATOM,['%'] = IN_ATOM,
	['&'] = IN_ATOM,['\''] = IN_ATOM,['*'] = IN_ATOM,['+'] = IN_ATOM,
	['-'] = IN_ATOM,['/'] = IN_ATOM,['='] = IN_ATOM,['?'] = IN_ATOM,
	['^'] = IN_ATOM,['_'] = IN_ATOM,['`'] = IN_ATOM,['{'] = IN_ATOM,
	['|'] = IN_ATOM,['}'] = IN_ATOM,['~'] = IN_ATOM,
};

static const char *
explain_foreign(const unsigned char *bytes, size_t len)
{
	uint32_t	code;

	if (bs_utf8_decode((const char *) bytes, len, &code) > 0 &&
		bs_utf8_is_invisible(code))
		return "The address contains an invisible character.";
	return "The address must consist of ASCII characters; write an international domain in its \"xn--\" form.";
}

/* The rule that the local part breaks, or NULL. */
static const char *
check_local(const unsigned char *local, size_t len)
{
	size_t		i;

	if (len == 0)
		return "The address has nothing before the \"@\".";
	if (len > LOCAL_MAX)
		return "The part before the \"@\" is longer than 64 octets.";
	if (local[0] == '.' || local[len - 1] == '.')
		return "The part before the \"@\" must not begin or end with a dot.";
	for (i = 0; i < len; i++)
	{
		if (local[i] == '.')
		{
			if (local[i - 1] == '.')
				return "The part before the \"@\" must not contain two dots in a row.";
		}
		else if (local[i] == '=' && i + 1 < len && local[i + 1] == '?')
			return "The part before the \"@\" must not contain \"=?\", which begins an encoded word.";
		else if (local[i] == '"')
			return "A quoted part before the \"@\" is not supported.";
		else if ((classes[local[i]] & IN_ATOM) == 0)
			return "The part before the \"@\" contains a character that is not allowed there; only the bare form name@domain is taken.";
	}
	return NULL;
}

/* The rule that one label of the domain breaks, or NULL. */
static const char *
check_label(const unsigned char *label, size_t len)
{
	size_t		i;

	if (len == 0)
		return "The domain must not begin or end with a dot, nor contain two dots in a row.";
	if (len > LABEL_MAX)
		return "A part of the domain between dots is longer than 63 octets.";
	for (i = 0; i < len; i++)
	{
		if ((classes[label[i]] & IN_LABEL) == 0 && label[i] != '-')
			return "The domain may contain only letters, digits, hyphens and dots.";
	}
	if (label[0] == '-' || label[len - 1] == '-')
		return "A part of the domain between dots must not begin or end with a hyphen.";
	return NULL;
}

/* The rule that the domain breaks, or NULL. */
static const char *
check_domain(const unsigned char *domain, size_t len)
{
	size_t		start = 0;
	size_t		labels = 0;
	size_t		i;

	if (len == 0)
		return "The address has nothing after the \"@\".";
	if (domain[0] == '[')
		return "An address literal such as [192.0.2.1] is not supported; use a domain name.";
	for (i = 0; i <= len; i++)
	{
		if (i == len || domain[i] == '.')
		{
			const char *reason = check_label(domain + start, i - start);

			if (reason != NULL)
				return reason;
			labels++;
			if (i < len)
				start = i + 1;
		}
	}
	if (labels < 2)
		return "The domain needs at least two parts separated by a dot.";
	for (i = start; i < len; i++)
	{
		if ((classes[domain[i]] & IS_DIGIT) == 0)
			return NULL;
	}
	return "The last part of the domain must not consist of digits alone.";
}

static const char *
check(const unsigned char *address, size_t len)
{
	const unsigned char *at;
	const char *reason;
	size_t		i;

	if (len == 0)
		return "The address is empty.";
	if (len > BS_ADDRESS_MAX)
		return "The address is longer than 254 octets.";
	for (i = 0; i < len; i++)
	{
		if (bs_ascii_is_control((char) address[i]))
			return "The address must not contain control characters.";
		if (address[i] == ' ')
			return "The address must not contain blanks.";
		if (address[i] >= 0x80)
			return explain_foreign(address + i, len - i);
	}
	at = memchr(address, '@', len);
	if (at == NULL)
		return "The address has no \"@\".";
	i = (size_t) (at - address);
	if (memchr(at + 1, '@', len - i - 1) != NULL)
		return "The address has more than one \"@\".";
	reason = check_local(address, i);
	if (reason == NULL)
		reason = check_domain(at + 1, len - i - 1);
	return reason;
}

bool
bs_address_check(const char *address, size_t len, const char **reason)
{
	const char *broken = check((const unsigned char *) address, len);

	if (reason != NULL)
		*reason = broken;
	return broken == NULL;
}
