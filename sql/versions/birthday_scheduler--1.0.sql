-- birthday_scheduler: made by tools/join_sql.sh from sql/modules/; edit those.
\echo Use "CREATE EXTENSION birthday_scheduler" to load this file. \quit

-- base: what every room stands on. Calendar and zone rules, settings, waking.

DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'birthday_scheduler needs a database with encoding UTF8, this one has %',
            pg_catalog.getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Create a database with ENCODING ''UTF8'' TEMPLATE template0.';
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
'Is this the name of a place in the server''s IANA time zone database, in its exact spelling? No abbreviations (EST), no POSIX strings (UTC+3).';

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
'Is this an address that mail can be sent to: local part, @ and domain in ASCII (RFC 5321, 4.1.2), at most 255 octets?';

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

-- users: who gets mail. Tables and what a row must be.

CREATE TABLE @extschema@.users (
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    first_name varchar(100) NOT NULL,
    last_name varchar(100) NOT NULL,
    email varchar(255) NOT NULL,
    timezone varchar(100) NOT NULL,
    birthday_date date,
    anniversary_date date,
    location_city varchar(100),
    location_country varchar(100),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    deleted_at timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT check_first_name CHECK (pg_catalog.btrim(first_name) <> ''),
    CONSTRAINT check_last_name CHECK (pg_catalog.btrim(last_name) <> ''),
    CONSTRAINT check_email CHECK (@extschema@.bs_is_email(email)),
    -- A user whose zone has left the server's database can still be deleted.
    CONSTRAINT check_timezone_format
        CHECK (deleted_at IS NOT NULL OR @extschema@.bs_is_timezone(timezone)),
    CONSTRAINT check_birthday_date
        CHECK (birthday_date BETWEEN '1800-01-01' AND '9999-12-31'),
    CONSTRAINT check_anniversary_date
        CHECK (anniversary_date BETWEEN '1800-01-01' AND '9999-12-31'
               AND (birthday_date IS NULL OR anniversary_date > birthday_date))
);

CREATE INDEX idx_users_birthday_date ON @extschema@.users (birthday_date)
    WHERE deleted_at IS NULL AND birthday_date IS NOT NULL;
CREATE INDEX idx_users_anniversary_date ON @extschema@.users (anniversary_date)
    WHERE deleted_at IS NULL AND anniversary_date IS NOT NULL;
CREATE INDEX idx_users_birthday_timezone ON @extschema@.users (birthday_date, timezone)
    WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX idx_users_email_unique ON @extschema@.users (pg_catalog.lower(email COLLATE "C"))
    WHERE deleted_at IS NULL;
-- What planning searches by: the day in the year, then the id to go on from.
CREATE INDEX idx_users_birthday_month_day ON @extschema@.users (@extschema@.bs_month_day(birthday_date), id)
    WHERE deleted_at IS NULL AND birthday_date IS NOT NULL;
CREATE INDEX idx_users_anniversary_month_day ON @extschema@.users (@extschema@.bs_month_day(anniversary_date), id)
    WHERE deleted_at IS NULL AND anniversary_date IS NOT NULL;

COMMENT ON TABLE @extschema@.users IS
'The people who get mail. Rows may be written by any statement; triggers check them and plan what they are owed.';
COMMENT ON COLUMN @extschema@.users.id IS 'Key.';
COMMENT ON COLUMN @extschema@.users.first_name IS 'Given name, 1 to 100 characters; outer blanks are trimmed, control characters become blanks, Unicode form NFC.';
COMMENT ON COLUMN @extschema@.users.last_name IS 'Family name, as first_name.';
COMMENT ON COLUMN @extschema@.users.email IS 'Address; unique without case among users that are not deleted.';
COMMENT ON COLUMN @extschema@.users.timezone IS 'Name of the user''s zone in the IANA time zone database, e.g. Europe/Kyiv.';
COMMENT ON COLUMN @extschema@.users.birthday_date IS 'Date of birth, 1800-01-01 to today; NULL: no birthday mail.';
COMMENT ON COLUMN @extschema@.users.anniversary_date IS 'First day of the anniversary, after the birth and not after today; NULL: none.';
COMMENT ON COLUMN @extschema@.users.location_city IS 'For templates; may be NULL.';
COMMENT ON COLUMN @extschema@.users.location_country IS 'For templates; may be NULL.';
COMMENT ON COLUMN @extschema@.users.created_at IS 'When the user came; occasions before that instant are not mailed.';
COMMENT ON COLUMN @extschema@.users.updated_at IS 'Last change of the row or of the user''s dates.';
COMMENT ON COLUMN @extschema@.users.deleted_at IS 'Soft delete: when; NULL for a user who gets mail.';

CREATE FUNCTION @extschema@.bs_users_before_write()
RETURNS trigger
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'bs_users_before_write';
COMMENT ON FUNCTION @extschema@.bs_users_before_write() IS
'Normalises a row of users and refuses what cannot be one: 22023 with a hint for address, zone, names and dates.';

CREATE TRIGGER bs_users_before_write
    BEFORE INSERT OR UPDATE ON @extschema@.users
    FOR EACH ROW EXECUTE FUNCTION @extschema@.bs_users_before_write();

SELECT pg_catalog.pg_extension_config_dump('@extschema@.users', '');

-- message_types: what is mailed on which day, and the words. Types are rows:
-- a new one needs one INSERT.

CREATE FUNCTION @extschema@.bs_check_template(template text)
RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_check_template';
COMMENT ON FUNCTION @extschema@.bs_check_template(text) IS
'True for a template that can be used; error 22023 with the position for one that cannot.';

CREATE FUNCTION @extschema@.bs_render(template text, escape text,
    first_name text, last_name text, event_date date, local_date date, city text, country text)
RETURNS text
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_render';
COMMENT ON FUNCTION @extschema@.bs_render(text, text, text, text, date, date, text, text) IS
'A template filled in for one occasion; escape is plain, html or header. NULL for a NULL template. Errors: 22023 for a broken template, 54000 for more than 1 MB of text.';

CREATE TABLE @extschema@.message_types (
    name varchar(50) NOT NULL,
    date_source varchar(20) NOT NULL,
    subject_template text NOT NULL,
    text_template text NOT NULL,
    html_template text,
    send_time time NOT NULL DEFAULT '09:00',
    feb29_policy varchar(5) NOT NULL DEFAULT 'feb28',
    cadence varchar(6) NOT NULL DEFAULT 'yearly',
    enabled boolean NOT NULL DEFAULT true,
    active_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
    version integer NOT NULL DEFAULT 1,
    built_in boolean NOT NULL DEFAULT false,
    CONSTRAINT message_types_pkey PRIMARY KEY (name),
    CONSTRAINT check_name CHECK (name ~ '^[A-Z][A-Z0-9_]*$'),
    CONSTRAINT check_date_source CHECK (date_source IN ('birthday_date', 'anniversary_date', 'user_dates')),
    CONSTRAINT check_feb29_policy CHECK (feb29_policy IN ('feb28', 'mar1', 'skip')),
    CONSTRAINT check_cadence CHECK (cadence IN ('yearly', 'once')),
    CONSTRAINT check_send_time CHECK (send_time < '24:00'),
    CONSTRAINT check_subject_template
        CHECK (pg_catalog.btrim(subject_template) <> '' AND pg_catalog.length(subject_template) <= 255
               AND subject_template !~ '[\x01-\x1f\x7f]'
               AND @extschema@.bs_check_template(subject_template)),
    CONSTRAINT check_text_template
        CHECK (pg_catalog.btrim(text_template) <> '' AND @extschema@.bs_check_template(text_template)),
    CONSTRAINT check_html_template
        CHECK (@extschema@.bs_check_template(html_template))
);
COMMENT ON TABLE @extschema@.message_types IS
'What is mailed: a row per kind of occasion, with its words. A change re-plans what is not yet sent.';
COMMENT ON COLUMN @extschema@.message_types.name IS 'Key: capitals, digits and underscores.';
COMMENT ON COLUMN @extschema@.message_types.date_source IS 'Where the day comes from: birthday_date or anniversary_date of users, or the rows of user_dates.';
COMMENT ON COLUMN @extschema@.message_types.subject_template IS 'Subject, one line of at most 255 characters.';
COMMENT ON COLUMN @extschema@.message_types.text_template IS 'Text part. Names: first_name last_name full_name age years ordinal date city country; {{#city}}...{{/city}} where present, {{^city}}...{{/city}} where absent.';
COMMENT ON COLUMN @extschema@.message_types.html_template IS 'HTML part, values escaped; NULL: text only.';
COMMENT ON COLUMN @extschema@.message_types.send_time IS 'By the user''s clock.';
COMMENT ON COLUMN @extschema@.message_types.feb29_policy IS '29 February in other years: feb28, mar1 or skip.';
COMMENT ON COLUMN @extschema@.message_types.cadence IS 'yearly, or once: on the event''s own date only.';
COMMENT ON COLUMN @extschema@.message_types.enabled IS 'False: nothing is planned, and what is planned is cancelled.';
COMMENT ON COLUMN @extschema@.message_types.active_since IS 'Since when it has been enabled; occasions before that are not mailed.';
COMMENT ON COLUMN @extschema@.message_types.version IS 'Counts changes; a message made from an older version is made afresh before it is sent.';
COMMENT ON COLUMN @extschema@.message_types.built_in IS 'Came with the extension and is as it came.';

CREATE FUNCTION @extschema@.bs_message_types_before_write()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.name IN ('BIRTHDAY', 'ANNIVERSARY') THEN
            RAISE EXCEPTION 'message type "%" cannot be deleted', OLD.name
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Set enabled to false.';
        END IF;
        IF EXISTS (SELECT FROM @extschema@.user_dates d WHERE d.message_type = OLD.name) THEN
            RAISE EXCEPTION 'message type "%" has dates of users', OLD.name
                USING ERRCODE = 'foreign_key_violation',
                      HINT = 'Set enabled to false, or delete its rows of user_dates first.';
        END IF;
        RETURN OLD;
    END IF;
    IF TG_OP = 'INSERT' THEN
        -- A dump brings its own row of a type that came with the extension:
        -- it takes the place of the untouched one.
        DELETE FROM @extschema@.message_types t WHERE t.name = NEW.name AND t.built_in;
        RETURN NEW;
    END IF;
    IF NEW.name <> OLD.name THEN
        RAISE EXCEPTION 'message type "%" cannot be renamed', OLD.name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Insert a new type and disable the old one.';
    END IF;
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.built_in := false;
        NEW.version := OLD.version + 1;
        IF NEW.enabled AND NOT OLD.enabled THEN
            NEW.active_since := now();
        END IF;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_message_types_before_write() IS
'Keeps version and active_since; 55000 for renaming a type or deleting one that came with the extension, 23503 for deleting one that has dates of users.';

-- The types that come with the extension.
INSERT INTO @extschema@.message_types (name, date_source, subject_template, text_template, html_template, built_in)
VALUES
('BIRTHDAY', 'birthday_date',
 'Happy birthday, {{first_name}}!',
 'Hey, {{full_name}} it''s your birthday',
 NULL, true),
('ANNIVERSARY', 'anniversary_date',
 'Happy anniversary, {{first_name}}!',
 E'Hey, {{full_name}} it''s your anniversary{{#years}}: {{years}} with us{{/years}}',
 NULL, true);

CREATE TRIGGER bs_message_types_before_write
    BEFORE INSERT OR UPDATE ON @extschema@.message_types
    FOR EACH ROW EXECUTE FUNCTION @extschema@.bs_message_types_before_write();
CREATE TRIGGER bs_message_types_before_delete
    BEFORE DELETE ON @extschema@.message_types
    FOR EACH ROW WHEN (pg_catalog.pg_trigger_depth() = 0)
    EXECUTE FUNCTION @extschema@.bs_message_types_before_write();

-- No foreign keys: pg_restore -j loads the tables in any order, and those of an
-- extension have their keys before their rows. Triggers keep the references.
CREATE TABLE @extschema@.user_dates (
    user_id uuid NOT NULL,
    message_type varchar(50) NOT NULL,
    event_date date NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT user_dates_pkey PRIMARY KEY (user_id, message_type, event_date),
    CONSTRAINT check_event_date CHECK (event_date BETWEEN '1800-01-01' AND '9999-12-31')
);
CREATE INDEX idx_user_dates_month_day ON @extschema@.user_dates
    (message_type, @extschema@.bs_month_day(event_date), user_id);
COMMENT ON TABLE @extschema@.user_dates IS
'Dates of a user''s own, for message types whose date_source is user_dates; several of one type may stand side by side.';
COMMENT ON COLUMN @extschema@.user_dates.user_id IS 'Whose.';
COMMENT ON COLUMN @extschema@.user_dates.message_type IS 'What is mailed on that day.';
COMMENT ON COLUMN @extschema@.user_dates.event_date IS 'The day: every year from then on, or for cadence once that day alone.';
COMMENT ON COLUMN @extschema@.user_dates.created_at IS 'When the date came; occasions before that instant are not mailed.';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.message_types', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.user_dates', '');

-- messages: the log of what was owed and what became of it, and the ledger
-- that makes it once only.
--
-- The parents carry columns, checks and comments alone. Keys, indexes and the
-- foreign key live on each partition (module partitions): with indexes on the
-- parent a dump makes every index twice, and with its keys the rows are loaded
-- before the users that they point at. For the same reason the checks are
-- written in the form in which the server prints them.

CREATE TABLE @extschema@.message_logs (
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    user_id uuid NOT NULL,
    message_type varchar(50) NOT NULL,
    message_content text NOT NULL,
    subject text NOT NULL,
    html_content text,
    recipient_email varchar(255) NOT NULL,
    recipient_name varchar(201) NOT NULL,
    local_date date NOT NULL,
    scheduled_send_time timestamptz NOT NULL,
    due_at timestamptz,
    actual_send_time timestamptz,
    status varchar(20) NOT NULL DEFAULT 'SCHEDULED',
    status_reason varchar(30),
    attempts integer NOT NULL DEFAULT 0,
    retry_count integer NOT NULL DEFAULT 0,
    last_retry_at timestamptz,
    claimed_by varchar(100),
    claim_token uuid,
    api_response_code integer,
    api_response_body text,
    error_message text,
    idempotency_key varchar(255) NOT NULL,
    type_version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT check_message_status CHECK (status::text = ANY
        ('{SCHEDULED,QUEUED,SENDING,SENT,RETRYING,FAILED,CANCELLED,EXPIRED}'::text[])),
    CONSTRAINT check_message_type CHECK (message_type::text ~ '^[A-Z][A-Z0-9_]*$'::text),
    CONSTRAINT check_retry_count_positive CHECK (retry_count >= 0)
) PARTITION BY RANGE (scheduled_send_time);

COMMENT ON TABLE @extschema@.message_logs IS
'One row per message: what is owed to whom and when, as it will be sent, and what became of it. Partitioned by UTC month.';
COMMENT ON COLUMN @extschema@.message_logs.id IS 'Key.';
COMMENT ON COLUMN @extschema@.message_logs.user_id IS 'To whom; the row goes when the user is erased.';
COMMENT ON COLUMN @extschema@.message_logs.message_type IS 'Name in message_types.';
COMMENT ON COLUMN @extschema@.message_logs.message_content IS 'Text part, as it is sent.';
COMMENT ON COLUMN @extschema@.message_logs.subject IS 'Subject, as it is sent.';
COMMENT ON COLUMN @extschema@.message_logs.html_content IS 'HTML part, as it is sent; NULL: none.';
COMMENT ON COLUMN @extschema@.message_logs.recipient_email IS 'Address it is sent to.';
COMMENT ON COLUMN @extschema@.message_logs.recipient_name IS 'Name beside the address.';
COMMENT ON COLUMN @extschema@.message_logs.local_date IS 'The occasion''s date by the user''s calendar.';
COMMENT ON COLUMN @extschema@.message_logs.scheduled_send_time IS 'The instant of the local hour; nothing is sent before it.';
COMMENT ON COLUMN @extschema@.message_logs.due_at IS 'When something has to happen to the row: SCHEDULED and RETRYING the next attempt, SENDING the end of the lease. NULL: never again.';
COMMENT ON COLUMN @extschema@.message_logs.actual_send_time IS 'When the relay accepted it.';
COMMENT ON COLUMN @extschema@.message_logs.status IS 'SCHEDULED owed; QUEUED the broker has a copy; SENDING a sender holds the lease; RETRYING waits for another attempt; SENT, FAILED, CANCELLED, EXPIRED final.';
COMMENT ON COLUMN @extschema@.message_logs.status_reason IS 'Why it is where it is: accepted, refused, attempts, in_doubt, too_late, later, trouble, again, released, lease, user_deleted, date_changed, type_disabled, by_hand, retried.';
COMMENT ON COLUMN @extschema@.message_logs.attempts IS 'Attempts begun, counted before the relay is called.';
COMMENT ON COLUMN @extschema@.message_logs.retry_count IS 'Attempts after the first.';
COMMENT ON COLUMN @extschema@.message_logs.last_retry_at IS 'When the last attempt began.';
COMMENT ON COLUMN @extschema@.message_logs.claimed_by IS 'The sender that claimed it last.';
COMMENT ON COLUMN @extschema@.message_logs.claim_token IS 'Of the claim that is open; an outcome is recorded only with it.';
COMMENT ON COLUMN @extschema@.message_logs.api_response_code IS 'The relay''s last SMTP reply code or HTTP status.';
COMMENT ON COLUMN @extschema@.message_logs.api_response_body IS 'Its text, cut at 511 bytes.';
COMMENT ON COLUMN @extschema@.message_logs.error_message IS 'What went wrong at the last attempt.';
COMMENT ON COLUMN @extschema@.message_logs.idempotency_key IS 'user id:type:local date; Message-ID and Idempotency-Key derive from it alone.';
COMMENT ON COLUMN @extschema@.message_logs.type_version IS 'The version of the message type that it was made from.';
COMMENT ON COLUMN @extschema@.message_logs.created_at IS 'When it was planned.';
COMMENT ON COLUMN @extschema@.message_logs.updated_at IS 'Last change of the row; for SENT the moment at which that was recorded.';

CREATE TABLE @extschema@.message_ledger (
    user_id uuid NOT NULL,
    message_type varchar(50) NOT NULL,
    local_date date NOT NULL
) PARTITION BY RANGE (local_date);
COMMENT ON TABLE @extschema@.message_ledger IS
'Once only: a row per user, type and local date that was ever planned. Its key holds across the partitions of message_logs, where no unique index can.';
COMMENT ON COLUMN @extschema@.message_ledger.user_id IS 'User.';
COMMENT ON COLUMN @extschema@.message_ledger.message_type IS 'Message type.';
COMMENT ON COLUMN @extschema@.message_ledger.local_date IS 'The occasion''s date by the user''s calendar.';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.message_logs', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.message_ledger', '');

-- partitions: the months of message_logs (by UTC instant) and of message_ledger
-- (by local date).

CREATE FUNCTION @extschema@.bs_month(instant timestamptz)
RETURNS date
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN pg_catalog.date_trunc('month', instant AT TIME ZONE 'UTC')::date;
COMMENT ON FUNCTION @extschema@.bs_month(timestamptz) IS
'First day of the UTC month of an instant.';

CREATE FUNCTION @extschema@.bs_partition_name(parent text, month date)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN parent || pg_catalog.format('_%s_%s', pg_catalog.lpad(extract(year FROM month)::text, 4, '0'),
                                   pg_catalog.lpad(extract(month FROM month)::text, 2, '0'));
COMMENT ON FUNCTION @extschema@.bs_partition_name(text, date) IS
'Name of a month''s partition: message_logs_2026_11.';

-- By a scan of the catalog: to_regclass() may answer from what this backend
-- remembers, and not see what another session has just made.
CREATE FUNCTION @extschema@.bs_partition_attached(parent text, month date)
RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT EXISTS (
        SELECT
          FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
         WHERE c.relname = @extschema@.bs_partition_name(parent, month)
           AND c.relnamespace = pg_catalog.to_regnamespace('@extschema@')
           AND i.inhparent = pg_catalog.to_regclass('@extschema@.' || pg_catalog.quote_ident(parent))
           AND NOT i.inhdetachpending);
END;
COMMENT ON FUNCTION @extschema@.bs_partition_attached(text, date) IS
'Is that month''s partition in its place?';

-- Makes the table beside the parent and attaches it: CREATE TABLE ... PARTITION
-- OF would lock everyone out of the parent. Attaching takes SHARE UPDATE
-- EXCLUSIVE.
CREATE FUNCTION @extschema@.bs_create_partition(parent text, month date)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    part text := @extschema@.bs_partition_name(parent, month);
    next_month date := month + interval '1 month';
    first text;
    past text;
BEGIN
    IF @extschema@.bs_partition_attached(parent, month) THEN
        RETURN false;
    END IF;
    -- Two sessions that both find the month missing: one makes it.
    PERFORM pg_advisory_xact_lock(hashtext('birthday_scheduler'), hashtext('@extschema@.' || part));
    IF @extschema@.bs_partition_attached(parent, month) THEN
        RETURN false;
    END IF;
    IF to_regclass('@extschema@.' || quote_ident(part)) IS NOT NULL THEN
        RAISE EXCEPTION 'relation "%" is in the way of the partition of that name', part
            USING ERRCODE = 'duplicate_table',
                  HINT = format('Rename or drop it, or attach it to "%s" by hand.', parent);
    END IF;

    IF parent = 'message_logs' THEN
        first := quote_literal(month || ' 00:00:00+00');
        past := quote_literal(next_month || ' 00:00:00+00');
    ELSE
        first := quote_literal(month);
        past := quote_literal(next_month);
    END IF;
    EXECUTE format('CREATE TABLE @extschema@.%I (LIKE @extschema@.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
                   ' INCLUDING STORAGE INCLUDING COMMENTS)', part, parent);

    IF parent = 'message_logs' THEN
        -- NOT VALID, which in an empty table says nothing, because pg_restore -j
        -- may make the key before it has loaded the users.
        EXECUTE format('ALTER TABLE @extschema@.%1$I'
            ' ADD CONSTRAINT %2$I PRIMARY KEY (id),'
            ' ADD CONSTRAINT %3$I FOREIGN KEY (user_id) REFERENCES @extschema@.users (id) ON DELETE CASCADE NOT VALID',
            part, part || '_pkey', part || '_user_id_fkey');
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (user_id)',
            'idx_' || part || '_user_id', part);
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (status)',
            'idx_' || part || '_status', part);
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (scheduled_send_time)',
            'idx_' || part || '_scheduled_time', part);
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (message_type, status, scheduled_send_time)',
            'idx_' || part || '_scheduler', part);
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (scheduled_send_time, status)'
            ' WHERE status::text = ANY (''{SCHEDULED,RETRYING,FAILED}''::text[])',
            'idx_' || part || '_recovery', part);
        EXECUTE format('CREATE UNIQUE INDEX %I ON @extschema@.%I (idempotency_key)',
            'idx_' || part || '_idempotency', part);
        -- What the senders live by: the rows to which something has to happen.
        EXECUTE format('CREATE INDEX %I ON @extschema@.%I (due_at, status) WHERE due_at IS NOT NULL',
            'idx_' || part || '_due', part);
    ELSE
        EXECUTE format('ALTER TABLE @extschema@.%I'
            ' ADD CONSTRAINT %I PRIMARY KEY (user_id, message_type, local_date)',
            part, part || '_pkey');
    END IF;

    EXECUTE format('ALTER TABLE @extschema@.%I ATTACH PARTITION @extschema@.%I FOR VALUES FROM (%s) TO (%s)',
                   parent, part, first, past);
    RETURN true;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_create_partition(text, date) IS
'Makes one month''s partition of message_logs or message_ledger with its keys and indexes; false where it is there. Error 42P07: the name is taken.';

CREATE FUNCTION @extschema@.bs_create_partitions_between(first_month date, last_month date)
RETURNS SETOF text
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT @extschema@.bs_partition_name(p.parent, m.month::date)
      FROM generate_series(first_month::timestamp, last_month::timestamp, '1 month') AS m (month),
           unnest(ARRAY['message_ledger', 'message_logs']) AS p (parent)
     WHERE @extschema@.bs_create_partition(p.parent, m.month::date);
END;
COMMENT ON FUNCTION @extschema@.bs_create_partitions_between(date, date) IS
'Makes what is missing from one month to another and gives the names of what it made.';

CREATE FUNCTION @extschema@.bs_create_partitions(months_ahead integer DEFAULT 12)
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF months_ahead NOT BETWEEN 1 AND 1200 THEN
        RAISE EXCEPTION 'months_ahead must lie between 1 and 1200, not %', months_ahead
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
        SELECT @extschema@.bs_create_partitions_between(
            (@extschema@.bs_month(now()) - interval '1 month')::date,
            (@extschema@.bs_month(now()) + make_interval(months => months_ahead))::date);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_create_partitions(integer) IS
'Makes the partitions of the last month, this one, and so many ahead (1 to 1200); gives the names of what it made, nothing where all is there. Errors: 22023, 42P07.';

CREATE FUNCTION @extschema@.bs_partitions_ready(first_day date, last_day date)
RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT pg_catalog.bool_and(@extschema@.bs_partition_attached(p.parent, m.month::date))
      FROM pg_catalog.generate_series(pg_catalog.date_trunc('month', first_day::timestamp),
                                      last_day::timestamp, '1 month') AS m (month),
           pg_catalog.unnest(ARRAY['message_ledger', 'message_logs']) AS p (parent);
END;
COMMENT ON FUNCTION @extschema@.bs_partitions_ready(date, date) IS
'Are all partitions there for occasions and instants from one day to another?';

-- installation: which database this is. Nothing is planned or sent in a copy.

CREATE FUNCTION @extschema@.bs_system_identifier()
RETURNS bigint
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_system_identifier';
COMMENT ON FUNCTION @extschema@.bs_system_identifier() IS
'The identifier that initdb gave this server''s data; a physical copy has the same.';

CREATE TABLE @extschema@.bs_installation (
    singleton boolean NOT NULL DEFAULT true,
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    paused_at timestamptz,
    planned_until timestamptz,
    CONSTRAINT bs_installation_pkey PRIMARY KEY (singleton),
    CONSTRAINT check_singleton CHECK (singleton)
);
COMMENT ON TABLE @extschema@.bs_installation IS
'The one server and database in which messages are planned and sent; empty until the first user is added. bs_resume() adopts.';
COMMENT ON COLUMN @extschema@.bs_installation.singleton IS 'There is one row at most.';
COMMENT ON COLUMN @extschema@.bs_installation.system_identifier IS 'Of the server.';
COMMENT ON COLUMN @extschema@.bs_installation.database_oid IS 'Of the database.';
COMMENT ON COLUMN @extschema@.bs_installation.adopted_at IS 'Since when.';
COMMENT ON COLUMN @extschema@.bs_installation.paused_at IS 'Sending has been paused since then by bs_pause(); NULL: not paused.';
COMMENT ON COLUMN @extschema@.bs_installation.planned_until IS 'All that is due up to this instant has been planned.';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.bs_installation', '');

CREATE FUNCTION @extschema@.bs_installation_state()
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(
        (SELECT CASE
                    WHEN i.system_identifier <> @extschema@.bs_system_identifier()
                      OR i.database_oid <> d.oid THEN 'copy'
                    WHEN i.paused_at IS NOT NULL THEN 'paused'
                    ELSE 'adopted'
                END
           FROM @extschema@.bs_installation i,
                pg_catalog.pg_database d
          WHERE d.datname = pg_catalog.current_database()),
        'new');
END;
COMMENT ON FUNCTION @extschema@.bs_installation_state() IS
'new: no user was added yet; adopted: messages are planned and sent; paused: planned only; copy: of another database, nothing is done until bs_resume().';

CREATE FUNCTION @extschema@.bs_is_planning()
RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    state text := @extschema@.bs_installation_state();
BEGIN
    IF state = 'copy' THEN
        RAISE NOTICE 'nothing is planned or sent: this database is a copy'
            USING HINT = 'If real mail is to leave from here, call bs_resume().';
    END IF;
    RETURN state IN ('adopted', 'paused');
END
$$;
COMMENT ON FUNCTION @extschema@.bs_is_planning() IS
'Are messages planned in this database? A notice says so where it is a copy.';

CREATE FUNCTION @extschema@.bs_adopt(even_a_copy boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    state text := @extschema@.bs_installation_state();
BEGIN
    IF state = 'new' OR (state = 'copy' AND even_a_copy) THEN
        INSERT INTO @extschema@.bs_installation AS i (system_identifier, database_oid)
        SELECT @extschema@.bs_system_identifier(), d.oid
          FROM pg_database d
         WHERE d.datname = current_database()
            ON CONFLICT (singleton) DO UPDATE
               SET system_identifier = excluded.system_identifier,
                   database_oid = excluded.database_oid,
                   adopted_at = excluded.adopted_at
             WHERE even_a_copy;
        -- Users may have changed while nothing was planned: what is pending is
        -- made afresh by the planning pass or, at the latest, when it is claimed.
        UPDATE @extschema@.message_logs m SET type_version = 0
         WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING');
        PERFORM @extschema@.bs_create_partitions();
        PERFORM @extschema@.bs_wake();
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_adopt(boolean) IS
'Makes this database the one in which messages are planned and sent, with its partitions; a copy only where asked.';

CREATE FUNCTION @extschema@.bs_pause()
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE @extschema@.bs_installation i SET paused_at = now() WHERE i.paused_at IS NULL;
    IF NOT FOUND AND @extschema@.bs_installation_state() <> 'paused' THEN
        RAISE EXCEPTION 'there is nothing to pause: no user was added yet'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_pause() IS
'Stop sending; planning goes on. What senders have claimed is still sent. Error 55000 where no user was ever added.';

CREATE FUNCTION @extschema@.bs_resume()
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.bs_adopt(true);
    UPDATE @extschema@.bs_installation i SET paused_at = NULL WHERE i.paused_at IS NOT NULL;
    PERFORM @extschema@.bs_wake();
END
$$;
COMMENT ON FUNCTION @extschema@.bs_resume() IS
'Send again after bs_pause(), or from now on in this database where it is a new one or a copy. What was missed is caught up within max_lateness.';

-- planning: what is owed, and when. Makes message_logs rows (SCHEDULED), moves
-- and re-writes those that no sender has claimed, cancels those whose day is gone.
--
-- One lock guards all that planning reads of a user: the users row. Whoever
-- changes a user, or the user's dates, holds it and plans that user again before
-- committing; a planner takes it FOR SHARE and steps over users whose lock is
-- taken. So nobody waits for anybody, and no row is left as it should not be.

CREATE FUNCTION @extschema@.bs_is_owed(event_date date, local_date date, cadence text, feb29 text)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE cadence
           WHEN 'once' THEN event_date = local_date
           ELSE event_date <= local_date
                AND @extschema@.bs_occurrence(event_date, extract(year FROM local_date)::integer, feb29) = local_date
       END;
COMMENT ON FUNCTION @extschema@.bs_is_owed(date, date, text, text) IS
'Is the event celebrated on that date?';

-- Every event that may be mailed, beside the type that mails it. Only arms whose
-- date_source is asked for are read.
CREATE VIEW @extschema@.bs_events AS
SELECT u.id AS user_id, t.name AS message_type, 'birthday_date'::varchar AS date_source,
       u.birthday_date AS event_date, @extschema@.bs_month_day(u.birthday_date) AS month_day,
       u.timezone, greatest(u.created_at, t.active_since) AS since,
       t.send_time, t.feb29_policy, t.cadence
  FROM @extschema@.users u
       CROSS JOIN @extschema@.message_types t
 WHERE t.date_source = 'birthday_date' AND t.enabled
   AND u.deleted_at IS NULL AND u.birthday_date IS NOT NULL
UNION ALL
SELECT u.id, t.name, 'anniversary_date',
       u.anniversary_date, @extschema@.bs_month_day(u.anniversary_date),
       u.timezone, greatest(u.created_at, t.active_since),
       t.send_time, t.feb29_policy, t.cadence
  FROM @extschema@.users u
       CROSS JOIN @extschema@.message_types t
 WHERE t.date_source = 'anniversary_date' AND t.enabled
   AND u.deleted_at IS NULL AND u.anniversary_date IS NOT NULL
UNION ALL
SELECT u.id, t.name, 'user_dates',
       d.event_date, @extschema@.bs_month_day(d.event_date),
       u.timezone, greatest(u.created_at, d.created_at, t.active_since),
       t.send_time, t.feb29_policy, t.cadence
  FROM @extschema@.user_dates d
       JOIN @extschema@.message_types t ON t.name = d.message_type
       JOIN @extschema@.users u ON u.id = d.user_id
 WHERE t.date_source = 'user_dates' AND t.enabled
   AND u.deleted_at IS NULL;
COMMENT ON VIEW @extschema@.bs_events IS
'Every event of every user who is not deleted, with the enabled message type that mails it.';

CREATE FUNCTION @extschema@.bs_plan_slices(window_from timestamptz, window_until timestamptz)
RETURNS TABLE (message_type varchar, date_source varchar, local_date date, month_day integer)
LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 20
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT t.name, t.date_source, d.day::date, k.month_day
      FROM @extschema@.message_types t
           CROSS JOIN pg_catalog.generate_series(
               (window_from AT TIME ZONE 'UTC')::date - 1,
               (window_until AT TIME ZONE 'UTC')::date + 1, '1 day') AS d (day)
           CROSS JOIN LATERAL pg_catalog.unnest(
               CASE t.cadence
                   WHEN 'once' THEN ARRAY[@extschema@.bs_month_day(d.day::date)]
                   ELSE @extschema@.bs_celebrated(d.day::date, t.feb29_policy)
               END) AS k (month_day)
     WHERE t.enabled
     ORDER BY d.day, t.name, k.month_day;
END;
COMMENT ON FUNCTION @extschema@.bs_plan_slices(timestamptz, timestamptz) IS
'The slices of work between two instants: per type and local date that may fall between them in any zone, the month-and-day keys to search for.';

-- The one place where messages come into being. The caller holds the users'
-- locks. The ledger decides: of several planners one gets the row.
CREATE FUNCTION @extschema@.bs_plan_users(user_ids uuid[], window_from timestamptz, window_until timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    owed_users uuid[];
    owed_types varchar[];
    owed_dates date[];
    owed_events date[];
    owed_times timestamptz[];
    planned bigint;
    first_due timestamptz;
BEGIN
    WITH slices AS MATERIALIZED (
        SELECT s.message_type, s.month_day, s.local_date
          FROM @extschema@.bs_plan_slices(window_from, window_until) s
    )
    SELECT array_agg(o.user_id), array_agg(o.message_type), array_agg(o.local_date),
           array_agg(o.event_date), array_agg(o.send_at)
      INTO owed_users, owed_types, owed_dates, owed_events, owed_times
      FROM (SELECT DISTINCT ON (e.user_id, e.message_type, s.local_date)
                   e.user_id, e.message_type, s.local_date, e.event_date, p.send_at
              FROM unnest(user_ids) AS w (user_id)
                   JOIN @extschema@.bs_events e ON e.user_id = w.user_id
                   JOIN slices s ON s.message_type = e.message_type AND s.month_day = e.month_day
                   CROSS JOIN LATERAL (
                       SELECT @extschema@.bs_send_time_or_null(e.timezone, s.local_date, e.send_time) AS send_at) p
             WHERE @extschema@.bs_is_owed(e.event_date, s.local_date, e.cadence, e.feb29_policy)
               AND p.send_at >= e.since
               AND p.send_at BETWEEN window_from AND window_until
             ORDER BY e.user_id, e.message_type, s.local_date, e.event_date) o;
    IF owed_users IS NULL THEN
        RETURN 0;
    END IF;

    -- Arrays, because the planner knows their length: between two statements
    -- in WITH it would expect one row and join in a square.
    WITH won AS (
        INSERT INTO @extschema@.message_ledger (user_id, message_type, local_date)
        SELECT o.user_id, o.message_type, o.local_date
          FROM unnest(owed_users, owed_types, owed_dates) AS o (user_id, message_type, local_date)
         ORDER BY o.user_id, o.message_type, o.local_date
            ON CONFLICT DO NOTHING
        RETURNING user_id, message_type, local_date
    ), made AS (
        INSERT INTO @extschema@.message_logs
               (user_id, message_type, local_date, scheduled_send_time, due_at, idempotency_key,
                recipient_email, recipient_name, subject, message_content, html_content, type_version)
        SELECT u.id, t.name, o.local_date, o.send_at, o.send_at,
               format('%s:%s:%s', u.id, t.name, to_char(o.local_date, 'YYYY-MM-DD')),
               u.email, u.first_name || ' ' || u.last_name,
               @extschema@.bs_render(t.subject_template, 'header', u.first_name, u.last_name,
                                     o.event_date, o.local_date, u.location_city, u.location_country),
               @extschema@.bs_render(t.text_template, 'plain', u.first_name, u.last_name,
                                     o.event_date, o.local_date, u.location_city, u.location_country),
               @extschema@.bs_render(t.html_template, 'html', u.first_name, u.last_name,
                                     o.event_date, o.local_date, u.location_city, u.location_country),
               t.version
          FROM unnest(owed_users, owed_types, owed_dates, owed_events, owed_times)
               AS o (user_id, message_type, local_date, event_date, send_at)
               JOIN won w USING (user_id, message_type, local_date)
               JOIN @extschema@.users u ON u.id = o.user_id
               JOIN @extschema@.message_types t ON t.name = o.message_type
         ORDER BY o.send_at
        RETURNING scheduled_send_time
    )
    SELECT count(*), min(m.scheduled_send_time) INTO planned, first_due FROM made m;

    IF planned > 0 THEN
        PERFORM @extschema@.bs_wake_senders(first_due);
    END IF;
    RETURN planned;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_users(uuid[], timestamptz, timestamptz) IS
'Makes the messages that these users are owed between two instants and that were never planned; gives their number. The caller holds the users'' row locks.';

-- Brings messages that no sender has claimed to what users, dates and types say
-- now; cancels what is owed no more, takes back a cancellation that is void.
CREATE FUNCTION @extschema@.bs_refresh(message_ids uuid[], as_of timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    locked_users uuid[];
    locked uuid[];
    first_time timestamptz;
    last_time timestamptz;
    changed bigint;
    first_due timestamptz;
BEGIN
    -- The users first: a lock on a message whose user somebody is changing would
    -- keep that change away from the message.
    SELECT array_agg(l.id) INTO locked_users
      FROM (SELECT u.id
              FROM @extschema@.users u
             WHERE u.id IN (SELECT m.user_id
                              FROM unnest(message_ids) AS w (id)
                                   JOIN @extschema@.message_logs m ON m.id = w.id
                             WHERE m.scheduled_send_time >= oldest - interval '2 days')
               FOR SHARE SKIP LOCKED) l;
    SELECT array_agg(l.id), min(l.scheduled_send_time), max(l.scheduled_send_time)
      INTO locked, first_time, last_time
      FROM (SELECT m.id, m.scheduled_send_time
              FROM unnest(message_ids) AS w (id)
                   JOIN @extschema@.message_logs m ON m.id = w.id
                   JOIN unnest(locked_users) AS u (id) ON u.id = m.user_id
             WHERE m.scheduled_send_time >= oldest - interval '2 days'
               AND (m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
                    OR (m.status = 'CANCELLED' AND m.status_reason <> 'by_hand'))
               FOR NO KEY UPDATE OF m SKIP LOCKED) l;
    IF locked IS NULL THEN
        RETURN 0;
    END IF;

    WITH want AS MATERIALIZED (
        SELECT m.id, m.scheduled_send_time AS old_time,
               CASE
                   WHEN u.deleted_at IS NOT NULL THEN 'user_deleted'
                   WHEN t.name IS NULL OR NOT t.enabled THEN 'type_disabled'
                   WHEN e.event_date IS NULL THEN 'date_changed'
               END AS gone,
               coalesce(@extschema@.bs_send_time_or_null(u.timezone, m.local_date, t.send_time),
                        m.scheduled_send_time) AS send_at,
               t.active_since, coalesce(t.version, m.type_version) AS type_version,
               u.email, u.first_name || ' ' || u.last_name AS recipient_name,
               @extschema@.bs_render(t.subject_template, 'header', u.first_name, u.last_name,
                                     e.event_date, m.local_date, u.location_city, u.location_country) AS subject,
               @extschema@.bs_render(t.text_template, 'plain', u.first_name, u.last_name,
                                     e.event_date, m.local_date, u.location_city, u.location_country) AS content,
               @extschema@.bs_render(t.html_template, 'html', u.first_name, u.last_name,
                                     e.event_date, m.local_date, u.location_city, u.location_country) AS html
          FROM unnest(locked) AS l (id)
               JOIN @extschema@.message_logs m ON m.id = l.id
               JOIN @extschema@.users u ON u.id = m.user_id
               LEFT JOIN @extschema@.message_types t ON t.name = m.message_type
               LEFT JOIN LATERAL (
                   SELECT min(e.event_date) AS event_date
                     FROM @extschema@.bs_events e
                    WHERE e.user_id = m.user_id
                      AND e.message_type = m.message_type
                      AND @extschema@.bs_is_owed(e.event_date, m.local_date, e.cadence, e.feb29_policy)) e ON true
         WHERE m.scheduled_send_time BETWEEN first_time AND last_time
    ), done AS (
        UPDATE @extschema@.message_logs m
           SET status = CASE
                            WHEN w.gone IS NOT NULL THEN 'CANCELLED'
                            WHEN m.status = 'RETRYING' OR m.attempts > 0 THEN 'RETRYING'
                            ELSE 'SCHEDULED'
                        END,
               status_reason = coalesce(w.gone, CASE WHEN m.status = 'RETRYING' THEN m.status_reason END),
               due_at = CASE
                            WHEN w.gone IS NOT NULL THEN NULL
                            WHEN m.status = 'RETRYING' THEN greatest(m.due_at, w.send_at)
                            ELSE w.send_at
                        END,
               scheduled_send_time = CASE WHEN w.gone IS NULL THEN w.send_at ELSE m.scheduled_send_time END,
               recipient_email = w.email,
               recipient_name = w.recipient_name,
               subject = coalesce(w.subject, m.subject),
               message_content = coalesce(w.content, m.message_content),
               html_content = CASE WHEN w.gone IS NULL THEN w.html ELSE m.html_content END,
               type_version = w.type_version,
               updated_at = now()
          FROM want w
         WHERE m.id = w.id
           AND m.scheduled_send_time = w.old_time
           AND m.scheduled_send_time BETWEEN first_time AND last_time
           AND CASE
                   WHEN w.gone IS NOT NULL THEN m.status <> 'CANCELLED'
                   WHEN m.status = 'CANCELLED' THEN w.send_at >= greatest(oldest, w.active_since)
                   ELSE (m.scheduled_send_time, m.recipient_email, m.recipient_name, m.subject,
                         m.message_content, m.html_content, m.type_version)
                        IS DISTINCT FROM
                        (w.send_at, w.email, w.recipient_name, w.subject,
                         w.content, w.html, w.type_version)
               END
        RETURNING m.due_at
    )
    SELECT count(*), min(d.due_at) INTO changed, first_due FROM done d;

    IF first_due IS NOT NULL THEN
        PERFORM @extschema@.bs_wake_senders(first_due);
    END IF;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_refresh(uuid[], timestamptz) IS
'Brings these messages, where no sender has claimed them and nobody else is at them, to what users, dates and types say now; gives the number that changed.';

-- A planning pass in steps that are transactions of their own when a worker
-- takes them; state is what one step hands to the next.
CREATE FUNCTION @extschema@.bs_plan_step(state jsonb, chunk integer DEFAULT 5000)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    window_from timestamptz := state ->> 'from';
    window_until timestamptz := state ->> 'until';
    as_of timestamptz := state ->> 'as_of';
    slice jsonb := state -> 'slices' -> 0;
    -- In variables, because casts from text are not done before planning, and
    -- then no partition is pruned.
    slice_type varchar := slice ->> 0;
    slice_source varchar := slice ->> 1;
    slice_date date := slice ->> 2;
    slice_key integer := slice ->> 3;
    after uuid := state ->> 'after';
    refreshed timestamptz := greatest((state ->> 'refreshed')::timestamptz,
                                      as_of - @extschema@.bs_max_lateness() - interval '2 days');
    ids uuid[];
    times timestamptz[];
    locked uuid[];
    planned bigint := 0;
    skipped bigint := 0;
BEGIN
    IF window_from IS NULL THEN
        -- The first step: what there is to do.
        window_from := least(as_of - @extschema@.bs_max_lateness(), (
            SELECT greatest(i.planned_until, as_of - interval '35 days')
              FROM @extschema@.bs_installation i));
        PERFORM @extschema@.bs_create_partitions_between(
            @extschema@.bs_month(window_from - interval '2 days'),
            @extschema@.bs_month(window_until + interval '2 days'));
        RETURN state || jsonb_build_object(
            'from', window_from, 'planned', 0, 'changed', 0, 'skipped', 0, 'done', false,
            'after', '00000000-0000-0000-0000-000000000000', 'refreshed', '-infinity',
            'slices', coalesce((
                SELECT jsonb_agg(jsonb_build_array(s.message_type, s.date_source, s.local_date, s.month_day))
                  FROM @extschema@.bs_plan_slices(window_from, window_until) s), '[]'));
    END IF;

    IF slice IS NOT NULL THEN
        SELECT array_agg(c.user_id ORDER BY c.user_id) INTO ids
          FROM (SELECT e.user_id
                  FROM @extschema@.bs_events e
                 WHERE e.message_type = slice_type
                   AND e.date_source = slice_source
                   AND e.month_day = slice_key
                   AND e.user_id > after
                   AND @extschema@.bs_is_owed(e.event_date, slice_date, e.cadence, e.feb29_policy)
                   AND @extschema@.bs_send_time_or_null(e.timezone, slice_date, e.send_time)
                       BETWEEN greatest(window_from, e.since) AND window_until
                   AND NOT EXISTS (
                        SELECT
                          FROM @extschema@.message_ledger k
                         WHERE k.user_id = e.user_id
                           AND k.message_type = slice_type
                           AND k.local_date = slice_date)
                 ORDER BY e.user_id
                 LIMIT chunk) c;
        IF ids IS NOT NULL THEN
            SELECT coalesce(array_agg(l.id), '{}') INTO locked
              FROM (SELECT u.id
                      FROM unnest(ids) AS w (id)
                           JOIN @extschema@.users u ON u.id = w.id
                       FOR SHARE OF u SKIP LOCKED) l;
            planned := @extschema@.bs_plan_users(locked, window_from, window_until);
            skipped := cardinality(ids) - cardinality(locked);
        END IF;
        IF coalesce(cardinality(ids), 0) < chunk THEN
            state := state || jsonb_build_object('slices', (state -> 'slices') - 0,
                                                 'after', '00000000-0000-0000-0000-000000000000');
        ELSE
            state := state || jsonb_build_object('after', ids[cardinality(ids)]);
        END IF;
        RETURN state || jsonb_build_object(
            'planned', (state -> 'planned')::bigint + planned,
            'skipped', (state -> 'skipped')::bigint + skipped);
    END IF;

    -- All is planned; now what was planned before is held against the present.
    SELECT array_agg(c.id), array_agg(c.scheduled_send_time) INTO ids, times
      FROM (SELECT m.id, m.scheduled_send_time
              FROM @extschema@.message_logs m
             WHERE m.scheduled_send_time >= refreshed
               AND (m.scheduled_send_time, m.id) > (refreshed, after)
               AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
             ORDER BY m.scheduled_send_time, m.id
             LIMIT chunk) c;
    IF ids IS NOT NULL THEN
        RETURN state || jsonb_build_object(
            'refreshed', times[cardinality(times)], 'after', ids[cardinality(ids)],
            'changed', (state -> 'changed')::bigint + @extschema@.bs_refresh(ids, as_of));
    END IF;

    UPDATE @extschema@.bs_installation i
       SET planned_until = least(window_until, as_of + @extschema@.bs_horizon())
     WHERE i.planned_until IS NULL
        OR i.planned_until < least(window_until, as_of + @extschema@.bs_horizon());
    RETURN state || '{"done": true}';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan_step(jsonb, integer) IS
'One step of a planning pass: begin with {"as_of": instant, "until": instant}, hand the answer to the next call, stop when done is true. planned and changed count messages, skipped counts users whom somebody else was changing.';

CREATE FUNCTION @extschema@.bs_plan(until timestamptz DEFAULT NULL, as_of timestamptz DEFAULT pg_catalog.now())
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    state jsonb;
BEGIN
    IF as_of IS NULL OR NOT isfinite(as_of) THEN
        RAISE EXCEPTION 'as_of must be a finite instant' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    until := coalesce(until, as_of + @extschema@.bs_horizon());
    IF NOT until BETWEEN as_of AND as_of + interval '400 days' THEN
        RAISE EXCEPTION 'until must lie between as_of and 400 days later, not at %', until
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT @extschema@.bs_is_planning() THEN
        RETURN 0;
    END IF;
    state := jsonb_build_object('as_of', as_of, 'until', until);
    LOOP
        state := @extschema@.bs_plan_step(state);
        EXIT WHEN (state -> 'done')::boolean;
    END LOOP;
    RETURN (state -> 'planned')::bigint;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_plan(timestamptz, timestamptz) IS
'A whole planning pass now: makes all messages that are due up to until (default: as_of + horizon) and were not planned yet, and brings the pending ones up to date. Gives the number made; 0 in a database that is a copy or was never adopted. Error 22023: instants out of range.';

-- planning: whatever changes a user, a date or a type plans again in the same
-- transaction. Per statement, so that a bulk change stays set-based. In a
-- database that is not adopted (a restore, a copy) nothing happens.

CREATE FUNCTION @extschema@.bs_replan_users(user_ids uuid[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    message_ids uuid[];
    window_from timestamptz := now() - @extschema@.bs_max_lateness();
    window_until timestamptz := now() + @extschema@.bs_horizon();
BEGIN
    SELECT array_agg(m.id) INTO message_ids
      FROM unnest(user_ids) AS w (id)
           JOIN @extschema@.message_logs m ON m.user_id = w.id
     WHERE m.scheduled_send_time >= window_from - interval '2 days'
       AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING', 'CANCELLED');
    IF message_ids IS NOT NULL THEN
        PERFORM @extschema@.bs_refresh(message_ids, now());
    END IF;
    IF @extschema@.bs_partitions_ready((window_from - interval '2 days')::date,
                                       (window_until + interval '2 days')::date) THEN
        PERFORM @extschema@.bs_plan_users(user_ids, window_from, window_until);
    ELSE
        PERFORM @extschema@.bs_wake();      -- a planning pass makes partitions
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- This snapshot may be older than what a planner has committed.
        PERFORM @extschema@.bs_wake();
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_replan_users(uuid[]) IS
'Plans these users again: what is pending and what is owed within the horizon. The caller holds their row locks.';

CREATE FUNCTION @extschema@.bs_users_after_insert()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    near uuid[];
BEGIN
    IF @extschema@.bs_is_planning() THEN
        WITH days AS MATERIALIZED (
            SELECT DISTINCT s.date_source, s.month_day
              FROM @extschema@.bs_plan_slices(now() - @extschema@.bs_max_lateness(),
                                              now() + @extschema@.bs_horizon()) s
        )
        SELECT array_agg(n.id ORDER BY n.id) INTO near
          FROM new_users n
         WHERE n.deleted_at IS NULL
           AND (@extschema@.bs_month_day(n.birthday_date) IN (
                    SELECT d.month_day FROM days d WHERE d.date_source = 'birthday_date')
                OR @extschema@.bs_month_day(n.anniversary_date) IN (
                    SELECT d.month_day FROM days d WHERE d.date_source = 'anniversary_date'));
        IF near IS NOT NULL THEN
            PERFORM @extschema@.bs_replan_users(near);
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_users_after_insert() IS
'Plans new users who have an occasion within the horizon.';

CREATE TRIGGER bs_users_after_insert
    AFTER INSERT ON @extschema@.users
    REFERENCING NEW TABLE AS new_users
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_users_after_insert();

CREATE FUNCTION @extschema@.bs_users_after_update()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    touched uuid[];
BEGIN
    IF @extschema@.bs_is_planning() THEN
        SELECT array_agg(n.id ORDER BY n.id) INTO touched
          FROM new_users n
               JOIN old_users o ON o.id = n.id
         WHERE (n.first_name, n.last_name, n.email, n.timezone, n.birthday_date, n.anniversary_date,
                n.location_city, n.location_country, n.created_at, n.deleted_at)
               IS DISTINCT FROM
               (o.first_name, o.last_name, o.email, o.timezone, o.birthday_date, o.anniversary_date,
                o.location_city, o.location_country, o.created_at, o.deleted_at);
        IF touched IS NOT NULL THEN
            PERFORM @extschema@.bs_replan_users(touched);
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_users_after_update() IS
'Plans changed users again.';

CREATE TRIGGER bs_users_after_update
    AFTER UPDATE ON @extschema@.users
    REFERENCING OLD TABLE AS old_users NEW TABLE AS new_users
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_users_after_update();

-- The messages of a deleted row go with it by their foreign key, the rest here.
CREATE FUNCTION @extschema@.bs_users_after_delete()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    DELETE FROM @extschema@.user_dates d USING old_users o WHERE d.user_id = o.id;
    DELETE FROM @extschema@.message_ledger k USING old_users o WHERE k.user_id = o.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_users_after_delete() IS
'Takes erased users'' dates away, and them out of the ledger.';

CREATE TRIGGER bs_users_after_delete
    AFTER DELETE ON @extschema@.users
    REFERENCING OLD TABLE AS old_users
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_users_after_delete();

-- A date belongs to its user: to change one is to change the user, whose row
-- lock then keeps planners away.
CREATE FUNCTION @extschema@.bs_user_dates_after_write()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    touched uuid[];
    found bigint;
    bad text;
BEGIN
    IF NOT @extschema@.bs_is_planning() THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT min(n.message_type) INTO bad
          FROM (SELECT DISTINCT n.message_type FROM new_dates n) n
         WHERE n.message_type NOT IN (SELECT t.name FROM @extschema@.message_types t);
        IF bad IS NOT NULL THEN
            RAISE EXCEPTION 'message type "%" does not exist', bad
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    END IF;
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT n.user_id) INTO touched FROM new_dates n;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT o.user_id) INTO touched FROM old_dates o;
    ELSE
        SELECT array_agg(DISTINCT c.user_id) INTO touched
          FROM (SELECT n.user_id FROM new_dates n UNION SELECT o.user_id FROM old_dates o) c;
    END IF;
    IF touched IS NOT NULL THEN
        UPDATE @extschema@.users u SET updated_at = now()
          FROM (SELECT l.id
                  FROM unnest(touched) AS w (id)
                       JOIN @extschema@.users l ON l.id = w.id
                 ORDER BY l.id
                   FOR NO KEY UPDATE OF l) l
         WHERE u.id = l.id;
        GET DIAGNOSTICS found = ROW_COUNT;
        IF TG_OP <> 'DELETE' AND found < cardinality(touched) THEN
            SELECT min(w.id::text) INTO bad
              FROM unnest(touched) AS w (id)
             WHERE NOT EXISTS (SELECT FROM @extschema@.users u WHERE u.id = w.id);
            RAISE EXCEPTION 'user % does not exist', bad
                USING ERRCODE = 'foreign_key_violation';
        END IF;
        PERFORM @extschema@.bs_replan_users(touched);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_user_dates_after_write() IS
'Plans users again whose own dates changed. Error 23503 for a user or message type that does not exist.';

CREATE TRIGGER bs_user_dates_after_insert
    AFTER INSERT ON @extschema@.user_dates
    REFERENCING NEW TABLE AS new_dates
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_user_dates_after_write();
CREATE TRIGGER bs_user_dates_after_update
    AFTER UPDATE ON @extschema@.user_dates
    REFERENCING OLD TABLE AS old_dates NEW TABLE AS new_dates
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_user_dates_after_write();
CREATE TRIGGER bs_user_dates_after_delete
    AFTER DELETE ON @extschema@.user_dates
    REFERENCING OLD TABLE AS old_dates
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.bs_user_dates_after_write();

-- What a planner commits from the older version while this transaction is open
-- is made afresh by the next planning pass or, at the latest, before it is sent.
CREATE FUNCTION @extschema@.bs_message_types_after_write()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    message_ids uuid[];
BEGIN
    IF @extschema@.bs_is_planning() THEN
        SELECT array_agg(m.id) INTO message_ids
          FROM @extschema@.message_logs m
         WHERE m.message_type = coalesce(NEW.name, OLD.name)
           AND m.scheduled_send_time >= now() - @extschema@.bs_max_lateness() - interval '2 days'
           AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING', 'CANCELLED');
        IF message_ids IS NOT NULL THEN
            PERFORM @extschema@.bs_refresh(message_ids, now());
        END IF;
        PERFORM @extschema@.bs_wake();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_message_types_after_write() IS
'Makes the pending messages of a changed type afresh and asks for a planning pass.';

CREATE TRIGGER bs_message_types_after_write
    AFTER INSERT OR UPDATE OR DELETE ON @extschema@.message_types
    FOR EACH ROW EXECUTE FUNCTION @extschema@.bs_message_types_after_write();

-- queue: hands due messages to senders. Owns the moves to SENDING and the way
-- back to RETRYING when a lease runs out, and EXPIRED for what nobody came for.
--
-- What senders call has its plan fixed: the partitions concerned alone, rows by
-- their key. Statistics of a table that changes this fast mislead the planner, and
-- the cost of a message must not grow with the log.

CREATE FUNCTION @extschema@.bs_claim(
    claimed_by text, max_messages integer, lease interval,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT id uuid, OUT scheduled_send_time timestamptz, OUT claim_token uuid, OUT attempts integer,
    OUT recipient_email varchar, OUT recipient_name varchar, OUT subject text,
    OUT message_content text, OUT html_content text, OUT idempotency_key varchar)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    token uuid := gen_random_uuid();
    ids uuid[];
    stale uuid[];
    partitions regclass[];
    part regclass;
BEGIN
    IF @extschema@.bs_installation_state() <> 'adopted' THEN
        RETURN;
    END IF;
    SELECT array_agg(c.id), array_agg(c.id) FILTER (WHERE c.stale), array_agg(DISTINCT c.part)
      INTO ids, stale, partitions
      FROM (SELECT m.id, m.tableoid::regclass AS part,
                   m.status = 'RETRYING' OR m.type_version IS DISTINCT FROM (
                       SELECT t.version FROM @extschema@.message_types t
                        WHERE t.name = m.message_type) AS stale
              FROM @extschema@.message_logs m
             WHERE m.due_at <= as_of
               AND m.status IN ('SCHEDULED', 'RETRYING')
               AND m.scheduled_send_time BETWEEN oldest AND as_of
             ORDER BY m.due_at
             LIMIT max_messages
               FOR NO KEY UPDATE OF m SKIP LOCKED) c;
    IF stale IS NOT NULL THEN
        -- Made from an older version of the type, or perhaps from a user who
        -- changed while it was under way.
        PERFORM @extschema@.bs_refresh(stale, as_of);
    END IF;
    FOREACH part IN ARRAY coalesce(partitions, '{}') LOOP
        RETURN QUERY EXECUTE format(
            'UPDATE %s AS m'
            '   SET status = ''SENDING'','
            '       status_reason = NULL,'
            '       due_at = $2 + $3,'
            '       claimed_by = $4,'
            '       claim_token = $5,'
            '       attempts = m.attempts + 1,'
            '       retry_count = m.attempts,'
            '       last_retry_at = $2,'
            '       updated_at = $2'
            ' WHERE m.id = ANY ($1)'
            '   AND (m.scheduled_send_time <= $2 AND m.due_at <= $2'
            '        AND m.status IN (''SCHEDULED'', ''RETRYING'')) IS TRUE'
            ' RETURNING m.id, m.scheduled_send_time, m.claim_token, m.attempts,'
            '           m.recipient_email, m.recipient_name, m.subject,'
            '           m.message_content, m.html_content, m.idempotency_key', part)
        USING ids, as_of, lease, claimed_by, token;
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_claim(text, integer, interval, timestamptz) IS
'Leases up to max_messages due messages to a sender and counts the attempt; commit before sending. Nothing where this database is not adopted or is paused.';

CREATE FUNCTION @extschema@.bs_next_due(as_of timestamptz DEFAULT pg_catalog.clock_timestamp())
RETURNS timestamptz
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
    RETURN (
        SELECT m.due_at
          FROM @extschema@.message_logs m
         WHERE m.due_at IS NOT NULL
           AND m.status IN ('SCHEDULED', 'RETRYING')
           AND m.scheduled_send_time >= as_of - @extschema@.bs_max_lateness()
         ORDER BY m.due_at
         LIMIT 1);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_next_due(timestamptz) IS
'The next instant at which a message is to be sent; NULL where none is planned.';

CREATE FUNCTION @extschema@.bs_claim_holders()
RETURNS SETOF varchar
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT DISTINCT m.claimed_by
      FROM @extschema@.message_logs m
     WHERE m.due_at IS NOT NULL
       AND m.status = 'SENDING'
       AND m.claimed_by IS NOT NULL;
END;
COMMENT ON FUNCTION @extschema@.bs_claim_holders() IS
'The senders that hold messages.';

CREATE FUNCTION @extschema@.bs_recover(
    dead_senders text[], at_most_once boolean DEFAULT false,
    as_of timestamptz DEFAULT pg_catalog.clock_timestamp(),
    OUT recovered bigint, OUT expired bigint, OUT next_lease_end timestamptz)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET intervalstyle = 'postgres'
SET jit = off
AS $$
DECLARE
    oldest timestamptz := as_of - @extschema@.bs_max_lateness();
    last_attempt integer := CASE WHEN at_most_once THEN 1
                                 ELSE current_setting('birthday_scheduler.max_attempts')::integer END;
BEGIN
    WITH lost AS (
        SELECT m.id, m.scheduled_send_time
          FROM @extschema@.message_logs m
         WHERE m.due_at IS NOT NULL
           AND m.status = 'SENDING'
           AND (m.due_at <= as_of OR m.claimed_by = ANY (dead_senders))
         ORDER BY m.due_at
           FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE @extschema@.message_logs m
           SET status = CASE WHEN m.attempts >= last_attempt THEN 'FAILED' ELSE 'RETRYING' END,
               status_reason = CASE WHEN m.attempts >= last_attempt THEN 'in_doubt' ELSE 'lease' END,
               error_message = 'the sender ' || m.claimed_by || ' ended or was given up before it recorded an outcome',
               -- From the second loss on spread over time, so that a message that
               -- kills its sender does not take the same others with it again.
               due_at = CASE
                            WHEN m.attempts >= last_attempt THEN NULL
                            WHEN m.attempts = 1 THEN as_of
                            ELSE as_of + random() * least(m.attempts, 6) * interval '10 seconds'
                        END,
               claim_token = NULL,
               updated_at = as_of
          FROM lost l
         WHERE m.id = l.id
           AND m.scheduled_send_time = l.scheduled_send_time
        RETURNING m.id
    )
    SELECT count(*) INTO recovered FROM moved;
    IF recovered > 0 THEN
        PERFORM @extschema@.bs_wake_senders(as_of);
    END IF;

    WITH late AS (
        SELECT m.id, m.scheduled_send_time
          FROM @extschema@.message_logs m
         WHERE m.due_at IS NOT NULL
           AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')
           AND m.scheduled_send_time < oldest
           FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE @extschema@.message_logs m
           SET status = 'EXPIRED',
               status_reason = 'too_late',
               due_at = NULL,
               error_message = concat_ws('; ', m.error_message,
                   'not sent within ' || @extschema@.bs_max_lateness() || ' of its send time'),
               updated_at = as_of
          FROM late l
         WHERE m.id = l.id
           AND m.scheduled_send_time = l.scheduled_send_time
        RETURNING m.id
    )
    SELECT count(*) INTO expired FROM moved;

    SELECT min(m.due_at) INTO next_lease_end
      FROM @extschema@.message_logs m
     WHERE m.due_at IS NOT NULL
       AND m.status = 'SENDING';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_recover(text[], boolean, timestamptz) IS
'Puts back what senders hold that are known to be gone, or whose lease has run out: RETRYING, or FAILED after max_attempts and where nothing may be sent twice; EXPIRED for what is past max_lateness. next_lease_end: when to look again.';

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
    -- By partition, so that the others are not even opened.
    FOR month IN SELECT DISTINCT @extschema@.bs_month(t) FROM unnest(send_times) AS t LOOP
        EXECUTE format(
            'UPDATE @extschema@.%I AS m'
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
            '  FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)'
            '       AS r (id, token, state, reason, next_attempt, code, reply, error, ended_at)'
            ' WHERE m.id = r.id'
            '   AND (m.status = ''SENDING'' AND m.claim_token = r.token) IS TRUE',
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
'Records outcomes, one per array position: SENT, FAILED, EXPIRED, RETRYING (again at next_attempt) or RELEASED (the attempt is not counted). Only the holder of the claim is heard; gives the number recorded.';

-- users: the functions that applications call.

CREATE FUNCTION @extschema@.bs_add_user(
    first_name text, last_name text, email text, timezone text,
    birthday_date date DEFAULT NULL, anniversary_date date DEFAULT NULL,
    location_city text DEFAULT NULL, location_country text DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    user_id uuid;
BEGIN
    PERFORM @extschema@.bs_adopt(false);
    INSERT INTO @extschema@.users AS u
           (first_name, last_name, email, timezone, birthday_date, anniversary_date,
            location_city, location_country)
    VALUES (bs_add_user.first_name, bs_add_user.last_name, bs_add_user.email, bs_add_user.timezone,
            bs_add_user.birthday_date, bs_add_user.anniversary_date,
            bs_add_user.location_city, bs_add_user.location_country)
    RETURNING u.id INTO user_id;
    RETURN user_id;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'a user with this e-mail address exists'
            USING ERRCODE = 'unique_violation',
                  HINT = 'Addresses are compared without case. Change or delete the other user first.';
    WHEN not_null_violation THEN
        RAISE EXCEPTION 'first_name, last_name, email and timezone must not be NULL'
            USING ERRCODE = 'invalid_parameter_value';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_add_user(text, text, text, text, date, date, text, text) IS
'Adds a user and plans what is due within the horizon; gives the id. Errors: 22023 for a bad value, 22001 for one that is too long, 23505 for an address in use.';

CREATE FUNCTION @extschema@.bs_get_user(id uuid)
RETURNS @extschema@.users
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_user @extschema@.users;
BEGIN
    SELECT u.* INTO found_user FROM @extschema@.users u WHERE u.id = bs_get_user.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_get_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN found_user;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_get_user(uuid) IS
'The user, deleted ones included. Error P0002 for an unknown id.';

CREATE FUNCTION @extschema@.bs_update_user(id uuid, changes jsonb)
RETURNS @extschema@.users
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    known constant text[] := '{first_name,last_name,email,timezone,birthday_date,anniversary_date,location_city,location_country}';
    required constant text[] := '{first_name,last_name,email,timezone}';
    old_user @extschema@.users;
    new_user @extschema@.users;
    bad text;
BEGIN
    IF jsonb_typeof(changes) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'changes must be a JSON object'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write {"timezone": "Europe/Kyiv"}; null clears a value (RFC 7396).';
    END IF;
    SELECT k INTO bad FROM jsonb_object_keys(changes) AS k WHERE k <> ALL (known) ORDER BY k LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'a user has no value "%" that can be changed', bad
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('The values are %s.', array_to_string(known, ', '));
    END IF;
    SELECT k.key INTO bad FROM jsonb_each(changes) AS k
     WHERE jsonb_typeof(k.value) NOT IN ('string', 'null')
        OR (jsonb_typeof(k.value) = 'null' AND k.key = ANY (required)) ORDER BY k.key LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'the value of "%" must be a string%', bad,
            CASE WHEN bad = ANY (required) THEN ' and cannot be cleared' ELSE ' or null' END
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    SELECT u.* INTO old_user FROM @extschema@.users u
     WHERE u.id = bs_update_user.id AND u.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_update_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
    new_user := jsonb_populate_record(old_user, changes);
    UPDATE @extschema@.users u
       SET (first_name, last_name, email, timezone, birthday_date, anniversary_date,
            location_city, location_country)
         = (new_user.first_name, new_user.last_name, new_user.email, new_user.timezone,
            new_user.birthday_date, new_user.anniversary_date,
            new_user.location_city, new_user.location_country)
     WHERE u.id = bs_update_user.id
    RETURNING u.* INTO new_user;
    RETURN new_user;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'a user with this e-mail address exists'
            USING ERRCODE = 'unique_violation',
                  HINT = 'Addresses are compared without case. Change or delete the other user first.';
    WHEN invalid_datetime_format OR datetime_field_overflow THEN
        RAISE EXCEPTION 'birthday_date and anniversary_date must be dates such as "1990-02-28"'
            USING ERRCODE = 'invalid_parameter_value';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_update_user(uuid, jsonb) IS
'Changes the values that the JSON object names (RFC 7396: null clears) and plans the user again. Errors: 22023 for a bad or unknown value, 22001 for one that is too long, 23505 for an address in use, P0002 for an unknown or deleted user.';

CREATE FUNCTION @extschema@.bs_delete_user(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE @extschema@.users u SET deleted_at = now()
     WHERE u.id = bs_delete_user.id AND u.deleted_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_delete_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_delete_user(uuid) IS
'Soft delete: no more mail, what is pending is cancelled, the address can be used again. Error P0002 for an unknown or deleted user.';

CREATE FUNCTION @extschema@.bs_restore_user(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE @extschema@.users u SET deleted_at = NULL
     WHERE u.id = bs_restore_user.id AND u.deleted_at IS NOT NULL;
    IF NOT FOUND THEN
        PERFORM @extschema@.bs_get_user(bs_restore_user.id);
        RAISE EXCEPTION 'user % is not deleted', bs_restore_user.id
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'the e-mail address of user % is in use by another user', bs_restore_user.id
            USING ERRCODE = 'unique_violation',
                  HINT = 'Change or delete the other user first.';
END
$$;
COMMENT ON FUNCTION @extschema@.bs_restore_user(uuid) IS
'Undoes bs_delete_user(); what was cancelled and can still be sent is pending again. Errors: P0002 for an unknown id, 55000 for a user who is not deleted, 23505 where the address is in use.';

CREATE FUNCTION @extschema@.bs_purge_user(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM @extschema@.users u WHERE u.id = bs_purge_user.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_purge_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_purge_user(uuid) IS
'Erases the person: the user, the dates, every message and the ledger entries. Error P0002 for an unknown id.';

-- planning: what people ask about what is planned.

CREATE FUNCTION @extschema@.bs_upcoming(within interval DEFAULT '7 days')
RETURNS TABLE (send_at timestamptz, user_id uuid, message_type varchar, local_date date, timezone varchar, status varchar)
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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
               SELECT @extschema@.bs_send_time_or_null(e.timezone, s.local_date, e.send_time) AS send_at) p
           LEFT JOIN @extschema@.message_logs m
             ON m.user_id = e.user_id AND m.message_type = e.message_type
            AND m.local_date = s.local_date AND m.scheduled_send_time = p.send_at
     WHERE p.send_at BETWEEN now() AND now() + within
       AND p.send_at >= e.since
       AND @extschema@.bs_is_owed(e.event_date, s.local_date, e.cadence, e.feb29_policy)
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
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM @extschema@.bs_get_user(bs_preview.user_id);
    IF NOT EXISTS (SELECT FROM @extschema@.message_types t WHERE t.name = bs_preview.message_type) THEN
        RAISE EXCEPTION 'message type "%" does not exist', bs_preview.message_type
            USING ERRCODE = 'no_data_found';
    END IF;
    SELECT @extschema@.bs_send_time(u.timezone, d.local_date, t.send_time),
           @extschema@.bs_render(t.subject_template, 'header', u.first_name, u.last_name,
                                 e.event_date, d.local_date, u.location_city, u.location_country),
           @extschema@.bs_render(t.text_template, 'plain', u.first_name, u.last_name,
                                 e.event_date, d.local_date, u.location_city, u.location_country),
           @extschema@.bs_render(t.html_template, 'html', u.first_name, u.last_name,
                                 e.event_date, d.local_date, u.location_city, u.location_country)
      INTO send_at, subject, message_content, html_content
      FROM @extschema@.bs_events e
           JOIN @extschema@.users u ON u.id = e.user_id
           JOIN @extschema@.message_types t ON t.name = e.message_type
           CROSS JOIN LATERAL (
               SELECT @extschema@.bs_occurrence(e.event_date, bs_preview.year, t.feb29_policy) AS local_date) d
     WHERE e.user_id = bs_preview.user_id
       AND e.message_type = bs_preview.message_type
       AND @extschema@.bs_is_owed(e.event_date, d.local_date, t.cadence, t.feb29_policy)
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
SET intervalstyle = 'postgres'
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    who @extschema@.users := @extschema@.bs_get_user(bs_explain.user_id);
    state text := @extschema@.bs_installation_state();
BEGIN
    RETURN QUERY
    SELECT t.name, n.local_date, n.send_at, m.status,
           CASE
               WHEN who.deleted_at IS NOT NULL THEN 'the user is deleted'
               WHEN NOT t.enabled THEN 'the message type is disabled'
               WHEN NOT @extschema@.bs_is_timezone(who.timezone) THEN 'the server does not know the time zone "' || who.timezone || '"'
               WHEN n.local_date IS NULL THEN
                   CASE t.date_source WHEN 'user_dates' THEN 'the user has no such date ahead'
                                      ELSE 'the user has no ' || t.date_source END
               WHEN state = 'copy' THEN 'this database is a copy; bs_resume() adopts it'
               WHEN state = 'new' THEN 'this database was not adopted yet; bs_resume() does it'
               WHEN state = 'paused' AND (m.status IS NULL OR m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING'))
                   THEN 'sending is paused; bs_resume() goes on'
               WHEN m.status IS NOT NULL THEN concat_ws(': ', lower(m.status), m.status_reason)
               WHEN n.send_at > now() + @extschema@.bs_horizon() THEN 'will be planned ' || @extschema@.bs_horizon() || ' before it is due'
               ELSE 'will be planned at the next pass'
           END
      FROM @extschema@.message_types t
           LEFT JOIN LATERAL (
               SELECT d.local_date, p.send_at
                 FROM @extschema@.bs_events e
                      CROSS JOIN generate_series(extract(year FROM now())::integer - 1,
                                                 extract(year FROM now())::integer + 9) AS y (year)
                      CROSS JOIN LATERAL (
                          SELECT CASE e.cadence WHEN 'once' THEN e.event_date
                                 ELSE @extschema@.bs_occurrence(e.event_date, y.year, e.feb29_policy) END AS local_date) d
                      CROSS JOIN LATERAL (
                          SELECT @extschema@.bs_send_time_or_null(e.timezone, d.local_date, e.send_time) AS send_at) p
                WHERE e.user_id = bs_explain.user_id
                  AND e.message_type = t.name
                  AND p.send_at >= greatest(now(), e.since)
                  AND @extschema@.bs_is_owed(e.event_date, d.local_date, e.cadence, e.feb29_policy)
                ORDER BY p.send_at
                LIMIT 1) n ON true
           LEFT JOIN @extschema@.message_logs m
             ON m.user_id = bs_explain.user_id AND m.message_type = t.name
            AND m.local_date = n.local_date AND m.scheduled_send_time = n.send_at
     ORDER BY n.send_at NULLS LAST, t.name;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_explain(uuid) IS
'For each message type: the user''s next date and instant, the state of its message, and if nothing will go out, why not. Error P0002 for an unknown id.';

-- result: by hand. An operator's moves of single messages.

CREATE FUNCTION @extschema@.bs_move_by_hand(message_id uuid, wanted text[], new_status text, reason text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_status text;
BEGIN
    UPDATE @extschema@.message_logs m
       SET status = new_status,
           status_reason = reason,
           due_at = CASE new_status WHEN 'RETRYING' THEN now() END,
           attempts = CASE new_status WHEN 'RETRYING' THEN 0 ELSE m.attempts END,
           updated_at = now()
     WHERE m.id = message_id
       AND m.status = ANY (wanted);
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
END
$$;
COMMENT ON FUNCTION @extschema@.bs_move_by_hand(uuid, text[], text, text) IS
'Moves one message from one of the wanted states. Errors: P0002, 55000.';

CREATE FUNCTION @extschema@.bs_cancel_message(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.bs_move_by_hand(id, '{SCHEDULED,QUEUED,RETRYING}', 'CANCELLED', 'by_hand');
END
$$;
COMMENT ON FUNCTION @extschema@.bs_cancel_message(uuid) IS
'Cancels one message for good. Errors: P0002 for an unknown id, 55000 where it is claimed or finished.';

CREATE FUNCTION @extschema@.bs_retry_message(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.bs_move_by_hand(id, '{FAILED}', 'RETRYING', 'retried');
    PERFORM @extschema@.bs_wake_senders(now());
END
$$;
COMMENT ON FUNCTION @extschema@.bs_retry_message(uuid) IS
'Brings one FAILED message back, with its attempts counted from 0; past max_lateness it ends as EXPIRED. Errors: P0002 for an unknown id, 55000 where it has not failed.';

CREATE FUNCTION @extschema@.bs_retry_failed(since timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moved bigint;
BEGIN
    IF since IS NULL THEN
        RAISE EXCEPTION 'since must not be NULL' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE @extschema@.message_logs m
       SET status = 'RETRYING', status_reason = 'retried', due_at = now(), attempts = 0, updated_at = now()
     WHERE m.status = 'FAILED'
       AND m.scheduled_send_time >= greatest(since, now() - @extschema@.bs_max_lateness());
    GET DIAGNOSTICS moved = ROW_COUNT;
    PERFORM @extschema@.bs_wake_senders(now());
    RETURN moved;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_retry_failed(timestamptz) IS
'Brings back every FAILED message whose send time is not before since and that is not past max_lateness; gives their number. Error 22023 for NULL.';

-- seed: sample people for trying things out.

CREATE FUNCTION @extschema@.bs_seed(users integer DEFAULT 100, history boolean DEFAULT true)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zones constant text[] := '{Pacific/Kiritimati,Asia/Tokyo,Asia/Kathmandu,Asia/Kolkata,Europe/Kyiv,Europe/London,America/Sao_Paulo,America/St_Johns,America/New_York,Pacific/Honolulu,Pacific/Pago_Pago}';
    first_names constant text[] := '{Amina,Bjørn,Chloé,Дмитро,Elif,Fatou,小明,Hana,Ivana,José,Kavya,Łukasz,مريم}';
    last_names constant text[] := '{Abe,Björk,Castro,Шевченко,Demir,Eze,王,Fischer,Gupta,O''Brien,Haddad}';
    cities constant text[] := '{Tarawa,Tokyo,Kathmandu,Kolkata,Kyiv,London,"São Paulo","St. John''s","New York",Honolulu,"Pago Pago"}';
    batch text := substr(gen_random_uuid()::text, 1, 8);
    made bigint;
BEGIN
    IF users NOT BETWEEN 1 AND 10000000 THEN
        RAISE EXCEPTION 'users must lie between 1 and 10000000, not %', users
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM @extschema@.bs_adopt(false);

    WITH added AS (
        INSERT INTO @extschema@.users
               (first_name, last_name, email, timezone, birthday_date, anniversary_date, location_city, created_at)
        SELECT first_names[1 + n % cardinality(first_names)],
               last_names[1 + n / 3 % cardinality(last_names)],
               format('seed-%s-%s@example.com', batch, n),
               zones[1 + n % cardinality(zones)],
               date '1950-01-01' + n * 37 % 18000,
               CASE WHEN n % 3 = 0 THEN date '2005-01-01' + n * 53 % 6500 END,
               cities[1 + n % cardinality(zones)],
               now() - interval '60 days'
          FROM generate_series(1, users) AS n
        RETURNING id
    )
    SELECT count(*) INTO made FROM added;

    IF history THEN
        -- Of each user, one day of the last five weeks, as if it had been a birthday.
        PERFORM @extschema@.bs_create_partitions_between(
            @extschema@.bs_month(now() - interval '40 days'), @extschema@.bs_month(now()));
        WITH past AS (
            SELECT u.*, d.local_date,
                   @extschema@.bs_send_time(u.timezone, d.local_date) AS send_at,
                   CASE WHEN u.n % 50 = 49 THEN 'EXPIRED' WHEN u.n % 20 = 19 THEN 'FAILED'
                        WHEN u.n % 25 = 24 THEN 'CANCELLED' ELSE 'SENT' END AS status
              FROM (SELECT u.*, row_number() OVER (ORDER BY u.id)::integer AS n
                      FROM @extschema@.users u
                     WHERE u.email LIKE 'seed-' || batch || '-%') u
                   CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date - 4 - u.n % 30 AS local_date) d
        ), won AS (
            INSERT INTO @extschema@.message_ledger (user_id, message_type, local_date)
            SELECT p.id, 'BIRTHDAY', p.local_date FROM past p
                ON CONFLICT DO NOTHING
            RETURNING user_id
        )
        INSERT INTO @extschema@.message_logs
               (user_id, message_type, local_date, scheduled_send_time, idempotency_key,
                recipient_email, recipient_name, subject, message_content,
                status, status_reason, attempts, last_retry_at, actual_send_time,
                api_response_code, api_response_body, error_message)
        SELECT p.id, 'BIRTHDAY', p.local_date, p.send_at,
               format('%s:BIRTHDAY:%s', p.id, to_char(p.local_date, 'YYYY-MM-DD')),
               p.email, p.first_name || ' ' || p.last_name,
               'Happy birthday, ' || p.first_name || '!',
               format('Hey, %s %s it''s your birthday', p.first_name, p.last_name),
               p.status,
               CASE p.status WHEN 'SENT' THEN 'accepted' WHEN 'FAILED' THEN 'refused'
                             WHEN 'EXPIRED' THEN 'too_late' ELSE 'date_changed' END,
               CASE WHEN p.status IN ('SENT', 'FAILED') THEN 1 ELSE 0 END,
               CASE WHEN p.status IN ('SENT', 'FAILED') THEN p.send_at + interval '3 milliseconds' END,
               CASE p.status WHEN 'SENT' THEN p.send_at + interval '40 milliseconds' END,
               CASE p.status WHEN 'SENT' THEN 250 WHEN 'FAILED' THEN 550 END,
               CASE p.status WHEN 'SENT' THEN '250 2.0.0 Ok' WHEN 'FAILED' THEN '550 5.1.1 no such user' END,
               CASE p.status WHEN 'FAILED' THEN 'the relay refused the message' END
          FROM won w
               JOIN past p ON p.id = w.user_id;
    END IF;
    RETURN made;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_seed(integer, boolean) IS
'Adds sample people (1 to 10000000) in eleven zones, addresses at example.com, and with history past messages in several states; gives the number of people. Error 22023.';

-- monitoring: how things are.

CREATE FUNCTION @extschema@.bs_worker_stats(
    OUT worker text, OUT pid integer, OUT state text, OUT since timestamptz,
    OUT sent bigint, OUT failed bigint, OUT retried bigint, OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_worker_stats';
COMMENT ON FUNCTION @extschema@.bs_worker_stats() IS
'One row per worker that the server is to run: pid NULL while it is not running. Counts are since server start. Error 55000 where the library is not in shared_preload_libraries.';

CREATE VIEW @extschema@.bs_workers AS
SELECT w.worker, w.pid, w.state, w.since, w.sent, w.failed, w.retried, w.last_error, w.last_error_at
  FROM @extschema@.bs_worker_stats() w;
COMMENT ON VIEW @extschema@.bs_workers IS
'The background workers and what they are at.';

CREATE FUNCTION @extschema@.bs_is_preloaded()
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_is_preloaded';
COMMENT ON FUNCTION @extschema@.bs_is_preloaded() IS
'Is the library in shared_preload_libraries, so that there are workers?';

CREATE VIEW @extschema@.bs_status AS
SELECT @extschema@.bs_installation_state() AS installation,
       count(*) FILTER (WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')) AS planned,
       count(*) FILTER (WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING') AND m.due_at <= now()) AS due,
       count(*) FILTER (WHERE m.status = 'SENDING') AS in_flight,
       count(*) FILTER (WHERE m.status = 'SENT') AS sent,
       count(*) FILTER (WHERE m.status = 'FAILED') AS failed,
       count(*) FILTER (WHERE m.status = 'EXPIRED') AS expired,
       min(m.due_at) FILTER (WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')) AS next_due,
       max(m.actual_send_time - m.scheduled_send_time) FILTER (WHERE m.status = 'SENT') AS worst_lateness
  FROM @extschema@.message_logs m
 WHERE m.scheduled_send_time >= now() - interval '24 hours';
COMMENT ON VIEW @extschema@.bs_status IS
'One row: messages whose send time lies in the last 24 hours or ahead, by what became of them.';

CREATE FUNCTION @extschema@.bs_health()
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    installation text := @extschema@.bs_installation_state();
    parts jsonb := '{}';
    overdue bigint;
    expired bigint;
    failed bigint;
    expected bigint := 0;
    running bigint := 0;
    trouble text;
    planned_until timestamptz;
    lost_zones bigint;
BEGIN
    parts := parts || jsonb_build_object('installation', jsonb_build_object(
        'status', CASE installation WHEN 'adopted' THEN 'ok' ELSE 'warning' END,
        'reason', CASE installation
            WHEN 'new' THEN 'no user was added yet; bs_add_user() or bs_resume() begins'
            WHEN 'copy' THEN 'this database is a copy: nothing is planned or sent until bs_resume()'
            WHEN 'paused' THEN 'paused by bs_pause(): nothing is sent until bs_resume()' END));

    IF @extschema@.bs_is_preloaded() THEN
        SELECT count(*), count(w.pid),
               string_agg(w.worker || ': ' || w.last_error, '; ' ORDER BY w.worker)
                   FILTER (WHERE w.last_error_at > now() - interval '5 minutes' AND w.state <> 'idle')
          INTO expected, running, trouble
          FROM @extschema@.bs_worker_stats() w;
        parts := parts || jsonb_build_object('workers', jsonb_build_object(
            'status', CASE WHEN running < expected THEN 'error' WHEN trouble IS NOT NULL THEN 'warning' ELSE 'ok' END,
            'reason', CASE WHEN running < expected THEN format('%s of %s workers are running; look at max_worker_processes and the server log', running, expected)
                           ELSE trouble END));
    ELSE
        parts := parts || jsonb_build_object('workers', jsonb_build_object(
            'status', 'error',
            'reason', 'birthday_scheduler is not in shared_preload_libraries: nothing is sent'));
    END IF;

    SELECT count(*) FILTER (WHERE m.due_at < clock_timestamp() - interval '1 minute'
                              AND m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')),
           count(*) FILTER (WHERE m.status = 'EXPIRED'),
           count(*) FILTER (WHERE m.status = 'FAILED')
      INTO overdue, expired, failed
      FROM @extschema@.message_logs m
     WHERE m.scheduled_send_time >= now() - @extschema@.bs_max_lateness() - interval '48 hours';
    parts := parts || jsonb_build_object('backlog', jsonb_build_object(
        'status', CASE WHEN overdue > 0 THEN 'warning' ELSE 'ok' END,
        'reason', CASE WHEN overdue > 0 THEN format('%s messages are more than a minute overdue', overdue) END,
        'overdue', overdue));
    parts := parts || jsonb_build_object('results', jsonb_build_object(
        'status', CASE WHEN expired + failed > 0 THEN 'warning' ELSE 'ok' END,
        'reason', CASE WHEN expired + failed > 0 THEN format('in the last days %s messages failed and %s expired', failed, expired) END,
        'failed', failed, 'expired', expired));

    SELECT i.planned_until INTO planned_until FROM @extschema@.bs_installation i;
    SELECT count(*) INTO lost_zones
      FROM (SELECT DISTINCT u.timezone FROM @extschema@.users u WHERE u.deleted_at IS NULL) z
     WHERE NOT @extschema@.bs_is_timezone(z.timezone);
    parts := parts || jsonb_build_object('planning', jsonb_build_object(
        'status', CASE WHEN installation IN ('new', 'copy') OR planned_until IS NULL THEN 'warning'
                       WHEN planned_until < now() + @extschema@.bs_horizon() / 2 THEN 'error'
                       WHEN lost_zones > 0 THEN 'warning' ELSE 'ok' END,
        'reason', CASE WHEN installation IN ('new', 'copy') OR planned_until IS NULL THEN 'nothing was planned yet'
                       WHEN planned_until < now() + @extschema@.bs_horizon() / 2 THEN 'planning has fallen behind'
                       WHEN lost_zones > 0 THEN format('%s time zones of users are not in the server''s database', lost_zones) END,
        'planned_until', planned_until));
    parts := parts || jsonb_build_object('partitions', (
        SELECT jsonb_build_object(
                   'status', CASE WHEN installation = 'new' OR r.ready THEN 'ok' ELSE 'error' END,
                   'reason', CASE WHEN installation <> 'new' AND NOT r.ready
                                  THEN 'partitions are missing; call bs_create_partitions()' END)
          FROM (SELECT @extschema@.bs_partitions_ready(
                    (now() - interval '1 day')::date, (now() + interval '32 days')::date) AS ready) r));

    RETURN jsonb_build_object(
        'status', (SELECT CASE WHEN bool_or(p.value ->> 'status' = 'error') THEN 'error'
                               WHEN bool_or(p.value ->> 'status' = 'warning') THEN 'warning'
                               ELSE 'ok' END
                     FROM jsonb_each(parts) AS p),
        'parts', parts);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_health() IS
'How things are: {"status": ok, warning or error, "parts": {part: {"status", "reason", ...}}}; the reason is null where a part is ok.';

-- privileges: nobody but the owner may do anything until told.

-- Everything that is not plain arithmetic is taken from PUBLIC.
DO $$
DECLARE
    member regprocedure;
BEGIN
    FOR member IN
        SELECT p.oid
          FROM pg_catalog.pg_proc p
               JOIN pg_catalog.pg_depend d
                 ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                AND d.objid OPERATOR(pg_catalog.=) p.oid
                AND d.deptype OPERATOR(pg_catalog.=) 'e'
               JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
         WHERE e.extname OPERATOR(pg_catalog.=) 'birthday_scheduler'
           AND p.proname OPERATOR(pg_catalog.<>) ALL (ARRAY['bs_is_timezone', 'bs_is_email', 'bs_send_time', 'bs_send_time_or_null',
               'bs_occurrence', 'bs_month_day', 'bs_celebrated', 'bs_is_owed', 'bs_check_template', 'bs_render',
               'bs_library_version', 'bs_month', 'bs_partition_name', 'bs_is_preloaded'])
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', member);
    END LOOP;
END
$$;

CREATE FUNCTION @extschema@.bs_grant(role name, access text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    functions text[];
    tables text[] := '{}';
    member regprocedure;
    relation text;
BEGIN
    CASE access
        WHEN 'worker' THEN
            functions := '{bs_installation_state,bs_plan_step,bs_claim,bs_claim_holders,bs_next_due,bs_recover,bs_record,bs_create_partitions}';
        WHEN 'application' THEN
            functions := '{bs_add_user,bs_get_user,bs_update_user,bs_delete_user,bs_restore_user,bs_preview,bs_explain,bs_upcoming}';
        WHEN 'reader' THEN
            functions := '{bs_installation_state,bs_system_identifier,bs_explain,bs_upcoming,bs_preview,bs_health,bs_worker_stats,bs_horizon,bs_max_lateness}';
            tables := '{users,user_dates,message_types,message_logs,message_ledger,bs_installation,bs_events,bs_status,bs_workers}';
        ELSE
            RAISE EXCEPTION 'access "%" is not known', access
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Write worker, application or reader.';
    END CASE;
    EXECUTE format('GRANT USAGE ON SCHEMA @extschema@ TO %I', role);
    FOR member IN
        SELECT p.oid FROM pg_proc p
         WHERE p.pronamespace = to_regnamespace('@extschema@') AND p.proname = ANY (functions)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', member, role);
    END LOOP;
    FOREACH relation IN ARRAY tables LOOP
        EXECUTE format('GRANT SELECT ON @extschema@.%I TO %I', relation, role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_grant(name, text) IS
'Grants a role what it needs: worker (birthday_scheduler.role), application (the user functions), reader (SELECT and the monitoring functions). Error 22023 for another word.';
REVOKE ALL ON FUNCTION @extschema@.bs_grant(name, text) FROM PUBLIC;

REVOKE ALL ON @extschema@.users, @extschema@.user_dates, @extschema@.message_types,
    @extschema@.message_logs, @extschema@.message_ledger, @extschema@.bs_installation,
    @extschema@.bs_events, @extschema@.bs_status, @extschema@.bs_workers FROM PUBLIC;
