# An outcome that a living sender knows is recorded, whatever keeps it from being
# written for longer than the lease: nothing is sent twice, and nothing that was
# accepted ends as FAILED.

use strict;
use warnings;

use BS::Delivery;
use BS::Sender;
use BS::Test;
use Test::More;
use Time::HiRes qw(time);

my $lease = slow(3);    # seconds
my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', mail_url => $catcher->url, mail_connections => 2,
	lease => "${lease}s", mail_timeout => '1s');
my $sender;    # a bs_sender, once there is one

sub value { my ($sql) = @_; return sql($node, $sql); }

# Everybody in $prefix got one mail, and the rows say so.
sub is_once
{
	my ($what, $prefix, $count) = @_;

	ok(wait_settled($node, "$prefix%"), "$what: settled");
	is(counts($node, "$prefix%"), "SENT $count", "$what: all is sent");
	my $found = $catcher->arrivals($prefix);
	is(join(' ', grep { @{ $found->{$_} } != 1 } sort keys %$found), '', "$what: once each");
	is(scalar(keys %$found), $count, "$what: to everybody");
	is(value('SELECT count(*) FROM bs_pending_outcomes'), 0, "$what: nothing is left to be recorded");
	return;
}

# obstacle($what, $prefix, $statement, $remedy): while mails are under way $statement
# is run in a transaction that stays open for longer than the lease, unless there is a
# $remedy: then it is committed at once, and the remedy comes as late.
sub obstacle
{
	my ($what, $prefix, $statement, $remedy) = @_;
	my $session = $node->background_psql('postgres');
	my $count = 12;

	write_script($catcher, { rules => [ { phase => 'body', rcpt => "$prefix*", delay_ms => 300 } ] });
	add_due($node, $count, $prefix);
	ok(wait_for(sub { keys %{ $catcher->arrivals($prefix) } >= 2 }, 'mails'), "$what: sending is under way");
	$session->query_safe("BEGIN; SET LOCAL client_min_messages = error; $statement");
	$session->query_safe('COMMIT') if defined $remedy;
	my $until = time + 2 * $lease + 1;
	wait_for(sub { time > $until }, 'the leases to end', 4 * $lease);
	$session->query_safe($remedy // 'COMMIT');
	$session->quit;
	is_once($what, $prefix, $count);
	return;
}

my $month = value(q{SELECT 'message_logs_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')});
my $bounds = value("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = '$month'");
my $all = "LOCK TABLE $month, bs_pending_outcomes IN ACCESS EXCLUSIVE MODE";

# ---- In-server senders.

obstacle('an index is made', 'share', "LOCK TABLE $month IN SHARE MODE");
obstacle('VACUUM FULL', 'excl', "LOCK TABLE $month IN ACCESS EXCLUSIVE MODE");
obstacle('nothing can be noted', 'all', $all);
obstacle('the month is away', 'away', "ALTER TABLE message_logs DETACH PARTITION $month",
	"ALTER TABLE message_logs ATTACH PARTITION $month $bounds");
is(log_lines($node, qr/came too late/), 0, 'no outcome came too late');
is(log_lines($node, qr/put back \d+ messages/), 0, 'no message was given up for lost');

set_conf($node, delivery_guarantee => 'at_most_once');
obstacle('at most once', 'most', "LOCK TABLE $month IN SHARE ROW EXCLUSIVE MODE");
obstacle('at most once, nothing can be noted', 'mall', $all);
set_conf($node, delivery_guarantee => undef);

# ---- One month that is locked holds up no other: what a lost sender held there is put
# back.

my $last = value(q{SELECT 'message_logs_' || to_char(now() AT TIME ZONE 'UTC' - interval '1 month', 'YYYY_MM')});
set_conf($node, mail_url => '');
ok(wait_for(sub { value(q{SELECT count(*) FROM bs_workers WHERE state = 'no relay'}) == 2 }, 'idle senders'),
	'two months: ours have no relay');
add_due($node, 2, 'month');
is(value(q{SELECT count(*) FROM bs_claim('elsewhere/1', 2, '1 second')}), 2, 'two months: claimed elsewhere');
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; LOCK TABLE $last IN SHARE ROW EXCLUSIVE MODE");
sql($node, 'SELECT bs_wake()');
wait_count($node, 'month%', 'RETRYING 2', 15);
$session->query_safe('COMMIT');
$session->quit;

# ---- A bs_sender, which tells its database that it is alive.

grant_sender($node);
$sender = BS::Sender->new($node, 'one', mail_url => $catcher->url, mail_connections => 2, mail_timeout => '1s')->start;
is_once('two months', 'month', 2);
obstacle('bs_sender, an index is made', 'rshare', "LOCK TABLE $month IN SHARE MODE");
obstacle('bs_sender, VACUUM FULL', 'rexcl', "LOCK TABLE $month IN ACCESS EXCLUSIVE MODE");
obstacle('bs_sender, nothing can be noted', 'rall', $all);
obstacle('bs_sender, nor can it say that it is alive', 'rdumb', "$all; LOCK TABLE bs_senders IN ACCESS EXCLUSIVE MODE");
obstacle('bs_sender, the month is away', 'raway', "ALTER TABLE message_logs DETACH PARTITION $month",
	"ALTER TABLE message_logs ATTACH PARTITION $month $bounds");
is($sender->count_log(qr/came too late/), 0, 'bs_sender: no outcome came too late');

# ---- One that is killed is given up, once its last word is as old as a lease.

write_script($catcher, { rules => [ { phase => 'body', rcpt => 'dead*', delay_ms => 600 } ] });
add_due($node, 2, 'dead');
ok(wait_for(sub { counts($node, 'dead%') eq 'SENDING 2' }, 'the claims'), 'killed: both are claimed');
$sender->stop('KILL');
wait_count($node, 'dead%', 'RETRYING 2', 6 * $lease);

unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
$node->stop;
done_testing();
