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
    version integer NOT NULL DEFAULT 0,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT check_first_name CHECK (pg_catalog.btrim(first_name) <> ''),
    CONSTRAINT check_last_name CHECK (pg_catalog.btrim(last_name) <> ''),
    CONSTRAINT check_email CHECK (@extschema@.bs_is_email(email::text)),
    -- The form only: a server that does not know the zone must still take the row
    -- from a dump. The trigger refuses unknown zones.
    CONSTRAINT check_timezone_format
        CHECK (timezone::text OPERATOR(pg_catalog.~) '^[A-Za-z][A-Za-z0-9_+/-]*$'),
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
-- What planning searches by: the day in the year, then the id to go on from; and
-- what it asks of each, or the table had to be read as well.
CREATE INDEX idx_users_birthday_month_day ON @extschema@.users (@extschema@.bs_month_day(birthday_date), id)
    INCLUDE (birthday_date, timezone, created_at)
    WHERE deleted_at IS NULL AND birthday_date IS NOT NULL;
CREATE INDEX idx_users_anniversary_month_day ON @extschema@.users (@extschema@.bs_month_day(anniversary_date), id)
    INCLUDE (anniversary_date, timezone, created_at)
    WHERE deleted_at IS NULL AND anniversary_date IS NOT NULL;

COMMENT ON TABLE @extschema@.users IS
'The people who get mail. Rows may be written by any statement; triggers check them and plan what they are owed.';
COMMENT ON COLUMN @extschema@.users.id IS 'Key.';
COMMENT ON COLUMN @extschema@.users.first_name IS 'Given name, 1 to 100 characters; no control characters, not only invisible ones, outer white space is trimmed, Unicode form NFC.';
COMMENT ON COLUMN @extschema@.users.last_name IS 'Family name, as first_name.';
COMMENT ON COLUMN @extschema@.users.email IS 'Address; unique without case among users that are not deleted.';
COMMENT ON COLUMN @extschema@.users.timezone IS 'Name of the user''s zone in the IANA time zone database, e.g. Europe/Kyiv; an old name that the server lacks is written with its new one, if bs_zone_name() knows that.';
COMMENT ON COLUMN @extschema@.users.birthday_date IS 'Date of birth, 1800-01-01 to today; NULL: no birthday mail.';
COMMENT ON COLUMN @extschema@.users.anniversary_date IS 'First day of the anniversary, after the birth and not after today; NULL: none.';
COMMENT ON COLUMN @extschema@.users.location_city IS 'For templates; may be NULL.';
COMMENT ON COLUMN @extschema@.users.location_country IS 'For templates; may be NULL.';
COMMENT ON COLUMN @extschema@.users.created_at IS 'When the user came; occasions before that instant are not mailed.';
COMMENT ON COLUMN @extschema@.users.updated_at IS 'Last change of the row or of the user''s dates.';
COMMENT ON COLUMN @extschema@.users.deleted_at IS 'Soft delete: when; NULL for a user who gets mail.';
COMMENT ON COLUMN @extschema@.users.version IS 'Counts changes of what messages are made from, the user''s dates among them; a message made from another version is made afresh before it is sent. 0: the row came past the triggers.';

CREATE FUNCTION @extschema@.bs_users_before_write()
RETURNS trigger
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'bs_users_before_write';
COMMENT ON FUNCTION @extschema@.bs_users_before_write() IS
'Normalises a row of users, counts its version, and refuses what cannot be one: 22023 with a hint for address, zone, names and dates.';

CREATE TRIGGER bs_users_before_write
    BEFORE INSERT OR UPDATE ON @extschema@.users
    FOR EACH ROW EXECUTE FUNCTION @extschema@.bs_users_before_write();

SELECT pg_catalog.pg_extension_config_dump('@extschema@.users', '');

-- A zone is known when a user is written; a dump, another server or an update of its
-- zone database may change that. OFFSET 0: each name is looked up once.
CREATE VIEW @extschema@.bs_lost_zones AS
SELECT z.timezone, z.users, k.known AS same_as
  FROM (SELECT u.timezone, pg_catalog.count(*) AS users
          FROM ONLY @extschema@.users u
         WHERE u.deleted_at IS NULL
         GROUP BY u.timezone
        OFFSET 0) z
       CROSS JOIN LATERAL (SELECT @extschema@.bs_zone_name(z.timezone::text) AS known) k
 WHERE k.known IS DISTINCT FROM z.timezone
 ORDER BY z.users DESC, z.timezone;
COMMENT ON VIEW @extschema@.bs_lost_zones IS
'Time zones of users that are not in the server''s database, how many users each has, and in same_as the name whose rules are used instead; NULL: none is known, and nothing is planned for these users. On Debian 13 and later, old names are in the package tzdata-legacy. Reads all users.';
