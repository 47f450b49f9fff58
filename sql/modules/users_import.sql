-- users: many at once, from a table of text; bad rows are reported, not fatal.

CREATE FUNCTION @extschema@.bs_trim(value text)
RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_trim';
COMMENT ON FUNCTION @extschema@.bs_trim(text) IS
'The text without white space and invisible characters (U+FEFF, U+00A0, U+200B, ...) at both ends; control characters stay.';

CREATE FUNCTION @extschema@.bs_user_fault(
    first_name text, last_name text, email text, timezone text,
    birthday_date text, anniversary_date text, location_city text, location_country text,
    OUT column_name text, OUT code text, OUT reason text, OUT hint text)
RETURNS record
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'bs_user_fault';
COMMENT ON FUNCTION @extschema@.bs_user_fault(text, text, text, text, text, text, text, text) IS
'What is wrong with a user whose values come as text: the first column that is, SQLSTATE, reason, hint; NULL where nothing is.';

-- The ids are made before the INSERT, which tells by them what it took.
CREATE FUNCTION @extschema@.bs_import_chunk(
    lines bigint[], first_names text[], last_names text[], emails text[], timezones text[],
    birthday_dates text[], anniversary_dates text[], location_cities text[], location_countries text[])
RETURNS TABLE (line bigint, column_name text, code text, reason text, hint text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET datestyle = 'ISO, YMD'
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH checked AS MATERIALIZED (
        SELECT r.*, gen_random_uuid() AS id,
               @extschema@.bs_user_fault(r.first_name, r.last_name, r.email, r.timezone,
                   nullif(@extschema@.bs_trim(r.birthday_date), ''), nullif(@extschema@.bs_trim(r.anniversary_date), ''),
                   r.location_city, r.location_country) AS fault
          FROM unnest(lines, first_names, last_names, emails, timezones,
                      birthday_dates, anniversary_dates, location_cities, location_countries)
               AS r (line, first_name, last_name, email, timezone,
                     birthday_date, anniversary_date, location_city, location_country)
    ), added AS (
        INSERT INTO @extschema@.users
               (id, first_name, last_name, email, timezone, birthday_date, anniversary_date,
                location_city, location_country)
        SELECT c.id, c.first_name, c.last_name, c.email, c.timezone,
               nullif(@extschema@.bs_trim(c.birthday_date), '')::date, nullif(@extschema@.bs_trim(c.anniversary_date), '')::date,
               c.location_city, c.location_country
          FROM checked c
         WHERE (c.fault).code IS NULL
         ORDER BY c.line
            ON CONFLICT DO NOTHING
        RETURNING id
    )
    SELECT c.line,
           CASE WHEN (c.fault).code IS NOT NULL THEN (c.fault).column_name WHEN t.taken THEN 'email' END,
           coalesce((c.fault).code, CASE WHEN t.taken THEN '23505' ELSE '02000' END),
           coalesce((c.fault).reason, CASE WHEN t.taken THEN 'a user with this e-mail address exists'
                                           ELSE 'a trigger of yours on users left the row out' END),
           CASE WHEN (c.fault).code IS NOT NULL THEN (c.fault).hint
                WHEN t.user_id IS NOT NULL THEN format('It is user %s.', t.user_id)
                WHEN t.taken THEN 'It came with an earlier row.'
           END
      FROM checked c
           CROSS JOIN LATERAL (
               SELECT o.user_id, o.user_id IS NOT NULL OR EXISTS (
                          SELECT FROM checked e
                           WHERE e.line < c.line AND (e.fault).code IS NULL
                             AND lower(@extschema@.bs_trim(e.email) COLLATE "C") = lower(@extschema@.bs_trim(c.email) COLLATE "C")) AS taken
                 FROM (SELECT (SELECT u.id
                                 FROM ONLY @extschema@.users u
                                WHERE lower(u.email COLLATE "C") = lower(@extschema@.bs_trim(c.email) COLLATE "C")
                                  AND u.deleted_at IS NULL) AS user_id) o) t
     WHERE c.id NOT IN (SELECT a.id FROM added a)
     ORDER BY c.line;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_import_chunk(bigint[], text[], text[], text[], text[], text[], text[], text[], text[]) IS
'As bs_import_rows(), but an error that a trigger, constraint or type raises for one row ends it.';

-- What a trigger or constraint of the user's own raises for one row must not end the
-- import: the rows are halved until it stands alone.
CREATE FUNCTION @extschema@.bs_import_rows(
    lines bigint[], first_names text[], last_names text[], emails text[], timezones text[],
    birthday_dates text[], anniversary_dates text[], location_cities text[], location_countries text[])
RETURNS TABLE (line bigint, column_name text, code text, reason text, hint text)
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    n constant integer := cardinality(lines);
    half constant integer := n / 2;
    found record;
BEGIN
    PERFORM @extschema@.bs_adopt(false);
    BEGIN
        -- Kept until it has come to its end: what is returned cannot be taken back.
        SELECT array_agg(c.line) AS lines, array_agg(c.column_name) AS columns, array_agg(c.code) AS codes,
               array_agg(c.reason) AS reasons, array_agg(c.hint) AS hints
          INTO found
          FROM @extschema@.bs_import_chunk(lines, first_names, last_names, emails, timezones,
                   birthday_dates, anniversary_dates, location_cities, location_countries) c;
        RETURN QUERY SELECT f.* FROM unnest(found.lines, found.columns, found.codes, found.reasons, found.hints) AS f;
        RETURN;
    EXCEPTION
        WHEN OTHERS THEN
            IF NOT @extschema@.bs_is_of_a_row(SQLSTATE) THEN
                RAISE;
            END IF;
            IF n = 1 THEN
                line := lines[1];
                code := SQLSTATE;
                reason := SQLERRM;
                GET STACKED DIAGNOSTICS column_name = COLUMN_NAME, hint = PG_EXCEPTION_HINT;
                column_name := nullif(column_name, '');
                hint := nullif(hint, '');
                RETURN NEXT;
                RETURN;
            END IF;
    END;
    RETURN QUERY
    SELECT c.* FROM @extschema@.bs_import_rows(lines[:half], first_names[:half], last_names[:half], emails[:half], timezones[:half],
        birthday_dates[:half], anniversary_dates[:half], location_cities[:half], location_countries[:half]) c;
    RETURN QUERY
    SELECT c.* FROM @extschema@.bs_import_rows(lines[half + 1:], first_names[half + 1:], last_names[half + 1:], emails[half + 1:], timezones[half + 1:],
        birthday_dates[half + 1:], anniversary_dates[half + 1:], location_cities[half + 1:], location_countries[half + 1:]) c;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_import_rows(bigint[], text[], text[], text[], text[], text[], text[], text[], text[]) IS
'Adds the users that the arrays describe, an element each, and gives the rows that it did not take, and why. For bs_import_users().';

-- The caller's rights: what he may not read, he cannot import.
CREATE FUNCTION @extschema@.bs_import_users(source regclass)
RETURNS TABLE (line bigint, column_name text, code text, reason text, hint text)
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    chunk constant integer := 10000;
    known constant text[] := '{first_name,last_name,email,timezone,birthday_date,anniversary_date,location_city,location_country}';
    actual text[];              -- the names of the columns, and
    there text[];               -- the same without the mark that some programs begin a file with
    bad text;
    part record;
    refused bigint;
    total bigint := 0;
    total_refused bigint := 0;
BEGIN
    SELECT coalesce(array_agg(a.attname::text), '{}'), coalesce(array_agg(@extschema@.bs_trim(a.attname::text)), '{}')
      INTO actual, there
      FROM pg_attribute a
     WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped;
    SELECT format('has no column "%s"', k) INTO bad
      FROM unnest(known[1:4]) AS k WHERE k <> ALL (there) LIMIT 1;
    IF bad IS NULL THEN
        SELECT format('has a column "%s", which is not taken', k) INTO bad
          FROM unnest(there) AS k WHERE k <> ALL (known || text 'line') LIMIT 1;
    END IF;
    IF bad IS NULL THEN
        SELECT format('has the column "%s" twice', k) INTO bad
          FROM unnest(there) AS k GROUP BY k HAVING count(*) > 1 LIMIT 1;
    END IF;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'relation % %', source, bad
            USING ERRCODE = 'undefined_column',
                  HINT = format('The columns are %s, and line for the row''s number; all but the first four may be absent. A view can leave out and rename.',
                                array_to_string(known, ', '));
    END IF;

    FOR part IN EXECUTE format(
        'SELECT array_agg(r.line) AS lines, %s
           FROM (SELECT s.*, row_number() OVER () AS n
                   FROM (SELECT %s AS line, %s FROM %s AS s) s) r
          GROUP BY (r.n - 1) / %s
          ORDER BY (r.n - 1) / %5$s',
        (SELECT string_agg(format('array_agg(r.%I) AS %1$I', k), ', ') FROM unnest(known) AS k),
        coalesce((SELECT format('@extschema@.bs_trim(s.%I::text)::bigint', actual[array_position(there, 'line')])
                   WHERE 'line' = ANY (there)), 'row_number() OVER ()'),
        (SELECT string_agg(CASE WHEN k = ANY (there) THEN format('s.%I::text AS %I', actual[array_position(there, k)], k)
                                ELSE format('NULL::text AS %I', k) END, ', ') FROM unnest(known) AS k),
        source, chunk)
    LOOP
        RETURN QUERY
        SELECT * FROM @extschema@.bs_import_rows(part.lines, part.first_name, part.last_name, part.email, part.timezone,
            part.birthday_date, part.anniversary_date, part.location_city, part.location_country);
        GET DIAGNOSTICS refused = ROW_COUNT;
        total := total + cardinality(part.lines);
        total_refused := total_refused + refused;
        IF total % 100000 = 0 THEN
            RAISE NOTICE '% rows so far', total;
        END IF;
    END LOOP;
    RAISE NOTICE '% rows: % users added, % rows refused', total, total - total_refused, total_refused;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_import_users(regclass) IS
'Adds the users in a table or view, whose columns are text and named as those of users, and plans what is due within the horizon. Gives the rows that were not taken: their number (column line, or counted), the column at fault, SQLSTATE (22023 bad value, 22001 too long, 23505 address in use, 02000 left out by a trigger of yours, or what a trigger, constraint or type of yours raised), reason, hint; so it can be repeated. Error 42703: other columns.';
