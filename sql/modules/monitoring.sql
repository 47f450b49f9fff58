-- monitoring: how things are.

CREATE FUNCTION @extschema@.bs_worker_stats(
    OUT worker text, OUT pid integer, OUT state text, OUT since timestamptz,
    OUT sent bigint, OUT failed bigint, OUT retried bigint, OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_worker_stats';
COMMENT ON FUNCTION @extschema@.bs_worker_stats() IS
'One row per worker that the server is to run: pid NULL while it is not running. Counts are since server start. Error 55000 where the library is not in shared_preload_libraries.';

CREATE VIEW @extschema@.bs_workers AS
SELECT w.worker, w.pid, w.state, w.since, w.sent, w.failed, w.retried, w.last_error, w.last_error_at
  FROM @extschema@.bs_worker_stats() w;
COMMENT ON VIEW @extschema@.bs_workers IS
'The background workers and what they are at.';

CREATE FUNCTION @extschema@.bs_is_preloaded()
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_is_preloaded';
COMMENT ON FUNCTION @extschema@.bs_is_preloaded() IS
'Is the library in shared_preload_libraries, so that there are workers?';

CREATE FUNCTION @extschema@.bs_broker_stats(
    OUT up boolean, OUT blocked boolean, OUT since timestamptz,
    OUT ready bigint, OUT dead bigint, OUT counted_at timestamptz,
    OUT published bigint, OUT refused bigint, OUT consumed bigint, OUT dropped bigint, OUT failed bigint,
    OUT oversized bigint, OUT malformed bigint, OUT "foreign" bigint)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'bs_broker_stats';
COMMENT ON FUNCTION @extschema@.bs_broker_stats() IS
'The broker as publisher and senders see it: is the publisher connected, does the broker take nothing (blocked), and since when; messages ready in the queue and dead in the dead letters, NULL where unknown, and when they were counted. Since server start: published, confirmed by the broker; refused by it; copies consumed by senders, of these dropped (stale, early or finished) and, to the dead letters, those of messages that FAILED and those that were oversized, malformed or foreign (of another installation). Error 55000 where the library is not in shared_preload_libraries.';

CREATE VIEW @extschema@.bs_status AS
SELECT @extschema@.bs_installation_state() AS installation,
       count(*) FILTER (WHERE m.status IN ('SCHEDULED', 'QUEUED', 'RETRYING')) AS planned,
       count(*) FILTER (WHERE m.status = 'QUEUED' OR (m.status IN ('SCHEDULED', 'RETRYING') AND m.due_at <= now())) AS due,
       count(*) FILTER (WHERE m.status = 'SENDING') AS in_flight,
       count(*) FILTER (WHERE m.status = 'SENT') AS sent,
       count(*) FILTER (WHERE m.status = 'FAILED') AS failed,
       count(*) FILTER (WHERE m.status = 'EXPIRED') AS expired,
       min(m.due_at) FILTER (WHERE m.status IN ('SCHEDULED', 'RETRYING')) AS next_due,
       max(m.actual_send_time - m.scheduled_send_time) FILTER (WHERE m.status = 'SENT') AS worst_lateness,
       count(*) FILTER (WHERE m.status = 'QUEUED') AS queued
  FROM @extschema@.message_logs m
 WHERE m.scheduled_send_time >= now() - interval '24 hours';
COMMENT ON VIEW @extschema@.bs_status IS
'One row: messages whose send time lies in the last 24 hours or ahead, by what became of them. queued: those that the broker has a copy of; they are among due and planned.';
