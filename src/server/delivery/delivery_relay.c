/*-------------------------------------------------------------------------
 *
 * delivery_relay.c
 *	  The mailer of a sender as the settings describe it.
 *
 * src/server/delivery/delivery_relay.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/sending/relay.h"
#include "server/base/bs_guc.h"
#include "server/delivery/delivery_relay.h"

BsMailer *
bs_delivery_make_mailer(char *error, size_t error_size)
{
	BsRelaySettings settings = {
		.prefix = BS_SETTING_PREFIX,
		.mail_url = bs_mail_url,
		.mail_from = bs_mail_from,
		.mail_helo = bs_mail_helo,
		.mail_user = bs_mail_user,
		.mail_password_file = bs_mail_password_file,
		.mail_tls = (BsMailTls) bs_mail_tls,
		.mail_ca_file = bs_mail_ca_file,
		.mail_connections = bs_mail_connections,
		.mail_timeout_ms = bs_mail_timeout_ms,
		.lease_ms = (int64) bs_lease_s * 1000,
		.http_headers_file = bs_http_headers_file
	};

	return bs_relay_make_mailer(&settings, error, error_size);
}
