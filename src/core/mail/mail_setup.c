/*-------------------------------------------------------------------------
 *
 * mail_setup.c
 *	  Making and unmaking a mailer: the settings, and libcurl's options.
 *
 * src/core/mail/mail_setup.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/mail_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/utf8.h"

#define URL_MAX	2048
#define HELO_MAX	255			/* octets (RFC 5321, 4.5.3.1.2) */

bool
bs_mailer_global_init(void)
{
	return bs_curl_global_init();
}

/* ---- the URL ---- */

static bool
url_has(CURLU *url, CURLUPart part)
{
	char	   *value = NULL;
	bool		has = curl_url_get(url, part, &value, 0) == CURLUE_OK;

	curl_free(value);
	return has;
}

static bool
url_is(CURLU *url, CURLUPart part, const char *wanted)
{
	char	   *value = NULL;
	bool		is = curl_url_get(url, part, &value, 0) == CURLUE_OK &&
	strcmp(value, wanted) == 0;

	curl_free(value);
	return is;
}

static const char *
find_url_fault(CURLU *url, const char *given)
{
	static const char *const form =
	"It must be of the form scheme://host or scheme://host:port.";
	const char *host = strstr(given, "://");
	char	   *scheme = NULL;
	bool		is_smtp;
	bool		is_http;

	/*
	 * libcurl takes more: "smtp:/host", "https:///host", other octets, port
	 * 0.
	 */
	if (strlen(given) > URL_MAX)
		return "It is too long.";
	if (host == NULL || strcspn(given, ":") != (size_t) (host - given))
		return form;
	if (host[3] == '/' || host[3] == '\0')
		return "The host is missing.";
	if (!bs_ascii_is_visible(given))
		return "Blanks, controls and characters beyond ASCII must be percent-encoded.";
	if (curl_url_set(url, CURLUPART_URL, given, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return form;
	is_smtp = strcmp(scheme, "smtp") == 0 || strcmp(scheme, "smtps") == 0;
	is_http = strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0;
	curl_free(scheme);

	if (!is_smtp && !is_http)
		return "Only the smtp://, smtps://, http:// and https:// schemes can be used.";
	if (!url_has(url, CURLUPART_HOST))
		return "The host is missing.";
	if (url_is(url, CURLUPART_PORT, "0"))
		return "The port must be between 1 and 65535.";
	if (url_has(url, CURLUPART_USER) || url_has(url, CURLUPART_PASSWORD) ||
		url_has(url, CURLUPART_OPTIONS))
		return "A user name or password does not belong here.";
	if (url_has(url, CURLUPART_FRAGMENT) ||
		(is_smtp && url_has(url, CURLUPART_QUERY)))
		return "Nothing can follow the path.";
	return NULL;
}

bool
bs_mailer_check_url(const char *url, const char **reason)
{
	CURLU	   *parsed;

	*reason = "There is no URL.";
	if (url == NULL || url[0] == '\0')
		return false;
	parsed = curl_url();
	*reason = "There is not enough memory.";
	if (parsed == NULL)
		return false;
	*reason = find_url_fault(parsed, url);
	curl_url_cleanup(parsed);
	return *reason == NULL;
}

/* ---- the name for EHLO ---- */

bool
bs_mailer_check_helo(const char *name, const char **reason)
{
	size_t		len = strlen(name);
	const char *letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";

	*reason = "It must be a full host name such as mail.example.com, or an address in brackets.";
	if (len == 0 || len > HELO_MAX)
		return len == 0;
	if (name[0] == '[')
		return name[len - 1] == ']' &&
			strspn(name + 1, "0123456789abcdefABCDEFIPv:.") == len - 2;
	return strspn(name, letters) == len && strchr(name, '.') != NULL &&
		name[0] != '.' && name[0] != '-' &&
		name[len - 1] != '.' && name[len - 1] != '-';
}

/*
 * The URL with our name as its path, where libcurl looks for it; for curl_free().
 * NULL: memory is short.
 */
static char *
make_smtp_url(const BsMailer *mailer, const BsMailerConfig *config)
{
	char		path[HELO_MAX + 2];
	char	   *made = NULL;
	const char *name = config->helo;
	CURLU	   *url = curl_url();

	if (name == NULL || name[0] == '\0')
		name = strchr(mailer->sender, '@') + 1;
	snprintf(path, sizeof(path), "/%s", name);
	if (url != NULL &&
		curl_url_set(url, CURLUPART_URL, config->url, 0) == CURLUE_OK &&
		(!url_is(url, CURLUPART_PATH, "/") ||
		 curl_url_set(url, CURLUPART_PATH, path, CURLU_URLENCODE) == CURLUE_OK))
		(void) curl_url_get(url, CURLUPART_URL, &made, 0);
	curl_url_cleanup(url);
	return made;
}

/* ---- making and unmaking ---- */

/* The options that stay the same for the handle's life. */
static CURLcode
setup_easy(BsMailSlot *slot, const BsMailerConfig *config, const char *url,
		   const char *scheme)
{
	BsMailer   *mailer = slot->mailer;
	CURL	   *easy = slot->easy;
	CURLcode	code = bs_curl_setup(&mailer->loop, easy, scheme,
									 config->ca_file, mailer->timeout_ms);

#define SET(option, value) \
	(code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

	SET(CURLOPT_URL, url);
	SET(CURLOPT_PRIVATE, slot);
	SET(CURLOPT_ERRORBUFFER, slot->curl_error);
	SET(CURLOPT_SERVER_RESPONSE_TIMEOUT,
		(long) ((mailer->timeout_ms + 999) / 1000));
	if (config->user != NULL && config->user[0] != '\0')
	{
		SET(CURLOPT_USERNAME, config->user);
		SET(CURLOPT_PASSWORD,
			config->password != NULL ? config->password : "");
	}
#undef SET

	if (code == CURLE_OK)
		code = mailer->is_http ? bs_http_setup(slot, config) :
			bs_smtp_setup(slot, config);
	return code;
}

/* A static full sentence on what is wrong with the settings, or NULL. */
static const char *
find_config_fault(BsMailer *mailer, const BsMailerConfig *config)
{
	const char *const *header = config->http_headers;
	const char *reason = NULL;
	char		name[BS_MIME_NAME_MAX + 1];

	if (!bs_mailer_check_url(config->url, &reason))
		return reason;
	if (config->from == NULL ||
		!bs_mime_split_mailbox(config->from, name, sizeof(name),
							   mailer->sender, sizeof(mailer->sender),
							   &reason))
		return reason != NULL ? reason : "The sender is missing.";
	if (config->helo != NULL && !bs_mailer_check_helo(config->helo, &reason))
		return reason;
	if (config->connections < 1 || config->connections > BS_MAIL_SLOTS_MAX)
		return "The number of connections must be between 1 and 64.";
	if (config->timeout_ms < 1 || config->timeout_ms > INT32_MAX ||
		config->connect_timeout_ms < 1 ||
		config->connect_timeout_ms > INT32_MAX)
		return "The time limits must be positive.";
	for (; header != NULL && *header != NULL; header++)
	{
		const char *c;

		if (strchr(*header, ':') == NULL || (*header)[0] == ':')
			return "An HTTP header must be of the form \"Name: value\".";
		for (c = *header; *c != '\0'; c++)
		{
			if (bs_ascii_is_control(*c) && *c != '\t')
				return "An HTTP header must not contain control characters.";
		}
	}
	return NULL;
}

static const char *
build(BsMailer *mailer, const BsMailerConfig *config)
{
	static const char *const no_memory = "There is not enough memory.";
	const char *fault = find_config_fault(mailer, config);
	char		scheme[8];
	CURLcode	code = CURLE_OK;
	char	   *url = NULL;
	int			i;

	if (fault != NULL)
		return fault;
	snprintf(scheme, sizeof(scheme), "%.*s",
			 (int) strcspn(config->url, ":"), config->url);
	mailer->is_http = strncasecmp(scheme, "http", 4) == 0;
	mailer->timeout_ms = config->timeout_ms;

	/*
	 * A relay that does not acknowledge what was sent is given up as early as
	 * one that cannot be connected: so a kept connection that a firewall has
	 * forgotten costs one connect timeout, not one transfer timeout.
	 */
	fault = bs_curl_open(&mailer->loop, config->connections,
						 config->connect_timeout_ms,
						 config->connect_timeout_ms);
	if (fault != NULL)
		return fault;
	mailer->slots = calloc((size_t) config->connections, sizeof(BsMailSlot));
	if (mailer->slots == NULL)
		return no_memory;
	mailer->slot_count = config->connections;
	mailer->window = config->connections;
	if (mailer->is_http)
	{
		mailer->http_headers = bs_http_headers(config);
		if (mailer->http_headers == NULL)
			return no_memory;
	}
	else if ((url = make_smtp_url(mailer, config)) == NULL)
		return no_memory;

	for (i = 0; i < mailer->slot_count && code == CURLE_OK; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];

		slot->mailer = mailer;
		slot->index = i;
		slot->easy = curl_easy_init();
		code = slot->easy == NULL ? CURLE_OUT_OF_MEMORY :
			setup_easy(slot, config, url ? url : config->url, scheme);
	}
	curl_free(url);
	if (code == CURLE_OK)
		return NULL;
	return code == CURLE_OUT_OF_MEMORY ? no_memory : curl_easy_strerror(code);
}

BsMailer *
bs_mailer_create(const BsMailerConfig *config, char *error, size_t error_size)
{
	BsMailer   *mailer = calloc(1, sizeof(BsMailer));
	const char *fault = "There is not enough memory.";

	if (mailer != NULL)
	{
		bs_curl_init(&mailer->loop);
		fault = build(mailer, config);
	}
	if (fault == NULL)
		return mailer;

	bs_mailer_destroy(mailer);
	if (error_size > 0)
		snprintf(error, error_size, "%s", fault);
	return NULL;
}

void
bs_mailer_destroy(BsMailer *mailer)
{
	int			i;

	if (mailer == NULL)
		return;
	for (i = 0; i < mailer->slot_count; i++)
	{
		BsMailSlot *slot = &mailer->slots[i];

		if (slot->easy == NULL)
			continue;
		bs_smtp_close(slot, slot->state != BS_SLOT_TALKING);
		bs_mail_stop_curl(slot);
		curl_easy_cleanup(slot->easy);
		bs_mail_free_body(slot);
	}
	bs_curl_close(&mailer->loop);
	curl_slist_free_all(mailer->http_headers);
	free(mailer->slots);
	free(mailer);
}
