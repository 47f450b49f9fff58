# A lease that is too short for mail_timeout: the senders send nothing, spend no
# attempts, and say why, until the settings go together.
use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use JSON::PP;
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main',
	mail_url => $catcher->url,
	mail_connections => 2,
	lease => '7s',
	mail_timeout => '3600ms');
my $reason = '"birthday_scheduler.lease" (%d s) must be at least twice "birthday_scheduler.mail_timeout" (%d ms)';

sub relay
{
	return JSON::PP->new->decode(sql($node, q{SELECT bs_health() -> 'parts' -> 'relay'}));
}

sub refuses
{
	my ($what, $lease_ms, $timeout_ms) = @_;
	my $words = quotemeta sprintf($reason, $lease_ms / 1000, $timeout_ms);

	ok(wait_for(sub { (relay()->{reason} // '') =~ /^$words/ }, 'the health'), "$what: bs_health() names both settings")
	  or diag explain relay();
	is(relay()->{status}, 'error', "$what: it is an error");
	is(sql($node, q{SELECT count(*) FROM bs_workers WHERE worker LIKE 'sender%' AND state <> 'no relay'}), 0,
		"$what: no sender has a relay");
	ok(wait_for(sub { log_lines($node, qr/LOG: .*$words/) > 0 }, 'the log'), "$what: the log has it");
	return;
}

# ---- From the start.

add_due($node, 20, 'start');
refuses('start', 7000, 3600);
is(counts($node, 'start%'), 'SCHEDULED 20', 'start: nothing is claimed');
set_conf($node, mail_timeout => '3500ms');
ok(wait_settled($node, 'start%'), 'start: sent once the settings go together');
is(sql($node, q{SELECT max(attempts) FROM message_logs WHERE recipient_email LIKE 'start%'}), 1, 'start: no attempt was spent');
ok(wait_for(sub { relay()->{status} eq 'ok' }, 'the health'), 'start: bs_health() is well');

# ---- By a reload in the middle of a burst: what is under way comes to its end.

write_script($catcher, { rules => [ { phase => 'body', rcpt => 'amid*', delay_ms => 300 } ] });
add_due($node, 40, 'amid');
ok(wait_for(sub { keys %{ $catcher->arrivals('amid') } >= 4 }, 'mails'), 'amid: some are sent');
set_conf($node, lease => '6s');
refuses('amid', 6000, 3500);
my $left = sql($node, q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'amid%' AND status IN ('SCHEDULED', 'RETRYING')});
cmp_ok($left, '>', 0, 'amid: some are left');
is(counts($node, 'amid%') =~ /SENDING/ ? 1 : 0, 0, 'amid: none is held');
is(scalar(keys %{ $catcher->arrivals('amid') }), 40 - $left, 'amid: each that was sent is recorded');
is(sql($node, q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'amid%' AND status = 'RETRYING' AND attempts > 0}), 0,
	'amid: no attempt was spent on the others');
set_conf($node, lease => '1min');
ok(wait_settled($node, 'amid%', 60), 'amid: settled');
my $arrivals = $catcher->arrivals('amid');
is(scalar(keys %$arrivals), 40, 'amid: all are sent');
is(scalar(grep { @$_ > 1 } values %$arrivals), 0, 'amid: once');

done_testing();
