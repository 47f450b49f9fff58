-- users_lists: what an application does with many users: pages, dates of their own; and
-- what it may do is taken back so that its role can be dropped.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
SELECT count(*) FROM (SELECT test.add('User' || n, 'UTC', '1990-05-05') FROM generate_series(1, 25) AS n) u;
CREATE ROLE bs_test_application;
SELECT bs_grant('bs_test_application', 'application');
GRANT USAGE ON SCHEMA test TO bs_test_application;
SELECT id AS deleted FROM users WHERE first_name = 'User7' \gset
SET ROLE bs_test_application;
SELECT bs_delete_user(:'deleted');

-- Pages follow each other without a gap and without a deleted user.
SELECT count(*) AS first, max(id::text) AS last FROM bs_list_users(NULL, 10) \gset
SELECT count(*) AS second, max(id::text) AS last FROM bs_list_users(:'last', 10) \gset
SELECT :first, :second, count(*) AS third FROM bs_list_users(:'last', 10);
SELECT count(DISTINCT id), bool_or(id = :'deleted') AS deleted_too FROM bs_list_users(NULL, 10000);
SELECT n, test.error(format('SELECT count(*) FROM bs_list_users(NULL, %L)', n)) FROM unnest('{0,-1,10001,NULL}'::integer[]) AS n;

-- Dates of one's own: these and no others.
RESET ROLE;
INSERT INTO message_types (name, date_source, subject_template, text_template) VALUES ('NAME_DAY', 'user_dates', 's', 't');
SELECT id AS ann FROM users WHERE first_name = 'User1' \gset
SET ROLE bs_test_application;
SELECT bs_set_dates(:'ann', 'NAME_DAY', '{2000-03-04,2000-05-06,2000-03-04}');
SELECT bs_set_dates(:'ann', 'NAME_DAY', '{2000-05-06,2001-07-08}');
RESET ROLE;
SELECT event_date FROM user_dates WHERE user_id = :'ann' ORDER BY 1;
SET ROLE bs_test_application;
SELECT bs_set_dates(:'ann', 'NAME_DAY', '{}');
SELECT w, test.error(format('SELECT bs_set_dates(%L, %L, %L)', u, t, d))
  FROM (VALUES ('unknown user', gen_random_uuid()::text, 'NAME_DAY', '{}'), ('unknown type', :'ann', 'NO_SUCH', '{}'), ('no dates of one''s own', :'ann', 'BIRTHDAY', '{}'),
               ('NULL', :'ann', 'NAME_DAY', NULL), ('a NULL among them', :'ann', 'NAME_DAY', '{2000-01-01,NULL}'), ('out of range', :'ann', 'NAME_DAY', '{1700-01-01}')) AS v (w, u, t, d);
RESET ROLE;
SELECT count(*) FROM user_dates;

-- Rights are taken back, and the role can be dropped.
REVOKE USAGE ON SCHEMA test FROM bs_test_application;
SELECT bs_grant('bs_test_application', 'reader'), bs_revoke('bs_test_application', 'application');
SELECT has_schema_privilege('bs_test_application', 'public', 'USAGE') AS usage, has_table_privilege('bs_test_application', 'users', 'SELECT') AS reads,
       has_function_privilege('bs_test_application', 'bs_add_user(text,text,text,text,date,date,text,text)', 'EXECUTE') AS adds;
SELECT bs_revoke('bs_test_application', 'reader');
SELECT test.error($$SELECT bs_revoke('bs_test_application', 'owner')$$), test.error($$SELECT bs_revoke('no_such_role', 'reader')$$);
DROP ROLE bs_test_application;
-- A function of others with a name of ours is no part of it.
CREATE ROLE bs_test_other;
CREATE FUNCTION public.bs_health(integer) RETURNS integer LANGUAGE sql RETURN 1;
REVOKE ALL ON FUNCTION public.bs_health(integer) FROM PUBLIC;
SELECT bs_grant('bs_test_other', 'reader');
SELECT has_function_privilege('bs_test_other', 'bs_health(integer)', 'EXECUTE') AS theirs, has_function_privilege('bs_test_other', 'bs_health()', 'EXECUTE') AS ours;
SELECT bs_revoke('bs_test_other', 'reader');
DROP FUNCTION public.bs_health(integer);
DROP ROLE bs_test_other;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
