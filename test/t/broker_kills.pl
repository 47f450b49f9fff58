# Senders that are killed with -9 while they hold a batch, 25 times: each time the
# server starts all of its processes again, and the broker hands the copies out
# once more.  No healthy message may vanish or become a dead letter.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use Test::More;
use Time::HiRes qw(time);

my $kills = 25;
my $count = 4000;

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, mail_url => $catcher->url, mail_connections => 4);

write_script($catcher, { rules => [ { phase => 'body', rcpt => 'kill*', delay_ms => 40 } ] });
well($node, 'at first');
add_due($node, $count, 'kill');

my $killed = 0;
my $left = $count;
foreach my $round (1 .. $kills)
{
	my $before = $catcher->mails;
	my $victim;

	# Sending goes on, and there is a sender that holds messages.
	my $found = wait_for(
		sub {
			return if keys %{ $catcher->arrivals('kill') } == $left and $round > 1;
			($victim) = split /\n/, try_sql($node, q{SELECT split_part(claimed_by, '/', 2) FROM message_logs
				WHERE status = 'SENDING' AND claimed_by LIKE 'server/%' GROUP BY 1
				HAVING count(*) > 4 ORDER BY random()});
			return defined $victim && $victim =~ /^\d+$/ && -e "/proc/$victim";
		},
		'a sender that holds a batch', 60) or last;
	$killed += kill 'KILL', $victim;
	$left = keys %{ $catcher->arrivals('kill') };

	# The server has noticed, and its workers are back.
	wait_for(sub { !-e "/proc/$victim" }, 'the end of the process', 10);
	wait_for(sub { try_sql($node, q{SELECT count(*) FROM bs_workers WHERE pid IS NOT NULL}) eq '4' },
		'four workers', 60) or last;
}
is($killed, $kills, "$kills kills of a sender that held messages");
my $twice = each_once($node, $catcher, 'kill', $count, 'killed', attempts => 12, doubles => (8 + 64) * $kills, seconds => 150);
diag sprintf('%d kills: %d of %d mails came twice', $killed, $twice, $count);
diag 'attempts: ', join(', ', split /\n/, value($node, q{SELECT attempts || ': ' || count(*) FROM message_logs
	WHERE recipient_email LIKE 'kill%' GROUP BY attempts ORDER BY attempts}));
wait_empty($broker, 'killed');
well($node, 'killed');
is(log_lines($node, qr/was given up/), 0, 'killed: no message was given up');

unlike(server_log($node), qr/\@example\.com|First\d|guest/, 'the log names nobody');
$node->stop;
done_testing();
