# The months are looked after: by the scheduler, by the real pg_cron that lives in
# another database, and again by the scheduler when that does not run; and nobody
# waits while old ones are dropped.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use IPC::Run ();
use Test::More;
use Time::HiRes qw(sleep time);

chomp(my $libraries = `pg_config --pkglibdir`);
plan(skip_all => 'there is no pg_cron for this server') unless -e "$libraries/pg_cron.so";

my $node = mail_node('main', extension => 0, database => 'app', retention => '100d', plan_interval => '1h', conf => <<'CONF');
shared_preload_libraries = 'birthday_scheduler, pg_cron'
cron.use_background_workers = on
max_worker_processes = 24
CONF
sql($node, 'CREATE DATABASE app');
create_extension($node, dbname => 'app');

sub app { my ($statement) = @_; return sql($node, $statement, 'app'); }

sub error_of
{
	my ($statement, $dbname) = @_;

	$node->psql($dbname // 'app', $statement, stderr => \my $err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $err;
}

sub parts
{
	my ($pattern) = @_;

	return app("SELECT coalesce(string_agg(name, ' ' ORDER BY name COLLATE \"C\"), 'none') FROM bs_partition_list() WHERE name ~ '$pattern'");
}

sub upkeep { return app(q{SELECT concat_ws(' ', status, done_by, pg_cron, reason)
	FROM jsonb_to_record(bs_health() #> '{parts,upkeep}') AS u (status text, done_by text, pg_cron text, reason text)}); }

# ---- Without pg_cron the scheduler drops what is older than "retention", and says
# what it had to keep.

ok(wait_for(sub { app(q{SELECT count(*) FROM bs_upkeep_log WHERE done_at IS NOT NULL AND task = 'retention'}) }, 'the first upkeep'),
	'the scheduler looks after the months at once');
my $last = app(q{SELECT bs_partition_name('message_logs', (bs_month(now()) + interval '12 months')::date)});
is(parts("^$last\$"), $last, 'twelve months ahead are there');
app(<<'SQL');
	SELECT count(*) FROM bs_create_partitions_between('2020-01-01', '2020-03-01');
	INSERT INTO users (first_name, last_name, email, timezone) VALUES ('First', 'Last', 'old@example.com', 'Etc/UTC');
	INSERT INTO message_logs (user_id, message_type, message_content, subject, recipient_email, recipient_name,
	                          local_date, scheduled_send_time, status, idempotency_key)
	SELECT u.id, 'BIRTHDAY', 'x', 'x', 'x', 'x', d::date, d, s, d
	  FROM users u, (VALUES ('2020-02-02', 'QUEUED'), ('2020-03-03', 'SENT')) AS m (day, s), CAST(m.day AS timestamptz) AS d;
	UPDATE bs_upkeep_log SET done_at = NULL;
	SELECT bs_wake();
SQL
ok(wait_for(sub { parts('2020') eq 'message_logs_2020_02' }, 'the old months to go'), 'old months go, but not with unfinished messages')
  or diag parts('2020');
ok(wait_for(sub { upkeep() =~ /^warning scheduler absent message_logs_2020_02 is kept: unfinished messages are in it$/ }, 'bs_health()'),
	'bs_health() says why') or diag upkeep();
like(server_log($node), qr/LOG:  birthday_scheduler dropped what is older than "birthday_scheduler.retention": message_ledger_2020_01, /, 'the log says what went');
app('DELETE FROM message_logs');
app('UPDATE bs_upkeep_log SET done_at = NULL; SELECT bs_wake()');
ok(wait_for(sub { parts('2020') eq 'none' && upkeep() eq 'ok scheduler absent' }, 'the last to go'), 'once they are finished it goes too');

# A bad value is refused, with the reason.
like(error_of(q{ALTER SYSTEM SET birthday_scheduler.retention = '61d'}), qr/22023.*DETAIL:  It must be 0 or at least 62 d\..*HINT:  .*last two months/s, 'a short retention is refused');

# ---- Where pg_cron is loaded but not created: said so. Then it is registered, from a
# database that is not its own, and repeating that changes nothing.

like(error_of('SELECT bs_install_cron()'), qr/ERROR:  55000: pg_cron 1.4 or newer is not there.*HINT:.*CREATE EXTENSION pg_cron/s, 'no pg_cron: said so');
# A schema of that name with functions of others in it is not pg_cron.
my $planted = 'AS $$BEGIN RAISE LOG $q$hijacked as %$q$, current_user; RETURN NULL; END$$';
sql($node, <<"SQL");
	CREATE ROLE mallory;
	CREATE SCHEMA cron AUTHORIZATION mallory;
	SET ROLE mallory;
	CREATE TABLE cron.job (jobid bigint, schedule text, command text, nodename text, nodeport integer, database text, username text, active boolean, jobname name);
	CREATE TABLE cron.job_run_details (jobid bigint);
	CREATE FUNCTION cron.schedule_in_database(text, text, text, text, text, boolean) RETURNS bigint LANGUAGE plpgsql $planted;
	CREATE FUNCTION cron.alter_job(bigint, text, text, text, text, boolean) RETURNS bigint LANGUAGE plpgsql $planted;
	CREATE FUNCTION cron.unschedule(bigint) RETURNS boolean LANGUAGE plpgsql $planted;
	INSERT INTO cron.job (jobid, jobname) VALUES (1, 'birthday_scheduler partitions in app');
SQL
like(error_of('SELECT bs_install_cron()'), qr/ERROR:  55000: pg_cron 1.4 or newer is not there/, 'a schema "cron" of others: pg_cron is not there');
is(app('SELECT count(*) FROM bs_uninstall_cron()'), 0, 'and has no jobs of ours');
sql($node, $_) foreach split /\n/, app('SELECT command FROM bs_cron_jobs()');
is(log_lines($node, qr/LOG:  hijacked/), 0, 'nothing in it was run');
sql($node, 'DROP SCHEMA cron CASCADE');

sql($node, 'CREATE EXTENSION pg_cron');
like(error_of(q{SELECT bs_install_cron('every now and then')}), qr/invalid schedule/, 'a bad schedule is refused');
is(sql($node, 'SELECT count(*) FROM cron.job'), 0, 'and nothing is registered');
my $every_minute = q{SELECT string_agg(j, ', ' ORDER BY j) FROM bs_install_cron('* * * * *', '* * * * *', '* * * * *') AS j};
is(app($every_minute), join(', ', map { "birthday_scheduler $_ in app" } qw(partitions recovery retention)), 'three jobs');
my $jobs = 'SELECT jobid, jobname, schedule, command, database, username, active FROM cron.job ORDER BY jobid';
my $before = sql($node, $jobs);
is(app($every_minute), '', 'again: none');
is(app('SELECT count(*) FROM bs_install_cron()'), 0, 'without schedules: none');
is(sql($node, $jobs), $before, 'and nothing has changed');
my $installed = time;

# What pg_cron is to find: an old month, and one that is missing; the scheduler
# leaves both to it.
app("SELECT count(*) FROM bs_create_partitions_between('2020-01-01', '2020-01-01'); DROP TABLE $last; SELECT bs_wake()");
is(upkeep(), 'ok scheduler alive', 'bs_health() knows of pg_cron');

# ---- Meanwhile, in a database without workers: whoever drops waits for nobody, and
# nobody for him.

create_extension($node);
sql($node, q{SELECT count(*) FROM bs_create_partitions_between('2019-01-01', '2020-12-01')});
my $holder_sql = <<'SQL';
	INSERT INTO users (first_name, last_name, email, timezone) VALUES ('First', 'Holder', 'holder@example.com', 'Etc/UTC');
	SELECT count(*) FROM message_logs;
	SELECT pg_sleep(20);
SQL
my ($holder_out, $holder_err) = ('', '');
my $holder = IPC::Run::start([ 'psql', '-Xqt', '-d', $node->connstr('postgres'), '-c', $holder_sql ],
	'<', \undef, '>', \$holder_out, '2>', \$holder_err);
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%pg_sleep(20)%'}) }, 'the holder'),
	'somebody has an open transaction');
my ($drop_out, $drop_err) = ('', '');
my $drop_sql = q{SELECT action, reason, count(*) FROM bs_drop_partitions('5 years', false) GROUP BY 1, 2};
my $dropper = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', $drop_sql ], '<', \undef, '>', \$drop_out, '2>', \$drop_err);
my $worst = 0;
my $start = time;
while (time < $start + 1)
{
	my $took = timed(sub { sql($node, q{UPDATE users SET last_name = 'x' WHERE false}) });
	$worst = $took if $took > $worst;
}
$dropper->finish;
diag sprintf('while dropping is tried: the slowest UPDATE took %.3f s', $worst);
is($drop_out, "kept|in use by another session|48\n", 'all is kept: it is in use') or diag $drop_err;
cmp_ok($worst, '<', slow(1), 'nobody waits long for the one who waits');
$holder->kill_kill;
sql($node, q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()});
ok( wait_for(sub { sql($node, $drop_sql) !~ /kept/ }, 'the months to go'), 'without it they go, in a few calls');
is(sql($node, q{SELECT count(*) FROM bs_partition_list() WHERE past < '2021-01-02'}), 0, 'all of them');

# ---- DROP EXTENSION leaves no job behind: without it a job takes itself out.

sql($node, 'SELECT count(*) FROM bs_install_cron()');
sql($node, 'SET client_min_messages = error; DROP EXTENSION birthday_scheduler');
is(sql($node, q{SELECT count(*) FROM cron.job WHERE database = 'postgres'}), 3, 'jobs of an extension that was dropped');
# What others put in the place of the function is not run, nor what they put in the place
# of a type: the owner of a database may set a path in which theirs comes first.
sql($node, "CREATE FUNCTION public.bs_upkeep(text, text) RETURNS text LANGUAGE plpgsql $planted; GRANT CREATE ON SCHEMA public TO mallory");
sql($node, "CREATE FUNCTION public.planted(text) RETURNS boolean LANGUAGE plpgsql $planted");
sql($node, "CREATE DOMAIN public.$_ AS pg_catalog.$_ CHECK (public.planted(VALUE::pg_catalog.text))") foreach qw(name text bool oid);
my $offset = -s $node->logfile;
sql($node, "SET search_path = public, pg_catalog; $_") foreach split /\n/, sql($node, q{SELECT command FROM cron.job WHERE database = 'postgres'});
is(log_lines($node, qr/LOG:  hijacked/, $offset), 0, 'run nothing of the same name');
is(sql($node, q{SELECT count(*) FROM cron.job WHERE database = 'postgres'}), 0, 'are gone when they have run');

# A schema that does not belong to a superuser: the job fails and says why.
sql($node, 'CREATE DATABASE other');
sql($node, 'CREATE EXTENSION birthday_scheduler; SELECT bs_resume(); ALTER DATABASE other OWNER TO mallory', 'other');
like(error_of(app(q{SELECT command FROM bs_cron_jobs() WHERE task = 'partitions'}), 'other'), qr/55000: schema "public" does not belong to a superuser/, 'a schema of an ordinary owner: the job says so');
sql($node, 'ALTER DATABASE other OWNER TO CURRENT_USER', 'other');
sql($node, app(q{SELECT command FROM bs_cron_jobs() WHERE task = 'partitions'}), 'other');
is(sql($node, q{SELECT done_by FROM bs_upkeep_log WHERE task = 'partitions'}, 'other'), 'pg_cron', 'of a superuser: it works');

# ---- The real pg_cron runs once a minute.

my $ran = wait_for(sub { app(q{SELECT count(*) FROM bs_upkeep_log WHERE cron_at IS NOT NULL}) eq '3' }, 'pg_cron', 150);
diag sprintf('pg_cron ran %.0f s after bs_install_cron()', time - $installed);
ok($ran, 'pg_cron has run all three jobs') or diag sql($node, 'SELECT * FROM cron.job_run_details');
is(parts("^$last\$"), $last, 'the missing month is there');
is(parts('2020'), 'none', 'the old one is gone');
is(app(q{SELECT string_agg(task || ' ' || done_by, ', ' ORDER BY task) FROM bs_upkeep_log}), 'partitions pg_cron, recovery pg_cron, retention pg_cron', 'pg_cron did it');
is(upkeep(), 'ok pg_cron alive', 'bs_health() says so');
is(sql($node, q{SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'}), 0, 'no run has failed');

# ---- It does not run any more: after a day the scheduler takes over.

is(app(q{SELECT count(*) FROM bs_install_cron('0 0 1 1 *', '0 0 1 1 *', '0 0 1 1 *')}), 3, 'three jobs changed');
is(sql($node, 'SELECT count(DISTINCT schedule), count(*) FROM cron.job'), '1|3', 'to another schedule');
app(<<"SQL");
	UPDATE bs_upkeep_log SET cron_since = now() - interval '9 days', cron_at = now() - interval '26 hours', done_at = now() - interval '2 hours';
	DROP TABLE $last;
	SELECT bs_wake();
SQL
ok(wait_for(sub { parts("^$last\$") eq $last }, 'the scheduler'), 'pg_cron is stale: the scheduler does it');
like(upkeep(), qr/^warning scheduler stale pg_cron has not run its jobs since .*: the scheduler does the upkeep$/, 'bs_health() says so');

# ---- Taken out, nothing is left; pg_cron may go first as well.

is(app('SELECT count(*) FROM bs_uninstall_cron()'), 3, 'three jobs taken out');
is(app('SELECT count(*) FROM bs_uninstall_cron()'), 0, 'again: none');
is(sql($node, 'SELECT (SELECT count(*) FROM cron.job), (SELECT count(*) FROM cron.job_run_details)'), '0|0', 'nothing is left');
is(upkeep(), 'ok scheduler absent', 'bs_health() says so');
app('SELECT count(*) FROM bs_install_cron()');
sql($node, 'DROP EXTENSION pg_cron');
is(app('SELECT count(*) FROM bs_uninstall_cron()'), 0, 'pg_cron was dropped: nothing to take out');
is(app('SELECT count(cron_since) FROM bs_upkeep_log'), 0, 'and no trace of it');

# A name that is taken stops nothing else, and is reported by the scheduler.
app(<<"SQL");
	DROP TABLE $last;
	CREATE TABLE $last (mine integer);
	UPDATE bs_upkeep_log SET done_at = NULL;
	SELECT bs_wake();
SQL
ok(wait_for(sub { app(q{SELECT bs_health() #>> '{parts,partitions,reason}'}) eq qq{relation "$last" is in the way of the partition of that name} }, 'bs_health()'),
	'a name that is taken: bs_health() says so');
is(app(q{SELECT bs_health() #>> '{parts,partitions,status}'}), 'warning', 'it is no error yet');
is(app(q{SELECT bs_health() #>> '{parts,planning,status}'}), 'ok', 'and planning goes on');

unlike(server_log($node), qr/PANIC|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
