# The owner of the database becomes an ordinary role while workers are at work: they
# stop, health says why, and what that role puts in the place of the extension's
# objects is never run, with the rights of whoever it is.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', mail_url => $catcher->url);

sql($node, 'CREATE ROLE mallory');
add_due($node, 5, 'before');
ok(wait_settled($node, 'before%', 30), 'mail goes out');
my $before = $catcher->mails;

# With the workers' own role, and with none, which means a superuser.
foreach my $role ('bs_worker', '')
{
	my $as = $role || 'a superuser';
	my $offset = -s $node->logfile;

	if (!$role)
	{
		set_conf($node, role => $role);
		$node->wait_for_log(qr/sender 1 started in database/, $offset);
	}
	$offset = -s $node->logfile;
	sql($node, 'ALTER DATABASE postgres OWNER TO mallory');
	sql($node, <<'SQL');
		SET SESSION AUTHORIZATION mallory;
		ALTER SCHEMA public RENAME TO old_public;
		CREATE SCHEMA public;
		GRANT ALL ON SCHEMA public TO PUBLIC;
		CREATE FUNCTION public.hijack() RETURNS text LANGUAGE plpgsql AS
			$$BEGIN RAISE LOG 'hijacked as %', current_user; ALTER ROLE mallory SUPERUSER; RETURN 'adopted'; END$$;
		CREATE FUNCTION public.bs_installation_state() RETURNS text LANGUAGE sql AS 'SELECT public.hijack()';
		CREATE FUNCTION public.bs_system_identifier() RETURNS bigint LANGUAGE sql AS 'SELECT length(public.hijack())';
		CREATE FUNCTION public.bs_is_planning() RETURNS boolean LANGUAGE sql AS 'SELECT public.hijack() IS NULL';
		CREATE FUNCTION public.bs_claim_holders() RETURNS SETOF text LANGUAGE sql AS 'SELECT public.hijack()';
		CREATE FUNCTION public.bs_plan_begin(INOUT as_of timestamptz, INOUT until timestamptz, OUT began timestamptz, OUT window_from timestamptz,
			OUT missing date[], OUT trouble text) LANGUAGE sql AS $$SELECT now(), now(), now(), now(), NULL::date[], public.hijack()$$;
		CREATE FUNCTION public.bs_next_due(timestamptz) RETURNS timestamptz LANGUAGE sql AS 'SELECT now() FROM public.hijack()';
		CREATE VIEW public.bs_installation AS SELECT public.hijack() AS x;
		CREATE VIEW public.users AS SELECT public.hijack() AS id;
SQL
	# Every worker looks again.
	set_conf($node, mail_url => $catcher->url . ($role ? '' : '/'));
	foreach my $worker ('scheduler', 'sender 1', 'sender 2')
	{
		ok(wait_for(sub { sql($node, qq{SELECT last_error ~ 'schema \\S+ does not belong to a superuser' FROM old_public.bs_worker_stats() WHERE worker = '$worker'}) eq 't' },
				"$worker", 40), "as $as: $worker stops and says why");
	}
	my ($out, $err);
	$node->psql('postgres', 'SELECT old_public.bs_health()', stdout => \$out, stderr => \$err);
	like($err, qr/schema old_public does not belong to a superuser.*It belongs to "mallory".*ALTER SCHEMA old_public OWNER TO/s, "as $as: health says why, and what to do");
	is(log_lines($node, qr/(?:LOG|ERROR):  hijacked/, $offset), 0, "as $as: nothing of theirs was run");
	is(sql($node, q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f', "as $as: no role became superuser");

	# The hint does not give the name back: that is seen as well.
	$offset = -s $node->logfile;
	sql($node, 'ALTER SCHEMA old_public OWNER TO CURRENT_USER');
	$node->psql('postgres', 'SELECT old_public.bs_health()', stdout => \$out, stderr => \$err);
	like($err, qr/schema public was renamed.*ALTER SCHEMA old_public RENAME TO public/s, "as $as: a name that is wrong is named");
	is(log_lines($node, qr/(?:LOG|ERROR):  hijacked/, $offset), 0, "as $as: and again nothing of theirs was run");

	sql($node, 'DROP SCHEMA public CASCADE; ALTER SCHEMA old_public RENAME TO public; ALTER DATABASE postgres OWNER TO CURRENT_USER; ALTER SCHEMA public OWNER TO pg_database_owner');
	add_due($node, 5, "after_$role");
	ok(wait_settled($node, "after_$role%", 60), "as $as: mail goes out again once the schema is back");
}
is(scalar($catcher->mails), $before + 10, 'each mail once');

$node->stop;
done_testing();
