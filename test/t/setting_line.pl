# A setting is one line of the table: a copy of the source with one more line builds a
# server and a bs_sender that have it, with all their sources and on the reference page.

use strict;
use warnings;

use BS::Test;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $copy = scratch_dir() . '/copy';
my $table = "$copy/src/core/sending/settings.def";
my $line = qq{\nBS_SECONDS(tea_break, SHARED, 900, 60, 7200, 0, "How long a sender rests.", "Nobody rests yet.")\n};

mkdir $copy or die "could not make $copy: $!";
system_or_bail('cp', '-r', (map { "$top/$_" } qw(Makefile birthday_scheduler.control sql src tools)), $copy);
append_to_file($table, $line);
system_or_bail('find', "$copy/src", '-name', '*.o', '-delete');
delete @ENV{qw(MAKEFLAGS MAKELEVEL)};

my ($out, $err) = run_command(
	[ 'make', '-s', '-j2', '-C', $copy, 'with_llvm=no', 'PG_CONFIG=' . ($ENV{BS_PG_CONFIG} // 'pg_config'), 'all' ]);
unlike($err, qr/warning|error/i, 'it builds without a warning');
ok(-x "$copy/bs_sender", 'bs_sender is built') or BAIL_OUT($err);

# ---- bs_sender: --help, a flag, the environment, a file.

($out, $err) = run_command([ "$copy/bs_sender", '--help' ]);
like($out, qr/^  tea_break +How long a sender rests\. \[the server's\]$/m, '--help has it');
my $file = "$copy/conf";
append_to_file($file, "tea_break = 3h\n");
my %from = (
	'the command line' => [ "$copy/bs_sender", '--tea-break', '3h', '--check' ],
	'the environment' => [ 'env', 'BS_SENDER_TEA_BREAK=3h', "$copy/bs_sender", '--check' ],
	'the file' => [ "$copy/bs_sender", '--config', $file, '--check' ]);
foreach my $source (sort keys %from)
{
	($out, $err) = run_command($from{$source});
	like($err, qr/invalid value for "tea_break" in \Q$source\E: "3h"\. It must lie between 60 and 7200 s/,
		"$source sets it");
}

# ---- The server, and the page that is made from it.

my $node = BS::Test->new_node('tea', preload => 0, start => 1,
	conf => "shared_preload_libraries = '$copy/birthday_scheduler.so'");
is($node->safe_psql('postgres', q{SHOW birthday_scheduler.tea_break}), '15min', 'the server has it');
$node->safe_psql('postgres', q{ALTER SYSTEM SET birthday_scheduler.tea_break = '1h'});
my ($code, $said, $refused) = $node->psql('postgres', q{ALTER SYSTEM SET birthday_scheduler.tea_break = '3h'});
like($refused, qr/10800 s is outside the valid range/, 'with its limits');
($out, $err) = run_command(
	[ 'env', "BS_TOP=$copy", 'psql', '-Xq', '-d', $node->connstr('postgres'), '-f', "$top/tools/docs/settings.sql" ]);
like($out, qr/^\| tea_break \| `15 min` \| 1 min to 2 h \| reload \| How long a sender rests\. Nobody rests yet\. \|$/m,
	'the reference page has it for the server');
like($out, qr/^\| tea_break \| the server's \| How long a sender rests\. \|$/m, 'and for bs_sender');

done_testing();
