-- monitoring: bs_status and bs_health(), as far as they go without workers.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT bs_health() -> 'parts' -> 'installation' AS installation, bs_health() -> 'parts' -> 'planning' ->> 'status' AS planning, bs_health() -> 'parts' -> 'partitions' AS partitions;
SELECT installation, planned, due, queued, in_flight, sent, failed, expired, next_due, worst_lateness FROM bs_status;
SELECT test.adopt(now());
CREATE TABLE test.clock AS SELECT date_trunc('second', now()) AS t;
SELECT bs_health() -> 'parts' -> 'installation' AS installation, bs_health() -> 'parts' -> 'planning' ->> 'reason' AS planning, bs_health() -> 'parts' -> 'partitions' AS partitions;
SELECT bs_plan() IS NOT NULL AS planned;
SELECT bs_health() -> 'parts' -> 'planning' -> 'reason' AS planning;
SELECT array_agg(key ORDER BY key) AS parts FROM jsonb_each(bs_health() -> 'parts');
SELECT count(*) FROM jsonb_each(bs_health() -> 'parts') AS p WHERE p.value ->> 'status' NOT IN ('ok', 'warning', 'error') OR (p.value ->> 'status' = 'ok') <> (p.value -> 'reason' = 'null');

-- Messages of the last day by what became of them.
DO $$ BEGIN PERFORM test.add(s, 'UTC', NULL) FROM unnest('{SCHEDULED,QUEUED,RETRYING,SENDING,SENT,FAILED,EXPIRED,CANCELLED}'::text[]) AS s; END $$;
INSERT INTO message_logs (user_id, message_type, message_content, subject, recipient_email, recipient_name, local_date, scheduled_send_time, due_at, status, actual_send_time, idempotency_key)
SELECT u.id, 'BIRTHDAY', 'x', 'x', 'x', 'x', '2044-01-01', c.t - interval '1 hour', CASE WHEN u.first_name IN ('SCHEDULED', 'QUEUED', 'RETRYING', 'SENDING') THEN c.t - interval '1 hour' END,
       u.first_name, CASE u.first_name WHEN 'SENT' THEN c.t - interval '59 minutes' END, u.first_name
  FROM users u, test.clock c;
SELECT installation, planned, due, queued, in_flight, sent, failed, expired, next_due = t - interval '1 hour' AS next_due, worst_lateness FROM bs_status, test.clock;
SELECT bs_health() -> 'parts' -> 'backlog' AS backlog, bs_health() -> 'parts' -> 'results' AS results;
-- What waits in the broker is due since it was marked, whatever its due_at, and is not what comes next.
UPDATE message_logs m SET status = 'CANCELLED' WHERE m.status IN ('SCHEDULED', 'RETRYING');
UPDATE message_logs m SET due_at = c.t + interval '5 minutes', updated_at = clock_timestamp() FROM test.clock c WHERE m.status = 'QUEUED';
SELECT planned, due, queued, next_due, bs_health() #> '{parts,backlog,overdue}' AS overdue FROM bs_status;
UPDATE message_logs m SET updated_at = clock_timestamp() - interval '61 seconds' WHERE m.status = 'QUEUED';
SELECT bs_health() -> 'parts' -> 'backlog' AS backlog;
UPDATE message_logs m SET due_at = clock_timestamp() - interval '61 seconds', updated_at = clock_timestamp() WHERE m.status = 'QUEUED';
SELECT bs_health() -> 'parts' -> 'backlog' AS backlog;

-- The queue: without a broker there is nothing to say. The workers, the publisher among them.
SELECT bs_health() -> 'parts' -> 'queue' AS queue;
DO $$ BEGIN FOR n IN 1..3000 LOOP EXIT WHEN (SELECT bool_and(w.pid IS NOT NULL AND w.state <> 'starting') FROM bs_workers w); PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT worker, pid IS NOT NULL AS runs, sent, failed, retried FROM bs_workers ORDER BY length(worker), worker;
SELECT state FROM bs_workers WHERE worker = 'publisher';
SELECT up, blocked, ready, dead, counted_at, published, refused, consumed, dropped, failed, oversized, malformed, "foreign" FROM bs_broker_stats();
-- Metrics: names as Prometheus wants them, one type and help a name, labels and name together are unique, names beside each other.
SELECT name, labels, value, type FROM bs_metrics();
SELECT count(*) FILTER (WHERE m.name !~ '^birthday_scheduler_[a-z_]+$' OR (m.name ~ '_total$') <> (m.type = 'counter') OR m.help !~ '^[A-Z].*[.]$' OR m.help ~ '[\\\n]') AS bad,
       count(*) - count(DISTINCT (m.name, m.labels)) AS twice, count(DISTINCT m.name) - count(DISTINCT (m.name, m.type, m.help)) AS differ,
       count(*) FILTER (WHERE m.name IS DISTINCT FROM m.before) - count(DISTINCT m.name) AS apart
  FROM (SELECT m.*, lag(m.name) OVER (ORDER BY n) AS before FROM bs_metrics() WITH ORDINALITY AS m (name, labels, value, type, help, n)) m;

-- This month is missing.
SELECT format('ALTER TABLE message_logs DETACH PARTITION %s', bs_partition_name('message_logs', bs_month(now()))) AS detach \gset
:detach;
SELECT bs_health() -> 'parts' -> 'partitions' AS partitions, bs_health() ->> 'status' AS status;
SELECT format('DROP TABLE %s', bs_partition_name('message_logs', bs_month(now()))) AS detached \gset
:detached;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
