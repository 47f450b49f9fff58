-- base: the extension in a schema of its own, whose name needs quotes, in a
-- database of its own; and where it cannot be made.
SET client_min_messages = warning;
CREATE DATABASE bs_test_schema TEMPLATE template0;
\c bs_test_schema
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
-- Since server 18 the context of an error in a script has the statement.
\set SHOW_CONTEXT never

-- Objects of others with the names of ours are not taken over: nothing is made.
CREATE TABLE public.users (id integer);
CREATE EXTENSION birthday_scheduler;
DROP TABLE public.users;
CREATE FUNCTION public.bs_plan(until timestamptz DEFAULT NULL, as_of timestamptz DEFAULT now()) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
CREATE EXTENSION birthday_scheduler;
DROP FUNCTION public.bs_plan(timestamptz, timestamptz);
SELECT count(*) FROM pg_extension WHERE extname = 'birthday_scheduler';

CREATE SCHEMA "Bday's $1";
CREATE EXTENSION birthday_scheduler SCHEMA "Bday's $1";
DROP SCHEMA "Bday's $1";

CREATE SCHEMA "Birth Days";
CREATE EXTENSION birthday_scheduler SCHEMA "Birth Days";
-- Everything is there, nothing in public; it stays where it is.
SELECT n.nspname, count(*) > 50 AS objects FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname LIKE 'bs\_%' GROUP BY 1;
SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace;
ALTER EXTENSION birthday_scheduler SET SCHEMA public;

-- It works without the schema in the path.
SHOW search_path;
SELECT "Birth Days".bs_resume();
UPDATE "Birth Days".message_types SET active_since = '2001-01-01';
INSERT INTO "Birth Days".users (first_name, last_name, email, timezone, birthday_date, created_at)
VALUES ('Ann', 'Test', 'ann@example.com', 'Europe/Kyiv', '1990-05-01', '2043-01-01');
UPDATE "Birth Days".bs_installation SET planned_until = '2044-04-30';
SELECT "Birth Days".bs_plan(NULL, '2044-04-30 00:00+00');
UPDATE "Birth Days".users SET timezone = 'Pacific/Kiritimati';
SELECT tableoid::regclass, scheduled_send_time, status FROM "Birth Days".message_logs;
SELECT "Birth Days".bs_delete_user(id) FROM "Birth Days".users;
SELECT status FROM "Birth Days".message_logs;
SELECT "Birth Days".bs_restore_user(id) FROM "Birth Days".users;
SELECT recipient_email, subject FROM "Birth Days".bs_claim('s', 10, '5 min', '2044-04-30 19:00+00');
SELECT count(*) FROM "Birth Days".bs_upcoming('400 days');
SELECT send_at FROM "Birth Days".users u, "Birth Days".bs_preview(u.id, 'BIRTHDAY', 2045);
SELECT explanation FROM "Birth Days".users u, "Birth Days".bs_explain(u.id) WHERE message_type = 'ANNIVERSARY';
SELECT "Birth Days".bs_health() -> 'parts' -> 'installation' ->> 'status' AS installation;
SELECT state FROM "Birth Days".bs_status;
SELECT "Birth Days".bs_seed(20);
SELECT "Birth Days".bs_purge_user(id) FROM "Birth Days".users WHERE email = 'ann@example.com';
SELECT count(*) FROM "Birth Days".users;
SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace;
-- DROP EXTENSION takes the months with it, and nothing else is in the way.
DROP EXTENSION birthday_scheduler;
SELECT count(*) FROM pg_class WHERE relnamespace = '"Birth Days"'::regnamespace;
DROP SCHEMA "Birth Days";
\c contrib_regression
DROP DATABASE bs_test_schema;

-- Another encoding is refused (I14).
CREATE DATABASE bs_test_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';
\c bs_test_latin1
DO $$
DECLARE
    hint text;
BEGIN
    CREATE EXTENSION birthday_scheduler;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RAISE WARNING '% % (%)', SQLSTATE, SQLERRM, hint;
END
$$;
SELECT count(*) FROM pg_extension WHERE extname = 'birthday_scheduler';
\c contrib_regression
DROP DATABASE bs_test_latin1;

-- An application with tables of the same names is told so, and the way out.
CREATE DATABASE bs_test_taken TEMPLATE template0;
\c bs_test_taken
CREATE TABLE users (id integer);
CREATE VIEW message_types AS SELECT 1 AS name;
\set VERBOSITY default
\set ON_ERROR_STOP 0
CREATE EXTENSION birthday_scheduler;
\echo :LAST_ERROR_SQLSTATE
\set ON_ERROR_STOP 1
CREATE SCHEMA birthday;
CREATE EXTENSION birthday_scheduler SCHEMA birthday;
SELECT count(*) FROM birthday.message_types;
\c contrib_regression
DROP DATABASE bs_test_taken;
