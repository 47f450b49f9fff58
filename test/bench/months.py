"""What ten years of old messages cost: upkeep, planning and claiming with 120
months beside the same with the usual few."""
import time

from cases import PEOPLE_SQL, Figure, seconds_of
from server import BenchError, Server

# As much as a row of a sent message has, spread over the months.
OLD_SQL = """
SELECT count(*) FROM bs_create_partitions_between(
    (bs_month(now()) - interval '119 months')::date, bs_month(now())) \\g /dev/null
SET session_replication_role = replica;    -- no look at users for each row
INSERT INTO message_logs (user_id, message_type, message_content, subject,
    recipient_email, recipient_name, local_date, scheduled_send_time, status,
    status_reason, attempts, actual_send_time, api_response_code,
    api_response_body, claimed_by, idempotency_key)
SELECT u.ids[1 + n %% cardinality(u.ids)], 'BIRTHDAY',
       'Hey, First' || n || ' Last' || n || ' it''s your birthday',
       'Happy birthday, First' || n || '!', 'old' || n || '@example.com',
       'First' || n || ' Last' || n, s.at::date, s.at, 'SENT', 'accepted', 1,
       s.at, 250, '250 2.0.0 Ok: queued', 'server/1/1', 'old' || n
  FROM (SELECT array_agg(id) AS ids FROM users) AS u,
       generate_series(1, %(rows)d) AS n
       CROSS JOIN LATERAL (
           SELECT date_trunc('month', now(), 'UTC') - interval '1 day'
                  - (n %% 3600) * interval '1 day' AS at) AS s;
RESET session_replication_role;
VACUUM ANALYZE message_logs;
CHECKPOINT;
"""

BATCH = 100


def measure(session, people):
    """Seconds of upkeep, planning, and claiming all that was planned."""
    session.ask("TRUNCATE message_ledger;"
                "DELETE FROM message_logs WHERE status <> 'SENT';"
                "VACUUM ANALYZE message_ledger, message_logs; CHECKPOINT;")
    upkeep, _ = seconds_of(
        session, "SELECT bs_create_partitions();" * 200)
    planning, answer = seconds_of(session, "SELECT bs_plan();")
    if answer != [str(people)]:
        raise BenchError("planned %s of %d" % (answer, people))
    as_of = session.value("SELECT max(scheduled_send_time) FROM message_logs"
                          " WHERE status = 'SCHEDULED'")
    claim = ("SELECT count(*) FROM bs_claim('bench', %d, '5 minutes', '%s');"
             % (BATCH, as_of))
    claiming, answer = seconds_of(session, claim * (people // BATCH))
    if sum(map(int, answer)) != people // BATCH * BATCH:
        raise BenchError("claimed %d of %d" % (sum(map(int, answer)), people))
    session.ask("DELETE FROM message_logs WHERE status = 'SENDING';")
    time.sleep(0.2)
    return upkeep / 200 * 1000, planning, claiming * 1e6 / people


def months(options, folder):
    people, rows = options.months_people, options.months_rows
    server = Server(folder, "smtp://127.0.0.1:9")
    found = {"few": [], "many": []}
    try:
        server.start()
        sessions = {}
        for name in found:
            server.session().ask("CREATE DATABASE months_%s;" % name)
            # No worker looks at these databases.
            sessions[name] = server.session("months_" + name)
            sessions[name].ask(PEOPLE_SQL % {
                "seed": options.seed % 1000 / 1000, "people": people})
        sessions["many"].ask(OLD_SQL % {"rows": rows})
        for _ in range(options.runs):
            for name, runs in found.items():
                runs.append(measure(sessions[name], people))
    finally:
        server.stop()
    figures = []
    for i, (what, unit, meaning) in enumerate((
            ("bs_create_partitions()", "ms", "that finds all in its place"),
            ("planning pass", "s", "bs_plan() of %d messages" % people),
            ("claim of a message", "us", "bs_claim(), %d at a time" % BATCH))):
        few = [run[i] for run in found["few"]]
        many = [run[i] for run in found["many"]]
        figures += [
            Figure("%s, few months" % what, unit, few, meaning, None),
            Figure("%s, 120 months" % what, unit, many, "", None),
            Figure("%s, ratio" % what, "",
                   [b / a for a, b in zip(few, many)], "", None)]
    note = ("%d messages to plan and claim; the usual 14 months, empty, beside "
            "120 more with %d old rows; the ratios should stay below 1.2"
            % (people, rows))
    return note, figures, server
