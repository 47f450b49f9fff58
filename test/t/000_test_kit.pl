# The kit itself: servers, the mail catcher, and waiting, without our workers.

use strict;
use warnings;

use BS::Amqp;
use BS::Test;
use Socket qw(AF_UNIX PF_UNSPEC SOCK_STREAM);
use Test::More;

my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail", '--smtp-port', 0, '--http-port', 0);
my $letter = "From: a\@b.example\r\nTo: c\@d.example\r\nSubject: hi\r\n\r\nbody\r\n";

open(my $file, '>:raw', "$dir/letter") or die "could not write: $!";
print $file $letter;
close $file;

# Sends the letter with a client that is not ours; curl's exit code.
sub post
{
	my ($to) = @_;

	return system('curl', '-s', '-m', slow(3), $catcher->url, '--mail-from',
		'a@b.example', '--mail-rcpt', $to, '-T', "$dir/letter") >> 8;
}

# A server has the settings that it was given, and the same superuser and
# encoding everywhere.
my $node = BS::Test->new_node('main',
	start => 1, preload => 0, conf => "work_mem = '5MB'");
is($node->safe_psql('postgres', 'SHOW work_mem'), '5MB', 'conf');
is($node->safe_psql('postgres', 'SELECT current_user'), 'postgres', 'superuser');
is($node->safe_psql('postgres', 'SHOW server_encoding'), 'UTF8', 'encoding');
$node->stop;

# The catcher takes mail and records it.
is(post('c@d.example'), 0, 'a mail is taken');
ok(wait_for(sub { $catcher->mails == 1 }, 'the mail'), 'and recorded');
is(($catcher->mails)[0]{subject}, 'hi', 'with its subject');
is_deeply((mails($catcher))[0]{rcpt}, ['c@d.example'], 'and its recipient');

# It follows its script.
write_script($catcher,
	{ rules => [ { phase => 'rcpt', rcpt => 'bad*', reply => '550 5.1.1 no' } ] });
is(post('bad@d.example'), 55, 'a refusal by script');
ok((grep { $_->{verdict} eq 'refused' } attempts($catcher)), 'is an attempt');

# It comes back on its port, with what it had recorded.
my $port = $catcher->port;
$catcher->stop;
is(post('c@d.example'), 7, 'stopped: nobody listens');
$catcher->start;
is($catcher->port, $port, 'started again: the same port');
is(post('c@d.example'), 0, 'started again: mail is taken');
is(scalar($catcher->mails), 2, 'started again: the records go on');

# It can be there and say nothing.
$catcher->freeze;
is(post('c@d.example'), 28, 'frozen: the client gives up');
$catcher->thaw;

# It is a web service as well.
system('curl', '-s', '-o', '/dev/null', '-d', '{"email":"a@b","message":"m"}',
	$catcher->url('http') . '/x');
is(scalar($catcher->api_calls), 1, 'a call over HTTP');

# In brief it says what is needed to count.
$catcher = start_catcher("$dir/brief", '--brief');
post('n1@d.example') foreach 1, 2;
post('n2@d.example');
my $arrivals = $catcher->arrivals('n');
is(join(' ', map { "$_:" . @{ $arrivals->{$_} } } sort keys %$arrivals),
	'n1@d.example:2 n2@d.example:1', 'arrivals by address');
like($arrivals->{'n2@d.example'}[0][0], qr/^\d+\.\d+$/, 'with their time');

# The broker may confirm the last message first, and what was before it later.
socketpair(my $near, my $far, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "no sockets: $!";
my $amqp = bless { socket => $near, buffer => '', unconfirmed => { map { $_ => 1 } 1 .. 5 }, returned => 0 }, 'BS::Amqp';
syswrite $far, join '', map { pack('CnNnnQ>CC', 1, 1, 13, 60, 80, @$_, 0xCE) } [ 1, 0 ], [ 4, 0 ], [ 5, 0 ], [ 3, 1 ];
is($amqp->confirm, 0, 'confirms in another order');
is_deeply($amqp->{unconfirmed}, {}, 'none is waited for any more');

# Waiting in vain ends, and says so.
ok(!wait_for(sub { 0 }, 'nothing (as it should)', 0.1), 'waiting in vain ends');

done_testing();
