"""What is measured without a broker.  Each case makes its server, runs a
number of times, and gives a list of figures."""
import collections
import time

from server import Catcher, BenchError, Server, cpu_by_group, wait_for

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
       now() + interval '%(ahead)d seconds'
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


def lateness_runs(options, server, catcher, mails, seconds):
    """Milliseconds at the relay and in the log, and CPU seconds per 1,000 mails
    of the server, a list for each run."""
    ahead = 3 + mails // 1000
    session = server.session()
    arrived, recorded, costs = [], [], []
    for run in range(options.runs):
        clear(session)
        wait_until_idle(session)
        session.ask(LATENESS_SQL % {
            "seed": (options.seed + run) % 1000 / 1000, "mails": mails,
            "ahead": ahead, "step_us": int(seconds * 1000000 / mails)})
        before = sum(cpu_by_group(server, {}).values())
        time.sleep(seconds + ahead)
        wait_for(lambda: session.value(
            "SELECT count(*) FROM message_logs WHERE status <> 'SENT'")
            == "0", "all mails to be sent", every=0.5)
        costs.append((sum(cpu_by_group(server, {}).values()) - before)
                     * 1000 / mails)
        at = catcher.arrivals()
        rows = session.document(LATENESS_RESULT)
        arrived.append([(at[row["rcpt"]] - row["scheduled"]) * 1000
                        for row in rows])
        recorded.append([(row["recorded"] - row["scheduled"]) * 1000
                         for row in rows])
        if min(arrived[-1]) < 0:
            raise BenchError("a mail came early")
    return arrived, recorded, costs


def lateness_figures(runs, aims, at=""):
    """"aims" by percentile, for the relay's end; "at" begins the names."""
    figures = []
    for what, series, meaning in (
            ("relay", runs[0], "the mail is with the relay, by the relay's "
             "own clock reading, so long after scheduled_send_time"),
            ("log", runs[1], "actual_send_time (the relay's \"accepted\" as "
             "the sender saw it) less scheduled_send_time")):
        for name, share in (("p50", 50), ("p99", 99), ("max", 100)):
            figures.append(Figure(
                "%slateness at the %s, %s" % (at, what, name), "ms",
                [percentile(run, share) for run in series],
                meaning if name == "p50" else "",
                aims.get(name) if what == "relay" else None))
    return figures


def with_catcher(folder, measure, settings=()):
    """measure(server, catcher) with a server at work that mails to it."""
    catcher = Catcher(folder)
    # No planning pass within a case: nobody is owed what LATENESS_SQL writes.
    server = Server(folder, catcher.url, {
        "birthday_scheduler.plan_interval": "1h", **dict(settings)})
    try:
        server.start()
        server.session().ask("SELECT bs_resume() \\g /dev/null")
        return measure(server, catcher), server
    finally:
        server.stop()
        catcher.stop()


def lateness(options, folder):
    mails, seconds = options.lateness_mails, options.lateness_seconds
    runs, server = with_catcher(folder, lambda *both: lateness_runs(
        options, *both, mails, seconds))
    return (LATENESS_NOTE % (mails, seconds),
            lateness_figures(runs, {"p99": ("<", 50)}), server)


LONE_GAP_S = 0.25


def lone(options, folder):
    mails = options.lone_mails
    runs, server = with_catcher(folder, lambda *both: lateness_runs(
        options, *both, mails, mails * LONE_GAP_S))
    return ("%d mails, one at a time, some %d ms between them: nothing else is "
            "due" % (mails, LONE_GAP_S * 1000),
            lateness_figures(runs, {"p50": ("<", 5), "p99": ("<", 20)}),
            server)


def steady(options, folder):
    rates = options.steady_rates
    # Ten minutes as so many windows, not so many times ten minutes.
    seconds = max(1, options.steady_seconds // options.runs)
    runs, server = with_catcher(folder, lambda *both: [lateness_runs(
        options, *both, rate * seconds, seconds) for rate in rates])
    figures = []
    for rate, found in zip(rates, runs):
        at = "%d/s: " % rate
        figures += lateness_figures(found, {"p99": ("<", 50)}, at) + [
            Figure(at + "CPU per 1,000 mails", "s", found[2],
                   "of the server and its workers" if rate == rates[0]
                   else "", None)]
    return ("a steady load, %d s of each rate in %d windows; lateness as above"
            % (seconds * options.runs, options.runs)), figures, server


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
            "in the same run", (">", 0.6))], server
