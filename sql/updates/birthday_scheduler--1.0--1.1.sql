-- birthday_scheduler 1.0 to 1.1: upkeep of partitions, retention, pg_cron, the broker.
\echo Use "ALTER EXTENSION birthday_scheduler UPDATE" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

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

REVOKE ALL ON @extschema@.bs_upkeep_log FROM PUBLIC;

CREATE TABLE @extschema@.bs_pending_outcomes (
    id uuid NOT NULL,
    scheduled_send_time timestamptz NOT NULL,
    claim_token uuid NOT NULL,
    state text NOT NULL,
    reason varchar(30),
    next_attempt timestamptz,
    code integer,
    reply text,
    error text,
    ended_at timestamptz,
    CONSTRAINT bs_pending_outcomes_pkey PRIMARY KEY (id, claim_token),
    CONSTRAINT check_state CHECK (state = ANY ('{SENT,FAILED,EXPIRED,RETRYING,RELEASED}'::text[])),
    CONSTRAINT check_next_attempt CHECK (next_attempt IS NOT NULL OR state <> ALL ('{RETRYING,RELEASED}'::text[]))
);
COMMENT ON TABLE @extschema@.bs_pending_outcomes IS
'Outcomes of attempts whose message somebody had locked when they were to be recorded; bs_recover() records them as soon as it can. Columns as the arguments of bs_record().';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.id IS 'Of the message.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.scheduled_send_time IS 'Its month.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.claim_token IS 'The claim; void once the message has another one.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.state IS 'SENT, FAILED, EXPIRED, RETRYING or RELEASED.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.reason IS 'Becomes status_reason.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.next_attempt IS 'When it is due again, where state is RETRYING or RELEASED.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.code IS 'The reply''s code; NULL: no reply.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.reply IS 'The reply''s text.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.error IS 'What was wrong; NULL: nothing.';
COMMENT ON COLUMN @extschema@.bs_pending_outcomes.ended_at IS 'When the attempt ended.';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.bs_pending_outcomes', '');
REVOKE ALL ON @extschema@.bs_pending_outcomes FROM PUBLIC;

COMMENT ON COLUMN @extschema@.users.first_name IS 'Given name, 1 to 100 characters; no control characters, outer blanks are trimmed, Unicode form NFC.';

-- It takes the months that cannot be planned as well.
DROP FUNCTION @extschema@.bs_plan_users(uuid[], timestamptz, timestamptz);

-- With what planning asks of each, so that it need not read the table. Who writes to these
-- tables waits, some three seconds for a million users; who reads, for the end only.
LOCK TABLE @extschema@.user_dates, @extschema@.users IN SHARE ROW EXCLUSIVE MODE;
CREATE INDEX bs_users_birthday_new ON @extschema@.users (@extschema@.bs_month_day(birthday_date), id)
    INCLUDE (birthday_date, timezone, created_at)
    WHERE deleted_at IS NULL AND birthday_date IS NOT NULL;
CREATE INDEX bs_users_anniversary_new ON @extschema@.users (@extschema@.bs_month_day(anniversary_date), id)
    INCLUDE (anniversary_date, timezone, created_at)
    WHERE deleted_at IS NULL AND anniversary_date IS NOT NULL;
CREATE INDEX bs_user_dates_new ON @extschema@.user_dates
    (message_type, @extschema@.bs_month_day(event_date), user_id) INCLUDE (event_date);
DROP INDEX @extschema@.idx_user_dates_month_day, @extschema@.idx_users_birthday_month_day,
           @extschema@.idx_users_anniversary_month_day;
ALTER INDEX @extschema@.bs_users_birthday_new RENAME TO idx_users_birthday_month_day;
ALTER INDEX @extschema@.bs_users_anniversary_new RENAME TO idx_users_anniversary_month_day;
ALTER INDEX @extschema@.bs_user_dates_new RENAME TO idx_user_dates_month_day;

-- The months that are there get the storage parameters of new ones.
DO $$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT i.inhparent, i.inhrelid::pg_catalog.regclass AS name
          FROM pg_catalog.pg_inherits i
         WHERE i.inhparent OPERATOR(pg_catalog.=) ANY (ARRAY['@extschema@.message_logs'::pg_catalog.regclass::pg_catalog.oid,
                                                              '@extschema@.message_ledger'::pg_catalog.regclass])
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s SET (%s)', part.name, CASE
            WHEN part.inhparent OPERATOR(pg_catalog.=) '@extschema@.message_logs'::pg_catalog.regclass THEN
                'autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,'
                ' autovacuum_analyze_scale_factor = 0.05, autovacuum_freeze_min_age = 0'
            ELSE 'autovacuum_freeze_min_age = 0'
        END);
    END LOOP;
END
$$;

-- The search for one user goes by the key of users, whatever the statistics say.
CREATE OR REPLACE VIEW @extschema@.bs_events AS
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

ALTER TABLE @extschema@.bs_installation ADD COLUMN paused_reason varchar(200), ADD COLUMN lost_zones integer;
COMMENT ON COLUMN @extschema@.bs_installation.paused_reason IS 'What was said to bs_pause(); NULL: nothing.';
COMMENT ON COLUMN @extschema@.bs_installation.lost_zones IS 'Time zones of users that the server did not know at the last upkeep of the partitions.';

-- It takes a reason as well.
DROP FUNCTION @extschema@.bs_pause();

-- They have other columns; below they are made anew.
DROP VIEW @extschema@.bs_status;
DROP VIEW @extschema@.bs_workers;

-- The months have the comments of their parent.
COMMENT ON COLUMN @extschema@.message_logs.due_at IS 'When something has to happen to the row: SCHEDULED and RETRYING the next attempt, QUEUED when to publish it again if no sender came for it, SENDING the end of the lease. NULL: never again.';
COMMENT ON COLUMN @extschema@.message_logs.status IS 'SCHEDULED owed; QUEUED the broker has confirmed a copy; SENDING a sender holds the lease; RETRYING waits for another attempt; SENT, FAILED, CANCELLED, EXPIRED final.';
COMMENT ON COLUMN @extschema@.message_logs.type_version IS 'The version of the message type that it was made from; 0: to be made afresh before it is sent.';
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT i.inhrelid::pg_catalog.regclass AS part, a.attname,
               pg_catalog.col_description(a.attrelid, a.attnum) AS words
          FROM pg_catalog.pg_inherits i
               JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.inhparent
         WHERE i.inhparent OPERATOR(pg_catalog.=) '@extschema@.message_logs'::pg_catalog.regclass
           AND a.attname OPERATOR(pg_catalog.=) ANY (ARRAY['due_at', 'status', 'type_version']::pg_catalog.name[])
    LOOP
        EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', wanted.part, wanted.attname, wanted.words);
    END LOOP;
END
$$;

-- Below this line: made by tools/gen_update.py.

CREATE FUNCTION @extschema@.bs_uuidv7()
RETURNS uuid
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'bs_uuidv7';
COMMENT ON FUNCTION @extschema@.bs_uuidv7() IS
'A new UUID of version 7 (RFC 9562), which sorts by the time at which it was made.';
REVOKE ALL ON FUNCTION @extschema@.bs_uuidv7() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_retention()
RETURNS interval
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_retention';
COMMENT ON FUNCTION @extschema@.bs_retention() IS
'The setting birthday_scheduler.retention: months that ended longer ago are dropped. NULL: all are kept.';
REVOKE ALL ON FUNCTION @extschema@.bs_retention() FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_partition_attached(parent text, month date)
RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE     -- a body in SQL is planned at every call
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (
        SELECT
          FROM pg_class c
               JOIN pg_inherits i ON i.inhrelid = c.oid
         WHERE c.relname = @extschema@.bs_partition_name(parent, month)
           AND c.relnamespace = to_regnamespace('@extschema@')
           AND i.inhparent = to_regclass('@extschema@.' || quote_ident(parent))
           AND NOT i.inhdetachpending);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_partition_attached(text, date) IS
'Is that month''s partition in its place?';

CREATE FUNCTION @extschema@.bs_partition_options(parent text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE parent
           WHEN 'message_logs' THEN 'autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,'
               ' autovacuum_analyze_scale_factor = 0.05, autovacuum_freeze_min_age = 0'
           ELSE 'autovacuum_freeze_min_age = 0'
       END;
COMMENT ON FUNCTION @extschema@.bs_partition_options(text) IS
'Storage parameters of a new partition of message_logs or message_ledger.';
REVOKE ALL ON FUNCTION @extschema@.bs_partition_options(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_create_partition(parent text, month date)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    part text := @extschema@.bs_partition_name(parent, month);
    next_month date := month + interval '1 month';
    first text;
    past text;
BEGIN
    IF @extschema@.bs_partition_attached(parent, month) THEN
        RETURN false;
    END IF;
    -- Two sessions that both find the month missing: one makes it.
    PERFORM pg_advisory_xact_lock(hashtext('birthday_scheduler'), hashtext('@extschema@.' || part));
    IF @extschema@.bs_partition_attached(parent, month) THEN
        RETURN false;
    END IF;
    IF to_regclass('@extschema@.' || quote_ident(part)) IS NOT NULL THEN
        RAISE EXCEPTION 'relation "%" is in the way of the partition of that name', part
            USING ERRCODE = 'duplicate_table',
                  HINT = format('Rename or drop it, or attach it to "%s" by hand.', parent);
    END IF;

    IF parent = 'message_logs' THEN
        first := quote_literal(month || ' 00:00:00+00');
        past := quote_literal(next_month || ' 00:00:00+00');
    ELSE
        first := quote_literal(month);
        past := quote_literal(next_month);
    END IF;
    EXECUTE format('CREATE TABLE @extschema@.%I (LIKE @extschema@.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
                   ' INCLUDING STORAGE INCLUDING COMMENTS) WITH (%s)', part, parent,
                   @extschema@.bs_partition_options(parent));

    IF parent = 'message_logs' THEN
        -- NOT VALID, which in an empty table says nothing, because pg_restore -j
        -- may make the key before it has loaded the users.
        EXECUTE format('ALTER TABLE @extschema@.%1$I'
            ' ADD CONSTRAINT %2$I PRIMARY KEY (id),'
            ' ADD CONSTRAINT %3$I FOREIGN KEY (user_id) REFERENCES @extschema@.users (id) ON DELETE CASCADE NOT VALID',
            part, part || '_pkey', part || '_user_id_fkey');
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (user_id)',
            'idx_' || part || '_user_id', part);
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (status)',
            'idx_' || part || '_status', part);
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (scheduled_send_time)',
            'idx_' || part || '_scheduled_time', part);
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (message_type, status, scheduled_send_time)',
            'idx_' || part || '_scheduler', part);
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (scheduled_send_time, status)'
            ' WHERE status::text = ANY (''{SCHEDULED,RETRYING,FAILED}''::text[])',
            'idx_' || part || '_recovery', part);
        EXECUTE format('CREATE UNIQUE INDEX %I ON @extschema@.%I (idempotency_key)',
            'idx_' || part || '_idempotency', part);
        -- What the senders live by: the rows to which something has to happen.
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (due_at, status) WHERE due_at IS NOT NULL',
            'idx_' || part || '_due', part);
    ELSE
        EXECUTE format('ALTER TABLE @extschema@.%I'
            ' ADD CONSTRAINT %I PRIMARY KEY (user_id, message_type, local_date)',
            part, part || '_pkey');
    END IF;

    EXECUTE format('ALTER TABLE @extschema@.%I ATTACH PARTITION @extschema@.%I FOR VALUES FROM (%s) TO (%s)',
                   parent, part, first, past);
    RETURN true;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_create_partition(text, date) IS
'Makes one month''s partition of message_logs or message_ledger with its keys and indexes; false where it is there. Error 42P07: the name is taken.';

CREATE OR REPLACE FUNCTION @extschema@.bs_create_partitions_between(first_month date, last_month date)
RETURNS SETOF text
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT @extschema@.bs_partition_name(p.parent, m.month::date)
      FROM generate_series(first_month::timestamp, last_month::timestamp, '1 month') AS m (month),
           unnest(ARRAY['message_ledger', 'message_logs']) AS p (parent)
     WHERE isfinite(first_month) AND isfinite(last_month)
       AND @extschema@.bs_create_partition(p.parent, m.month::date);
END;
COMMENT ON FUNCTION @extschema@.bs_create_partitions_between(date, date) IS
'Makes what is missing from one month to another and gives the names of what it made.';

CREATE FUNCTION @extschema@.bs_missing_months(first_day date, last_day date)
RETURNS date[]
LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(pg_catalog.array_agg(m.month::date ORDER BY m.month), '{}')
      FROM pg_catalog.generate_series(pg_catalog.date_trunc('month', first_day::timestamp),
                                      last_day::timestamp, '1 month') AS m (month)
     WHERE pg_catalog.isfinite(first_day) AND pg_catalog.isfinite(last_day)
       AND NOT (@extschema@.bs_partition_attached('message_ledger', m.month::date)
                AND @extschema@.bs_partition_attached('message_logs', m.month::date));
END;
COMMENT ON FUNCTION @extschema@.bs_missing_months(date, date) IS
'First days of the months between two days that lack a partition.';
REVOKE ALL ON FUNCTION @extschema@.bs_missing_months(date, date) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_try_partitions(first_month date, last_month date)
RETURNS text
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missing record;
    trouble text;
BEGIN
    FOR missing IN
        SELECT p.parent, m.month::date
          FROM unnest(@extschema@.bs_missing_months(first_month, last_month)) AS m (month),
               unnest(ARRAY['message_ledger', 'message_logs']) AS p (parent)
         ORDER BY m.month, p.parent
    LOOP
        BEGIN
            PERFORM @extschema@.bs_create_partition(missing.parent, missing.month);
        EXCEPTION
            WHEN duplicate_table OR duplicate_object OR invalid_object_definition OR check_violation
                 OR insufficient_privilege THEN
                trouble := concat_ws('; ', trouble, SQLERRM);
        END;
    END LOOP;
    RETURN trouble;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_try_partitions(date, date) IS
'Makes what can be made from one month to another; says what was in the way of the rest, NULL for nothing.';
REVOKE ALL ON FUNCTION @extschema@.bs_try_partitions(date, date) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_partitions_ready(first_day date, last_day date)
RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE     -- a body in SQL is planned at every call
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT bool_and(@extschema@.bs_partition_attached(p.parent, m.month::date))
          FROM generate_series(date_trunc('month', first_day::timestamp),
                               last_day::timestamp, '1 month') AS m (month),
               unnest(ARRAY['message_ledger', 'message_logs']) AS p (parent)
         WHERE isfinite(first_day) AND isfinite(last_day));
END
$$;
COMMENT ON FUNCTION @extschema@.bs_partitions_ready(date, date) IS
'Are all partitions there for occasions and instants from one day to another?';

CREATE FUNCTION @extschema@.bs_partition_list(
    OUT parent text, OUT part oid, OUT name text, OUT first timestamptz, OUT past timestamptz)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
BEGIN ATOMIC
    SELECT p.relname::text, c.oid, c.relname::text, b.bound[1]::timestamptz, b.bound[2]::timestamptz
      FROM pg_catalog.pg_inherits i
           JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
           JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
           CROSS JOIN LATERAL pg_catalog.regexp_match(
               pg_catalog.pg_get_expr(c.relpartbound, c.oid),
               'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS b (bound)
     WHERE i.inhparent IN (pg_catalog.to_regclass('@extschema@.message_logs'),
                           pg_catalog.to_regclass('@extschema@.message_ledger'))
       AND b.bound IS NOT NULL;
END;
COMMENT ON FUNCTION @extschema@.bs_partition_list() IS
'The partitions of message_logs and message_ledger, from their first instant up to, not including, past.';
REVOKE ALL ON FUNCTION @extschema@.bs_partition_list() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_is_unfinished(parent text, part oid)
RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    unfinished boolean := false;
BEGIN
    IF parent = 'message_logs' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS m WHERE m.status IN'
                       ' (''SCHEDULED'', ''QUEUED'', ''SENDING'', ''RETRYING''))', part::regclass) INTO unfinished;
    END IF;
    RETURN unfinished;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_is_unfinished(text, oid) IS
'Does the partition hold messages to which something is still to happen?';
REVOKE ALL ON FUNCTION @extschema@.bs_is_unfinished(text, oid) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_drop_partitions(older_than interval, dry_run boolean DEFAULT true)
RETURNS TABLE (partition text, action text, reason text)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '50ms'
AS $$
DECLARE
    cutoff timestamptz;
    found record;
    doomed oid[] := '{}';
    locks text;
    locked_until timestamptz;
BEGIN
    IF older_than IS NULL OR dry_run IS NULL THEN
        RAISE EXCEPTION 'older_than and dry_run must not be NULL'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    BEGIN
        cutoff := now() - older_than;
    EXCEPTION WHEN datetime_field_overflow THEN
        cutoff := CASE WHEN older_than > interval '0' THEN timestamptz '-infinity' ELSE 'infinity' END;
    END;
    IF cutoff > now() - interval '2 months' THEN
        RAISE EXCEPTION 'older_than must be at least two months, not %', older_than
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Planning still looks at the last two months.';
    END IF;

    FOR found IN SELECT l.* FROM @extschema@.bs_partition_list() l WHERE l.past <= cutoff ORDER BY l.past, l.parent LOOP
        partition := found.name;
        action := 'kept';
        BEGIN
            reason := CASE WHEN @extschema@.bs_is_unfinished(found.parent, found.part)
                           THEN 'unfinished messages are in it' END;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            reason := 'in use by another session';
        END;
        IF reason IS NOT NULL THEN
            NULL;
        ELSIF found.parent = 'message_ledger' AND found.past > now() - interval '13 months' THEN
            reason := 'the ledger is kept for thirteen months';
        ELSE
            doomed := doomed || found.part;
            CONTINUE WHEN NOT dry_run;
            action := 'would be dropped';
            reason := NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF dry_run OR doomed = '{}' THEN
        RETURN;
    END IF;

    -- ONLY: the other partitions are none of our business.
    SELECT 'LOCK TABLE ONLY ' || string_agg(w.name, ', ONLY ' ORDER BY w.n) || ' IN ACCESS EXCLUSIVE MODE' INTO locks
      FROM (SELECT 1 AS n, '@extschema@.users' AS name
             WHERE EXISTS (SELECT FROM @extschema@.bs_partition_list() l WHERE l.part = ANY (doomed) AND l.parent = 'message_logs')
            UNION ALL
            SELECT 2, i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = ANY (doomed) GROUP BY i.inhparent) w;
    FOR try IN 1..5 LOOP
        BEGIN
            EXECUTE locks;
            locked_until := clock_timestamp() + interval '0.2 seconds';
            EXIT;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM pg_sleep(0.1);
        END;
    END LOOP;

    FOR found IN SELECT l.* FROM @extschema@.bs_partition_list() l WHERE l.part = ANY (doomed) ORDER BY l.past, l.parent LOOP
        partition := found.name;
        action := 'kept';
        reason := 'in use by another session';
        IF clock_timestamp() > locked_until THEN
            reason := 'left for the next call: others are waiting';
        ELSIF locked_until IS NOT NULL THEN
            BEGIN
                EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', found.part::regclass);
                IF @extschema@.bs_is_unfinished(found.parent, found.part) THEN
                    reason := 'unfinished messages are in it';
                ELSE
                    EXECUTE format('DROP TABLE %s', found.part::regclass);
                    action := 'dropped';
                    reason := NULL;
                END IF;
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected OR object_in_use THEN
                    reason := 'in use by another session';
                WHEN dependent_objects_still_exist THEN
                    reason := 'other objects depend on it';
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_drop_partitions(interval, boolean) IS
'Drops the months that ended longer ago than that, at least two months, and says for each what it did (dropped, kept), or with dry_run what it would do, and why one is kept: unfinished messages, in use, a ledger younger than thirteen months, or left for the next call, because nobody shall wait for longer than a fifth of a second. Call it in a transaction of its own, which holds locks until its end. Error 22023: a shorter interval.';
REVOKE ALL ON FUNCTION @extschema@.bs_drop_partitions(interval, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_installation_state()
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE     -- a body in SQL is planned at every call
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce(
        (SELECT CASE
                    WHEN i.system_identifier <> @extschema@.bs_system_identifier()
                      OR i.database_oid <> d.oid THEN 'copy'
                    WHEN i.paused_at IS NOT NULL THEN 'paused'
                    ELSE 'adopted'
                END
           FROM @extschema@.bs_installation i,
                pg_database d
          WHERE d.datname = current_database()),
        'new');
END
$$;
COMMENT ON FUNCTION @extschema@.bs_installation_state() IS
'new: no user was added yet; adopted: messages are planned and sent; paused: planned only; copy: of another database, nothing is done until bs_resume().';

CREATE OR REPLACE FUNCTION @extschema@.bs_adopt(even_a_copy boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    state text := @extschema@.bs_installation_state();
    trouble text;
BEGIN
    IF state = 'new' OR (state = 'copy' AND even_a_copy) THEN
        INSERT INTO @extschema@.bs_installation AS i (system_identifier, database_oid)
        SELECT @extschema@.bs_system_identifier(), d.oid
          FROM pg_database d
         WHERE d.datname = current_database()
            ON CONFLICT (singleton) DO UPDATE
               SET system_identifier = excluded.system_identifier,
                   database_oid = excluded.database_oid,
                   adopted_at = excluded.adopted_at
             WHERE even_a_copy;
        -- Users may have changed while nothing was planned: what is pending is
        -- made afresh by the planning pass or, at the latest, when it is claimed.
        -- What the broker has a copy of is another database's.
        UPDATE @extschema@.message_logs m
           SET type_version = 0,
               status = CASE WHEN m.status <> 'QUEUED' THEN m.status
                             WHEN m.attempts > 0 THEN 'RETRYING'
                             ELSE 'SCHEDULED' END,
               due_at = CASE m.status WHEN 'QUEUED' THEN m.scheduled_send_time ELSE m.due_at END
         WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING');
        trouble := @extschema@.bs_upkeep('partitions', 'hand');
        IF trouble IS NOT NULL THEN
            RAISE WARNING 'not all partitions could be made: %', trouble;
        END IF;
        PERFORM @extschema@.bs_wake();
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_adopt(boolean) IS
'Makes this database the one in which messages are planned and sent, with its partitions; a copy only where asked.';

CREATE FUNCTION @extschema@.bs_pause(reason text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE @extschema@.bs_installation i
       SET paused_at = coalesce(i.paused_at, now()),
           paused_reason = coalesce(reason, i.paused_reason);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is nothing to pause: no user was added yet'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_pause(text) IS
'Stop sending; planning goes on. What senders have claimed is still sent. The reason, at most 200 characters, is shown by bs_status and bs_health(). Errors: 55000 where no user was ever added, 22001.';
REVOKE ALL ON FUNCTION @extschema@.bs_pause(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_resume()
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.bs_adopt(true);
    UPDATE @extschema@.bs_installation i SET paused_at = NULL, paused_reason = NULL WHERE i.paused_at IS NOT NULL;
    PERFORM @extschema@.bs_wake();
END
$$;
COMMENT ON FUNCTION @extschema@.bs_resume() IS
'Send again after bs_pause(), or from now on in this database where it is a new one or a copy. What was missed is caught up within max_lateness.';

CREATE FUNCTION @extschema@.bs_dates_of(
    user_id uuid, birthday_date date, anniversary_date date, message_type varchar, date_source varchar)
RETURNS TABLE (event_date date, created_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT CASE bs_dates_of.date_source WHEN 'birthday_date' THEN bs_dates_of.birthday_date
                                        WHEN 'anniversary_date' THEN bs_dates_of.anniversary_date
           END, NULL::timestamptz
     WHERE bs_dates_of.date_source <> 'user_dates'
    UNION ALL
    SELECT d.event_date, d.created_at
      FROM @extschema@.user_dates d
     WHERE bs_dates_of.date_source = 'user_dates'
       AND d.user_id = bs_dates_of.user_id
       AND d.message_type = bs_dates_of.message_type;
END;
COMMENT ON FUNCTION @extschema@.bs_dates_of(uuid, date, date, varchar, varchar) IS
'The dates that a type of message mails to a user who is at hand, and since when there is the date, where it is one of its own: what bs_events has of a user, enabled or not.';
REVOKE ALL ON FUNCTION @extschema@.bs_dates_of(uuid, date, date, varchar, varchar) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_plan_slices(window_from timestamptz, window_until timestamptz)
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
        ), kinds AS MATERIALIZED (
            SELECT t.name, t.date_source, t.send_time, t.cadence, t.feb29_policy, t.active_since
              FROM @extschema@.message_types t
             WHERE t.enabled AND ($5 IS NULL OR (t.name = $5 AND t.date_source = $6))
        )
        SELECT array_agg(o.user_id), array_agg(o.message_type), array_agg(o.local_date),
               array_agg(o.event_date), array_agg(o.send_at)
          FROM (SELECT DISTINCT ON (u.id, t.name, s.local_date)
                       u.id AS user_id, t.name AS message_type, s.local_date, e.event_date, p.send_at
                  FROM unnest($1) AS w (user_id)
                       -- One by one, by the key of users: without statistics, as in a
                       -- database that was just restored, a join would read them all.
                       -- The conditions of partial indexes come later: by statistics of
                       -- when the table was empty it costs nothing to read all of those.
                       CROSS JOIN LATERAL (
                           SELECT f.* FROM @extschema@.users f WHERE f.id = w.user_id OFFSET 0) u
                       CROSS JOIN kinds t
                       CROSS JOIN LATERAL @extschema@.bs_dates_of(u.id, u.birthday_date, u.anniversary_date,
                                                                  t.name, t.date_source) e
                       JOIN slices s ON s.message_type = t.name
                                    AND s.month_day = @extschema@.bs_month_day(e.event_date)
                       CROSS JOIN LATERAL (
                           SELECT @extschema@.bs_send_time_or_null(u.timezone::text, s.local_date, t.send_time) AS send_at) p
                 WHERE u.deleted_at IS NULL
                   AND @extschema@.bs_is_owed(e.event_date, s.local_date, t.cadence::text, t.feb29_policy::text)
                   AND p.send_at >= greatest(u.created_at, e.created_at, t.active_since)
                   AND p.send_at BETWEEN $2 AND $3
                   AND ($4 = '{}'
                        OR (@extschema@.bs_month(p.send_at) <> ALL ($4)
                            AND date_trunc('month', s.local_date::timestamp)::date <> ALL ($4)))
                 ORDER BY u.id, t.name, s.local_date, e.event_date) o
        $query$
       INTO owed_users, owed_types, owed_dates, owed_events, owed_times
      USING user_ids, window_from, window_until, missing_months, only_type, only_source, only_date;
    IF owed_users IS NULL THEN
        RETURN 0;
    END IF;

    -- Arrays, because the planner knows their length: between two statements
    -- in WITH it would expect one row and join in a square. They are in the order
    -- of the users, in which every planner takes them; as a rule all are won.
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

    -- The users one by one, here as above, in the order of their messages.
    EXECUTE $query$
        INSERT INTO @extschema@.message_logs
               (id, user_id, message_type, local_date, scheduled_send_time, due_at, idempotency_key,
                recipient_email, recipient_name, subject, message_content, html_content, type_version,
                created_at)
        SELECT @extschema@.bs_uuidv7(), u.id, t.name, o.local_date, o.send_at, o.send_at,
               format('%s:%s:%s', u.id, t.name, to_char(o.local_date, 'YYYY-MM-DD')),
               u.email, u.first_name || ' ' || u.last_name,
               @extschema@.bs_render(t.subject_template, 'header', u.first_name::text, u.last_name::text,
                                     o.event_date, o.local_date, u.location_city::text, u.location_country::text),
               @extschema@.bs_render(t.text_template, 'plain', u.first_name::text, u.last_name::text,
                                     o.event_date, o.local_date, u.location_city::text, u.location_country::text),
               @extschema@.bs_render(t.html_template, 'html', u.first_name::text, u.last_name::text,
                                     o.event_date, o.local_date, u.location_city::text, u.location_country::text),
               t.version, $6
          FROM (SELECT w.*
                  FROM unnest($1, $2, $3, $4, $5) AS w (user_id, message_type, local_date, event_date, send_at)
                 ORDER BY w.send_at) o
               CROSS JOIN LATERAL (
                   SELECT f.* FROM @extschema@.users f WHERE f.id = o.user_id OFFSET 0) u
               JOIN @extschema@.message_types t ON t.name = o.message_type
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
REVOKE ALL ON FUNCTION @extschema@.bs_plan_users(uuid[], timestamptz, timestamptz, date[], varchar, varchar, date) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_wanted(
    message_ids uuid[], user_ids uuid[], first_time timestamptz, last_time timestamptz, oldest timestamptz,
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
                   JOIN (SELECT f.* FROM @extschema@.users f WHERE f.id = ANY (user_ids) OFFSET 0) u ON u.id = m.user_id
                   LEFT JOIN @extschema@.message_types t ON t.name = m.message_type
                   LEFT JOIN LATERAL (
                       SELECT min(d.event_date) AS event_date
                         FROM @extschema@.bs_dates_of(u.id, u.birthday_date, u.anniversary_date,
                                                      t.name, t.date_source) d
                        WHERE u.deleted_at IS NULL AND t.enabled
                          AND @extschema@.bs_is_owed(d.event_date, m.local_date, t.cadence::text, t.feb29_policy::text)) e ON true
            OFFSET 0) w;      -- each is made once, however often it is named above
END;
COMMENT ON FUNCTION @extschema@.bs_wanted(uuid[], uuid[], timestamptz, timestamptz, timestamptz) IS
'What these messages of these users, due between two instants, should say by users, dates and types as they are now: gone is why they are owed no more, behind whether they differ. One that was cancelled is behind where it is owed again, from oldest on.';
REVOKE ALL ON FUNCTION @extschema@.bs_wanted(uuid[], uuid[], timestamptz, timestamptz, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_refresh(message_ids uuid[], as_of timestamptz)
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
        SELECT * FROM @extschema@.bs_wanted(locked, locked_users, first_time, last_time, oldest) f WHERE f.behind
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

CREATE FUNCTION @extschema@.bs_lock_users(user_ids uuid[])
RETURNS uuid[]
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan      -- to plan for each of thousands of ids takes as long as to lock them
SET enable_seqscan = off
SET enable_indexscan = off
SET enable_bitmapscan = on
SET effective_io_concurrency = 64
AS $$
BEGIN
    RETURN ARRAY(SELECT u.id
                   FROM @extschema@.users u
                  WHERE u.id = ANY (user_ids)
                    FOR SHARE SKIP LOCKED);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_lock_users(uuid[]) IS
'Locks these users FOR SHARE, but for those that somebody else has locked; gives the ids of the locked ones.';
REVOKE ALL ON FUNCTION @extschema@.bs_lock_users(uuid[]) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_behind(
    message_ids uuid[], user_ids uuid[], first_time timestamptz, last_time timestamptz, oldest timestamptz)
RETURNS uuid[]
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_indexscan = off
SET enable_bitmapscan = on
SET effective_io_concurrency = 64
AS $$
BEGIN
    RETURN ARRAY(SELECT f.id
                   FROM @extschema@.bs_wanted(message_ids, user_ids, first_time, last_time, oldest) f
                  WHERE f.behind);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_behind(uuid[], uuid[], timestamptz, timestamptz, timestamptz) IS
'Which of these messages do not say what bs_wanted() has for them.';
REVOKE ALL ON FUNCTION @extschema@.bs_behind(uuid[], uuid[], timestamptz, timestamptz, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_plan_step(state jsonb, chunk integer DEFAULT 5000)
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
    kind @extschema@.message_types;
    after uuid := state ->> 'after';
    candidates uuid[];
    last_user uuid;
    refreshed timestamptz := greatest((state ->> 'refreshed')::timestamptz,
                                      as_of - @extschema@.bs_max_lateness() - interval '2 days');
    ids uuid[];
    whose uuid[];
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
        -- Who has the day, and nine o'clock of it within the window, from an index
        -- alone, as far as two chunks go. Own dates know no zone.
        SELECT * INTO kind FROM @extschema@.message_types t WHERE t.name = slice_type;
        IF slice_source = 'user_dates' THEN
            SELECT (array_agg(c.user_id))[2 * chunk], array_agg(c.user_id)
              INTO last_user, candidates
              FROM (SELECT DISTINCT d.user_id
                      FROM @extschema@.user_dates d
                     WHERE d.message_type = slice_type
                       AND @extschema@.bs_month_day(d.event_date) = slice_key
                       AND d.user_id > after
                     ORDER BY d.user_id
                     LIMIT 2 * chunk) c;
        ELSE
            EXECUTE format(
                'SELECT (array_agg(c.id))[$3], array_agg(c.id) FILTER (WHERE c.owed)'
                '  FROM (SELECT u.id,'
                '               @extschema@.bs_is_owed(u.%1$I, $4, $5, $6)'
                '               AND @extschema@.bs_send_time_or_null(u.timezone::text, $4, $7)'
                '                   BETWEEN greatest($8, u.created_at) AND $9 AS owed'
                '          FROM @extschema@.users u'
                '         WHERE @extschema@.bs_month_day(u.%1$I) = $1'
                '           AND u.id > $2'
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
                              FROM (SELECT f.* FROM @extschema@.users f WHERE f.id = w.user_id OFFSET 0) u
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
            locked := @extschema@.bs_lock_users(ids);
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
    SELECT array_agg(c.id), array_agg(c.user_id), array_agg(c.scheduled_send_time) INTO ids, whose, times
      FROM (SELECT m.id, m.user_id, m.scheduled_send_time
              FROM @extschema@.message_logs m
             WHERE m.scheduled_send_time >= refreshed
               AND (m.scheduled_send_time, m.id) > (refreshed, after)
               AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
               AND (m.created_at BETWEEN began AND clock_timestamp()) IS NOT TRUE
             ORDER BY m.scheduled_send_time, m.id
             LIMIT chunk) c;
    IF ids IS NOT NULL THEN
        behind := @extschema@.bs_behind(ids, whose, times[1], times[cardinality(times)],
                                        as_of - @extschema@.bs_max_lateness());
        RETURN state || jsonb_build_object(
            'refreshed', times[cardinality(times)], 'after', ids[cardinality(ids)],
            'changed', (state -> 'changed')::bigint +
                CASE WHEN behind = '{}' THEN 0 ELSE @extschema@.bs_refresh(behind, as_of) END);
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

CREATE OR REPLACE FUNCTION @extschema@.bs_plan(until timestamptz DEFAULT NULL, as_of timestamptz DEFAULT pg_catalog.now())
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

CREATE FUNCTION @extschema@.bs_plan_near(user_ids uuid[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
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
REVOKE ALL ON FUNCTION @extschema@.bs_plan_near(uuid[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_replan_users(user_ids uuid[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
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
        -- One by one, by a plan that is kept: to plan takes longer than to look, as
        -- there is a partition for each month.
        PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
        SELECT array_agg(m.id) INTO message_ids
          FROM unnest(user_ids) AS w (id)
               CROSS JOIN LATERAL (
                   SELECT l.id
                     FROM @extschema@.message_logs l
                    WHERE l.user_id = w.id
                      AND l.scheduled_send_time >= window_from - interval '2 days'
                      AND l.status IN ('SCHEDULED', 'QUEUED', 'RETRYING', 'CANCELLED')
                   OFFSET 0) m;
    ELSE
        PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
        SELECT array_agg(m.id) INTO message_ids
          FROM unnest(user_ids) AS w (id)
               JOIN @extschema@.message_logs m ON m.user_id = w.id
         WHERE m.scheduled_send_time >= window_from - interval '2 days'
           AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING', 'CANCELLED');
    END IF;
    IF message_ids IS NOT NULL THEN
        PERFORM @extschema@.bs_refresh(message_ids, now());
    END IF;
    -- Few changes are of somebody whose day is near. The users by their key, without
    -- the condition of partial indexes: a plan from when the table was new would
    -- read one of those from end to end.
    WITH days AS MATERIALIZED (
        SELECT DISTINCT s.date_source, s.month_day
          FROM @extschema@.bs_plan_slices(window_from, now() + @extschema@.bs_horizon()) s
    )
    SELECT array_agg(u.id) INTO near
      FROM unnest(user_ids) AS w (id)
           CROSS JOIN LATERAL (
               SELECT f.* FROM @extschema@.users f WHERE f.id = w.id OFFSET 0) u
     WHERE u.deleted_at IS NULL
       AND (@extschema@.bs_month_day(u.birthday_date) IN (
                SELECT d.month_day FROM days d WHERE d.date_source = 'birthday_date')
            OR @extschema@.bs_month_day(u.anniversary_date) IN (
                SELECT d.month_day FROM days d WHERE d.date_source = 'anniversary_date')
            OR EXISTS (
                SELECT
                  FROM @extschema@.user_dates o
                 WHERE o.user_id = u.id
                   AND @extschema@.bs_month_day(o.event_date) IN (
                        SELECT d.month_day FROM days d WHERE d.date_source = 'user_dates')));
    PERFORM @extschema@.bs_plan_near(near);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_replan_users(uuid[]) IS
'Plans these users again: what is pending and what is owed within the horizon. The caller holds their row locks.';

CREATE OR REPLACE FUNCTION @extschema@.bs_users_after_insert()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    near uuid[];
BEGIN
    IF @extschema@.bs_is_planning() THEN
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

CREATE FUNCTION @extschema@.bs_months_with_messages(first_time timestamptz, last_time timestamptz)
RETURNS SETOF date
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE     -- a body in SQL is planned at every call
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT m.month::date
      FROM generate_series(@extschema@.bs_month(first_time)::timestamp,
                           @extschema@.bs_month(last_time)::timestamp, '1 month') AS m (month)
     WHERE isfinite(first_time) AND isfinite(last_time)
       AND @extschema@.bs_partition_attached('message_logs', m.month::date)
     ORDER BY m.month;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_months_with_messages(timestamptz, timestamptz) IS
'The months between two instants that have a partition of message_logs: what senders look at, however many others there are.';
REVOKE ALL ON FUNCTION @extschema@.bs_months_with_messages(timestamptz, timestamptz) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_claim_statement(part regclass)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN pg_catalog.format(
    'UPDATE %s AS m'
    '   SET status = ''SENDING'','
    '       status_reason = NULL,'
    '       due_at = $2 + $3,'
    '       claimed_by = $4,'
    '       claim_token = $5,'
    '       attempts = m.attempts + 1,'
    '       retry_count = m.attempts,'
    '       last_retry_at = $2,'
    '       updated_at = $2'
    ' WHERE m.id = ANY ($1)'
    '   AND (m.scheduled_send_time <= $2'
    '        AND (m.status = ''QUEUED'''
    '             OR (m.status IN (''SCHEDULED'', ''RETRYING'') AND m.due_at <= $2))) IS TRUE'
    ' RETURNING m.id, m.scheduled_send_time, m.claim_token, m.attempts,'
    '           m.recipient_email, m.recipient_name, m.subject,'
    '           m.message_content, m.html_content, m.idempotency_key', part);
COMMENT ON FUNCTION @extschema@.bs_claim_statement(regclass) IS
'The move to SENDING, in one partition: parameters are the ids of rows that the caller has locked, the instant of the claim, the lease, who claims, the token. Rows that are not due any more stay as they are.';
REVOKE ALL ON FUNCTION @extschema@.bs_claim_statement(regclass) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_stale_condition()
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '(m.status = ''RETRYING'' OR m.last_retry_at IS NOT NULL'
       ' OR m.type_version IS DISTINCT FROM ('
       '        SELECT t.version FROM @extschema@.message_types t WHERE t.name = m.message_type)'
       ' OR (SELECT u.deleted_at IS NULL AND u.email = m.recipient_email'
       '            AND u.first_name || '' '' || u.last_name = m.recipient_name'
       '       FROM @extschema@.users u WHERE u.id = m.user_id) IS NOT TRUE)';
COMMENT ON FUNCTION @extschema@.bs_stale_condition() IS
'SQL: may the row m of message_logs be older than what users and types say, so that it is made afresh before it is sent?';
REVOKE ALL ON FUNCTION @extschema@.bs_stale_condition() FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_claim(
    claimed_by text, max_messages integer, lease interval,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT id uuid, OUT scheduled_send_time timestamptz, OUT claim_token uuid, OUT attempts integer,
    OUT recipient_email varchar, OUT recipient_name varchar, OUT subject text,
    OUT message_content text, OUT html_content text, OUT idempotency_key varchar)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    token uuid := gen_random_uuid();
    left_to_claim integer := max_messages;
    month date;
    part regclass;
    ids uuid[];
    stale uuid[];
BEGIN
    IF @extschema@.bs_installation_state() <> 'adopted' THEN
        RETURN;
    END IF;
    FOR month IN SELECT @extschema@.bs_months_with_messages(oldest, as_of) LOOP
        EXIT WHEN left_to_claim = 0;
        part := '@extschema@.' || @extschema@.bs_partition_name('message_logs', month);
        EXECUTE format(
            'SELECT array_agg(c.id), array_agg(c.id) FILTER (WHERE c.stale)'
            '  FROM (SELECT m.id, %s AS stale'
            '          FROM %s AS m'
            '         WHERE m.due_at <= $1'
            '           AND m.status IN (''SCHEDULED'', ''QUEUED'', ''RETRYING'')'
            '           AND (m.scheduled_send_time BETWEEN $2 AND $1) IS TRUE'
            '         ORDER BY m.due_at'
            '         LIMIT $3'
            '           FOR NO KEY UPDATE OF m SKIP LOCKED) c',
            @extschema@.bs_stale_condition(), part)
           INTO ids, stale
          USING as_of, oldest, left_to_claim;
        CONTINUE WHEN ids IS NULL;
        left_to_claim := left_to_claim - cardinality(ids);
        IF stale IS NOT NULL THEN
            PERFORM @extschema@.bs_refresh(stale, as_of);
        END IF;
        RETURN QUERY EXECUTE @extschema@.bs_claim_statement(part)
        USING ids, as_of, lease, claimed_by, token;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_claim(text, integer, interval, timestamptz) IS
'Leases up to max_messages due messages to a sender and counts the attempt; commit before sending. Nothing where this database is not adopted or is paused.';

CREATE OR REPLACE FUNCTION @extschema@.bs_next_due(as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS timestamptz
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    month date;
    due_here timestamptz;
    due timestamptz;
BEGIN
    FOR month IN SELECT @extschema@.bs_months_with_messages(oldest, as_of + @extschema@.bs_horizon()) LOOP
        EXECUTE format(
            'SELECT m.due_at FROM @extschema@.%I AS m'
            ' WHERE m.due_at IS NOT NULL'
            '   AND m.status IN (''SCHEDULED'', ''QUEUED'', ''RETRYING'')'
            '   AND (m.scheduled_send_time >= $1) IS TRUE'
            ' ORDER BY m.due_at'
            ' LIMIT 1', @extschema@.bs_partition_name('message_logs', month))
           INTO due_here
          USING oldest;
        due := least(due, due_here);
    END LOOP;
    RETURN due;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_next_due(timestamptz) IS
'The next instant, within birthday_scheduler.horizon, at which a message is to be sent, or, QUEUED, to be looked after; NULL where none is planned. It lies in the past while something is due.';

CREATE FUNCTION @extschema@.bs_release_claims(
    claimed_by text, tokens_known uuid[],
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
    released bigint;
BEGIN
    UPDATE @extschema@.message_logs m
       SET status = 'RETRYING',
           status_reason = 'released',
           due_at = as_of,
           attempts = m.attempts - 1,
           retry_count = greatest(m.attempts - 2, 0),
           claim_token = NULL,
           updated_at = as_of
     WHERE m.due_at IS NOT NULL
       AND m.status = 'SENDING'
       AND m.claimed_by = bs_release_claims.claimed_by
       AND m.claim_token <> ALL (tokens_known)
       AND NOT EXISTS (SELECT FROM @extschema@.bs_pending_outcomes p
                        WHERE p.id = m.id AND p.claim_token = m.claim_token);
    GET DIAGNOSTICS released = ROW_COUNT;
    IF released > 0 THEN
        PERFORM @extschema@.bs_wake_senders(as_of);
    END IF;
    RETURN released;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_release_claims(text, uuid[], timestamptz) IS
'Gives back, unharmed, what this sender has claimed under other tokens than those that it knows: claims whose answer never reached it. Gives their number.';
REVOKE ALL ON FUNCTION @extschema@.bs_release_claims(text, uuid[], timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_recover(
    dead_senders text[], at_most_once boolean DEFAULT false,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT recovered bigint, OUT expired bigint, OUT next_lease_end timestamptz)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET intervalstyle = 'postgres'
SET jit = off
AS $$
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    last_attempt integer := CASE WHEN at_most_once THEN 1
                                 ELSE current_setting('birthday_scheduler.max_attempts')::integer END;
    at_a_time constant bigint := 2000;
    taken_back bigint := 0;
    pending bigint := 1;
BEGIN
    -- What is wrong with one outcome must not keep all the others from being put back.
    BEGIN
        pending := @extschema@.bs_record_pending();
    EXCEPTION
        WHEN OTHERS THEN
            RAISE WARNING 'what is in bs_pending_outcomes cannot be recorded (SQLSTATE %)', SQLSTATE;
    END;
    WITH lost AS (
        SELECT m.id, m.scheduled_send_time
          FROM @extschema@.message_logs m
         WHERE m.due_at IS NOT NULL
           AND m.status = 'SENDING'
           AND (m.due_at <= as_of OR m.claimed_by = ANY (dead_senders))
           AND NOT EXISTS (SELECT FROM @extschema@.bs_pending_outcomes p
                            WHERE p.id = m.id AND p.claim_token = m.claim_token)
         ORDER BY m.due_at
           FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE @extschema@.message_logs m
           SET status = CASE WHEN m.attempts >= last_attempt THEN 'FAILED' ELSE 'RETRYING' END,
               status_reason = CASE WHEN m.attempts >= last_attempt THEN 'in_doubt' ELSE 'lease' END,
               error_message = 'the sender ' || m.claimed_by || ' ended or was given up before it recorded an outcome',
               -- From the second loss on spread over time, so that a message that
               -- kills its sender does not take the same others with it again.
               due_at = CASE
                            WHEN m.attempts >= last_attempt THEN NULL
                            WHEN m.attempts = 1 THEN as_of
                            ELSE as_of + random() * least(m.attempts, 6) * interval '10 seconds'
                        END,
               claim_token = NULL,
               updated_at = as_of
          FROM lost l
         WHERE m.id = l.id
           AND m.scheduled_send_time = l.scheduled_send_time
        RETURNING m.id
    )
    SELECT count(*) INTO recovered FROM moved;
    IF recovered > 0 THEN
        PERFORM @extschema@.bs_wake_senders(as_of);
    END IF;

    WITH late AS (
        SELECT m.id, m.scheduled_send_time
          FROM @extschema@.message_logs m
         WHERE m.due_at IS NOT NULL
           AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
           AND m.scheduled_send_time < oldest
           FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE @extschema@.message_logs m
           SET status = 'EXPIRED',
               status_reason = 'too_late',
               due_at = NULL,
               error_message = concat_ws('; ', m.error_message,
                   'not sent within ' || @extschema@.bs_max_lateness() || ' of its send time'),
               updated_at = as_of
          FROM late l
         WHERE m.id = l.id
           AND m.scheduled_send_time = l.scheduled_send_time
        RETURNING m.id
    )
    SELECT count(*) INTO expired FROM moved;

    SELECT min(m.due_at) INTO next_lease_end
      FROM @extschema@.message_logs m
     WHERE m.due_at IS NOT NULL
       AND m.status = 'SENDING';
    -- What somebody has locked is looked at every second.
    IF pending > 0 OR next_lease_end <= as_of THEN
        next_lease_end := as_of + interval '1 second';
    END IF;

    IF current_setting('birthday_scheduler.queue') = 'postgres' THEN
        taken_back := @extschema@.bs_take_back(at_a_time, as_of);
        recovered := recovered + taken_back;
        IF taken_back = at_a_time THEN
            next_lease_end := as_of;
        END IF;
    END IF;
    IF recovered > 0 OR expired > 0 THEN
        PERFORM @extschema@.bs_count_moves(0::bigint, 0::bigint, 0::bigint, recovered, expired);
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_recover(text[], boolean, timestamptz) IS
'Records what could not be recorded before, puts back what senders hold that are known to be gone, or whose lease has run out: RETRYING, or FAILED after max_attempts and where nothing may be sent twice; EXPIRED for what is past max_lateness. With birthday_scheduler.queue = postgres also what is QUEUED, some thousand at a time. next_lease_end: when to look again.';

CREATE FUNCTION @extschema@.bs_months_of(instants timestamptz[])
RETURNS SETOF date
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE     -- a body in SQL is planned at every call
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    -- Materialized, so that the catalog is asked once a month and not once a row.
    WITH months AS MATERIALIZED (
        SELECT DISTINCT @extschema@.bs_month(t.instant) AS month
          FROM unnest(instants) AS t (instant)
         WHERE t.instant BETWEEN '1900-01-01 00:00+00' AND '9999-12-31 00:00+00'
    )
    SELECT d.month
      FROM months d
     WHERE @extschema@.bs_partition_attached('message_logs', d.month)
     ORDER BY d.month;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_months_of(timestamptz[]) IS
'The months of these instants, those that have a partition of message_logs; whatever the instants are, no error.';
REVOKE ALL ON FUNCTION @extschema@.bs_months_of(timestamptz[]) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_due_messages(
    max_messages integer, except_ids uuid[], again boolean,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT id uuid, OUT scheduled_send_time timestamptz, OUT due_at timestamptz, OUT message_type varchar)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    arms text;
BEGIN
    IF @extschema@.bs_installation_state() <> 'adopted' THEN
        RETURN;
    END IF;
    SELECT string_agg(format(
               '(SELECT m.id, m.scheduled_send_time, m.due_at, m.message_type'
               '  FROM @extschema@.%I AS m'
               ' WHERE m.due_at <= $1'
               '   AND m.status = %L'
               '   AND (m.scheduled_send_time BETWEEN $2 AND $1) IS TRUE'
               '   AND m.id NOT IN (SELECT e.id FROM unnest($3) AS e (id) WHERE e.id IS NOT NULL)'
               ' ORDER BY m.due_at LIMIT $4)',
               @extschema@.bs_partition_name('message_logs', h.month), s.status), ' UNION ALL ')
      INTO arms
      FROM @extschema@.bs_months_with_messages(oldest, as_of) AS h (month),
           unnest(CASE WHEN again THEN '{SCHEDULED,RETRYING,QUEUED}'
                       ELSE '{SCHEDULED,RETRYING}' END::text[]) AS s (status);
    IF arms IS NOT NULL THEN
        RETURN QUERY EXECUTE arms || ' ORDER BY due_at LIMIT $4'
        USING as_of, oldest, except_ids, max_messages;
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_due_messages(integer, uuid[], boolean, timestamptz) IS
'What is to be published, the first due first, without the except_ids: those that the caller has published already. With again also what is QUEUED and was not claimed until its due_at. Locks nothing. Nothing where this database is not adopted or is paused.';
REVOKE ALL ON FUNCTION @extschema@.bs_due_messages(integer, uuid[], boolean, timestamptz) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_mark_queued(
    ids uuid[], send_times timestamptz[], due_ats timestamptz[], look_again interval,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    month date;
    part regclass;
BEGIN
    FOR month IN SELECT @extschema@.bs_months_of(send_times) LOOP
        part := '@extschema@.' || @extschema@.bs_partition_name('message_logs', month);
        EXECUTE format(
            'UPDATE %1$s AS m'
            '   SET status = ''QUEUED'','
            '       status_reason = NULL,'
            '       due_at = $3 + $4,'
            '       updated_at = $3'
            '  FROM (SELECT l.id'
            '          FROM unnest($1, $2) AS w (id, due_at)'
            '               JOIN %1$s AS l ON l.id = w.id'
            '               JOIN @extschema@.users u ON u.id = l.user_id'
            '         WHERE (l.due_at = w.due_at'
            '                AND l.status IN (''SCHEDULED'', ''QUEUED'', ''RETRYING'')) IS TRUE'
            '           FOR SHARE OF u SKIP LOCKED'
            '           FOR NO KEY UPDATE OF l SKIP LOCKED) AS q'
            ' WHERE m.id = q.id',
            part)
        USING ids, due_ats, as_of, look_again;
        RETURN QUERY EXECUTE format(
            'SELECT m.id'
            '  FROM unnest($1, $2) AS w (id, due_at)'
            '       JOIN %s AS m ON m.id = w.id'
            ' WHERE (m.due_at = w.due_at'
            '        AND m.status IN (''SCHEDULED'', ''QUEUED'', ''RETRYING'')) IS TRUE', part)
        USING ids, due_ats;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_mark_queued(uuid[], timestamptz[], timestamptz[], interval, timestamptz) IS
'Marks QUEUED what the broker has confirmed, as bs_due_messages() gave it: due again after look_again. What was claimed or moved meanwhile stays as it is. So does what somebody else has locked, but that is still due, and comes back as the answer: mark it later. Error 40001 where a row was just moved to another month: try again.';
REVOKE ALL ON FUNCTION @extschema@.bs_mark_queued(uuid[], timestamptz[], timestamptz[], interval, timestamptz) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_claim_copies(
    claimed_by text, lease interval, ids uuid[], send_times timestamptz[],
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT id uuid, OUT scheduled_send_time timestamptz, OUT claim_token uuid, OUT attempts integer,
    OUT recipient_email varchar, OUT recipient_name varchar, OUT subject text,
    OUT message_content text, OUT html_content text, OUT idempotency_key varchar)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET lock_timeout = '50ms'
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    token uuid := gen_random_uuid();
    month date;
    part regclass;
    lock_rows text;
    given bigint;
    held uuid[];
    stale uuid[];
    held_later uuid[];
    stale_later uuid[];
BEGIN
    CASE @extschema@.bs_installation_state()
        WHEN 'adopted' THEN
            NULL;
        WHEN 'paused' THEN
            RETURN QUERY
                SELECT DISTINCT c.id, c.send_time, NULL::uuid, NULL::integer, NULL::varchar,
                       NULL::varchar, NULL::text, NULL::text, NULL::text, NULL::varchar
                  FROM unnest(ids, send_times) AS c (id, send_time)
                 WHERE c.id IS NOT NULL AND c.send_time IS NOT NULL;
            RETURN;
        ELSE
            RETURN;
    END CASE;
    SELECT count(DISTINCT c.id) INTO given FROM unnest(ids) AS c (id);
    FOR month IN SELECT @extschema@.bs_months_of(send_times) LOOP
        part := '@extschema@.' || @extschema@.bs_partition_name('message_logs', month);
        lock_rows := format(
            'SELECT coalesce(array_agg(l.id), ''{}''), coalesce(array_agg(l.id) FILTER (WHERE l.stale), ''{}'')'
            '  FROM (SELECT m.id, %s AS stale'
            '          FROM (SELECT DISTINCT c.id, c.send_time FROM unnest($1, $2) AS c (id, send_time)) c'
            '               JOIN %s AS m ON m.id = c.id'
            '         WHERE (m.scheduled_send_time = c.send_time'
            '                AND m.scheduled_send_time BETWEEN $3 AND $4'
            '                AND (m.status = ''QUEUED'''
            '                     OR (m.status IN (''SCHEDULED'', ''RETRYING'') AND m.due_at <= $4))) IS TRUE'
            '           AND m.id <> ALL ($5)'
            '           FOR NO KEY UPDATE OF m ', @extschema@.bs_stale_condition(), part);
        EXECUTE lock_rows || 'SKIP LOCKED) l'
           INTO held, stale
          USING ids, send_times, oldest, as_of, ARRAY[]::uuid[];
        IF cardinality(held) < given THEN
            BEGIN
                EXECUTE lock_rows || ') l'
                   INTO held_later, stale_later
                  USING ids, send_times, oldest, as_of, held;
                held := held || held_later;
                stale := stale || stale_later;
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
                    NULL;
            END;
        END IF;
        IF stale <> '{}' THEN
            PERFORM @extschema@.bs_refresh(stale, as_of);
        END IF;
        IF held <> '{}' THEN
            RETURN QUERY EXECUTE @extschema@.bs_claim_statement(part)
            USING held, as_of, lease, claimed_by, token;
        END IF;
        IF cardinality(held) < given THEN
            RETURN QUERY EXECUTE format(
                'SELECT DISTINCT m.id, m.scheduled_send_time, NULL::uuid,'
                '       CASE m.status WHEN ''FAILED'' THEN m.attempts END, NULL::varchar,'
                '       NULL::varchar, NULL::text, NULL::text, NULL::text, NULL::varchar'
                '  FROM unnest($1, $2) AS c (id, send_time)'
                '       JOIN %s AS m ON m.id = c.id'
                ' WHERE (m.scheduled_send_time = c.send_time'
                '        AND (m.status = ''FAILED'''
                '             OR m.scheduled_send_time BETWEEN $3 AND $4'
                '                AND (m.status = ''QUEUED'''
                '                     OR (m.status IN (''SCHEDULED'', ''RETRYING'') AND m.due_at <= $4)))) IS TRUE'
                '   AND m.id <> ALL ($5)', part)
            USING ids, send_times, oldest, as_of, held;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_claim_copies(text, interval, uuid[], timestamptz[], timestamptz) IS
'Leases to a sender those of the messages whose copies it received that are due, as bs_claim(): what is finished, cancelled, claimed, moved to another time, not due yet or unknown is not among the answers. Messages that are FAILED are, with claim_token NULL and without the letter: their copies are dead letters. So are, with attempts NULL as well, those that somebody else has locked, and all while the database is paused: ask again. Commit before sending. Error 40001 where a row was just moved to another month: try again. Nothing where this database is not adopted.';
REVOKE ALL ON FUNCTION @extschema@.bs_claim_copies(text, interval, uuid[], timestamptz[], timestamptz) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_take_back(
    max_messages bigint, as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    taken_back bigint;
    first_due timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM @extschema@.message_logs m WHERE m.status = 'QUEUED') THEN
        RETURN 0;
    END IF;
    WITH queued AS (
        SELECT m.id, m.scheduled_send_time
          FROM @extschema@.message_logs m
               JOIN @extschema@.users u ON u.id = m.user_id
         WHERE m.status = 'QUEUED'
         LIMIT max_messages
           FOR SHARE OF u SKIP LOCKED
           FOR NO KEY UPDATE OF m SKIP LOCKED
    ), moved AS (
        UPDATE @extschema@.message_logs m
           SET status = CASE WHEN m.attempts > 0 THEN 'RETRYING' ELSE 'SCHEDULED' END,
               due_at = m.scheduled_send_time,
               updated_at = as_of
          FROM queued q
         WHERE m.id = q.id
           AND m.scheduled_send_time = q.scheduled_send_time
        RETURNING m.due_at
    )
    SELECT count(*), min(v.due_at) INTO taken_back, first_due FROM moved v;
    IF taken_back > 0 THEN
        PERFORM @extschema@.bs_wake_senders(first_due);
    END IF;
    RETURN taken_back;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_take_back(bigint, timestamptz) IS
'Takes up to so many messages back from the broker, for senders that claim by themselves: SCHEDULED or, once attempted, RETRYING, and due. Copies that the broker still has find nothing to do. Gives their number.';
REVOKE ALL ON FUNCTION @extschema@.bs_take_back(bigint, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_record(
    ids uuid[], send_times timestamptz[], tokens uuid[], states text[], reasons text[],
    next_attempts timestamptz[], codes integer[], replies text[], errors text[],
    ended_at timestamptz[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET lock_timeout = '100ms'
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    move CONSTANT text :=
        'UPDATE @extschema@.%1$I AS m'
        '   SET status = CASE r.state WHEN ''RELEASED'' THEN ''RETRYING'' ELSE r.state END,'
        '       status_reason = r.reason,'
        '       due_at = CASE WHEN r.state IN (''RETRYING'', ''RELEASED'') THEN r.next_attempt END,'
        '       actual_send_time = CASE r.state WHEN ''SENT'' THEN r.ended_at END,'
        '       attempts = CASE r.state WHEN ''RELEASED'' THEN m.attempts - 1 ELSE m.attempts END,'
        '       retry_count = CASE r.state WHEN ''RELEASED'' THEN greatest(m.attempts - 2, 0) ELSE m.retry_count END,'
        '       api_response_code = coalesce(r.code, m.api_response_code),'
        '       api_response_body = coalesce(r.reply, m.api_response_body),'
        '       error_message = CASE r.state WHEN ''SENT'' THEN NULL ELSE coalesce(r.error, m.error_message) END,'
        '       claim_token = NULL,'
        '       updated_at = clock_timestamp()'
        '  FROM (SELECT o.*'
        '          FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)'
        '               AS o (id, token, state, reason, next_attempt, code, reply, error, ended_at)'
        '               %2$s) AS r'
        ' WHERE m.id = r.id'
        '   AND (m.status = ''SENDING'' AND m.claim_token = r.token) IS TRUE';
    recorded bigint := 0;
    moved bigint;
    month date;
    part text;
BEGIN
    -- By partition, so that the others are not even opened; no table that merely
    -- has the name of one.
    FOR month IN SELECT @extschema@.bs_months_of(send_times) LOOP
        part := @extschema@.bs_partition_name('message_logs', month);
        BEGIN
            EXECUTE format(move, part, '')
            USING ids, tokens, states, reasons, next_attempts, codes, replies, errors, ended_at;
            GET DIAGNOSTICS moved = ROW_COUNT;
        EXCEPTION
            WHEN lock_not_available THEN
                EXECUTE format(move, part, format(
                    'JOIN @extschema@.%I AS l ON l.id = o.id FOR NO KEY UPDATE OF l SKIP LOCKED', part))
                USING ids, tokens, states, reasons, next_attempts, codes, replies, errors, ended_at;
                GET DIAGNOSTICS moved = ROW_COUNT;
                recorded := recorded + moved;
                EXECUTE format(
                    'INSERT INTO @extschema@.bs_pending_outcomes'
                    '       (id, scheduled_send_time, claim_token, state, reason, next_attempt, code, reply, error, ended_at)'
                    'SELECT m.id, m.scheduled_send_time, o.token, o.state, o.reason, o.next_attempt, o.code, o.reply, o.error, o.ended_at'
                    '  FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)'
                    '       AS o (id, token, state, reason, next_attempt, code, reply, error, ended_at)'
                    '       JOIN @extschema@.%I AS m ON m.id = o.id'
                    ' WHERE (m.status = ''SENDING'' AND m.claim_token = o.token) IS TRUE'
                    '    ON CONFLICT DO NOTHING', part)
                USING ids, tokens, states, reasons, next_attempts, codes, replies, errors, ended_at;
                GET DIAGNOSTICS moved = ROW_COUNT;
        END;
        recorded := recorded + moved;
    END LOOP;
    IF recorded > 0 AND ('RETRYING' = ANY (states) OR 'RELEASED' = ANY (states)) THEN
        PERFORM @extschema@.bs_wake_senders((SELECT min(n) FROM unnest(next_attempts) AS n));
    END IF;
    RETURN recorded;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_record(uuid[], timestamptz[], uuid[], text[], text[], timestamptz[], integer[], text[], text[], timestamptz[]) IS
'Records outcomes, one per array position: SENT, FAILED, EXPIRED, RETRYING (again at next_attempt) or RELEASED (the attempt is not counted). Only the holder of the claim is heard; gives the number recorded. What somebody else has locked counts: it is noted in bs_pending_outcomes.';

CREATE FUNCTION @extschema@.bs_record_pending()
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM @extschema@.bs_pending_outcomes) THEN
        RETURN 0;
    END IF;
    PERFORM @extschema@.bs_record(array_agg(p.id), array_agg(p.scheduled_send_time), array_agg(p.claim_token),
                                  array_agg(p.state), array_agg(p.reason), array_agg(p.next_attempt), array_agg(p.code),
                                  array_agg(p.reply), array_agg(p.error), array_agg(p.ended_at))
       FROM @extschema@.bs_pending_outcomes p;
    DELETE FROM @extschema@.bs_pending_outcomes p
     WHERE NOT EXISTS (SELECT
                         FROM @extschema@.message_logs m
                        WHERE m.id = p.id
                          AND m.scheduled_send_time = p.scheduled_send_time
                          AND m.status = 'SENDING'
                          AND m.claim_token = p.claim_token);
    RETURN (SELECT count(*) FROM @extschema@.bs_pending_outcomes);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_record_pending() IS
'Records what was noted because somebody had the message locked; gives the number that still is.';
REVOKE ALL ON FUNCTION @extschema@.bs_record_pending() FROM PUBLIC;

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
           FROM @extschema@.bs_upkeep_log l
          WHERE l.task = bs_cron_state.task),
        'absent');
END;
COMMENT ON FUNCTION @extschema@.bs_cron_state(text) IS
'Does pg_cron do this task? absent: not registered; alive; stale: registered, and it has not run for 25 hours.';
REVOKE ALL ON FUNCTION @extschema@.bs_cron_state(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_lost_zones()
RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.count(*)::integer
      FROM (SELECT DISTINCT u.timezone FROM @extschema@.users u WHERE u.deleted_at IS NULL) z
     WHERE NOT @extschema@.bs_is_timezone(z.timezone::text);
END;
COMMENT ON FUNCTION @extschema@.bs_lost_zones() IS
'How many time zones of users the server does not know (any more). Reads all users.';
REVOKE ALL ON FUNCTION @extschema@.bs_lost_zones() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_upkeep(task text, done_by text DEFAULT 'hand')
RETURNS text
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
      FROM @extschema@.bs_upkeep_log l
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
        UPDATE @extschema@.bs_installation SET lost_zones = @extschema@.bs_lost_zones();
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

    UPDATE @extschema@.bs_upkeep_log l
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
REVOKE ALL ON FUNCTION @extschema@.bs_upkeep(text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_run_in_database(dbname text, query text)
RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'bs_run_in_database';
COMMENT ON FUNCTION @extschema@.bs_run_in_database(text, text) IS
'Runs a query that answers with one JSON value, at most 60 kB, in another database of this server: as the caller, in a background worker and a transaction of its own. Superusers only. Errors: those of the query; 42501; 53400 where there is no free worker slot; 57014 after 30 seconds; 55000 where the worker left without an answer.';
REVOKE ALL ON FUNCTION @extschema@.bs_run_in_database(text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_cron_database()
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found text := current_setting('cron.database_name', true);
BEGIN
    IF found IS NULL OR current_setting('shared_preload_libraries') !~ '\mpg_cron\M'
       OR NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = found) THEN
        RETURN NULL;
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_cron_database() IS
'The database in which pg_cron keeps its jobs; NULL where it is not loaded.';
REVOKE ALL ON FUNCTION @extschema@.bs_cron_database() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_cron_query(query text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found jsonb;
BEGIN
    IF @extschema@.bs_cron_database() <> current_database() THEN
        RETURN @extschema@.bs_run_in_database(@extschema@.bs_cron_database(), query);
    END IF;
    EXECUTE query INTO found;
    RETURN found;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_cron_query(text) IS
'Runs a query that answers with one JSON value where pg_cron lives; in another database it is committed at once.';
REVOKE ALL ON FUNCTION @extschema@.bs_cron_query(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_is_cron_there()
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @extschema@.bs_cron_database() IS NOT NULL
       AND (@extschema@.bs_cron_query($query$
                SELECT to_jsonb(to_regprocedure('cron.schedule_in_database(text, text, text, text, text, boolean)') IS NOT NULL)
            $query$))::boolean;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_is_cron_there() IS
'Is pg_cron, 1.4 or newer, loaded and created?';
REVOKE ALL ON FUNCTION @extschema@.bs_is_cron_there() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_cron_jobs(
    OUT task text, OUT jobname text, OUT schedule text, OUT command text)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT t.task, n.name, t.schedule,
           pg_catalog.format('DO $bs$ BEGIN'
                  ' IF to_regprocedure(%L) IS NOT NULL THEN PERFORM %s(%L, ''pg_cron'');'
                  ' ELSIF to_regclass(''cron.job'') IS NOT NULL THEN'
                  ' PERFORM cron.unschedule(j.jobid) FROM cron.job AS j WHERE j.jobname::text = %L;'
                  ' END IF; END $bs$',
                  '@extschema@.bs_upkeep(text, text)', '@extschema@.bs_upkeep', t.task, n.name)
      FROM (VALUES ('partitions', '11 1 * * *'), ('retention', '41 1 * * *'), ('recovery', '*/10 * * * *'))
           AS t (task, schedule)
           CROSS JOIN LATERAL (SELECT pg_catalog.format('birthday_scheduler %s in %s', t.task, pg_catalog.current_database())) AS n (name);
END;
COMMENT ON FUNCTION @extschema@.bs_cron_jobs() IS
'The jobs that bs_install_cron() registers, with their usual schedules (GMT).';
REVOKE ALL ON FUNCTION @extschema@.bs_cron_jobs() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_install_cron(
    partitions text DEFAULT NULL, retention text DEFAULT NULL, recovery text DEFAULT NULL)
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    jobs text;
    owner text;
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION 'only superusers can register jobs with pg_cron'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT @extschema@.bs_is_cron_there() THEN
        RAISE EXCEPTION 'pg_cron 1.4 or newer is not there'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Add pg_cron to shared_preload_libraries, restart, and CREATE EXTENSION pg_cron in the database that cron.database_name names; or leave it: the scheduler does the upkeep by itself.';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('birthday_scheduler'), hashtext('@extschema@.bs_install_cron'));
    SELECT r.rolname INTO owner
      FROM pg_extension e JOIN pg_roles r ON r.oid = e.extowner
     WHERE e.extname = 'birthday_scheduler';
    SELECT string_agg(format('(%L, %L, %L, %L)', j.jobname, w.schedule, j.schedule, j.command), ', ') INTO jobs
      FROM @extschema@.bs_cron_jobs() j
           JOIN (VALUES ('partitions', partitions), ('retention', retention), ('recovery', recovery))
                AS w (task, schedule) USING (task);
    RETURN QUERY
        SELECT a.name
          FROM jsonb_array_elements_text(@extschema@.bs_cron_query(format($query$
                SELECT coalesce(jsonb_agg(q.name), '[]') FROM (
                SELECT w.name,
                       CASE WHEN j.jobid IS NULL
                            THEN cron.schedule_in_database(w.name, coalesce(w.schedule, w.usual), w.command, %1$L, %2$L, true)
                            ELSE (SELECT j.jobid FROM cron.alter_job(j.jobid, w.schedule, w.command, %1$L, NULL, NULL))
                       END AS job
                  FROM (VALUES %3$s) AS w (name, schedule, usual, command)
                       LEFT JOIN cron.job j ON j.jobname::text = w.name
                 WHERE j.jobid IS NULL
                    OR (coalesce(w.schedule, j.schedule), w.command, %1$L) IS DISTINCT FROM (j.schedule, j.command, j.database)
                 ORDER BY w.name OFFSET 0) AS q WHERE q.job IS NOT NULL
            $query$, current_database(), owner, jobs))) AS a (name);
    INSERT INTO @extschema@.bs_upkeep_log AS l (task, cron_since)
    SELECT j.task, now() FROM @extschema@.bs_cron_jobs() j
        ON CONFLICT (task) DO UPDATE SET cron_since = excluded.cron_since
     WHERE l.cron_since IS NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_install_cron(text, text, text) IS
'Registers the upkeep of partitions, retention and recovery with pg_cron and gives the names of the jobs it made or changed; nothing where all is there. NULL: the usual schedule (daily at 01:11 and 01:41, every ten minutes; GMT), or what the job has. Superusers only. Errors: 55000 where pg_cron is not there, 42501, and pg_cron''s own for a bad schedule.';
REVOKE ALL ON FUNCTION @extschema@.bs_install_cron(text, text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_uninstall_cron()
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names text;
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION 'only superusers can take jobs out of pg_cron'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE @extschema@.bs_upkeep_log SET cron_since = NULL, cron_at = NULL;
    IF NOT @extschema@.bs_is_cron_there() THEN
        RETURN;
    END IF;
    SELECT string_agg(quote_literal(j.jobname), ', ') INTO names FROM @extschema@.bs_cron_jobs() j;
    PERFORM @extschema@.bs_cron_query(format($query$
        WITH gone AS (
            DELETE FROM cron.job_run_details d USING cron.job j
             WHERE j.jobid = d.jobid AND j.jobname::text IN (%s) RETURNING 1)
        SELECT to_jsonb(count(*)) FROM gone
    $query$, names));
    RETURN QUERY
        SELECT a.name
          FROM jsonb_array_elements_text(@extschema@.bs_cron_query(format($query$
                SELECT coalesce(jsonb_agg(q.name), '[]')
                  FROM (SELECT j.jobname::text AS name, cron.unschedule(j.jobid) AS gone
                          FROM cron.job j WHERE j.jobname::text IN (%s) ORDER BY 1 OFFSET 0) AS q
                 WHERE q.gone
            $query$, names))) AS a (name);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_uninstall_cron() IS
'Takes our jobs out of pg_cron, with the record of their runs, and gives their names; nothing where there are none. Superusers only.';
REVOKE ALL ON FUNCTION @extschema@.bs_uninstall_cron() FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_update_user(id uuid, changes jsonb)
RETURNS @extschema@.users
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    known constant text[] := '{first_name,last_name,email,timezone,birthday_date,anniversary_date,location_city,location_country}';
    required constant text[] := '{first_name,last_name,email,timezone}';
    old_user @extschema@.users;
    new_user @extschema@.users;
    bad text;
BEGIN
    IF jsonb_typeof(changes) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'changes must be a JSON object'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write {"timezone": "Europe/Kyiv"}; null clears a value (RFC 7396).';
    END IF;
    SELECT k INTO bad FROM jsonb_object_keys(changes) AS k WHERE k <> ALL (known) ORDER BY k LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'a user has no value "%" that can be changed', bad
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('The values are %s.', array_to_string(known, ', '));
    END IF;
    SELECT k.key INTO bad FROM jsonb_each(changes) AS k
     WHERE jsonb_typeof(k.value) NOT IN ('string', 'null')
        OR (jsonb_typeof(k.value) = 'null' AND k.key = ANY (required)) ORDER BY k.key LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'the value of "%" must be a string%', bad,
            CASE WHEN bad = ANY (required) THEN ' and cannot be cleared' ELSE ' or null' END
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- No "today" and no "02/03/04".
    SELECT k.key INTO bad FROM jsonb_each_text(changes) AS k
     WHERE k.key IN ('birthday_date', 'anniversary_date') AND k.value !~ '^\d{4}-\d\d-\d\d$' ORDER BY k.key LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION '% must be a date such as "1990-02-28"', bad
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    SELECT u.* INTO old_user FROM @extschema@.users u
     WHERE u.id = bs_update_user.id FOR NO KEY UPDATE;
    IF NOT FOUND OR old_user.deleted_at IS NOT NULL THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_update_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
    new_user := jsonb_populate_record(old_user, changes);
    UPDATE @extschema@.users u
       SET (first_name, last_name, email, timezone, birthday_date, anniversary_date,
            location_city, location_country)
         = (new_user.first_name, new_user.last_name, new_user.email, new_user.timezone,
            new_user.birthday_date, new_user.anniversary_date,
            new_user.location_city, new_user.location_country)
     WHERE u.id = bs_update_user.id
    RETURNING u.* INTO new_user;
    RETURN new_user;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'a user with this e-mail address exists'
            USING ERRCODE = 'unique_violation',
                  HINT = 'Addresses are compared without case. Change or delete the other user first.';
    WHEN invalid_datetime_format OR datetime_field_overflow THEN
        RAISE EXCEPTION 'birthday_date and anniversary_date must be dates such as "1990-02-28"'
            USING ERRCODE = 'invalid_parameter_value';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_update_user(uuid, jsonb) IS
'Changes the values that the JSON object names (RFC 7396: null clears) and plans the user again. Errors: 22023 for a bad or unknown value, 22001 for one that is too long, 23505 for an address in use, P0002 for an unknown or deleted user.';

CREATE OR REPLACE FUNCTION @extschema@.bs_delete_user(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Not the condition of partial indexes, which by statistics of when the table was
    -- empty cost nothing to read from end to end.
    UPDATE @extschema@.users u SET deleted_at = now()
     WHERE u.id = bs_delete_user.id AND (u.deleted_at IS NOT NULL) IS NOT TRUE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_delete_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_delete_user(uuid) IS
'Soft delete: no more mail, what is pending is cancelled, the address can be used again. Error P0002 for an unknown or deleted user.';

CREATE FUNCTION @extschema@.bs_user_fault(
    first_name text, last_name text, email text, timezone text,
    birthday_date text, anniversary_date text, location_city text, location_country text,
    OUT column_name text, OUT code text, OUT reason text, OUT hint text)
RETURNS record
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'bs_user_fault';
COMMENT ON FUNCTION @extschema@.bs_user_fault(text, text, text, text, text, text, text, text) IS
'What is wrong with a user whose values come as text: the first column that is, SQLSTATE, reason, hint; NULL where nothing is.';
REVOKE ALL ON FUNCTION @extschema@.bs_user_fault(text, text, text, text, text, text, text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_import_rows(
    lines bigint[], first_names text[], last_names text[], emails text[], timezones text[],
    birthday_dates text[], anniversary_dates text[], location_cities text[], location_countries text[])
RETURNS TABLE (line bigint, column_name text, code text, reason text, hint text)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD'
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM @extschema@.bs_adopt(false);
    RETURN QUERY
    WITH checked AS MATERIALIZED (
        SELECT r.*, gen_random_uuid() AS id,
               @extschema@.bs_user_fault(r.first_name, r.last_name, r.email, r.timezone,
                   nullif(btrim(r.birthday_date), ''), nullif(btrim(r.anniversary_date), ''),
                   r.location_city, r.location_country) AS fault
          FROM unnest(lines, first_names, last_names, emails, timezones,
                      birthday_dates, anniversary_dates, location_cities, location_countries)
               AS r (line, first_name, last_name, email, timezone,
                     birthday_date, anniversary_date, location_city, location_country)
    ), added AS (
        INSERT INTO @extschema@.users
               (id, first_name, last_name, email, timezone, birthday_date, anniversary_date,
                location_city, location_country)
        SELECT c.id, c.first_name, c.last_name, c.email, c.timezone,
               nullif(btrim(c.birthday_date), '')::date, nullif(btrim(c.anniversary_date), '')::date,
               c.location_city, c.location_country
          FROM checked c
         WHERE (c.fault).code IS NULL
         ORDER BY c.line
            ON CONFLICT DO NOTHING
        RETURNING id
    )
    SELECT c.line, coalesce((c.fault).column_name, 'email'), coalesce((c.fault).code, '23505'),
           coalesce((c.fault).reason, 'a user with this e-mail address exists'),
           CASE WHEN (c.fault).code IS NOT NULL THEN (c.fault).hint
                ELSE coalesce((SELECT format('It is user %s.', u.id)
                                 FROM @extschema@.users u
                                WHERE lower(u.email COLLATE "C") = lower(btrim(c.email) COLLATE "C")
                                  AND u.deleted_at IS NULL),
                              'It came with an earlier row.')
           END
      FROM checked c
     WHERE c.id NOT IN (SELECT a.id FROM added a)
     ORDER BY c.line;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_import_rows(bigint[], text[], text[], text[], text[], text[], text[], text[], text[]) IS
'Adds the users that the arrays describe, an element each, and gives the rows that it did not take, and why. For bs_import_users().';
REVOKE ALL ON FUNCTION @extschema@.bs_import_rows(bigint[], text[], text[], text[], text[], text[], text[], text[], text[]) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_import_users(source regclass)
RETURNS TABLE (line bigint, column_name text, code text, reason text, hint text)
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    chunk constant integer := 10000;
    known constant text[] := '{first_name,last_name,email,timezone,birthday_date,anniversary_date,location_city,location_country}';
    there text[];
    bad text;
    part record;
    refused bigint;
    total bigint := 0;
    total_refused bigint := 0;
BEGIN
    SELECT coalesce(array_agg(a.attname::text), '{}') INTO there
      FROM pg_attribute a
     WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped;
    SELECT format('has no column "%s"', k) INTO bad
      FROM unnest(known[1:4]) AS k WHERE k <> ALL (there) LIMIT 1;
    IF bad IS NULL THEN
        SELECT format('has a column "%s", which is not taken', k) INTO bad
          FROM unnest(there) AS k WHERE k <> ALL (known || text 'line') LIMIT 1;
    END IF;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'relation % %', source, bad
            USING ERRCODE = 'undefined_column',
                  HINT = format('The columns are %s, and line for the row''s number; all but the first four may be absent. A view can leave out and rename.',
                                array_to_string(known, ', '));
    END IF;

    FOR part IN EXECUTE format(
        'SELECT array_agg(r.line) AS lines, %s
           FROM (SELECT s.*, row_number() OVER () AS n
                   FROM (SELECT %s AS line, %s FROM %s) s) r
          GROUP BY (r.n - 1) / %s
          ORDER BY (r.n - 1) / %5$s',
        (SELECT string_agg(format('array_agg(r.%I) AS %1$I', k), ', ') FROM unnest(known) AS k),
        CASE WHEN 'line' = ANY (there) THEN 'line::bigint' ELSE 'row_number() OVER ()' END,
        (SELECT string_agg(CASE WHEN k = ANY (there) THEN format('%I::text', k)
                                ELSE format('NULL::text AS %I', k) END, ', ') FROM unnest(known) AS k),
        source, chunk)
    LOOP
        RETURN QUERY
        SELECT * FROM @extschema@.bs_import_rows(part.lines, part.first_name, part.last_name, part.email, part.timezone,
            part.birthday_date, part.anniversary_date, part.location_city, part.location_country);
        GET DIAGNOSTICS refused = ROW_COUNT;
        total := total + cardinality(part.lines);
        total_refused := total_refused + refused;
    END LOOP;
    RAISE NOTICE '% rows: % users added, % rows refused', total, total - total_refused, total_refused;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_import_users(regclass) IS
'Adds the users in a table or view, whose columns are text and named as those of users, and plans what is due within the horizon. Gives the rows that were not taken: their number (column line, or counted), the column at fault, SQLSTATE (22023 bad value, 22001 too long, 23505 address in use), reason, hint; so it can be repeated. Error 42703: other columns.';
REVOKE ALL ON FUNCTION @extschema@.bs_import_users(regclass) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_upcoming(within interval DEFAULT '7 days')
RETURNS TABLE (send_at timestamptz, user_id uuid, message_type varchar, local_date date, timezone varchar, status varchar)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF within IS NULL OR within NOT BETWEEN interval '0' AND interval '400 days' THEN
        RAISE EXCEPTION 'within must lie between 0 and 400 days, not %', coalesce(within::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT DISTINCT ON (p.send_at, e.user_id, e.message_type)
           p.send_at, e.user_id, e.message_type, s.local_date, e.timezone,
           coalesce(m.status, 'not planned yet'::varchar)
      FROM @extschema@.bs_plan_slices(now(), now() + within) s
           JOIN @extschema@.bs_events e
             ON e.message_type = s.message_type AND e.date_source = s.date_source AND e.month_day = s.month_day
           CROSS JOIN LATERAL (
               SELECT @extschema@.bs_send_time_or_null(e.timezone::text, s.local_date, e.send_time) AS send_at) p
           LEFT JOIN @extschema@.message_logs m
             ON m.user_id = e.user_id AND m.message_type = e.message_type
            AND m.local_date = s.local_date AND m.scheduled_send_time = p.send_at
     WHERE p.send_at BETWEEN now() AND now() + within
       AND p.send_at >= e.since
       AND @extschema@.bs_is_owed(e.event_date, s.local_date, e.cadence::text, e.feb29_policy::text)
     ORDER BY p.send_at, e.user_id, e.message_type;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_upcoming(interval) IS
'Who gets what, and when, from now on within so long (at most 400 days), also beyond the horizon. Error 22023.';

CREATE OR REPLACE FUNCTION @extschema@.bs_preview(user_id uuid, message_type text, year integer,
    OUT send_at timestamptz, OUT subject text, OUT message_content text, OUT html_content text)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM @extschema@.bs_get_user(bs_preview.user_id);
    IF NOT EXISTS (SELECT FROM @extschema@.message_types t WHERE t.name = bs_preview.message_type) THEN
        RAISE EXCEPTION 'message type "%" does not exist', bs_preview.message_type
            USING ERRCODE = 'no_data_found';
    END IF;
    SELECT @extschema@.bs_send_time(u.timezone::text, d.local_date, t.send_time),
           @extschema@.bs_render(t.subject_template, 'header', u.first_name::text, u.last_name::text,
                                 e.event_date, d.local_date, u.location_city::text, u.location_country::text),
           @extschema@.bs_render(t.text_template, 'plain', u.first_name::text, u.last_name::text,
                                 e.event_date, d.local_date, u.location_city::text, u.location_country::text),
           @extschema@.bs_render(t.html_template, 'html', u.first_name::text, u.last_name::text,
                                 e.event_date, d.local_date, u.location_city::text, u.location_country::text)
      INTO send_at, subject, message_content, html_content
      FROM @extschema@.bs_events e
           JOIN @extschema@.users u ON u.id = e.user_id
           JOIN @extschema@.message_types t ON t.name = e.message_type
           CROSS JOIN LATERAL (
               SELECT @extschema@.bs_occurrence(e.event_date, bs_preview.year, t.feb29_policy::text) AS local_date) d
     WHERE e.user_id = bs_preview.user_id
       AND e.message_type = bs_preview.message_type
       AND @extschema@.bs_is_owed(e.event_date, d.local_date, t.cadence::text, t.feb29_policy::text)
     ORDER BY d.local_date
     LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % has no occasion of type "%" in %', bs_preview.user_id, bs_preview.message_type, bs_preview.year
            USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_preview(uuid, text, integer) IS
'The message as it would be sent in that year (1 to 9999). Errors: 22023 for the year, P0002 for an unknown user or type, or no occasion.';

CREATE OR REPLACE FUNCTION @extschema@.bs_explain(user_id uuid)
RETURNS TABLE (message_type varchar, next_date date, send_at timestamptz, status varchar, explanation text)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET intervalstyle = 'postgres'
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    who @extschema@.users := @extschema@.bs_get_user(bs_explain.user_id);
    state text := @extschema@.bs_installation_state();
BEGIN
    RETURN QUERY
    SELECT t.name, w.local_date, w.send_at, w.status,
           CASE
               WHEN who.deleted_at IS NOT NULL THEN 'the user is deleted'
               WHEN NOT t.enabled THEN 'the message type is disabled'
               WHEN NOT @extschema@.bs_is_timezone(who.timezone::text) THEN 'the server does not know the time zone "' || who.timezone || '"'
               WHEN w.local_date IS NULL THEN
                   CASE t.date_source WHEN 'user_dates' THEN 'the user has no such date ahead'
                                      ELSE 'the user has no ' || t.date_source END
               WHEN state = 'copy' THEN 'this database is a copy; bs_resume() adopts it'
               WHEN state = 'new' THEN 'this database was not adopted yet; bs_resume() does it'
               WHEN state = 'paused' AND (w.status IS NULL OR w.status IN ('SCHEDULED', 'QUEUED', 'RETRYING'))
                   THEN 'sending is paused; bs_resume() goes on'
               WHEN w.status IS NOT NULL THEN concat_ws(': ', lower(w.status), w.status_reason)
               WHEN w.send_at > now() + @extschema@.bs_horizon() THEN 'will be planned ' || @extschema@.bs_horizon() || ' before it is due'
               ELSE 'will be planned at the next pass'
           END
           || CASE WHEN w.is_past OR past.status IS NULL THEN ''
                   ELSE format('; that of %s was %s', past.local_date, concat_ws(': ', lower(past.status), past.status_reason)) END
      FROM @extschema@.message_types t
           LEFT JOIN LATERAL (
               SELECT d.local_date, p.send_at
                 FROM @extschema@.bs_events e
                      CROSS JOIN generate_series(extract(year FROM now())::integer - 1,
                                                 extract(year FROM now())::integer + 9) AS y (year)
                      CROSS JOIN LATERAL (
                          SELECT CASE e.cadence WHEN 'once' THEN e.event_date
                                 ELSE @extschema@.bs_occurrence(e.event_date, y.year, e.feb29_policy::text) END AS local_date) d
                      CROSS JOIN LATERAL (
                          SELECT @extschema@.bs_send_time_or_null(e.timezone::text, d.local_date, e.send_time) AS send_at) p
                WHERE e.user_id = bs_explain.user_id
                  AND e.message_type = t.name
                  AND p.send_at >= greatest(now(), e.since)
                  AND @extschema@.bs_is_owed(e.event_date, d.local_date, e.cadence::text, e.feb29_policy::text)
                ORDER BY p.send_at
                LIMIT 1) n ON true
           LEFT JOIN @extschema@.message_logs m
             ON m.user_id = bs_explain.user_id AND m.message_type = t.name
            AND m.local_date = n.local_date AND m.scheduled_send_time = n.send_at
           -- What should have gone out and did not comes first.
           LEFT JOIN LATERAL (
               SELECT o.local_date, o.scheduled_send_time, o.status, o.status_reason
                 FROM @extschema@.message_logs o
                WHERE o.user_id = bs_explain.user_id AND o.message_type = t.name
                  AND o.scheduled_send_time >= now() - @extschema@.bs_max_lateness() - interval '48 hours'
                  AND o.scheduled_send_time < now()
                ORDER BY o.scheduled_send_time DESC
                LIMIT 1) past ON true
           CROSS JOIN LATERAL (
               SELECT past.local_date, past.scheduled_send_time, past.status, past.status_reason, true
                WHERE past.status IN ('SCHEDULED', 'QUEUED', 'SENDING', 'RETRYING')
               UNION ALL
               SELECT n.local_date, n.send_at, m.status, m.status_reason, false
                WHERE past.status IN ('SCHEDULED', 'QUEUED', 'SENDING', 'RETRYING') IS NOT TRUE)
               AS w (local_date, send_at, status, status_reason, is_past)
     ORDER BY w.send_at NULLS LAST, t.name;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_explain(uuid) IS
'For each message type: the user''s next date and instant, or those of a message that is late and still to be sent, the state of its message, and if nothing will go out, why not; then what became of the message of the last days, if there was one. Error P0002 for an unknown id.';

CREATE FUNCTION @extschema@.bs_ical_line(name text, value text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
           WHEN pg_catalog.octet_length(name || ':' || value) <= 75 THEN name || ':' || value
           WHEN pg_catalog.octet_length(name || value) = pg_catalog.length(name || value) THEN
               pg_catalog.regexp_replace(name || ':' || value, '(.{74})(?=.)', E'\\1\r\n ', 'g')
           ELSE pg_catalog.regexp_replace(name || ':' || value, '(.{18})(?=.)', E'\\1\r\n ', 'g')
       END || E'\r\n';
COMMENT ON FUNCTION @extschema@.bs_ical_line(text, text) IS
'A content line of iCalendar, folded (RFC 5545, 3.1).';
REVOKE ALL ON FUNCTION @extschema@.bs_ical_line(text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_ical_text(value text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.regexp_replace(
    pg_catalog.regexp_replace(value, '[\u0001-\u001f\u007f-\u009f\u2028\u2029]+', ' ', 'g'),
    '([\\;,])', '\\\1', 'g');
COMMENT ON FUNCTION @extschema@.bs_ical_text(text) IS
'A text value of iCalendar, escaped (RFC 5545, 3.3.11); control characters become a blank.';
REVOKE ALL ON FUNCTION @extschema@.bs_ical_text(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_calendar(VARIADIC user_ids uuid[])
RETURNS text
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    unknown text;
    events text;
BEGIN
    SELECT coalesce(w.id::text, 'NULL') INTO unknown
      FROM unnest(bs_calendar.user_ids) AS w (id)
     WHERE NOT EXISTS (SELECT FROM @extschema@.users u WHERE u.id = w.id)
     ORDER BY w.id LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'user % does not exist', unknown
            USING ERRCODE = 'no_data_found';
    END IF;

    SELECT string_agg(
               E'BEGIN:VEVENT\r\n'
               || @extschema@.bs_ical_line('UID', format('%s-%s%s@birthday_scheduler', e.user_id, e.message_type,
                      CASE e.date_source WHEN 'user_dates' THEN to_char(e.event_date, '"-"YYYYMMDD') END))
               || @extschema@.bs_ical_line('DTSTAMP', to_char(u.updated_at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"'))
               || @extschema@.bs_ical_line('DTSTART;VALUE=DATE', to_char(n.local_date, 'YYYYMMDD'))
               || CASE
                      WHEN e.cadence = 'once' THEN ''
                      ELSE @extschema@.bs_ical_line('RRULE', 'FREQ=YEARLY' ||
                          CASE WHEN e.month_day <> 229 THEN '' ELSE
                              CASE e.feb29_policy WHEN 'feb28' THEN ';BYMONTH=2;BYMONTHDAY=-1'
                                                  WHEN 'mar1' THEN ';BYYEARDAY=60'
                                                  ELSE ';BYMONTH=2;BYMONTHDAY=29' END END)
                  END
               || @extschema@.bs_ical_line('SUMMARY', @extschema@.bs_ical_text(
                      format('%s %s: %s', u.first_name, u.last_name, replace(lower(e.message_type), '_', ' '))))
               || @extschema@.bs_ical_line('DESCRIPTION', @extschema@.bs_ical_text(
                      format('Mailed at %s, %s.', to_char(e.send_time, 'HH24:MI'), e.timezone)))
               || E'TRANSP:TRANSPARENT\r\nEND:VEVENT\r\n',
               '' ORDER BY n.local_date, u.last_name COLLATE "C", u.first_name COLLATE "C", e.user_id, e.message_type COLLATE "C", e.event_date)
      INTO events
      FROM @extschema@.bs_events e
           JOIN @extschema@.users u ON u.id = e.user_id
           CROSS JOIN LATERAL (
               SELECT d.local_date
                 FROM (SELECT greatest(extract(year FROM e.since)::integer - 1,
                                       extract(year FROM e.event_date)::integer) AS year) b
                      CROSS JOIN generate_series(b.year, least(b.year + 10, 9999)) AS y (year)
                      CROSS JOIN LATERAL (
                          SELECT CASE e.cadence WHEN 'once' THEN e.event_date
                                 ELSE @extschema@.bs_occurrence(e.event_date, y.year, e.feb29_policy::text) END AS local_date) d
                WHERE @extschema@.bs_is_owed(e.event_date, d.local_date, e.cadence::text, e.feb29_policy::text)
                  AND @extschema@.bs_send_time_or_null(e.timezone::text, d.local_date, e.send_time) >= e.since
                ORDER BY d.local_date
                LIMIT 1) n
     WHERE e.user_id = ANY (bs_calendar.user_ids);
    RETURN E'BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//birthday_scheduler//NONSGML birthday_scheduler//EN\r\nCALSCALE:GREGORIAN\r\n'
           || events || E'END:VCALENDAR\r\n';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_calendar(uuid[]) IS
'What these users are mailed for, as iCalendar (RFC 5545): a whole-day event per date, every year. Deleted users and dates that are not mailed are left out; NULL where nothing is left. Error P0002 for an unknown id.';
REVOKE ALL ON FUNCTION @extschema@.bs_calendar(uuid[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_move_by_hand(message_id uuid, wanted text[], new_status text, reason text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_status text;
BEGIN
    UPDATE @extschema@.message_logs m
       SET status = new_status,
           status_reason = reason,
           due_at = CASE new_status WHEN 'RETRYING' THEN now() END,
           attempts = CASE new_status WHEN 'RETRYING' THEN 0 ELSE m.attempts END,
           -- Made afresh, because somebody may be changing the user right now.
           type_version = CASE new_status WHEN 'RETRYING' THEN 0 ELSE m.type_version END,
           updated_at = now()
     WHERE m.id = message_id
       AND m.status = ANY (wanted);
    IF NOT FOUND THEN
        SELECT m.status INTO found_status FROM @extschema@.message_logs m WHERE m.id = message_id;
        IF found_status IS NULL THEN
            RAISE EXCEPTION 'message % does not exist', coalesce(message_id::text, 'NULL')
                USING ERRCODE = 'no_data_found';
        END IF;
        RAISE EXCEPTION 'message % is %', message_id, found_status
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('It must be one of %s.', array_to_string(wanted, ', '));
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_move_by_hand(uuid, text[], text, text) IS
'Moves one message from one of the wanted states. Errors: P0002, 55000.';

CREATE OR REPLACE FUNCTION @extschema@.bs_cancel_message(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.bs_move_by_hand(id, '{SCHEDULED,QUEUED,RETRYING}'::text[], 'CANCELLED', 'by_hand');
    PERFORM @extschema@.bs_count_moves(0::bigint, 0::bigint, 1::bigint, 0::bigint, 0::bigint);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_cancel_message(uuid) IS
'Cancels one message for good; a copy that the broker has of it is dropped. Errors: P0002 for an unknown id, 55000 where it is claimed or finished.';

CREATE OR REPLACE FUNCTION @extschema@.bs_retry_message(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.bs_move_by_hand(id, '{FAILED,QUEUED}'::text[], 'RETRYING', 'retried');
    PERFORM @extschema@.bs_wake_senders(now());
END
$$;
COMMENT ON FUNCTION @extschema@.bs_retry_message(uuid) IS
'Brings one FAILED message back, with its attempts counted from 0; past max_lateness it ends as EXPIRED. One that is QUEUED is published again at once, where the broker is known to have lost its copy. Errors: P0002 for an unknown id, 55000 where it is in another state.';

CREATE OR REPLACE FUNCTION @extschema@.bs_seed(users integer DEFAULT 100, history boolean DEFAULT true)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zones constant text[] := '{Pacific/Kiritimati,Asia/Tokyo,Asia/Kathmandu,Asia/Kolkata,Europe/Kyiv,Europe/London,America/Sao_Paulo,America/St_Johns,America/New_York,Pacific/Honolulu,Pacific/Pago_Pago}';
    first_names constant text[] := '{Amina,Bjørn,Chloé,Дмитро,Elif,Fatou,小明,Hana,Ivana,José,Kavya,Łukasz,مريم}';
    last_names constant text[] := '{Abe,Björk,Castro,Шевченко,Demir,Eze,王,Fischer,Gupta,O''Brien,Haddad}';
    cities constant text[] := '{Tarawa,Tokyo,Kathmandu,Kolkata,Kyiv,London,"São Paulo","St. John''s","New York",Honolulu,"Pago Pago"}';
    batch text := substr(gen_random_uuid()::text, 1, 8);
    made bigint;
BEGIN
    IF users NOT BETWEEN 1 AND 10000000 THEN
        RAISE EXCEPTION 'users must lie between 1 and 10000000, not %', users
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM @extschema@.bs_adopt(false);

    WITH added AS (
        INSERT INTO @extschema@.users
               (first_name, last_name, email, timezone, birthday_date, anniversary_date, location_city, created_at)
        SELECT first_names[1 + n % cardinality(first_names)],
               last_names[1 + n / 3 % cardinality(last_names)],
               format('seed-%s-%s@example.com', batch, n),
               zones[1 + n % cardinality(zones)],
               date '1950-01-01' + n * 37 % 18000,
               CASE WHEN n % 3 = 0 THEN date '2005-01-01' + n * 53 % 6500 END,
               cities[1 + n % cardinality(zones)],
               now() - interval '60 days'
          FROM generate_series(1, users) AS n
        RETURNING id
    )
    SELECT count(*) INTO made FROM added;

    IF history THEN
        -- Of each user, one day of the last five weeks, as if it had been a birthday.
        PERFORM @extschema@.bs_create_partitions_between(
            @extschema@.bs_month(now() - interval '40 days'), @extschema@.bs_month(now()));
        WITH past AS (
            SELECT u.*, d.local_date,
                   @extschema@.bs_send_time(u.timezone::text, d.local_date, '09:00'::time) AS send_at,
                   CASE WHEN u.n % 50 = 49 THEN 'EXPIRED' WHEN u.n % 20 = 19 THEN 'FAILED'
                        WHEN u.n % 25 = 24 THEN 'CANCELLED' ELSE 'SENT' END AS status
              FROM (SELECT u.*, row_number() OVER (ORDER BY u.id)::integer AS n
                      FROM @extschema@.users u
                     WHERE u.email LIKE 'seed-' || batch || '-%') u
                   CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date - 4 - u.n % 30 AS local_date) d
        ), won AS (
            INSERT INTO @extschema@.message_ledger (user_id, message_type, local_date)
            SELECT p.id, 'BIRTHDAY', p.local_date FROM past p
                ON CONFLICT DO NOTHING
            RETURNING user_id
        )
        INSERT INTO @extschema@.message_logs
               (user_id, message_type, local_date, scheduled_send_time, idempotency_key,
                recipient_email, recipient_name, subject, message_content,
                status, status_reason, attempts, last_retry_at, actual_send_time,
                api_response_code, api_response_body, error_message)
        SELECT p.id, 'BIRTHDAY', p.local_date, p.send_at,
               format('%s:BIRTHDAY:%s', p.id, to_char(p.local_date, 'YYYY-MM-DD')),
               p.email, p.first_name || ' ' || p.last_name,
               'Happy birthday, ' || p.first_name || '!',
               format('Hey, %s %s it''s your birthday', p.first_name, p.last_name),
               p.status,
               CASE p.status WHEN 'SENT' THEN 'accepted' WHEN 'FAILED' THEN 'refused'
                             WHEN 'EXPIRED' THEN 'too_late' ELSE 'date_changed' END,
               CASE WHEN p.status IN ('SENT', 'FAILED') THEN 1 ELSE 0 END,
               CASE WHEN p.status IN ('SENT', 'FAILED') THEN p.send_at + interval '3 milliseconds' END,
               CASE p.status WHEN 'SENT' THEN p.send_at + interval '40 milliseconds' END,
               CASE p.status WHEN 'SENT' THEN 250 WHEN 'FAILED' THEN 550 END,
               CASE p.status WHEN 'SENT' THEN '250 2.0.0 Ok' WHEN 'FAILED' THEN '550 5.1.1 no such user' END,
               CASE p.status WHEN 'FAILED' THEN 'the relay refused the message' END
          FROM won w
               JOIN past p ON p.id = w.user_id;
    END IF;
    RETURN made;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_seed(integer, boolean) IS
'Adds sample people (1 to 10000000) in eleven zones, addresses at example.com, and with history past messages in several states; gives the number of people. Error 22023.';

CREATE OR REPLACE FUNCTION @extschema@.bs_worker_stats(
    OUT worker text, OUT pid integer, OUT state text, OUT since timestamptz,
    OUT sent bigint, OUT failed bigint, OUT retried bigint, OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_worker_stats';
COMMENT ON FUNCTION @extschema@.bs_worker_stats() IS
'One row per worker that the server is to run for this database: pid NULL while it is not running; none where birthday_scheduler.database does not name it, or there is no room for it. Counts are since server start. Error 55000 where the library is not in shared_preload_libraries.';

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
REVOKE ALL ON FUNCTION @extschema@.bs_broker_stats() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_relay_stats(
    OUT breaker text, OUT open_until timestamptz, OUT opened bigint,
    OUT accepted bigint, OUT refused bigint, OUT later bigint, OUT trouble bigint,
    OUT again bigint, OUT in_doubt bigint, OUT released bigint)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_relay_stats';
COMMENT ON FUNCTION @extschema@.bs_relay_stats() IS
'The relay as all senders of this server see it: the circuit breaker is closed, open until then, probing (the next mail decides) or off. Since server start: how often it opened, and how attempts of this database''s senders ended: accepted; refused, for good; later, this message may pass; trouble with relay or link; again, a session was ended; in_doubt, no answer; released, not begun. Error 55000 where the library is not in shared_preload_libraries.';
REVOKE ALL ON FUNCTION @extschema@.bs_relay_stats() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_scheduler_stats(
    OUT planned bigint, OUT updated bigint, OUT cancelled bigint, OUT recovered bigint, OUT expired bigint,
    OUT passes bigint, OUT passes_failed bigint, OUT last_pass_at timestamptz, OUT last_pass_seconds double precision)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_scheduler_stats';
COMMENT ON FUNCTION @extschema@.bs_scheduler_stats() IS
'Messages since server start, whoever moved them: planned; updated, which counts the cancelled; recovered from senders that are gone; expired. Planning passes of the scheduler that were finished and that failed, and the end and the length of the last one. Error 55000 where the library is not in shared_preload_libraries.';
REVOKE ALL ON FUNCTION @extschema@.bs_scheduler_stats() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_histogram_stats(
    OUT histogram text, OUT le double precision[], OUT buckets bigint[], OUT sum double precision, OUT count bigint)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_histogram_stats';
COMMENT ON FUNCTION @extschema@.bs_histogram_stats() IS
'Since server start, in seconds: lateness, from send time to the relay''s "accepted", and delivery, from the begin of an attempt to the relay''s answer. buckets: how many took at most le. Error 55000 where the library is not in shared_preload_libraries.';
REVOKE ALL ON FUNCTION @extschema@.bs_histogram_stats() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_count_moves(
    planned bigint, updated bigint, cancelled bigint, recovered bigint, expired bigint)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'bs_count_moves';
COMMENT ON FUNCTION @extschema@.bs_count_moves(bigint, bigint, bigint, bigint, bigint) IS
'Adds to bs_scheduler_stats() once this transaction commits.';
REVOKE ALL ON FUNCTION @extschema@.bs_count_moves(bigint, bigint, bigint, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_counts(
    since timestamptz DEFAULT NULL, at_most bigint DEFAULT NULL,
    OUT scheduled bigint, OUT queued bigint, OUT sending bigint, OUT retrying bigint,
    OUT due bigint, OUT overdue bigint, OUT next_due timestamptz, OUT oldest_unsent timestamptz,
    OUT failed bigint, OUT expired bigint, OUT cancelled bigint)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    as_of timestamptz := clock_timestamp();
    -- Older ones are expired by the scheduler; while it is away they wait.
    oldest timestamptz := as_of - @extschema@.bs_max_lateness() - interval '48 hours';
    types varchar[] := ARRAY(SELECT t.name FROM @extschema@.message_types t);
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
                   min(c.first) FILTER (WHERE w.status IN ('SCHEDULED', 'QUEUED', 'SENDING', 'RETRYING')) AS first,
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
REVOKE ALL ON FUNCTION @extschema@.bs_counts(timestamptz, bigint) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_days(first_day date, last_day date)
RETURNS TABLE (day date, message_type varchar, open bigint, sent bigint, failed bigint, expired bigint, cancelled bigint,
               median_lateness interval, worst_lateness interval)
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
           coalesce(pg_catalog.sum(r.n) FILTER (WHERE r.status IN ('SCHEDULED', 'QUEUED', 'SENDING', 'RETRYING')), 0)::bigint,
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
REVOKE ALL ON FUNCTION @extschema@.bs_days(date, date) FROM PUBLIC;

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
REVOKE ALL ON FUNCTION @extschema@.bs_short(interval) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_lines(words text, width integer)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.rtrim(pg_catalog.regexp_replace(words, '(.{1,' || width || '})(?:\s+|$)|(\S{' || width || '})', E'\\1\\2\n', 'g'), E'\n');
COMMENT ON FUNCTION @extschema@.bs_lines(text, integer) IS
'Words in lines of that width, at most; longer words are cut.';
REVOKE ALL ON FUNCTION @extschema@.bs_lines(text, integer) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_state_lines(OUT lines text)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    installation text := @extschema@.bs_installation_state();
    kind text := current_setting('birthday_scheduler.queue', true);
    found record;
    relay record;
BEGIN
    SELECT i.paused_at, i.paused_reason INTO found FROM @extschema@.bs_installation i;
    lines := CASE installation
                 WHEN 'new' THEN E'new: no user was added yet'
                 WHEN 'copy' THEN E'copy: nothing is sent until\nbs_resume() adopts it'
                 WHEN 'paused' THEN to_char(found.paused_at, '"paused" YYYY-MM-DD HH24:MI:SS')
                                    || coalesce(E'\n' || @extschema@.bs_lines(found.paused_reason::text, 28), '')
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
'For bs_status, in lines of 28 characters: is this the database that sends, is it paused and why, the kind of queue, the circuit breaker.';
REVOKE ALL ON FUNCTION @extschema@.bs_state_lines() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_worker_health()
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    expected bigint;
    running bigint;
    trouble text;
BEGIN
    IF NOT @extschema@.bs_is_preloaded() THEN
        RETURN jsonb_build_object(
            'status', 'error',
            'reason', 'birthday_scheduler is not in shared_preload_libraries: nothing is sent');
    END IF;
    SELECT count(*), count(w.pid),
           string_agg(w.worker || ': ' || w.last_error, '; ' ORDER BY w.worker)
               FILTER (WHERE w.last_error_at > now() - interval '5 minutes' AND w.state <> 'idle')
      INTO expected, running, trouble
      FROM @extschema@.bs_worker_stats() w;
    IF expected = 0 THEN
        RETURN jsonb_build_object(
            'status', 'error',
            'reason', 'no workers serve this database, nothing is sent: name it in birthday_scheduler.database, and see that birthday_scheduler.max_databases has room for it');
    END IF;
    RETURN jsonb_build_object(
        'status', CASE WHEN running < expected THEN 'error' WHEN trouble IS NOT NULL THEN 'warning' ELSE 'ok' END,
        'reason', CASE WHEN running < expected THEN format('%s of %s workers are running; look at max_worker_processes and the server log', running, expected)
                       ELSE trouble END);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_worker_health() IS
'The part of bs_health() about the workers of this database: are there any, do all run, and has one met an error in the last five minutes?';
REVOKE ALL ON FUNCTION @extschema@.bs_worker_health() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_queue_health(installation text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
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
        reason := coalesce(publisher.last_error, 'the publisher is not connected to a broker');
    ELSIF broker.blocked THEN
        status := 'warning';
        reason := format('the broker takes nothing since %s: it is short of memory or disk', broker.since);
    ELSIF publisher.last_error_at > now() - interval '1 minute' THEN
        status := 'warning';
        reason := publisher.last_error;
    END IF;
    RETURN jsonb_build_object('status', status, 'reason', reason, 'kind', kind,
                              'ready', broker.ready, 'dead_letters', broker.dead, 'counted_at', broker.counted_at);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_queue_health(text) IS
'The part of bs_health() about the queue: its kind (postgres or rabbitmq), and with a broker whether the publisher is connected and gets its messages through, and how many messages are ready in the queue and in the dead letters; null where unknown.';
REVOKE ALL ON FUNCTION @extschema@.bs_queue_health(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_relay_health(installation text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relay record;
    trouble record;
    status text := 'ok';
    reason text;
BEGIN
    IF NOT @extschema@.bs_is_preloaded() THEN
        RETURN '{"status": "ok", "reason": null, "breaker": null, "open_until": null, "last_error": null, "last_error_at": null}';
    END IF;
    SELECT r.* INTO relay FROM @extschema@.bs_relay_stats() r;
    SELECT w.state,
           CASE WHEN w.state = 'no relay' THEN 'settings'
                WHEN w.last_error ~ '^the relay answered' THEN 'answer'
                WHEN w.last_error ~ 'timed? ?out|Timeout' THEN 'timeout'
                WHEN w.last_error ~* 'resolve' THEN 'name'
                WHEN w.last_error ~* 'ssl|tls|certificate' THEN 'tls'
                WHEN w.last_error ~* 'login|auth|denied' THEN 'login'
                WHEN w.last_error ~* 'connect' THEN 'connection'
                ELSE 'other' END AS class,
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
    ELSIF trouble.state = 'no relay' THEN
        status := 'error';
        reason := 'the settings make no relay: bs_workers says why';
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
'The part of bs_health() about the relay: the circuit breaker, and the class of the last error of a sender: settings, name, connection, tls, login, timeout, answer or other.';
REVOKE ALL ON FUNCTION @extschema@.bs_relay_health(text) FROM PUBLIC;

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
REVOKE ALL ON FUNCTION @extschema@.bs_message_health() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_planning_health(installation text)
RETURNS jsonb
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_catalog.jsonb_build_object(
               'status', CASE WHEN p.nothing THEN 'warning'
                              WHEN p.behind THEN 'error'
                              WHEN p.lost_zones > 0 THEN 'warning'
                              ELSE 'ok' END,
               'reason', CASE WHEN p.nothing THEN 'nothing was planned yet'
                              WHEN p.behind THEN 'planning has fallen behind'
                              WHEN p.lost_zones > 0
                              THEN pg_catalog.format('%s time zones of users are not in the server''s database', p.lost_zones) END,
               'planned_until', p.planned_until)
      FROM (SELECT i.planned_until,
                   installation IN ('new', 'copy') OR i.planned_until IS NULL AS nothing,
                   i.planned_until < pg_catalog.now() + @extschema@.bs_horizon() / 2 AS behind,
                   i.lost_zones
              FROM (SELECT pg_catalog.max(i.planned_until) AS planned_until, pg_catalog.max(i.lost_zones) AS lost_zones
                      FROM @extschema@.bs_installation i) i) p;
END;
COMMENT ON FUNCTION @extschema@.bs_planning_health(text) IS
'The part of bs_health() about planning: how far it has come, and whether users have zones that the server does not know.';
REVOKE ALL ON FUNCTION @extschema@.bs_planning_health(text) FROM PUBLIC;

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
                   (SELECT l.trouble FROM @extschema@.bs_upkeep_log l WHERE l.task = 'partitions') AS trouble) r;
END;
COMMENT ON FUNCTION @extschema@.bs_partition_health(text) IS
'The part of bs_health() about the months: are those there that are needed soon?';
REVOKE ALL ON FUNCTION @extschema@.bs_partition_health(text) FROM PUBLIC;

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
                           CROSS JOIN LATERAL (SELECT @extschema@.bs_cron_state(l.task::text) AS state) s) w) f;
END;
COMMENT ON FUNCTION @extschema@.bs_upkeep_health(text) IS
'The part of bs_health() about the upkeep of partitions: who did it last and when, and whether pg_cron is absent, alive or stale.';
REVOKE ALL ON FUNCTION @extschema@.bs_upkeep_health(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_health()
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
                WHEN 'paused' THEN 'paused by bs_pause(): nothing is sent until bs_resume()'
                                   || coalesce((SELECT ': ' || i.paused_reason FROM @extschema@.bs_installation i), '') END),
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

CREATE FUNCTION @extschema@.bs_months_ahead()
RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(pg_catalog.min(n.n) - 1, 24)::integer
      FROM pg_catalog.generate_series(0, 24) AS n (n)
           CROSS JOIN LATERAL (
               SELECT (@extschema@.bs_month(pg_catalog.now()) + pg_catalog.make_interval(months => n.n))::date AS month) m
     WHERE NOT (@extschema@.bs_partition_attached('message_logs'::text, m.month)
                AND @extschema@.bs_partition_attached('message_ledger'::text, m.month));
END;
COMMENT ON FUNCTION @extschema@.bs_months_ahead() IS
'How many months after this one have their partitions, without a gap, 24 at most; -1 where those of this month are missing.';
REVOKE ALL ON FUNCTION @extschema@.bs_months_ahead() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_unfinished_estimate()
RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(pg_catalog.sum(greatest(c.reltuples, 0)), 0)::bigint
      FROM @extschema@.bs_partition_list() l
           JOIN pg_catalog.pg_class c ON c.relname = 'idx_' || l.name || '_due' AND c.relnamespace = (
               SELECT p.relnamespace FROM pg_catalog.pg_class p WHERE p.oid = l.part)
     WHERE l.parent = 'message_logs';
END;
COMMENT ON FUNCTION @extschema@.bs_unfinished_estimate() IS
'How many messages are not finished, as the last VACUUM or ANALYZE found it.';
REVOKE ALL ON FUNCTION @extschema@.bs_unfinished_estimate() FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_metric_rows(
    metric text, OUT name text, OUT labels jsonb, OUT value double precision, OUT type text, OUT help text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind text := current_setting('birthday_scheduler.queue');
    counts record;
    relay record;
    scheduler record;
    upkeep record;
BEGIN
    IF coalesce(metric, 'library_info') = 'library_info' THEN
        RETURN QUERY VALUES
            ('library_info', jsonb_build_object('version', @extschema@.bs_library_version(), 'queue', kind), 1::double precision, 'gauge', 'Version of the library and kind of queue.');
    END IF;
    IF coalesce(metric, 'installation_status') = 'installation_status' THEN
        RETURN QUERY
        SELECT 'installation_status', jsonb_build_object('state', s.state), (s.state = @extschema@.bs_installation_state())::integer::double precision,
               'gauge', 'Whether this is the state of the database: new, adopted, paused or copy.'
          FROM unnest('{new,adopted,paused,copy}'::text[]) AS s (state);
    END IF;
    IF coalesce(metric, 'health_status') = 'health_status' THEN
        RETURN QUERY
        SELECT 'health_status', jsonb_build_object('part', p.key), array_position('{ok,warning,error}'::text[], p.value ->> 'status') - 1::double precision,
               'gauge', 'State of a part of bs_health(): 0 ok, 1 warning, 2 error.'
          FROM jsonb_each(@extschema@.bs_health() -> 'parts') p;
    END IF;

    IF coalesce(metric, 'worker_') LIKE 'worker\_%' THEN
        RETURN QUERY
        SELECT m.metric, jsonb_build_object('worker', w.worker), m.reading::double precision, m.kind, m.description
          FROM @extschema@.bs_worker_stats() w
               CROSS JOIN LATERAL (VALUES
                   (1, 'worker_up', 'gauge', (w.pid IS NOT NULL AND w.state <> 'starting')::integer::bigint, 'Whether the worker runs and has got beyond its start.'),
                   (2, 'worker_sent_total', 'counter', w.sent, 'Messages that the relay accepted, since server start.'),
                   (3, 'worker_failed_total', 'counter', w.failed, 'Messages given up, since server start.'),
                   (4, 'worker_retried_total', 'counter', w.retried, 'Attempts that are to be repeated, since server start.'))
                   AS m (n, metric, kind, reading, description)
         WHERE m.n = 1 OR w.worker LIKE 'sender %'
         ORDER BY m.n, length(w.worker), w.worker;
        IF NOT FOUND THEN               -- no workers serve this database
            RETURN QUERY VALUES
                ('worker_up', '{"worker": "scheduler"}'::jsonb, 0::double precision, 'gauge', 'Whether the worker runs and has got beyond its start.');
        END IF;
    END IF;

    IF coalesce(metric, 'unfinished_messages') IN ('unfinished_messages', 'due', 'oldest_unsent_age_seconds', 'next_due_timestamp_seconds') THEN
        SELECT c.* INTO counts FROM @extschema@.bs_counts(NULL::timestamptz, 100000::bigint) c;
        RETURN QUERY
        SELECT 'unfinished_messages', jsonb_build_object('status', m.status), m.n::double precision,
               'gauge', 'Messages that are not finished, by status; above 100000 an estimate.'
          FROM (VALUES ('SCHEDULED', CASE WHEN counts.scheduled < 100000 THEN counts.scheduled
                                          ELSE greatest(counts.scheduled, @extschema@.bs_unfinished_estimate()) END),
                       ('QUEUED', counts.queued), ('SENDING', counts.sending), ('RETRYING', counts.retrying)) AS m (status, n);
        RETURN QUERY
        SELECT m.metric, '{}'::jsonb, m.reading, m.kind, m.description
          FROM (VALUES
                   ('due', 'gauge', counts.due::double precision, 'Messages whose time has come and that no sender has claimed, counted up to 100000 a month and type.'),
                   ('oldest_unsent_age_seconds', 'gauge', coalesce(greatest(extract(epoch FROM clock_timestamp() - counts.oldest_unsent), 0), 0)::double precision, 'How long ago the send time of the oldest message was that is not finished; 0 where none is late.'),
                   ('next_due_timestamp_seconds', 'gauge', extract(epoch FROM counts.next_due)::double precision, 'When the next attempt is due; in the past while something is.'))
                   AS m (metric, kind, reading, description)
         WHERE m.reading IS NOT NULL;
    END IF;

    IF metric IS NULL OR metric ~ '^(horizon|planned|updated|cancelled|recovered|expired|planning|last_planning)_' THEN
        SELECT s.* INTO scheduler FROM @extschema@.bs_scheduler_stats() s;
        RETURN QUERY
        SELECT m.metric, '{}'::jsonb, m.reading, m.kind, m.description
          FROM (VALUES
                   ('horizon_seconds', 'gauge', extract(epoch FROM @extschema@.bs_horizon())::double precision, 'How far ahead messages are to be planned.'),
                   ('planned_until_timestamp_seconds', 'gauge', (SELECT extract(epoch FROM i.planned_until) FROM @extschema@.bs_installation i)::double precision, 'Up to when all that is due has been planned.'),
                   ('planned_total', 'counter', scheduler.planned, 'Messages made, since server start.'),
                   ('updated_total', 'counter', scheduler.updated, 'Messages brought up to date or cancelled after a change of user or type, since server start.'),
                   ('cancelled_total', 'counter', scheduler.cancelled, 'Messages cancelled, since server start.'),
                   ('recovered_total', 'counter', scheduler.recovered, 'Messages taken back from senders that were gone, since server start.'),
                   ('expired_total', 'counter', scheduler.expired, 'Messages that were too late to be sent, since server start.'),
                   ('planning_passes_total', 'counter', scheduler.passes, 'Planning passes of the scheduler that were finished, since server start.'),
                   ('planning_failures_total', 'counter', scheduler.passes_failed, 'Planning passes of the scheduler that failed, since server start.'),
                   ('last_planning_timestamp_seconds', 'gauge', extract(epoch FROM scheduler.last_pass_at), 'When the last planning pass was finished.'),
                   ('last_planning_duration_seconds', 'gauge', scheduler.last_pass_seconds, 'How long that pass took.'))
                   AS m (metric, kind, reading, description)
         WHERE m.reading IS NOT NULL;
    END IF;

    IF coalesce(metric, 'relay_') LIKE 'relay\_%' THEN
        SELECT r.* INTO relay FROM @extschema@.bs_relay_stats() r;
        RETURN QUERY
        SELECT 'relay_breaker_status', jsonb_build_object('state', s.state), (s.state = relay.breaker)::integer::double precision,
               'gauge', 'Whether this is the state of the circuit breaker: closed, open, probing or off.'
          FROM unnest('{closed,open,probing,off}'::text[]) AS s (state);
        RETURN QUERY VALUES
            ('relay_breaker_opened_total', '{}'::jsonb, relay.opened::double precision, 'counter', 'How often the circuit breaker has opened, since server start.');
        RETURN QUERY
        SELECT 'relay_attempts_total', jsonb_build_object('outcome', a.outcome), a.n::double precision,
               'counter', 'Attempts by how they ended, since server start.'
          FROM (VALUES ('accepted', relay.accepted), ('refused', relay.refused), ('later', relay.later), ('trouble', relay.trouble),
                       ('again', relay.again), ('in_doubt', relay.in_doubt), ('released', relay.released)) AS a (outcome, n);
    END IF;
    IF metric IS NULL OR metric ~ '^(delivery|lateness)_seconds' THEN
        RETURN QUERY
        SELECT h.histogram || r.suffix, r.labels, r.reading, 'histogram',
               CASE h.histogram WHEN 'lateness' THEN 'From the send time of a message to the relay''s "accepted", since server start.'
                    ELSE 'From the begin of an attempt to the answer of the relay, since server start.' END
          FROM @extschema@.bs_histogram_stats() h
               CROSS JOIN LATERAL (
                   SELECT 1, b.n, '_seconds_bucket', jsonb_build_object('le', b.le::text), b.bucket::double precision
                     FROM unnest(h.le, h.buckets) WITH ORDINALITY AS b (le, bucket, n)
                   UNION ALL
                   VALUES (2, 1::bigint, '_seconds_bucket', '{"le": "+Inf"}'::jsonb, h.count::double precision),
                          (3, 1, '_seconds_sum', '{}', h.sum),
                          (4, 1, '_seconds_count', '{}', h.count)) AS r (part, n, suffix, labels, reading)
         ORDER BY h.histogram, r.part, r.n;
    END IF;

    IF metric IS NULL OR metric ~ '^(broker|queue|dead|published|refused|consumed|dropped|rejected)_' THEN
        RETURN QUERY
        SELECT m.metric, m.labels, m.reading::double precision, m.kind, m.description
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
    END IF;

    IF coalesce(metric, 'cron_stale') IN ('partitions_ahead', 'cron_stale', 'last_upkeep_timestamp_seconds') THEN
        SELECT bool_or(@extschema@.bs_cron_state(l.task::text) = 'stale') AS stale INTO upkeep FROM @extschema@.bs_upkeep_log l;
        RETURN QUERY VALUES
            ('partitions_ahead', '{}'::jsonb, @extschema@.bs_months_ahead()::double precision, 'gauge', 'Months after this one that have their partitions, without a gap; -1 where those of this month are missing.'),
            ('cron_stale', '{}', coalesce(upkeep.stale, false)::integer, 'gauge', 'Whether pg_cron was to do the upkeep and has not for 25 hours.');
        RETURN QUERY
        SELECT 'last_upkeep_timestamp_seconds', jsonb_build_object('task', l.task), extract(epoch FROM l.done_at)::double precision,
               'gauge', 'When a task of the upkeep was done last.'
          FROM @extschema@.bs_upkeep_log l
         WHERE l.done_at IS NOT NULL
         ORDER BY l.task;
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_metric_rows(text) IS
'The rows of bs_metrics(), without the prefix of their names: all, or at least that metric.';
REVOKE ALL ON FUNCTION @extschema@.bs_metric_rows(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_metrics(
    metric text DEFAULT NULL, OUT name text, OUT labels jsonb, OUT value double precision, OUT type text, OUT help text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF @extschema@.bs_is_preloaded() THEN
        RETURN QUERY SELECT 'birthday_scheduler_' || r.name, r.labels, r.value, r.type, r.help FROM @extschema@.bs_metric_rows(metric) r
         WHERE metric IS NULL OR r.name = metric OR (r.type = 'histogram' AND starts_with(r.name, metric || '_'));
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_metrics(text) IS
'Numbers for Prometheus and the like: a row per metric and set of labels, those of one name beside each other, all or those of one metric, named without birthday_scheduler_; type is counter, gauge, or histogram for the names that end in _bucket, _sum and _count. Counters are since server start. What is unknown has no row; nothing where the library is not in shared_preload_libraries.';
REVOKE ALL ON FUNCTION @extschema@.bs_metrics(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION @extschema@.bs_grant(role name, access text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    functions text[];
    tables text[] := '{}';
    member regprocedure;
    relation text;
BEGIN
    CASE access
        WHEN 'worker' THEN
            functions := '{bs_installation_state,bs_plan_step,bs_claim,bs_claim_holders,bs_next_due,bs_recover,bs_record,bs_due_messages,bs_mark_queued,bs_claim_copies,bs_create_partitions}';
        WHEN 'sender' THEN
            functions := '{bs_installation_state,bs_system_identifier,bs_claim,bs_claim_copies,bs_next_due,bs_record,bs_release_claims}';
        WHEN 'application' THEN
            functions := '{bs_add_user,bs_get_user,bs_update_user,bs_delete_user,bs_restore_user,bs_import_users,bs_import_rows,bs_preview,bs_explain,bs_upcoming,bs_calendar}';
        WHEN 'reader' THEN
            functions := '{bs_installation_state,bs_system_identifier,bs_explain,bs_upcoming,bs_preview,bs_calendar,bs_health,bs_metrics,bs_worker_stats,bs_broker_stats,bs_relay_stats,bs_scheduler_stats,bs_histogram_stats,bs_counts,bs_days,bs_state_lines,bs_short,bs_lines,bs_horizon,bs_max_lateness}';
            tables := '{users,user_dates,message_types,message_logs,message_ledger,bs_installation,bs_upkeep_log,bs_events,bs_status,bs_workers,bs_daily}';
        ELSE
            RAISE EXCEPTION 'access "%" is not known', access
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Write worker, sender, application or reader.';
    END CASE;
    EXECUTE format('GRANT USAGE ON SCHEMA @extschema@ TO %I', role);
    FOR member IN
        SELECT p.oid FROM pg_proc p
         WHERE p.pronamespace = to_regnamespace('@extschema@') AND p.proname = ANY (functions)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', member, role);
    END LOOP;
    FOREACH relation IN ARRAY tables LOOP
        EXECUTE format('GRANT SELECT ON @extschema@.%I TO %I', relation, role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_grant(name, text) IS
'Grants a role what it needs: worker (birthday_scheduler.role), sender (bs_sender), application (the user functions), reader (SELECT and the monitoring functions). Error 22023 for another word.';

CREATE VIEW @extschema@.bs_workers AS
SELECT w.worker, w.pid, w.state, w.sent, w.failed,
       CASE WHEN w.last_error_at IS NOT NULL
            THEN pg_catalog.to_char(w.last_error_at, 'YYYY-MM-DD HH24:MI:SS') || E'\n' || @extschema@.bs_lines(w.last_error, 24)
       END AS last_error
  FROM @extschema@.bs_worker_stats() w;
COMMENT ON VIEW @extschema@.bs_workers IS
'The background workers of this database, what they are at, and their last error, in lines of 24 characters; bs_worker_stats() has more.';
REVOKE ALL ON @extschema@.bs_workers FROM PUBLIC;

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
REVOKE ALL ON @extschema@.bs_status FROM PUBLIC;

CREATE VIEW @extschema@.bs_daily AS
SELECT d.day, d.message_type AS type, d.sent, d.failed + d.expired AS failed, d.open,
       @extschema@.bs_short(d.median_lateness) || '/' || @extschema@.bs_short(d.worst_lateness) AS late,
       pg_catalog.repeat('#', (12 * d.sent / b.most)::integer)
       || pg_catalog.repeat('!', pg_catalog.ceil(12.0 * (d.failed + d.expired) / b.most)::integer)
       || pg_catalog.repeat('x', (12 * d.cancelled / b.most)::integer)
       || pg_catalog.repeat('.', (12 * d.open / b.most)::integer) AS bar
  FROM (SELECT d.*, pg_catalog.max(d.sent + d.failed + d.expired + d.cancelled + d.open) OVER () AS most
          FROM @extschema@.bs_days(CURRENT_DATE - 30, (pg_catalog.now() + @extschema@.bs_horizon())::date) d) d
       CROSS JOIN LATERAL (SELECT d.most) AS b
 ORDER BY d.day, d.message_type;
COMMENT ON VIEW @extschema@.bs_daily IS
'A row a day and type, by send time in the session''s TimeZone, for the last thirty days and the horizon: messages sent, failed (or expired) and open; median and worst lateness; and a bar against the busiest row: # sent, ! failed, x cancelled, . open. bs_days() has other days, and all counts.';
REVOKE ALL ON @extschema@.bs_daily FROM PUBLIC;
