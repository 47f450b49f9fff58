-- bad input: values of settings that are refused, with a detail that says why (I45).
-- What would be taken is not tried here: it would be in the server's configuration.
CREATE EXTENSION birthday_scheduler;

-- Numbers, words, and units.
SELECT format('ALTER SYSTEM SET birthday_scheduler.%I = %L', k, v) FROM (VALUES
    ('horizon', '0'), ('horizon', '31d'), ('horizon', '-1'), ('horizon', 'soon'), ('horizon', '2 parsecs'),
    ('plan_interval', '0'), ('max_lateness', '59s'), ('max_lateness', '15d'), ('lease', '1s'), ('lease', '99999999999999999999'),
    ('mail_timeout', '0'), ('mail_connections', '0'), ('mail_connections', '65'), ('sender_memory', '4095'), ('max_attempts', '0'), ('max_attempts', '1001'),
    ('retry_initial', '0'), ('retry_max', '0'), ('rate_limit', '-1'), ('rate_limit', 'NaN'), ('rate_limit', 'Infinity'), ('breaker', '1.1'), ('breaker', '-0.1'), ('breaker', 'nan'),
    ('amqp_prefetch', '0'), ('amqp_prefetch', '8193'), ('retention', '1d'), ('retention', '61d'), ('retention', '-1'), ('senders', '0'), ('senders', '65'),
    ('queue', 'kafka'), ('queue', ''), ('mail_tls', 'sometimes'), ('delivery_guarantee', 'exactly_once'), ('nothing', 'x')) AS s (k, v)
\gexec

-- Where mail goes: no other scheme, no login, no control. A value that may hold a
-- password is not repeated.
SELECT format('ALTER SYSTEM SET birthday_scheduler.mail_url = %L', v) FROM unnest(ARRAY[
    'x', 'relay.example.com', 'file:///etc/passwd', 'ftp://relay.example.com', 'gopher://relay.example.com:25/', 'dict://relay.example.com', 'ldap://relay.example.com', 'javascript:alert(1)',
    'smtp://', 'smtp:relay.example.com', 'https://', 'smtp://relay.example.com:0', 'smtp://relay.example.com:65536', 'smtp://relay.example.com:x', 'smtp://user:canary@relay.example.com', 'https://user:canary@api.example.com/',
    'smtp://relay example.com', E'smtp://relay.example.com\r\nX: y', E'http://api.example.com/\nx', 'smtp://[::1', 'smtp://relay.example.com/?x#y', 'https:///api.example.com', 'smtp://' || repeat('x', 3000)]) AS v
\gexec
SELECT format('ALTER SYSTEM SET birthday_scheduler.amqp_url = %L', v) FROM unnest(ARRAY[
    'amqp://us:canary@broker', 'amqp://us:canary@broker:port', 'amqp://a, amqps://us:@broker', 'x', 'http://broker', 'amqp://', 'amqp:///vhost', 'amqp://us@', 'amqp://us@broker:0', 'amqp://us@broker:65536', 'amqp://us@broker:port', 'amqp://us@broker/a%00b', 'amqp://us%0d@broker',
    'amqp://us@broker,', ',amqp://us@broker', 'amqp://us@broker,http://x', 'amqp://1,amqp://2,amqp://3,amqp://4,amqp://5,amqp://6,amqp://7,amqp://8,amqp://9', 'amqp://us@broker/' || repeat('v', 256), 'amqp://us@' || repeat('x', 3000)]) AS v
\gexec
SELECT format('ALTER SYSTEM SET birthday_scheduler.%I = %L', k, v) FROM unnest('{amqp_exchange,amqp_queue,amqp_dead_letter_exchange,amqp_dead_letter_queue}'::text[]) AS k, unnest(ARRAY['', 'amq.direct', '%s', 'a.%', E'a\nb', repeat('x', 256)]) AS v
\gexec

-- Which databases: names, separated by commas, each of them once.
SELECT format('ALTER SYSTEM SET birthday_scheduler.database = %L', v) FROM unnest(ARRAY[
    '', ' ', ',', 'a,', ',a', 'a,,b', 'a b', '"a', '"a"b', '""', 'a, b, a', 'a, "a"', repeat('x', 64), 'a, ' || repeat('y', 64), (SELECT string_agg('d' || n, ', ') FROM generate_series(1, 65) n)]) AS v
\gexec
ALTER SYSTEM SET birthday_scheduler.database = a, b, a;
ALTER SYSTEM SET birthday_scheduler.max_databases = 0;
ALTER SYSTEM SET birthday_scheduler.max_databases = 65;

-- Who it comes from: one mailbox, in one line.
SELECT format('ALTER SYSTEM SET birthday_scheduler.%I = %L', k, v) FROM unnest('{mail_from,mail_reply_to}'::text[]) AS k, unnest(ARRAY[
    'x', 'a@b', '<a@example.com', 'a@example.com>', 'Name a@example.com', 'A <a@example.com>, B <b@example.com>', 'a@example.com, b@example.com', E'A\r\nBcc: b@example.com <a@example.com>', E'a@example.com\n',
    '"A <a@example.com>', 'A <josé@example.com>', 'A <a@[127.0.0.1]>', 'A <>', repeat('x', 1000) || ' <a@example.com>', U&'A\0085 <a@example.com>', U&'A \2029 <a@example.com>']) AS v
\gexec
SELECT format('ALTER SYSTEM SET birthday_scheduler.mail_list_unsubscribe = %L', v) FROM unnest(ARRAY[
    'x', 'http://example.com/', 'https:/example.com', 'javascript:alert(1)', E'https://example.com/\r\nBcc: x', 'https://example.com/a b', 'https://example.com/>,<mailto:x', 'https://exämple.com/', E'mailto:x\tx', 'https://example.com/' || repeat('x', 900)]) AS v
\gexec

-- Nobody but a superuser sets anything, and nobody for a role, a database or a session,
-- where everybody could read it.
SET birthday_scheduler.amqp_url = 'amqp://us:canary@broker';
ALTER ROLE CURRENT_USER SET birthday_scheduler.amqp_url = 'amqp://us:canary@broker';
ALTER DATABASE contrib_regression SET birthday_scheduler.mail_password_file = '/x';
CREATE ROLE bs_test_settings;
SET ROLE bs_test_settings;
ALTER SYSTEM SET birthday_scheduler.mail_url = '';
SET birthday_scheduler.mail_url = 'smtp://relay.example.com';
SHOW birthday_scheduler.amqp_url;
RESET ROLE;
DROP ROLE bs_test_settings;
SELECT count(*) FROM pg_file_settings WHERE name LIKE 'birthday_scheduler.%';

SET client_min_messages = error;
DROP EXTENSION birthday_scheduler;
