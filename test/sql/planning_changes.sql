-- planning: what becomes of planned messages when users, dates and types change.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();

-- A change of the zone: the same row with the same key, in another month's
-- partition where nine o'clock lies there (EC-TZ-024).
SELECT test.add('Ann', 'Europe/Kyiv', '1990-05-01');
SELECT test.plan('2044-04-29 12:00+00');
CREATE TABLE test.before AS SELECT id, idempotency_key FROM message_logs;
SELECT * FROM test.messages;
UPDATE users SET timezone = 'Pacific/Kiritimati' WHERE first_name = 'Ann';
SELECT * FROM test.messages;
UPDATE users SET timezone = 'Pacific/Pago_Pago' WHERE first_name = 'Ann';
SELECT * FROM test.messages;
SELECT count(*) FROM message_logs JOIN test.before USING (id, idempotency_key);
SELECT test.plan('2044-04-29 12:00+00'), (SELECT count(*) FROM message_ledger) AS ledger;

-- Name and address: the same row with new words (EC-RC-002, EC-S-014).
SELECT email FROM bs_update_user(test.id('Ann'), '{"first_name": "Anna", "email": "new@example.com", "location_city": "Rome"}');
SELECT subject, message_content, recipient_email, recipient_name FROM message_logs;
-- An UPDATE that changes nothing rewrites nothing.
CREATE TABLE test.version AS SELECT ctid AS place, xmin::text AS version FROM message_logs;
UPDATE users SET last_name = last_name;
SELECT count(*) FROM message_logs m JOIN test.version v ON (m.ctid, m.xmin::text) = (v.place, v.version);

-- The date: CANCELLED, and a new row for the new day; back again, and the old one is taken
-- back (EC-BD-015, EC-AN-012).
UPDATE users SET birthday_date = '1990-05-02';
SELECT test.plan('2044-05-01 00:00+00');
SELECT * FROM test.messages;
UPDATE users SET birthday_date = '1990-05-01';
SELECT test.plan('2044-05-01 00:00+00');
SELECT * FROM test.messages;
-- The date is gone: cancelled. It comes back: pending again.
UPDATE users SET birthday_date = NULL;
SELECT DISTINCT status, reason FROM test.messages ORDER BY 1, 2;
UPDATE users SET birthday_date = '1990-05-01';
SELECT local_date, status, reason FROM test.messages;
-- Another year of birth on the same day: another age, the same message.
UPDATE message_types SET text_template = '{{age}}' WHERE name = 'BIRTHDAY';
UPDATE users SET birthday_date = '1991-05-01';
SELECT local_date, status, message_content FROM message_logs ORDER BY 1;
SELECT * FROM test.disagreements WHERE n <> 0;

-- Soft delete and restore (EC-UD-015, 017, 019, EC-AN-011).
SELECT bs_delete_user(test.id('Anna'));
SELECT local_date, status, reason, due FROM test.messages;
SELECT test.plan('2044-04-30 12:00+00');
SELECT bs_restore_user(test.id('Anna'));
SELECT local_date, status, reason, due FROM test.messages;
-- What was cancelled by hand stays so, whatever the user does.
SELECT bs_cancel_message(id) FROM message_logs WHERE local_date = '2044-05-01';
UPDATE users SET timezone = 'Asia/Tokyo', last_name = 'Other';
SELECT bs_delete_user(test.id('Anna')), bs_restore_user(test.id('Anna'));
SELECT test.plan('2044-04-30 12:00+00');
SELECT local_date, status, reason, due FROM test.messages;
-- Purge: nothing is left (EC-UD-020, EC-DB-015).
SELECT bs_purge_user(test.id('Anna'));
SELECT (SELECT count(*) FROM message_logs) AS messages, (SELECT count(*) FROM message_ledger) AS ledger;

-- What is sent stays as it was sent, and no change makes it go out again (Q3, Q5).
SELECT test.add('Sent', 'Europe/Kyiv', '1990-06-10');
SELECT test.plan('2044-06-10 05:00+00');
SELECT count(*) FROM bs_claim('s', 10, '5 min', '2044-06-10 06:00+00') AS c,
       LATERAL bs_record(ARRAY[c.id], ARRAY[c.scheduled_send_time], ARRAY[c.claim_token], '{SENT}', '{accepted}', '{NULL}', '{250}', '{ok}', '{NULL}', ARRAY[timestamptz '2044-06-10 06:00:01+00']);
UPDATE users SET timezone = 'Pacific/Pago_Pago', first_name = 'Sent2';
SELECT test.plan('2044-06-10 07:00+00'), test.plan('2044-06-11 07:00+00');
UPDATE users SET birthday_date = '1990-06-11';
UPDATE users SET birthday_date = '1990-06-10';
SELECT bs_delete_user(test.id('Sent2')), bs_restore_user(test.id('Sent2'));
SELECT test.plan('2044-06-11 07:00+00');
SELECT local_date, send_at, status, reason FROM test.messages;
SELECT subject, actual_send_time AT TIME ZONE 'UTC' AS sent FROM message_logs;
SELECT bs_purge_user(test.id('Sent2'));

-- A change while a sender has it: it goes out as it was; if it fails, the next
-- attempt says what is true then, is not made before the new instant, or not at all.
SELECT test.add('Name', 'Europe/Kyiv', '1990-07-10'), test.add('Zone', 'Europe/Kyiv', '1990-07-10'), test.add('Gone', 'Europe/Kyiv', '1990-07-10');
SELECT test.plan('2044-07-10 05:00+00');
CREATE TABLE test.claimed AS SELECT * FROM bs_claim('s', 10, '5 min', '2044-07-10 06:00+00');
UPDATE users SET last_name = 'New' WHERE first_name = 'Name';
UPDATE users SET timezone = 'Pacific/Pago_Pago' WHERE first_name = 'Zone';
SELECT bs_delete_user(test.id('Gone'));
SELECT name, send_at, status FROM test.messages;
SELECT bs_record(array_agg(id), array_agg(scheduled_send_time), array_agg(claim_token), array_agg('RETRYING'::text), array_agg('later'::text),
                 array_agg(timestamptz '2044-07-10 06:05+00'), array_agg(450), array_agg('wait'::text), array_agg(NULL::text), array_agg(timestamptz '2044-07-10 06:00:01+00')) FROM test.claimed;
SELECT recipient_name FROM bs_claim('s', 10, '5 min', '2044-07-10 06:05+00') ORDER BY 1;
SELECT name, send_at, status, reason, due FROM test.messages;
SELECT recipient_name FROM bs_claim('s', 10, '5 min', '2044-07-10 19:59:59+00') ORDER BY 1;
SELECT recipient_name, attempts FROM bs_claim('s', 10, '5 min', '2044-07-10 20:00+00') ORDER BY 1;
DELETE FROM users;

-- The words of a type: what is pending says them at once, or at the latest when
-- it is claimed.
SELECT test.add('Word', 'UTC', '1990-08-10');
SELECT test.plan('2044-08-09 05:00+00');
UPDATE message_types SET subject_template = 'Dear {{first_name}}', text_template = 'Yours, {{last_name}}', html_template = '<p>{{last_name}}</p>' WHERE name = 'BIRTHDAY';
SELECT status, subject, message_content, html_content, type_version = (SELECT version FROM message_types WHERE name = 'BIRTHDAY') AS version FROM message_logs;
SET session_replication_role = replica;
UPDATE message_types SET subject_template = 'Hi', html_template = NULL, version = version + 1 WHERE name = 'BIRTHDAY';
RESET session_replication_role;
SELECT subject, html_content FROM bs_claim('s', 10, '5 min', '2044-08-10 09:00+00');
DELETE FROM users;
-- Its hour: the same row at another time; what would be claimed now is not, if the new
-- hour is still ahead (Q13).
SELECT test.add('Hour', 'UTC', '1990-08-10');
SELECT test.plan('2044-08-09 05:00+00');
UPDATE message_types SET send_time = '08:00' WHERE name = 'BIRTHDAY';
SELECT name, send_at, due FROM test.messages;
SET session_replication_role = replica;
UPDATE message_types SET send_time = '10:00', version = version + 1 WHERE name = 'BIRTHDAY';
RESET session_replication_role;
SELECT count(*) FROM bs_claim('s', 10, '5 min', '2044-08-10 09:00+00');
SELECT name, send_at, status, due FROM test.messages;
SELECT count(*) FROM bs_claim('s', 10, '5 min', '2044-08-10 10:00+00');
DELETE FROM users;
UPDATE message_types SET send_time = '09:00' WHERE name = 'BIRTHDAY';
-- Disabled: cancelled, and nothing new. Enabled again: only what is still ahead.
SELECT test.add('Off', 'UTC', '1990-08-10');
SELECT test.plan('2044-08-09 05:00+00');
UPDATE message_types SET enabled = false WHERE name = 'BIRTHDAY';
SELECT status, reason FROM test.messages;
SELECT test.plan('2044-08-09 05:00+00');
UPDATE message_types SET enabled = true WHERE name = 'BIRTHDAY';
SELECT status, reason FROM test.messages;
-- 29 February by another policy: the same message on another day is another message.
UPDATE message_types SET active_since = '2001-01-01';
SELECT test.add('Leap', 'UTC', '2000-02-29');
SELECT test.plan('2045-02-27 05:00+00');
UPDATE message_types SET feb29_policy = 'mar1' WHERE name = 'BIRTHDAY';
SELECT test.plan('2045-02-28 05:00+00');
SELECT local_date, status, reason FROM test.messages WHERE name = 'Leap';
UPDATE message_types SET feb29_policy = 'feb28' WHERE name = 'BIRTHDAY';
DELETE FROM users;

-- One type made by one INSERT (EC-ST-001, EC-AN-015): yearly and once, several dates of
-- one user and type (EC-AN-002), of another hour (EC-ST-011).
INSERT INTO message_types (name, date_source, subject_template, text_template, cadence, send_time, active_since)
VALUES ('NAME_DAY', 'user_dates', 'Name day', '{{full_name}}{{#years}} {{years}}{{/years}}', 'yearly', '07:30', '2001-01-01'),
       ('WEDDING', 'user_dates', 'Today', '{{full_name}}', 'once', '09:00', '2001-01-01');
SELECT test.add('Dates', 'Asia/Kathmandu', '1990-01-01');
SELECT test.error($$INSERT INTO user_dates VALUES (gen_random_uuid(), 'NAME_DAY', '2001-01-01')$$),
       test.error(format('INSERT INTO user_dates VALUES (%L, ''NOTHING'', ''2001-01-01'')', test.id('Dates')));
INSERT INTO user_dates (user_id, message_type, event_date, created_at)
SELECT test.id('Dates'), t, d::date, '2043-01-01' FROM (VALUES
    ('NAME_DAY', '2020-09-10'), ('NAME_DAY', '2021-09-10'), ('NAME_DAY', '2022-09-11'), ('NAME_DAY', '2045-09-10'),
    ('WEDDING', '2044-09-10'), ('WEDDING', '2043-09-11')) AS v (t, d);
SELECT test.plan('2044-09-09 12:00+00'), test.plan('2044-09-09 12:00+00');
SELECT type, local_date, send_at FROM test.messages;
SELECT message_type, local_date, message_content FROM message_logs ORDER BY 1, 2;
SELECT test.plan('2045-09-09 12:00+00');
SELECT type, local_date, send_at FROM test.messages WHERE send_at > '2045-01-01';
-- The earliest of two events of a day goes: the message is of the other one.
DELETE FROM user_dates WHERE event_date = '2020-09-10';
SELECT message_type, local_date, status, message_content FROM message_logs WHERE local_date = '2044-09-10' ORDER BY 1;
-- Both go, one comes back.
DELETE FROM user_dates WHERE event_date IN ('2021-09-10', '2044-09-10');
SELECT type, local_date, status, reason FROM test.messages WHERE local_date = '2044-09-10';
INSERT INTO user_dates (user_id, message_type, event_date) VALUES (test.id('Dates'), 'WEDDING', '2044-09-10');
SELECT type, local_date, status, reason FROM test.messages WHERE local_date = '2044-09-10';
UPDATE user_dates SET event_date = '2044-09-12' WHERE event_date = '2044-09-10';
SELECT type, local_date, status, reason FROM test.messages WHERE local_date = '2044-09-10';
-- Dates that become another user's.
SELECT test.add('Heir', 'UTC', '1990-01-01');
UPDATE user_dates SET user_id = test.id('Heir'), created_at = '2043-01-01';
SELECT test.plan('2044-09-10 10:00+00');
SELECT name, type, local_date, status, reason FROM test.messages WHERE send_at < '2045-01-01';
SELECT * FROM test.disagreements WHERE n <> 0;
DELETE FROM users;

-- By the server's own clock: what triggers plan in the same statement. Tomorrow in
-- UTC is within the horizon everywhere.
CREATE TABLE test.tomorrow AS SELECT (now() AT TIME ZONE 'UTC' + interval '1 day')::date AS day;
CREATE VIEW test.now AS
SELECT u.first_name AS name, m.message_type AS type, m.local_date - t.day AS day, m.status, m.status_reason AS reason,
       m.scheduled_send_time = bs_send_time(u.timezone, m.local_date, y.send_time) AS instant
  FROM test.tomorrow t, message_logs m JOIN users u ON u.id = m.user_id JOIN message_types y ON y.name = m.message_type
 WHERE m.scheduled_send_time < '2043-01-01' ORDER BY 1, 2, 3;
BEGIN;
SELECT bs_add_user('Api', 'x', 'api@example.com', 'UTC', (day - interval '40 years')::date) IS NOT NULL AS added FROM test.tomorrow;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date)
SELECT 'Bulk' || n, 'x', 'bulk' || n || '@example.com', 'Asia/Tokyo', (day - interval '40 years')::date + n % 2 * 100, (day - interval '20 years')::date
  FROM test.tomorrow, generate_series(1, 3) AS n;
SELECT * FROM test.now;
UPDATE users SET timezone = 'Pacific/Honolulu' WHERE first_name ~ 'Bulk';
SELECT name, type, instant FROM test.now WHERE NOT instant;
UPDATE users SET birthday_date = (day - interval '39 years')::date + 100, anniversary_date = NULL FROM test.tomorrow WHERE first_name = 'Api';
UPDATE users SET anniversary_date = birthday_date + 5000 WHERE first_name = 'Bulk1';
SELECT * FROM test.now;
UPDATE users SET birthday_date = (day - interval '40 years')::date FROM test.tomorrow WHERE first_name = 'Api';
INSERT INTO user_dates (user_id, message_type, event_date) SELECT test.id('Api'), 'WEDDING', day FROM test.tomorrow;
SELECT name, type, day, status, reason, instant FROM test.now WHERE name = 'Api';
-- Asked for by hand there is nothing left to do.
SELECT bs_plan();
DELETE FROM users;
-- A user whose send time of today has passed begins next year; one whose is ahead does not.
INSERT INTO users (first_name, last_name, email, timezone, birthday_date)
SELECT n, 'x', n || '@example.com', z.zone, ((now() AT TIME ZONE z.zone) - interval '40 years')::date
  FROM (SELECT DISTINCT ON (past) CASE WHEN past THEN 'Past' ELSE 'Ahead' END AS n, name AS zone
          FROM pg_timezone_names, LATERAL (SELECT (now() AT TIME ZONE name)::time >= '09:00' AS past) p
         WHERE name ~ '^Etc/GMT[-+]' AND bs_is_timezone(name) ORDER BY past, name) z;
SELECT name, status, instant FROM test.now;
ROLLBACK;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
