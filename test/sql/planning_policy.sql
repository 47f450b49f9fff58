-- planning: what was decided where both ways could be argued. The table in
-- docs/planning.md has a line for each of these sections.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();

-- What is due then is sent then; gives whose it was.
CREATE FUNCTION test.send(as_of timestamptz)
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    c record;
BEGIN
    SELECT array_agg(b.id) AS ids, array_agg(b.scheduled_send_time) AS times, array_agg(b.claim_token) AS tokens,
           string_agg(split_part(b.recipient_name, ' ', 1) || ' ' || to_char(m.local_date, 'MM-DD'), ', ' ORDER BY b.recipient_name, m.local_date) AS who
      INTO c
      FROM bs_claim('s', 100, '5 min', as_of) b JOIN message_logs m ON m.id = b.id AND m.scheduled_send_time = b.scheduled_send_time;
    IF c.ids IS NULL THEN
        RETURN 'nobody';
    END IF;
    PERFORM bs_record(c.ids, c.times, c.tokens, array_fill('SENT'::text, dim), array_fill('accepted'::text, dim), array_fill(NULL::timestamptz, dim),
                      array_fill(250, dim), array_fill('ok'::text, dim), array_fill(NULL::text, dim), array_fill(as_of, dim))
       FROM (SELECT ARRAY[cardinality(c.ids)] AS dim) d;
    RETURN c.who;
END
$$;

-- Q1. Who is added on the day itself, after the hour, begins next year, and the ledger does
-- not know of this year; before the hour, with this one.
SELECT test.add('Late', 'Europe/Kyiv', '1990-04-10', NULL, '2044-04-10 06:00:01+00'), test.add('Early', 'Europe/Kyiv', '1990-04-10', NULL, '2044-04-10 05:59:59+00');
SELECT test.plan('2044-04-10 06:00:02+00'), test.send('2044-04-10 06:00:02+00');
SELECT count(*) FROM message_ledger k WHERE k.user_id = test.id('Late');
SELECT test.plan('2045-04-10 06:00+00'), test.send('2045-04-10 06:00+00');
DELETE FROM users;

-- Q2. Who is added on the day of birth, before the hour, is greeted, without an age.
UPDATE message_types SET text_template = 'Hello{{#age}}, {{age}}{{/age}}' WHERE name = 'BIRTHDAY';
SELECT test.add('Born', 'UTC', '2025-05-10', NULL, '2025-05-10 07:00+00');
SELECT test.plan('2025-05-10 08:00+00'), test.plan('2026-05-10 08:00+00');
SELECT local_date, message_content FROM message_logs ORDER BY 1;
DELETE FROM users;

-- Q3. A move to the west, where the hour is still ahead, after the message: nothing more.
SELECT test.add('West', 'Europe/Kyiv', '1990-05-10');
SELECT test.plan('2044-05-10 05:00+00'), test.send('2044-05-10 06:00+00');
UPDATE users SET timezone = 'Pacific/Pago_Pago';
SELECT test.plan('2044-05-10 07:00+00'), test.send('2044-05-10 20:00+00');
DELETE FROM users;

-- Q4. A move to the east, where the hour is past, before the message: at once. Where it
-- is past by more than max_lateness (24 h), as across the date line, not any more.
SELECT test.add('East', 'America/New_York', '1990-05-10'), test.add('Line', 'Pacific/Pago_Pago', '1990-05-10');
SELECT test.plan('2044-05-10 10:00+00'), test.send('2044-05-10 10:00+00');
UPDATE users SET timezone = 'Europe/Kyiv' WHERE first_name = 'East';
SELECT send_at, status FROM test.messages WHERE name = 'East';
SELECT test.send('2044-05-10 10:00+00');
UPDATE users SET timezone = 'Pacific/Kiritimati' WHERE first_name = 'Line';
SELECT expired FROM bs_recover('{}', false, '2044-05-10 19:00+00');
SELECT expired FROM bs_recover('{}', false, '2044-05-10 19:00:01+00');
SELECT test.send('2044-05-10 19:00:01+00');
SELECT name, send_at, status, reason FROM test.messages;
DELETE FROM users;

-- Q5. The date is corrected after the message, to a day ahead: that is another day, and
-- has its message. Back to the first: nothing more.
SELECT test.add('Fixed', 'UTC', '1990-05-10');
SELECT test.plan('2044-05-10 08:00+00'), test.send('2044-05-10 09:00+00');
UPDATE users SET birthday_date = '1990-05-12';
SELECT test.plan('2044-05-11 08:00+00'), test.send('2044-05-12 09:00+00');
UPDATE users SET birthday_date = '1990-05-10';
SELECT test.plan('2044-05-10 10:00+00'), test.send('2044-05-12 10:00+00');
SELECT local_date, status FROM test.messages;
DELETE FROM users;

-- Q6. The date is corrected before the message: that of the wrong day is cancelled.
SELECT test.add('Soon', 'UTC', '1990-05-10');
SELECT test.plan('2044-05-09 08:00+00');
UPDATE users SET birthday_date = '1990-05-11';
SELECT test.plan('2044-05-10 08:00+00'), test.send('2044-05-10 09:00+00'), test.send('2044-05-11 09:00+00');
SELECT local_date, status, reason FROM test.messages;
DELETE FROM users;

-- Q7. 29 February by another policy after the message of the 28th: 1 March is another day,
-- and has its message. It is there as soon as it is planned, and can be cancelled by hand.
SELECT test.add('Leap', 'UTC', '2000-02-29'), test.add('Hand', 'UTC', '2000-02-29');
SELECT test.plan('2045-02-28 08:00+00'), test.send('2045-02-28 09:00+00');
UPDATE message_types SET feb29_policy = 'mar1' WHERE name = 'BIRTHDAY';
SELECT test.plan('2045-02-28 10:00+00');
SELECT bs_cancel_message(id) FROM message_logs WHERE user_id = test.id('Hand') AND local_date = '2045-03-01';
SELECT test.plan('2045-02-28 11:00+00'), test.send('2045-03-01 09:00+00');
SELECT name, local_date, status, reason FROM test.messages;
DELETE FROM users;

-- Q8. 29 February by "skip", in a year that has none: no row, in no table.
UPDATE message_types SET feb29_policy = 'skip' WHERE name = 'BIRTHDAY';
SELECT test.add('Leap', 'UTC', '2000-02-29');
SELECT sum(test.plan(d)) FROM generate_series(timestamptz '2045-02-26 00:00+00', '2045-03-03', '6 hours') AS d;
SELECT (SELECT count(*) FROM message_logs) AS messages, (SELECT count(*) FROM message_ledger) AS ledger;
SELECT sum(test.plan(d)) FROM generate_series(timestamptz '2048-02-26 00:00+00', '2048-03-03', '6 hours') AS d;
UPDATE message_types SET feb29_policy = 'feb28' WHERE name = 'BIRTHDAY';
DELETE FROM users;

-- Q9. A day that a zone left out (Samoa had no 30 December 2011): at nine o'clock of the
-- next, beside those of that day.
SELECT test.add('Left_out', 'Pacific/Apia', '1990-12-30', NULL, '2011-01-01'), test.add('Next', 'Pacific/Apia', '1990-12-31', NULL, '2011-01-01');
SELECT test.plan('2011-12-30 18:00+00');
SELECT u.first_name, m.local_date, m.scheduled_send_time, m.scheduled_send_time AT TIME ZONE 'Pacific/Apia' AS there FROM message_logs m JOIN users u ON u.id = m.user_id ORDER BY 1;
SELECT test.send('2011-12-30 18:59:59.999+00'), test.send('2011-12-30 19:00+00');
DELETE FROM users;

-- Q10. Three days without a server: what is not older than max_lateness is sent, the rest
-- is EXPIRED, and says so. (The pace is rate_limit's matter.)
SELECT count(test.add('Day' || d, 'UTC', ('1990-05-' || d)::date)) FROM generate_series(10, 13) AS d;
SELECT test.plan('2044-05-09 08:00+00');
SELECT bs_plan(NULL, '2044-05-13 08:30+00');
SELECT expired FROM bs_recover('{}', false, '2044-05-13 08:30+00');
SELECT test.send('2044-05-13 08:30+00'), test.send('2044-05-13 09:00+00');
SELECT name, status, reason FROM test.messages;
DELETE FROM users;

-- Q11. 31 December in Pago Pago is 1 January in UTC where it is noon: the year is the user's.
SELECT test.add('Pago', 'Pacific/Pago_Pago', '1990-12-31');
UPDATE message_types SET send_time = '13:30' WHERE name = 'BIRTHDAY';
SELECT test.plan('2044-12-31 23:00+00'), test.send('2045-01-01 00:30+00');
SELECT local_date, send_at, partition FROM test.messages;
SELECT message_content FROM message_logs;
UPDATE message_types SET send_time = '09:00' WHERE name = 'BIRTHDAY';
DELETE FROM users;

-- Q12. Rows that another release of the zone database placed, as on a primary whose place a
-- standby with a newer one takes: the next pass moves them, and their key stays. What was
-- sent by the old rules is not sent again.
SELECT test.add('Sent', 'Europe/Kyiv', '1990-05-10'), test.add('Moved', 'Europe/Kyiv', '1990-05-11'), test.add('Back', 'Europe/Kyiv', '1990-05-11');
SELECT test.plan('2044-05-09 10:00+00'), test.send('2044-05-10 06:00+00');
CREATE TABLE test.keys AS SELECT id, idempotency_key FROM message_logs;
UPDATE message_logs SET scheduled_send_time = scheduled_send_time + CASE WHEN user_id = test.id('Back') THEN interval '1 hour' ELSE interval '-1 hour' END,
       due_at = due_at + CASE WHEN user_id = test.id('Back') THEN interval '1 hour' ELSE interval '-1 hour' END;
SELECT name, send_at, status FROM test.messages;
SELECT test.plan('2044-05-10 07:00+00');
SELECT name, send_at, status, due FROM test.messages;
SELECT count(*) FROM message_logs m JOIN test.keys k USING (id, idempotency_key);
SELECT test.send('2044-05-11 05:59:59+00'), test.send('2044-05-11 06:00+00');
SELECT * FROM test.disagreements WHERE n <> 0;
DELETE FROM users;

-- Q13. The hour of a type is put from 09:00 to 08:00 at half past eight: at once.
SELECT test.add('Hour', 'UTC', '1990-05-10');
SELECT test.plan('2044-05-10 08:00+00'), test.send('2044-05-10 08:30+00');
UPDATE message_types SET send_time = '08:00' WHERE name = 'BIRTHDAY';
SELECT test.send('2044-05-10 08:30+00');
UPDATE message_types SET send_time = '09:00' WHERE name = 'BIRTHDAY';
SELECT test.plan('2044-05-10 08:45+00'), test.send('2044-05-10 09:00+00');
DELETE FROM users;

-- Q14. Deleted and added again with the address: another user. Before the hour: one
-- message, to the new one. After it: none, for the new one came too late. Only where the
-- new one lives further west there is a second.
SELECT test.add('Before', 'UTC', '1990-05-10'), test.add('After', 'UTC', '1990-05-10'), test.add('Moved', 'UTC', '1990-05-10');
SELECT test.plan('2044-05-10 07:00+00');
SELECT bs_delete_user(test.id('Before'));
UPDATE users SET first_name = 'Old' WHERE first_name = 'Before';
SELECT test.add('Before', 'UTC', '1990-05-10', NULL, '2044-05-10 08:00+00');
SELECT test.plan('2044-05-10 08:01+00'), test.send('2044-05-10 09:00+00');
SELECT bs_delete_user(test.id(n)) FROM unnest('{After,Moved}'::text[]) AS n;
UPDATE users SET first_name = 'Old' WHERE deleted_at IS NOT NULL;
SELECT test.add('After', 'UTC', '1990-05-10', NULL, '2044-05-10 10:00+00'), test.add('Moved', 'America/New_York', '1990-05-10', NULL, '2044-05-10 10:00+00');
SELECT test.plan('2044-05-10 10:01+00'), test.send('2044-05-10 23:00+00');
-- One that is restored is the same user.
SELECT bs_delete_user(test.id('Moved')), bs_restore_user(test.id('Moved'));
SELECT test.plan('2044-05-10 14:00+00'), test.send('2044-05-10 23:00+00');
SELECT name, status, reason FROM test.messages ORDER BY 1, 2;
SELECT * FROM test.disagreements WHERE n <> 0;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
