/*-------------------------------------------------------------------------
 *
 * publish_link.c
 *	  Confirmed publishes a second, through the link of src/net.
 *
 *	  publish_link URL COUNT WINDOW SIZE
 *
 * Publishes COUNT bodies of SIZE octets with at most WINDOW unconfirmed, to an
 * exchange and a queue of its own names, and prints how many a second.  The
 * time runs from the first publish to the last confirm.  publish_bare.c does
 * the same with librabbitmq alone.
 *
 * test/bench/publish_link.c
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/net_amqp.h"
#include "net/net_mail.h"

#define SIZE_MAX_OF_BODY	BS_AMQP_BODY_MAX

static double
now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static BsAmqpLink *
make_link(const char *url, int window)
{
	BsAmqpConfig config = {0};
	char		error[256];
	BsAmqpLink *link;

	config.urls = url;
	config.exchange = "birthday.bench";
	config.queue = "birthday.bench.queue";
	config.dead_letter_exchange = "birthday.bench.dlx";
	config.dead_letter_queue = "birthday.bench.dlq";
	config.connection_name = "publish_link";
	config.window = window;
	config.connect_timeout_ms = 10000;
	config.silence_ms = 30000;
	config.confirm_timeout_ms = 60000;
	config.backoff_initial_ms = 1000;
	config.backoff_max_ms = 1000;
	link = bs_amqp_create(&config, error, sizeof(error));
	if (link == NULL)
	{
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
	return link;
}

int
main(int argc, char **argv)
{
	char		body[SIZE_MAX_OF_BODY + 1];
	char		id[37];
	long		count;
	long		published = 0;
	long		confirmed = 0;
	size_t		size;
	double		began = 0;
	BsAmqpLink *link;

	if (argc != 5)
	{
		fprintf(stderr, "usage: publish_link URL COUNT WINDOW SIZE\n");
		return 2;
	}
	count = atol(argv[2]);
	size = (size_t) atol(argv[4]);
	if (size > SIZE_MAX_OF_BODY)
	{
		fprintf(stderr, "a body has at most %d octets\n", SIZE_MAX_OF_BODY);
		return 2;
	}
	memset(body, 'x', sizeof(body));
	signal(SIGPIPE, SIG_IGN);
	if (!bs_mailer_global_init())
		return 1;
	link = make_link(argv[1], atoi(argv[3]));

	while (confirmed < count)
	{
		struct pollfd fd = {bs_amqp_fd(link), POLLIN, 0};
		BsAmqpEvent event;

		poll(&fd, 1, (int) bs_amqp_deadline_ms(link));
		bs_amqp_run(link);
		while (bs_amqp_next(link, &event))
		{
			if (event.kind == BS_AMQP_UP)
				began = now();
			else if (event.kind == BS_AMQP_CONFIRMED)
				confirmed++;
			else if (event.kind == BS_AMQP_DOWN ||
					 event.kind == BS_AMQP_REFUSED)
			{
				fprintf(stderr, "%s\n", event.text);
				return 1;
			}
		}
		while (published < count && bs_amqp_room(link) > 0)
		{
			snprintf(id, sizeof(id), "00000000-0000-4000-8000-%012ld",
					 published);
			if (!bs_amqp_publish(link, "birthday", id, body, size,
								 (uint64_t) published))
				break;
			published++;
		}
	}
	printf("%.0f\n", (double) count / (now() - began));
	bs_amqp_destroy(link);
	return 0;
}
