# pg_upgrade, by copying and by linking, from each older server that is installed and
# from the server under test itself: all is there, nothing is sent until bs_resume(),
# then what is owed goes out. And a physical clone, which no identifier can tell from
# its original.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Cwd qw(abs_path);
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail");
my ($bin) = grep { -x "$_/pg_upgrade" } split /:/, $ENV{PATH};
# A line for each older server that tools/older_servers.sh has built: number, folder.
my @older = map { my ($number, $home) = split; [ $number, abs_path($home) ] } grep { /\S/ } split /\n/,
  -f 'build/older/servers' ? PostgreSQL::Test::Utils::slurp_file('build/older/servers') : '';
my @states = qw(SCHEDULED QUEUED SENDING RETRYING SENT FAILED CANCELLED EXPIRED);
# Of the members not the types: newer servers count those of rows and arrays, too.
my @tables = qw(users user_dates message_types message_logs message_ledger bs_upkeep_log);
my $contents = join ' UNION ALL ', map {
	"SELECT '$_ ' || count(*) || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM $_ t" } @tables;
$contents .= q{ UNION ALL SELECT 'extension ' || extversion || array_length(extconfig, 1) FROM pg_extension WHERE extname = 'birthday_scheduler'
	UNION ALL SELECT concat_ws(' ', system_identifier, database_oid, adopted_at, paused_at) FROM bs_installation
	UNION ALL SELECT 'members ' || count(*) FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
	  WHERE d.refclassid = 'pg_extension'::regclass AND deptype = 'e' AND extname = 'birthday_scheduler'
	    AND d.classid <> 'pg_type'::regclass
	UNION ALL SELECT 'indexes ' || md5(string_agg(pg_get_indexdef(indexrelid), ',' ORDER BY indexrelid::regclass::text COLLATE "C"))
	  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace
	UNION ALL SELECT 'rights ' || md5(string_agg(oid::regprocedure || proacl::text, ',' ORDER BY oid::regprocedure::text COLLATE "C")) FROM pg_proc WHERE pronamespace = 'public'::regnamespace};
my $jobs = q{SELECT string_agg(concat_ws(' ', jobid, schedule, command, database, username, active, jobname), ', ' ORDER BY jobid) FROM cron.job};

# Sample people may have their day today: only those whom the test added count.
sub heard { return scalar grep { $_->{rcpt}[0] =~ /^(?:sent|due|linked|clone|state)\d/ } $catcher->mails; }

# has_cron($node): is pg_cron there for its server?
sub has_cron { my ($node) = @_; return -f "${\ $node->config_data('--sharedir') }/extension/pg_cron.control"; }

sub preload
{
	my ($cron) = @_;

	return $cron
	  ? "shared_preload_libraries = 'birthday_scheduler, pg_cron'\ncron.use_background_workers = on\nmax_worker_processes = 24\n"
	  : '';
}

# What both clusters of an upgrade have in common; 18 has checksums by default.
sub common { return (initdb => ['--data-checksums'], conf => preload($_[0])); }

# A server like those of mail_node(), to be upgraded to.
sub target
{
	my ($name, $cron) = @_;

	return BS::Test->new_node($name, mail_url => $catcher->url, max_lateness => '2d', mail_tls => 'off',
		database => 'postgres', mail_from => 'test@example.com', role => 'bs_worker', common($cron));
}

# upgrade($old, $new, @options): false if the new server is of a minor release that
# does not know what the old one writes into its catalogs.
sub upgrade
{
	my ($old, $new, @options) = @_;
	my $work = "$dir/" . $new->name;
	my ($out, $err) = ('', '');

	mkdir $work;
	$old->stop;
	my $result = IPC::Run::run(
		[ "$bin/pg_upgrade", '-b', $old->config_data('--bindir'), '-B', $bin, '-d', $old->data_dir, '-D', $new->data_dir,
			'-p', $old->port, '-P', $new->port, '-U', 'postgres', '--no-sync', '-s', $ENV{TMPDIR} // '/tmp', @options ],
		'<', \undef, '>', \$out, '2>', \$err,
		init => sub { chdir $work });
	return 0
	  if !$result && grep { PostgreSQL::Test::Utils::slurp_file($_) =~ /unrecognized parameter "pg_attver"/ }
	  glob $new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_dump_*.log';
	ok($result, 'pg_upgrade ' . join ' ', @options) or diag $out . $err;
	unlike(PostgreSQL::Test::Utils::slurp_file($_), qr/birthday_scheduler (?:scheduler|sender|publisher)/, 'no worker ran meanwhile')
	  foreach grep { -f } glob $new->data_dir . '/pg_upgrade_output.d/*/log/*server*.log';
	$new->start;
	return 1;
}

# A cluster with people, sent mail, types of its own, mail in every state, mail that is
# due and jobs of pg_cron; no worker looks at it any more.
sub full_node
{
	my ($name, $cron, %options) = @_;
	my $node = mail_node($name, mail_url => $catcher->url, common($cron), %options);
	my $number = 0;

	add_due($node, 5, 'sent');
	ok(wait_settled($node, 'sent%'), 'some mail was sent');
	set_conf($node, mail_url => '');
	sql($node, 'SELECT bs_seed(100)');
	sql($node, q{INSERT INTO message_types (name, date_source, cadence, subject_template, text_template)
		SELECT 'OWN_' || upper(c), 'user_dates', c, 'A day of {{first_name}}', 'Zażółć, {{first_name}}' FROM unnest('{once,yearly}'::text[]) AS c;
		INSERT INTO user_dates (user_id, message_type, event_date) SELECT id, t, now()::date + 1 FROM users, unnest('{OWN_ONCE,OWN_YEARLY}'::text[]) AS t});
	add_due($node, 20, 'due');
	add_due($node, scalar @states, 'state');
	sql($node, 'CREATE EXTENSION pg_cron; SELECT count(*) FROM bs_install_cron()') if $cron;
	ok(wait_for(sub { sql($node, 'SELECT count(*) FROM bs_upkeep_log WHERE done_at IS NOT NULL') eq '2' }, 'upkeep'), 'it is looked after');
	$node->append_conf('postgresql.conf', "birthday_scheduler.database = 'none'");
	$node->restart;
	sql($node, join ';', map {
		$number++;
		"UPDATE message_logs SET status = '$_', due_at = CASE WHEN '$_' IN ('QUEUED', 'SENDING', 'RETRYING') THEN now() + interval '1 day' END,
		        claimed_by = CASE WHEN '$_' = 'SENDING' THEN 'another' END, claim_token = CASE WHEN '$_' = 'SENDING' THEN gen_random_uuid() END,
		        attempts = 1 WHERE recipient_email = 'state$number\@example.com' AND '$_' <> 'SCHEDULED'" } @states);
	is(counts($node, 'state%'), join(', ', map { "$_ 1" } sort @states), 'there is mail in every state');
	return $node;
}

# kept($node, $how, $before, $jobs_before): all is there, and it counts as a copy.
sub kept
{
	my ($node, $how, $before, $jobs_before) = @_;

	is(sql($node, $contents), $before, "$how: everything is there");
	is(sql($node, $jobs), $jobs_before, "$how: so are the jobs of pg_cron") if defined $jobs_before;
	is(sql($node, 'SELECT bs_installation_state()'), 'copy', "$how: it is another cluster, so nothing is sent");
	return;
}

# both_ways($name, %options of the old server): the last of its servers, which runs;
# none if there can be no upgrade.
sub both_ways
{
	my ($name, %options) = @_;
	my $so_far = heard();
	my $copied = "$name, copied";
	my $linked = "$name, linked";

	# ---- A cluster with history and mail that is due, upgraded by copying.

	my $probe = PostgreSQL::Test::Cluster->new("${name}_probe", %options);
	my $second = PostgreSQL::Test::Cluster->new("${name}_new_probe");
	my $cron = has_cron($probe) && has_cron($second);
	note "$name: " . ($cron ? 'with' : 'without') . ' pg_cron';
	my $first = full_node("${name}_old", $cron, %options);
	my $before = sql($first, $contents);
	my $jobs_before = $cron ? sql($first, $jobs) : undef;
	$second = target("${name}_copied", $cron);
	return if !upgrade($first, $second);
	$second->wait_for_log(qr/birthday_scheduler is idle: this database is a copy; bs_resume\(\) adopts it/);
	kept($second, $copied, $before, $jobs_before);
	is(counts($second, 'due%'), 'SCHEDULED 20', "$copied: what was due waits");
	is(heard(), $so_far + 5, "$copied: the relay has heard nothing");
	sql($second, 'SELECT bs_resume()');
	ok(wait_settled($second, 'due%'), "$copied: bs_resume() and it goes out");
	is(counts($second, 'due%'), 'SENT 20', "$copied: all of it");
	sql($second, q{UPDATE message_logs SET due_at = now() WHERE due_at IS NOT NULL AND recipient_email LIKE 'state%'; SELECT bs_wake()});
	ok(wait_settled($second, 'state%'), "$copied: what was on its way is taken up again");
	is(counts($second, 'state%'), 'CANCELLED 1, EXPIRED 1, FAILED 1, SENT 5', "$copied: and sent");
	is(heard(), $so_far + 29, "$copied: what was sent before is not sent again");
	is(sql($second, q{SELECT bs_health() #>> '{parts,upkeep,pg_cron}'}), 'alive', "$copied: pg_cron looks after the months") if $cron;
	$second->stop;

	# ---- The same cluster by linking; the old one is gone for good then.

	$first->start;
	sql($first, q{SELECT count(bs_cancel_message(id)) FROM message_logs WHERE status IN ('SCHEDULED', 'QUEUED', 'RETRYING') AND recipient_email ~ '^(due|state)'});
	add_due($first, 7, 'linked');
	sql($first, 'SELECT bs_pause()');
	$before = sql($first, $contents);
	my $third = target("${name}_linked", $cron);
	upgrade($first, $third, '--link');
	kept($third, $linked, $before, $jobs_before);
	sql($third, 'SELECT bs_resume()');
	ok(wait_settled($third, 'linked%'), "$linked: bs_resume() and it goes out");
	is(counts($third, 'linked%'), 'SENT 7', "$linked: all of it");
	is(heard(), $so_far + 36, "$linked: and nothing else");
	is(sql($third, q{SELECT count(*) FROM bs_create_partitions(14)}), 4, "$linked: months can be made");
	is(sql($third, 'SELECT count(*) FROM bs_health()'), 1, "$linked: bs_health() answers");
	return $third;
}

SKIP:
{
	skip 'no older server with its headers is installed', 1 unless @older;
}
foreach my $old (@older)
{
	my ($number, $home) = @$old;
	my $node = both_ways("from_$number", install_path => $home);
  SKIP:
	{
		skip "the minor release of the new server is too old for that of server $number", 1 unless $node;
		$node->stop;
	}
}
my $last = both_ways('same');

# ---- A physical clone is the original by every identifier, as a promoted standby must
# be. Without a relay it sends nothing, and bs_pause() outlasts the relay's return.

$last->append_conf('postgresql.conf', "max_wal_senders = 4\nwal_level = replica");
$last->restart;
set_conf($last, mail_url => '');
add_due($last, 4, 'clone');
my $before = sql($last, $contents);
my $so_far = heard();
$last->backup('base');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($last, 'base');
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
set_conf($last, mail_url => $catcher->url);
ok(wait_settled($last, 'clone%'), 'the original sends it');
is(heard(), $so_far + 4, 'once');

$_->stop foreach $last, $clone;
done_testing();
