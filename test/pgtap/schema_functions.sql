-- The promise in the schema: functions, their labels, comments and privileges.
\set ON_ERROR_STOP 1
\set QUIET 1
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT plan(55);

CREATE TEMP TABLE member AS
SELECT p.oid, p.oid::regprocedure::text AS signature, p.proname::text AS name, l.lanname::text AS lang,
       p.prosecdef, p.provolatile, p.proparallel, p.proisstrict, p.proconfig, p.prosqlbody IS NOT NULL AS atomic, p.prorettype, p.proargtypes
  FROM pg_proc p
       JOIN pg_language l ON l.oid = p.prolang
       JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler';

-- ---- what people call
SELECT has_function(f, a::text[]) FROM (VALUES
    ('bs_add_user', '{text,text,text,text,date,date,text,text}'), ('bs_get_user', '{uuid}'), ('bs_update_user', '{uuid,jsonb}'), ('bs_delete_user', '{uuid}'),
    ('bs_restore_user', '{uuid}'), ('bs_purge_user', '{uuid}'), ('bs_import_users', '{regclass}'), ('bs_calendar', '{uuid[]}'), ('bs_send_time', '{text,date,time}'), ('bs_occurrence', '{date,integer,text}'), ('bs_is_timezone', '{text}'),
    ('bs_plan', '{timestamptz,timestamptz}'), ('bs_upcoming', '{interval}'), ('bs_preview', '{uuid,text,integer}'), ('bs_explain', '{uuid}'), ('bs_find_user', '{text}'), ('bs_send_late', '{uuid}'),
    ('bs_cancel_message', '{uuid}'), ('bs_retry_message', '{uuid}'), ('bs_retry_failed', '{timestamptz}'), ('bs_create_partitions', '{integer}'),
    ('bs_health', '{}'), ('bs_metrics', '{text}'), ('bs_broker_stats', '{}'), ('bs_pause', '{text}'), ('bs_resume', '{}'), ('bs_seed', '{integer,boolean}')) AS v (f, a);
SELECT function_returns(f, r) FROM (VALUES
    ('bs_add_user', 'uuid'), ('bs_get_user', 'users'), ('bs_update_user', 'users'), ('bs_send_time', 'timestamp with time zone'), ('bs_occurrence', 'date'),
    ('bs_is_timezone', 'boolean'), ('bs_plan', 'bigint'), ('bs_health', 'jsonb'), ('bs_metrics', 'setof record')) AS v (f, r);

-- ---- names and comments
SELECT is_empty('SELECT signature FROM member WHERE name !~ ''^bs_[a-z0-9_]+$''', 'every function is named bs_*');
SELECT is_empty($$SELECT signature FROM member WHERE coalesce(obj_description(oid, 'pg_proc'), '') = ''$$, 'every function has a comment');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                   JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
                   WHERE c.relkind IN ('r', 'p', 'v') AND coalesce(obj_description(c.oid, 'pg_class'), '') = ''$$, 'every table and view has a comment');
SELECT is_empty($$SELECT c.oid::regclass, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                   JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
                   WHERE c.relkind IN ('r', 'p') AND coalesce(col_description(c.oid, a.attnum), '') = ''$$, 'every column of a table has a comment');

-- ---- paths and rights
SELECT is_empty($$SELECT signature FROM member
                   WHERE NOT (lang IN ('c', 'internal') OR atomic
                              OR 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}')))$$, 'every function has a fixed path, or is C, or was bound when it was made');
SELECT is_empty($$SELECT signature FROM member WHERE prosecdef AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))$$,
    'and what runs with the owner''s rights has one in any case');
SELECT set_eq('SELECT name FROM member WHERE prosecdef', ARRAY[
    -- applications
    'bs_add_user', 'bs_get_user', 'bs_get_user_by_email', 'bs_update_user', 'bs_delete_user', 'bs_restore_user', 'bs_purge_user', 'bs_list_users', 'bs_set_dates', 'bs_import_rows', 'bs_calendar', 'bs_preview', 'bs_explain', 'bs_find_user', 'bs_upcoming', 'bs_seed',
    -- operators
    'bs_plan', 'bs_pause', 'bs_resume', 'bs_cancel_message', 'bs_retry_message', 'bs_retry_failed', 'bs_send_late', 'bs_create_partitions', 'bs_drop_partitions', 'bs_upkeep', 'bs_health', 'bs_metrics', 'bs_counts', 'bs_days', 'bs_sender_stats', 'bs_state_lines',
    -- workers
    'bs_installation_state', 'bs_plan_begin', 'bs_plan_slices', 'bs_plan_slice', 'bs_plan_refresh', 'bs_plan_end', 'bs_claim', 'bs_claim_holders', 'bs_next_due', 'bs_recover', 'bs_release_claims', 'bs_report_sender', 'bs_record', 'bs_due_messages', 'bs_mark_queued', 'bs_claim_copies',
    -- triggers, for whoever may write the table
    'bs_users_after_insert', 'bs_users_after_update', 'bs_users_after_delete', 'bs_user_dates_after_write', 'bs_message_types_after_write'],
    'these run with the owner''s rights, and no others');
SELECT set_eq($$SELECT m.name FROM member m JOIN pg_proc p ON p.oid = m.oid,
                       LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee = 0$$, ARRAY[
    'bs_is_timezone', 'bs_zone_name', 'bs_is_email', 'bs_send_time', 'bs_send_time_or_null', 'bs_occurrence', 'bs_month_day', 'bs_celebrated', 'bs_is_owed',
    'bs_check_template', 'bs_render', 'bs_library_version', 'bs_month', 'bs_partition_name', 'bs_is_preloaded', 'bs_trim'], 'PUBLIC can execute these, and no others');
SELECT is_empty($$SELECT name FROM member m WHERE prosecdef AND name IN ('bs_is_timezone', 'bs_render')$$, 'none of which runs with the owner''s rights');
SELECT is_empty($$SELECT c.oid::regclass, a.privilege_type FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, LATERAL aclexplode(c.relacl) AS a
                   WHERE n.nspname = 'public' AND a.grantee = 0$$, 'PUBLIC can touch no table');

-- ---- labels
SELECT set_eq('SELECT name FROM member WHERE provolatile = ''i''', ARRAY['bs_occurrence', 'bs_month_day', 'bs_celebrated', 'bs_is_owed', 'bs_is_email',
    'bs_check_template', 'bs_render', 'bs_ical_line', 'bs_ical_text', 'bs_partition_name', 'bs_partition_options', 'bs_stale_condition', 'bs_short', 'bs_lines', 'bs_trim', 'bs_letter_octets', 'bs_cut', 'bs_relay_words', 'bs_cron_command', 'bs_is_of_a_row', 'bs_growth', 'bs_open_statuses', 'bs_waiting_statuses', 'bs_state_edges', 'bs_trouble_class', 'bs_trouble_in_public'], 'pure arithmetic is immutable; what reads zone files, tables or the clock is not');
SELECT is_empty('SELECT signature FROM member WHERE provolatile = ''v'' AND proparallel = ''s''', 'what writes is not parallel safe');
SELECT is_empty('SELECT signature FROM member WHERE provolatile = ''i'' AND proparallel <> ''s''', 'what is arithmetic is');
SELECT is_empty($$SELECT signature FROM member WHERE prorettype = 'trigger'::regtype AND provolatile <> 'v'$$, 'triggers are volatile');
SELECT is_empty($$SELECT signature FROM member WHERE lang = 'c' AND NOT proisstrict AND prorettype <> 'trigger'::regtype AND name NOT IN ('bs_render', 'bs_user_fault')$$, 'C functions get no NULLs, but for two that look');
SELECT is_empty($$SELECT signature FROM member WHERE 'internal'::regtype = ANY (proargtypes) OR prorettype = 'internal'::regtype$$, 'nothing takes or gives internal');
SELECT is_empty($$SELECT signature FROM member WHERE lang NOT IN ('c', 'sql', 'plpgsql')$$, 'in three languages');

-- ---- rows of tables that inherit from ours are not ours
SELECT is_empty($$SELECT signature FROM member
    WHERE pg_get_functiondef(oid) ~ '(FROM|JOIN|UPDATE)\s+\(*(public\.)?(users|user_dates|message_types|bs_installation|bs_upkeep_log)\M'$$,
    'functions say ONLY before a table that others may inherit from');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
    WHERE c.relkind = 'v' AND pg_get_viewdef(c.oid) ~ '(FROM|JOIN)\s+\(*(public\.)?(users|user_dates|message_types|bs_installation|bs_upkeep_log)\M'$$,
    'and so do views');

SELECT * FROM finish();
ROLLBACK;
