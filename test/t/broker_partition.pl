# A cluster of three RabbitMQ nodes on machines of their own, whose cables are pulled in
# mid-burst: one node is off the net altogether, or apart from the other nodes while
# clients still reach it. Nothing is lost or sent twice, sending goes on within seconds,
# and the node comes back with the cable.
#
# BS_PARTITION_HANDLING is the broker's cluster_partition_handling (pause_minority).

use strict;
use warnings;

use BS::Network;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Sender;
use BS::Test;
use Test::More;
use Time::HiRes qw(time);

my $count = 1500;
my $handling = $ENV{BS_PARTITION_HANDLING} || 'pause_minority';
my $common = scratch_dir() . '/cluster';
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');

# eth0 leads to the clients, eth1 to the other nodes, who are called by it.
bridge('clients', '10.96.0.1');
bridge('nodes');
name_hosts(map { ("host$_" => "10.97.0.1$_") } 1 .. 3);
machine("host$_", eth0 => [ 'clients', "10.96.0.1$_" ], eth1 => [ 'nodes', "10.97.0.1$_" ]) foreach 1 .. 3;
my @nodes = map {
	BS::Broker->new("host$_", cluster => $common, host => "host$_", command => [ on_machine("host$_") ],
		conf => [ "cluster_partition_handling = $handling", 'loopback_users.guest = false', "listeners.tcp.2 = 10.96.0.1$_:5672" ])
} 1 .. 3;

sub running { my ($broker) = @_; return eval { $broker->running_nodes } // 0; }
sub clients { my ($broker) = @_; return $broker->local_connections; }
sub arrived { my ($prefix) = @_; return scalar keys %{ $catcher->arrivals($prefix) }; }

# How many members of the queue are there, and follow its leader.
sub members { my ($broker) = @_; return eval { $broker->online($QUEUE) } // 0; }

is(running($nodes[0]), 3, 'three nodes run');
my $node = mail_node('main', queue => 'rabbitmq', amqp_url => join(', ', map { "amqp://guest:guest\@10.96.0.1$_:5672" } 1 .. 3),
	mail_url => $catcher->url, mail_connections => 2, senders => 2, lease => '60s', mail_timeout => '15s');
grant_sender($node);
my $sender = BS::Sender->new($node, 'one', mail_url => $catcher->url, mail_connections => 2, mail_timeout => '15s',
	amqp_url => join(', ', map { "amqp://guest:guest\@10.96.0.1$_:5672" } 1 .. 3))->start;

well($node, 'at first');
ok(wait_for(sub { members($nodes[0]) == 3 }, 'members'), 'the queue is on all three');
write_script($catcher, { rules => [ { phase => 'body', delay_ms => 10 } ] });

my %cables = (away => [qw(eth0 eth1)], apart => [qw(eth1)]);
foreach my $fault (qw(away apart))
{
	# The node that they have gone to, all of them.
	my ($victim, @others) = sort { clients($b) <=> clients($a) } @nodes;
	my $prefix = "cut$fault";

	add_due($node, $count, $prefix);
	ok(wait_for(sub { arrived($prefix) > $count / 5 }, 'a part of the mails', 60), "$fault: in mid-burst");
	cmp_ok(my $connected = clients($victim), '>=', 4, "$fault: publisher and senders are connected to $victim->{name}");
	my $start = time;
	link_down($victim->{name}, $_) foreach @{ $cables{$fault} };
	each_once($node, $catcher, $prefix, $count, $fault, attempts => 2, seconds => 90);

	goes_on($catcher, $prefix, $start, $fault);

	# It is still cut off, and a node that is alone stops by itself; 4.3 has no such setting.
	ok(wait_for(sub { !grep { running($_) != 2 } @others }, 'two nodes'), "$fault: two nodes know that they are two");
	ok(wait_for(sub { $victim->evaluate('rabbit:is_running()') eq 'false' }, 'its pause'), "$fault: the third one has paused")
	  if $handling eq 'pause_minority' && $others[0]->series < 403;
	well($node, "$fault, two nodes");

	$start = time;
	link_up($victim->{name}, $_) foreach @{ $cables{$fault} };
	ok(wait_for(sub { !grep { running($_) != 3 } @nodes }, 'three nodes', 60), "$fault: three nodes again");
	diag sprintf('%s: back after %.1f s', $fault, time - $start);
	ok(wait_for(sub { members($others[0]) == 3 }, 'members', 60), "$fault: the queue is on all three again");
	well($node, "$fault, three nodes");
}

add_due($node, 300, 'after');
each_once($node, $catcher, 'after', 300, 'after');
wait_empty($nodes[0], 'after', seconds => 60);
is($sender->stop, 0, 'bs_sender ends as asked');
unlike(server_log($node) . $sender->log, qr/\@example\.com|First\d|guest/, 'the logs name nobody');
$node->stop;
done_testing();
