# Large letters: what a sender holds is bounded by sender_memory, in the server and
# outside of it, however many connections it has; and all is sent, once.
use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Sender;
use BS::Test;
use List::Util qw(max);
use Test::More;
use Time::HiRes qw(sleep);

my $count = 240;
my $kilobytes = 300;                # of a letter: text and HTML together
my $memory_mb = 12;
my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, senders => 1, mail_url => '', queue => 'postgres', mail_timeout => '30s',
	mail_connections => 32, sender_memory => "${memory_mb}MB");
grant_sender($node);
my $sender = BS::Sender->new($node, 'one', mail_url => $catcher->url, mail_timeout => '30s',
	mail_connections => 32, sender_memory => "${memory_mb}MB",
	amqp_url => $broker->url);

# Wide characters: what goes over the wire is a good deal larger than the letter.
my $half = $kilobytes * 1024 / 2;
sql($node, "UPDATE message_types SET text_template = repeat('großer Brief ', $half / 14), html_template = repeat('<p>Grüße</p>', $half / 14)");

# The private memory of a process, in MB.
sub private_mb
{
	my ($pid) = @_;

	open(my $file, '<', "/proc/$pid/status") or return 0;
	my ($kb) = map { /^RssAnon:\s+(\d+)/ ? $1 : () } <$file>;
	return ($kb // 0) / 1024;
}

my %rest;                           # by process, before its first burst

# Sends the burst; says how much more than at rest the process had at its most.
sub most_mb
{
	my ($pid, $prefix) = @_;
	my $rest = $rest{$pid} //= private_mb($pid);
	my $most = 0;

	add_due($node, $count, $prefix);
	ok(wait_for(sub {
				foreach (1 .. 20) { $most = max($most, private_mb($pid)); sleep 0.01; }
				return keys %{ $catcher->arrivals($prefix) } == $count;
			}, 'the mails', 120), "$prefix: all are sent");
	ok(wait_settled($node, "$prefix%"), "$prefix: settled");
	is(counts($node, "$prefix%"), "SENT $count", "$prefix: each of them");
	is(scalar(grep { @$_ > 1 } values %{ $catcher->arrivals($prefix) }), 0, "$prefix: once");
	is(sql($node, "SELECT max(attempts) FROM message_logs WHERE recipient_email LIKE '$prefix%'"), 1, "$prefix: at the first attempt");
	return $most - $rest;
}

sub bounded
{
	my ($pid, $prefix) = @_;
	my $most = most_mb($pid, $prefix);

	diag sprintf('%s: %d letters of %d kB, %.1f MB beyond rest', $prefix, $count, $kilobytes, $most);
	# An allocator gives pages back late, and the statement that claims has some of its own.
	cmp_ok($most, '<', 1.5 * $memory_mb, "$prefix: memory is bounded");
	return;
}

foreach my $queue (qw(postgres rabbitmq))
{
	set_conf($node, queue => $queue, mail_url => $catcher->url);
	add_due($node, 1, "warm$queue");
	ok(wait_settled($node, "warm$queue%", 60), "server, $queue: at work");
	bounded(sql($node, q{SELECT pid FROM bs_workers WHERE worker = 'sender 1'}), "server$queue");
	set_conf($node, mail_url => '');
}

foreach my $queue (qw(postgres rabbitmq))
{
	set_conf($node, queue => $queue);
	$sender->start;
	add_due($node, 1, "far$queue");
	ok(wait_settled($node, "far$queue%", 60), "bs_sender, $queue: at work");
	bounded($sender->{pid}, "remote$queue");
	is($sender->stop, 0, "bs_sender, $queue: ends as asked");
}

done_testing();
