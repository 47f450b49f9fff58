# Four bs_sender in four network namespaces with addresses of their own, beside two
# senders in the server, one broker between: each message once.  In mid-burst two of
# the namespaces are cut off and brought back, and processes of both kinds are killed
# with -9.
#
# BS_SENDER_MESSAGES says how many messages (6000).  All of it runs in a network and a
# user namespace of its own, so no rights on this machine are needed.

use strict;
use warnings;

use BS::Network;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Sender;
use BS::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my $count = $ENV{BS_SENDER_MESSAGES} || 6000;
my $seconds = 90 + $count / 100;
my $here = '10.94.0.1';

bridge('bs0', $here);
machine("bs$_", eth0 => [ 'bs0', '10.94.0.' . (10 + $_) ]) foreach 1 .. 4;

my $port = BS::Sender::free_port();
my $broker = BS::Broker->new('main', user => 'away', conf => ["listeners.tcp.2 = $here:$port"]);
my ($password) = $broker->url =~ m{//[^:@]*:([^@]*)@};
my $secret = scratch_dir() . '/amqp_password';
open(my $out, '>', $secret) or die "could not write $secret: $!";
chmod 0600, $secret;
print $out "$password\n";
close $out;

my $catcher = start_catcher(scratch_dir() . '/mail', '--brief', '--host', $here);
my $relay = "smtp://$here:" . $catcher->port;
my $node = queue_node('main', $broker, senders => 2, mail_url => $relay, lease => '40s', mail_timeout => '15s',
	mail_connections => 4, conf => "listen_addresses = '$here'\nrestart_after_crash = on\n");
open(my $hba, '>>', $node->data_dir . '/pg_hba.conf') or die "no pg_hba.conf: $!";
print $hba "host all bs_remote 10.94.0.0/24 trust\n";
close $hba;
$node->restart;
grant_sender($node);

my @senders = map {
	BS::Sender->new(
		$node, "bs$_",
		command => [ on_machine("bs$_") ],
		database => "host=$here port=" . $node->port . ' dbname=postgres user=bs_remote',
		mail_url => $relay,
		mail_timeout => '15s',
		amqp_url => "amqp://away\@$here:$port",
		amqp_password_file => $secret)
} 1 .. 4;
$_->start foreach @senders;

sub arrived { return scalar keys %{ $catcher->arrivals('net') }; }

# The mails take their time, so that there is a burst to be in the middle of.
write_script($catcher, { rules => [ { phase => 'body', delay_ms => 10 } ] }) if $count < 20000;
well($node, 'at first');
my $start = time;
add_due($node, $count, 'net');

# ---- Two are cut off: neither database, broker nor relay answer; the others go on.

ok(wait_for(sub { arrived() > $count * 0.2 }, 'a part of the mails', $seconds), 'in mid-burst');
link_down("bs$_", 'eth0') foreach 1, 2;
my $cut_at = time;
my $before = arrived();
ok( wait_for(sub { arrived() > $before + $count * 0.2 }, 'the others to go on', $seconds),
	'two are cut off: the others go on');

# ---- One of those, and a sender in the server, are killed meanwhile.

is($senders[2]->stop('KILL'), 'signal 9', 'a remote one is killed');
$senders[2]->start(wait => 0);
my ($victim) = worker_pids($node, 'sender');
kill 'KILL', $victim;
pass("so is one in the server, $victim, and the server starts its processes again");

# ---- They come back, one within its lease, one when it has nearly ended.

link_up('bs1', 'eth0');
ok(wait_for(sub { time > $cut_at + 20 }, 'the second to be away for long', 30), 'the second one stays away');
link_up('bs2', 'eth0');

my $doubles = each_once($node, $catcher, 'net', $count, 'all', attempts => 12, seconds => $seconds,
	# Killed: what was under way and unrecorded. Cut off: what was under way.
	doubles => 2 * (8 + 128) + 2 * 8);
diag sprintf('%d messages in %.1f s, %d came twice', $count, time - $start, $doubles);
diag 'shares: ', value($node, q{SELECT string_agg(by || ' ' || n, ', ' ORDER BY by)
	FROM (SELECT split_part(claimed_by, '/', 1) || ' ' || split_part(claimed_by, '/', 3) AS by, count(*) AS n
	        FROM message_logs WHERE recipient_email LIKE 'net%' GROUP BY 1) c});
wait_empty($broker, 'all', seconds => 60);

# ---- All of them are at work: two of them knew nothing of it, and are the same.

ok(wait_for(sub { $_->count_log(qr/at work/) >= 1 }, "$_->{name} to be at work", 40), "$_->{name} is at work") foreach @senders;
add_due($node, 1200, 'after');
each_once($node, $catcher, 'after', 1200, 'after', attempts => 2, seconds => 60);
is( value($node, q{SELECT count(DISTINCT claimed_by) FROM message_logs WHERE recipient_email LIKE 'after%'}),
	6, 'after: all six sent');
is($_->stop, 0, "$_->{name} ends as asked") foreach @senders;

unlike(join('', map { $_->log } @senders), qr/\@example\.com|First\d|\Q$password\E/, 'their logs name nobody');
$node->stop;
done_testing();
