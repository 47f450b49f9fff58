# What bs_calendar() writes is read by a calendar library as it was meant: names with
# whatever they hold, and every date in forty years on which a mail would leave.

use strict;
use warnings;

use BS::Test;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $reader = abs_path(dirname(__FILE__) . '/../lib/read_calendar.py');
my $node = BS::Test->new_node('calendar', start => 1);
my $file = scratch_dir() . '/team.ics';

# Every day of a leap year, all policies, three zones, names that want escapes and folds.
# (No backslash before n, comma or semicolon, which this library unescapes twice.)
$node->safe_psql('postgres', <<'SQL');
	CREATE EXTENSION birthday_scheduler;
	SELECT bs_resume();
	UPDATE message_types SET active_since = '2001-01-01';
	INSERT INTO message_types (name, date_source, subject_template, text_template, feb29_policy, cadence, active_since)
	SELECT upper(policy) || '_DAY', 'birthday_date', 's', 't', policy, 'yearly', '2001-01-01' FROM unnest('{mar1,skip}'::text[]) AS policy;
	INSERT INTO message_types (name, date_source, subject_template, text_template, cadence, active_since)
	VALUES ('ONCE', 'user_dates', 's', 't', 'once', '2001-01-01');
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date, created_at)
	SELECT (ARRAY['Ann', 'a,b;c\d', '漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字', '😀é', '"x": y', '\d; "', repeat('y', 100)])[1 + n % 7], 'x' || n, n || '@example.com',
	       (ARRAY['UTC', 'Pacific/Kiritimati', 'Pacific/Pago_Pago'])[1 + n % 3], date '2000-01-01' + n,
	       CASE WHEN n % 10 = 0 THEN date '2012-02-29' END,
	       timestamptz '2015-01-01 00:00+00' + n * interval '31 hours'
	  FROM generate_series(0, 365) AS n;
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	SELECT 'Leap', 'x' || n, 'leap' || n || '@example.com', 'Asia/Tokyo', '2000-02-29', timestamptz '2023-12-31 23:59+00' + n * interval '1 day'
	  FROM generate_series(0, 430) AS n;
	INSERT INTO user_dates (user_id, message_type, event_date, created_at)
	SELECT id, 'ONCE', '2030-02-28', '2015-01-01' FROM users WHERE email LIKE '1_@example.com';
SQL

# What would be mailed, by the functions that planning goes by.
my $expected = $node->safe_psql('postgres', <<'SQL');
	SELECT concat_ws(E'\t', format('%s-%s%s@birthday_scheduler', e.user_id, e.message_type, CASE e.cadence WHEN 'once' THEN to_char(e.event_date, '"-"YYYYMMDD') END),
	                 format('%s %s: %s', u.first_name, u.last_name, replace(lower(e.message_type), '_', ' ')),
	                 string_agg(d.local_date::text, ' ' ORDER BY d.local_date))
	  FROM bs_events e
	       JOIN users u ON u.id = e.user_id
	       CROSS JOIN generate_series(2014, 2054) AS year
	       CROSS JOIN LATERAL (SELECT CASE e.cadence WHEN 'once' THEN e.event_date ELSE bs_occurrence(e.event_date, year, e.feb29_policy) END) AS d (local_date)
	 WHERE bs_is_owed(e.event_date, d.local_date, e.cadence, e.feb29_policy)
	   AND bs_send_time(e.timezone, d.local_date, e.send_time) >= e.since
	   AND extract(year FROM d.local_date) = year
	 GROUP BY e.user_id, e.message_type, e.cadence, e.event_date, u.first_name, u.last_name
SQL

# As docs/users.md has it.
IPC::Run::run(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT bs_calendar(VARIADIC array_agg(id)) FROM users' ],
	'>', $file) or die 'psql failed';
my ($stdout, $stderr) = run_command([ '/usr/bin/python3', '-B', $reader, $file, '2054' ]);
is($stderr, '', 'the calendar is one, of lines that any program takes');
my @read = sort split /\n/, $stdout;
my @owed = sort split /\n/, $expected;

cmp_ok(scalar(@owed), '>', 2000, 'there are events of many kinds');
is(scalar(@read), scalar(@owed), 'as many are read');
my @differ = grep { $read[$_] ne $owed[$_] } 0 .. $#owed;
is(scalar(@differ), 0, 'each with its name, and the dates on which it is mailed, and no other')
  or diag explain [ map { $read[$_], $owed[$_] } grep { defined } @differ[ 0 .. 2 ] ];
like($stdout, qr/\ta,b;c\\d x1: birthday\t/, 'escapes are undone');
is(scalar(grep { /ONCE/ && (split /\t/)[2] eq '2030-02-28' } @read), 10, 'what is mailed once is there once');

done_testing();
