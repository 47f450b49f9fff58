-- What the exporter logs in as: the server's own figures and ours, no tables.

CREATE ROLE exporter LOGIN CONNECTION LIMIT 5;
GRANT pg_monitor TO exporter;
GRANT USAGE ON SCHEMA public TO exporter;
GRANT EXECUTE ON FUNCTION bs_health, bs_metrics TO exporter;
