/*-------------------------------------------------------------------------
 *
 * sender_http.c
 *	  The pages /health and /metrics of bs_sender.
 *
 * libmicrohttpd speaks HTTP; it has no thread here, its descriptor is waited for
 * beside the others.
 *
 * src/sender/sender_http.c
 *
 *-------------------------------------------------------------------------
 */
#include "sender/sender_http.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "core/base/buffer.h"
#include "core/sending/settings.h"
#include "sender/sender_file.h"

/* Connections that are kept; one more, and the oldest of them is closed. */
#define CLIENTS_MAX		48

/* libmicrohttpd accepts nothing beyond; closed ones count until it looks at them. */
#define CONNECTIONS_MAX 128u

#define SILENCE_S		5u		/* a connection that says nothing is closed */

typedef struct BsClient
{
	TAILQ_ENTRY(BsClient) node; /* in "clients", while it is kept */
	int			fd;
	bool		kept;
} BsClient;

TAILQ_HEAD(BsClientList, BsClient);

struct BsPages
{
	struct MHD_Daemon *daemon;
	BsStatsSource source;
	struct BsClientList clients;	/* the oldest first */
	int			client_count;
};

static const char *
find_trouble(const BsSenderStats *stats)
{
	if (!stats->database_up)
		return "no connection to the database";
	if (stats->obstacle[0] != '\0')
		return stats->obstacle;
	if (!stats->relay_ready)
		return "no relay";
	if (stats->broker_wanted && !stats->broker_up)
		return "no connection to the broker";
	if (!stats->breaker_closed)
		return "sending pauses: too many attempts failed";
	return NULL;
}

static char *
make_health(const BsSenderStats *stats, bool *well)
{
	const char *trouble = find_trouble(stats);
	cJSON	   *page = cJSON_CreateObject();
	char	   *text;

	*well = trouble == NULL;
	cJSON_AddStringToObject(page, "status", *well ? "ok" : "error");
	if (trouble != NULL)
		cJSON_AddStringToObject(page, "reason", trouble);
	if (stats->last_error[0] != '\0')
		cJSON_AddStringToObject(page, "last_error", stats->last_error);
	cJSON_AddNumberToObject(page, "waiting", stats->waiting);
	cJSON_AddNumberToObject(page, "under_way", stats->under_way);
	cJSON_AddNumberToObject(page, "unrecorded", stats->unrecorded);
	text = cJSON_PrintUnformatted(page);
	cJSON_Delete(page);
	return text;
}

static void
add_metric(BsBuffer *page, const char *name, const char *type,
		   const char *help, const char *labels, uint64_t value)
{
	char		line[512];

	if (help != NULL)
	{
		snprintf(line, sizeof(line),
				 "# HELP birthday_sender_%s %s\n# TYPE birthday_sender_%s %s\n",
				 name, help, name, type);
		bs_buffer_add_string(page, line);
	}
	snprintf(line, sizeof(line), "birthday_sender_%s%s %llu\n", name, labels,
			 (unsigned long long) value);
	bs_buffer_add_string(page, line);
}

/*
 * The text format of Prometheus.
 */
static char *
make_metrics(const BsSenderStats *stats)
{
	BsBuffer	page;
	size_t		len;

	bs_buffer_init(&page, 4096, 65536);
	add_metric(&page, "ok", "gauge", "Nothing stands in the way of sending.",
			   "", find_trouble(stats) == NULL);
	add_metric(&page, "database_up", "gauge", "Connected to the database.", "",
			   stats->database_up);
	add_metric(&page, "database_connections_total", "counter",
			   "Connections to the database that were made.", "",
			   stats->connections);
	add_metric(&page, "broker_up", "gauge", "Connected to the broker.", "",
			   stats->broker_up);
	add_metric(&page, "breaker_closed", "gauge",
			   "Mail flows; 0: too many attempts failed.", "",
			   stats->breaker_closed);
	add_metric(&page, "messages", "gauge", "Messages that are held.",
			   "{step=\"waiting\"}", stats->waiting);
	add_metric(&page, "messages", NULL, NULL, "{step=\"under_way\"}",
			   stats->under_way);
	add_metric(&page, "messages", NULL, NULL, "{step=\"unrecorded\"}",
			   stats->unrecorded);
	add_metric(&page, "claimed_total", "counter", "Messages claimed.", "",
			   stats->claimed);
	add_metric(&page, "outcomes_total", "counter", "Outcomes recorded.",
			   "{outcome=\"sent\"}", stats->sent);
	add_metric(&page, "outcomes_total", NULL, NULL, "{outcome=\"failed\"}",
			   stats->failed);
	add_metric(&page, "outcomes_total", NULL, NULL, "{outcome=\"retried\"}",
			   stats->retried);
	add_metric(&page, "outcomes_total", NULL, NULL, "{outcome=\"released\"}",
			   stats->released);
	add_metric(&page, "late_total", "counter",
			   "Outcomes that came when the claim had been given up.", "",
			   stats->late);
	add_metric(&page, "copies_total", "counter",
			   "Copies of messages from the broker.", "", stats->copies.consumed);
	add_metric(&page, "copies_dropped_total", "counter",
			   "Of these: stale, early or finished.", "", stats->copies.dropped);
	return bs_buffer_take(&page, &len);
}

static enum MHD_Result
answer(struct MHD_Connection *connection, unsigned status, const char *type,
	   char *body)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	if (body == NULL)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(body), body,
											   MHD_RESPMEM_MUST_FREE);
	if (response == NULL)
	{
		free(body);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
take_request(void *arg, struct MHD_Connection *connection, const char *url,
			 const char *method, const char *version, const char *upload,
			 size_t *upload_size, void **request)
{
	const BsPages *pages = arg;
	BsSenderStats stats;
	char	   *body;
	bool		well;

	(void) version;
	(void) upload;
	(void) upload_size;
	(void) request;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain",
					  strdup("GET only\n"));
	memset(&stats, 0, sizeof(stats));
	pages->source(&stats);
	if (strcmp(url, "/metrics") == 0)
		return answer(connection, MHD_HTTP_OK,
					  "text/plain; version=0.0.4; charset=utf-8",
					  make_metrics(&stats));
	if (strcmp(url, "/health") != 0)
		return answer(connection, MHD_HTTP_NOT_FOUND, "text/plain",
					  strdup("/health or /metrics\n"));
	body = make_health(&stats, &well);
	return answer(connection,
				  well ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
				  "application/json", body);
}

static void
let_go(BsPages *pages, BsClient *client)
{
	TAILQ_REMOVE(&pages->clients, client, node);
	pages->client_count--;
	client->kept = false;
}

/*
 * A connection begins or ends.  Slow clients must not keep others away: a request
 * is answered as soon as it is there, so the oldest connection is one that idles or
 * dawdles, and it makes room.
 */
static void
note_connection(void *arg, struct MHD_Connection *connection, void **context,
				enum MHD_ConnectionNotificationCode code)
{
	BsPages    *pages = arg;
	BsClient   *client = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED)
	{
		if (client != NULL && client->kept)
			let_go(pages, client);
		free(client);
		*context = NULL;
		return;
	}
	*context = client = calloc(1, sizeof(*client));
	if (client == NULL)
		return;					/* SILENCE_S ends it */
	client->fd = MHD_get_connection_info(connection,
										 MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	client->kept = true;
	TAILQ_INSERT_TAIL(&pages->clients, client, node);
	if (++pages->client_count > CLIENTS_MAX)
	{
		client = TAILQ_FIRST(&pages->clients);
		/* libmicrohttpd sees the end and closes it. */
		(void) shutdown(client->fd, SHUT_RDWR);
		let_go(pages, client);
	}
}

BsPages *
bs_pages_open(const char *listen, BsStatsSource source,
			  char *error, size_t error_size)
{
	BsPages    *pages = calloc(1, sizeof(*pages));
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr *address = NULL;
	unsigned	flags = MHD_USE_EPOLL;
	char		host[64];
	int			port;

	snprintf(error, error_size,
			 "\"listen\": the address cannot be listened on");
	if (pages == NULL || !bs_settings_split_listen(listen, host, sizeof(host), &port))
	{
		free(pages);
		return NULL;
	}
	in4.sin_port = in6.sin6_port = htons((uint16_t) port);
	if (inet_pton(AF_INET, host, &in4.sin_addr) == 1)
		address = (struct sockaddr *) &in4;
	else if (inet_pton(AF_INET6, host, &in6.sin6_addr) == 1)
	{
		address = (struct sockaddr *) &in6;
		flags |= MHD_USE_IPv6;
	}
	pages->source = source;
	TAILQ_INIT(&pages->clients);
	errno = 0;
	if (address != NULL)
		pages->daemon = MHD_start_daemon(flags, 0, NULL, NULL, take_request,
										 pages, MHD_OPTION_SOCK_ADDR, address,
										 MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
										 MHD_OPTION_CONNECTION_TIMEOUT, SILENCE_S,
										 MHD_OPTION_NOTIFY_CONNECTION,
										 note_connection, pages,
										 MHD_OPTION_END);
	if (pages->daemon == NULL)
	{
		if (errno != 0)
			snprintf(error, error_size,
					 "\"listen\": the address cannot be listened on: %s",
					 strerror(errno));
		free(pages);
		return NULL;
	}
	return pages;
}

void
bs_pages_close(BsPages *pages)
{
	if (pages == NULL)
		return;
	MHD_stop_daemon(pages->daemon);
	free(pages);
}

int
bs_pages_fd(const BsPages *pages)
{
	return MHD_get_daemon_info(pages->daemon,
							   MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

int64_t
bs_pages_deadline_ms(BsPages *pages)
{
	MHD_UNSIGNED_LONG_LONG ms;

	return MHD_get_timeout(pages->daemon, &ms) == MHD_YES ? (int64_t) ms : -1;
}

void
bs_pages_run(BsPages *pages)
{
	MHD_run(pages->daemon);
}
