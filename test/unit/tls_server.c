/*-------------------------------------------------------------------------
 *
 * tls_server.c
 *	  The TLS side of a server under test: a child, openssl s_server.
 *
 * test/unit/tls_server.c
 *
 *-------------------------------------------------------------------------
 */
#include "tls_server.h"

char		tls_cert[64];
int			tls_port;
int			tls_in;
int			tls_out;

static char tls_folder[] = "/tmp/test_tls.XXXXXX";
static pid_t tls_server;

bool
make_certificate(void)
{
	char		command[600];

	if (mkdtemp(tls_folder) == NULL)
		return false;
	snprintf(tls_cert, sizeof(tls_cert), "%s/cert", tls_folder);
	snprintf(command, sizeof(command),
			 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
			 "-nodes -keyout %s/key -out %s -days 2 -subj /CN=localhost "
			 "-addext subjectAltName=DNS:localhost >/dev/null 2>&1",
			 tls_folder, tls_cert);
	return system(command) == 0;
}

void
start_tls_server(void)
{
	int			to_child[2];
	int			from_child[2];
	char		accept[32];
	char		key[64];
	int64_t		until = now_ms() + LIMIT_MS;
	struct sockaddr_in address = {0};

	close(listen_somewhere(1, &tls_port));
	snprintf(accept, sizeof(accept), "127.0.0.1:%d", tls_port);
	snprintf(key, sizeof(key), "%s/key", tls_folder);
	if (pipe(to_child) != 0 || pipe(from_child) != 0)
		return;
	fflush(stdout);
	tls_server = fork();
	if (tls_server == 0)
	{
		dup2(to_child[0], 0);
		dup2(from_child[1], 1);
		close(to_child[1]);
		close(from_child[0]);
		dup2(open("/dev/null", O_WRONLY), 2);
		execlp("openssl", "openssl", "s_server", "-quiet", "-accept", accept,
			   "-cert", tls_cert, "-key", key, (char *) NULL);
		_exit(127);
	}
	close(to_child[0]);
	close(from_child[1]);
	tls_in = from_child[0];
	tls_out = to_child[1];
	fcntl(tls_in, F_SETFL, O_NONBLOCK);
	fcntl(tls_out, F_SETFL, O_NONBLOCK);

	/* Ready when its port is taken; binding leaves no trace. */
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(tls_port);
	while (now_ms() < until)
	{
		int			probe = socket(AF_INET, SOCK_STREAM, 0);
		int			one = 1;
		bool		taken;

		setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		taken = bind(probe, (struct sockaddr *) &address,
					 sizeof(address)) != 0;
		close(probe);
		if (taken)
			break;
		poll(NULL, 0, 5);
	}
}

void
stop_tls_server(void)
{
	kill(tls_server, SIGKILL);
	waitpid(tls_server, NULL, 0);
}

int
connect_tls_server(void)
{
	struct sockaddr_in address = {0};
	int			sock = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(tls_port);
	if (connect(sock, (struct sockaddr *) &address, sizeof(address)) != 0)
		perror("# connect");
	return sock;
}

void
remove_certificate(void)
{
	char		command[100];

	snprintf(command, sizeof(command), "rm -r %s", tls_folder);
	if (system(command) != 0)
		printf("# %s is left\n", tls_folder);
}
