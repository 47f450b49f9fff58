-- result: what became of an attempt. Owns the moves out of SENDING.

CREATE FUNCTION @extschema@.bs_record(
    ids uuid[], send_times timestamptz[], tokens uuid[], states text[], reasons text[],
    next_attempts timestamptz[], codes integer[], replies text[], errors text[],
    ended_at timestamptz[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    recorded bigint := 0;
    recorded_here bigint;
    month date;
BEGIN
    -- By partition, so that the others are not even opened; no table that merely
    -- has the name of one. What somebody else has locked waits by itself: whoever
    -- waited with the others would have them sent again when their lease ends.
    FOR month IN SELECT @extschema@.bs_months_of(send_times) LOOP
        EXECUTE format(
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
            '               JOIN @extschema@.%1$I AS l ON l.id = o.id'
            '         WHERE (l.status = ''SENDING'' AND l.claim_token = o.token) IS TRUE'
            '           FOR NO KEY UPDATE OF l SKIP LOCKED) AS r'
            ' WHERE m.id = r.id',
            @extschema@.bs_partition_name('message_logs', month))
        USING ids, tokens, states, reasons, next_attempts, codes, replies, errors, ended_at;
        GET DIAGNOSTICS recorded_here = ROW_COUNT;
        recorded := recorded + recorded_here;
    END LOOP;
    IF recorded > 0 AND ('RETRYING' = ANY (states) OR 'RELEASED' = ANY (states)) THEN
        PERFORM @extschema@.bs_wake_senders((SELECT min(n) FROM unnest(next_attempts) AS n));
    END IF;
    RETURN recorded;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_record(uuid[], timestamptz[], uuid[], text[], text[], timestamptz[], integer[], text[], text[], timestamptz[]) IS
'Records outcomes, one per array position: SENT, FAILED, EXPIRED, RETRYING (again at next_attempt) or RELEASED (the attempt is not counted). Only the holder of the claim is heard; gives the number recorded. What somebody else has locked is left out: bs_unrecorded() has it.';

CREATE FUNCTION @extschema@.bs_unrecorded(ids uuid[], send_times timestamptz[], tokens uuid[])
RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE      -- it sees what bs_record() did in the same statement
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
BEGIN
    FOR month IN SELECT @extschema@.bs_months_of(send_times) LOOP
        RETURN QUERY EXECUTE format(
            'SELECT m.id'
            '  FROM unnest($1, $2) AS o (id, token)'
            '       JOIN @extschema@.%I AS m ON m.id = o.id'
            ' WHERE (m.status = ''SENDING'' AND m.claim_token = o.token) IS TRUE',
            @extschema@.bs_partition_name('message_logs', month))
        USING ids, tokens;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_unrecorded(uuid[], timestamptz[], uuid[]) IS
'Which of these claims are still held: after bs_record() those whose rows somebody else has locked. Record them later.';
