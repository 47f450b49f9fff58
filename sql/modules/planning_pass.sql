-- planning_pass: everybody who is owed something, in steps that are transactions of
-- their own when a worker takes them.

-- What a pass reads of users, who hardly ever share a page, is read page by page, in
-- their order and 64 ahead of time: where the disk has them, that takes most of the
-- time. A bitmap scan does so.
CREATE FUNCTION @extschema@.bs_lock_users(user_ids uuid[], OUT ids uuid[], OUT past_triggers integer)
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_indexscan = off
SET enable_bitmapscan = on
SET effective_io_concurrency = 64
AS $$
BEGIN
    SELECT coalesce(array_agg(l.id), '{}'), count(*) FILTER (WHERE l.version = 0) INTO ids, past_triggers
      FROM (SELECT u.id, u.version
              FROM ONLY @extschema@.users u
             WHERE u.id = ANY (user_ids)
               FOR SHARE SKIP LOCKED) l;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_lock_users(uuid[]) IS
'Locks these users FOR SHARE, except those that another session has locked; gives the ids of the locked ones, and how many of them came past the triggers.';

CREATE FUNCTION @extschema@.bs_behind(
    message_ids uuid[], user_ids uuid[], first_time timestamptz, last_time timestamptz, oldest timestamptz,
    OUT ids uuid[], OUT past_triggers integer)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_indexscan = off
SET enable_bitmapscan = on
SET effective_io_concurrency = 64
AS $$
BEGIN
    SELECT coalesce(array_agg(f.id), '{}'), count(*) FILTER (WHERE f.past_triggers) INTO ids, past_triggers
      FROM @extschema@.bs_wanted(message_ids, user_ids, first_time, last_time, oldest) f
     WHERE f.behind;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_behind(uuid[], uuid[], timestamptz, timestamptz, timestamptz) IS
'Which of these messages do not say what bs_wanted() has for them, and how many of those because of a change that came past the triggers.';

-- A pass is these calls, each of which may be a transaction of its own: begin, then
-- slice for each of bs_plan_slices() until last_id is NULL, then refresh until last_id is
-- NULL, then end. Who calls keeps the place where it is: src/server/planning/planning_store.c.
CREATE FUNCTION @extschema@.bs_plan_begin(
    INOUT as_of timestamptz, INOUT until timestamptz,
    OUT began timestamptz, OUT window_from timestamptz, OUT missing date[], OUT trouble text)
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET timezone = 'UTC'
AS $$
BEGIN
    as_of := @extschema@.bs_capped(as_of, interval '1 day');
    until := least(until, as_of + interval '400 days');
    began := clock_timestamp();
    window_from := least(as_of - @extschema@.bs_max_lateness(), (
        SELECT greatest(i.planned_until, as_of - interval '35 days')
          FROM ONLY @extschema@.bs_installation i));
    trouble := @extschema@.bs_try_partitions(
        @extschema@.bs_month(window_from - interval '2 days'),
        @extschema@.bs_month(until + interval '2 days'));
    missing := CASE WHEN trouble IS NULL THEN '{}'
                    ELSE @extschema@.bs_missing_months((window_from - interval '2 days')::date,
                                                       (until + interval '2 days')::date) END;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_begin(timestamptz, timestamptz) IS
'Begins a planning pass and makes the months that it needs; as_of is capped by bs_capped(), until is at most 400 days later. Gives the instant from which messages may be missing, when the pass began, and the months without partitions, with the reason.';

CREATE FUNCTION @extschema@.bs_plan_slice(
    slice_type varchar, slice_source varchar, slice_date date, slice_key integer,
    window_from timestamptz, window_until timestamptz, missing date[], after uuid, chunk integer,
    OUT last_id uuid, OUT planned bigint, OUT skipped bigint, OUT past_triggers bigint,
    OUT tried bigint, OUT failed_user uuid, OUT failed_code text)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    far CONSTANT interval := interval '400 days';
    kind @extschema@.message_types;
    candidates uuid[];
    ids uuid[];
    locked uuid[];
BEGIN
    chunk := greatest(least(chunk, 100000), 1);
    window_from := @extschema@.bs_capped(window_from, far);
    window_until := @extschema@.bs_capped(window_until - far, far) + far;
    planned := 0;
    skipped := 0;
    past_triggers := 0;
    tried := 0;
    SELECT * INTO kind FROM ONLY @extschema@.message_types t WHERE t.name = slice_type AND t.date_source = slice_source;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Who may be owed something, before bs_plan_users() asks bs_dates: who has the day, and
    -- nine o'clock of it within the window, from an index alone, as far as two chunks go.
    -- Own dates know no zone.
    IF slice_source = 'user_dates' THEN
        SELECT (array_agg(c.user_id))[2 * chunk], array_agg(c.user_id)
          INTO last_id, candidates
          FROM (SELECT DISTINCT d.user_id
                  FROM ONLY @extschema@.user_dates d
                 WHERE d.message_type = slice_type
                   AND @extschema@.bs_month_day(d.event_date) = slice_key
                   AND (after IS NULL OR d.user_id > after)
                 ORDER BY d.user_id
                 LIMIT 2 * chunk) c;
    ELSE
        EXECUTE format(
            'SELECT (array_agg(c.id))[$3], array_agg(c.id) FILTER (WHERE c.owed)'
            '  FROM (SELECT u.id,'
            '               @extschema@.bs_is_owed(u.%1$I, $4, $5, $6)'
            '               AND @extschema@.bs_send_time_or_null(u.timezone::text, $4, $7)'
            '                   BETWEEN greatest($8, u.created_at) AND $9 AS owed'
            '          FROM ONLY @extschema@.users u'
            '         WHERE @extschema@.bs_month_day(u.%1$I) = $1'
            '           AND ($2 IS NULL OR u.id > $2)'
            '           AND u.deleted_at IS NULL'
            '         ORDER BY u.id'
            '         LIMIT $3) c', slice_source)
           INTO last_id, candidates
          USING slice_key, after, 2 * chunk, slice_date, kind.cadence::text, kind.feb29_policy::text,
                kind.send_time, greatest(window_from, kind.active_since), window_until;
    END IF;
    -- Who of them was not planned, from the ledger's index.
    SELECT array_agg(c.user_id) INTO ids
      FROM (SELECT w.user_id
              FROM unnest(candidates) AS w (user_id)
             WHERE (SELECT true
                      FROM @extschema@.message_ledger k
                     WHERE k.user_id = w.user_id
                       AND k.message_type = slice_type
                       AND k.local_date = slice_date
                     LIMIT 1) IS NULL
               AND (slice_source <> 'user_dates'
                    OR (SELECT true
                          FROM (SELECT d.* FROM @extschema@.bs_dates d
                                 WHERE d.user_id = w.user_id AND d.message_type = slice_type OFFSET 0) d
                         WHERE d.deleted_at IS NULL
                           AND d.month_day = slice_key
                           AND @extschema@.bs_is_owed(d.event_date, slice_date, d.cadence::text, d.feb29_policy::text)
                           AND @extschema@.bs_send_time_or_null(d.timezone::text, slice_date, d.send_time)
                               BETWEEN greatest(window_from, d.since) AND window_until
                         LIMIT 1))
             LIMIT chunk) c;
    IF ids IS NOT NULL THEN
        tried := cardinality(ids);
        BEGIN
            SELECT l.ids, l.past_triggers INTO locked, past_triggers FROM @extschema@.bs_lock_users(ids) l;
            planned := @extschema@.bs_plan_users(locked, window_from, window_until, missing,
                                                 slice_type, slice_source, slice_date);
            skipped := tried - cardinality(locked);
        EXCEPTION
            WHEN OTHERS THEN
                IF NOT @extschema@.bs_is_of_a_row(SQLSTATE) THEN
                    RAISE;
                END IF;
                failed_user := ids[1];
                failed_code := SQLSTATE;
        END;
    END IF;
    IF tried = chunk THEN
        last_id := ids[chunk];
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_slice(varchar, varchar, date, integer, timestamptz, timestamptz, date[], uuid, integer) IS
'A step of a planning pass: makes what the next users of one slice of bs_plan_slices() are owed, at most chunk users (1 to 100,000), from the one after the given id on. last_id: go on after this one; NULL: the slice is done. skipped counts users whom another session has locked, past_triggers users who came past the triggers. failed_code: nothing was made for the tried users, failed_user among them, because of an error with this SQLSTATE.';

-- What was made since the pass began is as it should be: a type that was changed since
-- has another pass come. (Unless the clock was set back, and it came from the future.)
CREATE FUNCTION @extschema@.bs_plan_refresh(
    as_of timestamptz, began timestamptz, after_time timestamptz, after_id uuid, chunk integer,
    OUT last_id uuid, OUT changed bigint, OUT skipped bigint, OUT past_triggers bigint,
    OUT tried bigint, OUT failed_user uuid, OUT failed_code text, OUT last_time timestamptz)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    ids uuid[];
    whose uuid[];
    times timestamptz[];
    behind uuid[];
BEGIN
    chunk := greatest(least(chunk, 100000), 1);
    as_of := @extschema@.bs_capped(as_of, interval '1 day');
    after_time := greatest(after_time, as_of - @extschema@.bs_max_lateness() - interval '2 days');
    SELECT array_agg(c.id), array_agg(c.user_id), array_agg(c.scheduled_send_time) INTO ids, whose, times
      FROM (SELECT m.id, m.user_id, m.scheduled_send_time
              FROM @extschema@.message_logs m
             WHERE m.scheduled_send_time >= after_time
               AND (after_id IS NULL OR (m.scheduled_send_time, m.id) > (after_time, after_id))
               -- Those as well that a change past the triggers may bring back.
               AND (m.status = ANY (@extschema@.bs_waiting_statuses())
                    OR (m.status = 'CANCELLED' AND m.status_reason <> 'by_hand'))
               AND (m.created_at BETWEEN began AND clock_timestamp()) IS NOT TRUE
             ORDER BY m.scheduled_send_time, m.id
             LIMIT chunk) c;
    tried := coalesce(cardinality(ids), 0);
    last_id := ids[tried];
    last_time := times[tried];
    changed := 0;
    skipped := 0;
    past_triggers := 0;
    IF tried > 0 THEN
        BEGIN
            SELECT b.ids, b.past_triggers INTO behind, past_triggers
              FROM @extschema@.bs_behind(ids, whose, times[1], last_time, as_of - @extschema@.bs_max_lateness()) b;
            IF behind <> '{}' THEN
                SELECT r.changed, r.skipped INTO changed, skipped FROM @extschema@.bs_refresh(behind, as_of) r;
            END IF;
        EXCEPTION
            WHEN OTHERS THEN
                IF NOT @extschema@.bs_is_of_a_row(SQLSTATE) THEN
                    RAISE;
                END IF;
                failed_user := whose[1];
                failed_code := SQLSTATE;
        END;
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_refresh(timestamptz, timestamptz, timestamptz, uuid, integer) IS
'A step of a planning pass: brings the next pending messages up to date, at most chunk (1 to 100,000) of those made before the pass began, from the one after the given send time and id on. last_time and last_id: go on after this one; NULL: all are done. skipped counts messages that another session has locked, past_triggers messages that a change past the triggers had left behind. failed_code as for bs_plan_slice().';

-- What a missing month keeps from being planned is planned once it is there.
CREATE FUNCTION @extschema@.bs_plan_end(
    as_of timestamptz, window_until timestamptz, missing date[], past_triggers bigint,
    failed bigint, failed_user uuid, failed_code text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    window_until := least(window_until, @extschema@.bs_capped(as_of, interval '1 day') + @extschema@.bs_horizon(),
                          (SELECT (min(m.month) - 1)::timestamp AT TIME ZONE 'UTC' FROM unnest(missing) AS m (month)));
    UPDATE ONLY @extschema@.bs_installation i
       SET planned_until = greatest(i.planned_until, window_until),
           failed_users = failed,
           failed_user = bs_plan_end.failed_user,
           failed_code = bs_plan_end.failed_code
     WHERE (i.planned_until >= window_until) IS NOT TRUE
        OR (i.failed_users, i.failed_user, i.failed_code) IS DISTINCT FROM
           (failed, bs_plan_end.failed_user, bs_plan_end.failed_code);
    UPDATE ONLY @extschema@.bs_installation i
       SET past_triggers = bs_plan_end.past_triggers, past_triggers_at = now()
     WHERE bs_plan_end.past_triggers > 0;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_end(timestamptz, timestamptz, date[], bigint, bigint, uuid, text) IS
'Ends a planning pass: notes until when all is planned, whose planning failed, and what had come past the triggers.';

CREATE FUNCTION @extschema@.bs_plan_pass(
    as_of timestamptz, until timestamptz, chunk integer,
    OUT planned bigint, OUT changed bigint, OUT skipped bigint, OUT failed bigint,
    OUT failed_user uuid, OUT failed_code text, OUT trouble text, OUT steps bigint)
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'bs_plan_pass';
COMMENT ON FUNCTION @extschema@.bs_plan_pass(timestamptz, timestamptz, integer) IS
'A whole planning pass, as the scheduler does it, in one transaction and without the upkeep of the partitions. Gives the messages made and changed, users and messages that were skipped because another session had them locked, users whose planning failed, one of them and its SQLSTATE, and why months are missing.';

CREATE FUNCTION @extschema@.bs_plan(until timestamptz DEFAULT NULL, as_of timestamptz DEFAULT pg_catalog.now())
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
DECLARE
    pass record;
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
    SELECT p.* INTO pass FROM @extschema@.bs_plan_pass(as_of, until, 5000) p;
    IF pass.trouble IS NOT NULL THEN
        RAISE WARNING 'not all months were planned: %', pass.trouble;
    END IF;
    IF pass.failed > 0 THEN
        RAISE WARNING 'planning failed for % users, one of them is % (SQLSTATE %)',
            pass.failed, pass.failed_user, pass.failed_code;
    END IF;
    RETURN pass.planned;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan(timestamptz, timestamptz) IS
'A whole planning pass now: makes all messages that are due up to until (default: as_of + horizon) and were not planned yet, and brings the pending ones up to date. Gives the number made; 0 in a database that is a copy or was never adopted. Error 22023: instants out of range.';
