-- planning: what replication, or a session with session_replication_role = replica,
-- changes past the triggers. The next pass catches it up and it is said; nobody who is
-- gone gets mail meanwhile.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
\set VERBOSITY terse

SELECT test.adopt();
SELECT test.add(n, 'UTC', '1990-03-05') FROM unnest('{Erased,Deleted,Renamed,Moved,Date,Restored,Same}'::text[]) AS n;
SELECT test.plan('2044-03-04 12:00+00');
SELECT bs_delete_user(test.id('Restored'));
SELECT past_triggers, past_triggers_at FROM bs_installation;

SET session_replication_role = replica;
DELETE FROM users WHERE first_name = 'Erased';
UPDATE users SET deleted_at = now() WHERE first_name = 'Deleted';
UPDATE users SET email = 'other@example.com', last_name = 'Other' WHERE first_name = 'Renamed';
UPDATE users SET timezone = 'Asia/Tokyo' WHERE first_name = 'Moved';
UPDATE users SET birthday_date = '1990-03-07' WHERE first_name = 'Date';
UPDATE users SET deleted_at = NULL WHERE first_name = 'Restored';
SELECT test.add('New', 'UTC', '1990-03-05');
RESET session_replication_role;
SELECT first_name, version FROM users ORDER BY 1;

-- At a claim: gone, deleted, and by the own name and address.
BEGIN;
SELECT c.recipient_email FROM bs_claim('s', 10, '5 min', '2044-03-05 09:00+00') c ORDER BY 1;
SELECT status, status_reason, count(*) FROM message_logs GROUP BY 1, 2 ORDER BY 1, 2;
SELECT bs_claim('s', 10, '5 min', '2044-03-05 09:00:05+00');
ROLLBACK;
-- The same by the broker.
BEGIN;
SELECT c.recipient_email, c.attempts
  FROM bs_claim_copies('s', '5 min', ARRAY(SELECT id FROM message_logs WHERE recipient_name ~ '^(Erased|Deleted)' ORDER BY id),
                       ARRAY(SELECT scheduled_send_time FROM message_logs WHERE recipient_name ~ '^(Erased|Deleted)' ORDER BY id), '2044-03-05 09:00+00') c;
SELECT recipient_name, status, status_reason FROM message_logs WHERE recipient_name ~ '^(Erased|Deleted)' ORDER BY 1;
ROLLBACK;

-- The next pass.
SELECT test.plan('2044-03-04 12:00+00');
SELECT recipient_name, recipient_email, local_date, scheduled_send_time, status, status_reason FROM message_logs ORDER BY recipient_name, local_date;
SELECT past_triggers, past_triggers_at IS NOT NULL AS said FROM bs_installation;
SELECT h ->> 'status' AS status, regexp_replace(h ->> 'reason', ' at .*', '') AS reason FROM bs_planning_health('adopted') h;
-- Nothing is left, and it is said for a day.
SELECT test.plan('2044-03-04 12:00+00');
SELECT past_triggers FROM bs_installation;
UPDATE bs_installation SET past_triggers_at = now() - interval '25 hours';
SELECT bs_planning_health('adopted') ->> 'reason' AS reason;

-- An attempt that came to nothing: its user was erased meanwhile.
SELECT test.add('Late', 'UTC', '1990-04-05');
SELECT test.plan('2044-04-04 12:00+00');
SELECT id, claim_token AS token FROM bs_claim('s', 1, '5 min', '2044-04-05 09:00+00') \gset
SET session_replication_role = replica;
DELETE FROM users WHERE first_name = 'Late';
RESET session_replication_role;
SELECT bs_record(ARRAY[:'id']::uuid[], '{2044-04-05 09:00+00}', ARRAY[:'token']::uuid[], '{RETRYING}', '{later}', '{2044-04-05 09:01+00}', '{450}', '{busy}', '{busy}', '{2044-04-05 09:00+00}');
SELECT bs_claim('s', 1, '5 min', '2044-04-05 09:02+00');
SELECT status, status_reason, attempts FROM message_logs WHERE id = :'id';

-- Changes that the triggers see are none of these, nor are new rules for a zone.
DELETE FROM users;
DELETE FROM message_logs;
DELETE FROM message_ledger;
UPDATE bs_installation SET past_triggers = NULL, past_triggers_at = NULL;
SELECT test.add(n, 'UTC', '1990-05-05') FROM unnest('{A,B,C,D}'::text[]) AS n;
SELECT test.plan('2044-05-04 12:00+00');
UPDATE users SET last_name = 'New', timezone = 'Asia/Tokyo' WHERE first_name = 'A';
SELECT bs_delete_user(test.id('B'));
UPDATE message_types SET subject_template = 'Hello' WHERE name = 'BIRTHDAY';
UPDATE message_logs SET scheduled_send_time = scheduled_send_time + interval '1 hour' WHERE user_id = test.id('C');
SELECT test.plan('2044-05-04 12:00+00');
SELECT past_triggers FROM bs_installation;

-- The version of a user: it rises with what messages are made from.
SELECT version FROM users WHERE first_name = 'D';
UPDATE users SET updated_at = now(), first_name = first_name WHERE first_name = 'D' RETURNING version;
UPDATE users SET location_city = ' Rome ' WHERE first_name = 'D' RETURNING version;
UPDATE users SET location_city = 'Rome' WHERE first_name = 'D' RETURNING version;
UPDATE users SET anniversary_date = '2020-01-01' WHERE first_name = 'D' RETURNING version;
UPDATE users SET created_at = '2042-01-01' WHERE first_name = 'D' RETURNING version;
UPDATE users SET version = 1000 WHERE first_name = 'D' RETURNING version;
INSERT INTO message_types (name, date_source, subject_template, text_template) VALUES ('NAME_DAY', 'user_dates', 's', 't');
INSERT INTO user_dates VALUES (test.id('D'), 'NAME_DAY', '1990-05-05');
SELECT version FROM users WHERE first_name = 'D';
DELETE FROM user_dates;
SELECT version FROM users WHERE first_name = 'D';
-- A restore brings it along.
INSERT INTO users (first_name, last_name, email, timezone, version) VALUES ('E', 'Test', 'e@example.com', 'UTC', 7) RETURNING version;

SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
