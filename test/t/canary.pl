# What is secret, and who is mailed, is looked for wherever it could come to light:
# by names and words that stand nowhere else.

use strict;
use warnings;

use BS::Amqp;
use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use File::Find ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = scratch_dir();
# Passwords: in files, changed while at work; in a header; one in a URL, which is
# refused.
my $secret = qr/canary-(?:url|new|file|header|typo)-4711/;
# People: name, address, place, and words of the letter.
my $person = qr/Kanarienvogel|Zwölfender|kanari\d*\@|Vogelheim|tirilieren/i;

my $broker = BS::Broker->new('main');
my $catcher = start_catcher("$dir/mail");
my ($place) = $broker->url =~ m{@([^/]+)};
$broker->ctl(qw(add_user birdie canary-url-4711));
$broker->ctl(qw(set_permissions birdie .* .* .*));

sub secret_file
{
	my ($name, $content) = @_;

	open(my $file, '>', "$dir/$name") or die "could not write: $!";
	print $file "$content\n";
	close $file;
	chmod 0600, "$dir/$name";
	return "$dir/$name";
}

my $node = queue_node('main', $broker, mail_url => '',
	http_headers_file => secret_file('headers', 'Authorization: Bearer canary-header-4711'),
	conf => 'log_min_messages = debug1');
set_conf($node, amqp_url => "amqp://birdie:canary-url-4711\@$place");
well($node, 'the password in a file');
sql($node, q{UPDATE message_types SET text_template = 'Wir tirilieren, {{full_name}} in {{city}}', subject_template = 'Tirilieren, {{first_name}}'});
sql($node, q{CREATE ROLE bob LOGIN; CREATE ROLE reader LOGIN; SELECT bs_grant('reader', 'reader')});

sub add_people
{
	my ($prefix, $count) = @_;

	return add_due($node, $count, $prefix, first_name => "'Kanarienvogel' || n", last_name => "'Zwölfender'", location_city => "'Vogelheim'");
}

# ---- The broker gets ids and times.

add_people('kanari1', 5);
wait_count($node, 'kanari1%', 'QUEUED 5');
my $amqp = BS::Amqp->new($broker->url);
my $letter = $amqp->get($QUEUE, keep => 1);
if (!defined $letter)
{
	# The senders hold them: what is published is what they would have read.
	set_conf($node, mail_url => undef);
	$letter = $amqp->get($QUEUE, keep => 1);
}
ok(defined $letter, 'a copy is in the queue') or BAIL_OUT('no copy');
# A whole dump in a diagnosis helps nobody.
sub without
{
	my ($text, $pattern, $what) = @_;
	my @lines = grep { /$pattern/ } split /\n/, $text;

	ok(!@lines, $what) or diag join "\n", map { substr $_, 0, 300 } @lines;
	return;
}

my $whole = join ' ', map { $_ // '' } %$letter;
without($whole, $person, 'a copy names nobody');
without($whole, $secret, 'and holds no secret');
like($letter->{body}, qr/^\{"version":1,"installation":"[\d\/]+","id":"[-0-9a-f]{36}","send_time":"[-\d:T.Z]+"\}$/, 'a copy holds ids and times, and nothing else');
$amqp->close;

# ---- Mail goes out, some is refused by an API that says whom and why.

write_script($catcher, { rules => [
	map { ({ phase => 'http', email => "kanari2$_*", status => 400, body => "no such person: <kanari2$_\@example.com>" },
		{ phase => 'http', email => "kanari3$_*", status => 503, body => "later, KANARI3$_\@example.com", times => 1 }) } 1 .. 3 ] });
set_conf($node, mail_url => $catcher->url('http') . '/send');
add_people("kanari$_", 3) foreach 2, 3;
ok(wait_settled($node, 'kanari%', 60), 'all is settled');
is(counts($node, 'kanari%'), 'FAILED 3, SENT 8', 'sent, sent later and refused');
like(($catcher->api_calls)[0]{headers}{authorization} // '', qr/canary-header-4711/, 'the header is sent');
without(sql($node, q{SELECT string_agg(concat_ws(' ', api_response_body, error_message, status_reason), ' ') FROM message_logs}), qr/kanari\d+\@/,
	'what the API said is kept without the address');

# ---- Passwords change, are mistyped, and come by file.

$broker->ctl(qw(change_password birdie canary-new-4711));
set_conf($node, amqp_url => "amqp://birdie:canary-new-4711\@$place");
well($node, 'another password');
$node->append_conf('postgresql.conf', "birthday_scheduler.amqp_url = 'amqp://birdie:canary-typo-4711\@$place'\n");
sql($node, 'ALTER SYSTEM RESET birthday_scheduler.amqp_url');
my $offset = -s $node->logfile;
$node->reload;
$node->wait_for_log(qr/invalid value for parameter "birthday_scheduler.amqp_url"/, $offset);
$node->append_conf('postgresql.conf', "birthday_scheduler.amqp_url = 'amqp://birdie\@$place'\n");
$broker->ctl(qw(change_password birdie canary-file-4711));
set_conf($node, amqp_password_file => secret_file('password', 'canary-file-4711'));
well($node, 'a third one');
like(server_log($node), qr/DETAIL:  A password belongs into the file of amqp_password_file\.$/m, 'the log says where a password belongs');
add_people('kanari4', 3);
ok(wait_settled($node, 'kanari4%', 60), 'and mail goes out');
chmod 0644, "$dir/password";
$broker->close_connections('once more');
trouble($node, qr/password_file/, 'a file that others can read');
chmod 0600, "$dir/password";
well($node, 'closed to others again', 60);

# ---- Errors of functions repeat neither name nor address.

my $errors = '';
foreach my $call (
	q{SELECT bs_add_user('Kanarienvogel', 'Zwölfender', 'kanari41@example.com', 'UTC')},
	q{SELECT bs_add_user(E'Kanarienvogel\n', 'Zwölfender', 'kanari51@example.com', 'UTC')},
	q{SELECT bs_add_user(repeat('Kanarienvogel', 20), 'Zwölfender', 'kanari51@example.com', 'UTC')},
	q{SELECT bs_add_user('Kanarienvogel', 'Zwölfender', 'kanari51@example..com', 'UTC')},
	q{SELECT bs_add_user('Kanarienvogel', 'Zwölfender', 'kanari51@example.com', 'UTC', '3000-01-01')},
	q{SELECT bs_update_user(id, '{"email": "kanari42@example.com"}') FROM users WHERE email = 'kanari41@example.com'},
	q{SELECT bs_cancel_message(id) FROM message_logs WHERE recipient_email = 'kanari41@example.com'})
{
	my ($out, $err) = ('', '');
	$node->psql('postgres', $call, stdout => \$out, stderr => \$err);
	# psql shows the line of the caller as well.
	$errors .= join "\n", grep { !/^LINE|^\s*\^/ } split /\n/, "$out$err\n";
}
like($errors, qr/ERROR.*ERROR.*ERROR.*ERROR.*ERROR/s, 'errors');
without($errors, $person, 'which repeat nobody');

# ---- Where everybody, and where readers can look.

my $views = join ' UNION ALL ', map { "SELECT string_agg(t::text, ' ') FROM $_ t" } qw(pg_settings pg_stat_activity pg_db_role_setting pg_roles pg_stat_ssl pg_locks pg_prepared_statements pg_cursors);
my $more = join ' UNION ALL ', map { "SELECT string_agg(t::text, ' ') FROM $_ t" } qw(bs_workers bs_status bs_daily bs_upkeep_log bs_installation), 'bs_metrics()', 'bs_broker_stats()', 'bs_worker_stats()', 'bs_health()';
foreach my $case ([ 'bob', $views ], [ 'reader', "$views UNION ALL $more" ])
{
	my ($role, $query) = @$case;
	my ($out, $err) = ('', '');
	$node->psql('postgres', $query, extra_params => [ '-U', $role ], stdout => \$out, stderr => \$err);
	is($err, '', "$role can look");
	cmp_ok(length $out, '>', 1000, "$role sees much");
	without($out, $secret, "$role sees no secret");
	without($out, $person, "nor who is mailed");
	$node->psql('postgres', "SHOW birthday_scheduler.$_", extra_params => [ '-U', $role ], stdout => \$out, stderr => \$err),
	  like($err, qr/must be superuser or have privileges/, "$role cannot ask for $_") foreach qw(amqp_url amqp_password_file mail_user mail_password_file http_headers_file);
}

# Command lines and environments of all processes.
my $processes = '';
foreach my $pid (grep { /^\d+$/ } map { s{^/proc/}{}r } glob '/proc/[0-9]*')
{
	foreach my $file (qw(cmdline environ comm))
	{
		open(my $in, '<:raw', "/proc/$pid/$file") or next;
		local $/;
		$processes .= (readline($in) // '') . "\n";
	}
}
# rabbitmqctl of this test had them, and has ended.
like($processes, qr/birthday_scheduler publisher/, 'our processes are among them');
without($processes, $secret, 'no process shows a secret');
without($processes, $person, 'nor who is mailed');

# What goes to other places.
my $dump = '';
IPC::Run::run([ 'pg_dumpall', '-h', $node->host, '-p', $node->port ], '>', \$dump);
like($dump, qr/kanari41\@example\.com/, 'the dump has the people');
without($dump, $secret, 'and no secrets');
my $connections = $broker->ctl(qw(list_connections name user client_properties)) . $broker->ctl(qw(list_queues name arguments)) . $broker->ctl(qw(list_consumers));
like($connections, qr/birthday_scheduler/, 'the broker knows who is connected');
without($connections, $secret, 'and shows no secret');
without("$connections@{[ $broker->log ]}", $person, 'nor who is mailed, in its log neither');

# The server log, at debug1, and every file of the server but where they belong.
my $log = server_log($node);
utf8::decode($log);
without($log, $secret, 'the server log has no secret');
without(join('', grep { !/STATEMENT:|CONTEXT:|DETAIL:  Failing row|^\t/ } split /^/, $log), $person, 'nor names it anybody but in statements that failed');
# The files of the server that have it.
sub files_with
{
	my ($pattern) = @_;
	my @found;

	sql($node, 'CHECKPOINT');
	File::Find::find({ no_chdir => 1, wanted => sub {
		return unless -f $_ && !m{/postgresql(?:\.auto)?\.conf$|/pg_wal/};
		open(my $in, '<:raw', $_) or return;
		local $/;
		push @found, s{^.*/pgdata/}{}r if (readline($in) // '') =~ $pattern;
	} }, $node->data_dir);
	return @found;
}
is_deeply([ files_with($secret) ], [], 'no file of the data directory has a secret, but for the configuration');

# ---- Who is purged is gone: from the dump, and from the files once they are rewritten.

my $purged = qr/Kanarienvogel|kanari\d+\@/;
isnt(scalar(files_with($purged)), 0, 'people are in the files');
sql($node, 'SELECT bs_purge_user(id) FROM users');
sql($node, 'VACUUM (FULL, ANALYZE)');
IPC::Run::run([ 'pg_dumpall', '-h', $node->host, '-p', $node->port ], '>', \$dump);
like($dump, qr/tirilieren/, 'purged: there is a dump');
without($dump, $purged, 'purged: nobody is in it');
$node->restart;
is_deeply([ files_with($purged) ], [], 'purged: nor in any file of the tables');

$node->stop;
done_testing();
