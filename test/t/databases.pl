# Several databases of one server: each has workers of its own, is woken, counted and
# looked after by itself, and comes and goes without the others noticing.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

# A name that wants quotes is among them.
my ($alpha, $beta, $gamma) = ('alpha', 'Beta, "B"', 'gamma');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = mail_node('main',
	database => quoted($alpha, $beta, $gamma),
	max_databases => 4,
	senders => 1,
	extension => 0,
	mail_url => $catcher->url);

sub quoted { return join ', ', map { '"' . s/"/""/gr . '"' } @_; }
sub identifier { return '"' . $_[0] =~ s/"/""/gr . '"'; }
sub rules { return write_script($catcher, { rules => [@_] }); }
sub arrived { return scalar keys %{ $catcher->arrivals($_[0]) }; }

sub make_database
{
	my ($name) = @_;

	sql($node, 'CREATE DATABASE ' . identifier($name));
	create_extension($node, dbname => $name);
	return;
}

# The workers of that database: pid => what it is.
sub workers_of
{
	my ($name) = @_;

	return { map { split /\|/ } split /\n/,
		sql($node, q{SELECT pid, worker FROM bs_worker_stats() WHERE pid IS NOT NULL AND state <> 'starting'}, $name) };
}

sub at_work
{
	my (@names) = @_;

	foreach my $name (@names)
	{
		ok(wait_for(sub { sql($node, q{SELECT count(*) FROM bs_workers WHERE state = 'working' AND worker <> 'publisher'}, $name) == 2 },
				"the workers of $name"), "$name: its workers are at work");
	}
	return;
}

# Every message SENT at the first attempt, by a sender of that database, and every
# mail there once.
sub each_once
{
	my ($name, $prefix, $count, $what, %options) = @_;

	ok(wait_settled($node, "$prefix%", $options{seconds} // 60, dbname => $name), "$what: settled");
	is(counts($node, "$prefix%", dbname => $name), "SENT $count", "$what: each is SENT");
	my $arrivals = $catcher->arrivals($prefix);
	is(scalar(keys %$arrivals), $count, "$what: each mail has come");
	is(scalar(grep { @$_ > 1 } values %$arrivals), 0, "$what: once");
	my %ids = map { split /\|/ } split /\n/,
	  sql($node, "SELECT recipient_email, split_part(claimed_by, '/', 2) FROM message_logs WHERE recipient_email LIKE '$prefix%'", $name);
	my $workers = workers_of($name);
	is(scalar(grep { ($workers->{ $ids{$_} } // '') !~ /^sender/ } keys %$arrivals),
		0, "$what: from a sender of that database")
	  unless $options{left};
	return;
}

# While the server may be down or starting: then nothing.
sub try_states
{
	my ($name) = @_;
	my $out = '';

	eval { $node->psql($name, q{SELECT state FROM bs_workers WHERE worker <> 'publisher'}, stdout => \$out, stderr => \my $err) };
	return split /\n/, $out;
}

sub metric
{
	my ($name, $metric) = @_;

	return sql($node, "SELECT sum(m.value) FROM bs_metrics('$metric') m", $name);
}

sub workers_health
{
	my ($name) = @_;

	return JSON::PP->new->utf8->decode(sql($node, q{SELECT bs_health() -> 'parts' -> 'workers'}, $name));
}

# How often processes went to sleep so far.
sub turns
{
	my ($sum) = (0);

	foreach my $pid (@_)
	{
		open(my $file, '<', "/proc/$pid/status") or next;
		$sum += $_ foreach map { /^voluntary_ctxt_switches:\s+(\d+)/ ? $1 : () } <$file>;
	}
	return $sum;
}

# ---- They are named and do not exist yet.

ok(wait_for(sub { 3 == grep { log_lines($node, qr/FATAL:  database "\Q$_\E" does not exist/) } $alpha, $beta, $gamma },
		'failed starts'), 'the log names each database that is missing');
make_database($_) foreach $alpha, $beta, $gamma, 'other';
$node->reload;
at_work($alpha, $beta, $gamma);
is( sql($node, q{SELECT string_agg(backend_type || '/' || application_name || '/' || datname, '; ' ORDER BY datname COLLATE "C", backend_type)
		FROM pg_stat_activity WHERE backend_type LIKE 'birthday%'}),
	join('; ', map { my $name = $_; map { "birthday_scheduler $_/birthday_scheduler $_ of $name/$name" } 'publisher', 'scheduler', 'sender 1' }
		  $beta, $alpha, $gamma),
	'pg_stat_activity shows who serves which');
ok(log_lines($node, qr/CONTEXT:  birthday_scheduler sender 1 of gamma/), 'and so does the log');
is(workers_health('other')->{status}, 'error', 'a database that is not named has no workers');
like(workers_health('other')->{reason}, qr/no workers serve this database.*birthday_scheduler\.database/, 'and says what to do');
is(sql($node, 'SELECT count(*) FROM bs_workers', 'other'), 0, 'none is shown');
is(metric('other', 'worker_up'), 0, 'and worker_up says so');

# ---- Each sends its own, also where all have something due at the same instant.

add_due($node, 20, "$_-", dbname => $_) foreach $alpha, $gamma;
add_due($node, 30, 'beta-', dbname => $beta);
each_once($alpha, 'alpha-', 20, 'alpha');
each_once($beta, 'beta-', 30, 'beta');
each_once($gamma, 'gamma-', 20, 'gamma');

my $zone = noon_zone();
my $instant = sql($node, qq{SELECT date_trunc('second', now() AT TIME ZONE '$zone' + interval '6 seconds')::time});
foreach my $name ($alpha, $beta, $gamma)
{
	my $prefix = 'same' . substr(lc $name, 0, 1) . '-';

	sql($node, "UPDATE message_types SET send_time = '$instant' WHERE name = 'BIRTHDAY'", $name);
	add_due($node, 50, $prefix, dbname => $name, at_noon());
	is(counts($node, "$prefix%", dbname => $name), 'SCHEDULED 50', "same instant: $name waits");
}
foreach my $name ($alpha, $beta, $gamma)
{
	my $prefix = 'same' . substr(lc $name, 0, 1) . '-';

	each_once($name, $prefix, 50, "same instant: $name");
	my $due = sql($node, "SELECT extract(epoch FROM min(scheduled_send_time)) FROM message_logs WHERE recipient_email LIKE '$prefix%'", $name);
	my ($first, $last) = (sort { $a <=> $b } map { $_->[0][0] } values %{ $catcher->arrivals($prefix) })[0, -1];
	cmp_ok($first, '>=', $due, "same instant: none of $name is early");
	cmp_ok($last, '<', $due + slow(3), "same instant: none of $name waits for the others");
	diag sprintf('same instant: %s from %.3f s to %.3f s after it', $name, $first - $due, $last - $due);
	sql($node, "UPDATE message_types SET send_time = '00:00' WHERE name = 'BIRTHDAY'", $name);
}

# ---- Counters are a database's, and outlive nothing but their own workers.

is(metric($alpha, 'worker_sent_total'), 70, 'counters: alpha has sent its own');
is(metric($beta, 'worker_sent_total'), 80, 'counters: and beta');
is(metric($beta, 'lateness_seconds_count'), 80, 'counters: lateness as well');
is(metric($gamma, 'delivery_seconds_count'), 70, 'counters: and deliveries');
is(metric('other', 'lateness_seconds_count'), 0, 'counters: nothing is counted for who has no workers');

my $moves = 'SELECT planned, updated, cancelled FROM bs_scheduler_stats()';
my @before = map { [ split /\|/, sql($node, $moves, $_) ] } $alpha, $beta;
sql($node, q{
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	SELECT 'Count' || n, 'Test', 'count' || n || '@example.com', 'Etc/UTC', (now() AT TIME ZONE 'UTC')::date + 1 - interval '30 years', now() - interval '9 days'
	  FROM generate_series(1, 5) n;
	BEGIN;
	DELETE FROM users WHERE first_name = 'Count1';
	ROLLBACK;
	UPDATE users SET last_name = 'Other' WHERE first_name IN ('Count1', 'Count2');
	SELECT bs_delete_user(u.id) FROM users u WHERE u.first_name = 'Count3';
	SELECT bs_cancel_message(m.id) FROM message_logs m JOIN users u ON u.id = m.user_id WHERE u.first_name = 'Count4'}, $beta);
my @after = map { [ split /\|/, sql($node, $moves, $_) ] } $alpha, $beta;
is(join(' ', map { $after[1][$_] - $before[1][$_] } 0 .. 2), '5 3 2', 'counters: what is planned, updated and cancelled in beta, once it is committed');
is("@{ $after[0] }", "@{ $before[0] }", 'counters: and nothing of it in alpha');
sql($node, q{SELECT bs_purge_user(u.id) FROM users u WHERE u.first_name LIKE 'Count%'}, $beta);

# ---- A commit wakes the workers of its own database.

my @busy = keys %{ workers_of($alpha) };
my @idle = map { keys %{ workers_of($_) } } $beta, $gamma;
my ($busy, $idle) = (turns(@busy), turns(@idle));
add_due($node, 1, "wake$_-", dbname => $alpha) foreach 1 .. 100;
each_once($alpha, 'wake', 100, 'wake-ups');
$busy = turns(@busy) - $busy;
$idle = turns(@idle) - $idle;
diag "wake-ups: alpha's workers slept $busy times, those of the others $idle times";
cmp_ok($busy, '>=', 100, 'wake-ups: the workers of alpha turn');
cmp_ok($idle, '<=', 30, 'wake-ups: those of the others sleep on');

# ---- A pause is a database's.

sql($node, 'SELECT bs_pause()', $beta);
add_due($node, 5, 'pauseb-', dbname => $beta);
add_due($node, 5, 'pausea-', dbname => $alpha);
each_once($alpha, 'pausea-', 5, 'beta is paused: alpha');
is(counts($node, 'pauseb-%', dbname => $beta), 'SCHEDULED 5', 'beta is paused: it sends nothing');
sql($node, 'SELECT bs_resume()', $beta);
each_once($beta, 'pauseb-', 5, 'beta is resumed');

# ---- A fourth comes: it is made, named, and sends.

my %old = map { $_ => workers_of($_) } $alpha, $beta, $gamma;
make_database('delta');
add_due($node, 5, 'delta-', dbname => 'delta');
my $start = time;
set_conf($node, database => quoted('delta', $alpha, $beta, $gamma));
each_once('delta', 'delta-', 5, 'a fourth');
diag sprintf('a fourth: at work and done %.1f s after the reload', time - $start);
cmp_ok(time - $start, '<', slow(8), 'a fourth: within seconds');
is_deeply(workers_of($_), $old{$_}, "a fourth: $_ keeps its workers") foreach $alpha, $beta, $gamma;

# ---- A fifth does not fit.

make_database('epsilon');
my $offset = -s $node->logfile;
set_conf($node, database => quoted($alpha, $beta, $gamma, 'delta', 'epsilon', 'zeta'));
$node->wait_for_log(qr/WARNING:  birthday_scheduler has no workers for 2 of the 6 databases.*\n.*HINT:  Raise "birthday_scheduler.max_databases"/, $offset);
like(workers_health('epsilon')->{reason}, qr/no workers serve this database.*birthday_scheduler\.max_databases/, 'no room: bs_health() says so');
add_due($node, 1, 'room-', dbname => 'delta');
each_once('delta', 'room-', 1, 'no room: the others');
is(log_lines($node, qr/has no workers for/, $offset), 1, 'no room: once in the log');

# ---- One goes while all are in mid-burst, and is dropped.

rules({ phase => 'body', rcpt => 'burst*', delay_ms => 30 });
%old = map { $_ => workers_of($_) } $alpha, $gamma, 'delta';
add_due($node, 400, "burst$_-", dbname => $_) foreach $alpha, $gamma;
add_due($node, 400, 'burstb-', dbname => $beta);
ok(wait_for(sub { !grep { arrived("burst$_-") < 40 } $alpha, $gamma, 'b' }, 'a burst of all', 60), 'one goes: in mid-burst');
set_conf($node, database => quoted($alpha, $gamma, 'delta'));
my $took = timed(sub { sql($node, 'DROP DATABASE ' . identifier($beta)) });
diag sprintf('one goes: DROP DATABASE took %.1f s', $took);
cmp_ok($took, '<', slow(4), 'one goes: it is dropped, and nothing is in the way');
my $left = arrived('burstb-');
cmp_ok($left, '<', 400, "one goes: after $left mails of 400");
each_once($_, "burst$_-", 400, "one goes: $_", seconds => 90) foreach $alpha, $gamma;
is_deeply(workers_of($_), $old{$_}, "one goes: $_ keeps its workers") foreach $alpha, $gamma, 'delta';
is(arrived('burstb-'), $left, 'one goes: and sends no more');
is(scalar(grep { @$_ > 1 } values %{ $catcher->arrivals('burstb-') }), 0, 'one goes: it sent nothing twice');
rules();

# ---- What is not served is dropped at any time; what is served wants to be taken out
# of the list, or FORCE.

$took = timed(sub { sql($node, 'DROP DATABASE other') });
cmp_ok($took, '<', slow(2), 'dropped: one that nobody serves');
my ($code, $out, $err) = $node->psql('postgres', 'ALTER DATABASE delta RENAME TO delta2');
like($err, qr/is being accessed by other users/, 'served: it keeps its name');

# It is copied as docs/operations.md says: taken out meanwhile.
add_due($node, 3, 'copied-', dbname => 'delta');
each_once('delta', 'copied-', 3, 'copied: before');
set_conf($node, database => quoted($alpha, $gamma));
ok(wait_for(sub { !%{ workers_of('delta') } }, 'the workers to leave'), 'copied: taken out, its workers leave');
add_due($node, 2, 'meanwhile-', dbname => 'delta');
$took = timed(sub { sql($node, 'CREATE DATABASE twin TEMPLATE delta') });
diag sprintf('copied: CREATE DATABASE TEMPLATE took %.1f s', $took);
set_conf($node, database => quoted($alpha, $gamma, 'delta', 'twin'));
each_once('delta', 'meanwhile-', 2, 'copied: what waited meanwhile');
is(sql($node, 'SELECT bs_installation_state()', 'twin'), 'copy', 'copied: the copy is one');
is(sql($node, q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'meanwhile-%' AND status = 'SCHEDULED'}, 'twin'), 2,
	'copied: and sends nothing');
sql($node, 'DROP DATABASE twin WITH (FORCE)');
set_conf($node, database => quoted($alpha, $gamma, 'delta'));
at_work('delta');

# By FORCE in spite of a relay that is silent; a sender gives it half a second.
rules({ phase => 'body', rcpt => 'silent*', hang => 1 });
add_due($node, 20, 'silent-', dbname => 'delta');
ok(wait_for(sub { scalar grep { ($_->{verdict} // '') eq 'hung' } $catcher->attempts }, 'a transfer that hangs'), 'served: a relay is silent');
$offset = -s $node->logfile;
$took = timed(sub { sql($node, 'DROP DATABASE delta WITH (FORCE)') });
diag sprintf('served: DROP DATABASE WITH (FORCE) took %.1f s', $took);
cmp_ok($took, '<', slow(2), 'served: FORCE drops it');
rules();
$node->wait_for_log(qr/FATAL:  database "delta" does not exist/, $offset);
add_due($node, 5, "force$_-", dbname => $_) foreach $alpha, $gamma;
each_once($_, "force$_-", 5, "FORCE: $_") foreach $alpha, $gamma;
is_deeply(workers_of($_), $old{$_}, "FORCE: $_ keeps its workers") foreach $alpha, $gamma;

# ---- It is made again: it is another one, with counters of its own.

make_database('delta');
$node->reload;
at_work('delta');
is(metric('delta', 'worker_sent_total') + metric('delta', 'lateness_seconds_count'), 0, 'made again: it begins at 0');
add_due($node, 3, 'again-', dbname => 'delta');
each_once('delta', 'again-', 3, 'made again');
is(metric('delta', 'worker_sent_total'), 3, 'made again: and counts');

# ---- Renamed: out of the list, another name, into the list; it goes on.

set_conf($node, database => quoted($alpha, 'delta'));
add_due($node, 5, 'rename-', dbname => $gamma);
sql($node, 'ALTER DATABASE gamma RENAME TO omega');
is(counts($node, 'rename-%', dbname => 'omega'), 'SCHEDULED 5', 'renamed: nobody sends meanwhile');
$start = time;
set_conf($node, database => quoted($alpha, 'omega', 'delta'));
each_once('omega', 'rename-', 5, 'renamed');
cmp_ok(time - $start, '<', slow(8), 'renamed: within seconds');
is(sql($node, 'SELECT bs_installation_state()', 'omega'), 'adopted', 'renamed: it is no copy');
is(metric('omega', 'worker_sent_total'), 5, 'renamed: its counters begin at 0');

# ---- The list changes again and again while all have much to do; processes take it up
# one after the other, and in the end it is the last one that holds.

my @all = ($alpha, 'omega', 'delta', 'epsilon');
my $seed = int(rand(1e6));
srand $seed;
diag "again and again: seed $seed";
rules({ phase => 'body', rcpt => 'flux*', delay_ms => 20 });
add_due($node, 300, "flux$_-", dbname => $_) foreach @all;
foreach my $round (1 .. 25)
{
	my @some = sort { rand() <=> rand() } grep { rand() < 0.6 } @all, 'nowhere';

	sql($node, 'ALTER SYSTEM SET birthday_scheduler.database = ' . BS::Test::quote(quoted(@some ? @some : $alpha)));
	$node->reload;
}
set_conf($node, database => quoted(@all));
each_once($_, "flux$_-", 300, "again and again: $_", seconds => 90, left => 1) foreach @all;
at_work(@all);
rules();
$start = time;
add_due($node, 3, "still$_-", dbname => $_) foreach @all;
each_once($_, "still$_-", 3, "again and again, then: $_", seconds => 90) foreach @all;
cmp_ok(time - $start, '<', slow(8), 'again and again: commits still wake the senders');
cmp_ok(metric($_, 'lateness_seconds_count'), '>=', 3, "again and again: $_ is still counted") foreach @all;
set_conf($node, database => quoted($alpha, 'omega', 'delta'));

# ---- Taken out and named again, before its workers have noticed either.

my @late = keys %{ workers_of($alpha) };
kill 'STOP', @late;
set_conf($node, database => quoted('omega', 'delta'));
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM bs_workers', $alpha) == 0 }, 'the others to take it up'), 'unnoticed: taken out');
set_conf($node, database => quoted($alpha, 'omega', 'delta'));
ok(wait_for(sub { sql($node, 'SELECT count(*) FROM bs_workers', $alpha) == 3 }, 'the others to take it up'), 'unnoticed: named again');
kill 'CONT', @late;
ok(wait_for(sub { my $now = workers_of($alpha); keys %$now == 3 && !grep { $now->{$_} } @late }, 'other workers'),
	'unnoticed: its workers begin anew');
at_work($alpha);
$start = time;
add_due($node, 3, 'late-', dbname => $alpha);
each_once($alpha, 'late-', 3, 'unnoticed');
cmp_ok(time - $start, '<', slow(5), 'unnoticed: a commit wakes them');
is(metric($alpha, 'lateness_seconds_count'), 3, 'unnoticed: and they are counted');

# ---- A crash of one sender restarts the server; all come back.

kill 'KILL', grep { workers_of($alpha)->{$_} eq 'sender 1' } keys %{ workers_of($alpha) };
ok( wait_for(sub { 6 == grep { $_ eq 'working' } map { try_states($_) } $alpha, 'omega', 'delta' }, 'the workers of all'),
	'a crash: all have their workers again');
add_due($node, 5, "crash$_-", dbname => $_) foreach $alpha, 'omega', 'delta';
each_once($_, "crash$_-", 5, "a crash: $_") foreach $alpha, 'omega', 'delta';

# ---- What is no list is refused; the list holds names as SQL writes them.

foreach my $bad ('', 'a,,b', 'a, a', 'x' x 64)
{
	($code, $out, $err) = $node->psql('postgres', 'ALTER SYSTEM SET birthday_scheduler.database = ' . BS::Test::quote($bad),
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/ERROR:  22023: invalid value for parameter.*\nDETAIL:  \w/, "refused: \"$bad\"");
}
sql($node, 'ALTER SYSTEM SET birthday_scheduler.database = alpha, omega, delta');
$node->reload;
add_due($node, 1, 'plain-', dbname => 'omega');
each_once('omega', 'plain-', 1, 'a list without quotes');

# ---- Too few slots: every database has its scheduler before one has a sender, and
# every one a sender before one has a publisher.  One slot is the launcher's.

$node->append_conf('postgresql.conf', 'max_worker_processes = 7');
$node->restart;
at_work($alpha, 'omega');
is( join(', ', map { join '+', sort values %{ workers_of($_) } } $alpha, 'omega', 'delta'),
	'scheduler+sender 1, scheduler+sender 1, scheduler',
	'too few slots: each has its scheduler');
like(workers_health('delta')->{reason}, qr/1 of 3 workers are at work; look at max_worker_processes/, 'too few slots: bs_health() says so');
add_due($node, 2, "slots$_-", dbname => $_) foreach $alpha, 'omega', 'delta';
each_once($_, "slots$_-", 2, "too few slots: $_") foreach $alpha, 'omega';
is(counts($node, 'slots%', dbname => 'delta'), 'SCHEDULED 2', 'too few slots: who has no sender waits');

unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
$node->stop;
done_testing();
