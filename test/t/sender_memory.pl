# bs_sender under valgrind: bursts by both kinds of queue, reloads, a stop in mid-burst.
# No error, nothing lost at the end, and what it holds at rest does not grow.
#
# With the server under valgrind as well ("tools/run_tests.sh valgrind") its log is
# counted with those of the server's processes.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Sender;
use BS::Test;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils ();
use Test::More;

# A process has a tenth of its usual speed.
BEGIN { $ENV{BS_TEST_SLOWNESS} //= 3 }

my $count = 2000;
my $dir = scratch_dir();
my $logs = $ENV{BS_VALGRIND_LOGS} // $dir;
my $tools = abs_path(dirname(__FILE__) . '/../..') . '/tools';
my $said = `valgrind --version 2>&1`;
plan(skip_all => 'there is no valgrind; tools/setup.sh valgrind installs it') if $? != 0;

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, senders => 1, mail_url => '', lease => '60s', queue => 'postgres');
grant_sender($node);
my $port = BS::Sender::free_port();
my $sender = BS::Sender->new($node, 'one',
	mail_url => $catcher->url, mail_connections => 4, mail_timeout => '15s',
	amqp_url => $broker->url, listen => "127.0.0.1:$port",
	command => [
		split(/ /, 'valgrind --tool=memcheck --leak-check=full --show-leak-kinds=definite,indirect,possible'
			  . ' --errors-for-leak-kinds=definite,indirect,possible --error-limit=no --num-callers=60 --gen-suppressions=all'),
		"--suppressions=$tools/valgrind.supp", "--vgdb-prefix=$dir/vgdb", "--log-file=$logs/%p.log" ]);
my @pids;

sub start
{
	$sender->start;
	push @pids, $sender->{pid};
	return;
}

sub burst
{
	my ($prefix, $number) = @_;

	add_due($node, $number, $prefix);
	return each_once($node, $catcher, $prefix, $number, $prefix, seconds => 120);
}

# What it holds, in bytes, by valgrind's own count.
sub held
{
	my ($what) = @_;
	my $found;

	wait_for(sub { $sender->metric('messages{step="unrecorded"}') == 0 && $sender->metric('messages{step="waiting"}') == 0 }, 'rest');
	my $report = `vgdb --vgdb-prefix=$dir/vgdb --pid=$sender->{pid} leak_check summary 2>&1`;
	$found += tr/,//dr foreach $report =~ /(?:definitely lost|indirectly lost|possibly lost|still reachable): ([\d,]+) /g;
	ok($found, "$what: what is held is known") or diag($report);
	diag "$what: $found bytes";
	return $found // 0;
}

# ---- By both kinds of queue: the second time as much as the first.

start();
foreach my $queue (qw(postgres rabbitmq))
{
	set_conf($node, queue => $queue);
	$sender->set;
	wait_for(sub { $sender->metric('broker_up') }, 'the broker') if $queue eq 'rabbitmq';
	burst("${queue}a", $count);
	is($sender->metric('copies_total') > 0 ? 'copies' : 'none', $queue eq 'rabbitmq' ? 'copies' : 'none', "$queue: its way");
	$sender->set(mail_reply_to => "again\@example.com");
	$sender->page($_) foreach qw(health metrics nothing);
	my $before = held("$queue, once");
	burst("${queue}b", $count);
	foreach my $n (1 .. 5)
	{
		$sender->set(mail_reply_to => "again$n\@example.com");
		$sender->page($_) foreach qw(health metrics nothing);
	}
	cmp_ok(held("$queue, twice") - $before, '<', 12288, "$queue: it does not grow");
}
is($sender->stop, 0, 'it ends as asked');

# ---- Stopped in mid-burst, with the relay at work on some.

foreach my $queue (qw(postgres rabbitmq))
{
	my $prefix = "${queue}c";

	set_conf($node, queue => $queue);
	start();
	write_script($catcher, { rules => [ { phase => 'body', delay_ms => 20 } ] });
	add_due($node, $count, $prefix);
	ok(wait_for(sub { keys %{ $catcher->arrivals($prefix) } > $count / 10 }, 'a part of the mails', 60), "$prefix: in mid-burst");
	is($sender->stop, 0, "$prefix: it ends as asked");
	cmp_ok(scalar(keys %{ $catcher->arrivals($prefix) }), '<', $count, "$prefix: in mid-burst");
	write_script($catcher, { rules => [] });
	start();
	each_once($node, $catcher, $prefix, $count, $prefix, attempts => 2, seconds => 120);
	is($sender->stop, 0, "$prefix: the next one as well");
}

# ---- What valgrind found: nothing at all.

foreach my $pid (@pids)
{
	my $log = "$logs/$pid.log";

	like(-e $log ? PostgreSQL::Test::Utils::slurp_file($log) : 'no log', qr/ERROR SUMMARY: 0 errors/, "process $pid: no error, nothing lost");
}
$node->stop;
done_testing();
