-- base: what every room stands on. Calendar and zone rules, settings, waking.

DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION 'birthday_scheduler needs a database with encoding UTF8, this one has %',
            pg_catalog.getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Create a database with ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
END
$$;

-- The tables whose names applications are likely to have as well, before the first of
-- them fails without a word about the way out.
DO $$
DECLARE
    taken text;
BEGIN
    SELECT pg_catalog.string_agg(c.relname::pg_catalog.text, ', ' ORDER BY c.relname) INTO taken
      FROM pg_catalog.pg_class c
     WHERE c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('@extschema@')::pg_catalog.oid
       AND c.relname OPERATOR(pg_catalog.=) ANY ('{users,user_dates,message_types,message_logs,message_ledger}'::pg_catalog.name[]);
    IF taken IS NOT NULL THEN
        RAISE EXCEPTION 'relations of these names exist already in schema @extschema@: %', taken
            USING ERRCODE = 'duplicate_table',
                  HINT = 'Give the extension a schema of its own: CREATE SCHEMA birthday; CREATE EXTENSION birthday_scheduler SCHEMA birthday;';
    END IF;
END
$$;

CREATE FUNCTION @extschema@.bs_library_version()
RETURNS text
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_library_version';
COMMENT ON FUNCTION @extschema@.bs_library_version() IS
'Version of the loaded library; the workers idle while it differs from the version of the extension.';

CREATE FUNCTION @extschema@.bs_is_timezone(timezone text)
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_is_timezone';
COMMENT ON FUNCTION @extschema@.bs_is_timezone(text) IS
'Is this the name of a place in the server''s IANA time zone database, in its exact spelling? No abbreviations (EST), no POSIX strings (UTC+3). True also for an old name that bs_zone_name() translates.';

CREATE FUNCTION @extschema@.bs_zone_name(timezone text)
RETURNS text
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_zone_name';
COMMENT ON FUNCTION @extschema@.bs_zone_name(text) IS
'The name under which the server knows this zone: the same, or the new name if the server lacks this old one (US/Eastern: America/New_York) and its tzdata.zi says which that is; NULL for an unknown zone.';

CREATE FUNCTION @extschema@.bs_send_time(timezone text, local_date date, local_time time DEFAULT '09:00')
RETURNS timestamptz
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_send_time';
COMMENT ON FUNCTION @extschema@.bs_send_time(text, date, time) IS
'The instant at which clocks in that zone show that date and time. Skipped by a clock change: later by the gap; shown twice: the later one. Errors: 22023 for an unknown zone, 24:00 or an infinite date.';

CREATE FUNCTION @extschema@.bs_send_time_or_null(timezone text, local_date date, local_time time)
RETURNS timestamptz
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_send_time_or_null';
COMMENT ON FUNCTION @extschema@.bs_send_time_or_null(text, date, time) IS
'As bs_send_time(), but NULL for a zone that the server does not know (any more), so that one such user does not stop planning for all.';

CREATE FUNCTION @extschema@.bs_occurrence(event_date date, year integer, feb29 text DEFAULT 'feb28')
RETURNS date
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_occurrence';
COMMENT ON FUNCTION @extschema@.bs_occurrence(date, integer, text) IS
'The date in that year (1 to 9999) on which the event is celebrated. 29 February in other years: feb28, mar1, or skip (NULL). Errors: 22023.';

CREATE FUNCTION @extschema@.bs_uuidv7()
RETURNS uuid
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'bs_uuidv7';
COMMENT ON FUNCTION @extschema@.bs_uuidv7() IS
'A new UUID of version 7 (RFC 9562), which sorts by the time at which it was made.';

CREATE FUNCTION @extschema@.bs_month_day(event_date date)
RETURNS integer
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_month_day';
COMMENT ON FUNCTION @extschema@.bs_month_day(date) IS
'Month * 100 + day, the key by which planning finds users: 228 for 28 February. NULL for an infinite date.';

CREATE FUNCTION @extschema@.bs_celebrated(local_date date, feb29 text)
RETURNS integer[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_celebrated';
COMMENT ON FUNCTION @extschema@.bs_celebrated(date, text) IS
'The bs_month_day() keys of events that are celebrated on that date: its own, and 229 where the policy moves 29 February to it.';

CREATE FUNCTION @extschema@.bs_is_email(address text)
RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_is_email';
COMMENT ON FUNCTION @extschema@.bs_is_email(text) IS
'Is this an address that mail can be sent to: local part, @ and domain in ASCII (RFC 5321, 4.1.2), at most 254 octets?';

CREATE FUNCTION @extschema@.bs_horizon()
RETURNS interval
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_horizon';
COMMENT ON FUNCTION @extschema@.bs_horizon() IS
'The setting birthday_scheduler.horizon: how far ahead messages are planned.';

CREATE FUNCTION @extschema@.bs_max_lateness()
RETURNS interval
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_max_lateness';
COMMENT ON FUNCTION @extschema@.bs_max_lateness() IS
'The setting birthday_scheduler.max_lateness: a message that is later than this is not sent any more.';

CREATE FUNCTION @extschema@.bs_capped(instant timestamptz, back interval)
RETURNS timestamptz
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_capped';
COMMENT ON FUNCTION @extschema@.bs_capped(timestamptz, interval) IS
'An instant that a caller passed, as far as the session''s user may choose it: a superuser freely, everybody else from back before the clock''s time up to the clock.';

CREATE FUNCTION @extschema@.bs_wake()
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_wake_sql';
COMMENT ON FUNCTION @extschema@.bs_wake() IS
'Ask the scheduler for a planning pass, and the senders to look for due messages, once this transaction commits.';

CREATE FUNCTION @extschema@.bs_wake_senders(due timestamptz)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_wake_senders_sql';
COMMENT ON FUNCTION @extschema@.bs_wake_senders(timestamptz) IS
'Tell the senders, once this transaction commits, that a message is due at that instant.';
