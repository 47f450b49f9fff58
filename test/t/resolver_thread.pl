# libcurl resolves names in a thread of its own, in a process that knows of no threads:
# signals are blocked in it, so none of the server's handlers ever runs there. Seen
# while a name server is silent, amid a storm of signals.
#
# The name server is the other end of an interface that leads nowhere, in a network
# namespace: no rights on this machine are needed.

use strict;
use warnings;

use File::Temp ();
use Test::More;

# The same once more, where names cannot be resolved.
BEGIN
{
	if (!$ENV{BS_TEST_RESOLVER} && !$^C)
	{
		my @enter = ('unshare', '--user', '--map-current-user', '--keep-caps', '--net', '--mount', 'sh', '-c');
		my ($out, $file) = File::Temp::tempfile('resolver.XXXX', TMPDIR => 1, UNLINK => 0);
		print $out "nameserver 10.95.0.2\noptions timeout:12 attempts:1\n";
		close $out;
		my $silence = "ip link set lo up && ip link add nowhere type veth peer name nobody && ip addr add 10.95.0.1/24 dev nowhere"
		  . " && ip link set nowhere up && ip link set nobody up && ip neigh add 10.95.0.2 lladdr 02:00:00:00:00:02 dev nowhere && mount --bind '$file' \"\$(readlink -f /etc/resolv.conf)\"";
		my $said = `unshare --user --map-current-user --keep-caps --net --mount sh -c '@{[ $silence =~ s/'//gr ]}' 2>&1`;
		if ($? != 0)
		{
			$said =~ s/\s+/ /g;
			unlink $file;
			plan(skip_all => "no network without names can be made here: $said");
		}
		$ENV{BS_TEST_RESOLVER} = $file;
		exec(@enter, $silence . ' && exec setpriv --inh-caps=-all --ambient-caps=-all "$@"', 'sh',
			$^X, (map { "-I$_" } grep { !ref } @INC), $0) or die "exec: $!";
	}
}
my $owner = $$;
my $names = delete $ENV{BS_TEST_RESOLVER};
END { unlink $names if defined $names && $$ == $owner }

use BS::Delivery;
use BS::Test;
use POSIX ();
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(time);

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', senders => 1, mail_url => 'smtp://relay.example.com:25',
	mail_timeout => '8s');

sub sender { return (worker_pids($node, 'sender'))[0] // 0; }

# The threads of a process beside the first.
sub threads
{
	my ($pid) = @_;

	return grep { $_ != $pid } map { m{(\d+)$} } glob "/proc/$pid/task/*";
}

sub blocks
{
	my ($pid, $thread, $signal) = @_;
	my $number = POSIX->can("SIG$signal")->();
	my ($mask) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/task/$thread/status") =~ /^SigBlk:\s*([0-9a-f]+)/m;

	# The lower half has the signals that matter.
	return (hex(substr($mask, -8)) >> ($number - 1)) & 1;
}

# ---- The thread, and its mask.

add_due($node, 20, 'mail');
my $pid = sender();
my $thread;
ok(wait_for(sub { ($thread) = threads($pid); $thread }, 'a thread'), 'a thread waits for the name server');
foreach my $signal (qw(HUP INT QUIT TERM USR1 USR2 ALRM CHLD PIPE))
{
	is(blocks($pid, $thread, $signal), 1, "SIG$signal is blocked in the thread");

	# There they are blocked for a moment at a time, while libcurl may start threads.
	ok(wait_for(sub { !blocks($pid, $pid, $signal) }, "SIG$signal"), 'and not in the process')
	  unless $signal eq 'PIPE';
}
is(blocks($pid, $thread, $_), 0, "SIG$_, which tells of a fault in the code, is not") foreach qw(SEGV BUS ABRT);

# ---- Signals by the thousand, of all kinds that a worker gets, reach the process.

my $offset = -s $node->logfile;
foreach (1 .. 1000)
{
	kill $_, $pid foreach qw(HUP INT USR1 ALRM);
}
ok(scalar(grep { $_ == $thread } threads($pid)), 'the thread goes on waiting');
set_conf($node, retry_max => '3s');
is(sender(), $pid, 'the sender lives');
is(log_lines($node, qr/terminated by signal|PANIC|server process/, $offset), 0, 'nobody has died');

# ---- TERM ends the process at once, whatever the thread waits for.

my $began = time;
kill 'TERM', $pid foreach 1 .. 100;
ok(wait_for(sub { !threads($pid) && !kill(0, $pid) }, 'its end', 5), 'TERM: it ends');
cmp_ok(time - $began, '<', slow(1), 'within a second');
ok(wait_for(sub { my $new = sender(); $new && $new != $pid }, 'a new sender'), 'there is another one');
is(log_lines($node, qr/terminated by signal|PANIC|server process/, $offset), 0, 'nobody has died of it');

# ---- With a relay that has a number all goes out, once.

set_conf($node, mail_url => $catcher->url);
ok(wait_settled($node, 'mail%', 60), 'settled');
is(counts($node, 'mail%'), 'SENT 20', 'all is sent');
is(scalar($catcher->mails), 20, 'once');
ok(wait_for(sub { !threads(sender()) }, 'the end of the threads', 60), 'threads whose transfer was given up end by themselves');

# A stop does not wait for the name server either.
set_conf($node, mail_url => 'smtp://relay.example.com:25');
add_due($node, 1, 'last');
ok(wait_for(sub { threads(sender()) }, 'a thread'), 'once more');
cmp_ok(stop_timed($node), '<', slow(1.5), 'a fast stop takes less than 1.5 seconds');
done_testing();
