# Where nothing is to be done nobody makes turns: after the last work scheduler,
# publisher, senders and bs_sender sleep. Whoever is woken again and again gives up the
# processor as often, which the kernel counts.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Sender;
use BS::Test;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time);

my $watched = slow(6);    # seconds
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $broker = BS::Broker->new('main');
my $node = mail_node('main', mail_url => $catcher->url, amqp_url => $broker->url);

# worker => process
sub workers
{
	return map { split /\|/ } split /\n/, sql($node, <<'SQL');
		SELECT replace(backend_type, 'birthday_scheduler ', ''), pid FROM pg_stat_activity
		 WHERE backend_type LIKE 'birthday_scheduler %'
SQL
}

sub switches
{
	my ($pid) = @_;
	my ($count) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m;

	return $count;
}

# is_asleep($what, { worker => process }, $seldom): a while comes in which none of them
# was woken more often than a turn or two take, or, of those in $seldom, so often a
# second. What the work before it has left to do may take a moment.
sub is_asleep
{
	my ($what, $pids, $seldom) = @_;
	my $deadline = time + slow(40);
	my %woken;
	my @awake;

	do
	{
		my %before = map { $_ => switches($pids->{$_}) } keys %$pids;
		my $end = time + $watched;

		wait_for(sub { time > $end }, 'nothing', $watched + 10);
		%woken = map { $_ => switches($pids->{$_}) - $before{$_} } keys %$pids;
		@awake = grep { $woken{$_} > 4 + ($seldom->{$_} // 0) * $watched } sort keys %woken;
	} while (@awake && time < $deadline);
	diag sprintf('%s: woken in %d s: %s', $what, $watched, join ', ', map { "$_ $woken{$_}" } sort keys %woken);
	return is("@awake", '', "$what: everybody sleeps");
}

# ---- PostgreSQL as the queue: a message that is sent, one of tomorrow, one put off.

my $tomorrow = "(now() AT TIME ZONE 'UTC')::date + 1 - interval '28 years'";
add_due($node, 50, 'sent');
add_due($node, 5, 'tomorrow', birthday_date => $tomorrow);
ok(wait_settled($node, 'sent%'), 'mails are sent');
is(counts($node, 'tomorrow%'), 'SCHEDULED 5', 'others are planned');
my %workers = workers();
is(join(', ', sort keys %workers), 'publisher, scheduler, sender 1, sender 2', 'four workers');
is_asleep('after a burst', \%workers);

sql($node, q{UPDATE users SET first_name = 'Other' WHERE email LIKE 'tomorrow%'});
is_asleep('after a change', \%workers);

write_script($catcher, { rules => [ { phase => 'rcpt', reply => '450 4.2.0 later' } ] });
set_conf($node, retry_initial => '1h', retry_max => '1h');
add_due($node, 20, 'later');
ok(wait_for(sub { counts($node, 'later%') eq 'RETRYING 20' }, 'mails that are put off'), 'mails are put off for an hour');
is_asleep('with mails put off', \%workers);
write_script($catcher, { rules => [] });

sql($node, 'SELECT bs_pause()');
add_due($node, 20, 'paused');
is_asleep('paused, with mails due', \%workers);
sql($node, 'SELECT bs_resume()');
ok(wait_settled($node, 'paused%'), 'resumed, they are sent');
is_asleep('resumed', \%workers);

# ---- With RabbitMQ: heartbeats, and nothing but them.

grant_sender($node);
set_conf($node, queue => 'rabbitmq');
well($node, 'by RabbitMQ');
my $sender = BS::Sender->new($node, 'one', mail_url => $catcher->url, amqp_url => $broker->url)->start;
add_due($node, 50, 'copies');
each_once($node, $catcher, 'copies', 50, 'by RabbitMQ');
my %now = workers();
is(join(', ', map { $now{$_} } sort keys %now), join(', ', map { $workers{$_} } sort keys %workers),
	'all of it by the same processes');
is_asleep('by RabbitMQ', { %now, bs_sender => $sender->{pid} }, { map { $_ => 3 } grep { $_ ne 'scheduler' } keys %now, 'bs_sender' });
is($sender->stop, 0, 'bs_sender ends as asked');
$node->stop;
done_testing();
