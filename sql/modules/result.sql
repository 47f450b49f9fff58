-- result: what became of an attempt. Owns the moves out of SENDING.
--
-- Recording waits for a moment only: while one row is locked, say by a session that
-- erases many users, the outcomes of others would not be written down. What cannot be
-- recorded (a row or its month is locked, a month is detached) is noted beside it.

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
'Outcomes of attempts whose message was locked, or in a month that was locked or detached, when they were to be recorded; bs_recover() records them as soon as it can. Columns as the arguments of bs_record().';
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

CREATE FUNCTION @extschema@.bs_note_outcomes(
    month date,
    ids uuid[], send_times timestamptz[], tokens uuid[], states text[], reasons text[],
    next_attempts timestamptz[], codes integer[], replies text[], errors text[],
    ended_at timestamptz[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
DECLARE
    slack constant interval := @extschema@.bs_max_lateness() + interval '2 days';
    noted bigint;
BEGIN
    INSERT INTO @extschema@.bs_pending_outcomes
           (id, scheduled_send_time, claim_token, state, reason, next_attempt, code, reply, error, ended_at)
    SELECT o.id, o.send_time, o.token, o.state, o.reason, o.next_attempt, o.code, o.reply, o.error, o.ended_at
      FROM unnest(ids, send_times, tokens, states, reasons, next_attempts, codes, replies, errors, ended_at)
           AS o (id, send_time, token, state, reason, next_attempt, code, reply, error, ended_at)
     WHERE o.send_time >= month::timestamp AT TIME ZONE 'UTC'
       AND o.send_time < (month + interval '1 month') AT TIME ZONE 'UTC'
       AND o.send_time BETWEEN clock_timestamp() - slack AND clock_timestamp() + slack
       AND o.id IS NOT NULL
       AND o.token IS NOT NULL
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS noted = ROW_COUNT;
    RETURN noted;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_note_outcomes(date, uuid[], timestamptz[], uuid[], text[], text[], timestamptz[], integer[], text[], text[], timestamptz[]) IS
'Notes outcomes, arguments as for bs_record(), of a month that is locked or away, in bs_pending_outcomes; only of send times that somebody may just have sent by. Gives their number.';

-- Texts are as long as core/mail/mail.h makes them at most.
CREATE FUNCTION @extschema@.bs_check_outcomes(
    ids uuid[], send_times timestamptz[], tokens uuid[], states text[], reasons text[],
    next_attempts timestamptz[], codes integer[], replies text[], errors text[],
    ended_at timestamptz[])
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    n constant integer := cardinality(ids);
    fault text;
BEGIN
    IF (n = ALL (ARRAY[cardinality(send_times), cardinality(tokens), cardinality(states), cardinality(reasons),
                       cardinality(next_attempts), cardinality(codes), cardinality(replies), cardinality(errors),
                       cardinality(ended_at)])) IS NOT TRUE THEN
        RAISE EXCEPTION 'outcomes must have as many elements in each array'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR i IN 1 .. n LOOP
        fault := CASE
            WHEN states[i] = ANY ('{RETRYING,RELEASED}'::text[]) AND next_attempts[i] IS NULL
                THEN format('the state "%s" and no next attempt', states[i])
            WHEN (states[i] = ANY ('{SENT,FAILED,EXPIRED,RETRYING,RELEASED}'::text[])) IS NOT TRUE
                THEN format('the state "%s"', coalesce(states[i], '<NULL>'))
            WHEN codes[i] NOT BETWEEN 0 AND 999 THEN format('the code %s', codes[i])
            WHEN length(reasons[i]) > 30 THEN 'a reason of more than 30 characters'
            WHEN octet_length(replies[i]) > 511 THEN 'a reply of more than 511 octets'
            WHEN octet_length(errors[i]) > 511 THEN 'an error of more than 511 octets'
        END;
        CONTINUE WHEN fault IS NULL;
        RAISE EXCEPTION 'outcome % of message % has %', i, ids[i], fault
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The states are SENT, FAILED, EXPIRED, and with a next attempt RETRYING and RELEASED.';
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_check_outcomes(uuid[], timestamptz[], uuid[], text[], text[], timestamptz[], integer[], text[], text[], timestamptz[]) IS
'Error 22023 unless the arrays, arguments as for bs_record(), describe outcomes as a relay''s answer can make them.';

CREATE FUNCTION @extschema@.bs_record(
    ids uuid[], send_times timestamptz[], tokens uuid[], states text[], reasons text[],
    next_attempts timestamptz[], codes integer[], replies text[], errors text[],
    ended_at timestamptz[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
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
        '       in_doubt = m.in_doubt OR r.reason IS NOT DISTINCT FROM ''in_doubt'','
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
    max_lateness CONSTANT interval := @extschema@.bs_max_lateness();
    recorded bigint := 0;
    moved bigint;
    noted bigint;
    month date;
    attached boolean;
    part text;
BEGIN
    PERFORM @extschema@.bs_check_outcomes(ids, send_times, tokens, states, reasons, next_attempts, codes, replies, errors, ended_at);
    next_attempts := ARRAY(SELECT @extschema@.bs_capped(n.at - max_lateness, interval '400 days') + max_lateness
                             FROM unnest(next_attempts) WITH ORDINALITY AS n (at, i) ORDER BY n.i);
    ended_at := ARRAY(SELECT @extschema@.bs_capped(e.at, interval '400 days')
                        FROM unnest(ended_at) WITH ORDINALITY AS e (at, i) ORDER BY e.i);
    -- By partition, so that the others are not even opened; no table that merely
    -- has the name of one.
    FOR month, attached IN
        SELECT d.month, @extschema@.bs_partition_attached('message_logs', d.month)
          FROM (SELECT DISTINCT @extschema@.bs_month(t.instant) AS month
                  FROM unnest(send_times) AS t (instant)
                 WHERE t.instant BETWEEN '1900-01-01 00:00+00' AND '9999-12-31 00:00+00') d
         ORDER BY d.month
    LOOP
        part := @extschema@.bs_partition_name('message_logs', month);
        noted := 0;
        BEGIN
            IF attached THEN
                EXECUTE format(move, part, '')
                USING ids, tokens, states, reasons, next_attempts, codes, replies, errors, ended_at;
                GET DIAGNOSTICS moved = ROW_COUNT;
            ELSE
                moved := @extschema@.bs_note_outcomes(month, ids, send_times, tokens, states, reasons,
                                                      next_attempts, codes, replies, errors, ended_at);
            END IF;
        EXCEPTION
            WHEN lock_not_available OR undefined_table THEN
                BEGIN
                    EXECUTE format(move, part, format(
                        'JOIN @extschema@.%I AS l ON l.id = o.id FOR NO KEY UPDATE OF l SKIP LOCKED', part))
                    USING ids, tokens, states, reasons, next_attempts, codes, replies, errors, ended_at;
                    GET DIAGNOSTICS moved = ROW_COUNT;
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
                    GET DIAGNOSTICS noted = ROW_COUNT;
                EXCEPTION
                    -- Not some rows, but the table is locked, or just being detached.
                    WHEN lock_not_available OR undefined_table THEN
                        moved := @extschema@.bs_note_outcomes(month, ids, send_times, tokens, states, reasons,
                                                              next_attempts, codes, replies, errors, ended_at);
                END;
        END;
        recorded := recorded + moved + noted;
    END LOOP;
    IF recorded > 0 AND ('RETRYING' = ANY (states) OR 'RELEASED' = ANY (states)) THEN
        PERFORM @extschema@.bs_wake_senders((SELECT min(n) FROM unnest(next_attempts) AS n));
    END IF;
    RETURN recorded;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_record(uuid[], timestamptz[], uuid[], text[], text[], timestamptz[], integer[], text[], text[], timestamptz[]) IS
'Records outcomes, one per array position: SENT, FAILED, EXPIRED, RETRYING (again at next_attempt) or RELEASED (the attempt is not counted). Only the holder of the claim is heard; gives the number recorded. What cannot be written now, because a row or its month is locked or the month is detached, counts: it is noted in bs_pending_outcomes. Instants are capped: an attempt ended before now, the next one is not later than max_lateness from now. Error 22023 for another state, code or number of elements, or a text that is too long.';

-- Where the month is locked its outcomes stay noted; so do those of a month that is
-- detached, for a year.
CREATE FUNCTION @extschema@.bs_record_pending()
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
SET lock_timeout = '100ms'
AS $$
DECLARE
    month date;
    months date[] := '{}';
    taken bigint;
    done bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM @extschema@.bs_pending_outcomes) THEN
        RETURN 0;
    END IF;
    DELETE FROM @extschema@.bs_pending_outcomes p
     WHERE coalesce(p.ended_at, p.scheduled_send_time) < clock_timestamp() - interval '1 year';
    FOR month IN
        SELECT @extschema@.bs_months_of(ARRAY(SELECT DISTINCT p.scheduled_send_time FROM @extschema@.bs_pending_outcomes p))
    LOOP
        months := months || month;
        BEGIN
            SELECT @extschema@.bs_record(array_agg(p.id), array_agg(p.scheduled_send_time), array_agg(p.claim_token),
                                         array_agg(p.state), array_agg(p.reason), array_agg(p.next_attempt), array_agg(p.code),
                                         array_agg(p.reply), array_agg(p.error), array_agg(p.ended_at))
              INTO taken
              FROM @extschema@.bs_pending_outcomes p
             WHERE @extschema@.bs_month(p.scheduled_send_time) = month;
            EXECUTE format(
                'DELETE FROM @extschema@.bs_pending_outcomes p'
                ' WHERE @extschema@.bs_month(p.scheduled_send_time) = $1'
                '   AND NOT EXISTS (SELECT FROM @extschema@.%I AS m'
                '                    WHERE m.id = p.id AND m.status = ''SENDING'' AND m.claim_token = p.claim_token)',
                @extschema@.bs_partition_name('message_logs', month))
            USING month;
            GET DIAGNOSTICS done = ROW_COUNT;
            IF done > taken THEN
                RAISE LOG 'birthday_scheduler: % outcomes that were noted came too late: their messages had been given up for lost or deleted',
                    done - taken;
            END IF;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected OR serialization_failure OR undefined_table THEN
                NULL;                   -- they stay noted
            WHEN OTHERS THEN
                RAISE WARNING 'what is in bs_pending_outcomes cannot be recorded (SQLSTATE %)', SQLSTATE;
        END;
    END LOOP;
    RETURN (SELECT count(*) FROM @extschema@.bs_pending_outcomes p
             WHERE @extschema@.bs_month(p.scheduled_send_time) = ANY (months));
END
$$;
COMMENT ON FUNCTION @extschema@.bs_record_pending() IS
'Records what was noted because it could not be written; gives the number that is still noted, without those of months that are detached.';
