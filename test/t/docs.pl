# The pages that are made from the server are what it says today, every link in
# the pages leads somewhere, and every comment is there.

use strict;
use warnings;

use BS::Test;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $node = BS::Test->new_node('docs', start => 1);

$node->safe_psql('postgres', 'CREATE EXTENSION birthday_scheduler');

$ENV{BS_TOP} = $top;
foreach my $page (qw(settings sql))
{
	my ($made, $errors) = run_command(
		[
			'psql', '-Xq', '-d', $node->connstr('postgres'),
			'-f', "$top/tools/docs/$page.sql"
		]);

	is($errors, '', "docs/$page.md can be made");
	is($made . "\n",
		slurp_file("$top/docs/$page.md"),
		"docs/$page.md is up to date; tools/gen_docs.sh makes it");
}

# Each stop of the way through the source is where the page says.
my @stops = slurp_file("$top/docs/architecture.md") =~ /^\| \d+ \| `(\w+)` \| `([^`]+)` \|/mg;
is(scalar(@stops), 20, 'the way through the source has ten stops');
while (my ($function, $file) = splice @stops, 0, 2)
{
	like(slurp_file("$top/$file"), qr/^(?:CREATE FUNCTION \@extschema\@\.)?\Q$function\E\(/m,
		"$function stands in $file");
}

# What a user may meet has a comment.
is( $node->safe_psql('postgres', q{
	SELECT pg_describe_object(d.classid, d.objid, a.attnum)
	  FROM pg_depend d
	       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
	       LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	       LEFT JOIN pg_attribute b ON c.relkind IN ('r', 'p') AND b.attrelid = c.oid
	            AND b.attnum > 0 AND NOT b.attisdropped
	       CROSS JOIN LATERAL (SELECT coalesce(b.attnum, 0)) AS a (attnum)
	 WHERE d.deptype = 'e' AND (d.classid = 'pg_proc'::regclass OR c.relkind IN ('r', 'p', 'v'))
	   AND (SELECT description FROM pg_description t
	         WHERE t.classoid = d.classid AND t.objoid = d.objid AND t.objsubid = a.attnum) IS NULL}),
	'',
	'every function, table, column and view has a comment');

# The names of the parts of a page, as links write them: GitHub's way.
sub parts_of
{
	my ($page) = @_;
	my %parts;

	foreach my $heading (slurp_file($page) =~ /^#+ +(.*)$/mg)
	{
		my $part = lc $heading;

		$part =~ s/[^\w\- ]//g;
		$part =~ tr/ /-/;
		$parts{$part} = 1;
	}
	return \%parts;
}

# [text](path), [text](path#part), [text](#part), but not links out of the tree.
my @pages = ('README.md', 'CHANGELOG.md', 'docs', 'src');
@pages = map { -d "$top/$_" ? glob("$top/$_/*.md $top/$_/*/*.md") : "$top/$_" }
  @pages;
my @dead;

foreach my $page (@pages)
{
	my $text = slurp_file($page);

	while ($text =~ /\]\(([^)#:\s]*)(?:#([^)\s]*))?\)/g)
	{
		my ($path, $part) = ($1 eq '' ? $page : dirname($page) . "/$1", $2);

		push @dead, "$page: $1"
		  unless -e $path && (!defined $part || parts_of($path)->{$part});
	}
}
is(join("\n", @dead), '', 'every link between the pages leads somewhere');

# The runbook has a section for each alert, and each says what it has to; the alerts
# lead to theirs.
my $rules = join '', map { slurp_file($_) } glob("$top/monitoring/rules/*.yaml");
my @alerts = sort $rules =~ /^\s*- alert: (\w+)/mg;
my %sections = slurp_file("$top/docs/runbook.md") =~ /^### (\w+)\n(.*?)(?=^### |\z)/msg;

cmp_ok(scalar(@alerts), '>', 0, 'there are alerts');
is_deeply([ sort keys %sections ], \@alerts, 'docs/runbook.md has a section for each, and no other');
foreach my $alert (@alerts)
{
	like($sections{$alert} // '', qr/^\*\*Meaning\.\*\* .*^\*\*First look\.\*\*.*^\*\*Remedy\.\*\* /ms,
		"$alert: meaning, first look, remedy");
	like($rules, qr/alert: $alert\n(?:(?!- alert:).)*runbook_url: \S*runbook\.md#\L$alert\E$/ms, "$alert: the alert leads there");
	my ($severity) = $rules =~ /alert: $alert\n(?:(?!- alert:).)*?severity: (\w+)/s;
	like($sections{$alert} // '', qr/^\*\*Meaning\.\*\* \u$severity\./m, "$alert: $severity");
}

done_testing();
