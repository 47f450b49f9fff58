# The rights of docs/queue.md, as they stand there: with those for the first time
# everything is declared, and with the fewer ones everything works as before.  Without a
# look at the dead letters it works too, and their number is unknown.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use Test::More;

my $docs = PostgreSQL::Test::Utils::slurp_file('docs/queue.md');
my @recipes = map { [ /'([^']*)'/g ] }
  $docs =~ /rabbitmqctl set_permissions -p birthday birthday_scheduler \\\n(.*)\n/g;
is(scalar(@recipes), 2, 'docs/queue.md has two lists of rights');
is(scalar(@$_), 3, 'each to configure, write and read') foreach @recipes;
my ($all, $fewer) = @recipes;

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
$broker->add_user('birthday_scheduler', 'secret', vhost => 'birthday', rights => $all);
my $node = queue_node('main', $broker, amqp_url => $broker->url('birthday', 'birthday_scheduler', 'secret'),
	mail_url => $catcher->url, mail_connections => 2);
write_script($catcher, { rules => [ { phase => 'rcpt', rcpt => 'bad*', reply => '550 5.1.1 no such user' } ] });

# From one kind of rights to the other, over new connections; the broker remembers for a
# while what old ones may do.
sub sends_with
{
	my ($what, $rights, $count) = @_;
	my $prefix = $what =~ s/\W//gr;

	$broker->ctl('set_permissions', '-p', 'birthday', 'birthday_scheduler', @$rights);
	$broker->close_connections('the rights have changed', 'birthday');
	add_due($node, $count, $prefix);
	each_once($node, $catcher, $prefix, $count, $what);
	well($node, $what);
	ok(wait_for(sub { value($node, q{SELECT count(*) FROM bs_workers WHERE state = 'no broker'}) == 0 }, 'connections'),
		"$what: publisher and senders are connected");
	return;
}

# The number of dead letters that bs_health() comes to tell.
sub tells_dead
{
	my ($what, $wanted) = @_;
	my $said;

	ok( wait_for(
			sub {
				my $health = health($node);
				$said = $health->{dead_letters} // 'unknown';
				return defined $health->{ready} && $said eq $wanted;
			},
			"$wanted dead letters", 40),
		"$what: $wanted dead letters")
	  or diag "it says: $said";
	return;
}

well($node, 'all rights');
sends_with('all rights', $all, 20);
tells_dead('all rights', 0);
sends_with('fewer rights', $fewer, 300);
add_due($node, 3, 'badone');
ok(wait_settled($node, 'badone%'), 'fewer rights: three messages fail');
is(counts($node, 'badone%'), 'FAILED 3', 'fewer rights: the relay does not know them');
tells_dead('fewer rights', 3);
sends_with('no look at the dead letters', [ '^$', '^birthday\.messages$', '^birthday\.messages\.queue$' ], 300);
# Since 4.2.6 looking at a queue needs a right.
tells_dead('no look at the dead letters', $broker->series >= 403 ? 'unknown' : 3);

# What is deleted stays deleted, is named, and works again once it is there.
sends_with('fewer rights again', $fewer, 5);
$broker->delete_queue($QUEUE, 'birthday');
trouble($node, qr/404|NOT_FOUND|no queue/i, 'the queue is deleted');
$broker->ctl('set_permissions', '-p', 'birthday', 'birthday_scheduler', @$all);
well($node, 'the right to declare');
sends_with('fewer rights for the last time', $fewer, 5);

unlike(server_log($node), qr/\@example\.com|First\d|secret/, 'the log names nobody');
$node->stop;
done_testing();
