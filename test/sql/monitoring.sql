-- monitoring: the views, bs_health() and bs_metrics(), as far as they go without a relay.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT bs_health() -> 'parts' -> 'installation' AS installation, bs_health() -> 'parts' -> 'planning' ->> 'status' AS planning, bs_health() -> 'parts' -> 'partitions' AS partitions;
-- "Today" is as long before as after now.
SELECT set_config('timezone', format('Etc/GMT%s', to_char(extract(hour FROM now() AT TIME ZONE 'UTC') - 12, 'FMSG90')), false) LIKE 'Etc%' AS noon;
SELECT * FROM bs_status;
CREATE FUNCTION test.masked(state text)
RETURNS text
LANGUAGE sql
RETURN regexp_replace(regexp_replace(state, '(\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d([+-]\d\d)?', 'T', 'g'), 'unsent \d+', 'unsent N');
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
SELECT scheduled, queued, sending, retrying, due, overdue, next_due = t - interval '1 hour' AS next_due, oldest_unsent = t - interval '1 hour' AS oldest, failed, expired, cancelled
  FROM bs_counts('2044-01-01'), test.clock;
SELECT scheduled, queued, sending, retrying, due, overdue, failed, expired, cancelled FROM bs_counts(now() - interval '2 hours', 0);
SELECT failed, expired, cancelled FROM bs_counts(now() - interval '2 hours');
SELECT planned, due, in_flight, sent, failed, test.masked(state) AS state FROM bs_status;
SELECT message_type, open, sent, failed, expired, cancelled, median_lateness, worst_lateness FROM bs_days(current_date, current_date);
SELECT day = current_date AS today, type, sent, failed, open, late, bar FROM bs_daily WHERE day = current_date;
SELECT bs_health() -> 'parts' -> 'backlog' AS backlog, bs_health() -> 'parts' -> 'results' AS results;
-- What waits in the broker is due since it was marked, whatever its due_at, and is not what comes next.
UPDATE message_logs m SET status = 'CANCELLED' WHERE m.status IN ('SCHEDULED', 'RETRYING');
UPDATE message_logs m SET due_at = c.t + interval '5 minutes', updated_at = clock_timestamp() FROM test.clock c WHERE m.status = 'QUEUED';
SELECT due, queued, next_due, overdue, bs_health() #> '{parts,backlog,overdue}' AS health FROM bs_counts();
UPDATE message_logs m SET updated_at = clock_timestamp() - interval '61 seconds' WHERE m.status = 'QUEUED';
SELECT bs_health() -> 'parts' -> 'backlog' AS backlog;
UPDATE message_logs m SET due_at = clock_timestamp() - interval '61 seconds', updated_at = clock_timestamp() WHERE m.status = 'QUEUED';
SELECT bs_health() -> 'parts' -> 'backlog' AS backlog;

-- The queue: without a broker there is nothing to say. No workers serve this database: the setting names another one.
SELECT bs_health() -> 'parts' -> 'queue' AS queue;
SHOW birthday_scheduler.database;
SELECT bs_health() -> 'parts' -> 'workers' AS workers;
SELECT count(*) FROM bs_workers;
SELECT m.labels, m.value FROM bs_metrics('worker_up') m;
SELECT up, blocked, ready, dead, counted_at, published, refused, consumed, dropped, failed, oversized, malformed, "foreign" FROM bs_broker_stats();
-- Metrics: names as Prometheus wants them, one type and help a name, labels and name together are unique, names beside each other.
SELECT m.name, m.type, string_agg(m.labels::text, ' ' ORDER BY m.n) AS labels
  FROM bs_metrics() WITH ORDINALITY AS m (name, labels, value, type, help, n) GROUP BY m.name, m.type ORDER BY min(m.n);
SELECT m.labels, m.value FROM bs_metrics('unfinished_messages') m;
SELECT replace(m.name, 'birthday_scheduler_', '') AS name, m.value FROM unnest('{due,partitions_ahead,horizon_seconds,cron_stale}'::text[]) AS w, bs_metrics(w) m;
SELECT m.value BETWEEN 3600 AND 3700 AS an_hour FROM bs_metrics('oldest_unsent_age_seconds') m;
SELECT count(*) FROM bs_metrics('no_such_metric');
SELECT count(*) FILTER (WHERE m.name !~ '^birthday_scheduler_[a-z_]+$' OR (m.name ~ '_total$') <> (m.type = 'counter') OR (m.name ~ '_(bucket|sum|count)$') <> (m.type = 'histogram') OR m.help !~ '^[A-Z].*[.]$' OR m.help ~ '[\\\n]') AS bad,
       count(*) - count(DISTINCT (m.name, m.labels)) AS twice, count(DISTINCT m.name) - count(DISTINCT (m.name, m.type, m.help)) AS differ,
       count(*) FILTER (WHERE m.name IS DISTINCT FROM m.before) - count(DISTINCT m.name) AS apart
  FROM (SELECT m.*, lag(m.name) OVER (ORDER BY n) AS before FROM bs_metrics() WITH ORDINALITY AS m (name, labels, value, type, help, n)) m;

-- One by one there are the same, with the same values but for the clock's.
SELECT m.name FROM bs_metrics() m
 WHERE NOT EXISTS (SELECT FROM bs_metrics(replace(m.name, 'birthday_scheduler_', '')) AS o
                    WHERE (o.name, o.labels, o.type, o.help) = (m.name, m.labels, m.type, m.help) AND (o.value = m.value OR m.name ~ 'age'));
-- Buckets add up, in rising bounds.
SELECT histogram, le[1] AS first, le[cardinality(le)] AS last, cardinality(le) = cardinality(buckets) AS complete,
       (SELECT bool_and(b.le > b.before IS NOT FALSE AND b.n >= b.less IS NOT FALSE)
          FROM (SELECT u.le, u.n, lag(u.le) OVER (ORDER BY u.o) AS before, lag(u.n) OVER (ORDER BY u.o) AS less
                  FROM unnest(h.le, h.buckets) WITH ORDINALITY AS u (le, n, o)) b) AS rises,
       h.count >= buckets[cardinality(buckets)] AS counted
  FROM bs_histogram_stats() h;

-- What is planned, updated, cancelled is counted where there are workers, and not here.
CREATE TABLE test.before AS SELECT * FROM bs_scheduler_stats();
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'Count' || n, 'Test', 'count' || n || '@example.com', 'Etc/UTC', (now() AT TIME ZONE 'UTC')::date + 1 - interval '30 years', now() - interval '9 days' FROM generate_series(1, 5) n;
BEGIN; DELETE FROM users WHERE first_name = 'Count1'; INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'Gone', 'Test', 'gone@example.com', 'Etc/UTC', (now() AT TIME ZONE 'UTC')::date + 1 - interval '30 years', now() - interval '9 days'; ROLLBACK;
UPDATE users SET last_name = 'Other' WHERE first_name IN ('Count1', 'Count2');
SELECT bs_delete_user(test.id('Count3'));
SELECT bs_cancel_message(m.id) FROM message_logs m WHERE m.user_id = test.id('Count4');
SELECT s.planned - b.planned AS planned, s.updated - b.updated AS updated, s.cancelled - b.cancelled AS cancelled FROM bs_scheduler_stats() s, test.before b;

-- A pause has a reason; a second one keeps it.
SELECT test.masked(bs_pause('the relay moves to another house, and is back at noon'));
SELECT test.masked(bs_pause());
SELECT test.masked(state) AS state FROM bs_status;
SELECT test.masked(bs_health() #>> '{parts,installation,reason}') AS reason, (bs_health() #> '{parts,relay}') - 'last_error' - 'last_error_at' AS relay;
SELECT m.labels ->> 'state' AS state FROM bs_metrics('installation_status') m WHERE m.value = 1;
SELECT test.error($$SELECT bs_pause(repeat('x', 201))$$);
SELECT bs_resume();
SELECT split_part(state, E'\n', 1) AS state FROM bs_status;
SELECT paused_at, paused_reason FROM bs_installation;
UPDATE bs_installation SET database_oid = 1;
SELECT bs_health() #> '{parts,copy}' AS copy, bs_health() #> '{parts,relay,status}' AS relay, test.masked(state) AS state FROM bs_status;
SELECT bs_resume();

-- Zones that the server has forgotten are found by the upkeep.
ALTER TABLE users DISABLE TRIGGER USER;
ALTER TABLE users DROP CONSTRAINT check_timezone_format;
UPDATE users SET timezone = 'Mars/Olympus' WHERE first_name = 'Count5';
ALTER TABLE users ENABLE TRIGGER USER;
SELECT bs_upkeep('partitions');
SELECT bs_health() #>> '{parts,planning,reason}' AS planning;
SELECT * FROM bs_lost_zones;
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users SET timezone = 'Mars/Crater' || right(first_name, 1)::integer % 7 WHERE first_name LIKE 'Count%';
ALTER TABLE users ENABLE TRIGGER USER;
SELECT bs_upkeep('partitions');
SELECT bs_health() #>> '{parts,planning,reason}' AS planning;
SELECT count(*) AS zones, sum(users) = (SELECT count(*) FROM users WHERE first_name LIKE 'Count%' AND deleted_at IS NULL) AS all_users FROM bs_lost_zones;
-- Once a zone is known it is not named any more, although the upkeep did not look again.
UPDATE bs_installation SET lost_zones = '[["Asia/Tokyo", 3], ["Mars/Olympus", 1]]';
SELECT bs_health() #>> '{parts,planning,reason}' AS planning;
UPDATE bs_installation SET lost_zones = '[["Mars/A", 9], ["Mars/B", 8], ["Mars/C", 7], ["Mars/D", 6], ["Mars/E", 5], ["Mars/F", 4]]';
SELECT bs_health() #>> '{parts,planning,reason}' AS planning;
UPDATE bs_installation SET lost_zones = '[["Asia/Tokyo", 3]]';
SELECT bs_health() #>> '{parts,planning,status}' AS planning;
SELECT bs_upkeep('partitions');

-- pg_cron was to do it, and did not.
SELECT bs_health() #> '{parts,cron}' AS cron;
UPDATE bs_upkeep_log SET cron_since = now() - interval '3 days', cron_at = now() - interval '26 hours' WHERE task = 'partitions';
SELECT bs_health() #> '{parts,cron}' AS cron, m.value FROM bs_metrics('cron_stale') m;

-- Figures in few characters, words in short lines.
SELECT bs_short(l) FROM unnest('{00:00:00,00:00:09.94,00:00:09.96,00:01:39,00:01:40,01:39:00,01:40:00,4 days}'::interval[]) AS l;
SELECT bs_lines('some words and averyveryverylongone', 12), bs_lines('', 5), bs_lines('x', 5);

-- This month is missing.
SELECT format('ALTER TABLE message_logs DETACH PARTITION %s', bs_partition_name('message_logs', bs_month(now()))) AS detach \gset
:detach;
SELECT bs_health() -> 'parts' -> 'partitions' AS partitions, bs_health() ->> 'status' AS status;
SELECT m.value FROM bs_metrics('partitions_ahead') m;
SELECT format('DROP TABLE %s', bs_partition_name('message_logs', bs_month(now()))) AS detached \gset
:detached;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
