# The kit of brokers itself: they start beside each other, are reachable from
# this machine only, come back with what they had, and leave nothing behind.

use strict;
use warnings;

use BS::Broker;
use BS::Test;
use IPC::Run ();
use Test::More;

# Processes that have to do with brokers in that folder, zombies not counted.
sub processes
{
	my ($dir) = @_;
	my @found;

	foreach my $environ (glob '/proc/[0-9]*/environ')
	{
		open(my $file, '<:raw', $environ) or next;
		local $/ = undef;
		my $text = <$file> // next;
		push @found, $environ =~ /(\d+)/
		  if grep { $_ eq "BS_BROKER=$dir" } split /\0/, $text;
	}
	return @found;
}

# Local addresses on which those processes listen.
sub listening
{
	my %inode;
	my @found;

	foreach my $pid (@_)
	{
		foreach my $fd (glob "/proc/$pid/fd/*")
		{
			my $target = readlink $fd // next;
			$inode{$1} = 1 if $target =~ /^socket:\[(\d+)\]$/;
		}
	}
	foreach my $table ('/proc/net/tcp', '/proc/net/tcp6')
	{
		open(my $file, '<', $table) or next;
		while (<$file>)
		{
			my @field = split;
			push @found, $field[1] =~ /^([0-9A-F]+):/
			  if $field[3] eq '0A' && $inode{ $field[9] };
		}
	}
	return @found;
}

my $dir = scratch_dir() . '/a b';
mkdir $dir or die "could not make $dir: $!";
my $one = BS::Broker->new('one', dir => "$dir/one");
my $two = BS::Broker->new('two',
	user => 'somebody', conf => ['consumer_timeout = 120000']);

# Two of them run, each by itself, and nobody reaches them from outside.
my @pids = processes("$dir/one");
cmp_ok(scalar @pids, '>=', 2, 'the broker and its epmd run');
isnt($one->port, $two->port, 'another broker has another port');
my @addresses = listening(@pids);
cmp_ok(scalar @addresses, '>=', 3, 'the listeners are seen');
is_deeply(
	[ grep { !/^0100007F$|^0{24}01000000$/ } @addresses ],
	[], 'they listen on the loopback interface only');
like($two->url, qr{^amqp://somebody:[0-9a-f]{32}\@127\.0\.0\.1:\d+$},
	'a user of its own has a password of its own');
is($two->evaluate('application:get_env(rabbit, consumer_timeout)'),
	'{ok, 120000}', 'a line for its configuration counts');

# Messages go in and out, and are counted.
$one->define(
	exchanges => [ { name => 'x' } ],
	queues => [ { name => 'q', type => 'quorum' } ],
	bindings => [ { source => 'x', destination => 'q' } ]);
is_deeply([ $one->queues ], ['q'], 'a queue is declared');
$one->publish("body $_", exchange => 'x', key => 'k') foreach 1 .. 3;
ok($one->wait_depth('q', 3), 'three messages arrive');
is($one->get('q'), 'body 1', 'one is taken out');
ok($one->wait_depth('q', 2), 'two are left');
is($two->depth('q'), undef, 'the other broker has no such queue');

# It comes back with them on the same port, whatever became of it.
my $port = $one->port;
$one->kill9;
is($one->pid, undef, 'killed: it is gone');
$one->start;
ok($one->wait_depth('q', 2), 'killed: the messages are still there');
is($one->port, $port, 'on the same port');
$one->pause;
my ($code) = $one->run('stop');
is($code, 0, 'it can be stopped while it is paused');
$one->start;
ok($one->wait_depth('q', 2), 'stopped: the messages are still there');

# What the tests of faults need.
ok($one->alarm('memory', 1), 'memory alarm');
ok($one->alarm('memory', 0), 'and its end');
ok($one->alarm('disk', 1), 'disk alarm');
ok($one->alarm('disk', 0), 'and its end');
$one->unbind('x', 'q');
$one->publish('lost', exchange => 'x', key => 'k');
is($one->depth('q'), 2, 'without a binding nothing arrives');
$one->purge('q');
is($one->depth('q'), 0, 'purged');
$one->delete_queue('q');
is($one->depth('q'), undef, 'deleted');
$one->delete_exchange('x');
unlike($one->ctl('list_exchanges'), qr/^x\t/m, 'the exchange too');
$one->add_user('limited', 'secret', vhost => 'v 1', rights => [ '^$', '.*', '.*' ]);
is($one->url('v 1', 'limited', 'secret'),
	"amqp://limited:secret\@127.0.0.1:$port/v%201", 'a URL for another user');
$one->define(queues => [ { name => 'q1', vhost => 'v 1' } ]);
$one->publish('x', key => 'q1', url => $one->url('v 1', 'limited', 'secret'));
ok($one->wait_depth('q1', 1, 10, 'v 1'), 'who may use its virtual host');

# At the end nothing is left of it.
$one->stop;
$two->stop;
is_deeply([ processes("$dir/one") ], [], 'no process is left');
($code) = $one->run('stop');
is($code, 0, 'stopping again does no harm');

# Nor of one whose start was cut short, or whose folder is gone.
my $three = BS::Broker->new('three', start => 0, dir => "$dir/three");
my $start = IPC::Run::start(
	[ $BS::Broker::script, 'start', "$dir/three" ], '>&', \my $ignored);
ok(wait_for(sub { processes("$dir/three") > 0 }, 'its first process'),
	'another one is starting');
$start->kill_kill(grace => 0);
rename "$dir/three", "$dir/moved" or die "could not rename: $!";
($code) = $three->run('stop');
is($code, 0, 'it can be stopped without its folder');
is_deeply([ processes("$dir/three") ], [], 'and nothing is left of it');

done_testing();
