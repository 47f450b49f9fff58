-- What PostgREST shows: the schema "api", and the roles that may use it.
--
--   authenticator  what PostgREST logs in as; may do nothing but become one of
--   web_anon       nobody in particular: health and metrics, no person's data
--   web_app        an application with a token: users, and what they will get
--
-- Every function of "api" has the name and the arguments of ours, so that
-- POST /rpc/bs_add_user is bs_add_user().  What is refused is refused by the
-- functions and their privileges, not here.  Their bodies are strings, not BEGIN
-- ATOMIC: an update of the extension may replace what they call.

CREATE ROLE web_anon NOLOGIN;
CREATE ROLE web_app NOLOGIN;
CREATE ROLE authenticator LOGIN NOINHERIT CONNECTION LIMIT 20;
GRANT web_anon, web_app TO authenticator;
-- A request that hangs must not keep one of PostgREST's connections.
ALTER ROLE authenticator SET statement_timeout = '15s';
ALTER ROLE authenticator SET idle_in_transaction_session_timeout = '30s';

SELECT bs_grant('web_app', 'application');
GRANT USAGE ON SCHEMA public TO web_anon;
GRANT EXECUTE ON FUNCTION bs_health, bs_metrics TO web_anon, web_app;
GRANT SELECT ON users TO web_app;

CREATE SCHEMA api;
COMMENT ON SCHEMA api IS 'One greeting a birthday, at nine by the user''s own clock.';
GRANT USAGE ON SCHEMA api TO web_anon, web_app;

CREATE VIEW api.users WITH (security_invoker = true, security_barrier = true) AS
SELECT id, first_name, last_name, email, timezone, birthday_date, anniversary_date,
       location_city, location_country, created_at, updated_at
  FROM public.users
 WHERE deleted_at IS NULL;
COMMENT ON VIEW api.users IS 'Everyone who is not deleted.';
GRANT SELECT ON api.users TO web_app;

CREATE FUNCTION api.bs_health()
RETURNS jsonb
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('status', h.health -> 'status', 'parts', (
               SELECT jsonb_object_agg(p.key, jsonb_build_object('status', p.value -> 'status'))
                 FROM jsonb_each(h.health -> 'parts') AS p))
      FROM (SELECT public.bs_health() AS health) h
$$;
COMMENT ON FUNCTION api.bs_health() IS 'How each part is. Reasons may name hosts and databases: ask bs_health() in the database.';

CREATE FUNCTION api.bs_metrics(metric text DEFAULT NULL)
RETURNS TABLE (name text, labels jsonb, value double precision, type text, help text)
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.name, m.labels, m.value, m.type, m.help FROM public.bs_metrics(bs_metrics.metric) m
     WHERE NOT m.labels ? 'sender'
$$;
COMMENT ON FUNCTION api.bs_metrics IS 'All counters, gauges and histograms, or one; without those of single bs_senders, whose names have their hosts in them.';

CREATE FUNCTION api.bs_add_user(
    first_name text, last_name text, email text, timezone text,
    birthday_date date DEFAULT NULL, anniversary_date date DEFAULT NULL,
    location_city text DEFAULT NULL, location_country text DEFAULT NULL)
RETURNS uuid
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT public.bs_add_user(first_name, last_name, email, timezone,
                              birthday_date, anniversary_date,
                              location_city, location_country)
$$;
COMMENT ON FUNCTION api.bs_add_user IS 'Adds a user; gives the id.';

-- PostgREST makes a 404 of PT404; of our P0002 it would make a 500.
CREATE FUNCTION api.bs_get_user(id uuid)
RETURNS public.users
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN public.bs_get_user(bs_get_user.id);
EXCEPTION WHEN no_data_found THEN
    RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = SQLERRM;
END
$$;
COMMENT ON FUNCTION api.bs_get_user IS 'A user, deleted ones included.';

CREATE FUNCTION api.bs_update_user(id uuid, changes jsonb)
RETURNS public.users
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN public.bs_update_user(bs_update_user.id, bs_update_user.changes);
EXCEPTION WHEN no_data_found THEN
    RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = SQLERRM;
END
$$;
COMMENT ON FUNCTION api.bs_update_user IS 'Changes a user; null clears a field.';

CREATE FUNCTION api.bs_delete_user(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.bs_delete_user(bs_delete_user.id);
EXCEPTION WHEN no_data_found THEN
    RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = SQLERRM;
END
$$;
COMMENT ON FUNCTION api.bs_delete_user IS 'Deletes a user and cancels what was planned.';

CREATE FUNCTION api.bs_restore_user(id uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.bs_restore_user(bs_restore_user.id);
EXCEPTION WHEN no_data_found THEN
    RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = SQLERRM;
END
$$;
COMMENT ON FUNCTION api.bs_restore_user IS 'Takes a deletion back.';

CREATE FUNCTION api.bs_upcoming(within interval DEFAULT '7 days')
RETURNS TABLE (send_at timestamptz, user_id uuid, message_type text,
               local_date date, timezone text, status text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT u.send_at, u.user_id, u.message_type, u.local_date, u.timezone, u.status
      FROM public.bs_upcoming(within) u
$$;
COMMENT ON FUNCTION api.bs_upcoming IS 'Who gets what, and when.';

CREATE FUNCTION api.bs_explain(user_id uuid)
RETURNS TABLE (message_type text, next_date date, send_at timestamptz, status text,
               explanation text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT e.message_type::text, e.next_date, e.send_at, e.status::text, e.explanation
          FROM public.bs_explain(bs_explain.user_id) e;
EXCEPTION WHEN no_data_found THEN
    RAISE EXCEPTION USING ERRCODE = 'PT404', MESSAGE = SQLERRM;
END
$$;
COMMENT ON FUNCTION api.bs_explain IS 'What a user gets next, and if nothing, why not.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA api FROM PUBLIC;
GRANT EXECUTE ON FUNCTION api.bs_health, api.bs_metrics TO web_anon, web_app;
GRANT EXECUTE ON FUNCTION api.bs_add_user, api.bs_get_user, api.bs_update_user,
    api.bs_delete_user, api.bs_restore_user, api.bs_upcoming, api.bs_explain TO web_app;
