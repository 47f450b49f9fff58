# The benchmark works: small, without the cases that need smtp-sink.  Its figures
# are nobody's business here.

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

my $run = IPC::Run::run(
	[
		'/usr/bin/python3', '-B', "$top/test/bench/bench.py", '--out', $dir,
		qw(--quick --lateness-mails 40 --lateness-seconds 1),
		qw(--planning-people 200 --months-people 200 --months-rows 2000),
		qw(--publish-messages 500),
		qw(lateness planning publish months)
	],
	'<', \undef, '>', \$said, '2>&1', IPC::Run::timeout(280));
ok($run, 'bench.py succeeds') or diag $said;

my ($file) = glob("$dir/*.json");
my $report = JSON::PP::decode_json(slurp_file($file));

is_deeply([ sort keys %{ $report->{cases} } ],
	[qw(lateness months planning publish)], 'all four cases are in the report');
foreach my $name (qw(lateness planning publish months))
{
	my @figures = @{ $report->{cases}{$name}{figures} };

	is(scalar(grep { $_->{min} > 0 and $_->{min} <= $_->{median} and $_->{median} <= $_->{max} } @figures),
		scalar(@figures), "$name: every figure has a median between its ends");
}
like($said, qr/^    lateness at the relay, p99 .* < 50 ms: (yes|no)$/m,
	'the table is printed, with the aim beside the figure');
ok(!-e "$dir/data", 'nothing of the server is left');
ok(!-e "$dir/broker", 'nor of the broker');

done_testing();
