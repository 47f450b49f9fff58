-- planning: what people ask about what is planned.

CREATE FUNCTION @extschema@.bs_upcoming(within interval DEFAULT '7 days')
RETURNS TABLE (send_at timestamptz, user_id uuid, message_type varchar, local_date date, timezone varchar, status varchar)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF within IS NULL OR within NOT BETWEEN interval '0' AND interval '400 days' THEN
        RAISE EXCEPTION 'within must lie between 0 and 400 days, not %', coalesce(within::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT DISTINCT ON (p.send_at, e.user_id, e.message_type)
           p.send_at, e.user_id, e.message_type, s.local_date, e.timezone,
           coalesce(m.status, 'not planned yet'::varchar)
      FROM @extschema@.bs_plan_slices(now(), now() + within) s
           JOIN @extschema@.bs_events e
             ON e.message_type = s.message_type AND e.date_source = s.date_source AND e.month_day = s.month_day
           CROSS JOIN LATERAL (
               SELECT @extschema@.bs_send_time_or_null(e.timezone::text, s.local_date, e.send_time) AS send_at) p
           LEFT JOIN @extschema@.message_logs m
             ON m.user_id = e.user_id AND m.message_type = e.message_type
            AND m.local_date = s.local_date AND m.scheduled_send_time = p.send_at
     WHERE p.send_at BETWEEN now() AND now() + within
       AND p.send_at >= e.since
       AND @extschema@.bs_is_owed(e.event_date, s.local_date, e.cadence::text, e.feb29_policy::text)
     ORDER BY p.send_at, e.user_id, e.message_type;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_upcoming(interval) IS
'Who gets what, and when, from now on within so long (at most 400 days), also beyond the horizon. Error 22023.';

CREATE FUNCTION @extschema@.bs_preview(user_id uuid, message_type text, year integer,
    OUT send_at timestamptz, OUT subject text, OUT message_content text, OUT html_content text)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM @extschema@.bs_get_user(bs_preview.user_id);
    IF NOT EXISTS (SELECT FROM ONLY @extschema@.message_types t WHERE t.name = bs_preview.message_type) THEN
        RAISE EXCEPTION 'message type "%" does not exist', bs_preview.message_type
            USING ERRCODE = 'no_data_found';
    END IF;
    SELECT @extschema@.bs_send_time(u.timezone::text, d.local_date, t.send_time),
           @extschema@.bs_render(t.subject_template, 'header', u.first_name::text, u.last_name::text,
                                 e.event_date, d.local_date, u.location_city::text, u.location_country::text),
           @extschema@.bs_render(t.text_template, 'plain', u.first_name::text, u.last_name::text,
                                 e.event_date, d.local_date, u.location_city::text, u.location_country::text),
           @extschema@.bs_render(t.html_template, 'html', u.first_name::text, u.last_name::text,
                                 e.event_date, d.local_date, u.location_city::text, u.location_country::text)
      INTO send_at, subject, message_content, html_content
      FROM @extschema@.bs_events e
           JOIN ONLY @extschema@.users u ON u.id = e.user_id
           JOIN ONLY @extschema@.message_types t ON t.name = e.message_type
           CROSS JOIN LATERAL (
               SELECT @extschema@.bs_occurrence(e.event_date, bs_preview.year, t.feb29_policy::text) AS local_date) d
     WHERE e.user_id = bs_preview.user_id
       AND e.message_type = bs_preview.message_type
       AND @extschema@.bs_is_owed(e.event_date, d.local_date, t.cadence::text, t.feb29_policy::text)
     ORDER BY d.local_date
     LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % has no occasion of type "%" in %', bs_preview.user_id, bs_preview.message_type, bs_preview.year
            USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_preview(uuid, text, integer) IS
'The message as it would be sent in that year (1 to 9999). Errors: 22023 for the year, P0002 for an unknown user or type, or no occasion.';

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
    state text := @extschema@.bs_installation_state();
BEGIN
    RETURN QUERY
    SELECT t.name, w.local_date, w.send_at, w.status,
           CASE
               WHEN who.deleted_at IS NOT NULL THEN 'the user is deleted'
               WHEN NOT t.enabled THEN 'the message type is disabled'
               WHEN NOT @extschema@.bs_is_timezone(who.timezone::text) THEN 'the server does not know the time zone "' || who.timezone || '"'
               WHEN w.local_date IS NULL THEN
                   CASE t.date_source WHEN 'user_dates' THEN 'the user has no such date ahead'
                                      ELSE 'the user has no ' || t.date_source END
               WHEN state = 'copy' THEN 'this database is a copy; bs_resume() adopts it'
               WHEN state = 'new' THEN 'this database was not adopted yet; bs_resume() does it'
               WHEN state = 'paused' AND (w.status IS NULL OR w.status IN ('SCHEDULED', 'QUEUED', 'RETRYING'))
                   THEN 'sending is paused; bs_resume() goes on'
               WHEN w.status IS NOT NULL THEN concat_ws(': ', lower(w.status), w.status_reason)
               WHEN w.send_at > now() + @extschema@.bs_horizon() THEN 'will be planned ' || @extschema@.bs_horizon() || ' before it is due'
               ELSE 'will be planned at the next pass'
           END
           || CASE WHEN w.is_past OR past.status IS NULL THEN ''
                   ELSE format('; that of %s was %s', past.local_date, concat_ws(': ', lower(past.status), past.status_reason)) END
      FROM ONLY @extschema@.message_types t
           LEFT JOIN LATERAL (
               SELECT d.local_date, p.send_at
                 FROM @extschema@.bs_events e
                      CROSS JOIN generate_series(extract(year FROM now())::integer - 1,
                                                 extract(year FROM now())::integer + 9) AS y (year)
                      CROSS JOIN LATERAL (
                          SELECT CASE e.cadence WHEN 'once' THEN e.event_date
                                 ELSE @extschema@.bs_occurrence(e.event_date, y.year, e.feb29_policy::text) END AS local_date) d
                      CROSS JOIN LATERAL (
                          SELECT @extschema@.bs_send_time_or_null(e.timezone::text, d.local_date, e.send_time) AS send_at) p
                WHERE e.user_id = bs_explain.user_id
                  AND e.message_type = t.name
                  AND p.send_at >= greatest(now(), e.since)
                  AND @extschema@.bs_is_owed(e.event_date, d.local_date, e.cadence::text, e.feb29_policy::text)
                ORDER BY p.send_at
                LIMIT 1) n ON true
           LEFT JOIN @extschema@.message_logs m
             ON m.user_id = bs_explain.user_id AND m.message_type = t.name
            AND m.local_date = n.local_date AND m.scheduled_send_time = n.send_at
           -- What should have gone out and did not comes first.
           LEFT JOIN LATERAL (
               SELECT o.local_date, o.scheduled_send_time, o.status, o.status_reason
                 FROM @extschema@.message_logs o
                WHERE o.user_id = bs_explain.user_id AND o.message_type = t.name
                  AND o.scheduled_send_time >= now() - @extschema@.bs_max_lateness() - interval '48 hours'
                  AND o.scheduled_send_time < now()
                ORDER BY o.scheduled_send_time DESC
                LIMIT 1) past ON true
           CROSS JOIN LATERAL (
               SELECT past.local_date, past.scheduled_send_time, past.status, past.status_reason, true
                WHERE past.status IN ('SCHEDULED', 'QUEUED', 'SENDING', 'RETRYING')
               UNION ALL
               SELECT n.local_date, n.send_at, m.status, m.status_reason, false
                WHERE past.status IN ('SCHEDULED', 'QUEUED', 'SENDING', 'RETRYING') IS NOT TRUE)
               AS w (local_date, send_at, status, status_reason, is_past)
     ORDER BY w.send_at NULLS LAST, t.name;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_explain(uuid) IS
'For each message type: the user''s next date and instant, or those of a message that is late and still to be sent, the state of its message, and if nothing will go out, why not; then what became of the message of the last days, if there was one. Error P0002 for an unknown id.';
