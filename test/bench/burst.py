"""Many messages that are due at one instant, and what else gets as many mails into
the same relay."""
import collections
import time

from cases import Figure, clear
from server import (BenchError, Server, cpu_by_group, machine_cpu, memory_mb,
                    wait_for)
from sinks import HttpSink, Sink

BURST_SQL = """
SELECT now() + interval '%(ahead)d seconds' AS at \\gset
UPDATE message_types SET send_time = (:'at'::timestamptz AT TIME ZONE 'UTC')::time
 WHERE name = 'BIRTHDAY';
INSERT INTO users (first_name, last_name, email, timezone, birthday_date)
SELECT 'First' || n, 'Last' || n, 'burst' || n || '@example.com', 'UTC',
       ((:'at'::timestamptz AT TIME ZONE 'UTC')::date - interval '40 years')::date
  FROM generate_series(1, %(mails)d) AS n;
SELECT extract(epoch FROM scheduled_send_time), count(*), extract(epoch FROM clock_timestamp())
  FROM message_logs GROUP BY 1;
"""

BURST_NOTE = ("%d mails due at one instant, into %s; planned some seconds "
              "before,\nthen VACUUM ANALYZE and a checkpoint")
FULL_BURST = 100000     # what the aims are for


def plan_burst(session, mails):
    """The due instant; everything is planned and the disk quiet before it."""
    ahead = 3 + mails // 5000
    for _ in range(3):
        clear(session)
        due, planned, now = map(float, session.ask(
            BURST_SQL % {"ahead": ahead, "mails": mails})[0].split("|"))
        if planned == mails and now < due - 1:
            session.ask("VACUUM ANALYZE message_logs; CHECKPOINT;")
            if time.time() < due - 0.3:
                return due
        ahead *= 2
        # They are on their way: who deletes them now may meet a sender at it.
        wait_for(lambda: session.value(
            "SELECT count(*) FROM message_logs WHERE due_at IS NOT NULL") == "0",
                 "what came too late to be sent", 300, 0.2)
    raise BenchError("planning %d messages took longer than %d s"
                     % (mails, ahead // 2))


def one_burst(server, mails, others):
    """What was measured, by name."""
    session = server.session()
    due = plan_burst(session, mails)
    senders = server.worker_pids("sender")
    time.sleep(due - 0.2 - time.time())
    before, machine = cpu_by_group(server, others), machine_cpu()
    sent = "SELECT sum(sent) FROM bs_workers"
    total = int(session.value(sent)) + mails
    peak = own = 0

    def done():
        nonlocal peak, own
        memory = [memory_mb(pid) for pid in senders]
        peak = max(peak, *(resident for resident, _ in memory))
        own = max(own, *(anonymous for _, anonymous in memory))
        return int(session.value(sent)) >= total

    wait_for(done, "the burst to be sent", 600, 0.1)
    after, machine = cpu_by_group(server, others), machine_cpu() - machine
    result = session.document(
        "SELECT json_build_object('last', extract(epoch FROM max(updated_at)),"
        " 'first', extract(epoch FROM min(actual_send_time)),"
        " 'sent', count(*) FILTER (WHERE status = 'SENT'), 'early', count(*)"
        " FILTER (WHERE actual_send_time < scheduled_send_time))"
        " FROM message_logs")
    if result["sent"] != mails or result["early"] != 0:
        raise BenchError("%(sent)d sent, %(early)d early" % result)
    found = {"rate": mails / (result["last"] - due),
             "first": (result["first"] - due) * 1000,
             "last": result["last"] - due, "peak": peak, "own": own,
             "machine": machine * 1000 / mails}
    for group, seconds in after.items():
        found["cpu " + group] = (seconds - before[group]) * 1000 / mails
    return found


def burst_runs(options, server, sink, more=()):
    """A list of values for each thing that is measured, and a sentence about the
    limits; "more" are processes beside the server's and the sink, by name."""
    senders, connections = map(int, server.session().value(
        "SELECT current_setting('birthday_scheduler.senders') || ' ' ||"
        " current_setting('birthday_scheduler.mail_connections')").split())
    mails = options.burst_mails
    runs = collections.defaultdict(list)
    for _ in range(options.runs):
        found = one_burst(server, mails,
                          {"sink": sink.process.pid, **dict(more)})
        found["bare"] = sink.bare_rate(mails, senders, connections)
        if isinstance(sink, Sink):
            found["source"] = sink.source_rate(mails, senders * connections)
        for name, value in found.items():
            runs[name].append(value)
    return runs, (BURST_NOTE % (mails, sink.name)
                  + ";\nthe limits: as many connections, kept, mails of the "
                  "same size, %d processes" % senders)


def ratio(runs, ours, theirs):
    return [mine / other for mine, other in zip(runs[ours], runs[theirs])]


def rate_figures(runs, aim, ratio_aim=None):
    figures = [
        Figure("mails a second, end to end", "1/s", runs["rate"],
               "all of them, divided by the time from the due instant until "
               "the last one was recorded as SENT; fsync is on", aim),
        Figure("bare libcurl loop, same sink", "1/s", runs["bare"],
               "test/bench/mail_bare.c: no database, no record", None),
        Figure("ratio to the loop", "", ratio(runs, "rate", "bare"),
               "in the same run", ratio_aim)]
    if "source" in runs:
        figures += [
            Figure("smtp-source, same sink", "1/s", runs["source"],
                   "Postfix's own load program, one process", None),
            Figure("ratio to smtp-source", "", ratio(runs, "rate", "source"),
                   "", None)]
    return figures + [
        Figure("first mail accepted after", "ms", runs["first"],
               "from the due instant", None)]


def cost_figures(runs, aim):
    groups = [name[4:] for name in runs if name.startswith("cpu ")]
    return [Figure(
        "CPU per 1,000 mails: " + group, "s", runs["cpu " + group],
        "user and system time in /proc/PID/stat, from before the due "
        "instant until the end" if group == groups[0] else "", None)
        for group in groups] + [
        Figure("CPU per 1,000: whole machine", "s", runs["machine"],
               "all that /proc/stat counts as busy, this program too", aim),
        Figure("peak memory of a sender", "MB", runs["peak"],
               "resident (RssAnon and RssFile) beyond shared memory, looked "
               "at every 0.1 s", ("<", 40)),
        Figure("of it its own", "MB", runs["own"], "RssAnon", None)]


def into(options, folder, sink, aim, ratio_aim):
    server = Server(folder, sink.url)
    try:
        server.start()
        server.session().ask("SELECT bs_resume() \\g /dev/null")
        runs, note = burst_runs(options, server, sink)
    finally:
        server.stop()
        sink.stop()
    return note, rate_figures(runs, aim, ratio_aim) + [
        Figure("last one recorded after", "s", runs["last"],
               "from the due instant",
               ("<", 18) if options.burst_mails == FULL_BURST else None)
    ] + cost_figures(runs, ("<", 0.35)), server


def burst(options, folder):
    return into(options, folder, Sink(), (">", 7000), (">", 0.85))


LARGE_SQL = """
UPDATE message_types SET text_template = repeat('0123456789abcde ', 15000),
       html_template = repeat('<p>0123456789</p>', 14100) WHERE name = 'BIRTHDAY'
"""


def burst_large(options, folder):
    """Letters of 480 kB over 64 connections: what a sender holds."""
    sink = Sink()
    settings = {"birthday_scheduler.mail_connections": "64",
                "birthday_scheduler.senders": "1"}
    server = Server(folder, sink.url, settings)
    mails = options.large_mails
    runs = collections.defaultdict(list)
    try:
        server.start()
        server.session().ask("SELECT bs_resume() \\g /dev/null")
        server.session().ask(LARGE_SQL)
        limit = int(server.session().value(
            "SELECT setting::integer / 1024 FROM pg_settings"
            " WHERE name = 'birthday_scheduler.sender_memory'"))
        for _ in range(options.runs):
            for name, value in one_burst(server, mails,
                                         {"sink": sink.process.pid}).items():
                runs[name].append(value)
    finally:
        server.stop()
        sink.stop()
    return (BURST_NOTE % (mails, sink.name)
            + ";\nletters of 480 kB, one sender with 64 connections"), [
        Figure("large letters a second, end to end", "1/s", runs["rate"], "",
               None),
        Figure("peak memory of the sender", "MB", runs["peak"],
               "resident beyond shared memory; sender_memory is %d MB" % limit,
               ("<", 1.5 * limit)),
        Figure("of it its own", "MB", runs["own"], "RssAnon", None)], server


def burst_http(options, folder):
    return into(options, folder, HttpSink(folder), None, (">", 0.85))
