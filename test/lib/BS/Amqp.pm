# BS::Amqp - a small AMQP 0-9-1 client, for what tests say to a broker and no
# decent client would: other arguments, odd headers, the same thing ten times.
#
#   my $amqp = BS::Amqp->new($broker->url);
#   $amqp->declare('q', { 'x-queue-type' => 'quorum' });
#   $amqp->publish('', 'q', $body, message_id => $id) for 1 .. 10;
#   $amqp->confirm;                       # all of them are safe now
#   my $found = $amqp->get('q');          # { body => ..., headers => ... }
#
# It waits for the broker, at most 30 s, and dies with what the broker says where
# that ends the channel.  One channel a connection.

package BS::Amqp;

use strict;
use warnings;

use BS::Test;
use Carp;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use constant {
	FRAME_METHOD => 1,
	FRAME_HEADER => 2,
	FRAME_BODY => 3,
	FRAME_HEARTBEAT => 8,
	FRAME_END => "\xCE",
	CHANNEL => 1,
};

# BS::Amqp->new("amqp://user:password@host:port/vhost")
sub new
{
	my ($class, $url) = @_;
	my ($user, $password, $host, $port, $vhost) =
	  $url =~ m{^amqp://(?:([^:@/]*)(?::([^@/]*))?@)?([^:/]+):(\d+)(?:/(.*))?$}
	  or croak "not an address: $url";
	my $self = bless { buffer => '', published => 0, unconfirmed => {}, returned => 0 }, $class;

	$self->{socket} = IO::Socket::INET->new(
		PeerAddr => $host,
		PeerPort => $port,
		Timeout => slow(10)) or croak "could not connect to $host:$port: $!";
	$vhost = defined $vhost && $vhost ne '' ? $vhost =~ s/%([0-9a-f]{2})/chr hex $1/gier : '/';
	$self->_send("AMQP\x00\x00\x09\x01");
	$self->_expect(0, 10, 10);
	$self->_method(0, 10, 11,
		_table({}) . _short('PLAIN')
		  . _long("\0" . ($user // 'guest') . "\0" . ($password // 'guest'))
		  . _short('en_US'));
	my ($channel_max, $frame_max) = unpack('nN', $self->_expect(0, 10, 30));
	$self->{frame_max} = $frame_max || 131072;
	$self->_method(0, 10, 31, pack('nNn', $channel_max, $self->{frame_max}, 0));
	$self->_method(0, 10, 40, _short($vhost) . _short('') . "\0");
	$self->_expect(0, 10, 41);
	$self->_open_channel;
	return $self;
}

sub _open_channel
{
	my ($self) = @_;

	$self->_method(CHANNEL, 20, 10, _short(''));
	$self->_expect(CHANNEL, 20, 11);
	$self->_method(CHANNEL, 85, 10, "\0");
	$self->_expect(CHANNEL, 85, 11);
	$self->{published} = 0;
	$self->{unconfirmed} = {};
	return;
}

# Says good-bye.
sub close
{
	my ($self) = @_;

	eval {
		$self->_method(0, 10, 50, pack('n', 200) . _short('bye') . pack('nn', 0, 0));
		$self->_expect(0, 10, 51);
	};
	CORE::close(delete $self->{socket});
	return;
}

# ---- topology ---------------------------------------------------------------

# declare($queue, { argument => value }, passive => 1): how many messages wait.
sub declare
{
	my ($self, $queue, $arguments, %options) = @_;

	$self->_method(CHANNEL, 50, 10,
		pack('n', 0) . _short($queue) . chr($options{passive} ? 3 : 2)
		  . _table($arguments // {}));
	my $answer = $self->_expect(CHANNEL, 50, 11);
	return unpack('N', substr($answer, 1 + ord $answer));
}

# How many messages wait in the queue; undef where there is none.
sub depth
{
	my ($self, $queue) = @_;

	my $count = eval { $self->declare($queue, {}, passive => 1) };
	croak $@ if $@ and $@ !~ /NOT_FOUND/;
	return $count;
}

sub declare_exchange
{
	my ($self, $exchange, $type) = @_;

	$self->_method(CHANNEL, 40, 10,
		pack('n', 0) . _short($exchange) . _short($type) . chr(2) . _table({}));
	return $self->_expect(CHANNEL, 40, 11);
}

sub delete_exchange
{
	my ($self, $exchange) = @_;

	$self->_method(CHANNEL, 40, 20, pack('n', 0) . _short($exchange) . "\0");
	return $self->_expect(CHANNEL, 40, 21);
}

sub bind
{
	my ($self, $queue, $exchange, $key) = @_;

	$self->_method(CHANNEL, 50, 20,
		pack('n', 0) . _short($queue) . _short($exchange) . _short($key) . "\0" . _table({}));
	return $self->_expect(CHANNEL, 50, 21);
}

sub unbind
{
	my ($self, $queue, $exchange, $key) = @_;

	$self->_method(CHANNEL, 50, 50,
		pack('n', 0) . _short($queue) . _short($exchange) . _short($key) . _table({}));
	return $self->_expect(CHANNEL, 50, 51);
}

sub delete
{
	my ($self, $queue) = @_;

	$self->_method(CHANNEL, 50, 40, pack('n', 0) . _short($queue) . "\0");
	return unpack('N', $self->_expect(CHANNEL, 50, 41));
}

sub purge
{
	my ($self, $queue) = @_;

	$self->_method(CHANNEL, 50, 30, pack('n', 0) . _short($queue) . "\0");
	return unpack('N', $self->_expect(CHANNEL, 50, 31));
}

# ---- messages ---------------------------------------------------------------

# publish($exchange, $routing_key, $body, %options)
#
#   message_id   the property
#   headers      octets of a table, without its length, taken as they are
#   properties   octets of flags and properties, taken as they are
sub publish
{
	my ($self, $exchange, $key, $body, %options) = @_;
	my ($flags, $properties) = (0x9000, _short('application/json'));
	my $frames;

	if (defined $options{headers})
	{
		$flags |= 0x2000;
		$properties .= _long($options{headers});
	}
	$properties .= "\x02";
	if (defined $options{message_id})
	{
		$flags |= 0x0080;
		$properties .= _short($options{message_id});
	}
	$frames = _frame(FRAME_METHOD, CHANNEL,
		pack('nnn', 60, 40, 0) . _short($exchange) . _short($key) . "\x01");
	$frames .= _frame(FRAME_HEADER, CHANNEL,
		pack('nnQ>', 60, 0, length $body)
		  . ($options{properties} // pack('n', $flags) . $properties));
	for (my $at = 0; $at < length $body; $at += $self->{frame_max} - 8)
	{
		$frames .= _frame(FRAME_BODY, CHANNEL, substr($body, $at, $self->{frame_max} - 8));
	}
	$self->{unconfirmed}{ ++$self->{published} } = 1;
	$self->_send($frames);
	return;
}

# Until the broker has everything that was published; how much of it found no queue.
sub confirm
{
	my ($self) = @_;

	while (%{ $self->{unconfirmed} })
	{
		my ($class, $method, $rest) = $self->_read_method(CHANNEL);

		$self->_note($class, $method, $rest);
	}
	my $returned = $self->{returned};
	$self->{returned} = 0;
	return $returned;
}

# Takes one message out of a queue: { body, headers, routing_key, redelivered };
# undef where there is none.  With keep => 1 it stays, unacknowledged, with us.
sub get
{
	my ($self, $queue, %options) = @_;

	$self->_method(CHANNEL, 60, 70,
		pack('n', 0) . _short($queue) . chr($options{keep} ? 0 : 1));
	for (;;)
	{
		my ($class, $method, $rest) = $self->_read_method(CHANNEL);

		return if $class == 60 && $method == 72;
		if ($class == 60 && $method == 71)
		{
			my (undef, $redelivered, undef, $key) = unpack('Q>CC/aC/a', $rest);
			return {
				redelivered => $redelivered,
				routing_key => $key,
				$self->_content };
		}
		$self->_note($class, $method, $rest);
	}
}

# ---- the wire ---------------------------------------------------------------

sub _short { return pack('C/a', $_[0]); }
sub _long { return pack('N/a', $_[0]); }

# Strings and numbers are all that is needed.
sub _table
{
	my ($values) = @_;

	return _long(
		join '',
		map {
			_short($_) . ($values->{$_} =~ /^\d+$/ ? 'l' . pack('q>', $values->{$_}) : 'S' . _long($values->{$_}))
		} sort keys %$values);
}

sub _frame
{
	my ($type, $channel, $payload) = @_;

	return pack('CnN', $type, $channel, length $payload) . $payload . FRAME_END;
}

sub _send
{
	my ($self, $octets) = @_;
	my $at = 0;

	local $SIG{PIPE} = 'IGNORE';
	while ($at < length $octets)
	{
		my $sent = syswrite($self->{socket}, $octets, length($octets) - $at, $at)
		  // croak "the broker is gone: $!";
		$at += $sent;
	}
	return;
}

sub _method
{
	my ($self, $channel, $class, $method, $arguments) = @_;

	return $self->_send(_frame(FRAME_METHOD, $channel, pack('nn', $class, $method) . $arguments));
}

sub _read
{
	my ($self, $length) = @_;
	my $deadline = time + slow(30);

	while (length $self->{buffer} < $length)
	{
		croak 'the broker says nothing'
		  unless IO::Select->new($self->{socket})->can_read($deadline - time);
		sysread($self->{socket}, $self->{buffer}, 65536, length $self->{buffer})
		  or croak 'the broker has closed the connection';
	}
	return substr($self->{buffer}, 0, $length, '');
}

# Type, channel and payload of the next frame that is no heartbeat.
sub _read_frame
{
	my ($self) = @_;

	for (;;)
	{
		my ($type, $channel, $length) = unpack('CnN', $self->_read(7));
		my $payload = $self->_read($length);

		croak 'a frame does not end' if $self->_read(1) ne FRAME_END;
		return ($type, $channel, $payload) if $type != FRAME_HEARTBEAT;
	}
}

# Class, number and arguments of the next method.
sub _read_method
{
	my ($self) = @_;
	my ($type, $channel, $payload) = $self->_read_frame;

	croak "a frame of type $type" if $type != FRAME_METHOD;
	my ($class, $method) = unpack('nn', $payload);
	my $rest = substr($payload, 4);
	if ($method == 50 && $class == 10)
	{
		croak 'the broker closes the connection: ' . (unpack('nC/a', $rest))[1];
	}
	if ($class == 20 && $method == 40)
	{
		$self->_method(CHANNEL, 20, 41, '');
		$self->_open_channel;
		croak 'the broker closes the channel: ' . (unpack('nC/a', $rest))[1];
	}
	return ($class, $method, $rest);
}

# Confirms and returns that come between other things.
sub _note
{
	my ($self, $class, $method, $rest) = @_;

	if ($class == 60 && $method == 50)
	{
		$self->_content;
		$self->{returned}++;
	}
	elsif ($class == 60 && ($method == 80 || $method == 120))
	{
		my ($tag, $multiple) = unpack('Q>C', $rest);

		croak 'the broker refuses a message' if $method == 120;
		delete @{ $self->{unconfirmed} }{ $multiple & 1
			? grep { $_ <= $tag } keys %{ $self->{unconfirmed} }
			: $tag };
	}
	elsif ($class != 10)
	{
		croak "unexpected method $class.$method";
	}
	return;
}

sub _expect
{
	my ($self, $channel, $wanted_class, $wanted_method) = @_;

	for (;;)
	{
		my ($class, $method, $rest) = $self->_read_method;

		return $rest if $class == $wanted_class && $method == $wanted_method;
		$self->_note($class, $method, $rest);
	}
}

# (body => ..., headers => octets of the table, message_id => ...)
sub _content
{
	my ($self) = @_;
	my (undef, undef, $header) = $self->_read_frame;
	my (undef, undef, $size, $flags) = unpack('nnQ>n', $header);
	my $rest = substr($header, 14);
	my %found = (body => '');

	(undef, $rest) = unpack('C/aa*', $rest) if $flags & 0x8000;
	(undef, $rest) = unpack('C/aa*', $rest) if $flags & 0x4000;
	($found{headers}, $rest) = unpack('N/aa*', $rest) if $flags & 0x2000;
	$rest = substr($rest, 1) if $flags & 0x1000;
	$rest = substr($rest, 1) if $flags & 0x0800;
	(undef, $rest) = unpack('C/aa*', $rest) foreach grep { $flags & $_ } 0x0400, 0x0200, 0x0100;
	($found{message_id}) = unpack('C/a', $rest) if $flags & 0x0080;
	while (length $found{body} < $size)
	{
		my (undef, undef, $piece) = $self->_read_frame;
		$found{body} .= $piece;
	}
	return %found;
}

1;
