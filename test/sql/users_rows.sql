-- users: rows that come by INSERT, UPDATE and COPY are checked as those of the functions.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

-- The same SQLSTATEs as bs_add_user(); I51.
CREATE FUNCTION test.insert_error(first text, last text, email text, zone text, birthday text DEFAULT NULL, anniversary text DEFAULT NULL)
RETURNS text
LANGUAGE sql
RETURN test.error(format('INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date)'
                         ' VALUES (%L, %L, %L, %L, %L, %L)', first, last, email, zone, birthday, anniversary));
SELECT test.insert_error(first, last, email, zone, birthday, anniversary) FROM (VALUES
    (NULL, 'b', 'a@example.com', 'UTC', NULL, NULL), ('a', NULL, 'a@example.com', 'UTC', NULL, NULL),
    ('a', 'b', NULL, 'UTC', NULL, NULL), ('a', 'b', 'a@example.com', NULL, NULL, NULL),
    (' ', 'b', 'a@example.com', 'UTC', NULL, NULL), ('a', '', 'a@example.com', 'UTC', NULL, NULL),
    (repeat('a', 101), 'b', 'a@example.com', 'UTC', NULL, NULL), ('a', 'b', repeat('a', 256), 'UTC', NULL, NULL),
    ('a', 'b', 'a', 'UTC', NULL, NULL), ('a', 'b', E'a@example.com\nBcc: x@example.com', 'UTC', NULL, NULL),
    ('a', 'b', 'a@example.com', 'EST', NULL, NULL),
    ('a', 'b', 'a@example.com', 'UTC', 'infinity', NULL), ('a', 'b', 'a@example.com', 'UTC', '-infinity', NULL),
    ('a', 'b', 'a@example.com', 'UTC', '1799-12-31', NULL), ('a', 'b', 'a@example.com', 'UTC', '3000-01-01', NULL),
    ('a', 'b', 'a@example.com', 'UTC', '1900-02-29', NULL),
    ('a', 'b', 'a@example.com', 'UTC', NULL, 'infinity'), ('a', 'b', 'a@example.com', 'UTC', NULL, '3000-01-01'),
    ('a', 'b', 'a@example.com', 'UTC', '1990-01-01', '1990-01-01'), ('a', 'b', 'a@example.com', 'UTC', '1990-01-01', '1989-01-01')
  ) AS v (first, last, email, zone, birthday, anniversary);
SELECT count(*) FROM users;

-- A good one; NULL timestamps are filled in.
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at, updated_at, location_city)
VALUES ('  Ann ', U&'e\0301', ' ann@example.com ', 'Europe/Kyiv', '1990-05-05', NULL, NULL, '');
SELECT first_name, last_name = U&'\00E9' AS nfc, email, created_at IS NOT NULL AND updated_at IS NOT NULL AS dated, location_city FROM users;
SELECT test.insert_error('b', 'b', 'ANN@example.com', 'UTC');

-- UPDATE.
SELECT set, test.error('UPDATE users SET ' || set) FROM unnest(ARRAY[
    $$first_name = NULL$$, $$first_name = ' '$$, $$first_name = repeat('x', 101)$$, $$last_name = E'\n'$$, $$email = 'x'$$, $$email = NULL$$,
    $$timezone = 'EST'$$, $$timezone = 'Europe/Kyiv '$$, $$birthday_date = 'infinity'$$, $$birthday_date = '3000-01-01'$$,
    $$anniversary_date = '1990-05-05'$$, $$anniversary_date = '3000-01-01'$$, $$id = NULL$$]) AS set;
SELECT first_name, email, timezone, birthday_date, anniversary_date FROM users;
UPDATE users SET first_name = '  Anna  ', created_at = NULL, updated_at = '2001-01-01';
SELECT first_name, created_at IS NOT NULL AS created, updated_at > '2020-01-01' AS updated FROM users;

-- A restore takes a name that cannot be seen: it was in the table before.
BEGIN;
SET LOCAL check_function_bodies = off;
INSERT INTO users (first_name, last_name, email, timezone) VALUES (U&'\2065', U&'\00A0', 'unseen@example.com', 'UTC');
SET LOCAL check_function_bodies = on;
UPDATE users SET location_city = 'x' WHERE email = 'unseen@example.com';
SELECT first_name = U&'\2065' AS kept, last_name = U&'\00A0' AS kept, location_city FROM users WHERE email = 'unseen@example.com';
SELECT test.error($$UPDATE users SET first_name = first_name || U&'\3000' WHERE email = 'unseen@example.com'$$);
ROLLBACK;

-- COPY: one bad row refuses all (I52).
COPY users (first_name, last_name, email, timezone, birthday_date) FROM stdin;
Bob	Good	bob@example.com	UTC	1990-01-01
Eve	Bad	eve@example.com	EST	1990-01-01
\.
COPY users (first_name, last_name, email, timezone, birthday_date) FROM stdin;
Bob	Good	bob@example.com	UTC	1990-01-01
Eve	Bad	eve at example.com	UTC	1990-01-01
\.
COPY users (first_name, last_name, email, timezone, birthday_date) FROM stdin;
Bob	Good	bob@example.com	UTC	infinity
\.
COPY users (first_name, last_name, email, timezone, birthday_date) FROM stdin;
Bob	Good	bob@example.com	UTC	1990-01-01
Bob	Twice	BOB@example.com	UTC	1990-01-01
\.
SELECT count(*) FROM users;
COPY users (first_name, last_name, email, timezone, birthday_date) FROM stdin;
  Bob 	Good	bob@example.com	UTC	1990-01-01
\.
SELECT first_name, last_name FROM users ORDER BY first_name;

-- 100,000 rows with one bad: none is left.
SELECT test.error($$INSERT INTO users (first_name, last_name, email, timezone)
    SELECT 'n' || n, 'x', 'n' || n || '@example.com', CASE n WHEN 77777 THEN 'EST' ELSE 'UTC' END FROM generate_series(1, 100000) AS n$$);
SELECT count(*) FROM users;

-- The checks hold where the triggers are off, as in a restore that disables them.
SET session_replication_role = replica;
SELECT test.insert_error(first, last, email, zone, birthday, anniversary) FROM (VALUES
    (' ', 'b', 'c@example.com', 'UTC', NULL, NULL), ('a', '', 'c@example.com', 'UTC', NULL, NULL),
    ('a', 'b', 'x', 'UTC', NULL, NULL), ('a', 'b', 'c@example.com', '<+03>-3', NULL, NULL),
    ('a', 'b', 'c@example.com', 'UTC', 'infinity', NULL), ('a', 'b', 'c@example.com', 'UTC', '-infinity', NULL),
    ('a', 'b', 'c@example.com', 'UTC', '1799-12-31', NULL), ('a', 'b', 'c@example.com', 'UTC', NULL, 'infinity'),
    ('a', 'b', 'c@example.com', 'UTC', '1990-01-01', '1990-01-01')) AS v (first, last, email, zone, birthday, anniversary);
RESET session_replication_role;

-- A user whose zone has left the server's database (as after an update of it) can
-- be changed otherwise and deleted, but not get another such zone.
BEGIN;
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users SET timezone = 'Mars/Olympus' WHERE id = test.id('Bob');
ALTER TABLE users ENABLE TRIGGER USER;
UPDATE users SET first_name = 'Rob' WHERE id = test.id('Bob') RETURNING first_name, timezone;
UPDATE users SET first_name = 'Bob' WHERE first_name = 'Rob';
SELECT test.error(format('UPDATE users SET timezone = %L WHERE id = %L', 'Mars/Pavonis', test.id('Bob')));
SELECT bs_delete_user(test.id('Bob'));
SELECT deleted_at IS NOT NULL AS deleted, timezone FROM users WHERE id = test.id('Bob');
ROLLBACK;

-- A restore brings a user in a zone that this server does not know; no one else may.
BEGIN;
SET LOCAL check_function_bodies = off;
COPY users (first_name, last_name, email, timezone, birthday_date) FROM stdin;
Old	Zone	old@example.com	Venus/Aphrodite	1990-01-01
\.
SET LOCAL check_function_bodies = on;
SELECT first_name, timezone FROM users WHERE email = 'old@example.com';
SELECT test.insert_error('a', 'b', 'c@example.com', 'Venus/Ishtar');
ROLLBACK;

-- Dates of a user's own.
INSERT INTO message_types (name, date_source, subject_template, text_template) VALUES ('NAME_DAY', 'user_dates', 's', 't');
SELECT type, day, test.error(format('INSERT INTO user_dates (user_id, message_type, event_date) VALUES (%L, %L, %L)', test.id('Bob'), type, day))
  FROM (VALUES ('NAME_DAY', '2001-02-03'), ('NAME_DAY', '2001-02-03'), ('NAME_DAY', '2002-02-03'), ('NAME_DAY', '3000-02-03'),
               ('NAME_DAY', 'infinity'), ('NAME_DAY', '-infinity'), ('NAME_DAY', '1799-12-31'), ('NAME_DAY', NULL),
               ('NOTHING', '2001-02-03'), (NULL, '2001-02-03')) AS v (type, day);
SELECT test.error($$INSERT INTO user_dates VALUES ('00000000-0000-0000-0000-000000000000', 'NAME_DAY', '2001-01-01')$$);
SELECT message_type, event_date FROM user_dates ORDER BY event_date;

-- No row of this file has planned anything: raw SQL and COPY do not adopt.
SELECT bs_installation_state(), (SELECT count(*) FROM pg_inherits WHERE inhparent = 'message_logs'::regclass) AS partitions;

-- A column of one's own is refused, because no dump with it could be restored; a table
-- beside it, a constraint and an index are not.
SELECT t, test.error(format('ALTER TABLE %s ADD COLUMN phone text', t)) FROM unnest('{users,user_dates,message_types,message_logs,bs_installation}'::text[]) AS t;
CREATE TABLE test.phones (user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE, phone text);
ALTER TABLE test.phones ADD COLUMN fax text;
ALTER TABLE users ADD CONSTRAINT mine CHECK (first_name <> 'Nobody');
CREATE INDEX idx_users_mine ON users (last_name);
ALTER TABLE users DROP CONSTRAINT mine;
DROP INDEX idx_users_mine;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
