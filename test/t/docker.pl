# What docker/compose.yaml mounts, in the real server and the real broker: only the
# names of the hosts are others.  A greeting goes the whole way, and who comes by
# HTTP may do what the roles of docker/postgres/init allow, and nothing else.

use strict;
use warnings;

use BS::Broker;
use BS::Delivery;
use BS::Test;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $dir = scratch_dir();
my $docker = "$top/docker";

# ---- The secrets, and what the image's entrypoint makes of them.

system_or_bail("$top/tools/docker.sh", 'secrets', "$dir/secrets");
mkdir "$dir/entry";
append_to_file("$dir/entry/docker-entrypoint.sh",
	"#!/bin/sh\necho \"went on with \$*\"\n");
chmod 0755, "$dir/entry/docker-entrypoint.sh";
{
	local $ENV{PATH} = "$dir/entry:$ENV{PATH}";
	local $ENV{BS_SECRETS_FROM} = "$dir/secrets";
	local $ENV{BS_SECRETS_TO} = "$dir/run";
	my ($said, $errors) =
	  run_command([ "$docker/postgres/bs-entrypoint.sh", 'postgres', '-c', 'x=y' ]);

	is("$said$errors", 'went on with postgres -c x=y',
		'the entrypoint goes on with the one of the image');
	is(slurp_file("$dir/run/amqp_password"),
		slurp_file("$dir/secrets/bs_amqp_password"),
		'the password of the broker was copied');
	is(sprintf('%o', (stat "$dir/run/amqp_password")[2] & 0777),
		'400', 'and is closed to others');
	is(join(' ', map { s{.*/}{}r } glob "$dir/run/*"),
		'amqp_password sender_passfile', 'no other secret was');
}

# ---- The broker takes its configuration and the definitions.

my @conf = grep { /^\w/ } split /\n/, slurp_file("$docker/rabbitmq/rabbitmq.conf");
my $definitions = "$dir/secrets/rabbitmq_definitions.json";

# This machine may have less disk to spare.
@conf = grep { !/^disk_free_limit/ } @conf;
s{/run/secrets/rabbitmq_definitions\.json}{$definitions} foreach @conf;
chmod 0755, $dir, "$dir/secrets";
my $broker = BS::Broker->new('docker', conf => \@conf);

is($broker->ctl('list_users', '--no-table-headers'),
	"admin\t[administrator]\nbirthday_scheduler\t[]",
	'the users are those of the definitions, guest is not there');
like(
	$broker->ctl(
		'authenticate_user', 'birthday_scheduler',
		slurp_file("$dir/secrets/bs_amqp_password")),
	qr/Success/,
	'the password of the secret is the right one');
is($broker->evaluate(
		'lists:flatten(io_lib:format("~p", [application:get_env(rabbit, cluster_partition_handling)]))'),
	'{ok,pause_minority}',
	'the settings hold');

# ---- The server takes its configuration, and the init scripts run as they do in
# the image: by psql with ON_ERROR_STOP, in the order of their names.

my $catcher = start_catcher("$dir/mail");
my ($port) = $broker->url =~ /:(\d+)$/;
my $node = BS::Test->new_node(
	'main',
	preload => 0,
	conf => <<"CONF");
include '$docker/postgres/postgresql.conf'
listen_addresses = ''
birthday_scheduler.amqp_url = 'amqp://birthday_scheduler\@127.0.0.1:$port/birthday'
birthday_scheduler.amqp_password_file = '$dir/run/amqp_password'
birthday_scheduler.mail_url = '${\ $catcher->url}'
CONF
$node->start;
is( $node->safe_psql('postgres', q{
		SELECT name, setting, error FROM pg_file_settings WHERE error IS NOT NULL}),
	'',
	'every setting is known and taken');
$node->safe_psql('postgres', 'CREATE DATABASE app');

foreach my $script (sort glob "$docker/postgres/init/*")
{
	my ($code, $out, $errors) = $node->psql(
		'app', undef,
		extra_params => [ '-v', "secrets=$dir/secrets", '-f', $script ]);

	is($code, 0, "$script runs") or diag $errors;
}
ok( wait_for(
		sub { $node->safe_psql('app', 'SELECT bool_and(pid IS NOT NULL) FROM bs_workers') eq 't' },
		'the workers'),
	'the workers find the extension');

my ($code, undef, $errors) = $node->psql(
	'postgres', undef,
	extra_params => [
		'-v', 'ON_ERROR_STOP=1', '-v', "secrets=$dir/nowhere",
		'-f', "$docker/postgres/init/40-passwords.sql" ]);
isnt($code, 0, 'without the secrets the last script fails');
like($errors, qr/missing among the secrets/, 'and says why');

# ---- By HTTP.  A request is what PostgREST makes of it: its own login, the role of
# the token, named arguments from JSON.

# request($role, $sql): what it answers, or the SQLSTATE in brackets.
sub request
{
	my ($role, $statement) = @_;
	my ($status, $out, $said) = $node->psql(
		'app',
		"SET SESSION AUTHORIZATION authenticator; SET ROLE $role; SET search_path = api, public; $statement",
		extra_params => [ '-v', 'VERBOSITY=sqlstate', '-v', 'ON_ERROR_STOP=1' ]);

	return $out if $status == 0;
	return $said =~ /(?:ERROR|FATAL):\s+(\w+)/ ? "[$1]" : "[$said]";
}

my $add = q{SELECT api.bs_add_user(first_name => 'Ada', last_name => 'Lovelace',
	email => 'ada@example.com', timezone => 'Europe/London', birthday_date => '1815-12-10')};

like(request('web_anon', q{SELECT api.bs_health() ->> 'status'}),
	qr/^(ok|warning|error)$/, 'anybody may ask for the health');
unlike(request('web_anon', q{SELECT api.bs_health()}), qr/reason|last_error/, 'but learns no reasons, which may name hosts');
$node->safe_psql('app', q{SELECT bs_report_sender('remote/inside.example/7/0000beef', '1 min', 0, 'working', '{0,0,0}', '{0,0,0,0,0,0,0}',
	array_fill(0::bigint, '{18}'), array_fill(0::bigint, '{18}'), 'the relay: Could not resolve host: mail.inside.example')});
unlike(request('web_anon', q{SELECT string_agg(m::text, ' ') FROM api.bs_metrics() m}), qr/inside\.example/, 'no metric of the web names a host');
$node->safe_psql('app', 'DELETE FROM bs_senders');
like(request('web_anon', q{SELECT count(*) > 5 FROM api.bs_metrics()}),
	qr/^t$/, 'and for the metrics');
foreach my $denied (
	$add,
	'SELECT * FROM api.users',
	q{SELECT api.bs_upcoming('1 day')},
	'SELECT api.bs_get_user(gen_random_uuid())',
	'SELECT * FROM public.users',
	'SELECT * FROM public.message_logs',
	'SELECT * FROM public.bs_status',
	'SELECT public.bs_pause()',
	'SELECT * FROM cron.job',
	'CREATE TABLE public.mine ()',
	'CREATE TABLE api.mine ()',
	'SET ROLE postgres',
	'SET ROLE birthday_worker')
{
	is(request('web_anon', $denied), '[42501]', "web_anon may not: $denied");
}
is(request('authenticator', 'SELECT api.bs_health()'),
	'[42501]', 'the login itself may do nothing');
is(request('exporter', 'SELECT 1'), '[42501]', 'nor become another');

my $id = request('web_app', $add);
like($id, qr/^[0-9a-f-]{36}$/, 'an application adds a user');
is(request('web_app', $add), '[23505]', 'a second time the address is taken (409)');
is(request('web_app', $add =~ s{Europe/London}{Mars/Olympus}r),
	'[22023]', 'a bad zone is refused (400)');
is(request('web_app', 'SELECT first_name, timezone FROM api.users'),
	'Ada|Europe/London', 'it reads the users');
is(request('web_app',
		qq{SELECT first_name FROM api.bs_update_user('$id', '{"first_name": "Augusta"}')}),
	'Augusta', 'it changes one');
is( request('web_app',
		qq{SELECT count(*) FROM api.bs_explain('$id') WHERE send_at IS NOT NULL}),
	'1', 'it asks what one gets');
like(request('web_app', q{SELECT count(*) FROM api.bs_upcoming('400 days')}),
	qr/^[12]$/, 'and what is to come');
request('web_app', "SELECT api.bs_delete_user('$id')");
is(request('web_app', 'SELECT count(*) FROM api.users'), '0', 'it deletes one');
request('web_app', "SELECT api.bs_restore_user('$id')");
is(request('web_app', 'SELECT count(*) FROM api.users'), '1', 'and takes that back');
foreach my $function ('bs_get_user', 'bs_delete_user', 'bs_restore_user', 'bs_explain')
{
	is(request('web_app', "SELECT api.$function('00000000-0000-0000-0000-000000000000')"),
		'[PT404]', "$function: an unknown id is a 404");
}
is(request('web_app', q{SELECT api.bs_update_user('00000000-0000-0000-0000-000000000000', '{}')}),
	'[PT404]', 'bs_update_user: an unknown id is a 404');
foreach my $denied (
	'DELETE FROM api.users',
	'UPDATE public.users SET email = lower(email)',
	'SELECT * FROM public.message_logs',
	"SELECT public.bs_purge_user('$id')",
	'SELECT public.bs_resume()',
	'SELECT * FROM cron.job',
	'SET ROLE postgres',
	'SET ROLE exporter')
{
	is(request('web_app', $denied), '[42501]', "web_app may not: $denied");
}

# Nothing in "api" is for everyone, and PostgREST shows what it is meant to.
is( $node->safe_psql('app', q{
		SELECT p.proname FROM pg_proc p
		 WHERE p.pronamespace = 'api'::regnamespace
		   AND has_function_privilege('birthday_worker', p.oid, 'EXECUTE')}),
	'', 'no function of "api" is open to the public');
is( $node->safe_psql('app', q{
		SELECT string_agg(p.proname, ' ' ORDER BY p.proname) FROM pg_proc p
		 WHERE p.pronamespace = 'api'::regnamespace
		   AND has_function_privilege('web_anon', p.oid, 'EXECUTE')}),
	'bs_health bs_metrics', 'without a token two functions are there');
is( $node->safe_psql('app', q{
		SELECT a.proname FROM pg_proc a JOIN pg_proc p ON p.proname = a.proname
		 WHERE a.pronamespace = 'api'::regnamespace AND p.pronamespace = 'public'::regnamespace
		   AND coalesce(a.proargnames[:a.pronargs], '{}') <> coalesce(p.proargnames[:p.pronargs], '{}')}),
	'', 'and their arguments have our names');

# ---- The exporter sees figures and no people.

is(request('web_anon', 'RESET ROLE; SET ROLE pg_monitor'), '[42501]',
	'the API cannot watch the server');
{
	my ($status, $out, $said) = $node->psql('app',
		q{SET SESSION AUTHORIZATION exporter; SELECT count(*) FROM bs_metrics(); SELECT count(*) FROM users},
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	like($out, qr/^[1-9]\d*$/, 'the exporter reads the metrics');
	like($said, qr/42501/, 'and no users');
}

# ---- The whole way: added by the application, planned, published, consumed, sent.

$node->safe_psql('app', q{UPDATE message_types SET send_time = '00:00', active_since = '2000-01-01'});
$node->safe_psql('app', q{
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	VALUES ('Grace', 'Hopper', 'grace@example.com', 'Etc/UTC',
		(now() AT TIME ZONE 'UTC')::date - interval '30 years', now() - interval '2 days');
	SELECT bs_wake()});
ok(wait_for(sub { $catcher->mails == 1 }, 'the greeting'), 'a greeting arrives')
  or diag $node->safe_psql('app', 'SELECT jsonb_pretty(bs_health())');
is(($catcher->mails)[0]{rcpt}[0],
	'grace@example.com', 'at the right address');
ok( wait_for(
		sub { $node->safe_psql('app', q{SELECT count(*) FROM message_logs WHERE status = 'SENT'}) eq '1' },
		'the record'),
	'and is recorded');
ok($broker->counts('birthday.messages.queue', 'birthday'),
	'it came through the queue of the broker');

$node->stop;
$broker->stop;
done_testing();
