# Where only bs_sender sends, the database knows of it: its health is that of the senders
# that live, and what they did is counted.

use strict;
use warnings;

use BS::Delivery;
use BS::Sender;
use BS::Test;
use JSON::PP ();
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = remote_node('main', lease => slow(4) . 's', mail_timeout => '1s');

sub value { my ($sql) = @_; return sql($node, $sql); }

sub relay { return JSON::PP->new->decode(value(q{SELECT bs_health() #> '{parts,relay}'})); }

# Until the part about the relay has that status.
sub wait_relay
{
	my ($status, $what) = @_;
	my $found;

	wait_for(sub { $found = relay(); return $found->{status} eq $status; }, "a relay that is $status", 40);
	is($found->{status}, $status, $what);
	return $found;
}

sub metric { my ($name) = @_; return value("SELECT coalesce(sum(m.value), -1) FROM bs_metrics('$name') m"); }

# ---- Nothing sends yet.

add_due($node, 1, 'first');
like(wait_relay('error', 'no sender: an error')->{reason}, qr/no bs_sender has reported itself/, 'no sender: it says so');

# ---- A bs_sender sends: all is well, though the server's own senders have no relay.

my $sender = BS::Sender->new($node, 'one', mail_url => $catcher->url, mail_timeout => '1s')->start;
add_due($node, 20, 'well');
ok(wait_settled($node, 'well%') && wait_settled($node, 'first%'), 'one: mails are sent');
wait_relay('ok', 'one: the relay is well');
ok(wait_for(sub { value(q{SELECT bs_health() ->> 'status'}) eq 'ok' }, 'good health', 40), 'one: and so is all')
  or diag(value('SELECT jsonb_pretty(bs_health())'));
ok(wait_for(sub { metric('sender_sent_total') == 21 }, 'the counter', 40), 'one: what it sent is counted');
is(metric('sender_up'), 1, 'one: it is up');
is(metric('lateness_seconds_count'), 21, 'one: so is how late it was');
is(metric('delivery_seconds_count'), 21, 'one: and how long it took');
is(value(q{SELECT m.value FROM bs_metrics('relay_attempts_total') m WHERE m.labels ->> 'outcome' = 'accepted'}), 21, 'one: and the attempts');
is(value(q{SELECT state || ' ' || sent || ' ' || failed FROM bs_remote_senders}), 'working 21 0', 'one: the view shows it');

# ---- Its relay is in trouble, which is said by class.

write_script($catcher, { rules => [ { phase => 'rcpt', reply => '550 5.1.1 nobody', rcpt => 'no*' }, { phase => 'mail', reply => '421 4.3.2 not now' } ] });
add_due($node, 3, 'trouble');
my $relay = wait_relay('warning', 'trouble: a warning');
like($relay->{reason}, qr/trouble with the relay \(\w+\)/, 'trouble: it says so');
unlike(JSON::PP->new->encode($relay), qr/127\.0\.0\.1|4\.3\.2/, 'trouble: and nothing of the relay');
write_script($catcher, { rules => [] });
ok(wait_settled($node, 'trouble%', 60), 'trouble: over');

# ---- It is killed, and messages wait: an error, until another one comes.

$sender->stop('KILL');
add_due($node, 2, 'gone');
sql($node, q{UPDATE bs_senders SET seen_at = now() - interval '2 minutes'});
like(wait_relay('error', 'gone: an error')->{reason}, qr/no bs_sender has reported itself since/, 'gone: it says so');
is(metric('sender_up'), 0, 'gone: it is not up');
my $other = BS::Sender->new($node, 'two', mail_url => $catcher->url, mail_timeout => '1s')->start;
wait_relay('ok', 'another one: the relay is well');
ok(wait_settled($node, 'gone%', 60), 'another one: it sends');
is($other->stop, 0, 'another one: ends as asked');

unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
$node->stop;
done_testing();
