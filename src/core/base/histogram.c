/*-------------------------------------------------------------------------
 *
 * histogram.c
 *	  Into which bucket of a histogram a length of time falls.
 *
 * src/core/base/histogram.c
 *
 *-------------------------------------------------------------------------
 */
#include "core/base/histogram.h"

/* From a relay next door to a day of outage; from a local relay to a timeout. */
const double bs_histogram_bounds[BS_HISTOGRAMS][BS_HISTOGRAM_BOUNDS] = {
	[BS_HISTOGRAM_LATENESS] = {
		0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600,
	21600, 86400},
	[BS_HISTOGRAM_DELIVERY] = {
		0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
	10, 30, 60, 120}
};

int
bs_histogram_bucket(BsHistogramKind kind, int64_t us)
{
	double		seconds = us > 0 ? (double) us / 1000000 : 0;
	int			i = 0;

	while (i < BS_HISTOGRAM_BOUNDS && seconds > bs_histogram_bounds[kind][i])
		i++;
	return i;
}
