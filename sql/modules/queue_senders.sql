-- queue: the senders that live: those in the server, and each bs_sender, which reports
-- itself.

CREATE FUNCTION @extschema@.bs_live_senders()
RETURNS text[]
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_live_senders';
COMMENT ON FUNCTION @extschema@.bs_live_senders() IS
'The in-server senders that hold messages and have made a turn of their loop within birthday_scheduler.lease, as claimed_by has them.';

-- The state of the surroundings, not of the people in it: not dumped.
CREATE TABLE @extschema@.bs_senders (
    name varchar(100) NOT NULL,
    role oid NOT NULL,
    seen_at timestamptz NOT NULL,
    lease interval NOT NULL,
    held integer NOT NULL,
    state varchar(20) NOT NULL,
    results bigint[] NOT NULL,
    attempts bigint[] NOT NULL,
    lateness bigint[] NOT NULL,
    delivery bigint[] NOT NULL,
    last_error varchar(20),
    last_error_at timestamptz,
    CONSTRAINT bs_senders_pkey PRIMARY KEY (name),
    CONSTRAINT check_state CHECK (state = ANY ('{working,idle,breaker,no relay}'::text[]))
) WITH (fillfactor = 50);
COMMENT ON TABLE @extschema@.bs_senders IS
'The remote senders (bs_sender) that were seen within the last day, as they report themselves. Numbers are since their start.';
COMMENT ON COLUMN @extschema@.bs_senders.name IS 'As in claimed_by.';
COMMENT ON COLUMN @extschema@.bs_senders.role IS 'The role that reports it; no other one speaks for it.';
COMMENT ON COLUMN @extschema@.bs_senders.seen_at IS 'Its last report, by this server''s clock.';
COMMENT ON COLUMN @extschema@.bs_senders.lease IS 'How long it may keep a message: it is given up when it has been silent for as long.';
COMMENT ON COLUMN @extschema@.bs_senders.held IS 'How many messages it held at that time.';
COMMENT ON COLUMN @extschema@.bs_senders.state IS 'working; idle: something other than the relay is in its way; breaker: too many attempts failed; no relay: its settings make none.';
COMMENT ON COLUMN @extschema@.bs_senders.results IS 'Messages sent and given up, and attempts that are to be repeated.';
COMMENT ON COLUMN @extschema@.bs_senders.attempts IS 'Attempts by how they ended: accepted, refused, later, trouble, again, in doubt, released.';
COMMENT ON COLUMN @extschema@.bs_senders.lateness IS 'The buckets of the histogram of that name, and the sum in microseconds.';
COMMENT ON COLUMN @extschema@.bs_senders.delivery IS 'The buckets of the histogram of that name, and the sum in microseconds.';
COMMENT ON COLUMN @extschema@.bs_senders.last_error IS 'The class of its last error with the relay, as in bs_health(); NULL: none since it was well.';
COMMENT ON COLUMN @extschema@.bs_senders.last_error_at IS 'When that was reported.';

CREATE FUNCTION @extschema@.bs_count_report(attempts bigint[], lateness bigint[], delivery bigint[])
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'bs_count_report';
COMMENT ON FUNCTION @extschema@.bs_count_report(bigint[], bigint[], bigint[]) IS
'Adds what a remote sender did to bs_relay_stats() and bs_histogram_stats(): seven numbers, and twice eighteen. Error 22023 for another number of them.';

CREATE FUNCTION @extschema@.bs_growth(before bigint[], after bigint[])
RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    RETURN ARRAY(SELECT least(greatest(a.n - coalesce(before[a.i], 0), 0), 1000000000000)
                   FROM unnest(after) WITH ORDINALITY AS a (n, i)
                  ORDER BY a.i);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_growth(bigint[], bigint[]) IS
'By how much each number has grown, from 0 to a billion thousand; before NULL: from 0.';

CREATE FUNCTION @extschema@.bs_trouble_class(trouble text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN trouble ~ '^the relay answered' THEN 'answer'
            WHEN trouble ~ 'timed? ?out|Timeout' THEN 'timeout'
            WHEN trouble ~* 'resolve' THEN 'name'
            WHEN trouble ~* 'ssl|tls|certificate' THEN 'tls'
            WHEN trouble ~* 'login|auth|denied' THEN 'login'
            WHEN trouble ~* 'connect' THEN 'connection'
            ELSE 'other' END;
COMMENT ON FUNCTION @extschema@.bs_trouble_class(text) IS
'The class of an error with the relay: name, connection, tls, login, timeout, answer or other.';

-- Names are no secret: they are in metrics and in the log.
CREATE FUNCTION @extschema@.bs_check_sender(name text)
RETURNS void
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    IF EXISTS (SELECT FROM @extschema@.bs_senders s
                WHERE s.name = bs_check_sender.name AND s.role <> to_regrole(quote_ident(session_user)))
       AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user)
    THEN
        RAISE EXCEPTION 'sender "%" belongs to another role', name
            USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_check_sender(text) IS
'Error 42501 if a sender of that name reports itself as another role than the session''s.';

-- What goes wrong here must not keep the sender from its work. The report need not
-- survive a crash, so its commit waits for no disk and no standby.
CREATE FUNCTION @extschema@.bs_report_sender(
    name text, lease interval, held integer, state text, results bigint[], attempts bigint[],
    lateness bigint[], delivery bigint[], trouble text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
SET lock_timeout = '100ms'
AS $$
#variable_conflict use_variable
DECLARE
    at_most constant bigint := 1000;
    before @extschema@.bs_senders;
    grown bigint[];
    class text := CASE WHEN trouble LIKE 'the relay%' THEN @extschema@.bs_trouble_class(trouble) END;
BEGIN
    IF (name ~ E'^remote/[^/]{0,64}/\\d{1,10}/[0-9a-f]{8}$') IS NOT TRUE THEN
        RAISE EXCEPTION 'invalid name of a sender: "%"', left(name, 100)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It is remote/host/process/eight hexadecimal digits.';
    END IF;
    IF (cardinality(results) = 3 AND cardinality(attempts) = 7 AND cardinality(lateness) = 18
        AND cardinality(delivery) = 18 AND array_position(results || attempts || lateness || delivery, NULL) IS NULL) IS NOT TRUE THEN
        RAISE EXCEPTION 'results, attempts, lateness and delivery must be 3, 7, 18 and 18 numbers'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM @extschema@.bs_check_sender(name);
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM @extschema@.bs_senders s WHERE s.seen_at < clock_timestamp() - interval '1 day';
    SELECT s.* INTO before FROM @extschema@.bs_senders s WHERE s.name = bs_report_sender.name;
    IF before.name IS NULL AND (SELECT count(*) FROM @extschema@.bs_senders) >= at_most THEN
        RETURN false;
    END IF;
    grown := @extschema@.bs_growth(before.attempts, attempts);
    INSERT INTO @extschema@.bs_senders AS s (name, role, seen_at, lease, held, state, results, attempts, lateness, delivery,
                                             last_error, last_error_at)
    VALUES (name, to_regrole(quote_ident(session_user)), clock_timestamp(), greatest(least(lease, interval '1 day'), interval '0'), greatest(held, 0), state,
            results, attempts, lateness, delivery, class,
            CASE WHEN class IS NULL THEN NULL
                 WHEN class IS DISTINCT FROM before.last_error OR grown[4] + grown[6] > 0 THEN clock_timestamp()
                 ELSE before.last_error_at END)
        ON CONFLICT ON CONSTRAINT bs_senders_pkey DO UPDATE
           SET seen_at = excluded.seen_at, lease = excluded.lease, held = excluded.held, state = excluded.state,
               results = excluded.results, attempts = excluded.attempts, lateness = excluded.lateness, delivery = excluded.delivery,
               last_error = excluded.last_error, last_error_at = excluded.last_error_at;
    PERFORM @extschema@.bs_count_report(grown, @extschema@.bs_growth(before.lateness, lateness),
                                        @extschema@.bs_growth(before.delivery, delivery));
    RETURN true;
EXCEPTION
    WHEN lock_not_available OR deadlock_detected OR read_only_sql_transaction OR insufficient_resources THEN
        RETURN false;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_report_sender(text, interval, integer, text, bigint[], bigint[], bigint[], bigint[], text) IS
'For bs_sender: it lives, and how it does; arguments as the columns of bs_senders, numbers since its start, and its last error with the relay, of which the class is kept. Its claims are not given up before it has been silent for the lease, a day at most. False where that cannot be noted now. Errors: 22023 for what is not the name of a bs_sender, or another number of numbers; 42501 for the name of a sender of another role; 23514: no such state.';

CREATE FUNCTION @extschema@.bs_spared_senders(as_of timestamptz)
RETURNS text[]
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
BEGIN
    RETURN @extschema@.bs_live_senders()
           || ARRAY(SELECT s.name::text FROM @extschema@.bs_senders s
                     WHERE s.held > 0 AND s.seen_at + s.lease > as_of);
END
$$;
COMMENT ON FUNCTION @extschema@.bs_spared_senders(timestamptz) IS
'The senders that hold messages and are known to live: their claims are not given up, though the lease has ended.';

CREATE FUNCTION @extschema@.bs_sender_stats(
    OUT name text, OUT up boolean, OUT state text, OUT seen_at timestamptz, OUT held integer,
    OUT sent bigint, OUT failed bigint, OUT retried bigint, OUT attempts bigint[],
    OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record
LANGUAGE sql STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
BEGIN ATOMIC
    -- Three reports that did not come.
    SELECT s.name, s.seen_at > pg_catalog.clock_timestamp() - interval '90 seconds', s.state, s.seen_at, s.held,
           s.results[1], s.results[2], s.results[3], s.attempts, s.last_error, s.last_error_at
      FROM @extschema@.bs_senders s
     ORDER BY s.name;
END;
COMMENT ON FUNCTION @extschema@.bs_sender_stats() IS
'One row per remote sender (bs_sender) that was seen within a day; up: within ninety seconds. Columns as in bs_senders; counts are since its start.';
