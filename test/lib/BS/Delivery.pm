# BS::Delivery - what the tests of sending share, on top of BS::Test: a server
# with workers of a role without rights, messages that are due now, and their rows.
#
#   my $catcher = start_catcher(scratch_dir() . '/mail');
#   my $node = mail_node('main', mail_url => $catcher->url);
#   add_due($node, 10, 'hello');              # hello1@example.com and so on
#   wait_settled($node, 'hello%');
#   is(row($node, 'hello1@example.com')->{status}, 'SENT', 'it was sent');

package BS::Delivery;

use strict;
use warnings;

use BS::Test;
use Exporter qw(import);
use JSON::PP ();
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(mail_node set_conf create_extension add_due due_sql at_noon noon_zone row rows counts
  wait_settled wait_count server_log log_lines timed stop_timed
  worker_pids wait_workers by_recipient sql utf8);

# Messages that a test makes due are due since midnight, UTC; so they must not
# expire when the test runs over the next one.
my %defaults = (
	database => 'postgres',
	role => 'bs_worker',
	mail_from => 'Greetings <greetings@example.com>',
	mail_tls => 'off',
	max_lateness => '2d',
	retry_initial => slow(1) . 's',
	retry_max => slow(2) . 's',
	breaker => 0);

# mail_node($name, %settings)
#
# A running server with the extension in "postgres", adopted, and workers that
# run as bs_worker.  %settings as for BS::Test->new_node(), and
#
#   extension    0: the extension is not created
#   conf         more lines for postgresql.conf
sub mail_node
{
	my ($name, %settings) = @_;
	my $extension = delete $settings{extension} // 1;
	my $conf = delete $settings{conf} // '';

	# What people are called must not come into the log with our statements.
	my $node = BS::Test->new_node($name, %defaults, BS::Test::split_password(%settings),
		conf => "log_statement = none\nrestart_after_crash = on\n$conf");
	make_role($node);
	$node->start;
	create_extension($node) if $extension;
	return $node;
}

# The role is there when the workers start for the first time.
sub make_role
{
	my ($node) = @_;
	my $input = "CREATE ROLE bs_worker LOGIN\n";
	my $output;

	IPC::Run::run(
		[ $node->installed_command('postgres'), '--single', '-D', $node->data_dir, '-c',
			'shared_preload_libraries=', 'postgres' ],
		'<', \$input, '>&', \$output)
	  or die "could not make the role: $output\n";
	return;
}

# create_extension($node, %options): dbname, schema, adopt
#
# What the tests make due has its day since midnight.
sub create_extension
{
	my ($node, %options) = @_;
	my $schema = $options{schema} // 'public';

	$node->safe_psql($options{dbname} // 'postgres', <<"SQL");
		SET client_min_messages = warning;
		BEGIN;
		CREATE SCHEMA IF NOT EXISTS $schema;
		CREATE EXTENSION birthday_scheduler SCHEMA $schema;
		SELECT $schema.bs_grant('bs_worker', 'worker');
		UPDATE $schema.message_types
		   SET send_time = '00:00', active_since = '2000-01-01';
		COMMIT;
SQL
	$node->safe_psql($options{dbname} // 'postgres',
		"SELECT $schema.bs_resume()")
	  if $options{adopt} // 1;
	return;
}

sub sql
{
	my ($node, $statement, $dbname) = @_;

	return $node->safe_psql($dbname // 'postgres', $statement);
}

# set_conf($node, key => value, ...): undef for the default
#
# Returns when every worker has been told.  A name with a dot is taken as it is.
sub set_conf
{
	my ($node, %given) = @_;
	my %settings = BS::Test::split_password(%given);
	my $before = sql($node, 'SELECT pg_conf_load_time()');

	foreach my $key (sort keys %settings)
	{
		my $value = $settings{$key};
		my $name = $key =~ /^=/ ? substr($key, 1) : "birthday_scheduler.$key";

		sql($node,
			defined $value
			? "ALTER SYSTEM SET $name = " . BS::Test::quote($value)
			: "ALTER SYSTEM RESET $name");
	}
	$node->reload;

	# A session that knows the new settings was started by a postmaster that
	# has signalled the workers.
	wait_for(
		sub {
			sql($node, "SELECT pg_conf_load_time() > '$before'") eq 't';
		},
		'the reload');
	return;
}

# add_due($node, $count, $prefix, %values)
#
# So many users whose birthday message is due now, ${prefix}1@example.com and so
# on, called "First1 Last".  %values are SQL expressions for other columns, in
# which n is the number.
sub add_due
{
	my ($node, $count, $prefix, %values) = @_;
	my $dbname = delete $values{dbname};

	sql($node, due_sql($count, $prefix, %values), $dbname);
	return;
}

# A zone in which it is about noon: the hours around are of one day, whenever the
# test runs.
sub noon_zone
{
	my $east = 12 - (gmtime)[2];

	return $east == 0 ? 'Etc/UTC' : sprintf('Etc/GMT%+d', -$east);
}

# Columns for add_due(): people with a birthday today who live there.
sub at_noon
{
	my $zone = noon_zone();

	return (timezone => "'$zone'",
		birthday_date => "(now() AT TIME ZONE '$zone')::date - interval '28 years'");
}

# The statement that does it.
sub due_sql
{
	my ($count, $prefix, %values) = @_;
	my $schema = delete $values{schema} // 'public';
	my %column = (
		first_name => "'First' || n",
		last_name => "'Last'",
		email => "'$prefix' || n || '\@example.com'",
		timezone => "'Etc/UTC'",
		birthday_date =>
		  "(now() AT TIME ZONE 'UTC')::date - interval '28 years'",
		created_at => "now() - interval '40 days'",
		%values);
	my @names = sort keys %column;

	return "INSERT INTO $schema.users ("
	  . join(', ', @names)
	  . ') SELECT '
	  . join(', ', map { $column{$_} } @names)
	  . " FROM generate_series(1, $count) AS n";
}

# Rows of message_logs for addresses like the pattern, as hashes, by address.
sub rows
{
	my ($node, $pattern, %options) = @_;
	my $schema = $options{schema} // 'public';

	my $json = sql($node, <<"SQL", $options{dbname});
		SELECT coalesce(json_agg(to_jsonb(m) || jsonb_build_object(
			       'due', extract(epoch FROM m.due_at),
			       'scheduled', extract(epoch FROM m.scheduled_send_time),
			       'sent', extract(epoch FROM m.actual_send_time),
			       'tried', extract(epoch FROM m.last_retry_at))
		       ORDER BY m.recipient_email), '[]')
		  FROM $schema.message_logs m
		 WHERE m.recipient_email LIKE '$pattern'
SQL
	return @{ JSON::PP->new->decode(utf8($json)) };
}

# psql's output comes as octets.
sub utf8
{
	my ($octets) = @_;

	utf8::decode($octets);
	return $octets;
}

sub row
{
	my ($node, $address, %options) = @_;
	my @found = rows($node, $address, %options);

	return @found == 1 ? $found[0] : {};
}

# counts($node, $pattern): "SENT 5, FAILED 1" in alphabetical order.
sub counts
{
	my ($node, $pattern, %options) = @_;
	my $schema = $options{schema} // 'public';

	return sql($node, <<"SQL", $options{dbname});
		SELECT coalesce(string_agg(c.status || ' ' || c.n, ', ' ORDER BY c.status), 'none')
		  FROM (SELECT m.status, count(*) AS n FROM $schema.message_logs m
		         WHERE m.recipient_email LIKE '$pattern' GROUP BY m.status) c
SQL
}

# wait_settled($node, $pattern, $seconds): until none of them is on its way.
sub wait_settled
{
	my ($node, $pattern, $seconds, %options) = @_;
	my $found = '';

	return wait_for(
		sub {
			$found = counts($node, $pattern, %options);
			return $found ne 'none' && $found !~ /SCHEDULED|QUEUED|SENDING|RETRYING/;
		},
		"$pattern to be settled",
		$seconds) // do { diag("now: $found"); undef };
}

# wait_count($node, $pattern, $wanted, $seconds): until counts() says so.
sub wait_count
{
	my ($node, $pattern, $wanted, $seconds, %options) = @_;
	my $found = '';

	wait_for(
		sub {
			$found = counts($node, $pattern, %options);
			return $found eq $wanted;
		},
		"$pattern to be $wanted",
		$seconds);
	return is($found, $wanted, "$pattern: $wanted");
}

sub server_log
{
	my ($node, $offset) = @_;

	return PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset // 0);
}

# How many lines of the log match, from the offset on.
sub log_lines
{
	my ($node, $pattern, $offset) = @_;

	return scalar grep { /$pattern/ } split /\n/, server_log($node, $offset);
}

# timed(sub { ... }): how many seconds it took.
sub timed
{
	my ($work) = @_;
	my $start = time;

	$work->();
	return time - $start;
}

# stop_timed($node, $signal): how long until the postmaster is gone.  pg_ctl
# looks ten times a second only, and the process itself may stay as a zombie.
sub stop_timed
{
	my ($node, $signal) = @_;
	my $pid = $node->{_pid};
	my $start = time;

	kill $signal // 'INT', $pid;
	while (-e $node->data_dir . '/postmaster.pid' && time < $start + 30)
	{
		sleep(0.005);
	}
	my $took = time - $start;
	$node->_update_pid(0);
	return $took;
}

# worker_pids($node, 'sender'): processes of that kind of worker.
sub worker_pids
{
	my ($node, $kind) = @_;

	return split /\n/, sql($node, <<"SQL");
		SELECT pid FROM pg_stat_activity
		 WHERE backend_type LIKE 'birthday_scheduler $kind%' ORDER BY backend_type
SQL
}

# Until so many are connected.
sub wait_workers
{
	my ($node, $count, $seconds) = @_;

	return wait_for(sub { my @p = worker_pids($node, ''); @p == $count },
		"$count workers", $seconds);
}

# by_recipient(@mails): address => [mails].
sub by_recipient
{
	my %found;

	foreach my $mail (@_)
	{
		push @{ $found{ $mail->{rcpt}[0] // $mail->{body}{email} } }, $mail;
	}
	return \%found;
}

1;
