-- queue: claims, leases, and what is too late.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
DO $$ BEGIN FOR n IN 1..5 LOOP PERFORM test.add('U' || n, 'UTC', '1990-05-05'); END LOOP; PERFORM test.add('Tomorrow', 'UTC', '1990-05-06'); END $$;
SELECT test.plan('2044-05-04 12:00+00');
CREATE VIEW test.rows AS
SELECT u.first_name AS name, m.status, m.status_reason AS reason, m.attempts, m.retry_count AS retries, m.claimed_by AS by,
       m.claim_token IS NOT NULL AS token, m.due_at AT TIME ZONE 'UTC' AS due, m.last_retry_at AT TIME ZONE 'UTC' AS last
  FROM message_logs m JOIN users u ON u.id = m.user_id WHERE m.scheduled_send_time > '2043-01-01' ORDER BY 1;

-- Never early, not even by a microsecond; then as many as are asked for.
SELECT bs_next_due('2044-05-04 12:00+00') AT TIME ZONE 'UTC' AS next_due;
SELECT count(*) FROM bs_claim('s1', 10, '5 min', '2044-05-05 08:59:59.999999+00');
SELECT count(*) FROM bs_claim('s1', 2, '5 min', '2044-05-05 09:00+00');
SELECT count(*) FROM bs_claim('s1', 0, '5 min', '2044-05-05 09:00+00');
SELECT count(*) FROM bs_claim('s2', 2, '5 min', '2044-05-05 09:00+00');
SELECT status, by, attempts, retries, token, due, last, count(*) FROM test.rows GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 2, 1, 6;
SELECT DISTINCT by FROM test.rows ORDER BY 1;
SELECT * FROM bs_claim_holders('2044-05-05 09:00+00') ORDER BY 1;
SELECT count(*) FROM bs_claim('s4', 10, '5 min', '2044-05-05 09:00+00');
SELECT bs_next_due('2044-05-05 09:00+00') AT TIME ZONE 'UTC' AS next_due;
-- What a claim hands out is what is stored.
SELECT c.recipient_name = 'Tomorrow Test' AS name, c.subject, c.message_content, c.html_content, c.attempts, c.scheduled_send_time = '2044-05-06 09:00+00' AS instant,
       c.idempotency_key LIKE '%:BIRTHDAY:2044-05-06' AS key, c.recipient_email
  FROM bs_claim('s5', 10, '5 min', '2044-05-06 09:00+00') AS c;

-- A lease runs out at its end; before that nothing happens, unless the sender is known to be gone.
-- The first look after that extends it, by ten seconds at most, the second one puts back.
SELECT recovered, expired, next_lease_end AT TIME ZONE 'UTC' AS next_lease_end FROM bs_recover('{}', false, '2044-05-05 09:04:59.999999+00');
SELECT recovered, expired, next_lease_end AT TIME ZONE 'UTC' AS next_lease_end FROM bs_recover('{s1,nobody}', false, '2044-05-05 09:01+00');
SELECT name ~ 'U' AS u, status, reason, by, attempts, token, due, count(*) FROM test.rows GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 4, 2;
SELECT recovered, expired, next_lease_end AT TIME ZONE 'UTC' AS next_lease_end FROM bs_recover('{}', false, '2044-05-05 09:05+00');
SELECT status, reason, token, due, count(*) FROM test.rows WHERE by IN ('s2', 's4') GROUP BY 1, 2, 3, 4;
SELECT recovered, expired, next_lease_end AT TIME ZONE 'UTC' AS next_lease_end FROM bs_recover('{}', false, '2044-05-05 09:05:09.999999+00');
SELECT recovered, expired, next_lease_end AT TIME ZONE 'UTC' AS next_lease_end FROM bs_recover('{}', false, '2044-05-05 09:05:10+00');
SELECT status, reason, count(*) FROM test.rows GROUP BY 1, 2 ORDER BY 1, 2;
SELECT DISTINCT error_message FROM message_logs ORDER BY 1;
SELECT bs_next_due('2044-05-05 09:05:10+00') AT TIME ZONE 'UTC' AS next_due;
-- The next attempt counts on.
SELECT attempts, count(*) FROM bs_claim('s6', 10, '1 min', '2044-05-05 09:05:10+00') GROUP BY 1;
SELECT status, attempts, retries, by, count(*) FROM test.rows GROUP BY 1, 2, 3, 4 ORDER BY 4;
-- Lost for the second time: each waits a time of its own, at most 20 seconds.
BEGIN;
SELECT recovered FROM bs_recover('{s6}', false, '2044-05-05 09:05:30+00');
SELECT bool_and(due_at >= '2044-05-05 09:05:30+00' AND due_at <= '2044-05-05 09:05:50+00') AS soon,
       count(DISTINCT due_at) = count(*) AS apart FROM message_logs WHERE claimed_by = 's6';
ROLLBACK;
-- Where nothing may be sent twice, a lost lease is the end.
SELECT recovered, expired FROM bs_recover('{}', true, '2044-05-05 09:06:10+00');
SELECT recovered, expired FROM bs_recover('{}', true, '2044-05-05 09:06:20+00');
SELECT status, reason, by, token, due, count(*) FROM test.rows GROUP BY 1, 2, 3, 4, 5 ORDER BY 3;
DELETE FROM users;

-- A claim whose answer was lost is given back unharmed; the same sender's others, and
-- other senders', are not touched.
DO $$ BEGIN FOR n IN 1..6 LOOP PERFORM test.add('R' || n, 'UTC', '1990-05-15'); END LOOP; END $$;
SELECT test.plan('2044-05-14 12:00+00');
SELECT DISTINCT claim_token AS known FROM bs_claim('r1', 2, '5 min', '2044-05-15 09:00+00') \gset
SELECT count(*) FROM bs_claim('r1', 3, '5 min', '2044-05-15 09:00+00');
SELECT count(*) FROM bs_claim('r2', 1, '5 min', '2044-05-15 09:00+00');
SELECT bs_release_claims('r1', ARRAY[:'known'::uuid], '2044-05-15 09:01+00');
SELECT status, reason, by, attempts, token, due, count(*) FROM test.rows GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 3, 1;
SELECT bs_release_claims('r1', ARRAY[:'known'::uuid], '2044-05-15 09:01+00');
SELECT bs_release_claims('r1', '{}', '2044-05-15 09:01+00'), bs_release_claims('nobody', '{}', '2044-05-15 09:01+00');
DELETE FROM users;

-- A bs_sender that says that it lives and holds messages keeps them beyond its lease,
-- until it has been silent for as long; a day at most, whatever it says.
DO $$ BEGIN FOR n IN 1..2 LOOP PERFORM test.add('B' || n, 'UTC', '1990-05-25'); END LOOP; END $$;
SELECT test.plan('2044-05-24 12:00+00');
SELECT n, count(*) FROM unnest('{remote/one/1/0000000a,remote/two/2/0000000b}'::text[]) AS n, bs_claim(n, 1, '5 s', '2044-05-25 09:00+00') GROUP BY 1 ORDER BY 1;
CREATE FUNCTION test.report(name text, lease interval, held integer, state text DEFAULT 'working', results bigint[] DEFAULT '{0,0,0}',
                            attempts bigint[] DEFAULT '{0,0,0,0,0,0,0}', trouble text DEFAULT '')
RETURNS boolean
LANGUAGE sql
RETURN bs_report_sender(name, lease, held, state, results, attempts, array_fill(1::bigint, '{18}'), array_fill(1::bigint, '{18}'), trouble);
SELECT test.report('remote/one/1/0000000a', '1 min', 1), test.report('remote/two/2/0000000b', '100 years', 0);
SELECT name, held, lease FROM bs_senders ORDER BY 1;
UPDATE bs_senders SET seen_at = '2044-05-25 09:00:10+00';
SELECT recovered FROM bs_recover('{}', false, '2044-05-25 09:00:06+00');
SELECT recovered FROM bs_recover('{}', false, '2044-05-25 09:00:11+00');
SELECT status, reason, by, due FROM test.rows ORDER BY 3;
SELECT recovered FROM bs_recover('{}', false, '2044-05-25 09:01:10+00');
SELECT recovered FROM bs_recover('{}', false, '2044-05-25 09:01:15+00');
SELECT status, reason, by, due FROM test.rows ORDER BY 3;
SELECT test.report('remote/one/1/0000000a', '1 min', -5);
UPDATE bs_senders SET seen_at = now() - interval '25 hours' WHERE name LIKE '%two%';
SELECT test.report('remote/one/1/0000000a', '-1 min', 3, 'breaker', '{7,8,9}', '{1,2,3,4,5,6,7}', 'the relay: could not resolve host secret.example');
SELECT up, state, held, sent, failed, retried, attempts, last_error, clock_timestamp() - last_error_at < '1 min' AS lately FROM bs_sender_stats();
-- The class of an error stays, its moment moves only where there was more of it.
UPDATE bs_senders SET last_error_at = '2044-05-25';
SELECT test.report('remote/one/1/0000000a', '1 min', 0, 'working', '{7,8,9}', '{2,2,3,4,5,6,7}', 'the relay: could not resolve host secret.example');
SELECT last_error, last_error_at AT TIME ZONE 'UTC' AS last_error_at FROM bs_sender_stats();
SELECT test.report('remote/one/1/0000000a', '1 min', 0, 'working', '{7,8,9}', '{2,2,3,5,5,6,7}', 'the relay: could not resolve host secret.example');
SELECT last_error, last_error_at < '2044-05-25' AS moved FROM bs_sender_stats();
SELECT bs_growth('{5,5,5}', '{4,5,9}'), bs_growth(NULL, '{1,2}'), bs_growth('{1}', '{}'), bs_growth('{0}', '{9223372036854775807}');
SELECT test.error($$SELECT test.report('remote/one/1/0000000a', '1 min', 0, 'other')$$) AS state,
       test.error($$SELECT test.report('remote/one/1/0000000a', '1 min', 0, 'idle', '{1}')$$) AS few,
       test.error($$SELECT test.report('remote/one/1/0000000a', '1 min', 0, 'idle', '{1,NULL,3}')$$) AS unknown;
UPDATE bs_senders SET held = 3, lease = '0';
SELECT name, held, lease, clock_timestamp() - seen_at < '1 min' AS seen FROM bs_senders ORDER BY 1;
SELECT n, test.error(format('SELECT test.report(%L, %L, 1)', n, '1 min'))
  FROM unnest('{server/1/2,remote/one/1/0000000A,remote/a/b/1/0000000a,"remote/one/1/0000000a ",NULL}'::text[]) AS n;
DELETE FROM users;

-- Later than max_lateness: not claimed any more, and ends as EXPIRED (EC-S-015, 018);
-- what is claimed is waited for.
DO $$ BEGIN FOR n IN 1..3 LOOP PERFORM test.add('L' || n, 'UTC', '1990-06-05'); END LOOP; END $$;
SELECT test.plan('2044-06-04 12:00+00');
SELECT count(*) FROM bs_claim('s1', 1, '1 day', '2044-06-06 09:00+00');
SELECT count(*) FROM bs_claim('s1', 10, '5 min', '2044-06-06 09:00:00.000001+00');
SELECT bs_next_due('2044-06-06 09:00+00') IS NOT NULL AS due, bs_next_due('2044-06-06 09:00:00.000001+00') IS NULL AS over;
SELECT recovered, expired FROM bs_recover('{}', false, '2044-06-06 09:00+00');
SELECT recovered, expired FROM bs_recover('{}', false, '2044-06-06 09:00:00.000001+00');
SELECT status, reason, due, count(*) FROM test.rows GROUP BY 1, 2, 3 ORDER BY 1;
SELECT recovered, expired FROM bs_recover('{}', false, '2044-06-08 09:00+00');
SELECT recovered, expired FROM bs_recover('{}', false, '2044-06-08 09:00:10+00');
SELECT status, reason, due, count(*) FROM test.rows GROUP BY 1, 2, 3 ORDER BY 1;
SELECT recovered, expired FROM bs_recover('{}', false, '2044-06-08 09:00:10+00');
DELETE FROM users;

-- Paused: nothing is claimed, planning goes on. A copy: neither.
SELECT test.add('P', 'UTC', '1990-07-05');
SELECT bs_pause();
SELECT test.plan('2044-07-04 12:00+00');
SELECT count(*) FROM bs_claim('s1', 10, '5 min', '2044-07-05 09:00+00');
SELECT bs_resume();
UPDATE bs_installation SET system_identifier = system_identifier + 1;
SELECT count(*) FROM bs_claim('s1', 10, '5 min', '2044-07-05 09:00+00');
SELECT bs_resume();
SELECT count(*) FROM bs_claim('s1', 10, '5 min', '2044-07-05 09:00+00');
DELETE FROM users;

-- In the order in which they are due.
DO $$ BEGIN PERFORM test.add('Noon', 'Etc/GMT+3', '1990-08-05'); PERFORM test.add('Nine', 'UTC', '1990-08-05'); PERFORM test.add('Six', 'Etc/GMT-3', '1990-08-05'); END $$;
SELECT test.plan('2044-08-04 12:00+00');
SELECT recipient_name FROM bs_claim('s1', 1, '5 min', '2044-08-05 12:00+00');
SELECT recipient_name FROM bs_claim('s1', 1, '5 min', '2044-08-05 12:00+00');
SELECT recipient_name FROM bs_claim('s1', 1, '5 min', '2044-08-05 12:00+00');
DELETE FROM users;

-- Letters have a limit in octets together: at most one goes beyond, and what is left stays due.
DO $$ BEGIN FOR n IN 1..6 LOOP PERFORM test.add('L' || n, 'UTC', '1990-09-05'); END LOOP; END $$;
SELECT test.plan('2044-09-04 12:00+00');
UPDATE message_logs SET subject = '', message_content = repeat('ü', 500), html_content = repeat('x', 1000) WHERE status = 'SCHEDULED';
SELECT most, (SELECT count(*) FROM bs_claim('s1', 10, '5 min', '2044-09-05 09:00+00', most)) AS claimed,
       (SELECT recovered FROM bs_recover('{s1}', false, '2044-09-05 09:00+00')) AS back
  FROM unnest('{-1,0,1}'::bigint[]) AS most;
UPDATE message_logs SET status = 'SCHEDULED', attempts = 0, last_retry_at = NULL, due_at = scheduled_send_time, claim_token = NULL, claimed_by = NULL WHERE due_at IS NOT NULL;
SELECT count(*) FROM bs_claim('s2', 10, '5 min', '2044-09-05 09:00+00', 2000);
SELECT count(*) FROM bs_claim('s3', 10, '5 min', '2044-09-05 09:00+00', 2001);
SELECT count(*) FROM bs_claim('s4', 1, '5 min', '2044-09-05 09:00+00', 1000000);
SELECT by, attempts, count(*) FROM test.rows WHERE status <> 'SENT' GROUP BY 1, 2 ORDER BY 1;
SELECT count(*) FROM bs_claim('s5', 10, '5 min', '2044-09-05 09:00+00', NULL);
-- Letters that are made afresh count as they are then.
SELECT recovered FROM bs_recover('{s2,s3,s4,s5}', false, '2044-09-05 09:00+00');
UPDATE message_logs SET in_doubt = false, type_version = 0;      -- in doubt they would stay as they are
SELECT count(*) FROM bs_claim('s6', 10, '5 min', '2044-09-05 09:01+00', 4001);
SELECT count(*) FROM bs_claim('s7', 10, '5 min', '2044-09-05 09:01+00');
-- Also if they are larger then.
UPDATE message_logs SET status = 'SCHEDULED', attempts = 0, last_retry_at = NULL, due_at = scheduled_send_time, claim_token = NULL, claimed_by = NULL, in_doubt = false WHERE due_at IS NOT NULL;
UPDATE message_types SET text_template = repeat('y', 3000) WHERE name = 'BIRTHDAY';
SELECT length(message_content), count(*) FROM bs_claim('s8', 10, '5 min', '2044-09-05 09:00+00', 7000) GROUP BY 1;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
