# The way by RabbitMQ when all is well, and with more copies about than needed:
# each message arrives once, and none before its time.

use strict;
use warnings;

use BS::Amqp;
use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, mail_url => '');
my $amqp = BS::Amqp->new($broker->url);

sub rules { return write_script($catcher, { rules => [@_] }); }

# What is added from now on is due in so many seconds.
sub due_in
{
	my ($interval) = @_;

	my $zone = noon_zone();

	sql($node, qq{UPDATE message_types SET send_time = (now() AT TIME ZONE '$zone' + interval '$interval')::time
		WHERE name = 'BIRTHDAY'});
	return;
}

sub publish_copies
{
	my ($times, @copies) = @_;

	foreach my $round (1 .. $times)
	{
		$amqp->publish($EXCHANGE, 'birthday', $_->[1], message_id => $_->[0]) foreach @copies;
	}
	is($amqp->confirm, 0, 'copies find the queue');
	return;
}

# ---- What is in the queue tells which message, and nothing about whom.

add_due($node, 3, 'body');
wait_count($node, 'body%', 'QUEUED 3');
well($node, 'at first');
is(scalar(grep { $_ ne '' } split /\n/, $broker->ctl(qw(list_queues --no-table-headers name type durable))),
	2, 'two queues are declared');
my $copy = $amqp->get($QUEUE, keep => 1);
my $body = JSON::PP::decode_json($copy->{body});
is(join(' ', sort keys %$body), 'id installation send_time version', 'a body has these members');
is($body->{installation}, installation($node), 'the name of the database');
is(value($node, "SELECT count(*) FROM message_logs WHERE id = '$body->{id}'
		AND scheduled_send_time = '$body->{send_time}'"), 1, 'the id and the time of a message');
is($copy->{message_id}, $body->{id}, 'its message-id is ours');
is($copy->{routing_key}, 'birthday', 'its routing key is the type');
is_deeply([ sort map { $_->[1] } copies($node, 'body%') ],
	[ sort $copy->{body}, map { $_->{body} } map { $amqp->get($QUEUE, keep => 1) } 1, 2 ],
	'each message has one copy');
$amqp->close;
$amqp = BS::Amqp->new($broker->url);
set_conf($node, mail_url => $catcher->url);
each_once($node, $catcher, 'body', 3, 'handed back');

# ---- 20,000 messages of one instant.  They are in the table before it comes.

my $before = broker_stats($node);
due_in(slow(12) . ' seconds');
add_due($node, 20000, 'burst', at_noon());
like(counts($node, 'burst%'), qr/^SCHEDULED 20000$/, '20,000: none is due yet');
my $start = value($node, q{SELECT extract(epoch FROM min(scheduled_send_time)) FROM message_logs
	WHERE recipient_email LIKE 'burst%'});
each_once($node, $catcher, 'burst', 20000, '20,000', seconds => 150);
my ($last) = sort { $b <=> $a } map { $_->[0][0] } values %{ $catcher->arrivals('burst') };
diag sprintf('20,000 mails in %.1f s', $last - $start);
wait_empty($broker, '20,000');
my $after = broker_stats($node);
is($after->{published} - $before->{published}, 20000, '20,000: published once each');
is($after->{consumed} - $before->{consumed}, 20000, '20,000: consumed once each');
is($after->{dropped} - $before->{dropped}, 0, '20,000: none for nothing');
my ($least) = sort { $a <=> $b } split /\n/, value($node, q{SELECT sent FROM bs_workers WHERE worker LIKE 'sender%'});
cmp_ok($least, '>', 4000, "20,000: two senders share the work, at least $least each");

# ---- Copies of what is not due yet are dropped, and it is sent in time.

due_in('1 hour');
add_due($node, 50, 'early', at_noon());
$before = broker_stats($node)->{dropped};
publish_copies(10, copies($node, 'early%'));
ok( wait_for(sub { broker_stats($node)->{dropped} == $before + 500 }, '500 copies to be dropped'),
	'early copies are dropped');
wait_empty($broker, 'early copies');
is(counts($node, 'early%'), 'SCHEDULED 50', 'early copies: the messages wait');
is(value($node, q{SELECT max(attempts) FROM message_logs WHERE recipient_email LIKE 'early%'}),
	0, 'early copies: no attempt is spent');
due_in('3 seconds');
each_once($node, $catcher, 'early', 50, 'early copies');

# ---- Ten copies of each beside the publisher's own: before, while and after it is
# sent.

due_in('-1 hours');
rules({ phase => 'body', rcpt => 'ten*', delay_ms => 200 });
$before = broker_stats($node)->{dropped};
add_due($node, 200, 'ten', at_noon());
publish_copies(10, copies($node, 'ten%'));
each_once($node, $catcher, 'ten', 200, 'ten copies');
publish_copies(10, copies($node, 'ten%'));
wait_empty($broker, 'ten copies');
is(counts($node, 'ten%'), 'SENT 200', 'ten copies after the mail change nothing');
cmp_ok(broker_stats($node)->{dropped} - $before, '>=', 4000, 'ten copies: the others were dropped');
each_once($node, $catcher, 'ten', 200, 'ten copies, at the end');

# ---- A second publisher does the same work at the same time.

my $published = 0;
my $session = $node->background_psql('postgres');
foreach my $round (1 .. 5)
{
	# It reads what is due before the publisher can see it.
	$session->query_safe('BEGIN; ' . due_sql(200, "two$round-", at_noon()));
	my @rows = map { [ split /\|/ ] } split /\n/, $session->query_safe(
		q{SELECT id, scheduled_send_time, due_at FROM bs_due_messages(150, '{}', false)});
	$session->query_safe('COMMIT');
	publish_copies(1, grep { my $id = $_->[0]; grep { $_->[0] eq $id } @rows } copies($node, "two$round-%"));
	my $list = join ', ', map { "('$_->[0]'::uuid, '$_->[1]'::timestamptz, '$_->[2]'::timestamptz)" } @rows;
	$session->query_safe(qq{SELECT bs_mark_queued(array_agg(i), array_agg(s), array_agg(d), '5 minutes')
		FROM (VALUES $list) v (i, s, d)});
	$published += @rows;
}
$session->quit;
is($published, 750, 'two publishers: the other one has published');
each_once($node, $catcher, 'two', 1000, 'two publishers');
wait_empty($broker, 'two publishers');

# ---- Back and forth between the two queues amid a burst.

rules({ phase => 'body', rcpt => 'switch*', delay_ms => 30 });
add_due($node, 3000, 'switch', at_noon());
foreach my $round (1 .. 8)
{
	ok(wait_for(sub { keys %{ $catcher->arrivals('switch') } >= $round * 250 }, 'mails'),
		"switching: $round times 250 mails");
	set_conf($node, queue => $round % 2 ? 'postgres' : 'rabbitmq');
}
each_once($node, $catcher, 'switch', 3000, 'switching');
wait_empty($broker, 'switching');
set_conf($node, queue => 'postgres');
add_due($node, 20, 'without', at_noon());
each_once($node, $catcher, 'without', 20, 'without the broker');
set_conf($node, queue => 'rabbitmq');
add_due($node, 20, 'again', at_noon());
each_once($node, $catcher, 'again', 20, 'with it again');

# What is QUEUED goes out without the broker as well.
set_conf($node, mail_url => '');
add_due($node, 100, 'left', at_noon());
wait_count($node, 'left%', 'QUEUED 100');
$broker->stop;
set_conf($node, queue => 'postgres', mail_url => $catcher->url);
each_once($node, $catcher, 'left', 100, 'the broker is given up');
$broker->start;
set_conf($node, queue => 'rabbitmq');
well($node, 'the broker is back');
wait_empty($broker, 'what was left in it');
each_once($node, $catcher, 'left', 100, 'what was left in it');

unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
unlike(server_log($node), qr/guest/, 'and no password');
$node->stop;
done_testing();
