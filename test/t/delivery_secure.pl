# TLS and login: what is not safe is not sent, and no secret shows anywhere.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;

my $dir = scratch_dir();
my $canary = 'canary-Zwölf-4711';

sub openssl
{
	my @command = ('openssl', @_);
	my ($out, $err);

	IPC::Run::run(\@command, '>', \$out, '2>', \$err)
	  or die "openssl @_ failed: $err";
	return;
}

# An authority, and a certificate from it for "localhost".
sub make_authority
{
	my ($name) = @_;

	openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
		'-nodes', '-days', '2', '-subj', "/CN=Test authority $name",
		'-keyout', "$dir/$name.key", '-out', "$dir/$name.crt");
	return "$dir/$name.crt";
}

sub make_certificate
{
	my ($authority, $name) = @_;

	openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
		'-nodes', '-subj', "/CN=$name",
		'-keyout', "$dir/relay.key", '-out', "$dir/relay.csr");
	PostgreSQL::Test::Utils::append_to_file("$dir/relay.ext",
		"subjectAltName=DNS:$name\n");
	openssl('x509', '-req', '-in', "$dir/relay.csr", '-days', '2',
		'-CA', "$dir/$authority.crt", '-CAkey', "$dir/$authority.key",
		'-CAcreateserial', '-extfile', "$dir/relay.ext", '-out', "$dir/relay.crt");
	return;
}

my $ca = make_authority('right');
my $other_ca = make_authority('wrong');
make_certificate('right', 'localhost');

my $plain = start_catcher("$dir/plain");
my $secure = start_catcher("$dir/secure", '--tls-cert', "$dir/relay.crt",
	'--tls-key', "$dir/relay.key", '--smtp-port', 0, '--smtps-port', 0,
	'--https-port', 0, '--auth', "mailer:$canary");

# The certificate is for a name; 127.0.0.1 is reached by it.
sub named { my ($url) = @_; $url =~ s/127\.0\.0\.1/localhost/; return $url; }

my $password = "$dir/password";
PostgreSQL::Test::Utils::append_to_file($password, "$canary\n");
chmod 0600, $password;

my $node = mail_node('main', mail_tls => 'required', mail_url => $plain->url,
	conf => 'log_min_messages = debug1');

# So many have failed for trouble with the relay, and why.
sub wait_trouble
{
	my ($prefix, $reason, $what) = @_;

	ok( wait_for(
			sub { (row($node, "${prefix}1\@example.com")->{attempts} // 0) >= 1
				  && row($node, "${prefix}1\@example.com")->{status} eq 'RETRYING' },
			"$prefix to fail"),
		"$what: not sent");
	my $row = row($node, "${prefix}1\@example.com");
	is($row->{status_reason}, 'trouble', "$what: tried again later");
	like(join(' ', $row->{error_message} // '', $row->{api_response_body} // ''),
		$reason, "$what: the row says why");
	return;
}

# ---- A relay without STARTTLS gets nothing where TLS is required, and what it
# does not get goes out once it can.

add_due($node, 1, 'tls');
wait_trouble('tls', qr/STARTTLS|TLS|SSL/i, 'no STARTTLS');
is(scalar($plain->mails), 0, 'no STARTTLS: nothing arrived');

# ---- A certificate counts only if its authority and its name are right.

set_conf($node, mail_url => named($secure->url), mail_user => 'mailer',
	mail_password_file => $password);
add_due($node, 1, 'system');
wait_trouble('system', qr/certificate|SSL/i, 'unknown authority');
set_conf($node, mail_ca_file => $other_ca);
add_due($node, 1, 'other');
wait_trouble('other', qr/certificate|SSL/i, 'wrong authority');
set_conf($node, mail_ca_file => $ca, mail_url => $secure->url);
add_due($node, 1, 'name');
wait_trouble('name', qr/certificate|127\.0\.0\.1|SSL/i, 'wrong name');
is(scalar($secure->mails), 0, 'nothing arrived so far');

set_conf($node, mail_url => named($secure->url));
ok(wait_settled($node, '%'), 'right name and authority: all is sent');
is(counts($node, '%'), 'SENT 4', 'each of them');
is_deeply([ map { $_->{tls} ? 1 : 0 } $secure->mails ], [ 1, 1, 1, 1 ], 'encrypted');

set_conf($node, mail_url => named($secure->url('smtps')));
add_due($node, 1, 'smtps');
ok(wait_settled($node, 'smtps%'), 'smtps: settled');
is(counts($node, 'smtps%'), 'SENT 1', 'smtps: sent');
set_conf($node, mail_url => named($secure->url('https')));
add_due($node, 1, 'https');
ok(wait_settled($node, 'https%'), 'https: settled');
is(counts($node, 'https%'), 'SENT 1', 'https: sent');
is(($secure->api_calls)[0]{headers}{authorization} =~ /^Basic / ? 1 : 0, 1, 'https: with the login');
set_conf($node, mail_url => named($secure->url('https')), mail_ca_file => $other_ca);
add_due($node, 1, 'badweb');
wait_trouble('badweb', qr/certificate|SSL/i, 'https, wrong authority');

# ---- The password comes from a file that nobody else can read, or not at all.

set_conf($node, mail_url => named($secure->url), mail_ca_file => $ca);
ok(wait_settled($node, '%'), 'back to the relay');
my $offset = -s $node->logfile;
chmod 0644, $password;
set_conf($node);
add_due($node, 1, 'open');
$node->wait_for_log(qr/mail_password_file" must be a plain file of mode 0600/, $offset);
like( sql($node, "SELECT string_agg(last_error, ' ') FROM bs_worker_stats()"),
	qr/must be a plain file of mode 0600/, 'an open file is refused, and bs_workers says so');
is(sql($node, q{SELECT concat_ws(' ', r ->> 'status', r ->> 'last_error') FROM (SELECT bs_health() #> '{parts,relay}' AS r) h}), 'error settings',
	'bs_health() says that the settings make no relay');
is(counts($node, 'open%'), 'SCHEDULED 1', 'nothing is sent');
unlink $password;
set_conf($node);
ok( wait_for(
		sub { sql($node, "SELECT string_agg(last_error, ' ') FROM bs_worker_stats()")
			  =~ /cannot be opened: No such file/ },
		'the missing file'),
	'a missing file is told from an open one');

# A wrong password is trouble with the relay, not the fault of a message.
PostgreSQL::Test::Utils::append_to_file($password, "wrong\n");
chmod 0600, $password;
set_conf($node);
wait_trouble('open', qr/535|denied|Login|authentic/i, 'wrong password');
PostgreSQL::Test::Utils::append_to_file("$password.new", "$canary\n");
chmod 0600, "$password.new";
rename "$password.new", $password;
set_conf($node);
ok(wait_settled($node, 'open%'), 'the right password: settled');
is(counts($node, 'open%'), 'SENT 1', 'the right password: sent');

# Where TLS is only offered, a password still waits for it.
set_conf($node, mail_tls => 'offered', mail_url => $plain->url);
add_due($node, 1, 'strip');
wait_trouble('strip', qr/STARTTLS|TLS|SSL/i, 'offered, with a password');
set_conf($node, mail_tls => 'required', mail_url => named($secure->url));
ok(wait_settled($node, 'strip%'), 'offered, with a password: sent where there is TLS');

# ---- Where the secret is not: log, settings, activity, dump.

sql($node, q{CREATE ROLE bob LOGIN; SELECT bs_grant('bob', 'reader')});
my $bob = sub {
	my ($out, $err) = ('', '');
	$node->psql('postgres', $_[0], extra_params => [ '-U', 'bob' ],
		stdout => \$out, stderr => \$err);
	return "$out$err";
};
is($bob->(q{SELECT count(*) FROM pg_settings WHERE name ~ 'birthday.*(mail_user|_file)' AND name !~ 'ca_file'}),
	0, 'a plain user does not see who logs in, nor where the secrets are');
like($bob->('SHOW birthday_scheduler.mail_user'), qr/must be superuser|permission denied/,
	'SHOW neither');
unlike($bob->('SELECT * FROM pg_settings'), qr/canary|mailer/, 'pg_settings has no login');
unlike($bob->('SELECT * FROM pg_stat_activity'), qr/canary|mailer/, 'nor has pg_stat_activity');
unlike($bob->('SELECT bs_health(); SELECT * FROM bs_workers'), qr/canary|mailer/, 'nor has bs_health()');
my $dump;
IPC::Run::run([ 'pg_dumpall', '-h', $node->host, '-p', $node->port ], '>', \$dump);
like($dump, qr/tls1\@example\.com/, 'there is a dump');
unlike($dump, qr/canary/, 'which has no password');
unlike(server_log($node), qr/canary/, 'nor has the log, at debug1');
unlike(server_log($node), qr/\@example\.com|First\d/, 'which names nobody either');

$node->stop;
done_testing();
