-- planning: what people ask about what is planned.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all
SELECT test.adopt();

-- bs_upcoming: by the server's clock; also beyond the horizon, each once.
CREATE TABLE test.day AS SELECT (now() AT TIME ZONE 'UTC')::date AS today;
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date, created_at)
SELECT 'D' || n, 'x', 'd' || n || '@example.com', 'UTC', today - interval '40 years' + n * interval '1 day', CASE n WHEN 5 THEN today - interval '20 years' + interval '5 days' END, '2001-01-01'
  FROM test.day, unnest('{1,5,20,200}'::int[]) AS n;
SELECT u.first_name, c.message_type, c.local_date - today AS days, c.timezone, c.status, c.send_at = bs_send_time(c.timezone, c.local_date) AS instant
  FROM test.day, bs_upcoming('30 days') AS c JOIN users u ON u.id = c.user_id ORDER BY c.send_at, 2;
SELECT count(*) FROM bs_upcoming();
SELECT count(*) FROM bs_upcoming('0');
SELECT count(*) > 4 AS all FROM bs_upcoming('400 days');
SELECT test.error(format('SELECT count(*) FROM bs_upcoming(%L)', i)) FROM unnest('{401 days,-1 second,NULL}'::text[]) AS i;
SELECT bs_delete_user(test.id('D1'));
SELECT count(*) FROM bs_upcoming('30 days');
DELETE FROM users;

-- bs_preview: the message as it would be sent.
UPDATE message_types SET html_template = '<p>{{full_name}}, {{ordinal}}</p>', text_template = '{{full_name}}: {{age}}{{#city}} in {{city}}{{/city}} on {{date}}' WHERE name = 'BIRTHDAY';
SELECT test.add('Ann', 'Asia/Kathmandu', '2000-02-29', '2020-05-05');
SELECT send_at AT TIME ZONE 'UTC' AS send_at, subject, message_content, html_content FROM unnest('{2044,2045}'::int[]) AS y, LATERAL bs_preview(test.id('Ann'), 'BIRTHDAY', y);
SELECT subject, message_content, html_content FROM bs_preview(test.id('Ann'), 'ANNIVERSARY', 2044);
SELECT test.plan('2044-02-28 12:00+00');
SELECT count(*) FROM message_logs m, bs_preview(test.id('Ann'), 'BIRTHDAY', 2044) AS p
 WHERE (m.scheduled_send_time, m.subject, m.message_content, m.html_content) = (p.send_at, p.subject, p.message_content, p.html_content);
SELECT test.error(format('SELECT bs_preview(%L, %L, %L)', u, t, y)) FROM (VALUES
    (test.id('Ann')::text, 'BIRTHDAY', '1999'), (test.id('Ann')::text, 'BIRTHDAY', '0'), (test.id('Ann')::text, 'BIRTHDAY', '10000'), (test.id('Ann')::text, 'BIRTHDAY', NULL),
    (test.id('Ann')::text, 'NOTHING', '2044'), (test.id('Ann')::text, NULL, '2044'), ('00000000-0000-0000-0000-000000000000', 'BIRTHDAY', '2044'), (NULL, 'BIRTHDAY', '2044')) AS v (u, t, y);
-- bs_explain: each type, and if nothing will go out, why not.
CREATE VIEW test.why AS
SELECT u.first_name AS name, e.message_type AS type, e.next_date IS NOT NULL AS has_date, e.send_at = bs_send_time(u.timezone, e.next_date) AS instant, e.status,
       regexp_replace(regexp_replace(e.explanation, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00', 'TIME', 'g'), '\d{4}-\d\d-\d\d', 'DAY', 'g') AS explanation
  FROM users u, bs_explain(u.id) AS e ORDER BY 1, 2;
DELETE FROM users;
INSERT INTO message_types (name, date_source, subject_template, text_template, active_since) VALUES ('NAME_DAY', 'user_dates', 's', 't', '2001-01-01');
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT n, 'x', n || '@example.com', 'UTC', today - interval '40 years' + d * interval '1 day', '2001-01-01' FROM test.day, (VALUES ('Far', 100), ('None', NULL), ('Soon', 1), ('Gone', 1)) AS v (n, d);
SELECT bs_delete_user(test.id('Gone'));
SELECT * FROM test.why;
UPDATE message_types SET enabled = false WHERE name = 'ANNIVERSARY';
INSERT INTO user_dates (user_id, message_type, event_date) SELECT test.id('Far'), 'NAME_DAY', today + 50 FROM test.day;
SELECT * FROM test.why WHERE name = 'Far';
SELECT bs_cancel_message(id) FROM message_logs WHERE user_id = test.id('Soon');
SELECT * FROM test.why WHERE name = 'Soon' AND type = 'BIRTHDAY';
UPDATE message_logs SET status = 'SENT', status_reason = 'accepted' WHERE user_id = test.id('Soon');
SELECT * FROM test.why WHERE name = 'Soon' AND type = 'BIRTHDAY';
SELECT bs_pause();
SELECT name, explanation FROM test.why WHERE name IN ('Far', 'Soon') AND type = 'BIRTHDAY';
UPDATE message_logs SET status = 'SCHEDULED', status_reason = NULL WHERE user_id = test.id('Soon');
SELECT name, explanation FROM test.why WHERE name IN ('Far', 'Soon') AND type = 'BIRTHDAY';
UPDATE bs_installation SET database_oid = 1;
SELECT explanation FROM test.why WHERE name = 'Far' AND type = 'BIRTHDAY';
DELETE FROM bs_installation;
SELECT explanation FROM test.why WHERE name = 'Far' AND type = 'BIRTHDAY';
SELECT test.error('SELECT bs_explain(NULL)'), test.error($$SELECT bs_explain('00000000-0000-0000-0000-000000000000')$$);

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
