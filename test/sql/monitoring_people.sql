-- monitoring: what people type to find somebody, and to see today and the week.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
SELECT test.add('Zoe', 'Europe/Paris', '1990-05-05'), test.add('Zoltan', 'UTC', NULL, '2001-06-07'), test.add('Percy', 'UTC', NULL), test.add('Old', 'UTC', NULL);
UPDATE users SET first_name = 'Zoë', last_name = 'Ångström' WHERE first_name = 'Zoe';
UPDATE users SET first_name = 'Percy%_' WHERE first_name = 'Percy';
SELECT bs_delete_user(test.id('Old'));
-- By part of a name or address, without case; by the address, and by the id.
SELECT name, timezone, birthday_date, anniversary_date, deleted_at IS NOT NULL AS deleted FROM bs_find_user(' zO ');
SELECT name FROM bs_find_user('ÅNGSTR');
SELECT name FROM bs_find_user('zoltan@EXAMPLE.com');
SELECT name, deleted_at IS NOT NULL AS deleted FROM bs_find_user('old@example.com');
SELECT name FROM bs_find_user('tan@ex');
SELECT name FROM bs_find_user('percy%_ test');
SELECT count(*) FROM bs_find_user('%_x');
SELECT name FROM test.id('Zoltan') AS i, bs_find_user(upper(i::text));
SELECT count(*) FROM bs_find_user(gen_random_uuid()::text);
SELECT test.error(format('SELECT bs_find_user(%L)', w)) FROM unnest(ARRAY['', '  ', 'z', NULL]) AS w;
-- No more than fifty; an address or an id is found without reading the others.
INSERT INTO users (first_name, last_name, email, timezone) SELECT 'Many', n::text, 'many' || n || '@example.com', 'UTC' FROM generate_series(1, 3000) n;
SELECT count(*) FROM bs_find_user('many');
SELECT id AS many FROM users WHERE email = 'many1500@example.com' \gset
SELECT pg_stat_force_next_flush();
CREATE TABLE test.before AS SELECT seq_scan AS scans FROM pg_stat_user_tables WHERE relid = 'users'::regclass;
SELECT name FROM bs_find_user('MANY2999@example.com');
SELECT name FROM bs_find_user(:'many');
SELECT pg_stat_force_next_flush();
SELECT seq_scan - b.scans AS scans FROM pg_stat_user_tables, test.before b WHERE relid = 'users'::regclass;
DELETE FROM users;

-- Today is each user's own: at one instant it is three days.
BEGIN;
UPDATE message_types SET send_time = '00:00' WHERE name = 'BIRTHDAY';
CREATE TABLE test.place AS
SELECT zone, to_char(now() AT TIME ZONE zone, 'HH24:MI') AS clock, (now() AT TIME ZONE zone)::date AS day
  FROM unnest('{Pacific/Kiritimati,UTC,Pacific/Pago_Pago}'::text[]) AS zone;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'Today', zone, md5(zone) || '@example.com', zone, day - interval '480 months', timestamptz '2001-01-01' FROM test.place
UNION ALL SELECT 'Tomorrow', zone, 'x' || md5(zone) || '@example.com', zone, day + 1 - interval '480 months', '2001-01-01' FROM test.place;
SELECT bs_plan();
SELECT t.name, t.type, t.clock = p.clock AS clock, t.status, t.why ~ '^\S+ late$' AS why FROM bs_today t JOIN test.place p ON translate(t.name, E'\n', ' ') = 'Today ' || p.zone ORDER BY 1;
SELECT count(*) FROM bs_today;
SELECT w.day = p.day + 1 AS tomorrow, w.clock, w.name, w.type, w.status FROM bs_week w JOIN test.place p ON translate(w.name, E'\n', ' ') = 'Tomorrow ' || p.zone ORDER BY name;
SELECT n.timezone, bs_local_clock(n.timezone, n.day) IS NULL AS unknown FROM (VALUES ('Mars/Olympus', CURRENT_DATE), ('UTC', NULL)) AS n (timezone, day);

COMMIT;

-- bs_health() as rows.
SELECT part, status, reason IS NULL AS no_reason FROM bs_checks WHERE part NOT IN ('upkeep', 'backlog');
SELECT bool_and(c.status = p.value ->> 'status') AS same, count(*) = (SELECT count(*) FROM bs_checks) AS all
  FROM jsonb_each(bs_health() -> 'parts') p JOIN bs_checks c ON c.part = p.key;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
