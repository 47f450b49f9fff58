# BS::Proxy - a TCP proxy on 127.0.0.1 between a client and a server, which loses
# on demand what a network may lose.
#
#   my $proxy = BS::Proxy->new($broker->port);
#   ... connect to $proxy->port ...
#   $proxy->set(now => 'mute');                  # half-open, and new ones pass
#   $proxy->set(now => 'mute', later => 'mute'); # a network that is down
#   $proxy->set(now => 'cut', later => 'pass');  # a reset, and all is well
#
# What becomes of a connection: "pass"; "mute", nothing is read any more on either
# side and nothing is closed; "deaf", everything is read on both sides and thrown
# away; "lose_up" and "lose_down", the same for what the client and the server say
# alone; "cut", it is reset.  But for "cut" that stays so for its life: nobody can
# go on where octets are missing.

package BS::Proxy;

use strict;
use warnings;

use BS::Test;
use Carp;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER SOCK_STREAM AF_UNIX PF_UNSPEC);

my $owner = $$;
my %running;    # pid => 1

sub new
{
	my ($class, $target) = @_;
	my $listener = IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		Listen => 64,
		ReuseAddr => 1) or croak "could not listen: $!";
	socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
	  or croak "could not make a pair of sockets: $!";
	my $pid = fork() // croak "could not fork: $!";

	if ($pid == 0)
	{
		close $ours;
		$SIG{PIPE} = 'IGNORE';
		$SIG{TERM} = $SIG{INT} = $SIG{HUP} = 'DEFAULT';
		eval { serve($listener, $theirs, $target); };
		POSIX::_exit(0);
	}
	close $theirs;
	$running{$pid} = 1;
	return bless {
		pid => $pid,
		port => $listener->sockport,
		control => $ours }, $class;
}

sub port { return $_[0]{port}; }

# set(now => $mode, later => $mode): for the connections that there are, and for
# those to come; what is left out stays.  How many connections there were.
sub set
{
	my ($self, %modes) = @_;

	syswrite($self->{control}, join(' ', map { $modes{$_} // '-' } qw(now later)) . "\n");
	my $answer = readline($self->{control}) // croak 'the proxy is gone';
	chomp $answer;
	return $answer;
}

# How many connections there are.
sub connections { return $_[0]->set; }

sub stop
{
	my ($self) = @_;

	BS::Test::end_process($self->{pid});
	delete $running{ $self->{pid} };
	return;
}

END
{
	my $code = $?;

	if ($$ == $owner)
	{
		BS::Test::end_process($_) foreach keys %running;
	}
	$? = $code;
}

# ---- the process -------------------------------------------------------------

# Ends when the test does.
sub serve
{
	my ($listener, $control, $target) = @_;
	my $later = 'pass';
	my %links;      # fileno of the client => { client, server, mode, up, down }

	for (;;)
	{
		my ($reading, $writing) = (IO::Select->new($control), IO::Select->new);

		$reading->add($listener) unless $later eq 'mute';
		foreach my $link (values %links)
		{
			next if $link->{mode} eq 'mute';
			$reading->add($link->{client}) if $link->{up} eq '';
			$reading->add($link->{server}) if $link->{down} eq '';
			$writing->add($link->{server}) if $link->{up} ne '';
			$writing->add($link->{client}) if $link->{down} ne '';
		}
		my ($readable, $writable) = IO::Select->select($reading, $writing);
		my %ready = map { $_ => 1 } map { fileno $_ } @{ $readable // [] }, @{ $writable // [] };

		if ($ready{ fileno $control })
		{
			my $line = readline($control) // return;
			my ($now, $new) = $line =~ /^(\S+) (\S+)$/ or return;
			my $count = keys %links;

			foreach my $id (keys %links)
			{
				next if $now eq '-';
				$links{$id}{mode} = $now if $links{$id}{mode} eq 'pass';
				end_link($links{$id}, 1), delete $links{$id} if $now eq 'cut';
			}
			$later = $new if $new ne '-';
			syswrite($control, "$count\n");
			next;
		}
		if ($ready{ fileno $listener } and my $client = $listener->accept)
		{
			my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $target);
			my $link = {
				client => $client,
				server => $server,
				mode => $later,
				up => '',
				down => '' };

			if (!$server or $later eq 'cut')
			{
				end_link($link, 1);
			}
			else
			{
				$_->blocking(0) foreach $client, $server;
				$links{ fileno $client } = $link;
			}
		}
		foreach my $id (keys %links)
		{
			my $link = $links{$id};

			next if $link->{mode} eq 'mute';
			unless (move($link, \%ready, 'client', 'server', 'up')
				and move($link, \%ready, 'server', 'client', 'down'))
			{
				end_link($link, 0);
				delete $links{$id};
			}
		}
	}
}

# One direction, as far as it goes without waiting; false where a side has ended.
sub move
{
	my ($link, $ready, $from, $to, $way) = @_;
	my $lost = $link->{mode} eq 'deaf' || $link->{mode} eq "lose_$way";

	if ($link->{$way} eq '' and $ready->{ fileno $link->{$from} })
	{
		my $got = sysread($link->{$from}, $link->{$way}, 65536);

		return 0 if defined $got ? $got == 0 : !$!{EAGAIN};
	}
	$link->{$way} = '' if $lost;
	if ($link->{$way} ne '')
	{
		my $sent = syswrite($link->{$to}, $link->{$way});

		return 0 if !defined $sent and !$!{EAGAIN};
		substr($link->{$way}, 0, $sent // 0, '');
	}
	return 1;
}

sub end_link
{
	my ($link, $reset) = @_;

	foreach my $socket (grep { defined } @{$link}{qw(client server)})
	{
		setsockopt($socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)) if $reset;
		close $socket;
	}
	return;
}

1;
