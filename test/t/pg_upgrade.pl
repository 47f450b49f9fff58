# pg_upgrade, by copying and by linking: all is there, nothing is sent until
# bs_resume(), then what is owed goes out. And a physical clone, which no
# identifier can tell from its original.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail");
my ($bin) = grep { -x "$_/pg_upgrade" } split /:/, $ENV{PATH};
my @tables = qw(users user_dates message_types message_logs message_ledger bs_upkeep_log);
my $contents = join ' UNION ALL ', map {
	"SELECT '$_ ' || count(*) || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM $_ t" } @tables;
$contents .= q{ UNION ALL SELECT 'extension ' || extversion || array_length(extconfig, 1) FROM pg_extension WHERE extname = 'birthday_scheduler'
	UNION ALL SELECT concat_ws(' ', system_identifier, database_oid, adopted_at, paused_at) FROM bs_installation
	UNION ALL SELECT 'members ' || count(*) FROM pg_depend WHERE deptype = 'e'
	UNION ALL SELECT 'indexes ' || md5(string_agg(pg_get_indexdef(indexrelid), ',' ORDER BY indexrelid::regclass::text COLLATE "C"))
	  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace
	UNION ALL SELECT 'rights ' || md5(string_agg(oid::regprocedure || proacl::text, ',' ORDER BY oid::regprocedure::text COLLATE "C")) FROM pg_proc WHERE pronamespace = 'public'::regnamespace};

# Sample people may have their day today: only those whom the test added count.
sub heard { return scalar grep { $_->{rcpt}[0] =~ /^(?:sent|due|linked|clone)\d/ } $catcher->mails; }

sub upgrade
{
	my ($old, $new, @options) = @_;
	my $work = "$dir/" . $new->name;
	my ($out, $err) = ('', '');

	mkdir $work;
	$old->stop;
	my $result = IPC::Run::run(
		[ "$bin/pg_upgrade", '-b', $bin, '-B', $bin, '-d', $old->data_dir, '-D', $new->data_dir,
			'-p', $old->port, '-P', $new->port, '-U', 'postgres', '-s', $ENV{TMPDIR} // '/tmp', @options ],
		'<', \undef, '>', \$out, '2>', \$err,
		init => sub { chdir $work });
	ok($result, 'pg_upgrade ' . join ' ', @options) or diag $out . $err;
	return;
}

# ---- A cluster with history and mail that is due, upgraded by copying.

my $first = mail_node('first', mail_url => $catcher->url);
add_due($first, 5, 'sent');
ok(wait_settled($first, 'sent%'), 'some mail was sent');
set_conf($first, mail_url => '');
sql($first, 'SELECT bs_seed(100)');
add_due($first, 20, 'due');
ok(wait_for(sub { sql($first, 'SELECT count(*) FROM bs_upkeep_log') eq '2' }, 'upkeep'), 'it is looked after');
my $before = sql($first, $contents);
my $second = BS::Test->new_node('second', mail_url => $catcher->url, max_lateness => '2d', mail_tls => 'off',
	database => 'postgres', mail_from => 'test@example.com', role => 'bs_worker');
upgrade($first, $second);
unlike(PostgreSQL::Test::Utils::slurp_file($_), qr/birthday_scheduler (?:scheduler|sender|publisher)/, 'no worker ran meanwhile')
  foreach grep { -f } glob $second->data_dir . '/pg_upgrade_output.d/*/log/*server*.log';
$second->start;
is(sql($second, $contents), $before, 'copied: everything is there');
$second->wait_for_log(qr/birthday_scheduler is idle: this database is a copy; bs_resume\(\) adopts it/);
is(sql($second, 'SELECT bs_installation_state()'), 'copy', 'copied: it is another cluster, so nothing is sent');
is(counts($second, 'due%'), 'SCHEDULED 20', 'copied: what was due waits');
is(heard(), 5, 'copied: the relay has heard nothing');
sql($second, 'SELECT bs_resume()');
ok(wait_settled($second, 'due%'), 'copied: bs_resume() and it goes out');
is(counts($second, 'due%'), 'SENT 20', 'copied: all of it');
is(heard(), 25, 'copied: and what was sent before is not sent again');

# ---- The same by linking; the old cluster is gone for good then.

set_conf($second, mail_url => '');
add_due($second, 7, 'linked');
sql($second, 'SELECT bs_pause()');
$before = sql($second, $contents);
my $third = BS::Test->new_node('third', mail_url => $catcher->url, max_lateness => '2d', mail_tls => 'off',
	database => 'postgres', mail_from => 'test@example.com', role => 'bs_worker');
upgrade($second, $third, '--link');
$third->start;
is(sql($third, $contents), $before, 'linked: everything is there');
is(sql($third, 'SELECT bs_installation_state()'), 'copy', 'linked: a copy as well');
sql($third, 'SELECT bs_resume()');
ok(wait_settled($third, 'linked%'), 'linked: bs_resume() and it goes out');
is(counts($third, 'linked%'), 'SENT 7', 'linked: all of it');
is(sql($third, q{SELECT count(*) FROM bs_create_partitions(14)}), 4, 'linked: months can be made');
is(sql($third, 'SELECT count(*) FROM bs_health()'), 1, 'linked: bs_health() answers');

# ---- A physical clone is the original by every identifier, as a promoted standby must
# be. Without a relay it sends nothing, and bs_pause() outlasts the relay's return.

$third->append_conf('postgresql.conf', "max_wal_senders = 4\nwal_level = replica");
$third->restart;
set_conf($third, mail_url => '');
add_due($third, 4, 'clone');
$before = sql($third, $contents);
my $so_far = heard();
$third->backup('base');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($third, 'base');
$clone->append_conf('postgresql.auto.conf', "birthday_scheduler.mail_url = ''");
$clone->start;
is(sql($clone, $contents), $before, 'clone: everything is there');
is(sql($clone, 'SELECT bs_installation_state()'), 'adopted', 'clone: nothing tells it from its original');
is(scalar(worker_pids($clone, 'sender')) > 0 ? 'yes' : 'no', 'yes', 'clone: it has senders') if wait_workers($clone, 4);
sql($clone, 'SELECT bs_pause()');
set_conf($clone, mail_url => $catcher->url);
ok(wait_for(sub { log_lines($clone, qr/idle: sending is paused/) >= 2 }, 'idle senders'), 'clone: paused, it stays silent');
is(counts($clone, 'clone%'), 'SCHEDULED 4', 'clone: what is due is the original\'s to send');
is(heard(), $so_far, 'clone: nothing was sent from it');
set_conf($third, mail_url => $catcher->url);
ok(wait_settled($third, 'clone%'), 'the original sends it');
is(heard(), $so_far + 4, 'once');

$_->stop foreach $third, $clone;
done_testing();
