/*-------------------------------------------------------------------------
 *
 * mail_bare.c
 *	  The least that a program can do to send mail with libcurl.
 *
 *	  mail_bare URL COUNT PROCESSES CONNECTIONS SIZE
 *
 * A loop around curl_multi_poll() with CONNECTIONS handles in each of PROCESSES:
 * no database, no record, one mail of SIZE octets over and over, to smtp:// or by
 * POST to http://.  Prints one JSON object.
 *
 * test/bench/mail_bare.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#define FROM		"bench@example.com"
#define RECIPIENT	"somebody@example.com"

typedef struct Transfer
{
	CURL	   *easy;
	size_t		read;			/* octets of the mail that libcurl has taken */
} Transfer;

static char *mail;
static size_t mail_len;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "mail_bare: %s: %s\n", what, why);
	exit(1);
}

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static double
seconds_of(struct timeval tv)
{
	return (double) tv.tv_sec + (double) tv.tv_usec / 1e6;
}

/* Lines of 70 octets, or a JSON string where lines are no matter. */
static void
make_mail(size_t size, bool http)
{
	static const char head[] = "From: <" FROM ">\r\nTo: <" RECIPIENT ">\r\n"
	"Subject: Happy birthday\r\n\r\n";
	static const char json[] = "{\"email\":\"" RECIPIENT "\",\"message\":\"";
	const char *start = http ? json : head;

	mail_len = strlen(start) + 2;
	if (mail_len < size)
		mail_len = size;
	mail = malloc(mail_len);
	if (mail == NULL)
		die("begin", "out of memory");
	memset(mail, 'x', mail_len);
	memcpy(mail, start, strlen(start));
	for (size_t at = strlen(start) + 70; !http && at + 4 < mail_len; at += 72)
		memcpy(mail + at, "\r\n", 2);
	memcpy(mail + mail_len - 2, http ? "\"}" : "\r\n", 2);
}

static size_t
on_read(char *buffer, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	size_t		len = mail_len - transfer->read;

	if (len > size * count)
		len = size * count;
	memcpy(buffer, mail + transfer->read, len);
	transfer->read += len;
	return len;
}

static size_t
on_answer(char *data, size_t size, size_t count, void *arg)
{
	(void) data;
	(void) arg;
	return size * count;
}

static void
set_up(Transfer *transfer, const char *url, bool http)
{
	CURL	   *easy = transfer->easy = curl_easy_init();

	if (easy == NULL)
		die("begin", "out of memory");
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
	if (http)
	{
		struct curl_slist *headers =
		curl_slist_append(NULL, "Content-Type: application/json");

		curl_easy_setopt(easy, CURLOPT_HTTPHEADER,
						 curl_slist_append(headers, "Expect:"));
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long) mail_len);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, mail);
		return;
	}
	curl_easy_setopt(easy, CURLOPT_MAIL_FROM, "<" FROM ">");
	curl_easy_setopt(easy, CURLOPT_MAIL_RCPT,
					 curl_slist_append(NULL, "<" RECIPIENT ">"));
	curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
}

static void
start(CURLM *multi, Transfer *transfer)
{
	transfer->read = 0;
	if (curl_multi_add_handle(multi, transfer->easy) != CURLM_OK)
		die("begin a transfer", "libcurl will not");
}

static void
send_all(const char *url, long count, long connections, bool http)
{
	CURLM	   *multi = curl_multi_init();
	Transfer   *transfers = calloc((size_t) connections, sizeof(Transfer));
	long		begun = 0;
	long		done = 0;

	if (multi == NULL || transfers == NULL)
		die("begin", "out of memory");
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connections);
	for (; begun < connections && begun < count; begun++)
	{
		set_up(&transfers[begun], url, http);
		start(multi, &transfers[begun]);
	}
	while (done < count)
	{
		CURLMsg    *message;
		int			running;
		int			left;

		if (curl_multi_perform(multi, &running) != CURLM_OK)
			die("send", "curl_multi_perform() failed");
		while ((message = curl_multi_info_read(multi, &left)) != NULL)
		{
			CURL	   *easy = message->easy_handle;
			Transfer   *transfer;
			long		code;

			curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
			curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
			if (message->data.result != CURLE_OK)
				die("send", curl_easy_strerror(message->data.result));
			if (code / 100 != 2)
				die("send", "the answer is no");
			curl_multi_remove_handle(multi, easy);
			done++;
			if (begun < count)
			{
				start(multi, transfer);
				begun++;
			}
		}
		if (done < count)
			curl_multi_poll(multi, NULL, 0, 1000, NULL);
	}
}

int
main(int argc, char **argv)
{
	struct rusage used;
	double		began;
	double		took;
	long		numbers[4] = {0};
	bool		http;
	int			status;
	bool		failed = false;

	for (int i = 0; i < 4 && argc == 6; i++)
		numbers[i] = atol(argv[i + 2]);
	if (numbers[0] <= 0 || numbers[1] <= 0 || numbers[2] <= 0 ||
		numbers[3] <= 0 || numbers[0] % numbers[1] != 0)
		die("usage", "mail_bare URL COUNT PROCESSES CONNECTIONS SIZE; each "
			"process sends as many");
	http = strncmp(argv[1], "http", 4) == 0;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		die("begin", "libcurl is not ready");
	make_mail((size_t) numbers[3], http);

	began = now_s();
	for (long i = 0; i < numbers[1]; i++)
	{
		pid_t		pid = fork();

		if (pid < 0)
			die("begin", "no process");
		if (pid == 0)
		{
			send_all(argv[1], numbers[0] / numbers[1], numbers[2], http);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		failed |= status != 0;
	took = now_s() - began;
	if (failed)
		return 1;
	getrusage(RUSAGE_CHILDREN, &used);
	printf("{\"sent\": %ld, \"seconds\": %.6f, \"rate\": %.1f,"
		   " \"cpu_user\": %.6f, \"cpu_system\": %.6f}\n",
		   numbers[0], took, (double) numbers[0] / took,
		   seconds_of(used.ru_utime), seconds_of(used.ru_stime));
	return 0;
}
