# What bs_sender is told, by whom, and what it says to what is wrong: one clear
# message, exit code 2 for usage and 78 for settings, rights and versions.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use BS::Sender;
use File::Basename qw(dirname);
use IO::Socket::INET;
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils ();
use JSON::PP ();
use Socket qw(SOCK_DGRAM);
use Test::More;

my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail");
my $node = remote_node('main', mail_from => 'Server <server@example.org>',
	conf => "listen_addresses = '127.0.0.1'\n");
my $database = $node->connstr('postgres') . ' user=bs_remote';
my @usual = ('--database', $database, '--mail-url', $catcher->url, '--mail-tls=off');

delete $ENV{PGUSER};

sub write_conf
{
	my ($name, $text, $mode) = @_;

	open(my $file, '>', "$dir/$name") or die "could not write $name: $!";
	print $file $text;
	close $file;
	chmod $mode // 0644, "$dir/$name";
	return "$dir/$name";
}

# refused($what, $code, $pattern, @arguments): it ends so, and says that in a line.
sub refused
{
	my ($what, $code, $pattern, @arguments) = @_;
	my ($got, $out, $err) = run_sender(@arguments);
	my @lines = grep { !/ info: |--help says more/ } split /\n/, $err;

	is($got, $code, "$what: exit code $code") or diag($err);
	is(scalar(@lines), 1, "$what: one message") or diag($err);
	like($lines[0], $pattern, "$what: what it says");
	unlike($out . $err, qr/geheim/, "$what: no secret in it");
	return;
}

# ---- The command line.

my ($code, $out, $err) = run_sender('--version');
is("$code|$err", '0|', '--version');
like($out, qr/^bs_sender \(birthday_scheduler\) \d+\.\d+\.\d+$/, '--version: says which');
($code, $out, $err) = run_sender('--help');
is("$code|$err", '0|', '--help');
like($out, qr/^  $_ /m, "--help: $_") foreach qw(database mail_url queue lease listen);
# The manual page has all of them.
my $man = PostgreSQL::Test::Utils::slurp_file(dirname(__FILE__) . '/../../src/sender/bs_sender.1');
my ($list) = $out =~ /^Settings.*?\n\n(.*?)\n\n/ms;
my @names = $list =~ /^  (\w+) /mg;
cmp_ok(scalar(@names), '>=', 27, 'there are settings');
is(join(' ', grep { $man !~ /\b\Q$_\E\b/ } @names), '', 'bs_sender(1) names each');
refused('unknown flag', 2, qr/unknown argument "--mail-urk"/, '--mail-urk', 'x');
refused('a word', 2, qr/unknown argument "start"/, 'start');
refused('no value', 2, qr/"--mail-url" needs a value/, '--mail-url');
refused('the server\'s setting', 2, qr/unknown argument "--max-attempts=3"/, '--max-attempts=3');

# ---- Values, from everywhere.

refused('bad flag', 78, qr/"mail_connections" in the command line: "0"\. It must lie between 1 and 64/, '--mail-connections=0');
refused('no number', 78, qr/It must be a number, with one of the units/, '--lease', 'long');
refused('memory', 78, qr/"sender_memory" in the command line: "1MB"\. It must lie between 4096 and 2147483647 kB/, '--sender-memory', '1MB');
refused('memory without its unit', 78, qr/It must be a number, with one of the units kB, MB, GB/, '--sender-memory', '64min');
refused('NaN', 78, qr/It must lie between/, '--breaker', 'nan');
refused('unknown word', 78, qr/It must be one of: required offered off/, '--mail-tls=maybe');
refused('URL with a password', 78, qr/"mail_url" in the command line: /, '--mail-url', 'smtp://me:geheim@relay.example.com');
refused('password', 78, qr/libpq's password file/, '--database', 'host=x password=geheim');
refused('no connection string', 78, qr/as libpq takes it/, '--database', 'host=x nonsense=geheim');
refused('password of the broker', 78, qr/amqp_password_file/, '--amqp-url', 'amqp://me:geheim@broker.example.com');
refused('lease', 78, qr/"lease" \(30 s\) must be at least twice "mail_timeout" \(20000 ms\)/,
	'--lease', '30s', '--mail-timeout', '20s');
refused('listen', 78, qr/an address and a port/, '--listen', 'everywhere');
refused('no file', 78, qr{"/nowhere/conf" cannot be opened: No such file}, '--config', '/nowhere/conf');
refused('bad line', 78, qr/line 2: it must be: name = value/,
	'--config', write_conf('bad_line', "# all is well\nmail_url smtp://a b\n"));
refused('bad quotes', 78, qr/line 1: it must be: name = value/, '--config', write_conf('bad_quotes', "mail_url = 'x\n"));
refused('bad name', 78, qr/line 3: there is no setting "mail_urk"/,
	'--config', write_conf('bad_name', "lease = '1min' # a comment\n\nmail_urk = x\n"));
refused('bad value in a file', 78, qr/line 1: invalid value for "mail_from" in the file/,
	'--config', write_conf('bad_value', "mail_from = 'nobody'\n"));
{
	local $ENV{BS_SENDER_POLL_INTERVAL} = '1h';
	refused('environment', 78, qr/"poll_interval" in the environment: "1h"\. It must lie between 10 and 30000 ms/);
}

# ---- What is at the other end.

refused('no relay', 78, qr/"mail_url" is not set/, '--database', $database);
refused('open secret', 78, qr/the file of "mail_password_file" must be a plain file of mode 0600/,
	@usual, '--mail-user=me', '--mail-password-file', write_conf('open', "geheim\n", 0644));
my $taken = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1);
refused('port in use', 78, qr/"listen": the address cannot be listened on/,
	@usual, '--listen', '127.0.0.1:' . $taken->sockport);
sql($node, 'CREATE ROLE bs_stranger LOGIN');
my $stranger = $node->connstr('postgres') . ' user=bs_stranger';
refused('no rights', 78, qr/the role may not use bs_claim, bs_claim_copies, .*: SELECT bs_grant\(role, 'sender'\)/,
	@usual, '--database', $stranger);
sql($node, 'GRANT EXECUTE ON FUNCTION bs_claim, bs_claim_copies, bs_installation_state, bs_system_identifier, bs_next_due, bs_release_claims, bs_report_sender TO bs_stranger');
refused('one right less', 78, qr/the role may not use bs_record: /, @usual, '--database', $stranger);
sql($node, 'CREATE ROLE mallory; ALTER SCHEMA public OWNER TO mallory');
refused('a schema of an ordinary role', 78, qr/the schema of the extension does not belong to a superuser/, @usual);
sql($node, 'ALTER SCHEMA public OWNER TO pg_database_owner');
sql($node, 'CREATE DATABASE empty');
refused('no extension', 78, qr/not created in this database/,
	@usual, '--database', $node->connstr('empty') . ' user=bs_remote');
foreach my $version ('0.9', '9.9')
{
	sql($node, "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'birthday_scheduler'");
	refused("server side $version", 78, qr/the extension has version \Q$version\E and this is bs_sender \d/, @usual);
}
sql($node, q{UPDATE pg_extension SET extversion = bs_library_version() WHERE extname = 'birthday_scheduler'});
my $bare = BS::Test->new_node('bare', preload => 0, start => 1);
sql($bare, 'CREATE EXTENSION birthday_scheduler');
grant_sender($bare);
refused('not preloaded', 78, qr/not in shared_preload_libraries/,
	@usual, '--database', $bare->connstr('postgres') . ' user=bs_remote');
$bare->stop;

# ---- --check.

($code, $out, $err) = run_sender(@usual, '--check');
is("$code|$out|$err", "0|all is well\n|", '--check: all is well');
sql($node, 'SELECT bs_pause()');
($code, $out, $err) = run_sender(@usual, '--check');
is("$code|$err", '0|', '--check: paused is no fault');
like($out, qr/nothing would be sent now: sending is paused/, '--check: but it says so');
sql($node, 'SELECT bs_resume()');
refused('--check: no database', 78, qr/bs_sender: connection to server/, @usual, '--database', "host=$dir dbname=x", '--check');
refused('--check: no rights', 78, qr/may not use bs_record/, @usual, '--database', $stranger, '--check');
my $closed = BS::Sender::free_port();
refused('--check: no relay', 78, qr/bs_sender: the relay: /, @usual, '--mail-url', "smtp://127.0.0.1:$closed", '--check');
refused('--check: no broker', 78, qr/bs_sender: the broker: /,
	@usual, '--queue=rabbitmq', '--amqp-url', "amqp://guest\@127.0.0.1:$closed", '--check');

# ---- Who wins: flag, environment, file, server.

my $file = write_conf('order', "mail_url = '" . $catcher->url . "'\nmail_tls = off\nmail_reply_to = 'file\@example.org'\n"
	  . "database = 'host=nowhere'\nlog_format = json\n");
my $sender = BS::Sender->new($node, 'order', command => ['env', 'BS_SENDER_MAIL_REPLY_TO=environment@example.org']);
{
	no warnings 'redefine';
	local *BS::Sender::arguments = sub {
		(@{ $_[0]{command} }, 'bs_sender', "--config=$file", '--database', $database, '--poll_interval', '50ms');
	};
	my $bus = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$dir/notify") or die "no socket: $!";
	$sender->start(env => { NOTIFY_SOCKET => "$dir/notify", WATCHDOG_USEC => '20000000' });
	add_due($node, 1, 'order');
	ok(wait_settled($node, 'order%'), 'order: sent');
	my ($mail) = $catcher->mails;
	my %headers = map { lc $_->[0] => $_->[1] } @{ $mail->{headers} };
	is($headers{'reply-to'}, 'environment@example.org', 'order: the environment before the file');
	like($headers{from}, qr/server\@example\.org/, 'order: the server where nobody says anything');

	# The server's own setting changes, and is followed.
	set_conf($node, mail_from => 'Changed <changed@example.org>');
	kill 'HUP', $sender->{pid};
	ok(wait_for(sub { $sender->count_log(qr/settings loaded/) }, 'the reload'), 'SIGHUP');
	ok(wait_for(
			sub {
				my $n = $catcher->mails + 1;
				add_due($node, 1, "again$n-");
				wait_settled($node, "again$n-%");
				return grep { $_->[1] =~ /changed\@/ } @{ ($catcher->mails)[-1]{headers} };
			},
			'the change', 40),
		'order: a change of the server is followed');
	is($sender->stop, 0, 'order: it ends as asked');

	my $heard = '';
	$bus->blocking(0);
	while (defined $bus->recv(my $datagram, 1000)) { $heard .= "$datagram\n"; }
	like($heard, qr/^READY=1$/m, 'sd_notify: ready');
	like($heard, qr/^RELOADING=1\nMONOTONIC_USEC=\d+$/m, 'sd_notify: reloading');
	like($heard, qr/^STOPPING=1$/m, 'sd_notify: stopping');
	like($heard, qr/^WATCHDOG=1$/m, 'sd_notify: alive');
}
my @lines = map { eval { JSON::PP->new->decode($_) } // { time => "no JSON: $_" } } grep { !/bs_sender .* begins/ } split /\n/, $sender->log;
cmp_ok(scalar(@lines), '>=', 3, 'log_format = json: lines');
is(scalar(grep { $_->{time} !~ /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/ || !$_->{message} } @lines), 0, 'each is one');

# ---- libpq's own files: a service, a password, TLS that is verified.

IPC::Run::run([ 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', '-subj', '/CN=localhost',
		'-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', $node->data_dir . '/server.key', '-out', $node->data_dir . '/server.crt' ],
	'>', '/dev/null', '2>', '/dev/null') or die 'openssl failed';
chmod 0600, $node->data_dir . '/server.key';
unlink $node->data_dir . '/pg_hba.conf';
$node->append_conf('pg_hba.conf', "local all all trust\nhostssl all bs_remote 127.0.0.1/32 scram-sha-256\n");
$node->append_conf('postgresql.conf', "ssl = on\npassword_encryption = 'scram-sha-256'\n");
$node->restart;
sql($node, q{ALTER ROLE bs_remote PASSWORD 'geheim'});
write_conf('service.conf', "[birthday]\nhost=127.0.0.1\nport=" . $node->port
	  . "\ndbname=postgres\nuser=bs_remote\nsslmode=verify-full\nsslrootcert=" . $node->data_dir . "/server.crt\n");
write_conf('pass', '127.0.0.1:' . $node->port . ":postgres:bs_remote:geheim\n", 0600);
{
	local $ENV{PGSERVICEFILE} = "$dir/service.conf";
	local $ENV{PGPASSFILE} = "$dir/pass";
	($code, $out, $err) = run_sender('--database=service=birthday', '--mail-url', $catcher->url, '--mail-tls=off', '--check');
	is("$code|$out|$err", "0|all is well\n|", 'service, password file and verified TLS');
	my $remote = BS::Sender->new($node, 'tls', database => 'service=birthday', mail_url => $catcher->url)->start;
	is( sql($node, q{SELECT bool_and(s.ssl), count(*) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
			WHERE a.application_name = 'bs_sender'}),
		't|1', 'its one connection is encrypted');
	add_due($node, 3, 'tls');
	ok(wait_settled($node, 'tls%'), 'tls: settled');
	is(counts($node, 'tls%'), 'SENT 3', 'tls: sent');
	is($remote->stop, 0, 'tls: ended');
	write_conf('pass', '127.0.0.1:' . $node->port . ":postgres:bs_remote:wrong\n", 0600);
	refused('wrong password', 78, qr/password authentication failed/, '--database=service=birthday', '--mail-url', $catcher->url, '--check');
}

# ---- A database that is not there yet is waited for.

$node->stop;
my $early = BS::Sender->new($node, 'early', mail_url => $catcher->url)->start(wait => 0);
ok(wait_for(sub { $early->count_log(qr/error: connection to server/) }, 'the first attempt'), 'no database: it says so');
$node->start;
ok(wait_for(sub { $early->count_log(qr/at work/) }, 'it to begin'), 'no database: it begins when there is one');
is($early->stop, 0, 'and ends as asked');

unlike(join('', map { $_->log } $sender, $early), qr/\@example\.com|First\d|geheim/, 'the logs name nobody');
$node->stop;
done_testing();
