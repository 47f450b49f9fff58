# docs/monitoring.md sets up Prometheus and the exporter of Debian: each block of that
# section is run as it stands there, on the files that the packages bring, with /etc
# mapped into a folder of this test, and figures of ours arrive.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use BS::Watch;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $work = scratch_dir();
my $root = "$work/root";
my %port = (9187 => PostgreSQL::Test::Cluster::get_free_port(), 9090 => PostgreSQL::Test::Cluster::get_free_port());
my $node = mail_node('main', database => 'app', extension => 0);

# The role that the exporter's system user may log in as, and no other, as the "peer"
# of Debian's pg_hba.conf has it.
my $unit = slurp_file(BS::Watch::programs() . '/root/lib/systemd/system/prometheus-postgres-exporter.service');
my ($service_user) = $unit =~ /^User=(\S+)/m;
my $me = getpwuid $<;
is($service_user, 'prometheus', 'the exporter runs as a system user of its own');
unlink $node->data_dir . '/pg_hba.conf';
append_to_file($node->data_dir . '/pg_hba.conf', "local all postgres trust\nlocal all all peer map=service\n");
append_to_file($node->data_dir . '/pg_ident.conf', "service $me $service_user\n");
$node->reload;
sql($node, 'CREATE DATABASE app');
create_extension($node, dbname => 'app');

# ---- A machine on which nothing can be broken.

run_command([ 'cp', '-a', BS::Watch::programs() . '/root', $root ]);
mkdir "$work/bin";
sub make_program
{
	my ($name, $script) = @_;

	append_to_file("$work/bin/$name", "#!/bin/sh\n$script\n");
	chmod 0755, "$work/bin/$name";
	return;
}
make_program('sudo', 'exec "$@"');
make_program($_, qq{echo "$_ \$*" >>$work/calls}) foreach qw(apt-get systemctl);
make_program('promtool', 'exec ' . BS::Watch::programs() . '/promtool "$@"');

# What stands in the text, and what it is here.
sub mapped
{
	my ($text) = @_;

	$text =~ s{(?<![\w.])/etc/}{$root/etc/}g;
	$text =~ s{/run/postgresql}{$node->host}ge;
	$text =~ s{(?<=localhost:)(\d+)}{$port{$1} // $1}ge;
	return $text;
}

sub shell
{
	my ($text) = @_;
	my $out = '';

	local $ENV{PATH} = "$work/bin:$ENV{PATH}";
	IPC::Run::run([ 'bash', '-euo', 'pipefail', '-c', mapped($text) ], '<', \undef, '>', \$out, '2>&1', init => sub { chdir $top });
	return ($?, $out);
}

# ---- The services, as their units start them.

my %running;

sub start_service
{
	my ($name) = @_;
	my $text = slurp_file("$root/lib/systemd/system/$name.service");
	my ($program, $arguments) = $text =~ m{^ExecStart=/usr/bin/(\S+) *(.*)$}m;
	my ($file) = $text =~ m{^EnvironmentFile=-?(\S+)$}m;
	my %environment = (ARGS => '');

	foreach my $line (split /\n/, slurp_file("$root$file"))
	{
		$environment{$1} = $2 if $line =~ /^(\w+)=["']?(.*?)["']?$/;
	}
	my $number = $name eq 'prometheus' ? 9090 : 9187;
	my @more = $name eq 'prometheus'
	  ? ("--config.file=$root/etc/prometheus/prometheus.yml", "--storage.tsdb.path=$work/metrics")
	  : ();
	$arguments =~ s/\$ARGS/$environment{ARGS}/;
	return $running{$name} = BS::Watch->service($port{$number}, $name eq 'prometheus' ? '/-/ready' : '/',
		[ BS::Watch::programs() . "/$program", (split ' ', $arguments), "--web.listen-address=127.0.0.1:$port{$number}", @more ],
		%environment, PGPORT => $node->port);
}

# ---- Block by block.

my ($section) = slurp_file("$top/docs/monitoring.md") =~ /^## Prometheus.*?\n(.*)\z/ms;
my @blocks = $section =~ /(?<=\n\n)((?:^    .*\n)+)/mg;
my $figures = 0;

foreach my $block (@blocks)
{
	$block =~ s/^    //mg;
	my ($first) = split /\n/, $block;

	if ($block =~ /^(?:CREATE|GRANT)/)
	{
		is(eval { $node->safe_psql('app', $block); 'done' }, 'done', $first) or diag $@;
	}
	elsif ($block =~ /^curl/)
	{
		foreach my $line (split /\n/, $block)
		{
			ok(wait_for(sub { (shell($line))[0] == 0 }, $line, 60), $line);
			$figures++;
		}
	}
	else
	{
		my ($code, $out) = shell($block);

		is($code, 0, $first) or diag $out;
		if ($block =~ /systemctl restart (.*)/)
		{
			foreach my $name (split ' ', $1) { ok(eval { start_service($name) }, "$name starts") or diag $@; }
		}
	}
}
is($figures, 2, 'figures were asked for on both pages');
my $calls = -e "$work/calls" ? slurp_file("$work/calls") : '';
like($calls, qr/^apt-get install -y prometheus prometheus-postgres-exporter$/m, 'the packages are those that were unpacked');

# ---- What came of it: the exporter is a target, and the rules are there.

SKIP:
{
	skip 'no Prometheus', 3 unless $running{prometheus};
	my $prometheus = $running{prometheus};
	my $homepage = JSON::PP->new->decode(slurp_file("$top/META.json"))->{resources}{homepage} // 'nowhere';
	my @rules = map { @{ $_->{rules} } } @{ $prometheus->api('rules')->{groups} };

	ok( wait_for(sub { @{ $prometheus->api('query', query => 'up{job="postgres"} == 1')->{result} } }, 'the target', 60),
		'the exporter is scraped, and knows of the server itself');
	cmp_ok(scalar @rules, '>', 10, 'the alerts are loaded');
	is(join(' ', grep { $_->{annotations}{runbook_url} !~ m{^\Q$homepage\E/docs/runbook\.md#birthdayscheduler\w+$} } @rules),
		'', 'each links the runbook by a whole address');
}

# ---- An application has a table "users" of its own, and the extension a schema.

sql($node, 'CREATE DATABASE beside; CREATE ROLE watcher LOGIN');
append_to_file($node->data_dir . '/pg_ident.conf', "service $me watcher\n");
$node->reload;
sql($node, 'CREATE TABLE users (); CREATE SCHEMA birthday; CREATE EXTENSION birthday_scheduler SCHEMA birthday;
	GRANT EXECUTE ON FUNCTION birthday.bs_metrics TO watcher', 'beside');

sub figures
{
	my $exporter = BS::Watch->exporter($node, 'beside', role => 'watcher');
	my $count = grep { /^birthday_scheduler_/ } keys %{ $exporter->scrape };

	$exporter->stop;
	return $count;
}
is(figures(), 0, 'the exporter does not find the schema');
my ($advice) = $section =~ /`(GRANT USAGE ON SCHEMA birthday [^`]*)`/;
sql($node, $advice =~ s/\bprometheus\b/watcher/gr =~ s/\bapp\b/beside/r, 'beside');
cmp_ok(figures(), '>', 20, 'it does by what the text says');

$_->stop foreach values %running;
$node->stop;
done_testing();
