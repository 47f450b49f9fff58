-- queue: the way by the broker: what is due, QUEUED, copies claimed, and back.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
DO $$ BEGIN FOR n IN 1..5 LOOP PERFORM test.add('U' || n, 'UTC', '1990-05-05'); END LOOP; PERFORM test.add('Tomorrow', 'UTC', '1990-05-06'); END $$;
SELECT test.plan('2044-05-04 12:00+00');
CREATE VIEW test.rows AS
SELECT u.first_name AS name, m.status, m.status_reason AS reason, m.attempts, m.claimed_by AS by, m.claim_token IS NOT NULL AS token,
       m.due_at AT TIME ZONE 'UTC' AS due, m.scheduled_send_time AT TIME ZONE 'UTC' AS send_at, m.id
  FROM message_logs m JOIN users u ON u.id = m.user_id WHERE m.scheduled_send_time > '2043-01-01' ORDER BY 1;
-- The publisher's two steps in one, and a sender that receives a copy of each of these people's messages.
CREATE FUNCTION test.publish(now timestamptz, again boolean DEFAULT false, look_again interval DEFAULT '5 min', most integer DEFAULT 100) RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
    SELECT d.n - (SELECT count(*) FROM bs_mark_queued(d.ids, d.times, d.dues, look_again, now))
      FROM (SELECT count(*) AS n, array_agg(d.id) AS ids, array_agg(d.scheduled_send_time) AS times, array_agg(d.due_at) AS dues FROM bs_due_messages(most, '{}', again, now) d) d;
END;
CREATE FUNCTION test.receive(by text, now timestamptz, VARIADIC names text[]) RETURNS TABLE (name text, attempts integer, token boolean, letter boolean) LANGUAGE plpgsql AS $$
DECLARE copies uuid[]; times timestamptz[];
BEGIN
    SELECT array_agg(m.id), array_agg(m.scheduled_send_time) INTO copies, times FROM unnest(names) AS n (name) JOIN users u ON u.first_name = n.name JOIN message_logs m ON m.user_id = u.id;
    RETURN QUERY SELECT u.first_name::text, c.attempts, c.claim_token IS NOT NULL, c.message_content IS NOT NULL
      FROM bs_claim_copies(by, '5 min', copies, times, now) c JOIN message_logs m ON m.id = c.id JOIN users u ON u.id = m.user_id ORDER BY 1;
END $$;
CREATE FUNCTION test.record(state text, reason text, next timestamptz, VARIADIC names text[]) RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
    SELECT bs_record(array_agg(m.id), array_agg(m.scheduled_send_time), array_agg(m.claim_token), array_agg(state), array_agg(reason),
                     array_agg(next), array_agg(250), array_agg('ok'::text), array_agg(NULL::text), array_agg(now()))
      FROM message_logs m JOIN users u ON u.id = m.user_id WHERE u.first_name = ANY (names);
END;

-- Due: not a microsecond early, the first due first, as many as are asked for, not what is excepted.
SELECT count(*) FROM bs_due_messages(100, '{}', true, '2044-05-05 08:59:59.999999+00');
SELECT count(*), count(DISTINCT id), min(due_at) = max(due_at) AS together, min(due_at) = min(scheduled_send_time) AS planned, min(message_type) AS type FROM bs_due_messages(100, '{}', false, '2044-05-05 09:00+00');
SELECT count(*) FROM bs_due_messages(2, '{}', false, '2044-05-05 09:00+00');
SELECT count(*) FROM bs_due_messages(0, '{}', false, '2044-05-05 09:00+00');
SELECT name FROM bs_due_messages(100, ARRAY[NULL, gen_random_uuid()] || (SELECT array_agg(id) FROM test.rows WHERE name IN ('U1', 'U2', 'Tomorrow')), true, '2044-05-05 09:00+00') d JOIN test.rows USING (id) ORDER BY 1;
SELECT count(*) FROM bs_due_messages(100, NULL, NULL, '2044-05-05 09:00+00');
SELECT array_agg(send_at ORDER BY n) AS in_order FROM (SELECT scheduled_send_time AT TIME ZONE 'UTC' AS send_at, row_number() OVER () AS n FROM bs_due_messages(100, '{}', false, '2044-05-06 09:00+00')) d;
-- Asking changes nothing.
SELECT status, attempts, count(*) FROM test.rows GROUP BY 1, 2;

-- Marked: QUEUED, and due again later. What nobody came for by then is due again, if asked for.
SELECT test.publish('2044-05-05 09:00+00');
SELECT status, reason, attempts, token, due, count(*) FROM test.rows GROUP BY 1, 2, 3, 4, 5 ORDER BY 5;
SELECT count(*) FROM bs_due_messages(100, '{}', true, '2044-05-05 09:04:59.999999+00');
SELECT count(*) FILTER (WHERE again) AS again, count(*) FILTER (WHERE NOT again) AS not_again FROM (VALUES (true), (false)) AS v (again), bs_due_messages(100, '{}', again, '2044-05-05 09:05+00');
SELECT bs_next_due('2044-05-05 09:01+00') AT TIME ZONE 'UTC' AS next_due;
SELECT test.publish('2044-05-05 09:05+00', false) AS first_time, test.publish('2044-05-05 09:05+00', true) AS again, test.publish('2044-05-05 09:05+00', true) AS once_more;
SELECT DISTINCT due FROM test.rows WHERE status = 'QUEUED';
-- Compare and set: what has moved on since it was read stays as it is; twice in one call is once.
SELECT bs_mark_queued(array_agg(id), array_agg('2044-05-05 09:00+00'::timestamptz), array_agg('2044-05-05 09:05+00'::timestamptz), '1 h') AS other_due_at FROM test.rows WHERE name = 'U1';
SELECT bs_mark_queued(array_agg(id), array_agg('2044-06-05 09:00+00'::timestamptz), array_agg(due AT TIME ZONE 'UTC'), '1 h') AS other_month FROM test.rows WHERE name = 'U1';
SELECT bs_mark_queued(array_agg(id), array_agg('2999-06-05 09:00+00'::timestamptz), array_agg(due AT TIME ZONE 'UTC'), '1 h') AS no_such_month FROM test.rows WHERE name = 'U1';
SELECT bs_mark_queued('{}', '{}', '{}', '5 min') AS nothing, bs_mark_queued(ARRAY[NULL]::uuid[], ARRAY[NULL]::timestamptz[], ARRAY[NULL]::timestamptz[], '5 min') AS nulls, bs_mark_queued(NULL, NULL, NULL, '5 min') AS unknown;
SELECT DISTINCT due FROM test.rows WHERE status = 'QUEUED';
SELECT bs_mark_queued(array_agg(r.id), array_agg(r.send_at AT TIME ZONE 'UTC'), array_agg(r.due AT TIME ZONE 'UTC'), '1 h', '2044-05-05 09:05+00') AS twice FROM test.rows r, generate_series(1, 2) WHERE name = 'U1';
SELECT due, count(*) FROM test.rows WHERE status = 'QUEUED' GROUP BY 1 ORDER BY 1;

-- A copy of what is QUEUED is claimed whatever its due_at, and once.
SELECT * FROM test.receive('s1', '2044-05-05 09:05:01+00', 'U1', 'U2', 'U1');
SELECT * FROM test.receive('s2', '2044-05-05 09:05:02+00', 'U1', 'U2', 'U2');
SELECT name, status, attempts, by, token, due FROM test.rows WHERE status <> 'SCHEDULED';
-- The same as bs_claim() gives.
BEGIN;
SELECT c.recipient_name, c.recipient_email, c.subject, c.message_content, c.html_content, c.attempts, c.idempotency_key LIKE '%:BIRTHDAY:2044-05-05' AS key, c.scheduled_send_time AT TIME ZONE 'UTC' AS send_at
  FROM test.rows r, bs_claim_copies('s3', '5 min', ARRAY[r.id], ARRAY[r.send_at AT TIME ZONE 'UTC'], '2044-05-05 09:05:02+00') c WHERE r.name = 'U3';
ROLLBACK;
-- What is not ours to send: early, another time, an unknown id, nonsense of all kinds.
SELECT * FROM test.receive('s2', '2044-05-05 09:05:02+00', 'Tomorrow');
SELECT c.* FROM test.rows r, bs_claim_copies('s3', '5 min', ARRAY[r.id], ARRAY['2044-05-05 09:00:00.000001+00'::timestamptz], '2044-05-05 09:05:02+00') c WHERE r.name = 'U3';
SELECT c.* FROM test.rows r, bs_claim_copies('s3', '5 min', ARRAY[r.id], ARRAY['2044-06-05 09:00+00'::timestamptz], '2044-05-05 09:05:02+00') c WHERE r.name = 'U3';
SELECT c.* FROM test.rows r, bs_claim_copies('s3', '5 min', ARRAY[r.id, r.id, r.id, r.id, NULL], '{-infinity,infinity,4714-11-24 00:00:00+00 BC,294276-12-31 23:59:59+00,2044-05-05 09:00+00}', '2044-05-05 09:05:02+00') c WHERE r.name = 'U3';
SELECT c.* FROM test.rows r, bs_claim_copies('s3', '5 min', ARRAY[r.id, r.id], ARRAY[NULL]::timestamptz[], '2044-05-05 09:05:02+00') c WHERE r.name = 'U3';
SELECT * FROM bs_claim_copies('s3', '5 min', '{00000000-0000-0000-0000-000000000000}', '{2044-05-05 09:00+00}', '2044-05-05 09:05:02+00');
SELECT * FROM bs_claim_copies('s3', '5 min', '{}', '{}', '2044-05-05 09:05:02+00');
SELECT * FROM bs_claim_copies('s3', '5 min', NULL, NULL, '2044-05-05 09:05:02+00');
-- A copy may overtake the mark: SCHEDULED is claimed as well, and the mark comes too late.
SELECT d.id, d.scheduled_send_time, d.due_at FROM bs_due_messages(1, '{}', false, '2044-05-06 09:00+00') d \gset
SELECT * FROM test.receive('s1', '2044-05-06 09:00+00', 'Tomorrow');
SELECT bs_mark_queued(ARRAY[:'id'::uuid], ARRAY[:'scheduled_send_time'::timestamptz], ARRAY[:'due_at'::timestamptz], '5 min') AS too_late;

-- Finished: dropped. FAILED: said so, once, without the letter, also in company of others, and not in another state.
SELECT test.record('SENT', 'accepted', NULL, 'U1') AS sent, test.record('FAILED', 'refused', NULL, 'U2') AS failed;
SELECT bs_cancel_message(id) FROM test.rows WHERE name = 'U4';
SELECT * FROM test.receive('s2', '2044-05-05 09:06+00', 'U1', 'U2', 'U2', 'U3', 'U4');
SELECT c.scheduled_send_time AT TIME ZONE 'UTC' AS send_at, c.claim_token, c.attempts, c.recipient_email, c.recipient_name, c.subject, c.message_content, c.html_content, c.idempotency_key
  FROM test.rows r, bs_claim_copies('s3', '5 min', ARRAY[r.id], ARRAY[r.send_at AT TIME ZONE 'UTC'], '2044-05-05 09:06+00') c WHERE r.name = 'U2';
SELECT name, status, reason, attempts, due FROM test.rows;

-- To be tried again: not before its time, whatever copies say; then published like any other, and the attempts count on.
SELECT test.record('RETRYING', 'later', '2044-05-05 09:20+00', 'U3');
SELECT * FROM test.receive('s2', '2044-05-05 09:19:59.999999+00', 'U3');
SELECT count(*) FROM bs_due_messages(100, '{}', true, '2044-05-05 09:19:59.999999+00') d JOIN test.rows USING (id) WHERE name = 'U3';
SELECT test.publish('2044-05-05 09:20+00', false, '5 min', 1);
SELECT name, status, reason, attempts, due FROM test.rows WHERE name = 'U3';
SELECT * FROM test.receive('s2', '2044-05-05 09:20+00', 'U3');
SELECT status, attempts, retry_count FROM message_logs WHERE id = (SELECT id FROM test.rows WHERE name = 'U3');
-- By hand: a FAILED one comes back, a QUEUED one is published again at once.
SELECT bs_retry_message(id) FROM test.rows WHERE name = 'U2';
UPDATE message_logs SET due_at = '2044-05-05 09:20+00' WHERE id = (SELECT id FROM test.rows WHERE name = 'U2');
SELECT test.publish('2044-05-05 09:20+00');
SELECT bs_retry_message(id) FROM test.rows WHERE name = 'U2';
SELECT name, status, reason, attempts, due < '2043-01-01' AS now FROM test.rows WHERE name = 'U2';
SELECT * FROM test.receive('s2', '2044-05-05 09:21+00', 'U2');
SELECT test.error(format('SELECT bs_retry_message(%L)', id)) FROM test.rows WHERE name = 'U2';
DELETE FROM users;

-- A change of the user finds what is QUEUED: new text, new time, or the end; what stays the same stays QUEUED.
DO $$ BEGIN FOR n IN 1..5 LOOP PERFORM test.add('C' || n, 'Etc/GMT-6', '1990-07-05'); END LOOP; END $$;
SELECT test.plan('2044-07-04 12:00+00');
SELECT test.publish('2044-07-05 03:00+00');
UPDATE message_logs SET attempts = 2 WHERE id IN (SELECT id FROM test.rows WHERE name IN ('C2', 'C3'));
UPDATE users SET last_name = 'New' WHERE first_name IN ('C1', 'C2');
UPDATE users SET timezone = 'UTC' WHERE first_name = 'C3';
UPDATE users SET birthday_date = '1990-07-06' WHERE first_name = 'C4';
SELECT changed, skipped FROM bs_refresh(ARRAY(SELECT id FROM test.rows), '2044-07-05 03:01+00');
SELECT name, status, reason, attempts, due, send_at FROM test.rows;
-- The copies that are under way: C1 and C2 are sent with the new text, C3 is too early now.
SELECT * FROM test.receive('s1', '2044-07-05 03:02+00', 'C1', 'C2', 'C3', 'C4', 'C5');
SELECT name, status, recipient_name FROM test.rows JOIN message_logs USING (id, status) ORDER BY 1;
-- A type that changes makes afresh what is QUEUED, at the latest when it is claimed.
SELECT test.record('RELEASED', 'released', '2044-07-05 03:02+00', 'C5');
SELECT test.publish('2044-07-05 03:02+00');
UPDATE message_logs SET type_version = 0, message_content = 'old' WHERE id IN (SELECT id FROM test.rows WHERE name = 'C5');
SELECT c.message_content FROM test.rows r, bs_claim_copies('s3', '5 min', ARRAY[r.id], ARRAY[r.send_at AT TIME ZONE 'UTC'], '2044-07-05 03:03+00') c WHERE r.name = 'C5';
-- What changed while it was claimed is made afresh as well: the versions say so.
UPDATE users SET last_name = 'Newer' WHERE first_name = 'C5';
SELECT test.record('RELEASED', 'released', '2044-07-05 03:02+00', 'C5');
SELECT test.publish('2044-07-05 03:02+00');
SELECT status, attempts FROM test.rows WHERE name = 'C5';
SELECT c.message_content FROM test.rows r, bs_claim_copies('s3', '5 min', ARRAY[r.id], ARRAY[r.send_at AT TIME ZONE 'UTC'], '2044-07-05 03:03+00') c WHERE r.name = 'C5';
DELETE FROM users;

-- Without a broker bs_claim() takes what is QUEUED once its due_at is past, and bs_recover() takes it all back.
DO $$ BEGIN FOR n IN 1..4 LOOP PERFORM test.add('B' || n, 'UTC', '1990-08-05'); END LOOP; END $$;
SELECT test.plan('2044-08-04 12:00+00');
SELECT test.publish('2044-08-05 09:00+00');
SELECT count(*) FROM bs_claim('s1', 10, '5 min', '2044-08-05 09:04:59.999999+00');
SELECT attempts, count(*) FROM bs_claim('s1', 1, '5 min', '2044-08-05 09:05+00') GROUP BY 1;
UPDATE message_logs SET attempts = 3 WHERE id = (SELECT id FROM test.rows WHERE status = 'QUEUED' LIMIT 1);
SELECT current_setting('birthday_scheduler.queue') AS queue;
SELECT recovered, expired, next_lease_end AT TIME ZONE 'UTC' AS next_lease_end FROM bs_recover('{}', false, '2044-08-05 09:06+00');
SELECT status, reason, attempts, due, count(*) FROM test.rows GROUP BY 1, 2, 3, 4 ORDER BY 1, 3;
SELECT recovered, expired FROM bs_recover('{}', false, '2044-08-05 09:06+00');
-- A part at a time, so that nobody whose message it is waits for long.
SELECT test.publish('2044-08-05 09:06+00');
SELECT bs_take_back(2) AS first_part, bs_take_back(2) AS rest, bs_take_back(2) AS none;
-- Too late: not due, not claimed, and ends as EXPIRED from QUEUED as well.
SELECT test.publish('2044-08-05 09:06+00');
SELECT count(*) FROM bs_due_messages(100, '{}', true, '2044-08-06 09:00:00.000001+00');
SELECT * FROM test.receive('s1', '2044-08-06 09:00:00.000001+00', 'B1', 'B2', 'B3', 'B4');
SELECT recovered, expired FROM bs_recover('{}', false, '2044-08-06 08:59+00');
SELECT recovered, expired FROM bs_recover('{}', false, '2044-08-06 09:00:00.000001+00');
SELECT status, reason, due, count(*) FROM test.rows GROUP BY 1, 2, 3 ORDER BY 1;
DELETE FROM users;

-- Across months: in the order in which they are due.
DO $$ BEGIN PERFORM test.add('August', 'Etc/GMT+12', '1990-08-31'); PERFORM test.add('September', 'UTC', '1990-09-01'); PERFORM test.add('Late', 'Etc/GMT+12', '1990-08-31'); END $$;
SELECT test.plan('2044-08-31 00:00+00');
UPDATE message_logs SET due_at = '2044-09-01 10:00+00', status = 'RETRYING' WHERE id = (SELECT id FROM test.rows WHERE name = 'August');
UPDATE message_logs SET due_at = '2044-09-01 05:00+00', status = 'QUEUED' WHERE id = (SELECT id FROM test.rows WHERE name = 'Late');
SELECT array_agg(r.name ORDER BY n) AS first_only FROM bs_due_messages(1, '{}', true, '2044-09-01 12:00+00') WITH ORDINALITY AS d (id, send_at, due, type, n) JOIN test.rows r ON r.id = d.id;
SELECT array_agg(r.name ORDER BY n) AS in_order FROM bs_due_messages(100, '{}', true, '2044-09-01 12:00+00') WITH ORDINALITY AS d (id, send_at, due, type, n) JOIN test.rows r ON r.id = d.id;
SELECT test.publish('2044-09-01 12:00+00', true);
SELECT tableoid::regclass AS partition, status, due_at AT TIME ZONE 'UTC' AS due, count(*) FROM message_logs GROUP BY 1, 2, 3 ORDER BY 1;
SELECT * FROM test.receive('s1', '2044-09-01 12:00+00', 'August', 'September', 'Late');
DELETE FROM users;

-- Paused, and a copy: nothing is due, nothing is claimed, and paused senders are to ask again. A copy takes back what another database's broker has.
SELECT test.add('P', 'UTC', '1990-10-05'), test.add('Q', 'UTC', '1990-10-05');
SELECT test.plan('2044-10-04 12:00+00');
SELECT test.publish('2044-10-05 09:00+00', false, '5 min', 1);
SELECT bs_pause();
SELECT count(*) FROM bs_due_messages(100, '{}', true, '2044-10-05 10:00+00');
SELECT * FROM test.receive('s1', '2044-10-05 10:00+00', 'P', 'Q');
SELECT bs_resume();
SELECT status, due, count(*) FROM test.rows GROUP BY 1, 2 ORDER BY 1;
UPDATE bs_installation SET system_identifier = system_identifier + 1;
SELECT count(*) FROM bs_due_messages(100, '{}', true, '2044-10-05 10:00+00');
SELECT * FROM test.receive('s1', '2044-10-05 10:00+00', 'P', 'Q');
SELECT bs_resume();
SELECT status, due, count(*) FROM test.rows GROUP BY 1, 2 ORDER BY 1;
SELECT count(*) FROM bs_due_messages(100, '{}', true, '2044-10-05 10:00+00');
DELETE FROM users;

-- Copies whose letters find no room under the limit are those to ask again for, like locked ones.
DO $$ BEGIN FOR n IN 1..5 LOOP PERFORM test.add('B' || n, 'UTC', '1990-11-05'); END LOOP; END $$;
SELECT test.plan('2044-11-04 12:00+00');
UPDATE message_logs SET message_content = repeat('x', 1000), html_content = NULL, subject = '' WHERE status = 'SCHEDULED';
SELECT test.publish('2044-11-05 09:00+00');
CREATE FUNCTION test.receive_some(by text, most bigint) RETURNS TABLE (claimed bigint, again bigint, letters bigint) LANGUAGE sql
BEGIN ATOMIC
    SELECT count(c.claim_token), count(*) FILTER (WHERE c.attempts IS NULL), sum(octet_length(c.message_content))
      FROM (SELECT array_agg(id) AS ids, array_agg(scheduled_send_time) AS times FROM message_logs WHERE status = 'QUEUED') m,
           bs_claim_copies(by, '5 min', m.ids, m.times, '2044-11-05 09:01+00', most) c;
END;
SELECT * FROM test.receive_some('s1', 0);
SELECT * FROM test.receive_some('s1', 1001);
SELECT status, by, count(*) FROM test.rows GROUP BY 1, 2 ORDER BY 1;
SELECT * FROM test.receive_some('s2', 1);
SELECT * FROM test.receive_some('s3', 3000);

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
