# Backup with the tools that everyone uses: plain, custom with four hands, in three
# sections, and the whole cluster; from the schema public and another; all rows,
# partitions and indexes come over, and a second dump is equal to the first.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = scratch_dir();
my $node = BS::Test->new_node('main', start => 1);
my $there = BS::Test->new_node('there', start => 1);
my $whole = BS::Test->new_node('whole', start => 1);
my %schema_of = (plain => 'public', named => 'Birth Days');

sub run_ok
{
	my ($what, @command) = @_;
	my ($out, $err) = ('', '');
	my $result = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);

	ok($result, $what) or diag $err;
	return $err;
}

sub at { my ($server, $dbname) = @_; return ('-h', $server->host, '-p', $server->port, '-d', $dbname); }

# What a dump says, without the lines that differ from run to run; sorted, because
# rows have no order.
sub essence
{
	my ($file) = @_;

	return join "\n", sort grep { $_ ne '' && !/^--|^\\(un)?restrict/ } split /\n/, PostgreSQL::Test::Utils::slurp_file($file);
}

# ---- A database with everything in it: types of its own, changed ones, dates, history,
# an attached month of another name, one that was dropped by hand; roles with rights.

sql($node, 'CREATE ROLE bs_worker LOGIN');
foreach my $dbname (sort keys %schema_of)
{
	my $schema = $schema_of{$dbname};

	sql($node, "CREATE DATABASE $dbname");
	sql($node, <<"SQL", $dbname);
		SET client_min_messages = warning;
		CREATE SCHEMA IF NOT EXISTS "$schema";
		CREATE EXTENSION birthday_scheduler SCHEMA "$schema";
		SET search_path = "$schema", pg_catalog;
		SELECT bs_grant('bs_worker', 'worker'), bs_grant('bs_worker', 'reader');
		SELECT bs_seed(150);
		INSERT INTO message_types (name, date_source, subject_template, text_template, html_template, feb29_policy, send_time)
		VALUES ('NAME_DAY', 'user_dates', 'Name day', E'Hey\\t{{full_name}}\\\\\\n\\\\.\\n', '<p>{{full_name}}</p>', 'mar1', '07:30');
		INSERT INTO user_dates (user_id, message_type, event_date) SELECT id, 'NAME_DAY', now()::date + 1 FROM users;
		UPDATE message_types SET subject_template = 'Best wishes', enabled = false WHERE name = 'ANNIVERSARY';
		UPDATE message_types SET html_template = '<b>{{full_name}}</b>' WHERE name = 'BIRTHDAY';
		DELETE FROM user_dates WHERE user_id IN (SELECT id FROM users ORDER BY id LIMIT 5);
		SELECT bs_delete_user(id) FROM users ORDER BY id LIMIT 3;
		SELECT count(*) FROM bs_create_partitions_between('2019-01-01', '2019-03-01');
		ALTER TABLE message_logs DETACH PARTITION message_logs_2019_02;
		ALTER TABLE message_logs_2019_02 RENAME TO "Old February";
		ALTER TABLE message_logs ATTACH PARTITION "Old February" FOR VALUES FROM ('2019-02-01 00:00+00') TO ('2019-03-01 00:00+00');
		INSERT INTO message_logs (user_id, message_type, message_content, subject, recipient_email, recipient_name, local_date, scheduled_send_time, status, idempotency_key)
		SELECT id, 'BIRTHDAY', E'x\\ty', 'x', 'x', 'x', '2019-02-03', '2019-02-03 09:00+00', 'SENT', id FROM users LIMIT 7;
		DROP TABLE message_logs_2019_03;
		DO \$\$ BEGIN EXECUTE 'DROP TABLE ' || quote_ident(bs_partition_name('message_ledger', (bs_month(now()) + interval '11 months')::date)); END \$\$;
		ALTER TABLE message_logs_2019_01 SET (autovacuum_enabled = off);
		CREATE VIEW "$schema".greetings AS SELECT count(*) FROM message_logs;
SQL
}

# Rows of every table, and all that belongs to the partitions.
my @tables = qw(users user_dates message_types message_logs message_ledger bs_installation);

sub contents
{
	my ($server, $dbname, $schema) = @_;
	my $queries = join ' UNION ALL ', map {
		"SELECT '$_ ' || count(*) || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM $_ t" } @tables;

	return sql($server, <<"SQL", $dbname);
		SET search_path = "$schema", pg_catalog;
		$queries;
		SELECT count(*) FROM pg_inherits;
		SELECT string_agg(pg_get_indexdef(i.indexrelid), ',' ORDER BY i.indexrelid::regclass::text COLLATE "C")
		  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = '"$schema"'::regnamespace;
		SELECT string_agg(conrelid::regclass::text || conname || pg_get_constraintdef(oid), ',' ORDER BY conrelid::regclass::text COLLATE "C", conname)
		  FROM pg_constraint WHERE connamespace = '"$schema"'::regnamespace;
		SELECT string_agg(relname || reloptions::text || relispartition || pg_get_expr(relpartbound, oid), ',' ORDER BY relname COLLATE "C")
		  FROM pg_class WHERE relnamespace = '"$schema"'::regnamespace AND reloptions IS NOT NULL;
		SELECT string_agg(proname || proacl::text, ',' ORDER BY oid::regprocedure::text COLLATE "C")
		  FROM pg_proc WHERE pronamespace = '"$schema"'::regnamespace AND proacl IS NOT NULL;
SQL
}

my %contents;
my %first;
foreach my $dbname (sort keys %schema_of)
{
	$contents{$dbname} = contents($node, $dbname, $schema_of{$dbname});
	like($contents{$dbname}, qr/^users 150.*^message_types 3.*^message_logs [1-9]\d\d/ms, "$dbname: there is something to lose") or diag $contents{$dbname};
	run_ok("$dbname: plain dump", 'pg_dump', at($node, $dbname), '-f', "$dir/$dbname.sql");
	run_ok("$dbname: custom dump", 'pg_dump', at($node, $dbname), '-Fc', '-f', "$dir/$dbname.dump");
	foreach my $section (qw(pre-data data post-data))
	{
		run_ok("$dbname: dump of the section $section", 'pg_dump', at($node, $dbname), "--section=$section", '-f', "$dir/$dbname.$section.sql");
	}
	$first{$dbname} = essence("$dir/$dbname.sql");
}

sub is_complete
{
	my ($what, $server, $dbname, $original) = @_;
	my $schema = $schema_of{$original};

	is(contents($server, $dbname, $schema), $contents{$original}, "$what: everything is there");
	is(sql($server, qq{SELECT "$schema".bs_installation_state()}, $dbname), 'copy', "$what: a copy, and knows it");
	is(sql($server, qq{SELECT count(*) FROM "$schema".bs_upkeep_log}, $dbname), 0, "$what: what was done elsewhere is no matter here");
	run_ok("$what: second dump", 'pg_dump', at($server, $dbname), '-f', "$dir/second.sql");
	ok(essence("$dir/second.sql") eq $first{$original}, "$what: a second dump is equal to the first");
	return;
}

my @psql = ('psql', '-Xq', '-v', 'ON_ERROR_STOP=1');
my @forms = (
	[ 'psql' => sub { my ($from, @to) = @_; run_ok("$from: psql", @psql, @to, '-f', "$dir/$from.sql"); } ],
	[ 'pg_restore -e -j4' => sub { my ($from, @to) = @_; run_ok("$from: pg_restore -e -j4", 'pg_restore', '-e', '-j4', @to, "$dir/$from.dump"); } ],
	[ 'pg_restore -e -1' => sub { my ($from, @to) = @_; run_ok("$from: pg_restore -e -1", 'pg_restore', '-e', '-1', @to, "$dir/$from.dump"); } ],
	[ 'three sections' => sub { my ($from, @to) = @_; run_ok("$from: $_", @psql, @to, '-f', "$dir/$from.$_.sql") foreach qw(pre-data data post-data); } ],
	[ 'pg_restore by section' => sub { my ($from, @to) = @_; run_ok("$from: pg_restore $_", 'pg_restore', '-e', "--section=$_", @to, "$dir/$from.dump") foreach qw(pre-data data post-data); } ]);

sql($there, 'CREATE ROLE bs_worker LOGIN');
my $number = 0;
foreach my $form (@forms)
{
	my ($how, $restore) = @$form;

	foreach my $original (sort keys %schema_of)
	{
		my $dbname = 'copy' . ++$number;

		sql($there, "CREATE DATABASE $dbname TEMPLATE template0");
		$restore->($original, at($there, $dbname));
		is_complete("$original by $how", $there, $dbname, $original);
	}
}

# ---- pg_dumpall into a fresh cluster, roles and all.

run_ok('pg_dumpall', 'pg_dumpall', '-h', $node->host, '-p', $node->port, '-f', "$dir/all.sql");
my $said = run_ok('restored', 'psql', '-Xq', at($whole, 'postgres'), '-f', "$dir/all.sql");
is(join("\n", grep { !/role "postgres" already exists/ } split /\n/, $said), '', 'without a complaint, but that there is a postgres already');
is_complete("$_ by pg_dumpall", $whole, $_, $_) foreach sort keys %schema_of;

# ---- It works where it came to: adopted, planned, and the dropped months are made.

sql($whole, 'SELECT bs_resume()', 'plain');
is(sql($whole, 'SELECT bs_installation_state()', 'plain'), 'adopted', 'bs_resume() adopts');
is(sql($whole, q{SELECT bs_plan() >= 0, bs_health() #>> '{parts,partitions,status}'}, 'plain'), 't|ok', 'it plans, and has all its months');
is(sql($whole, q{SELECT bs_partition_attached('message_ledger', (bs_month(now()) + interval '11 months')::date)}, 'plain'), 't', 'also the one that was dropped by hand');
is(sql($whole, q{SELECT count(*) FROM bs_drop_partitions('1 year', false) WHERE action = 'dropped'}, 'plain'), 5, 'and drops old ones, whatever their names');

# ---- The data alone, into a fresh installation: without its months what was sent would be
# lost, and sent again, so that such a copy is not put to work.

my $months = "SELECT count(*) > 2 FROM bs_create_partitions_between('2019-01-01', (now() + interval '1 year')::date)";
sql($node, q{ALTER TABLE "Old February" RENAME TO message_logs_2019_02}, 'plain');
run_ok('dump of the data only, of months with their usual names', 'pg_dump', at($node, 'plain'), '--data-only', '-f', "$dir/data_only.sql");
sub rows_of { my @at = @_; return sort grep { /^[a-z_]+ \d+[0-9a-f]{32}$/ } split /\n/, contents(@at, 'public'); }
foreach my $with_months (0, 1)
{
	my $dbname = "data_only_$with_months";
	my $what = 'data only' . ($with_months ? ', after the months' : '');

	sql($there, "CREATE DATABASE $dbname TEMPLATE template0");
	sql($there, 'CREATE EXTENSION birthday_scheduler', $dbname);
	is(sql($there, $months, $dbname), 't', "$what: they are made") if $with_months;
	my ($out, $complaints) = ('', '');
	IPC::Run::run([ 'psql', '-Xq', at($there, $dbname), '-f', "$dir/data_only.sql" ], '<', \undef, '>', \$out, '2>', \$complaints);
	is(sql($there, 'SELECT count(*) FROM users', $dbname), 150, "$what: the users are there");
	if ($with_months)
	{
		is($complaints, '', "$what: no complaint");
		is_deeply([ rows_of($there, $dbname) ], [ rows_of($node, 'plain') ], "$what: everything is there");
		sql($there, 'SELECT bs_resume()', $dbname);
		is(sql($there, 'SELECT bs_installation_state()', $dbname), 'adopted', "$what: bs_resume() adopts");
	}
	else
	{
		like($complaints, qr/relation "public.message_ledger_\d{4}_\d\d" does not exist/, "$what: the server complains");
		my ($rc, undef, $err) = $there->psql($dbname, '\set VERBOSITY verbose' . "\nSELECT bs_resume();");
		is($rc, 3, "$what: bs_resume() refuses");
		like($err, qr/ERROR:  55000: this copy came without the months of message_ledger.*HINT:  .*bs_create_partitions_between/s, "$what: and says how");
		sql($there, "$months; SELECT bs_resume()", $dbname);
		is(sql($there, 'SELECT bs_installation_state()', $dbname), 'adopted', "$what: with months it goes on, as one wishes");
	}
}

$_->stop foreach $node, $there, $whole;
done_testing();
