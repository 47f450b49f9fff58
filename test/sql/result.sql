-- result: what becomes of an attempt, and an operator's moves.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
CREATE VIEW test.rows AS
SELECT u.first_name AS name, m.status, m.status_reason AS reason, m.attempts, m.retry_count AS retries, m.claim_token IS NOT NULL AS token,
       m.due_at AT TIME ZONE 'UTC' AS due, m.actual_send_time AT TIME ZONE 'UTC' AS sent, m.api_response_code AS code, m.api_response_body AS body, m.error_message AS error
  FROM message_logs m JOIN users u ON u.id = m.user_id WHERE m.scheduled_send_time > '2043-01-01' ORDER BY 1;
CREATE TABLE test.claimed (id uuid, scheduled_send_time timestamptz, claim_token uuid, name text);
CREATE FUNCTION test.claim(as_of timestamptz)
RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    n bigint;
BEGIN
    DELETE FROM test.claimed;
    INSERT INTO test.claimed SELECT c.id, c.scheduled_send_time, c.claim_token, split_part(c.recipient_name, ' ', 1) FROM bs_claim('s', 100, '5 min', as_of) AS c;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
-- Records one outcome with the token of the claim, or another one.
CREATE FUNCTION test.record(who text, state text, reason text, next timestamptz, code integer, reply text, error text, token uuid DEFAULT NULL)
RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    SELECT bs_record(ARRAY[c.id], ARRAY[c.scheduled_send_time], ARRAY[coalesce(token, c.claim_token)], ARRAY[state], ARRAY[reason],
                     ARRAY[next], ARRAY[code], ARRAY[reply], ARRAY[error], ARRAY[timestamptz '2044-05-05 09:00:01+00'])
      FROM test.claimed c WHERE c.name = who;
END;

DO $$ BEGIN PERFORM test.add(n, 'UTC', '1990-05-05') FROM unnest('{Sent,Failed,Expired,Retrying,Released,Other}'::text[]) AS n; END $$;
SELECT test.plan('2044-05-04 12:00+00');
-- Nothing is recorded for what is not claimed.
INSERT INTO test.claimed SELECT m.id, m.scheduled_send_time, gen_random_uuid(), u.first_name FROM message_logs m JOIN users u ON u.id = m.user_id;
SELECT test.record('Sent', 'SENT', 'accepted', NULL, 250, 'ok', NULL);
SELECT test.claim('2044-05-05 09:00+00');
-- With another token, or none, nothing is heard.
SELECT test.record('Sent', 'SENT', 'accepted', NULL, 250, 'ok', NULL, gen_random_uuid());
SELECT bs_record(ARRAY[id], ARRAY[scheduled_send_time], '{NULL}', '{SENT}', '{accepted}', '{NULL}', '{250}', '{ok}', '{NULL}', '{2044-05-05}') FROM test.claimed WHERE name = 'Sent';
SELECT DISTINCT status, token FROM test.rows;
-- Each outcome.
SELECT test.record('Sent', 'SENT', 'accepted', NULL, 250, '250 2.0.0 Ok', NULL),
       test.record('Failed', 'FAILED', 'refused', NULL, 550, '550 5.1.1 nobody', 'the relay refused the message'),
       test.record('Expired', 'EXPIRED', 'too_late', NULL, 451, '451 later', 'no time for another attempt'),
       test.record('Retrying', 'RETRYING', 'later', '2044-05-05 09:05+00', 451, '451 later', 'the relay said later'),
       test.record('Released', 'RELEASED', 'released', '2044-05-05 09:00+00', NULL, NULL, NULL);
SELECT * FROM test.rows;
-- Only once.
SELECT test.record('Sent', 'FAILED', 'refused', NULL, 550, 'no', NULL), test.record('Failed', 'SENT', 'accepted', NULL, 250, 'ok', NULL),
       test.record('Released', 'SENT', 'accepted', NULL, 250, 'ok', NULL);
-- Many at once, of which some are not ours any more.
SELECT test.claim('2044-05-05 09:05+00');
SELECT bs_record(array_agg(id), array_agg(scheduled_send_time), array_agg(CASE name WHEN 'Retrying' THEN gen_random_uuid() ELSE claim_token END), array_agg('SENT'::text), array_agg('accepted'::text),
                 array_agg(NULL::timestamptz), array_agg(250), array_agg('ok'::text), array_agg(NULL::text), array_agg(timestamptz '2044-05-05 09:05:01+00')) FROM test.claimed;
SELECT bs_record('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
-- A note of an outcome is no less than an outcome; one that is wrong all the same keeps
-- nothing else from being put back.
SELECT test.error($$INSERT INTO bs_pending_outcomes VALUES (gen_random_uuid(), '2044-05-05', gen_random_uuid(), 'DONE')$$) AS state,
       test.error($$INSERT INTO bs_pending_outcomes VALUES (gen_random_uuid(), '2044-05-05', gen_random_uuid(), 'RETRYING')$$) AS next_attempt,
       test.error($$INSERT INTO bs_pending_outcomes VALUES (gen_random_uuid(), '2044-05-05', gen_random_uuid(), 'SENT', repeat('x', 31))$$) AS reason;
BEGIN;
ALTER TABLE bs_pending_outcomes DROP CONSTRAINT check_state;
INSERT INTO test.claimed SELECT id, scheduled_send_time, gen_random_uuid(), 'Noted' FROM message_logs WHERE status = 'SENT' LIMIT 1;
UPDATE message_logs m SET status = 'SENDING', claim_token = c.claim_token, claimed_by = 'gone', attempts = 1, due_at = '2044-05-05 09:15+00' FROM test.claimed c WHERE c.name = 'Noted' AND m.id = c.id;
INSERT INTO bs_pending_outcomes SELECT id, scheduled_send_time, claim_token, 'DONE' FROM test.claimed WHERE name = 'Noted';
SELECT recovered FROM bs_recover('{}', false, '2044-05-05 09:20+00');
SELECT recovered, next_lease_end FROM bs_recover('{}', false, '2044-05-05 09:30+00');
SELECT m.status, p.state FROM message_logs m JOIN bs_pending_outcomes p USING (id);
UPDATE bs_pending_outcomes SET state = 'SENT', reason = 'accepted', ended_at = '2044-05-05 09:14+00';
SELECT recovered FROM bs_recover('{}', false, '2044-05-05 09:30+00');
SELECT m.status, m.status_reason, p.state FROM message_logs m LEFT JOIN bs_pending_outcomes p USING (id) WHERE m.id = (SELECT id FROM test.claimed WHERE name = 'Noted');
ROLLBACK;
-- The released attempt was not counted: it is sent at its first. What the relay said
-- before stays until something else is said.
SELECT name, status, reason, attempts, retries, sent, code, error FROM test.rows WHERE name IN ('Released', 'Retrying');
-- A state that there is not.
SELECT test.error($$SELECT test.record('Retrying', 'DONE', 'x', NULL, NULL, NULL, NULL)$$);
SELECT test.record('Retrying', 'RETRYING', 'later', '2044-05-05 09:10+00', NULL, NULL, NULL);
SELECT test.claim('2044-05-05 09:10+00');
SELECT test.record('Retrying', 'RELEASED', 'released', '2044-05-05 09:10+00', NULL, NULL, NULL);
SELECT name, status, attempts, retries, code, error FROM test.rows WHERE name = 'Retrying';
SELECT name, status FROM test.rows WHERE name = 'Other';
DELETE FROM users;

-- By hand: each move from each state. I33, EC-Q-029.
DO $$ BEGIN PERFORM test.add(n, 'UTC', '1990-06-05') FROM unnest('{SCHEDULED,QUEUED,SENDING,SENT,RETRYING,FAILED,CANCELLED,EXPIRED}'::text[]) AS n; END $$;
SELECT test.plan('2044-06-04 12:00+00');
UPDATE message_logs m SET status = u.first_name, attempts = 3, retry_count = 2 FROM users u WHERE u.id = m.user_id;
BEGIN;
SELECT name, test.error(format('SELECT bs_cancel_message(%L)', m.id)) FROM test.rows r JOIN message_logs m ON m.user_id = test.id(r.name) ORDER BY 1;
SELECT name, status, reason, due, attempts FROM test.rows WHERE name IN ('SCHEDULED', 'QUEUED', 'RETRYING');
ROLLBACK;
SELECT name, test.error(format('SELECT bs_retry_message(%L)', m.id)) FROM test.rows r JOIN message_logs m ON m.user_id = test.id(r.name) ORDER BY 1;
SELECT name, status, reason, due IS NOT NULL AS due, attempts FROM test.rows WHERE name IN ('FAILED', 'QUEUED');
SELECT f, test.error(format('SELECT %s(%L)', f, '00000000-0000-0000-0000-000000000000')), test.error(format('SELECT %s(NULL)', f)) FROM unnest('{bs_cancel_message,bs_retry_message}'::text[]) AS f;
SELECT count(*) FROM test.rows WHERE name NOT IN (status, 'FAILED', 'QUEUED');
-- All that failed since a moment.
UPDATE message_logs SET status = 'FAILED', due_at = NULL, attempts = 5;
SELECT bs_retry_failed('2044-06-05 09:00:00.000001+00') AS after, bs_retry_failed('2044-06-05 09:00+00') AS since, bs_retry_failed('-infinity') AS again;
SELECT DISTINCT status, reason, attempts FROM test.rows;
SELECT test.error('SELECT bs_retry_failed(NULL)');

-- The checks of the table.
SELECT s, test.error('UPDATE message_logs SET ' || s) FROM unnest(ARRAY[$$status = 'DONE'$$, $$status = 'sent'$$, $$status = NULL$$, $$message_type = 'x y'$$,
    $$retry_count = -1$$, $$scheduled_send_time = NULL$$, $$scheduled_send_time = 'infinity'$$, $$idempotency_key = 'same'$$, $$user_id = gen_random_uuid()$$, $$message_content = NULL$$]) AS s;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
