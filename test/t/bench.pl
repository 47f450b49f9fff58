# The benchmark works: small, without the cases that need smtp-sink, nginx or npm.
# Its figures are nobody's business here.

use strict;
use warnings;

use BS::Test;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $dir = scratch_dir();
my $said = '';
my @cases = qw(copy crud day grown months planning publish steady);

my $run = IPC::Run::run(
	[
		'/usr/bin/python3', '-B', "$top/test/bench/bench.py", '--out', $dir,
		qw(--quick --steady-rates 40 --steady-seconds 1),
		qw(--planning-people 200 --months-people 200 --months-rows 2000),
		qw(--day-users 2000 --grown-rows 1000 --grown-messages 200),
		qw(--crud-people 500 --copy-people 2000 --publish-messages 500),
		@cases
	],
	'<', \undef, '>', \$said, '2>&1', IPC::Run::timeout(280));
ok($run, 'bench.py succeeds') or diag $said;

my ($file) = glob("$dir/*.json");
my $report = JSON::PP::decode_json(slurp_file($file));

is_deeply([ sort keys %{ $report->{cases} } ], \@cases, 'every case is in the report');
foreach my $name (@cases)
{
	my @figures = @{ $report->{cases}{$name}{figures} };

	is(scalar(grep { $_->{min} > 0 and $_->{min} <= $_->{median} and $_->{median} <= $_->{max} } @figures),
		scalar(@figures), "$name: every figure has a median between its ends");
}
like($said, qr/^    40\/s: lateness at the relay, p99 .* < 50 ms: (yes|no)$/m,
	'the table is printed, with the aim beside the figure');
ok(!-e "$dir/data", 'nothing of the server is left');
ok(!-e "$dir/broker", 'nor of the broker');

done_testing();
