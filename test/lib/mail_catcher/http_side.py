"""The mail API and the page: enough of HTTP/1.1, with keep-alive."""
import asyncio
import json
import time
import urllib.parse
from http import HTTPStatus

from mail_catcher import actions

HEAD_LIMIT = 64 << 10
BODY_LIMIT = 32 << 20


class BadRequest(Exception):
    """The request cannot be read; the connection ends after the answer."""


class Request:
    """One request, read whole."""

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise BadRequest("bad request line")
        self.method, self.target, self.version = words
        self.path = urllib.parse.urlsplit(self.target).path
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest("bad header line")
            name = name.lower()
            value = value.strip()
            if name in self.headers:
                value = self.headers[name] + ", " + value
            self.headers[name] = value
        self.body = b""

    @property
    def keep_alive(self):
        wish = self.headers.get("connection", "").lower()
        return "close" not in wish and (self.version != "HTTP/1.0"
                                        or "keep-alive" in wish)


async def read_request(reader, writer):
    """The next request, or None at the end of input."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequest("headers too long") from error
    request = Request(head[:-4])
    if request.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        request.body = await _read_chunks(reader)
    else:
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            raise BadRequest("bad length")
        request.body = await reader.readexactly(int(length))
    return request


async def _read_chunks(reader):
    body = b""
    while True:
        size = (await reader.readuntil(b"\r\n")).split(b";")[0].strip()
        try:
            length = int(size, 16)
        except ValueError as error:
            raise BadRequest("bad chunk") from error
        if not 0 <= length <= BODY_LIMIT - len(body):
            raise BadRequest("bad chunk")
        if length == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return body
        body += await reader.readexactly(length)
        await reader.readexactly(2)


def response(status, headers, body, keep_alive, head_only=False):
    """The octets of an answer.  Scripted headers win over ours."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    given = {name.lower() for name in headers}
    lines = ["HTTP/1.1 %d %s" % (status, phrase)]
    lines += ["%s: %s" % item for item in headers.items()]
    if "content-length" not in given and "transfer-encoding" not in given:
        lines.append("Content-Length: %d" % len(body))
    if "connection" not in given:
        lines.append("Connection: %s" % ("keep-alive" if keep_alive
                                         else "close"))
    return "\r\n".join(lines + ["", ""]).encode("utf-8") + \
        (b"" if head_only else body)


class Server:
    """Reads requests off connections.  Subclasses answer them: answer()
    sends and says whether the connection may go on."""

    def __init__(self):
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        count = 0
        try:
            while True:
                try:
                    request = await read_request(reader, writer)
                except BadRequest as error:
                    writer.write(response(
                        400, {"Content-Type": "text/plain"},
                        str(error).encode(), False))
                    return
                if request is None:
                    return
                count += 1
                if not await self.answer(request, writer, (number, count)):
                    return
        except (ConnectionError, asyncio.IncompleteReadError,
                asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def answer(self, request, writer, place):
        raise NotImplementedError


class MailApi(Server):
    """POST anywhere with {"email": ..., "message": ...} is a mail sent."""

    def __init__(self, script, records):
        super().__init__()
        self.script = script
        self.records = records

    def _judge(self, request, body):
        """(status, document) as an API without a script would have it."""
        if request.method != "POST":
            return 405, {"error": "only POST"}
        if not isinstance(body, dict):
            return 400, {"error": "the body is no JSON object"}
        for key in ("email", "message"):
            if not isinstance(body.get(key), str) or not body[key]:
                return 422, {"error": "%s is missing" % key}
        return 200, {"id": "catch-%d" % (self.records.number + 1)}

    async def answer(self, request, writer, place):
        arrived = time.time()
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        email = body.get("email") if isinstance(body, dict) else None
        rule = self.script.find(
            "http", {"path": request.path, "method": request.method},
            [email] if isinstance(email, str) else [])
        status, document = self._judge(request, body)
        headers = {"Content-Type": "application/json"}
        if rule is not None:
            status = rule.get("status", status)
            headers.update(rule.get("headers", {}))
            document = rule.get("body", document if status == 200
                                else {"error": "as scripted"})
        octets = document if isinstance(document, str) else \
            json.dumps(document, ensure_ascii=False)
        octets = octets.encode("utf-8", "surrogateescape")
        silent = actions.silent_verdict(rule) if rule else None
        raw = rule.get("raw") if rule else None
        taken = 200 <= status < 300
        if rule is not None:
            taken = rule.get("accept", taken)
        self.records.call({
            "number": self.records.next_number() if taken else None,
            "time": arrived, "method": request.method, "path": request.path,
            "headers": request.headers, "body": body,
            "text": None if body is not None else request.body.decode(
                "utf-8", "replace"),
            "taken": taken, "silent": silent,
            "status": None if silent or raw else status,
            "answer": None if silent else raw or octets.decode(
                "utf-8", "replace"),
            "connection": place[0], "request": place[1]})
        going_on = request.keep_alive and not (rule and rule.get("close"))
        if rule is not None and await actions.before_answer(
                rule, writer.transport):
            return False
        await actions.send(
            writer, raw.encode("utf-8") if raw is not None else
            response(status, headers, octets, going_on,
                     request.method == "HEAD"),
            rule.get("drip_ms") if rule else None)
        return going_on
