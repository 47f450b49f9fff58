# Exchanges, bindings and queues that are taken away, emptied or wrong: nothing is
# lost, and what can be declared anew is.

use strict;
use warnings;

use BS::Amqp;
use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use File::Path qw(remove_tree);
use Test::More;
use Time::HiRes qw(time);

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, mail_url => '', lease => '3s', mail_timeout => '1500ms');
my $amqp = BS::Amqp->new($broker->url);

# Copies that no sender takes: there is no relay.
sub queued
{
	my ($prefix, $count) = @_;

	set_conf($node, mail_url => '');
	add_due($node, $count, $prefix);
	return ok( wait_for(
			sub { value($node, "SELECT count(*) FROM message_logs
				WHERE recipient_email LIKE '$prefix%' AND status = 'QUEUED'") == $count },
			"$count QUEUED"),
		"$prefix: $count messages are QUEUED");
}

sub go { return set_conf($node, mail_url => $catcher->url); }

# ---- Whoever comes first declares everything.

well($node, 'an empty broker');
is(join(' ', sort split /\n/,
		$broker->ctl(qw(list_queues --no-table-headers name type durable auto_delete)) =~ s/\t/:/gr),
	"$DEAD_LETTERS:quorum:true:false $QUEUE:quorum:true:false", 'two quorum queues');
is(join(' ', sort grep { /birthday/ } split /\n/,
		$broker->ctl(qw(list_exchanges --no-table-headers name type durable)) =~ s/\t/:/gr),
	'birthday.messages.dlx:direct:true birthday.messages:topic:true', 'two exchanges');

# ---- The binding is taken away: the broker returns what is published, and it
# stays due.  A user that may declare nothing waits for somebody who may.

$broker->ctl(qw(add_user little secret));
$broker->ctl(qw(set_permissions little ^$), '^birthday\.messages$', '^birthday\.messages\.(queue|dlq)$');
my $url = $broker->url =~ s{//[^@]*@}{//little:secret@}r;
set_conf($node, amqp_url => $url);
well($node, 'a user that may not declare');
queued('little', 5);
go();
each_once($node, $catcher, 'little', 5, 'a user that may not declare');

$amqp->unbind($QUEUE, $EXCHANGE, '#');
add_due($node, 50, 'unbound');
trouble($node, qr/NO_ROUTE|unroutable|no queue/i, 'unroutable');
is(counts($node, 'unbound%'), 'SCHEDULED 50', 'unroutable: the messages stay due');
cmp_ok(broker_stats($node)->{refused}, '>', 0, 'unroutable: it is counted');
is(scalar(keys %{ $catcher->arrivals('unbound') }), 0, 'unroutable: nothing is sent');
$amqp->bind($QUEUE, $EXCHANGE, '#');
each_once($node, $catcher, 'unbound', 50, 'bound again');
well($node, 'bound again');

# Who may declare makes the binding again.
set_conf($node, amqp_url => $broker->url);
well($node, 'a user that may declare');
$amqp->unbind($QUEUE, $EXCHANGE, '#');
add_due($node, 50, 'rebound');
each_once($node, $catcher, 'rebound', 50, 'the binding is made again');
well($node, 'the binding is made again');

# ---- The queue is deleted, with all that it holds.

queued('deleted', 100);
is($amqp->delete($QUEUE), 100, 'deleted: with 100 copies');
go();
each_once($node, $catcher, 'deleted', 100, 'deleted');
well($node, 'deleted');
wait_empty($broker, 'deleted');

# Amid the burst, while senders consume.
write_script($catcher, { rules => [ { phase => 'body', rcpt => 'amid*', delay_ms => 20 } ] });
set_conf($node, lease => '5s');
add_due($node, 2000, 'amid');
foreach my $round (1 .. 2)
{
	ok(wait_for(sub { keys %{ $catcher->arrivals('amid') } >= 300 * $round }, 'mails'),
		"deleted amid a burst: $round times");
	# Nobody may have declared it anew yet.
	wait_for(sub { defined eval { $amqp->delete($QUEUE) } }, 'the queue');
}
each_once($node, $catcher, 'amid', 2000, 'deleted amid a burst', attempts => 2);
well($node, 'deleted amid a burst');
wait_empty($broker, 'deleted amid a burst');

# ---- The queue is purged: only the database knows what was in it.

set_conf($node, lease => '3s');
queued('purged', 100);
is($amqp->purge($QUEUE), 100, 'purged: 100 copies');
go();
each_once($node, $catcher, 'purged', 100, 'purged');
wait_empty($broker, 'purged');

# ---- Nothing serves the queue any more, as after a crash of 3.10 soon after it was
# declared: until somebody deletes it 3.10 refuses all that is published, and 4.0 says
# nothing to it.  4.3 makes the files anew.

my $files = $broker->queue_files($QUEUE);
$broker->stop_queue($QUEUE);
ok(-d $files, 'the files of the queue');
$broker->kill9;
remove_tree($files);
$broker->start;
$amqp = BS::Amqp->new($broker->url);
add_due($node, 50, 'down');
if ($broker->series < 403)
{
	trouble($node, $broker->series < 400 ? qr/its queue is full, or down/ : qr/the broker does not confirm/, 'queue down', 60);
	is(counts($node, 'down%'), 'SCHEDULED 50', 'queue down: the messages stay due');
	$broker->ctl('delete_queue', $QUEUE);
}
each_once($node, $catcher, 'down', 50, 'a queue that was down');
well($node, 'a queue that was down');

# And while senders consume it, of which the broker then tells them nothing.
$broker->stop_queue($QUEUE);
$broker->ctl('delete_queue', $QUEUE);
add_due($node, 50, 'quiet');
each_once($node, $catcher, 'quiet', 50, 'a queue that went quietly');
well($node, 'a queue that went quietly');

# ---- An exchange is deleted.

set_conf($node, mail_url => $catcher->url);
$amqp->delete_exchange($EXCHANGE);
add_due($node, 50, 'exchange');
each_once($node, $catcher, 'exchange', 50, 'exchange deleted');
well($node, 'exchange deleted');

# ---- All of it is deleted, dead letters too.

queued('all', 20);
$amqp->delete($_) foreach $QUEUE, $DEAD_LETTERS;
$amqp->delete_exchange($_) foreach $EXCHANGE, "$EXCHANGE.dlx";
go();
each_once($node, $catcher, 'all', 20, 'all deleted');
well($node, 'all deleted');
wait_empty($broker, 'all deleted');
set_conf($node, lease => undef, mail_timeout => undef);

# ---- Somebody has made the queue otherwise: one clear message, and no loop.

set_conf($node, queue => 'postgres');
ok(wait_for(sub { $broker->connections == 1 }, 'them to leave'),
	'without the broker nobody keeps a connection');
$amqp->delete($QUEUE);
$amqp->declare($QUEUE, { 'x-queue-type' => 'classic' });
my $offset = -s $node->logfile;
my $tries = broker_log_lines($broker, qr/caused a channel exception precondition_failed/);
set_conf($node, queue => 'rabbitmq');
add_due($node, 10, 'other');
my $reason = trouble($node, qr/PRECONDITION_FAILED.*\Q$QUEUE\E/, 'other arguments');
diag "other arguments: $reason";
ok( wait_for(sub { broker_log_lines($broker, qr/caused a channel exception precondition_failed/) >= $tries + 6 }, 'two tries of each', 60),
	'other arguments: they try again');
cmp_ok(log_lines($node, qr/[A-Z]+:  .*birthday_scheduler/, $offset), '<=', 6, 'other arguments: few lines in the log');
cmp_ok(log_lines($node, qr/PRECONDITION_FAILED/, $offset), '==', 3, 'other arguments: one of each worker');
is(counts($node, 'other%'), 'SCHEDULED 10', 'other arguments: the messages stay due');
my $start = time;
$amqp->delete($QUEUE);
each_once($node, $catcher, 'other', 10, 'right arguments');
diag sprintf('right arguments: at work again after %.1f s', time - $start);
well($node, 'right arguments');

unlike(server_log($node), qr/\@example\.com|First\d|secret/, 'the log names nobody');
unlike(server_log($node), qr/server process.*was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
