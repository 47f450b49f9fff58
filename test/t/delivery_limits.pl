# Rate limit and circuit breaker, which all senders share.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use JSON::PP ();
use List::Util qw(max);
use Test::More;
use Time::HiRes qw(time);

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main',
	mail_url => $catcher->url,
	mail_connections => 4,
	rate_limit => 100);

# ---- Of 400 messages the bucket lets 100 through at once, and 100 a second from
# then on, whoever of the two senders has them.

add_due($node, 400, 'rate');
ok(wait_settled($node, 'rate%'), 'rate_limit: all are sent');
is(counts($node, 'rate%'), 'SENT 400', 'rate_limit: each of them');
my @times = sort { $a <=> $b } map { $_->{time} } $catcher->mails;
diag sprintf('400 mails at 100/s took %.2f s', $times[-1] - $times[0]);
cmp_ok($times[-1] - $times[0], '>=', 2.8, 'rate_limit: not faster than allowed');
cmp_ok($times[-1] - $times[0], '<=', slow(6), 'rate_limit: nor much slower');

# At no moment have more gone than the bucket can have let through.
my $most = max(map { $_ + 1 - 100 * ($times[$_] - $times[0]) } 0 .. $#times);
cmp_ok($most, '<=', 120, 'rate_limit: at every moment');
is( sql($node, q{SELECT count(DISTINCT claimed_by) FROM message_logs
		WHERE recipient_email LIKE 'rate%'}),
	2, 'rate_limit: two senders shared it');
is( sql($node, q{SELECT max(attempts) FROM message_logs
		WHERE recipient_email LIKE 'rate%'}),
	1, 'rate_limit: waiting is no attempt');

# ---- A relay that is in trouble is left alone for 30 seconds, by every sender,
# and what waits loses no attempts; then one message finds out.

set_conf($node, rate_limit => undef, breaker => '0.5');
write_script($catcher, { rules => [
	{ phase => 'mail', reply => '451 4.3.0 out of order' } ] });
add_due($node, 200, 'break');
my $opened = $node->wait_for_log(qr/pauses sending for 30 seconds/);
my $opened_at = time;
ok( wait_for(
		sub { sql($node, "SELECT count(*) FROM message_logs WHERE status = 'SENDING'") == 0 },
		'the senders to let go'),
	'breaker: when it opens nothing stays claimed');

sub refusals { return scalar grep { $_->{phase} eq 'mail' } $catcher->attempts; }

my $refused = refusals();
cmp_ok($refused, '>=', 10, 'breaker: ten attempts open it');
cmp_ok($refused, '<=', 18, 'breaker: beside those under way no more were made');
is( sql($node, q{SELECT sum(attempts) FROM message_logs
		WHERE recipient_email LIKE 'break%'}),
	$refused, 'breaker: only those are counted');
write_script($catcher, { rules => [] });
my $mails = $catcher->mails;

# While it is open a new message waits like the others.
add_due($node, 1, 'open');
ok(wait_settled($node, 'break%', 35), 'breaker: all are sent once it closes');
diag sprintf('and all were sent %.1f s after it opened', time - $opened_at);
is(counts($node, 'break%'), 'SENT 200', 'breaker: each of them');
is(counts($node, 'open%'), 'SENT 1', 'breaker: the new one too');
is(refusals(), $refused, 'breaker: nothing was tried meanwhile');
my ($probe) = ($catcher->mails)[$mails];
diag sprintf('the probe came %.1f s after the breaker opened', $probe->{time} - $opened_at);
cmp_ok($probe->{time} - $opened_at, '>=', 29, 'breaker: the probe came after 30 seconds');
like(server_log($node, $opened), qr/sends again: the relay answers/, 'breaker: the log says so');
is( scalar(@{ by_recipient($catcher->mails)->{'break1@example.com'} }),
	1, 'breaker: once each');

# ---- A relay that takes a few connections of ours, for two senders with eight each: they
# learn how many, and send on these, without trouble and attempts.

foreach my $case ([ 'greeting', { reply => '421 4.7.0 too many connections' } ], [ 'closed', { close => JSON::PP::true(), reply => '432 4.3.2 concurrent connections limit exceeded' } ])
{
	my ($name, $rule) = @$case;

	set_conf($node, mail_connections => $name eq 'greeting' ? 8 : 7);
	write_script($catcher, { rules => [ { phase => 'connect', more_than => 5, %$rule } ] });
	my $offset = -s $node->logfile;
	my $start = time;
	add_due($node, 300, "few_$name");
	ok(wait_settled($node, "few_$name%", 30), "few connections, $name: all are sent");
	diag sprintf('300 mails over five connections took %.1f s', time - $start);
	is(counts($node, "few_$name%"), 'SENT 300', "few connections, $name: each of them");
	is(scalar(grep { $_->{rcpt}[0] =~ /^few_$name/ } $catcher->mails), 300, "few connections, $name: once each");
	my $again = sql($node, "SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'few_$name%' AND attempts > 1");
	cmp_ok($again, '<=', 2, "few connections, $name: next to none was tried twice");
	unlike(server_log($node, $offset), qr/pauses sending/, "few connections, $name: the breaker does not open");
	like(server_log($node, $offset), qr/uses \d+ connections of this sender: the relay takes no more/, "few connections, $name: the log says so");
	is(sql($node, q{SELECT max(connections) BETWEEN 1 AND 5 FROM bs_worker_stats() WHERE worker LIKE 'sender%'}), 't', "few connections, $name: bs_worker_stats() knows how many");
	like(sql($node, q{SELECT string_agg(state, '/') FROM bs_workers}), qr/working,\nat most \d\nsessions/, "few connections, $name: bs_workers shows it");
}

$node->stop;
done_testing();
