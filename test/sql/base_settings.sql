-- base_settings: settings that change what SQL means, of a session, role or database,
-- change neither what the script makes nor what its functions do.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE SCHEMA test;
-- All that the extension made, as the server prints it.
CREATE FUNCTION test.made()
RETURNS SETOF text
LANGUAGE sql
SET search_path = pg_catalog
AS $$
SELECT replace(pg_get_functiondef(p.oid), '"public"', 'public')
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
UNION ALL
SELECT pg_get_viewdef(c.oid)
  FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
 WHERE c.relkind = 'v'
UNION ALL
SELECT pg_get_constraintdef(o.oid)
  FROM pg_constraint o JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = o.conrelid AND d.deptype = 'e'
       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler';
$$;

-- What a few functions answer, those with regular expressions, dates and lists in them.
CREATE FUNCTION test.answers()
RETURNS SETOF text
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM bs_create_partitions(13);
    RETURN QUERY SELECT string_agg(l.name, ' ' ORDER BY l.name) FROM bs_partition_list() l;
    RETURN QUERY SELECT concat_ws(' ', d.partition, d.action, d.reason) FROM bs_drop_partitions(make_interval(years => 1), true) d;
    RETURN QUERY SELECT bs_lines('one two three', 8);
    RETURN QUERY SELECT bs_ical_text(concat('a', chr(7), 'b;c', chr(92), 'd'));
    RETURN QUERY SELECT concat_ws(' ', r.line, r.column_name, r.code, r.reason)
      FROM bs_import_rows(ARRAY[1, 2], ARRAY['Ann', 'Bob'], ARRAY['Lee', 'Lee'], ARRAY['ann@example.com', 'x'], ARRAY['UTC', 'UTC'],
                          ARRAY['1990-02-03', '1990-02-30'], ARRAY[NULL, ''], ARRAY[NULL, NULL]::text[], ARRAY[NULL, NULL]::text[]) r;
    RETURN QUERY SELECT concat_ws(' ', u.first_name, u.email, extract(epoch FROM u.birthday_date), u.location_city)
      FROM users b, bs_update_user(b.id, jsonb_build_object('birthday_date', '1991-03-04', 'location_city', NULL)) u WHERE b.email = 'ann@example.com';
    BEGIN
        PERFORM bs_update_user(b.id, jsonb_build_object('birthday_date', '03.04.1991')) FROM users b;
    EXCEPTION WHEN OTHERS THEN
        RETURN NEXT SQLSTATE;
    END;
    RETURN QUERY SELECT concat_ws(' ', e.message_type, e.explanation) FROM users b, bs_explain(b.id) e WHERE b.email = 'ann@example.com' ORDER BY 1;
    RETURN QUERY SELECT string_agg(DISTINCT m.name, ' ') FROM bs_metrics() m;
    RETURN QUERY SELECT p.key || ' ' || (p.value ->> 'status') FROM jsonb_each(bs_health() -> 'parts') p ORDER BY 1;
END
$$;

CREATE EXTENSION birthday_scheduler;
CREATE TABLE test.usual AS SELECT 'made' AS what, m AS line FROM test.made() m;
INSERT INTO test.usual SELECT 'answers', a FROM test.answers() a;
SELECT what, count(*) > 12 AS many FROM test.usual GROUP BY what ORDER BY what;
DROP EXTENSION birthday_scheduler CASCADE;

-- Since 19 there is no other meaning of a backslash.
SELECT current_setting('server_version_num')::int < 190000 AS may_escape \gset
\if :may_escape
SET standard_conforming_strings = off;
SET escape_string_warning = off;
\endif
SET backslash_quote = on;
SET transform_null_equals = on;
SET quote_all_identifiers = on;
SET array_nulls = off;
SET DateStyle = 'German, DMY';
SET IntervalStyle = 'iso_8601';
SET bytea_output = 'escape';
SET extra_float_digits = -15;
SET plpgsql.extra_errors = 'all';
SET plpgsql.variable_conflict = 'use_variable';
CREATE EXTENSION birthday_scheduler;
CREATE TABLE test.answered AS SELECT a AS line FROM test.answers() a;
-- The caller's settings are still the caller's.
SELECT current_setting('standard_conforming_strings')::boolean <> :'may_escape' AS still;
SELECT name, setting FROM pg_settings
 WHERE name IN ('transform_null_equals', 'quote_all_identifiers', 'array_nulls', 'DateStyle', 'IntervalStyle') ORDER BY name COLLATE "C";
RESET ALL;
SET client_min_messages = warning;
-- Nothing is other than usual.
(SELECT line FROM test.usual WHERE what = 'made' EXCEPT SELECT m FROM test.made() m) UNION ALL (SELECT m FROM test.made() m EXCEPT SELECT line FROM test.usual);
(SELECT line FROM test.usual WHERE what = 'answers' EXCEPT SELECT line FROM test.answered) UNION ALL (SELECT line FROM test.answered EXCEPT SELECT line FROM test.usual);

DROP EXTENSION birthday_scheduler CASCADE;
DROP SCHEMA test CASCADE;
