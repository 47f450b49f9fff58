-- partitions: their upkeep by pg_cron, wherever on the server that lives.

CREATE FUNCTION @extschema@.bs_run_in_database(dbname text, query text)
RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'bs_run_in_database';
COMMENT ON FUNCTION @extschema@.bs_run_in_database(text, text) IS
'Runs a query that answers with one JSON value, at most 60 kB, in another database of this server: as the caller, in a background worker and a transaction of its own. Superusers only. Errors: those of the query; 42501; 53400 where there is no free worker slot; 57014 after 30 seconds; 55000 where the worker left without an answer.';

-- Where pg_cron is, or why it cannot be used.
CREATE FUNCTION @extschema@.bs_cron_database()
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    found text := current_setting('cron.database_name', true);
BEGIN
    IF found IS NULL OR current_setting('shared_preload_libraries') !~ E'\\mpg_cron\\M'
       OR NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = found) THEN
        RETURN NULL;
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_cron_database() IS
'The database in which pg_cron keeps its jobs; NULL where it is not loaded.';

CREATE FUNCTION @extschema@.bs_cron_query(query text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    found jsonb;
BEGIN
    IF @extschema@.bs_cron_database() <> current_database() THEN
        RETURN @extschema@.bs_run_in_database(@extschema@.bs_cron_database(), query);
    END IF;
    EXECUTE query INTO found;
    RETURN found;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_cron_query(text) IS
'Runs a query that answers with one JSON value where pg_cron lives; in another database it is committed at once.';

CREATE FUNCTION @extschema@.bs_is_cron_there()
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    RETURN @extschema@.bs_cron_database() IS NOT NULL
       AND (@extschema@.bs_cron_query($query$
                SELECT to_jsonb(count(*) = 5)
                  FROM pg_depend d
                       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_cron'
                       JOIN (VALUES ('pg_proc'::regclass, to_regprocedure('cron.schedule_in_database(text, text, text, text, text, boolean)')::oid),
                                    ('pg_proc', to_regprocedure('cron.alter_job(bigint, text, text, text, text, boolean)')),
                                    ('pg_proc', to_regprocedure('cron.unschedule(bigint)')),
                                    ('pg_class', to_regclass('cron.job')),
                                    ('pg_class', to_regclass('cron.job_run_details'))) AS m (class, object)
                         ON m.class = d.classid AND m.object = d.objid
                 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
            $query$))::boolean;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_is_cron_there() IS
'Is pg_cron, 1.4 or newer, loaded and created, and do the functions and tables of the schema cron belong to it?';

-- pg_cron runs the text of a job as a superuser, also once the extension is gone. So it
-- looks for the function among the members of the extension, wherever its schema is
-- called now, and stops if that schema's owner is not a superuser; a job whose extension
-- is gone takes itself out where it can. Names are resolved in pg_catalog from its first
-- statement on; the types of its variables are looked up before that.
CREATE FUNCTION @extschema@.bs_cron_command(task text, jobname text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.translate(pg_catalog.format($command$DO $bs$
DECLARE home pg_catalog.name; trusted pg_catalog.bool; cron pg_catalog.bool;
BEGIN
PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
SELECT n.nspname, r.rolsuper INTO home, trusted
  FROM pg_extension e JOIN pg_depend d ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
       JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass AND p.proname = 'bs_upkeep'
       JOIN pg_namespace n ON n.oid = p.pronamespace
       JOIN pg_database b ON b.datname = current_database()
       JOIN pg_roles r ON r.oid = CASE WHEN n.nspowner = 'pg_database_owner'::regrole THEN b.datdba ELSE n.nspowner END
 WHERE e.extname = 'birthday_scheduler';
SELECT count(*) = 2 INTO cron
  FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_cron'
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
   AND d.objid IN (to_regclass('cron.job'), to_regprocedure('cron.unschedule(bigint)'));
IF trusted THEN
    EXECUTE format('SELECT %%I.bs_upkeep(%%L::text, ''pg_cron''::text)', home, %1$L);
ELSIF home IS NOT NULL THEN
    RAISE EXCEPTION 'schema "%%" does not belong to a superuser', home USING ERRCODE = 'object_not_in_prerequisite_state';
ELSIF cron THEN
    PERFORM cron.unschedule(j.jobid) FROM cron.job AS j WHERE j.jobname::text = %2$L;
END IF;
END $bs$$command$, task, jobname), E'\n', ' ');
COMMENT ON FUNCTION @extschema@.bs_cron_command(text, text) IS
'The text of the job with which pg_cron does a task of the upkeep.';

CREATE FUNCTION @extschema@.bs_cron_jobs(
    OUT task text, OUT jobname text, OUT schedule text, OUT command text)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT t.task, n.name, t.schedule, @extschema@.bs_cron_command(t.task, n.name)
      FROM (VALUES ('partitions', '11 1 * * *'), ('retention', '41 1 * * *'), ('recovery', '*/10 * * * *'))
           AS t (task, schedule)
           CROSS JOIN LATERAL (SELECT pg_catalog.format('birthday_scheduler %s in %s', t.task, pg_catalog.current_database())) AS n (name);
END;
COMMENT ON FUNCTION @extschema@.bs_cron_jobs() IS
'The jobs that bs_install_cron() registers, with their usual schedules (GMT).';

CREATE FUNCTION @extschema@.bs_install_cron(
    partitions text DEFAULT NULL, retention text DEFAULT NULL, recovery text DEFAULT NULL)
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET lock_timeout = '5s'
AS $$
DECLARE
    jobs text;
    owner text;
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION 'only superusers can register jobs with pg_cron'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT @extschema@.bs_is_cron_there() THEN
        RAISE EXCEPTION 'pg_cron 1.4 or newer is not there'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Add pg_cron to shared_preload_libraries, restart, and CREATE EXTENSION pg_cron in the database that cron.database_name names; or leave it: the scheduler does the upkeep by itself.';
    END IF;
    -- One session at a time registers jobs; the upkeep still writes its rows.
    LOCK TABLE ONLY @extschema@.bs_upkeep_log IN SHARE UPDATE EXCLUSIVE MODE;
    SELECT r.rolname INTO owner
      FROM pg_extension e JOIN pg_roles r ON r.oid = e.extowner
     WHERE e.extname = 'birthday_scheduler';
    SELECT string_agg(format('(%L, %L, %L, %L)', j.jobname, w.schedule, j.schedule, j.command), ', ') INTO jobs
      FROM @extschema@.bs_cron_jobs() j
           JOIN (VALUES ('partitions', partitions), ('retention', retention), ('recovery', recovery))
                AS w (task, schedule) USING (task);
    RETURN QUERY
        SELECT a.name
          FROM jsonb_array_elements_text(@extschema@.bs_cron_query(format($query$
                SELECT coalesce(jsonb_agg(q.name), '[]') FROM (
                SELECT w.name,
                       CASE WHEN j.jobid IS NULL
                            THEN cron.schedule_in_database(w.name, coalesce(w.schedule, w.usual), w.command, %1$L::text, %2$L::text, true)
                            ELSE (SELECT j.jobid FROM cron.alter_job(j.jobid, w.schedule, w.command, %1$L::text, NULL::text, NULL::boolean))
                       END AS job
                  FROM (VALUES %3$s) AS w (name, schedule, usual, command)
                       LEFT JOIN cron.job j ON j.jobname::text = w.name
                 WHERE j.jobid IS NULL
                    OR (coalesce(w.schedule, j.schedule), w.command, %1$L) IS DISTINCT FROM (j.schedule, j.command, j.database)
                 ORDER BY w.name OFFSET 0) AS q WHERE q.job IS NOT NULL
            $query$, current_database(), owner, jobs))) AS a (name);
    INSERT INTO @extschema@.bs_upkeep_log AS l (task, cron_since)
    SELECT j.task, now() FROM @extschema@.bs_cron_jobs() j
        ON CONFLICT (task) DO UPDATE SET cron_since = excluded.cron_since
     WHERE l.cron_since IS NULL;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_install_cron(text, text, text) IS
'Registers the upkeep of partitions, retention and recovery with pg_cron and gives the names of the jobs it made or changed; nothing where all is there. NULL: the usual schedule (daily at 01:11 and 01:41, every ten minutes; GMT), or what the job has. Superusers only. Errors: 55000 where pg_cron is not there, 42501, 55P03 if another session holds a lock, and pg_cron''s own for a bad schedule.';

CREATE FUNCTION @extschema@.bs_uninstall_cron()
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    names text;
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION 'only superusers can take jobs out of pg_cron'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE ONLY @extschema@.bs_upkeep_log SET cron_since = NULL, cron_at = NULL;
    IF NOT @extschema@.bs_is_cron_there() THEN
        RETURN;
    END IF;
    SELECT string_agg(quote_literal(j.jobname), ', ') INTO names FROM @extschema@.bs_cron_jobs() j;
    PERFORM @extschema@.bs_cron_query(format($query$
        WITH gone AS (
            DELETE FROM cron.job_run_details d USING cron.job j
             WHERE j.jobid = d.jobid AND j.jobname::text IN (%s) RETURNING 1)
        SELECT to_jsonb(count(*)) FROM gone
    $query$, names));
    RETURN QUERY
        SELECT a.name
          FROM jsonb_array_elements_text(@extschema@.bs_cron_query(format($query$
                SELECT coalesce(jsonb_agg(q.name), '[]')
                  FROM (SELECT j.jobname::text AS name, cron.unschedule(j.jobid) AS gone
                          FROM cron.job j WHERE j.jobname::text IN (%s) ORDER BY 1 OFFSET 0) AS q
                 WHERE q.gone
            $query$, names))) AS a (name);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_uninstall_cron() IS
'Takes our jobs out of pg_cron, with the record of their runs, and gives their names; nothing where there are none. Superusers only.';
