# BS::Watch - the exporter and Prometheus for the Perl tests, the real ones, from
# tools/unpack.sh.
#
#   my $exporter = BS::Watch->exporter($node, 'postgres', role => 'exporter');
#   my $metrics = $exporter->scrape;        # {name => {type =>, help =>, samples => {labels => value}}}
#   my $prometheus = BS::Watch->prometheus($dir, [$exporter], rules => "$dir/rules.yaml");
#   is_deeply([ $prometheus->firing ], [], 'all is well');
#
# Both end with the test, also where it gets a SIGKILL.

package BS::Watch;

use strict;
use warnings;

use BS::Test ();
use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use HTTP::Tiny;
use JSON::PP ();
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../../..');
my $owner = $$;
my %running;
my $http = HTTP::Tiny->new(timeout => BS::Test::slow(10));

sub programs { return "$top/build/prometheus"; }

# Starts a program, and waits until its page answers.
sub _start
{
	my ($self, $path, %environment) = @_;
	my $pid = fork() // croak "could not fork: $!";

	if ($pid == 0)
	{
		$ENV{$_} = $environment{$_} foreach keys %environment;
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $self->{log});
		open(STDERR, '>&', \*STDOUT);
		exec('setpriv', '--pdeathsig', 'KILL', @{ $self->{command} })
		  or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$running{$pid} = $self;
	BS::Test::wait_for(sub { $http->get("$self->{url}$path")->{success} }, $self->{command}[0])
	  or croak "$self->{command}[0] did not start: " . PostgreSQL::Test::Utils::slurp_file($self->{log});
	return $self;
}

sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;

	BS::Test::end_process($pid);
	delete $running{$pid};
	return;
}

sub url { return $_[0]->{url}; }
sub log { return PostgreSQL::Test::Utils::slurp_file($_[0]->{log}); }

# exporter($class, $node, $dbname, role => ..., dir => ...): with monitoring/queries.yaml,
# and without the exporter's own metrics.
sub exporter
{
	my ($class, $node, $dbname, %options) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $self = bless {
		log => BS::Test::scratch_dir() . "/exporter_$port.log",
		url => "http://127.0.0.1:$port",
		address => "127.0.0.1:$port",
		command => [
			programs() . '/prometheus-postgres-exporter',
			"--web.listen-address=127.0.0.1:$port",
			"--extend.query-path=$top/monitoring/queries.yaml",
			'--disable-default-metrics', '--disable-settings-metrics' ] }, $class;

	$self->{environment} = {
		DATA_SOURCE_NAME => sprintf('host=%s port=%d user=%s dbname=%s sslmode=disable',
			$node->host, $node->port, $options{role}, $dbname) };
	return $self->_start('/', %{ $self->{environment} });
}

# service($class, $port, $path, [command], %environment): any program with a page.
sub service
{
	my ($class, $port, $path, $command, %environment) = @_;
	my $self = bless {
		log => BS::Test::scratch_dir() . "/service_$port.log",
		url => "http://127.0.0.1:$port",
		command => $command }, $class;

	return $self->_start($path, %environment);
}

# What it gives at this moment, ours only.
sub scrape
{
	my ($self) = @_;
	my $answer = $http->get("$self->{url}/metrics");
	my %found;

	croak "the exporter says: $answer->{content}" unless $answer->{success};
	foreach my $line (split /\n/, $answer->{content})
	{
		if ($line =~ /^# (TYPE|HELP) (birthday_scheduler_\w+) (.*)$/)
		{
			$found{$2}{ lc $1 } = $3;
		}
		elsif ($line =~ /^(birthday_scheduler_\w+)(?:\{(.*)\})? (\S+)$/)
		{
			my ($name, $labels, $value) = ($1, $2 // '', $3);
			my %label = $labels =~ /(\w+)="((?:[^"\\]|\\.)*)"/g;

			delete $label{server};
			$found{$name}{samples}{ join ',', map { "$_=$label{$_}" } sort keys %label } = $value;
		}
	}
	return \%found;
}

# prometheus($class, $dir, [exporters], rules => file): scrapes and evaluates every
# second.
sub prometheus
{
	my ($class, $dir, $exporters, %options) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $targets = join ', ', map { "'$_->{address}'" } @$exporters;

	make_path($dir);
	PostgreSQL::Test::Utils::append_to_file("$dir/prometheus.yml", <<"YAML");
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: ['$options{rules}']
scrape_configs:
  - job_name: postgres
    static_configs:
      - targets: [$targets]
YAML
	my $self = bless {
		log => "$dir/prometheus.log",
		url => "http://127.0.0.1:$port",
		command => [
			programs() . '/prometheus', "--config.file=$dir/prometheus.yml",
			"--storage.tsdb.path=$dir/data", "--web.listen-address=127.0.0.1:$port" ] }, $class;

	return $self->_start('/-/ready');
}

# api($path, key => value, ...): the data of an answer; an error is an error.
sub api
{
	my ($self, $path, @form) = @_;
	my $answer = @form
	  ? $http->post_form("$self->{url}/api/v1/$path", \@form)
	  : $http->get("$self->{url}/api/v1/$path");
	my $json = eval { JSON::PP->new->utf8->decode($answer->{content}) };

	croak "$path: $answer->{status} $answer->{content}" unless $json && $json->{status} eq 'success';
	return $json->{data};
}

# The names of the alerts that fire, each once, sorted.
sub firing
{
	my ($self) = @_;
	my %names;

	$names{ $_->{labels}{alertname} } = 1
	  foreach grep { $_->{state} eq 'firing' } @{ $self->api('alerts')->{alerts} };
	return sort keys %names;
}

# fires($names, $what, $seconds), clears(...): until all of them do, or none does.
sub fires { return _until(@_[ 0 .. 1 ], 1, @_[ 2 .. $#_ ]); }
sub clears { return _until(@_[ 0 .. 1 ], 0, @_[ 2 .. $#_ ]); }

sub _until
{
	my ($self, $names, $wanted, $what, $seconds) = @_;
	my @names = split ' ', $names;
	my %firing;
	my $done = BS::Test::wait_for(
		sub {
			%firing = map { $_ => 1 } $self->firing;
			return !grep { ($firing{"BirthdayScheduler$_"} // 0) != $wanted } @names;
		},
		"$what: @names", $seconds // 45);

	ok($done, "$what: @names " . ($wanted ? 'fire' : 'clear'))
	  or diag('firing: ', join ' ', sort keys %firing);
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

1;
