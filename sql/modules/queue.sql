-- queue: hands due messages to senders. Owns the moves to SENDING and the way
-- back to RETRYING when a lease runs out, and EXPIRED for what nobody came for.
-- The way by the broker is in queue_broker.sql.
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
            '           AND m.status IN (''SCHEDULED'', ''QUEUED'', ''RETRYING'')'
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
                           '   AND m.status IN (''SCHEDULED'', ''QUEUED'', ''RETRYING'')'
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

CREATE FUNCTION @extschema@.bs_claim_holders()
RETURNS SETOF varchar
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
BEGIN ATOMIC
    SELECT DISTINCT m.claimed_by
      FROM @extschema@.message_logs m
     WHERE m.due_at IS NOT NULL
       AND m.status = 'SENDING'
       AND m.claimed_by IS NOT NULL;
END;
COMMENT ON FUNCTION @extschema@.bs_claim_holders() IS
'The senders that hold messages.';

-- For bs_sender, which may lose its connection between a commit and the answer: what
-- it claimed then would wait for the end of the lease, though nobody begins it.
CREATE FUNCTION @extschema@.bs_release_claims(
    claimed_by text, tokens_known uuid[],
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
    released bigint;
BEGIN
    -- The claims of the server's own senders are looked after by the scheduler.
    IF claimed_by LIKE 'server/%' THEN
        RAISE EXCEPTION '"%" is a sender of the server', claimed_by
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    as_of := @extschema@.bs_capped(as_of, interval '1 minute');
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
'Gives back, unharmed, what this sender has claimed under other tokens than those that it knows: claims whose answer never reached it. Gives their number. Error 22023 for a sender of the server.';

CREATE FUNCTION @extschema@.bs_recover(
    dead_senders text[], at_most_once boolean DEFAULT false,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT recovered bigint, OUT expired bigint, OUT next_lease_end timestamptz)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET intervalstyle = 'postgres'
SET jit = off
AS $$
DECLARE
    oldest timestamptz;
    last_attempt integer := CASE WHEN at_most_once THEN 1
                                 ELSE current_setting('birthday_scheduler.max_attempts')::integer END;
    at_a_time constant bigint := 2000;
    taken_back bigint := 0;
    pending bigint := 1;
BEGIN
    as_of := @extschema@.bs_capped(as_of, interval '400 days');
    oldest := as_of - @extschema@.bs_max_lateness();
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
               in_doubt = true,
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
