# From version 1.0 to this one: with data in it, workers at work, and roles that were
# granted their rights by the old version; the result is what a fresh installation
# has. And where library and script differ, the workers idle and say so.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my ($version) = PostgreSQL::Test::Utils::slurp_file("$top/birthday_scheduler.control") =~ /default_version = '(.*)'/;
my @old = map { /--([^-]+)\.sql$/ } glob("$top/sql/versions/*.sql");
my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', extension => 0, mail_url => $catcher->url);

sub create_version
{
	my ($dbname, $old) = @_;

	sql($node, <<"SQL", $dbname);
		SET client_min_messages = warning;
		CREATE EXTENSION birthday_scheduler VERSION '$old';
		SELECT bs_grant('bs_worker', 'worker');
		UPDATE message_types SET send_time = '00:00', active_since = '2000-01-01';
		SELECT bs_resume();
SQL
	return;
}

# ---- The old script under this library: the workers wait and say why; its functions
# work all the same. ALTER EXTENSION UPDATE while they look on, and they begin.

cmp_ok(scalar(@old), '>=', 1, 'there is an older version');
create_version('postgres', '1.0');
$node->wait_for_log(qr/birthday_scheduler is idle: the extension has version 1\.0 and the library \Q$version\E; ALTER EXTENSION \.\.\. UPDATE/);
sql($node, 'SELECT bs_seed(50)');
add_due($node, 20, 'old');
is(counts($node, 'old%'), 'SCHEDULED 20', 'the old script plans under the new library');
is(sql($node, q{SELECT jsonb_typeof(bs_health())}), 'object', 'bs_health() answers');
is(sql($node, 'SELECT bs_library_version(), extversion FROM pg_extension WHERE extname = \'birthday_scheduler\''), "$version|1.0", 'the two differ');
is(scalar($catcher->mails), 0, 'nothing is sent');
my $rows = 'SELECT count(*), md5(string_agg(m::text, \',\' ORDER BY m.id)) FROM message_logs m';
set_conf($node, mail_url => '');
my $before = sql($node, $rows);
my @pids = worker_pids($node, '');
sql($node, 'ALTER EXTENSION birthday_scheduler UPDATE');
is(sql($node, $rows), $before, 'an update loses no row and changes none');
set_conf($node, mail_url => $catcher->url);
ok(wait_settled($node, 'old%', 30), 'updated: mail goes out');
is(counts($node, 'old%'), 'SENT 20', 'updated: all of it');
is(scalar($catcher->mails), 20, 'updated: once each');
is_deeply([ worker_pids($node, '') ], \@pids, 'updated: by the same processes');
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM bs_upkeep_log WHERE done_by = 'scheduler'}) eq '2' }, 'upkeep'),
	'updated: the scheduler needs no new rights for its new work');
is(log_lines($node, qr/permission denied/), 0, 'updated: nothing was denied');

# ---- Every older version, updated with its partitions, is what a fresh one is. What
# roles may do is what they were granted: functions that are new want bs_grant() again.

sql($node, 'CREATE DATABASE fresh');
create_version('fresh', $version);
foreach my $old (@old)
{
	(my $dbname = "from_$old") =~ tr/./_/;
	sql($node, "CREATE DATABASE $dbname");
	create_version($dbname, $old);
	sql($node, 'ALTER EXTENSION birthday_scheduler UPDATE', $dbname);
	sql($node, q{SELECT bs_grant('bs_worker', 'worker')}, $dbname);
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my ($out, $err) = ('', '');
	my $same = IPC::Run::run([ "$top/tools/compare_versions.sh", 'fresh', $dbname ], '<', \undef, '>', \$out, '2>', \$err);
	ok($same, "$old updated is the same as $version made afresh") or diag substr($out . $err, 0, 4000);
}

# The comparison is no formality.
sql($node, $_, 'fresh') foreach q{COMMENT ON FUNCTION bs_plan(timestamptz, timestamptz) IS 'x'},
  'ALTER TABLE bs_upkeep_log ALTER COLUMN trouble SET STORAGE plain', 'DROP INDEX idx_users_birthday_date';
{
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my ($out, $err) = ('', '');
	ok(!IPC::Run::run([ "$top/tools/compare_versions.sh", 'fresh', 'from_1_0' ], '<', \undef, '>', \$out, '2>', \$err), 'what differs is found');
	is(scalar(() = $out =~ /^[-+][^-+]/mg), 5, 'all three') or diag $out;
}

# An update runs whatever stands in the caller's path.
sql($node, <<'SQL');
	CREATE DATABASE hostile;
SQL
create_version('hostile', '1.0');
sql($node, <<'SQL', 'hostile');
	CREATE SCHEMA evil;
	CREATE FUNCTION evil.format(text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
	CREATE FUNCTION public.format(text, text, name) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
	CREATE FUNCTION public.format(text, text, text, text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
	CREATE FUNCTION public.format(text, regclass, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
	CREATE FUNCTION evil.eq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'hijacked'; END$$;
	CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.eq);
	SET search_path = evil, pg_catalog, public;
	ALTER EXTENSION birthday_scheduler UPDATE;
	SELECT count(*) FROM bs_cron_jobs();
	SELECT count(*) FROM bs_health(), bs_create_partitions();
SQL
is(sql($node, 'SELECT extversion FROM pg_extension WHERE extname = \'birthday_scheduler\'', 'hostile'), $version, 'objects of others do not come between');
my $err;
sql($node, 'CREATE DATABASE squatted');
create_version('squatted', '1.0');
sql($node, 'CREATE TABLE bs_upkeep_log (mine integer)', 'squatted');
$node->psql('squatted', 'ALTER EXTENSION birthday_scheduler UPDATE', stderr => \$err);
like($err, qr/relation "bs_upkeep_log" already exists/, 'and are not taken over');
is(sql($node, 'SELECT extversion FROM pg_extension WHERE extname = \'birthday_scheduler\'', 'squatted'), '1.0', 'then nothing has changed');

# ---- The reverse, a script newer than the library: idle as well, until it fits.

my $offset = -s $node->logfile;
sql($node, q{UPDATE pg_extension SET extversion = '99.0' WHERE extname = 'birthday_scheduler'});
add_due($node, 1, 'newer');
$node->wait_for_log(qr/birthday_scheduler is idle: the extension has version 99\.0 and the library \Q$version\E; .*restart with the other library/, $offset);
is(sql($node, q{SELECT string_agg(DISTINCT state, ' ') FROM bs_workers WHERE worker LIKE '%scheduler%' OR state = 'idle'}), 'idle', 'a newer script: idle');
sql($node, qq{UPDATE pg_extension SET extversion = '$version' WHERE extname = 'birthday_scheduler'});
ok(wait_settled($node, 'newer%', 40), 'it fits again: mail goes out');
cmp_ok(log_lines($node, qr/is idle/, $offset), '<=', 3, 'each worker said it once');
unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');

# ---- DROP EXTENSION, amid mail and without CASCADE, leaves nothing.

write_script($catcher, { rules => [ { phase => 'body', rcpt => 'drop*', delay_ms => 50 } ] });
my $objects = <<'SQL';
	SELECT string_agg(line, E'\n' ORDER BY line COLLATE "C") FROM (
	    SELECT 'relation ' || oid::regclass FROM pg_class WHERE relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
	    UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace
	    UNION ALL SELECT 'type ' || oid::regtype FROM pg_type WHERE typnamespace = 'public'::regnamespace
	    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger
	    UNION ALL SELECT 'constraint ' || conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace
	    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
	    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace
	    UNION ALL SELECT 'extension ' || extname FROM pg_extension
	    UNION ALL SELECT 'role ' || rolname FROM pg_roles
	    UNION ALL SELECT 'rights ' || privtype::text || count(*) FROM pg_init_privs GROUP BY privtype
	    UNION ALL SELECT 'comments ' || count(*) FROM pg_description
	    UNION ALL SELECT 'inheritance ' || count(*) FROM pg_inherits
	    UNION ALL SELECT 'dependencies on roles ' || count(*) FROM pg_shdepend
	     WHERE classid <> 'pg_namespace'::regclass       -- USAGE of the schema, which is not ours
	       AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
	    UNION ALL SELECT 'default rights ' || count(*) FROM pg_default_acl) AS o (line)
SQL
sql($node, 'CREATE DATABASE dropped');
my $bare = sql($node, $objects, 'dropped');
create_extension($node, dbname => 'dropped');
sql($node, q{SELECT bs_grant('bs_worker', 'reader')}, 'dropped');
set_conf($node, database => 'dropped');
add_due($node, 300, 'drop', dbname => 'dropped');
my $sent = $catcher->mails;
ok(wait_for(sub { $catcher->mails > $sent + 20 }, 'a few mails'), 'sending is under way');
my $took = timed(sub { sql($node, 'DROP EXTENSION birthday_scheduler', 'dropped') });
diag sprintf('DROP EXTENSION while sending: %.3f s', $took);
cmp_ok($took, '<', slow(2), 'DROP EXTENSION does not wait');
is(sql($node, $objects, 'dropped'), $bare, 'and nothing is left');
is(sql($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0, 'no lock either');
$offset = -s $node->logfile;
create_extension($node, dbname => 'dropped');
add_due($node, 5, 'again', dbname => 'dropped');
ok(wait_settled($node, 'again%', 30, dbname => 'dropped'), 'made again, it works again');

$node->stop;
done_testing();
