# A broker that says nothing any more, and connections on which octets are lost:
# it is noticed within ten seconds, nobody has to wait for it, and nothing is lost
# or sent twice.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Proxy;
use BS::Queue;
use BS::Test;
use Test::More;
use Time::HiRes qw(time);

my $broker = BS::Broker->new('main');
my $proxy = BS::Proxy->new($broker->port);
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $url = $broker->url;
my $node = queue_node('main', $broker, mail_url => $catcher->url);

my @figures;

sub rules { return write_script($catcher, { rules => [@_] }); }

sub arrived { return scalar keys %{ $catcher->arrivals($_[0]) }; }

sub is_gone
{
	my ($pid) = @_;

	open(my $stat, '<', "/proc/$pid/stat") or return 1;
	my $line = <$stat> // '';
	close $stat;
	return $line !~ /\) [^ZX]/;
}

sub quick
{
	my ($what, $seconds, $limit) = @_;

	push @figures, sprintf('%s %.3f s', $what, $seconds // 'nan');
	return cmp_ok($seconds // 'inf', '<', slow($limit), "$what takes less than $limit seconds");
}

# How many workers have lost their connection, says the log.
sub noticed
{
	my ($offset) = @_;
	my %pids = map { $_ => 1 } server_log($node, $offset) =~ /\[(\d+)\] LOG:  birthday_scheduler: the broker: /g;

	return scalar keys %pids;
}

# Senders and publisher have all been told to go, and go at once.
sub terminate
{
	my ($what) = @_;

	foreach my $kind ('publisher', 'sender')
	{
		my @old = worker_pids($node, $kind);

		cmp_ok(scalar(@old), '>', 0, "$what: there is a $kind");
		sql($node, "SELECT pg_terminate_backend($_)") foreach @old;
		quick("$what: pg_terminate_backend of the $kind", timed(
			sub { wait_for(sub { !grep { !is_gone($_) } @old }, "the $kind to go", 10) }), 1);
	}
	return ok(wait_workers($node, 4), "$what: they come back");
}

# ---- SIGSTOP, amid publishing and consuming.

well($node, 'at first');
rules({ phase => 'body', rcpt => 'frozen*', delay_ms => 20 });
add_due($node, 3000, 'frozen');
ok(wait_for(sub { arrived('frozen') >= 300 }, 'mails'), 'frozen: amid a burst');
$broker->pause;
my $start = time;
add_due($node, 100, 'meanwhile');
trouble($node, qr/broker/, 'frozen');
quick('frozen: named by bs_health()', time - $start, 10);
ok(wait_for(sub { log_lines($node, qr/LOG:.*publisher.*the broker|the broker.*(?:silent|nothing|answer)/) > 0 }, 'the log', 5),
	'frozen: and in the log') or diag server_log($node);
terminate('frozen');
quick('frozen: fast stop', stop_timed($node), 1);
$node->start;
trouble($node, qr/broker/, 'frozen, server started again', 15);
terminate('frozen, while connecting');
sql($node, 'CREATE DATABASE other');
quick('frozen: DROP DATABASE', timed(sub { sql($node, 'DROP DATABASE other') }), 1);
quick('frozen: smart stop', stop_timed($node, 'TERM'), 1);
$node->start;
$broker->resume;
$start = time;
well($node, 'thawed');
push @figures, sprintf('thawed: well after %.1f s', time - $start);
each_once($node, $catcher, 'frozen', 3000, 'thawed', attempts => 2);
each_once($node, $catcher, 'meanwhile', 100, 'thawed');
wait_empty($broker, 'thawed', seconds => 60);

# ---- The same with nothing under way: heartbeats alone.

my $offset = -s $node->logfile;
$broker->pause;
$start = time;
trouble($node, qr/broker/, 'frozen while idle');
quick('frozen while idle: named by bs_health()', time - $start, 10);
ok( wait_for(sub { value($node, q{SELECT count(*) FROM bs_workers WHERE state = 'no broker'}) == 3 },
		'all three', 10),
	'frozen while idle: publisher and senders notice');
cmp_ok(log_lines($node, qr/[A-Z]+:  .*birthday_scheduler/, $offset), '<=', 6, 'frozen while idle: few lines in the log');
$broker->resume;
well($node, 'thawed while idle');

# ---- Half-open: octets of the connections that there are get lost, in both
# directions or in one, and new connections are fine.

set_conf($node, amqp_url => $url =~ s/127\.0\.0\.1:\d+/'127.0.0.1:' . $proxy->port/er);
ok(wait_for(sub { $proxy->connections == 3 }, 'three connections'), 'through the proxy');
well($node, 'through the proxy');
foreach my $mode (qw(mute deaf lose_up lose_down))
{
	rules({ phase => 'body', rcpt => "$mode*", delay_ms => 30 });
	add_due($node, 1200, $mode);
	ok(wait_for(sub { arrived($mode) >= 300 }, 'mails'), "$mode: amid a burst");
	ok(wait_for(sub { $proxy->connections == 3 }, 'three connections'), "$mode: everybody has come back");
	$offset = -s $node->logfile;
	is($proxy->set(now => $mode), 3, "$mode: three connections are half-open");
	$start = time;
	add_due($node, 100, "late$mode");
	# Where it is the broker that hears nothing, it waits for three heartbeats.
	my $limit = $mode eq 'lose_up' ? 15 : 10;
	ok(wait_for(sub { noticed($offset) == 3 }, 'three workers to notice', 20),
		"$mode: publisher and senders notice");
	quick("$mode: noticed", time - $start, $limit);
	each_once($node, $catcher, $mode, 1200, $mode);
	each_once($node, $catcher, "late$mode", 100, "late $mode");
	well($node, $mode);
	wait_empty($broker, $mode, seconds => 60);
	$proxy->set(now => 'cut');
	well($node, "$mode, after all");
}

# ---- A network that is down altogether.

$proxy->set(now => 'mute', later => 'mute');
$start = time;
add_due($node, 100, 'nowhere');
trouble($node, qr/broker/, 'no network');
quick('no network: named by bs_health()', time - $start, 10);
terminate('no network');
is(counts($node, 'nowhere%'), 'SCHEDULED 100', 'no network: what is due stays due');
$proxy->set(later => 'pass', now => 'cut');
well($node, 'network again');
each_once($node, $catcher, 'nowhere', 100, 'network again');
wait_empty($broker, 'network again', seconds => 60);

# ---- Connections are reset again and again.

rules({ phase => 'body', rcpt => 'cut*', delay_ms => 20 });
add_due($node, 3000, 'cut');
foreach my $round (1 .. 10)
{
	wait_for(sub { arrived('cut') >= $round * 200 }, 'mails');
	$proxy->set(now => 'cut');
}
each_once($node, $catcher, 'cut', 3000, 'reset ten times');
well($node, 'reset ten times');
wait_empty($broker, 'reset ten times', seconds => 60);

diag join "\n", @figures;
unlike(server_log($node), qr/\@example\.com|First\d|:guest/, 'the log names nobody');
unlike(server_log($node), qr/server process.*was terminated by signal/, 'nothing crashed');
$node->stop;
$proxy->stop;
done_testing();
