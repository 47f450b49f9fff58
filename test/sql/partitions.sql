-- partitions: the months of message_logs and message_ledger.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
CREATE VIEW test.parts AS
SELECT i.inhparent::regclass AS parent, c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent IN ('message_logs'::regclass, 'message_ledger'::regclass);

-- By default: the last month, this one, and twelve ahead, of both tables; nothing the
-- second time. The names are those of the months.
BEGIN;
SELECT count(*) FROM bs_create_partitions();
SELECT count(*) FROM bs_create_partitions();
SELECT parent, count(*), min(name) = parent || to_char(now() AT TIME ZONE 'UTC' - interval '1 month', '_YYYY_MM') AS first,
       max(name) = parent || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '12 months', '_YYYY_MM') AS last
  FROM test.parts GROUP BY parent ORDER BY 1;
SELECT count(*) AS made, count(*) FILTER (WHERE p LIKE 'message\_ledger\_%') AS ledger FROM bs_create_partitions(14) AS p;
SELECT test.error(format('SELECT count(*) FROM bs_create_partitions(%s)', n)) FROM unnest('{0,-1,1201,2147483647}'::int[]) AS n;
SELECT count(*) FROM bs_create_partitions(NULL);
-- There is no default partition, and a row for the year 2999 makes nothing.
SELECT count(*) FROM test.parts WHERE bound = 'DEFAULT';
SELECT test.error($$INSERT INTO message_ledger VALUES (gen_random_uuid(), 'X', '2999-01-01')$$);
SELECT count(*) FROM test.parts;
ROLLBACK;

-- One by one; bounds are UTC, whatever the session says, also from a month's last day.
SET timezone = 'Pacific/Kiritimati';
SET datestyle = 'German';
SELECT bs_create_partition('message_logs', '2044-01-01'), bs_create_partition('message_ledger', '2044-01-01'), bs_create_partition('message_logs', '2044-01-01');
SET timezone = 'Pacific/Pago_Pago';
SET datestyle = 'SQL, DMY';
SELECT * FROM bs_create_partitions_between('2044-01-01', '2044-03-01') ORDER BY 1;
SELECT * FROM bs_create_partitions_between('2044-01-01', '2044-03-01') ORDER BY 1;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT * FROM test.parts ORDER BY 1::text, 2;
SELECT m, bs_month(m) FROM unnest('{2044-01-31 23:59:59.999999+00,2044-02-01 00:00+00,2044-01-31 20:00-11,2044-02-01 08:00+14}'::timestamptz[]) AS m;
SELECT bs_partition_name('message_logs', '2044-01-31'), bs_partition_name('message_logs', '0044-12-01');
SELECT bs_partition_attached('message_logs', '2044-02-01'), bs_partition_attached('message_logs', '2044-04-01'), bs_partition_attached('nothing', '2044-02-01');
SELECT bs_partitions_ready('2044-01-01', '2044-03-31') AS ready, bs_partitions_ready('2044-01-31', '2044-04-01') AS not_ready;

-- Rows go where they belong, to the microsecond.
SELECT test.add('Ann', 'UTC', '1990-01-31');
INSERT INTO message_logs (user_id, message_type, message_content, subject, recipient_email, recipient_name, local_date, scheduled_send_time, idempotency_key)
SELECT test.id('Ann'), 'BIRTHDAY', 'x', 'x', 'x', 'x', '2044-01-31', t, t::text FROM unnest('{2044-01-31 23:59:59.999999+00,2044-02-01 00:00+00}'::timestamptz[]) AS t;
SELECT tableoid::regclass AS partition, scheduled_send_time FROM message_logs ORDER BY 2;

-- Keys, indexes and constraints of a partition, named after it; the parents have none.
SELECT indexname, regexp_replace(indexdef, ' ON public\.\S+ USING btree', '') AS def FROM pg_indexes WHERE tablename IN ('message_logs_2044_02', 'message_ledger_2044_02') ORDER BY 1;
SELECT conrelid::regclass AS partition, conname, pg_get_constraintdef(oid) AS def FROM pg_constraint WHERE conrelid IN ('message_logs_2044_02'::regclass, 'message_ledger_2044_02'::regclass) AND contype <> 'n' ORDER BY 1::text, 2;
SELECT count(*) FROM pg_index WHERE indrelid IN ('message_logs'::regclass, 'message_ledger'::regclass);
-- Partitions are ordinary tables, not members of the extension.
SELECT count(*) FROM pg_depend d JOIN test.parts p ON d.objid = p.name::regclass WHERE d.deptype = 'e';
-- Vacuum comes early and freezes.
SELECT relname, reloptions FROM pg_class WHERE relname IN ('message_logs_2044_02', 'message_ledger_2044_02') ORDER BY 1;
-- A new partition has what the first one has.
SELECT count(*), count(DISTINCT array_to_string(i, ' ')) FROM (
    SELECT array_agg(replace(replace(indexdef, tablename, 'T'), right(tablename, 7), '') ORDER BY indexname) AS i FROM pg_indexes WHERE tablename LIKE 'message\_logs\_2044%' GROUP BY tablename) AS x;

SELECT test.adopt();

-- The name is taken by something else: said so, and nothing is touched.
CREATE TABLE message_logs_2044_05 (mine integer);
CREATE VIEW message_ledger_2044_06 AS SELECT 1;
SELECT test.error($$SELECT bs_create_partition('message_logs', '2044-05-01')$$), test.error($$SELECT bs_create_partition('message_ledger', '2044-06-01')$$);
-- Planning goes on in the other months, and catches up once the name is free.
SELECT test.add('Bob', 'UTC', '1990-04-30'), test.add('Cid', 'UTC', '1990-05-01'), test.add('Dot', 'UTC', '1990-05-02');
UPDATE users SET birthday_date = '1990-06-01' WHERE first_name = 'Dot';
UPDATE bs_installation SET planned_until = '2044-04-29';
SELECT bs_plan('2044-06-02 00:00+00', '2044-04-29 00:00+00');
SELECT local_date, send_at, partition FROM test.messages ORDER BY 1;
SELECT planned_until FROM bs_installation;
DROP TABLE message_logs_2044_05;
DROP VIEW message_ledger_2044_06;
SELECT bs_plan('2044-06-02 00:00+00', '2044-04-29 12:00+00');
SELECT local_date, send_at, partition FROM test.messages ORDER BY 1;
SELECT what, n FROM test.disagreements WHERE what LIKE 'ledger%' OR what LIKE 'key twice';
DELETE FROM users WHERE first_name <> 'Ann';
-- A month that was detached is made no second time, and taken back by hand.
ALTER TABLE message_logs DETACH PARTITION message_logs_2044_03;
SELECT bs_partition_attached('message_logs', '2044-03-01');
SELECT test.error($$SELECT bs_create_partition('message_logs', '2044-03-01')$$);
ALTER TABLE message_logs ATTACH PARTITION message_logs_2044_03 FOR VALUES FROM ('2044-03-01 00:00+00') TO ('2044-04-01 00:00+00');
SELECT bs_partition_attached('message_logs', '2044-03-01');

-- Planning makes what it needs; a user added where a month is missing is planned by the next pass.
UPDATE users SET birthday_date = '1990-07-01', timezone = 'Pacific/Kiritimati';
SELECT test.plan('2044-06-30 12:00+00');
SELECT name FROM test.parts WHERE name LIKE '%2044_06' OR name LIKE '%2044_07' ORDER BY 1;
SELECT local_date, send_at, partition FROM test.messages WHERE local_date > '2044-06-01';

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
