# BS::Queue - what the tests of the way by RabbitMQ share, on top of BS::Delivery
# and BS::Broker: a server that publishes and consumes, its health, and the
# question that ends every case: did each message arrive once?
#
#   my $broker = BS::Broker->new('main');
#   my $node = queue_node('main', $broker, mail_url => $catcher->url);
#   $broker->stop;
#   add_due($node, 10, 'down');
#   trouble($node, qr/refused/, 'stopped');
#   $broker->start;
#   well($node, 'started');
#   each_once($node, $catcher, 'down', 10, 'stopped and started');

package BS::Queue;

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use Exporter qw(import);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(queue_node health trouble well goes_on each_once wait_empty broker_stats
  broker_log_lines copies installation value try_sql $QUEUE $DEAD_LETTERS $EXCHANGE);

our $EXCHANGE = 'birthday.messages';
our $QUEUE = 'birthday.messages.queue';
our $DEAD_LETTERS = 'birthday.messages.dlq';

# mail_node() whose messages go through that broker.
sub queue_node
{
	my ($name, $broker, %settings) = @_;

	return mail_node(
		$name,
		queue => 'rabbitmq',
		amqp_url => $broker->url,
		%settings);
}

sub value { my ($node, $sql) = @_; return sql($node, $sql); }

# While the server may be down or starting: then an empty answer.
sub try_sql
{
	my ($node, $statement) = @_;
	my ($out, $err) = ('', '');

	$node->psql('postgres', $statement, stdout => \$out, stderr => \$err, timeout => slow(30));
	return $out // '';
}

# What bs_health() says of the queue: { status => ..., reason => ... }.
sub health
{
	my ($node) = @_;
	my $json = try_sql($node, q{SELECT bs_health() -> 'parts' -> 'queue'});

	return $json eq '' ? {} : JSON::PP->new->utf8->decode($json);
}

# trouble($node, $pattern, $what, $seconds): bs_health() comes to say that the queue is in
# trouble, and bs_workers, or the reason itself, names it.  What names it is given back.
sub trouble
{
	my ($node, $pattern, $what, $seconds) = @_;
	my $health = {};
	my $said = '';
	my $found = wait_for(
		sub {
			$health = health($node);
			return 0 if ($health->{status} // 'ok') eq 'ok';
			foreach my $words ($health->{reason} // '',
				try_sql($node, q{SELECT coalesce(last_error, '') FROM bs_worker_stats() WHERE worker = 'publisher'}))
			{
				$said = $words;
				return 1 if $words =~ $pattern;
			}
			return 0;
		},
		"$what: bs_health() to tell of it",
		$seconds);

	ok($found, "$what: bs_health() tells of it, and bs_workers names it")
	  or diag("$said; ", JSON::PP->new->canonical->encode($health));
	return $said;
}

# well($node, $what, $seconds): bs_health() comes to say that the queue is.
sub well
{
	my ($node, $what, $seconds) = @_;
	my $health = {};
	my $found = wait_for(
		sub {
			$health = health($node);
			return ($health->{status} // '') eq 'ok';
		},
		"$what: bs_health() to be ok",
		$seconds // 60);

	ok($found, "$what: bs_health() recovers by itself")
	  or diag('it says: ', JSON::PP->new->canonical->encode($health));
	return;
}

# goes_on($catcher, $prefix, $start, $what): since then there was never half a minute
# without a mail.
sub goes_on
{
	my ($catcher, $prefix, $start, $what) = @_;
	my @times = sort { $a <=> $b } map { $_->[0][0] } values %{ $catcher->arrivals($prefix) };
	my $last = $start;
	my $gap = 0;

	foreach my $at (grep { $_ > $start } @times)
	{
		$gap = $at - $last if $at - $last > $gap;
		$last = $at;
	}
	diag sprintf('%s: at most %.1f s without a mail, all after %.1f s', $what, $gap, $times[-1] - $start);
	return cmp_ok($gap, '<', slow(30), "$what: sending goes on within seconds");
}

# each_once($node, $catcher, $prefix, $count, $what, %options)
#
# Once they are settled: SENT, each with so many attempts at most (attempts, 1),
# each mail in the catcher once but for so many (doubles, 0), none before its time.
sub each_once
{
	my ($node, $catcher, $prefix, $count, $what, %options) = @_;
	my $attempts = $options{attempts} // 1;
	my $doubles = $options{doubles} // 0;

	ok(wait_settled($node, "$prefix%", $options{seconds} // 60), "$what: settled");
	is(counts($node, "$prefix%"), "SENT $count", "$what: each row is SENT");
	my $most = value($node,
		"SELECT max(attempts) FROM message_logs WHERE recipient_email LIKE '$prefix%'");
	cmp_ok($most, '<=', $attempts, "$what: attempts");

	my $arrivals = $catcher->arrivals($prefix);
	is(scalar(keys %$arrivals), $count, "$what: everybody got the mail");
	my @twice = grep { @$_ > 1 } values %$arrivals;
	cmp_ok(scalar(@twice), '<=', $doubles, "$what: once");
	is(scalar(grep { my %ids = map { $_->[1] => 1 } @$_; keys %ids > 1 } @twice),
		0, "$what: with one Message-ID");

	my %due = map { split /\|/ } split /\n/, value($node, <<"SQL");
		SELECT recipient_email, extract(epoch FROM scheduled_send_time) FROM message_logs
		 WHERE recipient_email LIKE '$prefix%'
SQL
	is(scalar(grep { $arrivals->{$_} && $arrivals->{$_}[0][0] < $due{$_} } keys %due),
		0, "$what: none early");
	return scalar @twice;
}

# wait_empty($broker, $what, %options): no copy is left in the queue or with a
# sender, and so many (dead, 0) have become dead letters.
sub wait_empty
{
	my ($broker, $what, %options) = @_;
	my $wanted = '0|' . ($options{dead} // 0);
	my $found = '';

	wait_for(
		sub {
			$found = join '|',
			  map { ($broker->counts($_) // {})->{total} // 'none' } $QUEUE, $DEAD_LETTERS;
			return $found eq $wanted;
		},
		"$what: the queues to have $wanted messages",
		$options{seconds} // 30);
	return is($found, $wanted, "$what: no copy is left, dead letters as expected");
}

# How many lines of the broker's log match.
sub broker_log_lines
{
	my ($broker, $pattern) = @_;

	return scalar grep { /$pattern/ } split /\n/, $broker->log;
}

# A row of bs_broker_stats().
sub broker_stats
{
	my ($node) = @_;

	return JSON::PP->new->utf8->decode(
		value($node, 'SELECT to_jsonb(s) FROM bs_broker_stats() s'));
}

# The name of this database in bodies.
sub installation
{
	my ($node) = @_;

	return value($node, q{SELECT (SELECT system_identifier FROM pg_control_system()) || '/' ||
		(SELECT oid FROM pg_database WHERE datname = 'postgres')});
}

# copies($node, $pattern): [id, body] of messages, as the publisher writes them.
sub copies
{
	my ($node, $pattern) = @_;
	my $installation = installation($node);

	return map {
		my ($id, $time) = split /\|/;
		[ $id, qq({"version":1,"installation":"$installation","id":"$id","send_time":"$time"}) ]
	} split /\n/, value($node, <<"SQL");
		SELECT id, to_char(scheduled_send_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
		  FROM message_logs WHERE recipient_email LIKE '$pattern' ORDER BY recipient_email
SQL
}

1;
