/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every difference between versions of libcurl and librabbitmq that touches
 *	  us.
 *
 * Each stands once, with the version in which it came.
 *
 * src/core/base/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_COMPAT_H
#define BS_CORE_COMPAT_H

#include <curl/curl.h>

/*
 * PROTOCOLS_STR came with 7.85.  QUICK_EXIT came with 7.87: without it the end
 * of a transfer waits for a resolver thread that is stuck in getaddrinfo().
 */
#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or later is needed"
#endif

/* 8.20: the end of a multi handle waits for such threads as well. */
#if LIBCURL_VERSION_NUM >= 0x081400
#define BS_CURL_MULTI_QUICK_EXIT	CURLMOPT_QUICK_EXIT
#endif

/* 0.13: librabbitmq's headers have a folder, and warn elsewhere. */
#if __has_include(<rabbitmq-c/amqp.h>)
#define BS_AMQP_HEADER	<rabbitmq-c/amqp.h>
#define BS_AMQP_TCP_HEADER	<rabbitmq-c/tcp_socket.h>
#else
#define BS_AMQP_HEADER	<amqp.h>
#define BS_AMQP_TCP_HEADER	<amqp_tcp_socket.h>
#endif

#endif							/* BS_CORE_COMPAT_H */
