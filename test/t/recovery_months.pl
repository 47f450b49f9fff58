# Recovery looks only at months that may hold unfinished messages: ten years of months
# fit into a small lock table, and what becomes unfinished again is seen.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use Test::More;

my $node = mail_node('main', senders => 1, mail_url => '', mail_timeout => '1s', lease => slow(2) . 's',
	conf => "max_locks_per_transaction = 10\nautovacuum = off");

sub value { my ($sql) = @_; return sql($node, $sql); }

# A few months a transaction: making them needs many locks.
foreach my $year (0 .. 9)
{
	sql($node, "SELECT bs_create_partitions_between((bs_month(now()) - interval '@{[ 12 * $year + 12 ]} months')::date, (bs_month(now()) - interval '@{[ 12 * $year + 7 ]} months')::date)");
	sql($node, "SELECT bs_create_partitions_between((bs_month(now()) - interval '@{[ 12 * $year + 6 ]} months')::date, (bs_month(now()) - interval '@{[ 12 * $year + 1 ]} months')::date)");
}
cmp_ok(value(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'message_logs'::regclass}), '>=', 122, 'ten years of months');

# A claim of this month, and one of a month of nine years ago that comes back, are lost.
my $month = value(q{SELECT bs_partition_name('message_logs', bs_month(now()))});
my $old = value(q{SELECT bs_partition_name('message_logs', (bs_month(now()) - interval '9 years')::date)});
add_due($node, 3, 'lost');
is(value(q{SELECT count(*) FROM bs_claim('elsewhere/1', 2, '1 second')}), 2, 'two are claimed elsewhere');
my $bounds = value("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = '$old'");
sql($node, qq{ALTER TABLE message_logs DETACH PARTITION $old;
	INSERT INTO $old SELECT (jsonb_populate_record(m, jsonb_build_object('id', gen_random_uuid(), 'recipient_email', 'old\@example.com',
	'idempotency_key', 'old', 'status', 'SENDING', 'scheduled_send_time', bs_month(now()) - interval '9 years' + interval '1 day',
	'due_at', now() - interval '9 years', 'claimed_by', 'elsewhere/2', 'claim_token', gen_random_uuid(), 'attempts', 1))).*
	FROM $month m WHERE recipient_email LIKE 'lost3%';
	ALTER TABLE message_logs ATTACH PARTITION $old $bounds});
sql($node, 'SELECT bs_wake()');
ok( wait_for(sub { value("SELECT count(*) FROM $month WHERE status = 'RETRYING' AND status_reason = 'lease'") == 2 }, 'the claims to be given up'),
	'they are put back');

# Every old month is found to be finished, a dozen at a time; the claim in it is lost and
# too late.
ok( wait_for(sub { sql($node, 'SELECT bs_wake()'); value('SELECT count(*) FROM bs_finished_months') >= 116 }, 'the marks', 60),
	'old months are marked');
ok(wait_for(sub { sql($node, 'SELECT bs_wake()'); value("SELECT status FROM $old") eq 'EXPIRED' }, 'the old claim to end'), 'what was left in them has ended');
is(log_lines($node, qr/out of shared memory/), 0, 'the lock table is large enough');
cmp_ok(value(q{SELECT count(*) FROM bs_unfinished_months(now()) u}), '<=', 5, 'a handful is looked at from now on');

# How many locks a recovery takes, however many months there are.
cmp_ok(value(q{BEGIN; DO $$ BEGIN PERFORM bs_recover('{}'::text[]); END $$;
	SELECT count(DISTINCT relation) FROM pg_locks WHERE relation::regclass::text LIKE '%message_logs%'; COMMIT}),
	'<=', 60, 'a recovery locks a handful of months');

# What an operator brings back in an old month is looked at again.
sql($node, "UPDATE $old SET status = 'FAILED'");
sql($node, "SELECT bs_retry_message(id) FROM $old");
ok(wait_for(sub { value("SELECT status FROM $old") eq 'EXPIRED' }, 'the message to end'), 'a message of an old month that is retried ends as too late');

# So is a month that was away.
ok( wait_for(sub { sql($node, 'SELECT bs_wake()'); value("SELECT count(*) FROM bs_finished_months WHERE part = '$old'::regclass") eq '1' }, 'the mark'),
	'and its month is marked again');
sql($node, "ALTER TABLE message_logs DETACH PARTITION $old; UPDATE $old SET status = 'SCHEDULED', due_at = now(); ALTER TABLE message_logs ATTACH PARTITION $old $bounds");
sql($node, 'SELECT bs_wake()');
ok(wait_for(sub { value("SELECT status FROM $old") eq 'EXPIRED' }, 'the message to end'), 'what it holds when it is back is looked after');

# Everything that goes over unfinished messages of all months.
foreach my $call ("bs_claim_holders()", "bs_release_claims('x', '{}')", "bs_take_back(10)", "bs_counts()", "bs_health() IS NULL",
	"bs_retry_failed(now() - interval '1 hour')", 'bs_adopt(true)', 'bs_resume()')
{
	my ($out, $err);
	is($node->psql('postgres', "SELECT $call", stdout => \$out, stderr => \$err), 0, "$call: there are locks enough") or diag($err);
}
$node->stop;
done_testing();
