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

# [text](path) and [text](path#part), but not links out of the tree.
my @pages = ('README.md', 'CHANGELOG.md', 'docs', 'src');
@pages = map { -d "$top/$_" ? glob("$top/$_/*.md $top/$_/*/*.md") : "$top/$_" }
  @pages;
my @dead;

foreach my $page (@pages)
{
	my $text = slurp_file($page);

	while ($text =~ /\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)
	{
		push @dead, "$page: $1" unless -e dirname($page) . "/$1";
	}
}
is(join("\n", @dead), '', 'every link between the pages leads somewhere');

done_testing();
