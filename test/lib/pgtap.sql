-- The database of test/pgtap: the extension in the schema public, pgTAP in "tap".
SET client_min_messages = warning;
DROP DATABASE IF EXISTS pgtap;
CREATE DATABASE pgtap TEMPLATE template0;
ALTER DATABASE pgtap SET search_path = public, tap;
\connect pgtap
SET client_min_messages = warning;
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
CREATE EXTENSION birthday_scheduler SCHEMA public;
