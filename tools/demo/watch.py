#!/usr/bin/python3
"""Watches the demo's mails arrive and says what came.

    watch.py --psql PSQL --mails FILE

Called by tools/demo.sh with the environment that psql needs.  Shows a line of
progress, then one mail in full and a table of all.  Exit code 0 only if every
mail arrived once and none before its time.
"""
import argparse
import base64
import datetime
import email
import email.header
import json
import subprocess
import sys
import time
import unicodedata

GRACE_S = 20        # how long after the last moment mails are waited for

STATUS = """
SELECT json_build_object(
    'now', extract(epoch FROM clock_timestamp()), 'planned', s.planned, 'due', s.due,
    'in_flight', s.in_flight, 'sent', s.sent, 'failed', s.failed,
    'last', extract(epoch FROM (SELECT max(m.scheduled_send_time) FROM message_logs m)))
  FROM bs_status s"""

MESSAGES = """
SELECT coalesce(json_agg(json_build_object(
           'id', m.id, 'type', m.message_type, 'status', m.status, 'rcpt', m.recipient_email,
           'subject', m.subject, 'text', m.message_content, 'error', m.error_message,
           'zone', u.timezone,
           'local', to_char(m.scheduled_send_time AT TIME ZONE u.timezone, 'Dy DD Mon HH24:MI:SS.MS'),
           'scheduled', extract(epoch FROM m.scheduled_send_time),
           'recorded', extract(epoch FROM m.actual_send_time)) ORDER BY m.scheduled_send_time, m.id), '[]')
  FROM message_logs m JOIN users u ON u.id = m.user_id"""


def query(psql, sql):
    done = subprocess.run(
        [psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def read_mails(path):
    """What the catcher took so far."""
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file
                    if line.endswith("\n")]
    except FileNotFoundError:
        return []


def clock(seconds):
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return when.strftime("%H:%M:%S.") + "%03d" % (when.microsecond // 1000)


def width(text):
    """Columns of a terminal."""
    return sum(0 if unicodedata.combining(c) else
               2 if unicodedata.east_asian_width(c) in "WF" else 1
               for c in text)


def match(messages, mails):
    """Puts into each message the mails that are its own, by addressee and
    subject: no two messages of the demo share both."""
    for message in messages:
        message["mails"] = [
            mail for mail in mails
            if mail["rcpt"] == [message["rcpt"]]
            and mail.get("subject") == message["subject"]]
    return messages


def lateness(messages):
    """Milliseconds from the moment owed to the mail's arrival."""
    return [(mail["time"] - message["scheduled"]) * 1000
            for message in messages for mail in message["mails"]]


def watch(options):
    """The line of progress, until all is there or the time is up."""
    live = sys.stdout.isatty()
    messages = query(options.psql, MESSAGES)
    shown = 0
    if live:
        print()
    while True:
        state = query(options.psql, STATUS)
        mails = read_mails(options.mails)
        late = lateness(match(messages, mails))
        line = "%s UTC   planned %2d   due %2d   sent %2d" % (
            clock(state["now"])[:-4], state["planned"],
            state["due"] + state["in_flight"], state["sent"])
        if late:
            line += "   late by %.0f ms, at most %.0f ms" % (
                late[-1], max(late))
        over = (state["sent"] + state["failed"] >= len(messages)
                or state["now"] > state["last"] + GRACE_S)
        if live:
            print("\r" + line + "\033[K", end="", flush=True)
        elif over or time.monotonic() - shown >= 2:
            shown = time.monotonic()
            print(line, flush=True)
        if over:
            break
        time.sleep(0.2)
    if live:
        print()
    return match(query(options.psql, MESSAGES), read_mails(options.mails))


def decoded(value):
    return str(email.header.make_header(email.header.decode_header(value)))


def show_mail(message):
    """One mail as it came over the wire; what is encoded is also decoded."""
    raw = message["mails"][0]["raw"]
    octets = base64.b64decode(raw)
    parsed = email.message_from_bytes(octets)
    print("\nOne of them, as it came:\n")
    for line in octets.decode("utf-8", "replace").splitlines():
        print("    " + line)
    print("\nand as it is read:\n")
    for name in ("From", "To", "Subject"):
        print("    %s: %s" % (name, decoded(parsed[name])))
    print()
    for line in message["mails"][0]["text"].splitlines():
        print("    " + line)


def show_table(messages):
    heads = ("occasion", "zone", "on the user's clock", "scheduled (UTC)",
             "arrived (UTC)", "late by")
    rows = []
    for message in messages:
        for mail in message["mails"] or [None]:
            rows.append((
                message["type"].partition("_")[0].lower(), message["zone"], message["local"], clock(message["scheduled"]),
                clock(mail["time"]) if mail else message["status"],
                "%.0f ms" % ((mail["time"] - message["scheduled"]) * 1000)
                if mail else "-"))
    widths = [max(width(row[i]) for row in [heads] + rows)
              for i in range(len(heads))]
    print("\nAll of them, each at its own moment:\n")
    for row in [heads] + rows:
        print("    " + "  ".join(
            cell + " " * (widths[i] - width(cell))
            for i, cell in enumerate(row)).rstrip())


def verdict(messages, mails):
    """What is wrong, a sentence each."""
    faults = []
    if not messages:
        faults.append("No message was planned.")
    for message in messages:
        if message["status"] != "SENT":
            faults.append("%s to %s is %s: %s" % (
                message["type"], message["rcpt"], message["status"],
                message["error"]))
        if len(message["mails"]) != 1:
            faults.append("%s to %s arrived %d times." % (
                message["type"], message["rcpt"], len(message["mails"])))
        for mail in message["mails"]:
            if mail["time"] < message["scheduled"]:
                faults.append("%s to %s came early." % (
                    message["type"], message["rcpt"]))
            if (mail["text"] or "").rstrip("\r\n") != message["text"]:
                faults.append("%s to %s: not the text that was planned." % (
                    message["type"], message["rcpt"]))
    if len(mails) != sum(len(message["mails"]) for message in messages):
        faults.append("There are mails that nobody planned.")
    return faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--psql", required=True)
    parser.add_argument("--mails", required=True)
    options = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        messages = watch(options)
    except KeyboardInterrupt:
        print("\nNo longer watching.")
        return 130
    there = [message for message in messages if message["mails"]]
    if there:
        show_mail(next((m for m in there if not m["subject"].isascii()),
                       there[0]))
        show_table(messages)
    faults = verdict(messages, read_mails(options.mails))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        zones = len({message["zone"] for message in messages})
        late = lateness(messages)
        print("\n%d mails for people in %d time zones: each arrived once, none "
              "early,\nthe latest %.0f ms after its moment."
              % (len(messages), zones, max(late)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
