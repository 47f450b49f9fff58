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
my %secret = map { $_ => join('-', 'canary', $_, $$, int(rand(1e9))) } qw(password header);
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
	return ($secret{$name}) if $name eq 'header';
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

$session->quit;
$node->stop;
done_testing();
