# bs_sender with PostgreSQL as the queue: it sends each message once at its moment,
# goes on when it or the server was killed or the connection cut, gives back what it
# did not send when it is asked to end, and says how it is.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use BS::Proxy;
use BS::Sender;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail");
my $node = remote_node('main', lease => slow(10) . 's', conf => "listen_addresses = '127.0.0.1'\n");
my $port = BS::Sender::free_port();
my $sender = BS::Sender->new($node, 'one', mail_url => $catcher->url,
	mail_timeout => slow(4) . 's', listen => "127.0.0.1:$port");

sub rules { return write_script($catcher, { rules => [@_] }); }

# Everybody got it, once but for so many, each with one Message-ID.
sub each_once
{
	my ($prefix, $count, $what, $doubles) = @_;

	is(counts($node, "$prefix%"), "SENT $count", "$what: each row is SENT");
	my $arrivals = $catcher->arrivals($prefix);
	is(scalar(keys %$arrivals), $count, "$what: everybody got the mail");
	my @twice = grep { @$_ > 1 } values %$arrivals;
	cmp_ok(scalar(@twice), '<=', $doubles // 0, "$what: once");
	is(scalar(grep { my %ids = map { $_->[1] => 1 } @$_; keys %ids > 1 } @twice),
		0, "$what: with one Message-ID");
	diag("$what: " . @twice . ' were sent twice') if @twice;
	return;
}

# ---- What is due, and what falls due.

$sender->start;
add_due($node, 300, 'burst');
ok(wait_settled($node, 'burst%'), 'burst: settled');
each_once('burst', 300, 'burst');
is( sql($node, q{SELECT count(DISTINCT claimed_by), bool_and(claimed_by LIKE 'remote/%') FROM message_logs}),
	'1|t', 'burst: by the one sender');
is(sql($node, q{SELECT count(*) FROM message_logs WHERE actual_send_time < scheduled_send_time}),
	0, 'burst: none early');

# In the next seconds, by the user's clock: no poll is needed for what is planned.
add_due($node, 1, 'moment', timezone => q{'Etc/UTC'});
ok(wait_settled($node, 'moment%'), 'moment: settled');
sub due_in
{
	my ($seconds) = @_;

	# A moment of the same day.
	wait_for(sub { sql($node, q{SELECT (now() AT TIME ZONE 'UTC')::time < '23:59:45'}) eq 't' }, 'midnight to pass', 20);
	sql($node, qq{UPDATE message_types SET send_time = ((now() + interval '$seconds seconds') AT TIME ZONE 'UTC')::time(0)
		WHERE name = 'BIRTHDAY'});
	return;
}
due_in(3);
add_due($node, 20, 'punctual');
ok(wait_settled($node, 'punctual%'), 'punctual: settled');
my $late = sql($node, q{SELECT max(extract(epoch FROM actual_send_time - scheduled_send_time)) FROM message_logs
	WHERE recipient_email LIKE 'punctual%'});
diag sprintf('punctual: late by at most %.0f ms', $late * 1000);
cmp_ok($late, '<', slow(1), 'punctual: late by less than a second');
cmp_ok(sql($node, q{SELECT min(extract(epoch FROM actual_send_time - scheduled_send_time)) FROM message_logs
	WHERE recipient_email LIKE 'punctual%'}), '>=', 0, 'punctual: never early');
sql($node, q{UPDATE message_types SET send_time = '00:00' WHERE name = 'BIRTHDAY'});

# ---- It says how it is.

my ($status, $page) = $sender->page('health');
is($status, 200, '/health: 200');
is(JSON::PP->new->decode($page)->{status}, 'ok', '/health: ok');
cmp_ok($sender->metric('outcomes_total{outcome="sent"}'), '>=', 301, '/metrics: sent');
is(($sender->page('other'))[0], 404, 'another page: 404');

# ---- What the relay puts off and refuses.

rules({ phase => 'rcpt', rcpt => 'later*', reply => '451 later', times => 5 },
	{ phase => 'rcpt', rcpt => 'never*', reply => '550 no' });
add_due($node, 5, 'later');
add_due($node, 5, 'never');
ok(wait_settled($node, 'later%'), 'later: settled');
is(counts($node, 'later%'), 'SENT 5', 'later: sent in the end');
is(counts($node, 'never%'), 'FAILED 5', 'never: given up');
is($sender->count_log(qr/message [0-9a-f-]{36} was given up: refused \(reply code 550\)/), 5,
	'never: logged with their ids');
rules();

# ---- kill -9 in mid-burst: what it held is sent by the next one when the lease has
# ended, and only what was handed over unrecorded comes twice.

rules({ phase => 'body', rcpt => 'killed*', delay_ms => 20 });
add_due($node, 400, 'killed');
ok(wait_for(sub { keys %{ $catcher->arrivals('killed') } > 50 }, 'a part of the mails'), 'killed: in mid-burst');
is($sender->stop('KILL'), 'signal 9', 'killed');
$sender->start;
ok(wait_settled($node, 'killed%', 60), 'killed: settled');
each_once('killed', 400, 'killed', 8 + 64);

# ---- The server is killed in mid-burst and comes back.

add_due($node, 400, 'crash');
rules({ phase => 'body', rcpt => 'crash*', delay_ms => 20 });
ok(wait_for(sub { keys %{ $catcher->arrivals('crash') } > 50 }, 'a part of the mails'), 'crash: in mid-burst');
$node->stop('immediate');
ok(wait_for(sub { $sender->metric('database_up') eq '0' }, 'the sender to see it'), 'crash: it sees it');
is(($sender->page('health'))[0], 503, 'crash: /health says so');
$node->start;
ok(wait_settled($node, 'crash%', 60), 'crash: settled');
each_once('crash', 400, 'crash', 0);
is(($sender->page('health'))[0], 200, 'crash: well again');

# ---- Its connection is cut in mid-burst, again and again: what it could not record
# it records on the next one.

add_due($node, 400, 'cut');
rules({ phase => 'body', rcpt => 'cut*', delay_ms => 20 });
foreach my $part (1 .. 5)
{
	wait_for(sub { keys %{ $catcher->arrivals('cut') } > 40 * $part }, 'a part of the mails');
	sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bs_remote'});
}
ok(wait_settled($node, 'cut%', 60), 'cut: settled');
each_once('cut', 400, 'cut', 0);
rules();

# ---- Where somebody locks a row that it holds, as who erases many users does, that one
# waits, for longer than its lease; the others are recorded, and more are sent; none twice.

rules({ phase => 'body', rcpt => 'locked*', delay_ms => slow(1) * 1000 });
my $other = $node->background_psql('postgres');
$other->query_safe('BEGIN');
add_due($node, 8, 'locked');
my $claimed = q{FROM message_logs WHERE recipient_email LIKE 'locked%' AND status = 'SENDING'};
ok(wait_for(sub { sql($node, "SELECT count(*) $claimed") == 8 }, 'the claim'), 'locked: claimed');
$other->query_safe("SELECT FROM message_logs WHERE id = (SELECT id $claimed ORDER BY id OFFSET 4 LIMIT 1) FOR UPDATE");
wait_count($node, 'locked%', 'SENDING 1, SENT 7');
add_due($node, 50, 'beside');
ok(wait_settled($node, 'beside%'), 'locked: others are sent meanwhile');
ok( wait_for(sub { sql($node, "SELECT count(*) $claimed AND due_at < now() - interval '2 seconds'") == 1 },
		'its lease to end', 30),
	'locked: its lease ends');
$other->query_safe('COMMIT');
ok(wait_settled($node, 'locked%'), 'locked: settled');
each_once('locked', 8, 'locked');
each_once('beside', 50, 'beside');

# ---- Whoever locks all in another order goes first, and is not the victim of a deadlock.

rules({ phase => 'body', rcpt => 'table*', delay_ms => slow(1) * 1000 });
add_due($node, 8, 'table');
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'table%' AND status = 'SENDING'}) == 8 },
		'the claim'), 'table: claimed');
$other->query_safe('BEGIN; LOCK TABLE message_logs IN SHARE MODE');
ok( wait_for(
		sub {
			sql($node, q{SELECT (SELECT count(*) FROM pg_stat_activity WHERE usename = 'bs_remote' AND wait_event_type = 'Lock')
				+ (SELECT count(*) FROM bs_pending_outcomes JOIN message_logs USING (id) WHERE recipient_email LIKE 'table%')});
		},
		'it to record'),
	'table: it waits, or waited and noted the outcome');
$other->query_safe('LOCK TABLE message_logs IN ACCESS EXCLUSIVE MODE');
ok(wait_for(sub { $sender->count_log(qr/SQLSTATE 55P03/) > 0 }, 'it to give way'), 'table: it gives way');
$other->query_safe('COMMIT');
$other->quit;
ok(wait_settled($node, 'table%'), 'table: settled');
each_once('table', 8, 'table');
rules();

# ---- Claims whose answer is lost with the connection are given back when there is
# another one, long before their lease ends, and no attempt is spent.

rules();
$sender->stop;
my $proxy = BS::Proxy->new($node->port);
due_in(6);
add_due($node, 50, 'lost');
# It knows the moment, and its next question is the claim.
my $far = BS::Sender->new($node, 'far', mail_url => $catcher->url, lease => '1h', poll_interval => '30s',
	database => 'host=127.0.0.1 port=' . $proxy->port . ' dbname=postgres user=bs_remote')->start;
wait_for(sub { sql($node, q{SELECT query FROM pg_stat_activity WHERE application_name = 'bs_sender' AND state = 'idle'}) =~ /bs_next_due/ },
	'it to know the moment', 5);
$proxy->set(now => 'lose_down');
ok( wait_for(sub { sql($node, q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'lost%' AND status = 'SENDING'}) == 50 },
		'the claim'),
	'lost: claimed, and nobody is told');
is(scalar(keys %{ $catcher->arrivals('lost') }), 0, 'lost: nothing is sent');
$proxy->set(now => 'cut', later => 'pass');
ok(wait_settled($node, 'lost%'), 'lost: settled');
each_once('lost', 50, 'lost');
is(sql($node, q{SELECT DISTINCT attempts FROM message_logs WHERE recipient_email LIKE 'lost%'}), 1, 'lost: by one attempt');
is($far->count_log(qr/gave back 50 messages whose claim was lost/), 1, 'lost: it says so');
is($far->stop, 0, 'lost: ended');
sql($node, q{UPDATE message_types SET send_time = '00:00' WHERE name = 'BIRTHDAY'});
$sender->start;

# ---- A relay so slow that the lease of what is claimed does not suffice: what it does
# not cover is given back rather than handed over, and nobody gets it twice.

$sender->set(lease => '2s', mail_timeout => '1s');
rules({ phase => 'body', rcpt => 'slow*', delay_ms => 300 });
my $released = $sender->metric('outcomes_total{outcome="released"}');
add_due($node, 200, 'slow');
ok(wait_settled($node, 'slow%', 60), 'slow: settled');
each_once('slow', 200, 'slow');
cmp_ok($sender->metric('outcomes_total{outcome="released"}'), '>', $released, 'slow: some were given back');
is($sender->metric('late_total'), 0, 'slow: no outcome came too late');
is(sql($node, q{SELECT max(attempts) FROM message_logs WHERE recipient_email LIKE 'slow%'}), 1, 'slow: no attempt was spent');
$sender->set(lease => undef, mail_timeout => '4s');
rules();

# ---- SIGTERM in mid-burst with a relay that falls silent: half a second for answers,
# the rest is given back at once, and no attempt is spent.

rules({ phase => 'body', rcpt => 'drain*', hang => 1 });
add_due($node, 100, 'drain');
ok(wait_for(sub { ($sender->metric('messages{step="under_way"}') // 0) == 8 }, 'transfers'), 'drain: under way');
my $start = time;
is($sender->stop, 0, 'drain: exit code 0');
my $took = time - $start;
diag sprintf('drain: %.2f s', $took);
cmp_ok($took, '<', slow(2), 'drain: it took less than two seconds');
is(sql($node, q{SELECT count(*) FROM message_logs WHERE status = 'SENDING'}), 0, 'drain: nothing is held');
is( sql($node, q{SELECT count(*) FILTER (WHERE status_reason = 'in_doubt' AND attempts = 1),
		count(*) FILTER (WHERE attempts = 0) FROM message_logs WHERE recipient_email LIKE 'drain%'}),
	'8|92', 'drain: eight are in doubt, the others unharmed');
$catcher->stop;
rules();
$catcher->start;
$sender->start;
ok(wait_settled($node, 'drain%', 60), 'drain: settled');
each_once('drain', 100, 'drain', 8);

# ---- A reload changes what it does; a bad one changes nothing.

my $second = start_catcher("$dir/mail2");
$sender->set(mail_url => $second->url);
add_due($node, 10, 'reload');
ok(wait_settled($node, 'reload%'), 'reload: settled');
is(scalar(keys %{ $second->arrivals('reload') }), 10, 'reload: by the new relay');
$sender->set(mail_url => 'gopher://nowhere');
is($sender->count_log(qr/the settings stay as they were: .*"mail_url" in the file/), 1, 'bad reload: it says so');
add_due($node, 10, 'badload');
ok(wait_settled($node, 'badload%'), 'bad reload: settled');
is(scalar(keys %{ $second->arrivals('badload') }), 10, 'bad reload: nothing has changed');

# ---- Pause, and DROP EXTENSION, under its hands.

sql($node, 'SELECT bs_pause()');
ok(wait_for(sub { ($sender->page('health'))[1] =~ /paused by bs_pause/ }, 'the pause', 40), 'pause: it says so');
add_due($node, 10, 'paused');
sql($node, 'SELECT bs_resume()');
ok(wait_settled($node, 'paused%'), 'pause: sent afterwards');
my $seconds = timed(sub { sql($node, 'SET client_min_messages = warning; DROP EXTENSION birthday_scheduler CASCADE') });
cmp_ok($seconds, '<', slow(3), 'DROP EXTENSION does not wait for it');
ok(wait_for(sub { ($sender->page('health'))[1] =~ /not created/ }, 'it to see that', 40), 'DROP EXTENSION: it says so');
create_extension($node);
grant_sender($node);
add_due($node, 10, 'anew');
ok(wait_settled($node, 'anew%', 60), 'CREATE EXTENSION: it goes on');
is($sender->stop('INT'), 0, 'it ends as asked');

unlike($sender->log, qr/\@example\.com|First\d/, 'its log names nobody');
unlike(server_log($node), qr/\@example\.com|First\d/, 'nor does that of the server');
$node->stop;
done_testing();
