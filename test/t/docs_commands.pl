# What README and docs show is run: every block of SQL against a server, with the
# answers that stand below it; every block of settings is taken by the server; every
# block of shell runs, or another test that is named here runs it. Names that the
# text mentions exist.
#
# In an answer "…" stands for what differs from run to run, and the width of columns
# does not matter; in a statement '…' and '8f14…' are ids.

use strict;
use warnings;

use BS::Test;
use BS::Broker;
use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $work = scratch_dir();
my $node = BS::Test->new_node('docs', start => 1);
my @generated = qw(docs/settings.md docs/sql.md);    # test/t/docs.pl compares them

# ---- what is not run here, and what runs it

my @elsewhere = (
	[ 'README.md', 'make demo ', 'test/t/demo.pl', 'and "make test" is what runs this' ],
	[ 'README.md', 'make && sudo make install', 'tools/private_pg.sh', 'make install, into a folder; every test stands on it' ],
	[ 'README.md', '\d\d:\d\d:\d\d UTC', 'test/t/demo.pl', 'compares it with what the demo says' ],
	[ 'docs/docker.md', 'make docker-up', 'tools/check_docker.sh', 'there is no Docker here' ],
	[ 'docs/docker.md', 'curl|token=', 'test/t/docker.pl', 'the same functions by SQL, role by role' ],
	[ 'docs/docker.md', 'docker build', 'tools/try_image.sh', 'builds the file line by line' ],
	[ 'docs/monitoring.md', 'sudo |curl |DATA_SOURCE_NAME', 'test/t/monitoring_docs.pl', 'runs them on the files of the packages' ],
	[ 'docs/packaging.md', 'make deb', 'tools/try_deb.sh', 'installs it on a fresh Debian' ],
	[ 'docs/performance.md', 'make bench', 'test/t/bench.pl', 'every case, small' ],
	[ 'docs/testing.md', 'make test', 'tools/run_tests.sh', 'is what runs this' ],
	[ 'docs/testing.md', 'make && sudo make install', 'tools/private_pg.sh', 'as above' ],
	[ 'docs/testing.md', 'make installcheck', 'tools/test_kinds.sh', 'calls it, kind by kind' ],
	[ 'docs/testing.md', 'make chaos', 'tools/test_kinds.sh', 'the kind "chaos"' ],
	[ 'docs/queue.md', '\{"version":1', 'test/t/broker_bodies.pl', 'the form of a copy' ],
	[ 'docs/(?:scaling|performance).md', '(?s).*(?:÷|×)', 'test/bench/cases.py', 'arithmetic with what is measured there' ],
	[ 'docs/sender.md', 'hostssl', 'test/t/sender_settings.pl', 'connects by TLS' ],
	[ 'docs/sender.md', '# /etc/birthday_scheduler/bs_sender.conf', 'test/t/sender_settings.pl', 'reads such a file' ],
	[ 'docs/sender.md', 'bs_sender --check', 'test/t/sender_settings.pl', 'and there is no systemd' ],
	[ 'docs/sender.md', 'adduser --system', 'debian/birthday-scheduler-sender.postinst', 'the package makes the same user' ],
	[ '.*', '(?s).*──', 'docs/architecture.md', 'a drawing' ]);

# ---- what a page needs before it is run, and which ids it means, in their order

my %before = (
	'docs/planning.md' => q{SELECT bs_add_user('Ann', 'Bee', 'ann@example.com', 'UTC', '1990-05-05')},
	'docs/monitoring.md' => 'SELECT bs_seed(1)',
	'docs/operations.md' => 'SELECT bs_seed(1)',
	'docs/runbook.md' => 'SELECT bs_seed(100)',
	'docs/result.md' => q{SELECT bs_seed(100); UPDATE users SET birthday_date = (now() + interval '1 day')::date - interval '30 years'},
	'docs/partitions.md' => 'SELECT bs_seed(1); CREATE EXTENSION pg_cron',
	'docs/upgrade.md' => 'SELECT bs_seed(1)');
my $somebody = 'SELECT id FROM users ORDER BY created_at DESC, id LIMIT 1';
my %ids = (
	'docs/result.md' => [ q{SELECT id FROM message_logs WHERE status = 'SCHEDULED' LIMIT 1}, q{SELECT id FROM message_logs WHERE status = 'FAILED' LIMIT 1},
		q{SELECT id FROM message_logs WHERE status_reason = 'by_hand' LIMIT 1} ]);
# A million rows take their time.
my %fewer = ('docs/performance.md' => [ [ qr/\b1000000\b/, '20000' ], [ qr/^ +1000$/m, '20' ] ]);
# Blocks that are files, written or compared.
my %written = ('^first_name,last_name,' => 'people.csv');
my %compared = ('^BEGIN:VCALENDAR' => 'team.ics');

# Answers that stand alone, of moments that do not come again: their columns are
# compared; test/sql/monitoring*.sql has the values.
my %columns = ('^ planned +\|' => 'SELECT * FROM bs_status;', '^ +day +\|' => 'SELECT * FROM bs_daily;', '^ +name +\|' => 'SELECT * FROM bs_today;');

# ---- reading pages

# Every block of code of a page: [line, text].  Four blanks or more, after an empty line.
sub blocks
{
	my ($page) = @_;
	my @blocks;
	my ($number, $empty, $block) = (0, 1, undef);

	foreach my $line (split /\n/, slurp_file("$top/$page"))
	{
		$number++;
		if ($line eq '') { $empty = 1; $block->[1] .= "\n" if $block; next; }
		if ($line =~ /^ {4}/ && ($block || $empty))
		{
			push @blocks, $block = [ $number, '' ] unless $block;
			$block->[1] .= "$line\n";
		}
		else { $block = undef; }
		$empty = 0;
	}
	foreach my $each (@blocks)
	{
		my ($indent) = sort { $a <=> $b } map { length } $each->[1] =~ /^( +)\S/mg;
		$each->[1] =~ s/^ {$indent}//mg;
		$each->[1] =~ s/\n+\z/\n/;
	}
	return @blocks;
}

my $keyword = qr/(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|GRANT|REVOKE|\\copy)\b/;

# The statements of a block, each with the answer below it: [statement, answer].
sub statements
{
	my ($text) = @_;
	my @statements;
	my $open = 0;

	foreach my $line (split /\n/, $text)
	{
		if (!$open && $line =~ /^(?:$keyword|\\)/) { push @statements, [ '', '' ]; $open = 1; }
		if ($open)
		{
			$statements[-1][0] .= "$line\n";
			$open = 0 if $line =~ /;\s*(?:--.*)?$/ || $line =~ /^\\/;
		}
		else { $statements[-1][1] .= "$line\n"; }
	}
	return @statements;
}

# How an answer is compared: without widths.
sub plain
{
	my ($text) = @_;

	$text =~ s/\r//g;
	$text =~ s/-{2,}/--/g;
	$text =~ s/[ \t]+/ /g;
	$text =~ s/^ | $//mg;
	$text =~ s/\n+/\n/g;
	$text =~ s/^\n|\n$//g;
	return $text;
}

sub is_like
{
	my ($got, $shown, $what) = @_;
	my $pattern = join '.*?', map { quotemeta } split /…/, plain($shown), -1;

	like(plain($got), qr/\A$pattern\z/, $what);
	return;
}

# ---- running

sub psql
{
	my ($dbname, $sql) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($dbname), '-f', '-' ],
		'<', \$sql, '>', \$out, '2>', \$err, init => sub { chdir $work });
	return ($? == 0, $out, $err);
}

sub value
{
	my ($dbname, $sql) = @_;

	return $node->safe_psql($dbname, $sql);
}

sub run_sql
{
	my ($page, $line, $text, $dbname) = @_;

	foreach my $statement (statements($text))
	{
		my ($sql, $shown) = @$statement;

		$sql =~ s/'(?:8f14)?…'/"'" . value($dbname, $ids{$page} && @{ $ids{$page} } ? shift @{ $ids{$page} } : $somebody) . "'"/ge
		  unless $sql =~ /interval '…'/;
		foreach my $shrink (@{ $fewer{$page} // [] })
		{
			s/$shrink->[0]/$shrink->[1]/g foreach $sql, $shown;
		}
		my ($fine, $out, $err) = psql($dbname, $sql);
		my ($first) = split /\n/, $sql;
		ok($fine, "$page:$line: $first") or diag $err;
		is_like($out, $shown, "$page:$line: its answer") if $shown =~ /\S/;
	}
	return;
}

# Each setting, as ALTER SYSTEM has it checked; in the README, for good.
sub run_conf
{
	my ($page, $line, $text, $for_good) = @_;
	my @settings = $text =~ /^([\w.]+ = '[^']*')/mg;

	cmp_ok(scalar(@settings), '>', 0, "$page:$line: there are settings");
	foreach my $setting (@settings)
	{
		my ($fine, $out, $err) = psql('postgres', "ALTER SYSTEM SET $setting;");
		ok($fine, "$page:$line: $setting") or diag $err;
	}
	if ($for_good)
	{
		$node->append_conf('postgresql.conf', $text);
		psql('postgres', 'ALTER SYSTEM RESET ALL;');
		$node->restart;
	}
	psql('postgres', 'ALTER SYSTEM RESET ALL;');
	return;
}

# Programs that would change the machine are done without, and rabbitmqctl speaks to a
# broker of this test.
my $broker;
my $with_vhost = 0;

sub make_program
{
	my ($path, $script) = @_;

	append_to_file($path, $script);
	chmod 0755, $path;
	return;
}

sub run_shell
{
	my ($page, $line, $text, $dbname) = @_;
	my ($out, $bin) = ('', "$work/bin");

	if ($text =~ /rabbitmqctl/ && !$broker)
	{
		$broker = BS::Broker->new('docs');
		mkdir $bin;
		make_program("$bin/rabbitmqctl", qq{#!/bin/sh\nexec "$BS::Broker::script" ctl "$broker->{dir}" "\$@"\n});
		make_program("$bin/$_", "#!/bin/sh\nexit 0\n") foreach qw(apt-get chown);
	}
	$text =~ s{/etc/postgresql}{$work}g;
	# README and docs/queue.md make the same.
	$text = "rabbitmqctl delete_vhost birthday; rabbitmqctl delete_user birthday_scheduler\n$text"
	  if $text =~ /add_vhost/ && $with_vhost++;
	# The workers would have made it.
	$text = "rabbitmqctl set_permissions -p birthday guest .\\* .\\* .\\*\namqp-declare-queue -u " . $broker->url . "/birthday -q $1\n$text"
	  if $text =~ /(?:purge|delete)_queue -p birthday (\S+)/;
	local $ENV{PATH} = "$bin:$ENV{PATH}";
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = $dbname;
	IPC::Run::run([ 'bash', '-euo', 'pipefail', '-c', $text ], '<', \undef, '>', \$out, '2>&1',
		init => sub { chdir $work });
	is($?, 0, "$page:$line: " . (split /\n/, $text)[0]) or diag $out;
	return;
}

# ---- every page, the README first, each in a database of its own

my @pages = grep { my $page = $_; !grep { $_ eq $page } @generated }
  ('README.md', map { 'docs/' . basename($_) } sort glob("$top/docs/*.md"));
my %used;

foreach my $page (@pages)
{
	my $dbname = $page eq 'README.md' ? 'app' : 'docs_' . basename($page, '.md');
	my @blocks = blocks($page);

	next unless @blocks;
	value('postgres', "CREATE DATABASE $dbname");
	if ($page eq 'docs/partitions.md')
	{
		$node->append_conf('postgresql.conf', "shared_preload_libraries = 'birthday_scheduler, pg_cron'\ncron.database_name = '$dbname'");
		$node->restart;
	}
	value($dbname, 'SET client_min_messages = warning; CREATE EXTENSION birthday_scheduler') unless $page eq 'README.md';
	value($dbname, $before{$page}) if $before{$page};

	foreach my $block (@blocks)
	{
		my ($line, $text) = @$block;
		my ($first) = split /\n/, $text;
		my ($other) = grep { $page =~ /^$_->[0]$/ && $text =~ /\A(?:$_->[1])/ } @elsewhere;
		my ($write) = grep { $text =~ /$_/ } keys %written;
		my ($columns) = grep { $text =~ /$_/ } keys %columns;
		my ($compare) = grep { $text =~ /$_/ } keys %compared;

		if ($other)
		{
			$used{ $other->[0] . $other->[1] } = 1;
			ok(-e "$top/$other->[2]", "$page:$line: $first: $other->[2], $other->[3]");
		}
		elsif ($write) { append_to_file("$work/$written{$write}", $text); }
		elsif ($compare) { is_like(slurp_file("$work/$compared{$compare}"), $text, "$page:$line: $compared{$compare}"); }
		elsif ($columns)
		{
			my ($fine, $out) = psql($dbname, $columns{$columns});
			is(plain((split /\n/, $text)[0]), plain((split /\n/, $out)[0]), "$page:$line: the columns of $columns{$columns}");
		}
		elsif ($text =~ /\A$keyword/ || $text =~ /\A\\/) { run_sql($page, $line, $text, $dbname); }
		elsif ($text =~ /\A[\w.]+ = /) { run_conf($page, $line, $text, $page eq 'README.md' && $text =~ /shared_preload/); }
		else { run_shell($page, $line, $text, $dbname); }
	}
}
is(join(', ', grep { !$used{$_} } map { $_->[0] . $_->[1] } @elsewhere), '', 'nothing is excused that is not there');

# ---- names in the text

my %known = map { $_ => 1 } split /\n/, value('docs_users', q{
	SELECT proname FROM pg_proc WHERE proname LIKE 'bs\_%'
	UNION SELECT relname FROM pg_class WHERE relname LIKE 'bs\_%'
	UNION SELECT name FROM pg_settings WHERE name LIKE 'birthday_scheduler.%'});
my @unknown;

foreach my $page (@pages)
{
	my $text = slurp_file("$top/$page");

	foreach my $name ($text =~ /\b(bs_[a-z_]+)\(/g, $text =~ /\b(birthday_scheduler\.[a-z_0-9]+)\b(?! *(?:\(|--))/g)
	{
		push @unknown, "$page: $name"
		  unless $known{$name} || $name =~ /\.(?:so|control|json|yaml|sql|log)$/;
	}
}
is(join("\n", @unknown), '', 'every function and setting that a page names exists');

done_testing();
