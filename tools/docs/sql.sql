-- sql.sql: docs/sql.md, from the comments in a database that has the extension in
-- the schema public. Leaves four roles behind.
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
SET search_path = public;
CREATE ROLE bs_docs_worker;
CREATE ROLE bs_docs_application;
CREATE ROLE bs_docs_reader;
CREATE ROLE bs_docs_sender;
SELECT bs_grant('bs_docs_worker', 'worker'), bs_grant('bs_docs_application', 'application'),
       bs_grant('bs_docs_reader', 'reader'), bs_grant('bs_docs_sender', 'sender') \g /dev/null

CREATE TEMPORARY TABLE for_people (n serial, name text, section text);
INSERT INTO for_people (name, section)
SELECT f, s
  FROM (VALUES
    ('Users', '{bs_add_user,bs_get_user,bs_get_user_by_email,bs_list_users,bs_update_user,bs_set_dates,bs_delete_user,bs_restore_user,bs_purge_user,bs_import_users}'::text[]),
    ('Asking', '{bs_upcoming,bs_preview,bs_explain,bs_find_user,bs_calendar}'),
    ('Calendar', '{bs_send_time,bs_occurrence,bs_is_timezone,bs_zone_name,bs_is_email}'),
    ('Watching', '{bs_health,bs_metrics,bs_counts,bs_days,bs_worker_stats,bs_relay_stats,bs_broker_stats,bs_scheduler_stats,bs_histogram_stats}'),
    ('Operating', '{bs_pause,bs_resume,bs_plan,bs_cancel_message,bs_retry_message,bs_retry_failed,bs_send_late,bs_create_partitions,bs_drop_partitions,bs_upkeep,bs_install_cron,bs_uninstall_cron,bs_grant,bs_revoke,bs_wake}'),
    ('Trying out', '{bs_seed}')) AS v (s, fs)
       CROSS JOIN LATERAL unnest(fs) WITH ORDINALITY AS u (f, o);

-- The names of types as people write them; defaults without their casts.
CREATE FUNCTION pg_temp.short(words text) RETURNS text LANGUAGE sql AS $$
SELECT regexp_replace(
           replace(replace(replace(words, ' without time zone', ''),
                           'timestamp with time zone', 'timestamptz'),
                   'character varying', 'varchar'),
           '::[a-z]+', '', 'g')
$$;

CREATE TEMPORARY TABLE functions AS
SELECT p.oid, p.proname::text AS name, p.prokind,
       pg_temp.short(format('%s(%s) -> %s', p.proname, pg_get_function_arguments(p.oid),
                            pg_get_function_result(p.oid))) AS signature,
       obj_description(p.oid, 'pg_proc') AS comment,
       CASE WHEN has_function_privilege('public', p.oid, 'EXECUTE') THEN 'everybody'
            ELSE concat_ws(', ',
                CASE WHEN has_function_privilege('bs_docs_application', p.oid, 'EXECUTE') THEN 'application' END,
                CASE WHEN has_function_privilege('bs_docs_reader', p.oid, 'EXECUTE') THEN 'reader' END,
                CASE WHEN has_function_privilege('bs_docs_worker', p.oid, 'EXECUTE') THEN 'worker' END,
                CASE WHEN has_function_privilege('bs_docs_sender', p.oid, 'EXECUTE') THEN 'sender' END)
       END AS granted, f.section, f.n
  FROM pg_depend d
       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
       JOIN pg_proc p ON p.oid = d.objid
       LEFT JOIN for_people f ON f.name = p.proname
 WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e';

CREATE TEMPORARY TABLE relations AS
SELECT c.oid, c.relname::text AS name, c.relkind,
       obj_description(c.oid, 'pg_class') AS comment,
       has_table_privilege('bs_docs_reader', c.oid, 'SELECT') AS readable
  FROM pg_depend d
       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
       JOIN pg_class c ON c.oid = d.objid
 WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p', 'v');

SELECT $$# Functions, tables, views

Made by `tools/gen_docs.sh` from the comments in the database (`\df+`, `\d+` show the
same); a test compares the two. Five-character codes are SQLSTATEs; what can fail
with one changes nothing then.

*May call* names the words for `bs_grant(role, word)` that include the function; the
extension's owner and superusers may call all of them.

## Functions for people$$;

SELECT CASE WHEN lag(section) OVER w IS DISTINCT FROM section THEN E'\n### ' || section || E'\n' ELSE '' END
       || E'\n`' || signature || E'`\n\n> ' || comment || E'\n>\n> May call: '
       || CASE granted WHEN '' THEN 'the owner' ELSE granted END || '.'
  FROM functions
 WHERE section IS NOT NULL
WINDOW w AS (ORDER BY n, signature COLLATE "C")
 ORDER BY n, signature COLLATE "C";

SELECT E'\n## Tables\n';
SELECT format(E'### %s\n\n%s%s\n\n| column | type | |\n| --- | --- | --- |\n%s\n', r.name, r.comment,
              CASE WHEN r.readable THEN ' A reader may read it.' ELSE '' END,
              string_agg(format('| %s | %s | %s |', a.attname, pg_temp.short(format_type(a.atttypid, a.atttypmod)),
                                replace(col_description(r.oid, a.attnum), '|', '\|')),
                         E'\n' ORDER BY a.attnum))
  FROM relations r
       JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE r.relkind IN ('r', 'p')
 GROUP BY r.oid, r.name, r.comment, r.readable
 ORDER BY r.name COLLATE "C";

SELECT E'## Views\n\n| view | |\n| --- | --- |';
SELECT format('| %s | %s%s |', name, comment, CASE WHEN readable THEN ' A reader may read it.' ELSE '' END)
  FROM relations WHERE relkind = 'v' ORDER BY name COLLATE "C";

SELECT E'\n## Inside\n\nCalled by the functions above, by triggers and by the workers. They may change without\nnotice.\n\n| function | |\n| --- | --- |';
SELECT format('| `%s` | %s |', replace(name, '|', '\|'), replace(comment, '|', '\|'))
  FROM functions WHERE section IS NULL ORDER BY signature COLLATE "C";
