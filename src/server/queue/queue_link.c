/*-------------------------------------------------------------------------
 *
 * queue_link.c
 *	  This process's link to the broker, as the settings describe it.
 *
 * src/server/queue/queue_link.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/amqp/payload.h"
#include "core/sending/broker.h"
#include "server/base/bs_group.h"
#include "server/base/bs_guc.h"
#include "server/base/bs_worker.h"
#include "server/queue/queue_link.h"

static BsAmqpLink *current_link = NULL;
static uint32 links_made = 0;
static char *made_from = NULL;	/* settings and secret of current_link */

/*
 * All that a link is made from in one string, to see whether any of it changed.
 *
 * The buffer has its final size from the beginning: one that grows would leave
 * the password behind in the memory that it gives up.
 */
static char *
describe(const BsLinkUse *use, const char *password)
{
	const char *parts[] = {
		bs_settings.amqp_url, password, bs_settings.amqp_ca_file,
		bs_settings.amqp_exchange, bs_settings.amqp_queue,
		bs_settings.amqp_dead_letter_exchange,
		bs_settings.amqp_dead_letter_queue
	};
	StringInfoData text;
	int			size = 64;		/* of the numbers */
	int			i;

	for (i = 0; i < lengthof(parts); i++)
		size += strlen(parts[i]) + 1;
	initStringInfo(&text);
	enlargeStringInfo(&text, size);
	appendStringInfo(&text, "%d %d", use->window, use->prefetch);
	for (i = 0; i < lengthof(parts); i++)
		appendStringInfo(&text, "\n%s", parts[i]);
	return text.data;
}

/*
 * A queue is one database's, and so is the exchange that feeds it: whoever
 * consumes puts the copies of others among the dead letters.
 */
static const char *
find_obstacle(void)
{
	if (bs_settings.amqp_url[0] == '\0')
		return "\"birthday_scheduler.amqp_url\" is not set";
	if (bs_group_count_served() > 1 &&
		(!bs_broker_has_database(bs_settings.amqp_exchange) ||
		 !bs_broker_has_database(bs_settings.amqp_queue)))
		return "several databases are named in \"birthday_scheduler.database\", and each needs names of its own: put %d, which stands for the name of the database, into \"birthday_scheduler.amqp_exchange\" and \"birthday_scheduler.amqp_queue\"";
	return NULL;
}

BsAmqpLink *
bs_queue_open_link(int window, int prefetch)
{
	BsLinkUse	use = {
		.database = bs_worker_database(),
		.connection_name = bs_worker_name(),
		.window = window,
		.prefetch = prefetch
	};
	char		password[BS_SECRET_MAX];
	const char *obstacle = find_obstacle();
	char		error[256];
	char	   *description = NULL;

	if (obstacle != NULL)
		strlcpy(error, obstacle, sizeof(error));
	else if (bs_broker_read_password(&bs_settings, password, sizeof(password),
									 error, sizeof(error)))
	{
		description = describe(&use, password);
		if (current_link != NULL && strcmp(description, made_from) == 0)
		{
			explicit_bzero(description, strlen(description));
			pfree(description);
			return current_link;
		}
	}
	bs_queue_close_link();
	if (description != NULL)
	{
		current_link = bs_broker_make_link(&bs_settings, &use, password,
										   error, sizeof(error));
		if (current_link != NULL)
		{
			links_made++;
			made_from = MemoryContextStrdup(TopMemoryContext, description);
		}
		explicit_bzero(description, strlen(description));
	}
	explicit_bzero(password, sizeof(password));
	if (current_link == NULL)
	{
		bs_worker_report_error(error);
		bs_worker_set_state("no broker");
	}
	return current_link;
}

uint32
bs_queue_link_number(void)
{
	return links_made;
}

void
bs_queue_close_link(void)
{
	if (current_link == NULL)
		return;
	bs_amqp_destroy(current_link);
	current_link = NULL;
	explicit_bzero(made_from, strlen(made_from));
	pfree(made_from);
	made_from = NULL;
}

void
bs_queue_report(const BsAmqpEvent *event)
{
	char		message[320];

	if (event->kind == BS_AMQP_UP)
	{
		bs_worker_report_recovery("connected to the broker");
		bs_worker_set_state("working");
	}
	else if (event->kind == BS_AMQP_DOWN)
	{
		snprintf(message, sizeof(message), "the broker: %s", event->text);
		bs_worker_report_error(message);
		bs_worker_set_state("no broker");
	}
	else if (event->kind == BS_AMQP_BLOCKED)
	{
		snprintf(message, sizeof(message), "the broker takes nothing: %s",
				 event->text);
		bs_worker_report_error(message);
	}
}

const char *
bs_queue_installation(void)
{
	static char name[BS_PAYLOAD_INSTALLATION_MAX];

	if (name[0] == '\0')
		snprintf(name, sizeof(name), UINT64_FORMAT "/%u",
				 GetSystemIdentifier(), MyDatabaseId);
	return name;
}
