-- schema_owner: no role makes code of the extension call objects of its own, also
-- if it owns the database or the schema. test/t/schema_owner.pl has the workers.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE ROLE bs_test_owner;
CREATE ROLE bs_test_worker;
CREATE ROLE bs_test_sender;
CREATE ROLE bs_test_application;
CREATE ROLE bs_test_reader;
SELECT current_database() AS db \gset

-- A schema whose owner is not a superuser is refused, with the way out;
-- pg_database_owner stands for the owner of the database.
CREATE SCHEMA app AUTHORIZATION bs_test_owner;
\set ON_ERROR_STOP 0
\set SHOW_CONTEXT never
CREATE EXTENSION birthday_scheduler SCHEMA app;
\echo :LAST_ERROR_SQLSTATE
ALTER DATABASE :"db" OWNER TO bs_test_owner;
CREATE EXTENSION birthday_scheduler SCHEMA public;
\set ON_ERROR_STOP 1
DROP SCHEMA app;
-- The way out of the hint.
CREATE SCHEMA birthday;
CREATE EXTENSION birthday_scheduler SCHEMA birthday;
DROP EXTENSION birthday_scheduler;
DROP SCHEMA birthday;
ALTER DATABASE :"db" OWNER TO CURRENT_USER;

CREATE EXTENSION birthday_scheduler SCHEMA public;
SELECT bs_grant('bs_test_worker', 'worker'), bs_grant('bs_test_sender', 'sender'),
       bs_grant('bs_test_application', 'application'), bs_grant('bs_test_reader', 'reader');
GRANT SELECT, INSERT, UPDATE, DELETE ON users, user_dates, message_types TO bs_test_application;
SELECT bs_add_user('Ann', 'Lee', 'ann@example.com', 'UTC', '1990-02-03') AS ann \gset

-- Every function that names something of the schema in a body of text carries the
-- guard; the others are bound to their objects.
SELECT p.oid::regprocedure
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
       JOIN pg_language l ON l.oid = p.prolang
 WHERE (p.prosecdef OR l.lanname = 'plpgsql' OR (l.lanname = 'sql' AND p.prosqlbody IS NULL))
   AND 'birthday_scheduler.schema=public' <> ALL (coalesce(p.proconfig, '{}'))
 ORDER BY 1;

-- A sequence counts what is run, whatever is rolled back.
CREATE SCHEMA test;
GRANT USAGE ON SCHEMA test TO PUBLIC;
CREATE SEQUENCE test.hijacked;
GRANT USAGE ON SEQUENCE test.hijacked TO PUBLIC;

-- Another schema "public" with an object for each of ours: functions with the same
-- arguments, a view for each table and view that calls something.
CREATE FUNCTION test.plant(target text)
RETURNS bigint
LANGUAGE plpgsql
SET check_function_bodies = off
AS $$
DECLARE
    statement text;
    planted bigint := 0;
BEGIN
    FOR statement IN
        SELECT format('CREATE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE sql AS %L', target, p.proname,
                      pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid),
                      'SELECT nextval(''test.hijacked''); SELECT NULL')
          FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
               JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
         WHERE p.prorettype <> 'trigger'::regtype
        UNION ALL
        SELECT format('CREATE VIEW %I.%I AS SELECT nextval(''test.hijacked''), t.* FROM %s t', target, c.relname, c.oid::regclass)
          FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
               JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
         WHERE c.relkind IN ('r', 'p', 'v')
    LOOP
        BEGIN
            EXECUTE statement;
            planted := planted + 1;
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE '%: %', SQLERRM, statement;
        END;
    END LOOP;
    RETURN planted;
END
$$;

-- Calls every function of the extension that has a body, wherever it stands, and gives
-- how many were refused (42501: no right to call; 55000: the guard) and which were not.
CREATE FUNCTION test.call_all(role name, OUT refused bigint, OUT others text)
LANGUAGE plpgsql
AS $$
DECLARE
    call text;
    code text;
    found text[] := '{}';
BEGIN
    refused := 0;
    FOR call IN
        SELECT format('SELECT * FROM %I.%I(%s)', n.nspname, p.proname,
                      (SELECT string_agg(CASE WHEN p.provariadic <> 0 THEN 'VARIADIC ' ELSE '' END || CASE t.t
                                             WHEN 'uuid'::regtype THEN 'gen_random_uuid()'
                                             WHEN 'date'::regtype THEN 'current_date'
                                             WHEN 'timestamptz'::regtype THEN 'now()'
                                             WHEN 'interval'::regtype THEN '''1 minute'''
                                             WHEN 'boolean'::regtype THEN 'true'
                                             WHEN 'jsonb'::regtype THEN '''{"as_of": "2044-05-04 00:00+00", "until": "2044-05-04 00:00+00"}'''
                                             WHEN 'regclass'::regtype THEN '''pg_class'''
                                             ELSE CASE e.typcategory WHEN 'A' THEN '''{}''' WHEN 'C' THEN 'NULL' ELSE '''1''' END
                                         END || '::' || format_type(t.t, NULL), ', ' ORDER BY t.n)
                         FROM unnest(p.proargtypes) WITH ORDINALITY AS t (t, n) JOIN pg_type e ON e.oid = t.t))
          FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
               JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'birthday_scheduler'
               JOIN pg_language l ON l.oid = p.prolang
               JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE p.prorettype <> 'trigger'::regtype AND (p.prosecdef OR l.lanname = 'plpgsql')
         ORDER BY 1
    LOOP
        BEGIN
            EXECUTE format('SET LOCAL ROLE %I', role);
            EXECUTE call;
            code := '00000';
        EXCEPTION WHEN OTHERS THEN
            code := SQLSTATE;
        END;
        RESET ROLE;
        IF code IN ('42501', '55000') THEN
            refused := refused + 1;
        ELSE
            found := found || concat(code, ' ', call);
        END IF;
    END LOOP;
    others := array_to_string(found, E'\n');
END
$$;

-- The database comes to belong to an ordinary role, which puts a schema of its own in
-- the place of "public". No function runs, for nobody, and none of those planted.
ALTER DATABASE :"db" OWNER TO bs_test_owner;
SET SESSION AUTHORIZATION bs_test_owner;
ALTER SCHEMA public RENAME TO old_public;
CREATE SCHEMA public;
GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC;
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA old_public TO PUBLIC;
SELECT test.plant('public') > 100 AS planted;
SELECT r, c.refused > 50 AS refused, c.others
  FROM unnest('{bs_test_worker,bs_test_sender,bs_test_application,bs_test_reader,bs_test_owner}'::name[]) AS r, test.call_all(r) c;
SELECT c.refused > 50 AS refused, c.others FROM test.call_all(current_user) c;
\set ON_ERROR_STOP 0
SET ROLE bs_test_application;
INSERT INTO old_public.users (first_name, last_name, email, timezone) VALUES ('Bob', 'Lee', 'bob@example.com', 'UTC');
UPDATE old_public.users SET timezone = 'Europe/Kyiv';
DELETE FROM old_public.users;
SELECT * FROM old_public.bs_get_user(:'ann');
RESET ROLE;
SELECT old_public.bs_health();
\set ON_ERROR_STOP 1
SELECT is_called FROM test.hijacked;

-- The name alone, with an owner who is trusted.
ALTER DATABASE :"db" OWNER TO CURRENT_USER;
\set ON_ERROR_STOP 0
SELECT old_public.bs_health();
\set ON_ERROR_STOP 1
SELECT r, c.refused > 50 AS refused, c.others
  FROM unnest('{bs_test_worker,bs_test_sender,bs_test_application,bs_test_reader,bs_test_owner}'::name[]) AS r, test.call_all(r) c;
SELECT is_called FROM test.hijacked;

-- Once the name is back, everything works.
DROP SCHEMA public CASCADE;
ALTER SCHEMA old_public RENAME TO public;
SET ROLE bs_test_application;
SELECT first_name FROM bs_get_user(:'ann');
RESET ROLE;
-- The owner of the schema alone, with its right name.
ALTER SCHEMA public OWNER TO bs_test_owner;
\set ON_ERROR_STOP 0
SELECT bs_health();
\set ON_ERROR_STOP 1
ALTER SCHEMA public OWNER TO pg_database_owner;
SELECT jsonb_typeof(bs_health());
-- Nobody can talk the guard into another schema.
SET birthday_scheduler.schema = 'public';
\set ON_ERROR_STOP 0
SET birthday_scheduler.schema = 'elsewhere';
\set ON_ERROR_STOP 1

DROP EXTENSION birthday_scheduler;
DROP SCHEMA test CASCADE;
REVOKE ALL ON SCHEMA public FROM bs_test_worker, bs_test_sender, bs_test_application, bs_test_reader;
DROP ROLE bs_test_owner, bs_test_worker, bs_test_sender, bs_test_application, bs_test_reader;
