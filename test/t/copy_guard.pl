# A copy must not mail real people: a dump that is restored, or a database made
# from another, is complete and silent until bs_resume().

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;

my $dir = scratch_dir();
my $here = start_catcher("$dir/here");
my $there = start_catcher("$dir/there");
my $node = mail_node('main', mail_url => $here->url);
my $copy = mail_node('copy', mail_url => $there->url, extension => 0);

sub run_ok
{
	my ($what, @command) = @_;
	my ($out, $err) = ('', '');
	my $result = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);

	ok($result, $what) or diag $err;
	return $out . $err;
}

sub at { my ($server, $dbname) = @_; return ('-h', $server->host, '-p', $server->port, '-d', $dbname); }

# What a dump says, without the lines that differ from run to run; sorted, because
# rows have no order.
sub essence
{
	my ($file) = @_;

	return [ sort grep { $_ ne '' && !/^--|^\\(un)?restrict/ } split /\n/,
		PostgreSQL::Test::Utils::slurp_file($file) ];
}

sub dump_to { my ($file, $server, $dbname) = @_; return run_ok("dump of $dbname", 'pg_dump', at($server, $dbname), '-f', $file); }

# ---- A database with everything in it: history, mail that was sent, mail that is
# due, types and dates of its own, and one that is due later.

add_due($node, 5, 'sent');
ok(wait_settled($node, 'sent%'), 'some mail was sent');
set_conf($node, mail_url => '');
sql($node, <<'SQL');
	SELECT bs_seed(200);
	INSERT INTO message_types (name, date_source, subject_template, text_template, html_template)
	VALUES ('NAME_DAY', 'user_dates', 'Name day', E'Hey\t{{full_name}}\\', '<p>{{full_name}}</p>');
	INSERT INTO user_dates (user_id, message_type, event_date)
	SELECT id, 'NAME_DAY', now()::date + 1 FROM users WHERE email LIKE 'sent%';
	UPDATE message_types SET subject_template = 'Best wishes' WHERE name = 'ANNIVERSARY';
	SELECT bs_delete_user(id) FROM users WHERE email = 'sent5@example.com';
SQL
add_due($node, 20, 'due');
is(counts($node, 'due%'), 'SCHEDULED 20', 'some is due');
cmp_ok(sql($node, 'SELECT count(DISTINCT status) FROM message_logs'), '>=', 5, 'of all kinds');

# ---- Restored on another server, while its workers look on: nothing is lost, and
# nothing is planned or sent.

my %tables = map { $_ => sql($node, "SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM $_ t") }
  qw(users user_dates message_types message_logs message_ledger bs_installation);

sub is_complete
{
	my ($server, $dbname) = @_;

	foreach my $table (sort keys %tables)
	{
		is( sql($server, "SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM $table t", $dbname),
			$tables{$table}, "$dbname: $table came over");
	}
	return;
}

dump_to("$dir/first.sql", $node, 'postgres');
my $said = run_ok('restored with ON_ERROR_STOP', 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1',
	at($copy, 'postgres'), '-f', "$dir/first.sql");
is_complete($copy, 'postgres');
dump_to("$dir/second.sql", $copy, 'postgres');
is_deeply(essence("$dir/second.sql"), essence("$dir/first.sql"), 'a dump of the copy is the same');

# Worker, health, notice and bs_explain() say why nothing happens.
sql($copy, 'SELECT bs_wake()');
$copy->wait_for_log(qr/birthday_scheduler is idle: this database is a copy; bs_resume\(\) adopts it/);
is(sql($copy, 'SELECT bs_installation_state()'), 'copy', 'the copy knows that it is one');
is(sql($copy, q{SELECT bs_health() #>> '{parts,installation,reason}'}),
	'this database is a copy: nothing is planned or sent until bs_resume()', 'bs_health() says so');
my $err;
$copy->psql('postgres', q{SELECT bs_add_user('First', 'New', 'new1@example.com', 'Etc/UTC',
	(now() AT TIME ZONE 'UTC')::date - 9)}, stderr => \$err);
like($err, qr/NOTICE:  nothing is planned or sent: this database is a copy/, 'so does a notice');
like($err, qr/bs_resume\(\)/, 'with the way out');
add_due($copy, 3, 'new-');
is(counts($copy, 'new-%'), 'none', 'nothing is planned by triggers');
is(sql($copy, 'SELECT bs_plan()'), 0, 'nor by bs_plan()');
like(sql($copy, q{SELECT explanation FROM bs_explain((SELECT id FROM users WHERE email = 'new-1@example.com'))
		WHERE message_type = 'BIRTHDAY'}), qr/copy/, 'bs_explain() says so');
sql($copy, q{UPDATE users SET last_name = 'Changed' WHERE email = 'due1@example.com'});
sql($copy, q{SELECT bs_delete_user(id) FROM users WHERE email = 'due2@example.com'});
is(row($copy, 'due1@example.com')->{recipient_name}, 'First1 Last', 'no row is touched');
is( sql($copy, q{SELECT count(*) FROM bs_claim('test', 10, '1 minute')}),
	0, 'nobody can claim anything');
is(scalar($there->mails), 0, 'nothing was sent');

# ---- bs_resume() adopts: what the copy owes goes out, from there.

sql($copy, 'SELECT bs_resume()');
ok(wait_settled($copy, 'due%'), 'bs_resume(): settled');
is(counts($copy, 'due%'), 'CANCELLED 1, SENT 19', 'bs_resume(): what was due is sent');
is(row($copy, 'due2@example.com')->{status_reason}, 'user_deleted', 'bs_resume(): but to nobody who was deleted');
ok(wait_for(sub { counts($copy, 'new-%') eq 'SENT 3' }, 'the new ones'), 'bs_resume(): what was missed as well');
my $mails = by_recipient($there->mails);
is(scalar(grep { /^sent/ } keys %$mails), 0, 'bs_resume(): what the original sent is not sent again');
is($mails->{'due1@example.com'}[0]{to}[0]{name}, 'First1 Changed', 'bs_resume(): with the name of now');

# The original is none the wiser.
is(sql($node, 'SELECT bs_installation_state()'), 'adopted', 'the original goes on');

# ---- The same by pg_restore with four hands, in another database of one server.

run_ok('dump in directory format', 'pg_dump', at($node, 'postgres'), '-Fd', '-j2', '-f', "$dir/dump.d");
sql($copy, 'CREATE DATABASE parallel');
run_ok('pg_restore -e -j4', 'pg_restore', '-e', '-j4', at($copy, 'parallel'), "$dir/dump.d");
is_complete($copy, 'parallel');
is(sql($copy, 'SELECT bs_installation_state()', 'parallel'), 'copy', 'parallel: it is a copy');

# No order of its parts can be relied on: people and types last of all.
my $list = run_ok('list of the dump', 'pg_restore', '-l', "$dir/dump.d");
my @parts = grep { /^\d/ } split /\n/, $list;
my $people = qr/ TABLE DATA public (users|message_types) /;
PostgreSQL::Test::Utils::append_to_file("$dir/list",
	join("\n", (grep { !/$people/ } @parts), (grep { /$people/ } @parts), ''));
sql($copy, 'CREATE DATABASE upside_down');
run_ok('pg_restore with the people last', 'pg_restore', '-e', '-L', "$dir/list",
	at($copy, 'upside_down'), "$dir/dump.d");
is_complete($copy, 'upside_down');

# ---- A database made from another is a copy although it has the same server.

sql($copy, 'SELECT bs_resume()', 'parallel');
is(sql($copy, 'SELECT bs_installation_state()', 'parallel'), 'adopted', 'parallel: adopted');
sql($copy, 'CREATE DATABASE twin TEMPLATE parallel');
is(sql($copy, 'SELECT bs_installation_state()', 'twin'), 'copy', 'twin: it is a copy');
my $before = grep { $_->{rcpt}[0] =~ /^due/ } $there->mails;
my $offset = -s $copy->logfile;
set_conf($copy, database => 'twin');
$copy->wait_for_log(qr/sender 1 started in database "twin"/, $offset);
$copy->wait_for_log(qr/idle: this database is a copy/, $offset);
add_due($copy, 2, 'twin', dbname => 'twin');
is(counts($copy, 'twin%', dbname => 'twin'), 'none', 'twin: nothing is planned');
set_conf($copy, database => 'parallel');
ok(wait_settled($copy, 'due%', 30, dbname => 'parallel'), 'its template sends');
is(scalar(grep { $_->{rcpt}[0] =~ /^due/ } $there->mails), $before + 20, 'what was due there, once');
set_conf($copy, database => 'twin');
sql($copy, 'SELECT bs_resume()', 'twin');
ok(wait_for(sub { counts($copy, 'twin%', dbname => 'twin') eq 'SENT 2' }, 'mail from the twin'),
	'twin: bs_resume() sends');

# ---- bs_pause() is no copy: a paused database is paused after a restore too, and
# both at once are told apart.

sql($node, 'SELECT bs_pause()');
is(sql($node, 'SELECT bs_installation_state()'), 'paused', 'paused');
add_due($node, 1, 'paused');
set_conf($node, mail_url => $here->url);
is(counts($node, 'paused%'), 'SCHEDULED 1', 'planned, not sent');
sql($node, 'SELECT bs_resume()');
ok(wait_settled($node, 'paused%'), 'sent after bs_resume()');
ok(wait_settled($node, 'due%'), 'with all that was due');
is(scalar(grep { $_->{rcpt}[0] =~ /^due/ } $here->mails), 20, 'once each');

unlike(server_log($_), qr/\@example\.com|First\d/, $_->name . ': the log names nobody') foreach $node, $copy;
$_->stop foreach $node, $copy;
done_testing();
