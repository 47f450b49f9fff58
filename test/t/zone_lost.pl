# The old names of zones (US/Eastern, Europe/Kiev) are a package of their own since
# Debian 13, tzdata-legacy.  People with such names move to a server without it:
# every row is there and can be changed, and no message is lost.  With tzdata.zi
# beside the zones the old names are read by its links; without it the owner hears
# which zones are missing, and for how many people.

use strict;
use warnings;

use BS::Zones;
use BS::Test;
use BS::Delivery;
use IPC::Run ();
use Test::More;

my ($zones, $copy) = zone_folders();
my %new_name = ('US/Eastern' => 'America/New_York', 'Europe/Kiev' => 'Europe/Kyiv',
	'Asia/Calcutta' => 'Asia/Kolkata', 'GB' => 'Europe/London');
my %people = ('US/Eastern' => 4, 'Europe/Kiev' => 3, 'Asia/Calcutta' => 2, 'GB' => 1, 'Asia/Tokyo' => 2);
my $all = 0;
$all += $_ foreach values %people;

plan(skip_all => 'this server lacks the old names itself (tzdata-legacy)')
  if grep { !-e "$copy/$_" } keys %new_name;

# Files of the zone database go away, and come back.
sub hide_files
{
	foreach my $name (@_)
	{
		(my $flat = $name) =~ tr{/}{-};
		-d "$copy/.away" or mkdir "$copy/.away" or die "cannot make a folder: $!";
		rename("$copy/$name", "$copy/.away/$flat") or die "cannot move $name: $!";
	}
	return;
}

sub bring_files_back
{
	foreach my $name (@_)
	{
		(my $flat = $name) =~ tr{/}{-};
		rename("$copy/.away/$flat", "$copy/$name") or die "cannot move $name: $!";
	}
	return;
}

my @legacy = ('US', 'GB', 'Europe/Kiev', 'Asia/Calcutta');
my @mirrors = grep { -e "$copy/$_" } qw(posix right);    # the same names once more

# Text that a session says of an error, with its SQLSTATE.
sub error_of
{
	my ($node, $statement) = @_;
	my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$statement;");

	return $err;
}

my $contents = q{SELECT count(*), md5(string_agg(u::text, ',' ORDER BY u.id)) FROM users u};
my $first_of = sub { return "(SELECT id FROM users WHERE email = 'later-$_[0]-1\@example.com')" };

# ---- The server that knows the old names: messages that are planned already, and
# people whose messages are to be planned yet.  Nothing is sent there.

my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $old = BS::Test->new_node('old', start => 1, database => 'template1');    # no worker plans here
sql($old, 'CREATE ROLE bs_worker LOGIN');
create_extension($old);
foreach my $zone (sort keys %people)
{
	(my $flat = $zone) =~ tr{/}{-};
	add_due($old, $people{$zone}, "$_-$flat-", timezone => "'$zone'",
		birthday_date => "(now() AT TIME ZONE '$zone')::date - interval '28 years'") foreach qw(planned later);
}
is(counts($old, 'planned-%'), "SCHEDULED $all", 'messages are planned where the names are known');
sql($old, q{
	SET session_replication_role = replica;
	DELETE FROM message_ledger WHERE user_id IN (SELECT id FROM users WHERE email LIKE 'later-%');
	DELETE FROM message_logs WHERE recipient_email LIKE 'later-%'});
is(sql($old, 'SELECT count(*) FROM bs_lost_zones'), 0, 'no zone is lost there');
my $there = sql($old, $contents);
my $instants = q{SELECT recipient_email, scheduled_send_time FROM message_logs WHERE recipient_email LIKE 'planned-%' ORDER BY 1};
my $planned_at = sql($old, $instants);
my $dump = scratch_dir() . '/people.sql';
IPC::Run::run([ 'pg_dump', '-h', $old->host, '-p', $old->port, '-d', 'postgres', '-f', $dump ]) or die 'pg_dump failed';
$old->stop;

hide_files(@legacy, @mirrors);
sub restored_node
{
	my ($name) = @_;
	my $node = mail_node($name, extension => 0, mail_url => $catcher->url, rate_limit => 0);
	my ($out, $err) = ('', '');

	ok(IPC::Run::run([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-f', $dump ],
		'<', \undef, '>', \$out, '2>', \$err), "$name: the dump is restored") or diag $err;
	is(sql($node, 'SELECT count(*) FROM pg_timezone_names WHERE name IN (' . join(', ', map { "'$_'" } keys %new_name) . ')'),
		0, "$name: the server does not know the old names");
	is(sql($node, $contents), $there, "$name: every row is there, as it was");
	is(sql($node, 'SELECT bs_installation_state()'), 'copy', "$name: a copy");
	return $node;
}

# How many mails each address got from this server on.
my $mails_before = 0;
sub arrived
{
	my @mails = $catcher->mails;
	my %seen;

	$seen{ $_->{message_id} }++ foreach @mails[ $mails_before .. $#mails ];
	return (scalar(keys %seen), scalar(grep { $_ != 1 } values %seen));
}

# ---- Without tzdata-legacy, with the links of tzdata.zi; those that lead nowhere are
# harmless.

my $links = '';
if (-e "$copy/tzdata.zi")
{
	$links = PostgreSQL::Test::Utils::slurp_file("$copy/tzdata.zi");
	hide_files('tzdata.zi');
}
sub write_links
{
	my ($more) = @_;

	open(my $file, '>', "$copy/tzdata.zi.new") or die "cannot write the links: $!";
	print $file $links, (map { "L $new_name{$_} $_\n" } sort keys %new_name),
	  "L ../../../../etc/passwd Old/Path\nL Old/Loop Old/Loop\nL Mars/Olympus Old/Gone\nL EST5 Old/Posix\nL Old/Short\nL\n",
	  'L ' . ('x' x 5000) . " Old/Long\n", "L Asia/Tokyo Old/Tail", ('y' x 3000), "\n$more";
	close($file) or die "cannot write the links: $!";
	rename("$copy/tzdata.zi.new", "$copy/tzdata.zi") or die "cannot rename the links: $!";
	return;
}
write_links("L Asia/Tokyo EST\n");

my $new = restored_node('linked');
my $lost = join "\n", map { "$_|" . 2 * $people{$_} . "|$new_name{$_}" } sort { $people{$b} <=> $people{$a} } keys %new_name;
is(sql($new, 'SELECT timezone, users, same_as FROM bs_lost_zones'), $lost, 'the old names, their users and their new names are listed');
sql($new, 'SELECT bs_resume()');
ok(wait_settled($new, 'planned-%'), 'what was planned is settled');
wait_count($new, '%', 'SENT ' . 2 * $all);
is(sql($new, $instants), $planned_at, 'at the instants of the old server');
is(sql($new, q{SELECT count(*) FROM message_logs a JOIN message_logs b ON b.recipient_email = replace(a.recipient_email, 'planned', 'later')
	AND b.scheduled_send_time = a.scheduled_send_time WHERE a.recipient_email LIKE 'planned-%'}), $all, 'and the others at the same ones');
is_deeply([ arrived() ], [ 2 * $all, 0 ], 'each is mailed once');
is(sql($new, q{SELECT bs_upkeep('partitions'), bs_health() #>> '{parts,planning,status}'}), '|ok', 'no mail is missing, so health is ok');
is(sql($new, q{SELECT count(*) FROM users u WHERE bs_send_time(u.timezone, '2044-07-01') <> bs_send_time(bs_zone_name(u.timezone), '2044-07-01')}), 0, 'both names have the same hour');

my $who = $first_of->('US-Eastern');
sql($new, "UPDATE users SET first_name = 'Changed' WHERE id = $who");
is(sql($new, "SELECT first_name, timezone FROM users WHERE id = $who"), 'Changed|US/Eastern', 'a change of something else leaves the old name');
sql($new, qq{SELECT bs_update_user($who, '{"timezone": "GB"}')});
is(sql($new, "SELECT timezone FROM users WHERE id = $who"), 'Europe/London', 'a changed zone is written with its new name');
sql($new, q{SELECT bs_add_user('New', 'User', 'new1@example.com', 'Europe/Kiev')});
sql($new, q{COPY users (first_name, last_name, email, timezone) FROM PROGRAM 'printf "New\tUser\tnew2@example.com\tUS/Eastern\n"'});
is(sql($new, q{
	SET client_min_messages = warning;
	CREATE TABLE people AS SELECT 'New' AS first_name, 'User' AS last_name, 'new' || n || '@example.com' AS email, zone AS timezone
	  FROM (VALUES (3, 'Asia/Calcutta'), (4, 'Old/Gone'), (5, 'Asia/Tokyo')) AS v (n, zone);
	SELECT column_name, code, reason FROM bs_import_users('people')}), 'timezone|22023|time zone "Old/Gone" is not known', 'an import refuses only what leads nowhere');
is(sql($new, q{SELECT string_agg(timezone, ' ' ORDER BY email) FROM users WHERE email LIKE 'new%'}),
	'Europe/Kyiv America/New_York Asia/Kolkata Asia/Tokyo', 'new users have the new names');
sql($new, q{UPDATE users SET timezone = bs_zone_name(timezone) WHERE timezone <> bs_zone_name(timezone)});
is(sql($new, 'SELECT count(*) FROM bs_lost_zones'), 0, 'and the owner can give them to all');
is(sql($new, q{SELECT string_agg(n, ' ') FROM unnest('{Old/Path,Old/Loop,Old/Gone,Old/Posix,Old/Short,Old/Long,Old/Tail,EST}'::text[]) AS n WHERE bs_is_timezone(n)}),
	'', 'links that lead nowhere, and names that are never taken, stay unknown');
is(sql($new, q{SELECT count(*) FROM (SELECT count(*) FROM message_logs GROUP BY user_id, message_type HAVING count(*) > 1) d}), 0, 'no message is planned twice');

# A session sees other links without a start of the server.
my $session = $new->background_psql('postgres');
my $later = "SELECT bs_zone_name('Old/Later');";
is($session->query_safe($later), '', 'a name that is no link yet');
write_links("L Asia/Tokyo Old/Later\n");
is($session->query_safe($later), 'Asia/Tokyo', 'is one when the links are written anew');
write_links('#' . ('z' x 6_000_000) . "\nL Asia/Tokyo Old/Later\n");
is($session->query_safe($later), '', 'a file that is too large is read to a limit');
$session->quit;
$new->stop;

# ---- Without the links as well: the people stay, the owner hears of it, and what is
# owed goes out once the names are there.

unlink("$copy/tzdata.zi") or die "cannot remove the links: $!";
$mails_before = scalar $catcher->mails;
my $bare = restored_node('bare');
(my $unknown = $lost) =~ s/\|[^|\n]*$/|/mg;
is(sql($bare, 'SELECT timezone, users, same_as FROM bs_lost_zones'), $unknown, 'the lost zones and their users are listed');
sql($bare, 'SELECT bs_resume()');
wait_count($bare, 'planned-%', "SENT $all");
is(sql($bare, $instants), $planned_at, 'what was planned goes out at its instants');
wait_count($bare, 'later-%', "SENT $people{'Asia/Tokyo'}");
is(sql($bare, q{SELECT bs_health() #>> '{parts,planning,status}', bs_health() #>> '{parts,planning,reason}'}),
	'warning|nothing is planned for 20 users, because the server does not know their time zones: US/Eastern (8), Europe/Kiev (6), Asia/Calcutta (4), GB (2).'
	  . ' On Debian 13 and later, install the package tzdata-legacy', 'bs_health() says which zones, how many people, and what to do');
$who = $first_of->('Europe-Kiev');
like(sql($bare, "SELECT explanation FROM bs_explain($who) WHERE message_type = 'BIRTHDAY'"),
	qr/does not know the time zone "Europe\/Kiev".*tzdata-legacy/, 'so does bs_explain()');
like(error_of($bare, $_), qr/ERROR:  22023: time zone "US\/Eastern" is not known.*HINT:  .*tzdata-legacy/s, 'the old name is refused, and the hint names the package')
  foreach q{SELECT bs_add_user('A', 'B', 'ab@example.com', 'US/Eastern')}, qq{UPDATE users SET timezone = 'US/Eastern' WHERE id = $who},
  q{SELECT bs_send_time('US/Eastern', '2044-01-01')};
sql($bare, "UPDATE users SET first_name = 'Changed' WHERE id = $who");
is(sql($bare, "SELECT first_name, timezone FROM users WHERE id = $who"), 'Changed|Europe/Kiev', 'everything else can be changed');

# The scheduler looks for new files twice a minute.
bring_files_back(@legacy);
wait_count($bare, '%', 'SENT ' . 2 * $all, 90);
is_deeply([ arrived() ], [ 2 * $all, 0 ], 'once the names are there, each is mailed, once');
is(sql($bare, q{SELECT bs_health() #>> '{parts,planning,status}'}), 'ok', 'and health is ok at once');

$bare->stop;
done_testing();
