# From one version to the next: with data in it, workers at work, and roles that were
# granted their rights by the old version; the result is what a fresh installation
# has. If library and script differ, the workers idle and say so.
#
# The test makes the two versions: the script that is installed counts as the old one,
# and the same with a change of each kind as the one that the library belongs to.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run ();
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my ($version) = slurp_file("$top/birthday_scheduler.control") =~ /default_version = '(.*)'/;
my $old = '0.9';

# ---- A server of the test's own, whose folder of extensions it may write to.

my ($bindir) = grep { -x "$_/postgres" } split /:/, $ENV{PATH};
my $tree = $bindir;
$tree = dirname($tree) until $tree eq '/' || -e "$tree/stamp";
plan(skip_all => 'the server is not a copy that may be changed: tools/private_pg.sh') if $tree eq '/';
my $own = scratch_dir() . '/pg';
system('cp', '-a', '--', $tree, $own) == 0 or BAIL_OUT("cannot copy $tree");
$ENV{PATH} = $own . substr($bindir, length $tree) . ":$ENV{PATH}";
chomp(my ($control) = `find '$own' -name birthday_scheduler.control`);
my $folder = dirname($control);

my $script = slurp_file("$folder/birthday_scheduler--$version.sql");
my $next = $script;

# change($what, $pattern, $replacement)
sub change
{
	my ($what, $pattern, $replacement) = @_;

	is($next =~ s/$pattern/$replacement/, 1, "the next version has $what");
	return;
}
change('a column more', qr/^    cron_at timestamptz,\n/m, "    cron_at timestamptz,\n    note text,\n");
$next =~ s/(    note text,\n)(    CONSTRAINT (?:.*\n)*?\);\n)/$1$2COMMENT ON COLUMN \@extschema\@.bs_upkeep_log.note IS 'What was noted.';\n/;
change('an index less', qr/^CREATE INDEX idx_users_birthday_timezone [^;]*;\n/m, '');
change('another body', qr/\|\| 'h'\n/, "|| 'hours'\n");
change('another view', qr/CREATE VIEW \@extschema\@\.bs_workers AS\nSELECT /, 'CREATE VIEW @extschema@.bs_workers AS' . "\nSELECT 1 AS mark, ");
change('a function less', qr/^CREATE FUNCTION \@extschema\@\.bs_seed\(.*?^COMMENT ON FUNCTION \@extschema\@\.bs_seed\([^;]*? IS\n'(?:[^']|'')*';\n/ms, '');
change('a function more', qr/^(-- privileges: )/m, <<'SQL' . '-- privileges: ');
CREATE FUNCTION @extschema@.bs_brand_new(number integer)
RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN number + 1;
COMMENT ON FUNCTION @extschema@.bs_brand_new(integer) IS
'One more.';

SQL
unlink "$folder/birthday_scheduler--$version.sql";
append_to_file("$folder/birthday_scheduler--$old.sql", $script);
append_to_file("$folder/birthday_scheduler--$version.sql", $next);
my $update = "$folder/birthday_scheduler--$old--$version.sql";
my $by_hand = <<'SQL';
SET LOCAL search_path = pg_catalog, pg_temp;

ALTER TABLE @extschema@.bs_upkeep_log ADD COLUMN note text;
COMMENT ON COLUMN @extschema@.bs_upkeep_log.note IS 'What was noted.';
DROP INDEX @extschema@.idx_users_birthday_timezone;
DROP FUNCTION @extschema@.bs_seed(integer, boolean);
SQL
append_to_file($update, $by_hand);
my @generate = ("$top/tools/gen_update.py", map { "$folder/birthday_scheduler--$_.sql" } $old, $version, "$old--$version");
my $said;
ok(!IPC::Run::run(\@generate, '<', \undef, '2>', \$said), 'a changed view must be dropped by hand');
like($said, qr/the view bs_workers has changed/, 'and it is named') or diag $said;
append_to_file($update, "DROP VIEW \@extschema\@.bs_workers;\n");
ok(IPC::Run::run(\@generate), 'the rest of the update script is made');
my $made = slurp_file($update);
like($made, qr/CREATE OR REPLACE FUNCTION \@extschema\@\.bs_short\(/, 'it has the changed function');
is(scalar(() = $made =~ /^CREATE /mg), 3, 'and nothing but the changes');

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', extension => 0, mail_url => $catcher->url);

sub create_version
{
	my ($dbname, $which) = @_;

	sql($node, <<"SQL", $dbname);
		SET client_min_messages = warning;
		CREATE EXTENSION birthday_scheduler VERSION '$which';
		SELECT bs_grant('bs_worker', 'worker');
		UPDATE message_types SET send_time = '00:00', active_since = '2000-01-01';
		SELECT bs_resume();
SQL
	return;
}

# ---- The old script under this library: the workers wait and say why; its functions
# work all the same. ALTER EXTENSION UPDATE while they look on, and they begin.

create_version('postgres', $old);
$node->wait_for_log(qr/birthday_scheduler is idle: the extension has version \Q$old\E and the library \Q$version\E; ALTER EXTENSION \.\.\. UPDATE/);
sql($node, 'SELECT bs_seed(50)');
add_due($node, 20, 'old');
is(counts($node, 'old%'), 'SCHEDULED 20', 'the old script plans under the new library');
is(sql($node, q{SELECT jsonb_typeof(bs_health())}), 'object', 'bs_health() answers');
is(sql($node, 'SELECT bs_library_version(), extversion FROM pg_extension WHERE extname = \'birthday_scheduler\''), "$version|$old", 'the two differ');
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
sql($node, 'DELETE FROM bs_upkeep_log; SELECT bs_wake()');
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM bs_upkeep_log WHERE done_by = 'scheduler'}) eq '2' }, 'upkeep'),
	'updated: the scheduler looks after the partitions');
is(log_lines($node, qr/permission denied/), 0, 'updated: nothing was denied');

# ---- Updated with its partitions, it is what a fresh one is. What roles may do is what
# they were granted: functions that are new want bs_grant() again.

sql($node, 'CREATE DATABASE fresh');
create_version('fresh', $version);
sql($node, 'CREATE DATABASE updated');
create_version('updated', $old);
sql($node, 'ALTER EXTENSION birthday_scheduler UPDATE', 'updated');
sql($node, q{SELECT bs_grant('bs_worker', 'worker')}, 'updated');

# The exit code and the lines that differ.
sub compare
{
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my ($out, $err) = ('', '');
	my $same = IPC::Run::run([ "$top/tools/compare_versions.sh", 'fresh', 'updated' ], '<', \undef, '>', \$out, '2>', \$err);
	return ($same, $out . $err);
}
my ($same, $differences) = compare();
ok($same, 'updated, it is the same as made afresh') or diag substr $differences, 0, 4000;

# The comparison is no formality.
sql($node, $_, 'fresh') foreach q{COMMENT ON FUNCTION bs_plan(timestamptz, timestamptz) IS 'x'},
  'ALTER TABLE bs_upkeep_log ALTER COLUMN trouble SET STORAGE plain', 'DROP INDEX idx_users_birthday_date';
($same, $differences) = compare();
ok(!$same, 'what differs is found');
is(scalar(() = $differences =~ /^[-+][^-+]/mg), 5, 'all three') or diag $differences;

# An update runs whatever stands in the caller's path.
sql($node, <<'SQL');
	CREATE DATABASE hostile;
SQL
create_version('hostile', $old);
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
create_version('squatted', $old);
sql($node, 'CREATE FUNCTION bs_brand_new(integer) RETURNS integer LANGUAGE sql RETURN 1', 'squatted');
$node->psql('squatted', 'ALTER EXTENSION birthday_scheduler UPDATE', stderr => \$err);
like($err, qr/function "bs_brand_new" already exists/, 'and are not taken over');
is(sql($node, 'SELECT extversion FROM pg_extension WHERE extname = \'birthday_scheduler\'', 'squatted'), $old, 'then nothing has changed');

# ---- The reverse, a script newer than the library: idle as well, until it fits.

my $offset = -s $node->logfile;
sql($node, q{UPDATE pg_extension SET extversion = '99.0' WHERE extname = 'birthday_scheduler'});
add_due($node, 1, 'newer');
$node->wait_for_log(qr/birthday_scheduler is idle: the extension has version 99\.0 and the library \Q$version\E; .*restart with the other library/, $offset);
ok(wait_for(sub { sql($node, q{SELECT string_agg(DISTINCT state, ' ') FROM bs_workers WHERE worker LIKE '%scheduler%' OR state = 'idle'}) eq 'idle' }, 'the scheduler to be idle'),
	'a newer script: idle');
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
