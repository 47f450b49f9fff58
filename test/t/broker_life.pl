# What happens to server, workers and people while messages lie in the broker:
# pauses, restarts, changes of users, the extension dropped.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use Test::More;
use Time::HiRes qw(time);

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, mail_url => $catcher->url);

sub rules { return write_script($catcher, { rules => [@_] }); }

sub arrived { return scalar keys %{ $catcher->arrivals($_[0]) }; }

# A burst that lasts some seconds, up to the point where some mails have arrived.
sub burst
{
	my ($prefix, $count) = @_;

	rules({ phase => 'body', rcpt => "$prefix*", delay_ms => 30 });
	add_due($node, $count, $prefix);
	return ok(wait_for(sub { arrived($prefix) >= 200 }, 'mails'), "$prefix: amid a burst");
}

sub each_new
{
	my (@old) = @_;
	my %old = map { $_ => 1 } @old;

	return ok( wait_for(sub { my @now = worker_pids($node, ''); @now == 4 && !grep { $old{$_} } @now },
			'four new workers'),
		'four new workers');
}

well($node, 'at first');

# ---- bs_pause() and bs_resume(): nothing goes out meanwhile, and then all of it
# does, without waiting for a lease.

burst('pause', 2000);
sql($node, 'SELECT bs_pause()');
ok( wait_for(sub { value($node, q{SELECT count(*) FROM message_logs
			WHERE recipient_email LIKE 'pause%' AND status = 'SENDING'}) == 0 }, 'the senders to finish'),
	'paused: what was under way comes to its end');
my $sent = arrived('pause');
cmp_ok($sent, '<', 2000, "paused: after $sent mails");
add_due($node, 50, 'meanwhile');
is(arrived('pause') + arrived('meanwhile'), $sent, 'paused: nothing new is sent');
my $start = time;
sql($node, 'SELECT bs_resume()');
each_once($node, $catcher, 'pause', 2000, 'resumed');
each_once($node, $catcher, 'meanwhile', 50, 'resumed');
diag sprintf('resumed: all is sent after %.1f s', time - $start);
cmp_ok(time - $start, '<', slow(40), 'resumed: without waiting for a lease');

# ---- Workers are terminated; the server is restarted, quickly and very quickly.

foreach my $round (1 .. 3)
{
	burst("term$round-", 1000);
	my @old = worker_pids($node, '');
	sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'birthday_scheduler%'});
	each_new(@old);
}
each_once($node, $catcher, 'term', 3000, 'terminated');
burst('fast', 2000);
$node->restart;
each_once($node, $catcher, 'fast', 2000, 'server restarted');
burst('crash', 2000);
$node->stop('immediate');
$node->start;
# At most what the two senders held whose outcome was not recorded: 16 messages for
# each of eight connections.
each_once($node, $catcher, 'crash', 2000, 'server stopped immediately', attempts => 2, doubles => 256);
well($node, 'restarted');
wait_empty($broker, 'restarted');

# ---- People change while their messages are QUEUED.

set_conf($node, mail_url => '');
rules();
add_due($node, 1, 'rename');
add_due($node, 1, 'gone');
add_due($node, 1, 'later');
add_due($node, 1, 'tomorrow');
add_due($node, 1, 'same');
ok( wait_for(sub { value($node, q{SELECT count(*) FROM message_logs WHERE status = 'QUEUED'}) == 5 }, 'all five'),
	'changes: QUEUED');
sql($node, q{UPDATE users SET first_name = 'Other' WHERE email LIKE 'rename%'});
sql($node, q{SELECT bs_delete_user(id) FROM users WHERE email LIKE 'gone%'});
sql($node, q{UPDATE users SET birthday_date = birthday_date + 1 WHERE email LIKE 'tomorrow%'});
sql($node, q{UPDATE users SET email = 'late1@example.com' WHERE email LIKE 'later%'});
set_conf($node, mail_url => $catcher->url);
each_once($node, $catcher, 'rename', 1, 'renamed');
is(value($node, q{SELECT recipient_name FROM message_logs WHERE recipient_email LIKE 'rename%'}),
	'Other Last', 'renamed: by the new name');
each_once($node, $catcher, 'late', 1, 'another address');
each_once($node, $catcher, 'same', 1, 'unchanged');
is(value($node, q{SELECT string_agg(status, ',') FROM message_logs WHERE recipient_email LIKE 'gone%'}),
	'CANCELLED', 'deleted: cancelled');
is(value($node, q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'tomorrow%' AND status = 'SCHEDULED'
		AND scheduled_send_time > now()}), 1, 'another date: planned for it');
is(arrived($_), 0, "$_: no mail") foreach qw(gone tomorrow later);
wait_empty($broker, 'changes');

# ---- The extension is dropped amid a burst, and created again: what was in the
# broker is nobody's.

burst('drop', 2000);
my $took = timed(sub { sql($node, 'SET client_min_messages = warning; DROP EXTENSION birthday_scheduler CASCADE') });
diag sprintf('DROP EXTENSION while sending: %.3f s', $took);
cmp_ok($took, '<', slow(3), 'DROP EXTENSION waits for nobody');
ok(wait_for(sub { $broker->connections == 0 }, 'them to leave'), 'dropped: nobody keeps a connection');
create_extension($node);
add_due($node, 50, 'anew');
each_once($node, $catcher, 'anew', 50, 'created again');
wait_empty($broker, 'created again');

# At once, again and again: the copies that the senders held go back to the broker,
# which hands out no more than amqp_prefetch of them.

set_conf($node, amqp_prefetch => 64);
foreach my $round (1 .. 4)
{
	burst("again$round", 600);
	sql($node, 'SET client_min_messages = warning; DROP EXTENSION birthday_scheduler CASCADE');
	create_extension($node);
}
rules();
add_due($node, 50, 'last');
each_once($node, $catcher, 'last', 50, 'created at once');
wait_empty($broker, 'created at once');
set_conf($node, amqp_prefetch => undef);

unlike(server_log($node), qr/\@example\.com|First\d|guest/, 'the log names nobody');
unlike(server_log($node), qr/server process.*was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
