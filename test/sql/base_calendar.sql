-- base: local dates and instants, against the answers of an independent implementation.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

-- 2,547 send times in 491 zones: ordinary days, clock changes of 2026 and 2027, 29 February
-- under each policy, from year 1 to 9999. EC-TZ-011 to 030, EC-BD-001 to 007.
\set cases :srcdir '/data/calendar_cases.csv'
CREATE TABLE test.cases (
    case_id text, zone text, birth_date date, occurrence_year integer, send_local_time time,
    feb29_policy text, expected_local_date date, expected_utc text, notes text);
COPY test.cases FROM :'cases' (FORMAT csv, HEADER);
SELECT count(*), count(DISTINCT zone) AS zones,
       min(occurrence_year), max(occurrence_year) FROM test.cases;

CREATE VIEW test.answers AS
SELECT c.*, bs_occurrence(c.birth_date, c.occurrence_year, c.feb29_policy) AS local_date,
       bs_send_time(c.zone, bs_occurrence(c.birth_date, c.occurrence_year, c.feb29_policy),
                    c.send_local_time) AS send_at
  FROM test.cases c;
SELECT count(*) FROM test.answers a
 WHERE (a.local_date, to_char(a.send_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
       IS DISTINCT FROM (a.expected_local_date, a.expected_utc);
SELECT case_id, zone, local_date, expected_local_date, send_at, expected_utc FROM test.answers a
 WHERE (a.local_date, to_char(a.send_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
       IS DISTINCT FROM (a.expected_local_date, a.expected_utc)
 ORDER BY case_id;

-- The answers do not depend on the settings of the session.
BEGIN;
SET LOCAL timezone = 'Pacific/Kiritimati';
SET LOCAL datestyle = 'German';
SELECT count(*) FROM test.answers a
 WHERE a.send_at IS DISTINCT FROM a.expected_utc::timestamptz;
COMMIT;

-- bs_send_time_or_null() says the same, and NULL for a zone that is not known.
SELECT count(*) FROM test.answers a
 WHERE bs_send_time_or_null(a.zone, a.expected_local_date, a.send_local_time) IS DISTINCT FROM a.send_at;
SELECT bs_send_time_or_null('Mars/Olympus', '2044-01-01', '09:00') IS NULL AS unknown_zone;

-- The default is nine o'clock. A gap shifts forward by its length (EC-TZ-016),
-- in an overlap the later instant is taken, a day that does not exist fires at
-- the shifted instant (Apia).
SELECT bs_send_time('Asia/Kathmandu', '2044-05-05') AT TIME ZONE 'UTC' AS nine;
SELECT bs_send_time('America/New_York', '2026-03-08', '02:30') AT TIME ZONE 'UTC' AS gap,
       bs_send_time('America/New_York', '2026-11-01', '01:30') AT TIME ZONE 'UTC' AS overlap,
       bs_send_time('Pacific/Apia', '2011-12-30') AT TIME ZONE 'UTC' AS no_such_day;
SELECT bs_send_time('Pacific/Kiritimati', '2045-01-01') AT TIME ZONE 'UTC' AS first_on_earth,
       bs_send_time('Etc/GMT+12', '2044-12-31') AT TIME ZONE 'UTC' AS last_on_earth;

-- What has no answer.
SELECT s, test.error('SELECT ' || s) FROM (VALUES
    ($$bs_send_time('EST', '2044-01-01')$$),
    ($$bs_send_time('', '2044-01-01')$$),
    ($$bs_send_time('Europe/Kyiv', 'infinity')$$),
    ($$bs_send_time('Europe/Kyiv', '-infinity')$$),
    ($$bs_send_time('Europe/Kyiv', '2044-01-01', '24:00')$$),
    ($$bs_send_time('Europe/Kyiv', '2044-01-01', '23:59:60')$$),
    ($$bs_send_time('Europe/Kyiv', '2044-01-01', '-01:00')$$),
    ($$bs_send_time('Europe/Kyiv', '5874897-12-31')$$),
    ($$bs_send_time_or_null('Europe/Kyiv', 'infinity', '09:00')$$),
    ($$bs_occurrence('2000-02-29', 2043, 'feb27')$$),
    ($$bs_occurrence('2000-02-29', 0)$$),
    ($$bs_occurrence('2000-02-29', 10000)$$),
    ($$bs_occurrence('2000-02-29', -2147483648)$$),
    ($$bs_occurrence('infinity', 2044)$$),
    ($$bs_celebrated('infinity', 'feb28')$$),
    ($$bs_celebrated('2044-02-28', 'FEB28')$$)) AS v (s);
SELECT bs_send_time(NULL, '2044-01-01') IS NULL AND bs_occurrence(NULL, 2044) IS NULL
       AND bs_month_day(NULL) IS NULL AND bs_month_day('infinity') IS NULL AS null_in_null_out;

-- 29 February by policy (EC-BD-001 to 003, EC-AN-005); always from the event, so
-- that 28 February does not stick.
SELECT y AS year, bs_occurrence('2000-02-29', y) AS "default",
       bs_occurrence('2000-02-29', y, 'feb28') AS feb28,
       bs_occurrence('2000-02-29', y, 'mar1') AS mar1,
       bs_occurrence('2000-02-29', y, 'skip') AS skip
  FROM unnest('{1,1900,2000,2043,2044,2100,2400,9999}'::int[]) AS y;
SELECT bs_occurrence('2001-02-28', 2044) AS feb28, bs_occurrence('2001-03-01', 2044) AS mar1,
       bs_occurrence('1999-12-31', 9999) AS last, bs_occurrence('1999-01-01', 1) AS first;
-- 29 February 1900 and 31 September are no days (EC-BD-004, 008, 016), 29 February
-- 2000 is one (EC-BD-005, 017).
SELECT test.error($$SELECT date '1900-02-29'$$), test.error($$SELECT date '1999-09-31'$$),
       test.error($$SELECT date '2000-02-29'$$);

-- Which keys of the index are celebrated on a date.
SELECT d::date AS local_date, p AS policy, bs_celebrated(d::date, p)
  FROM unnest('{2043-02-27,2043-02-28,2043-03-01,2044-02-28,2044-02-29,2044-03-01,2044-12-31}'::text[]) AS d,
       unnest('{feb28,mar1,skip}'::text[]) AS p
 ORDER BY d, array_position('{feb28,mar1,skip}', p);
-- Over four centuries both directions agree: an event is found on the day on
-- which it is celebrated, and on no other.
SELECT count(*) FROM generate_series(date '1999-01-01', date '2403-12-31', '1 day') AS d,
       unnest('{feb28,mar1,skip}'::text[]) AS p
 WHERE (229 = ANY (bs_celebrated(d::date, p)))
       <> (d::date IS NOT DISTINCT FROM bs_occurrence('1996-02-29', extract(year FROM d)::int, p));
SELECT count(*) FROM generate_series(date '2043-01-01', date '2044-12-31', '1 day') AS d
 WHERE bs_month_day(d::date) <> extract(month FROM d) * 100 + extract(day FROM d)
    OR NOT bs_month_day(d::date) = ANY (bs_celebrated(d::date, 'feb28'));

-- Is the event owed on a date: not before it began, once on its own day alone.
SELECT c AS cadence, d::date AS local_date, bs_is_owed('2044-05-05', d::date, c, 'feb28')
  FROM unnest('{yearly,once}'::text[]) AS c,
       unnest('{2043-05-05,2044-05-05,2045-05-05,2045-05-06}'::text[]) AS d
 ORDER BY c, d;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
