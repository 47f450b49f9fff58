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
               AND subject_template !~ E'[\\x01-\\x1f\\x7f]'
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
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.name IN ('BIRTHDAY', 'ANNIVERSARY') THEN
            RAISE EXCEPTION 'message type "%" cannot be deleted', OLD.name
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Set enabled to false.';
        END IF;
        IF EXISTS (SELECT FROM ONLY @extschema@.user_dates d WHERE d.message_type = OLD.name) THEN
            RAISE EXCEPTION 'message type "%" has dates of users', OLD.name
                USING ERRCODE = 'foreign_key_violation',
                      HINT = 'Set enabled to false, or delete its rows of user_dates first.';
        END IF;
        RETURN OLD;
    END IF;
    IF TG_OP = 'INSERT' THEN
        -- A dump brings its own row of a type that came with the extension:
        -- it takes the place of the untouched one.
        DELETE FROM ONLY @extschema@.message_types t WHERE t.name = NEW.name AND t.built_in;
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
 'Hey, {{full_name}} it''s your {{#ordinal}}{{ordinal}} {{/ordinal}}anniversary',
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
    (message_type, @extschema@.bs_month_day(event_date), user_id) INCLUDE (event_date);
COMMENT ON TABLE @extschema@.user_dates IS
'Dates of a user''s own, for message types whose date_source is user_dates; several of one type may stand side by side.';
COMMENT ON COLUMN @extschema@.user_dates.user_id IS 'Whose.';
COMMENT ON COLUMN @extschema@.user_dates.message_type IS 'What is mailed on that day.';
COMMENT ON COLUMN @extschema@.user_dates.event_date IS 'The day: every year from then on, or for cadence once that day alone.';
COMMENT ON COLUMN @extschema@.user_dates.created_at IS 'When the date came; occasions before that instant are not mailed.';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.message_types', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.user_dates', '');
