-- monitoring: numbers for a time series database, named as Prometheus wants it.

-- Months that follow this one without a gap and can take messages; -1: not even
-- this one can.
CREATE FUNCTION @extschema@.bs_months_ahead()
RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(pg_catalog.min(n.n) - 1, 24)::integer
      FROM pg_catalog.generate_series(0, 24) AS n (n)
           CROSS JOIN LATERAL (
               SELECT (@extschema@.bs_month(pg_catalog.now()) + pg_catalog.make_interval(months => n.n))::date AS month) m
     WHERE NOT (@extschema@.bs_partition_attached('message_logs'::text, m.month)
                AND @extschema@.bs_partition_attached('message_ledger'::text, m.month));
END;
COMMENT ON FUNCTION @extschema@.bs_months_ahead() IS
'How many months after this one have their partitions, without a gap, 24 at most; -1 where those of this month are missing.';

CREATE FUNCTION @extschema@.bs_unfinished_estimate()
RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(pg_catalog.sum(greatest(c.reltuples, 0)), 0)::bigint
      FROM @extschema@.bs_partition_list() l
           JOIN pg_catalog.pg_class c ON c.relname = 'idx_' || l.name || '_due' AND c.relnamespace = (
               SELECT p.relnamespace FROM pg_catalog.pg_class p WHERE p.oid = l.part)
     WHERE l.parent = 'message_logs';
END;
COMMENT ON FUNCTION @extschema@.bs_unfinished_estimate() IS
'How many messages are not finished, as the last VACUUM or ANALYZE found it.';

-- What is not asked for is not looked up: an exporter asks for one after the other.
CREATE FUNCTION @extschema@.bs_metric_rows(
    metric text, OUT name text, OUT labels jsonb, OUT value double precision, OUT type text, OUT help text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    kind text := current_setting('birthday_scheduler.queue');
    counts record;
    relay record;
    scheduler record;
    upkeep record;
BEGIN
    IF coalesce(metric, 'library_info') = 'library_info' THEN
        RETURN QUERY VALUES
            ('library_info', jsonb_build_object('version', @extschema@.bs_library_version(), 'queue', kind), 1::double precision, 'gauge', 'Version of the library and kind of queue.');
    END IF;
    IF coalesce(metric, 'installation_status') = 'installation_status' THEN
        RETURN QUERY
        SELECT 'installation_status', jsonb_build_object('state', s.state), (s.state = @extschema@.bs_installation_state())::integer::double precision,
               'gauge', 'Whether this is the state of the database: new, adopted, paused or copy.'
          FROM unnest('{new,adopted,paused,copy}'::text[]) AS s (state);
    END IF;
    IF coalesce(metric, 'health_status') = 'health_status' THEN
        RETURN QUERY
        SELECT 'health_status', jsonb_build_object('part', p.key), array_position('{ok,warning,error}'::text[], p.value ->> 'status') - 1::double precision,
               'gauge', 'State of a part of bs_health(): 0 ok, 1 warning, 2 error.'
          FROM jsonb_each(@extschema@.bs_health() -> 'parts') p;
    END IF;

    IF coalesce(metric, 'worker_') LIKE E'worker\\_%' THEN
        RETURN QUERY
        SELECT m.metric, jsonb_build_object('worker', w.worker), m.reading::double precision, m.kind, m.description
          FROM @extschema@.bs_worker_stats() w
               CROSS JOIN LATERAL (VALUES
                   (1, 'worker_up', 'gauge', (w.pid IS NOT NULL AND w.state <> 'starting')::integer::bigint, 'Whether the worker runs and has got beyond its start.'),
                   (2, 'worker_sent_total', 'counter', w.sent, 'Messages that the relay accepted, since server start.'),
                   (3, 'worker_failed_total', 'counter', w.failed, 'Messages given up, since server start.'),
                   (4, 'worker_retried_total', 'counter', w.retried, 'Attempts that are to be repeated, since server start.'))
                   AS m (n, metric, kind, reading, description)
         WHERE m.n = 1 OR w.worker LIKE 'sender %'
         ORDER BY m.n, length(w.worker), w.worker;
        IF NOT FOUND THEN               -- no workers serve this database
            RETURN QUERY VALUES
                ('worker_up', '{"worker": "scheduler"}'::jsonb, 0::double precision, 'gauge', 'Whether the worker runs and has got beyond its start.');
        END IF;
    END IF;

    IF coalesce(metric, 'sender_') LIKE E'sender\\_%' THEN
        RETURN QUERY
        SELECT m.metric, jsonb_build_object('sender', s.name), m.reading::double precision, m.kind, m.description
          FROM @extschema@.bs_sender_stats() s
               CROSS JOIN LATERAL (VALUES
                   (1, 'sender_up', 'gauge', s.up::integer::bigint, 'Whether the bs_sender has reported itself within ninety seconds; it is forgotten after a day.'),
                   (2, 'sender_sent_total', 'counter', s.sent, 'Messages that the relay accepted, since the start of the bs_sender.'),
                   (3, 'sender_failed_total', 'counter', s.failed, 'Messages given up, since the start of the bs_sender.'),
                   (4, 'sender_retried_total', 'counter', s.retried, 'Attempts that are to be repeated, since the start of the bs_sender.'))
                   AS m (n, metric, kind, reading, description)
         ORDER BY m.n, s.name;
    END IF;

    IF coalesce(metric, 'unfinished_messages') IN ('unfinished_messages', 'due', 'oldest_unsent_age_seconds', 'next_due_timestamp_seconds') THEN
        SELECT c.* INTO counts FROM @extschema@.bs_counts(NULL::timestamptz, 100000::bigint) c;
        RETURN QUERY
        SELECT 'unfinished_messages', jsonb_build_object('status', m.status), m.n::double precision,
               'gauge', 'Messages that are not finished, by status; above 100000 an estimate.'
          FROM (VALUES ('SCHEDULED', CASE WHEN counts.scheduled < 100000 THEN counts.scheduled
                                          ELSE greatest(counts.scheduled, @extschema@.bs_unfinished_estimate()) END),
                       ('QUEUED', counts.queued), ('SENDING', counts.sending), ('RETRYING', counts.retrying)) AS m (status, n);
        RETURN QUERY
        SELECT m.metric, '{}'::jsonb, m.reading, m.kind, m.description
          FROM (VALUES
                   ('due', 'gauge', counts.due::double precision, 'Messages whose time has come and that no sender has claimed, counted up to 100000 a month and type.'),
                   ('oldest_unsent_age_seconds', 'gauge', coalesce(greatest(extract(epoch FROM clock_timestamp() - counts.oldest_unsent), 0), 0)::double precision, 'How long ago the send time of the oldest message was that is not finished; 0 where none is late.'),
                   ('next_due_timestamp_seconds', 'gauge', extract(epoch FROM counts.next_due)::double precision, 'When the next attempt is due; in the past while something is.'))
                   AS m (metric, kind, reading, description)
         WHERE m.reading IS NOT NULL;
    END IF;

    IF metric IS NULL OR metric ~ '^(horizon|planned|updated|cancelled|recovered|expired|planning|last_planning)_' THEN
        SELECT s.* INTO scheduler FROM @extschema@.bs_scheduler_stats() s;
        RETURN QUERY
        SELECT m.metric, '{}'::jsonb, m.reading, m.kind, m.description
          FROM (VALUES
                   ('horizon_seconds', 'gauge', extract(epoch FROM @extschema@.bs_horizon())::double precision, 'How far ahead messages are to be planned.'),
                   ('planned_until_timestamp_seconds', 'gauge', (SELECT extract(epoch FROM i.planned_until) FROM ONLY @extschema@.bs_installation i)::double precision, 'Up to when all that is due has been planned.'),
                   ('planned_total', 'counter', scheduler.planned, 'Messages made, since server start.'),
                   ('updated_total', 'counter', scheduler.updated, 'Messages brought up to date or cancelled after a change of user or type, since server start.'),
                   ('cancelled_total', 'counter', scheduler.cancelled, 'Messages cancelled, since server start.'),
                   ('recovered_total', 'counter', scheduler.recovered, 'Messages taken back from senders that were gone, since server start.'),
                   ('expired_total', 'counter', scheduler.expired, 'Messages that were too late to be sent, since server start.'),
                   ('planning_passes_total', 'counter', scheduler.passes, 'Planning passes of the scheduler that were finished, since server start.'),
                   ('planning_failures_total', 'counter', scheduler.passes_failed, 'Planning passes of the scheduler that failed, since server start.'),
                   ('last_planning_timestamp_seconds', 'gauge', extract(epoch FROM scheduler.last_pass_at), 'When the last planning pass was finished.'),
                   ('last_planning_duration_seconds', 'gauge', scheduler.last_pass_seconds, 'How long that pass took.'))
                   AS m (metric, kind, reading, description)
         WHERE m.reading IS NOT NULL;
    END IF;

    IF coalesce(metric, 'relay_') LIKE E'relay\\_%' THEN
        SELECT r.* INTO relay FROM @extschema@.bs_relay_stats() r;
        RETURN QUERY
        SELECT 'relay_breaker_status', jsonb_build_object('state', s.state), (s.state = relay.breaker)::integer::double precision,
               'gauge', 'Whether this is the state of the circuit breaker: closed, open, probing or off.'
          FROM unnest('{closed,open,probing,off}'::text[]) AS s (state);
        RETURN QUERY VALUES
            ('relay_breaker_opened_total', '{}'::jsonb, relay.opened::double precision, 'counter', 'How often the circuit breaker has opened, since server start.');
        RETURN QUERY
        SELECT 'relay_attempts_total', jsonb_build_object('outcome', a.outcome), a.n::double precision,
               'counter', 'Attempts by how they ended, since server start.'
          FROM (VALUES ('accepted', relay.accepted), ('refused', relay.refused), ('later', relay.later), ('trouble', relay.trouble),
                       ('again', relay.again), ('in_doubt', relay.in_doubt), ('released', relay.released)) AS a (outcome, n);
    END IF;
    IF metric IS NULL OR metric ~ '^(delivery|lateness)_seconds' THEN
        RETURN QUERY
        SELECT h.histogram || r.suffix, r.labels, r.reading, 'histogram',
               CASE h.histogram WHEN 'lateness' THEN 'From the send time of a message to the relay''s "accepted", since server start.'
                    ELSE 'From the begin of an attempt to the answer of the relay, since server start.' END
          FROM @extschema@.bs_histogram_stats() h
               CROSS JOIN LATERAL (
                   SELECT 1, b.n, '_seconds_bucket', jsonb_build_object('le', b.le::text), b.bucket::double precision
                     FROM unnest(h.le, h.buckets) WITH ORDINALITY AS b (le, bucket, n)
                   UNION ALL
                   VALUES (2, 1::bigint, '_seconds_bucket', '{"le": "+Inf"}'::jsonb, h.count::double precision),
                          (3, 1, '_seconds_sum', '{}', h.sum),
                          (4, 1, '_seconds_count', '{}', h.count)) AS r (part, n, suffix, labels, reading)
         ORDER BY h.histogram, r.part, r.n;
    END IF;

    IF metric IS NULL OR metric ~ '^(broker|queue|dead|published|refused|consumed|dropped|rejected)_' THEN
        RETURN QUERY
        SELECT m.metric, m.labels, m.reading::double precision, m.kind, m.description
          FROM @extschema@.bs_broker_stats() b
               CROSS JOIN LATERAL (VALUES
                   (1, 'broker_up', '{}'::jsonb, 'gauge', b.up::integer::bigint, 'Whether the publisher is connected to a broker.'),
                   (2, 'broker_blocked', '{}', 'gauge', b.blocked::integer, 'Whether the broker takes nothing, for want of memory or disk.'),
                   (3, 'queue_ready', '{}', 'gauge', b.ready, 'Messages waiting in the broker''s queue.'),
                   (4, 'dead_letters', '{}', 'gauge', b.dead, 'Messages in the broker''s dead letters.'),
                   (5, 'published_total', '{}', 'counter', b.published, 'Messages that the broker has confirmed, since server start.'),
                   (6, 'refused_total', '{}', 'counter', b.refused, 'Messages that the broker has refused or could not route, since server start.'),
                   (7, 'consumed_total', '{}', 'counter', b.consumed, 'Copies that senders received from the broker, since server start.'),
                   (8, 'dropped_total', '{}', 'counter', b.dropped, 'Copies of messages that were not to be sent (any more), since server start.'),
                   (9, 'rejected_total', '{"reason": "failed"}', 'counter', b.failed, 'Copies handed to the dead letters, since server start.'),
                   (10, 'rejected_total', '{"reason": "oversized"}', 'counter', b.oversized, 'Copies handed to the dead letters, since server start.'),
                   (11, 'rejected_total', '{"reason": "malformed"}', 'counter', b.malformed, 'Copies handed to the dead letters, since server start.'),
                   (12, 'rejected_total', '{"reason": "foreign"}', 'counter', b.foreign, 'Copies handed to the dead letters, since server start.'))
                   AS m (n, metric, labels, kind, reading, description)
         WHERE m.reading IS NOT NULL
         ORDER BY m.n;
    END IF;

    IF coalesce(metric, 'cron_stale') IN ('partitions_ahead', 'cron_stale', 'last_upkeep_timestamp_seconds') THEN
        SELECT bool_or(@extschema@.bs_cron_state(l.task::text) = 'stale') AS stale INTO upkeep FROM ONLY @extschema@.bs_upkeep_log l;
        RETURN QUERY VALUES
            ('partitions_ahead', '{}'::jsonb, @extschema@.bs_months_ahead()::double precision, 'gauge', 'Months after this one that have their partitions, without a gap; -1 where those of this month are missing.'),
            ('cron_stale', '{}', coalesce(upkeep.stale, false)::integer, 'gauge', 'Whether pg_cron was to do the upkeep and has not for 25 hours.');
        RETURN QUERY
        SELECT 'last_upkeep_timestamp_seconds', jsonb_build_object('task', l.task), extract(epoch FROM l.done_at)::double precision,
               'gauge', 'When a task of the upkeep was done last.'
          FROM ONLY @extschema@.bs_upkeep_log l
         WHERE l.done_at IS NOT NULL
         ORDER BY l.task;
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_metric_rows(text) IS
'The rows of bs_metrics(), without the prefix of their names: all, or at least that metric.';

CREATE FUNCTION @extschema@.bs_metrics(
    metric text DEFAULT NULL, OUT name text, OUT labels jsonb, OUT value double precision, OUT type text, OUT help text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    IF @extschema@.bs_is_preloaded() THEN
        RETURN QUERY SELECT 'birthday_scheduler_' || r.name, r.labels, r.value, r.type, r.help FROM @extschema@.bs_metric_rows(metric) r
         WHERE metric IS NULL OR r.name = metric OR (r.type = 'histogram' AND starts_with(r.name, metric || '_'));
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_metrics(text) IS
'Numbers for Prometheus and the like: a row per metric and set of labels, those of one name beside each other, all or those of one metric, named without birthday_scheduler_; type is counter, gauge, or histogram for the names that end in _bucket, _sum and _count. Counters are since server start. What is unknown has no row; nothing where the library is not in shared_preload_libraries.';
