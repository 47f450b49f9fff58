-- people.sql: the extension, its worker role, people in eleven zones, and their
-- nine o'clock, moved.  Called by tools/demo.sh; :spacing is the time between
-- two mails, such as "1 second".
\set ON_ERROR_STOP 1
SET client_min_messages = warning;

CREATE TEMPORARY TABLE people (
    n integer, first_name text, last_name text, mailbox text,
    zone text, city text, country text, age integer, years integer);

-- The last two stand in for zones whose clocks are just being put back: there
-- the same time is shown twice, and the second one counts.
INSERT INTO people VALUES
(1, 'Teuea', 'Toatu', 'teuea', 'Pacific/Kiritimati', 'Tabwakea', 'Kiribati', 44, NULL),
(2, '花子', '山田', 'hanako', 'Asia/Tokyo', 'Tokyo', 'Japan', 28, 4),
(3, 'सीता', 'श्रेष्ठ', 'sita', 'Asia/Kathmandu', 'Kathmandu', 'Nepal', 36, NULL),
(4, 'கவிதா', 'ராமன்', 'kavitha', 'Asia/Kolkata', 'Chennai', 'India', 32, NULL),
(5, 'Дмитро', 'Шевченко', 'dmytro', 'Europe/Kyiv', 'Kyiv', 'Ukraine', 40, 8),
(6, 'Zoë', 'O''Connor', 'zoe', 'Europe/London', 'London', 'United Kingdom', 24, NULL),
(7, 'João', 'Conceição', 'joao', 'America/Sao_Paulo', 'São Paulo', 'Brazil', 52, 12),
(8, 'Siobhán', 'MacDonald', 'siobhan', 'America/St_Johns', 'St. John''s', 'Canada', 60, NULL),
(9, 'مريم', 'حداد', 'maryam', 'America/New_York', 'New York', 'United States', 36, 4),
(10, 'Leilani 🌺', 'Kealoha', 'leilani', 'Pacific/Honolulu', 'Honolulu', 'United States', 48, NULL),
(11, 'Sina', 'Faʻafetai', 'sina', 'Pacific/Pago_Pago', 'Pago Pago', 'American Samoa', 56, 16),
(12, 'Wanjirũ', 'Kamau', 'wanjiru', 'Africa/Nairobi', 'Nairobi', 'Kenya', 44, NULL),
(13, 'Ñusta', 'Quispe', 'nusta', 'America/Lima', 'Lima', 'Peru', 32, NULL);

CREATE EXTENSION birthday_scheduler;
-- Made by tools/demo.sh before the server is told to run its workers as it.
SELECT bs_grant('demo_worker', 'worker') \g /dev/null

BEGIN;

-- When each mail is to leave: one after the other, from a few seconds on.
CREATE TEMPORARY TABLE occasions AS
SELECT kind || '_' || upper(regexp_replace(split_part(zone, '/', 2), '[^A-Za-z]', '_', 'g')) AS type_name,
       o.*, at AT TIME ZONE zone AS local_time
  FROM (SELECT p.*, k.kind, k.how_long,
               date_trunc('second', now()) + interval '4 seconds'
               + (row_number() OVER (ORDER BY k.kind DESC, p.n) - 1) * interval :'spacing' AS at
          FROM (SELECT * FROM people
                 WHERE bs_send_time(zone, (now() AT TIME ZONE zone)::date, (now() AT TIME ZONE zone)::time) = now()
                 ORDER BY n LIMIT 11) p
               CROSS JOIN LATERAL (VALUES ('BIRTHDAY', age), ('ANNIVERSARY', years)) AS k (kind, how_long)
         WHERE k.how_long IS NOT NULL) o;

-- A message type has one send time for everybody, by everybody's own clock. So
-- each zone gets types of its own here, with the words of the built-in ones.
INSERT INTO message_types (name, date_source, subject_template, text_template, html_template, send_time)
SELECT o.type_name, 'user_dates', t.subject_template, t.text_template, t.html_template, o.local_time::time
  FROM occasions o JOIN message_types t ON t.name = o.kind;

-- The people, and their dates; ages are multiples of four, so that this works on
-- 29 February too.
CREATE TEMPORARY TABLE added AS
SELECT p.n, bs_add_user(p.first_name, p.last_name, p.mailbox || '@example.com', p.zone,
                        location_city => p.city, location_country => p.country) AS user_id
  FROM people p
 WHERE EXISTS (SELECT FROM occasions o WHERE o.n = p.n);
INSERT INTO user_dates (user_id, message_type, event_date)
SELECT a.user_id, o.type_name, (o.local_time::date - make_interval(years => o.how_long))::date
  FROM occasions o JOIN added a USING (n);

COMMIT;
