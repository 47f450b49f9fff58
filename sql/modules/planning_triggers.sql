-- planning: whatever changes a user, a date or a type plans again in the same
-- transaction. Per statement, so that a bulk change stays set-based. In a
-- database that is not adopted (a restore, a copy) nothing happens.

CREATE FUNCTION @extschema@.bs_plan_near(user_ids uuid[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET enable_seqscan = off      -- the foreign key's check keeps its first plan
AS $$
DECLARE
    window_from timestamptz := now() - @extschema@.bs_max_lateness();
    window_until timestamptz := now() + @extschema@.bs_horizon();
BEGIN
    IF user_ids IS NOT NULL THEN
        IF @extschema@.bs_partitions_ready((window_from - interval '2 days')::date,
                                           (window_until + interval '2 days')::date) THEN
            PERFORM @extschema@.bs_plan_users(user_ids, window_from, window_until, '{}'::date[],
                                              NULL::varchar, NULL::varchar, NULL::date);
        ELSE
            PERFORM @extschema@.bs_wake();      -- a planning pass makes partitions
        END IF;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- This snapshot may be older than what others have committed.
        PERFORM @extschema@.bs_wake();
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_near(uuid[]) IS
'Makes what these users are owed within the horizon and was never planned, or has a planning pass do so; NULL: nobody. The caller holds their row locks.';

CREATE FUNCTION @extschema@.bs_replan_users(user_ids uuid[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET enable_seqscan = off
SET plan_cache_mode = auto
AS $$
DECLARE
    message_ids uuid[];
    near uuid[];
    window_from timestamptz := now() - @extschema@.bs_max_lateness();
BEGIN
    IF cardinality(user_ids) <= 10 THEN
        PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
        SELECT array_agg(m.id) INTO message_ids
          FROM unnest(user_ids) AS w (id)
               CROSS JOIN LATERAL (
                   SELECT l.id
                     FROM @extschema@.message_logs l
                    WHERE l.user_id = w.id
                      AND l.scheduled_send_time >= window_from - interval '2 days'
                      AND l.status = ANY (@extschema@.bs_waiting_statuses() || 'CANCELLED'::text)
                   OFFSET 0) m;
    ELSE
        PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
        SELECT array_agg(m.id) INTO message_ids
          FROM unnest(user_ids) AS w (id)
               JOIN @extschema@.message_logs m ON m.user_id = w.id
         WHERE m.scheduled_send_time >= window_from - interval '2 days'
           AND m.status = ANY (@extschema@.bs_waiting_statuses() || 'CANCELLED'::text);
    END IF;
    IF message_ids IS NOT NULL THEN
        -- What another session has locked may stay as it is when that session ends.
        PERFORM @extschema@.bs_wake()
           FROM @extschema@.bs_refresh(message_ids, now()) r
          WHERE r.skipped > 0;
    END IF;
    -- A quick look, so that few are asked of bs_dates: most have no day that is near.
    WITH days AS MATERIALIZED (
        SELECT DISTINCT s.date_source, s.month_day
          FROM @extschema@.bs_plan_slices(window_from, now() + @extschema@.bs_horizon()) s
    )
    SELECT array_agg(u.id) INTO near
      FROM unnest(user_ids) AS w (id)
           CROSS JOIN LATERAL (
               SELECT f.* FROM ONLY @extschema@.users f WHERE f.id = w.id OFFSET 0) u
     WHERE u.deleted_at IS NULL
       AND (@extschema@.bs_month_day(u.birthday_date) IN (
                SELECT d.month_day FROM days d WHERE d.date_source = 'birthday_date')
            OR @extschema@.bs_month_day(u.anniversary_date) IN (
                SELECT d.month_day FROM days d WHERE d.date_source = 'anniversary_date')
            OR EXISTS (
                SELECT
                  FROM ONLY @extschema@.user_dates o
                 WHERE o.user_id = u.id
                   AND @extschema@.bs_month_day(o.event_date) IN (
                        SELECT d.month_day FROM days d WHERE d.date_source = 'user_dates')));
    PERFORM @extschema@.bs_plan_near(near);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_replan_users(uuid[]) IS
'Plans these users again: what is pending and what is owed within the horizon. The caller holds their row locks.';

CREATE FUNCTION @extschema@.bs_users_after_insert()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
DECLARE
    near uuid[];
BEGIN
    IF @extschema@.bs_is_planning() THEN
        -- The same quick look at rows that are at hand.
        WITH days AS MATERIALIZED (
            SELECT DISTINCT s.date_source, s.month_day
              FROM @extschema@.bs_plan_slices(now() - @extschema@.bs_max_lateness(),
                                              now() + @extschema@.bs_horizon()) s
        )
        SELECT array_agg(n.id ORDER BY n.id) INTO near
          FROM new_users n
         WHERE n.deleted_at IS NULL
           AND (@extschema@.bs_month_day(n.birthday_date) IN (
                    SELECT d.month_day FROM days d WHERE d.date_source = 'birthday_date')
                OR @extschema@.bs_month_day(n.anniversary_date) IN (
                    SELECT d.month_day FROM days d WHERE d.date_source = 'anniversary_date'));
        IF near IS NOT NULL THEN
            PERFORM @extschema@.bs_plan_near(near);
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_users_after_insert() IS
'Plans new users who have an occasion within the horizon.';

CREATE TRIGGER bs_users_after_insert
    AFTER INSERT ON @extschema@.users
    REFERENCING NEW TABLE AS new_users
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_users_after_insert();

CREATE FUNCTION @extschema@.bs_users_after_update()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
DECLARE
    touched uuid[];
BEGIN
    IF @extschema@.bs_is_planning() THEN
        SELECT array_agg(n.id ORDER BY n.id) INTO touched
          FROM new_users n
               JOIN old_users o ON o.id = n.id
         WHERE (n.first_name, n.last_name, n.email, n.timezone, n.birthday_date, n.anniversary_date,
                n.location_city, n.location_country, n.created_at, n.deleted_at, n.version)
               IS DISTINCT FROM
               (o.first_name, o.last_name, o.email, o.timezone, o.birthday_date, o.anniversary_date,
                o.location_city, o.location_country, o.created_at, o.deleted_at, o.version);
        IF touched IS NOT NULL THEN
            PERFORM @extschema@.bs_replan_users(touched);
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_users_after_update() IS
'Plans changed users again.';

CREATE TRIGGER bs_users_after_update
    AFTER UPDATE ON @extschema@.users
    REFERENCING OLD TABLE AS old_users NEW TABLE AS new_users
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_users_after_update();

-- The messages of a deleted row go with it by their foreign key, the rest here.
CREATE FUNCTION @extschema@.bs_users_after_delete()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
BEGIN
    -- A table that inherits from users may have had the row, and users the same id.
    DELETE FROM ONLY @extschema@.user_dates d
     USING old_users o
     WHERE d.user_id = o.id
       AND NOT EXISTS (SELECT FROM ONLY @extschema@.users u WHERE u.id = o.id);
    DELETE FROM @extschema@.message_ledger k
     USING old_users o
     WHERE k.user_id = o.id
       AND NOT EXISTS (SELECT FROM ONLY @extschema@.users u WHERE u.id = o.id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_users_after_delete() IS
'Takes erased users'' dates away, and them out of the ledger.';

CREATE TRIGGER bs_users_after_delete
    AFTER DELETE ON @extschema@.users
    REFERENCING OLD TABLE AS old_users
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_users_after_delete();

-- A date belongs to its user: a change of one raises the version of the user, whose
-- trigger plans the user again and whose row lock keeps planners away meanwhile.
CREATE FUNCTION @extschema@.bs_user_dates_after_write()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
DECLARE
    touched uuid[];
    found bigint;
    bad text;
BEGIN
    IF NOT @extschema@.bs_is_planning() THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT min(n.message_type) INTO bad
          FROM (SELECT DISTINCT n.message_type FROM new_dates n) n
         WHERE n.message_type NOT IN (SELECT t.name FROM ONLY @extschema@.message_types t);
        IF bad IS NOT NULL THEN
            RAISE EXCEPTION 'message type "%" does not exist', bad
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    END IF;
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.user_id) INTO touched FROM new_dates n;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.user_id) INTO touched FROM old_dates o;
    ELSE
        SELECT array_agg(DISTINCT c.user_id) INTO touched
          FROM (SELECT n.user_id FROM new_dates n UNION SELECT o.user_id FROM old_dates o) c;
    END IF;
    IF touched IS NOT NULL THEN
        UPDATE ONLY @extschema@.users u SET version = u.version + 1
          FROM (SELECT l.id
                  FROM unnest(touched) AS w (id)
                       JOIN ONLY @extschema@.users l ON l.id = w.id
                 ORDER BY l.id
                   FOR NO KEY UPDATE OF l) l
         WHERE u.id = l.id;
        GET DIAGNOSTICS found = ROW_COUNT;
        IF TG_OP <> 'DELETE' AND found < cardinality(touched) THEN
            SELECT min(w.id::text) INTO bad
              FROM unnest(touched) AS w (id)
             WHERE NOT EXISTS (SELECT FROM ONLY @extschema@.users u WHERE u.id = w.id);
            RAISE EXCEPTION 'user % does not exist', bad
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_user_dates_after_write() IS
'Plans users again whose own dates changed. Error 23503 for a user or message type that does not exist.';

CREATE TRIGGER bs_user_dates_after_insert
    AFTER INSERT ON @extschema@.user_dates
    REFERENCING NEW TABLE AS new_dates
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_user_dates_after_write();
CREATE TRIGGER bs_user_dates_after_update
    AFTER UPDATE ON @extschema@.user_dates
    REFERENCING OLD TABLE AS old_dates NEW TABLE AS new_dates
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_user_dates_after_write();
CREATE TRIGGER bs_user_dates_after_delete
    AFTER DELETE ON @extschema@.user_dates
    REFERENCING OLD TABLE AS old_dates
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_user_dates_after_write();

-- What a planner commits from the older version while this transaction is open
-- is made afresh by the next planning pass or, at the latest, before it is sent.
CREATE FUNCTION @extschema@.bs_message_types_after_write()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
DECLARE
    message_ids uuid[];
BEGIN
    IF @extschema@.bs_is_planning() THEN
        SELECT array_agg(m.id) INTO message_ids
          FROM @extschema@.message_logs m
         WHERE m.message_type = coalesce(NEW.name, OLD.name)
           AND m.scheduled_send_time >= now() - @extschema@.bs_max_lateness() - interval '2 days'
           AND m.status = ANY (@extschema@.bs_waiting_statuses() || 'CANCELLED'::text);
        IF message_ids IS NOT NULL THEN
            PERFORM @extschema@.bs_refresh(message_ids, now());
        END IF;
        PERFORM @extschema@.bs_wake();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_message_types_after_write() IS
'Makes the pending messages of a changed type afresh and asks for a planning pass.';

CREATE TRIGGER bs_message_types_after_write
    AFTER INSERT OR UPDATE OR DELETE ON @extschema@.message_types
    FOR EACH ROW EXECUTE FUNCTION @extschema@.bs_message_types_after_write();
