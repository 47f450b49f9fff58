-- monitoring: bs_health(), a function for each part that wants more than a line.

-- The health names no host: what libcurl says of a connection does, and only bs_workers
-- shows that.
CREATE FUNCTION @extschema@.bs_trouble_in_public(trouble text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    part text := substring(trouble FROM '^the (relay|broker)');
BEGIN
    IF part = 'relay' OR (part = 'broker' AND trouble ~* '(connect|resolve|host|ssl|tls|certificate|timed? ?out)') THEN
        RETURN format('trouble with the %s (%s): bs_workers says which', part, @extschema@.bs_trouble_class(trouble));
    END IF;
    RETURN trouble;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_trouble_in_public(text) IS
'A worker''s last error as bs_health() shows it: for trouble with a connection its class, without the host.';

CREATE FUNCTION @extschema@.bs_worker_health()
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    found record;
    trouble text;
    denied boolean;
BEGIN
    IF NOT @extschema@.bs_is_preloaded() THEN
        RETURN jsonb_build_object(
            'status', 'error',
            'reason', 'birthday_scheduler is not in shared_preload_libraries: nothing is sent');
    END IF;
    SELECT count(*) AS expected, count(w.pid) AS running,
           count(*) FILTER (WHERE w.state = 'starting') AS starting,
           -- A start takes a moment.
           count(*) FILTER (WHERE w.state = 'starting'
                                  AND (w.failed_starts > 1 OR w.last_error_at IS NOT NULL
                                       OR w.since < now() - interval '10 seconds')) AS stuck
      INTO found
      FROM @extschema@.bs_worker_stats() w;
    IF found.expected = 0 THEN
        RETURN jsonb_build_object(
            'status', 'error',
            'reason', 'no workers serve this database, nothing is sent: name it in birthday_scheduler.database, and see that birthday_scheduler.max_databases has room for it');
    END IF;
    SELECT string_agg(e.workers || ': ' || @extschema@.bs_trouble_in_public(e.last_error), '; ' ORDER BY e.workers), bool_or(e.last_error LIKE '%(SQLSTATE 42501)')
      INTO trouble, denied
      FROM (SELECT string_agg(w.worker, ', ' ORDER BY w.worker) AS workers, w.last_error
              FROM @extschema@.bs_worker_stats() w
             WHERE (w.last_error_at > now() - interval '5 minutes' AND w.state NOT IN ('idle', 'no relay'))
                OR (w.last_error_at IS NOT NULL AND w.state IN ('starting', 'stopped'))
             GROUP BY w.last_error) e;
    IF denied THEN
        trouble := trouble || format('; what is missing is given by SELECT bs_grant(%L, ''worker'')', current_setting('birthday_scheduler.role'));
    END IF;
    RETURN jsonb_build_object(
        'status', CASE WHEN found.running < found.expected OR found.stuck > 0 OR denied THEN 'error'
                       WHEN found.starting > 0 OR trouble IS NOT NULL THEN 'warning'
                       ELSE 'ok' END,
        'reason', CASE WHEN found.running < found.expected OR found.starting > 0
                       THEN concat_ws('; ',
                                format('%s of %s workers are at work', found.running - found.starting, found.expected),
                                coalesce(trouble, CASE WHEN found.running < found.expected OR found.stuck > 0
                                                       THEN 'look at max_worker_processes and the server log'
                                                       ELSE 'the others are starting' END))
                       ELSE trouble END);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_worker_health() IS
'The part of bs_health() about the workers of this database: are there any, have all got past their start, may they do what they need, and has one met an error in the last five minutes?';

-- The publisher speaks for the broker: senders that cannot reach it say so in the
-- part about the workers.
CREATE FUNCTION @extschema@.bs_queue_health(installation text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    preloaded boolean := @extschema@.bs_is_preloaded();
    kind text := current_setting('birthday_scheduler.queue');
    broker record;
    publisher record;
    status text := 'ok';
    reason text;
BEGIN
    IF kind = 'postgres' OR NOT preloaded THEN
        RETURN jsonb_build_object('status', status, 'reason', reason, 'kind', kind,
                                  'ready', NULL, 'dead_letters', NULL, 'counted_at', NULL);
    END IF;
    SELECT b.* INTO broker FROM @extschema@.bs_broker_stats() b;
    SELECT w.* INTO publisher FROM @extschema@.bs_worker_stats() w WHERE w.worker = 'publisher';
    IF installation <> 'adopted' THEN
        NULL;                           -- nothing is published
    ELSIF NOT broker.up THEN
        status := 'error';
        reason := coalesce(@extschema@.bs_trouble_in_public(publisher.last_error), 'the publisher is not connected to a broker');
    ELSIF broker.blocked THEN
        status := 'warning';
        reason := format('the broker takes nothing since %s: it is short of memory or disk', broker.since);
    ELSIF publisher.last_error_at > now() - interval '1 minute' THEN
        status := 'warning';
        reason := @extschema@.bs_trouble_in_public(publisher.last_error);
    END IF;
    RETURN jsonb_build_object('status', status, 'reason', reason, 'kind', kind,
                              'ready', broker.ready, 'dead_letters', broker.dead, 'counted_at', broker.counted_at);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_queue_health(text) IS
'The part of bs_health() about the queue: its kind (postgres or rabbitmq), and with a broker whether the publisher is connected and gets its messages through, and how many messages are ready in the queue and in the dead letters; null where unknown.';

CREATE FUNCTION @extschema@.bs_remote_health(OUT status text, OUT reason text, OUT class text, OUT class_at timestamptz)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    senders record;
BEGIN
    SELECT count(*) AS seen, count(*) FILTER (WHERE s.up) AS up,
           count(*) FILTER (WHERE s.up AND s.state = 'working') AS working,
           max(s.seen_at) AS seen_at, string_agg(DISTINCT s.state, ', ') FILTER (WHERE s.up) AS states
      INTO senders
      FROM @extschema@.bs_sender_stats() s;
    SELECT s.last_error, s.last_error_at INTO class, class_at
      FROM @extschema@.bs_sender_stats() s
     WHERE s.up AND s.last_error IS NOT NULL
     ORDER BY s.last_error_at DESC
     LIMIT 1;
    status := 'ok';
    IF senders.seen = 0 THEN
        status := 'error';
        class := 'settings';
        reason := 'the settings make no relay, and no bs_sender has reported itself: bs_workers says why';
    ELSIF senders.up = 0 THEN
        status := 'error';
        reason := format('no bs_sender has reported itself since %s, and the settings here make no relay: nothing is sent', senders.seen_at);
    ELSIF senders.working = 0 THEN
        status := 'error';
        reason := format('no bs_sender can send (%s): bs_remote_senders says which', senders.states);
    ELSIF senders.working < senders.up THEN
        status := 'warning';
        reason := format('%s of %s bs_senders cannot send: bs_remote_senders says which', senders.up - senders.working, senders.up);
    ELSIF class_at > now() - interval '1 minute' THEN
        status := 'warning';
        reason := format('trouble with the relay (%s) within the last minute: bs_remote_senders says whose', class);
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_remote_health() IS
'The part of bs_health() about the relay, where only bs_sender sends: does one live, and is its relay well?';

CREATE FUNCTION @extschema@.bs_relay_health(installation text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    relay record;
    trouble record;
    remote record;
    status text := 'ok';
    reason text;
BEGIN
    IF NOT @extschema@.bs_is_preloaded() THEN
        RETURN '{"status": "ok", "reason": null, "breaker": null, "open_until": null, "last_error": null, "last_error_at": null}';
    END IF;
    SELECT r.* INTO relay FROM @extschema@.bs_relay_stats() r;
    SELECT w.state = 'no relay' AS is_absent,
           CASE WHEN w.state = 'no relay' THEN 'settings' ELSE @extschema@.bs_trouble_class(w.last_error) END AS class,
           w.last_error,
           w.last_error_at
      INTO trouble
      FROM @extschema@.bs_worker_stats() w
     WHERE w.worker LIKE 'sender %'
       AND w.last_error_at IS NOT NULL
       AND (w.state = 'no relay' OR w.last_error LIKE 'the relay%')
     ORDER BY w.state = 'no relay' DESC, w.last_error_at DESC
     LIMIT 1;
    IF installation <> 'adopted' THEN
        NULL;                           -- nothing is sent
    ELSIF trouble.is_absent AND trouble.last_error LIKE E'"birthday\\_scheduler.lease" %' THEN
        status := 'error';              -- two settings that do not go together are no address
        reason := trouble.last_error;
    ELSIF trouble.is_absent THEN
        remote := @extschema@.bs_remote_health();
        status := remote.status;
        reason := remote.reason;
        trouble.class := remote.class;
        trouble.last_error_at := remote.class_at;
    ELSIF relay.breaker = 'open' THEN
        status := 'error';
        reason := format('too many attempts failed: nothing is sent until %s', relay.open_until);
    ELSIF relay.breaker = 'probing' THEN
        status := 'warning';
        reason := 'too many attempts failed: the next mail decides whether the relay is well again';
    ELSIF trouble.last_error_at > now() - interval '1 minute' THEN
        status := 'warning';
        reason := format('trouble with the relay (%s) within the last minute: bs_workers says which', trouble.class);
    END IF;
    RETURN jsonb_build_object('status', status, 'reason', reason, 'breaker', relay.breaker, 'open_until', relay.open_until,
                              'last_error', trouble.class, 'last_error_at', trouble.last_error_at);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_relay_health(text) IS
'The part of bs_health() about the relay: the circuit breaker, and the class of the last error of a sender: settings, name, connection, tls, login, timeout, answer or other. Where the senders in the server have no relay, the remote ones that live (bs_remote_senders) are judged instead.';

CREATE FUNCTION @extschema@.bs_message_health()
RETURNS jsonb
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.jsonb_build_object(
               'backlog', pg_catalog.jsonb_build_object(
                   'status', CASE WHEN c.overdue > 0 THEN 'warning' ELSE 'ok' END,
                   'reason', CASE WHEN c.overdue > 0 THEN pg_catalog.format('%s messages are more than a minute overdue', c.overdue) END,
                   'overdue', c.overdue),
               'results', pg_catalog.jsonb_build_object(
                   'status', CASE WHEN c.expired + c.failed > 0 THEN 'warning' ELSE 'ok' END,
                   'reason', CASE WHEN c.expired + c.failed > 0
                                  THEN pg_catalog.format('in the last days %s messages failed and %s expired', c.failed, c.expired) END,
                   'failed', c.failed, 'expired', c.expired))
      FROM @extschema@.bs_counts(pg_catalog.now() - @extschema@.bs_max_lateness() - interval '48 hours', 10000::bigint) c;
END;
COMMENT ON FUNCTION @extschema@.bs_message_health() IS
'The parts of bs_health() about messages: the backlog, to which what waits in the broker for more than a minute belongs, and the results of the last days; of each month, type and status ten thousand are counted.';

CREATE FUNCTION @extschema@.bs_planning_health(installation text)
RETURNS jsonb
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.jsonb_build_object(
               'status', CASE WHEN p.nothing THEN 'warning'
                              WHEN p.behind THEN 'error'
                              WHEN p.failed_users > 0 OR p.lost_users > 0 OR p.past_triggers IS NOT NULL THEN 'warning'
                              ELSE 'ok' END,
               'reason', CASE WHEN p.nothing THEN 'nothing was planned yet'
                              WHEN p.behind THEN 'planning has fallen behind'
                              WHEN p.failed_users > 0
                              THEN pg_catalog.format('planning failed for %s users, one of them is %s (SQLSTATE %s)',
                                                     p.failed_users, p.failed_user, p.failed_code)
                              WHEN p.lost_users > 0
                              THEN pg_catalog.format('nothing is planned for %s users, because the server does not know their time zones: %s.'
                                                     ' On Debian 13 and later, install the package tzdata-legacy', p.lost_users, p.lost_zones)
                              WHEN p.past_triggers IS NOT NULL
                              THEN pg_catalog.format('%s users or messages were changed past the triggers; a planning pass caught them up at %s',
                                                     p.past_triggers, p.past_triggers_at) END,
               'planned_until', p.planned_until)
      FROM (SELECT i.planned_until,
                   installation IN ('new', 'copy') OR i.planned_until IS NULL AS nothing,
                   i.planned_until < pg_catalog.now() + @extschema@.bs_horizon() / 2 AS behind,
                   z.lost_users, z.lost_zones, i.failed_users, i.failed_user, i.failed_code,
                   i.past_triggers, i.past_triggers_at
              FROM (SELECT pg_catalog.max(i.planned_until) AS planned_until,
                           pg_catalog.max(i.failed_users) AS failed_users,
                           pg_catalog.max(i.failed_user::text) AS failed_user, pg_catalog.max(i.failed_code) AS failed_code,
                           pg_catalog.max(i.past_triggers) FILTER (WHERE i.past_triggers_at > pg_catalog.now() - interval '1 day') AS past_triggers,
                           pg_catalog.max(i.past_triggers_at) AS past_triggers_at
                      FROM ONLY @extschema@.bs_installation i) i
                   -- Those that came back since the upkeep looked are not lost.
                   CROSS JOIN (
                       SELECT pg_catalog.sum(z.users) AS lost_users,
                              pg_catalog.string_agg(pg_catalog.format('%s (%s)', z.name, z.users), ', ' ORDER BY z.n) FILTER (WHERE z.n <= 5)
                              || CASE WHEN pg_catalog.count(*) > 5 THEN ' and others, see bs_lost_zones' ELSE '' END AS lost_zones
                         FROM (SELECT l.zone ->> 0 AS name, (l.zone ->> 1)::bigint AS users, pg_catalog.row_number() OVER (ORDER BY l.n) AS n
                                 FROM ONLY @extschema@.bs_installation i
                                      CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(i.lost_zones) WITH ORDINALITY AS l (zone, n)
                                WHERE @extschema@.bs_zone_name(l.zone ->> 0) IS NULL) z) z) p;
END;
COMMENT ON FUNCTION @extschema@.bs_planning_health(text) IS
'The part of bs_health() about planning: how far it has come, whether planning failed for single users, whether users have zones that the server does not know, and whether within a day rows came past the triggers.';

CREATE FUNCTION @extschema@.bs_partition_health(installation text)
RETURNS jsonb
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.jsonb_build_object(
               'status', CASE WHEN installation = 'new' THEN 'ok'
                              WHEN NOT r.ready THEN 'error'
                              WHEN r.trouble IS NOT NULL THEN 'warning'
                              ELSE 'ok' END,
               'reason', CASE WHEN installation = 'new' THEN NULL
                              WHEN NOT r.ready THEN pg_catalog.concat_ws(': ', 'partitions are missing',
                                  coalesce(r.trouble, 'call bs_create_partitions()'))
                              ELSE r.trouble END)
      FROM (SELECT @extschema@.bs_partitions_ready(
                       (pg_catalog.now() - interval '1 day')::date, (pg_catalog.now() + interval '32 days')::date) AS ready,
                   (SELECT l.trouble FROM ONLY @extschema@.bs_upkeep_log l WHERE l.task = 'partitions') AS trouble) r;
END;
COMMENT ON FUNCTION @extschema@.bs_partition_health(text) IS
'The part of bs_health() about the months: are those there that are needed soon?';

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
                      FROM ONLY @extschema@.bs_upkeep_log l
                           CROSS JOIN LATERAL (SELECT @extschema@.bs_cron_state(l.task::text) AS state) s) w) f;
END;
COMMENT ON FUNCTION @extschema@.bs_upkeep_health(text) IS
'The part of bs_health() about the upkeep of partitions: who did it last and when, and whether pg_cron is absent, alive or stale.';

-- Of each type and status by the index that begins with the two.
CREATE FUNCTION @extschema@.bs_pause_outlook(OUT expiring bigint, OUT first_expiry timestamptz, OUT words text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
DECLARE
    max_lateness interval := @extschema@.bs_max_lateness();
    most integer := 10000;
BEGIN
    SELECT coalesce(sum(c.n), 0), min(c.first) + max_lateness INTO expiring, first_expiry
      FROM ONLY @extschema@.message_types t
           CROSS JOIN unnest('{SCHEDULED,QUEUED,RETRYING}'::text[]) AS s (status)
           CROSS JOIN LATERAL (
               SELECT count(*) FILTER (WHERE l.send_at + max_lateness <= now() + interval '24 hours') AS n, min(l.send_at) AS first
                 FROM (SELECT m.scheduled_send_time AS send_at
                         FROM @extschema@.message_logs m
                        WHERE m.message_type = t.name AND m.status = s.status
                          AND m.scheduled_send_time >= now() - max_lateness
                          AND m.scheduled_send_time <= now() + @extschema@.bs_horizon()
                        ORDER BY m.scheduled_send_time
                        LIMIT most) l) c;
    words := CASE
                 WHEN first_expiry IS NULL THEN 'no message is planned that could expire'
                 WHEN expiring = 0 THEN format('the first message expires at %s', @extschema@.bs_clock(first_expiry))
                 ELSE format('%s within 24 hours, the first at %s',
                             CASE WHEN expiring >= most THEN expiring || ' messages or more expire'
                                  WHEN expiring = 1 THEN '1 message expires'
                                  ELSE expiring || ' messages expire' END,
                             @extschema@.bs_clock(first_expiry))
             END;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_pause_outlook() IS
'What becomes of the planned messages if a pause lasts: how many are past max_lateness within 24 hours (of each type and status ten thousand are counted), when the first one is, and both in words.';

CREATE FUNCTION @extschema@.bs_health()
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    installation text := @extschema@.bs_installation_state();
    parts jsonb;
BEGIN
    parts := @extschema@.bs_message_health() || jsonb_build_object(
        'installation', jsonb_build_object(
            'status', CASE installation WHEN 'adopted' THEN 'ok' ELSE 'warning' END,
            'reason', CASE installation
                WHEN 'new' THEN 'no user was added yet; bs_add_user() or bs_resume() begins'
                WHEN 'copy' THEN 'this database is a copy: nothing is planned or sent until bs_resume()'
                WHEN 'paused' THEN (SELECT concat_ws('; ', 'paused by bs_pause(): nothing is sent until bs_resume()',
                                                     i.paused_reason, o.words)
                                      FROM ONLY @extschema@.bs_installation i, @extschema@.bs_pause_outlook() o) END),
        'copy', jsonb_build_object(
            'status', CASE installation WHEN 'copy' THEN 'warning' ELSE 'ok' END,
            'reason', CASE installation WHEN 'copy' THEN 'the tables came from another server or database' END),
        'workers', @extschema@.bs_worker_health(),
        'queue', @extschema@.bs_queue_health(installation),
        'relay', @extschema@.bs_relay_health(installation),
        'planning', @extschema@.bs_planning_health(installation),
        'partitions', @extschema@.bs_partition_health(installation),
        'upkeep', @extschema@.bs_upkeep_health(installation));
    parts := parts || jsonb_build_object('cron', jsonb_build_object(
        'status', CASE WHEN parts #>> '{upkeep,pg_cron}' = 'stale' AND installation <> 'copy' THEN 'warning' ELSE 'ok' END,
        'reason', CASE WHEN parts #>> '{upkeep,pg_cron}' = 'stale' AND installation <> 'copy'
                       THEN 'pg_cron has not run its jobs for 25 hours' END,
        'state', parts #> '{upkeep,pg_cron}'));
    RETURN jsonb_build_object(
        'status', (SELECT CASE WHEN bool_or(p.value ->> 'status' = 'error') THEN 'error'
                               WHEN bool_or(p.value ->> 'status' = 'warning') THEN 'warning'
                               ELSE 'ok' END
                     FROM jsonb_each(parts) AS p),
        'parts', parts);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_health() IS
'How things are: {"status": ok, warning or error, "parts": {part: {"status", "reason", ...}}}; the reason is null where a part is ok. The parts are installation, copy, workers, planning, queue, relay, partitions, backlog, results, upkeep and cron.';
