-- base: the names of time zones that are taken.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

-- Of the names that the server lists these are refused, and nothing else: the
-- abbreviations and their kin, what is no place, and all of posix/.
SELECT name FROM pg_timezone_names
 WHERE NOT bs_is_timezone(name) AND name NOT LIKE 'posix/%'
 ORDER BY name COLLATE "C";
SELECT count(*) FROM pg_timezone_names WHERE name LIKE 'posix/%' AND bs_is_timezone(name);
SELECT count(*) > 550 AS hundreds, bool_and(bs_send_time(name, '2044-05-05') IS NOT NULL) AS usable
  FROM pg_timezone_names WHERE bs_is_timezone(name);

-- Real names of every shape: deprecated ones (EC-TZ-008), three parts, a hyphen,
-- a digit, none but capitals.
SELECT name, bs_is_timezone(name) FROM unnest('{Europe/Kyiv,Europe/Kiev,US/Eastern,Asia/Calcutta,
    America/Argentina/Buenos_Aires,America/North_Dakota/New_Salem,America/Port-au-Prince,
    America/Blanc-Sablon,Etc/GMT+12,Etc/GMT-14,Etc/UTC,UTC,GMT,GMT0,GMT+0,GMT-0,Zulu,GB,GB-Eire,
    NZ,NZ-CHAT,PRC,ROC,ROK,UCT,W-SU,Cuba,Iran,Antarctica/DumontDUrville,Pacific/Chatham}'::text[]) AS name
 WHERE NOT bs_is_timezone(name);

-- Everything else is refused, whatever the server itself would take it for.
-- I22 to I28, I54, EC-TZ-002 to 010.
SELECT quote_literal(name) AS name
  FROM unnest(ARRAY['', ' ', 'Foo/Bar', 'Europe', 'Europe/', '/Kyiv', 'zone.tab', 'tzdata.zi',
    '../../etc/passwd', '/etc/passwd', '../zoneinfo/UTC', './UTC', 'Europe/../UTC', 'Europe//Kyiv',
    'europe/london', 'AMERICA/NEW_YORK', 'america/new_york', 'Europe/LONDON', 'utc', 'Utc', 'gmt',
    'UTC+3', 'UTC-3', 'GMT+3', 'FOO-5', 'EST5EDT,M3.2.0,M11.1.0', '<A%sB>5', '<+03>-3',
    repeat('A', 40) || '5', repeat('A', 300), 'Mars/Olympus0', 'Nowhere/Land0', 'Area/City5',
    'EST', 'EDT', 'BST', 'IST', 'MSK', 'CET', 'EET', 'MET', 'WET', 'MST', 'HST', 'PST',
    'EST5EDT', 'CST6CDT', 'MST7MDT', 'PST8PDT', 'Z', 'z', '+05:30', '-05', '5', '-5', '0',
    'localtime', 'posixrules', 'Factory', 'Etc/Unknown', 'leapseconds', 'leap-seconds.list',
    'posix/UTC', 'posix/Europe/London', 'right/UTC', 'right/Europe/London', 'America',
    'Europe/London ', ' Europe/London', E'UTC\n', E'Europe/London\t', 'Europe/Lon don', 'Europe/Москва',
    'Europe/Kyiv''; DROP TABLE users; --', 'Europe/Kyiv%s', 'default', 'DEFAULT', 'now', 'NULL']) AS name
 WHERE bs_is_timezone(name);
-- A name that the server has stays as it is.
SELECT count(*) FROM pg_timezone_names
 WHERE bs_zone_name(name) IS DISTINCT FROM CASE WHEN bs_is_timezone(name) THEN name END;
SELECT bs_zone_name('Foo/Bar') IS NULL AS unknown, bs_zone_name('EST') IS NULL AS abbreviation, bs_zone_name(NULL) IS NULL AS null_in_null_out;
SELECT bs_is_timezone(NULL) IS NULL AS null_in_null_out;
-- No two spellings of a name are taken.
SELECT count(*) FROM pg_timezone_names
 WHERE bs_is_timezone(upper(name)) AND upper(name) <> name
    OR bs_is_timezone(lower(name)) AND lower(name) <> name;
-- A name with something before or behind it is no name.
SELECT count(*) FROM pg_timezone_names
 WHERE bs_is_timezone(name || ' ') OR bs_is_timezone(name || '/') OR bs_is_timezone('/' || name)
    OR bs_is_timezone(name || '5') OR bs_is_timezone('posix/' || name) OR bs_is_timezone('right/' || name);

-- A row of users says the same, with a hint.
SELECT zone, test.error(format(
    'INSERT INTO users (first_name, last_name, email, timezone) VALUES (''a'', ''b'', ''a@example.com'', %L)', zone))
  FROM unnest(ARRAY['Europe/Kyiv', 'Foo/Bar', 'EST', '', 'UTC+3', 'europe/kyiv', NULL]) AS zone;
SELECT test.error(format(
    'INSERT INTO users (first_name, last_name, email, timezone) VALUES (''a'', ''b'', ''c@example.com'', %L)',
    repeat('x', 101)));
SELECT first_name, timezone FROM users;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
