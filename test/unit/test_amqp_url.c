/*-------------------------------------------------------------------------
 *
 * test_amqp_url.c
 *	  The addresses of brokers.
 *
 * test/unit/test_amqp_url.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

#include "core/amqp/amqp_private.h"

/* As one line: "host port vhost user" with "tls" before. */
static void
is_address(const char *urls, int which, const char *wanted)
{
	BsAmqpAddress list[BS_AMQP_URLS_MAX];
	const char *reason = NULL;
	char		got[4096] = "";
	int			count = bs_amqp_parse_urls(urls, list, &reason);

	if (count > which)
		snprintf(got, sizeof(got), "%s%s %d %s %s",
				 list[which].tls ? "tls " : "", list[which].host,
				 list[which].port, list[which].vhost, list[which].user);
	is_str(got, wanted, "%s", urls);
	bs_amqp_free_addresses(list);
}

static void
is_bad(const char *urls, const char *wanted)
{
	const char *reason = "";

	ok(!bs_amqp_check_urls(urls, &reason), "refused: \"%.100s\"", urls);
	ok(strstr(reason, wanted) != NULL, "because: %s", reason);
}

static void
is_curl_url(const char *url, const char *wanted)
{
	BsAmqpAddress list[BS_AMQP_URLS_MAX];
	const char *reason;
	char	   *made = NULL;

	if (bs_amqp_parse_urls(url, list, &reason) == 1)
		made = bs_amqp_curl_url(&list[0]);
	is_str(made, wanted, "libcurl connects to %s", wanted);
	curl_free(made);
	bs_amqp_free_addresses(list);
}

int
main(void)
{
	static char longest[4000];
	const char *reason;

	is_address("amqp://broker.example", 0,
			   "broker.example 5672 / guest");
	is_address("amqps://broker.example", 0,
			   "tls broker.example 5671 / guest");
	is_address("amqp://u@b:1/v", 0, "b 1 v u");
	is_address("amqp://u@b/", 0, "b 5672 / u");
	is_address("amqp://u@b/%2F", 0, "b 5672 / u");
	is_address("amqp://b/%2f%2Cx", 0, "b 5672 /,x guest");
	is_address("amqp://u%3a%40%25%2c%C3%A4\xc3\xb6@b:65535", 0,
			   "b 65535 / u:@%,\xc3\xa4\xc3\xb6");
	is_address("amqp://[::1]:5673/v", 0, "::1 5673 v guest");
	is_address("amqps://[2001:db8::1]", 0,
			   "tls 2001:db8::1 5671 / guest");
	is_address("  amqp://a  ,amqps://b:1 , amqp://c/v ", 1,
			   "tls b 1 / guest");
	is_address("  amqp://a  ,amqps://b:1 , amqp://c/v ", 2,
			   "c 5672 v guest");
	ok(bs_amqp_check_urls("amqp://1,amqp://2,amqp://3,amqp://4,"
						  "amqp://5,amqp://6,amqp://7,amqp://8", &reason),
	   "eight addresses");

	is_bad(NULL, "There is no URL.");
	is_bad("", "There is no URL.");
	is_bad("   ", "There is no URL.");
	is_bad("amqp://1,amqp://2,amqp://3,amqp://4,"
		   "amqp://5,amqp://6,amqp://7,amqp://8,amqp://9", "at most 8");
	is_bad("broker.example", "of the form");
	is_bad("http://broker.example", "of the form");
	is_bad("AMQP://broker.example", "of the form");
	is_bad("amqp:broker.example", "of the form");
	is_bad("amqp://a,", "of the form");
	is_bad(",amqp://a", "of the form");
	is_bad("amqp://a,,amqp://b", "of the form");
	is_bad("amqp://a amqp://b", "of the form");
	is_bad("amqp://a/v/w", "of the form");
	is_bad("amqp://a/v?heartbeat=5", "of the form");
	is_bad("amqp://a/v#x", "of the form");
	is_bad("amqp://u:p:q@a", "of the form");
	is_bad("amqp://u@v@a", "of the form");
	is_bad("amqp://a:x", "of the form");
	is_bad("amqp://%zz", "of the form");
	is_bad("amqp://[::1", "of the form");
	is_bad("amqp://", "host is missing");
	is_bad("amqp://:5672", "host is missing");
	is_bad("amqp:///v", "host is missing");
	is_bad("amqp://u@/v", "host is missing");
	is_bad("amqp://a:0", "");
	is_bad("amqp://a:65536", "");
	is_bad("amqp://a:-1", "");
	is_bad("amqp://a:99999999999999999999", "");
	is_bad("amqp://a%00b", "control");
	is_bad("amqp://u%00v@b", "control");
	is_bad("amqp://u:p%00q@b", "control");
	is_bad("amqp://b/v%0a", "control");
	is_bad("amqp://u%0d@b", "control");
	is_bad("amqp://u:p@b", "amqp_password_file");
	is_bad("amqp://u:@b", "amqp_password_file");
	is_bad("amqp://a,amqps://u:p%40%C3%A4@b/v", "amqp_password_file");
	is_bad("amqp://a%2fb", "neither a name nor an address");
	is_bad("amqp://a%40b", "neither a name nor an address");
	is_bad("amqp://a%20b", "neither a name nor an address");
	is_bad("amqp://[a:b]", "neither a name nor an address");

	memset(longest, 'v', sizeof(longest) - 1);
	memcpy(longest, "amqp://a/", 9);
	is_bad(longest, "too long");
	longest[9 + 256] = '\0';
	is_bad(longest, "at most 255 bytes");
	longest[9 + 255] = '\0';
	ok(bs_amqp_check_urls(longest, &reason), "255 bytes are not too many");

	is_curl_url("amqp://u@broker.example/v", "http://broker.example:5672/");
	is_curl_url("amqps://b", "https://b:5671/");
	is_curl_url("amqps://b:443", "https://b:443/");
	is_curl_url("amqp://[::1]:80", "http://[::1]:80/");
	return tap_done();
}
