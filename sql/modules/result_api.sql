-- result: by hand. An operator's moves of single messages.

CREATE FUNCTION @extschema@.bs_move_by_hand(message_id uuid, wanted text[], new_status text, reason text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    found_status text;
    moved_in oid;
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
       AND m.status = ANY (wanted)
    RETURNING m.tableoid INTO moved_in;
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
    -- After the move, whose lock waits for bs_mark_finished().
    DELETE FROM @extschema@.bs_finished_months f WHERE f.part = moved_in;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_move_by_hand(uuid, text[], text, text) IS
'Moves one message from one of the wanted states. Errors: P0002, 55000.';

CREATE FUNCTION @extschema@.bs_cancel_message(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    PERFORM @extschema@.bs_move_by_hand(id, @extschema@.bs_waiting_statuses(), 'CANCELLED', 'by_hand');
    PERFORM @extschema@.bs_count_moves(0::bigint, 0::bigint, 1::bigint, 0::bigint, 0::bigint);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_cancel_message(uuid) IS
'Cancels one message for good; a copy that the broker has of it is dropped. Errors: P0002 for an unknown id, 55000 where it is claimed or finished.';

CREATE FUNCTION @extschema@.bs_retry_message(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    PERFORM @extschema@.bs_move_by_hand(id, '{FAILED,QUEUED}'::text[], 'RETRYING', 'retried');
    PERFORM @extschema@.bs_wake_senders(now());
END
$$;
COMMENT ON FUNCTION @extschema@.bs_retry_message(uuid) IS
'Brings one FAILED message back, with its attempts counted from 0; past max_lateness it ends as EXPIRED. One that is QUEUED is published again at once, where the broker is known to have lost its copy. Errors: P0002 for an unknown id, 55000 where it is in another state.';

CREATE FUNCTION @extschema@.bs_retry_failed(since timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    moved bigint;
BEGIN
    IF since IS NULL THEN
        RAISE EXCEPTION 'since must not be NULL' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- With the instant as a constant, so that older months are not even locked.
    EXECUTE format(
        'UPDATE @extschema@.message_logs AS m'
        '   SET status = ''RETRYING'', status_reason = ''retried'', due_at = now(), attempts = 0, updated_at = now()'
        ' WHERE m.status = ''FAILED'''
        '   AND m.scheduled_send_time >= timestamptz %L', greatest(since, now() - @extschema@.bs_max_lateness()));
    GET DIAGNOSTICS moved = ROW_COUNT;
    PERFORM @extschema@.bs_wake_senders(now());
    RETURN moved;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_retry_failed(timestamptz) IS
'Brings back every FAILED message whose send time is not before since and that is not past max_lateness; gives their number. Error 22023 for NULL.';

-- The send time moves to now, and with it the row to the month of now: so every
-- bound of max_lateness holds as for any other message. Key and ledger stay.
CREATE FUNCTION @extschema@.bs_send_late(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    found_message record;
    why text;
BEGIN
    -- The user's lock first, and then the message as it is under it: a row that
    -- another call moves to another month cannot be waited for.
    PERFORM FROM ONLY @extschema@.users u
      WHERE u.id = (SELECT m.user_id FROM @extschema@.message_logs m WHERE m.id = bs_send_late.id)
        FOR NO KEY UPDATE;
    SELECT m.user_id, m.scheduled_send_time, m.status INTO found_message
      FROM @extschema@.message_logs m WHERE m.id = bs_send_late.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'message % does not exist', coalesce(bs_send_late.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
    SELECT w.gone INTO why
      FROM @extschema@.bs_wanted(ARRAY[bs_send_late.id], ARRAY[found_message.user_id], found_message.scheduled_send_time,
                                 found_message.scheduled_send_time, '-infinity'::timestamptz) w;
    IF why IS NOT NULL AND found_message.status IN ('EXPIRED', 'CANCELLED') THEN
        RAISE EXCEPTION 'message % is not owed: %', bs_send_late.id, why
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = CASE why WHEN 'user_deleted' THEN 'Call bs_restore_user() first.'
                                  WHEN 'type_disabled' THEN 'Set enabled of its message type to true first.'
                                  ELSE 'The user has no such date any more.' END;
    END IF;
    UPDATE @extschema@.message_logs m
       SET status = 'RETRYING',
           status_reason = 'send_late',
           scheduled_send_time = greatest(m.scheduled_send_time, now()),
           owed_at = CASE WHEN m.scheduled_send_time < now() THEN coalesce(m.owed_at, m.scheduled_send_time) END,
           due_at = greatest(m.scheduled_send_time, now()),
           attempts = 0,
           type_version = 0,
           updated_at = now()
     WHERE m.id = bs_send_late.id
       AND m.scheduled_send_time = found_message.scheduled_send_time
       AND m.status IN ('EXPIRED', 'CANCELLED');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'message % is %', bs_send_late.id, found_message.status
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'It must be one of EXPIRED, CANCELLED.';
    END IF;
    PERFORM @extschema@.bs_wake_senders(now());
END
$$;
COMMENT ON FUNCTION @extschema@.bs_send_late(uuid) IS
'Sends one message that is EXPIRED or CANCELLED, however late: its send time becomes now, or stays if it is still to come. Name, address and words are those of now; its Message-ID stays. Errors: P0002 for an unknown id, 55000 where it is in another state, or its user is deleted, its type disabled or its date gone.';
