# Watching with what people have: the real exporter and the real Prometheus.  What
# bs_metrics() says is what they get; rules and dashboard ask for nothing else; each
# alert fires when its fault is made, and clears when it is mended.

use strict;
use warnings;

use BS::Amqp;
use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use BS::Watch;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail", '--brief');
my $broker = BS::Broker->new('main');
my $node = queue_node('main', $broker,
	mail_url => $catcher->url,
	breaker => '0.5',
	horizon => '2d');

# It is noon there now, so that what was due at midnight is half a day late.
my $zone = sprintf 'Etc/GMT%+d', sql($node, q{SELECT extract(hour FROM now() AT TIME ZONE 'UTC')}) - 12;

sub rules { return write_script($catcher, { rules => [@_] }); }

sub add_late
{
	my ($count, $prefix) = @_;

	return add_due($node, $count, $prefix,
		timezone => "'$zone'",
		birthday_date => "(now() AT TIME ZONE '$zone')::date - interval '28 years'");
}

# The scheduler is there, and does nothing.
sub signal_scheduler
{
	my ($signal) = @_;
	my ($pid) = worker_pids($node, 'scheduler');

	return kill $signal, $pid;
}

sql($node, 'CREATE ROLE exporter LOGIN; GRANT EXECUTE ON FUNCTION bs_metrics TO exporter');
well($node, 'at first');

# A bs_sender has been here, and is for the time of the test.
sql($node, q{SELECT bs_report_sender('remote/there/1/0000000a', '1 min', 0, 'working', '{0,0,0}', '{0,0,0,0,0,0,0}',
	array_fill(0::bigint, '{18}'), array_fill(0::bigint, '{18}'), ''); UPDATE bs_senders SET seen_at = now() + interval '1 hour'});

# ---- The exporter: everything is there, with type, help and value.

my $exporter = BS::Watch->exporter($node, 'postgres', role => 'exporter');
my $copy_exporter = BS::Watch->exporter($node, 'clone', role => 'exporter');
my $rules = slurp_file("$top/monitoring/rules/birthday_scheduler.yaml");

# Seconds instead of minutes.
$rules =~ s/^(\s+for: ).*$/${1}2s/mg;
$rules =~ s/\[\d+[mh]\]/[8s]/g;
append_to_file("$dir/rules.yaml", $rules);

my $prometheus = BS::Watch->prometheus("$dir/prometheus", [ $exporter, $copy_exporter ], rules => "$dir/rules.yaml");

# A rate needs a number from before.
ok(wait_for(sub { @{ $prometheus->api('query', query => 'birthday_scheduler_lateness_seconds_count')->{result} } }, 'a scrape'),
	'Prometheus scrapes');
add_late(20, 'first');
ok(wait_settled($node, 'first%'), 'mails are sent');
is(counts($node, 'first%'), 'SENT 20', 'all of them');

my $scrape = $exporter->scrape;
my @rows = @{ JSON::PP->new->decode(sql($node, q{
	SELECT json_agg(json_build_object('name', m.name, 'labels', m.labels, 'value', m.value, 'type', m.type, 'help', m.help))
	  FROM bs_metrics() m})) };
my (@missing, @differing, %known);

foreach my $row (@rows)
{
	my $family = $row->{type} eq 'histogram' ? $row->{name} =~ s/_(?:bucket|sum|count)$//r : $row->{name};
	my $labels = join ',', map { "$_=$row->{labels}{$_}" } sort keys %{ $row->{labels} };
	my $value = $scrape->{ $row->{name} }{samples}{$labels};

	$known{$family} = 1;
	push @missing, "$row->{name}\{$labels}" unless defined $value;
	push @differing, "$family: $scrape->{$family}{type}, $scrape->{$family}{help}"
	  if ($scrape->{$family}{type} // '') ne $row->{type} or ($scrape->{$family}{help} // '') ne $row->{help};
	push @differing, "$row->{name}\{$labels}: $value, not $row->{value}"
	  if defined $value and $row->{name} =~ /lateness|delivery|installation|worker|horizon|attempts|published|partitions/
	  and abs($value - $row->{value}) > 1e-6;
}
cmp_ok(scalar @rows, '>', 90, 'there are many metrics');
is("@missing", '', 'the exporter has each of them');
is("@differing", '', 'with the same type, help and value');
is(join(' ', grep { !$known{$_} && $_ !~ /next_due/ } grep { defined $scrape->{$_}{type} } keys %$scrape),
	'', 'and no others');
is($scrape->{birthday_scheduler_lateness_seconds_count}{samples}{''}, 20, 'the histogram of lateness has all mails');
is($scrape->{birthday_scheduler_lateness_seconds_bucket}{samples}{'le=60'}, 0, 'which were over a minute late');
is($scrape->{birthday_scheduler_lateness_seconds_bucket}{samples}{'le=86400'}, 20, 'and less than a day');
is($scrape->{birthday_scheduler_delivery_seconds_count}{samples}{''}, 20, 'that of delivery has each attempt');
is($scrape->{birthday_scheduler_relay_attempts_total}{samples}{'outcome=accepted'}, 20, 'which were accepted');
unlike(JSON::PP->new->encode($scrape), qr/\@example|First/, 'nobody is named');

# Counters outlive the processes that count.
kill 'TERM', worker_pids($node, 'sender');
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM bs_workers WHERE pid IS NOT NULL AND state <> 'starting'}) == 4 }, 'the workers'),
	'senders are started again');
is(sql($node, q{SELECT sum(m.value) FROM bs_metrics('worker_sent_total') m}), 20, 'what they sent is remembered');
is(sql($node, q{SELECT m.value FROM bs_metrics('lateness_seconds_count') m}), 20, 'and how late it was');

# ---- Prometheus: rules and dashboard ask for what there is.

$prometheus->fires('Late', 'late mails');
my @rules = map { @{ $_->{rules} } } @{ $prometheus->api('rules')->{groups} };
my %names = map { $_ => 1 } @{ $prometheus->api('label/__name__/values') };
my $dashboard = JSON::PP->new->utf8->decode(slurp_file("$top/monitoring/dashboards/birthday_scheduler.json"));
my @asked = map { $_->{query} } @rules;

is(scalar(@rules), 18, 'all rules are loaded');
is(join(' ', grep { $_->{health} ne 'ok' } @rules), '', 'and can be evaluated');
foreach my $panel (@{ $dashboard->{panels} })
{
	foreach my $target (@{ $panel->{targets} // [] })
	{
		my $expr = $target->{expr} =~ s/\$__rate_interval/1m/gr =~ s/\$server/.*/gr;

		push @asked, $expr;
		ok(eval { $prometheus->api('query', query => $expr); 1 }, "panel \"$panel->{title}\": $expr") or diag $@;
	}
}
my %unknown = map { $_ => 1 } grep { !$names{$_} } map { /\b(birthday_scheduler_\w+)/g } @asked;
is(join(' ', sort keys %unknown), '', 'every metric that is asked for exists');
my $runbook = -e "$top/docs/runbook.md" ? slurp_file("$top/docs/runbook.md") : undef;
foreach my $rule (@rules)
{
	my $anchor = lc $rule->{name};

	like($rule->{annotations}{runbook_url}, qr{^https://[^/]+/docs/runbook\.md#\Q$anchor\E$}, "$rule->{name} leads to the runbook");
	like($rule->{labels}{severity}, qr/^(critical|warning)$/, "$rule->{name} has a severity");
	ok($rule->{annotations}{summary}, "$rule->{name} has a summary");
	like($runbook, qr/^#+ $rule->{name}$/m, "the runbook has $rule->{name}") if defined $runbook;
}

# ---- The relay is away; meanwhile the scheduler stands still, and what it looks
# after goes wrong.

$prometheus->clears('Late', 'later');
is(join(' ', $prometheus->firing), '', 'no alert fires while all is well');
signal_scheduler('STOP');
$catcher->stop;
add_late(40, 'relay');
sql($node, q{UPDATE bs_upkeep_log SET done_at = now() - interval '27 hours', cron_since = now() - interval '9 days',
	cron_at = now() - interval '27 hours' WHERE task = 'partitions'});
sql($node, q{SELECT format('DROP TABLE %s, %s', bs_partition_name('message_logs', m), bs_partition_name('message_ledger', m))
	FROM (SELECT (bs_month(now()) + interval '1 month')::date AS m) n \gexec});
my $amqp = BS::Amqp->new($broker->url);
$amqp->publish($EXCHANGE, 'birthday', 'nobody can read this');
$amqp->close;
set_conf($node, horizon => '9d');
$prometheus->fires('RelayTrouble Backlog UpkeepStale CronStale PlanningBehind PartitionsMissing', 'relay and scheduler');
my $health = JSON::PP->new->decode(sql($node, 'SELECT bs_health()'));
like($health->{parts}{relay}{reason}, qr/too many attempts failed/, 'bs_health() names the relay');
is($health->{parts}{relay}{last_error}, 'connection', 'and the class of its trouble');
unlike(JSON::PP->new->encode($health->{parts}{relay}), qr/127\.0\.0\.1/, 'without its address');

set_conf($node, horizon => '2d');
signal_scheduler('CONT');
sql($node, 'SELECT bs_uninstall_cron(); SELECT bs_wake()');
$catcher->start;
$prometheus->fires('DeadLetters', 'a copy that nobody can read');
$broker->purge($DEAD_LETTERS);
$prometheus->clears('RelayTrouble Backlog UpkeepStale CronStale PlanningBehind PartitionsMissing', 'relay and scheduler', 90);
ok(wait_settled($node, 'relay%'), 'the mails go out');
is(counts($node, 'relay%'), 'SENT 40', 'all of them');

# ---- What cannot be sent; and a pause, in which messages become too late.

rules({ phase => 'rcpt', rcpt => 'refused*', reply => '550 5.1.1 no such user' });
add_late(10, 'refused');
$prometheus->fires('Failures', 'refused');
$broker->purge($DEAD_LETTERS);
sql($node, q{SELECT bs_pause('a test')});
add_late(3, 'expired');
set_conf($node, max_lateness => '1h');
sql($node, 'SELECT bs_wake()');
$prometheus->fires('Paused Expired', 'too late');
is(counts($node, 'expired%'), 'EXPIRED 3', 'they have expired');
set_conf($node, max_lateness => '2d');
sql($node, 'SELECT bs_resume()');

# ---- Workers that find no database; a broker that is away, or takes nothing; no
# relay at all.

set_conf($node, database => 'nowhere');
$prometheus->fires('WorkerDown', 'no database');
set_conf($node, database => undef);
$prometheus->clears('WorkerDown Failures Expired Paused DeadLetters', 'these', 60);
$broker->stop;
$prometheus->fires('BrokerDown', 'the broker is stopped');
$broker->start;
$prometheus->clears('BrokerDown', 'the broker is back', 60);
$broker->alarm('memory', 1);
add_late(5, 'alarm');
$prometheus->fires('BrokerBlocked', 'short of memory');
$broker->alarm('memory', 0);
sql($node, 'DELETE FROM bs_senders');
set_conf($node, mail_url => '');
$prometheus->fires('Unhealthy', 'no relay');
set_conf($node, mail_url => $catcher->url);
$prometheus->clears('BrokerBlocked Unhealthy', 'broker and relay', 60);

# ---- A copy: a dump that somebody has restored.

sql($node, 'CREATE DATABASE clone');
run_log([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', "$dir/dump.sql" ]);
run_log([ 'psql', '-Xq', '-d', $node->connstr('clone'), '-f', "$dir/dump.sql" ]);
$prometheus->fires('Copy', 'a copy');
$node->safe_psql('clone', 'SELECT bs_resume()');
$prometheus->clears('Copy', 'adopted');

# ---- No server.

$copy_exporter->stop;
$node->stop('immediate');
$prometheus->fires('Absent', 'no server');
$node->start;
$prometheus->clears('Absent', 'the server is back');

$prometheus->stop;
$exporter->stop;
$node->stop;
$broker->stop;
done_testing();
