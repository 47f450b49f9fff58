# BS::Zones - the server's time zone database, for tests that change it.
#
#   use BS::Zones;            # before everything that starts a process
#   my ($zones, $copy) = zone_folders();
#
# The server reads its zones from a folder that is built in.  So the test runs in
# a mount namespace in which a copy stands in that folder's place; no rights on
# this machine are needed.  Changes go into the copy.

package BS::Zones;

use strict;
use warnings;

use Exporter qw(import);
use File::Temp ();
use Test::More;

our @EXPORT = qw(zone_folders);

my ($zones, $copy);
my $owner = $$;

# zone_folders() -> the folder that the server reads, and where its files are
# written.
sub zone_folders
{
	return ($zones, $copy);
}

# Starts the test once more, in a namespace in which it may mount.
sub enter
{
	my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
	my $config = `$pg_config --configure`;
	chomp(my $share = `$pg_config --sharedir`);

	($zones) = $config =~ /--with-system-tzdata=([^' ]+)/;
	$zones //= "$share/timezone";
	if (!$ENV{BS_TEST_ZONES} && !$^C)
	{
		my @enter = ('unshare', '--user', '--mount', '--map-current-user', '--keep-caps', 'sh', '-c');
		my $new = File::Temp::tempdir('zones.XXXX', TMPDIR => 1, CLEANUP => 0);
		my $mount = "cp -a '$zones/.' '$new' && mount --bind '$new' '$zones'";
		my $said = `@enter[0 .. 4] sh -c "$mount" 2>&1`;
		if ($? != 0)
		{
			$said =~ s/\s+/ /g;
			system('rm', '-rf', $new);
			plan(skip_all => "nothing can be mounted here: $said");
		}
		$ENV{BS_TEST_ZONES} = $new;
		exec(@enter, $mount . ' && exec setpriv --inh-caps=-all --ambient-caps=-all "$@"', 'sh',
			$^X, (map { "-I$_" } grep { !ref } @INC), $0) or die "exec: $!";
	}
	$copy = delete $ENV{BS_TEST_ZONES};
	return;
}

enter();
END { system('rm', '-rf', $copy) if defined $copy && $$ == $owner }

1;
