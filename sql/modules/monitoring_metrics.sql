-- monitoring: numbers for a time series database, named as Prometheus wants it.

CREATE FUNCTION @extschema@.bs_metrics(
    OUT name text, OUT labels jsonb, OUT value double precision, OUT type text, OUT help text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT @extschema@.bs_is_preloaded() THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT 'birthday_scheduler_' || m.metric, jsonb_build_object('worker', w.worker), m.reading::double precision, m.kind, m.description
      FROM @extschema@.bs_worker_stats() w
           CROSS JOIN LATERAL (VALUES
               (1, 'worker_up', 'gauge', (w.pid IS NOT NULL)::integer::bigint, 'Whether the worker is running.'),
               (2, 'worker_sent_total', 'counter', w.sent, 'Messages that the relay accepted, since server start.'),
               (3, 'worker_failed_total', 'counter', w.failed, 'Messages given up, since server start.'),
               (4, 'worker_retried_total', 'counter', w.retried, 'Attempts that are to be repeated, since server start.'))
               AS m (n, metric, kind, reading, description)
     WHERE m.n = 1 OR w.worker LIKE 'sender %'
     ORDER BY m.n, length(w.worker), w.worker;
    RETURN QUERY
    SELECT 'birthday_scheduler_' || m.metric, m.labels, m.reading::double precision, m.kind, m.description
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
END
$$;
COMMENT ON FUNCTION @extschema@.bs_metrics() IS
'Numbers for Prometheus and the like: a row per metric and set of labels, those of one name beside each other; type is counter or gauge. What is unknown has no row; nothing where the library is not in shared_preload_libraries.';
