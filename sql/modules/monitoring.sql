-- monitoring: how things are. Views for people, in 80 columns, on functions that
-- give the same with types.

CREATE FUNCTION @extschema@.bs_worker_stats(
    OUT worker text, OUT pid integer, OUT state text, OUT since timestamptz,
    OUT sent bigint, OUT failed bigint, OUT retried bigint, OUT last_error text, OUT last_error_at timestamptz, OUT failed_starts integer, OUT connections integer)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_worker_stats';
COMMENT ON FUNCTION @extschema@.bs_worker_stats() IS
'One row per worker that the server is to run for this database: pid NULL while it is not running; none where birthday_scheduler.database does not name it, or there is no room for it. state is starting until the worker has looked into the database once; failed_starts: how many starts in a row have not got so far, the present one included. connections: how many the relay takes of this sender, where it refuses more; NULL: no limit is known. Counts are since server start. Error 55000 where the library is not in shared_preload_libraries.';

CREATE FUNCTION @extschema@.bs_is_preloaded()
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_is_preloaded';
COMMENT ON FUNCTION @extschema@.bs_is_preloaded() IS
'Is the library in shared_preload_libraries, so that there are workers?';

CREATE FUNCTION @extschema@.bs_broker_stats(
    OUT up boolean, OUT blocked boolean, OUT since timestamptz,
    OUT ready bigint, OUT dead bigint, OUT counted_at timestamptz,
    OUT published bigint, OUT refused bigint, OUT consumed bigint, OUT dropped bigint, OUT failed bigint,
    OUT oversized bigint, OUT malformed bigint, OUT "foreign" bigint)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_broker_stats';
COMMENT ON FUNCTION @extschema@.bs_broker_stats() IS
'The broker as publisher and senders of this database see it: is the publisher connected, does the broker take nothing (blocked), and since when; messages ready in the queue and dead in the dead letters, NULL where unknown, and when they were counted. Since server start: published, confirmed by the broker; refused by it; copies consumed by senders, of these dropped (stale, early or finished) and, to the dead letters, those of messages that FAILED and those that were oversized, malformed or foreign (of another installation). Error 55000 where the library is not in shared_preload_libraries.';

CREATE FUNCTION @extschema@.bs_relay_stats(
    OUT breaker text, OUT open_until timestamptz, OUT opened bigint,
    OUT accepted bigint, OUT refused bigint, OUT later bigint, OUT trouble bigint,
    OUT again bigint, OUT in_doubt bigint, OUT released bigint)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_relay_stats';
COMMENT ON FUNCTION @extschema@.bs_relay_stats() IS
'The relay as all senders of this server see it: the circuit breaker is closed, open until then, probing (the next mail decides) or off. Since server start: how often it opened, and how attempts of this database''s senders ended, those of bs_sender as they report them: accepted; refused, for good; later, this message may pass; trouble with relay or link; again, a session was ended; in_doubt, no answer; released, not begun. Error 55000 where the library is not in shared_preload_libraries.';

CREATE FUNCTION @extschema@.bs_scheduler_stats(
    OUT planned bigint, OUT updated bigint, OUT cancelled bigint, OUT recovered bigint, OUT expired bigint,
    OUT passes bigint, OUT passes_failed bigint, OUT last_pass_at timestamptz, OUT last_pass_seconds double precision)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_scheduler_stats';
COMMENT ON FUNCTION @extschema@.bs_scheduler_stats() IS
'Messages since server start, whoever moved them: planned; updated, which counts the cancelled; recovered from senders that are gone; expired. Planning passes of the scheduler that were finished and that failed, and the end and the length of the last one. Error 55000 where the library is not in shared_preload_libraries.';

CREATE FUNCTION @extschema@.bs_histogram_stats(
    OUT histogram text, OUT le double precision[], OUT buckets bigint[], OUT sum double precision, OUT count bigint)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_histogram_stats';
COMMENT ON FUNCTION @extschema@.bs_histogram_stats() IS
'Since server start, in seconds: lateness, from send time to the relay''s "accepted", and delivery, from the begin of an attempt to the relay''s answer. buckets: how many took at most le. Error 55000 where the library is not in shared_preload_libraries.';

CREATE FUNCTION @extschema@.bs_count_moves(
    planned bigint, updated bigint, cancelled bigint, recovered bigint, expired bigint)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'bs_count_moves';
COMMENT ON FUNCTION @extschema@.bs_count_moves(bigint, bigint, bigint, bigint, bigint) IS
'Adds to bs_scheduler_stats() once this transaction commits.';

-- Of each type and status by the index that begins with the two, never the table;
-- at most so many of each, because a million may wait.
CREATE FUNCTION @extschema@.bs_counts(
    since timestamptz DEFAULT NULL, at_most bigint DEFAULT NULL,
    OUT scheduled bigint, OUT queued bigint, OUT sending bigint, OUT retrying bigint,
    OUT due bigint, OUT overdue bigint, OUT next_due timestamptz, OUT oldest_unsent timestamptz,
    OUT failed bigint, OUT expired bigint, OUT cancelled bigint)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    as_of timestamptz := clock_timestamp();
    -- Older ones are expired by the scheduler; while it is away they wait.
    oldest timestamptz := as_of - @extschema@.bs_max_lateness() - interval '48 hours';
    types varchar[] := ARRAY(SELECT t.name FROM ONLY @extschema@.message_types t);
    month date;
    here record;
BEGIN
    scheduled := 0; queued := 0; sending := 0; retrying := 0; due := 0; overdue := 0;
    failed := 0; expired := 0; cancelled := 0;
    FOR month IN SELECT @extschema@.bs_months_with_messages(least(since, oldest), as_of + @extschema@.bs_horizon()) LOOP
        EXECUTE format($query$
            SELECT coalesce(sum(c.n) FILTER (WHERE w.status = 'SCHEDULED'), 0) AS scheduled,
                   coalesce(sum(c.n) FILTER (WHERE w.status = 'QUEUED'), 0) AS queued,
                   coalesce(sum(c.n) FILTER (WHERE w.status = 'SENDING'), 0) AS sending,
                   coalesce(sum(c.n) FILTER (WHERE w.status = 'RETRYING'), 0) AS retrying,
                   coalesce(sum(c.n) FILTER (WHERE w.status = 'FAILED'), 0) AS failed,
                   coalesce(sum(c.n) FILTER (WHERE w.status = 'EXPIRED'), 0) AS expired,
                   coalesce(sum(c.n) FILTER (WHERE w.status = 'CANCELLED'), 0) AS cancelled,
                   min(c.first) FILTER (WHERE w.status = ANY (@extschema@.bs_open_statuses())) AS first,
                   (SELECT count(*)
                      FROM (SELECT FROM %1$s AS m
                             WHERE m.due_at <= $5 AND m.status IN ('SCHEDULED', 'RETRYING')
                               AND m.scheduled_send_time >= $2 LIMIT $4) l) AS due,
                   (SELECT count(*)
                      FROM (SELECT FROM %1$s AS m
                             WHERE m.due_at < $5 - interval '1 minute' AND m.status IN ('SCHEDULED', 'RETRYING')
                               AND m.scheduled_send_time >= $2 LIMIT $4) l)
                   + (SELECT count(*)
                      FROM unnest($1) AS t (name)
                           CROSS JOIN LATERAL (
                               SELECT FROM %1$s AS m
                                WHERE m.message_type = t.name AND m.status = 'QUEUED' AND m.scheduled_send_time >= $2
                                  AND least(m.due_at, m.updated_at) < $5 - interval '1 minute' LIMIT $4) l) AS overdue,
                   (SELECT m.due_at FROM %1$s AS m
                     WHERE m.due_at IS NOT NULL AND m.status IN ('SCHEDULED', 'RETRYING') AND m.scheduled_send_time >= $2
                     ORDER BY m.due_at LIMIT 1) AS next_due
              FROM unnest($1) AS t (name)
                   CROSS JOIN (VALUES ('SCHEDULED', $2), ('QUEUED', $2), ('SENDING', $2), ('RETRYING', $2),
                                      ('FAILED', $3), ('EXPIRED', $3), ('CANCELLED', $3)) AS w (status, since)
                   CROSS JOIN LATERAL (
                       SELECT count(*) AS n, min(l.scheduled_send_time) AS first
                         FROM (SELECT m.scheduled_send_time FROM %1$s AS m
                                WHERE m.message_type = t.name AND m.status = w.status AND m.scheduled_send_time >= w.since
                                ORDER BY m.scheduled_send_time LIMIT $4) l) c
            $query$, '@extschema@.' || @extschema@.bs_partition_name('message_logs', month))
           INTO here
          USING types, oldest, since, at_most, as_of;
        scheduled := scheduled + here.scheduled;
        queued := queued + here.queued;
        sending := sending + here.sending;
        retrying := retrying + here.retrying;
        failed := failed + here.failed;
        expired := expired + here.expired;
        cancelled := cancelled + here.cancelled;
        due := due + here.due + here.queued;
        overdue := overdue + here.overdue;
        next_due := least(next_due, here.next_due);
        oldest_unsent := least(oldest_unsent, here.first);
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_counts(timestamptz, bigint) IS
'Messages that are not finished, by status, at most so many of each month, type and status; due: their time has come (QUEUED is due); overdue: for more than a minute; next_due: the next attempt, in the past while something is due; oldest_unsent: the earliest send time among them. Of what is finished failed, expired and cancelled, with a send time since then; 0 without since.';

CREATE FUNCTION @extschema@.bs_days(first_day date, last_day date)
RETURNS TABLE (day date, message_type varchar, open bigint, sent bigint, failed bigint, expired bigint, cancelled bigint,
               median_lateness interval, worst_lateness interval)
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
BEGIN ATOMIC
    -- Few groups, by tenths of a second, instead of sorting every message.
    WITH groups AS (
        SELECT m.scheduled_send_time::date AS day, m.message_type, m.status,
               CASE m.status WHEN 'SENT' THEN pg_catalog.round(
                   pg_catalog.date_part('epoch', m.actual_send_time - m.scheduled_send_time) * 10) END AS tenths,
               pg_catalog.count(*) AS n,
               pg_catalog.max(CASE m.status WHEN 'SENT' THEN m.actual_send_time - m.scheduled_send_time END) AS worst
          FROM @extschema@.message_logs m
         WHERE m.scheduled_send_time >= first_day::timestamptz
           AND m.scheduled_send_time < (last_day + 1)::timestamptz
         GROUP BY 1, 2, 3, 4
    ), running AS (
        SELECT g.*,
               pg_catalog.sum(g.n) OVER (PARTITION BY g.day, g.message_type, g.status ORDER BY g.tenths) AS up_to,
               pg_catalog.sum(g.n) OVER (PARTITION BY g.day, g.message_type, g.status) AS total
          FROM groups g
    )
    SELECT r.day, r.message_type,
           coalesce(pg_catalog.sum(r.n) FILTER (WHERE r.status = ANY (@extschema@.bs_open_statuses())), 0)::bigint,
           coalesce(pg_catalog.sum(r.n) FILTER (WHERE r.status = 'SENT'), 0)::bigint,
           coalesce(pg_catalog.sum(r.n) FILTER (WHERE r.status = 'FAILED'), 0)::bigint,
           coalesce(pg_catalog.sum(r.n) FILTER (WHERE r.status = 'EXPIRED'), 0)::bigint,
           coalesce(pg_catalog.sum(r.n) FILTER (WHERE r.status = 'CANCELLED'), 0)::bigint,
           pg_catalog.min(r.tenths) FILTER (WHERE r.status = 'SENT' AND r.up_to * 2 >= r.total) * interval '0.1 seconds',
           pg_catalog.max(r.worst)
      FROM running r
     GROUP BY r.day, r.message_type
     ORDER BY r.day, r.message_type;
END;
COMMENT ON FUNCTION @extschema@.bs_days(date, date) IS
'A row a day and type, from one day to another by the session''s TimeZone: messages by what became of them, open: nothing yet, and how late the sent ones left (the median to a tenth of a second). Reads all messages of these days.';

CREATE FUNCTION @extschema@.bs_short(length interval)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
           WHEN extract(epoch FROM length) < 9.95 THEN pg_catalog.round(extract(epoch FROM length), 1) || 's'
           WHEN extract(epoch FROM length) < 99.5 THEN pg_catalog.round(extract(epoch FROM length)) || 's'
           WHEN extract(epoch FROM length) < 5970 THEN pg_catalog.round(extract(epoch FROM length) / 60) || 'm'
           ELSE pg_catalog.round(extract(epoch FROM length) / 3600) || 'h'
       END;
COMMENT ON FUNCTION @extschema@.bs_short(interval) IS
'A length of time in four characters: 0.2s, 45s, 17m, 23h.';

CREATE FUNCTION @extschema@.bs_clock(instant timestamptz)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN pg_catalog.to_char(instant, 'YYYY-MM-DD HH24:MI:SSOF');
COMMENT ON FUNCTION @extschema@.bs_clock(timestamptz) IS
'An instant in the session''s TimeZone, to the second, for sentences.';

CREATE FUNCTION @extschema@.bs_lines(words text, width integer)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.rtrim(pg_catalog.regexp_replace(words, '(.{1,' || width || E'})(?:\\s+|$)|(\\S{' || width || '})', E'\\1\\2\n', 'g'), E'\n');
COMMENT ON FUNCTION @extschema@.bs_lines(text, integer) IS
'Words in lines of that width, at most; longer words are cut.';

CREATE VIEW @extschema@.bs_workers AS
SELECT w.worker, w.pid,
       w.state || coalesce(E',\nat most ' || w.connections || E'\nsessions', '') AS state,
       w.sent, w.failed,
       CASE WHEN w.last_error_at IS NOT NULL
            THEN pg_catalog.to_char(w.last_error_at, 'YYYY-MM-DD HH24:MI:SS') || E'\n' || @extschema@.bs_lines(w.last_error, 24)
       END AS last_error
  FROM @extschema@.bs_worker_stats() w;
COMMENT ON VIEW @extschema@.bs_workers IS
'The background workers of this database, what they are at, and their last error, in lines of 24 characters; bs_worker_stats() has more.';

CREATE VIEW @extschema@.bs_remote_senders AS
SELECT pg_catalog.replace(s.name, '/', E'/\n') AS sender,
       CASE WHEN s.up THEN s.state ELSE 'gone' END AS state,
       pg_catalog.to_char(s.seen_at, 'YYYY-MM-DD HH24:MI:SS') AS seen_at,
       s.sent, s.failed, s.last_error
  FROM @extschema@.bs_sender_stats() s;
COMMENT ON VIEW @extschema@.bs_remote_senders IS
'The remote senders (bs_sender) that were seen within a day, and the class of the last error that each had with its relay; bs_sender_stats() has more.';

CREATE FUNCTION @extschema@.bs_state_lines(OUT lines text)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    installation text := @extschema@.bs_installation_state();
    kind text := current_setting('birthday_scheduler.queue', true);
    found record;
    relay record;
BEGIN
    SELECT i.paused_at, i.paused_reason INTO found FROM ONLY @extschema@.bs_installation i;
    lines := CASE installation
                 WHEN 'new' THEN 'new: no user was added yet'
                 WHEN 'copy' THEN E'copy: nothing is sent until\nbs_resume() adopts it'
                 WHEN 'paused' THEN to_char(found.paused_at, '"paused" YYYY-MM-DD HH24:MI:SS')
                                    || coalesce(E'\n' || @extschema@.bs_lines(found.paused_reason::text, 28), '')
                                    || (SELECT CASE WHEN o.expiring > 0 THEN format(E'\n%s expiring in 24h', o.expiring) ELSE '' END
                                               || coalesce(to_char(o.first_expiry, E'"\nfirst expires "MM-DD HH24:MI:SS'), '')
                                          FROM @extschema@.bs_pause_outlook() o)
                 ELSE installation
             END;
    IF NOT @extschema@.bs_is_preloaded() THEN
        lines := lines || E'\nno workers: not preloaded';
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM @extschema@.bs_worker_stats()) THEN
        lines := lines || E'\nno workers: see bs_health()';
        RETURN;
    END IF;
    lines := lines || E'\nqueue ' || kind;
    IF kind = 'rabbitmq' THEN
        lines := lines || (SELECT CASE WHEN NOT b.up THEN ', down' WHEN b.blocked THEN ', blocked' ELSE ', up' END
                             FROM @extschema@.bs_broker_stats() b);
    END IF;
    SELECT r.* INTO relay FROM @extschema@.bs_relay_stats() r;
    lines := lines || E'\nbreaker ' || relay.breaker || coalesce(to_char(relay.open_until, '" until" HH24:MI:SS'), '');
END
$$;
COMMENT ON FUNCTION @extschema@.bs_state_lines() IS
'For bs_status, in lines of 28 characters: is this the database that sends, is it paused and why, and what expires, the kind of queue, the circuit breaker.';

CREATE VIEW @extschema@.bs_status AS
SELECT c.scheduled + c.queued + c.retrying AS planned, c.due, c.sending AS in_flight,
       d.sent, c.failed + c.expired AS failed,
       pg_catalog.concat_ws(E'\n', s.lines,
           pg_catalog.to_char(c.next_due, '"next due "YYYY-MM-DD HH24:MI:SS'),
           'oldest unsent ' || @extschema@.bs_short(CASE WHEN c.oldest_unsent < pg_catalog.now() THEN pg_catalog.now() - c.oldest_unsent END) || ' late',
           'lateness ' || @extschema@.bs_short(d.median) || ', worst ' || @extschema@.bs_short(d.worst)) AS state
  FROM @extschema@.bs_counts(pg_catalog.date_trunc('day', pg_catalog.now()), NULL::bigint) c,
       @extschema@.bs_state_lines() s,
       (SELECT coalesce(pg_catalog.sum(d.sent), 0)::bigint AS sent, pg_catalog.max(d.median_lateness) AS median, pg_catalog.max(d.worst_lateness) AS worst
          FROM @extschema@.bs_days(CURRENT_DATE, CURRENT_DATE) d) d;
COMMENT ON VIEW @extschema@.bs_status IS
'One row. Messages that are planned (in flight they are not), of these due, in flight, and by their send time today, in the session''s TimeZone, sent and failed (or expired); then in words: adopted, paused and why, or a copy; queue; circuit breaker; when the next attempt is due; how late the oldest unsent message is, and the sent ones of today are (median of the type that is worst off, and the worst). bs_counts() and bs_days() have the same with types.';
