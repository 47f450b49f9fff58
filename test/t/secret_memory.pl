# Passwords in memory: only the process that logs in has one, in libcurl's handles, and
# it has none any more once it does not use it: a core dump cannot show what is not there.
#
# Needs what a debugger needs: to read the memory of a process of the same user.

use strict;
use warnings;
no warnings 'portable';    # addresses have more than 32 bits

use BS::Delivery;
use BS::Test;
use PostgreSQL::Test::Utils ();
use Test::More;

my $dir = scratch_dir();
# Made up afresh, and put together late: this program is searched as well, to see that
# the search finds something.
my %secret = map { $_ => join('-', 'canary', $_, $$, int(rand(1e9))) } qw(password header broker);
my $catcher = start_catcher("$dir/mail", '--auth', "mailer:$secret{password}");

# How often it is in the memory of a process; undef where that cannot be read.
sub found_in
{
	my ($pid, $what) = @_;
	my ($count, $read) = (0, 0);

	open(my $maps, '<', "/proc/$pid/maps") or return;
	my @ranges = map { m/^([0-9a-f]+)-([0-9a-f]+) rw/ ? [ hex $1, hex $2 ] : () } <$maps>;
	close $maps;
	open(my $memory, '<:raw', "/proc/$pid/mem") or return;
	foreach my $range (@ranges)
	{
		# The shared buffers hold no settings; they are the large part.
		my ($from, $to) = @$range;
		my $octets;
		sysseek($memory, $from, 0) or next;
		while ($from < $to)
		{
			my $got = sysread($memory, $octets, $to - $from > 1 << 24 ? 1 << 24 : $to - $from) or last;
			$read += $got;
			$from += $got;
			$count += () = $octets =~ /\Q$what\E/g;
		}
	}
	close $memory;
	return $read ? $count : undef;
}

plan(skip_all => 'the memory of another process cannot be read here') unless defined found_in($catcher->{pid}, 'x');
cmp_ok(found_in($$, $secret{password}), '>', 0, 'the search finds what is there');

sub secret_file
{
	my ($name) = @_;

	PostgreSQL::Test::Utils::append_to_file("$dir/$name", ($name eq 'header' ? 'Authorization: Bearer ' : '') . "$secret{$name}\n");
	chmod 0600, "$dir/$name";
	return "$dir/$name";
}

my $node = mail_node('main', senders => 1, mail_url => $catcher->url, mail_user => 'mailer', mail_password_file => secret_file('password'));
my ($scheduler) = worker_pids($node, 'scheduler');
my $session = $node->background_psql('postgres');
my $backend = $session->query_safe('SELECT pg_backend_pid()');
my ($postmaster) = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
sub sender { return (worker_pids($node, 'sender'))[0]; }

# The words of a login as they go over the line.
sub forms
{
	my ($name) = @_;

	require MIME::Base64;
	return ($secret{$name}) if $name ne 'password';
	return ($secret{$name}, MIME::Base64::encode_base64("\0mailer\0$secret{$name}", ''), MIME::Base64::encode_base64($secret{$name}, ''));
}

sub total
{
	my ($pid, $name) = @_;
	my $sum = 0;

	$sum += found_in($pid, $_) foreach forms($name);
	return $sum;
}

# ---- It has been used for mail.

add_due($node, 20, 'smtp');
ok(wait_settled($node, 'smtp%'), 'mail goes out');
is(counts($node, 'smtp%'), 'SENT 20', 'by a login');
note 'in the sender: ' . total(sender(), 'password');
is(total($_->[1], 'password'), 0, "$_->[0] does not have the password") foreach [ 'the postmaster', $postmaster ], [ 'the scheduler', $scheduler ], [ 'a session', $backend ];
$session->quit;

# ---- Another way to send.

my $sender = sender();
set_conf($node, mail_url => $catcher->url('http'), mail_user => '', mail_password_file => '', http_headers_file => secret_file('header'));
add_due($node, 20, 'http');
ok(wait_settled($node, 'http%'), 'mail goes out by HTTP');
is(sender(), $sender, 'the sender is the same process');
is(total($sender, 'password'), 0, 'and has the password no more');
note 'in the sender: ' . total(sender(), 'header');
set_conf($node, http_headers_file => undef);
add_due($node, 20, 'plain');
ok(wait_settled($node, 'plain%'), 'mail goes out without the header');
is(sender(), $sender, 'the sender is still the same process');
is(total($sender, 'header'), 0, 'and has the header no more');

# ---- Settings that make no relay: secrets that were read for it are wiped, whichever
# check fails after they were read.

my $many = "$dir/many_headers";
PostgreSQL::Test::Utils::append_to_file($many, "Authorization: Bearer $secret{header}\n" . join('', map { "X-Line-$_: y\n" } 1 .. 40));
chmod 0600, $many;
my $open = "$dir/open_header";
PostgreSQL::Test::Utils::append_to_file($open, "Authorization: Bearer $secret{header}\n");
chmod 0644, $open;
foreach my $case ([ $many, 'has more than' ], [ $open, 'must be a plain file' ])
{
	my ($file, $words) = @$case;
	my $to = 'again_' . length $words;

	set_conf($node, mail_url => $catcher->url('http'), mail_user => 'mailer', mail_password_file => "$dir/password", http_headers_file => $file);
	ok(wait_for(sub { sql($node, "SELECT state || last_error FROM bs_worker_stats() WHERE worker = 'sender 1'") =~ /^no relay.*$words/ }, 'the settings to be refused'),
		"a file of headers that $words ...");
	is(sender(), $sender, 'the sender is the same process');
	is(total($sender, $_), 0, "and has no $_ in memory") foreach qw(password header);
	set_conf($node, mail_url => $catcher->url, mail_user => '', mail_password_file => '', http_headers_file => '');
	add_due($node, 1, $to);
	ok(wait_settled($node, "$to%"), 'without it the sender works');
}

# ---- The password of a broker, with settings of more than a kilobyte: a buffer that grows
# leaves its old octets behind.

my $urls = join(',', map { "amqp://user\@127.0.0.1:1/" . $_ x 88 } 1 .. 8);
set_conf($node, amqp_url => $urls, amqp_password_file => secret_file('broker'), queue => 'rabbitmq', amqp_exchange => 'x' x 200);
ok(wait_for(sub { sql($node, "SELECT state FROM bs_worker_stats() WHERE worker = 'sender 1'") eq 'no broker' }, 'the sender to miss the broker'), 'a broker that is not there');
set_conf($node, queue => undef, amqp_password_file => undef);
add_due($node, 1, 'without');
ok(wait_settled($node, 'without%'), 'the sender works without it');
is(sender(), $sender, 'the sender is the same process');
is(total($sender, 'broker'), 0, 'and has the password of the broker no more');

$node->stop;
done_testing();
