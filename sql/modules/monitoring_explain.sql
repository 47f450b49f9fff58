-- monitoring: bs_explain(), which answers "why did this user get nothing today?".

-- In the words of bs_health(): an application that asks learns no host name.
CREATE FUNCTION @extschema@.bs_obstacle()
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    installation text := @extschema@.bs_installation_state();
    part jsonb;
BEGIN
    CASE installation
        WHEN 'copy' THEN RETURN 'This database is a copy: nothing is planned or sent until bs_resume() adopts it.';
        WHEN 'new' THEN RETURN 'This database was not adopted yet: nothing is planned or sent until bs_resume() does it.';
        WHEN 'paused' THEN
            RETURN (SELECT format('Sending has been paused since %s%s; bs_resume() goes on.',
                                  @extschema@.bs_clock(i.paused_at), ' (' || i.paused_reason || ')')
                      FROM ONLY @extschema@.bs_installation i);
        ELSE NULL;
    END CASE;
    IF @extschema@.bs_worker_health() ->> 'status' = 'error' THEN
        RETURN 'The workers are not at work: bs_health() says why.';
    END IF;
    part := @extschema@.bs_queue_health(installation);
    IF part ->> 'status' = 'error' THEN
        RETURN 'The broker cannot be reached: bs_health() says why.';
    ELSIF part ->> 'status' = 'warning' THEN
        RETURN 'There is trouble with the broker: bs_health() says which.';
    END IF;
    part := @extschema@.bs_relay_health(installation);
    IF part ->> 'status' <> 'ok' THEN
        RETURN format('The relay is in trouble: %s.', part ->> 'reason');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_obstacle() IS
'One sentence: what keeps any message of this database from leaving now; NULL: nothing that is known.';

-- A relay likes to repeat the address in its answer.
CREATE FUNCTION @extschema@.bs_relay_words(code integer, body text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN code IS NOT NULL
            THEN pg_catalog.format('the relay said "%s"', pg_catalog.regexp_replace(pg_catalog.regexp_replace(
                     pg_catalog.btrim(CASE WHEN pg_catalog.starts_with(body, code::text) THEN '' ELSE code || ' ' END || coalesce(body, '')),
                     E'\\S*@\\S*', '(address)', 'g'), E'\\s+', ' ', 'g'))
       END;
COMMENT ON FUNCTION @extschema@.bs_relay_words(integer, text) IS
'What the relay answered, in one line and without addresses; NULL if it did not answer.';

CREATE FUNCTION @extschema@.bs_message_story(subject text, message @extschema@.message_logs, obstacle text)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    words text := @extschema@.bs_relay_words(message.api_response_code, message.api_response_body);
    late text := @extschema@.bs_short(now() - coalesce(message.owed_at, message.scheduled_send_time));
    expires text := @extschema@.bs_clock(message.scheduled_send_time + @extschema@.bs_max_lateness());
    what text;
BEGIN
    CASE message.status
        WHEN 'SENT' THEN
            RETURN format('%s was sent at %s, %s after its time.', subject, @extschema@.bs_clock(message.actual_send_time),
                          @extschema@.bs_short(greatest(message.actual_send_time - coalesce(message.owed_at, message.scheduled_send_time), interval '0')));
        WHEN 'FAILED' THEN
            what := CASE message.status_reason
                        WHEN 'refused' THEN 'the relay refused it'
                        WHEN 'attempts' THEN format('none of %s attempts succeeded', message.attempts)
                        WHEN 'in_doubt' THEN 'the relay did not answer, and at_most_once does not try again'
                        ELSE message.status_reason
                    END;
            RETURN format('%s failed at %s: %s.', subject, @extschema@.bs_clock(message.updated_at), concat_ws('; ', what, words));
        WHEN 'EXPIRED' THEN
            RETURN format('%s expired: it had not left by %s, which is max_lateness after its time%s.',
                          subject, expires, '; ' || words);
        WHEN 'CANCELLED' THEN
            what := CASE message.status_reason
                        WHEN 'user_deleted' THEN 'the user was deleted'
                        WHEN 'type_disabled' THEN 'the message type was disabled'
                        WHEN 'date_changed' THEN 'the user''s date was changed'
                        WHEN 'by_hand' THEN 'bs_cancel_message() was called'
                        ELSE message.status_reason
                    END;
            RETURN format('%s was cancelled at %s: %s.', subject, @extschema@.bs_clock(message.updated_at), what);
        WHEN 'SENDING' THEN
            RETURN format('%s is being sent: a sender has had it since %s.', subject, @extschema@.bs_clock(message.last_retry_at));
        ELSE NULL;
    END CASE;
    IF message.scheduled_send_time > now() THEN
        RETURN concat_ws(' ', format('%s is planned and leaves at its time.', subject), obstacle);
    END IF;
    what := CASE
                WHEN message.status = 'RETRYING' AND message.attempts > 0
                THEN format('attempt %s did not succeed, and the next one is at %s', message.attempts, @extschema@.bs_clock(message.due_at))
                WHEN message.status = 'QUEUED' THEN 'it waits in the queue of the broker'
                ELSE 'it waits for a sender'
            END;
    RETURN concat_ws(' ', format('%s is %s late: %s.', subject, late, concat_ws('; ', what, words)), obstacle,
                     format('It expires at %s.', expires));
END
$$;
COMMENT ON FUNCTION @extschema@.bs_message_story(text, @extschema@.message_logs, text) IS
'What became of a message, or what it waits for, in sentences that begin with the subject; obstacle is what bs_obstacle() gave.';

-- An occasion that has no message: its hour was over before the user came.
CREATE FUNCTION @extschema@.bs_absence_story(
    occasion date, send_at timestamptz, created_at timestamptz, date_since timestamptz, active_since timestamptz)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    since timestamptz := greatest(created_at, date_since, active_since);
BEGIN
    IF occasion IS NULL THEN
        RETURN NULL;
    END IF;
    IF send_at >= since THEN
        RETURN CASE WHEN send_at >= now() - @extschema@.bs_max_lateness()
                    THEN format('The message of %s will be planned at the next pass, and is late.', occasion)
                    ELSE format('Nothing was planned for %s, and it is too late now.', occasion) END;
    END IF;
    RETURN format('Nothing is owed for %s: its time was %s, and %s at %s.', occasion, @extschema@.bs_clock(send_at),
                  CASE since WHEN created_at THEN 'the user was added'
                             WHEN active_since THEN 'the message type was enabled'
                             ELSE 'the date was added' END,
                  @extschema@.bs_clock(since));
END
$$;
COMMENT ON FUNCTION @extschema@.bs_absence_story(date, timestamptz, timestamptz, timestamptz, timestamptz) IS
'Why an occasion that is over has no message: it came before the user, the date or the message type did. NULL for NULL.';

CREATE FUNCTION @extschema@.bs_occasions(user_id uuid, message_type varchar)
RETURNS TABLE (local_date date, send_at timestamptz, since timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT d.local_date, p.send_at, e.since
      FROM @extschema@.bs_events e
           CROSS JOIN generate_series(extract(year FROM now())::integer - 1,
                                      extract(year FROM now())::integer + 9) AS y (year)
           CROSS JOIN LATERAL (
               SELECT CASE e.cadence WHEN 'once' THEN e.event_date
                      ELSE @extschema@.bs_occurrence(e.event_date, y.year, e.feb29_policy::text) END AS local_date) d
           CROSS JOIN LATERAL (
               SELECT @extschema@.bs_send_time_or_null(e.timezone::text, d.local_date, e.send_time) AS send_at) p
     WHERE e.user_id = bs_occasions.user_id
       AND e.message_type = bs_occasions.message_type
       AND @extschema@.bs_is_owed(e.event_date, d.local_date, e.cadence::text, e.feb29_policy::text);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_occasions(uuid, varchar) IS
'The occasions of a user for one message type from last year to nine years ahead, with their instants, and since when the user is owed one.';

CREATE FUNCTION @extschema@.bs_explain_type(who @extschema@.users, kind @extschema@.message_types, obstacle text)
RETURNS TABLE (next_date date, send_at timestamptz, status varchar, explanation text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
#variable_conflict use_column
DECLARE
    next record;
    over record;
    past @extschema@.message_logs;
    message @extschema@.message_logs;
BEGIN
    SELECT o.local_date, o.send_at INTO next
      FROM @extschema@.bs_occasions(who.id, kind.name) o
     WHERE o.send_at >= greatest(now(), o.since)
     ORDER BY o.send_at
     LIMIT 1;
    SELECT o.local_date, o.send_at, o.since INTO over
      FROM @extschema@.bs_occasions(who.id, kind.name) o
     WHERE o.send_at BETWEEN now() - interval '7 days' AND now()
     ORDER BY o.send_at DESC
     LIMIT 1;
    SELECT m.* INTO past
      FROM @extschema@.message_logs m
     WHERE m.user_id = who.id AND m.message_type = kind.name
       AND m.scheduled_send_time BETWEEN now() - interval '400 days' AND now()
     ORDER BY m.scheduled_send_time DESC
     LIMIT 1;
    -- What is late and still to be sent is the next one.
    IF past.status = ANY (@extschema@.bs_open_statuses()) THEN
        RETURN QUERY SELECT past.local_date, past.scheduled_send_time, past.status,
                            @extschema@.bs_message_story('The message'::text, past, obstacle);
        RETURN;
    END IF;
    SELECT m.* INTO message
      FROM @extschema@.message_logs m
     WHERE m.user_id = who.id AND m.message_type = kind.name
       AND m.local_date = next.local_date AND m.scheduled_send_time = next.send_at;
    RETURN QUERY SELECT next.local_date, next.send_at, message.status, concat_ws(' ',
        CASE
            WHEN who.deleted_at IS NOT NULL THEN 'The user is deleted.'
            WHEN NOT kind.enabled THEN 'The message type is disabled.'
            WHEN NOT @extschema@.bs_is_timezone(who.timezone::text)
            THEN format('The server does not know the time zone "%s". On Debian 13 and later, old names are in the package tzdata-legacy.', who.timezone)
            WHEN next.local_date IS NULL
            THEN CASE kind.date_source WHEN 'user_dates' THEN 'The user has no such date ahead.'
                                       ELSE format('The user has no %s.', kind.date_source) END
            WHEN message.status IS NOT NULL THEN @extschema@.bs_message_story('The message'::text, message, obstacle)
            WHEN @extschema@.bs_installation_state() <> 'adopted' THEN obstacle
            WHEN next.send_at > now() + @extschema@.bs_horizon()
            THEN format('The message will be planned %s before its time.', @extschema@.bs_horizon())
            ELSE 'The message will be planned at the next pass.'
        END,
        CASE
            WHEN past.id IS NULL OR over.local_date > past.local_date
            THEN @extschema@.bs_absence_story(over.local_date, over.send_at, who.created_at, over.since, kind.active_since)
            ELSE @extschema@.bs_message_story(format('The message of %s', past.local_date), past, obstacle)
        END);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_explain_type(@extschema@.users, @extschema@.message_types, text) IS
'The row of bs_explain() for one user and message type; obstacle is what bs_obstacle() gave.';

CREATE FUNCTION @extschema@.bs_explain(user_id uuid)
RETURNS TABLE (message_type varchar, next_date date, send_at timestamptz, status varchar, explanation text)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET intervalstyle = 'postgres'
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    who @extschema@.users := @extschema@.bs_get_user(bs_explain.user_id);
    obstacle text := @extschema@.bs_obstacle();
BEGIN
    RETURN QUERY
    SELECT t.name, e.next_date, e.send_at, e.status, e.explanation
      FROM ONLY @extschema@.message_types t
           CROSS JOIN LATERAL @extschema@.bs_explain_type(who, t, obstacle) e
     ORDER BY e.send_at NULLS LAST, t.name;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_explain(uuid) IS
'Why a user got nothing, or what comes: for each message type the user''s next date and instant, or those of a message that is late and still to be sent; then in sentences what it waits for and what is in its way, and what became of the last message, with the relay''s words, or why the last occasion had none. Error P0002 for an unknown id.';
