-- planning: one row stops nothing but itself.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

-- Tables that inherit from ours are somebody else's: their rows are no users, dates,
-- types or installations, and hinder nothing.
SELECT test.adopt();
INSERT INTO message_types (name, date_source, subject_template, text_template, active_since)
VALUES ('NAME_DAY', 'user_dates', 's', 't', '2001-01-01');
CREATE TABLE test.guests () INHERITS (users);
CREATE TABLE test.more_dates () INHERITS (user_dates);
CREATE TABLE test.more_types () INHERITS (message_types);
CREATE TABLE test.more_installations () INHERITS (bs_installation);
INSERT INTO test.guests (first_name, last_name, email, timezone, birthday_date, created_at)
VALUES ('Guest', 'Test', 'guest@example.com', 'UTC', '1990-03-05', '2043-01-01');
SELECT test.add('Child', 'UTC', '1990-03-05');
INSERT INTO test.more_dates SELECT id, 'NAME_DAY', '1990-03-05', '2043-01-01' FROM ONLY users;
INSERT INTO test.more_types SELECT * FROM ONLY message_types;
INSERT INTO test.more_types (name, date_source, subject_template, text_template, active_since)
VALUES ('OTHER', 'birthday_date', 's', 't', '2001-01-01');
INSERT INTO test.more_installations SELECT * FROM ONLY bs_installation;
SELECT bs_plan(NULL, '2044-03-04 12:00+00'), bs_installation_state();
SELECT name, type, send_at FROM test.messages;
-- A statement on users reaches their rows; it plans nothing for them.
UPDATE users SET last_name = 'New' WHERE email LIKE '%@example.com';
SELECT recipient_name, count(*) FROM message_logs GROUP BY 1;
SELECT bs_plan(NULL, '2044-03-04 12:00+00');
SELECT c.recipient_name FROM bs_claim('s', 10, '5 min', '2044-03-05 09:00+00') c;
-- The row of an inheriting table goes, the user with the same id stays, with the ledger.
INSERT INTO test.guests SELECT * FROM ONLY users;
DELETE FROM users WHERE tableoid = 'test.guests'::regclass;
SELECT count(*) FROM message_ledger;
SELECT count(*) FROM bs_upcoming() WHERE user_id IS NULL;
DROP TABLE test.guests, test.more_dates, test.more_types, test.more_installations;
DELETE FROM users;

-- The first of all possible ids is an id.
INSERT INTO users (id, first_name, last_name, email, timezone, birthday_date, created_at)
SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'Nil' || n, 'Test', 'nil' || n || '@example.com', 'UTC', '1990-04-05', '2043-01-01'
  FROM generate_series(0, 1) AS n;
SELECT bs_plan(NULL, '2044-04-04 12:00+00');
SELECT name, send_at FROM test.messages ORDER BY 1;
DELETE FROM users;
INSERT INTO users (id, first_name, last_name, email, timezone, created_at)
VALUES ('00000000-0000-0000-0000-000000000000', 'Nil', 'Test', 'nil@example.com', 'UTC', '2043-01-01');
INSERT INTO user_dates VALUES ('00000000-0000-0000-0000-000000000000', 'NAME_DAY', '1990-04-05', '2043-01-01');
SELECT bs_plan(NULL, '2044-04-04 12:00+00');
DELETE FROM users;

-- A trigger of somebody's refuses some people's messages: the others are planned, and
-- it is said whose planning failed. What is refused is tried again by every pass.
CREATE FUNCTION test.refuse()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.recipient_name ~ TG_ARGV[0] THEN
        RAISE EXCEPTION 'no mail for %', NEW.recipient_name USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
INSERT INTO users (id, first_name, last_name, email, timezone, birthday_date, created_at)
SELECT format('00000000-0000-0000-0000-%s', to_char(n, 'FM000000000000'))::uuid, CASE WHEN n IN (1, 9, 10, 40) THEN 'No' ELSE 'Yes' END, 'N' || n,
       'n' || n || '@example.com', 'UTC', '1990-05-05', '2043-01-01'
  FROM generate_series(1, 40) AS n;
CREATE TRIGGER refuse BEFORE INSERT ON message_logs FOR EACH ROW EXECUTE FUNCTION test.refuse('^No ');
\set VERBOSITY terse
SELECT bs_plan(NULL, '2044-05-04 12:00+00');
SELECT count(*), count(*) FILTER (WHERE recipient_name ~ '^No ') AS refused FROM message_logs;
SELECT count(*) FROM message_ledger;
SELECT h #>> '{parts,planning,status}' AS status, h #>> '{parts,planning,reason}' AS reason
  FROM (SELECT bs_planning_health('adopted') AS p) p, jsonb_build_object('parts', jsonb_build_object('planning', p.p)) AS h;
SELECT bs_plan(NULL, '2044-05-04 12:00+00');
DROP TRIGGER refuse ON message_logs;
SELECT bs_plan(NULL, '2044-05-04 12:00+00');
SELECT failed_users, failed_user, failed_code FROM bs_installation;
DELETE FROM users;

-- Everybody's messages of one type are refused: it ends soon, and the other type's are
-- planned.
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'Many', 'N' || n, 'many' || n || '@example.com', 'UTC', '1990-06-05', '2043-01-01' FROM generate_series(1, 1000) AS n;
INSERT INTO user_dates SELECT id, 'NAME_DAY', '1990-06-05', '2043-01-01' FROM users;
CREATE TRIGGER refuse BEFORE INSERT ON message_logs FOR EACH ROW WHEN (NEW.message_type = 'BIRTHDAY') EXECUTE FUNCTION test.refuse('Many');
SELECT planned, failed, failed_code, steps < 400 AS few_steps FROM bs_plan_pass('2044-06-04 12:00+00', '2044-06-06 12:00+00', 100);
SELECT message_type, count(*) FROM message_logs GROUP BY 1;
DROP TRIGGER refuse ON message_logs;
DELETE FROM users;

-- A message that cannot be brought up to date hinders neither the pass nor a claim. The
-- changes come past the triggers: only the pass and the claim see them.
SELECT test.add('Old' || n, 'UTC', '1990-07-05') FROM generate_series(1, 9) AS n;
SELECT test.plan('2044-07-04 12:00+00');
CREATE TRIGGER refuse BEFORE UPDATE ON message_logs FOR EACH ROW
    WHEN (NEW.recipient_name <> OLD.recipient_name) EXECUTE FUNCTION test.refuse('^Old[37] ');
SET session_replication_role = replica;
UPDATE users SET last_name = 'New';
RESET session_replication_role;
BEGIN;
SELECT c.recipient_name FROM bs_claim('s', 9, '5 min', '2044-07-05 09:00+00') c ORDER BY 1;
ROLLBACK;
SET client_min_messages = error;        -- the warning names an id
SELECT test.plan('2044-07-05 09:00+00');
RESET client_min_messages;
SELECT recipient_name, status FROM message_logs ORDER BY 1;
SELECT failed_users, failed_user IN (test.id('Old3'), test.id('Old7')) AS one_of_them, failed_code FROM bs_installation;
SELECT c.recipient_name FROM bs_claim('s', 10, '5 min', '2044-07-05 09:00:02+00') c ORDER BY 1;
SELECT recipient_name, status, due_at FROM message_logs WHERE recipient_name ~ '^Old[37]' ORDER BY 1;
-- Such a user can still be deleted.
SELECT bs_delete_user(test.id('Old3'));
SELECT name, status, reason FROM test.messages WHERE name ~ '^Old[37]';
DROP TRIGGER refuse ON message_logs;

-- What is nobody's fault ends the pass, and is tried again as a whole.
SELECT code, bs_is_of_a_row(code) FROM unnest('{22023,23503,54000,P0001,XX000,40001,40P01,53100,55P03,57014,58030}'::text[]) AS code;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
