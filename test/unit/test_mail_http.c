/*-------------------------------------------------------------------------
 *
 * test_mail_http.c
 *	  The mailer against HTTP mail APIs that misbehave in every way.
 *
 * test/unit/test_mail_http.c
 *
 *-------------------------------------------------------------------------
 */
#include "mail_host.h"

#define HTTP(status, headers, body) \
	{.http = "HTTP/1.1 " status "\r\n" headers "\r\n" body}

static const BsMailCase http_cases[] = {
	{"200", HTTP("200 OK", "Content-Length: 13\r\n", "{\"ok\": true}\n"),
	BS_OUTCOME_ACCEPTED, 200, "{\"ok\": true}"},
	{"202 without a body", HTTP("202 Accepted", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_ACCEPTED, 202, NULL},
	{"200 with garbage", HTTP("200 OK", "Content-Length: 8\r\n",
							  "\x01\xff\xfe<{ok\n"), BS_OUTCOME_ACCEPTED, 200,
	"\xef\xbf\xbd\xef\xbf\xbd<{ok"},
	{"200, body cut", {.http = CLOSE "HTTP/1.1 200 OK\r\n"
	"Content-Length: 100\r\n\r\nabc"}, BS_OUTCOME_ACCEPTED, 200, "abc"},
	{"200, body cut by RST", {.http = RESET "HTTP/1.1 200 OK\r\n"
	"Content-Length: 100\r\n\r\nabc"}, BS_OUTCOME_ACCEPTED, 200, "abc"},
	{"200, broken chunks", {.http = CLOSE "HTTP/1.1 200 OK\r\n"
	"Transfer-Encoding: chunked\r\n\r\nzzz\r\n"}, BS_OUTCOME_ACCEPTED, 200, NULL},
	{"200, headers cut", {.http = CLOSE "HTTP/1.1 200 OK\r\nA: b"},
	BS_OUTCOME_ACCEPTED, 200, NULL},
	{"200, headers hang", {.http = HANG "HTTP/1.1 200 OK\r\nA: b"},
	BS_OUTCOME_ACCEPTED, 200, NULL},
	{"200, an octet at a time", {.http = DRIP "HTTP/1.1 200 OK\r\n"
	"Content-Length: 2\r\n\r\nok"}, BS_OUTCOME_ACCEPTED, 200, "ok"},
	{"100 and then 200", {.http = "HTTP/1.1 100 Continue\r\n\r\n"
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	BS_OUTCOME_ACCEPTED, 200, NULL},
	{"100 alone", {.http = CLOSE "HTTP/1.1 100 Continue\r\n\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"the address in the answer", HTTP("200 OK", "Content-Length: 31\r\n",
									   "{\"to\": \"zoe.doe@EXAMPLE.org\"}  "), BS_OUTCOME_ACCEPTED, 200,
	"{\"to\": \"<recipient>\"}"},
	{"302", HTTP("302 Found", "Location: http://169.254.169.254/\r\n"
				 "Content-Length: 0\r\n", ""), BS_OUTCOME_TROUBLE, 302, NULL},
	{"307 to a file", HTTP("307 Temporary", "Location: file:///etc/passwd\r\n"
						   "Content-Length: 0\r\n", ""), BS_OUTCOME_TROUBLE, 307, NULL},
	{"400", HTTP("400 Bad Request", "Content-Length: 3\r\n", "bad"),
	BS_OUTCOME_REFUSED, 400, "bad"},
	{"401", HTTP("401 Unauthorized", "Content-Length: 0\r\n"
				 "WWW-Authenticate: Basic\r\n", ""), BS_OUTCOME_TROUBLE, 401, NULL},
	{"403", HTTP("403 Forbidden", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_TROUBLE, 403, NULL},
	{"404", HTTP("404 Not Found", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_TROUBLE, 404, NULL},
	{"409", HTTP("409 Conflict", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_LATER, 409, NULL},
	{"429", HTTP("429 Too Many", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_LATER, 429, NULL},
	{"500", HTTP("500 Oops", "Content-Length: 4\r\n", "oops"),
	BS_OUTCOME_TROUBLE, 500, "oops"},
	{"503", HTTP("503 Busy", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_TROUBLE, 503, NULL},
	{"closed", {.http = CLOSE ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"reset", {.http = RESET ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"no answer", {.http = HANG ""}, BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"half a status line", {.http = CLOSE "HTTP/1.1 2"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"a status line that is none", {.http = CLOSE "HTTP/x.1 401 No\r\n\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"the status line of HTTP/2.1", {.http = CLOSE "HTTP/2.1 201 Made\r\n\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"the status line of HTTP/3.1", {.http = CLOSE "HTTP/3.1 201 Made\r\n\r\n"},
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"200 as a field of a 500", HTTP("500 Oops", "HTTP/1.1 200 OK: x\r\n"
									 "Content-Length: 0\r\n", ""), BS_OUTCOME_TROUBLE, 500, NULL},
	{"200 as a trailer of a 500", HTTP("500 Oops",
									   "Transfer-Encoding: chunked\r\n", "0\r\nHTTP/1.1 200 OK: x\r\n\r\n"),
	BS_OUTCOME_TROUBLE, 500, NULL},
	{"a status of four digits", HTTP("2000 OK", "Content-Length: 0\r\n", ""),
	BS_OUTCOME_IN_DOUBT, 0, NULL},
	{"HTTP/1.0", {.http = CLOSE "HTTP/1.0 201 Made\r\n\r\nok"},
	BS_OUTCOME_ACCEPTED, 201, "ok"},
	{"not HTTP", {.http = CLOSE "250 taken\r\n"}, BS_OUTCOME_IN_DOUBT, 0, NULL},
};

static void
test_http_cases(void)
{
	size_t		i;

	scheme = "http";
	for (i = 0; i < sizeof(http_cases) / sizeof(http_cases[0]); i++)
		run_case(&http_cases[i], "http", false);
	scheme = "smtp";
}

static void
test_http_request(void)
{
	static const BsScript http = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n"};
	static const char *const headers[] = {
		"X-Tenant: seven", "Content-Type: application/vnd.mail+json", NULL
	};
	BsMail		mail = make_mail("Hello\n");
	char		key[100];

	scheme = "http";
	reset_mailer_config();
	begin(&http);
	bs_mailer_submit(mailer, &mail, 1);
	wait_for_results(1);
	snprintf(key, sizeof(key), "\r\nIdempotency-Key: %s\r\n",
			 mail.idempotency_key);
	ok(strncmp(relay.request, "POST /send?a=b HTTP/1.1\r\n", 25) == 0,
	   "request: a POST to the path");
	ok(strstr(relay.request, key) != NULL, "request: its key");
	ok(strstr(relay.request, "\r\nContent-Type: application/json\r\n") != NULL,
	   "request: its type");
	ok(strstr(relay.request, "\r\nExpect") == NULL, "request: no Expect");
	ok(strstr(relay.request, "\r\nAuthorization") == NULL,
	   "request: no password where there is none");
	stop();

	mailer_config.user = "us";
	mailer_config.password = "secret";
	mailer_config.http_headers = headers;
	begin(&http);
	send_one("Hello\n");
	ok(strstr(relay.request, "\r\nAuthorization: Basic dXM6c2VjcmV0\r\n") !=
	   NULL, "request: the password");
	ok(strstr(relay.request, "\r\nX-Tenant: seven\r\n") != NULL,
	   "request: a header of the user's");
	ok(strstr(relay.request, "application/vnd.mail+json") != NULL &&
	   strstr(relay.request, "application/json") == NULL,
	   "request: the user's type instead of ours");
	send_one("Hello\n");
	is_int(relay.connected, 1, "request: another on the same connection");
	is_int(relay.mails, 2, "request: both are there");
	stop();
	scheme = "smtp";
}

static void
is_retry_after(const char *status, const char *value, int64_t least,
			   int64_t most)
{
	char		answer[256];
	BsScript	http = {.http = answer};

	snprintf(answer, sizeof(answer), "HTTP/1.1 %s\r\nRetry-After: %s\r\n"
			 "Content-Length: 0\r\n\r\n", status, value);
	reset_mailer_config();
	begin(&http);
	send_one("Hello\n");
	ok(results[0].retry_after_ms >= least && results[0].retry_after_ms <= most,
	   "retry after \"%s\": %lld ms", value,
	   (long long) results[0].retry_after_ms);
	stop();
}

static void
test_retry_after(void)
{
	char		date[64];
	time_t		when = time(NULL) + 120;

	scheme = "http";
	is_retry_after("429 Slow", "120", 120000, 120000);
	is_retry_after("503 Busy", "7", 7000, 7000);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&when));
	is_retry_after("429 Slow", date, 110000, 121000);
	is_retry_after("429 Slow", "Thu, 01 Jan 1970 00:00:00 GMT", -1, -1);
	is_retry_after("429 Slow", "0", -1, -1);
	is_retry_after("429 Slow", "-5", -1, -1);
	is_retry_after("429 Slow", "soon", -1, -1);
	is_retry_after("429 Slow", "99999999999999999999", -1, 86400000);
	is_retry_after("503 Busy", "43200", 43200000, 43200000);
	is_retry_after("503 Busy", "31536000", 86400000, 86400000);
	scheme = "smtp";
}

/* Answers that have no end are cut, and what was sent twice is not by us. */
static void
test_http_odd(void)
{
	static const BsScript flood = {.http = FLOOD "HTTP/1.1 200 OK\r\n\r\n"};
	static const BsScript flood_error = {.http = FLOOD "HTTP/1.1 503 No\r\n\r\n"};
	static const BsScript early = {.http = CLOSE "HTTP/1.1 413 Large\r\n"
	"Content-Length: 0\r\n\r\n",.http_early = true};
	static const BsScript early_ok = {.http = RESET "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n",.http_early = true};
	static const BsScript dies = {.http = CLOSE ""};
	static const BsScript usual = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n",.next = &dies};
	char	   *long_words = make_long_text();

	scheme = "http";
	reset_mailer_config();
	begin(&flood);
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
		   "http: 200 with a body without end");
	is_int(strlen(results[0].reply), BS_MAIL_REPLY_MAX - 1,
		   "http: of which the beginning is kept");
	stop();
	begin(&flood_error);
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_TROUBLE,
		   "http: 503 with a body without end");
	stop();

	begin(&early);
	is_int(send_one(long_words).response_code, 413,
		   "http: refused before the request was whole");
	stop();
	begin(&early_ok);
	is_int(send_one(long_words).outcome, BS_OUTCOME_TROUBLE,
		   "http: 200 before the request was whole is nothing");
	stop();

	/* libcurl would send it again by itself on a new connection. */
	begin(&usual);
	send_one("Hello\n");
	is_str(outcome_names[send_one("Hello\n").outcome], "in doubt",
		   "http: a kept connection dies under a whole request");
	is_int(relay.mails, 2, "http: the request was not sent again");
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
		   "http: the next goes");
	stop();
	scheme = "smtp";
	free(long_words);
}

int
main(void)
{
	host_begin();
	test_http_cases();
	test_http_request();
	test_retry_after();
	test_http_odd();
	scheme = "http";
	test_delivery();
	return host_end();
}
