-- privileges_reach: nothing that a granted role passes reaches beyond what it is for. In
-- 2044 a message is pending; no role gets at it before its time, whatever it says.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
CREATE ROLE bs_test_worker;
CREATE ROLE bs_test_sender;
SELECT bs_grant('bs_test_worker', 'worker'), bs_grant('bs_test_sender', 'sender');
GRANT USAGE ON SCHEMA test TO PUBLIC;
SELECT test.add('Ann', 'UTC', '1990-05-05'), test.add('Bob', 'UTC', '1990-05-05');
SELECT test.plan('2044-05-04 12:00+00');
SELECT array_agg(id ORDER BY id) AS ids, array_agg(scheduled_send_time) AS times, array_agg(gen_random_uuid()) AS uuids FROM message_logs \gset

-- An instant in the future: it is capped by the clock. A superuser, as this test, passes
-- what it likes.
SET SESSION AUTHORIZATION bs_test_sender;
SELECT count(*) FROM bs_claim('far', 10, '1 min', '2044-05-05 09:00+00');
SELECT count(*) FROM bs_claim('far', 10, '1 min', 'infinity');
SELECT count(*) FROM bs_claim_copies('far', '1 min', :'ids', :'times', '2044-05-05 09:00+00');
SELECT bs_next_due('2044-05-05 09:00+00') IS NULL AS nothing_is_due;
SET SESSION AUTHORIZATION bs_test_worker;
SELECT count(*) FROM bs_due_messages(10, '{}', true, '2044-05-05 09:00+00');
SELECT recovered, expired FROM bs_recover('{}', false, '2050-01-01 00:00+00');
SELECT count(*) FROM bs_mark_queued(:'ids', :'times', :'times', '1 min', '2044-05-05 09:00+00');
SELECT as_of <= clock_timestamp() AS now, until <= clock_timestamp() + interval '400 days' AS near FROM bs_plan_begin('2090-01-01 00:00+00', '2099-01-01 00:00+00');
SELECT planned, tried FROM bs_plan_slice('BIRTHDAY', 'birthday_date', '2090-05-05', 505, '2090-01-01 00:00+00', '2099-01-01 00:00+00', '{}', NULL, 10);
SELECT changed, tried FROM bs_plan_refresh('2090-01-01 00:00+00', '2090-01-01 00:00+00', '-infinity', NULL, 10);
SELECT bs_plan_end('2090-01-01 00:00+00', '2099-01-01 00:00+00', '{}', 0, 0, NULL, NULL);
RESET SESSION AUTHORIZATION;
SELECT status, count(*) FROM message_logs GROUP BY status ORDER BY status;
SELECT count(*) FROM message_logs WHERE scheduled_send_time > '2045-01-01';
-- An instant long ago would let it claim what is too late for everybody.
SELECT count(*) FROM bs_claim('before', 1, '1 min', '2044-05-05 09:00+00');
SELECT bs_capped('2001-01-01 00:00+00', '1 minute') AS superuser;
SET SESSION AUTHORIZATION bs_test_sender;
SELECT test.error($$SELECT bs_capped('2001-01-01 00:00+00', '1 minute')$$) AS not_granted;
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION bs_capped(timestamptz, interval) TO bs_test_sender;
SET SESSION AUTHORIZATION bs_test_sender;
SELECT i, bs_capped(i, '1 minute') BETWEEN clock_timestamp() - interval '70 seconds' AND clock_timestamp() AS near
  FROM unnest('{-infinity,2001-01-01 00:00+00,2044-01-01 00:00+00,infinity}'::timestamptz[]) AS i;
-- The rights of the session's user count, not of the role that it has set.
RESET SESSION AUTHORIZATION;
SET ROLE bs_test_sender;
SELECT bs_capped('2044-05-05 09:00+00', '1 minute');
RESET ROLE;

-- Leases are of a day at most, and have a length.
SET SESSION AUTHORIZATION bs_test_sender;
SELECT l, test.error(format('SELECT bs_claim(%L, 1, %L)', 'x', l)) AS claim, test.error(format('SELECT bs_claim_copies(%L, %L, %L, %L)', 'x', l, '{}', '{}')) AS copies
  FROM unnest('{100 years,25 hours,1 day 00:00:01,1 day,1 second,0,-1 minute,NULL}'::interval[]) AS l;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION bs_test_worker;
SELECT l, test.error(format('SELECT bs_mark_queued(%L, %L, %L, %L)', '{}', '{}', '{}', l)) AS mark
  FROM unnest('{100 years,1 day,0}'::interval[]) AS l;

-- Outcomes: only states that there are, and none that leaves a message without a next
-- moment.
RESET SESSION AUTHORIZATION;
SELECT claim_token AS token, id, scheduled_send_time AS at FROM message_logs WHERE status = 'SENDING' \gset
SET SESSION AUTHORIZATION bs_test_sender;
SELECT s, test.error(format($$SELECT bs_record(ARRAY[%L]::uuid[], ARRAY[%L]::timestamptz[], ARRAY[%L]::uuid[], ARRAY[%L], '{x}', '{NULL}', '{250}', '{x}', '{x}', ARRAY[now()])$$,
                            :'id', :'at', :'token', s)) AS error
  FROM unnest('{DONE,sent,SENDING,SCHEDULED,CANCELLED,RETRYING,RELEASED,"",NULL}'::text[]) AS s;
-- Outcomes as a relay's answer can make them: as many of each, a reply of 511 octets at
-- most, a code of three digits.
CREATE FUNCTION pg_temp.record(states text, codes text DEFAULT '{250}', reply text DEFAULT 'x', ended timestamptz DEFAULT now(), next timestamptz DEFAULT NULL, error text DEFAULT 'x', reason text DEFAULT 'x')
RETURNS text
LANGUAGE sql
RETURN format($$SELECT bs_record(ARRAY[%L]::uuid[], ARRAY[%L]::timestamptz[], ARRAY[%L]::uuid[], %L, ARRAY[%L], ARRAY[%L]::timestamptz[], %L, ARRAY[%L], ARRAY[%L], ARRAY[%L]::timestamptz[])$$,
              current_setting('reach.id'), current_setting('reach.at'), current_setting('reach.token'), states, reason, next, codes, reply, error, ended);
SELECT set_config('reach.id', :'id', false) <> set_config('reach.at', :'at', false) AS a, set_config('reach.token', :'token', false) <> '' AS b;
SELECT what, test.error(statement) AS error
  FROM (VALUES ('two states', pg_temp.record('{SENT,SENT}')), ('no code', pg_temp.record('{SENT}', '{}')), ('a table of states', pg_temp.record('{{SENT}}')),
               ('code 1000', pg_temp.record('{SENT}', '{1000}')), ('code -1', pg_temp.record('{SENT}', '{-1}')),
               ('a reply of 512', pg_temp.record('{SENT}', '{250}', repeat('ü', 256))), ('an error of 513', pg_temp.record('{FAILED}', error => repeat('e', 513))),
               ('a reason of 31', pg_temp.record('{FAILED}', reason => repeat('r', 31)))) AS w (what, statement);
-- NULL for all of it is an error as well, and not nothing.
SELECT test.error('SELECT bs_record(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)');
-- What ended ended before now; the next attempt is not later than the message may be.
BEGIN;
SET LOCAL SESSION AUTHORIZATION bs_test_sender;
SELECT test.error(pg_temp.record('{SENT}', '{250}', repeat('ü', 255) || 'x', '2044-05-06 00:00+00')) AS sent;
RESET SESSION AUTHORIZATION;
SELECT status, actual_send_time BETWEEN clock_timestamp() - interval '10 min' AND clock_timestamp() AS ended_now FROM message_logs WHERE id = :'id';
ROLLBACK;
BEGIN;
SET LOCAL SESSION AUTHORIZATION bs_test_sender;
SELECT test.error(pg_temp.record('{RETRYING}', next => 'infinity')) AS retrying;
RESET SESSION AUTHORIZATION;
SELECT status, due_at BETWEEN clock_timestamp() + bs_max_lateness() - interval '10 min' AND clock_timestamp() + bs_max_lateness() AS due FROM message_logs WHERE id = :'id';
ROLLBACK;
-- A name is a sender's own: that of a process of the server only for this process.
SET SESSION AUTHORIZATION bs_test_sender;
SELECT n, test.error(format('SELECT bs_claim(%L, 1, %L)', n, '1 min')) AS claim, test.error(format('SELECT bs_claim_copies(%L, %L, %L, %L)', n, '1 min', '{}', '{}')) AS copies
  FROM unnest(ARRAY['server/1/771', 'server/2', '', NULL, 'remote/x/7/0a0b0c0d', repeat('n', 101)]) AS n;
SELECT test.error(format('SELECT bs_claim(%L, 1, %L)', 'server/' || pg_backend_pid() || '/771', '1 min')) AS own;
-- Copies by the thousand, as a consumer holds them, and no more.
SELECT n, test.error(format('SELECT bs_claim_copies(%L, %L, array_fill(gen_random_uuid(), ARRAY[%s]), array_fill(now(), ARRAY[%3$s]))', 'x', '1 min', n)) AS copies
  FROM unnest('{10000,10001}'::integer[]) AS n;
-- Without the token, nothing.
SELECT bs_record(ARRAY[:'id']::uuid[], ARRAY[:'at']::timestamptz[], ARRAY[gen_random_uuid()], '{SENT}', '{x}', '{NULL}', '{250}', '{x}', '{x}', ARRAY[now()]);
-- The server's own senders are not a remote sender's to release.
SELECT test.error($$SELECT bs_release_claims('server/1/2', '{}')$$);
RESET SESSION AUTHORIZATION;
SELECT status, count(*) FROM message_logs GROUP BY status ORDER BY status;

-- A sender that is known to live does not die by a word of the workers' role.
UPDATE message_logs SET status = 'SENDING', claimed_by = 'remote/y/9/00000001', claim_token = gen_random_uuid(), attempts = 1, due_at = scheduled_send_time WHERE status = 'SENDING';
SELECT bs_report_sender('remote/y/9/00000001', '1 min', 1, 'idle', '{0,0,0}', '{0,0,0,0,0,0,0}', array_fill(0::bigint, '{18}'), array_fill(0::bigint, '{18}'), '');
SET SESSION AUTHORIZATION bs_test_worker;
SELECT recovered FROM bs_recover('{remote/y/9/00000001}', true);
RESET SESSION AUTHORIZATION;
SELECT status, count(*) FROM message_logs GROUP BY status ORDER BY status;
-- Nor does a sender of another role release its claims or speak for it: its name is no
-- secret. A role of the same name that was made later is another one.
CREATE ROLE bs_test_remote;
SELECT bs_grant('bs_test_remote', 'sender');
CREATE FUNCTION pg_temp.report(who text) RETURNS text LANGUAGE sql
RETURN format($$SELECT bs_report_sender(%L, '1 min', 1, 'idle', '{0,0,0}', '{0,0,0,0,0,0,0}', array_fill(0::bigint, '{18}'), array_fill(0::bigint, '{18}'), '')$$, who);
DELETE FROM bs_senders;
SET SESSION AUTHORIZATION bs_test_remote;
SELECT test.error(pg_temp.report('remote/y/9/00000001')) AS its_own, test.error(pg_temp.report('remote/y/9/00000001')) AS again;
SET SESSION AUTHORIZATION bs_test_sender;
SELECT test.error($$SELECT bs_release_claims('remote/y/9/00000001', '{}')$$) AS released, test.error(pg_temp.report('remote/y/9/00000001')) AS reported, test.error(pg_temp.report('remote/y/9/00000002')) AS its_own;
RESET SESSION AUTHORIZATION;
SELECT status, count(*) FROM message_logs GROUP BY status ORDER BY status;
SELECT bs_revoke('bs_test_remote', 'sender');
ALTER ROLE bs_test_remote RENAME TO bs_test_renamed;
CREATE ROLE bs_test_remote;
SELECT bs_grant('bs_test_remote', 'sender'), bs_grant('bs_test_renamed', 'sender');
SET SESSION AUTHORIZATION bs_test_remote;
SELECT test.error($$SELECT bs_release_claims('remote/y/9/00000001', '{}')$$) AS another_of_that_name;
SET SESSION AUTHORIZATION bs_test_renamed;
SELECT bs_release_claims('remote/y/9/00000001', '{}');
RESET SESSION AUTHORIZATION;
SELECT status, count(*) FROM message_logs GROUP BY status ORDER BY status;
SELECT bs_revoke(r, 'sender') FROM unnest('{bs_test_remote,bs_test_renamed}'::name[]) AS r;
DROP ROLE bs_test_remote, bs_test_renamed;
DROP OWNED BY bs_test_worker, bs_test_sender;
DROP ROLE bs_test_worker, bs_test_sender;
\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
