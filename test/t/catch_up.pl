# A day without workers: everything that fell due meanwhile is sent, once; what is
# older than max_lateness is given up, and people are told.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;
use Time::HiRes qw(time);

my $catcher = start_catcher(scratch_dir() . '/mail');

# The server runs without the library being preloaded: SQL works, nobody works.
my $node = BS::Test->new_node('main', preload => 0, conf => 'log_statement = none');
BS::Delivery::make_role($node);
$node->start;
sql($node, <<'SQL');
	BEGIN;
	CREATE EXTENSION birthday_scheduler;
	SELECT bs_grant('bs_worker', 'worker');
	UPDATE message_types SET active_since = '2000-01-01';
	COMMIT;
	SELECT bs_resume();
SQL

# ---- Ten people in each of thirty zones, whose nine o'clock struck in the last
# 24 hours (late), in the 24 hours before (old), or strikes in the next (soon).
# Instants within ten minutes of a limit are left out.

sql($node, <<'SQL');
	CREATE TABLE nine AS
	SELECT k.kind, z.zone, d.day, (d.day + time '09:00') AT TIME ZONE z.zone AS at
	  FROM unnest('{Pacific/Kiritimati,Pacific/Chatham,Pacific/Auckland,Australia/Adelaide,
	       Asia/Tokyo,Australia/Eucla,Asia/Shanghai,Asia/Bangkok,Asia/Yangon,Asia/Dhaka,
	       Asia/Kathmandu,Asia/Kolkata,Asia/Karachi,Asia/Kabul,Asia/Dubai,Asia/Tehran,
	       Europe/Kyiv,Europe/Berlin,Etc/UTC,Atlantic/Azores,America/Noronha,
	       America/Sao_Paulo,America/St_Johns,America/Halifax,America/New_York,
	       America/Chicago,America/Denver,America/Los_Angeles,America/Anchorage,
	       Pacific/Marquesas,Pacific/Honolulu,Pacific/Pago_Pago}'::text[]) AS z (zone)
	       CROSS JOIN LATERAL (
	           SELECT (now() AT TIME ZONE z.zone)::date + n AS day
	             FROM generate_series(-3, 2) AS n) d
	       JOIN (VALUES ('old', '-48 hours', '-24 hours'), ('late', '-24 hours', '0'),
	                    ('soon', '0', '24 hours')) AS k (kind, "from", "to")
	         ON (d.day + time '09:00') AT TIME ZONE z.zone
	            BETWEEN now() + k."from"::interval + interval '10 minutes'
	                AND now() + k."to"::interval - interval '10 minutes';
	-- made by a fleet of applications over the last week
	CREATE TABLE people AS
	SELECT gen_random_uuid() AS id, 'First' || n AS first_name, 'Last' AS last_name,
	       kind || '-' || replace(zone, '/', '-') || n || '@example.com' AS email,
	       zone, day - interval '28 years' AS birthday_date,
	       now() - interval '3 days' - n * interval '7 hours' AS created_at
	  FROM nine, generate_series(1, 10) AS n;
SQL
my %zones = map { $_ => sql($node, "SELECT count(*) FROM nine WHERE kind = '$_'") } qw(late old soon);
cmp_ok($zones{$_}, '>=', 28, "$_: enough zones") foreach sort keys %zones;
my ($late, $old, $soon) = map { 10 * $zones{$_} } qw(late old soon);

# Half of them came while the server had its triggers on: COPY plans what is due.
# The other half is not planned, as after a crash of whoever was to do it.
my $copy = scratch_dir() . '/people';
chmod 0777, scratch_dir();
sql($node, <<"SQL");
	COPY (SELECT id, first_name, last_name, email, zone, birthday_date, created_at
	        FROM people WHERE first_name ~ '[02468]\$') TO '$copy';
	COPY users (id, first_name, last_name, email, timezone, birthday_date, created_at) FROM '$copy';
	SET session_replication_role = replica;
	INSERT INTO users (id, first_name, last_name, email, timezone, birthday_date, created_at)
	SELECT id, first_name, last_name, email, zone, birthday_date, created_at
	  FROM people WHERE first_name ~ '[13579]\$';
SQL
is(counts($node, 'late%'), 'SCHEDULED ' . $late / 2, 'COPY plans what was due in the last day');
is(counts($node, 'old%'), 'none', 'and nothing that is older');
is(counts($node, 'soon%'), 'SCHEDULED ' . $soon / 2, 'and what is due in the horizon');
is(scalar($catcher->mails), 0, 'nobody sends');
like(sql($node, 'SELECT bs_health()'), qr/not in shared_preload_libraries: nothing is sent/,
	'bs_health() says why');
my $err;
$node->psql('postgres', 'SELECT * FROM bs_workers', stderr => \$err, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  55000.*HINT:.*shared_preload_libraries/s, 'what needs workers says what to set');

# The last planning pass was two days and a bit ago.
sql($node, q{UPDATE bs_installation SET planned_until = now() - interval '50 hours'});

# ---- The workers come.

$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'birthday_scheduler'
birthday_scheduler.role = 'bs_worker'
birthday_scheduler.mail_url = '@{[ $catcher->url ]}'
birthday_scheduler.mail_from = 'greetings\@example.com'
birthday_scheduler.mail_tls = off
CONF
my $start = time;
$node->restart;
ok( wait_for(sub { counts($node, 'late%') eq "SENT $late" }, 'the late ones'),
	'all of the last day is sent');
diag sprintf('%d mails caught up %.1f s after the restart began', $late, time - $start);
is(scalar($catcher->mails), $late, 'and nothing else');
is(scalar(keys %{ by_recipient($catcher->mails) }), $late, 'once each');
ok( wait_for(sub { counts($node, 'old%') eq "EXPIRED $old" }, 'the old ones'),
	'what is older than max_lateness is EXPIRED');
is(counts($node, 'soon%'), "SCHEDULED $soon", 'what is due later waits for its hour');
is( sql($node, q{
		SELECT count(*) FROM message_logs m
		       JOIN people p ON p.id = m.user_id
		       JOIN nine n ON n.zone = p.zone AND p.email LIKE n.kind || '-%'
		 WHERE m.scheduled_send_time <> n.at OR m.local_date <> n.day}),
	0, 'every row has the instant of its zone\'s nine o\'clock');
is(sql($node, 'SELECT count(*) FROM message_logs'), $late + $old + $soon, 'one row each');

# ---- Somebody is told.

like(server_log($node), qr/WARNING:  birthday_scheduler gave up \d+ messages that are later than/,
	'the log warns of what was given up');
is( sql($node, q{SELECT bs_health() #>> '{parts,results,expired}'}),
	$old, 'bs_health() counts it');
is(sql($node, q{SELECT bs_health() ->> 'status'}), 'warning', 'and warns');
is( sql($node, q{SELECT DISTINCT status_reason FROM message_logs WHERE status = 'EXPIRED'}),
	'too_late', 'the rows say why');

# ---- A second look, and a second restart, bring nothing new.

is(sql($node, 'SELECT bs_plan()'), 0, 'there is nothing left to plan');
$node->restart;
ok(wait_workers($node, 4), 'the workers are back');
ok( wait_for(
		sub { sql($node, q{SELECT count(*) FROM bs_workers WHERE state = 'working'}) == 3 },
		'the workers to work'),
	'at work');
add_due($node, 1, 'last', timezone => q{(SELECT zone FROM nine WHERE kind = 'late' LIMIT 1)},
	birthday_date => q{(SELECT day - interval '28 years' FROM nine WHERE kind = 'late' LIMIT 1)});
ok(wait_settled($node, 'last%'), 'a new one is sent');
is(scalar($catcher->mails), $late + 1, 'and only that');
unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');

$node->stop;
done_testing();
