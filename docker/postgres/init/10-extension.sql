-- The extension, the roles of its workers and of senders elsewhere, and the upkeep of
-- the months by pg_cron.

CREATE EXTENSION pg_cron;
CREATE EXTENSION birthday_scheduler;

CREATE ROLE birthday_worker LOGIN;
SELECT bs_grant('birthday_worker', 'worker');

CREATE ROLE birthday_sender LOGIN;
SELECT bs_grant('birthday_sender', 'sender');

SELECT bs_install_cron();
