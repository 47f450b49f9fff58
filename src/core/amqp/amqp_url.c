/*-------------------------------------------------------------------------
 *
 * amqp_url.c
 *	  The addresses of brokers.
 *
 * amqp_parse_url() takes them apart.  It fills in "guest", "localhost" and the
 * like where a part is missing, so whether a part was there is told by where its
 * pointer points.
 *
 * src/core/amqp/amqp_url.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/amqp/amqp_private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/secret.h"
#include "core/base/utf8.h"

#define URL_MAX				2048
#define SHORT_STRING_MAX	255

static const char *const form_fault =
"It must be a list of brokers, each of the form amqp://user@host:port/vhost or amqps://..., separated by commas.";

static bool
has_control(const char *string)
{
	for (; *string != '\0'; string++)
	{
		if (bs_ascii_is_control(*string))
			return true;
	}
	return false;
}

/*
 * Decodes octets of 128 and more, which amqp_parse_url() refuses as "%XX" and
 * takes as they are.
 */
static void
decode_high_octets(char *url)
{
	char	   *to = url;

	for (; *url != '\0'; url++)
	{
		char		digits[3] = "";

		if (url[0] == '%' && url[1] >= '8' && isxdigit((unsigned char) url[1]) &&
			isxdigit((unsigned char) url[2]))
		{
			memcpy(digits, url + 1, 2);
			*to++ = (char) strtol(digits, NULL, 16);
			url += 2;
		}
		else
			*to++ = *url;
	}
	*to = '\0';
}

/* A static full sentence on what is wrong with the address, or NULL. */
static const char *
parse_one(const char *url, size_t len, BsAmqpAddress *address)
{
	struct amqp_connection_info info;
	const char *end;
	char	   *curl_url;

	if (len > URL_MAX)
		return "An address is too long.";
	address->copy = strndup(url, len);
	if (address->copy == NULL)
		return "There is not enough memory.";
	end = address->copy + strlen(address->copy);

	/* A decoded NUL would end a part early. */
	if (strstr(address->copy, "%00") != NULL)
		return "It must not contain control characters.";
	decode_high_octets(address->copy);
	if (amqp_parse_url(address->copy, &info) != AMQP_STATUS_OK)
		return form_fault;

#define GIVEN(part) ((part) >= address->copy && (part) <= end)
	address->tls = info.ssl;
	address->port = info.port;
	address->host = info.host;
	address->vhost = info.vhost;
	address->user = info.user;
	address->usual_password = GIVEN(info.user) ? "" : info.password;

	/* Settings are logged, and shown. */
	if (GIVEN(info.password))
		return "A password belongs into the file of amqp_password_file.";
	if (!GIVEN(info.host) || info.host[0] == '\0')
		return "The host is missing.";
	if (GIVEN(info.vhost) && info.vhost[0] == '\0')
		address->vhost = "/";	/* "amqp://host/" is what people write for it */
#undef GIVEN
	if (address->port < 1 || address->port > 65535)
		return "The port must be between 1 and 65535.";
	if (has_control(address->host) || has_control(address->vhost) ||
		has_control(address->user))
		return "It must not contain control characters.";
	if (strlen(address->vhost) > SHORT_STRING_MAX)
		return "A virtual host can have at most 255 bytes.";
	curl_url = bs_amqp_curl_url(address);
	if (curl_url == NULL)
		return "The host is neither a name nor an address.";
	curl_free(curl_url);
	return NULL;
}

int
bs_amqp_parse_urls(const char *urls, BsAmqpAddress *list, const char **reason)
{
	int			count = 0;

	memset(list, 0, BS_AMQP_URLS_MAX * sizeof(*list));
	*reason = "There is no URL.";
	if (urls == NULL || urls[strspn(urls, " ")] == '\0')
		return -1;
	for (;;)
	{
		size_t		len;
		size_t		trimmed;

		urls += strspn(urls, " ");
		len = trimmed = strcspn(urls, ",");
		while (trimmed > 0 && urls[trimmed - 1] == ' ')
			trimmed--;
		*reason = "There can be at most 8 addresses.";
		if (count == BS_AMQP_URLS_MAX)
			return -1;
		*reason = parse_one(urls, trimmed, &list[count++]);
		if (*reason != NULL)
			return -1;
		if (urls[len] == '\0')
			return count;
		urls += len + 1;
	}
}

void
bs_amqp_free_addresses(BsAmqpAddress *list)
{
	int			i;

	for (i = 0; i < BS_AMQP_URLS_MAX; i++)
		bs_secret_free(list[i].copy);
	memset(list, 0, BS_AMQP_URLS_MAX * sizeof(*list));
}

bool
bs_amqp_check_urls(const char *urls, const char **reason)
{
	BsAmqpAddress list[BS_AMQP_URLS_MAX];
	int			count = bs_amqp_parse_urls(urls, list, reason);

	bs_amqp_free_addresses(list);
	return count > 0;
}

char *
bs_amqp_curl_url(const BsAmqpAddress *address)
{
	CURLU	   *url = curl_url();
	char		host[URL_MAX + 3];
	char		port[12];
	char	   *made = NULL;

	if (url == NULL)
		return NULL;
	snprintf(host, sizeof(host), strchr(address->host, ':') != NULL ?
			 "[%s]" : "%s", address->host);
	snprintf(port, sizeof(port), "%d", address->port);
	if (curl_url_set(url, CURLUPART_SCHEME,
					 address->tls ? "https" : "http", 0) != CURLUE_OK ||
		curl_url_set(url, CURLUPART_HOST, host, 0) != CURLUE_OK ||
		curl_url_set(url, CURLUPART_PORT, port, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_URL, &made, 0) != CURLUE_OK)
		made = NULL;
	curl_url_cleanup(url);
	return made;
}
