# BS::Network - machines that can be cut off: network namespaces with addresses of
# their own, tied by bridges.
#
#   use BS::Network;                    # before anything is started
#
#   bridge('bs0', '10.94.0.1');         # the test itself has this address
#   machine('bs1', eth0 => [ 'bs0', '10.94.0.11' ]);
#   BS::Sender->new($node, 'one', command => [ on_machine('bs1') ], ...);
#   link_down('bs1', 'eth0');
#   link_up('bs1', 'eth0');
#
# "use" runs the test once more in a user, network and mount namespace of its own,
# so no rights on this machine are needed; where such cannot be made it is skipped.

package BS::Network;

use strict;
use warnings;

use Exporter ();
use File::Temp ();
use PostgreSQL::Test::Utils ();
use Test::More ();

our @EXPORT = qw(bridge machine on_machine link_down link_up name_hosts);

sub import
{
	enter() if !$^C;
	goto &Exporter::import;
}

sub run { return system(@_) == 0 || die "failed: @_\n"; }

sub enter
{
	my @enter = ('unshare', '--map-current-user', '--keep-caps', '--net', '--mount');

	if (delete $ENV{BS_TEST_NAMESPACE})
	{
		run(qw(ip link set lo up));
		run(qw(mount -t tmpfs none /run));
		run(qw(mkdir /run/netns));
		return;
	}
	my $try = 'ip link set lo up && mount -t tmpfs none /run && mkdir /run/netns && ip netns add try'
	  . ' && ip link add try0 type bridge && ip netns exec try true';
	my $said = `@enter sh -c '$try' 2>&1`;
	if ($? != 0)
	{
		$said =~ s/\s+/ /g;
		Test::More::plan(skip_all => "no network namespaces can be made here: $said");
	}
	$ENV{BS_TEST_NAMESPACE} = 1;
	exec(@enter, $^X, (map { "-I$_" } grep { !ref } @INC), $0) or die "exec: $!";
}

# bridge($name, $address): with an address where the test is to be reached by it.
sub bridge
{
	my ($name, $address) = @_;

	run('ip', 'link', 'add', $name, 'type', 'bridge');
	run('ip', 'addr', 'add', "$address/24", 'dev', $name) if defined $address;
	run('ip', 'link', 'set', $name, 'up');
	return;
}

# machine($name, eth0 => [ $bridge, $address ], ...)
sub machine
{
	my ($name, %interfaces) = @_;

	run('ip', 'netns', 'add', $name);
	run('ip', '-n', $name, 'link', 'set', 'lo', 'up');
	foreach my $interface (sort keys %interfaces)
	{
		my ($bridge, $address) = @{ $interfaces{$interface} };

		run('ip', 'link', 'add', "$name-$interface", 'type', 'veth', 'peer', 'name', $interface, 'netns', $name);
		run('ip', '-n', $name, 'addr', 'add', "$address/24", 'dev', $interface);
		run('ip', '-n', $name, 'link', 'set', $interface, 'up');
		run('ip', 'link', 'set', "$name-$interface", 'master', $bridge, 'up');
	}
	return;
}

# What to put before a command that is to run there.
sub on_machine { return ('ip', 'netns', 'exec', $_[0]); }

# As if somebody pulled the cable, and put it back.
sub link_down { return run('ip', 'link', 'set', "$_[0]-$_[1]", 'down'); }
sub link_up { return run('ip', 'link', 'set', "$_[0]-$_[1]", 'up'); }

# name_hosts(name => address, ...): known to all that is started from now on.
sub name_hosts
{
	my (%hosts) = @_;
	my ($out, $file) = File::Temp::tempfile('hosts.XXXX', TMPDIR => 1);

	print $out PostgreSQL::Test::Utils::slurp_file('/etc/hosts'), map { "$hosts{$_} $_\n" } sort keys %hosts;
	close $out;
	chmod 0644, $file;
	run('mount', '--bind', $file, '/etc/hosts');
	unlink $file;
	return;
}

1;
