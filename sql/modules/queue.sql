-- queue: hands due messages to senders. Owns the move to SENDING. The way back from
-- senders that are lost is in queue_recovery.sql, the way by the broker in
-- queue_broker.sql.

CREATE FUNCTION @extschema@.bs_months_with_messages(first_time timestamptz, last_time timestamptz)
RETURNS SETOF date
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    RETURN QUERY
    SELECT m.month::date
      FROM generate_series(greatest(@extschema@.bs_month(first_time), @extschema@.bs_month(last_time) - interval '200 years'),
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
-- behind them once the attempt came to nothing: the versions say so. Address, name and
-- deletion are compared as well, because a change that came past the triggers raises no
-- version; of a mail in doubt they stay as they were. (No EXISTS: the planner would read
-- all users, once.)
CREATE FUNCTION @extschema@.bs_stale_condition()
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '(m.type_version IS DISTINCT FROM ('
       '        SELECT t.version FROM ONLY @extschema@.message_types t WHERE t.name = m.message_type)'
       ' OR (SELECT u.version = m.user_version AND u.deleted_at IS NULL'
       '            AND (m.in_doubt OR u.email = m.recipient_email'
       '                               AND u.first_name || '' '' || u.last_name = m.recipient_name)'
       '       FROM ONLY @extschema@.users u WHERE u.id = m.user_id) IS NOT TRUE)';
COMMENT ON FUNCTION @extschema@.bs_stale_condition() IS
'SQL: is the row m of message_logs older than what users and types say, so that it is made afresh before it is sent?';

CREATE FUNCTION @extschema@.bs_make_fresh(part regclass, stale uuid[], as_of timestamptz)
RETURNS uuid[]
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    fresh uuid[];
    one uuid;
BEGIN
    BEGIN
        PERFORM @extschema@.bs_refresh(stale, as_of);
    EXCEPTION
        WHEN OTHERS THEN
            IF NOT @extschema@.bs_is_of_a_row(SQLSTATE) THEN
                RAISE;
            END IF;
            -- One message must not keep the others from being sent.
            FOREACH one IN ARRAY stale LOOP
                BEGIN
                    PERFORM @extschema@.bs_refresh(ARRAY[one], as_of);
                EXCEPTION
                    WHEN OTHERS THEN
                        IF NOT @extschema@.bs_is_of_a_row(SQLSTATE) THEN
                            RAISE;
                        END IF;
                END;
            END LOOP;
    END;
    EXECUTE format('SELECT coalesce(array_agg(m.id), ''{}'') FROM %s AS m WHERE m.id = ANY ($1) AND NOT %s',
                   part, @extschema@.bs_stale_condition())
       INTO fresh
      USING stale;
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_make_fresh(regclass, uuid[], timestamptz) IS
'Makes these messages of one partition afresh; gives those that now are as their users and types say. The others must not be claimed: another session has their user locked, they cannot be made afresh, or they are cancelled.';

CREATE FUNCTION @extschema@.bs_check_lease(lease interval)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    IF (lease > interval '0' AND lease <= interval '1 day') IS NOT TRUE THEN
        RAISE EXCEPTION 'a lease must be longer than 0 and at most one day, not %', coalesce(lease::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_check_lease(interval) IS
'Error 22023 if a sender must not ask for that lease.';

-- A claim of a sender that is known to live is not given up, so nothing else claims in
-- the name of a process of the server.
CREATE FUNCTION @extschema@.bs_check_claimant(claimed_by text)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    IF (length(claimed_by) BETWEEN 1 AND 100
        AND (claimed_by NOT LIKE 'server/%' OR claimed_by LIKE format('server/%s/%%', pg_backend_pid()))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a sender cannot claim as %', quote_nullable(left(claimed_by, 100))
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A name has 1 to 100 characters; server/... names a process of this server, and only that process uses it.';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_check_claimant(text) IS
'Error 22023 if the session must not claim messages by that name.';

CREATE FUNCTION @extschema@.bs_letter_octets()
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'octet_length(m.message_content) + coalesce(octet_length(m.html_content), 0) + octet_length(m.subject)';
COMMENT ON FUNCTION @extschema@.bs_letter_octets() IS
'SQL: the octets of the letter of the row m of message_logs; it is not read for that.';

-- Called only if the letters may be too many: reading the rows once more is not free.
CREATE FUNCTION @extschema@.bs_claim_fitting(
    part regclass, max_bytes bigint, INOUT ids uuid[], OUT octets bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    EXECUTE format(
        'SELECT coalesce(array_agg(f.id ORDER BY f.n), ''{}''), coalesce(sum(f.octets), 0)'
        '  FROM (SELECT i.id, i.n, %1$s AS octets, sum(%1$s) OVER (ORDER BY i.n) - (%1$s) AS octets_before'
        '          FROM unnest($1) WITH ORDINALITY AS i (id, n)'
        '               JOIN %2$s AS m ON m.id = i.id) f'
        ' WHERE (f.octets_before < $2) IS NOT FALSE', @extschema@.bs_letter_octets(), part)
       INTO ids, octets
      USING ids, max_bytes;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_claim_fitting(regclass, bigint, uuid[]) IS
'Of these messages of one partition, which the caller has locked, the first ones: those before which the letters have less than max_bytes octets together. One at least if max_bytes is above 0, all if it is NULL. And the octets of their letters.';

CREATE FUNCTION @extschema@.bs_claim(
    claimed_by text, max_messages integer, lease interval,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    max_bytes bigint DEFAULT NULL,
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
    oldest timestamptz;
    token uuid := gen_random_uuid();
    left_to_claim integer := least(max_messages, 10000);
    month date;
    part regclass;
    left_of_bytes bigint := max_bytes;
    ids uuid[];
    stale uuid[];
    octets bigint;
    found integer;
BEGIN
    as_of := @extschema@.bs_capped(as_of, interval '1 minute');
    oldest := as_of - @extschema@.bs_max_lateness();
    PERFORM @extschema@.bs_check_claimant(claimed_by);
    PERFORM @extschema@.bs_check_lease(lease);
    IF @extschema@.bs_installation_state() <> 'adopted' THEN
        RETURN;
    END IF;
    FOR month IN SELECT @extschema@.bs_months_with_messages(oldest, as_of) LOOP
        EXIT WHEN left_to_claim = 0 OR left_of_bytes <= 0;
        part := '@extschema@.' || @extschema@.bs_partition_name('message_logs', month);
        EXECUTE format(
            'SELECT array_agg(c.id) FILTER (WHERE NOT c.stale), array_agg(c.id) FILTER (WHERE c.stale), count(*), sum(c.octets)'
            '  FROM (SELECT m.id, %s AS stale, %s AS octets'
            '          FROM %s AS m'
            '         WHERE m.due_at <= $1'
            '           AND m.status = ANY (@extschema@.bs_waiting_statuses())'
            '           AND (m.scheduled_send_time BETWEEN $2 AND $1) IS TRUE'
            '         ORDER BY m.due_at'
            '         LIMIT $3'
            '           FOR NO KEY UPDATE OF m SKIP LOCKED) c',
            @extschema@.bs_stale_condition(), @extschema@.bs_letter_octets(), part)
           INTO ids, stale, found, octets
          USING as_of, oldest, left_to_claim;
        left_to_claim := left_to_claim - found;
        IF stale IS NOT NULL THEN
            ids := ids || @extschema@.bs_make_fresh(part, stale, as_of);
            -- What could not be made afresh waits a moment, so that it neither keeps
            -- others from being claimed nor makes senders ask for it all the time.
            EXECUTE format('UPDATE %s AS m SET due_at = $3'
                           ' WHERE m.id = ANY ($1) AND m.id <> ALL ($2)'
                           '   AND m.status = ANY (@extschema@.bs_waiting_statuses())'
                           '   AND m.due_at < $3', part)
            USING stale, coalesce(ids, '{}'), as_of + interval '1 second';
        END IF;
        CONTINUE WHEN ids IS NULL OR ids = '{}';
        IF octets > left_of_bytes OR stale IS NOT NULL THEN
            SELECT f.ids, f.octets INTO ids, octets
              FROM @extschema@.bs_claim_fitting(part, left_of_bytes, ids) AS f;
        END IF;
        left_of_bytes := left_of_bytes - octets;
        RETURN QUERY EXECUTE @extschema@.bs_claim_statement(part)
        USING ids, as_of, lease, claimed_by, token;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_claim(text, integer, interval, timestamptz, bigint) IS
'Leases up to max_messages (10,000 at most) due messages to a sender, for at most a day, and counts the attempt; commit before sending. as_of is capped by bs_capped(). It stops once the letters have max_bytes octets, so that at most one letter goes beyond; NULL: no limit. What cannot be proven to be as users and types say now is not claimed, and is due again a second later. Gives nothing if this database is not adopted or is paused. Error 22023 for a lease out of range.';

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
    oldest timestamptz;
    month date;
    due_here timestamptz;
    due timestamptz;
BEGIN
    as_of := @extschema@.bs_capped(as_of, interval '1 minute');
    oldest := as_of - @extschema@.bs_max_lateness();
    FOR month IN SELECT @extschema@.bs_months_with_messages(oldest, as_of + @extschema@.bs_horizon()) LOOP
        EXECUTE format(
            'SELECT m.due_at FROM @extschema@.%I AS m'
            ' WHERE m.due_at IS NOT NULL'
            '   AND m.status = ANY (@extschema@.bs_waiting_statuses())'
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
