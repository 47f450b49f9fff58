/*-------------------------------------------------------------------------
 *
 * mail_host.c
 *	  A host for the mailer under test: its loop, its settings, its mails.
 *
 * test/unit/mail_host.c
 *
 *-------------------------------------------------------------------------
 */
#include "mail_host.h"

const char *const outcome_names[] = {
	"accepted", "refused", "later", "trouble", "again", "in doubt", "released"
};

BsRelay		relay;
BsMailer   *mailer;
BsMailResult results[RELAY_MAILS];
int			result_count;

const char *scheme = "smtp";
const char *host = "127.0.0.1";
BsMailerConfig mailer_config;

/* ---- the loop ---- */

void
take_turn(int64_t patience_ms)
{
	struct pollfd fds[RELAY_CONNECTIONS + 2];
	int			count = relay_poll(&relay, fds);
	int64_t		deadline = bs_mailer_deadline_ms(mailer);
	int64_t		began;

	fds[count].fd = bs_mailer_fd(mailer);
	fds[count].events = POLLIN;
	if (deadline >= 0 && deadline < patience_ms)
		patience_ms = deadline;
	poll(fds, count + 1, (int) patience_ms);
	relay_serve(&relay, fds, count);

	began = now_ms();
	bs_mailer_run(mailer);
	note_call(began);
	while (result_count < RELAY_MAILS &&
		   bs_mailer_next(mailer, &results[result_count]))
		result_count++;
}

bool
wait_for_results(int wanted)
{
	int64_t		until = now_ms() + LIMIT_MS;

	while (result_count < wanted && now_ms() < until)
		take_turn(100);
	return result_count >= wanted;
}

bool
wait_for_command(const char *command)
{
	int64_t		until = now_ms() + LIMIT_MS;

	while (strstr(relay.log, command) == NULL && now_ms() < until)
		take_turn(100);
	return strstr(relay.log, command) != NULL;
}

bool
wait_for_arrival(void)
{
	int64_t		until = now_ms() + LIMIT_MS;
	struct pollfd own;

	own.fd = bs_mailer_fd(mailer);
	own.events = POLLIN;
	while (now_ms() < until)
	{
		struct pollfd fds[RELAY_CONNECTIONS + 1];
		int			count = relay_poll(&relay, fds);

		poll(fds, count, 10);
		relay_serve(&relay, fds, count);
		if (poll(&own, 1, 0) == 1)
			return true;
	}
	return false;
}

/* ---- a mailer and its mails ---- */

void
reset_mailer_config(void)
{
	memset(&mailer_config, 0, sizeof(mailer_config));
	mailer_config.from = "Greetings <greetings@example.com>";
	mailer_config.tls = BS_MAIL_TLS_OFF;
	mailer_config.connections = 1;
	mailer_config.timeout_ms = 60000;
	mailer_config.connect_timeout_ms = 30000;
}

void
open_mailer(int port)
{
	char		url[256];
	char		error[256] = "";

	snprintf(url, sizeof(url), "%s://%s:%d%s", scheme, host, port,
			 strncmp(scheme, "http", 4) == 0 ? "/send?a=b" : "/me.example");
	mailer_config.url = url;
	mailer = bs_mailer_create(&mailer_config, error, sizeof(error));
	if (mailer == NULL)
		printf("# %s\n", error);
	mailer_config.url = NULL;
	result_count = 0;
}

void
begin(const BsScript *script)
{
	relay_open(&relay, script);
	open_mailer(relay.port);
}

void
stop(void)
{
	int64_t		began = now_ms();

	bs_mailer_destroy(mailer);
	note_call(began);
	mailer = NULL;
	relay_close(&relay);
}

BsMail
make_mail(const char *words)
{
	static char key[64];
	static int	number;
	BsMail		mail = {0};

	snprintf(key, sizeof(key),
			 "7d444840-9dc0-11d1-b245-%012d:BIRTHDAY:2026-02-28", ++number);
	mail.from = "Greetings <greetings@example.com>";
	mail.to_name = "Zo\xc3\xab";
	mail.to_address = "Zoe.Doe@example.org";
	mail.subject = "Hey, Zo\xc3\xab it's your birthday";
	mail.text = words;

	mail.idempotency_key = key;
	mail.date = 1772269200;
	return mail;
}

bool
submit(const char *words, uint64_t tag)
{
	BsMail		mail = make_mail(words);
	int64_t		began = now_ms();
	bool		begun = bs_mailer_submit(mailer, &mail, tag);

	if (strlen(words) < 10000)	/* else it takes long to build */
		note_call(began);
	return begun;
}

BsMailResult
send_one(const char *words)
{
	static const BsMailResult none = {.outcome = BS_OUTCOME_RELEASED};
	int			wanted = result_count + 1;

	if (!submit(words, wanted) || !wait_for_results(wanted))
		return none;
	return results[wanted - 1];
}

char *
make_long_text(void)
{
	size_t		len = 4 * 1024 * 1024;
	char	   *words = malloc(len + 1);
	size_t		i;

	for (i = 0; i < len; i++)
		words[i] = i % 61 == 60 ? '\n' : i % 61 == 0 ? '.' : 'a' + i % 26;
	words[len] = '\0';
	return words;
}

/* ---- one mail on a fresh connection ---- */

static bool
is_slow(const BsScript *script)
{
	const char *replies[] = {
		script->greeting, script->ehlo, script->mail, script->rcpt,
		script->data, script->dot, script->http
	};
	size_t		i;

	for (i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
	{
		if (replies[i] != NULL && *replies[i] == '\3')
			return true;
	}
	return false;
}

void
run_case(const BsMailCase *row, const char *how, bool plain_ehlo)
{
	BsMailResult result;
	int64_t		began = now_ms();

	reset_mailer_config();
	if (is_slow(&row->script))
		mailer_config.timeout_ms = 300;
	begin(&row->script);
	relay.plain_ehlo = plain_ehlo;
	result = send_one("Hello\n.\n..dots\n");
	is_str(outcome_names[result.outcome], outcome_names[row->outcome],
		   "%s: %s", how, row->what);
	is_int(result.response_code, row->code, "%s: %s: code", how, row->what);
	is_str(result.reply, row->reply ? row->reply : "",
		   "%s: %s: reply", how, row->what);
	if (plain_ehlo)
		is_int(relay.crowded, 0, "%s: %s: nothing is said unasked",
			   how, row->what);
	if (is_slow(&row->script))
		ok(now_ms() - began < 300 + 3000, "%s: %s: ends in time",
		   how, row->what);
	ok(bs_mailer_busy(mailer) == 0 && bs_mailer_room(mailer) == 1,
	   "%s: %s: the handle is free again", how, row->what);
	stop();
}

/* The relay has, octet by octet, what the MIME writer made. */
static void
is_delivered(const char *words, const char *what)
{
	BsMail		mail;
	size_t		len;
	char	   *made;
	static const BsScript usual = {0};
	static const BsScript taken = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n"};
	bool		is_http = strcmp(scheme, "http") == 0;

	reset_mailer_config();
	begin(is_http ? &taken : &usual);
	mail = make_mail(words);
	bs_mailer_submit(mailer, &mail, 1);
	wait_for_results(1);
	made = is_http ? bs_mime_json(&mail, &len) : bs_mime_build(&mail, &len);
	is_str(outcome_names[results[0].outcome], "accepted",
		   "%s: %s is accepted", scheme, what);
	ok(relay.mails == 1 && relay.mail_len[0] == len &&
	   memcmp(relay.mail[0], made, len) == 0,
	   "%s: %s arrives as it was made", scheme, what);
	free(made);
	stop();
}

void
test_delivery(void)
{
	char	   *words = malloc(6000);
	char	   *long_words = make_long_text();

	memset(words, 'x', 5000);
	words[0] = '.';
	strcpy(words + 5000, "\n.\n..\n...\r\n.x\r\n");
	is_delivered("Hello\n", "a line");
	is_delivered("", "nothing");
	is_delivered(".", "a dot");
	is_delivered(".\r\n.\r\n", "dots alone");
	is_delivered("no newline", "a line without end");
	is_delivered(words, "a line of 5000");
	is_delivered(long_words, "a mail of megabytes");
	free(words);
	free(long_words);
}
