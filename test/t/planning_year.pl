# A leap year, hour by hour: users in every time zone that is taken, birthdays on
# every day. The planner runs once an hour by a clock that is passed in, a sender
# claims what is due. Everybody gets one message, on the right day, planned ahead,
# and claimed at the first hour that is not before nine by his own clock. Of a
# common year the days around the end of February.
#
# Two databases live through half of the year each, side by side. On a machine
# that is so busy that the hours would take too long, the clock goes faster after
# BS_YEAR_SECONDS (120); what is held against the hours is held against its ticks.

use strict;
use warnings;

use BS::Test;
use Test::More;

# No workers: the clock is ours.
my $node = BS::Test->new_node('year', start => 1, preload => 0);
my $seconds = $ENV{BS_YEAR_SECONDS} // 120;

my $setup = <<'SQL';
SET client_min_messages = warning;
CREATE EXTENSION birthday_scheduler;
UPDATE message_types SET active_since = '2001-01-01', enabled = name = 'BIRTHDAY';

-- Each zone has users on four days of its own, so that together all 366 days of a
-- leap year have some, and one each on 29 February, 31 December and 1 January.
WITH zones AS (
    SELECT name, row_number() OVER (ORDER BY name) AS n
      FROM pg_timezone_names WHERE bs_is_timezone(name)
), days AS (
    SELECT name, date '1996-01-01' + (n * 4 + k)::integer % 366 AS day
      FROM zones, generate_series(0, 3) AS k
    UNION ALL
    SELECT name, d::date FROM zones, unnest('{1992-02-29,1992-12-31,1992-01-01}'::text[]) AS d
)
INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
SELECT 'U', 'x', row_number() OVER () || '@example.com', name, day, '2001-01-01' FROM days;

-- No catching up: the clock begins four days before what is looked at.
INSERT INTO bs_installation (system_identifier, database_oid, planned_until)
SELECT bs_system_identifier(), oid, make_date(:year + 1, 2, 1)
  FROM pg_database WHERE datname = current_database();

-- The ticks of our clock, when by it a row was first seen, and when it was claimed.
CREATE TABLE ticks (at timestamptz PRIMARY KEY);
CREATE TABLE seen (id uuid, at timestamptz);
CREATE TABLE sent (id uuid, at timestamptz);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.seen VALUES (NEW.id, current_setting('test.clock')::timestamptz);
    RETURN NULL;
END
$$;
CREATE TRIGGER note AFTER INSERT ON message_logs FOR EACH ROW EXECUTE FUNCTION note();

-- What there must be: everybody's occasions whose send time is looked at.
CREATE TABLE wanted AS
SELECT u.id AS user_id, o.day AS local_date, bs_send_time(u.timezone, o.day) AS send_at
  FROM users u, generate_series(:year - 1, :year + 1) AS y (year),
       LATERAL (SELECT bs_occurrence(u.birthday_date, y.year) AS day) o
 WHERE bs_send_time(u.timezone, o.day) >= :'from' AND bs_send_time(u.timezone, o.day) < :'until';
ANALYZE users;
SQL

my $run = <<'SQL';
SET synchronous_commit = off;
SELECT set_config('test.clock', (timestamptz :'from' - interval '4 days')::text, false),
       set_config('test.until', :'until', false), set_config('test.seconds', :'seconds', false);
DO $$
DECLARE
    clock timestamptz := current_setting('test.clock');
    hurry timestamptz := clock_timestamp() + current_setting('test.seconds')::integer * interval '1 second';
    c record;
BEGIN
    LOOP
        PERFORM set_config('test.clock', clock::text, false);
        INSERT INTO ticks VALUES (clock);
        PERFORM bs_plan(NULL, clock);
        FOR c IN SELECT * FROM bs_claim('s', 100000, '5 min', clock) LOOP
            INSERT INTO sent VALUES (c.id, clock);
            PERFORM bs_record(ARRAY[c.id], ARRAY[c.scheduled_send_time], ARRAY[c.claim_token], '{SENT}', '{accepted}',
                              '{NULL}', '{250}', '{ok}', '{NULL}', ARRAY[clock]);
        END LOOP;
        COMMIT;
        EXIT WHEN clock >= current_setting('test.until')::timestamptz;
        clock := clock + CASE WHEN clock_timestamp() < hurry THEN interval '1 hour' ELSE interval '6 hours' END;
    END LOOP;
END
$$;
SQL

my %checks = (
	'each occasion has one message, and there is no other' => q{
		SELECT count(*)
		  FROM wanted w
		       FULL JOIN (SELECT user_id, local_date, scheduled_send_time, count(*) AS n FROM message_logs
		                   WHERE scheduled_send_time >= :'from' AND scheduled_send_time < :'until' GROUP BY 1, 2, 3) AS m
		         ON (m.user_id, m.local_date, m.scheduled_send_time) = (w.user_id, w.local_date, w.send_at)
		 WHERE m.n IS DISTINCT FROM 1 OR w.user_id IS NULL},
	'planned at the first tick within the horizon' => q{
		SELECT count(*) FROM wanted w
		  JOIN message_logs m ON (m.user_id, m.local_date) = (w.user_id, w.local_date) LEFT JOIN seen s ON s.id = m.id
		 WHERE s.at IS DISTINCT FROM (SELECT min(t.at) FROM ticks t WHERE t.at >= w.send_at - interval '48 hours')},
	'claimed once, at the first tick that is not before its time' => q{
		SELECT count(*) FROM wanted w
		  JOIN message_logs m ON (m.user_id, m.local_date) = (w.user_id, w.local_date) LEFT JOIN sent s ON s.id = m.id
		 WHERE s.at IS DISTINCT FROM (SELECT min(t.at) FROM ticks t WHERE t.at >= w.send_at)
		    OR m.status <> 'SENT' OR m.attempts <> 1},
	'no row was made or claimed twice' =>
	  q{SELECT (SELECT count(*) - count(DISTINCT id) FROM seen) + (SELECT count(*) - count(DISTINCT id) FROM sent)},
	'the ledger and the messages agree' => q{
		SELECT (SELECT count(*) FROM (SELECT user_id, message_type, local_date FROM message_ledger
		        EXCEPT SELECT user_id, message_type, local_date FROM message_logs) AS a)
		     + (SELECT count(*) FROM (SELECT user_id, message_type, local_date FROM message_logs
		        EXCEPT SELECT user_id, message_type, local_date FROM message_ledger) AS b)
		     + (SELECT count(*) - count(DISTINCT idempotency_key) FROM message_logs)});

sub live
{
	my ($year, $from, $until) = @_;
	my $db = 'y' . $from =~ tr/-//dr;
	my @variables = map { ('-v', $_) }
	  ("year=$year", "from=$from 00:00+00", "until=$until 00:00+00", "seconds=$seconds");
	my $script = scratch_dir() . '/run.sql';
	my %life = (
		name => "$from to $until", db => $db, out => '', err => '',
		variables => \@variables);

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, $setup, extra_params => \@variables);
	# From a file: what is piped would be fed only while we wait for that session.
	PostgreSQL::Test::Utils::append_to_file($script, $run);
	$life{harness} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1',
			@variables, '-d', $node->connstr($db), '-f', $script ],
		'<', '/dev/null', '>', \$life{out}, '2>', \$life{err},
		IPC::Run::timeout(BS::Test::slow(280)));
	return \%life;
}

my $occasions = 0;

sub judge
{
	my ($life) = @_;

	ok($life->{harness}->finish, $life->{name}) or diag $life->{err};
	foreach my $check (sort keys %checks)
	{
		is($node->safe_psql($life->{db}, $checks{$check}, extra_params => $life->{variables}),
			0, "$life->{name}: $check");
	}
	$occasions += $node->safe_psql($life->{db}, 'SELECT count(*) FROM wanted');
	note "$life->{name}: ", $node->safe_psql($life->{db},
		'SELECT count(*) || \' passes, \' || (SELECT count(*) FROM message_logs) || \' messages\' FROM ticks');
	return;
}

# The year in UTC; the last look is a day after its end, when all have had theirs.
my @halves = (live(2044, '2044-01-01', '2044-07-01'), live(2044, '2044-07-01', '2045-01-01'));
judge($_) foreach @halves;
cmp_ok($occasions, '>', 3800, "$occasions occasions, in 550 zones and more");
my %days = map { $_ => 1 } map {
	split /\n/, $node->safe_psql($_->{db}, 'SELECT DISTINCT local_date FROM wanted WHERE extract(year FROM local_date) = 2044')
} @halves;
is(scalar keys %days, 366, 'on every day of the year');

# 29 February in a common year: on the 28th.
my $february = live(2043, '2043-02-25', '2043-03-04');
judge($february);
is($node->safe_psql($february->{db}, q{
	SELECT string_agg(DISTINCT m.local_date::text, ' ') FROM message_logs m JOIN users u ON u.id = m.user_id
	 WHERE bs_month_day(u.birthday_date) = 229}), '2043-02-28', 'those of 29 February on the 28th');

$node->stop('fast');
done_testing();
