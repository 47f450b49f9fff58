-- monitoring: how things are.

CREATE FUNCTION @extschema@.bs_worker_stats(
    OUT worker text, OUT pid integer, OUT state text, OUT since timestamptz,
    OUT sent bigint, OUT failed bigint, OUT retried bigint, OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_worker_stats';
COMMENT ON FUNCTION @extschema@.bs_worker_stats() IS
'One row per worker that the server is to run: pid NULL while it is not running. Counts are since server start. Error 55000 where the library is not in shared_preload_libraries.';

CREATE VIEW @extschema@.bs_workers AS
SELECT w.worker, w.pid, w.state, w.since, w.sent, w.failed, w.retried, w.last_error, w.last_error_at
  FROM @extschema@.bs_worker_stats() w;
COMMENT ON VIEW @extschema@.bs_workers IS
'The background workers and what they are at.';

CREATE FUNCTION @extschema@.bs_is_preloaded()
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_is_preloaded';
COMMENT ON FUNCTION @extschema@.bs_is_preloaded() IS
'Is the library in shared_preload_libraries, so that there are workers?';

CREATE VIEW @extschema@.bs_status AS
SELECT @extschema@.bs_installation_state() AS installation,
       count(*) FILTER (WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')) AS planned,
       count(*) FILTER (WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING') AND m.due_at <= now()) AS due,
       count(*) FILTER (WHERE m.status = 'SENDING') AS in_flight,
       count(*) FILTER (WHERE m.status = 'SENT') AS sent,
       count(*) FILTER (WHERE m.status = 'FAILED') AS failed,
       count(*) FILTER (WHERE m.status = 'EXPIRED') AS expired,
       min(m.due_at) FILTER (WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')) AS next_due,
       max(m.actual_send_time - m.scheduled_send_time) FILTER (WHERE m.status = 'SENT') AS worst_lateness
  FROM @extschema@.message_logs m
 WHERE m.scheduled_send_time >= now() - interval '24 hours';
COMMENT ON VIEW @extschema@.bs_status IS
'One row: messages whose send time lies in the last 24 hours or ahead, by what became of them.';

CREATE FUNCTION @extschema@.bs_upkeep_health(installation text)
RETURNS jsonb
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.jsonb_build_object(
               'status', CASE WHEN f.reason IS NULL THEN 'ok' ELSE 'warning' END,
               'reason', f.reason,
               'done_at', f.done_at,
               'done_by', f.done_by,
               'pg_cron', f.cron)
      FROM (SELECT w.done_at, w.done_by, w.cron,
                   CASE
                       WHEN installation IN ('new', 'copy') THEN NULL
                       WHEN w.cron = 'stale' THEN pg_catalog.format(
                           'pg_cron has not run its jobs since %s: the scheduler does the upkeep', w.cron_at)
                       WHEN w.done_at IS NULL OR w.done_at < pg_catalog.now() - interval '26 hours' THEN
                           'partitions were not looked after for a day'
                       ELSE w.trouble
                   END AS reason
              FROM (SELECT pg_catalog.max(l.done_at) FILTER (WHERE l.task = 'partitions') AS done_at,
                           pg_catalog.max(l.done_by) FILTER (WHERE l.task = 'partitions') AS done_by,
                           pg_catalog.max(l.trouble) FILTER (WHERE l.task = 'retention') AS trouble,
                           pg_catalog.max(greatest(l.cron_since, l.cron_at)) AS cron_at,
                           CASE
                               WHEN pg_catalog.bool_or(s.state = 'stale') THEN 'stale'
                               WHEN pg_catalog.bool_or(s.state = 'alive') THEN 'alive'
                               ELSE 'absent'
                           END AS cron
                      FROM @extschema@.bs_upkeep_log l
                           CROSS JOIN LATERAL (SELECT @extschema@.bs_cron_state(l.task) AS state) s) w) f;
END;
COMMENT ON FUNCTION @extschema@.bs_upkeep_health(text) IS
'The part of bs_health() about the upkeep of partitions: who did it last and when, and whether pg_cron is absent, alive or stale.';

CREATE FUNCTION @extschema@.bs_health()
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    installation text := @extschema@.bs_installation_state();
    parts jsonb := '{}';
    overdue bigint;
    expired bigint;
    failed bigint;
    expected bigint := 0;
    running bigint := 0;
    trouble text;
    planned_until timestamptz;
    lost_zones bigint;
BEGIN
    parts := parts || jsonb_build_object('installation', jsonb_build_object(
        'status', CASE installation WHEN 'adopted' THEN 'ok' ELSE 'warning' END,
        'reason', CASE installation
            WHEN 'new' THEN 'no user was added yet; bs_add_user() or bs_resume() begins'
            WHEN 'copy' THEN 'this database is a copy: nothing is planned or sent until bs_resume()'
            WHEN 'paused' THEN 'paused by bs_pause(): nothing is sent until bs_resume()' END));

    IF @extschema@.bs_is_preloaded() THEN
        SELECT count(*), count(w.pid),
               string_agg(w.worker || ': ' || w.last_error, '; ' ORDER BY w.worker)
                   FILTER (WHERE w.last_error_at > now() - interval '5 minutes' AND w.state <> 'idle')
          INTO expected, running, trouble
          FROM @extschema@.bs_worker_stats() w;
        parts := parts || jsonb_build_object('workers', jsonb_build_object(
            'status', CASE WHEN running < expected THEN 'error' WHEN trouble IS NOT NULL THEN 'warning' ELSE 'ok' END,
            'reason', CASE WHEN running < expected THEN format('%s of %s workers are running; look at max_worker_processes and the server log', running, expected)
                           ELSE trouble END));
    ELSE
        parts := parts || jsonb_build_object('workers', jsonb_build_object(
            'status', 'error',
            'reason', 'birthday_scheduler is not in shared_preload_libraries: nothing is sent'));
    END IF;

    SELECT count(*) FILTER (WHERE m.due_at < clock_timestamp() - interval '1 minute'
                              AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')),
           count(*) FILTER (WHERE m.status = 'EXPIRED'),
           count(*) FILTER (WHERE m.status = 'FAILED')
      INTO overdue, expired, failed
      FROM @extschema@.message_logs m
     WHERE m.scheduled_send_time >= now() - @extschema@.bs_max_lateness() - interval '48 hours';
    parts := parts || jsonb_build_object('backlog', jsonb_build_object(
        'status', CASE WHEN overdue > 0 THEN 'warning' ELSE 'ok' END,
        'reason', CASE WHEN overdue > 0 THEN format('%s messages are more than a minute overdue', overdue) END,
        'overdue', overdue));
    parts := parts || jsonb_build_object('results', jsonb_build_object(
        'status', CASE WHEN expired + failed > 0 THEN 'warning' ELSE 'ok' END,
        'reason', CASE WHEN expired + failed > 0 THEN format('in the last days %s messages failed and %s expired', failed, expired) END,
        'failed', failed, 'expired', expired));

    SELECT i.planned_until INTO planned_until FROM @extschema@.bs_installation i;
    SELECT count(*) INTO lost_zones
      FROM (SELECT DISTINCT u.timezone FROM @extschema@.users u WHERE u.deleted_at IS NULL) z
     WHERE NOT @extschema@.bs_is_timezone(z.timezone);
    parts := parts || jsonb_build_object('planning', jsonb_build_object(
        'status', CASE WHEN installation IN ('new', 'copy') OR planned_until IS NULL THEN 'warning'
                       WHEN planned_until < now() + @extschema@.bs_horizon() / 2 THEN 'error'
                       WHEN lost_zones > 0 THEN 'warning' ELSE 'ok' END,
        'reason', CASE WHEN installation IN ('new', 'copy') OR planned_until IS NULL THEN 'nothing was planned yet'
                       WHEN planned_until < now() + @extschema@.bs_horizon() / 2 THEN 'planning has fallen behind'
                       WHEN lost_zones > 0 THEN format('%s time zones of users are not in the server''s database', lost_zones) END,
        'planned_until', planned_until));
    parts := parts || jsonb_build_object('partitions', (
        SELECT jsonb_build_object(
                   'status', CASE WHEN installation = 'new' THEN 'ok' WHEN NOT r.ready THEN 'error'
                                  WHEN r.trouble IS NOT NULL THEN 'warning' ELSE 'ok' END,
                   'reason', CASE WHEN installation = 'new' THEN NULL
                                  WHEN NOT r.ready THEN concat_ws(': ', 'partitions are missing',
                                      coalesce(r.trouble, 'call bs_create_partitions()'))
                                  ELSE r.trouble END)
          FROM (SELECT @extschema@.bs_partitions_ready(
                           (now() - interval '1 day')::date, (now() + interval '32 days')::date) AS ready,
                       (SELECT l.trouble FROM @extschema@.bs_upkeep_log l WHERE l.task = 'partitions') AS trouble) r));
    parts := parts || jsonb_build_object('upkeep', @extschema@.bs_upkeep_health(installation));

    RETURN jsonb_build_object(
        'status', (SELECT CASE WHEN bool_or(p.value ->> 'status' = 'error') THEN 'error'
                               WHEN bool_or(p.value ->> 'status' = 'warning') THEN 'warning'
                               ELSE 'ok' END
                     FROM jsonb_each(parts) AS p),
        'parts', parts);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_health() IS
'How things are: {"status": ok, warning or error, "parts": {part: {"status", "reason", ...}}}; the reason is null where a part is ok.';
