-- message_types: templates, and what a type must be.
\getenv srcdir PG_ABS_SRCDIR
\set setup :srcdir '/lib/regress.sql'
\set ECHO none
\i :setup
\set ECHO all

CREATE FUNCTION test.render(template text, escape text DEFAULT 'plain')
RETURNS text
LANGUAGE sql
RETURN bs_render(template, escape, 'Ann', 'O''Neill & <b>Co</b>', '2000-02-29', '2044-02-29', 'Rome', NULL);

-- Every name.
SELECT t, test.render(t) FROM unnest(ARRAY[
    'plain', '{{first_name}}', '{{last_name}}', '{{full_name}}', '{{age}}', '{{years}}', '{{ordinal}}', '{{date}}', '{{city}}',
    '[{{country}}]', '{{ first_name }}', E'{{\tage\t}}', '{a} }b{ {{age}}', '{{age}}{{age}}', '']) AS t;
-- Sections: present, absent, nested.
SELECT t, test.render(t) FROM unnest(ARRAY[
    '{{#city}}in {{city}}{{/city}}', '{{^city}}nowhere{{/city}}', '{{#country}}in {{country}}{{/country}}', '{{^country}}at large{{/country}}',
    '{{#city}}{{^country}}{{city}} alone{{/country}}{{/city}}', '{{#age}}{{#years}}{{ordinal}}{{/years}}{{/age}}', '[{{#country}}{{#city}}x{{/city}}{{/country}}]',
    E'a\n{{#city}}\nb\n{{/city}}\nc']) AS t;
-- Escapes: HTML escapes the values and not the template (I40, EC-SEC-002), a header
-- is one line, a value is never read as a template again (I38).
SELECT e, test.render('<i>{{full_name}}</i>', e) FROM unnest('{plain,html,header}'::text[]) AS e;
SELECT e, bs_render(E'a\nb {{first_name}}', e, E'x\r\ny\u2028z', '', NULL, '2044-01-01', NULL, NULL) FROM unnest('{plain,html,header}'::text[]) AS e;
SELECT bs_render('{{first_name}} {{last_name}}', 'plain', '{{city}}', '{{#age}}', '2000-01-01', '2044-01-01', 'Rome', NULL);
SELECT bs_render('<b>{{first_name}}</b>', 'html', '<script>alert("x&y''z")</script>', '', NULL, '2044-01-01', NULL, NULL);

-- Ages: EC-BD-011, 018, 021 to 024, EC-AN-006, 008. No number in the year of the event.
SELECT event, day, bs_render('{{age}} {{years}} {{ordinal}}{{^age}}none{{/age}}', 'plain', 'a', 'b', event::date, day::date, NULL, NULL)
  FROM (VALUES ('2044-05-05', '2044-05-05'), ('2043-05-05', '2044-05-05'), ('2042-05-05', '2044-05-05'), ('2041-05-05', '2044-05-05'),
               ('2040-05-05', '2044-05-05'), ('2033-05-05', '2044-05-05'), ('2032-05-05', '2044-05-05'), ('2031-05-05', '2044-05-05'),
               ('2023-05-05', '2044-05-05'), ('1994-05-05', '2044-05-05'), ('1943-05-05', '2044-05-05'), ('1933-05-05', '2044-05-05'),
               ('1850-05-05', '2044-05-05'), ('1800-01-01', '2044-01-01'), ('2000-02-29', '2043-02-28'), ('2000-02-29', '2043-03-01'),
               ('1970-01-01', '2038-01-19'), ('2045-05-05', '2044-05-05')) AS v (event, day);
SELECT bs_render(NULL, 'plain', 'a', 'b', NULL, NULL, NULL, NULL) IS NULL AS null_template,
       bs_render('[{{first_name}}{{full_name}}{{age}}{{date}}]', 'plain', NULL, NULL, NULL, NULL, NULL, NULL) AS nulls,
       bs_render('{{full_name}}.', 'plain', 'a', NULL, NULL, NULL, NULL, NULL) AS one_name,
       bs_render('{{date}}{{age}}', 'plain', 'a', 'b', 'infinity', 'infinity', NULL, NULL) AS infinite;

-- What is no template: the position counts characters, and is that of the tag's first brace.
SELECT left(t, 45) AS template, test.error(format('SELECT bs_check_template(%L)', t)) FROM unnest(ARRAY[
    '{{foo}}', 'Grüße, {{foo}}', '{{First_name}}', '{{email}}', '{{}}', '{{ }}', '{{first name}}', 'x {{first_name', 'x }} y', '{{{first_name}}}', '{{&first_name}}',
    '{{>part}}', '{{!note}}', '{{=<% %>=}}', '{{#city}}', 'a {{#city}}b{{/country}}', '{{/city}}', '{{#city}}{{#country}}{{/city}}{{/country}}', '{{#foo}}{{/foo}}', '{{{{first_name}}}}',
    '{{#}}{{/}}', '{{first_name; DROP TABLE users}}', '{{' || repeat('x', 500) || '}}']) AS t;
SELECT test.error(format('SELECT bs_check_template(%L)', repeat('{{#city}}', n) || repeat('{{/city}}', n))) FROM unnest('{16,17}'::int[]) AS n;
-- Huge ones (I39, EC-SEC-011): too much source, too much text for the longest names.
SELECT bs_check_template(repeat('x', 256 * 1024)) AS "256 kB", test.error($$SELECT bs_check_template(repeat('x', 256 * 1024 + 1))$$) AS "256 kB and 1";
SELECT test.error($$SELECT bs_check_template(repeat('{{full_name}}', 100))$$) AS "100 names", test.error($$SELECT bs_check_template(repeat('{{full_name}}', 19000))$$) AS "19,000 names";
SELECT test.error($$SELECT bs_check_template(repeat('x', 100000000))$$) AS "100 MB";
SELECT test.error($$SELECT length(bs_render(repeat('{{city}}', 32768), 'plain', 'a', 'b', NULL, NULL, repeat('c', 100), NULL))$$);
SELECT test.error($$SELECT bs_render('x', 'xml', 'a', 'b', NULL, NULL, NULL, NULL)$$), test.error($$SELECT bs_render('{{x}}', 'plain', 'a', 'b', NULL, NULL, NULL, NULL)$$);

-- The types that come with the extension.
SELECT name, date_source, subject_template, text_template, html_template, send_time, feb29_policy, cadence, enabled, version, built_in
  FROM message_types ORDER BY name;
SELECT t.name, bs_render(t.text_template, 'plain', 'Jane', 'Doe', e::date, '2044-05-05', NULL, NULL) AS text
  FROM message_types t, unnest('{2000-05-05,2044-05-05}'::text[]) AS e ORDER BY t.name, e;

-- What is stored and what is refused; nothing of the latter stays. EC-ST-003, 011, 012, I30, I39.
CREATE FUNCTION test.type_error(changes jsonb)
RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN test.error(format('INSERT INTO message_types (%s) VALUES (%s)',
               string_agg(quote_ident(d.key), ', ' ORDER BY d.key), string_agg(quote_nullable(d.value), ', ' ORDER BY d.key)))
      FROM jsonb_each_text('{"name": "X", "date_source": "birthday_date", "subject_template": "s", "text_template": "t"}'::jsonb || changes) AS d;
END
$$;
SELECT changes, test.type_error(changes::jsonb) FROM unnest(ARRAY[
    '{"name": null}', '{"name": ""}', '{"name": "x"}', '{"name": "X Y"}', '{"name": "1X"}', '{"name": "X\nY"}', '{"name": "Ü"}', '{"name": "X:Y"}',
    '{"date_source": "created_at"}', '{"date_source": null}', '{"subject_template": null}', '{"subject_template": ""}', '{"subject_template": "  "}',
    '{"subject_template": "a\nb"}', '{"subject_template": "a\tb"}', '{"subject_template": "{{foo}}"}', '{"text_template": null}', '{"text_template": " "}',
    '{"text_template": "{{#city}}"}', '{"html_template": "{{{first_name}}}"}', '{"send_time": "24:00"}', '{"send_time": "23:59:60"}', '{"send_time": "-01:00"}',
    '{"send_time": null}', '{"feb29_policy": "mar2"}', '{"feb29_policy": null}', '{"cadence": "daily"}', '{"cadence": null}', '{"enabled": null}']) AS changes;
SELECT test.type_error(jsonb_build_object('name', repeat('X', 51))) AS name, test.type_error(jsonb_build_object('subject_template', repeat('x', 256))) AS subject,
       test.type_error(jsonb_build_object('text_template', repeat('x', 1000000))) AS text, test.type_error(jsonb_build_object('html_template', repeat('{{full_name}}', 19000))) AS html;
SELECT test.error($$UPDATE message_types SET text_template = '{{foo}}' WHERE name = 'BIRTHDAY'$$);
SELECT count(*) FROM message_types;
SELECT test.type_error('{"name": "NAME_DAY_2", "date_source": "user_dates", "html_template": "<b>{{full_name}}</b>", "send_time": "23:59:59", "feb29_policy": "skip", "cadence": "once"}');
SELECT test.type_error('{"name": "NAME_DAY_2"}');
SELECT test.type_error(jsonb_build_object('name', repeat('X', 50), 'subject_template', repeat('x', 255)));

-- The version counts changes, active_since is the last enabling; a type keeps its
-- name, and those of the extension stay.
CREATE TABLE test.since AS SELECT name, active_since FROM message_types;
UPDATE message_types SET text_template = text_template;
SELECT left(name, 12) AS name, version, built_in FROM message_types ORDER BY name;
UPDATE message_types SET enabled = false, version = 77, built_in = true WHERE name = 'ANNIVERSARY';
UPDATE message_types SET enabled = true WHERE name = 'ANNIVERSARY';
SELECT left(t.name, 12) AS name, t.version, t.built_in, t.active_since > s.active_since AS later
  FROM message_types t JOIN test.since s USING (name) ORDER BY t.name;
SELECT test.error($$UPDATE message_types SET name = 'Y' WHERE name = 'NAME_DAY_2'$$), test.error($$DELETE FROM message_types WHERE name = 'BIRTHDAY'$$);
SELECT test.error($$INSERT INTO message_types (name, date_source, subject_template, text_template) VALUES ('ANNIVERSARY', 'birthday_date', 's', 't')$$);
-- A dump brings its own row of a type that came with the extension and is as it came.
INSERT INTO message_types (name, date_source, subject_template, text_template, version) VALUES ('BIRTHDAY', 'birthday_date', 'mine', 't', 5);
SELECT name, subject_template, version, built_in FROM message_types WHERE name = 'BIRTHDAY';
-- One of one's own goes, unless dates of users stand in the way.
SELECT test.add('Ann', 'UTC', '1990-05-05');
INSERT INTO user_dates VALUES (test.id('Ann'), 'NAME_DAY_2', '2001-01-01');
SELECT test.error($$DELETE FROM message_types WHERE name = 'NAME_DAY_2'$$);
DELETE FROM user_dates;
DELETE FROM message_types WHERE name = 'NAME_DAY_2';
SELECT left(name, 12) AS name FROM message_types ORDER BY name;

\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA test CASCADE;
DROP EXTENSION birthday_scheduler CASCADE;
