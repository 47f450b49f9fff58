-- messages: the log of what was owed and what became of it, and the ledger
-- that makes it once only.
--
-- The parents carry columns, checks and comments alone. Keys, indexes and the
-- foreign key live on each partition (module partitions): with indexes on the
-- parent a dump makes every index twice, and with its keys the rows are loaded
-- before the users that they point at. For the same reason the checks are
-- written in the form in which the server prints them.

CREATE FUNCTION @extschema@.bs_open_statuses()
RETURNS text[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_open_statuses';
COMMENT ON FUNCTION @extschema@.bs_open_statuses() IS
'The statuses of messages to which something is still to happen.';

CREATE FUNCTION @extschema@.bs_waiting_statuses()
RETURNS text[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'bs_waiting_statuses';
COMMENT ON FUNCTION @extschema@.bs_waiting_statuses() IS
'Those of bs_open_statuses() in which no sender holds the message.';

CREATE FUNCTION @extschema@.bs_state_edges(OUT old_status text, OUT new_status text, OUT reason text)
RETURNS SETOF record
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 22
AS 'MODULE_PATHNAME', 'bs_state_edges_sql';
COMMENT ON FUNCTION @extschema@.bs_state_edges() IS
'Every move of a message from one status to another, and when it is made; old_status NULL: a new row.';

CREATE TABLE @extschema@.message_logs (
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    user_id uuid NOT NULL,
    message_type varchar(50) NOT NULL,
    message_content text NOT NULL,
    subject text NOT NULL,
    html_content text,
    recipient_email varchar(255) NOT NULL,
    recipient_name varchar(201) NOT NULL,
    local_date date NOT NULL,
    scheduled_send_time timestamptz NOT NULL,
    due_at timestamptz,
    actual_send_time timestamptz,
    status varchar(20) NOT NULL DEFAULT 'SCHEDULED',
    status_reason varchar(30),
    attempts integer NOT NULL DEFAULT 0,
    retry_count integer NOT NULL DEFAULT 0,
    last_retry_at timestamptz,
    claimed_by varchar(100),
    claim_token uuid,
    api_response_code integer,
    api_response_body text,
    error_message text,
    idempotency_key varchar(255) NOT NULL,
    type_version integer NOT NULL DEFAULT 1,
    owed_at timestamptz,
    user_version integer NOT NULL DEFAULT 1,
    in_doubt boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT check_message_status CHECK (status::text = ANY
        ('{SCHEDULED,QUEUED,SENDING,SENT,RETRYING,FAILED,CANCELLED,EXPIRED}'::text[])),
    CONSTRAINT check_message_type CHECK (message_type::text ~ '^[A-Z][A-Z0-9_]*$'::text),
    CONSTRAINT check_retry_count_positive CHECK (retry_count >= 0)
) PARTITION BY RANGE (scheduled_send_time);

COMMENT ON TABLE @extschema@.message_logs IS
'One row per message: what is owed to whom and when, as it will be sent, and what became of it. Partitioned by UTC month.';
COMMENT ON COLUMN @extschema@.message_logs.id IS 'Key.';
COMMENT ON COLUMN @extschema@.message_logs.user_id IS 'To whom; the row goes when the user is erased.';
COMMENT ON COLUMN @extschema@.message_logs.message_type IS 'Name in message_types.';
COMMENT ON COLUMN @extschema@.message_logs.message_content IS 'Text part, as it is sent.';
COMMENT ON COLUMN @extschema@.message_logs.subject IS 'Subject, as it is sent.';
COMMENT ON COLUMN @extschema@.message_logs.html_content IS 'HTML part, as it is sent; NULL: none.';
COMMENT ON COLUMN @extschema@.message_logs.recipient_email IS 'Address it is sent to.';
COMMENT ON COLUMN @extschema@.message_logs.recipient_name IS 'Name beside the address.';
COMMENT ON COLUMN @extschema@.message_logs.local_date IS 'The occasion''s date by the user''s calendar.';
COMMENT ON COLUMN @extschema@.message_logs.scheduled_send_time IS 'The instant of the local hour; nothing is sent before it.';
COMMENT ON COLUMN @extschema@.message_logs.due_at IS 'When something has to happen to the row: SCHEDULED and RETRYING the next attempt, QUEUED when to publish it again if no sender came for it, SENDING the end of the lease. NULL: never again.';
COMMENT ON COLUMN @extschema@.message_logs.actual_send_time IS 'When the relay accepted it.';
COMMENT ON COLUMN @extschema@.message_logs.status IS 'SCHEDULED owed; QUEUED the broker has confirmed a copy; SENDING a sender holds the lease; RETRYING waits for another attempt; SENT, FAILED, CANCELLED, EXPIRED final.';
COMMENT ON COLUMN @extschema@.message_logs.status_reason IS 'Why it is where it is: accepted, refused, attempts, in_doubt, too_late, later, trouble, again, released, lease, user_deleted, date_changed, type_disabled, by_hand, retried, send_late.';
COMMENT ON COLUMN @extschema@.message_logs.attempts IS 'Attempts begun, counted before the relay is called.';
COMMENT ON COLUMN @extschema@.message_logs.retry_count IS 'Attempts after the first.';
COMMENT ON COLUMN @extschema@.message_logs.last_retry_at IS 'When the last attempt began.';
COMMENT ON COLUMN @extschema@.message_logs.claimed_by IS 'The sender that claimed it last.';
COMMENT ON COLUMN @extschema@.message_logs.claim_token IS 'Of the claim that is open; an outcome is recorded only with it.';
COMMENT ON COLUMN @extschema@.message_logs.api_response_code IS 'The relay''s last SMTP reply code or HTTP status.';
COMMENT ON COLUMN @extschema@.message_logs.api_response_body IS 'Its text, cut at 511 bytes.';
COMMENT ON COLUMN @extschema@.message_logs.error_message IS 'What went wrong at the last attempt.';
COMMENT ON COLUMN @extschema@.message_logs.idempotency_key IS 'user id:type:local date; Message-ID and Idempotency-Key derive from it alone.';
COMMENT ON COLUMN @extschema@.message_logs.type_version IS 'The version of the message type that it was made from; 0: to be made afresh before it is sent.';
COMMENT ON COLUMN @extschema@.message_logs.owed_at IS 'The send time before bs_send_late() moved it; NULL: not moved.';
COMMENT ON COLUMN @extschema@.message_logs.user_version IS 'The version of the user that it was made from; before it is sent it is the present one.';
COMMENT ON COLUMN @extschema@.message_logs.in_doubt IS 'An attempt ended without an answer, so the mail may be in the mailbox: recipient, words and send time stay as they were, so that a second copy is the same mail.';
COMMENT ON COLUMN @extschema@.message_logs.created_at IS 'When it was planned.';
COMMENT ON COLUMN @extschema@.message_logs.updated_at IS 'Last change of the row; for SENT the moment at which that was recorded.';

CREATE TABLE @extschema@.message_ledger (
    user_id uuid NOT NULL,
    message_type varchar(50) NOT NULL,
    local_date date NOT NULL
) PARTITION BY RANGE (local_date);
COMMENT ON TABLE @extschema@.message_ledger IS
'Once only: a row per user, type and local date that was ever planned. Its key holds across the partitions of message_logs, where no unique index can.';
COMMENT ON COLUMN @extschema@.message_ledger.user_id IS 'User.';
COMMENT ON COLUMN @extschema@.message_ledger.message_type IS 'Message type.';
COMMENT ON COLUMN @extschema@.message_ledger.local_date IS 'The occasion''s date by the user''s calendar.';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.message_logs', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.message_ledger', '');
