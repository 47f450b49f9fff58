/*-------------------------------------------------------------------------
 *
 * test_mail.c
 *	  The mailer around its transfers: settings, texts, names that hang.
 *
 * test/unit/test_mail.c
 *
 *-------------------------------------------------------------------------
 */
#include "mail_host.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>

static void
is_framed(const char *mail, const char *wanted)
{
	size_t		len;
	char	   *framed = bs_smtp_frame(strdup(mail), strlen(mail), &len);

	ok(len == strlen(wanted) && memcmp(framed, wanted, len) == 0,
	   "frame: \"%zu octets\"", strlen(mail));
	free(framed);
}

static void
test_frame(void)
{
	is_framed("", ".\r\n");
	is_framed("a", "a\r\n.\r\n");
	is_framed("a\r\n", "a\r\n.\r\n");
	is_framed("a\n", "a\n\r\n.\r\n");
	is_framed("\r", "\r\r\n.\r\n");
	is_framed(".", "..\r\n.\r\n");
	is_framed(".\r\n..\r\na.\r\n", "..\r\n...\r\na.\r\n.\r\n");
	is_framed("a\n.\r\nb\r.\r\n", "a\n..\r\nb\r..\r\n.\r\n");
}

static void
is_clean(const char *raw, size_t len, const char *address, size_t size,
		 const char *wanted)
{
	BsMailText	words;
	char		out[BS_MAIL_REPLY_MAX];

	bs_mail_text_reset(&words);
	bs_mail_text_add(&words, raw, len);
	bs_mail_text_clean(&words, address, out, size);
	is_str(out, wanted, "text: %zu octets", len);
}

#define IS_CLEAN(raw, address, size, wanted) \
	is_clean(raw, sizeof(raw) - 1, address, size, wanted)

static void
test_text(void)
{
	char		address[200];
	char		raw[4000];
	size_t		i;
	int			shown = 0;

	IS_CLEAN("", "a@b.cc", 512, "");
	IS_CLEAN(" \t\r\n a \r\n\r\n b \0 c ", "a@b.cc", 512, "a b c");
	IS_CLEAN("<a@b.cc>a@b.cc<A@B.CC <<a@b.cc>>", "a@b.cc", 512,
			 "<recipient><recipient><recipient> <<recipient>>");
	IS_CLEAN("a@b.c", "a@b.cc", 512, "a@b.c");
	IS_CLEAN("a", "", 512, "a");
	IS_CLEAN("a", NULL, 512, "a");
	IS_CLEAN("\xc3\xa9\xc3", "a@b.cc", 512, "\xc3\xa9\xef\xbf\xbd");
	IS_CLEAN("ab\xc3\xa9", "a@b.cc", 4, "ab");
	IS_CLEAN("a\xe2\x80\xa8" "b\xe2\x80\xae" "c", "x", 512, "a b c");
	IS_CLEAN("abc", "x", 1, "");

	/* An address is not shown in part, wherever the text is cut. */
	memset(address, 's', sizeof(address));
	memcpy(address + 180, "@b.example", 11);
	for (i = 0; i < sizeof(raw); i++)
		raw[i] = i % 191 == 190 ? ' ' : address[i % 191];
	for (i = 1800; i < 2300; i++)
	{
		BsMailText	words;
		char		out[BS_MAIL_REPLY_MAX];

		bs_mail_text_reset(&words);
		bs_mail_text_add(&words, raw, i);
		bs_mail_text_add(&words, raw + i, 1000);
		bs_mail_text_add(&words, "sss", 3);
		bs_mail_text_clean(&words, address, out, sizeof(out));
		shown += strchr(out, 's') != NULL || strlen(out) < 90;
	}
	is_int(shown, 0, "text: no address is shown in part");
}

/* ---- mails that cannot be sent ---- */

static void
test_unsendable(void)
{
	static const BsScript usual = {0};
	static const char *const addresses[] = {
		"a@b.example>\r\nRCPT TO:<c@d.example", "a b@c.example", "", "a@b"
	};
	BsMail		mail;
	size_t		i;

	reset_mailer_config();
	begin(&usual);
	for (i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
	{
		mail = make_mail("Hello\n");
		mail.to_address = addresses[i];
		ok(bs_mailer_submit(mailer, &mail, 7), "unsendable: taken");
		ok(bs_mailer_deadline_ms(mailer) == 0, "unsendable: ready at once");
		ok(bs_mailer_next(mailer, &results[0]) && results[0].tag == 7 &&
		   results[0].outcome == BS_OUTCOME_REFUSED &&
		   results[0].error[0] != '\0', "unsendable: and refused");
	}
	mail = make_mail("Hello\n");
	mail.to_address = NULL;
	ok(bs_mailer_submit(mailer, &mail, 8) &&
	   bs_mailer_next(mailer, &results[0]) &&
	   results[0].outcome == BS_OUTCOME_REFUSED, "unsendable: no address");
	mail = make_mail("Hello\n");
	mail.idempotency_key = "a\r\nb";
	ok(bs_mailer_submit(mailer, &mail, 9) &&
	   bs_mailer_next(mailer, &results[0]) &&
	   results[0].outcome == BS_OUTCOME_REFUSED, "unsendable: no key");
	is_int(bs_mailer_room(mailer), 1, "unsendable: the handle is free");
	is_int(relay.connected, 0, "unsendable: nobody was asked");
	stop();
}

static void
test_config(void)
{
	static const struct
	{
		const char *url;
		bool		valid;
	}			urls[] = {
		{"smtp://relay", true}, {"smtps://relay.example:465", true},
		{"http://127.0.0.1:8080/send?x=y", true},
		{"https://[::1]/send", true}, {"smtp://relay/my.name", true},
		{"SMTP://relay", true},
		{"", false}, {"relay", false}, {"relay:25", false},
		{"smtp://", false}, {"ftp://relay", false},
		{"file:///etc/passwd", false}, {"gopher://relay", false},
		{"smtp://user@relay", false}, {"smtp://u:p@relay", false},
		{"smtp://;AUTH=PLAIN@relay", false}, {"smtp://relay:99999", false},
		{"smtp://relay?x", false}, {"http://relay/#x", false},
		{"smtp://re lay", false}, {"smtp://relay\r\n", false},
	};
	static const char *const bad_headers[][2] = {
		{"X-Key: a\r\nX-Other: b", NULL}, {"no colon", NULL},
		{": no name", NULL}, {"X-Key: a\x7f", NULL}
	};
	const char *reason;
	char		error[200];
	size_t		i;

	for (i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		reason = NULL;
		ok(bs_mailer_check_url(urls[i].url, &reason) == urls[i].valid &&
		   (urls[i].valid || (reason != NULL &&
							  reason[strlen(reason) - 1] == '.')),
		   "url %zu: %s", i, urls[i].valid ? "taken" : "refused");
	}
	ok(!bs_mailer_check_url(NULL, &reason), "url: none");

	for (i = 0; i < 12; i++)
	{
		reset_mailer_config();
		mailer_config.url = "http://127.0.0.1/";
		if (i < 4)
			mailer_config.http_headers = bad_headers[i];
		else if (i == 4)
			mailer_config.url = "ftp://relay/";
		else if (i == 5)
			mailer_config.connections = 0;
		else if (i == 6)
			mailer_config.connections = 65;
		else if (i == 7)
			mailer_config.timeout_ms = 0;
		else if (i == 8)
			mailer_config.connect_timeout_ms = INT64_MAX;
		else if (i == 9)
			mailer_config.from = "nobody";
		else if (i == 10)
			mailer_config.from = NULL;
		else
			mailer_config.url = NULL;
		error[0] = '\0';
		ok(bs_mailer_create(&mailer_config, error, sizeof(error)) == NULL &&
		   error[0] != '\0', "config %zu is refused: %s", i, error);
	}
	bs_mailer_destroy(NULL);
	ok(true, "no mailer to destroy");
}

/* ---- names ---- */

static pthread_mutex_t resolver_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_changed = PTHREAD_COND_INITIALIZER;
static bool resolver_released;
static int	resolver_running;
static bool resolver_took_signals;

/* libcurl's threads come here: one name never gets an answer. */
int
getaddrinfo(const char *node, const char *service,
			const struct addrinfo *hints, struct addrinfo **found)
{
	int			(*original) (const char *, const char *,
							 const struct addrinfo *, struct addrinfo **);

	*(void **) &original = dlsym(RTLD_NEXT, "getaddrinfo");
	if (node != NULL && strcmp(node, "stuck.test") == 0)
	{
		sigset_t	mask;

		pthread_sigmask(SIG_SETMASK, NULL, &mask);
		pthread_mutex_lock(&resolver_mutex);
		resolver_running++;
		resolver_took_signals |= !sigismember(&mask, SIGTERM) ||
			!sigismember(&mask, SIGUSR1) || !sigismember(&mask, SIGALRM);
		pthread_cond_broadcast(&resolver_changed);
		while (!resolver_released)
			pthread_cond_wait(&resolver_changed, &resolver_mutex);
		resolver_running--;
		pthread_cond_broadcast(&resolver_changed);
		pthread_mutex_unlock(&resolver_mutex);
		return EAI_AGAIN;
	}
	return original(node, service, hints, found);
}

static int
resolvers_running(void)
{
	int			running;

	pthread_mutex_lock(&resolver_mutex);
	running = resolver_running;
	pthread_mutex_unlock(&resolver_mutex);
	return running;
}

static void
test_stuck_resolver(void)
{
	static const BsScript usual = {0};
	int64_t		until = now_ms() + LIMIT_MS;
	int64_t		began;
	sigset_t	mask;

	host = "stuck.test";
	reset_mailer_config();
	mailer_config.timeout_ms = 400;
	mailer_config.connect_timeout_ms = 200;
	begin(&usual);
	began = now_ms();
	is_int(send_one("Hello\n").outcome, BS_OUTCOME_TROUBLE,
		   "resolver: stuck, and the mail ends all the same");
	ok(now_ms() - began < 400 + 3000, "resolver: in time");
	stop();

	reset_mailer_config();
	begin(&usual);
	submit("Hello\n", 2);
	while (resolvers_running() < 2 && now_ms() < until)
		take_turn(10);
	began = now_ms();
	bs_mailer_abort(mailer);
	note_call(began);
	ok(bs_mailer_next(mailer, &results[0]) &&
	   results[0].outcome == BS_OUTCOME_RELEASED, "resolver: aborted");
	submit("Hello\n", 3);
	while (resolvers_running() < 3 && now_ms() < until)
		take_turn(10);
	stop();
	ok(longest_call_ms < BLOCKED_MS, "resolver: nothing waited for it (%d ms)",
	   (int) longest_call_ms);
	host = "127.0.0.1";

	pthread_mutex_lock(&resolver_mutex);
	ok(!resolver_took_signals, "resolver: its threads take no signals");
	resolver_released = true;
	pthread_cond_broadcast(&resolver_changed);
	while (resolver_running > 0)
		pthread_cond_wait(&resolver_changed, &resolver_mutex);
	pthread_mutex_unlock(&resolver_mutex);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	ok(!sigismember(&mask, SIGTERM), "resolver: we take them still");
}

int
main(void)
{
	host_begin();
	test_config();
	test_frame();
	test_text();
	test_unsendable();
	test_stuck_resolver();
	return host_end();
}
