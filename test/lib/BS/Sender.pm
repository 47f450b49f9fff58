# BS::Sender - bs_sender in the tests, on top of BS::Delivery: processes of it, what
# they log and what their pages say.
#
#   my $node = remote_node('main');             # whose own senders send nothing
#   my $sender = BS::Sender->new($node, 'one', mail_url => $catcher->url);
#   $sender->start;
#   add_due($node, 10, 'hello');
#   wait_settled($node, 'hello%');
#   is($sender->stop, 0, 'it ends as asked');
#
# Nothing that was started here outlives the test.

package BS::Sender;

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use Exporter qw(import);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP ();
use POSIX qw(:sys_wait_h);
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(sleep time);

# Another build of it, as one with sanitizers.
my $program = $ENV{BS_SENDER} || 'bs_sender';

our @EXPORT = qw(remote_node grant_sender run_sender);

my %running;    # pid => BS::Sender
my $owner = $$;

# mail_node() whose own senders have no relay, and a role bs_remote that may send.
sub remote_node
{
	my ($name, %settings) = @_;
	my $node = mail_node($name, senders => 1, mail_url => '', %settings);

	grant_sender($node) if $settings{extension} // 1;
	return $node;
}

sub grant_sender
{
	my ($node, %options) = @_;
	my $schema = $options{schema} // 'public';

	sql($node, q{SELECT count(*) FROM pg_roles WHERE rolname = 'bs_remote'}) eq '1'
	  or sql($node, 'CREATE ROLE bs_remote LOGIN');
	sql($node, "SELECT $schema.bs_grant('bs_remote', 'sender')", $options{dbname});
	return;
}

# BS::Sender->new($node, $name, %settings): not started.  A list of nodes is a list
# of hosts.  Beside settings:
#
#   database   the whole connection string
#   command    an array to put before the program, as of valgrind or ip
#   lines      more lines for the settings file
sub new
{
	my ($class, $nodes, $name, %settings) = @_;
	my @nodes = ref $nodes eq 'ARRAY' ? @$nodes : ($nodes);
	my $self = bless {
		name => $name,
		dir => scratch_dir(),
		command => delete $settings{command} // [],
		lines => delete $settings{lines} // '' }, $class;

	$self->{settings} = {
		database => 'host='
		  . join(',', map { $_->host } @nodes)
		  . ' port='
		  . join(',', map { $_->port } @nodes)
		  . ' dbname=postgres user=bs_remote',
		mail_tls => 'off',
		breaker => 0,
		poll_interval => '50ms',
		BS::Test::split_password(%settings) };
	$self->{log} = "$self->{dir}/log";
	$self->write_file;
	return $self;
}

# The settings file; set(...) changes it and, where the sender runs, reloads.
sub write_file
{
	my ($self) = @_;

	open(my $file, '>', "$self->{dir}/conf") or die "could not write the settings: $!";
	print $file "$_ = " . BS::Test::quote($self->{settings}{$_}) . "\n"
	  foreach sort grep { defined $self->{settings}{$_} } keys %{ $self->{settings} };
	print $file $self->{lines};
	close $file;
	return;
}

sub set
{
	my ($self, %settings) = @_;

	$self->{settings} = { %{ $self->{settings} }, BS::Test::split_password(%settings) };
	$self->write_file;
	if ($self->{pid})
	{
		my $before = $self->count_log(qr/settings loaded|stay as they were/);

		kill 'HUP', $self->{pid};
		wait_for(sub { $self->count_log(qr/settings loaded|stay as they were/) > $before },
			'the reload');
	}
	return;
}

sub arguments
{
	my ($self) = @_;

	return (@{ $self->{command} }, $program, '--config', "$self->{dir}/conf");
}

# Starts it; wait => 0: does not wait until it is at work.
sub start
{
	my ($self, %options) = @_;
	my $before = $self->count_log(qr/at work/);
	my $pid = fork() // die "could not fork: $!";

	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $self->{log});
		open(STDERR, '>&', \*STDOUT);
		$ENV{$_} = $options{env}{$_} foreach keys %{ $options{env} // {} };
		delete $ENV{PGUSER};
		exec($self->arguments) or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$running{$pid} = $self;
	wait_for(sub { $self->count_log(qr/at work/) > $before || $self->has_ended },
		"$self->{name} to be at work")
	  if $options{wait} // 1;
	return $self;
}

sub has_ended
{
	my ($self) = @_;
	my $pid = $self->{pid} or return 1;

	return 0 if waitpid($pid, WNOHANG) == 0;
	$self->{code} = $? & 127 ? "signal " . ($? & 127) : $? >> 8;
	delete $running{$pid};
	delete $self->{pid};
	return 1;
}

# Ends it by a signal, TERM; gives the exit code, or "signal 9".
sub stop
{
	my ($self, $signal) = @_;

	kill $signal // 'TERM', $self->{pid} if $self->{pid};
	return $self->wait_end;
}

sub wait_end
{
	my ($self, $seconds) = @_;

	wait_for(sub { $self->has_ended }, "$self->{name} to end", $seconds);
	return $self->{code};
}

sub log
{
	my ($self) = @_;

	return -e $self->{log} ? PostgreSQL::Test::Utils::slurp_file($self->{log}) : '';
}

sub count_log
{
	my ($self, $pattern) = @_;

	return scalar grep { /$pattern/ } split /\n/, $self->log;
}

# Its pages: page('health') gives status and content.
sub page
{
	my ($self, $page) = @_;
	my $answer = HTTP::Tiny->new(timeout => slow(5))
	  ->get("http://$self->{settings}{listen}/$page");

	return ($answer->{status}, $answer->{content});
}

# A metric by its name and labels, without the prefix.
sub metric
{
	my ($self, $name) = @_;
	my ($status, $text) = $self->page('metrics');

	return $text =~ /^birthday_sender_\Q$name\E (\d+)$/m ? $1 : undef;
}

# A port of this machine that is free just now.
sub free_port
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
	  or die "no port: $!";

	return $socket->sockport;
}

# run_sender(@arguments): exit code and what it said, for what ends by itself.
sub run_sender
{
	my (@arguments) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $program, @arguments ],
		'<', '/dev/null', '>', \$out, '2>', \$err,
		IPC::Run::timeout(slow(30)));
	return ($? >> 8, $out, $err);
}

END
{
	my $code = $?;

	if ($$ == $owner)
	{
		kill 'KILL', $_ foreach keys %running;
		waitpid $_, 0 foreach keys %running;
	}
	$? = $code;
}

1;
