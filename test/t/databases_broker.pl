# Several databases of one server, and one RabbitMQ: each has an exchange and a queue
# of its own, or none of them uses the broker.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue qw(broker_stats $DEAD_LETTERS);
use BS::Sender;
use BS::Test;
use JSON::PP ();
use Test::More;

my @names = ('one', 'Tw%o');
my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = mail_node('main',
	queue => 'rabbitmq',
	amqp_url => $broker->url,
	amqp_exchange => 'birthday.messages.%d',
	amqp_queue => 'birthday.messages.%d.queue',
	database => '"one", "Tw%o"',
	senders => 1,
	extension => 0,
	lease => '10s',
	mail_timeout => '5s',
	mail_url => $catcher->url);

sub health
{
	my ($name) = @_;
	my $json = '';

	$node->psql($name, q{SELECT bs_health() -> 'parts' -> 'queue'}, stdout => \$json, stderr => \my $ignored);
	return $json eq '' ? {} : JSON::PP->new->utf8->decode($json);
}

sub well
{
	my ($what) = @_;

	foreach my $name (@names)
	{
		ok(wait_for(sub { (health($name)->{status} // '') eq 'ok' }, "the queue of $name", 60), "$what: the queue of $name is well")
		  or diag JSON::PP->new->canonical->encode(health($name));
	}
	return;
}

sub each_once
{
	my ($name, $prefix, $count, $what) = @_;

	ok(wait_settled($node, "$prefix%", 60, dbname => $name), "$what: settled");
	is(counts($node, "$prefix%", dbname => $name), "SENT $count", "$what: each is SENT");
	my $arrivals = $catcher->arrivals($prefix);
	is(scalar(keys %$arrivals), $count, "$what: each mail has come");
	is(scalar(grep { @$_ > 1 } values %$arrivals), 0, "$what: once");
	return;
}

sub stats
{
	my ($name) = @_;

	return JSON::PP->new->utf8->decode(sql($node, 'SELECT to_jsonb(s) FROM bs_broker_stats() s', $name));
}

foreach my $name (@names)
{
	sql($node, qq{CREATE DATABASE "$name"});
	create_extension($node, dbname => $name);
}
$node->reload;

# ---- A queue each.

well('queues');
is( join(' ', $broker->queues),
	"birthday.messages.Tw%o.queue $DEAD_LETTERS birthday.messages.one.queue",
	'queues: each has its own, dead letters are everybody\'s');
add_due($node, 500, 'first', dbname => 'one');
add_due($node, 300, 'other', dbname => 'Tw%o');
each_once('one', 'first', 500, 'queues: one');
each_once('Tw%o', 'other', 300, 'queues: the other');
my ($one, $two) = map { stats($_) } @names;
cmp_ok($one->{published}, '>=', 500, 'queues: counted for one');
cmp_ok($two->{published}, '>=', 300, 'queues: and the other');
cmp_ok($two->{consumed}, '<', 500, 'queues: which has none of its copies');
is($one->{foreign} + $two->{foreign}, 0, 'queues: nobody gets what is not theirs');
ok($broker->wait_depth("birthday.messages.$_.queue", 0), "queues: nothing is left of $_") foreach @names;
is($broker->depth($DEAD_LETTERS), 0, 'queues: no dead letters');

# ---- bs_sender knows the queue by the same settings.

grant_sender($node, dbname => 'Tw%o');
set_conf($node, mail_url => '');
my $sender = BS::Sender->new($node, 'remote',
	database => 'host=' . $node->host . ' port=' . $node->port . ' dbname=Tw%o user=bs_remote',
	mail_url => $catcher->url, mail_timeout => '4s', amqp_url => $broker->url)->start;
add_due($node, 50, 'remote', dbname => 'Tw%o');
each_once('Tw%o', 'remote', 50, 'bs_sender');
is($sender->stop, 0, 'bs_sender: it ends');
set_conf($node, mail_url => $catcher->url);

# ---- Without names of their own none of them uses the broker, and all say so.

foreach my $setting ('amqp_queue', 'amqp_exchange')
{
	my $offset = -s $node->logfile;

	set_conf($node, $setting => 'birthday.shared');
	foreach my $name (@names)
	{
		ok( wait_for(sub { (health($name)->{reason} // '') =~ /put %d, which stands for the name of the database, into "birthday_scheduler\.amqp_exchange" and "birthday_scheduler\.amqp_queue"/ },
				'bs_health()'), "$setting is shared: bs_health() of $name says what to do");
		is(health($name)->{status}, 'error', "$setting is shared: which is an error");
	}
	ok(wait_for(sub { $broker->connections == 0 }, 'the links to be closed'), "$setting is shared: nobody is connected");
	add_due($node, 5, "$setting-", dbname => 'one');
	ok(wait_for(sub { log_lines($node, qr/several databases are named/, $offset) >= 4 }, 'the log'), "$setting is shared: the log says so");
	is(counts($node, "$setting-%", dbname => 'one'), 'SCHEDULED 5', "$setting is shared: nothing is sent");
	set_conf($node, $setting => undef);
	well("$setting of their own");
	each_once('one', "$setting-", 5, "$setting of their own");
}
ok(!(grep { /shared/ } $broker->queues), 'nothing shared was declared');

# ---- One database alone needs no place for its name; with it goes the other's trouble.

set_conf($node, database => 'one', amqp_queue => 'birthday.alone', amqp_exchange => 'birthday.alone');
@names = ('one');
well('alone');
add_due($node, 20, 'alone', dbname => 'one');
each_once('one', 'alone', 20, 'alone');
ok((grep { $_ eq 'birthday.alone' } $broker->queues), 'alone: by the name that was set');

# ---- A name that becomes too long is an error of its own.

set_conf($node, amqp_queue => ('x' x 253) . '%d', amqp_exchange => undef);
ok(wait_for(sub { (health('one')->{reason} // '') =~ /"birthday_scheduler\.amqp_queue" makes no name: .*255 bytes/ }, 'bs_health()'),
	'too long: bs_health() says so');

$node->stop;
$broker->stop;
done_testing();
