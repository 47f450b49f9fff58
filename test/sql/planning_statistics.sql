-- planning in a database without statistics, as after a restore: what it reads of
-- users is in proportion to what is owed, not to all there are.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

SELECT test.adopt();
ALTER TABLE users SET (autovacuum_enabled = off);

-- The change of a user by plans that were made when there was one, and are kept (a
-- change of session_replication_role would have them made anew).
INSERT INTO users (first_name, last_name, email, timezone) VALUES ('The', 'first', 'first@example.com', 'UTC');
UPDATE users SET location_city = 'Here' WHERE email = 'first@example.com';
INSERT INTO users (first_name, last_name, email, timezone)
SELECT 'More', 'x', 'more' || n || '@example.com', 'UTC' FROM generate_series(1, 3000) AS n;
SELECT id AS first_id FROM users WHERE email = 'first@example.com' \gset
SELECT pg_stat_force_next_flush();
BEGIN;
UPDATE users SET location_city = 'There' WHERE id = :'first_id';
SELECT seq_tup_read, idx_tup_fetch BETWEEN 1 AND 100 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
ROLLBACK;
DELETE FROM users;

-- An import into a table that was empty when it was last vacuumed: by the statistics
-- its partial indexes are empty, too, and free to read.
SET client_min_messages = warning;
TRUNCATE users CASCADE;
RESET client_min_messages;
VACUUM users;
SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass;
SELECT pg_stat_force_next_flush();
BEGIN;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date)
SELECT 'Since', 'x', 'since' || n || '@example.com', 'UTC',
       CASE WHEN n % 3 = 0 THEN (now() AT TIME ZONE 'UTC')::date + 1 - interval '28 years' END
  FROM generate_series(1, 3000) AS n;
SELECT count(*) = 1000 AS planned FROM message_logs;
SELECT seq_tup_read, idx_tup_fetch < 15000 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
COMMIT;
INSERT INTO message_types (name, date_source, subject_template, text_template, active_since)
VALUES ('NAME_DAY', 'user_dates', 'x', 'x', '2000-01-01');
SET session_replication_role = replica;    -- planned below, not by the triggers
INSERT INTO user_dates (user_id, message_type, event_date)
SELECT id, 'NAME_DAY', (now() AT TIME ZONE 'UTC')::date + 1 FROM users LIMIT 1000;
RESET session_replication_role;
SELECT pg_stat_force_next_flush();
BEGIN;
SELECT bs_plan();
SELECT seq_tup_read, idx_tup_fetch < 15000 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
COMMIT;
SELECT min(id::text) AS first_id FROM users \gset
SELECT pg_stat_force_next_flush();
BEGIN;
SELECT location_city FROM bs_update_user(:'first_id', '{"location_city": "There"}');
SELECT bs_delete_user(:'first_id');
SELECT bs_restore_user(:'first_id');
SELECT seq_tup_read, idx_tup_fetch BETWEEN 1 AND 100 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
ROLLBACK;
SET client_min_messages = warning;
TRUNCATE users, user_dates CASCADE;
RESET client_min_messages;
DELETE FROM message_types WHERE name = 'NAME_DAY';

SET session_replication_role = replica;    -- planned below, not by the triggers
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'No', 'Statistics', 'nostat' || n || '@example.com', 'Europe/London',
       make_date(2001, 1, 1) + n % 365, '2044-01-01 00:00+00'
  FROM generate_series(1, 7300) AS n;
RESET session_replication_role;
SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass;

SELECT pg_stat_force_next_flush();      -- or what follows counts what was before
BEGIN;
SELECT bs_plan('2044-05-06 00:00+00', '2044-05-05 00:00+00') AS planned;
SELECT seq_tup_read, idx_tup_fetch < 5000 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
ROLLBACK;

-- Statistics that are older than what came since: nobody had an anniversary then.
-- The partial indexes of anniversaries, which are empty by them, are read once a day,
-- and not once a user.
ANALYZE users;
INSERT INTO users (first_name, last_name, email, timezone, anniversary_date, created_at)
SELECT 'Since', 'x', 'since' || n || '@example.com', 'Europe/London', make_date(2001, 1, 1) + n % 365, '2044-01-01 00:00+00'
  FROM generate_series(1, 7300) AS n;
SELECT pg_stat_force_next_flush();      -- or what follows counts what was before
BEGIN;
SELECT bs_plan('2044-05-06 00:00+00', '2044-05-05 00:00+00') AS planned;
SELECT idx_tup_fetch < 500000 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
ROLLBACK;

-- Many who have the same day: a step reads its own share, not all that is left.
SET session_replication_role = replica;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'Same', 'day', 'same' || n || '@example.com', 'Europe/London', '2000-06-20', '2044-01-01 00:00+00'
  FROM generate_series(1, 4000) AS n;
RESET session_replication_role;
ANALYZE users;
UPDATE bs_installation SET planned_until = '2044-06-19 00:00+00';
SELECT pg_stat_force_next_flush();      -- or what follows counts what was before
BEGIN;
SELECT steps > 40 AS many_steps FROM bs_plan_pass('2044-06-19 12:00+00', '2044-06-20 12:00+00', 100);
SELECT count(*) FROM message_logs WHERE local_date = '2044-06-20' AND message_type = 'BIRTHDAY';
SELECT seq_tup_read, idx_tup_fetch < 80000 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
ROLLBACK;

-- Those whose hour is not within the window are not looked at, in no pass: here the day
-- of 4000 people, some minutes before it comes in sight.
VACUUM users;
SELECT pg_stat_force_next_flush();
BEGIN;
SELECT bs_plan('2044-06-20 07:45+00', '2044-06-19 07:45+00') AS planned;
SELECT seq_tup_read, idx_tup_fetch < 1000 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
ROLLBACK;

-- The change of a user looks for the user's messages by a plan that was made when
-- there were none, and does not read all that came since.
VACUUM ANALYZE message_logs;
UPDATE users SET location_city = 'Here' WHERE email = 'same1@example.com';
SELECT bs_plan('2044-06-20 12:00+00', '2044-06-19 12:00+00') >= 4000 AS planned;
SELECT pg_stat_force_next_flush();
BEGIN;
UPDATE users SET location_city = 'There' WHERE email = 'same1@example.com';
SELECT sum(seq_tup_read) AS seq_tup_read, sum(idx_tup_fetch) BETWEEN 1 AND 50 AS few_are_read
  FROM pg_stat_xact_user_tables WHERE relname LIKE 'message\_logs%';
ROLLBACK;
\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
