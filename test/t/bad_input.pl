# What came in before it was refused, or while triggers were off: it is dumped and
# restored in every form, can be changed and deleted, and is mailed without harm.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use IPC::Run ();
use Test::More;

my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail");
my $node = mail_node('main', mail_url => $catcher->url);

# Names, places and, where there was no check of any kind, all there is.
sub add_old
{
	my ($prefix) = @_;

	sql($node, <<"SQL");
		SET session_replication_role = replica;
		INSERT INTO users (first_name, last_name, email, timezone, birthday_date, location_city, created_at) VALUES
		(E'Ann\\r\\nBcc: victim\@example.org', E'Lee\\r\\n\\r\\nbody\\r\\n.\\r\\nRSET', '${prefix}1\@example.com', 'Etc/UTC', (now() AT TIME ZONE 'UTC')::date - interval '28 years', E'Rome\\n.\\nQUIT', now() - interval '40 days'),
		(U&'Bob\\0085X: y\\2028Z: z', E'\\x01\\x07\\x1b[2J\\x7f', '${prefix}2\@example.com', 'Etc/UTC', (now() AT TIME ZONE 'UTC')::date - interval '28 years', NULL, now() - interval '40 days');
		RESET session_replication_role;
		UPDATE users SET location_country = 'Italy' WHERE email LIKE '$prefix%';
SQL
	return;
}
sql($node, q{UPDATE message_types SET subject_template = 'Hello {{full_name}} of {{city}}', text_template = 'Dear {{full_name}} of {{city}}', html_template = '<p>{{full_name}}</p>'});
add_old('old');
ok(wait_settled($node, 'old%'), 'old rows: settled');
is(counts($node, 'old%'), 'SENT 2', 'old rows: sent');

# One recipient, and each header that there has to be.
sub harmless
{
	my ($what, $prefix, $count) = @_;
	my @mails = grep { ($_->{rcpt}[0] // '') =~ /^$prefix/ } $catcher->mails;

	is(scalar(@mails), $count, "$what: $count mails");
	foreach my $mail (@mails)
	{
		my %seen;

		$seen{ lc $_ }++ foreach @{ $mail->{header_names} };
		is(scalar(@{ $mail->{rcpt} }), 1, "$what: one recipient");
		is(join(' ', map { "$_ $seen{$_}" } sort grep { !/^received$|^x-/ } keys %seen),
			'auto-submitted 1 content-type 1 date 1 from 1 message-id 1 mime-version 1 subject 1 to 1',
			"$what: the headers that there have to be, once each");
		is_deeply([ map { $mail->{wire}{$_} ? 1 : 0 } qw(bare_lf bare_cr nul eight_bit) ], [ 0, 0, 0, 0 ], "$what: in ASCII, in whole lines");
	}
	return;
}
harmless('old rows', 'old', 2);

# A database of such rows, not yet sent, restored in several forms.
set_conf($node, mail_url => '');
add_old('dumped');
is(counts($node, 'dumped%'), 'SCHEDULED 2', 'planned');
my @at = ('-h', $node->host, '-p', $node->port);
my @psql = ('psql', '-Xq', '-v', 'ON_ERROR_STOP=1');
my %forms = (
	plain => [ [], sub { [ @psql, @at, '-d', $_[1], '-f', $_[0] ] } ],
	inserts => [ ['--inserts'], sub { [ @psql, @at, '-d', $_[1], '-f', $_[0] ] } ],
	custom => [ ['-Fc'], sub { [ 'pg_restore', '-e', '-j2', @at, '-d', $_[1], $_[0] ] } ]);
foreach my $form (sort keys %forms)
{
	my ($options, $restore) = @{ $forms{$form} };
	my $err;

	ok(IPC::Run::run([ 'pg_dump', @at, @$options, '-d', 'postgres', '-f', "$dir/$form.dump" ], '2>', \$err), "$form: dumped") or diag $err;
	sql($node, "CREATE DATABASE $form TEMPLATE template0");
	ok(IPC::Run::run($restore->("$dir/$form.dump", $form), '2>', \$err), "$form: restored without an error") or diag $err;
	is(sql($node, 'SELECT count(*) FROM users', $form), 4, "$form: everybody is there");
	is(sql($node, q{SELECT count(*) FROM users WHERE concat(first_name, last_name, location_city) ~ '[\x01-\x1f\x7f-\x9f]' OR strpos(first_name, U&'\2028') > 0}, $form),
		0, "$form: blanks in place of controls");
}
set_conf($node, mail_url => $catcher->url, database => 'custom');
sql($node, 'SELECT bs_resume()', 'custom');
ok(wait_settled($node, 'dumped%', 60, dbname => 'custom'), 'restored: settled');
harmless('restored', 'dumped', 2);
# Such a row can be mended, and goes away like any other.
set_conf($node, database => 'postgres');
sql($node, q{SELECT bs_update_user(id, '{"first_name": "Ann", "last_name": "Lee", "location_city": null}'), bs_delete_user(id), bs_purge_user(id) FROM users WHERE email = 'old1@example.com'});
is(sql($node, q{SELECT count(*) FROM users WHERE email = 'old1@example.com'}), 0, 'mended, deleted, purged');

$node->stop;
done_testing();
