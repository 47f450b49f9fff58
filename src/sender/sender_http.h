/*-------------------------------------------------------------------------
 *
 * sender_http.h
 *	  The pages /health and /metrics of bs_sender.
 *
 * src/sender/sender_http.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_SENDER_HTTP_H
#define BS_SENDER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/histogram.h"
#include "core/mail/outcome.h"
#include "core/sending/consumer.h"

/* What the pages show. */
typedef struct BsSenderStats
{
	uint64_t	claimed;
	uint64_t	sent;
	uint64_t	failed;
	uint64_t	retried;
	uint64_t	released;
	uint64_t	late;			/* outcomes whose claim had been given up */
	uint64_t	connections;	/* to the database, so far */
	uint64_t	outcomes[BS_OUTCOME_RELEASED + 1];	/* of attempts */
	uint64_t	buckets[BS_HISTOGRAMS][BS_HISTOGRAM_BOUNDS + 1];
	uint64_t	sum_us[BS_HISTOGRAMS];
	BsConsumerCounts copies;
	int			waiting;
	int			under_way;
	int			unrecorded;
	bool		database_up;
	bool		broker_wanted;
	bool		broker_up;
	bool		breaker_closed;
	bool		relay_ready;
	char		obstacle[256];	/* "": none */
	char		last_error[256];
} BsSenderStats;

typedef struct BsPages BsPages;

/* Fills the stats for a page that somebody asks for. */
typedef void (*BsStatsSource) (BsSenderStats *stats);

/* NULL and the reason in error where the address cannot be listened on. */
extern BsPages *bs_pages_open(const char *listen, BsStatsSource source,
							  char *error, size_t error_size);
extern void bs_pages_close(BsPages *pages);

/* Readable when there is something to do. */
extern int	bs_pages_fd(const BsPages *pages);

/* In how many ms bs_pages_run() is wanted at the latest, or -1. */
extern int64_t bs_pages_deadline_ms(BsPages *pages);
extern void bs_pages_run(BsPages *pages);

#endif							/* BS_SENDER_HTTP_H */
