# BS::Test - what the Perl tests share: servers with the extension loaded, mail
# catchers, and waiting for things.
#
#   use BS::Test;
#
#   my $catcher = start_catcher("$dir/mail");
#   my $node = BS::Test->new_node('main', start => 1,
#       database => 'postgres', mail_url => $catcher->url);
#   ok(wait_for(sub { $catcher->mails == 1 }, 'the mail'), 'it arrives');
#
# Nothing that was started here outlives the test, also when it dies or is
# killed: END stops catchers and servers, a catcher ends with its parent, and
# tools/run_tests.sh clears away what is left of a test that got a SIGKILL.
#
# Run the tests with tools/run_tests.sh: PostgreSQL::Test::Cluster wants PATH,
# PG_REGRESS and TESTDIR, and a user that is not root.

package BS::Test;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use JSON::PP ();
use POSIX qw(:sys_wait_h);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(wait_for slow start_catcher stop_catcher write_script mails
  attempts api_calls scratch_dir);

my $lib = abs_path(dirname(__FILE__) . '/..');
my $owner = $$;
my %catchers;    # pid => BS::Test::Catcher

# The same superuser whoever runs the tests.
$ENV{PGUSER} = 'postgres';

# Without these a signal would skip the END blocks.
$SIG{TERM} = $SIG{INT} = $SIG{HUP} =
  sub { die "stopped by SIG$_[0]\n" if $$ == $owner; POSIX::_exit(1) };

# A server that does not start fails its test, not all that come after it.
{
	no warnings 'redefine';
	*PostgreSQL::Test::Cluster::BAIL_OUT =
	  *PostgreSQL::Test::Utils::BAIL_OUT = sub { die "bail out: $_[0]\n" };
}

# BS::Test->new_node($name, %settings)
#
# An initdb'ed PostgreSQL::Test::Cluster in UTF8, the library preloaded, not
# started.  Each of %settings is a birthday_scheduler.* setting but for
#
#   start      start it
#   fsync      as on a real server; off otherwise
#   streaming  ready for standbys (allows_streaming)
#   preload    0: leave shared_preload_libraries alone
#   conf       more lines for postgresql.conf, which win
#   initdb     more arguments for initdb
#   install_path   a server of another version
sub new_node
{
	my ($class, $name, %settings) = @_;
	my %special;

	foreach my $key (qw(start fsync streaming preload conf initdb install_path))
	{
		$special{$key} = delete $settings{$key};
	}
	my $node = PostgreSQL::Test::Cluster->new($name,
		$special{install_path} ? (install_path => $special{install_path}) : ());
	$node->init(
		extra => [ '-U', 'postgres', '--encoding=UTF8', '--locale=C.UTF-8',
			@{ $special{initdb} // [] } ],
		allows_streaming => $special{streaming});

	my @conf = (
		'max_worker_processes = 16', 'log_min_messages = info',
		"timezone = 'UTC'", "log_timezone = 'UTC'");
	push @conf, 'fsync = on' if $special{fsync};
	push @conf, "shared_preload_libraries = 'birthday_scheduler'"
	  if $special{preload} // 1;
	push @conf, map { "birthday_scheduler.$_ = " . quote($settings{$_}) }
	  sort keys %settings;
	push @conf, $special{conf} if defined $special{conf};
	my $conf = join("\n", @conf);
	utf8::encode($conf) if utf8::is_utf8($conf);    # 17 dies of characters where octets go
	$node->append_conf('postgresql.conf', $conf);
	$node->start if $special{start};
	return $node;
}

# A value for postgresql.conf.
sub quote
{
	my ($value) = @_;

	$value =~ s/'/''/g;
	$value =~ s/\\/\\\\/g;
	return "'$value'";
}

# A folder of this test's own, made; it goes away with the test.
sub scratch_dir
{
	return PostgreSQL::Test::Utils::tempdir(@_);
}

# split_password(%settings): a broker's password, which kits hand out in the URL, in
# a file of its own, as the settings want it.  All addresses of a URL have the same.
sub split_password
{
	my (%settings) = @_;
	my $urls = $settings{amqp_url} // '';

	return %settings unless $urls =~ s{//([^:/@,]*):([^@,]*)@}{//$1@};
	my $password = $2;
	$urls =~ s{//([^:/@,]*):\Q$password\E@}{//$1@}g;
	my $file = scratch_dir() . '/amqp_password';
	open(my $out, '>', $file) or die "could not write $file: $!";
	chmod 0600, $file;
	print $out "$password\n";
	close $out;
	return (amqp_password_file => $file, %settings, amqp_url => $urls);
}

# wait_for(sub { ... }, $what, $seconds)
#
# Asks every 30 ms until the answer is true, and returns it; after $seconds
# (30), or what slow() makes of them, says what did not come, and returns an
# empty answer.
sub wait_for
{
	my ($condition, $what, $seconds) = @_;
	my $limit = slow($seconds // 30);
	my $deadline = time + $limit;

	for (;;)
	{
		my $answer = $condition->();

		return $answer if $answer;
		last if time > $deadline;
		sleep(0.03);
	}
	diag sprintf('waited %s s in vain for %s', $limit, $what // 'something');
	return;
}

# slow($seconds): the longest that something may take which takes so long on a
# usual machine; BS_TEST_SLOWNESS times that, for the server under valgrind.
sub slow
{
	return $_[0] * ($ENV{BS_TEST_SLOWNESS} || 1);
}

# start_catcher($dir, @arguments) -> BS::Test::Catcher
#
# Starts test/lib/mail_catcher.py with its records in $dir, on free ports, unless
# the arguments name some, and returns once it listens.
sub start_catcher
{
	my ($dir, @arguments) = @_;
	my $self = bless {
		dir => $dir,
		arguments => [@arguments],
		parsed => {} }, 'BS::Test::Catcher';

	make_path($dir);
	push @{ $self->{arguments} }, '--smtp-port', 0, '--http-port', 0
	  unless grep { /^--\w+-port\b/ } @arguments;
	$self->start;
	return $self;
}

sub stop_catcher { return $_[0]->stop; }
sub write_script { return $_[0]->write_script($_[1]); }
sub mails { return $_[0]->mails; }
sub attempts { return $_[0]->attempts; }
sub api_calls { return $_[0]->api_calls; }

# Ends a process of ours: TERM, then KILL.
sub end_process
{
	my ($pid) = @_;

	foreach my $signal ('TERM', 'KILL')
	{
		my $deadline = time + 3;

		kill $signal, $pid;
		while (time < $deadline)
		{
			return if waitpid($pid, WNOHANG) != 0;
			sleep(0.01);
		}
	}
	return;
}

END
{
	my $code = $?;

	if ($$ == $owner)
	{
		end_process($_) foreach keys %catchers;
	}
	$? = $code;
}

# One mail catcher.  See test/lib/mail_catcher/__init__.py for what it records
# and for its scripts.
package BS::Test::Catcher;

use strict;
use warnings;

use Carp;
use Time::HiRes qw(sleep time);

# Starts it; again after stop(), then on the ports that it had.
sub start
{
	my ($self) = @_;
	my $file = "$self->{dir}/ports.json";
	my @arguments = ('--dir', $self->{dir}, '--die-with-parent');

	if (my $ports = $self->{ports})
	{
		my @rest = @{ $self->{arguments} };
		while (defined(my $word = shift @rest))
		{
			if ($word =~ /^--(\w+)-port$/)
			{
				shift @rest;
				$word = "--$1-port=$ports->{$1}";
			}
			push @arguments, $word;
		}
	}
	else
	{
		push @arguments, @{ $self->{arguments} };
	}
	unlink $file;
	my $pid = fork() // croak "could not fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$self->{dir}/catcher.log");
		open(STDERR, '>&', \*STDOUT);
		chdir $self->{dir};
		# Debian's own Python: the modules come in its packages.
		exec('/usr/bin/python3', "$lib/mail_catcher.py", @arguments)
		  or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$catchers{$pid} = $self;

	my $deadline = time + 20;
	until (-e $file)
	{
		if (waitpid($pid, POSIX::WNOHANG()) != 0 or time > $deadline)
		{
			my $log = PostgreSQL::Test::Utils::slurp_file(
				"$self->{dir}/catcher.log");
			$self->stop;
			croak "the mail catcher did not start: $log";
		}
		sleep(0.02);
	}
	$self->{ports} = JSON::PP::decode_json(
		PostgreSQL::Test::Utils::slurp_file($file));
	return $self;
}

# Stops it; what it recorded stays readable.
sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid};

	if (defined $pid)
	{
		BS::Test::end_process($pid);
		delete $catchers{$pid};
	}
	return;
}

# Freezes and thaws it: a relay that accepts connections and says nothing.
sub freeze { return kill 'STOP', $_[0]->{pid}; }
sub thaw { return kill 'CONT', $_[0]->{pid}; }

# The port of "smtp", "smtps", "http", "https" or "page", and its URL.
sub port
{
	my ($self, $kind) = @_;

	return $self->{ports}{ $kind // 'smtp' };
}

sub url
{
	my ($self, $kind) = @_;

	$kind //= 'smtp';
	my $scheme = $kind eq 'page' ? 'http' : $kind;
	return "$scheme://127.0.0.1:" . $self->port($kind);
}

# Lists of hashes, oldest first; in scalar context how many there are.
sub mails { return $_[0]->_lines('mails'); }
sub attempts { return $_[0]->_lines('attempts'); }
sub api_calls { return $_[0]->_lines('api'); }

# What is needed to count many thousand mails, without parsing all that is known of
# them: address => [[time, Message-ID], ...] of the mails to addresses like
# "${prefix}7@...".
sub arrivals
{
	my ($self, $prefix) = @_;
	my %found;

	open(my $file, '<:raw', "$self->{dir}/mails.jsonl") or return {};
	while (my $line = <$file>)
	{
		my ($address) = $line =~ /"rcpt": \["(\Q$prefix\E[\d-]+@[^"]+)"/ or next;

		push @{ $found{$address} },
		  [ $line =~ /"time": ([\d.]+)/, $line =~ /"message_id": "([^"]*)"/ ];
	}
	close $file;
	return \%found;
}

# What came since the last look is read and parsed, the rest is remembered.
sub _lines
{
	my ($self, $name) = @_;
	my $state = $self->{parsed}{$name} //= { offset => 0, rows => [] };

	if (open(my $file, '<:raw', "$self->{dir}/$name.jsonl"))
	{
		seek($file, $state->{offset}, 0);
		while (my $line = <$file>)
		{
			last unless $line =~ /\n\z/;    # half written
			$state->{offset} += length $line;
			push @{ $state->{rows} }, JSON::PP::decode_json($line);
		}
		close $file;
	}
	return wantarray ? @{ $state->{rows} } : scalar @{ $state->{rows} };
}

# write_script({ rules => [...] }): rules that hold from the next command on.
sub write_script
{
	my ($self, $script) = @_;
	my $path = "$self->{dir}/script.json";

	open(my $file, '>:raw', "$path.new") or croak "could not write $path: $!";
	print $file JSON::PP->new->utf8->canonical->encode($script);
	close($file) or croak "could not write $path: $!";
	rename("$path.new", $path) or croak "could not rename $path: $!";
	return;
}

1;
