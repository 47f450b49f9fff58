"""What size costs: a day's planning with millions of users, a message's way with
millions of rows in the log."""
from cases import Figure, seconds_of
from server import BenchError, Server

ZONES = ("('{Pacific/Kiritimati,Asia/Tokyo,Asia/Kolkata,Europe/Kyiv,Europe/London,"
         "America/Sao_Paulo,America/New_York,Pacific/Honolulu}'::text[])"
         "[1 + floor(random() * 8)]")


def in_words(number):
    for size, word in ((1000000, "million"), (1000, "thousand")):
        if number >= size and number % size == 0:
            return "%d %s" % (number // size, word)
    return str(number)


# ---- a day of planning --------------------------------------------------------

# Planned once up to now, as a scheduler that was never down would have it.
DAY_USERS_SQL = """
CREATE EXTENSION birthday_scheduler;
UPDATE message_types SET active_since = now() - interval '10 days';
SELECT setseed(%(seed)f) \\g /dev/null
SET session_replication_role = replica;     -- nothing is planned for each
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'First' || n, 'Last' || n, 'day' || n || '@example.com', """ + ZONES + """,
       date '1950-01-01' + floor(random() * 18262)::int, now() - interval '10 days'
  FROM generate_series(1, %(users)d) AS n;
RESET session_replication_role;
SELECT bs_resume() \\g /dev/null
VACUUM (FREEZE, ANALYZE) users;
"""


def planned_in(session, days, as_of):
    took, answer = seconds_of(session, (
        "SELECT bs_plan(until => '%s'::timestamptz + interval '%d days',"
        " as_of => '%s');" % (as_of, days, as_of)))
    if int(answer[0]) == 0:
        raise BenchError("nothing was planned")
    return took, int(answer[0])


def plan_days(server, database, runs):
    for _ in range(runs["count"]):
        session = server.session(database)
        session.ask("TRUNCATE message_logs, message_ledger;")
        as_of = session.value("SELECT now()")
        planned_in(session, 0, as_of)
        server.start_cold()
        session = server.session(database)
        took, found = planned_in(session, 1, as_of)
        runs["cold"].append(took)
        took, found = planned_in(session, 2, as_of)
        runs["warm"].append(took)
        runs["found"].append(found)
        runs["each"].append(took * 1e6 / found)


def day(options, folder):
    server = Server(folder, "smtp://127.0.0.1:9")
    measured = {}
    try:
        server.start()
        for users in options.day_users:
            database = "day_%d" % users     # no worker looks at it
            server.session().ask("CREATE DATABASE %s;" % database)
            server.session(database).ask(DAY_USERS_SQL % {
                "seed": options.seed % 1000 / 1000, "users": users})
            runs = measured[users] = {"count": options.runs, "cold": [],
                                      "warm": [], "found": [], "each": []}
            plan_days(server, database, runs)
            server.drop(database)
    finally:
        server.stop()
    figures = []
    for users, runs in measured.items():
        at = in_words(users) + ": "
        first = users == options.day_users[0]
        aim = ("<", 5) if users == 10000000 else None
        figures += [
            Figure(at + "messages of the day", "", runs["found"], "", None),
            Figure(at + "planned, cold", "s", runs["cold"],
                   "one day more, by bs_plan(): server just started, its files "
                   "not in the system's memory" if first else "", aim),
            Figure(at + "planned, warm", "s", runs["warm"],
                   "the day after that" if first else "", aim),
            Figure(at + "a message, warm", "us", runs["each"], "", None)]
    least, most = options.day_users[0], options.day_users[-1]
    if least != most:
        figures.append(Figure(
            "a message: %s against %s" % (in_words(most), in_words(least)),
            "x", [many / few for few, many in zip(
                measured[least]["each"], measured[most]["each"])],
            "1: linear in the occasions of the day, not in the users",
            ("<", 1.5)))
    return ("finding and planning one day of users whose birthdays are spread "
            "over the year"), figures, server


# ---- a log that has grown -----------------------------------------------------

# All in the month in which the messages to come are: the one that hurts.  Old rows
# are of one length: where they differ, one page in seven has room for one row more,
# and each new one would go to a page of its own, while a log that grew day by day
# fills such gaps as it goes.
GROWN_SQL = """
CREATE EXTENSION birthday_scheduler;
UPDATE message_types SET active_since = now() - interval '10 days';
SELECT bs_resume() \\g /dev/null
SELECT count(*) FROM bs_create_partitions() \\g /dev/null
SELECT 'message_logs_' || to_char(now() + interval '1 day', 'YYYY_MM') AS part \\gset
-- Indexes are made afterwards: it takes minutes instead of an hour.
CREATE TEMP TABLE made_of AS
SELECT format('ALTER TABLE %%I DROP CONSTRAINT %%I', :'part', c.conname) AS without,
       format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', :'part', c.conname, pg_get_constraintdef(c.oid)) AS again
  FROM pg_constraint c WHERE c.conrelid = :'part'::regclass AND c.contype IN ('p', 'u')
UNION ALL
SELECT format('DROP INDEX %%s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
  FROM pg_index i
 WHERE i.indrelid = :'part'::regclass
   AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid);
SELECT without FROM made_of \\gexec
SET session_replication_role = replica;    -- no look at users for each row
INSERT INTO message_logs (id, user_id, message_type, message_content, subject,
    recipient_email, recipient_name, local_date, scheduled_send_time, status,
    status_reason, attempts, actual_send_time, api_response_code,
    api_response_body, claimed_by, idempotency_key)
SELECT bs_uuidv7(), w.id, 'BIRTHDAY', 'Hey, First' || n || ' Last' || n || ' it''s your birthday',
       'Happy birthday, First' || n || '!', 'old' || n || '@example.com',
       'First' || n || ' Last' || n, w.at::date, w.at, 'SENT', 'accepted', 1,
       w.at, 250, '250 2.0.0 Ok: queued', 'server/1/1', w.id || ':BIRTHDAY:' || w.at::date
  FROM (SELECT to_char(n, 'FM000000000') AS n, gen_random_uuid() AS id,
               date_trunc('month', now() + interval '1 day', 'UTC')
               + n * (interval '27 days' / %(rows)d) AS at
          FROM generate_series(1, %(rows)d) AS n) w;
RESET session_replication_role;
SET maintenance_work_mem = '1GB';
SELECT again FROM made_of \\gexec
RESET maintenance_work_mem;
VACUUM ANALYZE message_logs;
CREATE PROCEDURE bench_pass(INOUT claiming float8, INOUT recording float8, INOUT messages int)
LANGUAGE plpgsql AS $$
DECLARE
    as_of timestamptz := (SELECT max(due_at) FROM message_logs WHERE due_at IS NOT NULL);
    began timestamptz;
    ids uuid[];
    times timestamptz[];
    tokens uuid[];
    shape int[];
BEGIN
    LOOP
        began := clock_timestamp();
        SELECT array_agg(c.id), array_agg(c.scheduled_send_time), array_agg(c.claim_token)
          INTO ids, times, tokens
          FROM bs_claim('bench', 128, '5 minutes', as_of) c;
        COMMIT;
        EXIT WHEN ids IS NULL;
        claiming := claiming + extract(epoch FROM clock_timestamp() - began);
        shape := ARRAY[cardinality(ids)];
        began := clock_timestamp();
        messages := messages + bs_record(ids, times, tokens, array_fill('SENT'::text, shape),
            array_fill('accepted'::text, shape), array_fill(NULL::timestamptz, shape),
            array_fill(250, shape), array_fill('250 2.0.0 Ok: queued as 4D5A8C1F2'::text, shape),
            array_fill(NULL::text, shape), array_fill(as_of, shape));
        COMMIT;
        recording := recording + extract(epoch FROM clock_timestamp() - began);
    END LOOP;
END
$$;
"""

GROWN_PASS_SQL = """
DELETE FROM users;
VACUUM users, message_ledger, message_logs;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'First' || n, 'Last' || n, 'grown' || n || '@example.com', """ + ZONES + """,
       ((now() AT TIME ZONE 'UTC')::date + 1 - interval '40 years')::date,
       now() - interval '10 days'
  FROM generate_series(1, %d) AS n;
CHECKPOINT;
SET synchronous_commit = off;
CALL bench_pass(0, 0, 0);
RESET synchronous_commit;
"""


# As the server comes, and as one with tables of that size would be set up: there,
# what each message has of its own in the indexes stays in memory from its planning.
GROWN_BUFFERS = ("128MB", "2GB")


def grown_passes(server, database, options):
    """Microseconds to claim and to record a message, a pair for each run."""
    messages = options.grown_messages
    found = []
    for _ in range(options.runs):
        claiming, recording, count = map(float, server.session(database).ask(
            GROWN_PASS_SQL % messages)[0].split("|"))
        if count != messages:
            raise BenchError("%d of %d recorded" % (count, messages))
        found.append((claiming * 1e6 / messages, recording * 1e6 / messages))
    return found


def grown(options, folder):
    server = Server(folder, "smtp://127.0.0.1:9")
    measured = {}
    try:
        server.start()
        for rows in options.grown_rows:
            database = "grown_%d" % rows    # no worker looks at it
            server.session().ask("CREATE DATABASE %s;" % database)
            server.session(database).ask(GROWN_SQL % {"rows": rows})
            for buffers in GROWN_BUFFERS:
                server.restart({"shared_buffers": buffers})
                measured[rows, buffers] = grown_passes(server, database, options)
            server.drop(database)
    finally:
        server.stop()
    least, most = options.grown_rows[0], options.grown_rows[-1]
    figures = []
    for buffers in GROWN_BUFFERS:
        for rows in options.grown_rows:
            for i, what in enumerate(("claim", "record")):
                figures.append(Figure(
                    "%s rows, %s: %s a message" % (in_words(rows), buffers, what),
                    "us", [run[i] for run in measured[rows, buffers]], "", None))
        if least != most:
            figures.append(Figure(
                "both, %s: %s against %s" % (
                    buffers, in_words(most), in_words(least)), "x",
                [sum(many) / sum(few) for few, many in zip(
                    measured[least, buffers], measured[most, buffers])],
                "", ("<", 1.2)))
    return ("%d messages claimed and recorded, 128 at a time, beside so many "
            "old rows in the same month,\nwith shared_buffers as the server comes "
            "(128MB) and with 2GB; synchronous_commit off, to\nmeasure the work and "
            "not the disk" % options.grown_messages), figures, server
