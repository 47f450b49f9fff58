-- settings.sql: docs/settings.md, from a server that has the library preloaded.
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
SELECT $$# Settings

Made by `tools/gen_docs.sh` from `pg_settings` and `bs_sender --help`; a test compares them.

They stand in `postgresql.conf` or come by `ALTER SYSTEM`, and hold for the whole
server. *reload*: `SELECT pg_reload_conf()` is enough, the workers take it up within
moments. *restart*: only at server start. Without the library in
`shared_preload_libraries` there are no workers, and the settings of the workers are
not there. A bad value is refused, and the server log says why.

`mail_user`, `mail_password_file`, `http_headers_file`, `amqp_url` and
`amqp_password_file` are shown to superusers only. Secrets stand in the files that
three of them name, which must belong to the server's user and be closed to everybody
else; an `amqp_url` with a password in it is refused.

| birthday_scheduler. | default | values | changed by | |
| --- | --- | --- | --- | --- |$$;

CREATE FUNCTION pg_temp.amount(value text, unit text) RETURNS text LANGUAGE sql AS $$
SELECT CASE
           WHEN unit IS NULL OR value::numeric = 0 THEN value
           WHEN unit = 'ms' AND value::numeric % 1000 = 0 THEN pg_temp.amount((value::int / 1000)::text, 's')
           WHEN unit = 's' AND value::numeric % 86400 = 0 THEN value::int / 86400 || ' d'
           WHEN unit = 's' AND value::numeric % 3600 = 0 THEN value::int / 3600 || ' h'
           WHEN unit = 's' AND value::numeric % 60 = 0 THEN value::int / 60 || ' min'
           ELSE value || ' ' || unit
       END
$$;

SELECT format('| %s | %s | %s | %s | %s |',
              replace(name, 'birthday_scheduler.', ''),
              CASE WHEN boot_val = '' THEN 'empty' ELSE '`' || pg_temp.amount(boot_val, unit) || '`' END,
              CASE vartype
                  WHEN 'enum' THEN array_to_string(enumvals, ', ')
                  WHEN 'string' THEN 'text'
                  ELSE pg_temp.amount(min_val, unit) || ' to ' || pg_temp.amount(max_val, unit)
              END,
              CASE context WHEN 'sighup' THEN 'reload' WHEN 'postmaster' THEN 'restart' ELSE context END,
              replace(concat_ws(' ', short_desc, extra_desc), '|', '\|'))
  FROM pg_settings
 WHERE name LIKE 'birthday_scheduler.%'
 ORDER BY name COLLATE "C";

SELECT $$
## bs_sender

Its settings have the same names and come from flags, environment or file
([senders outside of the server](sender.md#settings)). "The server's" is what it takes if it is told
nothing; `max_lateness`, `max_attempts`, `retry_initial`, `retry_max` and `delivery_guarantee` are
always the server's.

| setting | default | |
| --- | --- | --- |$$;
\! "$BS_TOP"/tools/docs/sender.sh table
