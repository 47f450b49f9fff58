# Outcomes: kept until they can be recorded, heard from the holder of the claim
# alone, and made up for where a sender vanishes.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;
use Time::HiRes qw(time);

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', mail_url => $catcher->url, mail_connections => 2);

sub rules { return write_script($catcher, { rules => [@_] }); }

sub mails_to
{
	my ($prefix) = @_;

	return grep { $_->{rcpt}[0] =~ /^\Q$prefix\E\d+@/ } $catcher->mails;
}

sub value { my ($sql) = @_; return sql($node, $sql); }

# ---- While outcomes cannot be recorded they are kept, and nothing new is sent:
# a mail whose sending nobody could write down would be sent twice.

rules({ phase => 'body', rcpt => 'lock*', delay_ms => 100 });
add_due($node, 60, 'lock');
ok(wait_for(sub { mails_to('lock') >= 6 }, 'a few mails'), 'locked: sending is under way');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE message_logs, bs_pending_outcomes IN SHARE ROW EXCLUSIVE MODE');
my $errors = q{SELECT max(last_error_at) FROM bs_worker_stats() WHERE last_error LIKE 'recording outcomes failed%'};
ok(wait_for(sub { value($errors) ne '' }, 'a failure'), 'locked: recording fails');
my ($first, $sent) = (value($errors), scalar mails_to('lock'));
ok(wait_for(sub { value("SELECT ($errors) > '$first'") eq 't' }, 'another failure'),
	'locked: and is tried again');
cmp_ok(scalar(mails_to('lock')), '<=', $sent + 4, 'locked: nothing new is begun meanwhile');
$sent = mails_to('lock');
$first = value($errors);
ok(wait_for(sub { value("SELECT ($errors) > '$first'") eq 't' }, 'one more failure'),
	'locked: and again');
is(scalar(mails_to('lock')), $sent, 'locked: still nothing');
$session->query_safe('COMMIT');
$session->quit;
ok(wait_settled($node, 'lock%'), 'unlocked: settled');
is(counts($node, 'lock%'), 'SENT 60', 'unlocked: all is sent');
is(scalar(mails_to('lock')), 60, 'unlocked: once each');
is(value(q{SELECT max(attempts) FROM message_logs WHERE recipient_email LIKE 'lock%'}),
	1, 'unlocked: at the first attempt');

# ---- A row that somebody keeps locked, for longer than the lease, holds up its own
# outcome: the others are recorded, more is sent, and nothing twice.

set_conf($node, lease => '3s', mail_timeout => '1500ms');
rules({ phase => 'body', rcpt => 'one*', delay_ms => 500 });
add_due($node, 2, 'one');
ok(wait_for(sub { counts($node, 'one%') eq 'SENDING 2' }, 'the claims'), 'one row locked: both are claimed');
$session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT FROM message_logs WHERE recipient_email LIKE 'one1@%' FOR UPDATE});
wait_count($node, 'one%', 'SENDING 1, SENT 1');
add_due($node, 100, 'beside');
ok(wait_settled($node, 'beside%'), 'one row locked: others are sent meanwhile');
is(counts($node, 'beside%'), 'SENT 100', 'one row locked: each of them');
ok( wait_for(sub { value(q{SELECT due_at < now() - interval '1 second' FROM message_logs WHERE recipient_email LIKE 'one1@%'}) eq 't' },
		'the lease to end'),
	'one row locked: its lease ends');
$session->query_safe('COMMIT');
$session->quit;
ok(wait_settled($node, 'one%'), 'one row locked: settled');
is(counts($node, 'one%'), 'SENT 2', 'one row locked: both are sent');
is(scalar(mails_to('beside')), 100, 'one row locked: the others once');
is(scalar(mails_to('one')), 2, 'one row locked: and so is it');
is(value(q{SELECT count(*) FROM bs_pending_outcomes}), 0, 'one row locked: nothing is left to be recorded');
set_conf($node, lease => undef, mail_timeout => undef);

# ---- A sender that stands still longer than its lease has lost its messages; what
# it says when it comes back is not heard.

set_conf($node, lease => '2s', mail_timeout => '1s');
rules({ phase => 'body', rcpt => 'still*', delay_ms => 400 });
add_due($node, 4, 'still');
ok(wait_for(sub { mails_to('still') >= 1 }, 'a mail'), 'standing still: a mail is on its way');
my ($pid) = value(q{SELECT split_part(claimed_by, '/', 2) FROM message_logs
	WHERE status = 'SENDING' ORDER BY claimed_by LIMIT 1});
kill 'STOP', $pid;
my $ok = wait_settled($node, 'still%', 20);
kill 'CONT', $pid;
ok($ok, 'standing still: the other sender takes over');
is(counts($node, 'still%'), 'SENT 4', 'standing still: all is sent');
my $before = value(q{SELECT string_agg(m::text, '|' ORDER BY id) FROM message_logs m
	WHERE recipient_email LIKE 'still%'});
ok(wait_for(sub { log_lines($node, qr/outcomes came too late/) > 0 }, 'the late outcome'),
	'standing still: what it says comes too late');
is(value(q{SELECT string_agg(m::text, '|' ORDER BY id) FROM message_logs m
	WHERE recipient_email LIKE 'still%'}), $before, 'standing still: and changes nothing');
my @mails = values %{ by_recipient(mails_to('still')) };
is(scalar(grep { @$_ > 2 } @mails), 0, 'standing still: nobody got three');
is(scalar(grep { @$_ == 2 && $_->[0]{message_id} ne $_->[1]{message_id} } @mails),
	0, 'standing still: what came twice has one Message-ID');
set_conf($node, lease => undef, mail_timeout => undef);

# ---- A sender elsewhere that is never heard of again: its lease ends.

set_conf($node, mail_url => '');
ok( wait_for(sub { value(q{SELECT count(*) FROM bs_workers WHERE state = 'no relay'}) == 2 },
		'idle senders'),
	'elsewhere: ours have no relay');
add_due($node, 3, 'away');
is(value(q{SELECT count(*) FROM bs_claim('elsewhere/1', 2, '1 second')}), 2,
	'elsewhere: two messages are claimed');
is(counts($node, 'away%'), 'SCHEDULED 1, SENDING 2', 'elsewhere: and held');
sql($node, 'SELECT bs_wake()');
wait_count($node, 'away%', 'RETRYING 2, SCHEDULED 1', 10);
is(value(q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'away%'
	AND status_reason = 'lease' AND error_message LIKE '%elsewhere/1%'}), 2,
	'elsewhere: the rows say who lost them');
set_conf($node, mail_url => $catcher->url);
ok(wait_settled($node, 'away%'), 'elsewhere: settled');
is(counts($node, 'away%'), 'SENT 3', 'elsewhere: sent from here');
is(value(q{SELECT string_agg(attempts::text, ',' ORDER BY attempts) FROM message_logs
	WHERE recipient_email LIKE 'away%'}), '1,2,2', 'elsewhere: the lost attempts are counted');

# ---- A message that takes its sender with it each time does so max_attempts times.

set_conf($node, mail_url => '', max_attempts => 3);
ok( wait_for(sub { value(q{SELECT count(*) FROM bs_workers WHERE state = 'no relay'}) == 2 },
		'idle senders'),
	'a killer: ours have no relay');
add_due($node, 1, 'killer');
foreach my $attempt (1 .. 3)
{
	if ($attempt == 3)
	{
		is(value(q{SELECT count(*) FROM bs_claim('elsewhere/2', 1, '1 hour')}), 0,
			'a killer: from the second loss on it has to wait');
		sql($node, q{UPDATE message_logs SET due_at = now() WHERE recipient_email LIKE 'killer%'});
	}
	is(value(q{SELECT max(attempts) FROM bs_claim('elsewhere/2', 1, '100 milliseconds')}),
		$attempt, "a killer: attempt $attempt");
	sql($node, 'SELECT bs_wake()');
	ok(wait_for(sub { counts($node, 'killer%') !~ /SENDING/ }, 'the lease to end'),
		"a killer: lost $attempt times");
}
is(counts($node, 'killer%'), 'FAILED 1', 'a killer: then it is given up');
is(row($node, 'killer1@example.com')->{status_reason}, 'in_doubt', 'a killer: in doubt, as it may have left');

# ---- Where nothing may be sent twice, losing the sender is the end.

set_conf($node, max_attempts => undef, delivery_guarantee => 'at_most_once');
add_due($node, 1, 'once');
is(value(q{SELECT count(*) FROM bs_claim('elsewhere/3', 1, '100 milliseconds')}), 1,
	'at_most_once: claimed elsewhere');
sql($node, 'SELECT bs_wake()');
wait_count($node, 'once%', 'FAILED 1', 10);

unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
$node->stop;
done_testing();
