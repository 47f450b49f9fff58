/*-------------------------------------------------------------------------
 *
 * relay.h
 *	  From settings to a mailer.
 *
 * Secrets are read each time, and live no longer than that call outside of the
 * libraries that need them.
 *
 * src/core/sending/relay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_RELAY_H
#define BS_CORE_RELAY_H

#include "core/base/secret.h"
#include "core/sending/settings.h"

/*
 * Is the lease long enough for the time limit of a transfer?  A transfer is begun
 * only if the lease outlasts it, and a claimed message may wait half a lease for a
 * connection.  With a shorter lease the message would be sent by two senders.  If it
 * is not, the reason is in error.
 */
extern bool bs_relay_check_lease(const BsSettings *settings,
								 char *error, size_t error_size);

/*
 * A mailer for these settings; NULL and the reason, without secrets, in error
 * where they do not make one.
 */
extern BsMailer *bs_relay_make_mailer(const BsSettings *settings,
									  char *error, size_t error_size);

#endif							/* BS_CORE_RELAY_H */
