/*-------------------------------------------------------------------------
 *
 * tap.c
 *	  Test Anything Protocol for the plain C tests, in a page.
 *
 * test/unit/tap.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

static int	tap_count;
static int	tap_failed;

static bool
tap_report(bool pass, const char *file, int line, const char *format,
		   va_list args)
{
	printf("%s %d - ", pass ? "ok" : "not ok", ++tap_count);
	vprintf(format, args);
	printf("\n");
	if (!pass)
	{
		printf("# failed at %s line %d\n", file, line);
		tap_failed++;
	}
	return pass;
}

bool
tap_ok(bool pass, const char *file, int line, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	tap_report(pass, file, line, format, args);
	va_end(args);
	return pass;
}

bool
tap_is_str(const char *got, const char *wanted, const char *file, int line,
		   const char *format,...)
{
	bool		pass = (got == NULL || wanted == NULL) ? got == wanted :
	strcmp(got, wanted) == 0;
	va_list		args;

	va_start(args, format);
	tap_report(pass, file, line, format, args);
	va_end(args);
	if (!pass)
		printf("#      got: \"%s\"\n#   wanted: \"%s\"\n",
			   got ? got : "(null)", wanted ? wanted : "(null)");
	return pass;
}

bool
tap_is_int(long long got, long long wanted, const char *file, int line,
		   const char *format,...)
{
	va_list		args;

	va_start(args, format);
	tap_report(got == wanted, file, line, format, args);
	va_end(args);
	if (got != wanted)
		printf("#      got: %lld\n#   wanted: %lld\n", got, wanted);
	return got == wanted;
}

int
tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed != 0;
}
