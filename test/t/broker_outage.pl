# A broker that is down, is killed, or takes nothing because it is short of memory
# or disk: messages stay due or QUEUED, and all of them arrive once.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use Test::More;
use Time::HiRes qw(sleep time);

# How long the broker is down.  A minute takes a minute.
my $outage = $ENV{BS_OUTAGE_SECONDS} // 5;

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, mail_url => $catcher->url);

ok(wait_workers($node, 4), 'four workers run');
well($node, 'at first');
my @workers = worker_pids($node, '');

sub rules { return write_script($catcher, { rules => [@_] }); }

sub arrived { return scalar keys %{ $catcher->arrivals($_[0]) }; }

sub queued
{
	my ($prefix) = @_;

	return value($node, "SELECT count(*) FROM message_logs
		WHERE recipient_email LIKE '$prefix%' AND status IN ('QUEUED', 'SENDING', 'SENT')");
}

# ---- Stopped and started again.

my $offset = -s $node->logfile;
$broker->stop;
my $stopped = time;
add_due($node, 100, 'stopped');
trouble($node, qr/broker/, 'stopped', 10);
diag sprintf('stopped: named after %.1f s', time - $stopped);
ok(wait_for(sub { time >= $stopped + $outage }, 'the outage', $outage + 10), "stopped: for $outage s");
is(counts($node, 'stopped%'), 'SCHEDULED 100', 'stopped: the messages stay due');
cmp_ok(log_lines($node, qr/[A-Z]+:  .*birthday_scheduler/, $offset), '<=', 3 * (2 + $outage / 60),
	'stopped: few lines in the log');
$broker->start;
my $started = time;
well($node, 'started again');
each_once($node, $catcher, 'stopped', 100, 'started again');
diag sprintf('started again: all is sent after %.1f s', time - $started);
wait_empty($broker, 'started again');
cmp_ok(log_lines($node, qr/[A-Z]+:  .*birthday_scheduler/, $offset), '<=', 3 * (4 + $outage / 60),
	'started again: few lines in the log');

# ---- Killed in the middle of publishing.

my $unpublished = 0;
foreach my $round (1, 2)
{
	my $pid = $broker->pid;

	# Publishing is quick: as soon as the first are QUEUED.
	add_due($node, 5000, "publish$round-");
	wait_for(sub { queued("publish$round-") > 0 }, 'messages to be QUEUED');
	kill 'KILL', $pid;
	my $found = 5000 - queued("publish$round-");
	diag "killed while publishing: $found of 5000 are not QUEUED";
	$unpublished += $found;
	$broker->kill9;
	trouble($node, qr/broker/, "killed while publishing, round $round");
	$broker->start;
}
cmp_ok($unpublished, '>', 0, 'killed while publishing: some were not QUEUED');
each_once($node, $catcher, 'publish', 10000, 'killed while publishing', seconds => 120);
well($node, 'killed while publishing');
wait_empty($broker, 'killed while publishing');

# ---- Killed in the middle of consuming.  What it had confirmed is there again.

rules({ phase => 'body', rcpt => 'consume*', delay_ms => 50 });
add_due($node, 2000, 'consume');
wait_for(sub { queued('consume') == 2000 }, 'all to be QUEUED');
my $published = broker_stats($node)->{published};
foreach my $round (1, 2)
{
	ok(wait_for(sub { arrived('consume') >= $round * 400 }, 'mails'),
		"killed while consuming, round $round");
	$broker->kill9;
	trouble($node, qr/broker/, "killed while consuming, round $round");
	$broker->start;
}
each_once($node, $catcher, 'consume', 2000, 'killed while consuming');
is(broker_stats($node)->{published}, $published, 'killed while consuming: nothing is published again');
well($node, 'killed while consuming');
wait_empty($broker, 'killed while consuming');

# ---- Alarms: it takes nothing, what it has goes out.

foreach my $kind ('memory', 'disk')
{
	set_conf($node, mail_url => '');
	add_due($node, 50, "held$kind");
	wait_count($node, "held$kind%", 'QUEUED 50');
	$broker->alarm($kind, 1);
	add_due($node, 100, "new$kind");
	my $reason = trouble($node, qr/$kind|blocked|resource/i, "$kind alarm", 45);
	diag "$kind alarm: ", $reason // 'nothing';
	is(counts($node, "new$kind%"), 'SCHEDULED 100', "$kind alarm: what is due stays due");
	ok(log_lines($node, qr/the broker takes nothing: .*$kind/) > 0, "$kind alarm: the log says of what it is short");
	set_conf($node, mail_url => $catcher->url);
	each_once($node, $catcher, "held$kind", 50, "$kind alarm: what the queue has");
	$broker->alarm($kind, 0);
	well($node, "$kind alarm over");
	each_once($node, $catcher, "new$kind", 100, "$kind alarm over");
	wait_empty($broker, "$kind alarm over");
}

is_deeply([ worker_pids($node, '') ], \@workers, 'the workers are the same as in the beginning');
unlike(server_log($node), qr/\@example\.com|First\d|guest/, 'the log names nobody');
$node->stop;
done_testing();
