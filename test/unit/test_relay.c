/*-------------------------------------------------------------------------
 *
 * test_relay.c
 *	  From settings to a mailer or a link; secret files, and who may read them.
 *
 * test/unit/test_relay.c
 *
 *-------------------------------------------------------------------------
 */
#include "outbox_host.h"

#include <sys/stat.h>

#include "core/sending/broker.h"
#include "core/sending/relay.h"

static const BsScript usual = {0};

static char folder[] = "/tmp/test_relay.XXXXXX";
static char path[64];

/* A file of ours with these octets, closed to others. */
static const char *
write_file(const void *octets, size_t len)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, octets, len) != (ssize_t) len ||
		fchmod(fd, 0600) != 0 || close(fd) != 0)
		perror("# write");
	return path;
}

static const char *
write_text(const char *text)
{
	return write_file(text, strlen(text));
}

/* ---- secret files ---- */

static bool
read_secret(const char *file, char *buf, size_t size, char *error)
{
	buf[0] = '\0';
	error[0] = '\0';
	return bs_secret_read("birthday.", "a_file", file, buf, size, error, 256);
}

static void
test_modes(void)
{
	static const struct
	{
		mode_t		mode;
		bool		good;
	}			rows[] = {
		{0600, true}, {0400, true}, {0700, true}, {0640, false}, {0660, false},
		{0620, false}, {0610, false}, {0604, false}, {0602, false}, {0644, false}
	};
	char		buf[64];
	char		error[256];
	size_t		i;

	write_text("secret words\n");
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		chmod(path, rows[i].mode);
		is_int(read_secret(path, buf, sizeof(buf), error), rows[i].good,
			   "mode %o", (unsigned) rows[i].mode);
		if (rows[i].good)
			is_str(buf, "secret words\n", "mode %o: all of it",
				   (unsigned) rows[i].mode);
		else
			ok(strstr(error, "\"birthday.a_file\"") != NULL &&
			   strstr(error, "0600") != NULL && strstr(error, "secret") == NULL,
			   "mode %o: says what it must be, not what is there",
			   (unsigned) rows[i].mode);
	}
	unlink(path);
}

static void
test_files(void)
{
	char		buf[64];
	char		error[256];
	char		link[80];

	ok(!read_secret(path, buf, sizeof(buf), error), "no file");
	is_str(error, "the file of \"birthday.a_file\" cannot be opened: No such file or directory",
		   "says so, and no path");
	ok(!read_secret(folder, buf, sizeof(buf), error), "a folder");
	ok(!read_secret("/dev/null", buf, sizeof(buf), error), "a device");
	mkfifo(path, 0600);
	ok(!read_secret(path, buf, sizeof(buf), error), "a pipe, that nobody writes to");
	unlink(path);

	write_text("");
	ok(read_secret(path, buf, sizeof(buf), error), "an empty file");
	is_str(buf, "", "is empty");
	write_file("abcdefgh", 8);
	ok(read_secret(path, buf, 10, error), "room for one more");
	is_str(buf, "abcdefgh", "all of it");
	ok(!read_secret(path, buf, 9, error), "a file that may be longer");
	ok(strstr(error, "too long") != NULL && strstr(error, "abc") == NULL,
	   "is too long, without a word of it");
	write_file("ab\0cd", 5);
	ok(!read_secret(path, buf, sizeof(buf), error), "a NUL in it");
	write_text("there");
	snprintf(link, sizeof(link), "%s/link", folder);
	if (symlink(path, link) != 0)
		perror("# symlink");
	ok(read_secret(link, buf, sizeof(buf), error), "by a link");
	is_str(buf, "there", "what it leads to");
	unlink(link);
	unlink(path);
}

/* ---- mailers ---- */

static BsSettings
usual_settings(void)
{
	BsSettings	settings = {
		.prefix = "birthday.",
		.mail_url = "smtp://127.0.0.1:9",
		.mail_from = "a@b.example",
		.mail_tls = BS_MAIL_TLS_OFF,
		.mail_connections = 2,
		.mail_timeout_ms = 60000,
		.lease_s = 300
	};

	return settings;
}

/* The error of settings that make no mailer. */
static const char *
refusal(const BsSettings *settings)
{
	static char error[256];
	BsMailer   *made;

	error[0] = '\0';
	made = bs_relay_make_mailer(settings, error, sizeof(error));
	if (made != NULL)
		snprintf(error, sizeof(error), "a mailer with room for %d",
				 bs_mailer_room(made));
	bs_mailer_destroy(made);
	return error;
}

static void
test_settings(void)
{
	BsSettings	settings = usual_settings();

	is_str(refusal(&settings), "a mailer with room for 2", "settings that suffice");
	settings.mail_url = "";
	is_str(refusal(&settings), "\"birthday.mail_url\" is not set", "no relay");
	settings = usual_settings();
	settings.mail_from = NULL;
	is_str(refusal(&settings), "\"birthday.mail_from\" is not set", "no sender");
	settings = usual_settings();
	settings.mail_url = "ftp://127.0.0.1";
	ok(strncmp(refusal(&settings), "a mailer", 8) != 0, "a URL that is none of ours");

	settings = usual_settings();
	settings.lease_s = 2 * settings.mail_timeout_ms / 1000;
	is_str(refusal(&settings), "a mailer with room for 2", "a lease of twice the time limit");
	settings.lease_s--;
	is_str(refusal(&settings), "\"birthday.lease\" (119 s) must be at least twice \"birthday.mail_timeout\" (60000 ms): what is handed over when the lease has ended may be sent twice", "a lease that is a second shorter");

	settings = usual_settings();
	settings.mail_user = "us";
	settings.mail_password_file = path;
	ok(strstr(refusal(&settings), "mail_password_file") != NULL, "no password file");
	write_text("pass\nword\n");
	is_str(refusal(&settings), "a mailer with room for 2", "there is one");
	chmod(path, 0644);
	ok(strstr(refusal(&settings), "0600") != NULL, "one that others may read");
	unlink(path);

	settings = usual_settings();
	settings.mail_url = "http://127.0.0.1:9/";
	settings.http_headers_file = path;
	ok(strstr(refusal(&settings), "http_headers_file") != NULL, "no file of headers");
	write_text("A: b\r\n\r\n\nC: d");
	is_str(refusal(&settings), "a mailer with room for 2", "there is one");
	unlink(path);
}

/* A file with so many lines. */
static void
write_lines(int count)
{
	char		text[4096] = "";
	int			i;

	for (i = 0; i < count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "X-%d: y\n", i);
	write_text(text);
}

/* Its lines go along with each request, its first line to the relay. */
static void
test_headers(void)
{
	static const BsScript taken = {.http = "HTTP/1.1 200 OK\r\n"
	"Content-Length: 0\r\n\r\n"};
	BsSettings	settings = usual_settings();
	char		url[64] = "http://127.0.0.1:9/";
	char		error[256] = "";
	const BsResult *result = &row[1];

	settings.mail_url = url;
	settings.http_headers_file = path;
	write_lines(33);
	is_str(refusal(&settings),
		   "the file of \"birthday.http_headers_file\" has more than 32 lines",
		   "too many lines");
	write_lines(32);
	reset_rules();
	open_outbox(&taken);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/send", relay.port);
	is_str(refusal(&settings), "a mailer with room for 2", "as many as may be");
	write_text("Authorization: Bearer of-tidings\r\n\r\nX-Last: one");
	rules.mail_connections = settings.mail_connections;
	bs_outbox_set_mailer(&outbox, bs_relay_make_mailer(&settings, error, sizeof(error)));
	is_str(error, "", "a mailer");
	begin(1, 1);
	finish_messages(1);
	is_int(result->next, BS_NEXT_SENT, "sends");
	ok(strstr(relay.request, "\r\nAuthorization: Bearer of-tidings\r\n") != NULL &&
	   strstr(relay.request, "\r\nX-Last: one\r\n") != NULL,
	   "with both headers");
	unlink(path);
	close_outbox();
}

static void
test_login(void)
{
	static const BsScript offers = {.ehlo = "250-relay.test\r\n250 AUTH PLAIN\r\n"};
	BsSettings	settings = usual_settings();
	char		url[64];
	char		error[256] = "";

	reset_rules();
	open_outbox(&offers);
	snprintf(url, sizeof(url), "smtp://127.0.0.1:%d", relay.port);
	settings.mail_url = url;
	settings.mail_connections = 1;
	settings.mail_user = "us";
	settings.mail_password_file = (char *) write_text("secret\r\nmore\n");
	bs_outbox_set_mailer(&outbox, bs_relay_make_mailer(&settings, error, sizeof(error)));
	is_str(error, "", "a mailer");
	begin(1, 1);
	finish_messages(1);
	/* "\0us\0secret" */
	ok(strstr(relay.log, "\nAHVzAHNlY3JldA==\n") != NULL,
	   "logs in with the first line");
	ok(strstr(row[1].error, "secret") == NULL && strstr(last_error, "secret") == NULL,
	   "errors do not have it");
	close_outbox();

	/* Where TLS is only offered, a password needs it. */
	settings.mail_tls = BS_MAIL_TLS_OFFERED;
	open_outbox(&offers);
	snprintf(url, sizeof(url), "smtp://127.0.0.1:%d", relay.port);
	bs_outbox_set_mailer(&outbox, bs_relay_make_mailer(&settings, error, sizeof(error)));
	begin(1, 1);
	finish_messages(1);
	is_int(row[1].next, BS_NEXT_RETRYING, "TLS is not offered: nothing is sent");
	ok(strstr(relay.log, "AUTH") == NULL, "least of all the password");
	close_outbox();

	settings.mail_user = NULL;
	settings.mail_password_file = NULL;
	open_outbox(&offers);
	snprintf(url, sizeof(url), "smtp://127.0.0.1:%d", relay.port);
	bs_outbox_set_mailer(&outbox, bs_relay_make_mailer(&settings, error, sizeof(error)));
	begin(1, 1);
	finish_messages(1);
	is_str(ending(1), "SENT accepted 250", "without one it need not be there");
	close_outbox();
	unlink(path);
}

/* ---- links ---- */

static void
test_link(void)
{
	BsLinkUse	use = {.connection_name = "test",.prefetch = 5};
	BsSettings	settings = {
		.prefix = "birthday.",
		.amqp_exchange = "birthday.messages",
		.amqp_queue = "birthday.messages.queue",
		.amqp_dead_letter_exchange = "birthday.messages.dlx",
		.amqp_dead_letter_queue = "birthday.messages.dlq"
	};
	char		url[64];
	char		password[64];
	char		error[256] = "";

	ok(bs_broker_read_password(&settings, password, sizeof(password), error,
							   sizeof(error)), "no password file");
	is_str(password, "", "no password");
	settings.amqp_password_file = path;
	ok(!bs_broker_read_password(&settings, password, sizeof(password), error,
								sizeof(error)), "one that is not there");
	ok(strstr(error, "\"birthday.amqp_password_file\"") != NULL, "is named");
	write_text("of the broker\n");
	ok(bs_broker_read_password(&settings, password, sizeof(password), error,
							   sizeof(error)), "one that is");
	is_str(password, "of the broker", "its first line");
	unlink(path);

	reset_rules();
	open_outbox(&usual);
	broker_open(&broker);
	snprintf(url, sizeof(url), "amqp://us@127.0.0.1:%d", broker.port);
	settings.amqp_url = url;
	amqp = bs_broker_make_link(&settings, &use, password, error, sizeof(error));
	ok(amqp != NULL, "a link");
	consumer = bs_consumer_create(amqp, use.prefetch, INSTALLATION);
	ok(wait_for(ups == 1), "that comes up");
	ok(strstr(broker.log, "us|of the broker") != NULL, "with the password");
	ok(strstr(broker.log, "basic.qos 5\n") != NULL, "and the prefetch");
	close_broker();
	close_outbox();

	settings.amqp_url = "http://127.0.0.1";
	ok(bs_broker_make_link(&settings, &use, "", error, sizeof(error)) == NULL,
	   "no link to what is no broker");
}

static void
test_names(void)
{
	char		name[257];
	const char *reason;

	ok(bs_broker_check_name("birthday.messages", &reason), "a name");
	is_str(reason, NULL, "nothing against it");
	ok(!bs_broker_check_name("", &reason), "none");
	ok(!bs_broker_check_name("amq.topic", &reason), "the broker's own");
	ok(strstr(reason, "amq.") != NULL, "which is said");
	ok(bs_broker_check_name("amqtopic", &reason), "and what looks like it");
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	ok(!bs_broker_check_name(name, &reason), "256 octets");
	name[255] = '\0';
	ok(bs_broker_check_name(name, &reason), "255 octets");
}

int
main(void)
{
	host_begin();
	if (mkdtemp(folder) == NULL)
		perror("# mkdtemp");
	snprintf(path, sizeof(path), "%s/file", folder);
	test_modes();
	test_files();
	test_settings();
	test_headers();
	test_login();
	test_link();
	test_names();
	rmdir(folder);
	return host_end();
}
