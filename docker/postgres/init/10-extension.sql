-- The extension, the role of its workers, and the upkeep of the months by pg_cron.

CREATE EXTENSION pg_cron;
CREATE EXTENSION birthday_scheduler;

CREATE ROLE birthday_worker LOGIN;
SELECT bs_grant('birthday_worker', 'worker');

SELECT bs_install_cron();
