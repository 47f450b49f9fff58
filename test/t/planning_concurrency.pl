# Ten planners and three bulk changes of the time zone at the same time, over 10,000
# users with a birthday inside the horizon: one message each, at the right
# instant, the ledger and the messages agree, and nobody meets a deadlock.

use strict;
use warnings;

use BS::Test;
use Test::More;

# Runs $session->{sql} in a psql of its own. From a file: what is piped would be fed
# only while we wait for that session, one after the other.
my $node;

sub start_session
{
	my ($session) = @_;
	my $script = scratch_dir() . '/session.sql';

	PostgreSQL::Test::Utils::append_to_file($script, $session->{sql});
	$session->{out} = $session->{err} = '';
	$session->{harness} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr('postgres'), '-f', $script ],
		'<', '/dev/null', '>', \$session->{out}, '2>', \$session->{err},
		IPC::Run::timeout(BS::Test::slow(240)));
	return;
}

my $users = 10_000;
$node = BS::Test->new_node('concurrency', start => 1, preload => 0);

# Not adopted while the users come, so that the planners find everything to do.
# Everybody's birthday is tomorrow in UTC: within the horizon in every zone.
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION birthday_scheduler;
UPDATE message_types SET active_since = '2001-01-01';
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'U' || n, 'x', n || '\@example.com', 'UTC',
       (now() AT TIME ZONE 'UTC' + interval '1 day')::date - interval '40 years', '2001-01-01'
  FROM generate_series(1, $users) AS n;
INSERT INTO message_types (name, date_source, subject_template, text_template, active_since)
VALUES ('NAME_DAY', 'user_dates', 's', 't', '2001-01-01');
SELECT bs_resume();
SQL

# As a worker does it: each step in a transaction of its own, in small chunks, so
# that the planners meet often. Or as bs_plan() does it, in one.
my $steps = <<'SQL';
DO $$
DECLARE
    pass record;
    slice record;
    step record;
    last_id uuid;
    last_time timestamptz := '-infinity';
BEGIN
    SELECT * INTO pass FROM bs_plan_begin(now(), now() + interval '48 hours');
    COMMIT;
    FOR slice IN SELECT * FROM bs_plan_slices(pass.window_from, pass.until) LOOP
        LOOP
            SELECT * INTO step FROM bs_plan_slice(slice.message_type, slice.date_source, slice.local_date, slice.month_day,
                                                  pass.window_from, pass.until, pass.missing, last_id, 500);
            COMMIT;
            last_id := step.last_id;
            EXIT WHEN last_id IS NULL;
        END LOOP;
    END LOOP;
    LOOP
        SELECT * INTO step FROM bs_plan_refresh(pass.as_of, pass.began, last_time, last_id, 500);
        COMMIT;
        last_id := step.last_id;
        last_time := step.last_time;
        EXIT WHEN last_id IS NULL;
    END LOOP;
    PERFORM bs_plan_end(pass.as_of, pass.until, pass.missing, 0, 0, NULL, NULL);
END
$$;
SQL
sub planners
{
	my ($round) = @_;

	return map { {
			name => "round $round: planner $_",
			sql => $_ % 5 == 0 ? 'SELECT bs_plan();' : $steps x 2 } } 1 .. 10;
}

sub run_together
{
	my (@work) = @_;

	start_session($_) foreach @work;
	foreach my $work (@work)
	{
		my $ok = $work->{harness}->finish;

		ok($ok && $work->{err} eq '', $work->{name}) or diag $work->{err};
	}
	return;
}

# Once each: bulk changes that begin at different moments meet the rows in different
# orders, and deadlock also without us.
run_together(planners(1), map { {
			name => "UPDATE to $_",
			sql => "UPDATE users SET timezone = '$_';" } }
	  qw(Pacific/Kiritimati Asia/Kathmandu Pacific/Pago_Pago));
# Single changes of the same people, in no order.
run_together(planners(2), map {
		my $session = $_;
		{
			name => "single changes $session",
			sql => join('', map {
				my $n = ($_ + $session) * 7919 % $users + 1;
				my $zone = (qw(Europe/Kyiv America/Lima Asia/Tokyo))[ $_ % 3 ];
				"SELECT (bs_update_user(id, '{\"last_name\": \"y$_\", \"timezone\": \"$zone\"}')).last_name FROM users WHERE first_name = 'U$n';\n"
			} 1 .. 100) } } 1 .. 3);

# One more pass, as it comes after at most plan_interval: it has nothing to make.
is($node->safe_psql('postgres', 'SELECT bs_plan()'), 0, 'all was planned');

my %checks = (
	'one message each' => q{
		SELECT count(*) FROM (SELECT u.id FROM users u LEFT JOIN message_logs m ON m.user_id = u.id
		                       GROUP BY u.id HAVING count(m.id) <> 1) AS x},
	'at the instant that the user\'s zone says' => q{
		SELECT count(*) FROM message_logs m JOIN users u ON u.id = m.user_id
		 WHERE m.scheduled_send_time <> bs_send_time(u.timezone, m.local_date) OR m.due_at <> m.scheduled_send_time},
	'with the words of now' => q{
		SELECT count(*) FROM message_logs m JOIN users u ON u.id = m.user_id
		 WHERE m.recipient_name <> u.first_name || ' ' || u.last_name OR m.message_content NOT LIKE '%' || m.recipient_name || '%'},
	'pending' => q{SELECT count(*) FROM message_logs WHERE status <> 'SCHEDULED'},
	'the ledger and the messages agree' => q{
		SELECT (SELECT count(*) FROM message_ledger) - (SELECT count(*) FROM message_logs)
		     + (SELECT count(*) FROM message_logs m LEFT JOIN message_ledger k
		            ON (k.user_id, k.message_type, k.local_date) = (m.user_id, m.message_type, m.local_date)
		         WHERE k.user_id IS NULL)},
	'each key once' => q{SELECT count(*) - count(DISTINCT idempotency_key) FROM message_logs});
foreach my $check (sort keys %checks)
{
	is($node->safe_psql('postgres', $checks{$check}), 0, $check);
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM message_logs'), $users, 'ten thousand of them');
ok(!$node->log_contains('deadlock detected'), 'no deadlock');

# Six sessions ask for the same months at the same time: each is made once, and who
# would have to wait for long is told so.
my @months = map { { sql => 'SELECT count(*) FROM bs_create_partitions(40);' } } 1 .. 6;
start_session($_) foreach @months;
my $made = 0;
foreach my $session (@months)
{
	$session->{harness}->finish;
	like($session->{err}, qr/^$|cannot be made now, another transaction holds a lock/, 'months are made beside others');
	$made += $session->{out} || 0;
}
is($made, 2 * 28, 'and each once');

$node->stop('fast');
done_testing();
