-- The promise in the schema: tables, columns, types, constraints, indexes, triggers.
\set ON_ERROR_STOP 1
\set QUIET 1
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT plan(92);

-- ---- users
SELECT has_table('users');
SELECT columns_are('users', ARRAY['id', 'first_name', 'last_name', 'email', 'timezone', 'birthday_date', 'anniversary_date',
    'location_city', 'location_country', 'created_at', 'updated_at', 'deleted_at', 'version']);
SELECT col_is_pk('users', 'id');
SELECT col_type_is('users', 'id', 'uuid');
SELECT col_has_default('users', 'id');
SELECT col_type_is('users', c, 'character varying(100)') FROM unnest('{first_name,last_name,timezone,location_city,location_country}'::text[]) AS c;
SELECT col_type_is('users', 'email', 'character varying(255)');
SELECT col_type_is('users', c, 'date') FROM unnest('{birthday_date,anniversary_date}'::text[]) AS c;
SELECT col_type_is('users', c, 'timestamp with time zone') FROM unnest('{created_at,updated_at,deleted_at}'::text[]) AS c;
SELECT col_not_null('users', c) FROM unnest('{id,first_name,last_name,email,timezone,created_at,updated_at}'::text[]) AS c;
SELECT col_is_null('users', c) FROM unnest('{birthday_date,anniversary_date,location_city,location_country,deleted_at}'::text[]) AS c;

SELECT is(pg_get_indexdef(to_regclass('idx_users_birthday_date')),
    'CREATE INDEX idx_users_birthday_date ON public.users USING btree (birthday_date) WHERE ((deleted_at IS NULL) AND (birthday_date IS NOT NULL))', 'idx_users_birthday_date');
SELECT is(pg_get_indexdef(to_regclass('idx_users_anniversary_date')),
    'CREATE INDEX idx_users_anniversary_date ON public.users USING btree (anniversary_date) WHERE ((deleted_at IS NULL) AND (anniversary_date IS NOT NULL))', 'idx_users_anniversary_date');
SELECT is(pg_get_indexdef(to_regclass('idx_users_birthday_timezone')),
    'CREATE INDEX idx_users_birthday_timezone ON public.users USING btree (birthday_date, timezone) WHERE (deleted_at IS NULL)', 'idx_users_birthday_timezone');
SELECT index_is_unique('users', 'idx_users_email_unique');
SELECT matches(pg_get_indexdef(to_regclass('idx_users_email_unique')), 'lower\(.*email.*\).* WHERE \(deleted_at IS NULL\)$', 'addresses are compared without case');
SELECT matches(pg_get_indexdef(to_regclass(i)), 'bs_month_day', i || ' answers who has a birthday on 28 February')
  FROM unnest('{idx_users_birthday_month_day,idx_users_anniversary_month_day}'::text[]) AS i;

-- ---- message_logs and message_ledger
SELECT is_partitioned('message_logs');
SELECT is(pg_get_partkeydef('message_logs'::regclass), 'RANGE (scheduled_send_time)', 'message_logs is partitioned by scheduled_send_time');
SELECT is_partitioned('message_ledger');
SELECT is(pg_get_partkeydef('message_ledger'::regclass), 'RANGE (local_date)', 'message_ledger is partitioned by local_date');
SELECT col_type_is('message_logs', c, t) FROM (VALUES
    ('id', 'uuid'), ('user_id', 'uuid'), ('message_type', 'character varying(50)'), ('message_content', 'text'), ('subject', 'text'), ('html_content', 'text'),
    ('scheduled_send_time', 'timestamp with time zone'), ('actual_send_time', 'timestamp with time zone'), ('status', 'character varying(20)'),
    ('retry_count', 'integer'), ('last_retry_at', 'timestamp with time zone'), ('api_response_code', 'integer'), ('api_response_body', 'text'),
    ('error_message', 'text'), ('idempotency_key', 'character varying(255)'), ('created_at', 'timestamp with time zone'), ('updated_at', 'timestamp with time zone')) AS v (c, t);
SELECT is_empty($$SELECT indexrelid::regclass FROM pg_index WHERE indrelid IN ('message_logs'::regclass, 'message_ledger'::regclass)$$,
    'the parents have no indexes, or a dump would make each twice');
SELECT is_empty($$SELECT conname FROM pg_constraint WHERE conrelid IN ('message_logs'::regclass, 'message_ledger'::regclass) AND contype NOT IN ('c', 'n')$$,
    'nor keys, or rows would be loaded before the users that they point at');

-- ---- checks
SELECT set_eq($$SELECT conrelid::regclass::text, conname::text FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace
                   AND conrelid IN ('users'::regclass, 'message_logs'::regclass, 'message_types'::regclass, 'user_dates'::regclass, 'bs_installation'::regclass)$$,
    $$VALUES ('users', 'check_first_name'), ('users', 'check_last_name'), ('users', 'check_email'), ('users', 'check_timezone_format'),
             ('users', 'check_birthday_date'), ('users', 'check_anniversary_date'),
             ('message_logs', 'check_message_status'), ('message_logs', 'check_message_type'), ('message_logs', 'check_retry_count_positive'),
             ('message_types', 'check_name'), ('message_types', 'check_date_source'), ('message_types', 'check_feb29_policy'), ('message_types', 'check_cadence'),
             ('message_types', 'check_send_time'), ('message_types', 'check_subject_template'), ('message_types', 'check_text_template'), ('message_types', 'check_html_template'),
             ('user_dates', 'check_event_date'), ('bs_installation', 'check_singleton')$$, 'the checks and their names');
-- A check that the server prints in another form than it was written in cannot be attached after a dump.
SELECT is((SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'message_logs'::regclass AND conname = 'check_message_status'),
    $$CHECK (((status)::text = ANY ('{SCHEDULED,QUEUED,SENDING,SENT,RETRYING,FAILED,CANCELLED,EXPIRED}'::text[])))$$, 'the states');

-- ---- message_types and user_dates
SELECT columns_are('message_types', ARRAY['name', 'date_source', 'subject_template', 'text_template', 'html_template', 'send_time', 'feb29_policy',
    'cadence', 'enabled', 'active_since', 'version', 'built_in']);
SELECT col_is_pk('message_types', 'name');
SELECT col_default_is('message_types', 'send_time', '09:00:00'::time);
SELECT col_default_is('message_types', 'feb29_policy', 'feb28'::varchar);
SELECT col_default_is('message_types', 'cadence', 'yearly'::varchar);
SELECT col_default_is('message_types', 'enabled', 'true');
SELECT is_empty($$SELECT name FROM message_types WHERE name NOT IN ('BIRTHDAY', 'ANNIVERSARY')$$, 'two types come with the extension');
SELECT columns_are('user_dates', ARRAY['user_id', 'message_type', 'event_date', 'created_at']);
SELECT col_is_pk('user_dates', ARRAY['user_id', 'message_type', 'event_date']);
-- No foreign keys, so that a dump can be restored in any order; triggers instead.
SELECT is_empty($$SELECT conname FROM pg_constraint WHERE conrelid = 'user_dates'::regclass AND contype = 'f'$$, 'user_dates has no foreign keys');
SELECT lives_ok('SELECT bs_resume()', 'but once the database is adopted');
SELECT throws_ok($$INSERT INTO user_dates VALUES (gen_random_uuid(), 'BIRTHDAY', '2001-01-01')$$, '23503', NULL, 'they take no unknown user');

-- ---- views and triggers
SELECT has_view(v) FROM unnest('{bs_status,bs_workers,bs_remote_senders,bs_daily,bs_events,bs_lost_zones}'::name[]) AS v;
SELECT triggers_are('users', ARRAY['bs_users_before_write', 'bs_users_after_insert', 'bs_users_after_update', 'bs_users_after_delete']);
SELECT triggers_are('user_dates', ARRAY['bs_user_dates_after_insert', 'bs_user_dates_after_update', 'bs_user_dates_after_delete']);
SELECT triggers_are('message_types', ARRAY['bs_message_types_before_write', 'bs_message_types_before_delete', 'bs_message_types_after_write']);
SELECT is_empty($$SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'O' AND tgrelid IN ('users'::regclass, 'user_dates'::regclass, 'message_types'::regclass)$$, 'all are enabled');
SELECT set_eq($$SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN ('users'::regclass, 'user_dates'::regclass) AND tgtype & 1 = 1$$, ARRAY['bs_users_before_write'],
    'all but the check of a row are statement-level');

-- ---- what is dumped
SELECT set_eq($$SELECT c::regclass::text FROM pg_extension, unnest(extconfig) AS c WHERE extname = 'birthday_scheduler'$$,
    ARRAY['users', 'user_dates', 'message_types', 'message_logs', 'message_ledger', 'bs_installation', 'bs_pending_outcomes'], 'the rows of these tables are dumped');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid
                   WHERE e.extname = 'birthday_scheduler' AND c.relkind IN ('r', 'p', 'S') AND c.oid <> ALL (e.extconfig || ARRAY['bs_upkeep_log', 'bs_senders', 'bs_finished_months']::regclass[]::oid[])$$, 'and there is no other table or sequence, but for the state of this server');

-- ---- every partition, after the next one was made
SELECT lives_ok('SELECT count(*) FROM bs_create_partitions(13)', 'partitions are made');
SELECT is((SELECT count(*) FROM pg_inherits WHERE inhparent = 'message_logs'::regclass), 15::bigint, 'the last month, this one and thirteen ahead');
CREATE TEMP VIEW logs AS SELECT c.oid, c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'message_logs'::regclass;
CREATE TEMP VIEW ledgers AS SELECT c.oid, c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'message_ledger'::regclass;
SELECT set_eq($$SELECT l.name, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM logs l JOIN pg_index i ON i.indrelid = l.oid$$,
    $$SELECT name, idx, format(CASE WHEN u THEN 'CREATE UNIQUE INDEX %s ON public.%s USING btree %s' ELSE 'CREATE INDEX %s ON public.%s USING btree %s' END, idx, name, def)
        FROM logs, LATERAL (VALUES
            (name || '_pkey', true, '(id)'),
            ('idx_' || name || '_user_id', false, '(user_id)'),
            ('idx_' || name || '_status', false, '(status)'),
            ('idx_' || name || '_scheduled_time', false, '(scheduled_send_time)'),
            ('idx_' || name || '_scheduler', false, '(message_type, status, scheduled_send_time)'),
            ('idx_' || name || '_recovery', false, '(scheduled_send_time, status) WHERE ((status)::text = ANY (''{SCHEDULED,RETRYING,FAILED}''::text[]))'),
            ('idx_' || name || '_idempotency', true, '(idempotency_key)'),
            ('idx_' || name || '_due', false, '(due_at, status) WHERE (due_at IS NOT NULL)')) AS v (idx, u, def)$$, 'the indexes of every partition of message_logs');
SELECT set_eq($$SELECT l.name, c.conname::text, pg_get_constraintdef(c.oid) FROM logs l JOIN pg_constraint c ON c.conrelid = l.oid WHERE c.contype NOT IN ('c', 'n')$$,
    $$SELECT name, name || '_pkey' AS key, 'PRIMARY KEY (id)' AS def FROM logs
      UNION ALL SELECT name, name || '_user_id_fkey', 'FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE NOT VALID' FROM logs$$, 'the keys of every partition of message_logs');
SELECT set_eq($$SELECT l.name, c.conname::text, pg_get_constraintdef(c.oid) FROM ledgers l JOIN pg_constraint c ON c.conrelid = l.oid WHERE c.contype <> 'n'$$,
    $$SELECT name, name || '_pkey' AS key, 'PRIMARY KEY (user_id, message_type, local_date)' AS def FROM ledgers$$, 'the key of every partition of message_ledger: once only');
SELECT is_empty($$SELECT l.name FROM (TABLE logs UNION ALL TABLE ledgers) l JOIN pg_depend d ON d.objid = l.oid AND d.deptype = 'e'$$, 'partitions are no members of the extension');
SELECT is_empty($$SELECT p.name, c.attname FROM logs p JOIN pg_attribute c ON c.attrelid = p.oid JOIN pg_attribute m ON m.attrelid = 'message_logs'::regclass AND m.attname = c.attname
                   WHERE c.attnum > 0 AND (c.attnotnull, c.atttypid, c.atttypmod, c.attnum) <> (m.attnotnull, m.atttypid, m.atttypmod, m.attnum)$$, 'and their columns are those of the parent');

SELECT * FROM finish();
ROLLBACK;
