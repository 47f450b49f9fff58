# The pages of bs_sender while other clients are slow: they answer.
use strict;
use warnings;

use BS::Sender;
use BS::Test;
use HTTP::Tiny;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

my $port = BS::Sender::free_port();
# No database answers there: the pages do.
my $sender = BS::Sender->new([], 'main', database => 'host=127.0.0.1 port=1 dbname=x connect_timeout=2',
	mail_url => 'smtp://127.0.0.1:1', listen => "127.0.0.1:$port");

$sender->start(wait => 0);
wait_for(sub { ($sender->page('health'))[0] == 503 }, 'the first answer');

# The status of a page, 599 if it takes longer than two seconds.
sub status
{
	my ($page) = @_;

	return HTTP::Tiny->new(timeout => slow(2), keep_alive => 0)
	  ->get("http://127.0.0.1:$port/$page")->{status};
}

sub open_slow
{
	my ($count, $words) = @_;
	my @slow;

	foreach (1 .. $count)
	{
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
		  or die "could not connect: $!";

		$socket->syswrite($words);
		push @slow, $socket;
	}
	return @slow;
}

local $SIG{PIPE} = 'IGNORE';

# Each says a letter more all the time, so none of them is ever silent.
foreach my $count (17, 150)
{
	my @slow = open_slow($count, "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ");

	foreach my $turn (1 .. 5)
	{
		$_->syswrite('x') foreach @slow;
		is(status('health'), 503, "$count slow connections: /health answers, turn $turn");
		sleep 0.2;
	}
	is(status('metrics'), 200, "$count slow connections: /metrics answers");
}

# Connections that say nothing, and those that take no answer.
my @silent = open_slow(60, '');
my @deaf = open_slow(60, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" x 50);

is(status('health'), 503, 'silent and deaf connections: /health answers');
is(status('metrics'), 200, 'silent and deaf connections: /metrics answers');

# One that is quick keeps its connection as long as there is room.
@silent = @deaf = ();
my $agent = HTTP::Tiny->new(timeout => slow(2));
my @quiet = open_slow(20, '');

is($agent->get("http://127.0.0.1:$port/metrics")->{status}, 200, 'a client beside twenty others');
is($agent->get("http://127.0.0.1:$port/metrics")->{status}, 200, 'the same client again');
ok($sender->{pid} && !$sender->has_ended, 'the sender is still there');
is($sender->stop, 0, 'it ends as asked');

done_testing();
