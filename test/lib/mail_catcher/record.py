"""What was seen, as JSON lines, and what a mail says once it is decoded."""
import base64
import email
import email.errors
import email.header
import email.utils
import json
import mailbox
import os
import re
import time


class Journal:
    """A file of JSON lines.  A line is with the kernel when add() returns."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self.size = os.fstat(self.fd).st_size

    def add(self, entry):
        """Appends the line; returns where it stands: (offset, length)."""
        line = json.dumps(entry, ensure_ascii=False).encode(
            "utf-8", "backslashreplace") + b"\n"
        written = 0
        while written < len(line):
            written += os.write(self.fd, line[written:])
        place = (self.size, len(line))
        self.size += len(line)
        return place

    def read(self, place):
        return json.loads(os.pread(self.fd, place[1], place[0]))

    def places(self):
        """Each line that is there already: ((offset, length), entry)."""
        offset = 0
        with open(self.path, "rb") as file:
            for line in file:
                yield (offset, len(line)), json.loads(line)
                offset += len(line)


def _charset_text(octets, charset):
    try:
        return octets.decode(charset or "utf-8", "replace")
    except LookupError:
        return octets.decode("utf-8", "replace")


def decode_words(value):
    """A header value as people read it (RFC 2047; raw UTF-8 as it is)."""
    if "=?" not in value:
        return value
    try:
        return "".join(
            part if isinstance(part, str) else _charset_text(
                part, charset if charset != "unknown-8bit" else None)
            for part, charset in email.header.decode_header(value))
    except (ValueError, email.errors.HeaderParseError):
        return value


def split_headers(raw):
    """(name, raw value) of each header line, unfolded, in their order."""
    found = []
    # A header ends at an empty line; a lone LF counts too, so that a mail
    # with such a fault shows what a lenient reader would make of it.
    for line in raw.replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            break
        text = line.decode("utf-8", "replace")
        if text[0] in " \t" and found:
            found[-1][1] += text
            continue
        name, colon, value = text.partition(":")
        found.append([name if colon else "", value if colon else text])
    return [(name, value.strip()) for name, value in found]


def _mailboxes(value):
    return [{"name": decode_words(name), "address": address}
            for name, address in email.utils.getaddresses([value])
            if name or address]


def _parts(message):
    """The first plain and the first HTML part, decoded; None if absent."""
    texts = {"text/plain": None, "text/html": None}
    for part in message.walk():
        kind = part.get_content_type()
        if part.is_multipart() or texts.get(kind, "") is not None \
                or part.get_content_disposition() == "attachment":
            continue
        octets = part.get_payload(decode=True) or b""
        texts[kind] = _charset_text(octets, part.get_content_charset())
    return texts["text/plain"], texts["text/html"]


def _wire(raw):
    """How the text looked on the wire: what a strict relay would dislike."""
    crlf = raw.count(b"\r\n")
    return {"octets": len(raw),
            "longest_line": max(map(len, raw.split(b"\r\n"))),
            "bare_lf": raw.count(b"\n") - crlf,
            "bare_cr": raw.count(b"\r") - crlf,
            "nul": raw.count(b"\0"),
            "eight_bit": not raw.isascii()}


def describe_mail(raw):
    """Everything worth knowing about the octets of one mail."""
    headers = split_headers(raw)
    first = {}
    for name, value in headers:
        first.setdefault(name.lower(), value)
    message = email.message_from_bytes(raw)
    text, html = _parts(message)
    return {"subject": decode_words(first.get("subject", "")),
            "from": _mailboxes(first.get("from", "")),
            "to": _mailboxes(first.get("to", "")),
            "message_id": first.get("message-id"),
            "date": first.get("date"),
            "header_names": [name for name, _ in headers],
            "headers": [[name, decode_words(value)]
                        for name, value in headers],
            "text": text,
            "html": html,
            "defects": sorted({type(defect).__name__
                               for part in message.walk()
                               for defect in part.defects}),
            "wire": _wire(raw)}


def message_id(raw):
    """What there is to say in brief."""
    found = re.search(rb"^Message-ID:\s*(\S+)", raw, re.MULTILINE | re.IGNORECASE)
    return {"message_id": found and found[1].decode("utf-8", "replace")}


class Records:
    """All that one catcher writes down."""

    def __init__(self, folder, keep_raw=False, maildir=False, brief=False):
        self.mails = Journal(os.path.join(folder, "mails.jsonl"))
        self.attempts = Journal(os.path.join(folder, "attempts.jsonl"))
        self.api = Journal(os.path.join(folder, "api.jsonl"))
        self.keep_raw = keep_raw
        self.describe = message_id if brief else describe_mail
        self.maildir = None
        if maildir:
            self.maildir = mailbox.Maildir(os.path.join(folder, "Maildir"))
        # Of the last mail or call that was taken, also by an earlier run.
        self.number = max((entry["number"] or 0
                           for journal in (self.mails, self.api)
                           for _, entry in journal.places()), default=0)
        self.listeners = []         # called with (journal, place, entry)

    def next_number(self):
        self.number += 1
        return self.number

    def mail(self, number, arrived, envelope, raw, answer, session):
        entry = {"number": number, "time": arrived, **envelope, **session,
                 "answer": answer}
        try:
            entry.update(self.describe(raw))
        except Exception as error:  # too odd to read, and kept all the same
            entry["unreadable"] = repr(error)
        if self.keep_raw or "unreadable" in entry:
            entry["raw"] = base64.b64encode(raw).decode("ascii")
        if self.maildir is not None:
            self.maildir.add(
                b"Return-Path: <%s>\n" % envelope["mail_from"].encode(
                    "utf-8", "replace") + raw.replace(b"\r\n", b"\n"))
        place = self.mails.add(entry)
        for listener in self.listeners:
            listener(self.mails, place, entry)

    def call(self, entry):
        place = self.api.add(entry)
        for listener in self.listeners:
            listener(self.api, place, entry)

    def attempt(self, phase, verdict, **facts):
        self.attempts.add({"time": time.time(), "phase": phase,
                           "verdict": verdict, **facts})
