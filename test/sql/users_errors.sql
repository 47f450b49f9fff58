-- users_errors: an error about a user's value names table and column, and has one line of
-- context at most; what others raise is theirs, unchanged.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();
CREATE FUNCTION test.fields(statement text, OUT error text, OUT "column" text, OUT "constraint" text, OUT hint boolean, OUT context_lines integer)
LANGUAGE plpgsql
AS $$
DECLARE
    relation text;
    hint_words text;
    context text;
BEGIN
    EXECUTE statement;
    error := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS relation = TABLE_NAME, "column" = COLUMN_NAME, "constraint" = CONSTRAINT_NAME, hint_words = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    error := SQLSTATE || ' ' || SQLERRM;
    "column" := relation || '.' || "column";
    hint := hint_words <> '';
    -- Without those of this function.
    context_lines := (SELECT count(*) FROM regexp_split_to_table(context, E'\n') AS l WHERE l NOT LIKE '%test.fields%' AND l NOT LIKE 'SQL statement "SELECT bs\_%');
END
$$;
CREATE TABLE test.tries (n serial, statement text);
INSERT INTO test.tries (statement) VALUES
    ($$SELECT bs_add_user('', 'x', 'x@example.com', 'UTC')$$),
    ($$SELECT bs_add_user('x', NULL, 'x@example.com', 'UTC')$$),
    ($$SELECT bs_add_user('x', repeat('x', 101), 'x@example.com', 'UTC')$$),
    ($$SELECT bs_add_user('x', 'x', 'x@', 'UTC')$$),
    ($$SELECT bs_add_user('x', 'x', 'ANN@example.com', 'UTC')$$),
    ($$SELECT bs_add_user('x', 'x', 'x@example.com', 'CEST')$$),
    ($$SELECT bs_add_user('x', 'x', 'x@example.com', 'UTC', '-infinity')$$),
    ($$SELECT bs_add_user('x', 'x', 'x@example.com', 'UTC', '2000-01-02', '2000-01-01')$$),
    ($$SELECT bs_add_user('x', 'x', 'x@example.com', 'UTC', location_country => repeat('x', 101))$$),
    ($$SELECT bs_update_user(test.id('Ann'), '{"first_name": " "}')$$),
    ($$SELECT bs_update_user(test.id('Ann'), '{"last_name": null}')$$),
    ($$SELECT bs_update_user(test.id('Ann'), '{"email": "Bob@example.com"}')$$),
    ($$SELECT bs_update_user(test.id('Ann'), jsonb_build_object('timezone', repeat('x', 101)))$$),
    ($$SELECT bs_update_user(test.id('Ann'), '{"birthday_date": "2001-02-30"}')$$),
    ($$SELECT bs_update_user(test.id('Ann'), '{"anniversary_date": "tomorrow"}')$$),
    ($$SELECT bs_update_user(test.id('Ann'), '{"birthday_date": 5}')$$),
    ($$INSERT INTO users (first_name, last_name, email, timezone, location_city) VALUES ('x', 'x', 'x@example.com', 'UTC', E'a\nb')$$),
    ($$UPDATE users SET timezone = 'EST5EDT4' WHERE first_name = 'Ann'$$);
SELECT test.add('Ann', 'UTC', '1990-05-05'), test.add('Bob', 'UTC', '1990-05-05');
SELECT left(statement, 90) AS statement, f.* FROM test.tries, LATERAL test.fields(statement) AS f ORDER BY n;

-- What a trigger or an index of the user's own raises stays as it is.
CREATE FUNCTION test.own() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'not on Fridays' USING ERRCODE = NEW.location_city, COLUMN = 'first_name', HINT = 'Come back.';
END
$$;
CREATE TRIGGER own BEFORE INSERT OR UPDATE ON users FOR EACH ROW WHEN (NEW.location_city ~ '^[0-9]{5}$') EXECUTE FUNCTION test.own();
CREATE UNIQUE INDEX one_a_town ON users (location_country);
UPDATE users SET location_country = 'Malta' WHERE first_name = 'Ann';
SELECT c, f.error, f."column", f.hint, g.error, g."column", g.hint
  FROM unnest('{22023,22001,23502,23505,22008,40001}'::text[]) AS c,
       LATERAL test.fields(format('SELECT bs_add_user(%L, %L, %L, %L, location_city => %L)', 'x', 'x', 'x@example.com', 'UTC', c)) AS f,
       LATERAL test.fields(format('SELECT bs_update_user(test.id(%L), %L)', 'Bob', jsonb_build_object('location_city', c))) AS g;
SELECT f.error, f."constraint" FROM test.fields($$SELECT bs_add_user('x', 'x', 'x@example.com', 'UTC', location_country => 'Malta')$$) AS f;
SELECT f.error, f."constraint" FROM test.fields($$SELECT bs_update_user(test.id('Bob'), '{"location_country": "Malta"}')$$) AS f;

-- By address: the whole one, in any case, of a user who is not deleted.
SELECT a, (bs_get_user_by_email(a)).first_name FROM unnest('{bob@example.com,"  BOB@Example.COM "}'::text[]) AS a;
SELECT a, test.error(format('SELECT bs_get_user_by_email(%L)', a)) FROM unnest('{b@example.com,"",%,NULL}'::text[]) AS a;
SELECT bs_delete_user(test.id('Bob'));
SELECT test.error($$SELECT bs_get_user_by_email('bob@example.com')$$);
-- A page begins before the first id that there may be.
UPDATE users SET id = '00000000-0000-0000-0000-000000000000' WHERE first_name = 'Ann';
SELECT id, first_name FROM bs_list_users();
SELECT count(*) FROM bs_list_users('00000000-0000-0000-0000-000000000000');

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
