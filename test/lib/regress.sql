-- What the tests in test/sql share. Each makes the extension and this, and drops
-- both at its end. Times are passed in: the tests live in 2044 (a leap year) and
-- 2045, where the triggers, which go by the server's clock, plan nothing.

\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION birthday_scheduler;
CREATE SCHEMA test;

-- What a statement answers: "SQLSTATE message (hint)", with ids masked. The hint for a
-- function that does not exist is the server's, and differs from version to version.
CREATE FUNCTION test.error(statement text)
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    code text;
    message text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    IF code = '42883' THEN
        hint := NULL;
    END IF;
    RETURN regexp_replace(concat_ws(' ', code, message, '(' || nullif(hint, '') || ')'),
        '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', 'ID', 'g');
END
$$;

-- As if the extension had been there since 2001 and this database adopted.
CREATE FUNCTION test.adopt(planned_until timestamptz DEFAULT '2044-01-01 00:00+00')
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE message_types SET active_since = '2001-01-01 00:00+00';
    PERFORM bs_resume();
    UPDATE bs_installation SET planned_until = adopt.planned_until;
END
$$;

-- A user who came in 2043. The name is the first name and the key in the tests.
CREATE FUNCTION test.add(name text, zone text, birthday date, anniversary date DEFAULT NULL,
    created timestamptz DEFAULT '2043-01-01 00:00+00')
RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date, created_at)
    VALUES (name, 'Test', name || '@example.com', zone, birthday, anniversary, created);
END;

CREATE FUNCTION test.id(name text)
RETURNS uuid
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT u.id FROM users u WHERE u.first_name = name;
END;

-- A planning pass. What the outage between two passes of a test would catch up
-- with is no matter here: only max_lateness is looked back.
CREATE FUNCTION test.plan(as_of timestamptz, until timestamptz DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE bs_installation SET planned_until = as_of;
    RETURN bs_plan(until, as_of);
END
$$;

-- What the log says, without what differs from run to run.
CREATE VIEW test.messages AS
SELECT u.first_name AS name, m.message_type AS type, m.local_date,
       m.scheduled_send_time AT TIME ZONE 'UTC' AS send_at, m.status, m.status_reason AS reason,
       CASE WHEN m.due_at = m.scheduled_send_time THEN 'send_at'
            ELSE (m.due_at AT TIME ZONE 'UTC')::text END AS due,
       m.tableoid::regclass AS partition
  FROM message_logs m
       JOIN users u ON u.id = m.user_id
 WHERE m.scheduled_send_time >= '2043-01-01'
 ORDER BY m.scheduled_send_time, u.first_name, m.message_type;

-- What must hold at every moment: one row in the ledger for each message, keys
-- that say so, and the row at the instant that the user's zone says.
CREATE VIEW test.disagreements AS
SELECT 'message without ledger' AS what, count(*) AS n
  FROM message_logs m
 WHERE NOT EXISTS (SELECT FROM message_ledger k
                    WHERE (k.user_id, k.message_type, k.local_date) = (m.user_id, m.message_type, m.local_date))
UNION ALL
SELECT 'ledger without message', count(*)
  FROM message_ledger k
 WHERE NOT EXISTS (SELECT FROM message_logs m
                    WHERE (k.user_id, k.message_type, k.local_date) = (m.user_id, m.message_type, m.local_date))
UNION ALL
SELECT 'key twice', count(*) - count(DISTINCT m.idempotency_key) FROM message_logs m
UNION ALL
SELECT 'key says otherwise', count(*) FROM message_logs m
 WHERE m.idempotency_key <> concat_ws(':', m.user_id, m.message_type, to_char(m.local_date, 'YYYY-MM-DD'))
UNION ALL
SELECT 'pending at another instant', count(*)
  FROM message_logs m
       JOIN users u ON u.id = m.user_id
       JOIN message_types t ON t.name = m.message_type
 WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
   AND m.scheduled_send_time <> bs_send_time(u.timezone, m.local_date, t.send_time);

RESET client_min_messages;
\unset ON_ERROR_STOP
