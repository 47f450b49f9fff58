# A cluster of three RabbitMQ nodes: the queues are on all of them, and of publisher,
# senders and bs_sender each goes on with the next address when its node is stopped,
# killed, or away without a word, in mid-burst. Nothing is lost or sent twice, and
# sending goes on within seconds.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Sender;
use BS::Test;
use Test::More;
use Time::HiRes qw(time);

my $count = 1500;
my $common = scratch_dir() . '/cluster';
my @nodes = map { BS::Broker->new("node$_", cluster => $common, conf => ['cluster_partition_handling = autoheal']) } 1 .. 3;
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');

is($nodes[0]->running_nodes, 3, 'three nodes run');
my $urls = join(', ', map { $_->url } @nodes);
my $node = mail_node('main', queue => 'rabbitmq', amqp_url => $urls, mail_url => $catcher->url,
	mail_connections => 2, senders => 2, lease => '60s', mail_timeout => '15s');
grant_sender($node);
my $sender = BS::Sender->new($node, 'one', mail_url => $catcher->url, mail_connections => 2, mail_timeout => '15s',
	amqp_url => $urls)->start;

# The queue has a member on each node.
well($node, 'at first');
is($nodes[0]->members($QUEUE), 3, 'the queue is on all three');

sub clients { my ($broker) = @_; return $broker->local_connections; }
sub arrived { my ($prefix) = @_; return scalar keys %{ $catcher->arrivals($prefix) }; }

# All of them hold connections to the node that is first among those that run.
write_script($catcher, { rules => [ { phase => 'body', delay_ms => 10 } ] });
my $round = 0;
foreach my $fault (qw(stop kill9 pause))
{
	my ($victim) = sort { clients($b) <=> clients($a) } @nodes;
	my $prefix = "cluster$fault";

	add_due($node, $count, $prefix);
	ok(wait_for(sub { arrived($prefix) > $count / 5 }, 'a part of the mails', 60), "$fault: in mid-burst");
	diag sprintf('%s: of %s, which has %s connections', $fault, $victim->{name}, clients($victim));
	my $start = time;
	$victim->$fault;
	each_once($node, $catcher, $prefix, $count, $fault, attempts => 2, seconds => 90);

	goes_on($catcher, $prefix, $start, $fault);
	# A node that hung is ended and started, as whoever watches it does.  Left to go on
	# it has a partition to heal first: a matter of RabbitMQ's own, of minutes at times.
	$victim->kill9 if $fault eq 'pause';
	$victim->start;
	my $all = wait_for(
		sub {
			my @running = map { eval { $_->running_nodes } // 0 } @nodes;
			return !grep { $_ ne '3' } @running;
		},
		'three nodes', 90);
	ok($all, "$fault: three nodes again");
	well($node, $fault);
}
is($sender->stop, 0, 'bs_sender ends as asked');
unlike(server_log($node), qr/\@example\.com|First\d|guest/, 'the log names nobody');
$node->stop;
done_testing();
