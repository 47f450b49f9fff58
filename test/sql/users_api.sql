-- users: the functions that applications call.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
-- How wide joiners and emoji are differs from psql to psql.
\pset format unaligned

CREATE FUNCTION test.add_error(first text, last text, email text, zone text,
    birthday text DEFAULT NULL, anniversary text DEFAULT NULL, city text DEFAULT NULL, country text DEFAULT NULL)
RETURNS text
LANGUAGE sql
RETURN test.error(format('SELECT bs_add_user(%L, %L, %L, %L, %L, %L, %L, %L)',
                         first, last, email, zone, birthday, anniversary, city, country));
CREATE VIEW test.people AS
SELECT first_name, last_name, email, timezone, birthday_date, anniversary_date,
       location_city AS city, location_country AS country, deleted_at IS NOT NULL AS deleted
  FROM users ORDER BY email, deleted_at;

-- Bad values change nothing, also not the state of the installation.
SELECT test.add_error('a', 'b', 'a', 'Europe/Kyiv');
SELECT count(*), bs_installation_state(),
       (SELECT count(*) FROM pg_inherits WHERE inhparent IN ('message_logs'::regclass, 'message_ledger'::regclass)) AS partitions
  FROM users;

SELECT bs_resume();
-- Names: EC-UD-002, 003, 006, EC-DV-001, 002, 004, 007.
SELECT what, test.add_error(first, last, 'a@example.com', 'Europe/Kyiv') FROM (VALUES
    ('NULL first', NULL, 'b'), ('NULL last', 'a', NULL), ('empty first', '', 'b'), ('empty last', 'a', ''),
    ('blanks', '   ', 'b'), ('tab and line break', E'\t\r\n', 'b'), ('no-break space', U&'\00A0', 'b'),
    ('ideographic space', U&'\3000\3000', 'b'), ('line separator', 'a', U&'\2028'),
    ('101', repeat('a', 101), 'b'), ('101 CJK', repeat('名', 101), 'b'), ('10 MB', 'a', repeat('a', 10000000))
  ) AS v (what, first, last);
-- What cannot be seen is no name, whatever it consists of, and no place.
SELECT code, test.add_error(chr(code) || ' ' || chr(code), 'b', 'a@example.com', 'Europe/Kyiv') AS error
  FROM unnest('{8199,847,1564,4447,6068,6158,8203,8205,8238,8288,8303,10240,12644,65024,65279,65440,65529,113824,119155,917601,917999}'::integer[]) AS code;
SELECT test.add_error('a', U&'\200C\FEFF\115F', 'a@example.com', 'Europe/Kyiv') AS mixed,
       test.error($$INSERT INTO users (first_name, last_name, email, timezone) VALUES (U&'\2063', 'b', 'a@example.com', 'UTC')$$) AS by_insert;
BEGIN;
SELECT test.add_error('a', 'b', 'unseen@example.com', 'Europe/Kyiv', NULL, NULL, U&'\FFA0', U&'\2800\2800');
SELECT location_city, location_country FROM users;
ROLLBACK;
-- NUL and broken UTF-8 end in the server itself.
SELECT test.add_error(E'a\x00', 'b', 'a@example.com', 'Europe/Kyiv');
SELECT test.add_error(E'a\xc3', 'b', 'a@example.com', 'Europe/Kyiv');
SELECT test.add_error(E'a\xed\xa0\x80', 'b', 'a@example.com', 'Europe/Kyiv');

-- Addresses: EC-UD-010, 013, I01 to I11.
SELECT email, test.add_error('a', 'b', email, 'Europe/Kyiv') FROM unnest(ARRAY[
    NULL, '', '   ', 'a', '@', 'a@', '@x.org', 'a@b', 'a@@x.org', 'a@b@x.org', 'a b@x.org', 'a@x .org',
    '.a@x.org', 'a.@x.org', 'a..b@x.org', 'a@.x.org', 'a@x.org.', 'a@x..org', 'a@-x.org', 'a@x-.org',
    'a@x_y.org', 'a@x>', '<a@x.org>', 'a@x.org, b@x.org', 'Name <a@x.org>', '"a b"@x.org', 'a(c)@x.org',
    'a@[127.0.0.1]', 'a@[IPv6:::1]', 'a@localhost', 'a@127.0.0.1', 'a@x.123', 'josé@x.org', 'a@münchen.example',
    U&'a\200B@x.org', U&'a\202E@x.org', E'a@x.org\r\nBcc: b@x.org', E'a\t@x.org', E'a@x.org\n', U&'a@x.org\0085',
    repeat('a', 65) || '@x.org', 'a@' || repeat('b', 64) || '.org']) AS email;
-- Every control character, within, at the end and at the start.
SELECT count(*) FROM generate_series(1, 127) AS c,
       unnest(ARRAY['a%sa@x.org', 'a@x%sx.org', 'a@x.org%s', '%sa@x.org']) AS f
 WHERE (c < 32 OR c = 127) AND test.add_error('a', 'b', format(f, chr(c)), 'Europe/Kyiv') NOT LIKE '22023 %';
-- 254 octets and not one more; beyond 255 the column says so.
SELECT test.add_error('a', 'b', repeat('a', 64) || '@' || repeat(repeat('b', 47) || '.', 4) || 'org', 'Europe/Kyiv') AS "260",
       test.add_error('a', 'b', repeat('a', 64) || '@' || repeat(repeat('b', 46) || '.', 4) || 'or', 'Europe/Kyiv') AS "255";

-- Zones: all of them in base_zones. EC-TZ-002 to 010.
SELECT zone, left(test.add_error('a', 'b', 'a@example.com', zone), 40) FROM unnest(ARRAY[
    NULL, '', 'EST', 'Foo/Bar', 'america/new_york', 'UTC+3', 'Europe /Kyiv']) AS zone;
SELECT test.add_error('a', 'b', 'a@example.com', U&'Europe\2060/Kyiv');

-- Dates: EC-BD-004, 008, 010, 019, 020, 025, EC-AN-003, 004, 009, EC-DV-012, 013, 015, I18 to I21.
SELECT birthday, anniversary, test.add_error('a', 'b', 'a@example.com', 'Europe/Kyiv', birthday, anniversary) FROM (VALUES
    ('infinity', NULL), ('-infinity', NULL), ('1799-12-31', NULL), ('0001-01-01', NULL), ('0044-03-15 BC', NULL),
    ('9999-12-31', NULL), ('3000-01-01', NULL), ('5874897-12-31', NULL), ('5874898-01-01', NULL),
    ('1900-02-29', NULL), ('2023-02-29', NULL), ('1999-09-31', NULL), ('1999-13-01', NULL), ('0000-01-01', NULL),
    ('NaN', NULL), ('soon', NULL), ('', NULL),
    (NULL, 'infinity'), (NULL, '1799-12-31'), (NULL, '3000-01-01'),
    ('1990-05-05', '1990-05-05'), ('1990-05-05', '1990-05-04')) AS v (birthday, anniversary);
-- Tomorrow is the future, by the user's own clock: no date is both today in
-- Kiritimati and Pago Pago.
BEGIN;
SELECT test.add_error('a', 'b', 'a@example.com', zone, ((now() AT TIME ZONE zone)::date + 1)::text)
  FROM unnest('{Pacific/Kiritimati,Pacific/Pago_Pago}'::text[]) AS zone;
SELECT left(test.add_error('a', 'b', 'a@example.com', 'Pacific/Pago_Pago', (now() AT TIME ZONE 'Pacific/Kiritimati')::date::text), 40);
ROLLBACK;
SELECT test.add_error('a', 'b', 'a@example.com', 'Europe/Kyiv', NULL, NULL, repeat('c', 101)) AS city,
       test.add_error('a', 'b', 'a@example.com', 'Europe/Kyiv', NULL, NULL, NULL, repeat('c', 101)) AS country;

-- Nothing of all that has left a trace.
SELECT count(*) FROM users;

-- What is taken. EC-UD-001, 004, 005, 007, 008, 009, 011, 012; EC-BD-005, 009, 011, 017;
-- EC-AN-010. Outer blanks go, inner ones stay, NFC. Controls: bad_input.
SELECT what, test.add_error(first, last, email, zone, birthday, anniversary, city, country) FROM (VALUES
    ('all', 'Jane', 'Doe', 'jane@example.com', 'Europe/London', '1990-05-05', '2015-06-06', 'Leeds', 'UK'),
    ('least', 'J', 'D', 'j@example.com', 'UTC', NULL, NULL, NULL, NULL),
    ('trimmed', '   Jean  Luc  ', U&'\00A0Picard\3000', '  jl@example.com  ', 'Europe/Paris', NULL, NULL, '  La  Barre ', '   '),
    ('wrapped', U&'\FEFFWrap\200B', U&'\00ADPed\2060\2003', U&'\FEFFwrapped@example.com\202F', U&'\00A0Europe/Kyiv\200D ', NULL, NULL, U&'\FEFFKyiv', NULL),
    ('joiners', U&'\0645\06CC\200C\062E\0648\0627\0647\0645', U&'\0DC1\0DCA\200D\0DBB\0DD3\200D', 'joiners@example.com', 'Asia/Tehran', NULL, NULL, U&'\115F\1161', NULL),
    ('100', repeat('名', 100), repeat('ü', 100), 'long@example.com', 'Asia/Tokyo', NULL, NULL, repeat('c', 100), repeat('c', 100)),
    ('emoji', '🎂 Ana', '👩‍👩‍👧', 'emoji@example.com', 'America/Sao_Paulo', NULL, NULL, NULL, NULL),
    ('markup', '<b>"O''Neill"</b>', '{{email}}; DROP TABLE users; --', 'markup@example.com', 'UTC', NULL, NULL, '=?utf-8?q?x?=', '%s%n\'),
    ('old', 'Old', 'Timer', 'old@example.com', 'UTC', '1800-01-01', '1850-01-01', NULL, NULL),
    ('leap', 'Leap', 'Day', 'leap+tag@sub.example.co.uk', 'US/Eastern', '2000-02-29', '2004-02-29', NULL, NULL),
    ('254', 'Long', 'Address', repeat('a', 64) || '@' || repeat(repeat('b', 46) || '.', 3) || repeat('b', 45) || '.or', 'UTC', NULL, NULL, NULL, NULL)
  ) AS v (what, first, last, email, zone, birthday, anniversary, city, country);
SELECT length(first_name) AS first_name, length(last_name) AS last_name, length(email) AS email, timezone, length(city) AS city
  FROM test.people WHERE email ~ '^(wrapped|joiners)';
SELECT left(first_name, 12) AS first_name, length(first_name), left(last_name, 31) AS last_name,
       left(email, 30) AS email, length(email), timezone FROM test.people;
SELECT left(first_name, 12) AS first_name, birthday_date, anniversary_date, left(city, 12) AS city, left(country, 5) AS country
  FROM test.people WHERE birthday_date IS NOT NULL OR city IS NOT NULL OR country IS NOT NULL;
SELECT bool_and(created_at = updated_at) AND bool_and(created_at > now() - interval '1 hour') AS dated FROM users;
-- NFC and NFD are the same name (EC-DV-008); a text whose NFC is longer is measured afterwards.
SELECT test.add_error(U&'e\0301', U&'A\030A', 'nfc@example.com', 'UTC'),
       test.add_error(repeat(U&'\0958', 60), 'b', 'nfd@example.com', 'UTC');
SELECT first_name = U&'\00E9' AND last_name = U&'\00C5' AS nfc FROM users WHERE email = 'nfc@example.com';
-- Born today in the user's zone, whatever date that is in UTC.
SELECT test.add_error('Baby', zone, 'baby' || n || '@example.com', zone, (now() AT TIME ZONE zone)::date::text)
  FROM unnest('{Pacific/Kiritimati,Pacific/Pago_Pago}'::text[]) WITH ORDINALITY AS z (zone, n);

-- One address, one user, without case (EC-UD-014, I12).
SELECT test.add_error('a', 'b', email, 'UTC') FROM unnest('{jane@example.com,JANE@Example.COM, Jane@example.com}'::text[]) AS email;
SELECT count(*) FROM users WHERE lower(email) = 'jane@example.com';

-- bs_get_user.
SELECT (bs_get_user(test.id('Jane'))).first_name, (bs_get_user(test.id('Jane'))).email;
SELECT test.error('SELECT bs_get_user(NULL)'), test.error($$SELECT bs_get_user('00000000-0000-0000-0000-000000000000')$$),
       test.error($$SELECT bs_get_user('42')$$);

-- bs_update_user: RFC 7396, null clears, what is not named stays.
CREATE FUNCTION test.update(name text, changes jsonb)
RETURNS text
LANGUAGE sql
RETURN test.error(format('SELECT bs_update_user(%L, %L)', test.id(name), changes));
SELECT u.first_name, u.last_name, u.email, u.timezone, u.birthday_date, u.anniversary_date, u.location_city, u.location_country
  FROM bs_update_user(test.id('Jane'), '{"last_name": " Roe ", "timezone": "Europe/Kyiv", "location_city": null, "anniversary_date": null}') AS u;
SELECT u.first_name, u.last_name, u.email, u.timezone, u.birthday_date, u.anniversary_date, u.location_city, u.location_country
  FROM bs_update_user(test.id('Jane'), '{"birthday_date": "1991-02-03", "anniversary_date": "2001-02-03", "email": "JANE@example.com"}') AS u;
SELECT u.last_name FROM bs_update_user(test.id('Jane'), '{}') AS u;
SELECT u.birthday_date FROM bs_update_user(test.id('Jane'), '{"birthday_date": "1991-02-04", "birthday_date": "1991-02-05"}') AS u;
CREATE TABLE test.before AS SELECT * FROM users;
SELECT changes, test.update('Jane', changes::jsonb) FROM unnest(ARRAY[
    '[]', '"x"', 'null', '1', '{"id": "00000000-0000-0000-0000-000000000000"}', '{"deleted_at": null}', '{"created_at": "2000-01-01"}',
    '{"name": "x"}', '{"first_name": "x", "frist_name": "y"}', '{"": "x"}',
    '{"first_name": null}', '{"last_name": null}', '{"email": null}', '{"timezone": null}',
    '{"first_name": 1}', '{"first_name": ["x"]}', '{"birthday_date": 19900101}', '{"birthday_date": {"y": 1990}}', '{"location_city": true}',
    '{"first_name": ""}', '{"first_name": "  "}', '{"email": "x"}', '{"email": "j@example.com"}', '{"email": "J@EXAMPLE.com"}',
    '{"timezone": "EST"}', '{"timezone": ""}', '{"birthday_date": "infinity"}', '{"birthday_date": "3000-01-01"}',
    '{"birthday_date": "1990-02-30"}', '{"birthday_date": "soon"}', '{"birthday_date": ""}', '{"birthday_date": "2001-02-03"}',
    '{"anniversary_date": "1991-02-05"}', '{"anniversary_date": "1980-01-01"}', '{"first_name": "x", "timezone": "Mars/Olympus"}']) AS changes;
SELECT test.update('Jane', jsonb_build_object(k, repeat('x', n))) FROM (VALUES
    ('first_name', 101), ('last_name', 101), ('email', 256), ('timezone', 101), ('location_city', 101), ('location_country', 101)) AS v (k, n);
SELECT test.error($$SELECT bs_update_user('00000000-0000-0000-0000-000000000000', '{}')$$),
       test.error($$SELECT bs_update_user(NULL, '{}')$$),
       test.error(format('SELECT bs_update_user(%L, NULL)', test.id('Jane')));
SELECT count(*) FROM (TABLE test.before EXCEPT TABLE users) AS lost;

-- Dates are read as ISO, whatever DateStyle says.
SET datestyle = 'SQL, DMY';
SELECT to_char(u.birthday_date, 'YYYY-MM-DD') FROM bs_update_user(test.id('Jane'), '{"birthday_date": "1991-03-04"}') AS u;
RESET datestyle;
SET datestyle = 'ISO, YMD';

-- Soft delete, use of the address by another, restore, purge. EC-UD-017 to 020.
CREATE TABLE test.jane AS SELECT test.id('Jane') AS id;
SELECT bs_delete_user(id) FROM test.jane;
SELECT deleted FROM test.people WHERE email ILIKE 'jane@%';
SELECT test.error(format('SELECT bs_delete_user(%L)', id)), test.error(format('SELECT bs_update_user(%L, ''{}'')', id)) FROM test.jane;
SELECT (bs_get_user(id)).deleted_at IS NOT NULL AS still_shown FROM test.jane;
SELECT test.add_error('Janet', 'Doe', 'jane@EXAMPLE.com', 'UTC');
SELECT test.error(format('SELECT bs_restore_user(%L)', id)) FROM test.jane;
SELECT bs_delete_user(test.id('Janet'));
SELECT bs_restore_user(id) FROM test.jane;
SELECT first_name, email, deleted FROM test.people WHERE email ILIKE 'jane@%';
SELECT test.error(format('SELECT bs_restore_user(%L)', id)) FROM test.jane;
SELECT test.error(format('SELECT bs_restore_user(%L)', test.id('Janet')));
SELECT f, test.error(format('SELECT %s(%L)', f, '00000000-0000-0000-0000-000000000000')), test.error(format('SELECT %s(NULL)', f))
  FROM unnest('{bs_delete_user,bs_restore_user,bs_purge_user}'::text[]) AS f;
SELECT bs_purge_user(id) FROM test.jane;
SELECT bs_purge_user(test.id('Janet'));
SELECT test.error(format('SELECT bs_get_user(%L)', id)), test.error(format('SELECT bs_purge_user(%L)', id)) FROM test.jane;
SELECT count(*) FROM users WHERE email ILIKE 'jane@%';

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
