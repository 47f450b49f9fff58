-- An import never fails for a row, and refuses those that an INSERT refuses: many
-- rows, put together at random from what is awkward.
\set ON_ERROR_STOP 1
\set QUIET 1
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT plan(6);

-- A figure of its own in each address, so that few are twice.
CREATE TEMP TABLE people (line bigint GENERATED ALWAYS AS IDENTITY, first_name text, last_name text, email text,
    timezone text, birthday_date text, anniversary_date text, location_city text, location_country text);
CREATE TEMP TABLE pool AS
SELECT ARRAY['Ann', 'Ann', 'Ann', 'Łukasz', ' x ', repeat('名', 100), repeat('a', 101), ' ' || repeat('a', 100), repeat('a', 100) || '    ', '', '  ', NULL,
             E'a\tb', E'\n', U&'e\0301', repeat(U&'\0958', 100), repeat(U&'e\0301', 60), U&'\00A0', U&'\3000x\3000', U&'a\200Bb', U&'\3164', U&'\FEFFx\200B', '";,\', 'O''Neil'] AS names,
       ARRAY['%s@example.com', '%s@example.com', '%s@example.com', '%s@Example.COM', ' %s@example.com ', U&'\FEFF%s@example.com\00A0', U&'%s\200B@example.com', '%s', '%s@', '@%s', '%s@x', '%s@example.com,', NULL, '', E'%s@example.com\n', 'é%s@example.com'] AS addresses,
       ARRAY['UTC', 'UTC', 'Europe/Kyiv', 'Pacific/Kiritimati', 'EST', 'europe/kyiv', 'Europe/Kyiv ', U&'\FEFFUTC', '', NULL, repeat('x', 101)] AS zones,
       ARRAY[NULL, NULL, '1990-05-05', '1992-02-29', '1990-02-29', '1800-01-01', '1799-12-31', '9999-12-31', '10000-01-01', '0000-01-01', '5.5.1990', 'infinity', '', ' ', ' 1990-05-05 ', '1990-05-05 BC', '1990-5-5', '1990-05-05T00:00', '2001-09-09'] AS dates;
CREATE FUNCTION pg_temp.pick(pool text[]) RETURNS text LANGUAGE sql VOLATILE
RETURN pool[1 + floor(random() * cardinality(pool))::integer];
SELECT setseed(0.42);
INSERT INTO people (first_name, last_name, email, timezone, birthday_date, anniversary_date, location_city, location_country)
SELECT CASE WHEN random() < 0.5 THEN pg_temp.pick(names) ELSE 'Ann' END, CASE WHEN random() < 0.5 THEN pg_temp.pick(names) ELSE 'Bee' END,
       format(pg_temp.pick(addresses), 'p' || n - CASE WHEN random() < 0.05 THEN 1 ELSE 0 END),
       CASE WHEN random() < 0.3 THEN pg_temp.pick(zones) ELSE 'Asia/Tokyo' END,
       CASE WHEN random() < 0.3 THEN pg_temp.pick(dates) ELSE '1985-03-03' END, CASE WHEN random() < 0.3 THEN pg_temp.pick(dates) END,
       CASE WHEN random() < 0.2 THEN pg_temp.pick(names) END, CASE WHEN random() < 0.2 THEN pg_temp.pick(names) END
  FROM pool, generate_series(1, 30000) AS n;

CREATE TEMP TABLE refused AS SELECT * FROM bs_import_users('people');
SELECT is((SELECT count(*) FROM refused) + (SELECT count(*) FROM users), 30000::bigint, 'each row is a user now, or in the report');
SELECT cmp_ok((SELECT count(*) FROM users), '>', 3000::bigint, 'there are many of the one');
SELECT is((SELECT count(DISTINCT column_name || code) FROM refused WHERE column_name || code IN (
    'first_name22023', 'first_name22001', 'last_name22023', 'last_name22001', 'email22023', 'email23505', 'timezone22023', 'timezone22001',
    'birthday_date22023', 'anniversary_date22023', 'location_city22023', 'location_city22001', 'location_country22023', 'location_country22001')), 14::bigint, 'and of every kind of the other');

-- Row by row: what does an INSERT say to those that were refused?
CREATE FUNCTION pg_temp.inserts(p people) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date, location_city, location_country)
    VALUES (p.first_name, p.last_name, p.email, p.timezone, nullif(bs_trim(p.birthday_date), '')::date, nullif(bs_trim(p.anniversary_date), '')::date,
            p.location_city, p.location_country);
    RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END
$$;
CREATE TEMP TABLE again AS
SELECT r.line, r.column_name, r.code, pg_temp.inserts(p) AS by_insert, p.birthday_date, p.anniversary_date
  FROM refused r JOIN people p USING (line);
SELECT is_empty($$SELECT * FROM again
                   WHERE by_insert = 'taken'
                     -- the one thing that an import is stricter in: dates have one form
                     AND NOT (column_name = 'birthday_date' AND btrim(birthday_date) !~ '^\d{4}-\d\d-\d\d$')
                     AND NOT (column_name = 'anniversary_date' AND btrim(anniversary_date) !~ '^\d{4}-\d\d-\d\d$')$$,
    'what an import refuses, an INSERT refuses');
SELECT is_empty($$SELECT * FROM again WHERE code = '23505' AND by_insert NOT IN ('23505', 'taken')$$, 'and an address in use is found by both');

-- Once more: nothing is added, and the addresses are in use.
SELECT is((SELECT count(*) FROM bs_import_users('people') WHERE line IN (SELECT line FROM people EXCEPT SELECT line FROM refused) AND code <> '23505'), 0::bigint,
    'a second time, all that was added is in use');
SELECT * FROM finish();
ROLLBACK;
