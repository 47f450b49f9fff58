/*-------------------------------------------------------------------------
 *
 * outbox_host.h
 *	  A host for the outbox under test: relay, broker, and rows that are recorded.
 *
 * One of each at a time, in static variables.  The relay, and the broker where a
 * test wants one, are those of the other tests: they speak over sockets, in the
 * test's own loop.
 *
 * test/unit/outbox_host.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef BS_OUTBOX_HOST_H
#define BS_OUTBOX_HOST_H

#define _GNU_SOURCE				/* memmem(), accept4() */
#include "host.h"
#include "mail_relay.h"
#include "amqp_broker_loop.h"

#include "core/base/clock.h"
#include "core/sending/outbox.h"

#define INSTALLATION	"7393018472650183942/16384"
#define ROWS			256		/* messages, numbered from 1 */
#define SECOND_US		INT64_C(1000000)
#define LEASE_MS		300000

static BsRelay relay;
static BsBroker broker;
static BsAmqpLink *amqp;		/* NULL: no broker is wanted */
static BsConsumer *consumer;
static BsOutbox outbox;
static BsSettings rules;

/* What the host brings along, and what it was told. */
static BsBucket bucket;
static BsBreaker breaker;
static double chance;			/* the next random number */
static int	lock_depth;
static int	locked;				/* times */
static char moves[64];			/* of the breaker: "open closed" */
static int	attempts[BS_OUTCOME_RELEASED + 1];	/* by outcome */
static int64_t last_us;
static int	errors;
static char last_error[320];
static int	ups;
static int	downs;

/* What became of each message, in the order in which it was recorded. */
static int	recorded_count;
static int	recorded[ROWS];		/* numbers of messages */
static BsResult row[ROWS];		/* by number */

/* ---- what the outbox asks of its host ---- */

static inline void
host_lock(void)
{
	lock_depth++;
	locked++;
}

static inline void
host_unlock(void)
{
	lock_depth--;
}

static inline double
host_random(void)
{
	return chance;
}

static inline void
host_breaker_moved(BsBreakerState state)
{
	static const char *const names[] = {"closed", "open", "probing"};
	size_t		used = strlen(moves);

	snprintf(moves + used, sizeof(moves) - used, "%s%s", used > 0 ? " " : "",
			 names[state]);
}

static inline void
host_attempted(BsOutcome outcome, int64_t us)
{
	attempts[outcome]++;
	last_us = us;
}

static inline void
host_report_error(const char *error)
{
	errors++;
	snprintf(last_error, sizeof(last_error), "%s", error);
}

static const BsOutboxHost outbox_host = {
	.bucket = &bucket,
	.breaker = &breaker,
	.lock = host_lock,
	.unlock = host_unlock,
	.random = host_random,
	.breaker_moved = host_breaker_moved,
	.attempted = host_attempted,
	.report_error = host_report_error
};

/* ---- the loop ---- */

/* What goes without waiting, but for the recording. */
static inline void
step(void)
{
	int64_t		began = now_ms();
	BsAmqpEvent event;

	if (outbox.mailer != NULL)
		bs_mailer_run(outbox.mailer);
	while (bs_outbox_collect(&outbox))
		;
	while (bs_outbox_submit(&outbox))
		;
	if (amqp != NULL)
	{
		bs_amqp_run(amqp);
		while (bs_consumer_next(consumer, &event))
		{
			ups += event.kind == BS_AMQP_UP;
			downs += event.kind == BS_AMQP_DOWN;
		}
	}
	note_call(began);
}

static inline int64_t
sooner(int64_t patience_ms, int64_t deadline_ms)
{
	return deadline_ms >= 0 && deadline_ms < patience_ms ?
		deadline_ms : patience_ms;
}

/* One turn of what a host does, of the relay, and of the broker. */
static inline void
turn(int64_t patience_ms)
{
	struct pollfd fds[RELAY_CONNECTIONS + 8];
	int			relay_count = relay_poll(&relay, fds);
	int			broker_count = 0;
	int			count;
	int64_t		next_ms = bs_outbox_next_ms(&outbox);
	int64_t		now = now_ms();

	if (amqp != NULL)
	{
		broker_count = broker_poll(&broker, fds + relay_count);
		patience_ms = sooner(patience_ms, bs_amqp_deadline_ms(amqp));
	}
	count = relay_count + broker_count;
	if (amqp != NULL)
		fds[count++] = poll_entry(bs_amqp_fd(amqp), POLLIN);
	if (outbox.mailer != NULL)
	{
		fds[count++] = poll_entry(bs_mailer_fd(outbox.mailer), POLLIN);
		patience_ms = sooner(patience_ms,
							 bs_mailer_deadline_ms(outbox.mailer));
	}
	if (next_ms != INT64_MAX)
		patience_ms = sooner(patience_ms, next_ms > now ? next_ms - now : 1);
	poll(fds, (nfds_t) count, (int) patience_ms);
	relay_serve(&relay, fds, relay_count);
	if (amqp != NULL)
		broker_serve(&broker, fds + relay_count, broker_count);
	step();
}

/* Goes on until the condition holds; false where it does not in time. */
#define wait_for(condition) \
({ \
	int64_t		wait_until_ms = now_ms() + LIMIT_MS; \
	while (!(condition) && now_ms() < wait_until_ms) \
		turn(100); \
	(condition); \
})

/* ---- an outbox ---- */

static inline void
reset_rules(void)
{
	memset(&rules, 0, sizeof(rules));
	rules.mail_from = "Greetings <greetings@example.com>";
	rules.mail_connections = 1;
	rules.sender_memory_kb = 65536;
	rules.mail_timeout_ms = 60000;
	rules.max_lateness_s = 86400;
	rules.max_attempts = 5;
	rules.retry_initial_s = 60;
	rules.retry_max_s = 3600;
}

/* With the rules that are set. */
static inline BsMailer *
make_mailer(void)
{
	char		url[64];
	char		error[256] = "";
	BsMailerConfig config = {
		.url = url,
		.from = rules.mail_from,
		.tls = BS_MAIL_TLS_OFF,
		.connections = rules.mail_connections,
		.timeout_ms = rules.mail_timeout_ms,
		.connect_timeout_ms = 30000
	};
	BsMailer   *mailer;

	snprintf(url, sizeof(url), "smtp://127.0.0.1:%d/me.example", relay.port);
	mailer = bs_mailer_create(&config, error, sizeof(error));
	if (mailer == NULL)
		printf("# %s\n", error);
	return mailer;
}

static inline void
forget_notes(void)
{
	memset(&bucket, 0, sizeof(bucket));
	memset(&breaker, 0, sizeof(breaker));
	memset(attempts, 0, sizeof(attempts));
	memset(row, 0, sizeof(row));
	chance = 0;
	locked = errors = ups = downs = recorded_count = 0;
	moves[0] = last_error[0] = '\0';
}

static inline void
open_outbox(const BsScript *script)
{
	forget_notes();
	relay_open(&relay, script);
	bs_outbox_init(&outbox, &outbox_host, &rules);
	bs_outbox_set_mailer(&outbox, make_mailer());
}

static inline void
close_outbox(void)
{
	bs_outbox_forget(&outbox);
	ok(bs_outbox_is_empty(&outbox), "nothing is held at the end");
	is_int(lock_depth, 0, "and nothing is locked");
	bs_mailer_destroy(outbox.mailer);
	free(outbox.jobs);
	relay_close(&relay);
}

/* ---- messages ---- */

static inline void
make_id(int number, uint8_t id[BS_UUID_SIZE])
{
	memset(id, 0, BS_UUID_SIZE);
	id[0] = 0x7d;
	id[14] = (uint8_t) (number >> 8);
	id[15] = (uint8_t) number;
}

static inline int
number_of(const BsClaim *claim)
{
	return claim->id[14] << 8 | claim->id[15];
}

/* As the database answers: due a second ago, at the first attempt. */
static inline BsClaim
make_claim(int number)
{
	char		address[64];
	char		key[64];
	BsClaimString strings[BS_CLAIM_STRINGS] = {
		{address, 0}, {"Zo\xc3\xab", 4}, {"Hey, Zo\xc3\xab", 9},
		{"Hello\n.\n", 8}, {NULL, 0}, {key, 0}
	};
	BsClaim		claim = {0};

	snprintf(address, sizeof(address), "p%d@example.org", number);
	snprintf(key, sizeof(key), "7d444840-9dc0-11d1-b245-%012d:BIRTHDAY:2026-02-28",
			 number);
	strings[0].len = strlen(address);
	strings[5].len = strlen(key);
	make_id(number, claim.id);
	claim.send_time_us = bs_outbox_wall_us(&outbox) - SECOND_US;
	claim.attempts = 1;
	if (!bs_claim_set_strings(&claim, strings))
		printf("# out of memory\n");
	return claim;
}

static inline void
begin_claim(const BsClaim *claim)
{
	static const BsCopyTag no_copy = {0};

	bs_outbox_begin(&outbox, claim, now_ms() + LEASE_MS, no_copy);
}

static inline void
begin(int first, int count)
{
	int			i;

	for (i = 0; i < count; i++)
	{
		BsClaim		claim = make_claim(first + i);

		begin_claim(&claim);
	}
}

static inline bool
wait_for_ended(int count)
{
	return wait_for(outbox.ended_count >= count);
}

/*
 * All that has ended goes to the database, which takes it or does not; their
 * number.
 */
static inline int
record(bool works)
{
	const BsClaim *claims[ROWS];
	const BsResult *results[ROWS];
	int			count = bs_outbox_begin_record(&outbox, claims, results);
	int			i;

	for (i = 0; works && i < count; i++)
	{
		int			number = number_of(claims[i]);

		recorded[recorded_count++] = number;
		row[number] = *results[i];
	}
	bs_outbox_end_record(&outbox, works);
	return count;
}

/* Waits for so many, and records them. */
static inline void
finish_messages(int count)
{
	while (count > 0 && wait_for_ended(1))
		count -= record(true);
}

/* The numbers that were recorded, "1 2 3". */
static inline const char *
recorded_story(void)
{
	static char story[2048];
	int			i;

	story[0] = '\0';
	for (i = 0; i < recorded_count; i++)
	{
		size_t		used = strlen(story);

		snprintf(story + used, sizeof(story) - used, "%s%d",
				 i > 0 ? " " : "", recorded[i]);
	}
	return story;
}

/* How the message ended, "SENT accepted 250". */
static inline const char *
ending(int number)
{
	static char words[100];
	const BsResult *result = &row[number];

	if (result->reason == NULL)
		return "not recorded";
	snprintf(words, sizeof(words), "%s %s %d", bs_result_word(result->next),
			 result->reason, result->code);
	return words;
}

/* How many mails to this message's address the relay has. */
static inline int
arrived(int number)
{
	char		line[64];
	int			count = 0;
	int			i;

	snprintf(line, sizeof(line), "<p%d@example.org>\r\n", number);
	for (i = 0; i < relay.mails; i++)
		count += memmem(relay.mail[i], relay.mail_len[i], line,
						strlen(line)) != NULL;
	return count;
}

/* ---- a broker ---- */

static inline bool
open_broker(int prefetch)
{
	char		url[100];
	char		error[256] = "";
	BsAmqpConfig config = {
		.urls = url,
		.exchange = "birthday.messages",
		.queue = "birthday.messages.queue",
		.dead_letter_exchange = "birthday.messages.dlx",
		.dead_letter_queue = "birthday.messages.dlq",
		.connection_name = "test",
		.prefetch = prefetch,
		.password = "secret",
		.connect_timeout_ms = 60000,
		.silence_ms = 60000,
		.confirm_timeout_ms = 60000,
		.backoff_initial_ms = 1,
		.backoff_max_ms = 1
	};

	broker_open(&broker);
	snprintf(url, sizeof(url), "amqp://us@127.0.0.1:%d", broker.port);
	amqp = bs_amqp_create(&config, error, sizeof(error));
	if (amqp == NULL)
		printf("# %s\n", error);
	consumer = bs_consumer_create(amqp, prefetch, INSTALLATION);
	bs_outbox_set_consumer(&outbox, consumer);
	return ok(wait_for(ups == 1), "the consumer is there");
}

static inline void
close_broker(void)
{
	bs_outbox_set_consumer(&outbox, NULL);
	bs_consumer_destroy(consumer);
	bs_amqp_destroy(amqp);
	consumer = NULL;
	amqp = NULL;
	broker_close(&broker);
}

/* The broker hands out a copy of this message. */
static inline void
deliver(uint64_t tag, int number)
{
	BsPayload	payload;
	char		body[BS_PAYLOAD_MAX];
	size_t		len;

	make_id(number, payload.id);
	payload.send_time_us = 1772269200 * SECOND_US;
	len = bs_payload_write(body, sizeof(body), INSTALLATION, &payload);
	broker_deliver(&broker, tag, false, body, len, len);
}

/* All that is to be told to the broker has gone out, and it has heard it. */
static inline bool
flush_copies(int acks, int rejects)
{
	bs_consumer_flush(consumer);
	return wait_for(broker.acks >= acks && broker.rejects >= rejects);
}

#endif							/* BS_OUTBOX_HOST_H */
