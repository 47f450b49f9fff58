/*-------------------------------------------------------------------------
 *
 * mail_relay.c
 *	  A mail relay that follows a script, inside the test's own loop.
 *
 * test/unit/mail_relay.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* memmem(), accept4() */
#include "mail_relay.h"

void
relay_open(BsRelay *relay, const BsScript *script)
{
	memset(relay, 0, sizeof(*relay));
	relay->scripts[0] = script;
	relay->listener = listen_somewhere(RELAY_CONNECTIONS, &relay->port);
}

static void
relay_drop(BsRelayLink *connection)
{
	if (connection->in < 0)
		return;
	if (connection->resets)
	{
		struct linger linger = {1, 0};

		setsockopt(connection->in, SOL_SOCKET, SO_LINGER,
				   &linger, sizeof(linger));
	}
	if (connection->out != connection->in)
		close(connection->out);
	close(connection->in);
	connection->in = -1;
	free(connection->input);
	free(connection->output);
	connection->input = connection->output = NULL;
}

void
relay_close(BsRelay *relay)
{
	int			i;

	for (i = 0; i < relay->connected; i++)
		relay_drop(&relay->connections[i]);
	for (i = 0; i < relay->mails; i++)
		free(relay->mail[i]);
	close(relay->listener);
}

/* ---- what it says ---- */

static void
relay_add(char **buffer, size_t *buffer_len, const char *data, size_t len)
{
	*buffer = realloc(*buffer, *buffer_len + len + 1);
	memcpy(*buffer + *buffer_len, data, len);
	*buffer_len += len;
	(*buffer)[*buffer_len] = '\0';
}

void
relay_say(BsRelayLink *connection, const char *words)
{
	switch (*words)
	{
		case '\1':
			connection->ends = true;
			break;
		case '\2':
			connection->ends = connection->resets = true;
			break;
		case '\3':
			connection->hangs = true;
			break;
		case '\4':
			connection->drips = true;
			break;
		case '\5':
			connection->floods = true;
			break;
		default:
			words--;
	}
	words++;
	relay_add(&connection->output, &connection->output_len,
			  words, strlen(words));
}

void
relay_write(BsRelayLink *connection)
{
	char		flood[1024];
	ssize_t		len = 0;

	if (connection->output_len > 0)
	{
		len = write(connection->out, connection->output,
					connection->drips ? 1 : connection->output_len);
		if (len > 0)
		{
			connection->output_len -= len;
			memmove(connection->output, connection->output + len,
					connection->output_len);
		}
	}
	else if (connection->floods)
	{
		memset(flood, 'x', sizeof(flood));
		len = write(connection->out, flood, sizeof(flood));
	}
	if (len < 0 && errno != EAGAIN)
		relay_drop(connection);
	else if (connection->output_len == 0 && connection->ends)
		relay_drop(connection);
}

/* ---- what it hears ---- */

static void
relay_consume(BsRelayLink *connection, size_t len)
{
	connection->input_len -= len;
	memmove(connection->input, connection->input + len,
			connection->input_len + 1);
}

static void
relay_keep_mail(BsRelay *relay, const char *mail, size_t len)
{
	if (relay->mails == RELAY_MAILS)
		return;
	relay_add(&relay->mail[relay->mails], &relay->mail_len[relay->mails],
			  mail, len);
	relay->mails++;
}

static const char *
relay_reply(const char *scripted, const char *usual)
{
	return scripted != NULL ? scripted : usual;
}

static void
relay_next_script(BsRelayLink *connection)
{
	connection->mails++;
	if (connection->script->next != NULL)
		connection->script = connection->script->next;
}

static void
relay_command(BsRelay *relay, BsRelayLink *connection, const char *line)
{
	const BsScript *script = connection->script;
	size_t		used = strlen(relay->log);
	const char *data;

	snprintf(relay->log + used, sizeof(relay->log) - used, "%s\n", line);
	if (strncmp(line, "EHLO", 4) == 0)
		relay_say(connection, relay_reply(script->ehlo, relay->plain_ehlo ?
										  "250 relay.test\r\n" :
										  "250-relay.test\r\n"
										  "250-PIPELINING\r\n"
										  "250 SIZE 100000000\r\n"));
	else if (strcmp(line, "STARTTLS") == 0)
	{
		relay_say(connection, relay_reply(script->starttls, "220 go\r\n"));
		relay_write(connection);
		if (relay->on_starttls != NULL)
			relay->on_starttls(connection);
	}
	else if (strncmp(line, "AUTH", 4) == 0)
		relay_say(connection, "334 \r\n");
	else if (strncmp(line, "MAIL", 4) == 0)
		relay_say(connection, relay_reply(script->mail, "250 sender\r\n"));
	else if (strncmp(line, "RCPT", 4) == 0)
		relay_say(connection, relay_reply(script->rcpt, "250 to\r\n"));
	else if (strcmp(line, "DATA") == 0)
	{
		/* Without a recipient the usual is what most relays say. */
		data = relay_reply(script->data,
						   script->rcpt != NULL && strchr("45", *script->rcpt) ?
						   "554 no valid recipients\r\n" : "354 go on\r\n");
		connection->in_body = strncmp(data, "354", 3) == 0;
		connection->body_said = false;
		relay_say(connection, data);
	}
	else if (strcmp(line, "RSET") == 0)
	{
		relay_next_script(connection);
		relay_say(connection, relay_reply(script->rset, "250 reset\r\n"));
	}
	else if (strcmp(line, "QUIT") == 0)
		relay_say(connection, CLOSE "221 bye\r\n");
	else
		relay_say(connection, "502 what?\r\n");
}

/* The message without the dots that were doubled for the way. */
static void
relay_take_mail(BsRelay *relay, BsRelayLink *connection, size_t len)
{
	char	   *mail = malloc(len + 1);
	size_t		from;
	size_t		to = 0;

	for (from = 0; from < len; from++)
	{
		if (connection->input[from] == '.' &&
			(from == 0 || connection->input[from - 1] == '\n'))
			from++;
		mail[to++] = connection->input[from];
	}
	relay_keep_mail(relay, mail, to);
	free(mail);
}

static bool
relay_hear_body(BsRelay *relay, BsRelayLink *connection)
{
	const BsScript *script = connection->script;
	char	   *end;

	if (!connection->body_said && script->body != NULL &&
		connection->input_len > 0)
	{
		connection->body_said = true;
		relay_say(connection, script->body);
		return true;
	}
	end = memmem(connection->input + connection->searched,
				 connection->input_len - connection->searched,
				 "\r\n.\r\n", 5);
	if (end == NULL)
	{
		if (connection->input_len > 4)
			connection->searched = connection->input_len - 4;
		return false;
	}
	connection->searched = 0;
	relay_take_mail(relay, connection, end + 2 - connection->input);
	relay_consume(connection, end + 5 - connection->input);
	connection->in_body = false;
	relay_say(connection, relay_reply(script->dot, "250 taken\r\n"));
	relay_next_script(connection);
	return true;
}

static bool
relay_hear_request(BsRelay *relay, BsRelayLink *connection)
{
	char	   *head = memmem(connection->input, connection->input_len,
							  "\r\n\r\n", 4);
	char	   *length;
	size_t		head_len;
	size_t		body_len;

	if (head == NULL)
		return false;
	head_len = head + 4 - connection->input;
	snprintf(relay->request, sizeof(relay->request), "%.*s",
			 (int) head_len, connection->input);
	length = strcasestr(relay->request, "\r\nContent-Length:");
	body_len = length != NULL ? strtoul(length + 17, NULL, 10) : 0;
	if (connection->input_len < head_len + body_len &&
		!connection->script->http_early)
		return false;
	if (connection->input_len < head_len + body_len)
		body_len = connection->input_len - head_len;
	else
		relay_keep_mail(relay, connection->input + head_len, body_len);
	relay_consume(connection, head_len + body_len);
	relay_say(connection, connection->script->http);
	relay_next_script(connection);
	return true;
}

static bool
relay_hear_line(BsRelay *relay, BsRelayLink *connection)
{
	char	   *end = memmem(connection->input, connection->input_len,
							 "\r\n", 2);
	char		line[2048];

	if (end == NULL)
		return false;
	snprintf(line, sizeof(line), "%.*s",
			 (int) (end - connection->input), connection->input);
	relay_consume(connection, end + 2 - connection->input);
	relay->crowded += connection->input_len > 0;
	relay_command(relay, connection, line);
	return true;
}

static void
relay_hear(BsRelay *relay, BsRelayLink *connection)
{
	bool		more = true;

	while (more && connection->in >= 0 && connection->input != NULL &&
		   !connection->hangs && !connection->ends)
	{
		if (connection->script->http != NULL)
			more = relay_hear_request(relay, connection);
		else if (connection->in_body)
			more = relay_hear_body(relay, connection);
		else
			more = relay_hear_line(relay, connection);
	}
}

static void
relay_read(BsRelay *relay, BsRelayLink *connection)
{
	char		buffer[65536];
	ssize_t		len = read(connection->in, buffer, sizeof(buffer));

	if (len > 0)
		relay_add(&connection->input, &connection->input_len, buffer, len);
	else if (len == 0 || errno != EAGAIN)
	{
		relay_drop(connection);
		return;
	}
	relay_hear(relay, connection);
}

/* ---- its part of the loop ---- */

BsRelayLink *
relay_add_connection(BsRelay *relay, int in, int out)
{
	BsRelayLink *connection = &relay->connections[relay->connected];
	int			script = relay->connected;

	memset(connection, 0, sizeof(*connection));
	while (script > 0 && relay->scripts[script] == NULL)
		script--;
	connection->script = relay->scripts[script];
	connection->in = in;
	connection->out = out;
	relay->connected++;
	return connection;
}

static void
relay_accept(BsRelay *relay)
{
	int			sock = accept4(relay->listener, NULL, NULL, SOCK_NONBLOCK);
	int			small = 16384;
	BsRelayLink *connection;

	if (sock < 0 || relay->connected == RELAY_CONNECTIONS)
		return;
	connection = relay_add_connection(relay, sock, sock);
	if (connection->script->deaf)
		setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (connection->script->http == NULL)
		relay_say(connection, relay_reply(connection->script->greeting,
										  "220 relay.test\r\n"));
}

int
relay_poll(BsRelay *relay, struct pollfd *fds)
{
	int			count = 1;
	int			i;

	fds[0].fd = relay->listener;
	fds[0].events = POLLIN;
	for (i = 0; i < relay->connected; i++)
	{
		BsRelayLink *connection = &relay->connections[i];
		bool		deaf = connection->script->deaf && connection->in_body &&
		!relay->may_read;

		if (connection->in < 0)
			continue;
		fds[count].fd = connection->in;
		fds[count].events = deaf ? 0 : POLLIN;
		if (connection->in == connection->out &&
			(connection->output_len > 0 || connection->floods))
			fds[count].events |= POLLOUT;
		count++;
	}
	return count;
}

void
relay_serve(BsRelay *relay, const struct pollfd *fds, int count)
{
	int			i;
	int			connection;

	for (i = 1; i < count; i++)
	{
		for (connection = 0; connection < relay->connected; connection++)
		{
			BsRelayLink *c = &relay->connections[connection];

			if (c->in != fds[i].fd)
				continue;
			if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
				relay_read(relay, c);
			if (c->in >= 0 && (c->output_len > 0 || c->ends || c->floods))
				relay_write(c);
			break;
		}
	}
	if (fds[0].revents & POLLIN)
		relay_accept(relay);
}
