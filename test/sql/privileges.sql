-- privileges: what each role can do, and no more.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
SELECT test.add('Ann', 'UTC', '1990-05-05');
CREATE ROLE bs_test_worker;
CREATE ROLE bs_test_sender;
CREATE ROLE bs_test_application;
CREATE ROLE bs_test_reader;
CREATE ROLE bs_test_nobody;

-- What PUBLIC can execute: arithmetic, no more.
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'bs\_%' AND has_function_privilege('bs_test_nobody', p.oid, 'EXECUTE')
 ORDER BY p.proname COLLATE "C";
-- And which tables it can touch in any way.
SELECT c.relname FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege('bs_test_nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');

SELECT bs_grant('bs_test_worker', 'worker'), bs_grant('bs_test_sender', 'sender'), bs_grant('bs_test_application', 'application'), bs_grant('bs_test_reader', 'reader');
SELECT bs_grant('bs_test_reader', 'reader');
SELECT test.error($$SELECT bs_grant('bs_test_reader', 'owner')$$), test.error($$SELECT bs_grant('no_such_role', 'reader')$$);

-- What each can execute beside arithmetic.
SELECT r, string_agg(p.proname, ' ' ORDER BY p.proname COLLATE "C") AS functions
  FROM unnest('{bs_test_worker,bs_test_sender,bs_test_application,bs_test_reader}'::text[]) AS r, pg_proc p
 WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'bs\_%'
   AND has_function_privilege(r, p.oid, 'EXECUTE') AND NOT has_function_privilege('bs_test_nobody', p.oid, 'EXECUTE')
 GROUP BY r ORDER BY r;
SELECT r, string_agg(c.relname, ' ' ORDER BY c.relname COLLATE "C") AS readable,
       bool_or(has_table_privilege(r, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')) AS writable
  FROM unnest('{bs_test_worker,bs_test_sender,bs_test_application,bs_test_reader}'::text[]) AS r, pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname !~ '\d{4}_\d\d$' AND has_table_privilege(r, c.oid, 'SELECT')
 GROUP BY r ORDER BY r;
-- New months are nobody's either.
SELECT count(*) FROM pg_class c, unnest('{bs_test_worker,bs_test_sender,bs_test_application,bs_test_reader,bs_test_nobody}'::text[]) AS r
 WHERE c.relname ~ '^message_(logs|ledger)_\d{4}_\d\d$' AND has_table_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, DELETE');

-- By what happens (EC-SEC-006, I47). The tests' own helper is open to all of them.
GRANT USAGE ON SCHEMA test TO PUBLIC;
CREATE TABLE test.tries (n serial, statement text);
INSERT INTO test.tries (statement) VALUES
    ($$SELECT bs_send_time('UTC', '2044-01-01')$$), ($$SELECT bs_add_user('a', 'b', current_user || '@example.com', 'UTC')$$),
    ($$SELECT bs_get_user(test.ann())$$), ($$SELECT bs_get_user_by_email('ann@example.com')$$), ($$SELECT count(*) FROM bs_list_users()$$), ($$SELECT bs_revoke('bs_test_nobody', 'reader')$$), ($$SELECT bs_update_user(test.ann(), '{"last_name": "x"}')$$), ($$SELECT bs_delete_user(test.ann())$$), ($$SELECT bs_restore_user(test.ann())$$),
    ($$SELECT bs_purge_user(test.ann())$$), ($$SELECT bs_preview(test.ann(), 'BIRTHDAY', 2044)$$), ($$SELECT bs_explain(test.ann())$$), ($$SELECT count(*) FROM bs_find_user('Ann')$$), ($$SELECT count(*) FROM bs_today$$), ($$SELECT count(*) FROM bs_week$$), ($$SELECT count(*) FROM bs_checks$$), ($$SELECT count(*) FROM bs_daily$$), ($$SELECT count(*) FROM bs_lost_zones$$), ($$SELECT bs_upcoming()$$), ($$SELECT bs_calendar(test.ann())$$), ($$SELECT bs_import_rows('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')$$), ($$SELECT bs_user_fault('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h')$$),
    ($$SELECT bs_plan()$$), ($$SELECT bs_plan_begin('2044-05-04 00:00+00', '2044-05-04 00:00+00')$$), ($$SELECT count(*) FROM bs_plan_slices(now(), now())$$), ($$SELECT bs_plan_slice('BIRTHDAY', 'birthday_date', '2044-05-04', 504, now(), now(), '{}', NULL, 1)$$), ($$SELECT bs_plan_refresh(now(), now(), now(), NULL, 1)$$), ($$SELECT bs_plan_end(now(), now(), '{}', 0, 0, NULL, NULL)$$), ($$SELECT bs_plan_pass(now(), now(), 1)$$), ($$SELECT bs_upkeep('recovery')$$), ($$SELECT bs_plan_users('{}', now(), now())$$), ($$SELECT bs_refresh('{}', now())$$),
    ($$SELECT bs_claim('x', 1, '1 min')$$), ($$SELECT bs_claim_copies('x', '1 min', '{}', '{}')$$), ($$SELECT bs_release_claims('x', '{}')$$), ($$SELECT bs_report_sender('remote/x/1/00000000', '1 min', 1, 'idle', '{0,0,0}', '{0,0,0,0,0,0,0}', array_fill(0::bigint, '{18}'), array_fill(0::bigint, '{18}'), '')$$), ($$SELECT count(*) FROM bs_remote_senders$$), ($$SELECT bs_claim_holders()$$), ($$SELECT bs_due_messages(1, '{}', false)$$), ($$SELECT bs_mark_queued('{}', '{}', '{}', '1 min')$$), ($$SELECT bs_next_due()$$), ($$SELECT bs_recover('{}')$$), ($$SELECT bs_record('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')$$),
    ($$SELECT bs_cancel_message(test.ann())$$), ($$SELECT bs_retry_message(test.ann())$$), ($$SELECT bs_retry_failed(now())$$), ($$SELECT bs_send_late(test.ann())$$), ($$SELECT count(*) FROM bs_create_partitions()$$), ($$SELECT bs_pause()$$), ($$SELECT bs_resume()$$),
    ($$SELECT bs_adopt(true)$$), ($$SELECT bs_seed(1, false)$$), ($$SELECT bs_grant('bs_test_nobody', 'reader')$$), ($$SELECT bs_health()$$), ($$SELECT * FROM bs_status$$), ($$SELECT count(*) FROM bs_workers$$), ($$SELECT bs_wake()$$),
    ($$SELECT count(*) FROM users$$), ($$SELECT count(*) FROM message_logs$$), ($$SELECT count(*) FROM message_ledger$$), ($$SELECT count(*) FROM message_types$$), ($$SELECT count(*) FROM user_dates$$), ($$SELECT count(*) FROM bs_installation$$),
    ($$UPDATE users SET last_name = 'x'$$), ($$DELETE FROM message_logs$$), ($$INSERT INTO message_types (name, date_source, subject_template, text_template) VALUES ('X', 'birthday_date', 's', 't')$$), ($$TRUNCATE users CASCADE$$),
    ($$CREATE TRIGGER x BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()$$);
CREATE FUNCTION test.ann()
RETURNS uuid
LANGUAGE sql SECURITY DEFINER
RETURN (SELECT u.id FROM users u WHERE u.email = 'Ann@example.com');
-- Each statement as that role, undone afterwards; "yes" where it was let through.
CREATE FUNCTION test.try_as(role text, statement text)
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    answer := test.error(statement);
    RESET ROLE;
    RETURN CASE WHEN answer LIKE '42501%' THEN '-' WHEN answer = 'no error' THEN 'yes' ELSE answer END;
END
$$;
BEGIN;
SELECT left(statement, 62) AS statement, test.try_as('bs_test_nobody', statement) AS nobody, test.try_as('bs_test_worker', statement) AS worker, test.try_as('bs_test_sender', statement) AS sender,
       test.try_as('bs_test_application', statement) AS application, test.try_as('bs_test_reader', statement) AS reader
  FROM test.tries ORDER BY n;
ROLLBACK;

-- No object of a caller's comes between: not in his own schema, nor among temporary ones.
SET ROLE bs_test_application;
CREATE TEMP TABLE users (id uuid, first_name text);
CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT timestamptz '1999-01-01'$$;
CREATE FUNCTION pg_temp.bs_adopt(boolean) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
SET search_path = pg_temp, public;
SELECT public.bs_add_user('Hi', 'Jack', 'hijack@example.com', 'UTC') AS added \gset
SELECT u.first_name, u.created_at > '2020-01-01' AS now FROM public.bs_get_user(:'added') AS u;
SELECT count(*) FROM users;
RESET search_path;
DROP TABLE pg_temp.users;
DROP FUNCTION pg_temp.now(), pg_temp.bs_adopt(boolean);
RESET ROLE;

DROP OWNED BY bs_test_worker, bs_test_sender, bs_test_application, bs_test_reader, bs_test_nobody;
DROP ROLE bs_test_worker, bs_test_sender, bs_test_application, bs_test_reader, bs_test_nobody;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
