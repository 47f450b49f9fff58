-- result: bs_send_late(), and what a pause lets expire.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
-- A new database is paused before the first user comes: planned, not claimed.
SELECT bs_installation_state();
SELECT bs_pause('staging');
SELECT bs_installation_state(), bs_health() #>> '{parts,installation,reason}' AS reason;
CREATE TABLE test.clock AS SELECT now() AT TIME ZONE 'UTC' - interval '3 hours' AS hour;
UPDATE message_types SET active_since = '2001-01-01', send_time = hour::time(0), enabled = name = 'BIRTHDAY' FROM test.clock;
SELECT bs_add_user(n, 'Test', n || '@example.com', 'UTC', (hour::date - interval '480 months')::date) IS NOT NULL AS added
  FROM test.clock, unnest('{Expired,ByHand,Changed,Deleted,Sent}'::text[]) AS n;
-- They came after the hour; as if they had been there before.
UPDATE users SET created_at = '2001-01-01';
SELECT bs_plan();
SELECT bs_installation_state(), (SELECT count(*) FROM message_logs) AS planned, (SELECT count(*) FROM bs_claim('s', 9, '5 min')) AS claimed;
-- What will expire is said by the pause, the health and the status.
CREATE FUNCTION test.masked(words text)
RETURNS text
LANGUAGE sql
RETURN regexp_replace(words, '(\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d(\+00)?', 'TIME', 'g');
SELECT test.masked(bs_pause());
SELECT test.masked(bs_health() #>> '{parts,installation,reason}') AS reason;
SELECT test.masked(lines) FROM bs_state_lines();
SELECT expiring, first_expiry = (SELECT min(scheduled_send_time) + interval '1 day' FROM message_logs) AS first FROM bs_pause_outlook();
-- Tomorrow's expire the day after tomorrow.
BEGIN;
UPDATE message_logs SET scheduled_send_time = now() + interval '20 hours';
SELECT expiring, first_expiry = now() + interval '44 hours' AS first, test.masked(words) FROM bs_pause_outlook();
UPDATE message_logs SET status = 'SENT';
SELECT * FROM bs_pause_outlook();
ROLLBACK;
SELECT bs_resume();
SELECT bs_installation_state();

-- Each state; the months between are long gone.
CREATE VIEW test.late AS
SELECT u.first_name AS name, m.status, m.status_reason AS reason, m.attempts, m.owed_at = test_old.at AS owed, m.scheduled_send_time = m.due_at AS due,
       m.tableoid = ('message_logs_' || to_char(m.scheduled_send_time AT TIME ZONE 'UTC', 'YYYY_MM'))::regclass AS month
  FROM message_logs m JOIN users u ON u.id = m.user_id, LATERAL (SELECT hour::timestamp(0) AT TIME ZONE 'UTC' - interval '40 days' AS at FROM test.clock) test_old;
SELECT bs_create_partition('message_logs', bs_month(now() - interval '40 days')) IS NOT NULL AS made;
UPDATE message_logs SET scheduled_send_time = scheduled_send_time - interval '40 days', due_at = NULL, attempts = 4, status = 'EXPIRED', status_reason = 'too_late';
UPDATE message_logs SET status = 'CANCELLED', status_reason = 'by_hand' WHERE user_id = test.id('ByHand');
UPDATE message_logs SET status = 'CANCELLED', status_reason = 'date_changed' WHERE user_id = test.id('Changed');
UPDATE users SET birthday_date = birthday_date - 9 WHERE first_name = 'Changed';
SELECT bs_delete_user(test.id('Deleted'));
CREATE FUNCTION test.send_late(name text)
RETURNS text
LANGUAGE sql
RETURN (SELECT test.error(format('SELECT bs_send_late(%L)', m.id)) FROM message_logs m WHERE m.user_id = test.id(name));
SELECT name, test.send_late(name) FROM test.late ORDER BY name;
SELECT * FROM test.late ORDER BY name;
SELECT test.send_late('Expired'), test.error($$SELECT bs_send_late('00000000-0000-0000-0000-000000000000')$$), test.error('SELECT bs_send_late(NULL)');
BEGIN;
UPDATE message_types SET enabled = false WHERE name = 'BIRTHDAY';
UPDATE message_logs SET status = 'CANCELLED' WHERE user_id = test.id('Expired');
SELECT test.send_late('Expired');
ROLLBACK;
-- Planning and recovery leave it; a claim gets it, as its user is now, and once.
SELECT bs_plan(), (SELECT recovered FROM bs_recover('{}')) AS recovered;
UPDATE users SET email = 'elsewhere@example.com' WHERE first_name = 'ByHand';
SELECT bs_next_due() <= now() AS due;
SELECT recipient_email, attempts, idempotency_key LIKE '%:BIRTHDAY:%' AS key FROM bs_claim('s', 9, '5 min') ORDER BY 1;
SELECT count(*) FROM bs_claim('s', 9, '5 min');
SELECT what, n FROM test.disagreements WHERE n > 0 AND what <> 'pending at another instant';
UPDATE message_logs SET status = 'SENT', actual_send_time = now(), due_at = NULL WHERE status = 'SENDING';
SELECT test.send_late('Expired');
SELECT substring(explanation FROM 'The message of .*') ~ 'was sent at .*, 963h after its time' AS late FROM bs_explain(test.id('Expired')) WHERE message_type = 'BIRTHDAY';
-- One whose time is still to come is sent at its time.
UPDATE message_logs SET status = 'CANCELLED', status_reason = 'by_hand', owed_at = NULL, scheduled_send_time = now() + interval '1 hour' WHERE user_id = test.id('Sent');
SELECT test.send_late('Sent');
SELECT status, owed_at, scheduled_send_time > now() AS ahead, due_at = scheduled_send_time AS due FROM message_logs WHERE user_id = test.id('Sent');

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
