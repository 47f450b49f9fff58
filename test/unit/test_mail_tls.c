/*-------------------------------------------------------------------------
 *
 * test_mail_tls.c
 *	  Mail over TLS, from the first octet or after STARTTLS.
 *
 * The TLS side is a child, openssl s_server; the relay speaks to it in clear
 * text, through pipes.
 *
 * test/unit/test_mail_tls.c
 *
 *-------------------------------------------------------------------------
 */
#include "mail_host.h"
#include "tls_server.h"

#include <pthread.h>

/* Copies between the two sockets until one of them ends. */
static void *
splice_main(void *arg)
{
	int		   *socks = arg;
	char		buffer[16384];
	bool		open = true;

	while (open)
	{
		struct pollfd fds[2] = {{socks[0], POLLIN, 0}, {socks[1], POLLIN, 0}};
		int			i;

		poll(fds, 2, LIMIT_MS);
		for (i = 0; i < 2 && open; i++)
		{
			ssize_t		len;

			if (fds[i].revents == 0)
				continue;
			len = read(socks[i], buffer, sizeof(buffer));
			open = len > 0 && write(socks[1 - i], buffer, len) == len;
		}
	}
	shutdown(socks[0], SHUT_RDWR);
	shutdown(socks[1], SHUT_RDWR);
	close(socks[0]);
	close(socks[1]);
	return NULL;
}

static pthread_t splice_thread;
static int	splice_socks[2];
static bool splice_runs;

/*
 * The client's socket goes to the child; the relay goes on in clear text.  It
 * no longer offers what it did outside.
 */
static void
go_tls(BsRelayLink *connection)
{
	static const BsScript inside = {.ehlo = "250 relay.test\r\n"};

	connection->script = &inside;
	splice_socks[0] = connection->in;
	splice_socks[1] = connect_tls_server();
	fcntl(splice_socks[0], F_SETFL, 0);
	splice_runs = pthread_create(&splice_thread, NULL, splice_main,
								 splice_socks) == 0;
	connection->in = tls_in;
	connection->out = tls_out;
}

static void
is_starttls(const BsScript *script, BsMailTls tls, bool trusted, bool usable,
			BsOutcome outcome, bool encrypted, const char *what)
{
	reset_mailer_config();
	mailer_config.tls = tls;
	mailer_config.ca_file = trusted ? tls_cert : NULL;
	host = usable ? "localhost" : "127.0.0.1";
	splice_runs = false;
	start_tls_server();
	begin(script);
	relay.on_starttls = script->starttls == NULL ? go_tls : NULL;
	is_str(outcome_names[send_one("Hello\n").outcome], outcome_names[outcome],
		   "starttls: %s", what);
	printf("# %s\n", results[0].error);
	is_int(splice_runs && outcome == BS_OUTCOME_ACCEPTED, encrypted,
		   "starttls: %s: %sencrypted", what, encrypted ? "" : "not ");
	if (outcome != BS_OUTCOME_ACCEPTED)
		ok(strstr(relay.log, "MAIL") == NULL,
		   "starttls: %s: no mail was named", what);
	if (outcome == BS_OUTCOME_ACCEPTED)
	{
		is_int(send_one("Hello\n").outcome, BS_OUTCOME_ACCEPTED,
			   "starttls: %s: and another", what);
		is_int(relay.mails, 2, "starttls: %s: both are there", what);
		is_int(encrypted && relay.crowded, 0,
			   "starttls: %s: an offer of before does not count", what);
	}
	bs_mailer_destroy(mailer);
	mailer = NULL;
	stop_tls_server();
	if (splice_runs)
		pthread_join(splice_thread, NULL);
	else
	{
		close(tls_in);
		close(tls_out);
	}
	relay_close(&relay);
	host = "127.0.0.1";
}

static void
test_starttls(void)
{
	static const BsScript offers = {.ehlo = "250-relay.test\r\n"
	"250-STARTTLS\r\n250 PIPELINING\r\n"};
	static const BsScript usual = {0};
	static const BsScript denies = {.ehlo = "250-relay.test\r\n250 STARTTLS\r\n",
	.starttls = "454 not now\r\n"};
	static const BsScript injects = {.ehlo = "250-relay.test\r\n250 STARTTLS\r\n",
	.starttls = "220 go\r\n250-relay.test\r\n250 AUTH PLAIN\r\n"};

	is_starttls(&offers, BS_MAIL_TLS_REQUIRED, true, true,
				BS_OUTCOME_ACCEPTED, true, "required and given");
	is_starttls(&offers, BS_MAIL_TLS_OFFERED, true, true,
				BS_OUTCOME_ACCEPTED, true, "taken where offered");
	is_starttls(&offers, BS_MAIL_TLS_OFF, true, true,
				BS_OUTCOME_ACCEPTED, false, "off");
	is_starttls(&usual, BS_MAIL_TLS_OFFERED, true, true,
				BS_OUTCOME_ACCEPTED, false, "not offered");
	is_starttls(&usual, BS_MAIL_TLS_REQUIRED, true, true,
				BS_OUTCOME_TROUBLE, false, "required and not offered");
	is_starttls(&denies, BS_MAIL_TLS_REQUIRED, true, true,
				BS_OUTCOME_TROUBLE, false, "required and denied");
	is_starttls(&injects, BS_MAIL_TLS_REQUIRED, true, true,
				BS_OUTCOME_TROUBLE, false, "a reply slipped in before TLS");
	is_starttls(&offers, BS_MAIL_TLS_REQUIRED, false, true,
				BS_OUTCOME_TROUBLE, false, "nobody vouches");
	is_starttls(&offers, BS_MAIL_TLS_OFFERED, false, true,
				BS_OUTCOME_TROUBLE, false, "offered, and nobody vouches");
	is_starttls(&offers, BS_MAIL_TLS_REQUIRED, true, false,
				BS_OUTCOME_TROUBLE, false, "for another host");
}

static void
is_smtps(bool trusted, bool usable, BsOutcome outcome, const char *what)
{
	static const BsScript usual = {0};
	char	   *long_words = make_long_text();
	BsRelayLink *connection;

	reset_mailer_config();
	mailer_config.tls = BS_MAIL_TLS_REQUIRED;
	mailer_config.ca_file = trusted ? tls_cert : NULL;
	scheme = "smtps";
	host = usable ? "localhost" : "127.0.0.1";
	start_tls_server();
	relay_open(&relay, &usual);
	open_mailer(tls_port);
	connection = relay_add_connection(&relay, tls_in, tls_out);
	relay_say(connection, "220 relay.test\r\n");
	relay_write(connection);
	is_str(outcome_names[send_one("Hello\n").outcome], outcome_names[outcome],
		   "smtps: %s", what);
	printf("# %s\n", results[0].error);
	if (outcome == BS_OUTCOME_ACCEPTED)
	{
		BsMail		mail = make_mail(long_words);
		size_t		len;
		char	   *made;

		bs_mailer_submit(mailer, &mail, 2);
		wait_for_results(2);
		made = bs_mime_build(&mail, &len);
		is_str(outcome_names[results[1].outcome], "accepted",
			   "smtps: megabytes");
		printf("# %s %s\n", results[1].error, results[1].reply);
		ok(relay.mails == 2 && relay.mail_len[1] == len &&
		   memcmp(relay.mail[1], made, len) == 0, "smtps: arrive whole");
		free(made);
	}
	bs_mailer_destroy(mailer);
	mailer = NULL;
	stop_tls_server();
	relay_close(&relay);
	free(long_words);
	scheme = "smtp";
	host = "127.0.0.1";
}

static void
test_tls(void)
{
	if (!make_certificate())
	{
		ok(true, "tls # SKIP no openssl");
		return;
	}
	is_smtps(true, true, BS_OUTCOME_ACCEPTED, "trusted");
	is_smtps(false, true, BS_OUTCOME_TROUBLE, "nobody vouches");
	is_smtps(true, false, BS_OUTCOME_TROUBLE, "for another host");
	test_starttls();
	remove_certificate();
}

int
main(void)
{
	host_begin();
	test_tls();
	return host_end();
}
