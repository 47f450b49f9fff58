-- planning: keys of messages begin with the time (RFC 9562, section 5.7).
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

CREATE TABLE test.ids AS
SELECT n, clock_timestamp() AS earliest, bs_uuidv7() AS id, clock_timestamp() AS latest FROM generate_series(1, 10000) AS n;
SELECT count(DISTINCT id) AS distinct_ids,
       bool_and(id::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') AS version_and_variant
  FROM test.ids;
-- Milliseconds in 48 bits, and 12 bits of a millisecond behind the version: a
-- microsecond is four steps of them.
SELECT bool_and(us BETWEEN extract(epoch FROM earliest) * 1000000 - 1
                       AND extract(epoch FROM latest) * 1000000) AS when_they_were_made
  FROM (SELECT earliest, latest,
               ('x' || substr(hex, 1, 12))::bit(48)::bigint * 1000
               + ('x' || substr(hex, 14, 3))::bit(12)::integer / 4.096 AS us
          FROM (SELECT earliest, latest, replace(id::text, '-', '') AS hex FROM test.ids) h) t;
SELECT count(*) AS out_of_order FROM test.ids a JOIN test.ids b ON b.n = a.n + 1
 WHERE b.earliest > a.latest + interval '1 microsecond' AND b.id <= a.id;
SELECT count(DISTINCT substr(id::text, 20)) AS random_parts FROM test.ids;

-- What is due first has the first key, so that it is found side by side.
SELECT test.adopt();
SELECT count(test.add('Id' || n, (ARRAY['UTC', 'Asia/Tokyo', 'America/New_York'])[1 + n % 3], '1990-05-05')) FROM generate_series(1, 300) AS n;
DELETE FROM message_logs;
DELETE FROM message_ledger;
SELECT test.plan('2044-05-04 00:00+00');
SELECT count(*), array_agg(id ORDER BY scheduled_send_time, id) = array_agg(id ORDER BY id) AS in_order FROM message_logs;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
