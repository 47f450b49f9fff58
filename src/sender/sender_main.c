/*-------------------------------------------------------------------------
 *
 * sender_main.c
 *	  bs_sender: a sender of birthday_scheduler outside of the server.
 *
 * src/sender/sender_main.c
 *
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/sending/broker.h"
#include "core/sending/relay.h"
#include "sender/sender_database.h"
#include "sender/sender_log.h"
#include "sender/sender_loop.h"
#include "sender/sender_settings.h"

#define CHECK_MS	10000		/* for the relay, and for the broker */

static void
print_help(void)
{
	printf("bs_sender sends what birthday_scheduler has planned, from any machine with a\n"
		   "route to its database and to the mail relay.\n"
		   "\n"
		   "Usage:\n"
		   "  bs_sender [--config FILE] [--SETTING VALUE]...\n"
		   "\n"
		   "  --config FILE   lines \"name = value\"; without it $BS_SENDER_CONFIG, or\n"
		   "                  /etc/birthday_scheduler/bs_sender.conf where it is there\n"
		   "  --check         try settings, database, rights, relay and broker, and end:\n"
		   "                  0 if all is well, 78 if not\n"
		   "  --version       and end\n"
		   "  --help          and end\n"
		   "\n"
		   "Settings, as --mail-url, as BS_SENDER_MAIL_URL in the environment, or as\n"
		   "mail_url in the file; what is not set is what stands in brackets:\n\n");
	bs_settings_print_help();
	printf("\n"
		   "Passwords stand in files only: libpq's password file (PGPASSFILE or ~/.pgpass)\n"
		   "and those that settings name.  Signals: TERM and INT end it, HUP loads the\n"
		   "settings anew.  Exit codes: 0 asked to end, 1 outcomes are left unrecorded,\n"
		   "2 usage, 78 settings, rights or versions.\n");
}

/*
 * Can the relay be reached?  Nothing is said to it.
 */
static bool
check_relay(char *error, size_t error_size)
{
	CURL	   *easy = curl_easy_init();
	CURLU	   *url = curl_url();
	char	   *host = NULL;
	char	   *port = NULL;
	char		plain[600];
	CURLcode	code = CURLE_OUT_OF_MEMORY;

	if (easy != NULL && url != NULL &&
		curl_url_set(url, CURLUPART_URL, bs_settings.mail_url, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
	{
		snprintf(plain, sizeof(plain), "http://%s:%s/", host, port);
		curl_easy_setopt(easy, CURLOPT_URL, plain);
		curl_easy_setopt(easy, CURLOPT_PROXY, "");
		curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
		curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) CHECK_MS);
		code = curl_easy_perform(easy);
	}
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(url);
	curl_easy_cleanup(easy);
	snprintf(error, error_size, "the relay: %s", curl_easy_strerror(code));
	return code == CURLE_OK;
}

static bool
check_broker(const char *database, char *error, size_t error_size)
{
	BsLinkUse	use = {
		.database = database,
		.connection_name = "bs_sender --check",
		.prefetch = bs_settings.amqp_prefetch
	};
	BsAmqpLink *link = NULL;
	BsAmqpEvent event = {.kind = BS_AMQP_BLOCKED};
	char		password[BS_SECRET_MAX];
	int64_t		until_ms = bs_clock_ms() + CHECK_MS;

	snprintf(error, error_size, "\"amqp_url\" is not set");
	if (bs_settings.amqp_url[0] != '\0' &&
		bs_broker_read_password(&bs_settings, password, sizeof(password),
								error, error_size))
		link = bs_broker_make_link(&bs_settings, &use, password, error, error_size);
	explicit_bzero(password, sizeof(password));
	if (link == NULL)
		return false;
	while (event.kind != BS_AMQP_UP && event.kind != BS_AMQP_DOWN &&
		   bs_clock_ms() < until_ms)
	{
		struct pollfd fd = {.fd = bs_amqp_fd(link),.events = POLLIN};
		int64_t		ms = bs_amqp_deadline_ms(link);

		(void) poll(&fd, 1, ms < 0 || ms > 100 ? 100 : (int) ms);
		bs_amqp_run(link);
		(void) bs_amqp_next(link, &event);
	}
	if (event.kind != BS_AMQP_UP)
		snprintf(error, error_size, "the broker: %s",
				 event.kind == BS_AMQP_DOWN ? event.text : "it does not answer");
	bs_amqp_destroy(link);
	return event.kind == BS_AMQP_UP;
}

/*
 * --check: everything that is asked for at the start, and the ways out.
 */
static int
check(void)
{
	BsDatabase	database;
	BsSettingsError error = {.text = ""};
	BsMailer   *mailer;
	BsObstacle	obstacle;
	bool		changed;
	bool		good;

	bs_database_init(&database);
	obstacle = bs_database_check(&database);
	good = obstacle != BS_OBSTACLE_SETUP;
	if (good && obstacle == BS_OBSTACLE_WAIT)
		printf("nothing would be sent now: %s\n", database.error);
	else if (!good)
		snprintf(error.text, sizeof(error.text), "%s", database.error);
	bs_database_close(&database);
	good = good && bs_settings_finish(&changed, &error);
	if (good)
	{
		mailer = bs_relay_make_mailer(&bs_settings, error.text, sizeof(error.text));
		good = mailer != NULL && check_relay(error.text, sizeof(error.text));
		bs_mailer_destroy(mailer);
	}
	if (good && bs_settings.queue == BS_QUEUE_RABBITMQ)
		good = check_broker(database.name, error.text, sizeof(error.text));
	if (good)
		printf("all is well\n");
	else
		fprintf(stderr, "bs_sender: %s\n", error.text);
	return good ? 0 : BS_EXIT_CONFIG;
}

int
main(int argc, char **argv)
{
	BsCommand	command;
	BsSettingsError error;
	bool		changed;
	int			code;

	if (!bs_settings_take_flags(argc, argv, &command, &error))
	{
		fprintf(stderr, "bs_sender: %s\n", error.text);
		if (error.exit_code == BS_EXIT_USAGE)
			fprintf(stderr, "bs_sender --help says more\n");
		return error.exit_code;
	}
	if (command.help || command.version)
	{
		if (command.help)
			print_help();
		else
			printf("bs_sender (birthday_scheduler) %s\n", BS_VERSION);
		return 0;
	}
	if (!bs_settings_load(command.config_file, &error) ||
		!bs_settings_finish(&changed, &error))
	{
		fprintf(stderr, "bs_sender: %s\n", error.text);
		return error.exit_code;
	}
	bs_log_set_json(bs_settings.log_format == BS_LOG_JSON);
	if (!bs_mailer_global_init())
	{
		fprintf(stderr, "bs_sender: libcurl cannot be initialized\n");
		return 1;
	}
	code = command.check ? check() : bs_loop_run(command.config_file);
	bs_settings_free();
	curl_global_cleanup();
	return code;
}
