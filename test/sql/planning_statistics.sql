-- planning in a database without statistics, as after a restore: what it reads of
-- users is in proportion to what is owed, not to all there are.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

SELECT test.adopt();
ALTER TABLE users SET (autovacuum_enabled = off);
SET session_replication_role = replica;    -- planned below, not by the triggers
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'No', 'Statistics', 'nostat' || n || '@example.com', 'Europe/London',
       make_date(2001, 1, 1) + n % 365, '2044-01-01 00:00+00'
  FROM generate_series(1, 7300) AS n;
RESET session_replication_role;
SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass;

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
BEGIN;
SELECT bs_plan('2044-05-06 00:00+00', '2044-05-05 00:00+00') AS planned;
SELECT idx_tup_fetch < 500000 AS few_are_read FROM pg_stat_xact_user_tables WHERE relname = 'users';
ROLLBACK;
\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
