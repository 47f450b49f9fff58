# With a relay that accepts and then says nothing, nobody has to wait for it: not
# a shutdown, not DROP DATABASE, not DROP EXTENSION, not vacuum.  FORCE: databases.pl.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;
use Time::HiRes qw(time);

my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail");
my $node = mail_node('main', mail_url => $catcher->url, mail_connections => 2);

sub rules { return write_script($catcher, { rules => [@_] }); }

sub hung { return scalar grep { ($_->{verdict} // '') eq 'hung' } $catcher->attempts; }

# So many more connections have come to the point where nothing more is said.
sub wait_hung
{
	my ($from, $count) = @_;

	return wait_for(sub { hung() >= $from + $count }, "$count silent connections");
}

sub is_gone
{
	my ($pid) = @_;

	open(my $stat, '<', "/proc/$pid/stat") or return 1;
	my $line = <$stat> // '';
	close $stat;
	return $line !~ /\) [^ZX]/;
}

sub drop_extension
{
	my ($dbname) = @_;

	return sql($node, 'SET client_min_messages = warning; DROP EXTENSION birthday_scheduler CASCADE', $dbname);
}

my @figures;

# A process that ends may wait half a second for answers; the rest is the machine's.
sub quick
{
	my ($what, $seconds, $limit) = @_;

	$limit //= 1.5;
	push @figures, sprintf('%s %.3f s', $what, $seconds);
	return cmp_ok($seconds, '<', slow($limit), "$what takes less than $limit seconds");
}

# ---- The same for a relay that falls silent before the greeting, before the
# text and after the final dot.

foreach my $phase (qw(connect data body))
{
	$catcher->stop;    # no session of the last round may be open
	rules({ phase => $phase, hang => 1 });
	$catcher->start;
	my $before = hung();
	add_due($node, 40, $phase);
	ok(wait_hung($before, 4), "$phase: four transfers hang");

	# Nothing that a sender has open keeps others from their work.
	is( sql($node, q{SELECT count(*), count(xact_start), count(backend_xmin), string_agg(DISTINCT state, ',')
			FROM pg_stat_activity WHERE backend_type LIKE 'birthday_scheduler sender%'}),
		'2|0|0|idle', "$phase: the senders have no transaction and no snapshot");
	is( sql($node, q{SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
			WHERE a.backend_type LIKE 'birthday_scheduler sender%' AND l.locktype <> 'virtualxid'}),
		0, "$phase: and no lock");

	sql($node, 'CREATE DATABASE other');
	quick("$phase: DROP DATABASE other", timed(sub { sql($node, 'DROP DATABASE other') }), 1);

	# Terminated they go at once, and come back.
	my @old = worker_pids($node, 'sender');
	sql($node, 'SELECT pg_terminate_backend(' . $_ . ')') foreach @old;
	quick("$phase: pg_terminate_backend", timed(
		sub { wait_for(sub { !grep { !is_gone($_) } @old }, 'the senders to go', 5) }));
	is( sql($node, qq{SELECT count(*) FROM message_logs WHERE recipient_email LIKE '$phase%'
			AND claimed_by LIKE ANY (ARRAY['server/$old[0]/%', 'server/$old[1]/%']) AND status = 'SENDING'}),
		0, "$phase: what they held is recorded or given back");
	ok(wait_hung($before, 8), "$phase: new senders hang as well");

	# A fast stop, and what it leaves behind.
	quick("$phase: fast stop", stop_timed($node));
	$node->append_conf('postgresql.conf', "birthday_scheduler.mail_url = ''");
	$node->start;
	is( sql($node, qq{SELECT count(*) FROM message_logs
			WHERE recipient_email LIKE '$phase%' AND status <> 'RETRYING'}),
		0, "$phase: nobody holds anything");
	# A statement gets five seconds of a shutdown, so under valgrind what a sender
	# gives back may be cut off.
	SKIP:
	{
		skip 'recording is too slow', 1 if slow(1) > 1;
		is( sql($node, qq{SELECT count(*) FROM message_logs
				WHERE recipient_email LIKE '$phase%' AND status_reason <> 'in_doubt' AND attempts > 1
				   OR recipient_email LIKE '$phase%' AND attempts > 0 AND '$phase' <> 'body'}),
			0, "$phase: what was not handed over was released, no attempt is spent");
	}
	my $doubts = sql($node, qq{SELECT count(*) FROM message_logs
			WHERE recipient_email LIKE '$phase%' AND status_reason = 'in_doubt'});
	cmp_ok($doubts, $phase eq 'body' ? '>=' : '==', $phase eq 'body' ? 4 : 0, "$phase: $doubts are in doubt");

	# When the relay is well all of it goes out.
	rules();
	$node->append_conf('postgresql.conf', "birthday_scheduler.mail_url = '" . $catcher->url . "'");
	$node->reload;
	ok(wait_settled($node, "$phase%"), "$phase: settled once the relay is well");
	is(counts($node, "$phase%"), 'SENT 40', "$phase: all is sent");
	my $mails = by_recipient(grep { $_->{rcpt}[0] =~ /^$phase/ } $catcher->mails);
	is(scalar(keys %$mails), 40, "$phase: to everybody");
	my @ids = map { my %ids = map { $_->{message_id} => 1 } @$_; scalar keys %ids } values %$mails;
	is(scalar(grep { $_ != 1 } @ids), 0, "$phase: whatever came twice has one Message-ID");
}

# ---- at_most_once: what a shutdown leaves in doubt ends there.

set_conf($node, delivery_guarantee => 'at_most_once');
my $before = hung();
$catcher->stop;
rules({ phase => 'body', hang => 1 });
$catcher->start;
add_due($node, 2, 'once');
ok(wait_hung($before, 2), 'at_most_once: transfers hang');
quick('at_most_once: fast stop', stop_timed($node));
$node->start;
is(counts($node, 'once%'), 'FAILED 2', 'at_most_once: they are FAILED');
is(row($node, 'once1@example.com')->{status_reason}, 'in_doubt', 'at_most_once: in doubt');
is(scalar(grep { $_->{rcpt}[0] =~ /^once/ } $catcher->mails), 2, 'at_most_once: and sent once');
set_conf($node, delivery_guarantee => undef);

# ---- The postmaster is killed: no child stays behind, and the next start finds
# what they held, long before the lease of five minutes ends.

$before = hung();
add_due($node, 20, 'orphan');
ok(wait_hung($before, 2), 'postmaster killed: transfers hang');
my @pids = worker_pids($node, '');
my $postmaster = $node->{_pid};
$node->kill9;
my $took = timed(sub { wait_for(sub { !grep { !is_gone($_) } @pids }, 'the children to go') });
cmp_ok($took, '<', slow(5), 'postmaster killed: the workers are gone');
push @figures, sprintf('workers gone after the postmaster %.3f s', $took);
rules();
# As long as nobody has reaped it, its lock files seem to be alive.
wait_for(sub { !kill(0, $postmaster) }, 'somebody to reap the postmaster', 10)
  or unlink $node->data_dir . '/postmaster.pid', glob($node->host . '/.s.PGSQL.*.lock');
$node->start;
ok(wait_settled($node, 'orphan%', 20), 'postmaster killed: settled after the next start');
is(counts($node, 'orphan%'), 'SENT 20', 'postmaster killed: all is sent');

# ---- A relay that is frozen as a whole: the kernel accepts, nobody answers.  The
# end of the last session is not waited for either.

create_extension($node, dbname => 'template1');
$catcher->freeze;
add_due($node, 20, 'frozen');
ok( wait_for(sub { sql($node, "SELECT count(*) FROM message_logs WHERE status = 'SENDING'") >= 16 },
		'claims'),
	'frozen relay: messages are claimed');
quick('frozen relay: smart stop', stop_timed($node, 'TERM'));
$node->start;
ok( wait_for(sub { sql($node, "SELECT count(*) FROM message_logs WHERE status = 'SENDING'") >= 16 },
		'claims'),
	'frozen relay: messages are claimed again');
# As long as dropping it takes when no worker is there, and at most a second more.
my $alone = timed(sub { drop_extension('template1') });
quick('frozen relay: DROP EXTENSION', timed(sub { drop_extension('postgres') }), 1 + $alone);
@pids = worker_pids($node, '');
is(scalar(@pids), 4, 'the workers live on');
quick('frozen relay: fast stop', stop_timed($node));
$catcher->thaw;

diag join("\n", @figures);
unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
done_testing();
