-- partitions: the months of message_logs (by UTC instant) and of message_ledger
-- (by local date).

CREATE FUNCTION @extschema@.bs_retention()
RETURNS interval
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_retention';
COMMENT ON FUNCTION @extschema@.bs_retention() IS
'The setting birthday_scheduler.retention: months that ended longer ago are dropped. NULL: all are kept.';

CREATE FUNCTION @extschema@.bs_month(instant timestamptz)
RETURNS date
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN pg_catalog.date_trunc('month', instant AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION @extschema@.bs_month(timestamptz) IS
'First day of the UTC month of an instant.';

-- Neither STRICT nor with format(): so it is inlined, which a claim feels.
CREATE FUNCTION @extschema@.bs_partition_name(parent text, month date)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN parent || '_' || pg_catalog.lpad(extract(year FROM month)::text, 4, '0')
              || '_' || pg_catalog.lpad(extract(month FROM month)::text, 2, '0');
COMMENT ON FUNCTION @extschema@.bs_partition_name(text, date) IS
'Name of a month''s partition: message_logs_2026_11.';

-- By a scan of the catalog: to_regclass() may answer from what this backend
-- remembers, and not see what another session has just made.
CREATE FUNCTION @extschema@.bs_partition_attached(parent text, month date)
RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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

-- A row of message_logs is written, claimed, recorded, and never touched again:
-- two dead versions each, and no heap-only update, because the status is indexed (so
-- a lower fillfactor gains nothing, it was tried).
-- So vacuum comes early, and freezes while it is there; after the month's end
-- there is nothing left to do for it.
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

-- Makes the table beside the parent and attaches it: CREATE TABLE ... PARTITION
-- OF would lock everyone out of the parent. Attaching takes SHARE UPDATE
-- EXCLUSIVE; the foreign key takes SHARE ROW EXCLUSIVE on users, and sessions that write
-- users queue behind that. So no lock is waited for longer than lock_timeout.
CREATE FUNCTION @extschema@.bs_create_partition(parent text, month date)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET lock_timeout = '300ms'
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
    -- If two sessions find the month missing, one makes it. Attaching needs this lock
    -- anyway. Any role can take an advisory lock; this one needs a privilege to write.
    EXECUTE format('LOCK TABLE ONLY @extschema@.%I IN SHARE UPDATE EXCLUSIVE MODE', parent);
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
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'partition "%" cannot be made now, another transaction holds a lock on "users" or "%"', part, parent
        USING ERRCODE = 'lock_not_available',
              HINT = 'Try again when that transaction has ended; pg_locks shows it. The scheduler does so by itself for the months that it needs.';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_create_partition(text, date) IS
'Makes one month''s partition of message_logs or message_ledger with its keys and indexes; false where it is there. Errors: 42P07, the name is taken; 55P03, another transaction holds a lock.';

CREATE FUNCTION @extschema@.bs_create_partitions_between(first_month date, last_month date)
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

-- What can be made is made: one month whose name is taken must not stop the
-- planning of the others. A lock that is not to be had is still an error, because
-- the next try may have it.
CREATE FUNCTION @extschema@.bs_try_partitions(first_month date, last_month date)
RETURNS text
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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

CREATE FUNCTION @extschema@.bs_create_partitions(months_ahead integer DEFAULT 12)
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    IF months_ahead NOT BETWEEN 1 AND 1200 THEN
        RAISE EXCEPTION 'months_ahead must lie between 1 and 1200, not %', months_ahead
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
        SELECT @extschema@.bs_create_partitions_between(
            (@extschema@.bs_month(now()) - interval '1 month')::date,
            (@extschema@.bs_month(now()) + make_interval(months => months_ahead))::date);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_create_partitions(integer) IS
'Makes the partitions of the last month, this one, and so many ahead (1 to 1200); gives the names of what it made, nothing where all is there. Errors: 22023, 42P07, 55P03.';

CREATE FUNCTION @extschema@.bs_partitions_ready(first_day date, last_day date)
RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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

-- By their bounds, so that months attached by hand under other names count.
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
               E'FROM \\(''([^'']+)''\\) TO \\(''([^'']+)''\\)') AS b (bound)
     WHERE i.inhparent IN (pg_catalog.to_regclass('@extschema@.message_logs'),
                           pg_catalog.to_regclass('@extschema@.message_ledger'))
       AND b.bound IS NOT NULL;
END;
COMMENT ON FUNCTION @extschema@.bs_partition_list() IS
'The partitions of message_logs and message_ledger, from their first instant up to, not including, past.';

CREATE FUNCTION @extschema@.bs_is_unfinished(parent text, part oid)
RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET enable_seqscan = off
AS $$
DECLARE
    unfinished boolean := false;
BEGIN
    IF parent = 'message_logs' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS m WHERE m.status'
                       ' = ANY (@extschema@.bs_open_statuses()))', part::regclass) INTO unfinished;
    END IF;
    RETURN unfinished;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_is_unfinished(text, oid) IS
'Does the partition hold messages to which something is still to happen?';

-- Dropping a partition takes ACCESS EXCLUSIVE locks on it, on its parent, and
-- because of the foreign key on users. Nobody may queue behind us for long: the
-- parents are tried for a twentieth of a second at a time and kept for a fifth,
-- the partitions are not waited for at all, and what does not come to pass is left
-- for the next call.
CREATE FUNCTION @extschema@.bs_drop_partitions(older_than interval, dry_run boolean DEFAULT true)
RETURNS TABLE (partition text, action text, reason text)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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
