-- planning: the calendar that other programs read (RFC 5545). test/t/calendar.pl
-- has it read by one of them.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
-- Ids that sort as the names do; the time of the last change is DTSTAMP.
CREATE FUNCTION test.person(n integer, name text, last text, zone text, birthday date, anniversary date, created timestamptz)
RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO users (id, first_name, last_name, email, timezone, birthday_date, anniversary_date, created_at, updated_at)
    VALUES (format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid, name, last, n || '@example.com', zone, birthday, anniversary, created, '2044-01-02 03:04:05+00');
END;
CREATE VIEW test.ids AS SELECT array_agg(id ORDER BY id) AS ids FROM users;

-- Golden: CR LF, escapes, no year of birth, whole days.
SELECT test.person(1, 'Ann', 'O;Neil, \ Co', 'Europe/Kyiv', '1990-05-05', '2010-06-07', '2043-01-01 00:00+00');
SELECT replace(bs_calendar('00000000-0000-4000-8000-000000000001'), E'\r', '<CR>');

-- 29 February, as each policy has it; whoever comes after the moment starts next year.
INSERT INTO message_types (name, date_source, subject_template, text_template, feb29_policy, cadence, send_time, active_since) VALUES
    ('ON_MAR1', 'birthday_date', 's', 't', 'mar1', 'yearly', '18:30', '2001-01-01 00:00+00'), ('LEAP', 'birthday_date', 's', 't', 'skip', 'yearly', '09:00', '2001-01-01 00:00+00'),
    ('NAME_DAY', 'user_dates', 's', 't', 'feb28', 'yearly', '09:00', '2001-01-01 00:00+00'), ('TRIAL', 'user_dates', 's', 't', 'feb28', 'once', '09:00', '2001-01-01 00:00+00'),
    ('OFF', 'birthday_date', 's', 't', 'feb28', 'yearly', '09:00', '2001-01-01 00:00+00');
UPDATE message_types SET enabled = false WHERE name = 'OFF';
SELECT test.person(2, 'Leap', 'x', 'UTC', '2000-02-29', NULL, '2044-02-29 09:00:00.001+00');
SELECT test.person(3, 'Leap', 'y', 'UTC', '2000-02-29', NULL, '2044-02-29 09:00:00+00');
INSERT INTO user_dates (user_id, message_type, event_date, created_at)
SELECT id, type, day::date, '2043-01-01 00:00+00' FROM users, (VALUES ('NAME_DAY', '1985-11-30'), ('NAME_DAY', '2060-02-29'), ('TRIAL', '2045-02-28'), ('TRIAL', '1999-01-01')) AS v (type, day)
 WHERE id = '00000000-0000-4000-8000-000000000002';
CREATE VIEW test.events AS
SELECT substring(e FROM 'UID:0{8}-0000-4000-8000-0{11}([^\r@]*)') AS uid, substring(e FROM 'DTSTART;VALUE=DATE:([^\r]*)') AS dtstart,
       substring(e FROM 'RRULE:([^\r]*)') AS rrule, substring(e FROM 'DESCRIPTION:([^\r]*)') AS description
  FROM test.ids, regexp_split_to_table(bs_calendar(VARIADIC ids), 'BEGIN:VEVENT') WITH ORDINALITY AS x (e, o)
 WHERE o > 1 ORDER BY o;
SELECT * FROM test.events;
-- A change of the day keeps the UID.
UPDATE users SET birthday_date = '1990-05-06' WHERE first_name = 'Ann';
SELECT * FROM test.events WHERE uid = '1-BIRTHDAY';

-- Folding: at most 75 octets a line, no character torn, and unfolded as it was.
CREATE VIEW test.folds AS
SELECT n, u.text, bs_ical_line('SUMMARY', u.text) AS line
  FROM (VALUES ('漢'), ('a'), ('é'), ('😀'), ('a漢é😀')) AS c (piece), generate_series(0, 120) AS n
       CROSS JOIN LATERAL (SELECT repeat(piece, n)) AS u (text);
SELECT count(*), count(*) FILTER (WHERE replace(left(line, -2), E'\r\n ', '') <> 'SUMMARY:' || text) AS changed,
       count(*) FILTER (WHERE right(line, 2) <> E'\r\n') AS without_end,
       max(octets) AS octets, count(*) FILTER (WHERE octets > 75) AS long
  FROM test.folds
       CROSS JOIN LATERAL (SELECT max(octet_length(l)) FROM regexp_split_to_table(left(line, -2), E'\r\n') AS l) AS m (octets);
-- In a time that is in proportion.
SELECT octet_length(bs_ical_line('SUMMARY', repeat('é', 1000000)));
SELECT bs_ical_line('SUMMARY', 'x'), bs_ical_line('SUMMARY', NULL) IS NULL AS none;
-- Escapes; what was written past the triggers breaks no line.
SELECT bs_ical_text(E'a\\b;c,d:e"f');
SELECT bs_ical_text(E'a\r\nEND:VEVENT\r\nb' || U&'\0085c\2028d');

-- Nobody, deleted, nothing that is mailed, unknown.
SELECT bs_calendar(VARIADIC '{}') IS NULL AS nobody, bs_calendar(VARIADIC NULL) IS NULL AS "null";
SELECT bs_delete_user('00000000-0000-4000-8000-000000000001');
SELECT bs_calendar('00000000-0000-4000-8000-000000000001') IS NULL AS deleted;
SELECT count(*) FROM test.events WHERE uid LIKE '1-%';
SELECT test.person(4, 'None', 'x', 'UTC', NULL, NULL, '2043-01-01 00:00+00');
SELECT bs_calendar('00000000-0000-4000-8000-000000000004') IS NULL AS nothing;
SELECT test.error($$SELECT bs_calendar('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000009')$$);
SELECT test.error($$SELECT bs_calendar(NULL::uuid)$$);

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
