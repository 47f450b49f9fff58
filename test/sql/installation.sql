-- installation: in which database messages are planned.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
-- New: raw rows and COPY plan nothing, and no function writes by itself.
SELECT bs_installation_state();
CREATE TABLE test.tomorrow AS SELECT (now() AT TIME ZONE 'UTC' + interval '1 day')::date AS day;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date)
SELECT 'Raw', 'x', 'raw@example.com', 'UTC', day - interval '40 years' FROM test.tomorrow;
COPY users (first_name, last_name, email, timezone, birthday_date, created_at) FROM stdin;
Copy	x	copy@example.com	UTC	1990-05-05	2043-01-01 00:00:00+00
\.
UPDATE users SET timezone = 'Asia/Tokyo';
UPDATE message_types SET send_time = send_time;
SELECT bs_plan(), bs_plan(NULL, '2044-05-04 12:00+00');
SELECT bs_installation_state(), (SELECT count(*) FROM bs_installation) AS rows, (SELECT count(*) FROM message_logs) AS messages,
       (SELECT count(*) FROM pg_inherits WHERE inhparent = 'message_logs'::regclass) AS partitions;
-- Paused before anybody came: adopted, and nothing is sent.
BEGIN;
SELECT bs_pause('before the first user');
SELECT bs_installation_state(), bs_add_user('Api', 'x', 'api@example.com', 'UTC', (day - interval '40 years')::date) IS NOT NULL AS added FROM test.tomorrow;
SELECT bs_installation_state(), (SELECT count(*) FROM message_logs m JOIN users u ON u.id = m.user_id WHERE u.first_name = 'Api') AS planned;
SELECT count(*) FROM bs_claim('s', 10, '5 min', (SELECT day + time '10:00' FROM test.tomorrow) AT TIME ZONE 'UTC');
SELECT bs_resume();
SELECT bs_installation_state();
ROLLBACK;
SELECT count(*) FROM bs_claim('s', 10, '5 min', '2044-05-05 12:00+00');

-- Adopted by the first call of a function that adds people; what was there before
-- is caught up by the next pass.
BEGIN;
SELECT bs_add_user('Api', 'x', 'api@example.com', 'UTC') IS NOT NULL AS added;
SELECT bs_installation_state(), (SELECT count(*) FROM message_logs) AS messages;
SELECT bs_plan();
ROLLBACK;
-- Or by bs_seed(), or by bs_resume().
BEGIN;
SELECT bs_seed(3, false);
SELECT bs_installation_state();
ROLLBACK;
SELECT bs_installation_state();
SELECT bs_resume();
SELECT bs_installation_state(), bs_plan();
SELECT system_identifier = bs_system_identifier() AS server, d.oid IS NOT NULL AS database, paused_at, planned_until > now() AS planned
  FROM bs_installation i LEFT JOIN pg_database d ON d.oid = i.database_oid AND d.datname = current_database();
SELECT system_identifier = bs_system_identifier() AS same FROM pg_control_system();
-- There is one row.
SELECT test.error('INSERT INTO bs_installation (system_identifier, database_oid) VALUES (1, 1)'),
       test.error('INSERT INTO bs_installation (singleton, system_identifier, database_oid) VALUES (false, 1, 1)');
SELECT bs_resume();
SELECT count(*) FROM bs_installation;

-- Paused: planning goes on, claims do not.
SELECT bs_pause() IS NOT NULL AS said;
SELECT bs_installation_state();
SELECT bs_pause() IS NOT NULL AS said;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date)
SELECT 'Paused', 'x', 'paused@example.com', 'UTC', day - interval '40 years' FROM test.tomorrow;
SELECT count(*) FROM message_logs WHERE user_id = test.id('Paused');
SELECT count(*) FROM bs_claim('s', 10, '5 min', (SELECT day + time '10:00' FROM test.tomorrow) AT TIME ZONE 'UTC');
SELECT bs_resume();
SELECT bs_installation_state();

-- A copy, whether another server's or another database's: nothing is planned or
-- claimed, said so with a notice, and users can be changed all the same.
SET client_min_messages = notice;
UPDATE bs_installation SET system_identifier = system_identifier + 1;
SELECT bs_installation_state();
SELECT bs_plan();
UPDATE users SET birthday_date = NULL WHERE first_name = 'Paused';
INSERT INTO users (first_name, last_name, email, timezone, birthday_date)
SELECT 'Copied', 'x', 'copied@example.com', 'UTC', day - interval '40 years' FROM test.tomorrow;
SELECT bs_add_user('Api', 'x', 'api@example.com', 'UTC', (day - interval '40 years')::date) IS NOT NULL AS added FROM test.tomorrow;
SELECT count(*) FROM bs_claim('s', 10, '5 min', (SELECT day + time '10:00' FROM test.tomorrow) AT TIME ZONE 'UTC');
SELECT u.first_name, m.status FROM users u LEFT JOIN message_logs m ON m.user_id = u.id ORDER BY 1;
UPDATE bs_installation SET system_identifier = system_identifier - 1, database_oid = 1;
SELECT bs_installation_state(), bs_plan();
SELECT bs_health() -> 'parts' -> 'installation' AS installation;
-- bs_resume() adopts the copy; the next pass catches up, and cancels what is void.
SELECT bs_resume();
SELECT bs_installation_state(), bs_plan();
SELECT u.first_name, m.status FROM users u LEFT JOIN message_logs m ON m.user_id = u.id ORDER BY 1;
RESET client_min_messages;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
