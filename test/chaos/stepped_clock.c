/*
 * stepped_clock.c: a wall clock that a test steps, for LD_PRELOAD.
 *
 * The file that STEPPED_CLOCK names holds an int64 in the machine's order: the
 * nanoseconds by which the clock is wrong.  Whoever writes there steps the clock
 * of all processes at once.  The monotonic clock goes on, as it does when a real
 * clock is stepped.  Nothing here allocates or locks, because the server asks for
 * the time in signal handlers (libfaketime must not be asked there).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)

static const int64_t zero = 0;
static const int64_t *wrong_by = &zero;

__attribute__((constructor)) static void
open_clock(void)
{
	const char *path = getenv("STEPPED_CLOCK");
	int			fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *place;

	if (fd < 0)
		return;
	place = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (place != MAP_FAILED)
		wrong_by = place;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int64_t		ns;

	if (syscall(SYS_clock_gettime, clock, now) != 0)
		return -1;
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
	{
		ns = now->tv_sec * SECOND_NS + now->tv_nsec +
			__atomic_load_n(wrong_by, __ATOMIC_RELAXED);
		now->tv_sec = ns / SECOND_NS;
		now->tv_nsec = ns % SECOND_NS;
	}
	return 0;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec exact;

	(void) zone;
	(void) clock_gettime(CLOCK_REALTIME, &exact);
	now->tv_sec = exact.tv_sec;
	now->tv_usec = exact.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec exact;

	(void) clock_gettime(CLOCK_REALTIME, &exact);
	if (result != NULL)
		*result = exact.tv_sec;
	return exact.tv_sec;
}
