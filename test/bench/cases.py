"""What is measured without a broker.  Each case makes its server, runs a
number of times, and gives a list of figures."""
import collections
import time

from server import (Catcher, BenchError, Server, Sink, cpu_by_group,
                    memory_mb, wait_for)

# name, unit, one value a run, what it means, aim: ("<", 50) or None
Figure = collections.namedtuple("Figure", "name unit values meaning aim")


def percentile(values, share):
    """The smallest value that so many are not above."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * share // 100) - 1)]


def clear(session):
    """Everybody and everything from the run before; then quiet on the disk."""
    session.ask("DELETE FROM users; VACUUM ANALYZE users, message_logs,"
                " message_ledger; CHECKPOINT;")


def wait_until_idle(session):
    """Until the scheduler has looked at what is new and the senders sleep."""
    wait_for(lambda: session.value(
        "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle'"
        " AND backend_type LIKE 'birthday_scheduler%'") == "0",
        "the workers to be idle")
    time.sleep(0.5)


# ---- lateness ---------------------------------------------------------------

LATENESS_SQL = """
SELECT setseed(%(seed)f) \\g /dev/null
BEGIN;
CREATE TEMPORARY TABLE instants AS
SELECT n, gen_random_uuid() AS user_id,
       now() + interval '3 seconds'
       + (n + random() * 0.5) * interval '%(step_us)d microseconds' AS at
  FROM generate_series(0, %(mails)d - 1) AS n;
INSERT INTO users (id, first_name, last_name, email, timezone)
SELECT user_id, 'First' || n, 'Last' || n, 'late' || n || '@example.com', 'UTC'
  FROM instants;
INSERT INTO message_ledger (user_id, message_type, local_date)
SELECT user_id, 'BIRTHDAY', (at AT TIME ZONE 'UTC')::date FROM instants;
INSERT INTO message_logs (user_id, message_type, local_date,
    scheduled_send_time, due_at, idempotency_key, recipient_email,
    recipient_name, subject, message_content, type_version)
SELECT user_id, 'BIRTHDAY', (at AT TIME ZONE 'UTC')::date, at, at,
       user_id || ':BIRTHDAY:' || (at AT TIME ZONE 'UTC')::date,
       'late' || n || '@example.com', 'First' || n || ' Last' || n,
       'Happy birthday, First' || n || '!',
       'Hey, First' || n || ' Last' || n || ' it''s your birthday',
       (SELECT version FROM message_types WHERE name = 'BIRTHDAY')
  FROM instants;
SELECT bs_wake_senders(min(at)) FROM instants \\g /dev/null
DROP TABLE instants;
COMMIT;
"""

LATENESS_RESULT = """
SELECT json_agg(json_build_object('rcpt', recipient_email,
    'scheduled', extract(epoch FROM scheduled_send_time),
    'recorded', extract(epoch FROM actual_send_time)))
  FROM message_logs"""


LATENESS_NOTE = "%d mails due at instants of their own within %d s"


def lateness_runs(options, server, catcher):
    """Milliseconds at the relay and in the log, a list for each run."""
    mails, seconds = options.lateness_mails, options.lateness_seconds
    session = server.session()
    arrived, recorded = [], []
    for run in range(options.runs):
        clear(session)
        wait_until_idle(session)
        session.ask(LATENESS_SQL % {
            "seed": (options.seed + run) % 1000 / 1000, "mails": mails,
            "step_us": seconds * 1000000 // mails})
        time.sleep(seconds + 3)
        wait_for(lambda: session.value(
            "SELECT count(*) FROM message_logs WHERE status <> 'SENT'")
            == "0", "all mails to be sent", every=0.5)
        at = catcher.arrivals()
        rows = session.document(LATENESS_RESULT)
        arrived.append([(at[row["rcpt"]] - row["scheduled"]) * 1000
                        for row in rows])
        recorded.append([(row["recorded"] - row["scheduled"]) * 1000
                         for row in rows])
        if min(arrived[-1]) < 0:
            raise BenchError("a mail came early")
    return arrived, recorded


def lateness_figures(runs, aim):
    figures = []
    for what, series, meaning in (
            ("relay", runs[0], "the mail is with the relay, by the relay's "
             "own clock reading, so long after scheduled_send_time"),
            ("log", runs[1], "actual_send_time (the relay's \"accepted\" as "
             "the sender saw it) less scheduled_send_time")):
        for name, share in (("p50", 50), ("p99", 99), ("max", 100)):
            figures.append(Figure(
                "lateness at the %s, %s" % (what, name), "ms",
                [percentile(run, share) for run in series],
                meaning if name == "p50" else "",
                aim if (what, name) == ("relay", "p99") else None))
    return figures


def lateness(options, folder):
    catcher = Catcher(folder)
    server = Server(folder, catcher.url)
    try:
        server.start()
        server.session().ask("SELECT bs_resume() \\g /dev/null")
        runs = lateness_runs(options, server, catcher)
    finally:
        server.stop()
        catcher.stop()
    return (LATENESS_NOTE % (options.lateness_mails, options.lateness_seconds),
            lateness_figures(runs, ("<", 50)), server)


# ---- a burst ----------------------------------------------------------------

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


BURST_NOTE = ("%d mails due at one instant, into Postfix's smtp-sink; planned "
              "some seconds before,\nthen VACUUM ANALYZE and a checkpoint")


def burst_runs(options, server, sink, runs, more=()):
    """A list of values for each thing that is measured; "more" are processes
    beside the server's and the sink, by name."""
    session = server.session()
    sessions = int(session.value(
        "SELECT current_setting('birthday_scheduler.senders')::int"
        " * current_setting('birthday_scheduler.mail_connections')::int"))
    others = {"sink": sink.process.pid, **dict(more)}
    for _ in range(options.runs):
        clear(session)
        one_burst(options, server, others, runs)
        # As large as ours: headers of some 400 octets and the text.
        runs["source"].append(sink.source_rate(
            options.burst_mails, sessions, 450))
    return sessions


def rate_figures(runs, aim):
    return [
        Figure("mails a second, end to end", "1/s", runs["rate"],
               "all of them, divided by the time from the due instant until "
               "the last one was recorded as SENT; fsync is on",
               (">", aim)),
        Figure("smtp-source into the same sink", "1/s", runs["source"],
               "what a program gets that has no database and keeps no record",
               None),
        Figure("ratio of the two", "", [
            ours / theirs for ours, theirs in
            zip(runs["rate"], runs["source"])], "in the same run", None),
        Figure("first mail accepted after", "ms", runs["first"],
               "from the due instant", None)]


def cpu_figures(runs):
    groups = [name[4:] for name in runs if name.startswith("cpu ")]
    return [Figure(
        "CPU per 1,000 mails: " + group, "s", runs["cpu " + group],
        "user and system time in /proc/PID/stat, from before the due "
        "instant until the end" if group == groups[0] else "", None)
        for group in groups]


def burst(options, folder):
    sink = Sink()
    server = Server(folder, sink.url)
    runs = collections.defaultdict(list)
    try:
        server.start()
        server.session().ask("SELECT bs_resume() \\g /dev/null")
        sessions = burst_runs(options, server, sink, runs)
    finally:
        server.stop()
        sink.stop()
    note = (BURST_NOTE % options.burst_mails
            + "; smtp-source: %d sessions, connections kept, same size"
            % sessions)
    return note, rate_figures(runs, 5000) + cpu_figures(runs) + [
        Figure("peak memory of a sender", "MB", runs["peak"],
               "highest resident size (VmHWM), shared buffers included",
               None),
        Figure("its own memory after the burst", "MB", runs["own"],
               "RssAnon: what the sender alone has", None)], server


def one_burst(options, server, others, runs):
    mails = options.burst_mails
    session = server.session()
    # The instant comes once everything is planned and the disk is quiet.
    ahead = 10 + mails // 1000
    due, planned, now = map(float, session.ask(
        BURST_SQL % {"ahead": ahead, "mails": mails})[0].split("|"))
    if planned != mails or now > due - 1:
        raise BenchError("planning took longer than %d s: %d of %d planned"
                         % (ahead, planned, mails))
    session.ask("VACUUM ANALYZE message_logs; CHECKPOINT;")
    if time.time() > due - 0.3:
        raise BenchError("the disk was not quiet before the due instant")
    time.sleep(due - 0.2 - time.time())
    before = cpu_by_group(server, others)
    sent = "SELECT sum(sent) FROM bs_workers"
    total = int(session.value(sent)) + mails
    wait_for(lambda: int(session.value(sent)) >= total,
             "the burst to be sent", 300, 0.1)
    after = cpu_by_group(server, others)
    result = session.document(
        "SELECT json_build_object('last', extract(epoch FROM max(updated_at)),"
        " 'first', extract(epoch FROM min(actual_send_time)),"
        " 'sent', count(*) FILTER (WHERE status = 'SENT'), 'early', count(*)"
        " FILTER (WHERE actual_send_time < scheduled_send_time))"
        " FROM message_logs")
    if result["sent"] != mails or result["early"] != 0:
        raise BenchError("%(sent)d sent, %(early)d early" % result)
    runs["rate"].append(mails / (result["last"] - due))
    runs["first"].append((result["first"] - due) * 1000)
    for group, seconds in after.items():
        runs["cpu " + group].append((seconds - before[group]) * 1000 / mails)
    memory = [memory_mb(pid) for pid in server.worker_pids("sender")]
    runs["peak"].append(max(peak for peak, _ in memory))
    runs["own"].append(max(own for _, own in memory))


# ---- planning ---------------------------------------------------------------

PEOPLE_SQL = """
CREATE EXTENSION birthday_scheduler;
-- Tomorrow's nine o'clock in Kiritimati is today's 19:00 UTC.
UPDATE message_types SET active_since = now() - interval '10 days';
SELECT setseed(%(seed)f) \\g /dev/null
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'First' || n, 'Last' || n, 'plan' || n || '@example.com',
       ('{Pacific/Kiritimati,Asia/Tokyo,Asia/Kolkata,Europe/Kyiv,Europe/London,America/Sao_Paulo,'
        'America/New_York,Pacific/Honolulu}'::text[])[1 + floor(random() * 8)],
       ((now() AT TIME ZONE 'UTC')::date + 1
        - make_interval(years => 4 * (5 + floor(random() * 12)::int)))::date,
       now() - interval '10 days'
  FROM generate_series(1, %(people)d) AS n;
SELECT bs_resume() \\g /dev/null
VACUUM ANALYZE users;
"""


def seconds_of(session, sql):
    begin = time.monotonic()
    answer = session.ask(sql)
    return time.monotonic() - begin, answer


def planning(options, folder):
    people = options.planning_people
    server = Server(folder, "smtp://127.0.0.1:9")
    ours, bare = [], []
    try:
        server.start()
        server.session().ask("CREATE DATABASE planning;")
        # No worker looks at this database.
        session = server.session("planning")
        session.ask(PEOPLE_SQL % {"seed": options.seed % 1000 / 1000,
                                  "people": people})
        partition = session.value(
            "SELECT bs_partition_name('message_logs', bs_month(now()"
            " + interval '1 day'))")
        for _ in range(options.runs):
            session.ask("TRUNCATE message_logs, message_ledger; CHECKPOINT;")
            took, answer = seconds_of(session, "SELECT bs_plan();")
            if answer != [str(people)]:
                raise BenchError("planned %s of %d" % (answer, people))
            ours.append(people / took)
            session.ask(
                "CREATE TABLE bare (LIKE %s INCLUDING ALL);"
                "ALTER TABLE bare ADD FOREIGN KEY (user_id) REFERENCES users"
                " ON DELETE CASCADE; CHECKPOINT;" % partition)
            took, _ = seconds_of(
                session, "INSERT INTO bare SELECT * FROM message_logs;")
            bare.append(people / took)
            session.ask("DROP TABLE bare;")
    finally:
        server.stop()
    note = ("%d people with a birthday tomorrow, in eight zones: one "
            "planning pass, bs_plan()" % people)
    return note, [
        Figure("messages planned a second", "1/s", ours,
               "finding who is owed what, the ledger, the texts, the rows",
               None),
        Figure("INSERT ... SELECT of the same rows", "1/s", bare,
               "into a table with the partition's columns, checks, indexes "
               "and foreign key: what the rows alone cost", None),
        Figure("ratio of the two", "", [
            mine / rows for mine, rows in zip(ours, bare)],
            "in the same run", None)], server


CASES = {"lateness": lateness, "burst": burst, "planning": planning}
