-- partitions: old months go, and what must stay stays; upkeep; pg_cron that is not there.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
SELECT test.add('Ann', 'UTC', '1990-01-31');
SELECT count(*) FROM bs_create_partitions_between('2001-01-01', '2001-03-01');

-- Until nothing is left for the next call: on a slow machine it takes several.
CREATE FUNCTION test.drop(older_than interval)
RETURNS TABLE (partition text, action text, reason text)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    CREATE TEMP TABLE fates (partition text PRIMARY KEY, action text, reason text) ON COMMIT DROP;
    LOOP
        INSERT INTO fates SELECT * FROM bs_drop_partitions(older_than, false)
            ON CONFLICT (partition) DO UPDATE SET action = excluded.action, reason = excluded.reason;
        EXIT WHEN NOT EXISTS (SELECT FROM fates WHERE reason LIKE 'left%');
    END LOOP;
    RETURN QUERY SELECT f.* FROM fates f ORDER BY f.partition;
END
$$;

-- What planning still looks at is refused, whatever the words.
SELECT i, test.error(format('SELECT * FROM bs_drop_partitions(%L)', i)) AS error
  FROM unnest('{-1 day,0,1 hour,1 month,31 days,58 days,-100000 years,1 mon -1 year}'::text[]) AS i;
SELECT test.error('SELECT * FROM bs_drop_partitions(NULL)') AS no_interval, test.error($$SELECT * FROM bs_drop_partitions('1 year', NULL)$$) AS no_flag;
SELECT count(*) FROM bs_drop_partitions('2 months') WHERE partition NOT LIKE '%\_2001\_%';
SELECT count(*) FROM bs_drop_partitions('100000 years');

-- A dry run, which is the default, changes nothing.
INSERT INTO message_logs (user_id, message_type, message_content, subject, recipient_email, recipient_name, local_date, scheduled_send_time, status, idempotency_key)
SELECT test.id('Ann'), 'BIRTHDAY', 'x', 'x', 'x', 'x', t::date, t, s, t::text
  FROM (VALUES (timestamptz '2001-01-31 23:59:59.999999+00', 'SENT'), ('2001-02-01 00:00+00', 'RETRYING'), ('2001-02-02 00:00+00', 'SENT'), ('2001-03-01 00:00+00', 'EXPIRED')) AS v (t, s);
SET timezone = 'Pacific/Kiritimati';
SET datestyle = 'German';
SELECT * FROM bs_drop_partitions('20 years');
SET timezone = 'America/Adak';
SET intervalstyle = 'sql_standard';
SELECT count(*) FROM bs_drop_partitions('20 years');
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
RESET intervalstyle;
SELECT count(*) FROM message_logs;

-- Unfinished messages keep their month, whatever finds something dropped keeps it too.
CREATE VIEW test.march AS SELECT * FROM message_logs_2001_03;
SELECT * FROM test.drop('20 years');
SELECT scheduled_send_time, status FROM message_logs ORDER BY 1;
UPDATE message_logs SET status = 'FAILED' WHERE status = 'RETRYING';
DROP VIEW test.march;
SELECT * FROM test.drop('20 years');
SELECT * FROM test.drop('20 years');
SELECT count(*) FROM message_logs;

-- Every state but the final ones is unfinished, and none is forgotten.
SELECT count(*) FROM bs_create_partitions_between('2001-01-01', '2001-01-01');
INSERT INTO message_logs (user_id, message_type, message_content, subject, recipient_email, recipient_name, local_date, scheduled_send_time, idempotency_key)
VALUES (test.id('Ann'), 'BIRTHDAY', 'x', 'x', 'x', 'x', '2001-01-31', '2001-01-31 09:00+00', 'x');
CREATE FUNCTION test.fate(state text)
RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE message_logs SET status = state;
    RETURN (SELECT action FROM bs_drop_partitions('20 years') WHERE partition = 'message_logs_2001_01');
END
$$;
SELECT s, test.fate(s) FROM unnest('{SCHEDULED,QUEUED,SENDING,RETRYING,SENT,FAILED,CANCELLED,EXPIRED}'::text[]) AS s;

-- A month that was attached by hand, under another name, counts; a default partition does not.
ALTER TABLE message_logs DETACH PARTITION message_logs_2001_01;
ALTER TABLE message_logs_2001_01 RENAME TO old_times;
ALTER TABLE message_logs ATTACH PARTITION old_times FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00');
CREATE TABLE message_logs_rest PARTITION OF message_logs DEFAULT;
SELECT * FROM test.drop('20 years');
DROP TABLE message_logs_rest;

-- The ledger stays for thirteen months, the messages as long as is said.
SELECT count(*) FROM bs_create_partitions_between((bs_month(now()) - interval '20 months')::date, bs_month(now()));
CREATE TABLE test.dropped AS
SELECT CASE WHEN d.partition LIKE 'message\_logs%' THEN 'message_logs' ELSE 'message_ledger' END AS parent, d.action, d.reason,
       to_date(right(d.partition, 7), 'YYYY_MM') + interval '1 month' AS past
  FROM test.drop('3 months') d;
SELECT parent, action, reason, count(*) BETWEEN CASE parent WHEN 'message_logs' THEN 17 ELSE 6 END AND 18 AS number,
       bool_and(past <= now() - CASE WHEN action = 'kept' OR parent = 'message_logs' THEN interval '3 months' ELSE interval '13 months' END) AS old_enough
  FROM test.dropped GROUP BY parent, action, reason ORDER BY 1, 2;
SELECT count(*) FROM test.drop('3 months') WHERE action = 'dropped';

-- Upkeep: a name that is taken is reported, and stops nothing else.
SELECT bs_upkeep('partitions');
SELECT bs_partition_name('message_logs', (bs_month(now()) + interval '6 months')::date) AS taken \gset
DROP TABLE :taken;
CREATE TABLE :taken (mine integer);
SELECT replace(bs_upkeep('partitions'), :'taken', 'TAKEN');
SELECT task, done_at > now() - interval '1 minute' AS now, done_by, replace(trouble, :'taken', 'TAKEN') AS trouble, cron_since, cron_at FROM bs_upkeep_log;
SELECT replace((bs_health() -> 'parts' -> 'partitions')::text, :'taken', 'TAKEN') AS partitions, (bs_health() -> 'parts' -> 'upkeep') - 'done_at' AS upkeep;
SELECT replace(test.error('SELECT count(*) FROM bs_create_partitions()'), :'taken', 'TAKEN') AS error;
DROP TABLE :taken;
SELECT bs_upkeep('partitions', 'scheduler') AS not_yet_due;
SELECT bs_health() -> 'parts' -> 'partitions' ->> 'status' AS partitions;
UPDATE bs_upkeep_log SET done_at = now() - interval '2 hours';
SELECT bs_upkeep('partitions', 'scheduler') AS due;
SELECT bs_health() -> 'parts' -> 'partitions' ->> 'status' AS partitions, done_by FROM bs_upkeep_log;
SELECT bs_upkeep('retention'), bs_upkeep('recovery');
SELECT test.error($$SELECT bs_upkeep('x')$$), test.error($$SELECT bs_upkeep('recovery', 'x')$$);
-- As long as pg_cron is alive the scheduler waits for a day, then for an hour.
CREATE FUNCTION test.by(since interval, at interval, done interval)
RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE bs_upkeep_log SET cron_since = now() - since, cron_at = now() - at, done_at = now() - done, done_by = 'pg_cron';
    PERFORM bs_upkeep('partitions', 'scheduler');
    RETURN concat_ws(', ', bs_cron_state('partitions'), (SELECT done_by FROM bs_upkeep_log WHERE task = 'partitions'),
        regexp_replace(bs_health() -> 'parts' -> 'upkeep' ->> 'reason', '\d.*\d', 'T'));
END
$$;
SELECT test.by(NULL, NULL, '30 minutes') AS absent, test.by(NULL, NULL, '2 hours') AS absent_long;
SELECT test.by('9 days', '30 minutes', '30 minutes') AS alive, test.by('9 days', '24 hours', '24 hours') AS daily, test.by('1 day', NULL, '26 hours') AS new;
SELECT test.by('9 days', '26 hours', '30 minutes') AS stale, test.by('9 days', '26 hours', '26 hours') AS stale_long;
SELECT bs_health() -> 'parts' -> 'upkeep' -> 'pg_cron' AS pg_cron;
-- Nothing in a copy.
UPDATE bs_installation SET system_identifier = 1;
UPDATE bs_upkeep_log SET done_at = NULL;
SELECT bs_upkeep('partitions', 'pg_cron'), bs_upkeep('retention', 'pg_cron');
SELECT count(done_at) FROM bs_upkeep_log;

-- pg_cron is not loaded in this server.
SELECT test.error('SELECT bs_install_cron()');
SELECT count(*) FROM bs_uninstall_cron();
SELECT count(cron_since) FROM bs_upkeep_log;

-- A query in another database: its answer, its error; and only a superuser's.
SELECT bs_run_in_database('postgres', 'SELECT to_jsonb(current_database())'), bs_run_in_database('postgres', 'SELECT NULL::jsonb');
SELECT test.error($$SELECT bs_run_in_database('postgres', 'SELECT 1/0')$$), test.error($$SELECT bs_run_in_database('nowhere', 'SELECT 1')$$),
       test.error($$SELECT bs_run_in_database('template0', 'SELECT 1')$$), test.error($$SELECT bs_run_in_database('postgres', 'SELECT to_jsonb(repeat(''x'', 100000))')$$),
       test.error($$SELECT bs_run_in_database('postgres', 'SELECT ''no json''')$$);
CREATE ROLE bs_test_nobody;
GRANT EXECUTE ON FUNCTION bs_run_in_database(text, text), bs_install_cron(text, text, text), bs_uninstall_cron() TO bs_test_nobody;
GRANT USAGE ON SCHEMA test TO bs_test_nobody;
SET ROLE bs_test_nobody;
SELECT test.error($$SELECT bs_run_in_database('postgres', 'SELECT 1')$$), test.error('SELECT bs_install_cron()'), test.error('SELECT bs_uninstall_cron()');
RESET ROLE;
DROP OWNED BY bs_test_nobody;
DROP ROLE bs_test_nobody;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
