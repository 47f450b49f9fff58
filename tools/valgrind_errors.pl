#!/usr/bin/perl
# valgrind_errors.pl: whose are the errors in the logs of valgrind?
#
#   tools/valgrind_errors.pl --result FILE DIR
#
# DIR has a log for each process, PID.log.  An error is ours if its stack has a
# frame in one of our sources, in our library or in libcurl; what killed a process
# is, wherever it was.  Other errors are the server's and only counted.  FILE gets
# "passed failed skipped" in processes; each error of ours is shown once.

use strict;
use warnings;

use File::Basename qw(basename);
use Getopt::Long;

my $result;
GetOptions('result=s' => \$result) or exit 2;
die "usage: valgrind_errors.pl --result FILE DIR\n"
  unless defined $result and @ARGV == 1;

my $sources = join '|', map { quotemeta basename($_) } glob('src/*/*.c src/*/*/*.c');
my $ours = qr/\((?:$sources):\d+\)|birthday_scheduler\.so|libcurl[^ ]*\.so/;
my $fatal = qr/Process terminating with default action of signal (?:4|6|7|8|11) /;
my ($passed, $failed, $others) = (0, 0, 0);
my %seen;

foreach my $log (glob "$ARGV[0]/*.log")
{
	my $bad = 0;

	foreach my $error (errors($log))
	{
		if ($error !~ $ours and $error !~ $fatal)
		{
			$others++;
			next;
		}
		$bad = 1;
		# The same error elsewhere has other addresses.
		(my $shape = $error) =~ s/0x[0-9A-Fa-f]+//g;
		next if $seen{$shape}++;
		# From the last frame of ours on it is the server that calls us.
		$error =~ s/\A(.*(?:$ours)[^\n]*\n).*/$1 ...\n/s;
		print '---- ', basename($log), "\n$error";
	}
	$bad ? $failed++ : $passed++;
}
printf "%d processes, %d with errors of ours; %d errors of the server alone\n",
  $passed + $failed, $failed, $others;

# No log at all means that nothing was looked at.
$failed = 1 if $passed + $failed == 0;
open(my $file, '>', $result) or die "could not write $result: $!\n";
print $file "$passed $failed 0\n";
close $file;
exit($failed > 0);

# Paragraphs of a log, without the suppression that follows each error.
sub errors
{
	my ($log) = @_;
	my @found = ('');

	open(my $file, '<', $log) or die "could not read $log: $!\n";
	while (my $line = <$file>)
	{
		next unless $line =~ s/^==\d+== ?//;
		if ($line =~ /^\s*$/)
		{
			push @found, '' if $found[-1] ne '';
		}
		else
		{
			$found[-1] .= $line;
		}
	}
	return grep { /^ +(?:at|by) 0x/m or /$fatal/ } @found;
}
