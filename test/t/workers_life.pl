# The life of the workers: they wait for the extension, come back when they are
# ended, and nothing around them makes them spin or changes what they do.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;
use Time::HiRes qw(time);

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', extension => 0, mail_url => $catcher->url);

# Not while the server is down or starting: then an empty answer.
sub try_sql
{
	my ($statement) = @_;
	my $out = '';

	$node->psql('postgres', $statement, stdout => \$out, stderr => \my $err);
	return $out;
}

sub wait_state
{
	my ($state, $count) = @_;

	return ok(
		wait_for(
			sub { try_sql("SELECT count(*) FROM bs_workers WHERE state = '$state'") eq $count },
			"$count workers $state"),
		"$count workers are $state");
}

# Mail goes out: the shortest proof that all is well.
my $proofs = 0;

sub proof
{
	my ($what, %options) = @_;
	my $prefix = 'proof' . ++$proofs . 'x';

	add_due($node, 5, $prefix, %options);
	ok(wait_settled($node, "$prefix%", 30, %options), "$what: mail goes out");
	is(counts($node, "$prefix%", %options), 'SENT 5', "$what: all of it");
	return;
}

# ---- Without the extension they wait; the first bs_add_user() adopts.

ok(wait_workers($node, 4), 'four workers run in a database without the extension');
ok( wait_for(sub { log_lines($node, qr/idle: the extension is not created in this database/) == 3 },
		'three lines in the log'),
	'each says what it waits for');
is( sql($node, q{SELECT string_agg(backend_type || '/' || usename || '/' || application_name, ', ' ORDER BY backend_type)
		FROM pg_stat_activity WHERE backend_type LIKE 'birthday%'}),
	join(', ', map { "birthday_scheduler $_/bs_worker/birthday_scheduler $_" }
		  'publisher', 'scheduler', 'sender 1', 'sender 2'),
	'pg_stat_activity shows who they are');
create_extension($node, adopt => 0);
is(sql($node, 'SELECT bs_installation_state()'), 'new', 'created, the database is not adopted');
add_due($node, 1, 'raw');
is(counts($node, 'raw%'), 'none', 'raw SQL does not adopt it');
sql($node, q{SELECT bs_add_user('First', 'Last', 'first@example.com', 'Etc/UTC', '1990-06-15')});
is(sql($node, 'SELECT bs_installation_state()'), 'adopted', 'the first bs_add_user() does');
wait_state('working', 3);
ok(wait_settled($node, 'raw%'), 'what raw SQL brought is planned now');
is(counts($node, 'raw%'), 'SENT 1', 'and sent');
proof('adopted');

# ---- DROP EXTENSION in the middle of sending: they wait again; created again, in
# another schema, it works again.

write_script($catcher, { rules => [ { phase => 'body', rcpt => 'drop*', delay_ms => 100 } ] });
add_due($node, 300, 'drop');
ok(wait_for(sub { $catcher->mails > 40 }, 'a few mails'), 'sending is under way');
my $took = timed(sub { sql($node, 'SET client_min_messages = warning; DROP EXTENSION birthday_scheduler CASCADE') });
diag sprintf('DROP EXTENSION while sending: %.3f s', $took);
cmp_ok($took, '<', slow(3), 'DROP EXTENSION does not wait for the relay');
my $offset = -s $node->logfile;
$node->wait_for_log(qr/idle: the extension is not created/, 0);
my @pids = worker_pids($node, '');
is(scalar(@pids), 4, 'the workers live on');
create_extension($node, schema => '"the app"');
proof('another schema', schema => '"the app"');
is_deeply([ worker_pids($node, '') ], \@pids, 'with the same processes');
sql($node, 'DROP EXTENSION birthday_scheduler; DROP SCHEMA "the app"');
create_extension($node);
proof('created once more');

# ---- A database or role that is not there: they try less and less often, and a
# reload with the right name brings them back at once.

foreach my $wrong ([ database => 'nowhere', 'postgres' ], [ role => 'nobody', 'bs_worker' ])
{
	my ($setting, $bad, $good) = @$wrong;
	my $start = time;
	$offset = -s $node->logfile;

	set_conf($node, $setting => $bad);
	ok( wait_for(sub { log_lines($node, qr/FATAL:.*"$bad" does not exist/, $offset) >= 12 },
			'twelve failed starts'),
		"wrong $setting: each worker has failed three times");
	cmp_ok(time - $start, '>=', 4, "wrong $setting: not in a spin");
	cmp_ok(log_lines($node, qr/FATAL/, $offset), '<=', 16, "wrong $setting: and says so once a try");
	$start = time;
	set_conf($node, $setting => $good);
	wait_state('working', 3);
	diag sprintf('wrong %s, then right: at work again after %.1f s', $setting, time - $start);
	cmp_ok(time - $start, '<', slow(10), "right $setting: back at once");
	proof("right $setting");
}

# ---- pg_cancel_backend() is harmless.

@pids = worker_pids($node, '');
add_due($node, 500, 'cancel');
foreach my $round (1 .. 20)
{
	sql($node, q{SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
		WHERE backend_type LIKE 'birthday_scheduler%'});
}
ok(wait_settled($node, 'cancel%'), 'cancelled 20 times: settled');
is(counts($node, 'cancel%'), 'SENT 500', 'cancelled 20 times: all is sent');
is(sql($node, q{SELECT max(attempts) FROM message_logs WHERE recipient_email LIKE 'cancel%'}),
	1, 'cancelled 20 times: at the first attempt');
is_deeply([ worker_pids($node, '') ], \@pids, 'cancelled 20 times: by the same processes');

# ---- pg_terminate_backend(), 21 times amid mail: each comes back, nothing is
# lost, and as the relay answers in time nothing is sent twice.

write_script($catcher, { rules => [ { phase => 'body', rcpt => 'term*', delay_ms => 30 } ] });
foreach my $round (1 .. 7)
{
	add_due($node, 100, "term$round-");
	@pids = worker_pids($node, '');
	sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE backend_type LIKE 'birthday_scheduler%'});
	my %old = map { $_ => 1 } @pids;
	my $back = wait_for(
		sub {
			my @now = worker_pids($node, '');
			return @now == 4 && !grep { $old{$_} } @now;
		},
		'four new workers');
	ok($back, "terminated, round $round: all four are back");
}
ok(wait_settled($node, 'term%'), 'terminated: settled');
is(counts($node, 'term%'), 'SENT 700', 'terminated: nothing is lost');
my $mails = by_recipient(grep { $_->{rcpt}[0] =~ /^term/ } $catcher->mails);
SKIP:
{
	# Under valgrind the half second in which a sender may end what it has begun
	# is too short.
	skip 'sending is too slow', 1 if slow(1) > 1;
	is(scalar(grep { @$_ > 1 } values %$mails), 0, 'terminated: nothing is sent twice');
}
unlike(server_log($node), qr/server process.*was terminated by signal/, 'nothing crashed');

# ---- kill -9 of a sender amid a burst: the server recovers, and what was in
# flight, and no more, is sent again under the same Message-ID.

write_script($catcher, { rules => [ { phase => 'body', rcpt => 'kill*', delay_ms => 20 } ] });
add_due($node, 2000, 'kill');
my $before = $catcher->mails;
ok(wait_for(sub { $catcher->mails > $before + 300 }, 'a burst'), 'killed: amid a burst');
my ($victim) = worker_pids($node, 'sender 1');
kill 'KILL', $victim;
my $killed_at = time;
ok( wait_for(sub { try_sql(q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'kill%'
			AND status <> 'SENT'}) eq '0' }, 'all to be sent', 60),
	'killed: all is sent');
my ($gap, $last) = (0, $killed_at);
foreach my $at (grep { $_ > $killed_at } map { $_->{time} } $catcher->mails)
{
	$gap = $at - $last if $at - $last > $gap;
	$last = $at;
}
diag sprintf('killed: the longest silence was %.1f s', $gap);
cmp_ok($gap, '<', slow(10), 'killed: sending goes on within 10 s');
$mails = by_recipient(grep { $_->{rcpt}[0] =~ /^kill/ } $catcher->mails);
is(scalar(keys %$mails), 2000, 'killed: nobody is left out');
my @twice = grep { @$_ > 1 } values %$mails;
diag sprintf('killed: %d were sent twice', scalar @twice);
cmp_ok(scalar(@twice), '<=', 60, 'killed: few are sent twice');
is(scalar(grep { @$_ > 2 } @twice), 0, 'killed: none three times');
is(scalar(grep { $_->[0]{message_id} ne $_->[1]{message_id} } @twice), 0,
	'killed: under the same Message-ID');
is( scalar(grep { row($node, $_->[0]{rcpt}[0])->{attempts} < 2 } @twice),
	0, 'killed: and their rows tell of two attempts');

# ---- Settings of role and database are other people's.

sql($node, "ALTER ROLE bs_worker SET $_") foreach
  'statement_timeout = 1', 'lock_timeout = 1', 'idle_in_transaction_session_timeout = 1',
  q{search_path = 'nowhere'}, q{DateStyle = 'SQL, DMY'}, q{IntervalStyle = 'sql_standard'},
  'default_transaction_read_only = on', q{default_transaction_isolation = 'serializable'};
sql($node, "ALTER ROLE bs_worker IN DATABASE postgres SET $_") foreach
  q{TimeZone = 'Pacific/Kiritimati'}, 'default_transaction_deferrable = on',
  'synchronous_commit = off';
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE backend_type LIKE 'birthday_scheduler%'});
wait_state('working', 3);
proof('odd settings of the role');
sql($node, q{
	SET session_replication_role = replica;
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	SELECT 'F', 'L', 'planned' || n || '@example.com', 'Etc/UTC',
	       (now() AT TIME ZONE 'UTC')::date - interval '28 years', now() - interval '1 day'
	  FROM generate_series(1, 2000) AS n;
	RESET session_replication_role;
	SELECT bs_wake()});
ok( wait_for(sub { counts($node, 'planned%') eq 'SENT 2000' }, 'a pass of the scheduler'),
	'odd settings of the role: the scheduler plans');

# ---- Too few slots for workers: the server runs, says so, and so does bs_health().

$node->append_conf('postgresql.conf', 'max_worker_processes = 3');    # one is the launcher's
$offset = -s $node->logfile;
$node->restart;
proof('too few slots');
is(log_lines($node, qr/too many background workers/, $offset), 2, 'too few slots: one line in the log for each');
like(sql($node, 'SELECT bs_health()'), qr/2 of 4 workers are at work; look at max_worker_processes/,
	'too few slots: bs_health() says so');
cmp_ok(log_lines($node, qr/[A-Z]+:  .*birthday_scheduler/, $offset), '<', 15, 'too few slots: no spin');

unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
$node->stop;
done_testing();
