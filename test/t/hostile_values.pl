# Every function is called with NULLs and with values that nobody expects: it answers
# or refuses, in time, and never fails in a way that nobody has thought of (XX...,
# 58...), nor takes the server along.  The calls are made from the catalog, so a new
# function is among them.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use Test::More;

my $node = mail_node('main', mail_url => '', conf => 'log_min_messages = fatal');
sql($node, 'SELECT bs_resume(), bs_seed(30, true)');

my $uuid = '00000000-0000-0000-0000-000000000000';
my %odd = (
	text => [ q{''}, q{' '}, q{'x'}, q{repeat('é', 300)}, q{E'\x01\r\n'}, q{'''; DROP TABLE users; --'}, q{'UTC'}, q{'message_logs'}, q{repeat('{{#city}}', 40)}, q{repeat('x', 1000000)}, q{'BIRTHDAY'}, q{'%s%n%I'} ],
	name => [ q{''}, q{'postgres'}, q{'no"body'} ],
	integer => [ 0, -1, 1, 13, 2147483647, '(-2147483648)' ],
	bigint => [ 0, -1, '9223372036854775807', '(-9223372036854775808)' ],
	boolean => [ 'true', 'false' ],
	date => [ map { "'$_'" } qw(infinity -infinity 5874897-12-31 2000-02-29 0001-01-01 2044-05-05), '4713-01-01 BC' ],
	'timestamp with time zone' => [ map { "'$_'" } qw(infinity -infinity), '4713-11-24 00:00:00+00 BC', '294276-12-31 23:59:59+00', '2044-05-05 00:00+00', '1970-01-01 00:00+00' ],
	'time without time zone' => [ map { "'$_'" } qw(24:00 00:00 23:59:59.999999) ],
	interval => [ map { "'$_'" } '0', '-1 day', '178000000 years', '-178000000 years', '1 microsecond', '1 mon -30 days' ],
	uuid => [ "'$uuid'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", '(SELECT id FROM users LIMIT 1)', '(SELECT id FROM message_logs LIMIT 1)' ],
	jsonb => [ map { "'$_'" } 'null', '{}', '[]', '"x"', '1', '{"": {}}', '{"as_of": "infinity", "until": "-infinity"}', '{"as_of": 1, "until": []}', '{"as_of": "2044-05-04 00:00+00", "until": "2044-05-04 00:00+00", "slices": 7}', '{"first_name": "\u0001"}' ],
	oid => [ 0, 1259, '4294967295::oid', "'users'::regclass" ],
	regclass => [ "'users'", "'0'", "'message_logs'" ],
	'uuid[]' => [ map { "'$_'" } '{}', '{NULL}', "{$uuid,NULL,$uuid}", "{{$uuid},{$uuid}}", "[5:5]={$uuid}" ],
	'bigint[]' => [ map { "'$_'" } '{}', '{NULL}', '{9223372036854775807,NULL,-9223372036854775808}', '{{1},{2}}', '[5:5]={1}' ],
	'text[]' => [ map { "'$_'" } '{}', '{NULL}', '{x,NULL,x}', '{{x},{SENT}}', '[-3:-3]={SENT}' ],
	'timestamp with time zone[]' => [ map { "'$_'" } '{}', '{NULL}', '{infinity,-infinity}', '{{2044-05-05},{2044-05-06}}', '[7:7]={"4713-11-24 00:00:00+00 BC"}', '{"294276-12-31 23:59:59+00"}' ],
	'date[]' => [ map { "'$_'" } '{}', '{NULL}', '{infinity,-infinity}', '{{2044-05-01}}', '{5874897-12-31}' ],
	(map { ($_ => [ 'NULL', "(SELECT r FROM $_ r LIMIT 1)" ]) } qw(users message_types message_logs)),
	'integer[]' => [ map { "'$_'" } '{}', '{NULL}', '{2147483647,-2147483648}', '[9:9]={1}' ]);

$odd{'character varying'} = $odd{text};

my @members = map { [ split /\|/, $_, -1 ] } split /\n/, sql($node, <<'SQL');
	SELECT p.proname, array_to_string(ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n), ','), p.prorettype = 'trigger'::regtype
	  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
	 ORDER BY 1, 2
SQL
my @calls;
my $random = 20260101;
sub draw { $random = ($random * 1103515245 + 12345) % 2**31; return $_[ int($random / 65536) % @_ ]; }
foreach my $member (@members)
{
	my ($name, $types) = @$member;
	my @types = split /,/, $types;
	my @values = map { $odd{$_} // die "$name: no values of type $_" } @types;
	my $typed = sub { my @given = @_; return "SELECT * FROM $name(" . join(', ', map { "($given[$_])::$types[$_]" } 0 .. $#given) . ')'; };

	if (@types == 0) { push @calls, "SELECT * FROM $name()"; next; }
	push @calls, $typed->(map { 'NULL' } @types);
	# Each argument with each of its values and with NULL, among middling ones.
	foreach my $i (0 .. $#types)
	{
		foreach my $value ('NULL', @{ $values[$i] })
		{
			push @calls, $typed->(map { $_ == $i ? $value : draw(@{ $values[$_] }) } 0 .. $#types);
		}
	}
	push @calls, $typed->(map { draw(@$_) } @values) foreach 1 .. 2 * @types;
}
cmp_ok(scalar(@members), '>', 90, scalar(@members) . ' functions');
note scalar(@calls), ' calls';

# What walks from one month or day to another, and is the owner's alone, may take its
# time between the ends of the world, if it can be cancelled.
my $ranges = qr/FROM (?:bs_create_partitions_between|bs_missing_months|bs_months_with_messages|bs_partitions_ready|bs_try_partitions)\(/;

# One session for all; each call in a transaction of its own, which is undone.  The
# line number of an error says which.
my $before = sql($node, q{SELECT count(*) || md5(string_agg(t::text, ',' ORDER BY id)) FROM users t});
my @pids = worker_pids($node, '');
my $start = time;
my ($out, $err) = ('', '');
my @script = ('\set VERBOSITY verbose', '\o /dev/null', "SET client_min_messages = error; SET statement_timeout = '60s'; SET lock_timeout = '5s';",
	map { 'BEGIN; ' . ($_ =~ $ranges ? "SET LOCAL statement_timeout = '300ms'; " : '') . "$_; ROLLBACK;" } @calls);
IPC::Run::run([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-f', '-' ],
	'<', \join("\n", @script, ''), '>', \$out, '2>', \$err);
my %codes;
my @bad;
foreach (split /\n/, $err)
{
	my ($line, $code, $text) = /^psql:<stdin>:(\d+): (?:ERROR|FATAL|PANIC):  (\w{5}): (.*)/ or next;

	$codes{$code}++;
	push @bad, "$code $text: " . $calls[ $line - 4 ] if $code =~ /^(?:XX|58|57|53|55P)/ && !($code eq '57014' && $calls[ $line - 4 ] =~ $ranges);
}
unlike($err, qr/server closed the connection|connection to server was lost/, 'the server is still there') or diag substr $err, -2000;
is(scalar(@bad), 0, 'nothing fails in a way that nobody has thought of') or diag join "\n", map { substr $_, 0, 500 } @bad;
cmp_ok($codes{'22023'} // 0, '>', 100, 'much was refused') or diag explain \%codes;
diag sprintf('%d calls of %d functions in %d s: %s', scalar(@calls), scalar(@members), time - $start, join ' ', map { "$_ $codes{$_}" } sort keys %codes);
is(sql($node, q{SELECT count(*) || md5(string_agg(t::text, ',' ORDER BY id)) FROM users t}), $before, 'nobody was changed');
is_deeply([ worker_pids($node, '') ], \@pids, 'the workers are the same');

# The trigger of users on tables that are no users.
foreach my $columns ('x integer', 'first_name integer, last_name integer, email integer, timezone integer, birthday_date integer, anniversary_date integer, location_city integer, location_country integer, created_at integer, updated_at integer',
	'first_name varchar, last_name varchar, email varchar, timezone varchar, birthday_date text, anniversary_date date, location_city varchar, location_country varchar, created_at timestamptz, updated_at timestamptz',
	'first_name bytea, last_name bytea, email bytea, timezone bytea, birthday_date date, anniversary_date date, location_city bytea, location_country bytea, created_at timestamptz, updated_at timestamptz')
{
	$node->psql('postgres', "CREATE TABLE no_users ($columns); CREATE TRIGGER t BEFORE INSERT ON no_users FOR EACH ROW EXECUTE FUNCTION bs_users_before_write(); INSERT INTO no_users VALUES (1)" =~ s/VALUES \(1\)/DEFAULT VALUES/r,
		on_error_stop => 1, stderr => \$err);
	like($err, qr/table "no_users" has no column "\w+" of type/, 'not on a table with ' . substr $columns, 0, 30);
	$node->psql('postgres', 'DROP TABLE no_users');
}
$node->psql('postgres', 'CREATE TRIGGER t AFTER INSERT ON users EXECUTE FUNCTION bs_users_before_write(); INSERT INTO users SELECT * FROM users LIMIT 0', on_error_stop => 1, stderr => \$err);
like($err, qr/can only be called as a BEFORE ROW trigger/, 'nor at another moment');

# ---- Members of pg_signal_backend may signal workers of a role that is no superuser:
# they come back.  Those of the bootstrap superuser they may not signal.

sql($node, 'CREATE ROLE signaller LOGIN; GRANT pg_signal_backend TO signaller');
my $offset = -s $node->logfile;
foreach my $round (1 .. 3)
{
	my $answer;

	ok(wait_workers($node, 4), "signals, $round: four workers");
	@pids = worker_pids($node, '');
	$node->psql('postgres', 'SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[' . join(',', @pids) . ']) AS pid', extra_params => [ '-U', 'signaller' ], stdout => \$answer);
	is($answer, "t\nt\nt\nt", "signals, $round: they may");
	ok(wait_for(sub { my %now = map { $_ => 1 } worker_pids($node, ''); keys %now == 4 && !grep { $now{$_} } @pids }, 'other workers'), "signals, $round: others come in their place");
}
set_conf($node, role => '');
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'birthday_scheduler %' AND usename = 'postgres'}) == 4 }, 'workers of the superuser'), 'workers of the superuser');
$node->psql('postgres', 'SELECT pg_terminate_backend(' . (worker_pids($node, ''))[0] . ')', extra_params => [ '-U', 'signaller' ], stderr => \$err);
like($err, qr/must be a superuser to terminate superuser process/, 'which only a superuser may end');

$node->stop;
done_testing();
