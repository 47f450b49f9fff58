# A row that became due without anybody's wish to wake the senders is sent within a
# minute all the same: they look by themselves.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $broker = BS::Broker->new('main');
my $node = mail_node('main', mail_url => $catcher->url, amqp_url => $broker->url, plan_interval => '1d',
	conf => 'max_prepared_transactions = 3');
my $tomorrow = "(now() AT TIME ZONE 'UTC')::date + 1 - interval '28 years'";
my $month = sql($node, q{SELECT bs_partition_name('message_logs', bs_month(now()))});
my $bounds = sql($node, "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = '$month'");
my $now = "scheduled_send_time = now() - interval '1 second', due_at = now() - interval '1 second'";

foreach my $queue ('postgres', 'rabbitmq')
{
	my $prefix = substr($queue, 0, 4);

	# One mail that is sent the usual way: after it everybody sleeps until tomorrow.
	set_conf($node, queue => $queue);
	add_due($node, 3, "$prefix-later", birthday_date => $tomorrow);
	add_due($node, 1, "$prefix-usual");
	ok(wait_settled($node, "$prefix-usual%"), "$queue: a mail is sent");

	# ---- A transaction that is prepared and committed later.
	sql($node, 'BEGIN; ' . due_sql(1, "$prefix-prepared") . "; PREPARE TRANSACTION '$prefix'");
	sql($node, "COMMIT PREPARED '$prefix'");

	# ---- Replication, or triggers off: no code of ours runs in that session.
	sql($node, "SET session_replication_role = replica; UPDATE message_logs SET $now WHERE recipient_email LIKE '$prefix-later1\@%'");

	# ---- A month that comes back with rows that are due.
	sql($node, qq{
		BEGIN;
		UPDATE message_logs SET scheduled_send_time = now(), due_at = now() + interval '1 day' WHERE recipient_email LIKE '$prefix-later2\@%';
		ALTER TABLE message_logs DETACH PARTITION $month;
		UPDATE $month SET $now WHERE recipient_email LIKE '$prefix-later2\@%';
		ALTER TABLE message_logs ATTACH PARTITION $month $bounds;
		COMMIT});

	my %way = ('prepared' => 'prepared', 'triggers off' => 'later1', 'attached' => 'later2');
	foreach my $way (sort keys %way)
	{
		ok(wait_settled($node, "$prefix-$way{$way}%", 60), "$queue, $way: settled");
		is(counts($node, "$prefix-$way{$way}%"), 'SENT 1', "$queue, $way: sent");
	}
}
$node->stop;
done_testing();
