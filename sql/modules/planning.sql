-- planning: what is owed, and when. Makes message_logs rows (SCHEDULED), moves
-- and re-writes those that no sender has claimed, cancels those whose day is gone.
--
-- One lock guards all that planning reads of a user: the users row. Whoever
-- changes a user, or the user's dates, holds it and plans that user again before
-- committing; a planner takes it FOR SHARE and steps over users whose lock is
-- taken. So nobody waits for anybody, and no row is left as it should not be.

CREATE FUNCTION @extschema@.bs_is_owed(event_date date, local_date date, cadence text, feb29 text)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE cadence
           WHEN 'once' THEN event_date = local_date
           ELSE event_date <= local_date
                AND @extschema@.bs_occurrence(event_date, extract(year FROM local_date)::integer, feb29) = local_date
       END;
COMMENT ON FUNCTION @extschema@.bs_is_owed(date, date, text, text) IS
'Is the event celebrated on that date?';

-- Every event that may be mailed, beside the type that mails it. Only arms whose
-- date_source is asked for are read. "IS NOT TRUE", because "IS NOT NULL" lets the
-- search for one user go through a whole partial index, where the statistics say
-- that it is empty: they may be older than a million rows that came since.
CREATE VIEW @extschema@.bs_events AS
SELECT u.id AS user_id, t.name AS message_type, 'birthday_date'::varchar AS date_source,
       u.birthday_date AS event_date, @extschema@.bs_month_day(u.birthday_date) AS month_day,
       u.timezone, greatest(u.created_at, t.active_since) AS since,
       t.send_time, t.feb29_policy, t.cadence
  FROM @extschema@.users u
       CROSS JOIN @extschema@.message_types t
 WHERE t.date_source = 'birthday_date' AND t.enabled
   AND u.deleted_at IS NULL AND (u.birthday_date IS NULL) IS NOT TRUE
UNION ALL
SELECT u.id, t.name, 'anniversary_date',
       u.anniversary_date, @extschema@.bs_month_day(u.anniversary_date),
       u.timezone, greatest(u.created_at, t.active_since),
       t.send_time, t.feb29_policy, t.cadence
  FROM @extschema@.users u
       CROSS JOIN @extschema@.message_types t
 WHERE t.date_source = 'anniversary_date' AND t.enabled
   AND u.deleted_at IS NULL AND (u.anniversary_date IS NULL) IS NOT TRUE
UNION ALL
SELECT u.id, t.name, 'user_dates',
       d.event_date, @extschema@.bs_month_day(d.event_date),
       u.timezone, greatest(u.created_at, d.created_at, t.active_since),
       t.send_time, t.feb29_policy, t.cadence
  FROM @extschema@.user_dates d
       JOIN @extschema@.message_types t ON t.name = d.message_type
       JOIN @extschema@.users u ON u.id = d.user_id
 WHERE t.date_source = 'user_dates' AND t.enabled
   AND u.deleted_at IS NULL;
COMMENT ON VIEW @extschema@.bs_events IS
'Every event of every user who is not deleted, with the enabled message type that mails it.';

CREATE FUNCTION @extschema@.bs_plan_slices(window_from timestamptz, window_until timestamptz)
RETURNS TABLE (message_type varchar, date_source varchar, local_date date, month_day integer)
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE ROWS 20     -- a body in SQL is planned at every call
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.name, t.date_source, d.day::date, k.month_day
      FROM @extschema@.message_types t
           -- Timestamps without a zone: the session's may have days that begin at one.
           CROSS JOIN generate_series(
               ((window_from AT TIME ZONE 'UTC')::date - 1)::timestamp,
               ((window_until AT TIME ZONE 'UTC')::date + 1)::timestamp, '1 day') AS d (day)
           CROSS JOIN LATERAL unnest(
               CASE t.cadence
                   WHEN 'once' THEN ARRAY[@extschema@.bs_month_day(d.day::date)]
                   ELSE @extschema@.bs_celebrated(d.day::date, t.feb29_policy::text)
               END) AS k (month_day)
     WHERE t.enabled AND isfinite(window_from) AND isfinite(window_until)
       -- No zone was ever as far as 16 hours from UTC.
       AND d.day + t.send_time BETWEEN (window_from AT TIME ZONE 'UTC') - interval '16 hours'
                                   AND (window_until AT TIME ZONE 'UTC') + interval '16 hours'
     ORDER BY d.day, t.name, k.month_day;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_slices(timestamptz, timestamptz) IS
'The slices of work between two instants: per type and local date that may fall between them in any zone, the month-and-day keys to search for.';

-- The one place where messages come into being. The caller holds the users'
-- locks. The ledger decides: of several planners one gets the row.
--
-- EXECUTE, because a plan has to know how many users and messages there are. To
-- force plans by plan_cache_mode would have the foreign key's check planned for
-- every row.
CREATE FUNCTION @extschema@.bs_plan_users(
    user_ids uuid[], window_from timestamptz, window_until timestamptz, missing_months date[] DEFAULT '{}',
    only_type varchar DEFAULT NULL, only_source varchar DEFAULT NULL, only_date date DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = auto
SET enable_sort = on
AS $$
DECLARE
    -- Before anything is read, so that a row is never older than it says.
    made_at CONSTANT timestamptz := clock_timestamp();
    owed_users uuid[];
    owed_types varchar[];
    owed_dates date[];
    owed_events date[];
    owed_times timestamptz[];
    won_users uuid[];
    won_types varchar[];
    won_dates date[];
    planned bigint;
    first_due timestamptz;
BEGIN
    EXECUTE $query$
        WITH slices AS MATERIALIZED (
            SELECT s.message_type, s.month_day, s.local_date
              FROM @extschema@.bs_plan_slices($2, $3) s
             WHERE $5 IS NULL OR (s.message_type = $5 AND s.local_date = $7)
        )
        SELECT array_agg(o.user_id), array_agg(o.message_type), array_agg(o.local_date),
               array_agg(o.event_date), array_agg(o.send_at)
          FROM (SELECT DISTINCT ON (e.user_id, e.message_type, s.local_date)
                       e.user_id, e.message_type, s.local_date, e.event_date, p.send_at
                  FROM unnest($1) AS w (user_id)
                       -- One by one, by the key of users: without statistics, as in
                       -- a database that was just restored, a join would read them all.
                       CROSS JOIN LATERAL (
                           SELECT v.*
                             FROM @extschema@.bs_events v
                            WHERE v.user_id = w.user_id
                              AND ($5 IS NULL OR (v.message_type = $5 AND v.date_source = $6))
                           OFFSET 0) e
                       JOIN slices s ON s.message_type = e.message_type AND s.month_day = e.month_day
                       CROSS JOIN LATERAL (
                           SELECT @extschema@.bs_send_time_or_null(e.timezone::text, s.local_date, e.send_time) AS send_at) p
                 WHERE @extschema@.bs_is_owed(e.event_date, s.local_date, e.cadence::text, e.feb29_policy::text)
                   AND p.send_at >= e.since
                   AND p.send_at BETWEEN $2 AND $3
                   AND ($4 = '{}'
                        OR (@extschema@.bs_month(p.send_at) <> ALL ($4)
                            AND date_trunc('month', s.local_date::timestamp)::date <> ALL ($4)))
                 ORDER BY e.user_id, e.message_type, s.local_date, e.event_date) o
        $query$
       INTO owed_users, owed_types, owed_dates, owed_events, owed_times
      USING user_ids, window_from, window_until, missing_months, only_type, only_source, only_date;
    IF owed_users IS NULL THEN
        RETURN 0;
    END IF;

    -- Arrays, because the planner knows their length: between two statements
    -- in WITH it would expect one row and join in a square.
    WITH won AS (
        INSERT INTO @extschema@.message_ledger (user_id, message_type, local_date)
        SELECT o.user_id, o.message_type, o.local_date
          FROM unnest(owed_users, owed_types, owed_dates) AS o (user_id, message_type, local_date)
         ORDER BY o.user_id, o.message_type, o.local_date
            ON CONFLICT DO NOTHING
        RETURNING user_id, message_type, local_date
    )
    SELECT array_agg(w.user_id), array_agg(w.message_type), array_agg(w.local_date)
      INTO won_users, won_types, won_dates
      FROM won w;
    IF won_users IS NULL THEN
        RETURN 0;
    END IF;
    IF cardinality(won_users) < cardinality(owed_users) THEN
        EXECUTE $query$
            SELECT array_agg(o.user_id), array_agg(o.message_type), array_agg(o.local_date),
                   array_agg(o.event_date), array_agg(o.send_at)
              FROM unnest($1, $2, $3, $4, $5)
                   AS o (user_id, message_type, local_date, event_date, send_at)
                   JOIN unnest($6, $7, $8) AS w (user_id, message_type, local_date)
                  USING (user_id, message_type, local_date)
            $query$
           INTO owed_users, owed_types, owed_dates, owed_events, owed_times
          USING owed_users, owed_types, owed_dates, owed_events, owed_times,
                won_users, won_types, won_dates;
    END IF;

    EXECUTE $query$
        WITH made AS (
            INSERT INTO @extschema@.message_logs
                   (user_id, message_type, local_date, scheduled_send_time, due_at, idempotency_key,
                    recipient_email, recipient_name, subject, message_content, html_content, type_version,
                    created_at)
            SELECT u.id, t.name, o.local_date, o.send_at, o.send_at,
                   format('%s:%s:%s', u.id, t.name, to_char(o.local_date, 'YYYY-MM-DD')),
                   u.email, u.first_name || ' ' || u.last_name,
                   @extschema@.bs_render(t.subject_template, 'header', u.first_name::text, u.last_name::text,
                                         o.event_date, o.local_date, u.location_city::text, u.location_country::text),
                   @extschema@.bs_render(t.text_template, 'plain', u.first_name::text, u.last_name::text,
                                         o.event_date, o.local_date, u.location_city::text, u.location_country::text),
                   @extschema@.bs_render(t.html_template, 'html', u.first_name::text, u.last_name::text,
                                         o.event_date, o.local_date, u.location_city::text, u.location_country::text),
                   t.version, $6
              FROM unnest($1, $2, $3, $4, $5)
                   AS o (user_id, message_type, local_date, event_date, send_at)
                   JOIN @extschema@.users u ON u.id = o.user_id
                   JOIN @extschema@.message_types t ON t.name = o.message_type
             ORDER BY o.send_at
            RETURNING scheduled_send_time
        )
        SELECT count(*), min(m.scheduled_send_time) FROM made m
        $query$
       INTO planned, first_due
      USING owed_users, owed_types, owed_dates, owed_events, owed_times, made_at;

    IF planned > 0 THEN
        PERFORM @extschema@.bs_count_moves(planned, 0::bigint, 0::bigint, 0::bigint, 0::bigint);
        PERFORM @extschema@.bs_wake_senders(first_due);
    END IF;
    RETURN planned;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_users(uuid[], timestamptz, timestamptz, date[], varchar, varchar, date) IS
'Makes the messages that these users are owed between two instants and that were never planned, but for months that have no partition; gives their number. Of one type and local date only where they are given. The caller holds the users'' row locks.';

-- What these messages should say now; the one place for that. No locks: whoever
-- changes something on its account asks again under them.
CREATE FUNCTION @extschema@.bs_wanted(
    message_ids uuid[], first_time timestamptz, last_time timestamptz, oldest timestamptz,
    OUT id uuid, OUT old_time timestamptz, OUT gone text, OUT send_at timestamptz, OUT type_version integer,
    OUT email varchar, OUT recipient_name text, OUT subject text, OUT content text, OUT html text, OUT behind boolean)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT w.id, w.old_time, w.gone, w.send_at, w.type_version,
           w.email, w.recipient_name, w.subject, w.content, w.html,
           CASE
               WHEN w.gone IS NOT NULL THEN w.status <> 'CANCELLED'
               WHEN w.status = 'CANCELLED' THEN w.send_at >= greatest(oldest, w.active_since)
               ELSE (w.old_time, w.recipient_email, w.old_name, w.old_subject,
                     w.message_content, w.html_content, w.old_version)
                    IS DISTINCT FROM
                    (w.send_at, w.email, w.recipient_name, w.subject,
                     w.content, w.html, w.type_version)
           END
      FROM (SELECT m.id, m.scheduled_send_time AS old_time, m.status, m.recipient_email,
                   m.recipient_name AS old_name, m.subject AS old_subject, m.message_content,
                   m.html_content, m.type_version AS old_version,
                   CASE
                       WHEN u.deleted_at IS NOT NULL THEN 'user_deleted'
                       WHEN t.name IS NULL OR NOT t.enabled THEN 'type_disabled'
                       WHEN e.event_date IS NULL THEN 'date_changed'
                   END AS gone,
                   coalesce(@extschema@.bs_send_time_or_null(u.timezone::text, m.local_date, t.send_time),
                            m.scheduled_send_time) AS send_at,
                   t.active_since, coalesce(t.version, m.type_version) AS type_version,
                   u.email, u.first_name || ' ' || u.last_name AS recipient_name,
                   @extschema@.bs_render(t.subject_template, 'header', u.first_name::text, u.last_name::text,
                                         e.event_date, m.local_date, u.location_city::text, u.location_country::text) AS subject,
                   @extschema@.bs_render(t.text_template, 'plain', u.first_name::text, u.last_name::text,
                                         e.event_date, m.local_date, u.location_city::text, u.location_country::text) AS content,
                   @extschema@.bs_render(t.html_template, 'html', u.first_name::text, u.last_name::text,
                                         e.event_date, m.local_date, u.location_city::text, u.location_country::text) AS html
              FROM (SELECT f.*
                      FROM pg_catalog.unnest(message_ids) AS l (id)
                           JOIN @extschema@.message_logs f ON f.id = l.id
                     WHERE f.scheduled_send_time BETWEEN first_time AND last_time
                    OFFSET 0) m      -- the users of no others
                   CROSS JOIN LATERAL (
                       SELECT f.* FROM @extschema@.users f WHERE f.id = m.user_id OFFSET 0) u
                   LEFT JOIN @extschema@.message_types t ON t.name = m.message_type
                   -- bs_events of a user who is at hand already.
                   LEFT JOIN LATERAL (
                       SELECT min(d.event_date) AS event_date
                         FROM (SELECT CASE t.date_source WHEN 'birthday_date' THEN u.birthday_date
                                                         WHEN 'anniversary_date' THEN u.anniversary_date
                                      END AS event_date
                               UNION ALL
                               SELECT o.event_date
                                 FROM @extschema@.user_dates o
                                WHERE t.date_source = 'user_dates' AND o.user_id = u.id AND o.message_type = t.name) d
                        WHERE u.deleted_at IS NULL AND t.enabled
                          AND @extschema@.bs_is_owed(d.event_date, m.local_date, t.cadence::text, t.feb29_policy::text)) e ON true
            OFFSET 0) w;      -- each is made once, however often it is named above
END;
COMMENT ON FUNCTION @extschema@.bs_wanted(uuid[], timestamptz, timestamptz, timestamptz) IS
'What these messages, due between two instants, should say by users, dates and types as they are now: gone is why they are owed no more, behind whether they differ. One that was cancelled is behind where it is owed again, from oldest on.';

-- Brings messages that no sender has claimed to what users, dates and types say
-- now; cancels what is owed no more, takes back a cancellation that is void.
CREATE FUNCTION @extschema@.bs_refresh(message_ids uuid[], as_of timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    locked_users uuid[];
    locked uuid[];
    first_time timestamptz;
    last_time timestamptz;
    changed bigint;
    cancelled bigint;
    first_due timestamptz;
BEGIN
    -- The users first: a lock on a message whose user somebody is changing would
    -- keep that change away from the message.
    SELECT array_agg(l.id) INTO locked_users
      FROM (SELECT u.id
              FROM @extschema@.users u
             WHERE u.id IN (SELECT m.user_id
                              FROM unnest(message_ids) AS w (id)
                                   JOIN @extschema@.message_logs m ON m.id = w.id
                             WHERE m.scheduled_send_time >= oldest - interval '2 days')
               FOR SHARE SKIP LOCKED) l;
    SELECT array_agg(l.id), min(l.scheduled_send_time), max(l.scheduled_send_time)
      INTO locked, first_time, last_time
      FROM (SELECT m.id, m.scheduled_send_time
              FROM unnest(message_ids) AS w (id)
                   JOIN @extschema@.message_logs m ON m.id = w.id
                   JOIN unnest(locked_users) AS u (id) ON u.id = m.user_id
             WHERE m.scheduled_send_time >= oldest - interval '2 days'
               AND (m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
                    OR (m.status = 'CANCELLED' AND m.status_reason <> 'by_hand'))
               FOR NO KEY UPDATE OF m SKIP LOCKED) l;
    IF locked IS NULL THEN
        RETURN 0;
    END IF;

    WITH want AS MATERIALIZED (
        SELECT * FROM @extschema@.bs_wanted(locked, first_time, last_time, oldest) f WHERE f.behind
    ), done AS (
        UPDATE @extschema@.message_logs m
           SET status = CASE
                            WHEN w.gone IS NOT NULL THEN 'CANCELLED'
                            WHEN m.status = 'RETRYING' OR m.attempts > 0 THEN 'RETRYING'
                            ELSE 'SCHEDULED'
                        END,
               status_reason = coalesce(w.gone, CASE WHEN m.status = 'RETRYING' THEN m.status_reason END),
               due_at = CASE
                            WHEN w.gone IS NOT NULL THEN NULL
                            WHEN m.status = 'RETRYING' THEN greatest(m.due_at, w.send_at)
                            ELSE w.send_at
                        END,
               scheduled_send_time = CASE WHEN w.gone IS NULL THEN w.send_at ELSE m.scheduled_send_time END,
               recipient_email = w.email,
               recipient_name = w.recipient_name,
               subject = coalesce(w.subject, m.subject),
               message_content = coalesce(w.content, m.message_content),
               html_content = CASE WHEN w.gone IS NULL THEN w.html ELSE m.html_content END,
               type_version = w.type_version,
               updated_at = now()
          FROM want w
         WHERE m.id = w.id
           AND m.scheduled_send_time = w.old_time
           AND m.scheduled_send_time BETWEEN first_time AND last_time
        RETURNING m.due_at, m.status
    )
    SELECT count(*), count(*) FILTER (WHERE d.status = 'CANCELLED'), min(d.due_at)
      INTO changed, cancelled, first_due
      FROM done d;

    IF changed > 0 THEN
        PERFORM @extschema@.bs_count_moves(0::bigint, changed, cancelled, 0::bigint, 0::bigint);
    END IF;
    IF first_due IS NOT NULL THEN
        PERFORM @extschema@.bs_wake_senders(first_due);
    END IF;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_refresh(uuid[], timestamptz) IS
'Brings these messages, where no sender has claimed them and nobody else is at them, to what users, dates and types say now; gives the number that changed.';

-- A planning pass in steps that are transactions of their own when a worker
-- takes them; state is what one step hands to the next.
CREATE FUNCTION @extschema@.bs_plan_step(state jsonb, chunk integer DEFAULT 5000)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    window_from timestamptz := state ->> 'from';
    window_until timestamptz := state ->> 'until';
    as_of timestamptz := state ->> 'as_of';
    began timestamptz := state ->> 'began';
    slice jsonb := state -> 'slices' -> 0;
    -- In variables, because casts from text are not done before planning, and
    -- then no partition is pruned.
    slice_type varchar := slice ->> 0;
    slice_source varchar := slice ->> 1;
    slice_date date := slice ->> 2;
    slice_key integer := slice ->> 3;
    after uuid := state ->> 'after';
    candidates uuid[];
    last_user uuid;
    refreshed timestamptz := greatest((state ->> 'refreshed')::timestamptz,
                                      as_of - @extschema@.bs_max_lateness() - interval '2 days');
    ids uuid[];
    times timestamptz[];
    behind uuid[];
    locked uuid[];
    missing date[] := ARRAY(SELECT m::date FROM jsonb_array_elements_text(state -> 'missing') AS m ORDER BY 1);
    trouble text;
    planned bigint := 0;
    skipped bigint := 0;
BEGIN
    -- The pass is over; in transactions of their own the months are looked after.
    IF state ? 'upkeep_left' THEN
        PERFORM @extschema@.bs_upkeep(state -> 'upkeep_left' ->> 0, 'scheduler');
        state := jsonb_set(state, '{upkeep_left}', (state -> 'upkeep_left') - 0);
        RETURN state || jsonb_build_object('done', state -> 'upkeep_left' = '[]');
    END IF;

    IF window_from IS NULL THEN
        -- The first step: what there is to do.
        window_from := least(as_of - @extschema@.bs_max_lateness(), (
            SELECT greatest(i.planned_until, as_of - interval '35 days')
              FROM @extschema@.bs_installation i));
        trouble := @extschema@.bs_try_partitions(
            @extschema@.bs_month(window_from - interval '2 days'),
            @extschema@.bs_month(window_until + interval '2 days'));
        missing := CASE WHEN trouble IS NULL THEN '{}'
                        ELSE @extschema@.bs_missing_months((window_from - interval '2 days')::date,
                                                           (window_until + interval '2 days')::date) END;
        RETURN state || jsonb_build_object(
            'began', clock_timestamp(), 'from', window_from, 'missing', missing, 'trouble', trouble, 'planned', 0, 'changed', 0, 'skipped', 0, 'done', false,
            'after', '00000000-0000-0000-0000-000000000000', 'refreshed', '-infinity',
            'slices', coalesce((
                SELECT jsonb_agg(jsonb_build_array(s.message_type, s.date_source, s.local_date, s.month_day))
                  FROM @extschema@.bs_plan_slices(window_from, window_until) s), '[]'));
    END IF;

    IF slice IS NOT NULL THEN
        -- Who has the day, from an index alone, as far as two chunks go; of them who
        -- was not planned, from the ledger's index; and only these are looked at.
        CASE slice_source
            WHEN 'birthday_date' THEN
                SELECT array_agg(c.id) INTO candidates
                  FROM (SELECT u.id FROM @extschema@.users u
                         WHERE @extschema@.bs_month_day(u.birthday_date) = slice_key AND u.id > after
                           AND u.deleted_at IS NULL
                         ORDER BY u.id LIMIT 2 * chunk) c;
            WHEN 'anniversary_date' THEN
                SELECT array_agg(c.id) INTO candidates
                  FROM (SELECT u.id FROM @extschema@.users u
                         WHERE @extschema@.bs_month_day(u.anniversary_date) = slice_key AND u.id > after
                           AND u.deleted_at IS NULL
                         ORDER BY u.id LIMIT 2 * chunk) c;
            ELSE
                SELECT array_agg(c.user_id) INTO candidates
                  FROM (SELECT DISTINCT d.user_id FROM @extschema@.user_dates d
                         WHERE d.message_type = slice_type
                           AND @extschema@.bs_month_day(d.event_date) = slice_key AND d.user_id > after
                         ORDER BY d.user_id LIMIT 2 * chunk) c;
        END CASE;
        last_user := candidates[2 * chunk];
        SELECT array_agg(c.user_id ORDER BY c.user_id) INTO ids
          FROM (SELECT DISTINCT e.user_id
                  FROM unnest(candidates) AS w (user_id)
                       CROSS JOIN LATERAL (
                           SELECT v.*
                             FROM @extschema@.bs_events v
                            WHERE v.user_id = w.user_id
                              AND v.message_type = slice_type
                              AND v.date_source = slice_source
                           OFFSET 0) e
                 -- One by one, whatever statistics say.
                 WHERE (SELECT true
                          FROM @extschema@.message_ledger k
                         WHERE k.user_id = w.user_id
                           AND k.message_type = slice_type
                           AND k.local_date = slice_date
                         LIMIT 1) IS NULL
                   AND e.month_day = slice_key
                   AND @extschema@.bs_is_owed(e.event_date, slice_date, e.cadence::text, e.feb29_policy::text)
                   AND @extschema@.bs_send_time_or_null(e.timezone::text, slice_date, e.send_time)
                       BETWEEN greatest(window_from, e.since) AND window_until
                 ORDER BY e.user_id
                 LIMIT chunk) c;
        IF ids IS NOT NULL THEN
            SELECT coalesce(array_agg(l.id), '{}') INTO locked
              FROM (SELECT u.id
                      FROM @extschema@.users u
                     WHERE u.id = ANY (ids)
                       FOR SHARE SKIP LOCKED) l;
            planned := @extschema@.bs_plan_users(locked, window_from, window_until, missing,
                                                 slice_type, slice_source, slice_date);
            skipped := cardinality(ids) - cardinality(locked);
        END IF;
        IF cardinality(ids) = chunk THEN
            last_user := ids[chunk];
        END IF;
        IF last_user IS NULL THEN
            state := state || jsonb_build_object('slices', (state -> 'slices') - 0,
                                                 'after', '00000000-0000-0000-0000-000000000000');
        ELSE
            state := state || jsonb_build_object('after', last_user);
        END IF;
        RETURN state || jsonb_build_object(
            'planned', (state -> 'planned')::bigint + planned,
            'skipped', (state -> 'skipped')::bigint + skipped);
    END IF;

    -- All is planned; now what was planned before is held against the present. What
    -- was made since the pass began is: a type that was changed since has another
    -- pass come. (Unless the clock was set back, and it came from the future.)
    SELECT array_agg(c.id), array_agg(c.scheduled_send_time) INTO ids, times
      FROM (SELECT m.id, m.scheduled_send_time
              FROM @extschema@.message_logs m
             WHERE m.scheduled_send_time >= refreshed
               AND (m.scheduled_send_time, m.id) > (refreshed, after)
               AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
               AND (m.created_at BETWEEN began AND clock_timestamp()) IS NOT TRUE
             ORDER BY m.scheduled_send_time, m.id
             LIMIT chunk) c;
    IF ids IS NOT NULL THEN
        SELECT array_agg(f.id) INTO behind
          FROM @extschema@.bs_wanted(ids, times[1], times[cardinality(times)],
                                     as_of - @extschema@.bs_max_lateness()) f
         WHERE f.behind;
        RETURN state || jsonb_build_object(
            'refreshed', times[cardinality(times)], 'after', ids[cardinality(ids)],
            'changed', (state -> 'changed')::bigint +
                CASE WHEN behind IS NULL THEN 0 ELSE @extschema@.bs_refresh(behind, as_of) END);
    END IF;

    -- What a missing month keeps from being planned is planned once it is there.
    window_until := least(window_until, as_of + @extschema@.bs_horizon(),
                          (missing[1] - 1)::timestamp AT TIME ZONE 'UTC');
    UPDATE @extschema@.bs_installation i SET planned_until = window_until
     WHERE i.planned_until IS NULL OR i.planned_until < window_until;
    IF (state -> 'upkeep')::boolean THEN
        RETURN state || '{"upkeep_left": ["partitions", "retention"]}';
    END IF;
    RETURN state || '{"done": true}';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_step(jsonb, integer) IS
'One step of a planning pass: begin with {"as_of": instant, "until": instant}, hand the answer to the next call, stop when done is true. With "upkeep": true the partitions are looked after at the end. planned and changed count messages, skipped counts users whom somebody else was changing.';

CREATE FUNCTION @extschema@.bs_plan(until timestamptz DEFAULT NULL, as_of timestamptz DEFAULT pg_catalog.now())
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    state jsonb;
BEGIN
    IF as_of IS NULL OR NOT isfinite(as_of) THEN
        RAISE EXCEPTION 'as_of must be a finite instant' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    until := coalesce(until, as_of + @extschema@.bs_horizon());
    IF NOT until BETWEEN as_of AND as_of + interval '400 days' THEN
        RAISE EXCEPTION 'until must lie between as_of and 400 days later, not at %', until
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT @extschema@.bs_is_planning() THEN
        RETURN 0;
    END IF;
    state := jsonb_build_object('as_of', as_of, 'until', until);
    LOOP
        state := @extschema@.bs_plan_step(state, 5000);
        EXIT WHEN (state -> 'done')::boolean;
    END LOOP;
    IF state ->> 'trouble' IS NOT NULL THEN
        RAISE WARNING 'not all months were planned: %', state ->> 'trouble';
    END IF;
    RETURN (state -> 'planned')::bigint;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan(timestamptz, timestamptz) IS
'A whole planning pass now: makes all messages that are due up to until (default: as_of + horizon) and were not planned yet, and brings the pending ones up to date. Gives the number made; 0 in a database that is a copy or was never adopted. Error 22023: instants out of range.';
