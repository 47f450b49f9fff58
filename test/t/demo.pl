# The demo starts, shows its mails, starts again over itself, and ends without
# a trace.  Short times between the mails; the rest is what "make demo" runs.

use strict;
use warnings;

use BS::Test;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $dir = scratch_dir() . '/demo';

delete local @ENV{ grep { /^PG/ } keys %ENV };

# Exit code and all that was said.
sub demo
{
	my @arguments = @_;
	my $said = '';

	IPC::Run::run([ "$top/tools/demo.sh", '--dir', $dir, @arguments ],
		'<', \undef, '>', \$said, '2>&1', IPC::Run::timeout(100));
	return ($? >> 8, $said);
}

sub server_pid
{
	open(my $file, '<', "$dir/data/postmaster.pid") or return 0;
	my $pid = <$file>;
	return $pid + 0;
}

sub broker_pid
{
	open(my $file, '<', "$dir/broker/pid") or return 0;
	my $pid = <$file>;
	return $pid + 0;
}

sub catcher_pid
{
	open(my $file, '<', "$dir/mail/ports.json") or return 0;
	my ($pid) = <$file> =~ /"pid": (\d+)/;
	return $pid;
}

END
{
	my $code = $?;
	demo('stop') if defined $dir;
	$? = $code;
}

my ($code, $said) = demo('psql', '-c', 'SELECT 1');
isnt($code, 0, 'before the demo there is no psql');
like($said, qr/make demo starts one/, 'and that is said');

($code, $said) = demo('start', '--spacing', '200 milliseconds');
is($code, 0, 'the demo succeeds') or diag $said;
like($said, qr/16 mails for people in 11 time zones: each arrived once, none early/,
	'all mails arrived');
like($said, qr/^    To: 花子 山田 <hanako\@example\.com>$/m,
	'one is shown, decoded');
like($said, qr/^ +birthday +America\/St_Johns .* \d+ ms$/m,
	'all are in the table');

# What the README shows of it, but for times: the same lines.
sub masked
{
	my ($line) = @_;

	$line =~ s/\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d\d [A-Z][a-z]{2}\b/DAY/g;
	$line =~ s/\d+/0/g;
	$line =~ s/\s+/ /g;
	return $line;
}
my ($shown) = slurp_file("$top/README.md") =~ /^(    \d\d:\d\d:\d\d UTC .*?)\n\n(?=\S)/ms;
my %was_said = map { masked(" $_") => 1 } split /\n/, $said;
my @shown = grep { /\S/ } split /\n/, $shown // '';
is(scalar(@shown), 5, 'the README shows five lines');
is(join("\n", grep { !$was_said{ masked(" $_") } } @shown), '', 'which the demo says');
like($said, qr{http://127\.0\.0\.1:\d+/}, 'the page is named');
my @first = (server_pid(), catcher_pid());

($code, $said) = demo('start', '--spacing', '200 milliseconds');
is($code, 0, 'it succeeds again') or diag $said;
ok(wait_for(sub { kill(0, @first) == 0 }, 'the end of both'),
	'what ran before has ended');
my @second = (server_pid(), catcher_pid());
is(kill(0, @second), 2, 'server and mail catcher are still running');

($code, $said) = demo('psql', '-XAt', '-c',
	"SELECT rolsuper, count(*) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid"
	  . " WHERE backend_type LIKE 'birthday_scheduler%' GROUP BY 1");
is($said, "f|4\n", 'the workers run as a role that is no superuser');
ok(!-e "$dir/broker", 'there is no broker unless it is asked for');

($code, $said) = demo('seed');
is($code, 0, 'sample people can be added') or diag $said;

($code, $said) = demo('stop');
is($code, 0, 'it ends') or diag $said;
ok(wait_for(sub { kill(0, @second) == 0 }, 'the end of both'),
	'nothing runs any more');
ok(!-e $dir, 'and nothing is left');

# The same with a broker between planning and sending.
($code, $said) = demo('start', '--queue', 'postgresql');
isnt($code, 0, 'an unknown queue is refused');
like($said, qr/unknown queue: postgresql \(postgres or rabbitmq\)/, 'by name');

($code, $said) =
  demo('start', '--spacing', '200 milliseconds', '--queue', 'rabbitmq');
is($code, 0, 'the demo succeeds through RabbitMQ') or diag $said;
like($said, qr/16 mails for people in 11 time zones: each arrived once, none early/,
	'all mails arrived');
like($said,
	qr/^Through RabbitMQ: 16 published and confirmed, 16 consumed, 0 refused; 0 in the dead letters\.$/m,
	'all of them through the broker');
like($said, qr{/tools/private_rabbitmq\.sh ctl \S+/broker list_queues$}m,
	'how to look into it is said');
my @third = (server_pid(), catcher_pid(), broker_pid());
is(kill(0, @third), 3, 'server, mail catcher and broker are still running');
is((stat("$dir/broker/password"))[2] & 0777, 0600,
	'nobody else reads the password for the broker');

($code, $said) = demo('stop');
is($code, 0, 'it ends') or diag $said;
ok(wait_for(sub { kill(0, @third) == 0 }, 'the end of all three'),
	'nothing runs any more');
ok(!-e $dir, 'and nothing is left');

done_testing();
