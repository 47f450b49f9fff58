-- queue: what senders hold, and the way back from senders that are lost. Owns SENDING
-- to RETRYING or FAILED when a lease runs out, and EXPIRED for what is too late.
--
-- An outcome that a living sender knows must not be judged as lost. So a lease that
-- has ended is no proof: the claims of senders that are known to live are spared, and
-- any other claim is judged at the second look. The first look extends it for a moment,
-- which proves that the row can be written again; a sender tries at least once a
-- second, so a living one has recorded by then.
--
-- Statements are made for one month at a time, and only for months that may hold
-- unfinished messages: one that is locked must not hold up the others, and locks on
-- every month and its indexes would fill the server's lock table.

-- Nothing but an operator's move makes an old month unfinished again, and that takes
-- its mark away. It is a mark of one attachment, not of a month: one that was detached,
-- or came from a dump, is looked at anew.
CREATE TABLE @extschema@.bs_finished_months (
    part oid NOT NULL,
    attached_by xid NOT NULL,
    past timestamptz NOT NULL,
    CONSTRAINT bs_finished_months_pkey PRIMARY KEY (part)
);
COMMENT ON TABLE @extschema@.bs_finished_months IS
'Old partitions of message_logs in which every message is finished, so that recovery need not open them.';
COMMENT ON COLUMN @extschema@.bs_finished_months.part IS 'The partition.';
COMMENT ON COLUMN @extschema@.bs_finished_months.attached_by IS 'The transaction that attached it.';
COMMENT ON COLUMN @extschema@.bs_finished_months.past IS 'The first instant after it.';

CREATE FUNCTION @extschema@.bs_unfinished_months(
    as_of timestamptz, OUT part regclass, OUT past timestamptz, OUT is_old boolean)
RETURNS SETOF record
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
#variable_conflict use_column
DECLARE
    old_until constant timestamptz := as_of - interval '2 months';
    planned_until constant timestamptz := interval '7 days' +
        greatest(as_of + @extschema@.bs_horizon(), (SELECT i.planned_until FROM ONLY @extschema@.bs_installation i));
    at_a_time constant bigint := 12;
BEGIN
    RETURN QUERY
    -- By their names: to read its bounds would wait for the locks on a partition. One
    -- with a name of its own is looked at always.
    WITH months AS (
        SELECT i.inhrelid::regclass AS part,
               make_timestamptz(n.month[1]::integer, n.month[2]::integer, 1, 0, 0, 0, 'UTC') AS first,
               (make_timestamp(n.month[1]::integer, n.month[2]::integer, 1, 0, 0, 0) + interval '1 month') AT TIME ZONE 'UTC' AS past
          FROM pg_inherits i
               JOIN pg_class c ON c.oid = i.inhrelid
               LEFT JOIN LATERAL regexp_match(c.relname, E'^message_logs_(\\d{4})_(0[1-9]|1[0-2])$') AS n (month) ON true
         WHERE i.inhparent = '@extschema@.message_logs'::regclass
           AND NOT i.inhdetachpending
           AND NOT EXISTS (SELECT FROM @extschema@.bs_finished_months f
                            WHERE f.part = i.inhrelid AND f.attached_by = i.xmin AND f.past <= old_until)
    )
    (SELECT m.part, m.past, true FROM months m WHERE m.past <= old_until ORDER BY m.past LIMIT at_a_time)
    UNION ALL
    (SELECT m.part, m.past, false FROM months m
      WHERE (m.past > old_until AND m.first <= planned_until) IS NOT FALSE ORDER BY m.past);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_unfinished_months(timestamptz) IS
'The partitions of message_logs that may hold messages to which something is still to happen: those from two months ago to what is planned, and at most a dozen older ones (is_old) at a time that are not known to be finished.';

-- The lock keeps operators' moves away until the mark is committed; what was moved and
-- not committed before is waited for by the next look.
CREATE FUNCTION @extschema@.bs_mark_finished(part regclass, past timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    EXECUTE format('LOCK TABLE %s IN SHARE MODE NOWAIT', part);
    IF NOT @extschema@.bs_is_unfinished('message_logs'::text, part::oid) THEN
        INSERT INTO @extschema@.bs_finished_months (part, attached_by, past)
        SELECT i.inhrelid, i.xmin, bs_mark_finished.past FROM pg_inherits i WHERE i.inhrelid = bs_mark_finished.part
            ON CONFLICT ON CONSTRAINT bs_finished_months_pkey DO NOTHING;
    END IF;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected OR undefined_table THEN
        NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_mark_finished(regclass, timestamptz) IS
'Notes an old partition in bs_finished_months, if all in it is finished and nothing else writes there just now.';

CREATE FUNCTION @extschema@.bs_claim_holders(as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS SETOF varchar
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET lock_timeout = '100ms'
SET enable_seqscan = off
AS $$
DECLARE
    part regclass;
    holders varchar[] := '{}';
    here varchar[];
BEGIN
    as_of := @extschema@.bs_capped(as_of, interval '400 days');
    FOR part IN SELECT u.part FROM @extschema@.bs_unfinished_months(as_of) u LOOP
        BEGIN
            EXECUTE format('SELECT array_agg(DISTINCT m.claimed_by) FROM %s AS m'
                           ' WHERE m.due_at IS NOT NULL AND m.status = ''SENDING'' AND m.claimed_by IS NOT NULL', part)
               INTO here;
            holders := holders || here;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected OR undefined_table THEN
                NULL;                   -- its claims cannot be judged now
        END;
    END LOOP;
    RETURN QUERY SELECT DISTINCT h.holder FROM unnest(holders) AS h (holder);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_claim_holders(timestamptz) IS
'The senders that hold messages; those of a month that is locked are left out.';

-- For bs_sender, which may lose its connection between a commit and the answer: what
-- it claimed then would wait for the end of the lease, though nothing begins it.
CREATE FUNCTION @extschema@.bs_release_claims(
    claimed_by text, tokens_known uuid[],
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
    part regclass;
    released bigint := 0;
    moved bigint;
BEGIN
    -- The claims of the server's own senders are looked after by the scheduler.
    IF claimed_by LIKE 'server/%' THEN
        RAISE EXCEPTION '"%" is a sender of the server', claimed_by
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM @extschema@.bs_check_sender(claimed_by);
    as_of := @extschema@.bs_capped(as_of, interval '1 minute');
    FOR part IN SELECT u.part FROM @extschema@.bs_unfinished_months(as_of) u LOOP
        EXECUTE format(
            'UPDATE %s AS m'
            '   SET status = ''RETRYING'','
            '       status_reason = ''released'','
            '       due_at = $3,'
            '       attempts = m.attempts - 1,'
            '       retry_count = greatest(m.attempts - 2, 0),'
            '       claim_token = NULL,'
            '       updated_at = $3'
            ' WHERE m.due_at IS NOT NULL'
            '   AND m.status = ''SENDING'''
            '   AND m.claimed_by = $1'
            '   AND m.claim_token <> ALL ($2)'
            '   AND NOT EXISTS (SELECT FROM @extschema@.bs_pending_outcomes p'
            '                    WHERE p.id = m.id AND p.claim_token = m.claim_token)', part)
        USING claimed_by, tokens_known, as_of;
        GET DIAGNOSTICS moved = ROW_COUNT;
        released := released + moved;
    END LOOP;
    IF released > 0 THEN
        PERFORM @extschema@.bs_wake_senders(as_of);
    END IF;
    RETURN released;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_release_claims(text, uuid[], timestamptz) IS
'Gives back, unharmed, what this sender has claimed under other tokens than those that it knows: claims whose answer never reached it. Gives their number. Errors: 22023 for a sender of the server, 42501 for a sender of another role.';

CREATE FUNCTION @extschema@.bs_judge_claims(
    part regclass, dead_senders text[], spared_senders text[], last_attempt integer, as_of timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
    -- Of a claim whose outcome is noted nothing is unknown.
    candidates constant text := format(
        'SELECT m.id FROM %s AS m'
        ' WHERE m.due_at IS NOT NULL'
        '   AND m.status = ''SENDING'''
        '   AND NOT EXISTS (SELECT FROM @extschema@.bs_pending_outcomes p'
        '                    WHERE p.id = m.id AND p.claim_token = m.claim_token)', part);
    lost bigint;
BEGIN
    -- Not the backoff of bs_retry_decide(), which spares a relay: here no relay has refused
    -- anything, and what is lost is late already. From the second loss on spread over time,
    -- so that a message that kills its sender does not take the same others with it again.
    EXECUTE format(
        'UPDATE %s AS m'
        '   SET status = CASE WHEN m.attempts >= $3 THEN ''FAILED'' ELSE ''RETRYING'' END,'
        '       status_reason = CASE WHEN m.attempts >= $3 THEN ''in_doubt'' ELSE ''lease'' END,'
        '       error_message = ''the sender '' || m.claimed_by || '' ended or was given up before it recorded an outcome'','
        '       due_at = CASE WHEN m.attempts >= $3 THEN NULL'
        '                     WHEN m.attempts = 1 THEN $4'
        '                     ELSE $4 + random() * least(m.attempts, 6) * interval ''10 seconds'' END,'
        '       in_doubt = true,'
        '       claim_token = NULL,'
        '       updated_at = $4'
        '  FROM (%s AND (m.claimed_by = ANY ($1)'
        '                OR m.due_at <= $4 AND m.status_reason = ''lease'' AND (m.claimed_by = ANY ($2)) IS NOT TRUE)'
        '         ORDER BY m.due_at'
        '           FOR NO KEY UPDATE OF m SKIP LOCKED) AS l'
        ' WHERE m.id = l.id', part, candidates)
    USING dead_senders, spared_senders, last_attempt, as_of;
    GET DIAGNOSTICS lost = ROW_COUNT;
    EXECUTE format(
        'UPDATE %s AS m'
        '   SET status_reason = ''lease'','
        '       due_at = $2 + least(greatest(m.due_at - m.last_retry_at, interval ''0''), interval ''10 seconds''),'
        '       updated_at = $2'
        '  FROM (%s AND m.due_at <= $2 AND m.status_reason IS DISTINCT FROM ''lease'''
        '           AND (m.claimed_by = ANY ($1)) IS NOT TRUE'
        '           FOR NO KEY UPDATE OF m SKIP LOCKED) AS l'
        ' WHERE m.id = l.id', part, candidates)
    USING spared_senders, as_of;
    RETURN lost;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_judge_claims(regclass, text[], text[], integer, timestamptz) IS
'In one partition: puts back what dead senders hold, and claims that were extended and have ended again; extends other claims whose lease has ended by as long as the lease, ten seconds at most. Gives the number put back.';

CREATE FUNCTION @extschema@.bs_expire(part regclass, oldest timestamptz, as_of timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET intervalstyle = 'postgres'
SET jit = off
SET enable_seqscan = off
AS $$
DECLARE
    expired bigint;
BEGIN
    EXECUTE format(
        'UPDATE %1$s AS m'
        '   SET status = ''EXPIRED'','
        '       status_reason = ''too_late'','
        '       due_at = NULL,'
        '       error_message = concat_ws(''; '', m.error_message, ''not sent within '' || $3 || '' of its send time''),'
        '       updated_at = $2'
        '  FROM (SELECT m.id FROM %1$s AS m'
        '         WHERE m.due_at IS NOT NULL'
        '           AND m.status = ANY (@extschema@.bs_waiting_statuses())'
        '           AND m.scheduled_send_time < $1'
        '           FOR NO KEY UPDATE SKIP LOCKED) AS l'
        ' WHERE m.id = l.id', part)
    USING oldest, as_of, @extschema@.bs_max_lateness();
    GET DIAGNOSTICS expired = ROW_COUNT;
    RETURN expired;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_expire(regclass, timestamptz, timestamptz) IS
'In one partition: what should have been sent before the oldest instant and was not ends as EXPIRED. Gives its number.';

CREATE FUNCTION @extschema@.bs_recover(
    dead_senders text[], at_most_once boolean DEFAULT false,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT recovered bigint, OUT expired bigint, OUT next_lease_end timestamptz)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET lock_timeout = '100ms'
AS $$
DECLARE
    oldest timestamptz;
    last_attempt integer := CASE WHEN at_most_once THEN 1
                                 ELSE current_setting('birthday_scheduler.max_attempts')::integer END;
    at_a_time constant bigint := 2000;
    spared text[];
    taken_back bigint := 0;
    left_over bigint;
    month record;
    lost bigint;
    late bigint;
    lease_end timestamptz;
BEGIN
    as_of := @extschema@.bs_capped(as_of, interval '400 days');
    oldest := as_of - @extschema@.bs_max_lateness();
    left_over := @extschema@.bs_record_pending();
    spared := @extschema@.bs_spared_senders(as_of);
    dead_senders := ARRAY(SELECT unnest(dead_senders) EXCEPT SELECT unnest(spared));
    recovered := 0;
    expired := 0;
    DELETE FROM @extschema@.bs_finished_months f
     WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = f.part AND i.xmin = f.attached_by AND NOT i.inhdetachpending);
    FOR month IN SELECT u.* FROM @extschema@.bs_unfinished_months(as_of) u LOOP
        BEGIN
            lost := @extschema@.bs_judge_claims(month.part, dead_senders, spared, last_attempt, as_of);
            late := @extschema@.bs_expire(month.part, oldest, as_of);
            EXECUTE format('SELECT min(m.due_at) FROM %s AS m WHERE m.due_at IS NOT NULL AND m.status = ''SENDING''', month.part::regclass)
               INTO lease_end;
            IF month.is_old THEN
                PERFORM @extschema@.bs_mark_finished(month.part, month.past);
            END IF;
            recovered := recovered + lost;
            expired := expired + late;
            next_lease_end := least(next_lease_end, lease_end);
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected OR serialization_failure OR undefined_table THEN
                left_over := left_over + 1;
        END;
    END LOOP;
    IF recovered > 0 THEN
        PERFORM @extschema@.bs_wake_senders(as_of);
    END IF;
    -- What is locked, or waits for a sender that lives, is looked at every second.
    IF left_over > 0 OR next_lease_end <= as_of THEN
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
'Records what could not be recorded before, puts back what dead_senders hold, unless they are known to live, and what was claimed under a lease that has run out, at the second look and if the sender is not known to live: RETRYING, or FAILED after max_attempts and where nothing may be sent twice; EXPIRED for what is past max_lateness. With birthday_scheduler.queue = postgres also what is QUEUED, some thousand at a time. A month that is locked is left for later. next_lease_end: when to look again.';
