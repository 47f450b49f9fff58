-- users: row security of the database's own, on our tables: planning and sending see all,
-- and whoever is under a policy sees and writes what the policy says.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
CREATE ROLE bs_test_tenant;
CREATE ROLE bs_test_worker;
CREATE ROLE bs_test_reader;
SELECT bs_grant('bs_test_worker', 'worker'), bs_grant('bs_test_reader', 'reader');
GRANT USAGE ON SCHEMA test TO PUBLIC;

-- The recipe of docs/security.md: a tenant is a country.
ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE user_dates ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE message_logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON users TO bs_test_tenant USING (location_country = 'Austria');
CREATE POLICY tenant ON user_dates TO bs_test_tenant USING (EXISTS (SELECT FROM users u WHERE u.id = user_id));
CREATE POLICY tenant ON message_logs FOR SELECT TO bs_test_tenant USING (EXISTS (SELECT FROM users u WHERE u.id = user_id));
GRANT SELECT, INSERT, UPDATE, DELETE ON users, user_dates TO bs_test_tenant;
GRANT SELECT ON message_logs TO bs_test_tenant;

INSERT INTO users (first_name, last_name, email, timezone, birthday_date, location_country, created_at)
VALUES ('Ann', 'x', 'ann@example.com', 'UTC', '1990-05-10', 'Austria', '2043-01-01'), ('Bob', 'x', 'bob@example.com', 'UTC', '1990-05-10', 'Belgium', '2043-01-01');

-- Planning and claiming, by a worker's role that has no policy at all.
UPDATE bs_installation SET planned_until = '2044-05-10 08:00+00';
GRANT EXECUTE ON FUNCTION bs_plan_pass(timestamptz, timestamptz, integer) TO bs_test_worker;
SET ROLE bs_test_worker;
SELECT planned FROM bs_plan_pass('2044-05-10 08:00+00', '2044-05-12 08:00+00', 5000);
SELECT recipient_name FROM bs_claim('s', 1, '5 min', '2044-05-10 08:59:59+00');
SELECT count(*) FROM bs_claim('s', 10, '5 min', '2044-05-10 09:00+00');
RESET ROLE;
SELECT name, status FROM test.messages;

-- What the tenant sees and writes.
SET ROLE bs_test_tenant;
SELECT first_name FROM users;
SELECT recipient_name, status FROM message_logs;
SELECT test.error('SELECT FROM message_logs_2044_05'), test.error('SELECT FROM message_ledger'), test.error('SELECT bs_upcoming()'), test.error('SELECT FROM bs_events');
SELECT test.error($$INSERT INTO users (first_name, last_name, email, timezone, location_country) VALUES ('Cid', 'x', 'cid@example.com', 'UTC', 'Belgium')$$);
SELECT test.error($$UPDATE users SET location_country = 'Belgium'$$);
UPDATE users SET last_name = 'Tenant';
DELETE FROM users WHERE first_name = 'Bob';
SET row_security = off;
SELECT test.error('SELECT count(*) FROM users');
RESET row_security;
-- One thing leaks, as everywhere in PostgreSQL: that an address is taken.
SELECT test.error($$INSERT INTO users (first_name, last_name, email, timezone, location_country) VALUES ('Cid', 'x', 'bob@example.com', 'UTC', 'Austria')$$);
-- A function of the tenant's own is not shown the others' rows first.
RESET ROLE;
CREATE FUNCTION test.peek(what text)
RETURNS boolean
LANGUAGE plpgsql COST 0.0001
AS $$
BEGIN
    RAISE WARNING 'peeked: %', what;
    RETURN true;
END
$$;
SET ROLE bs_test_tenant;
SELECT count(*) FROM users WHERE test.peek(email);
SELECT count(*) FROM message_logs WHERE test.peek(recipient_email);
RESET ROLE;
SELECT first_name, last_name FROM users ORDER BY 1;

-- One statement, prepared once, by several roles.
PREPARE everybody AS SELECT string_agg(first_name, ' ' ORDER BY first_name) FROM users;
SET plan_cache_mode = force_generic_plan;
EXECUTE everybody;
SET ROLE bs_test_tenant;
EXECUTE everybody;
RESET ROLE;
EXECUTE everybody;
RESET plan_cache_mode;

-- What the tenant writes is planned as anybody else's, by the server's clock.
BEGIN;
SET LOCAL ROLE bs_test_tenant;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, location_country)
VALUES ('Dan', 'x', 'dan@example.com', 'UTC', ((now() AT TIME ZONE 'UTC' + interval '1 day')::date - interval '40 years'), 'Austria');
SELECT recipient_name, status FROM message_logs WHERE recipient_name LIKE 'Dan%';
UPDATE users SET deleted_at = now() WHERE first_name = 'Dan';
SELECT recipient_name, status, status_reason FROM message_logs WHERE recipient_name LIKE 'Dan%';
ROLLBACK;

-- Functions run with their owner's rights, who is under no policy: a reader has no rows of
-- the tables, and all that functions and views tell.
SELECT test.plan('2044-05-10 10:00+00');
SET ROLE bs_test_reader;
SELECT count(*) FROM users;
SELECT count(*) FROM bs_events;
SELECT p.subject FROM bs_events e, bs_preview(e.user_id, 'BIRTHDAY', 2044) p ORDER BY 1;
RESET ROLE;

-- A list of the owner's own, of people who never want mail, whoever adds them.
CREATE TABLE test.never (email text PRIMARY KEY);
INSERT INTO test.never VALUES ('eve@example.com');
CREATE FUNCTION test.refuse()
RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF EXISTS (SELECT FROM test.never n WHERE n.email = lower(NEW.email)) THEN
        RAISE EXCEPTION 'no mail to user %', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER never BEFORE INSERT OR UPDATE OF email ON users FOR EACH ROW EXECUTE FUNCTION test.refuse();
SELECT test.error($$SELECT bs_add_user('Eve', 'x', 'Eve@example.com', 'UTC')$$), test.error(format($$SELECT bs_update_user(%L, '{"email": "eve@example.com"}')$$, test.id('Bob')));
DROP TRIGGER never ON users;

DROP OWNED BY bs_test_tenant, bs_test_worker, bs_test_reader;
DROP ROLE bs_test_tenant, bs_test_worker, bs_test_reader;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
