# consumer_timeout: a broker that gives up consumers which keep a copy for too long,
# while a relay takes its time.  Until RabbitMQ 4.2 it closes their channel; 4.3 cancels
# the consumer.  Either way the sender comes back over a new connection.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use Test::More;

# RabbitMQ looks once a minute, unless told otherwise.
my $broker = BS::Broker->new('main', conf => ['consumer_timeout = 3000']);
$broker->evaluate('application:set_env(rabbit, channel_tick_interval, 1000)');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker,
	mail_url => $catcher->url,
	mail_connections => 2,
	amqp_prefetch => 20);

# The relay needs longer than the broker waits, for one mail in a hundred.
write_script($catcher, { rules => [
	{ phase => 'body', rcpt => 'slow*', delay_ms => 10_000, every => 100 },
	{ phase => 'body', rcpt => 'slow*', delay_ms => 30 } ] });
well($node, 'at first');
my @workers = worker_pids($node, '');
add_due($node, 400, 'slow');
my $told =
  $broker->series >= 403
  ? qr/the broker has ended the consumption of queue/
  : qr/PRECONDITION_FAILED - delivery acknowledgement.*timed out/;
ok( wait_for(sub { log_lines($node, $told) > 0 }, 'a sender to be told', 30),
	'a sender is told that it was too slow, and says so');
each_once($node, $catcher, 'slow', 400, 'consumer_timeout');
wait_empty($broker, 'consumer_timeout');
well($node, 'consumer_timeout');
is_deeply([ worker_pids($node, '') ], \@workers, 'the workers are the same as in the beginning');
add_due($node, 20, 'after');
each_once($node, $catcher, 'after', 20, 'afterwards');

# ---- Greetings that wait for the rate limit are not kept from the broker too long
# either: what a sender has received and not claimed comes again.

set_conf($node, rate_limit => 5);
add_due($node, 60, 'rate');
each_once($node, $catcher, 'rate', 60, 'rate limit');
wait_empty($broker, 'rate limit');

unlike(server_log($node), qr/\@example\.com|First\d|guest/, 'the log names nobody');
$node->stop;
done_testing();
