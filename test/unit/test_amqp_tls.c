/*-------------------------------------------------------------------------
 *
 * test_amqp_tls.c
 *	  The link over TLS: certificates, and octets that no descriptor tells of.
 *
 * test/unit/test_amqp_tls.c
 *
 *-------------------------------------------------------------------------
 */
#include "amqp_host.h"
#include "tls_server.h"

static void
begin_tls(const char *host, const char *ca_file)
{
	char		url[100];

	config.ca_file = ca_file;
	start_tls_server();
	broker_open(&broker);
	broker_attach(&broker, tls_in, tls_out);
	snprintf(url, sizeof(url), "amqps://%s:%d", host, tls_port);
	open_link(url);
}

static void
end_tls(void)
{
	finish();
	stop_tls_server();
}

static void
is_not_trusted(const char *host, const char *ca_file, const char *wanted,
			   const char *what)
{
	reset_config();
	config.backoff_initial_ms = config.backoff_max_ms = 30000;
	begin_tls(host, ca_file);
	is_down(wanted, true, what);
	is_str(broker.log, "", "%s: nothing is said", what);
	end_tls();
}

static void
test_trust(void)
{
	is_not_trusted("localhost", NULL, "self-signed certificate",
				   "nobody vouches");
	is_not_trusted("127.0.0.1", tls_cert, "127.0.0.1", "for another host");
	is_not_trusted("localhost", "/nowhere", "certificate",
				   "no file of who vouches");
}

static void
test_both_ways(void)
{
	static char body[BS_AMQP_BODY_MAX];
	int			published = 0;
	int			turns = 0;
	int			wrong = 0;
	int			i;

	memset(body, 'x', sizeof(body));
	reset_config();
	config.window = 2000;
	config.prefetch = 2000;
	begin_tls("localhost", tls_cert);
	ok(wait_for_events(BS_AMQP_UP, 1), "trusted: it comes up");

	for (i = 1; i <= 2000; i++)
	{
		snprintf(body, sizeof(body), "%d ", i);
		broker_deliver(&broker, (uint64_t) i, false, body, sizeof(body),
					   sizeof(body));
	}
	ok(wait_for_events(BS_AMQP_DELIVERED, 2000), "megabytes are delivered");
	for (i = 1; i <= 2000; i++)
		wrong += event[i].tag != (uint64_t) i || atoi(event_body[i]) != i;
	is_int(wrong, 0, "as they were sent");

	/* The other way; now and then the broker is slow to read. */
	while (published < 2000)
	{
		broker.deaf = ++turns % 3 != 0;
		turn(1);
		snprintf(body, sizeof(body), "%d ", published);
		while (bs_amqp_room(amqp) > 0 && published < 2000 &&
			   bs_amqp_publish(amqp, "k", "id", body, sizeof(body), 1))
			snprintf(body, sizeof(body), "%d ", ++published);
	}
	broker.deaf = false;
	ok(wait_for(broker.messages == 2000), "megabytes are published");
	for (wrong = 0, i = 0; i < 2000; i++)
		wrong += atoi(broker.message[i].body) != i ||
			broker.message[i].body_len != sizeof(body);
	is_int(wrong, 0, "as they were given");
	ok(strstr(broker.log, "bad") == NULL, "no frame is torn");
	is_int(count_events(BS_AMQP_DOWN), 0, "all is well");
	end_tls();
}

/* A server that does not speak TLS at all. */
static void
test_no_tls(void)
{
	char		url[64];

	reset_config();
	config.backoff_initial_ms = config.backoff_max_ms = 30000;
	broker_open(&broker);
	broker_raw(&broker, "x", 1);
	snprintf(url, sizeof(url), "amqps://localhost:%d", broker.port);
	open_link(url);
	wait_for(broker.in >= 0);
	broker_raw(&broker, "AMQP\0\0\11\1", 8);
	is_down("SSL", false, "no TLS");
	finish();
}

int
main(void)
{
	host_begin();
	if (!make_certificate())
		ok(true, "tls # SKIP no openssl");
	else
	{
		test_trust();
		test_both_ways();
		test_no_tls();
		remove_certificate();
	}
	return host_end();
}
