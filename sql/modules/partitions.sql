-- partitions: the months of message_logs (by UTC instant) and of message_ledger
-- (by local date).

CREATE FUNCTION @extschema@.bs_month(instant timestamptz)
RETURNS date
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN pg_catalog.date_trunc('month', instant AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION @extschema@.bs_month(timestamptz) IS
'First day of the UTC month of an instant.';

CREATE FUNCTION @extschema@.bs_partition_name(parent text, month date)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN parent || pg_catalog.format('_%s_%s', pg_catalog.lpad(extract(year FROM month)::text, 4, '0'),
                                   pg_catalog.lpad(extract(month FROM month)::text, 2, '0'));
COMMENT ON FUNCTION @extschema@.bs_partition_name(text, date) IS
'Name of a month''s partition: message_logs_2026_11.';

-- By a scan of the catalog: to_regclass() may answer from what this backend
-- remembers, and not see what another session has just made.
CREATE FUNCTION @extschema@.bs_partition_attached(parent text, month date)
RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT EXISTS (
        SELECT
          FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
         WHERE c.relname = @extschema@.bs_partition_name(parent, month)
           AND c.relnamespace = pg_catalog.to_regnamespace('@extschema@')
           AND i.inhparent = pg_catalog.to_regclass('@extschema@.' || pg_catalog.quote_ident(parent))
           AND NOT i.inhdetachpending);
END;
COMMENT ON FUNCTION @extschema@.bs_partition_attached(text, date) IS
'Is that month''s partition in its place?';

-- Makes the table beside the parent and attaches it: CREATE TABLE ... PARTITION
-- OF would lock everyone out of the parent. Attaching takes SHARE UPDATE
-- EXCLUSIVE.
CREATE FUNCTION @extschema@.bs_create_partition(parent text, month date)
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
                   ' INCLUDING STORAGE INCLUDING COMMENTS)', part, parent);

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

CREATE FUNCTION @extschema@.bs_create_partitions_between(first_month date, last_month date)
RETURNS SETOF text
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT @extschema@.bs_partition_name(p.parent, m.month::date)
      FROM generate_series(first_month::timestamp, last_month::timestamp, '1 month') AS m (month),
           unnest(ARRAY['message_ledger', 'message_logs']) AS p (parent)
     WHERE @extschema@.bs_create_partition(p.parent, m.month::date);
END;
COMMENT ON FUNCTION @extschema@.bs_create_partitions_between(date, date) IS
'Makes what is missing from one month to another and gives the names of what it made.';

CREATE FUNCTION @extschema@.bs_create_partitions(months_ahead integer DEFAULT 12)
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
'Makes the partitions of the last month, this one, and so many ahead (1 to 1200); gives the names of what it made, nothing where all is there. Errors: 22023, 42P07.';

CREATE FUNCTION @extschema@.bs_partitions_ready(first_day date, last_day date)
RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT pg_catalog.bool_and(@extschema@.bs_partition_attached(p.parent, m.month::date))
      FROM pg_catalog.generate_series(pg_catalog.date_trunc('month', first_day::timestamp),
                                      last_day::timestamp, '1 month') AS m (month),
           pg_catalog.unnest(ARRAY['message_ledger', 'message_logs']) AS p (parent);
END;
COMMENT ON FUNCTION @extschema@.bs_partitions_ready(date, date) IS
'Are all partitions there for occasions and instants from one day to another?';
