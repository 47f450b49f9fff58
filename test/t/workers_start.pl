# Workers that cannot start, or may do nothing once they have: bs_health() never calls
# that ok, and its reason names what to mend.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use JSON::PP ();
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', mail_url => $catcher->url);

sub workers { return JSON::PP->new->decode(sql($node, q{SELECT bs_health() -> 'parts' -> 'workers'})); }

# Never ok again from the first poll that is not, for as long as it takes each worker to
# fail three times.
sub never_ok
{
	my ($what, $reason, $done) = @_;
	my (%seen, $last);

	ok(wait_for(sub { workers()->{status} ne 'ok' }, 'bs_health() to notice'), "$what: bs_health() notices");
	ok(wait_for(sub { $last = workers(); $seen{ $last->{status} }++; $done->() }, 'failed starts', 60), "$what: each worker fails again and again");
	is($seen{ok} // 0, 0, "$what: no poll says ok") or diag explain \%seen;
	ok(wait_for(sub { ($last = workers())->{reason} =~ $reason }, 'the reason'), "$what: the reason is named") or diag explain $last;
	is($last->{status}, 'error', "$what: as an error");
	return;
}

sub failed_starts
{
	my ($pattern) = @_;
	my $offset = -s $node->logfile;

	return sub { log_lines($node, qr/FATAL:.*$pattern/, $offset) >= 12 };
}

sub well_again
{
	my ($what) = @_;

	ok( wait_for(sub { workers()->{status} eq 'ok' }, 'bs_health()', 60), "$what: ok again")
	  or diag explain workers();
	is(sql($node, q{SELECT count(*) FROM bs_worker_stats() WHERE last_error IS NOT NULL OR failed_starts > 0}), 0, "$what: no error is left over");
	return;
}

ok(wait_workers($node, 4), 'the workers run');
sql($node, q{SELECT bs_add_user('First', 'Last', 'first@example.com', 'Etc/UTC')});
well_again('at first');

# ---- The settings name something that is not there, or may not connect.

sql($node, 'CREATE ROLE sleepy NOLOGIN; CREATE ROLE outsider LOGIN; CREATE ROLE stranger LOGIN');
my $done = failed_starts('role "bs_wroker" does not exist');
set_conf($node, role => 'bs_wroker');
never_ok('a role that does not exist', qr/cannot start: role "bs_wroker" does not exist; birthday_scheduler\.role must name/, $done);
like(sql($node, 'SELECT last_error FROM bs_worker_stats() LIMIT 1'), qr/bs_wroker/, 'bs_worker_stats() has it as well');

$done = failed_starts('role "sleepy" is not permitted to log in');
set_conf($node, role => 'sleepy');
never_ok('a role without LOGIN', qr/role "sleepy" is not permitted to log in; birthday_scheduler\.role/, $done);

sql($node, 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO bs_worker');
$done = failed_starts('permission denied for database "postgres"');
set_conf($node, role => 'outsider');
never_ok('a role without CONNECT', qr/permission denied for database "postgres"; birthday_scheduler\.role needs CONNECT/, $done);
sql($node, 'GRANT CONNECT ON DATABASE postgres TO PUBLIC');

set_conf($node, database => 'postgers', role => 'bs_worker');
$done = failed_starts('database "postgers" does not exist');
ok(wait_for($done, 'failed starts', 60), 'a database that does not exist: each worker fails again and again');
like(workers()->{reason}, qr/no workers serve this database/, 'a database that does not exist: this one has no workers');
set_conf($node, database => 'postgres');
well_again('with the right names');

# ---- A role that may connect and no more, and one whose rights are taken away.

set_conf($node, role => 'stranger');
never_ok('a role without rights', qr/permission denied.*SELECT bs_grant\('stranger', 'worker'\)/, sub { 1 });
sql($node, q{SELECT bs_grant('stranger', 'worker')});
well_again('with the rights');
sql($node, 'DROP OWNED BY stranger');
never_ok('rights that are gone', qr/permission denied.*SELECT bs_grant\('stranger', 'worker'\)/, sub { 1 });
sql($node, q{SELECT bs_grant('stranger', 'worker')});
well_again('with the rights once more');

# ---- Without a role of their own the workers are superusers: the log says so, once a start.

is(log_lines($node, qr/WARNING:.*run as a superuser/), 0, 'with a role: no warning');
my $offset = -s $node->logfile;
set_conf($node, role => '');
well_again('without a role');
is(log_lines($node, qr/WARNING:  the workers of birthday_scheduler run as a superuser/, $offset), 1, 'without a role: one warning');
like(server_log($node), qr/HINT:  Set "birthday_scheduler\.role" to a role that has LOGIN/, 'and what to set');

$node->stop;
done_testing();
