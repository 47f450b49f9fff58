-- bad input: what is refused in every place where it can come in, and what looks bad
-- and is taken. Addresses, zones and dates: users_api, users_rows and base_zones;
-- templates: message_types; settings: bad_input_settings.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

SELECT bs_resume();

-- Every control character, in every text, wherever it stands in it, by every way in:
-- 22023, with a hint that names it and never the text. U+0000 does not come so far.
CREATE TABLE test.controls AS
SELECT c AS point, chr(c) AS control FROM generate_series(1, 31) AS c
UNION ALL SELECT c, chr(c) FROM generate_series(127, 159) AS c
UNION ALL SELECT c, chr(c) FROM unnest('{8232,8233}'::integer[]) AS c;
CREATE TABLE test.places AS
SELECT k.k, f.f FROM unnest('{first_name,last_name,email,location_city,location_country}'::text[]) AS k (k),
       unnest('{%sa@example.com,a%sa@example.com,a@example.com%s}'::text[]) AS f (f);
INSERT INTO users (first_name, last_name, email, timezone, location_city, location_country)
VALUES ('Ann', 'Test', 'ann@example.com', 'UTC', 'Rome', 'Italy');
CREATE FUNCTION test.ways(k text, value text)
RETURNS TABLE (way text, statement text)
LANGUAGE sql
AS $$
    WITH u AS (
        SELECT '{"first_name": "a", "last_name": "b", "email": "a@example.com", "timezone": "UTC", "location_city": "c", "location_country": "d"}'::jsonb
               || jsonb_build_object(k, value) AS u
    )
    SELECT 'bs_add_user', format('SELECT bs_add_user(%L, %L, %L, %L, NULL, NULL, %L, %L)', u ->> 'first_name', u ->> 'last_name', u ->> 'email', u ->> 'timezone', u ->> 'location_city', u ->> 'location_country') FROM u
    UNION ALL
    SELECT 'bs_update_user', format('SELECT bs_update_user(%L, %L)', test.id('Ann'), jsonb_build_object(k, value))
    UNION ALL
    SELECT 'INSERT', format('INSERT INTO users (first_name, last_name, email, timezone, location_city, location_country) VALUES (%L, %L, %L, %L, %L, %L)', u ->> 'first_name', u ->> 'last_name', u ->> 'email', u ->> 'timezone', u ->> 'location_city', u ->> 'location_country') FROM u
    UNION ALL
    SELECT 'UPDATE', format('UPDATE users SET %I = %L', k, value);
$$;
SELECT w.way, p.k, count(*), count(*) FILTER (WHERE e LIKE '22023 %') AS refused,
       count(*) FILTER (WHERE e ~ format('^22023 %s must not contain control characters \(Character \d+ is U\+%s\.', p.k, lpad(upper(to_hex(c.point)), 4, '0'))) AS named
  FROM test.controls c, test.places p, test.ways(p.k, format(p.f, c.control)) w, test.error(w.statement) AS e
 GROUP BY w.way, p.k ORDER BY w.way, p.k;
SELECT test.error(format('UPDATE users SET first_name = %L', U&'na\00EFve\2028'));
SELECT test.error(format('UPDATE users SET email = %L', E'a@example.com\r\nBcc: b@example.com'));
-- COPY, which reads \x0A and the like itself; U+0000 as well.
SELECT count(*), count(*) FILTER (WHERE e LIKE '22023 %must not contain control characters (Character 2 is U+%') AS refused
  FROM test.controls c, unnest('{first_name,last_name,location_city,location_country}'::text[]) AS k,
       test.error(format('COPY users (%I, %s, email, timezone) FROM PROGRAM %L', k,
           CASE k WHEN 'first_name' THEN 'last_name, location_city' WHEN 'last_name' THEN 'first_name, location_city' ELSE 'first_name, last_name' END,
           format('printf ''%%s\tb\tc\ta@example.com\tUTC\n'' ''a%s''',
               regexp_replace(encode(convert_to(c.control, 'UTF8'), 'hex'), '(..)', '\\x\1', 'g')))) AS e
 WHERE c.point IN (1, 9, 10, 13, 27, 127, 133, 155, 8232, 8233);
COPY users (first_name, last_name, email, timezone) FROM stdin;
A\x00	b	a@example.com	UTC
\.
COPY users (first_name, last_name, email, timezone) FROM stdin;
A\nB	b	a@example.com	UTC
\.
SELECT count(*), min(first_name) FROM users;

-- What a dump brings is taken, whatever it is: there controls become blanks. A row
-- that came while triggers were off can be changed otherwise and deleted.
SET check_function_bodies = off;
COPY users (first_name, last_name, email, timezone, location_city) FROM stdin;
Res\r\nBcc: x	\tTor\x7fed\n	restored@example.com	UTC	New\x0bYork
\.
RESET check_function_bodies;
SELECT first_name, last_name, location_city FROM users WHERE email = 'restored@example.com';
SET session_replication_role = replica;
INSERT INTO users (first_name, last_name, email, timezone) VALUES (E'Old\r\nBcc: x@example.com', E'Row\x01', 'old@example.com', 'UTC');
RESET session_replication_role;
UPDATE users SET location_city = 'Rome' WHERE email = 'old@example.com';
SELECT test.error($$UPDATE users SET first_name = first_name || 'x' WHERE email = 'old@example.com'$$);
SELECT bs_delete_user(id) FROM users WHERE email = 'old@example.com';
SELECT bs_restore_user(id) FROM users WHERE email = 'old@example.com';
SELECT to_json(first_name) AS first_name, to_json(last_name) AS last_name, location_city FROM users WHERE email = 'old@example.com';
DELETE FROM users WHERE email <> 'ann@example.com';

-- What a name may be: a direction is part of a text in Arabic or Hebrew; headers leave
-- it out (test/unit/test_mime_header.c). An address is ASCII.
SELECT what, left(test.error(format('UPDATE users SET first_name = %L', name)), 70) AS name, left(test.error(format('UPDATE users SET email = %L', name || '@example.com')), 60) AS email
  FROM (VALUES ('RTL override', U&'a\202Eb'), ('all of them', U&'\202A\202B\202C\202D\202E\2066\2067\2068\2069'), ('zero width', U&'\200B\200Cx\200D\FEFF'),
               ('soft hyphen', U&'a\00ADb'), ('variation', U&'\2764\FE0F'), ('tag', U&'\+0E0041'), ('private', U&'\E000'), ('not a character', U&'\FFFF'),
               ('replacement', U&'\FFFD'), ('Greek A', U&'\0391nn'), ('percent', 'a%0d%0aBcc: b'), ('encoded word', '=?utf-8?q?=0D=0A?='), ('header', 'Bcc: a@example.com, <b@example.com>')) AS v (what, name);
SELECT first_name, email FROM users;

-- SQL in every text is text (I37).
SELECT k, test.error(format('UPDATE users SET %I = %L', k, x)) FROM unnest('{first_name,last_name,location_city,location_country}'::text[]) AS k,
       unnest(ARRAY[$$'; DROP TABLE users; --$$, $$$1 %I %L %s \\'; SELECT 1$$]) AS x;
SELECT first_name, location_city FROM users;
SELECT test.error(s) FROM unnest(ARRAY[
    $$SELECT bs_preview(test.id('x'), '''; DROP TABLE users; --', 2044)$$, $$SELECT bs_explain('''; DROP TABLE users; --')$$,
    $$SELECT bs_upkeep('partitions''; DROP TABLE users; --')$$, $$SELECT bs_grant('"; DROP TABLE users; --', 'reader')$$, $$SELECT bs_grant('postgres', 'reader''; DROP TABLE users; --')$$,
    $$SELECT count(*) FROM bs_claim('''; DROP TABLE users; --', 1, '1 min')$$, $$SELECT bs_occurrence('2000-02-29', 2001, '''; DROP TABLE users; --')$$,
    $$SELECT bs_is_timezone('''; DROP TABLE users; --')$$, $$SELECT bs_create_partition('users; DROP TABLE users; --', '2044-01-01')$$]) AS s;
SELECT count(*) FROM users;

-- JSON (I42): too deep, too much, U+0000, keys twice (the last counts), dates that are
-- none, or not as ISO writes them (I21).
SELECT what, left(test.error(format('SELECT bs_update_user((SELECT id FROM users), %L)', j)), 90) AS answer FROM (VALUES
    ('not JSON', '{'), ('deep', '{"first_name": ' || repeat('[', 500) || repeat(']', 500) || '}'),
    ('deeper', repeat('[', 1000000)), ('50 MB', '{"first_name": "' || repeat('x', 50000000) || '"}'), ('U+0000', '{"first_name": "\u0000"}'), ('lone surrogate', '{"first_name": "\ud800"}'),
    ('a control', '{"first_name": "a\u0085b"}'), ('many keys', (SELECT jsonb_object_agg('k' || n, n)::text FROM generate_series(1, 100000) AS n)),
    ('today', '{"birthday_date": "today"}'), ('epoch', '{"birthday_date": "epoch"}'), ('infinity', '{"birthday_date": "-infinity"}'), ('US', '{"birthday_date": "02/03/1904"}'),
    ('time', '{"birthday_date": "1990-02-03 25:00"}'), ('zone', '{"anniversary_date": "1990-02-03+14"}'), ('short', '{"birthday_date": "90-2-3"}'), ('5 digits', '{"birthday_date": "10000-01-01"}'),
    ('line', '{"birthday_date": "1990-02-03\n"}'), ('29 February', '{"birthday_date": "1900-02-29"}'), ('twice', '{"first_name": "x", "first_name": "Ann"}'), ('ISO', '{"birthday_date": "1990-02-03"}')) AS v (what, j);
SELECT first_name, birthday_date FROM users;

-- Numbers and intervals beyond all reason (I35, I36).
SELECT s, test.error('SELECT ' || s) FROM unnest(ARRAY[
    $$bs_seed(0)$$, $$bs_seed(-1)$$, $$bs_seed(2147483647)$$, $$bs_seed(2147483648)$$, $$bs_create_partitions(0)$$, $$bs_create_partitions(-2147483648)$$, $$bs_create_partitions(2147483647)$$,
    $$bs_upcoming('-1 day')$$, $$bs_upcoming('178000000 years')$$, $$bs_drop_partitions('-178000000 years', false)$$, $$bs_drop_partitions(NULL, false)$$, $$bs_drop_partitions('1 day', false)$$,
    $$bs_occurrence('2000-02-29', 0)$$, $$bs_occurrence('2000-02-29', 2147483647)$$, $$bs_occurrence('2000-02-29', -2147483648)$$, $$bs_send_time('UTC', '5874897-12-31')$$, $$bs_send_time('UTC', '4713-01-01 BC')$$,
    $$bs_retry_failed('infinity')$$, $$bs_retry_failed('-infinity')$$, $$bs_plan('infinity')$$, $$bs_plan('-infinity')$$, $$bs_plan(NULL, 'infinity')$$, $$bs_plan(NULL, '-infinity')$$, $$bs_plan('294276-12-31')$$,
    $$bs_get_user('42')$$, $$bs_get_user('00000000-0000-0000-0000-000000000000')$$, $$bs_cancel_message('99999999999999999999')$$]) AS s;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
