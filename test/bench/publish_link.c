/*-------------------------------------------------------------------------
 *
 * publish_link.c
 *	  Confirmed publishes a second, through the link of src/core.
 *
 *	  publish_link URL COUNT WINDOW BODY-SIZE
 *
 * publish_bare.c does the same with librabbitmq alone and prints the same: one
 * JSON object, of the time between the first publish and the last confirm.  A
 * link cannot delete, so the exchange and the queue remain.
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
#include <sys/resource.h>
#include <time.h>

#include "core/amqp/amqp.h"
#include "core/mail/mail.h"

static void
die(const char *why)
{
	fprintf(stderr, "publish_link: %s\n", why);
	exit(1);
}

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static double
seconds_of(struct timeval tv)
{
	return (double) tv.tv_sec + (double) tv.tv_usec / 1e6;
}

static BsAmqpLink *
make_link(const char *url, int window)
{
	BsAmqpConfig config = {0};
	char		error[256];
	BsAmqpLink *link;

	config.urls = url;
	config.exchange = "bench.link";
	config.queue = "bench.link.queue";
	config.dead_letter_exchange = "bench.link.dlx";
	config.dead_letter_queue = "bench.link.dlq";
	config.connection_name = "publish_link";
	config.window = window;
	config.connect_timeout_ms = 10000;
	config.silence_ms = 30000;
	config.confirm_timeout_ms = 60000;
	config.backoff_initial_ms = 1000;
	config.backoff_max_ms = 1000;
	link = bs_amqp_create(&config, error, sizeof(error));
	if (link == NULL)
		die(error);
	return link;
}

/* Confirms that came; dies where the link does. */
static long
take_events(BsAmqpLink *link)
{
	BsAmqpEvent event;
	long		confirmed = 0;

	while (bs_amqp_next(link, &event))
	{
		if (event.kind == BS_AMQP_DOWN || event.kind == BS_AMQP_REFUSED)
			die(event.text);
		confirmed += event.kind == BS_AMQP_CONFIRMED;
	}
	return confirmed;
}

static long
turn(BsAmqpLink *link)
{
	struct pollfd fd = {bs_amqp_fd(link), POLLIN, 0};

	poll(&fd, 1, (int) bs_amqp_deadline_ms(link));
	bs_amqp_run(link);
	return take_events(link);
}

static void
publish_all(BsAmqpLink *link, long count, size_t size)
{
	char		body[BS_AMQP_BODY_MAX];
	char		id[64];
	long		published = 0;
	long		confirmed = 0;

	memset(body, 'x', sizeof(body));
	while (confirmed < count)
	{
		while (published < count && bs_amqp_room(link) > 0)
		{
			snprintf(id, sizeof(id), "00000000-0000-4000-8000-%012ld",
					 published);
			if (!bs_amqp_publish(link, "birthday", id, body, size,
								 (uint64_t) published))
				die("there is room and is not");
			published++;
		}
		confirmed += turn(link);
	}
}

int
main(int argc, char **argv)
{
	struct rusage before;
	struct rusage after;
	double		start;
	double		took;
	long		count;
	long		window;
	long		size;
	BsAmqpLink *link;

	if (argc != 5 || (count = atol(argv[2])) <= 0 ||
		(window = atol(argv[3])) <= 0 || (size = atol(argv[4])) < 0 ||
		size > BS_AMQP_BODY_MAX)
		die("usage: publish_link URL COUNT WINDOW BODY-SIZE");
	signal(SIGPIPE, SIG_IGN);
	if (!bs_mailer_global_init())
		die("libcurl is not ready");
	link = make_link(argv[1], (int) window);
	while (!bs_amqp_is_up(link))
		turn(link);

	getrusage(RUSAGE_SELF, &before);
	start = now_s();
	publish_all(link, count, (size_t) size);
	took = now_s() - start;
	getrusage(RUSAGE_SELF, &after);
	printf("{\"confirmed\": %ld, \"seconds\": %.6f, \"rate\": %.1f,"
		   " \"cpu_user\": %.6f, \"cpu_system\": %.6f}\n",
		   count, took, (double) count / took,
		   seconds_of(after.ru_utime) - seconds_of(before.ru_utime),
		   seconds_of(after.ru_stime) - seconds_of(before.ru_stime));
	bs_amqp_destroy(link);
	return 0;
}
