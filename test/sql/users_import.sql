-- users: an import adds the good rows and names the bad ones.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

CREATE VIEW test.people AS
SELECT first_name, last_name, email, timezone, birthday_date, anniversary_date,
       location_city AS city, location_country AS country
  FROM users ORDER BY email COLLATE "C";
-- As docs/users.md has it.
CREATE TABLE people (line bigint GENERATED ALWAYS AS IDENTITY,
    first_name text, last_name text, email text, timezone text,
    birthday_date text, anniversary_date text, location_city text, location_country text);
\copy people (first_name, last_name, email, timezone, birthday_date, anniversary_date, location_city, location_country) FROM stdin (FORMAT csv)
Olena,Koval,olena@example.com,Europe/Kyiv,1990-02-28,,Kyiv,Ukraine
,b,l2@example.com,UTC,,,,
a,"",l3@example.com,UTC,,,,
a,b,,UTC,,,,
a,b,l5@example.com,,,,,
"  ",b,l6@example.com,UTC,,,,
a,"b
c",l7@example.com,UTC,,,,
a,b,l8 at example.com,UTC,,,,
a,b,l9@example.com,EST,,,,
a,b,l10@example.com,UTC,28.02.1990,,,
a,b,l11@example.com,UTC,1990-02-29,,,
a,b,l12@example.com,UTC,today,,,
a,b,l13@example.com,UTC,infinity,,,
a,b,l14@example.com,UTC,1799-12-31,,,
a,b,l15@example.com,UTC,3000-01-01,,,
a,b,l16@example.com,UTC,1990-01-01,1990-01-01,,
a,b,l17@example.com,UTC,,1990-13-01,,
a,b,OLENA@example.com,UTC,,,,
" Łukasz ",o'Neil,  l19@example.com ,Pacific/Kiritimati, 2000-02-29 , ,"  ",
a,b,l20@example.com,UTC,0000-01-01,,"","
"
\.
-- Lengths, as varchar() has them: blanks at the end do not count.
INSERT INTO people (first_name, last_name, email, timezone, location_city, location_country) VALUES
    (repeat('a', 101), 'b', 'l21@example.com', 'UTC', NULL, NULL), ('a', ' ' || repeat('名', 100), 'l22@example.com', 'UTC', NULL, NULL),
    ('a', 'b', repeat('a', 250) || '@x.org', 'UTC', NULL, NULL), ('a', 'b', 'l24@example.com', repeat('a', 101), NULL, NULL),
    ('a', 'b', 'l25@example.com', 'UTC', repeat('a', 101), NULL), ('a', 'b', 'l26@example.com', 'UTC', NULL, repeat('a', 101)),
    (repeat(U&'\0958', 100), 'b', 'l27@example.com', 'UTC', NULL, NULL), (repeat('a', 100) || repeat(' ', 50), 'b', 'l28@example.com', 'UTC', NULL, NULL);
SELECT bs_installation_state();
SET client_min_messages = notice;
SELECT line, column_name, code, reason || coalesce(' (' || hint || ')', '') AS reason FROM bs_import_users('people');
RESET client_min_messages;
SELECT bs_installation_state();
SELECT left(first_name, 10) AS first_name, length(first_name) AS long, last_name, email, timezone, birthday_date, anniversary_date, city, country FROM test.people;

-- Each bad row is one that an INSERT refuses, with the same SQLSTATE; but what is
-- missing is a bad value here and a broken constraint there, and what is no date has
-- codes of its own.
SELECT r.line, r.code, left(e.error, 5) AS by_insert
  FROM bs_import_users('people') r
       JOIN people p USING (line)
       CROSS JOIN LATERAL test.error(format('INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date, location_city, location_country)'
           ' VALUES (%L, %L, %L, %L, nullif(btrim(%L), '''')::date, nullif(btrim(%L), '''')::date, %L, %L)',
           p.first_name, p.last_name, p.email, p.timezone, p.birthday_date, p.anniversary_date, p.location_city, p.location_country)) AS e (error)
 WHERE r.code <> left(e.error, 5) ORDER BY r.line;
DELETE FROM users WHERE email = 'l12@example.com';      -- an INSERT takes "today"

-- Again: the addresses are in use, by whom is said, and nothing changes.
SELECT line, code, hint = 'It is user ' || (SELECT id FROM users WHERE email = 'olena@example.com') || '.' AS named
  FROM bs_import_users('people') WHERE code = '23505' AND line IN (1, 18) ORDER BY line;
SELECT count(*) FROM users;
-- The address of one who is deleted is free.
SELECT bs_delete_user(id) FROM users WHERE email = 'olena@example.com';
SELECT count(*) FILTER (WHERE line = 1) AS line_1, count(*) FROM bs_import_users('people');
SELECT count(*), count(*) FILTER (WHERE deleted_at IS NULL) AS live FROM users WHERE lower(email) = 'olena@example.com';

-- Rows are counted where they have no number; dates may be dates, whatever DateStyle
-- says; columns that may be NULL may be absent; views and temporary tables do.
CREATE TEMP TABLE staff (name text, surname text, mail varchar, born date);
INSERT INTO staff SELECT 'a' || n, 'b', CASE WHEN n % 10 = 7 THEN 'x' ELSE n || '@example.org' END, date '1990-01-31' + n FROM generate_series(1, 30) AS n;
CREATE TEMP VIEW staged AS SELECT name AS first_name, surname AS last_name, mail AS email, text 'Asia/Tokyo' AS timezone, born AS birthday_date FROM staff;
SET datestyle = 'German, DMY';
SELECT line, column_name, code FROM bs_import_users('staged');
SET datestyle = 'ISO, YMD';
SELECT count(*), min(birthday_date), max(birthday_date) FROM users WHERE email LIKE '%@example.org';

-- What is due within the horizon is planned at once; who comes later starts next year.
CREATE TABLE test.soon AS
SELECT 'Soon' AS first_name, 'x' AS last_name, 'soon' || n || '@example.com' AS email, 'UTC' AS timezone,
       to_char((now() AT TIME ZONE 'UTC' + interval '1 day')::date - interval '40 years', 'YYYY-MM-DD') AS birthday_date
  FROM generate_series(1, 3) AS n;
SELECT * FROM bs_import_users('test.soon');
SELECT status, count(*) FROM message_logs GROUP BY 1;
SELECT * FROM test.disagreements;

-- What spreadsheets leave around values and before the first column's name goes; what
-- is wrong within an address is named.
CREATE TABLE test.spreadsheet (U&"\FEFFfirst_name" text, last_name text, email text, timezone text, birthday_date text, U&"line\FEFF" text);
INSERT INTO test.spreadsheet VALUES
    (U&'\FEFFWrapped', U&'One\200B', U&'\2007wrapped1@example.com\2060', U&'UTC\00A0', U&'\202F1990-02-28\2009', U&'\FEFF11'),
    ('a', 'b', U&'in\00ADside@example.com', 'UTC', NULL, '12'), ('a', 'b', U&'in@ex\2009ample.com', 'UTC', NULL, '13'),
    ('a', 'b', U&'\200BWRAPPED1@example.com', 'UTC', NULL, '14'), ('a', 'b', 'in@bücher.example', 'UTC', NULL, '15'),
    (U&'\FFA0', 'b', 'l16@example.com', 'UTC', NULL, '16'), ('a', 'b', 'l17@example.com', 'UTC', U&'1990-02\200B-28', '17');
SELECT line, column_name, code, CASE WHEN code = '23505' THEN hint LIKE 'It is user %' OR hint = 'It came with an earlier row.' END AS known,
       reason || CASE WHEN code <> '23505' THEN coalesce(' (' || hint || ')', '') ELSE '' END AS reason
  FROM bs_import_users('test.spreadsheet');
SELECT first_name, last_name, email, timezone, birthday_date FROM test.people WHERE email LIKE 'wrapped%';
SELECT line, code, hint LIKE 'It is user %' AS known FROM bs_import_users('test.spreadsheet') WHERE code = '23505';
CREATE TABLE test.twice (first_name text, last_name text, email text, timezone text, U&"\FEFFemail" text);
SELECT test.error($$SELECT bs_import_users('test.twice')$$);

-- Columns that do not fit: nothing is guessed.
CREATE TABLE test.misspelt (first_name text, last_name text, email text, timezone text, birthday date);
CREATE TABLE test.short (first_name text, last_name text, email text);
SELECT test.error($$SELECT bs_import_users('test.misspelt')$$);
SELECT test.error($$SELECT bs_import_users('test.short')$$);
SELECT test.error($$SELECT bs_import_users('test.nothing')$$);
CREATE TABLE test.empty (LIKE people);
SELECT * FROM bs_import_users('test.empty');
SELECT * FROM bs_import_users(NULL);

-- What a trigger, a constraint or a deferred check of the user's own raises for one row is
-- that row's, with its own words; the others are added. A trigger may leave a row out.
CREATE FUNCTION test.suppress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.email LIKE 'never%' THEN
        RAISE EXCEPTION 'user % wants no mail', NEW.first_name USING ERRCODE = 'BS123', HINT = 'Ask nobody.', COLUMN = 'email';
    END IF;
    RETURN CASE WHEN NEW.email NOT LIKE 'skip%' THEN NEW END;
END
$$;
CREATE TRIGGER suppress BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION test.suppress();
CREATE FUNCTION test.after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.email LIKE 'late%' THEN
        RAISE EXCEPTION 'too late for %', NEW.first_name USING ERRCODE = 'BS124';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER after AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION test.after();
ALTER TABLE users ADD CONSTRAINT no_cities CHECK (location_city <> 'Atlantis');
CREATE TABLE test.many AS
SELECT n AS line, 'First' || n AS first_name, 'x' AS last_name,
       CASE WHEN n IN (3, 77, 78) THEN 'never' WHEN n = 40 THEN 'skip' WHEN n = 99 THEN 'late' ELSE 'many' END || n || '@example.com' AS email,
       'UTC' AS timezone, CASE n WHEN 55 THEN 'Atlantis' ELSE 'Rome' END AS location_city
  FROM generate_series(1, 200) AS n;
SELECT * FROM bs_import_users('test.many');
SELECT count(*), count(*) FILTER (WHERE email LIKE 'many%') AS many FROM users WHERE first_name LIKE 'First%';
ALTER TABLE users DROP CONSTRAINT no_cities;
DROP TRIGGER suppress ON users;
DROP TRIGGER after ON users;

-- An application imports what it may read, and needs no right on users.
CREATE ROLE bs_test_application;
SELECT bs_grant('bs_test_application', 'application');
GRANT USAGE ON SCHEMA test TO PUBLIC;
SET ROLE bs_test_application;
SELECT test.error($$SELECT bs_import_users('people')$$);
CREATE TEMP TABLE mine AS SELECT 'Mine' AS first_name, 'x' AS last_name, 'mine@example.com' AS email, 'UTC' AS timezone;
SELECT * FROM bs_import_users('mine');
SELECT * FROM bs_import_rows('{5,6}', '{a,b}', '{a,b}', '{a@example.net,b}', '{UTC,UTC}', '{}', '{}', '{}', '{}');
DROP TABLE mine;
RESET ROLE;
SELECT count(*) FROM users WHERE email IN ('mine@example.com', 'a@example.net');

DROP OWNED BY bs_test_application;
DROP ROLE bs_test_application;
DROP TABLE people;
\set VERBOSITY terse
SET client_min_messages = error;
DROP VIEW staged;
DROP TABLE staff;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
