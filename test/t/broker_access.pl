# Who may connect and how: passwords, virtual hosts, TLS, several brokers.  What is
# wrong is named once and without secrets, and a reload with what is right helps at
# once.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use Test::More;
use Time::HiRes qw(time);

my $dir = scratch_dir();

# A certificate for a host that is its own authority.
sub certificate
{
	my ($name, $subject) = @_;

	system('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
		'-nodes', '-days', '30', '-subj', "/CN=$name", '-addext', "subjectAltName=$subject",
		'-keyout', "$dir/$name.key", '-out', "$dir/$name.pem", '-batch') == 0
	  or die 'no certificate';
	return ("$dir/$name.pem", "$dir/$name.key");
}

my @certificate = certificate('broker', 'IP:127.0.0.1');
certificate('other', 'IP:127.0.0.1');
my @misnamed = certificate('elsewhere', 'DNS:elsewhere.example');

my $broker = BS::Broker->new('main', tls => \@certificate);
my $catcher = start_catcher("$dir/mail", '--brief');
my $node = queue_node('main', $broker, mail_url => $catcher->url);
my $good = $broker->url;
my ($place) = $good =~ m{@([^/]+)};
my $proofs = 0;

sub password_file
{
	my ($name, $content, $mode) = @_;

	open(my $file, '>', "$dir/$name.new") or die "could not write: $!";
	print $file $content;
	close $file;
	chmod $mode // 0600, "$dir/$name.new";
	rename "$dir/$name.new", "$dir/$name";
	return "$dir/$name";
}

# That it fails, is named, holds nobody's mail back for good, and that right
# settings help.
sub wrong_then_right
{
	my ($what, $pattern, $wrong, $right) = @_;
	my $prefix = 'access' . ++$proofs . 'x';
	my $offset = -s $node->logfile;

	set_conf($node, %$wrong);
	add_due($node, 5, $prefix);
	my $reason = trouble($node, $pattern, $what);
	diag "$what: ", $reason // 'nothing';
	unlike($reason // '', qr/s3cret|guest:|:guest/, "$what: without the password");
	ok( wait_for(sub { value($node, q{SELECT count(*) FROM bs_workers WHERE state = 'no broker'}) == 3 },
			'all three'),
		"$what: publisher and senders wait");
	is(counts($node, "$prefix%"), 'SCHEDULED 5', "$what: messages stay due");
	cmp_ok(log_lines($node, qr/[A-Z]+:  .*birthday_scheduler/, $offset), '<=', 9, "$what: few lines in the log");

	my $start = time;
	set_conf($node, %$right);
	each_once($node, $catcher, $prefix, 5, "$what, then right");
	my $took = time - $start;
	diag sprintf('%s, then right: sent after %.1f s', $what, $took);
	cmp_ok($took, '<', slow(10), "$what, then right: at once");
	well($node, "$what, then right");
	return;
}

well($node, 'at first');
add_due($node, 5, 'first');
each_once($node, $catcher, 'first', 5, 'at first');

# ---- Passwords and virtual hosts.

wrong_then_right('wrong password', qr/ACCESS_REFUSED/,
	{ amqp_url => "amqp://guest:wrong\@$place" }, { amqp_url => $good });
wrong_then_right('no such user', qr/ACCESS_REFUSED/,
	{ amqp_url => "amqp://nobody:s3cret\@$place" }, { amqp_url => $good });
wrong_then_right('no such virtual host', qr/NOT_ALLOWED.*nowhere|vhost nowhere/,
	{ amqp_url => "$good/nowhere" }, { amqp_url => $good });
$broker->ctl(qw(add_vhost theirs));
$broker->ctl(qw(add_user stranger s3cret));
wrong_then_right('a virtual host of others', qr/NOT_ALLOWED|refused/,
	{ amqp_url => "amqp://stranger:s3cret\@$place/theirs" }, { amqp_url => $good });
$broker->ctl(qw(set_permissions stranger ^$ ^$ ^$));
wrong_then_right('no rights', qr/ACCESS_REFUSED/,
	{ amqp_url => "amqp://stranger:s3cret\@$place" }, { amqp_url => $good });
wrong_then_right('nobody listens', qr/connect/i,
	{ amqp_url => 'amqp://127.0.0.1:1' }, { amqp_url => $good });
wrong_then_right('no such host', qr/resolve|host/i,
	{ amqp_url => 'amqp://broker.invalid' }, { amqp_url => $good });

# ---- The password in a file.

my $by_file = "amqp://s3user\@$place";
$broker->ctl(qw(add_user s3user s3cret-1));
$broker->ctl(qw(set_permissions s3user .* .* .*));
my $file = password_file('password', "s3cret-0\n");
wrong_then_right('wrong password in the file', qr/ACCESS_REFUSED/,
	{ amqp_url => $by_file, amqp_password_file => $file },
	{ amqp_password_file => password_file('right', "s3cret-1\n") });
wrong_then_right('a file that others may read', qr/password_file/,
	{ amqp_password_file => password_file('open', "s3cret-1\n", 0644) },
	{ amqp_password_file => "$dir/right" });
wrong_then_right('no such file', qr/password_file/,
	{ amqp_password_file => "$dir/nothing" }, { amqp_password_file => "$dir/right" });

# The password is changed while we work: no reload is needed.
$broker->ctl(qw(change_password s3user s3cret-2));
$broker->close_connections('the password has changed');
trouble($node, qr/ACCESS_REFUSED/, 'rotated');
add_due($node, 5, 'rotated');
password_file('right', "s3cret-2\n");
my $start = time;
each_once($node, $catcher, 'rotated', 5, 'rotated');
diag sprintf('rotated: at work again after %.1f s', time - $start);
well($node, 'rotated');

# ---- TLS.

my $tls = $broker->tls_url;
set_conf($node, amqp_url => $tls, amqp_ca_file => $certificate[0]);
well($node, 'TLS');
add_due($node, 2000, 'tls');
each_once($node, $catcher, 'tls', 2000, 'TLS');
like($broker->ctl(qw(list_connections --no-table-headers ssl)), qr/^true(?:\ntrue){2}\n?$/, 'TLS: all three connections');
wrong_then_right('another authority', qr/certificate/i,
	{ amqp_ca_file => "$dir/other.pem" }, { amqp_ca_file => $certificate[0] });
wrong_then_right('no authority', qr/certificate/i,
	{ amqp_ca_file => '' }, { amqp_ca_file => $certificate[0] });
wrong_then_right('TLS with a broker that has none', qr/TLS|SSL/i,
	{ amqp_url => $good =~ s/^amqp:/amqps:/r }, { amqp_url => $tls });
my ($tls_place) = $tls =~ m{@([^/]+)};
wrong_then_right('no TLS with a broker that wants it', qr/broker/,
	{ amqp_url => "amqp://guest:guest\@$tls_place" }, { amqp_url => $tls });

my $misnamed = BS::Broker->new('misnamed', tls => \@misnamed);
wrong_then_right('a certificate for another host', qr/certificate|host name/i,
	{ amqp_url => $misnamed->tls_url, amqp_ca_file => $misnamed[0] },
	{ amqp_url => $tls, amqp_ca_file => $certificate[0] });

# ---- Several brokers: the next one where one is down.

set_conf($node, amqp_url => join(',', 'amqp://127.0.0.1:1', $good, $misnamed->url));
well($node, 'the first of three is down');
add_due($node, 20, 'several');
each_once($node, $catcher, 'several', 20, 'the first of three is down');
$broker->stop;
add_due($node, 20, 'third');
each_once($node, $catcher, 'third', 20, 'two of three are down');
well($node, 'two of three are down');
$misnamed->stop;
trouble($node, qr/broker/, 'all three are down');
$broker->start;
add_due($node, 20, 'second');
each_once($node, $catcher, 'second', 20, 'the second is back');

unlike(server_log($node), qr/s3cret|\@example\.com|First\d/, 'the log has no secrets and names nobody');
$node->stop;
done_testing();
