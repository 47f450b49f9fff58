/*-------------------------------------------------------------------------
 *
 * delivery_relay.h
 *	  The mailer of a sender as the settings describe it.
 *
 * src/server/delivery/delivery_relay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_DELIVERY_RELAY_H
#define BS_DELIVERY_RELAY_H

#include "core/mail/mail.h"

/*
 * A mailer for the settings as they are now; NULL and the reason, without
 * secrets, in error where they do not make one.
 */
extern BsMailer *bs_delivery_make_mailer(char *error, size_t error_size);

#endif							/* BS_DELIVERY_RELAY_H */
