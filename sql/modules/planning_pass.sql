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
SET plan_cache_mode = force_generic_plan      -- to plan for each of thousands of ids takes as long as to lock them
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

-- The state of a pass after an error of one user or message. What was tried is tried
-- again in halves until one is left, which is noted and passed over. After a hundred
-- in a row, what is wrong is hardly theirs: then what fails is passed over as it is.
-- tried is what failed; it becomes NULL if it is to be tried again.
CREATE FUNCTION @extschema@.bs_plan_failed(INOUT state jsonb, INOUT tried uuid[], code text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    in_a_row integer := coalesce((state -> 'in_a_row')::integer, 0);
BEGIN
    IF cardinality(tried) > 1 AND in_a_row < 100 THEN
        state := state || jsonb_build_object('chunk', cardinality(tried) / 2);
        tried := NULL;
    ELSE
        state := (state - 'chunk')
                 || jsonb_build_object('in_a_row', in_a_row + 1,
                                       'failed', coalesce((state -> 'failed')::integer, 0) + cardinality(tried),
                                       'failed_user', coalesce(state ->> 'failed_user', tried[1]::text),
                                       'failed_code', coalesce(state ->> 'failed_code', code))
                 || CASE WHEN in_a_row < 99 THEN '{"chunk": 1}'::jsonb ELSE '{}' END;
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_failed(jsonb, uuid[], text) IS
'The state of a pass after the work on tried, users by their ids, has ended with an error of that SQLSTATE.';

CREATE FUNCTION @extschema@.bs_plan_went_on(state jsonb, chunk integer)
RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN state ? 'chunk'
            THEN (state - '{in_a_row,chunk}'::text[])
                 || CASE WHEN (state -> 'chunk')::integer * 2 < chunk
                         THEN pg_catalog.jsonb_build_object('chunk', (state -> 'chunk')::integer * 2)
                         ELSE '{}' END
            ELSE state - 'in_a_row' END;
COMMENT ON FUNCTION @extschema@.bs_plan_went_on(jsonb, integer) IS
'The state of a pass after work without an error: the next part may be twice as large, up to chunk.';

-- Makes what the users of one slice are owed, as far as one chunk goes.
CREATE FUNCTION @extschema@.bs_plan_slice(state jsonb, whole_chunk integer)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    window_from timestamptz := state ->> 'from';
    window_until timestamptz := state ->> 'until';
    chunk integer := least(whole_chunk, (state -> 'chunk')::integer);
    slice jsonb := state -> 'slices' -> 0;
    -- In variables, because casts from text are not done before planning, and
    -- then no partition is pruned.
    slice_type varchar := slice ->> 0;
    slice_source varchar := slice ->> 1;
    slice_date date := slice ->> 2;
    slice_key integer := slice ->> 3;
    kind @extschema@.message_types;
    after uuid := state ->> 'after';        -- NULL: from the first user on
    candidates uuid[];
    last_user uuid;
    ids uuid[];
    locked uuid[];
    tried uuid[];
    missing date[] := ARRAY(SELECT m::date FROM jsonb_array_elements_text(state -> 'missing') AS m ORDER BY 1);
    planned bigint := 0;
    skipped bigint := 0;
    past_triggers integer := 0;
BEGIN
    -- Who has the day, and nine o'clock of it within the window, from an index
    -- alone, as far as two chunks go. Own dates know no zone.
    SELECT * INTO kind FROM ONLY @extschema@.message_types t WHERE t.name = slice_type;
    IF slice_source = 'user_dates' THEN
        SELECT (array_agg(c.user_id))[2 * chunk], array_agg(c.user_id)
          INTO last_user, candidates
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
           INTO last_user, candidates
          USING slice_key, after, 2 * chunk, slice_date, kind.cadence::text, kind.feb29_policy::text,
                kind.send_time, greatest(window_from, kind.active_since), window_until;
    END IF;
    -- Who of them was not planned, from the ledger's index; one by one, whatever
    -- statistics say.
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
                          FROM (SELECT f.* FROM ONLY @extschema@.users f WHERE f.id = w.user_id OFFSET 0) u
                               CROSS JOIN LATERAL @extschema@.bs_dates_of(
                                   u.id, u.birthday_date, u.anniversary_date, slice_type, slice_source) d
                         WHERE u.deleted_at IS NULL
                           AND @extschema@.bs_month_day(d.event_date) = slice_key
                           AND @extschema@.bs_is_owed(d.event_date, slice_date, kind.cadence::text, kind.feb29_policy::text)
                           AND @extschema@.bs_send_time_or_null(u.timezone::text, slice_date, kind.send_time)
                               BETWEEN greatest(window_from, u.created_at, d.created_at, kind.active_since)
                                   AND window_until
                         LIMIT 1))
             LIMIT chunk) c;
    IF ids IS NOT NULL THEN
        BEGIN
            SELECT l.ids, l.past_triggers INTO locked, past_triggers FROM @extschema@.bs_lock_users(ids) l;
            planned := @extschema@.bs_plan_users(locked, window_from, window_until, missing,
                                                 slice_type, slice_source, slice_date);
            skipped := cardinality(ids) - cardinality(locked);
            state := @extschema@.bs_plan_went_on(state, whole_chunk);
        EXCEPTION
            WHEN OTHERS THEN
                IF NOT @extschema@.bs_is_of_a_row(SQLSTATE) THEN
                    RAISE;
                END IF;
                SELECT f.state, f.tried INTO state, tried
                  FROM @extschema@.bs_plan_failed(state, ids, SQLSTATE) f;
                IF tried IS NULL THEN
                    RETURN state;
                END IF;
        END;
    END IF;
    IF cardinality(ids) = chunk THEN
        last_user := ids[chunk];
    END IF;
    IF last_user IS NULL THEN
        state := jsonb_set(state, '{slices}', (state -> 'slices') - 0) - 'after';
    ELSE
        state := state || jsonb_build_object('after', last_user);
    END IF;
    RETURN state || jsonb_build_object(
        'planned', (state -> 'planned')::bigint + planned,
        'skipped', (state -> 'skipped')::bigint + skipped,
        'past_triggers', (state -> 'past_triggers')::bigint + past_triggers);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_slice(jsonb, integer) IS
'A step of a planning pass: plans the next users of the first slice.';

-- Holds what was planned before against the present. What was made since the pass
-- began is as it should be: a type that was changed since has another pass come.
-- (Unless the clock was set back, and it came from the future.)
CREATE FUNCTION @extschema@.bs_plan_compare(state jsonb, whole_chunk integer)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    as_of timestamptz := state ->> 'as_of';
    began timestamptz := state ->> 'began';
    chunk integer := least(whole_chunk, (state -> 'chunk')::integer);
    after uuid := state ->> 'after';
    refreshed timestamptz := greatest((state ->> 'refreshed')::timestamptz,
                                      as_of - @extschema@.bs_max_lateness() - interval '2 days');
    ids uuid[];
    whose uuid[];
    times timestamptz[];
    tried uuid[];
    behind uuid[];
    past_triggers integer := 0;
    changed bigint;
    skipped bigint;
BEGIN
    SELECT array_agg(c.id), array_agg(c.user_id), array_agg(c.scheduled_send_time) INTO ids, whose, times
      FROM (SELECT m.id, m.user_id, m.scheduled_send_time
              FROM @extschema@.message_logs m
             WHERE m.scheduled_send_time >= refreshed
               AND (after IS NULL OR (m.scheduled_send_time, m.id) > (refreshed, after))
               -- Those as well that a change past the triggers may bring back.
               AND (m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
                    OR (m.status = 'CANCELLED' AND m.status_reason <> 'by_hand'))
               AND (m.created_at BETWEEN began AND clock_timestamp()) IS NOT TRUE
             ORDER BY m.scheduled_send_time, m.id
             LIMIT chunk) c;
    IF ids IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        SELECT b.ids, b.past_triggers INTO behind, past_triggers
          FROM @extschema@.bs_behind(ids, whose, times[1], times[cardinality(times)],
                                     as_of - @extschema@.bs_max_lateness()) b;
        SELECT r.changed, r.skipped INTO changed, skipped
          FROM @extschema@.bs_refresh(behind, as_of) r
         WHERE behind <> '{}';
        state := @extschema@.bs_plan_went_on(state, whole_chunk);
    EXCEPTION
        WHEN OTHERS THEN
            IF NOT @extschema@.bs_is_of_a_row(SQLSTATE) THEN
                RAISE;
            END IF;
            SELECT f.state, f.tried INTO state, tried
              FROM @extschema@.bs_plan_failed(state, whose, SQLSTATE) f;
            IF tried IS NULL THEN
                RETURN state;
            END IF;
    END;
    RETURN state || jsonb_build_object(
        'refreshed', times[cardinality(times)], 'after', ids[cardinality(ids)],
        'changed', (state -> 'changed')::bigint + coalesce(changed, 0),
        'skipped', (state -> 'skipped')::bigint + coalesce(skipped, 0),
        'past_triggers', (state -> 'past_triggers')::bigint + past_triggers);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_compare(jsonb, integer) IS
'A step of a planning pass: brings the next pending messages up to date; NULL if there are no more.';

-- state is what one step hands to the next.
CREATE FUNCTION @extschema@.bs_plan_step(state jsonb, chunk integer DEFAULT 5000)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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
    as_of timestamptz := @extschema@.bs_capped((state ->> 'as_of')::timestamptz, interval '1 day');
    compared jsonb;
    missing date[] := ARRAY(SELECT m::date FROM jsonb_array_elements_text(state -> 'missing') AS m ORDER BY 1);
    trouble text;
BEGIN
    -- Whatever a state says, a pass looks no further than it has to.
    IF window_from IS NOT NULL THEN
        window_from := greatest(window_from, as_of - interval '400 days');
    END IF;
    window_until := least(window_until, as_of + interval '400 days');
    state := state || jsonb_build_object('as_of', as_of, 'until', window_until)
                   || CASE WHEN window_from IS NULL THEN '{}' ELSE jsonb_build_object('from', window_from) END;
    IF chunk NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'chunk must lie between 1 and 100000, not %', chunk
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
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
              FROM ONLY @extschema@.bs_installation i));
        trouble := @extschema@.bs_try_partitions(
            @extschema@.bs_month(window_from - interval '2 days'),
            @extschema@.bs_month(window_until + interval '2 days'));
        missing := CASE WHEN trouble IS NULL THEN '{}'
                        ELSE @extschema@.bs_missing_months((window_from - interval '2 days')::date,
                                                           (window_until + interval '2 days')::date) END;
        RETURN state || jsonb_build_object(
            'began', clock_timestamp(), 'from', window_from, 'missing', missing, 'trouble', trouble, 'planned', 0, 'changed', 0, 'skipped', 0, 'failed', 0, 'past_triggers', 0, 'done', false,
            'refreshed', '-infinity',
            'slices', coalesce((
                SELECT jsonb_agg(jsonb_build_array(s.message_type, s.date_source, s.local_date, s.month_day))
                  FROM @extschema@.bs_plan_slices(window_from, window_until) s), '[]'));
    END IF;

    IF state -> 'slices' <> '[]' THEN
        RETURN @extschema@.bs_plan_slice(state, chunk);
    END IF;
    compared := @extschema@.bs_plan_compare(state, chunk);
    IF compared IS NOT NULL THEN
        RETURN compared;
    END IF;

    -- What a missing month keeps from being planned is planned once it is there.
    window_until := least(window_until, as_of + @extschema@.bs_horizon(),
                          (missing[1] - 1)::timestamp AT TIME ZONE 'UTC');
    UPDATE ONLY @extschema@.bs_installation i
       SET planned_until = greatest(i.planned_until, window_until),
           failed_users = (state -> 'failed')::integer,
           failed_user = (state ->> 'failed_user')::uuid,
           failed_code = state ->> 'failed_code'
     WHERE (i.planned_until >= window_until) IS NOT TRUE
        OR (i.failed_users, i.failed_user, i.failed_code) IS DISTINCT FROM
           ((state -> 'failed')::integer, (state ->> 'failed_user')::uuid, state ->> 'failed_code');
    IF (state -> 'past_triggers')::bigint > 0 THEN
        UPDATE ONLY @extschema@.bs_installation
           SET past_triggers = (state -> 'past_triggers')::bigint, past_triggers_at = now();
    END IF;
    IF (state -> 'upkeep')::boolean THEN
        RETURN state || '{"upkeep_left": ["partitions", "retention"]}';
    END IF;
    RETURN state || '{"done": true}';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_step(jsonb, integer) IS
'One step of a planning pass: begin with {"as_of": instant, "until": instant}, hand the answer to the next call, stop when done is true. With "upkeep": true the partitions are looked after at the end. planned and changed count messages, skipped counts users and messages that another session had locked, failed users whose planning ended with an error, past_triggers users and messages that a change past the triggers had left behind.';

CREATE FUNCTION @extschema@.bs_plan(until timestamptz DEFAULT NULL, as_of timestamptz DEFAULT pg_catalog.now())
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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
    IF (state -> 'failed')::integer > 0 THEN
        RAISE WARNING 'planning failed for % users, one of them is % (SQLSTATE %)',
            state ->> 'failed', state ->> 'failed_user', state ->> 'failed_code';
    END IF;
    RETURN (state -> 'planned')::bigint;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan(timestamptz, timestamptz) IS
'A whole planning pass now: makes all messages that are due up to until (default: as_of + horizon) and were not planned yet, and brings the pending ones up to date. Gives the number made; 0 in a database that is a copy or was never adopted. Error 22023: instants out of range.';
