/*-------------------------------------------------------------------------
 *
 * histogram.h
 *	  Into which bucket of a histogram a length of time falls.
 *
 * src/core/base/histogram.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_CORE_HISTOGRAM_H
#define BS_CORE_HISTOGRAM_H

#include <stdint.h>

/* Finite upper bounds of a histogram's buckets; one more takes the rest. */
#define BS_HISTOGRAM_BOUNDS 16

typedef enum BsHistogramKind
{
	BS_HISTOGRAM_LATENESS,		/* send time to "accepted" */
	BS_HISTOGRAM_DELIVERY		/* an attempt's begin to the relay's answer */
} BsHistogramKind;

#define BS_HISTOGRAMS (BS_HISTOGRAM_DELIVERY + 1)

/* The bounds in seconds, rising: Prometheus' "le". */
extern const double bs_histogram_bounds[BS_HISTOGRAMS][BS_HISTOGRAM_BOUNDS];

/* From 0 to BS_HISTOGRAM_BOUNDS; negative lengths of time count as 0. */
extern int	bs_histogram_bucket(BsHistogramKind kind, int64_t us);

#endif							/* BS_CORE_HISTOGRAM_H */
