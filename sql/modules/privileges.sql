-- privileges: nobody but the owner may do anything until told.

-- Everything that is not plain arithmetic is taken from PUBLIC.
DO $$
DECLARE
    member regprocedure;
BEGIN
    FOR member IN
        SELECT p.oid
          FROM pg_catalog.pg_proc p
               JOIN pg_catalog.pg_depend d
                 ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                AND d.objid OPERATOR(pg_catalog.=) p.oid
                AND d.deptype OPERATOR(pg_catalog.=) 'e'
               JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
         WHERE e.extname OPERATOR(pg_catalog.=) 'birthday_scheduler'
           AND p.proname OPERATOR(pg_catalog.<>) ALL (ARRAY['bs_is_timezone', 'bs_zone_name', 'bs_is_email', 'bs_send_time', 'bs_send_time_or_null',
               'bs_occurrence', 'bs_month_day', 'bs_celebrated', 'bs_is_owed', 'bs_check_template', 'bs_render',
               'bs_library_version', 'bs_month', 'bs_partition_name', 'bs_is_preloaded', 'bs_trim'])
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', member);
    END LOOP;
END
$$;

-- By membership of the extension, because others may have put functions of the same
-- names into its schema.
CREATE FUNCTION @extschema@.bs_access(access text, OUT functions text, OUT tables text)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    names text[];
BEGIN
    CASE access
        WHEN 'worker' THEN
            names := '{bs_installation_state,bs_plan_begin,bs_plan_slices,bs_plan_slice,bs_plan_refresh,bs_plan_end,bs_upkeep,bs_claim,bs_claim_holders,bs_next_due,bs_recover,bs_record,bs_due_messages,bs_mark_queued,bs_claim_copies}';
        WHEN 'sender' THEN
            names := '{bs_installation_state,bs_system_identifier,bs_claim,bs_claim_copies,bs_next_due,bs_record,bs_release_claims,bs_report_sender}';
        WHEN 'application' THEN
            names := '{bs_add_user,bs_get_user,bs_get_user_by_email,bs_update_user,bs_delete_user,bs_restore_user,bs_import_users,bs_import_rows,bs_preview,bs_explain,bs_upcoming,bs_calendar,bs_find_user,bs_list_users,bs_set_dates}';
        WHEN 'reader' THEN
            names := '{bs_installation_state,bs_system_identifier,bs_explain,bs_find_user,bs_upcoming,bs_preview,bs_calendar,bs_health,bs_metrics,bs_worker_stats,bs_broker_stats,bs_relay_stats,bs_scheduler_stats,bs_histogram_stats,bs_sender_stats,bs_counts,bs_days,bs_state_lines,bs_short,bs_lines,bs_cut,bs_why,bs_local_clock,bs_horizon,bs_max_lateness}';
            names := names || '{users,user_dates,message_types,message_logs,message_ledger,bs_installation,bs_upkeep_log,bs_lost_zones,bs_events,bs_status,bs_workers,bs_remote_senders,bs_daily,bs_today,bs_week,bs_checks}'::text[];
        ELSE
            RAISE EXCEPTION 'access "%" is not known', access
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Write worker, sender, application or reader.';
    END CASE;
    SELECT string_agg(p.oid::regprocedure::text, ', ') INTO functions
      FROM pg_proc p
           JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
           JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
     WHERE d.refclassid = 'pg_extension'::regclass AND p.proname = ANY (names);
    SELECT string_agg(c.oid::regclass::text, ', ') INTO tables
      FROM pg_class c
           JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
           JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
     WHERE d.refclassid = 'pg_extension'::regclass AND c.relname = ANY (names);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_access(text) IS
'What bs_grant() gives for a word: the functions, and the tables and views, quoted and separated by commas; NULL: none. Error 22023 for another word.';
REVOKE ALL ON FUNCTION @extschema@.bs_access(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.bs_grant(role name, access text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    rights record;
BEGIN
    SELECT a.* INTO rights FROM @extschema@.bs_access(access) a;
    EXECUTE format('GRANT USAGE ON SCHEMA @extschema@ TO %I', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', rights.functions, role);
    IF rights.tables IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON %s TO %I', rights.tables, role);
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_grant(name, text) IS
'Grants a role what it needs: worker (birthday_scheduler.role), sender (bs_sender), application (the user functions), reader (SELECT and the monitoring functions). Error 22023 for another word.';
REVOKE ALL ON FUNCTION @extschema@.bs_grant(name, text) FROM PUBLIC;

-- The words overlap: what another one gives as well is gone too.
CREATE FUNCTION @extschema@.bs_revoke(role name, access text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    rights record;
BEGIN
    SELECT a.* INTO rights FROM @extschema@.bs_access(access) a;
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %I', rights.functions, role);
    IF rights.tables IS NOT NULL THEN
        EXECUTE format('REVOKE SELECT ON %s FROM %I', rights.tables, role);
    END IF;
    IF NOT EXISTS (
        SELECT
          FROM pg_shdepend s
               JOIN pg_depend d ON (d.classid, d.objid) = (s.classid, s.objid) AND d.deptype = 'e'
               JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
         WHERE s.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())
           AND s.refclassid = 'pg_authid'::regclass AND s.refobjid = to_regrole(quote_ident(role)))
    THEN
        EXECUTE format('REVOKE USAGE ON SCHEMA @extschema@ FROM %I', role);
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_revoke(name, text) IS
'Takes back what bs_grant() gave for that word, and USAGE of the schema once the role has no right on the extension any more; then the role can be dropped. If the role had another word too, call bs_grant() for that once more. Error 22023 for another word.';
REVOKE ALL ON FUNCTION @extschema@.bs_revoke(name, text) FROM PUBLIC;

REVOKE ALL ON @extschema@.users, @extschema@.user_dates, @extschema@.message_types,
    @extschema@.message_logs, @extschema@.message_ledger, @extschema@.bs_installation,
    @extschema@.bs_upkeep_log, @extschema@.bs_pending_outcomes, @extschema@.bs_senders, @extschema@.bs_finished_months, @extschema@.bs_lost_zones, @extschema@.bs_dates, @extschema@.bs_events, @extschema@.bs_status, @extschema@.bs_workers, @extschema@.bs_remote_senders,
    @extschema@.bs_daily, @extschema@.bs_today, @extschema@.bs_week, @extschema@.bs_checks FROM PUBLIC;
