-- monitoring: views for people, in 80 columns of psql. They name people: for readers.

CREATE FUNCTION @extschema@.bs_cut(words text, width integer)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN pg_catalog.length(words) > width THEN "left"(words, width - 1) || '~' ELSE words END;
COMMENT ON FUNCTION @extschema@.bs_cut(text, integer) IS
'Words of at most that width; what is cut ends with ~.';

CREATE VIEW @extschema@.bs_daily AS
SELECT c.day, @extschema@.bs_cut(d.message_type::text, 11) AS type,
       coalesce(d.sent, 0) AS sent, coalesce(d.failed + d.expired, 0) AS failed, coalesce(d.open, 0) AS open,
       @extschema@.bs_short(d.median_lateness) || '/' || @extschema@.bs_short(d.worst_lateness) AS late,
       "left"(pg_catalog.repeat('#', (10 * d.sent / b.most)::integer)
              || pg_catalog.repeat('!', pg_catalog.ceil(10.0 * (d.failed + d.expired) / b.most)::integer)
              || pg_catalog.repeat('x', (10 * d.cancelled / b.most)::integer)
              || pg_catalog.repeat('.', (10 * d.open / b.most)::integer), 10) AS bar
  FROM (SELECT g.day::date AS day
          FROM pg_catalog.generate_series((CURRENT_DATE - 30)::timestamp,
                                          (pg_catalog.now() + @extschema@.bs_horizon())::date::timestamp, '1 day') AS g (day)) c
       LEFT JOIN (SELECT d.*, pg_catalog.max(d.sent + d.failed + d.expired + d.cancelled + d.open) OVER () AS most
                    FROM @extschema@.bs_days(CURRENT_DATE - 30, (pg_catalog.now() + @extschema@.bs_horizon())::date) d) d ON d.day = c.day
       CROSS JOIN LATERAL (SELECT d.most) AS b
 ORDER BY c.day, d.message_type;
COMMENT ON VIEW @extschema@.bs_daily IS
'A row a day and type, by send time in the session''s TimeZone, for the last thirty days and the horizon, and one for a day without mail: messages sent, failed (or expired) and open; median and worst lateness; and a bar against the busiest row: # sent, ! failed, x cancelled, . open. bs_days() has other days, all counts, and names in full.';

-- By the same zone rules as everything else; AT TIME ZONE takes CET for a fixed
-- offset. The second step is for days on which the clocks are changed.
CREATE FUNCTION @extschema@.bs_local_clock(timezone text, day date)
RETURNS time
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT c.guess + (pg_catalog.now() - @extschema@.bs_send_time_or_null(timezone, day, c.guess))
      FROM (SELECT time '00:00' + least(pg_catalog.now() - @extschema@.bs_send_time_or_null(timezone, day, time '00:00'),
                                        interval '23:59:59') AS guess) c;
END;
COMMENT ON FUNCTION @extschema@.bs_local_clock(text, date) IS
'What clocks in that zone show now, if it is that day there; NULL for an unknown zone.';

CREATE FUNCTION @extschema@.bs_why(
    status text, reason text, send_at timestamptz, sent_at timestamptz, due_at timestamptz, attempts integer, code integer)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE status
           WHEN 'SENT' THEN @extschema@.bs_short(greatest(sent_at - send_at, interval '0')) || ' after its time'
           WHEN 'FAILED' THEN pg_catalog.concat_ws(', ', reason, 'relay said ' || code)
           WHEN 'EXPIRED' THEN 'later than max_lateness'
           WHEN 'CANCELLED' THEN pg_catalog.replace(reason, '_', ' ')
           WHEN 'SENDING' THEN 'a sender has it'
           ELSE pg_catalog.concat_ws(', ',
                    CASE WHEN send_at > pg_catalog.now() THEN 'not yet'
                         ELSE @extschema@.bs_short(pg_catalog.now() - send_at) || ' late' END,
                    CASE status WHEN 'QUEUED' THEN 'with the broker'
                                WHEN 'RETRYING' THEN pg_catalog.format('attempt %s failed, next %s', attempts, pg_catalog.to_char(due_at, 'HH24:MI')) END,
                    'relay said ' || code)
       END;
COMMENT ON FUNCTION @extschema@.bs_why(text, text, timestamptz, timestamptz, timestamptz, integer, integer) IS
'In a few words why a message is in its state; bs_explain() has sentences.';

CREATE VIEW @extschema@.bs_today AS
SELECT @extschema@.bs_lines(m.recipient_name::text, 18) AS name,
       @extschema@.bs_cut(m.message_type::text, 11) AS type,
       pg_catalog.to_char(c.clock, 'HH24:MI') AS clock,
       m.status,
       @extschema@.bs_lines(@extschema@.bs_why(m.status::text, m.status_reason::text, coalesce(m.owed_at, m.scheduled_send_time),
                                               m.actual_send_time, m.due_at, m.attempts, m.api_response_code), 23) AS why
  FROM @extschema@.message_logs m
       JOIN ONLY @extschema@.users u ON u.id = m.user_id
       CROSS JOIN LATERAL (
           SELECT @extschema@.bs_local_clock(u.timezone::text, m.local_date) AS clock
            WHERE pg_catalog.now() >= @extschema@.bs_send_time_or_null(u.timezone::text, m.local_date, time '00:00')
              AND pg_catalog.now() < @extschema@.bs_send_time_or_null(u.timezone::text, m.local_date + 1, time '00:00')) c
 -- Today is from a day ago to a day ahead, by whatever calendar.
 WHERE m.scheduled_send_time BETWEEN pg_catalog.now() - interval '26 hours' AND pg_catalog.now() + interval '26 hours'
 ORDER BY m.scheduled_send_time, m.recipient_name, m.message_type;
COMMENT ON VIEW @extschema@.bs_today IS
'The messages of today, by each user''s own date: name, type, what the user''s clock shows now, status, and why. In lines of at most 80 characters; message_logs has everything.';

CREATE VIEW @extschema@.bs_week AS
SELECT n.local_date AS day,
       pg_catalog.to_char(t.send_time, 'HH24:MI') AS clock,
       @extschema@.bs_lines(u.first_name || ' ' || u.last_name, 24) AS name,
       @extschema@.bs_cut(n.message_type::text, 11) AS type,
       n.status
  FROM @extschema@.bs_upcoming(interval '7 days') n
       JOIN ONLY @extschema@.users u ON u.id = n.user_id
       JOIN ONLY @extschema@.message_types t ON t.name = n.message_type
 ORDER BY n.send_at, u.last_name, u.first_name, n.message_type;
COMMENT ON VIEW @extschema@.bs_week IS
'What comes within seven days, in the order in which it leaves: the user''s date and clock, name, type, and status. bs_upcoming() has other spans, ids and instants.';

CREATE VIEW @extschema@.bs_checks AS
SELECT p.key AS part, p.value ->> 'status' AS status, @extschema@.bs_lines(p.value ->> 'reason', 52) AS reason
  FROM pg_catalog.jsonb_each(@extschema@.bs_health() -> 'parts') AS p
 ORDER BY pg_catalog.array_position('{error,warning,ok}'::text[], p.value ->> 'status'), p.key;
COMMENT ON VIEW @extschema@.bs_checks IS
'bs_health() as rows: part, status and reason, errors first; the reason in lines of 52 characters.';
