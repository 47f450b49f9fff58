"""The relay: aiosmtpd's protocol engine with a script and a record."""
import asyncio
import enum
import re
import socket
import ssl
import time
import traceback

from aiosmtpd.smtp import SMTP, AuthResult, TLSSetupException

from mail_catcher import actions

READ_LIMIT = 1 << 20                # longest line looked at, any phase
TEXT_LIMIT = 998                    # RFC 5321, 4.5.3.1.6, without CRLF
SIZE_LIMIT = 32 << 20

# RFC 5321, 4.1.2, with RFC 6531's UTF-8; source routes are not taken.
PATH = re.compile(
    r'^ ?<(?P<address>|'
    r'(?:[^\s<>()\[\],;:\\"@\x00-\x1f\x7f]+|"(?:[^"\\\r\n]|\\[ -~])+")'
    r'@(?:[^\s<>()\[\],;:\\"@\x00-\x1f\x7f]+|\[[0-9A-Za-z.:]+\]))>'
    r'(?:[ ]+(?P<options>.*))?$')


class Gone(ConnectionResetError):
    """The connection is over; nothing more can be said."""


class Fault(enum.Enum):
    TOO_LONG = "500 5.6.0 Line too long (RFC 5321, 4.5.3.1.6)"
    TOO_MUCH = "552 5.3.4 Message too big"


def reply_text(reply):
    """An answer of the script, a string or lines, as one string."""
    return reply if isinstance(reply, str) else "\r\n".join(reply)


class Relay:
    """What all connections share."""

    def __init__(self, script, records, name, tls_context=None, auth=None):
        self.script = script
        self.records = records
        self.name = name
        self.tls_context = tls_context
        self.auth = auth
        self.connections = 0
        self.open = 0               # of these, now

    def authenticate(self, server, session, envelope, mechanism, data):
        good = self.auth is not None and \
            (data.login + b":" + data.password) == self.auth.encode()
        if not good:
            server.note("auth", "refused", user=data.login.decode(
                "utf-8", "replace"))
        return AuthResult(success=good, handled=False,
                          auth_data=data if good else None)


class Connection(SMTP):
    """One connection.  Overrides what aiosmtpd has no hook for: the greeting,
    the end of input (what came before it counts), and the text."""

    command_size_limit = 2048       # RFC 6531 addresses with their options
    line_length_limit = READ_LIMIT

    def __init__(self, relay, tls_already=False):
        self.relay = relay
        self.tls_already = tls_already
        relay.connections += 1
        self.number = relay.connections
        self.messages = 0
        self.without = set()
        super().__init__(
            relay, enable_SMTPUTF8=True, hostname=relay.name,
            ident="ESMTP mail catcher", data_size_limit=SIZE_LIMIT,
            tls_context=None if tls_already else relay.tls_context,
            timeout=24 * 3600,
            authenticator=relay.authenticate, auth_require_tls=False,
            auth_required=relay.auth is not None,
            loop=asyncio.get_running_loop())

    # ---- records and answers ----

    def facts(self):
        return {"connection": self.number,
                "tls": self.tls_already or (self.session is not None and
                                            self.session.ssl is not None),
                "helo": self.session.host_name if self.session else None}

    def envelope_facts(self):
        return {"mail_from": self.envelope.mail_from,
                "rcpt": list(self.envelope.rcpt_tos)}

    def note(self, phase, verdict, **facts):
        self.relay.records.attempt(phase, verdict, **self.facts(),
                                   **{**self.envelope_facts(), **facts})

    async def push(self, status):
        if self.transport is None or self.transport.is_closing():
            raise Gone("connection is closed")
        await super().push(status)

    async def refuse(self, phase, reply, **facts):
        self.note(phase, "refused", reply=reply, **facts)
        await self.push(reply)

    async def obey(self, rule, phase, default, **facts):
        """Does what the rule says; True where "default" was the answer."""
        text = reply_text(rule.get("reply", default))
        raw = rule.get("raw")
        verdict = actions.silent_verdict(rule)
        good = raw is None and text[:1] in "23"
        if verdict is not None or not good or rule.get("close"):
            self.note(phase, verdict or ("accepted" if good else "refused"),
                      reply=None if verdict else raw or text, **facts)
        if await actions.before_answer(rule, self.transport):
            raise Gone("the script said so")
        if self.transport is None:
            raise Gone("the sender did not wait")
        octets = raw.encode() if raw is not None else text.encode() + b"\r\n"
        await actions.send(self._writer, octets, rule.get("drip_ms"))
        if rule.get("close"):
            self.transport.close()
            raise Gone("the script said so")
        return good

    def find(self, phase, rcpts=()):
        facts = {"from": self.envelope.mail_from if self.envelope else None,
                 "messages": self.messages, "open": self.relay.open}
        return self.relay.script.find(phase, facts, rcpts)

    async def end_session(self, rule):
        rule.acted += 1
        reply = rule.get("reply", "421 4.7.0 %s closing" % self.hostname)
        self.note("session", "closed", reply=reply)
        if reply:
            await self.push(reply)
        self.transport.close()
        raise Gone("the script said so")

    # ---- the life of the connection ----

    def _client_connected_cb(self, reader, writer):
        super()._client_connected_cb(reader, writer)
        plain = reader.readuntil

        async def readuntil(separator=b"\n"):
            try:
                return await plain(separator)
            except asyncio.IncompleteReadError as error:
                raise Gone("end of input") from error

        reader.readuntil = readuntil
        sock = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def eof_received(self):
        # aiosmtpd drops what it has not read yet.  A relay does not.
        self._reader.feed_eof()
        return not self.tls_already and self._tls_protocol is None

    async def handle_exception(self, error):
        if isinstance(error, TLSSetupException):
            self.note("starttls", "failed", reply=str(error.__cause__))
        else:
            self.note("fault", "error", reply=repr(error))
            traceback.print_exception(error)
        return "451 4.3.0 The mail catcher has a fault"

    async def _handle_client(self):
        self.relay.open += 1
        try:
            rule = self.find("connect")
            self.note("connect", "open")
            if rule is not None and (
                    actions.silent_verdict(rule) or rule.get("reply")
                    or rule.get("raw") or rule.get("close")):
                await self.obey(rule, "connect",
                                "421 4.3.2 %s not now" % self.hostname)
                self.transport.close()
                return
            if rule is not None:
                await actions.before_answer(rule, self.transport)
            await super()._handle_client()
        except (ConnectionError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            if self.envelope.mail_from is not None:
                self.note("session", "lost")
            raise
        finally:
            self.relay.open -= 1
            self.note("session", "end", messages=self.messages)
            if self.transport is not None:
                self.transport.close()

    # ---- commands ----

    async def smtp_EHLO(self, hostname):
        if not hostname:
            return await self.refuse("ehlo", "501 5.5.4 Syntax: EHLO hostname")
        self._set_rset_state()
        rule = self.find("ehlo")
        self.without = {w.upper() for w in (rule.get("without", []) if rule
                                            else [])}
        offered = ["PIPELINING", "SIZE %d" % SIZE_LIMIT, "8BITMIME",
                   "ENHANCEDSTATUSCODES", "SMTPUTF8"]
        if self.tls_context and not self._tls_protocol:
            offered.append("STARTTLS")
        if self._auth_required:
            offered.append("AUTH LOGIN PLAIN")
        lines = [self.hostname] + [line for line in offered if
                                   line.split()[0] not in self.without]
        reply = "\r\n".join("250%s%s" % ("-" if line is not lines[-1] else " ",
                                         line) for line in lines)
        if rule is None:
            await self.push(reply)
        elif not await self.obey(rule, "ehlo", reply):
            return
        self.session.extended_smtp = True
        self.session.host_name = hostname

    async def smtp_HELO(self, hostname):
        self.without = {"SMTPUTF8", "8BITMIME"}
        await super().smtp_HELO(hostname)

    async def smtp_STARTTLS(self, arg):
        if "STARTTLS" in self.without:
            return await self.refuse("starttls", "502 5.5.1 Not here")
        await super().smtp_STARTTLS(arg)

    async def check_auth_needed(self, caller_method):
        needed = await super().check_auth_needed(caller_method)
        if needed:
            self.note(caller_method.lower(), "refused",
                      reply="530 5.7.0 Authentication required")
        return needed

    def parse_path(self, arg, keyword):
        """(address, options, None) or (None, None, why not)."""
        if arg is None or arg[:len(keyword)].upper() != keyword:
            return None, None, "501 5.5.4 Syntax: %s<address>" % keyword
        found = PATH.match(arg[len(keyword):])
        if not found:
            return None, None, "501 5.1.3 Bad address syntax"
        address = found["address"]
        local, _, domain = address.rpartition("@")
        if len(local.encode("utf-8", "surrogateescape")) > 64 \
                or len(domain.encode("utf-8", "surrogateescape")) > 255:
            return None, None, "501 5.1.3 Address too long"
        options = {}
        for word in (found["options"] or "").split():
            key, _, value = word.partition("=")
            options[key.upper()] = value
        return address, options, None

    def wants_utf8(self, address, declared):
        """Why an address beyond ASCII cannot be taken, or None."""
        if address.isascii():
            return None
        try:
            address.encode("utf-8")
        except UnicodeEncodeError:
            return "501 5.1.3 Address is not UTF-8"
        if not declared:
            return "553 5.6.7 Must declare SMTPUTF8 for this address"
        return None

    async def smtp_MAIL(self, arg):
        if await self.check_helo_needed() or \
                await self.check_auth_needed("MAIL"):
            return
        if self.envelope.mail_from is not None:
            return await self.refuse("mail", "503 5.5.1 Nested MAIL command")
        ending = self.relay.script.session_rule(self.messages)
        if ending is not None:
            await self.end_session(ending)
        address, options, trouble = self.parse_path(arg, "FROM:")
        if not trouble:
            trouble = self.check_mail_options(options) or \
                self.wants_utf8(address, "SMTPUTF8" in options)
        if trouble:
            return await self.refuse("mail", trouble, command=arg)
        rule = self.relay.script.find("mail", {"from": address})
        reply = "250 2.1.0 Ok"
        if rule is None:
            await self.push(reply)
        elif not await self.obey(rule, "mail", reply, mail_from=address):
            return
        self.envelope.mail_from = address
        self.envelope.smtp_utf8 = "SMTPUTF8" in options
        self.envelope.mail_options = sorted(
            key + ("=" + value if value else "")
            for key, value in options.items())

    def check_mail_options(self, options):
        known = {"SIZE", "BODY", "SMTPUTF8", "AUTH"} - self.without
        if self._auth_required is False:
            known.discard("AUTH")
        for key, value in options.items():
            if key not in known:
                return "555 5.5.4 Unsupported option: %s" % key
            if key == "SIZE" and not value.isdigit() \
                    or key == "SMTPUTF8" and value \
                    or key == "BODY" and value.upper() not in ("7BIT",
                                                               "8BITMIME"):
                return "501 5.5.4 Bad value of %s" % key
        if int(options.get("SIZE", 0)) > SIZE_LIMIT:
            return Fault.TOO_MUCH.value
        return None

    async def smtp_RCPT(self, arg):
        if await self.check_helo_needed() or \
                await self.check_auth_needed("RCPT"):
            return
        if self.envelope.mail_from is None:
            return await self.refuse("rcpt", "503 5.5.1 Need MAIL command")
        address, options, trouble = self.parse_path(arg, "TO:")
        if not trouble and not address:
            trouble = "501 5.1.3 Bad address syntax"
        if not trouble and options:
            trouble = "555 5.5.4 Unsupported option"
        trouble = trouble or self.wants_utf8(address, self.envelope.smtp_utf8)
        if trouble:
            return await self.refuse("rcpt", trouble, command=arg)
        rule = self.find("rcpt", [address])
        reply = "250 2.1.5 Ok"
        if rule is None:
            await self.push(reply)
        elif not await self.obey(rule, "rcpt", reply, rcpt=[address]):
            return
        self.envelope.rcpt_tos.append(address)

    async def smtp_DATA(self, arg):
        if await self.check_helo_needed() or \
                await self.check_auth_needed("DATA"):
            return
        if arg:
            return await self.refuse("data", "501 5.5.4 Syntax: DATA")
        if not self.envelope.rcpt_tos:
            return await self.refuse("data", "503 5.5.1 Need RCPT command")
        rule = self.find("data", self.envelope.rcpt_tos)
        reply = "354 End data with <CR><LF>.<CR><LF>"
        if rule is None:
            await self.push(reply)
        elif not await self.obey(rule, "data", reply):
            return
        try:
            raw, fault = await self.read_text()
        except (ConnectionError, asyncio.CancelledError) as error:
            if not isinstance(error, Gone) or "input" in str(error):
                self.note("content", "lost")
            self._set_post_data_state()
            raise
        arrived = time.time()
        if fault is not None:
            await self.refuse("body", fault.value)
        else:
            await self.take(arrived, raw)
        self._set_post_data_state()

    async def read_text(self):
        """The text with its dots taken out, and a Fault or None."""
        rule = self.find("content", self.envelope.rcpt_tos)
        lines = []
        size = 0
        fault = None
        while True:
            if rule is not None and size >= rule.get("after_bytes", 0):
                await self.obey(rule, "content", "421 4.3.0 Lost interest")
                rule = None         # an answer out of turn; read on
            try:
                line = await self._reader.readuntil(b"\r\n")
            except asyncio.LimitOverrunError as error:
                await self._reader.read(error.consumed)
                fault = fault or Fault.TOO_LONG
                continue
            if line == b".\r\n":
                return b"".join(lines), fault
            size += len(line)
            if line.startswith(b"."):
                line = line[1:]
            if len(line) > TEXT_LIMIT + 2:
                fault = fault or Fault.TOO_LONG
            if size > SIZE_LIMIT:
                fault = fault or Fault.TOO_MUCH
            if fault is None:
                lines.append(line)

    async def take(self, arrived, raw):
        """The final dot has come: record the mail, then answer."""
        rule = self.find("body", self.envelope.rcpt_tos)
        records = self.relay.records
        reply = "250 2.0.0 Ok: queued as %d" % (records.number + 1)
        told = True
        if rule is not None:
            reply = reply_text(rule.get("reply", reply))
            told = not actions.silent_verdict(rule) and not rule.get("raw")
        taken = reply[:1] == "2"
        if rule is not None:
            taken = rule.get("accept", taken)
        number = records.next_number() if taken else None
        if taken:
            records.mail(number, arrived,
                         {**self.envelope_facts(),
                          "mail_options": self.envelope.mail_options},
                         raw, reply if told else None, self.facts())
            self.messages += 1
        if rule is None or (told and reply[:1] == "2"
                            and not rule.get("close")):
            self.note("body", "accepted", reply=reply, number=number)
        if rule is None:
            await self.push(reply)
        else:
            await self.obey(rule, "body", reply, number=number)
        ending = self.relay.script.session_rule(self.messages)
        if taken and ending is not None and ending.get("at_once"):
            await self.end_session(ending)
