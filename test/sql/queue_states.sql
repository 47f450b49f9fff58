-- queue: the table of moves says what the database really does.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

-- The words are the same in C, in the checks and in the list of what is open.
SELECT array_agg(DISTINCT new_status ORDER BY new_status) AS words FROM bs_state_edges() \gset
SELECT conname, bool_and(:'words'::text[] @> ARRAY[w.word] OR w.word = 'RELEASED') AS known, count(*) AS words
  FROM pg_constraint c, regexp_matches(pg_get_constraintdef(c.oid), '[A-Z]{4,}', 'g') AS m (words), unnest(m.words) AS w (word)
 WHERE c.conrelid IN ('message_logs'::regclass, 'bs_pending_outcomes'::regclass) AND c.conname IN ('check_message_status', 'check_state')
   AND w.word NOT IN ('CHECK', 'ARRAY') GROUP BY conname ORDER BY conname;
SELECT bs_open_statuses() AS open, bs_waiting_statuses() AS waiting;
-- What is finished and cannot be brought back by hand has no way out.
SELECT unnest(:'words'::text[]) AS final EXCEPT SELECT old_status FROM bs_state_edges();
SELECT count(*) - count(DISTINCT (old_status, new_status)) AS twice FROM bs_state_edges();

-- A message for each move. Every move is noted, except those that the test makes itself.
SELECT test.adopt();
SELECT test.add('M' || n, 'UTC', '1990-05-05') FROM generate_series(1, 4) AS n;
CREATE TABLE test.moves (old_status text, new_status text);
CREATE FUNCTION test.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO test.moves VALUES (NULL, NEW.status);
    ELSIF NEW.status <> OLD.status THEN
        INSERT INTO test.moves VALUES (OLD.status, NEW.status);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON message_logs FOR EACH ROW EXECUTE FUNCTION test.note();
SELECT test.plan('2044-05-04 12:00+00');
-- The first messages have these statuses, the others are SENT.
CREATE FUNCTION test.put(statuses text[], attempts integer DEFAULT 0) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL session_replication_role = replica;
    UPDATE message_logs m
       SET status = coalesce(statuses[u.n], 'SENT'), status_reason = CASE statuses[u.n] WHEN 'CANCELLED' THEN 'user_deleted' END,
           attempts = put.attempts, due_at = CASE WHEN statuses[u.n] = ANY (bs_open_statuses()) THEN m.scheduled_send_time END,
           claimed_by = 's', claim_token = CASE statuses[u.n] WHEN 'SENDING' THEN m.id END
      FROM (SELECT id, substr(first_name, 2)::integer AS n FROM users) u WHERE u.id = m.user_id;
    SET LOCAL session_replication_role = origin;
END
$$;
CREATE FUNCTION test.message(n integer) RETURNS uuid LANGUAGE sql AS $$SELECT m.id FROM message_logs m WHERE m.user_id = test.id('M' || n)$$;

-- Claimed, handed to the broker and taken back.
SELECT test.put('{SCHEDULED,QUEUED,RETRYING}');
SELECT count(*) FROM bs_claim('s', 10, '1 min', '2044-05-05 09:00+00');
SELECT test.put('{SCHEDULED,RETRYING}');
SELECT count(*) AS left_over
  FROM (SELECT array_agg(id) AS ids, array_agg(scheduled_send_time) AS times FROM message_logs WHERE status <> 'SENT') m,
       bs_mark_queued(m.ids, m.times, m.times, '1 min', '2044-05-05 09:00+00');
SELECT test.put('{QUEUED}'), (SELECT recovered FROM bs_recover('{}', false, '2044-05-05 09:00+00'));
SELECT test.put('{QUEUED}', 1), (SELECT recovered FROM bs_recover('{}', false, '2044-05-05 09:00+00'));
-- The outcomes of an attempt, a lost sender, and what is too late.
SELECT test.put('{SENDING,SENDING,SENDING,SENDING}', 1);
SELECT bs_record(array_agg(id), array_agg(scheduled_send_time), array_agg(claim_token), '{SENT,FAILED,EXPIRED,RETRYING}',
                 '{a,a,a,a}', array_fill(scheduled_send_time, '{4}'), '{1,1,1,1}', '{a,a,a,a}', '{a,a,a,a}', array_fill(scheduled_send_time, '{4}'))
  FROM message_logs GROUP BY scheduled_send_time;
SELECT test.put('{SENDING}', 1), (SELECT recovered FROM bs_recover('{s}', false, '2044-05-05 09:00+00'));
SELECT test.put('{SENDING}', 1), (SELECT recovered FROM bs_recover('{s}', true, '2044-05-05 09:00+00'));
SELECT test.put('{SENDING}', 1), bs_release_claims('s', '{}', '2044-05-05 09:00+00');
SELECT test.put('{SCHEDULED,QUEUED,RETRYING}'), (SELECT expired FROM bs_recover('{}', false, '2044-05-07 09:00+00'));
-- Cancelled with the user, and owed again.
SELECT test.put('{SCHEDULED,QUEUED,RETRYING}');
SELECT bs_delete_user(test.id('M' || n)) FROM generate_series(1, 3) AS n;
SELECT count(bs_restore_user(test.id('M' || n))) FROM generate_series(1, 3) AS n;
SELECT test.put('{CANCELLED}', 1);
UPDATE users SET last_name = 'Other' WHERE first_name = 'M1';
-- Made afresh.
SELECT test.put('{SCHEDULED,QUEUED,RETRYING}');
UPDATE users SET last_name = 'Another';
-- By hand.
SELECT test.put('{SCHEDULED,QUEUED,RETRYING}'), bs_cancel_message(test.message(1)), bs_cancel_message(test.message(2)), bs_cancel_message(test.message(3));
SELECT test.put('{FAILED,QUEUED}'), bs_retry_message(test.message(1)), bs_retry_message(test.message(2));
SELECT test.put('{EXPIRED,CANCELLED}'), bs_send_late(test.message(1)), bs_send_late(test.message(2));

-- No other move was made, and each of the table was.
SELECT DISTINCT old_status, new_status FROM test.moves EXCEPT SELECT old_status, new_status FROM bs_state_edges();
SELECT old_status, new_status FROM bs_state_edges() EXCEPT SELECT old_status, new_status FROM test.moves;
SELECT * FROM bs_state_edges();

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
