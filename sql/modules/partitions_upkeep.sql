-- partitions: their upkeep, by the scheduler or by pg_cron, and who did it last.

-- The state of this server, not of the people in it: not dumped, empty after a
-- restore.
CREATE TABLE @extschema@.bs_upkeep_log (
    task varchar(20) NOT NULL,
    done_at timestamptz,
    done_by varchar(20),
    trouble text,
    cron_since timestamptz,
    cron_at timestamptz,
    CONSTRAINT bs_upkeep_log_pkey PRIMARY KEY (task),
    CONSTRAINT check_task CHECK (task::text = ANY ('{partitions,retention,recovery}'::text[]))
);
COMMENT ON TABLE @extschema@.bs_upkeep_log IS
'A row per task of the upkeep that was ever done: when, by whom, and what was in the way.';
COMMENT ON COLUMN @extschema@.bs_upkeep_log.task IS 'partitions: months are made ahead; retention: old ones are dropped; recovery: messages of lost senders are put back.';
COMMENT ON COLUMN @extschema@.bs_upkeep_log.done_at IS 'When it was done last.';
COMMENT ON COLUMN @extschema@.bs_upkeep_log.done_by IS 'By whom: scheduler, pg_cron or hand.';
COMMENT ON COLUMN @extschema@.bs_upkeep_log.trouble IS 'What was in the way at that time; NULL: nothing.';
COMMENT ON COLUMN @extschema@.bs_upkeep_log.cron_since IS 'Registered with pg_cron since then; NULL: not registered.';
COMMENT ON COLUMN @extschema@.bs_upkeep_log.cron_at IS 'When pg_cron did it last.';

-- A daily job that has run within 25 hours is alive; recovery is to run more often.
CREATE FUNCTION @extschema@.bs_cron_state(task text)
RETURNS text
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(
        (SELECT CASE
                    WHEN l.cron_since IS NULL THEN 'absent'
                    WHEN greatest(l.cron_since, l.cron_at) < pg_catalog.clock_timestamp() - interval '25 hours' THEN 'stale'
                    ELSE 'alive'
                END
           FROM ONLY @extschema@.bs_upkeep_log l
          WHERE l.task = bs_cron_state.task),
        'absent');
END;
COMMENT ON FUNCTION @extschema@.bs_cron_state(text) IS
'Does pg_cron do this task? absent: not registered; alive; stale: registered, and it has not run for 25 hours.';

CREATE FUNCTION @extschema@.bs_upkeep(task text, done_by text DEFAULT 'hand')
RETURNS text
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET timezone = 'UTC'
AS $$
#variable_conflict use_column
DECLARE
    last_done timestamptz;
    patience interval;
    words text;
    dropped text;
    more boolean := false;         -- the next planning pass goes on
BEGIN
    IF task NOT IN ('partitions', 'retention', 'recovery') OR done_by NOT IN ('scheduler', 'pg_cron', 'hand') THEN
        RAISE EXCEPTION 'there is no upkeep "%" by "%"', task, done_by
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A copy has the jobs of its original.
    IF @extschema@.bs_installation_state() NOT IN ('adopted', 'paused') THEN
        RETURN NULL;
    END IF;
    INSERT INTO @extschema@.bs_upkeep_log AS l (task) VALUES (bs_upkeep.task) ON CONFLICT (task) DO NOTHING;
    SELECT l.done_at INTO last_done
      FROM ONLY @extschema@.bs_upkeep_log l
     WHERE l.task = bs_upkeep.task
       FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;                    -- somebody is at it
    END IF;
    -- The scheduler leaves it to pg_cron as long as that is alive.
    patience := CASE @extschema@.bs_cron_state(task) WHEN 'alive' THEN interval '25 hours' ELSE interval '1 hour' END;
    IF done_by = 'scheduler' AND last_done > clock_timestamp() - patience
       AND (task <> 'partitions' OR @extschema@.bs_missing_months(
                (now() - interval '1 day')::date, (now() + interval '62 days')::date) = '{}') THEN
        RETURN NULL;
    END IF;

    IF task = 'partitions' THEN
        words := @extschema@.bs_try_partitions(
            (@extschema@.bs_month(now()) - interval '1 month')::date,
            (@extschema@.bs_month(now()) + interval '12 months')::date);
        UPDATE ONLY @extschema@.bs_installation
           SET lost_zones = (SELECT jsonb_agg(jsonb_build_array(z.timezone, z.users) ORDER BY z.users DESC, z.timezone)
                               FROM (SELECT l.timezone, l.users FROM @extschema@.bs_lost_zones l
                                      WHERE l.same_as IS NULL ORDER BY l.users DESC, l.timezone LIMIT 100) z);
    ELSIF task = 'recovery' THEN
        PERFORM @extschema@.bs_recover('{}'::text[], current_setting('birthday_scheduler.delivery_guarantee') = 'at_most_once',
                                        clock_timestamp());
    ELSIF @extschema@.bs_retention() IS NOT NULL THEN
        SELECT string_agg(d.partition, ', ' ORDER BY d.partition) FILTER (WHERE d.action = 'dropped'),
               string_agg(format('%s is kept: %s', d.partition, d.reason), '; ' ORDER BY d.partition)
                   FILTER (WHERE d.action = 'kept' AND d.reason !~ '^(the ledger|left)'),
               bool_or(d.reason LIKE 'left%')
          INTO dropped, words, more
          FROM @extschema@.bs_drop_partitions(@extschema@.bs_retention(), false) d;
        IF dropped IS NOT NULL THEN
            RAISE LOG 'birthday_scheduler dropped what is older than "birthday_scheduler.retention": %', dropped;
        END IF;
    END IF;

    UPDATE ONLY @extschema@.bs_upkeep_log l
       SET done_at = CASE WHEN more THEN NULL ELSE clock_timestamp() END,
           done_by = bs_upkeep.done_by,
           trouble = words,
           cron_at = CASE bs_upkeep.done_by WHEN 'pg_cron' THEN clock_timestamp() ELSE l.cron_at END
     WHERE l.task = bs_upkeep.task;
    RETURN words;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_upkeep(text, text) IS
'Does one task of the upkeep: partitions (the last month to twelve ahead; looks as well for time zones that the server has forgotten), retention (drops what birthday_scheduler.retention says) or recovery. Says what was in the way, NULL for nothing; by the scheduler only where it is due, and nothing in a database that is not adopted. Error 22023 for another task.';
