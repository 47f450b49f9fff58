# BS::Broker - RabbitMQ for the Perl tests: a broker of the test's own, from
# tools/private_rabbitmq.sh, and what tests do to brokers.
#
#   use BS::Broker;
#
#   my $broker = BS::Broker->new('main');        # up after three to five seconds
#   $broker->publish('{}', exchange => 'birthday.messages', key => 'birthday');
#   $broker->wait_depth('birthday.messages.queue', 0);
#   $broker->kill9;
#   $broker->start;
#
# END ends every broker, also when the test dies or is killed; of a test that got
# a SIGKILL tools/run_tests.sh clears them away.

package BS::Broker;

use strict;
use warnings;

use BS::Test ();
use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run ();
use JSON::PP ();

# How long the script waits for a broker to be up.
$ENV{BS_BROKER_SECONDS} //= BS::Test::slow(60);

our $script =
  abs_path(dirname(__FILE__) . '/../../..') . '/tools/private_rabbitmq.sh';
my $owner = $$;
my @brokers;

# BS::Broker->new($name, %options)
#
# A broker in a folder of the test's own, started, reached by guest over the
# loopback interface.
#
#   start   0: not started
#   tls     [certificate file, key file]: a second listener, see tls_url
#   user    a user with a random password and all rights instead of guest
#   conf    [lines for rabbitmq.conf], which win over ours
#   dir     the folder; one of the test's own otherwise
#   cluster a folder that the nodes of one cluster have in common
#   host    what its machine is called, where that is not localhost
#   command an array to put before all that is done with it, as of ip
sub new
{
	my ($class, $name, %options) = @_;
	my $start = delete $options{start} // 1;
	my $dir = delete $options{dir} // BS::Test::scratch_dir() . "/broker_$name";
	my @command = @{ delete $options{command} // [] };
	my @arguments;

	push @arguments, '--tls', @{ delete $options{tls} } if $options{tls};
	push @arguments, '--user', delete $options{user} if $options{user};
	push @arguments, '--host', delete $options{host} if $options{host};
	my $cluster = delete $options{cluster};
	if (defined $cluster)
	{
		push @arguments, '--cluster', $cluster;
		# What its nodes share is ended after them.
		push @brokers, bless { name => 'cluster', dir => $cluster }, $class
		  unless grep { $_->{dir} eq $cluster } @brokers;
	}
	push @arguments, map { ('--conf', $_) } @{ delete $options{conf} // [] };
	croak 'unknown option ' . join(', ', keys %options) if %options;

	my $self = bless {
		name => $name,
		dir => $dir,
		command => \@command,
		arguments => [@arguments] }, $class;
	push @brokers, $self;
	$self->start if $start;
	return $self;
}

# run($command, @arguments): exit code and all that was said.
sub run
{
	my ($self, $command, @arguments) = @_;
	my ($out, $err) = ('', '');

	# A broker that is stopped by SIGSTOP would let some of them wait for ever.
	eval {
		IPC::Run::run([ @{ $self->{command} // [] }, $script, $command, $self->{dir}, @arguments ],
			'<', \undef, '>', \$out, '2>', \$err,
			IPC::Run::timeout(BS::Test::slow(100)));
		1;
	} or return (-1, "$command took too long: $@");
	$out =~ s/\n\z//;
	return ($? >> 8, $? ? "$out$err" : $out);
}

# The same; anything but success is an error.
sub must
{
	my ($self, $command, @arguments) = @_;
	my ($code, $said) = $self->run($command, @arguments);

	croak "$command of broker $self->{name}: $said" if $code != 0;
	return $said;
}

# Returns when it takes connections; on the ports and with the data that it had.
sub start
{
	my ($self) = @_;

	$self->must('start', @{ $self->{arguments} });
	return $self;
}

# Ends it in good order, also when it is paused; it may be started again.
sub stop { return $_[0]->must('stop'); }

# SIGKILL; returns when it is gone.
sub kill9 { return $_[0]->must('kill9'); }

# SIGSTOP and SIGCONT: connections stay, nothing answers.
sub pause { return $_[0]->must('pause'); }
sub resume { return $_[0]->must('resume'); }

# Its process, or nothing if it does not run.
sub pid
{
	my ($code, $pid) = $_[0]->run('pid');

	return $code == 0 ? $pid : undef;
}

# url(), url('vhost'), url('vhost', 'user', 'password'): for the root vhost no name.
sub url { return _url(shift->must('url'), @_); }
sub tls_url { return _url(shift->must('tls-url'), @_); }

sub _url
{
	my ($url, $vhost, $user, $password) = @_;

	$url =~ s{//[^@]*@}{//$user:$password@} if defined $user;
	return defined $vhost && $vhost ne '/' ? "$url/" . _percent($vhost) : $url;
}

sub _percent
{
	my ($text) = @_;

	$text =~ s/([^A-Za-z0-9._~-])/sprintf('%%%02X', ord $1)/ge;
	return $text;
}

sub port
{
	return $_[0]->must('url') =~ /:(\d+)$/ ? $1 : croak 'no port in the URL';
}

# ctl('list_users'): what rabbitmqctl prints; an error is an error.
sub ctl
{
	my ($self, @arguments) = @_;

	return $self->must('ctl', '--quiet', @arguments);
}

# evaluate('1 + 1'): an answer of Erlang; in milliseconds, for what is polled.
sub evaluate
{
	my ($self, $expression) = @_;

	return $self->must('eval', $expression);
}

# counts($queue, $vhost)
#
# {ready, unacked, total, consumers} of a queue, of this moment (rabbitmqctl's
# are up to five seconds old for quorum queues); nothing if it is not there or
# has no leader yet.
sub counts
{
	my ($self, $queue, $vhost) = @_;
	my $name = _resource('queue', $queue, $vhost);
	my ($code, $said) = $self->run('eval', <<"ERLANG");
		case rabbit_amqqueue:lookup($name) of
			{ok, Q} ->
				{ok, Ready, Consumers} = rabbit_amqqueue:stat(Q),
				Total = case amqqueue:get_type(Q) of
					rabbit_quorum_queue ->
						Leader = amqqueue:get_pid(Q),
						{ok, {_, N}, _} =
							try ra:leader_query(Leader, fun rabbit_fifo:query_messages_total/1)
							catch error:function_clause -> % since ra 3, RabbitMQ 4.3
								ra:leader_query(Leader, {rabbit_fifo, query_messages_total, []})
							end,
						N;
					_ ->
						[{messages, N}] = rabbit_amqqueue:info(Q, [messages]),
						N
				end,
				lists:flatten(io_lib:format("~b ~b ~b", [Ready, Total, Consumers]));
			_ -> "none"
		end
ERLANG
	return if $code != 0;
	my ($ready, $total, $consumers) = $said =~ /^(\d+) (\d+) (\d+)$/ or return;
	return {
		ready => $ready,
		unacked => $total - $ready,
		total => $total,
		consumers => $consumers };
}

# Messages that wait in the queue, delivered to nobody.
sub depth
{
	my ($self, $queue, $vhost) = @_;
	my $counts = $self->counts($queue, $vhost) or return;

	return $counts->{ready};
}

# wait_depth($queue, $ready, $seconds, $vhost): until so many wait, and none is
# delivered and unacknowledged.
sub wait_depth
{
	my ($self, $queue, $wanted, $seconds, $vhost) = @_;
	my $now;

	return 1
	  if BS::Test::wait_for(
		sub {
			$now = $self->counts($queue, $vhost);
			return $now && $now->{ready} == $wanted && $now->{unacked} == 0;
		},
		"$wanted messages in $queue", $seconds);
	Test::More::diag(
		$now
		? "now: $now->{ready} ready, $now->{unacked} unacknowledged"
		: 'now: no such queue');
	return;
}

# Until so many consumers are there.
sub wait_consumers
{
	my ($self, $queue, $wanted, $seconds, $vhost) = @_;

	return BS::Test::wait_for(
		sub {
			my $now = $self->counts($queue, $vhost);
			return $now && $now->{consumers} == $wanted;
		},
		"$wanted consumers of $queue", $seconds);
}

# Names of all queues of a virtual host, sorted.
sub queues
{
	my ($self, $vhost) = @_;

	return sort split /\n/,
	  $self->ctl('list_queues', '--no-table-headers', '--vhost', $vhost // '/',
		'name');
}

# How many clients are connected.
sub connections
{
	return $_[0]->evaluate('length(rabbit_networking:connections())');
}

# How many of them are connected to this node of a cluster.
sub local_connections
{
	return $_[0]->evaluate(<<'ERLANG');
		length(case erlang:function_exported(rabbit_networking, local_connections, 0) of
			true -> rabbit_networking:local_connections();
			false -> rabbit_networking:connections_local()
		end)
ERLANG
}

# How many nodes of its cluster run, as this one sees it.
sub running_nodes { return $_[0]->evaluate('length(rabbit_nodes:all_running())'); }

# On how many nodes a quorum queue is, and how many of these follow its leader.
sub members { return _count_of('members', @_); }
sub online { return _count_of('online', @_); }

sub _count_of
{
	my ($item, $self, $queue, $vhost) = @_;
	my $name = _resource('queue', $queue, $vhost);

	return $self->evaluate(<<"ERLANG");
		begin
			{ok, Q} = rabbit_amqqueue:lookup($name),
			[{$item, Nodes}] = rabbit_amqqueue:info(Q, [$item]),
			length(Nodes)
		end
ERLANG
}

# The folder of this node's part of a quorum queue.
sub queue_files
{
	my ($self, $queue, $vhost) = @_;
	my $name = _resource('queue', $queue, $vhost);

	return $self->evaluate(<<"ERLANG") =~ s/"//gr;
		begin
			{ok, Q} = rabbit_amqqueue:lookup($name),
			{Server, _} = amqqueue:get_pid(Q),
			ra_env:server_data_dir(quorum_queues, ra_directory:uid_of(quorum_queues, Server))
		end
ERLANG
}

# Ends this node's part of a quorum queue: it serves nobody, and tells nobody.
sub stop_queue
{
	my ($self, $queue, $vhost) = @_;
	my $name = _resource('queue', $queue, $vhost);

	return $self->evaluate(<<"ERLANG");
		begin
			{ok, Q} = rabbit_amqqueue:lookup($name),
			{Server, _} = amqqueue:get_pid(Q),
			ra:stop_server(quorum_queues, {Server, node()})
		end
ERLANG
}

# The series of the broker, as 3.10, as a number that can be compared: 310, 400.
sub series
{
	my ($self) = @_;

	$self->{series} //= sub { $_[0] * 100 + $_[1] }
	  ->($self->evaluate('rabbit_misc:version()') =~ /(\d+)\.(\d+)/);
	return $self->{series};
}

# Ends the connections of all clients from the broker's side.
sub close_connections
{
	return $_[0]->ctl('close_all_connections', '--vhost', $_[2] // '/',
		$_[1] // 'test');
}

# publish($body, exchange =>, key =>, headers => {}, transient => 1, url =>)
#
# With a client that is not ours, without confirm or mandatory; the exchange is
# the default one unless it is named, the key then a queue.
sub publish
{
	my ($self, $body, %options) = @_;
	my @command = (
		'amqp-publish', '--url', $options{url} // $self->url,
		'--exchange', $options{exchange} // '',
		'--routing-key', $options{key} // '',
		'--content-type', $options{content_type} // 'application/json');
	my $said = '';

	push @command, '--persistent' unless $options{transient};
	foreach my $name (sort keys %{ $options{headers} // {} })
	{
		push @command, '--header', "$name: $options{headers}{$name}";
	}
	IPC::Run::run([@command], '<', \$body, '>&', \$said,
		IPC::Run::timeout(BS::Test::slow(30)))
	  or croak "amqp-publish: $said";
	return;
}

# get($queue): takes one message out and returns its body, or nothing.
sub get
{
	my ($self, $queue, %options) = @_;
	my ($body, $said) = ('', '');

	IPC::Run::run(
		[ 'amqp-get', '--url', $options{url} // $self->url, '--queue', $queue ],
		'<', \undef, '>', \$body, '2>', \$said,
		IPC::Run::timeout(BS::Test::slow(30)));
	return $body if $? == 0;
	croak "amqp-get: $said" if $? >> 8 != 2;
	return;
}

# define(queues => [{name =>, ...}], exchanges => [...], bindings => [...])
#
# As in a file of definitions: "vhost", "durable" and what else must be there get
# a usual value.  A queue: type => 'quorum' or 'classic', arguments => {}.
sub define
{
	my ($self, %definitions) = @_;
	my $file = "$self->{dir}/definitions.json";
	my %usual = (
		queues => { durable => JSON::PP::true(), auto_delete => JSON::PP::false() },
		exchanges => {
			durable => JSON::PP::true(),
			auto_delete => JSON::PP::false(),
			internal => JSON::PP::false(),
			type => 'topic' },
		bindings => { destination_type => 'queue', routing_key => '#' });
	my %all;

	foreach my $kind (keys %definitions)
	{
		foreach my $item (@{ $definitions{$kind} })
		{
			my %made = (vhost => '/', arguments => {}, %{ $usual{$kind} // {} },
				%$item);

			if ($kind eq 'queues' && (my $type = delete $made{type}))
			{
				$made{arguments} =
				  { 'x-queue-type' => $type, %{ $made{arguments} } };
			}
			push @{ $all{$kind} }, \%made;
		}
	}
	open(my $out, '>', $file) or croak "could not write $file: $!";
	print $out JSON::PP->new->canonical->encode(\%all);
	close($out) or croak "could not write $file: $!";
	return $self->ctl('import_definitions', $file);
}

# Everything in the queue that is not delivered goes.
sub purge
{
	my ($self, $queue, $vhost) = @_;

	return $self->ctl('purge_queue', '--vhost', $vhost // '/', $queue);
}

# The queue goes with all that is in it.
sub delete_queue
{
	my ($self, $queue, $vhost) = @_;

	return $self->ctl('delete_queue', '--vhost', $vhost // '/', $queue);
}

sub delete_exchange
{
	my ($self, $exchange, $vhost) = @_;
	my $name = _resource('exchange', $exchange, $vhost);

	return $self->evaluate(
		"rabbit_exchange:delete($name, false, <<\"test\">>)");
}

# The exchange and the queue stay, what ties them goes.
sub unbind
{
	my ($self, $exchange, $queue, $key, $vhost) = @_;
	my $source = _resource('exchange', $exchange, $vhost);
	my $target = _resource('queue', $queue, $vhost);

	return $self->evaluate(<<"ERLANG");
		[rabbit_binding:remove(B, <<"test">>)
		 || B <- rabbit_binding:list_for_source_and_destination($source, $target)],
		ok
ERLANG
}

# add_user($name, $password, vhost =>, rights => [configure, write, read])
#
# The virtual host is made if need be; without rights the user has none in it.
sub add_user
{
	my ($self, $name, $password, %options) = @_;
	my $vhost = $options{vhost} // '/';

	$self->ctl('add_user', $name, $password);
	$self->ctl('add_vhost', $vhost)
	  unless grep { $_ eq $vhost } split /\n/,
	  $self->ctl('list_vhosts', '--no-table-headers', 'name');
	$self->ctl('set_permissions', '--vhost', $vhost, $name,
		@{ $options{rights} })
	  if $options{rights};
	return;
}

# alarm('memory', 1): the broker takes nothing from publishers any more, until
# alarm('memory', 0); also 'disk'.  Returns when it is so.
sub alarm
{
	my ($self, $kind, $on) = @_;

	$self->ctl(
		$kind eq 'memory'
		? ('set_vm_memory_high_watermark', $on ? '0.0000001' : 'absolute',
			$on ? () : ('1GB'))
		: ('set_disk_free_limit', $on ? '900000GB' : '50MB'));
	return BS::Test::wait_for(
		sub {
			my $set = $self->evaluate('rabbit_alarm:get_alarms() /= []') eq 'true';
			return $set == ($on ? 1 : 0);
		},
		"the $kind alarm to be " . ($on ? 'on' : 'off'));
}

# What the broker's log says, from an offset on.
sub log
{
	my ($self, $offset) = @_;

	return PostgreSQL::Test::Utils::slurp_file("$self->{dir}/broker.log",
		$offset // 0);
}

# The name of a thing in a virtual host, for Erlang.
sub _resource
{
	my ($kind, $name, $vhost) = @_;

	return sprintf('rabbit_misc:r(<<"%s">>, %s, <<"%s">>)',
		$vhost // '/', $kind, $name);
}

END
{
	my $code = $?;

	if ($$ == $owner)
	{
		# also a start that was cut short
		$_->run('stop') foreach reverse @brokers;
	}
	$? = $code;
}

1;
