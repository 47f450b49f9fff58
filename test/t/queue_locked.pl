# A due message that another session keeps locked costs next to nothing: senders come
# back for it less and less often, up to once a second, and send the others meanwhile.

use strict;
use warnings;

use BS::Broker;
use BS::Test;
use BS::Delivery;
use BS::Sender;
use Test::More;
use Time::HiRes qw(time);

my $watched = 4;    # seconds
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');

# Calls of what senders and publisher look with, until now.
sub calls
{
	my ($node) = @_;

	return sql($node, q{SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions
		WHERE funcname IN ('bs_claim', 'bs_next_due', 'bs_due_messages', 'bs_mark_queued')});
}

# is_calm($node, $prefix, $what, $limit): at most that many calls a second
sub is_calm
{
	my ($node, $prefix, $what, $limit) = @_;

	my $session = $node->background_psql('postgres');

	# While it is paused nobody claims it before it is locked.
	sql($node, 'SELECT bs_pause()');
	add_due($node, 1, "${prefix}locked");
	$session->query_safe("BEGIN; SELECT FROM message_logs WHERE recipient_email LIKE '${prefix}locked%' FOR UPDATE");
	sql($node, 'SELECT bs_resume()');

	# The waits have grown by then.
	my $begun = time;
	wait_for(sub { time > $begun + 3 }, 'the waits to grow', 10);
	my $before = calls($node);
	$begun = time;
	wait_for(sub { time > $begun + $watched }, 'the time to pass', 10);
	my $seen = calls($node) - $before;
	diag "$what: $seen calls in $watched s";
	cmp_ok($seen, '<=', $limit * $watched, "$what: a locked row is looked at about once a second");
	cmp_ok($seen, '>', 0, "$what: it is looked at");

	add_due($node, 3, "${prefix}other");
	ok(wait_settled($node, "${prefix}other%"), "$what: others are sent meanwhile");
	is(counts($node, "${prefix}locked%"), 'SCHEDULED 1', "$what: it is still locked");
	$session->query_safe('COMMIT');
	$session->quit;
	ok(wait_settled($node, "${prefix}locked%"), "$what: it is sent once the lock is gone");
	is(counts($node, "${prefix}%"), 'SENT 4', "$what: all are sent");
	return;
}

my $node = mail_node('main', mail_url => $catcher->url, conf => "track_functions = 'pl'\n");
is_calm($node, 'in', 'in-server senders', 8);
$node->stop;

my $far = remote_node('far', conf => "track_functions = 'pl'\n");
my $sender = BS::Sender->new($far, 'one', mail_url => $catcher->url);
$sender->start;
is_calm($far, 'out', 'bs_sender', 4);
$sender->stop;

my $broker = BS::Broker->new('main');
my $published = mail_node('published', mail_url => $catcher->url, amqp_url => $broker->url,
	queue => 'rabbitmq', conf => "track_functions = 'pl'\n");
is_calm($published, 'by', 'publisher', 12);

done_testing();
