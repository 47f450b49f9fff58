-- planning: the occasions as a calendar for other programs, iCalendar (RFC 5545).

-- A continued line has a blank before it; 18 characters are at most 72 octets.
CREATE FUNCTION @extschema@.bs_ical_line(name text, value text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
           WHEN pg_catalog.octet_length(name || ':' || value) <= 75 THEN name || ':' || value
           WHEN pg_catalog.octet_length(name || value) = pg_catalog.length(name || value) THEN
               pg_catalog.regexp_replace(name || ':' || value, '(.{74})(?=.)', E'\\1\r\n ', 'g')
           ELSE pg_catalog.regexp_replace(name || ':' || value, '(.{18})(?=.)', E'\\1\r\n ', 'g')
       END || E'\r\n';
COMMENT ON FUNCTION @extschema@.bs_ical_line(text, text) IS
'A content line of iCalendar, folded (RFC 5545, 3.1).';

CREATE FUNCTION @extschema@.bs_ical_text(value text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.regexp_replace(
    pg_catalog.regexp_replace(value, E'[\\u0001-\\u001f\\u007f-\\u009f\\u2028\\u2029]+', ' ', 'g'),
    E'([\\\\;,])', E'\\\\\\1', 'g');
COMMENT ON FUNCTION @extschema@.bs_ical_text(text) IS
'A text value of iCalendar, escaped (RFC 5545, 3.3.11); control characters become a blank.';

-- Whole days, because an occasion is a date by the user's own calendar. It begins
-- with the first occasion that is mailed, and so does not tell the year of birth.
-- 29 February: the last day of February, the 60th of the year, or leap years only.
CREATE FUNCTION @extschema@.bs_calendar(VARIADIC user_ids uuid[])
RETURNS text
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    unknown text;
    events text;
BEGIN
    SELECT coalesce(w.id::text, 'NULL') INTO unknown
      FROM unnest(bs_calendar.user_ids) AS w (id)
     WHERE NOT EXISTS (SELECT FROM ONLY @extschema@.users u WHERE u.id = w.id)
     ORDER BY w.id LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'user % does not exist', unknown
            USING ERRCODE = 'no_data_found';
    END IF;

    SELECT string_agg(
               E'BEGIN:VEVENT\r\n'
               || @extschema@.bs_ical_line('UID', format('%s-%s%s@birthday_scheduler', e.user_id, e.message_type,
                      CASE e.date_source WHEN 'user_dates' THEN to_char(e.event_date, '"-"YYYYMMDD') END))
               || @extschema@.bs_ical_line('DTSTAMP', to_char(u.updated_at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"'))
               || @extschema@.bs_ical_line('DTSTART;VALUE=DATE', to_char(n.local_date, 'YYYYMMDD'))
               || CASE
                      WHEN e.cadence = 'once' THEN ''
                      ELSE @extschema@.bs_ical_line('RRULE', 'FREQ=YEARLY' ||
                          CASE WHEN e.month_day <> 229 THEN '' ELSE
                              CASE e.feb29_policy WHEN 'feb28' THEN ';BYMONTH=2;BYMONTHDAY=-1'
                                                  WHEN 'mar1' THEN ';BYYEARDAY=60'
                                                  ELSE ';BYMONTH=2;BYMONTHDAY=29' END END)
                  END
               || @extschema@.bs_ical_line('SUMMARY', @extschema@.bs_ical_text(
                      format('%s %s: %s', u.first_name, u.last_name, replace(lower(e.message_type), '_', ' '))))
               || @extschema@.bs_ical_line('DESCRIPTION', @extschema@.bs_ical_text(
                      format('Mailed at %s, %s.', to_char(e.send_time, 'HH24:MI'), e.timezone)))
               || E'TRANSP:TRANSPARENT\r\nEND:VEVENT\r\n',
               '' ORDER BY n.local_date, u.last_name COLLATE "C", u.first_name COLLATE "C", e.user_id, e.message_type COLLATE "C", e.event_date)
      INTO events
      FROM @extschema@.bs_events e
           JOIN ONLY @extschema@.users u ON u.id = e.user_id
           CROSS JOIN LATERAL (
               SELECT d.local_date
                 FROM (SELECT greatest(extract(year FROM e.since)::integer - 1,
                                       extract(year FROM e.event_date)::integer) AS year) b
                      CROSS JOIN generate_series(b.year, least(b.year + 10, 9999)) AS y (year)
                      CROSS JOIN LATERAL (
                          SELECT CASE e.cadence WHEN 'once' THEN e.event_date
                                 ELSE @extschema@.bs_occurrence(e.event_date, y.year, e.feb29_policy::text) END AS local_date) d
                WHERE @extschema@.bs_is_owed(e.event_date, d.local_date, e.cadence::text, e.feb29_policy::text)
                  AND @extschema@.bs_send_time_or_null(e.timezone::text, d.local_date, e.send_time) >= e.since
                ORDER BY d.local_date
                LIMIT 1) n
     WHERE e.user_id = ANY (bs_calendar.user_ids);
    RETURN E'BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//birthday_scheduler//NONSGML birthday_scheduler//EN\r\nCALSCALE:GREGORIAN\r\n'
           || events || E'END:VCALENDAR\r\n';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_calendar(uuid[]) IS
'What these users are mailed for, as iCalendar (RFC 5545): a whole-day event per date, every year. Deleted users and dates that are not mailed are left out; NULL where nothing is left. Error P0002 for an unknown id.';
