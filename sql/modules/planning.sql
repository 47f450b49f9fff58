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

-- The one answer to: which dates has a user? Asked by the user, each arm goes by the key of
-- users; asked by month_day, by an index on that. "IS NOT TRUE", and deleted_at is looked
-- at outside of an OFFSET 0, so that no partial index is read for one user.
CREATE VIEW @extschema@.bs_dates AS
SELECT u.id AS user_id, t.name AS message_type, 'birthday_date'::varchar AS date_source,
       u.birthday_date AS event_date, @extschema@.bs_month_day(u.birthday_date) AS month_day,
       u.timezone, greatest(u.created_at, t.active_since) AS since, u.deleted_at,
       t.send_time, t.feb29_policy, t.cadence, t.enabled
  FROM ONLY @extschema@.users u
       CROSS JOIN ONLY @extschema@.message_types t
 WHERE t.date_source = 'birthday_date' AND (u.birthday_date IS NULL) IS NOT TRUE
UNION ALL
SELECT u.id, t.name, 'anniversary_date',
       u.anniversary_date, @extschema@.bs_month_day(u.anniversary_date),
       u.timezone, greatest(u.created_at, t.active_since), u.deleted_at,
       t.send_time, t.feb29_policy, t.cadence, t.enabled
  FROM ONLY @extschema@.users u
       CROSS JOIN ONLY @extschema@.message_types t
 WHERE t.date_source = 'anniversary_date' AND (u.anniversary_date IS NULL) IS NOT TRUE
UNION ALL
SELECT d.user_id, t.name, 'user_dates',
       d.event_date, @extschema@.bs_month_day(d.event_date),
       u.timezone, greatest(u.created_at, d.created_at, t.active_since), u.deleted_at,
       t.send_time, t.feb29_policy, t.cadence, t.enabled
  FROM ONLY @extschema@.user_dates d
       JOIN ONLY @extschema@.message_types t ON t.name = d.message_type
       JOIN ONLY @extschema@.users u ON u.id = d.user_id
 WHERE t.date_source = 'user_dates';
COMMENT ON VIEW @extschema@.bs_dates IS
'Every date of every user, with each message type that mails it, enabled or not; also of deleted users.';

CREATE VIEW @extschema@.bs_events AS
SELECT d.user_id, d.message_type, d.date_source, d.event_date, d.month_day, d.timezone, d.since,
       d.send_time, d.feb29_policy, d.cadence
  FROM @extschema@.bs_dates d
 WHERE d.enabled AND d.deleted_at IS NULL;
COMMENT ON VIEW @extschema@.bs_events IS
'Every event of every user who is not deleted, with the enabled message type that mails it.';

-- The same for a user whose row is at hand: with the view, a refresh would read users twice.
-- A simple body, so that it becomes part of the query that asks.
CREATE FUNCTION @extschema@.bs_dates_of(
    user_id uuid, birthday_date date, anniversary_date date, message_type varchar, date_source varchar)
RETURNS SETOF date
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT CASE bs_dates_of.date_source WHEN 'birthday_date' THEN bs_dates_of.birthday_date
                                        WHEN 'anniversary_date' THEN bs_dates_of.anniversary_date
           END
     WHERE bs_dates_of.date_source <> 'user_dates'
    UNION ALL
    SELECT d.event_date
      FROM ONLY @extschema@.user_dates d
     WHERE bs_dates_of.date_source = 'user_dates'
       AND d.user_id = bs_dates_of.user_id
       AND d.message_type = bs_dates_of.message_type;
END;
COMMENT ON FUNCTION @extschema@.bs_dates_of(uuid, date, date, varchar, varchar) IS
'The dates that a type of message mails to a user whose row is at hand: what bs_dates has of the user for that type.';

CREATE FUNCTION @extschema@.bs_is_of_a_row(code text)
RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.left(code, 2) <> ALL ('{08,25,40,53,57,58}') AND code <> '55P03';
COMMENT ON FUNCTION @extschema@.bs_is_of_a_row(text) IS
'May an error with this SQLSTATE be the fault of one user or message, so that the others are done without it? Not so for locks, conflicts between transactions, a connection, or a server that is short of something.';

CREATE FUNCTION @extschema@.bs_plan_slices(window_from timestamptz, window_until timestamptz)
RETURNS TABLE (message_type varchar, date_source varchar, local_date date, month_day integer)
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE ROWS 20
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
#variable_conflict use_column
BEGIN
    window_until := least(window_until, window_from + interval '500 days');
    RETURN QUERY
    SELECT t.name, t.date_source, d.day::date, k.month_day
      FROM ONLY @extschema@.message_types t
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
'The slices of work between two instants, 500 days at most: per type and local date that may fall between them in any zone, the month-and-day keys to search for.';

-- The one place where messages come into being. The caller holds the users'
-- locks. The ledger decides: of several planners one gets the row.
--
-- EXECUTE, because with plan_cache_mode the foreign key's check would be planned for every
-- row, too.
CREATE FUNCTION @extschema@.bs_plan_users(
    user_ids uuid[], window_from timestamptz, window_until timestamptz, missing_months date[] DEFAULT '{}',
    only_type varchar DEFAULT NULL, only_source varchar DEFAULT NULL, only_date date DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = auto
SET enable_sort = on
SET enable_memoize = off
AS $$
DECLARE
    -- Before anything is read, so that a row is never older than it says.
    made_at CONSTANT timestamptz := clock_timestamp();
    owed_users uuid[];
    owed_types varchar[];
    owed_dates date[];
    owed_events date[];
    owed_times timestamptz[];
    won_rows @extschema@.message_ledger[];
    planned bigint;
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
                       CROSS JOIN LATERAL (
                           SELECT d.*
                             FROM @extschema@.bs_dates d
                            WHERE d.user_id = w.user_id
                              AND ($5 IS NULL OR (d.message_type = $5 AND d.date_source = $6))
                           OFFSET 0) e
                       JOIN slices s ON s.message_type = e.message_type AND s.month_day = e.month_day
                       CROSS JOIN LATERAL (
                           SELECT @extschema@.bs_send_time_or_null(e.timezone::text, s.local_date, e.send_time) AS send_at) p
                 WHERE e.deleted_at IS NULL AND e.enabled
                   AND @extschema@.bs_is_owed(e.event_date, s.local_date, e.cadence::text, e.feb29_policy::text)
                   AND p.send_at BETWEEN greatest($2, e.since) AND $3
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

    -- In the order of the users, in which every planner takes them; as a rule all are won.
    WITH won AS (
        INSERT INTO @extschema@.message_ledger (user_id, message_type, local_date)
        SELECT o.user_id, o.message_type, o.local_date
          FROM unnest(owed_users, owed_types, owed_dates) AS o (user_id, message_type, local_date)
            ON CONFLICT DO NOTHING
        RETURNING user_id, message_type, local_date
    )
    SELECT CASE WHEN count(*) < cardinality(owed_users)
                THEN ARRAY(SELECT ROW (w.user_id, w.message_type, w.local_date)::@extschema@.message_ledger FROM won w)
           END
      INTO won_rows
      FROM won;
    IF cardinality(won_rows) = 0 THEN
        RETURN 0;
    ELSIF won_rows IS NOT NULL THEN
        EXECUTE $query$
            SELECT array_agg(o.user_id), array_agg(o.message_type), array_agg(o.local_date),
                   array_agg(o.event_date), array_agg(o.send_at)
              FROM unnest($1, $2, $3, $4, $5)
                   AS o (user_id, message_type, local_date, event_date, send_at)
                   JOIN unnest($6) AS w USING (user_id, message_type, local_date)
            $query$
           INTO owed_users, owed_types, owed_dates, owed_events, owed_times
          USING owed_users, owed_types, owed_dates, owed_events, owed_times, won_rows;
    END IF;

    -- In the order of the messages.
    EXECUTE $query$
        INSERT INTO @extschema@.message_logs
               (id, user_id, message_type, local_date, scheduled_send_time, due_at, idempotency_key,
                recipient_email, recipient_name, subject, message_content, html_content, type_version,
                user_version, created_at)
        SELECT @extschema@.bs_uuidv7(), u.id, t.name, o.local_date, o.send_at, o.send_at,
               format('%s:%s:%s', u.id, t.name, to_char(o.local_date, 'YYYY-MM-DD')),
               u.email, u.first_name || ' ' || u.last_name,
               @extschema@.bs_render(t.subject_template, 'header', u.first_name::text, u.last_name::text,
                                     o.event_date, o.local_date, u.location_city::text, u.location_country::text),
               @extschema@.bs_render(t.text_template, 'plain', u.first_name::text, u.last_name::text,
                                     o.event_date, o.local_date, u.location_city::text, u.location_country::text),
               @extschema@.bs_render(t.html_template, 'html', u.first_name::text, u.last_name::text,
                                     o.event_date, o.local_date, u.location_city::text, u.location_country::text),
               t.version, u.version, $6
          FROM (SELECT w.*
                  FROM unnest($1, $2, $3, $4, $5) AS w (user_id, message_type, local_date, event_date, send_at)
                 ORDER BY w.send_at) o
               CROSS JOIN LATERAL (
                   SELECT f.* FROM ONLY @extschema@.users f WHERE f.id = o.user_id OFFSET 0) u
               JOIN ONLY @extschema@.message_types t ON t.name = o.message_type
        $query$
      USING owed_users, owed_types, owed_dates, owed_events, owed_times, made_at;
    GET DIAGNOSTICS planned = ROW_COUNT;

    IF planned > 0 THEN
        PERFORM @extschema@.bs_count_moves(planned, 0::bigint, 0::bigint, 0::bigint, 0::bigint);
        PERFORM @extschema@.bs_wake_senders((SELECT min(o.send_at) FROM unnest(owed_times) AS o (send_at)));
    END IF;
    RETURN planned;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_users(uuid[], timestamptz, timestamptz, date[], varchar, varchar, date) IS
'Makes the messages that these users are owed between two instants and that were never planned, but for months that have no partition; gives their number. Of one type and local date only where they are given. The caller holds the users'' row locks.';

-- What these messages should say now; the one place for that. No locks: whoever
-- changes something on its account asks again under them. A mail in doubt says what
-- it said, because a second copy must not differ from the first; so does one that is
-- owed no more, because nobody reads it.
CREATE FUNCTION @extschema@.bs_wanted(
    message_ids uuid[], user_ids uuid[], first_time timestamptz, last_time timestamptz, oldest timestamptz,
    OUT id uuid, OUT old_time timestamptz, OUT gone text, OUT send_at timestamptz, OUT type_version integer, OUT user_version integer,
    OUT email varchar, OUT recipient_name text, OUT subject text, OUT content text, OUT html text, OUT behind boolean, OUT past_triggers boolean)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT w.id, w.old_time, w.gone, w.send_at, w.type_version, w.user_version,
           w.email, w.recipient_name, w.subject, w.content, w.html,
           CASE
               WHEN w.gone IS NOT NULL THEN w.status <> 'CANCELLED'
               WHEN w.status = 'CANCELLED' THEN w.send_at >= greatest(oldest, w.active_since)
               ELSE (w.old_time, w.recipient_email, w.old_name, w.old_subject,
                     w.message_content, w.html_content, w.old_type_version, w.old_user_version)
                    IS DISTINCT FROM
                    (w.send_at, w.email, w.recipient_name, w.subject,
                     w.content, w.html, w.type_version, w.user_version)
           END,
           -- Another time alone may come of new rules of the zone.
           (w.old_type_version, w.old_user_version) = (w.type_version, w.user_version)
           AND (w.gone IS NOT NULL OR w.status = 'CANCELLED'
                OR (w.recipient_email, w.old_name, w.old_subject, w.message_content, w.html_content)
                   IS DISTINCT FROM (w.email, w.recipient_name, w.subject, w.content, w.html))
      FROM (SELECT m.id, m.scheduled_send_time AS old_time, m.status, m.recipient_email,
                   m.recipient_name AS old_name, m.subject AS old_subject, m.message_content,
                   m.html_content, m.type_version AS old_type_version, m.user_version AS old_user_version,
                   CASE
                       WHEN u.id IS NULL OR u.deleted_at IS NOT NULL THEN 'user_deleted'
                       WHEN t.name IS NULL OR NOT t.enabled THEN 'type_disabled'
                       WHEN e.event_date IS NULL THEN 'date_changed'
                   END AS gone,
                   -- After bs_send_late() a person has said when; in doubt, nothing moves it.
                   coalesce(CASE WHEN m.owed_at IS NULL AND NOT m.in_doubt THEN
                                @extschema@.bs_send_time_or_null(u.timezone::text, m.local_date, t.send_time)
                            END, m.scheduled_send_time) AS send_at,
                   t.active_since, coalesce(t.version, m.type_version) AS type_version,
                   coalesce(u.version, m.user_version) AS user_version,
                   CASE WHEN m.in_doubt OR e.event_date IS NULL THEN m.recipient_email ELSE u.email END AS email,
                   CASE WHEN m.in_doubt OR e.event_date IS NULL THEN m.recipient_name
                        ELSE u.first_name || ' ' || u.last_name END AS recipient_name,
                   CASE WHEN m.in_doubt OR e.event_date IS NULL THEN m.subject
                        ELSE @extschema@.bs_render(t.subject_template, 'header', u.first_name::text, u.last_name::text,
                                              e.event_date, m.local_date, u.location_city::text, u.location_country::text) END AS subject,
                   CASE WHEN m.in_doubt OR e.event_date IS NULL THEN m.message_content
                        ELSE @extschema@.bs_render(t.text_template, 'plain', u.first_name::text, u.last_name::text,
                                              e.event_date, m.local_date, u.location_city::text, u.location_country::text) END AS content,
                   CASE WHEN m.in_doubt OR e.event_date IS NULL THEN m.html_content
                        ELSE @extschema@.bs_render(t.html_template, 'html', u.first_name::text, u.last_name::text,
                                              e.event_date, m.local_date, u.location_city::text, u.location_country::text) END AS html
              FROM (SELECT f.*
                      FROM pg_catalog.unnest(message_ids) AS l (id)
                           JOIN @extschema@.message_logs f ON f.id = l.id
                     WHERE f.scheduled_send_time BETWEEN first_time AND last_time
                    OFFSET 0) m      -- the users of no others
                   LEFT JOIN (SELECT f.* FROM ONLY @extschema@.users f WHERE f.id = ANY (user_ids) OFFSET 0) u ON u.id = m.user_id
                   LEFT JOIN ONLY @extschema@.message_types t ON t.name = m.message_type
                   LEFT JOIN LATERAL (
                       SELECT min(d.event_date) AS event_date
                         FROM @extschema@.bs_dates_of(u.id, u.birthday_date, u.anniversary_date,
                                                      t.name, t.date_source) AS d (event_date)
                        WHERE u.deleted_at IS NULL AND t.enabled
                          AND @extschema@.bs_is_owed(d.event_date, m.local_date, t.cadence::text, t.feb29_policy::text)) e ON true
            OFFSET 0) w;      -- each is made once, however often it is named above
END;
COMMENT ON FUNCTION @extschema@.bs_wanted(uuid[], uuid[], timestamptz, timestamptz, timestamptz) IS
'What these messages, due between two instants, should say by users, dates and types as they are now; user_ids are all their users, also those that do not exist any more. gone is why a message is owed no more, behind whether it differs, past_triggers whether one that is behind differs although no version has changed. One that was cancelled is behind if it is owed again, from oldest on.';

-- Brings messages that no sender has claimed to what users, dates and types say
-- now; cancels what is owed no more, takes back a cancellation that is void.
CREATE FUNCTION @extschema@.bs_refresh(
    message_ids uuid[], as_of timestamptz,
    OUT changed bigint, OUT skipped bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    user_ids uuid[];
    sure_users uuid[];
    locked uuid[];
    first_time timestamptz;
    last_time timestamptz;
    cancelled bigint;
    first_due timestamptz;
BEGIN
    -- The users first: a lock on a message whose user somebody is changing would
    -- keep that change away from the message.
    SELECT array_agg(DISTINCT m.user_id), count(*) INTO user_ids, skipped
      FROM unnest(message_ids) AS w (id)
           JOIN @extschema@.message_logs m ON m.id = w.id
     WHERE m.scheduled_send_time >= oldest - interval '2 days'
       AND (m.status = ANY (@extschema@.bs_waiting_statuses())
            OR (m.status = 'CANCELLED' AND m.status_reason <> 'by_hand'));
    changed := 0;
    IF user_ids IS NULL THEN
        RETURN;
    END IF;
    sure_users := ARRAY(SELECT u.id
                          FROM ONLY @extschema@.users u
                         WHERE u.id = ANY (user_ids)
                           FOR SHARE SKIP LOCKED);
    IF cardinality(sure_users) < cardinality(user_ids) THEN
        -- A user who does not exist cannot be locked, and needs no lock.
        sure_users := sure_users || ARRAY(SELECT w.id
                                            FROM unnest(user_ids) AS w (id)
                                           WHERE NOT EXISTS (SELECT FROM ONLY @extschema@.users u WHERE u.id = w.id));
    END IF;
    SELECT array_agg(l.id), min(l.scheduled_send_time), max(l.scheduled_send_time)
      INTO locked, first_time, last_time
      FROM (SELECT m.id, m.scheduled_send_time
              FROM unnest(message_ids) AS w (id)
                   JOIN @extschema@.message_logs m ON m.id = w.id
                   JOIN unnest(sure_users) AS u (id) ON u.id = m.user_id
             WHERE m.scheduled_send_time >= oldest - interval '2 days'
               AND (m.status = ANY (@extschema@.bs_waiting_statuses())
                    OR (m.status = 'CANCELLED' AND m.status_reason <> 'by_hand'))
               FOR NO KEY UPDATE OF m SKIP LOCKED) l;
    IF locked IS NULL THEN
        RETURN;
    END IF;
    skipped := greatest(skipped - cardinality(locked), 0);

    WITH want AS MATERIALIZED (
        SELECT * FROM @extschema@.bs_wanted(locked, sure_users, first_time, last_time, oldest) f WHERE f.behind
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
                            -- Not what an earlier move to a later hour has set.
                            WHEN m.status = 'RETRYING' AND m.due_at <> m.scheduled_send_time THEN greatest(m.due_at, w.send_at)
                            ELSE w.send_at
                        END,
               scheduled_send_time = CASE WHEN w.gone IS NULL THEN w.send_at ELSE m.scheduled_send_time END,
               recipient_email = w.email,
               recipient_name = w.recipient_name,
               subject = w.subject,
               message_content = w.content,
               html_content = w.html,
               type_version = w.type_version,
               user_version = w.user_version,
               updated_at = now()
          FROM want w
         WHERE m.id = w.id
           -- By the key: in a month that grew since it was analyzed, the index on the
           -- instant looks as good, and thousands may share one.
           AND (m.scheduled_send_time = w.old_time) IS TRUE
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
END
$$;
COMMENT ON FUNCTION @extschema@.bs_refresh(uuid[], timestamptz) IS
'Brings these messages to what users, dates and types say now, unless a sender has claimed them; gives the number that changed, and the number that was skipped because another session has the message or its user locked: ask again for those.';
