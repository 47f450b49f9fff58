-- users: the functions that applications call. Their errors name table and column, and
-- have one line of context: a fault that the trigger finds is raised once more.

CREATE FUNCTION @extschema@.bs_add_user(
    first_name text, last_name text, email text, timezone text,
    birthday_date date DEFAULT NULL, anniversary_date date DEFAULT NULL,
    location_city text DEFAULT NULL, location_country text DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    user_id uuid;
    code text;
    words text;
    hint text;
    relation text;
    bad text;
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
        GET STACKED DIAGNOSTICS bad = CONSTRAINT_NAME;
        IF bad <> 'idx_users_email_unique' THEN
            RAISE;
        END IF;
        RAISE EXCEPTION 'a user with this e-mail address exists'
            USING ERRCODE = 'unique_violation', SCHEMA = '@extschema@', TABLE = 'users', COLUMN = 'email', CONSTRAINT = bad,
                  HINT = 'Addresses are compared without case. Change or delete the other user first.';
    WHEN invalid_parameter_value OR string_data_right_truncation OR not_null_violation THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, words = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT,
            relation = TABLE_NAME, bad = COLUMN_NAME;
        IF code <> '22023' THEN
            SELECT f.code, f.reason, coalesce(f.hint, ''), 'users', f.column_name INTO code, words, hint, relation, bad
              FROM @extschema@.bs_user_fault(first_name, last_name, email, timezone, birthday_date::text,
                                             anniversary_date::text, location_city, location_country) f;
        END IF;
        IF code IS NULL OR relation <> 'users' THEN
            RAISE;                      -- not about a value, or a trigger of others
        ELSIF hint = '' THEN
            RAISE EXCEPTION USING ERRCODE = code, MESSAGE = words, SCHEMA = '@extschema@', TABLE = relation, COLUMN = bad;
        END IF;
        RAISE EXCEPTION USING ERRCODE = code, MESSAGE = words, HINT = hint, SCHEMA = '@extschema@', TABLE = relation, COLUMN = bad;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_add_user(text, text, text, text, date, date, text, text) IS
'Adds a user and plans what is due within the horizon; gives the id. Errors: 22023 for a bad value, 22001 for one that is too long, 23505 for an address in use.';

CREATE FUNCTION @extschema@.bs_get_user(id uuid)
RETURNS @extschema@.users
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    found_user @extschema@.users;
BEGIN
    SELECT u.* INTO found_user FROM ONLY @extschema@.users u WHERE u.id = bs_get_user.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_get_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN found_user;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_get_user(uuid) IS
'The user, deleted ones included. Error P0002 for an unknown id.';

CREATE FUNCTION @extschema@.bs_get_user_by_email(email text)
RETURNS @extschema@.users
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    found_user @extschema@.users;
BEGIN
    SELECT u.* INTO found_user FROM ONLY @extschema@.users u
     WHERE lower(u.email COLLATE "C") = lower(@extschema@.bs_trim(bs_get_user_by_email.email) COLLATE "C") AND u.deleted_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no user has this e-mail address'
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN found_user;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_get_user_by_email(text) IS
'The user with that address, compared without case, and not deleted. Error P0002 if there is none.';

CREATE FUNCTION @extschema@.bs_update_user(id uuid, changes jsonb)
RETURNS @extschema@.users
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    known constant text[] := '{first_name,last_name,email,timezone,birthday_date,anniversary_date,location_city,location_country}';
    required constant text[] := '{first_name,last_name,email,timezone}';
    old_user @extschema@.users;
    new_user @extschema@.users;
    code text;
    words text;
    hint text;
    relation text;
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
            USING ERRCODE = 'invalid_parameter_value', SCHEMA = '@extschema@', TABLE = 'users', COLUMN = bad;
    END IF;
    -- No "today" and no "02/03/04".
    SELECT k.key INTO bad FROM jsonb_each_text(changes) AS k
     WHERE k.key IN ('birthday_date', 'anniversary_date') AND k.value !~ E'^\\d{4}-\\d\\d-\\d\\d$' ORDER BY k.key LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION '% must be a date such as "1990-02-28"', bad
            USING ERRCODE = 'invalid_parameter_value', SCHEMA = '@extschema@', TABLE = 'users', COLUMN = bad;
    END IF;

    SELECT u.* INTO old_user FROM ONLY @extschema@.users u
     WHERE u.id = bs_update_user.id FOR NO KEY UPDATE;
    IF NOT FOUND OR old_user.deleted_at IS NOT NULL THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_update_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
    new_user := jsonb_populate_record(old_user, changes);
    UPDATE ONLY @extschema@.users u
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
        GET STACKED DIAGNOSTICS bad = CONSTRAINT_NAME;
        IF bad <> 'idx_users_email_unique' THEN
            RAISE;
        END IF;
        RAISE EXCEPTION 'a user with this e-mail address exists'
            USING ERRCODE = 'unique_violation', SCHEMA = '@extschema@', TABLE = 'users', COLUMN = 'email', CONSTRAINT = bad,
                  HINT = 'Addresses are compared without case. Change or delete the other user first.';
    WHEN invalid_parameter_value OR string_data_right_truncation OR invalid_datetime_format OR datetime_field_overflow THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, words = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT,
            relation = TABLE_NAME, bad = COLUMN_NAME;
        IF code <> '22023' THEN
            SELECT f.code, f.reason, coalesce(f.hint, ''), 'users', f.column_name INTO code, words, hint, relation, bad
              FROM (SELECT to_jsonb(old_user) || changes AS v) c,
                   @extschema@.bs_user_fault(v ->> 'first_name', v ->> 'last_name', v ->> 'email', v ->> 'timezone',
                                             v ->> 'birthday_date', v ->> 'anniversary_date',
                                             v ->> 'location_city', v ->> 'location_country') f;
        END IF;
        IF code IS NULL OR relation <> 'users' THEN
            RAISE;                      -- not about a value, or a trigger of others
        ELSIF hint = '' THEN
            RAISE EXCEPTION USING ERRCODE = code, MESSAGE = words, SCHEMA = '@extschema@', TABLE = relation, COLUMN = bad;
        END IF;
        RAISE EXCEPTION USING ERRCODE = code, MESSAGE = words, HINT = hint, SCHEMA = '@extschema@', TABLE = relation, COLUMN = bad;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_update_user(uuid, jsonb) IS
'Changes the values that the JSON object names (RFC 7396: null clears) and plans the user again. Errors: 22023 for a bad or unknown value, 22001 for one that is too long, 23505 for an address in use, P0002 for an unknown or deleted user.';

CREATE FUNCTION @extschema@.bs_delete_user(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    UPDATE ONLY @extschema@.users u SET deleted_at = now()
     WHERE u.id = bs_delete_user.id AND (u.deleted_at IS NOT NULL) IS NOT TRUE;
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
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    UPDATE ONLY @extschema@.users u SET deleted_at = NULL
     WHERE u.id = bs_restore_user.id AND u.deleted_at IS NOT NULL;
    IF NOT FOUND THEN
        PERFORM @extschema@.bs_get_user(bs_restore_user.id);
        RAISE EXCEPTION 'user % is not deleted', bs_restore_user.id
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'the e-mail address of user % is in use by another user', bs_restore_user.id
            USING ERRCODE = 'unique_violation', SCHEMA = '@extschema@', TABLE = 'users', COLUMN = 'email',
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
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    DELETE FROM ONLY @extschema@.users u WHERE u.id = bs_purge_user.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % does not exist', coalesce(bs_purge_user.id::text, 'NULL')
            USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_purge_user(uuid) IS
'Erases the person: the user, the dates, every message and the ledger entries. Error P0002 for an unknown id.';

CREATE FUNCTION @extschema@.bs_list_users(after uuid DEFAULT NULL, at_most integer DEFAULT 100)
RETURNS SETOF @extschema@.users
LANGUAGE plpgsql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    IF at_most IS NULL OR at_most NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'at_most must lie between 1 and 10000, not %', coalesce(at_most::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT u.*
      FROM ONLY @extschema@.users u
     WHERE u.deleted_at IS NULL
       AND (after IS NULL OR u.id > after)
     ORDER BY u.id
     LIMIT at_most;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_list_users(uuid, integer) IS
'Users who are not deleted, in the order of their ids, at most so many (1 to 10000) behind that id; the last id of a page begins the next. Error 22023.';

CREATE FUNCTION @extschema@.bs_set_dates(user_id uuid, message_type text, dates date[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    PERFORM @extschema@.bs_get_user(bs_set_dates.user_id);
    IF NOT EXISTS (SELECT FROM ONLY @extschema@.message_types t
                    WHERE t.name = bs_set_dates.message_type AND t.date_source = 'user_dates') THEN
        RAISE EXCEPTION 'message type "%" does not exist or is not for dates of one''s own', bs_set_dates.message_type
            USING ERRCODE = 'no_data_found',
                  HINT = 'Its date_source must be user_dates.';
    END IF;
    IF dates IS NULL OR array_position(dates, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'dates must be an array without NULL'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'An empty array removes all dates of that type.';
    END IF;
    DELETE FROM ONLY @extschema@.user_dates d
     WHERE d.user_id = bs_set_dates.user_id AND d.message_type = bs_set_dates.message_type
       AND d.event_date <> ALL (dates);
    INSERT INTO @extschema@.user_dates (user_id, message_type, event_date)
    SELECT DISTINCT bs_set_dates.user_id, bs_set_dates.message_type, n.day FROM unnest(dates) AS n (day)
        ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_set_dates(uuid, text, date[]) IS
'The user''s own dates for a message type whose date_source is user_dates: these and no others. Errors: P0002 for an unknown user or type, 22023 for NULL, 23514 for a date out of range.';
