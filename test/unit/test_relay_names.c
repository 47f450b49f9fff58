/*-------------------------------------------------------------------------
 *
 * test_relay_names.c
 *	  Names of exchanges and queues, with the name of the database in them.
 *
 * test/unit/test_relay_names.c
 *
 *-------------------------------------------------------------------------
 */
#include "tap.h"

#include <stdio.h>
#include <string.h>

#include "core/sending/broker.h"

#define UMLAUT "\xC3\xBC"

static char long_name[BS_BROKER_NAME_SIZE + 1];

/* "length" letters; good until the next call. */
static const char *
letters(size_t length)
{
	memset(long_name, 'x', length);
	long_name[length] = '\0';
	return long_name;
}

static void
test_expand(void)
{
	static const struct
	{
		const char *name;
		const char *database;
		const char *wanted;
	}			cases[] = {
		{"birthday.messages", "app", "birthday.messages"},
		{"birthday.%d", "app", "birthday.app"},
		{"%d", "app", "app"},
		{"%d.%d", "a", "a.a"},
		{"%%d", "app", "%d"},
		{"%%%d%%", "app", "%app%"},
		{"%%%%d", "app", "%%d"},
		{"q.%d", "50% %d off", "q.50% %d off"},
		{"q.%d", "M" UMLAUT "ller & \"Co\"", "q.M" UMLAUT "ller & \"Co\""},
		{"%d.queue", "amqp", "amqp.queue"}
	};
	char		name[BS_BROKER_NAME_SIZE];
	const char *reason;
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		ok(bs_broker_expand_name(cases[i].name, cases[i].database, name,
								 &reason),
		   "expand: \"%s\" with \"%s\"", cases[i].name, cases[i].database);
		is_str(name, cases[i].wanted, "expand: to \"%s\"", cases[i].wanted);
	}
}

static void
test_limits(void)
{
	char		name[BS_BROKER_NAME_SIZE];
	char		setting[BS_BROKER_NAME_SIZE];
	const char *reason;

	ok(bs_broker_expand_name("%d", letters(255), name, &reason) &&
	   strlen(name) == 255, "limit: 255 bytes");
	ok(!bs_broker_expand_name("%d", letters(256), name, &reason),
	   "limit: 256 bytes");
	ok(!bs_broker_expand_name("%dx", letters(255), name, &reason) &&
	   strstr(reason, "255 bytes") != NULL, "limit: one byte more behind it");
	snprintf(setting, sizeof(setting), "%.253s%%d", letters(253));
	ok(bs_broker_expand_name(setting, "ab", name, &reason) &&
	   strlen(name) == 255, "limit: a long setting and a short name");
	ok(!bs_broker_expand_name(setting, "abc", name, &reason),
	   "limit: and a byte more");
	ok(bs_broker_check_name(setting, &reason),
	   "limit: the setting alone is no trouble");
	ok(!bs_broker_check_name(letters(256), &reason),
	   "limit: a setting of 256 bytes");
}

static void
test_refused(void)
{
	static const char *const settings[] = {
		"", "amq.topic", "q.%", "%q", "%D", "q%%%", "q.%s", "a\nb", "\xFF",
		"\xC3"
	};
	static const struct
	{
		const char *name;
		const char *database;
	}			databases[] = {
		{"%d", "amq.gen"}, {"%d", ""}, {"q.%d", "a\r\nb"}, {"q.%d", "\xE4pp"}
	};
	char		name[BS_BROKER_NAME_SIZE];
	const char *reason;
	size_t		i;

	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		reason = NULL;
		ok(!bs_broker_check_name(settings[i], &reason) && reason != NULL &&
		   !bs_broker_expand_name(settings[i], "app", name, &reason),
		   "refused: setting %zu", i);
	}
	for (i = 0; i < sizeof(databases) / sizeof(databases[0]); i++)
	{
		reason = NULL;
		ok(bs_broker_check_name(databases[i].name, &reason) &&
		   !bs_broker_expand_name(databases[i].name,
								  databases[i].database, name, &reason) &&
		   reason != NULL, "refused: database %zu", i);
	}
}

static void
test_has_database(void)
{
	ok(bs_broker_has_database("%d"), "has: alone");
	ok(bs_broker_has_database("a.%d.b"), "has: amid others");
	ok(bs_broker_has_database("%%%d"), "has: after a percent sign");
	ok(!bs_broker_has_database("birthday.messages"), "has not: none");
	ok(!bs_broker_has_database("%%d"), "has not: a percent sign and a d");
	ok(!bs_broker_has_database("%%%%d%%"), "has not: several of them");
}

/* A link is made from the names as expanded: what they make is judged. */
static void
test_link(void)
{
	BsLinkUse	use = {.database = "app",.window = 1};
	BsSettings	settings = {
		.prefix = "x.",
		.amqp_url = "amqp://localhost",
		.amqp_exchange = "birthday.%d",
		.amqp_queue = "birthday.%d.queue",
		.amqp_dead_letter_exchange = "dead",
		.amqp_dead_letter_queue = "dead"
	};
	char		error[256] = "";
	BsAmqpLink *link = bs_broker_make_link(&settings, &use, "", error, sizeof(error));

	ok(link != NULL, "link: made");
	bs_amqp_destroy(link);
	settings.amqp_dead_letter_queue = "birthday.app.queue";
	ok(bs_broker_make_link(&settings, &use, "", error, sizeof(error)) == NULL,
	   "link: dead letters in the queue of that database");
	settings.amqp_dead_letter_queue = "%d";
	use.database = letters(256);
	ok(bs_broker_make_link(&settings, &use, "", error, sizeof(error)) == NULL &&
	   strstr(error, "\"x.amqp_exchange\" makes no name: ") == error,
	   "link: the setting is named whose name is too long");
}

int
main(void)
{
	test_expand();
	test_limits();
	test_refused();
	test_has_database();
	test_link();
	return tap_done();
}
