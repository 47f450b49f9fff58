# Copies of messages, as a broker hands them out, without one: of ten that hold a
# copy of each message one claims it, also while users change; who holds a lock is not
# waited for without end; and what is QUEUED comes back when the setting changes.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', queue => 'rabbitmq', amqp_url => 'amqp://nobody@127.0.0.1:1/', mail_url => '');

# Runs the statements in a psql of its own, from a file: what is piped would be fed
# only while we wait for that session.
sub start_session
{
	my ($statements) = @_;
	my $script = scratch_dir() . '/session.sql';
	my $session = { out => '', err => '' };

	PostgreSQL::Test::Utils::append_to_file($script, $statements);
	$session->{harness} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr('alone'), '-f', $script ],
		'<', '/dev/null', '>', \$session->{out}, '2>', \$session->{err},
		IPC::Run::timeout(slow(120)));
	return $session;
}

# ---- Ten sessions, each with a copy of every message, in batches of an order of its
# own; beside them publishers that mark, and users that change. In a database without
# workers.

sql($node, 'CREATE DATABASE alone');
create_extension($node, dbname => 'alone');
add_due($node, 2000, 'copy', dbname => 'alone');
sql($node, <<'SQL', 'alone');
	CREATE TABLE copies AS SELECT id, scheduled_send_time, due_at FROM message_logs;
	CREATE TABLE claims (by text, id uuid, attempts integer, recipient_name text);
	CREATE TABLE gate (open boolean);
SQL
my @sessions = map { start_session(<<"SQL") } 1 .. 10;
	DO \$\$
	DECLARE
	    batch record;
	BEGIN
	    WHILE NOT EXISTS (SELECT FROM gate) LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP;
	    FOR batch IN SELECT array_agg(id) AS ids, array_agg(scheduled_send_time) AS times
	                   FROM (SELECT *, row_number() OVER (ORDER BY md5('$_' || id)) / 100 AS n FROM copies) c GROUP BY n LOOP
	        INSERT INTO claims SELECT 's$_', c.id, c.attempts, c.recipient_name FROM bs_claim_copies('s$_', '5 min', batch.ids, batch.times) c
	         WHERE c.claim_token IS NOT NULL;
	        COMMIT;
	    END LOOP;
	END \$\$;
SQL
push @sessions, map { start_session(<<"SQL") } 1 .. 2;
	DO \$\$
	DECLARE
	    batch record;
	BEGIN
	    WHILE NOT EXISTS (SELECT FROM gate) LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP;
	    FOR batch IN SELECT array_agg(id) AS ids, array_agg(scheduled_send_time) AS times, array_agg(due_at) AS dues
	                   FROM (SELECT *, row_number() OVER (ORDER BY md5('p$_' || id)) / 50 AS n FROM copies) c GROUP BY n LOOP
	        PERFORM bs_mark_queued(batch.ids, batch.times, batch.dues, '5 min');
	        COMMIT;
	    END LOOP;
	END \$\$;
SQL
push @sessions, start_session(<<'SQL');
	DO $$
	BEGIN
	    WHILE NOT EXISTS (SELECT FROM gate) LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP;
	    FOR n IN 0 .. 99 LOOP
	        UPDATE users SET last_name = 'New' WHERE hashtext(first_name) % 100 = n;
	        COMMIT;
	    END LOOP;
	END $$;
SQL
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'alone' AND query ~ 'gate' AND pid <> pg_backend_pid()}) == 13 },
		'thirteen sessions'), 'thirteen sessions wait for each other');
sql($node, 'INSERT INTO gate VALUES (true)', 'alone');
foreach my $session (@sessions)
{
	$session->{harness}->finish;
	is($session->{err}, '', 'a session meets no error');
}
is(sql($node, 'SELECT count(*) - count(DISTINCT id), max(attempts) FROM claims', 'alone'), '0|1', 'nothing is claimed twice');
is( sql($node, q{SELECT count(*) FROM claims c JOIN message_logs m USING (id)
		WHERE (m.status, m.attempts, m.claimed_by, m.recipient_name) IS DISTINCT FROM ('SENDING', 1, c.by, c.recipient_name)}, 'alone'),
	0, 'and each is held by who claimed it, as it was handed out');
# What a sender gave up waiting for is still to be sent: due, or QUEUED until it is due again.
my $left = sql($node, 'SELECT 2000 - count(*) FROM claims', 'alone');
diag "$left of 2000 were locked for too long by others";
is(sql($node, q{SELECT count(*) FROM message_logs WHERE status IN ('SCHEDULED', 'QUEUED') AND due_at IS NOT NULL}, 'alone'), $left, 'the rest is still to be sent');
is( sql($node, q{SELECT count(*) FROM bs_due_messages(2000, NULL, true, clock_timestamp() + interval '5 minutes')}, 'alone'),
	$left, 'and comes back when its time is over');
is( sql($node, q{SELECT count(*) FROM message_logs m JOIN users u ON u.id = m.user_id
		WHERE m.status IN ('SCHEDULED', 'QUEUED') AND m.recipient_name <> u.first_name || ' ' || u.last_name}, 'alone'),
	0, 'with the text of the user as changed');
cmp_ok(sql($node, 'SELECT count(DISTINCT by) FROM claims', 'alone'), '>', 1, 'they had to do with each other');

# ---- A lock that somebody keeps: the others' copies are claimed all the same, soon.

sql($node, 'DELETE FROM users', 'alone');
add_due($node, 10, 'lock', dbname => 'alone');
my $holder = $node->background_psql('alone');
$holder->query_safe(q{BEGIN; UPDATE users SET last_name = 'Held' WHERE first_name = 'First1'});
my $claimed;
my $took = timed(sub {
	$claimed = sql($node, q{SELECT count(claim_token), count(*) - count(attempts) FROM (SELECT array_agg(id) AS ids, array_agg(scheduled_send_time) AS times FROM message_logs) m,
		bs_claim_copies('s1', '5 min', m.ids, m.times)}, 'alone'); });
is($claimed, '9|1', 'a lock is kept: the others are claimed, and the sender is told to ask again for this one');
diag sprintf('a lock is kept: after %.3f s', $took);
cmp_ok($took, '<', slow(1), 'a lock is kept: soon');
is( sql($node, q{SELECT count(*) FROM (SELECT array_agg(id) AS ids, array_agg(scheduled_send_time) AS times, array_agg(due_at) AS dues
		FROM message_logs WHERE status = 'SCHEDULED') m, bs_mark_queued(m.ids, m.times, m.dues, '5 min')}, 'alone'),
	1, 'a lock is kept: the mark leaves it, and says so');
$holder->query_safe('COMMIT');
$holder->quit;
is(counts($node, 'lock%', dbname => 'alone'), 'SCHEDULED 1, SENDING 9', 'a lock is kept: the message is still due');

# ---- QUEUED is the broker's as long as there is to be one, and bs_health() says that
# there is none; then the setting changes, and all of it is sent.

add_due($node, 2500, 'queued');
is( sql($node, q{SELECT count(*) FROM (SELECT array_agg(id) AS ids, array_agg(scheduled_send_time) AS times, array_agg(due_at) AS dues
		FROM message_logs WHERE status = 'SCHEDULED') m, bs_mark_queued(m.ids, m.times, m.dues, '1 h')}),
	0, 'all is marked');
is(sql($node, q{SELECT recovered, expired FROM bs_recover('{}')}), '0|0', 'with a broker it is not taken back');
is(counts($node, 'queued%'), 'QUEUED 2500', 'it waits');
is(sql($node, 'SELECT queued, due, next_due FROM bs_counts()'), '2500|2500|', 'bs_counts() says so');
ok( wait_for(sub { sql($node, q{SELECT bs_health() #>> '{parts,queue,status}'}) eq 'error' }, 'bs_health()'),
	'bs_health() says that the broker is not to be had');
my $queue = sql($node, q{SELECT bs_health() #> '{parts,queue}'});
like($queue, qr/"kind": "rabbitmq"/, 'it says which kind of queue');
like($queue, qr/"ready": null/, 'and nothing that it does not know');
like($queue, qr/"reason": "\w/, 'and why');
unlike($queue, qr/127\.0\.0\.1|port \d/, 'without the name of its host');
unlike($queue, qr/nobody/, 'but not who it logs in as');
is(sql($node, q{SELECT value FROM bs_metrics() WHERE name = 'birthday_scheduler_broker_up'}), 0, 'so do the metrics');
is(sql($node, q{SELECT count(*) FROM bs_metrics() WHERE name ~ 'ready|letters'}), 0, 'and they have no number that nobody knows');
sql($node, 'SELECT bs_pause()');
is(sql($node, q{SELECT bs_health() #>> '{parts,queue,status}'}), 'ok', 'paused, nobody misses a broker');
sql($node, 'SELECT bs_resume()');
set_conf($node, queue => 'postgres', mail_url => $catcher->url);
ok(wait_settled($node, 'queued%', 60), 'without a broker: all is settled');
is(counts($node, 'queued%'), 'SENT 2500', 'without a broker: all is sent');
is(scalar($catcher->mails), 2500, 'without a broker: once each');
is(sql($node, q{SELECT bs_health() #>> '{parts,queue,status}'}), 'ok', 'without a broker: bs_health() asks for none');

unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
$node->stop;
done_testing();
