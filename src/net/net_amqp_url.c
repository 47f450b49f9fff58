/*-------------------------------------------------------------------------
 *
 * net_amqp_url.c
 *	  The addresses of brokers.
 *
 * src/net/net_amqp_url.c
 *
 *-------------------------------------------------------------------------
 */
#include "net/net_amqp.h"

bool
bs_amqp_check_urls(const char *urls, const char **reason)
{
	*reason = "There is no URL.";
	return urls[0] != '\0';
}
