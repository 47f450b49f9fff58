-- planning: what a pass makes, of whom, and when.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

-- A database that was never adopted plans nothing.
SELECT test.add('Nobody', 'UTC', '1990-05-05');
SELECT bs_plan(NULL, '2044-05-04 12:00+00');
SELECT test.adopt();
SELECT bs_purge_user(test.id('Nobody'));

-- Once: a second pass finds nothing to do. The date is the user's own (EC-TZ-029,
-- EC-AN-013, EC-BD-013, 014): on 5 May in Kiritimati it is 4 May in UTC.
SELECT test.add('Kiritimati', 'Pacific/Kiritimati', '1990-05-05'), test.add('Chatham', 'Pacific/Chatham', '1990-05-05'),
       test.add('Kathmandu', 'Asia/Kathmandu', '1990-05-05'), test.add('Adelaide', 'Australia/Adelaide', '1990-05-05'),
       test.add('Kyiv', 'Europe/Kyiv', '1990-05-05', '2015-05-05'), test.add('London', 'Europe/London', '1990-05-05'),
       test.add('Baker', 'Etc/GMT+12', '1990-05-05'), test.add('Pago', 'Pacific/Pago_Pago', '1990-05-05'),
       test.add('Early', 'UTC', '1990-05-03'), test.add('Late', 'UTC', '1990-05-07'), test.add('Month', 'UTC', '1990-06-05'),
       test.add('None', 'UTC', NULL), test.add('Wed', 'Europe/London', NULL, '2044-05-05'::date - 7305);
SELECT test.plan('2044-05-04 12:00+00'), test.plan('2044-05-04 12:00+00'), test.plan('2044-05-04 12:00:01+00');
SELECT * FROM test.messages;
SELECT idempotency_key = user_id || ':BIRTHDAY:2044-05-05' AS key, subject, message_content, html_content, recipient_email, recipient_name,
       attempts, retry_count, claimed_by, claim_token, actual_send_time, type_version
  FROM message_logs m WHERE user_id = test.id('London');
SELECT * FROM test.disagreements;

-- The horizon of 48 hours and the lateness of 24 are exact to the microsecond.
SELECT test.add('Horizon', 'UTC', '1990-07-10');
SELECT test.plan('2044-07-08 08:59:59.999999+00') AS "48 h and 1 us", test.plan('2044-07-08 09:00+00') AS "48 h";
SELECT test.add('Lateness', 'UTC', '1990-07-20');
SELECT test.plan('2044-07-21 09:00:00.000001+00') AS "24 h and 1 us", test.plan('2044-07-21 09:00+00') AS "24 h";
SELECT name, local_date, send_at, status FROM test.messages WHERE name IN ('Horizon', 'Lateness');
-- A pass may be asked to look further, or less far.
SELECT test.add('Further', 'UTC', '1990-08-10');
SELECT test.plan('2044-08-01 00:00+00', '2044-08-10 08:59+00') AS short, test.plan('2044-08-01 00:00+00', '2044-08-10 09:00+00') AS long;
SELECT test.error($$SELECT bs_plan(NULL, NULL)$$), test.error($$SELECT bs_plan(NULL, 'infinity')$$), test.error($$SELECT bs_plan('infinity')$$),
       test.error($$SELECT bs_plan('2044-01-01 00:00+00', '2044-01-01 00:00:01+00')$$), test.error($$SELECT bs_plan('2046-01-01', '2044-01-01')$$);

-- Who came after the send time begins next year; who came before it does not (EC-BD-012).
SELECT test.add('Before', 'Europe/Kyiv', '1990-09-10', NULL, '2044-09-10 05:59:59.999999+00'),
       test.add('AtThat', 'Europe/Kyiv', '1990-09-10', NULL, '2044-09-10 06:00+00'),
       test.add('After', 'Europe/Kyiv', '1990-09-10', NULL, '2044-09-10 06:00:00.000001+00');
SELECT test.plan('2044-09-10 07:00+00');
SELECT name, local_date, send_at FROM test.messages WHERE name IN ('Before', 'AtThat', 'After');
SELECT test.plan('2045-09-09 07:00+00');
SELECT name, local_date, send_at FROM test.messages WHERE name = 'After';

-- The year's edge (EC-BD-006, 007): the local date's year counts.
SELECT test.add('NewYear1', 'Pacific/Kiritimati', '1990-01-01'), test.add('NewYear2', 'Pacific/Pago_Pago', '1990-01-01'),
       test.add('Silvester1', 'Pacific/Kiritimati', '1990-12-31'), test.add('Silvester2', 'Pacific/Pago_Pago', '1990-12-31');
SELECT test.plan('2044-12-31 00:00+00');
SELECT name, local_date, send_at, partition FROM test.messages WHERE name ~ '^(New|Sil)';
SELECT test.plan('2045-12-31 00:00+00');
SELECT name, local_date, send_at, partition FROM test.messages WHERE name ~ '^(New|Sil)' AND send_at > '2045-06-01';

-- 29 February by the policy of the type (EC-BD-001 to 003); in a leap year it is
-- found under each of them. Asked again and again around the day: one row.
INSERT INTO message_types (name, date_source, subject_template, text_template, feb29_policy, active_since)
VALUES ('SKIPPED', 'birthday_date', 's', 't', 'skip', '2001-01-01'), ('MARCH', 'birthday_date', 's', 't', 'mar1', '2001-01-01');
SELECT test.add('Leap', 'UTC', '2000-02-29'), test.add('Feb28', 'UTC', '2000-02-28'), test.add('Mar1', 'UTC', '2000-03-01');
SELECT sum(test.plan(d)) FROM generate_series(timestamptz '2044-02-24 10:00+00', '2044-03-04', '6 hours') AS d;
SELECT name, type, local_date, send_at FROM test.messages WHERE name IN ('Leap', 'Feb28', 'Mar1') AND type <> 'BIRTHDAY' OR name = 'Leap';
SELECT sum(test.plan(d)) FROM generate_series(timestamptz '2045-02-24 10:00+00', '2045-03-04', '6 hours') AS d;
SELECT name, type, local_date, send_at FROM test.messages WHERE name = 'Leap' AND send_at > '2045-01-01';
UPDATE message_types SET enabled = false WHERE name IN ('SKIPPED', 'MARCH');

-- Born on the day itself: no birthday before the birth, the first one without an age (EC-BD-021).
UPDATE message_types SET text_template = 'Hey, {{full_name}}{{#ordinal}}, it is your {{ordinal}}{{/ordinal}}' WHERE name = 'BIRTHDAY';
SELECT test.add('Age', 'UTC', '2025-10-10', NULL, '2001-01-01');
SELECT test.plan('2023-10-09 00:00+00'), test.plan('2025-10-09 00:00+00'), test.plan('2026-10-09 00:00+00'), test.plan('2027-10-09 00:00+00');
SELECT local_date, message_content FROM message_logs WHERE user_id = test.id('Age') ORDER BY 1;

-- An outage: what fell due in it is planned all the same, and what is later than
-- max_lateness ends as EXPIRED (EC-S-001, 015, 018, Q10). Not further back than 35 days.
SELECT count(test.add('Outage' || d, 'UTC', ('1990-11-' || d)::date)) FROM unnest('{08,10,15,19,20}'::text[]) AS d;
SELECT test.add('Outage', 'UTC', '1990-10-10');
UPDATE bs_installation SET planned_until = '2044-11-09 00:00+00';
SELECT bs_plan(NULL, '2044-11-20 08:00+00');
-- A dozen old months at a time.
SELECT sum((r).recovered) AS recovered, sum((r).expired) AS expired
  FROM (SELECT bs_recover('{}', false, '2044-11-20 08:00+00') AS r FROM generate_series(1, 4)) q;
SELECT name, local_date, status, reason, due FROM test.messages WHERE name LIKE 'Outage%';
SELECT error_message FROM message_logs WHERE user_id = test.id('Outage10');
UPDATE bs_installation SET planned_until = '2044-10-01 00:00+00';
SELECT bs_plan(NULL, '2044-11-20 08:00+00');
SELECT count(*) FROM test.messages WHERE name = 'Outage';

-- planned_until follows, and does not go back.
SELECT bs_plan(NULL, '2044-11-20 08:00+00');
SELECT planned_until FROM bs_installation;
SELECT bs_plan('2044-11-21 00:00+00', '2044-11-20 12:00+00');
SELECT planned_until FROM bs_installation;
SELECT bs_plan('2044-12-20 00:00+00', '2044-11-20 12:00+00') >= 0;
SELECT planned_until FROM bs_installation;

-- A zone that the server does not know any more stops that user and nobody else (I29).
SELECT test.add('Lost', 'UTC', '1990-04-10'), test.add('Found', 'UTC', '1990-04-10');
SET session_replication_role = replica;
ALTER TABLE users DROP CONSTRAINT check_timezone_format;
UPDATE users SET timezone = 'Mars/Olympus' WHERE first_name = 'Lost';
RESET session_replication_role;
SELECT test.plan('2044-04-09 00:00+00');
SELECT name, send_at FROM test.messages WHERE name IN ('Lost', 'Found');
SELECT explanation FROM bs_explain(test.id('Lost')) WHERE message_type = 'BIRTHDAY';
DELETE FROM users WHERE first_name = 'Lost';
SELECT * FROM test.disagreements WHERE n <> 0;

-- In steps, as a worker does it, with small chunks: the same rows.
CREATE TABLE test.steps (n serial, planned bigint, skipped bigint);
SELECT count(test.add('Step' || n, 'UTC', '1990-06-20')) FROM generate_series(1, 25) AS n;
DO $$
DECLARE
    pass record;
    slice record;
    step record;
    last_id uuid;
BEGIN
    UPDATE bs_installation SET planned_until = '2044-06-19 00:00+00';
    SELECT * INTO pass FROM bs_plan_begin('2044-06-19 00:00+00', '2044-06-21 00:00+00');
    FOR slice IN SELECT * FROM bs_plan_slices(pass.window_from, pass.until) LOOP
        last_id := NULL;
        FOR n IN 1 .. 1000 LOOP
            SELECT * INTO step FROM bs_plan_slice(slice.message_type, slice.date_source, slice.local_date, slice.month_day,
                                                  pass.window_from, pass.until, pass.missing, last_id, 10);
            INSERT INTO test.steps (planned, skipped) VALUES (step.planned, step.skipped);
            last_id := step.last_id;
            EXIT WHEN last_id IS NULL;
        END LOOP;
    END LOOP;
END
$$;
SELECT sum(planned) AS planned, sum(skipped) AS skipped, max(planned) AS most_at_once FROM test.steps;
SELECT planned, skipped, failed FROM bs_plan_pass('2044-06-19 00:00+00', '2044-06-21 00:00+00', 10);
SELECT count(*) FROM test.messages WHERE name LIKE 'Step%';

-- A pass does not look again at what it has made itself, but at what was made
-- before in the same transaction.
BEGIN;
SELECT test.add('Within', 'UTC', '1990-07-20');
SELECT test.plan('2044-07-19 12:00+00');
UPDATE message_types SET subject_template = 'Another subject' WHERE name = 'BIRTHDAY';
SELECT test.plan('2044-07-19 12:00+00');
SELECT m.subject FROM message_logs m WHERE m.user_id = test.id('Within') AND m.status = 'SCHEDULED';
ROLLBACK;

-- Several dates of somebody's own on the same day are one message, and one user.
INSERT INTO message_types (name, date_source, subject_template, text_template, active_since)
VALUES ('OWN', 'user_dates', 's', '{{years}}', '2001-01-01');
SELECT test.add('Own', 'UTC', '1990-12-12');
ALTER TABLE user_dates DISABLE TRIGGER USER;
INSERT INTO user_dates (user_id, message_type, event_date, created_at)
SELECT test.id('Own'), 'OWN', d::date, '2001-01-01' FROM unnest('{2001-05-05,2011-05-05,2021-05-05}'::text[]) AS d;
ALTER TABLE user_dates ENABLE TRIGGER USER;
SELECT skipped FROM bs_plan_pass('2044-05-04 00:00+00', '2044-05-06 00:00+00', 2);
SELECT local_date, message_content FROM message_logs WHERE user_id = test.id('Own');

-- Planning and refreshing know the same dates of a user.
SELECT d.date_source, count(*) > 0 AS some, bool_and(EXISTS (
           SELECT FROM users u, bs_dates_of(u.id, u.birthday_date, u.anniversary_date, d.message_type, d.date_source) AS o (event_date)
            WHERE u.id = d.user_id AND o.event_date = d.event_date)) AS same
  FROM bs_dates d GROUP BY 1 ORDER BY 1;
SELECT count(*) AS more
  FROM users u, message_types t, bs_dates_of(u.id, u.birthday_date, u.anniversary_date, t.name, t.date_source) AS o (event_date)
 WHERE o.event_date IS NOT NULL
   AND (u.id, t.name, o.event_date) NOT IN (SELECT d.user_id, d.message_type, d.event_date FROM bs_dates d);

-- No day is lost where the session's own day begins at one o'clock.
SET timezone = 'America/Santiago';
SELECT DISTINCT local_date FROM bs_plan_slices('2026-09-05 12:00+00', '2026-09-06 23:00+00') WHERE message_type = 'BIRTHDAY' ORDER BY 1;
SET timezone = 'UTC';

-- Found by an index on month and day, whatever the number of users.
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date, created_at)
SELECT 'Many', 'x', 'many' || n || '@example.com', 'UTC', date '1950-01-01' + n % 18000, date '2001-01-01' + n % 8000, '2043-01-01' FROM generate_series(1, 20000) AS n;
ANALYZE users;
CREATE FUNCTION test.plan_of(query text)
RETURNS SETOF text
LANGUAGE plpgsql
AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
        RETURN NEXT substring(line FROM '(?:Seq Scan|Index Scan|Index Only Scan|Bitmap Heap Scan|Bitmap Index Scan).*');
    END LOOP;
END
$$;
SELECT line FROM test.plan_of($$SELECT e.user_id FROM bs_events e
    WHERE e.message_type = 'BIRTHDAY' AND e.date_source = 'birthday_date' AND e.month_day = 228
      AND e.user_id > '00000000-0000-0000-0000-000000000000' ORDER BY e.user_id LIMIT 5000$$) AS line
 WHERE line ~ 'users|Bitmap Index';
SELECT line FROM test.plan_of($$SELECT e.user_id FROM bs_events e
    WHERE e.message_type = 'ANNIVERSARY' AND e.date_source = 'anniversary_date' AND e.month_day = 228
      AND e.user_id > '00000000-0000-0000-0000-000000000000' ORDER BY e.user_id LIMIT 5000$$) AS line
 WHERE line ~ 'users|Bitmap Index';
-- Who has the day, and when, is read from the index alone.
VACUUM users;
SELECT line FROM test.plan_of($$SELECT u.id, u.birthday_date, u.timezone, u.created_at FROM users u
    WHERE bs_month_day(u.birthday_date) = 228 AND u.id > '00000000-0000-0000-0000-000000000000'
      AND u.deleted_at IS NULL ORDER BY u.id LIMIT 5000$$) AS line
 WHERE line ~ 'users|Bitmap Index';
SELECT line FROM test.plan_of($$SELECT u.id, u.anniversary_date, u.timezone, u.created_at FROM users u
    WHERE bs_month_day(u.anniversary_date) = 228 AND u.id > '00000000-0000-0000-0000-000000000000'
      AND u.deleted_at IS NULL ORDER BY u.id LIMIT 5000$$) AS line
 WHERE line ~ 'users|Bitmap Index';
SELECT line FROM test.plan_of($$SELECT DISTINCT d.user_id FROM user_dates d
    WHERE d.message_type = 'OWN' AND bs_month_day(d.event_date) = 228
      AND d.user_id > '00000000-0000-0000-0000-000000000000' ORDER BY d.user_id LIMIT 5000$$) AS line
 WHERE line ~ 'Scan';

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
