/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  What a sender has of a message: the claim, and what became of the attempt.
 *
 * src/core/sending/claim.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_CLAIM_H
#define BS_CORE_CLAIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/uuid.h"
#include "core/mail/mail.h"
#include "core/mail/outcome.h"

/* A message that this sender holds; the strings are UTF-8. */
typedef struct BsClaim
{
	uint8_t		id[BS_UUID_SIZE];
	uint8_t		token[BS_UUID_SIZE];	/* asked for when the outcome is
										 * recorded */
	int64_t		send_time_us;	/* scheduled_send_time, us since 1970 */
	int			attempts;		/* this one included */
	bool		is_locked;		/* nothing is claimed: ask again */
	size_t		size;			/* of "strings" */
	char	   *strings;		/* what the pointers below point into; to be
								 * freed with free() */
	const char *recipient_email;
	const char *recipient_name;
	const char *subject;
	const char *text;
	const char *html;			/* or NULL */
	const char *idempotency_key;
} BsClaim;

/* What is to be written of one attempt. */
typedef struct BsResult
{
	BsNextState next;
	const char *reason;			/* static; column status_reason */
	int64_t		next_attempt_us;	/* where next is RETRYING or RELEASED */
	int			code;			/* 0: no answer came */
	int64_t		ended_us;
	char		reply[BS_MAIL_REPLY_MAX];
	char		error[256];
} BsResult;

/* The strings of a claim in the order of the columns of bs_claim(). */
#define BS_CLAIM_STRINGS	6

/* One of them as it comes from the database; NULL where the column is. */
typedef struct BsClaimString
{
	const char *data;
	size_t		len;
} BsClaimString;

/*
 * Copies them into one piece of memory; false if that is short, and then the
 * claim has none.
 */
extern bool bs_claim_set_strings(BsClaim *claim,
								 const BsClaimString strings[BS_CLAIM_STRINGS]);

/* The word of bs_record(states). */
extern const char *bs_result_word(BsNextState next);

#endif							/* BS_CORE_CLAIM_H */
