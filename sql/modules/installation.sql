-- installation: which database this is. Nothing is planned or sent in a copy.

CREATE FUNCTION @extschema@.bs_system_identifier()
RETURNS bigint
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_system_identifier';
COMMENT ON FUNCTION @extschema@.bs_system_identifier() IS
'The identifier that initdb gave this server''s data; a physical copy has the same.';

CREATE TABLE @extschema@.bs_installation (
    singleton boolean NOT NULL DEFAULT true,
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    paused_at timestamptz,
    planned_until timestamptz,
    paused_reason varchar(200),
    lost_zones jsonb,
    failed_users integer NOT NULL DEFAULT 0,
    failed_user uuid,
    failed_code text,
    past_triggers bigint,
    past_triggers_at timestamptz,
    CONSTRAINT bs_installation_pkey PRIMARY KEY (singleton),
    CONSTRAINT check_singleton CHECK (singleton)
);
COMMENT ON TABLE @extschema@.bs_installation IS
'The one server and database in which messages are planned and sent; empty until the first user is added. bs_resume() and, in a new database, bs_pause() adopt.';
COMMENT ON COLUMN @extschema@.bs_installation.singleton IS 'There is one row at most.';
COMMENT ON COLUMN @extschema@.bs_installation.system_identifier IS 'Of the server.';
COMMENT ON COLUMN @extschema@.bs_installation.database_oid IS 'Of the database.';
COMMENT ON COLUMN @extschema@.bs_installation.adopted_at IS 'Since when.';
COMMENT ON COLUMN @extschema@.bs_installation.paused_at IS 'Sending has been paused since then by bs_pause(); NULL: not paused.';
COMMENT ON COLUMN @extschema@.bs_installation.paused_reason IS 'What was said to bs_pause(); NULL: nothing.';
COMMENT ON COLUMN @extschema@.bs_installation.lost_zones IS 'Time zones of users that the server did not know at the last upkeep of the partitions, as [name, number of users], the 100 with the most users; NULL: none.';
COMMENT ON COLUMN @extschema@.bs_installation.failed_users IS 'Users whose planning ended with an error in the last pass.';
COMMENT ON COLUMN @extschema@.bs_installation.failed_user IS 'One of them.';
COMMENT ON COLUMN @extschema@.bs_installation.failed_code IS 'That user''s error: its SQLSTATE.';
COMMENT ON COLUMN @extschema@.bs_installation.past_triggers IS 'Users and messages that changes past the triggers (replication, session_replication_role) had left behind, as the last pass that met such has counted them.';
COMMENT ON COLUMN @extschema@.bs_installation.past_triggers_at IS 'When that pass caught them up; NULL: never.';
COMMENT ON COLUMN @extschema@.bs_installation.planned_until IS 'All that is due up to this instant has been planned.';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.bs_installation', '');

CREATE FUNCTION @extschema@.bs_installation_state()
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    RETURN coalesce(
        (SELECT CASE
                    WHEN i.system_identifier <> @extschema@.bs_system_identifier()
                      OR i.database_oid <> d.oid THEN 'copy'
                    WHEN i.paused_at IS NOT NULL THEN 'paused'
                    ELSE 'adopted'
                END
           FROM ONLY @extschema@.bs_installation i,
                pg_database d
          WHERE d.datname = current_database()),
        'new');
END
$$;
COMMENT ON FUNCTION @extschema@.bs_installation_state() IS
'new: no user was added yet, and neither bs_pause() nor bs_resume() called; adopted: messages are planned and sent; paused: planned only; copy: of another database, nothing is done until bs_resume().';

CREATE FUNCTION @extschema@.bs_is_planning()
RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    state text := @extschema@.bs_installation_state();
BEGIN
    IF state = 'copy' THEN
        RAISE NOTICE 'nothing is planned or sent: this database is a copy'
            USING HINT = 'If real mail is to leave from here, call bs_resume().';
    END IF;
    RETURN state IN ('adopted', 'paused');
END
$$;
COMMENT ON FUNCTION @extschema@.bs_is_planning() IS
'Are messages planned in this database? A notice says so where it is a copy.';

CREATE FUNCTION @extschema@.bs_adopt(even_a_copy boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    state text := @extschema@.bs_installation_state();
    trouble text;
    part regclass;
BEGIN
    IF state = 'copy' AND even_a_copy AND NOT EXISTS (
           SELECT FROM pg_inherits h WHERE h.inhparent = '@extschema@.message_ledger'::regclass) THEN
        RAISE EXCEPTION 'this copy came without the months of message_ledger: what was sent before would be sent again'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'A dump of the data only needs the months before it is loaded: call bs_create_partitions_between(first_month, last_month),'
                         ' and load the tables again that failed. If nothing was ever sent, call it and bs_resume() again.';
    END IF;
    IF state = 'new' OR (state = 'copy' AND even_a_copy) THEN
        INSERT INTO @extschema@.bs_installation AS i (system_identifier, database_oid)
        SELECT @extschema@.bs_system_identifier(), d.oid
          FROM pg_database d
         WHERE d.datname = current_database()
            ON CONFLICT (singleton) DO UPDATE
               SET system_identifier = excluded.system_identifier,
                   database_oid = excluded.database_oid,
                   adopted_at = excluded.adopted_at
             WHERE even_a_copy;
        -- Users may have changed while nothing was planned: what is pending is
        -- made afresh by the planning pass or, at the latest, when it is claimed.
        -- What the broker has a copy of is another database's.
        FOR part IN SELECT u.part FROM @extschema@.bs_unfinished_months(clock_timestamp()) u LOOP
            EXECUTE format(
                'UPDATE %s AS m'
                '   SET type_version = 0,'
                '       status = CASE WHEN m.status <> ''QUEUED'' THEN m.status'
                '                     WHEN m.attempts > 0 THEN ''RETRYING'''
                '                     ELSE ''SCHEDULED'' END,'
                '       due_at = CASE m.status WHEN ''QUEUED'' THEN m.scheduled_send_time ELSE m.due_at END'
                ' WHERE m.status = ANY (@extschema@.bs_waiting_statuses())', part);
        END LOOP;
        trouble := @extschema@.bs_upkeep('partitions', 'hand');
        IF trouble IS NOT NULL THEN
            RAISE WARNING 'not all partitions could be made: %', trouble;
        END IF;
        PERFORM @extschema@.bs_wake();
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_adopt(boolean) IS
'Makes this database the one in which messages are planned and sent, with its partitions; a copy only where asked.';

CREATE FUNCTION @extschema@.bs_pause(reason text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    PERFORM @extschema@.bs_adopt(false);
    UPDATE ONLY @extschema@.bs_installation i
       SET paused_at = coalesce(i.paused_at, now()),
           paused_reason = coalesce(reason, i.paused_reason);
    RETURN 'nothing is sent until bs_resume(); ' || (SELECT o.words FROM @extschema@.bs_pause_outlook() o);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_pause(text) IS
'Stop sending; planning goes on. What senders have claimed is still sent. A new database is adopted, so that users can be added to it and nobody gets mail. The reason, at most 200 characters, is shown by bs_status and bs_health(). Answers in words how many messages expire within a day, and when the first does. Error: 22001.';

CREATE FUNCTION @extschema@.bs_resume()
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    PERFORM @extschema@.bs_adopt(true);
    UPDATE ONLY @extschema@.bs_installation i SET paused_at = NULL, paused_reason = NULL WHERE i.paused_at IS NOT NULL;
    PERFORM @extschema@.bs_wake();
END
$$;
COMMENT ON FUNCTION @extschema@.bs_resume() IS
'Send again after bs_pause(), or from now on in this database where it is a new one or a copy. What was missed is caught up within max_lateness.';
