-- queue: the way by the broker. What is due is published, marked QUEUED once the
-- broker has confirmed it, and claimed by the sender that receives the copy. Owns
-- the moves to QUEUED and back from there; the move to SENDING is the one of
-- bs_claim().
--
-- The rows are the record, a copy in the broker is no more than a hint that one of
-- them is due: there may be ten of a message, or none. So a row that is QUEUED has
-- a due_at as well: when to publish it again if no sender came for it.

CREATE FUNCTION @extschema@.bs_months_of(instants timestamptz[])
RETURNS SETOF date
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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

-- An arm for each month and status, merged in the order of their index: a filter
-- on several statuses would visit every row that is QUEUED and overdue only to
-- leave it out, and a sort would read all that is due to find the first.
CREATE FUNCTION @extschema@.bs_due_messages(
    max_messages integer, except_ids uuid[], again boolean,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT id uuid, OUT scheduled_send_time timestamptz, OUT due_at timestamptz, OUT message_type varchar)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    oldest timestamptz;
    arms text;
BEGIN
    as_of := @extschema@.bs_capped(as_of, interval '1 minute');
    oldest := as_of - @extschema@.bs_max_lateness();
    max_messages := least(max_messages, 100000);
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
           unnest(CASE WHEN again THEN @extschema@.bs_waiting_statuses()
                       ELSE '{SCHEDULED,RETRYING}' END) AS s (status);
    IF arms IS NOT NULL THEN
        RETURN QUERY EXECUTE arms || ' ORDER BY due_at LIMIT $4'
        USING as_of, oldest, except_ids, max_messages;
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_due_messages(integer, uuid[], boolean, timestamptz) IS
'What is to be published, the first due first, without the except_ids: those that the caller has published already. With again also what is QUEUED and was not claimed until its due_at. Locks nothing. Nothing where this database is not adopted or is paused.';

-- The user first, as in planning: a lock on a message whose user somebody is
-- changing would keep that change away from the message, and here it would not be
-- made afresh later. Waits for nobody.
CREATE FUNCTION @extschema@.bs_mark_queued(
    ids uuid[], send_times timestamptz[], due_ats timestamptz[], look_again interval,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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
    as_of := @extschema@.bs_capped(as_of, interval '1 minute');
    PERFORM @extschema@.bs_check_lease(look_again);
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
            '               JOIN ONLY @extschema@.users u ON u.id = l.user_id'
            '         WHERE (l.due_at = w.due_at'
            '                AND l.status = ANY (@extschema@.bs_waiting_statuses())) IS TRUE'
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
            '        AND m.status = ANY (@extschema@.bs_waiting_statuses())) IS TRUE', part)
        USING ids, due_ats;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_mark_queued(uuid[], timestamptz[], timestamptz[], interval, timestamptz) IS
'Marks QUEUED what the broker has confirmed, as bs_due_messages() gave it: due again after look_again. What was claimed or moved meanwhile stays as it is. So does what somebody else has locked, but that is still due, and comes back as the answer: mark it later. Error 40001 where a row was just moved to another month: try again.';

-- A lock is waited for, because the publisher may just be marking the row, but only
-- for a moment: sending stands still meanwhile. The copy of a row that somebody keeps
-- locked, as a planning pass may for seconds, must not be dropped: the row would wait
-- until it is due again. So its sender is told, and asks again.
CREATE FUNCTION @extschema@.bs_claim_copies(
    claimed_by text, lease interval, ids uuid[], send_times timestamptz[],
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
SET lock_timeout = '50ms'
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    oldest timestamptz;
    token uuid := gen_random_uuid();
    month date;
    part regclass;
    lock_rows text;
    given bigint;
    held uuid[];
    stale uuid[];
    octets bigint;
    held_later uuid[];
    stale_later uuid[];
    octets_later bigint;
    left_of_bytes bigint := max_bytes;
    patience text := current_setting('lock_timeout');
BEGIN
    as_of := @extschema@.bs_capped(as_of, interval '1 minute');
    oldest := as_of - @extschema@.bs_max_lateness();
    PERFORM @extschema@.bs_check_claimant(claimed_by);
    PERFORM @extschema@.bs_check_lease(lease);
    IF cardinality(ids) > 10000 THEN
        RAISE EXCEPTION 'at most 10000 copies are claimed at a time, not %', cardinality(ids)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
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
            'SELECT coalesce(array_agg(l.id), ''{}''), coalesce(array_agg(l.id) FILTER (WHERE l.stale), ''{}''), coalesce(sum(l.octets), 0)'
            '  FROM (SELECT m.id, %s AS stale, %s AS octets'
            '          FROM (SELECT DISTINCT c.id, c.send_time FROM unnest($1, $2) AS c (id, send_time)) c'
            '               JOIN %s AS m ON m.id = c.id'
            '         WHERE (m.scheduled_send_time = c.send_time'
            '                AND m.scheduled_send_time BETWEEN $3 AND $4'
            '                AND (m.status = ''QUEUED'''
            '                     OR (m.status IN (''SCHEDULED'', ''RETRYING'') AND m.due_at <= $4))) IS TRUE'
            '           AND m.id <> ALL ($5)'
            '           FOR NO KEY UPDATE OF m ', @extschema@.bs_stale_condition(), @extschema@.bs_letter_octets(), part);
        EXECUTE lock_rows || 'SKIP LOCKED) l'
           INTO held, stale, octets
          USING ids, send_times, oldest, as_of, ARRAY[]::uuid[];
        IF cardinality(held) < given THEN
            BEGIN
                PERFORM set_config('lock_timeout', patience, true);
                EXECUTE lock_rows || ') l'
                   INTO held_later, stale_later, octets_later
                  USING ids, send_times, oldest, as_of, held;
                held := held || held_later;
                stale := stale || stale_later;
                octets := octets + octets_later;
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
                    NULL;
            END;
        END IF;
        IF stale <> '{}' THEN
            held := ARRAY(SELECT unnest(held) EXCEPT SELECT unnest(stale))
                    || @extschema@.bs_make_fresh(part, stale, as_of);
        END IF;
        IF octets > left_of_bytes OR stale <> '{}' THEN
            SELECT f.ids, f.octets INTO held, octets
              FROM @extschema@.bs_claim_fitting(part, left_of_bytes, held) AS f;
        END IF;
        left_of_bytes := left_of_bytes - octets;
        IF held <> '{}' THEN
            -- The rows are locked; what may have to be waited for is room in the table.
            PERFORM set_config('lock_timeout', '1s', true);
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
COMMENT ON FUNCTION @extschema@.bs_claim_copies(text, interval, uuid[], timestamptz[], timestamptz, bigint) IS
'Leases to a sender those of the messages whose copies it received that are due, as bs_claim(): what is finished, cancelled, claimed, moved to another time, not due yet or unknown is not among the answers. Messages that are FAILED are, with claim_token NULL and without the letter: their copies are dead letters. So are, with attempts NULL as well, those that somebody else has locked, those for which max_bytes leaves no room, and all while the database is paused: ask again. Commit before sending. Error 40001 where a row was just moved to another month: try again. Nothing where this database is not adopted.';

-- The user first, as in bs_mark_queued(). The condition is on the status alone, so
-- that its index answers it at once where nothing is QUEUED, however many messages
-- are planned.
CREATE FUNCTION @extschema@.bs_take_back(
    max_messages bigint, as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET lock_timeout = '100ms'
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    part regclass;
    any_queued boolean;
    taken_back bigint := 0;
    moved bigint;
    due timestamptz;
    first_due timestamptz;
BEGIN
    FOR part IN SELECT u.part FROM @extschema@.bs_unfinished_months(as_of) u LOOP
        BEGIN
            EXECUTE format('SELECT EXISTS (SELECT FROM %s AS m WHERE m.status = ''QUEUED'')', part) INTO any_queued;
            CONTINUE WHEN NOT any_queued;
            EXECUTE format(
                'WITH moved AS ('
                '    UPDATE %1$s AS m'
                '       SET status = CASE WHEN m.attempts > 0 THEN ''RETRYING'' ELSE ''SCHEDULED'' END,'
                '           due_at = m.scheduled_send_time,'
                '           updated_at = $2'
                '      FROM (SELECT m.id'
                '              FROM %1$s AS m'
                '                   JOIN ONLY @extschema@.users u ON u.id = m.user_id'
                '             WHERE m.status = ''QUEUED'''
                '             LIMIT $1'
                '               FOR SHARE OF u SKIP LOCKED'
                '               FOR NO KEY UPDATE OF m SKIP LOCKED) AS q'
                '     WHERE m.id = q.id'
                '    RETURNING m.due_at)'
                'SELECT count(*), min(v.due_at) FROM moved v', part)
               INTO moved, due
              USING max_messages - taken_back, as_of;
            taken_back := taken_back + moved;
            first_due := least(first_due, due);
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected OR serialization_failure OR undefined_table THEN
                NULL;                   -- at the next look
        END;
    END LOOP;
    IF taken_back > 0 THEN
        PERFORM @extschema@.bs_wake_senders(first_due);
    END IF;
    RETURN taken_back;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_take_back(bigint, timestamptz) IS
'Takes up to so many messages back from the broker, for senders that claim by themselves: SCHEDULED or, once attempted, RETRYING, and due. Copies that the broker still has find nothing to do. Gives their number.';
