/*-------------------------------------------------------------------------
 *
 * mail_http.c
 *	  One mail as one POST to an HTTP mail API.
 *
 * When a kept connection dies under a request, libcurl sends the request again
 * on a new one by itself, and rewinds the body for it.  The rewind is refused
 * once the body was handed over: the server may have acted on it, and whether
 * to send it twice is not for libcurl to decide.
 *
 * src/core/mail/mail_http.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/mail/mail_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ANSWER_MAX				(64 * 1024)
#define RETRY_AFTER_MAX_MS		INT64_C(86400000)

static size_t
on_read(char *buffer, size_t size, size_t count, void *arg)
{
	BsMailSlot *slot = arg;
	size_t		len = slot->body_len - slot->body_sent;

	if (len > size * count)
		len = size * count;
	memcpy(buffer, slot->body + slot->body_sent, len);
	slot->body_sent += len;
	if (slot->body_sent == slot->body_len)
		slot->handed_over = true;
	return len;
}

static int
on_seek(void *arg, curl_off_t offset, int origin)
{
	BsMailSlot *slot = arg;

	if (slot->handed_over || origin != SEEK_SET || offset != 0)
		return CURL_SEEKFUNC_FAIL;
	slot->body_sent = 0;
	return CURL_SEEKFUNC_OK;
}

/*
 * The status of a status line (RFC 9112, section 4), or 0.  We speak HTTP/1.1, so
 * a major version other than 1 is no answer to us.
 */
static int
parse_status_line(const char *line, size_t len)
{
	char		start[13] = "";
	int			minor;
	int			status;
	int			end = 0;

	if (len <= sizeof(start) - 1)
		return 0;
	memcpy(start, line, sizeof(start) - 1);
	if (sscanf(start, "HTTP/1.%1d %3d%n", &minor, &status, &end) != 2 ||
		end != sizeof(start) - 1 || status < 100 ||
		strchr(" \r\n", line[sizeof(start) - 1]) == NULL)
		return 0;
	return status;
}

/*
 * Takes Retry-After (RFC 9110, section 10.2.3), in seconds or as a date: newer
 * libcurls cut it at six hours.
 */
static void
take_retry_after(BsMailSlot *slot, const char *line, size_t len)
{
	static const char name[] = "Retry-After:";
	char		value[64];
	char	   *end;
	long long	seconds;

	if (len < sizeof(name) - 1 ||
		strncasecmp(line, name, sizeof(name) - 1) != 0)
		return;
	snprintf(value, sizeof(value), "%.*s", (int) (len - (sizeof(name) - 1)),
			 line + sizeof(name) - 1);
	seconds = strtoll(value, &end, 10);
	if (end == value || end[strspn(end, " \t\r\n")] != '\0')
	{
		time_t		when = curl_getdate(value, NULL);

		seconds = when < 0 ? -1 : (long long) (when - time(NULL));
	}
	if (seconds > 0)
		slot->result.retry_after_ms = seconds < RETRY_AFTER_MAX_MS / 1000 ?
			(int64_t) seconds * 1000 : RETRY_AFTER_MAX_MS;
}

/*
 * Finds the status by itself, because libcurl takes any line that begins with
 * "HTTP/": 7.88 goes on with nonsense for a 200, and 8.14 believes an HTTP/3.1.
 * Interim answers (1xx) come before the one that counts; after it, lines are
 * fields and, behind the body, trailers.
 */
static size_t
on_header(char *line, size_t size, size_t count, void *arg)
{
	BsMailSlot *slot = arg;
	size_t		len = size * count;
	bool		is_empty = len > 0 && (line[0] == '\r' || line[0] == '\n');

	if (slot->status < 200)
	{
		if (!slot->head_began)
			slot->status = parse_status_line(line, len);
		slot->head_began = !is_empty;
	}
	else if (slot->head_began)
	{
		take_retry_after(slot, line, len);
		slot->head_began = !is_empty;
	}
	return len;
}

/* A body without end is cut off: its status is known, and that is enough. */
static size_t
on_answer(char *data, size_t size, size_t count, void *arg)
{
	BsMailSlot *slot = arg;
	size_t		len = size * count;

	bs_mail_text_add(&slot->said, data, len);
	slot->answer_len += len;
	return slot->answer_len > ANSWER_MAX ? 0 : len;
}

/*
 * bs_http_setup
 *		The options of an easy handle that stay the same.
 *
 * HTTP/1.1 alone: one request a connection is what the window of handles
 * means, and it is the smaller part of libcurl.
 */
CURLcode
bs_http_setup(BsMailSlot *slot, const BsMailerConfig *config)
{
	CURL	   *easy = slot->easy;
	CURLcode	code = CURLE_OK;

#define SET(option, value) \
	(code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_USERAGENT, "birthday_scheduler");
	SET(CURLOPT_READFUNCTION, on_read);
	SET(CURLOPT_READDATA, slot);
	SET(CURLOPT_SEEKFUNCTION, on_seek);
	SET(CURLOPT_SEEKDATA, slot);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, slot);
	SET(CURLOPT_WRITEFUNCTION, on_answer);
	SET(CURLOPT_WRITEDATA, slot);
	SET(CURLOPT_MAXAGE_CONN, 60L);
	SET(CURLOPT_MAXLIFETIME_CONN, 300L);
	if (config->user != NULL && config->user[0] != '\0')
		SET(CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
#undef SET
	return code;
}

static bool
has_header(const BsMailerConfig *config, const char *name)
{
	const char *const *header = config->http_headers;
	size_t		len = strlen(name);

	for (; header != NULL && *header != NULL; header++)
	{
		if (strncasecmp(*header, name, len) == 0 && (*header)[len] == ':')
			return true;
	}
	return false;
}

/*
 * bs_http_headers
 *		What all requests have in common.
 *
 * "Expect:" without a value keeps libcurl from asking before it sends a large
 * body, which some servers never answer.
 */
struct curl_slist *
bs_http_headers(const BsMailerConfig *config)
{
	const char *const *header = config->http_headers;
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");
	struct curl_slist *longer = list;

	if (longer != NULL && !has_header(config, "Content-Type"))
		longer = curl_slist_append(list, "Content-Type: application/json");
	for (; header != NULL && *header != NULL && longer != NULL; header++)
		longer = curl_slist_append(list, *header);

	if (longer == NULL)
	{
		curl_slist_free_all(list);
		return NULL;
	}
	return list;
}

/*
 * begin_afresh
 *		Each exchange has an easy handle of its own.
 *
 * In libcurl before 8.0 one that is used again remembers the last header of the
 * exchange before, which it has freed: an answer whose first header line begins
 * with a blank would be added to that.  Connections are the multi handle's.
 */
static bool
begin_afresh(BsMailSlot *slot)
{
	CURL	   *fresh = curl_easy_duphandle(slot->easy);

	if (fresh == NULL)
		return false;
	curl_easy_cleanup(slot->easy);
	slot->easy = fresh;
	return true;
}

/*
 * bs_http_begin
 *		Begin the exchange.
 *
 * The request's own header is the head of a list whose tail is shared.
 */
bool
bs_http_begin(BsMailSlot *slot, const char *idempotency_key)
{
	char		header[320];
	int			len;
	curl_off_t	body_len = (curl_off_t) slot->body_len;

	len = snprintf(header, sizeof(header), "Idempotency-Key: %s",
				   idempotency_key);
	if (len < 0 || (size_t) len >= sizeof(header))
		return false;
	slot->key_header = curl_slist_append(NULL, header);
	if (slot->key_header == NULL)
		return false;
	slot->key_header->next = slot->mailer->http_headers;

	slot->body_sent = 0;
	slot->answer_len = 0;
	slot->status = 0;
	slot->head_began = false;
	if (!begin_afresh(slot) ||
		curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER,
						 slot->key_header) != CURLE_OK ||
		curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE_LARGE,
						 body_len) != CURLE_OK ||
		!bs_mail_start_curl(slot))
		return false;
	slot->state = BS_SLOT_CURL;
	return true;
}

/* What is known of the exchange goes into the result. */
static void
conclude(BsMailSlot *slot, CURLcode code, bool aborted)
{
	BsHttpFacts facts = {0};
	BsOutcome	outcome;
	int			status = slot->status >= 200 ? slot->status : 0;

	facts.curl_code = (int) code;
	facts.response_code = status;
	facts.body_ended = slot->handed_over;

	if (aborted && status == 0 && !slot->handed_over)
		outcome = BS_OUTCOME_RELEASED;
	else
		outcome = bs_outcome_http(&facts);
	bs_mail_conclude(slot, outcome, status,
					 aborted ? "ended before an answer came" :
					 code != CURLE_OK ? bs_mail_curl_error(slot, code) : "");
}

/*
 * bs_http_ended
 *		libcurl is done with it.
 */
void
bs_http_ended(BsMailSlot *slot, CURLcode code)
{
	conclude(slot, code, false);
	bs_mail_stop_curl(slot);
	bs_mail_finish(slot);
}

/*
 * bs_http_abort
 *		The host wants an end.
 *
 * A status that has come counts, also if its body is still coming in.
 */
void
bs_http_abort(BsMailSlot *slot)
{
	conclude(slot, CURLE_ABORTED_BY_CALLBACK, true);
	bs_mail_stop_curl(slot);
	bs_mail_finish(slot);
}
