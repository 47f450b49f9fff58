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

-- By the key or the index of addresses if one fits; only then all users are read.
CREATE FUNCTION @extschema@.bs_find_user(words text)
RETURNS TABLE (id uuid, name text, timezone varchar, birthday_date date, anniversary_date date, deleted_at timestamptz)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
#variable_conflict use_column
DECLARE
    wanted text := lower(btrim(words));
BEGIN
    IF wanted IS NULL OR length(wanted) < 2 THEN
        RAISE EXCEPTION 'there is nothing to look for in %', quote_nullable(words)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give an id, or at least two characters of a name or an address.';
    END IF;
    IF wanted ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        RETURN QUERY
        SELECT u.id, u.first_name || ' ' || u.last_name, u.timezone, u.birthday_date, u.anniversary_date, u.deleted_at
          FROM ONLY @extschema@.users u WHERE u.id = wanted::uuid;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT u.id, u.first_name || ' ' || u.last_name, u.timezone, u.birthday_date, u.anniversary_date, u.deleted_at
      FROM ONLY @extschema@.users u
     WHERE lower(u.email COLLATE "C") = lower(btrim(words) COLLATE "C") AND u.deleted_at IS NULL;
    IF FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT f.id, f.name, f.timezone, f.birthday_date, f.anniversary_date, f.deleted_at
      FROM (SELECT u.id, u.first_name || ' ' || u.last_name AS name, u.timezone, u.birthday_date, u.anniversary_date, u.deleted_at
              FROM ONLY @extschema@.users u
             WHERE strpos(lower(u.first_name || ' ' || u.last_name), wanted) > 0
                OR strpos(lower(u.email), wanted) > 0
             LIMIT 50) f
     ORDER BY f.name, f.id;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_find_user(text) IS
'Users by id, address, or part of a name or address, without case; deleted ones too, but an address that is somebody''s finds that user alone. At most 50 rows. A part has all users read, which takes a second for some millions. Error 22023 for less than two characters.';
