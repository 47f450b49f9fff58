-- Passwords of the roles that log in, from the secrets; tools/docker.sh makes them.

\if :{?secrets}
\else
\set secrets /run/secrets
\endif
\set http `cat :'secrets'/postgrest_password`
\set metrics `cat :'secrets'/exporter_password`
\set sender `cat :'secrets'/sender_password`

SELECT length(:'http') >= 16 AND length(:'metrics') >= 16 AND length(:'sender') >= 16 AS there
\gset
\if :there
ALTER ROLE authenticator PASSWORD :'http';
ALTER ROLE exporter PASSWORD :'metrics';
ALTER ROLE birthday_sender PASSWORD :'sender';
\else
DO $$ BEGIN RAISE EXCEPTION 'postgrest_password, exporter_password or sender_password is missing among the secrets'; END $$;
\endif
