-- monitoring: bs_explain() answers why a user got nothing, in sentences.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
UPDATE message_types SET enabled = false WHERE name = 'ANNIVERSARY';
-- A type whose hour was two hours ago in UTC, and people whose day it is.
CREATE TABLE test.clock AS SELECT now() AT TIME ZONE 'UTC' - interval '2 hours' AS hour;
UPDATE message_types SET send_time = hour::time(0) FROM test.clock WHERE name = 'BIRTHDAY';
CREATE FUNCTION test.why(name text)
RETURNS text
LANGUAGE sql
RETURN (SELECT regexp_replace(regexp_replace(e.explanation, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00', 'TIME', 'g'), '\d{4}-\d\d-\d\d', 'DAY', 'g')
          FROM bs_explain(test.id(name)) e WHERE e.message_type = 'BIRTHDAY');
CREATE FUNCTION test.whose_day(name text, created timestamptz)
RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
    SELECT name, 'Test', name || '@example.com', 'UTC', hour::date - interval '480 months', created FROM test.clock;
END;

-- Added, or the date or the type, after the hour: nothing is owed.
SELECT test.whose_day('Late', now());
SELECT test.why('Late');
SELECT count(*) FROM message_logs WHERE user_id = test.id('Late');
BEGIN;
SELECT test.whose_day('Early', '2001-01-01');
UPDATE message_types SET active_since = now() WHERE name = 'BIRTHDAY';
DELETE FROM message_logs;
SELECT test.why('Early');
ROLLBACK;
BEGIN;
INSERT INTO message_types (name, date_source, send_time, subject_template, text_template, active_since)
SELECT 'DOG', 'user_dates', hour::time(0), 's', 't', '2001-01-01' FROM test.clock;
SELECT test.add('Dated', 'UTC', NULL, NULL, '2001-01-01');
INSERT INTO user_dates (user_id, message_type, event_date) SELECT test.id('Dated'), 'DOG', hour::date - interval '48 months' FROM test.clock;
SELECT regexp_replace(regexp_replace(explanation, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00', 'TIME', 'g'), '\d{4}-\d\d-\d\d', 'DAY', 'g')
  FROM bs_explain(test.id('Dated')) WHERE message_type = 'DOG';
ROLLBACK;

-- Late, with what is in the way: here no workers serve the database.
SELECT test.whose_day('Ann', '2001-01-01');
SELECT test.why('Ann');
SELECT bs_pause('moving house') IS NOT NULL AS said;
SELECT test.why('Ann');
SELECT bs_resume();
-- Each state, in the relay's words, but without the address.
CREATE FUNCTION test.become(new_status text, reason text, code integer DEFAULT NULL, body text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE message_logs SET status = new_status, status_reason = reason, api_response_code = code, api_response_body = body, attempts = 3,
           actual_send_time = CASE new_status WHEN 'SENT' THEN scheduled_send_time + interval '95 minutes' END, last_retry_at = now();
    RETURN test.why('Ann');
END
$$;
SELECT test.become('RETRYING', 'later', 421, '4.7.0 too many connections');
SELECT test.become('QUEUED', NULL), test.become('SENDING', NULL);
SELECT test.become('FAILED', 'refused', 551, E'551 5.1.6 <Ann@example.com>:\r\n551 moved to ann@elsewhere.example');
SELECT test.become('FAILED', 'attempts'), test.become('FAILED', 'in_doubt');
SELECT test.become('SENT', 'accepted', 250, '2.0.0 Ok');
SELECT test.become('EXPIRED', 'too_late', 452, 'disk full');
SELECT test.become('CANCELLED', r) FROM unnest('{by_hand,date_changed,type_disabled,user_deleted}'::text[]) AS r;
-- Also long ago.
UPDATE users SET birthday_date = birthday_date - 9 WHERE first_name = 'Ann';
SELECT bs_create_partition('message_logs', bs_month(now() - interval '40 days')) IS NOT NULL AS made;
UPDATE message_logs SET scheduled_send_time = scheduled_send_time - interval '40 days';
SELECT test.become('FAILED', 'refused', 550, 'no such user') ~ 'The message will be planned .* before its time. The message of DAY failed at TIME: the relay refused it; the relay said "550 no such user".' AS says_so;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
