/*-------------------------------------------------------------------------
 *
 * claim.c
 *	  What a sender has of a message: the claim, and what became of the attempt.
 *
 * src/core/sending/claim.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/sending/claim.h"

#include <stdlib.h>
#include <string.h>

bool
bs_claim_set_strings(BsClaim *claim,
					 const BsClaimString strings[BS_CLAIM_STRINGS])
{
	const char **targets[BS_CLAIM_STRINGS] = {
		&claim->recipient_email, &claim->recipient_name, &claim->subject,
		&claim->text, &claim->html, &claim->idempotency_key
	};
	size_t		total = 1;
	char	   *next;
	int			i;

	for (i = 0; i < BS_CLAIM_STRINGS; i++)
		total += strings[i].data != NULL ? strings[i].len + 1 : 0;
	next = claim->strings = malloc(total);
	claim->size = next != NULL ? total : 0;
	for (i = 0; i < BS_CLAIM_STRINGS; i++)
	{
		*targets[i] = NULL;
		if (next == NULL || strings[i].data == NULL)
			continue;
		memcpy(next, strings[i].data, strings[i].len);
		next[strings[i].len] = '\0';
		*targets[i] = next;
		next += strings[i].len + 1;
	}
	return next != NULL;
}

const char *
bs_result_word(BsNextState next)
{
	static const char *const words[] = {
		[BS_NEXT_SENT] = "SENT",
		[BS_NEXT_FAILED] = "FAILED",
		[BS_NEXT_RETRYING] = "RETRYING",
		[BS_NEXT_EXPIRED] = "EXPIRED",
		[BS_NEXT_RELEASED] = "RELEASED"
	};

	return words[next];
}
