# bs_sender with RabbitMQ between: it takes copies as the senders in the server do,
# beside them, and loses none with a broker that is stopped, killed or silent, nor
# when it is killed itself.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Sender;
use BS::Test;
use Test::More;

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, senders => 1, mail_url => '', lease => '10s');
my $port = BS::Sender::free_port();

grant_sender($node);

sub rules { return write_script($catcher, { rules => [@_] }); }

# The broker's default user has its usual password, so no file is needed.
my $url = $broker->url;
my ($password) = $url =~ m{//[^:@]*:([^@]*)@};
$url =~ s{(//[^:@]*):[^@]*@}{$1@};
my %more;
if (defined $password)
{
	my $file = scratch_dir() . '/amqp_password';
	open(my $out, '>', $file) or die "could not write $file: $!";
	chmod 0600, $file;
	print $out "$password\n";
	close $out;
	%more = (amqp_password_file => $file);
}
my $sender = BS::Sender->new($node, 'one', mail_url => $catcher->url, mail_timeout => '4s',
	amqp_url => $url, listen => "127.0.0.1:$port", %more);

sub sent_some
{
	my ($prefix, $count) = @_;

	return wait_for(sub { keys %{ $catcher->arrivals($prefix) } >= $count }, "$count mails", 60);
}

# ---- It follows the server in how messages come.

$sender->start;
add_due($node, 200, 'copies');
each_once($node, $catcher, 'copies', 200, 'copies');
wait_empty($broker, 'copies');
is($sender->metric('broker_up'), 1, 'copies: connected to the broker');
cmp_ok($sender->metric('copies_total'), '>=', 200, 'copies: by the broker');

# ---- The broker is stopped, killed and silent in mid-burst.

rules({ phase => 'body', delay_ms => 20 });
foreach my $fault (qw(stop kill9 pause))
{
	add_due($node, 300, $fault);
	ok(sent_some($fault, 50), "$fault: in mid-burst");
	$broker->$fault;
	ok(wait_for(sub { $sender->metric('broker_up') eq '0' }, 'the sender to see it', 40), "$fault: it sees it");
	like(($sender->page('health'))[1], qr/no connection to the broker/, "$fault: /health says so");
	$fault eq 'pause' ? $broker->resume : $broker->start;
	each_once($node, $catcher, $fault, 300, $fault, seconds => 90, attempts => 2);
	wait_empty($broker, $fault);
}

# ---- kill -9 of the sender, again and again: the broker hands the copies out once
# more, and they find their messages claimed until the lease has ended.

add_due($node, 500, 'killed');
foreach my $part (1 .. 3)
{
	ok(sent_some('killed', 60 * $part), "killed $part: in mid-burst");
	is($sender->stop('KILL'), 'signal 9', "killed $part");
	$sender->start;
}
each_once($node, $catcher, 'killed', 500, 'killed', seconds => 120, attempts => 4, doubles => 3 * (8 + 64));
wait_empty($broker, 'killed');

# ---- Beside senders in the server, and another one.

rules();
set_conf($node, mail_url => $catcher->url, mail_timeout => '4s');
my $other = BS::Sender->new($node, 'two', mail_url => $catcher->url, mail_timeout => '4s', amqp_url => $url, %more)->start;
add_due($node, 3000, 'beside');
each_once($node, $catcher, 'beside', 3000, 'beside', seconds => 90);
my $shares = value($node, q{SELECT string_agg(split_part(claimed_by, '/', 1) || ' ' || n, ', ' ORDER BY claimed_by)
	FROM (SELECT claimed_by, count(*) AS n FROM message_logs WHERE recipient_email LIKE 'beside%' GROUP BY 1) c});
diag("beside: $shares");
like($shares, qr/^remote \d+, remote \d+, server \d+$/, 'beside: each had its share');

# ---- The server goes back to its own queue, and the senders with it.

set_conf($node, queue => 'postgres', mail_url => '');
$_->set() foreach $sender, $other;
add_due($node, 200, 'back');
each_once($node, $catcher, 'back', 200, 'back');
ok(wait_for(sub { $sender->metric('broker_up') eq '0' }, 'the end of the link', 30), 'back: no link is kept');
set_conf($node, queue => 'rabbitmq');
add_due($node, 200, 'forth');
each_once($node, $catcher, 'forth', 200, 'forth');

# ---- SIGTERM: what is acknowledged is so, what is not comes to the other one.

rules({ phase => 'body', delay_ms => 20 });
add_due($node, 300, 'drain');
ok(sent_some('drain', 50), 'drain: in mid-burst');
is($sender->stop, 0, 'drain: exit code 0');
each_once($node, $catcher, 'drain', 300, 'drain', seconds => 60, attempts => 2);
wait_empty($broker, 'drain');
is($other->stop, 0, 'the other one ends as well');

unlike($_->log, qr/\@example\.com|First\d|\Q$password\E@/, $_->{name} . ': its log names nobody') foreach $sender, $other;
$node->stop;
done_testing();
