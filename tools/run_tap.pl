#!/usr/bin/perl
# run_tap.pl: run test programs that speak TAP and say how many tests there were.
#
#   tools/run_tap.pl --result FILE --dump DIR [--exec | --psql | --lib DIR...]
#                    [--jobs N] [--limit SECONDS] -- TESTS
#
# As "prove" and "pg_prove", with these differences: each test has a time limit of
# its own, what a failing test said is shown, and FILE gets a line
# "passed failed skipped" and then the path of each test that failed.  A test that
# ends badly without a failed assertion (a crash, a wrong plan, the time limit)
# counts as one failure.
#
#   --exec     the tests are programs; else Perl scripts
#   --psql     the tests are pgTAP scripts, for the database of PGHOST and so on
#   --lib      for Perl: look for modules there
#   --limit    seconds that a test may take (300)
#   --dump     keeps what each test said in a file below DIR

use strict;
use warnings;

use Getopt::Long;
use TAP::Harness;

my %opt = (jobs => 1, limit => 300, lib => []);
GetOptions(\%opt, 'result=s', 'jobs=i', 'limit=i', 'lib=s@', 'dump=s',
	'exec', 'psql')
  or exit 2;
die "run_tap.pl: --result and --dump are needed\n"
  unless defined $opt{result} and defined $opt{dump};

# TERM first: the test shall stop what it started.
my @command = ('timeout', '-k', '15', $opt{limit});
if ($opt{psql})
{
	push @command, qw(psql --no-psqlrc --no-align --tuples-only --quiet
	  --pset pager=off --set ON_ERROR_STOP=1 --file);
}
elsif (!$opt{exec})
{
	push @command, $^X, map { "-I$_" } @{ $opt{lib} };
}
$ENV{PERL_TEST_HARNESS_DUMP_TAP} = $opt{dump};

my $harness = TAP::Harness->new(
	{
		exec => \@command,
		jobs => $opt{jobs},
		timer => 1,
		color => 0
	});
my $sum = $harness->runtests(sort @ARGV);

my ($passed, $failed, $skipped, @bad) = (0, 0, 0);
foreach my $test ($sum->descriptions)
{
	my ($parser) = $sum->parsers($test);
	my $misses = $parser->failed;

	if ($misses == 0
		and ($parser->parse_errors or $parser->exit or $parser->wait))
	{
		$misses = 1;
	}
	$passed += $parser->passed - $parser->skipped;
	$failed += $misses;
	$skipped += $parser->skipped + ($parser->skip_all ? 1 : 0);
	push @bad, $test if $misses > 0;
}

# What was left out, and why; each reason once for a test.
foreach my $test ($sum->descriptions)
{
	my %seen;

	open(my $said, '<', "$opt{dump}/$test") or next;
	while (<$said>)
	{
		print "skipped: $test: $1\n"
		  if /^(?:ok|1\.\.0)\b.*?#\s*skip\S*\s+(.*)/i && !$seen{$1}++;
	}
	close($said);
}

# What a failing test said beside "ok".  At most 60 lines, the last ones.
foreach my $test (@bad)
{
	open(my $said, '<', "$opt{dump}/$test") or next;
	my @lines = grep { !/^ok / } <$said>;
	my $cut = @lines > 60 ? @lines - 60 : 0;

	print "---- $test said", ($cut ? " ($cut lines before that)" : ''), ":\n",
	  @lines[ $cut .. $#lines ];
}

open(my $result, '>', $opt{result})
  or die "run_tap.pl: could not write $opt{result}: $!\n";
print $result "$passed $failed $skipped\n", map { "$_\n" } @bad;
close($result) or die "run_tap.pl: could not write $opt{result}: $!\n";
exit($failed > 0);
