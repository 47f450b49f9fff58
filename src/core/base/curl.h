/*-------------------------------------------------------------------------
 *
 * curl.h
 *	  libcurl without waiting: what the mailer and the link to a broker share.
 *
 * A loop is a multi handle and an epoll set whose descriptor never changes:
 * libcurl's sockets are watched by level, named by descriptor; those of
 * connections that libcurl has opened and we use (CONNECT_ONLY) by edge, named
 * by their owner.
 *
 * src/core/base/curl.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_CURL_H
#define BS_CORE_CURL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "core/base/compat.h"

typedef struct BsCurlLoop
{
	CURLM	   *multi;
	int			epoll_fd;
	int			connections;	/* at most, at a time */
	int64_t		due_ms;			/* when libcurl wants to be called, or -1 */
	int64_t		connect_timeout_ms;
	int64_t		ack_timeout_ms; /* 0: the system's */
} BsCurlLoop;

/* Once a process, before any thread.  False: failed. */
extern bool bs_curl_global_init(void);

/* Makes it fit for bs_curl_close(), and for nothing else. */
extern void bs_curl_init(BsCurlLoop *loop);

/*
 * NULL, or a static full sentence on what is missing.  A peer that does not
 * acknowledge octets for ack_timeout_ms is given up; for TCP that is also one
 * that does not read.
 */
extern const char *bs_curl_open(BsCurlLoop *loop, int connections,
								int64_t connect_timeout_ms,
								int64_t ack_timeout_ms);

/* The easy handles must be gone; those that are only removed may remain. */
extern void bs_curl_close(BsCurlLoop *loop);

/* Closes idle connections by way of a new multi handle; none may be in use. */
extern void bs_curl_renew(BsCurlLoop *loop);

/*
 * The options that all have in common: no signals, no proxy, no redirects, one
 * scheme, verified certificates.  "timeout_ms" is of the whole transfer.
 */
extern CURLcode bs_curl_setup(BsCurlLoop *loop, CURL *easy,
							  const char *scheme, const char *ca_file,
							  int64_t timeout_ms);

/* Gives the easy handle to the multi handle, which begins at its next timer. */
extern bool bs_curl_add(BsCurlLoop *loop, CURL *easy);

/* Was the event libcurl's?  Then it has been dealt with. */
extern bool bs_curl_take_event(BsCurlLoop *loop,
							   const struct epoll_event *event);

/* What libcurl's timer asks for. */
extern void bs_curl_run_timer(BsCurlLoop *loop);

/*
 * Watches the socket of a connection that libcurl has opened for us, by edge.
 * The name, below 2^32, is in the events' data.u64.
 */
extern bool bs_curl_watch(BsCurlLoop *loop, CURL *easy, uint32_t name);
extern void bs_curl_unwatch(BsCurlLoop *loop, CURL *easy);

#endif							/* BS_CORE_CURL_H */
