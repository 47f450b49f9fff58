-- queue: hands due messages to senders. Owns the move to SENDING. The way back from
-- senders that are lost is in queue_recovery.sql, the way by the broker in
-- queue_broker.sql.
--
-- What senders call has its plan fixed: the partitions concerned alone, rows by
-- their key. Statistics of a table that changes this fast mislead the planner, and
-- the cost of a message must not grow with the log.

CREATE FUNCTION @extschema@.bs_months_with_messages(first_time timestamptz, last_time timestamptz)
RETURNS SETOF date
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE     -- a body in SQL is planned at every call
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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

-- As text, because a function that ran it would hand every letter on twice.
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

-- A row that a sender holds is out of reach for changes of its user, and so it may be
-- behind them ever after; a version that is not the type's says that the type has
-- changed or that somebody asked for it to be made afresh. Where a claim came to
-- nothing, only the user's row says that it is behind: nobody gets mail after a
-- deletion, or by another name or address than the own. (No EXISTS: the planner
-- would read all users, once.)
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

CREATE FUNCTION @extschema@.bs_claim(
    claimed_by text, max_messages integer, lease interval,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT id uuid, OUT scheduled_send_time timestamptz, OUT claim_token uuid, OUT attempts integer,
    OUT recipient_email varchar, OUT recipient_name varchar, OUT subject text,
    OUT message_content text, OUT html_content text, OUT idempotency_key varchar)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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

CREATE FUNCTION @extschema@.bs_next_due(as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS timestamptz
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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
