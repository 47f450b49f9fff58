# A schema in which somebody else may create objects: what he puts there before the
# extension is made, or afterwards, is never run, neither by the script nor by the
# functions, the triggers and the workers, and a name that is taken stops the
# installation.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', extension => 0, database => 'hostile', mail_url => $catcher->url);

sql($node, $_) foreach 'CREATE ROLE mallory', 'CREATE DATABASE model', 'CREATE DATABASE hostile';
sql($node, 'CREATE EXTENSION birthday_scheduler', 'model');

# ---- Decoys: every function of ours once more, with each argument that is called with
# less than its exact type or left to its default.  Whatever runs one says so in the
# log, also where the error is caught.

my %other = (
	text => ['varchar'], 'character varying' => ['text'], name => ['text'],
	integer => [ 'bigint', 'text' ], bigint => [ 'integer', 'text' ], boolean => ['text'],
	date => [ 'timestamp', 'text' ], 'timestamp with time zone' => [ 'date', 'timestamp', 'text' ],
	'time without time zone' => [ 'interval', 'text' ], interval => ['text'], uuid => ['text'], jsonb => ['text'],
	regclass => [ 'oid', 'text' ], oid => [ 'regclass', 'integer' ]);
my @members = map { [ split /\|/, $_, -1 ] } split /\n/, sql($node, <<'SQL', 'model');
	SELECT p.proname, p.pronargdefaults,
	       array_to_string(ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n), ',')
	  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
	 ORDER BY 1, 3
SQL
my %ours = map { ("$_->[0]($_->[2])" => 1) } @members;
my %decoys;
foreach my $member (@members)
{
	my ($name, $defaults, $types) = @$member;
	my @types = split /,/, $types;

	foreach my $count (@types - $defaults .. @types)
	{
		my @lists = ('');
		foreach my $type (@types[ 0 .. $count - 1 ])
		{
			my @choice = ($type, @{ $other{$type} // [ $type =~ /\[\]$/ ? 'text' : () ] });
			# Rows of tables of ours, which are not there yet.
			@choice = ('record') if $type =~ /^(?:users|message_types|message_logs)$/;
			@choice = @choice[ 0 .. 1 ] if $count > 4 && @choice > 2;
			@lists = map { my $list = $_; map { $list eq '' ? $_ : "$list,$_" } @choice } @lists;
		}
		$decoys{"$name($_)"} = 1 foreach @lists;
	}
}
delete @decoys{ keys %ours };

my $function = q{ RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE LOG 'hijacked as %', current_user; RAISE 'hijacked'; END$$;};
my $plant = join "\n", "SET client_min_messages = error;", map { "CREATE FUNCTION public.$_$function" } sort keys %decoys;

# Beside them what scripts and functions use of the server's own: operators and
# functions with nearer arguments, types, relations.
my $n = 0;
foreach my $types ([qw(text text)], [qw(varchar varchar)], [qw(varchar text)], [qw(text varchar)], [qw(name name)], [qw(uuid uuid)], [qw(oid oid)],
	[qw(date date)], [qw(timestamptz timestamptz)], [qw(timestamptz interval)], [qw(date integer)], [qw(date interval)], [qw(integer integer)], [qw(bigint integer)])
{
	my ($left, $right) = @$types;
	$n++;
	foreach my $operator ('=', '<>', '<', '<=', '>=', '>', '||', '+', '-', '~')
	{
		my $to = $operator =~ /[|+]|^-$/ ? 'text' : 'boolean';
		my $op = 'op' . unpack 'H*', $operator;
		$plant .= "\nCREATE FUNCTION public.$op($left, $right) RETURNS $to LANGUAGE plpgsql AS \$\$BEGIN RAISE LOG 'hijacked as %', current_user; RAISE 'hijacked'; END\$\$;"
		  . "\nCREATE OPERATOR public.$operator (LEFTARG = $left, RIGHTARG = $right, FUNCTION = public.$op);";
	}
}
$plant .= "\nCREATE FUNCTION public.$_$function"
  foreach 'now()', 'clock_timestamp()', 'current_database()', 'gen_random_uuid()', 'to_regclass(text)', 'pg_extension_config_dump(text, text)', 'count(uuid)', 'unnest(uuid[])',
  'unnest(text[])', 'format(text, text)', 'format(text, name)', 'format(text, regclass)', 'format(text, regprocedure)', 'format(text, regprocedure, name)', 'format(text, text, text)', 'format(text, text, name)',
  'lower(varchar)', 'btrim(varchar)', 'length(varchar)', 'coalesce_text(text)', 'jsonb_build_object(text, text)', 'date_trunc(text, date)', 'hashtext(varchar)', 'pg_advisory_xact_lock(integer, integer)',
  'current_setting(text)', 'array_agg(uuid)', 'to_char(date, text)', 'random()', 'pg_sleep(numeric)', 'generate_series(date, date, text)';
$plant .= "\nCREATE DOMAIN public.$_->[0] AS $_->[1];" foreach [ 'uuid', 'pg_catalog.text' ], [ 'date', 'pg_catalog.text' ], [ 'text', 'pg_catalog.bytea' ], [ 'jsonb', 'pg_catalog.text' ],
  [ 'regclass', 'pg_catalog.text' ], [ 'timestamptz', 'pg_catalog.text' ];
$plant .= "\nCREATE TABLE public.$_ (x integer);" foreach qw(pg_class pg_proc pg_depend pg_extension pg_inherits pg_database pg_roles pg_type);

cmp_ok(scalar(keys %decoys), '>', 500, 'decoys of our functions: ' . keys %decoys);
sql($node, 'GRANT CREATE ON SCHEMA public TO PUBLIC; ALTER DATABASE hostile SET search_path = public, pg_catalog', 'hostile');
sql($node, 'ALTER ROLE bs_worker SET search_path = public, pg_catalog');
sql($node, "SET search_path = pg_catalog; SET SESSION AUTHORIZATION mallory; $plant", 'hostile');

# ---- The extension is made in it, and nothing that belongs to it leads to a decoy.

my $offset = -s $node->logfile;
sql($node, q{CREATE EXTENSION birthday_scheduler SCHEMA public}, 'hostile');
is(log_lines($node, qr/(?:LOG|ERROR):  hijacked/, $offset), 0, 'the script ran none of them');
my $depends = <<'SQL';
	SET search_path = pg_catalog;
	SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' needs ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
	  FROM pg_depend d
	       JOIN pg_shdepend theirs ON (theirs.classid, theirs.objid) = (d.refclassid, d.refobjid) AND theirs.deptype = 'o'
	            AND theirs.refobjid = 'mallory'::regrole AND theirs.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
	 WHERE NOT EXISTS (SELECT FROM pg_shdepend own WHERE (own.classid, own.objid) = (d.classid, d.objid) AND own.deptype = 'o' AND own.refobjid = 'mallory'::regrole)
	   AND d.deptype IN ('n', 'a') AND NOT (d.classid IN ('pg_type'::regclass, 'pg_constraint'::regclass) AND d.deptype = 'a')
SQL
is(sql($node, $depends, 'hostile'), '', 'nothing of ours depends on anything of theirs');
is(sql($node, q{SET search_path = pg_catalog; SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
		AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'birthday_scheduler' AND d.deptype = 'e'}, 'hostile'),
	sql($node, q{SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
		AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'birthday_scheduler' AND d.deptype = 'e'}, 'model'),
	'the extension has as many members as elsewhere');
# The question would find one.
sql($node, q{SET search_path = pg_catalog; CREATE VIEW public.careless AS SELECT x FROM public.pg_class}, 'hostile');
like(sql($node, $depends, 'hostile'), qr/needs .*pg_class/, 'a careless view is found');
sql($node, q{DROP VIEW public.careless}, 'hostile');

# ---- It works, and none is run: functions, triggers, workers.

sub here { return sql($node, "SET search_path = pg_catalog; $_[0]", 'hostile'); }

here(q{SELECT public.bs_grant('bs_worker'::name, 'worker'::text), public.bs_grant('bs_worker'::name, 'reader'::text)});
here(q{UPDATE public.message_types SET send_time = '00:00', active_since = '2000-01-01',
	html_template = CASE name WHEN 'BIRTHDAY' THEN '<p>{{full_name}} {{city}}</p>' END});
here(q{SELECT public.bs_resume()});
write_script($catcher, { rules => [ { phase => 'rcpt', rcpt => 'never*', reply => '550 5.1.1 no' }, { phase => 'rcpt', rcpt => 'later*', reply => '450 4.2.0 later', times => 1 } ] });
foreach my $kind (qw(good never later))
{
	here(qq{INSERT INTO public.users (first_name, last_name, email, timezone, birthday_date, anniversary_date, location_city, created_at)
		SELECT 'a', 'b', '$kind' || n || '\@example.com', 'Etc/UTC', d, d + 3000, 'c', now() - interval '40 days'
		  FROM generate_series(1, 3) AS n, (SELECT (now() AT TIME ZONE 'UTC')::date - interval '28 years') AS y (y), LATERAL (SELECT y::date) AS z (d)});
}
sub settled { return sql($node, q{SET search_path = pg_catalog; SELECT count(*) FROM public.message_logs WHERE message_type = 'BIRTHDAY' AND status NOT IN ('SENT', 'FAILED')}, 'hostile') == 0 }
ok(wait_for(\&settled, 'the mail', 60), 'mail goes out')
  or diag here(q{SELECT recipient_email, status, status_reason, error_message FROM public.message_logs}), server_log($node, $offset) =~ s/.*(.{4000})$/$1/sr;
is(here(q{SELECT string_agg(s, ', ' ORDER BY s) FROM (SELECT status || ' ' || count(*) AS s FROM public.message_logs WHERE message_type = 'BIRTHDAY' GROUP BY status) q}),
	'FAILED 3, SENT 6', 'as it should');

my $user = here(q{SELECT public.bs_add_user('Ann'::text, 'Lee'::text, 'ann@example.com'::text, 'UTC'::text, date '1990-02-03', date '2010-02-03', 'Rome'::text, 'Italy'::text)});
my $message = here(q{SELECT id FROM public.message_logs WHERE status = 'FAILED' LIMIT 1});
# Every function that can be called, with what makes it work.
my @calls = (
	"bs_get_user('$user'::uuid)", "bs_update_user('$user'::uuid, '{\"timezone\": \"Europe/Kyiv\"}'::jsonb)", "bs_explain('$user'::uuid)", "bs_preview('$user'::uuid, 'BIRTHDAY'::text, 2044)", "bs_find_user('ann lee'::text)",
	"bs_upcoming('30 days'::interval)", "bs_delete_user('$user'::uuid)", "bs_restore_user('$user'::uuid)", "bs_purge_user('$user'::uuid)",
	'bs_seed(20, true)', "bs_plan(now() + interval '3 days', now())", "bs_plan_begin('2044-05-04 00:00+00'::timestamptz, '2044-05-04 00:00+00'::timestamptz)",
	"bs_plan_slices(now(), now() + interval '2 days')", "bs_plan_slice('BIRTHDAY'::varchar, 'birthday_date'::varchar, current_date, extract(month FROM now())::int * 100 + extract(day FROM now())::int, now() - interval '1 day', now() + interval '2 days', '{}'::date[], NULL::uuid, 10)",
	"bs_plan_refresh(now(), now(), '-infinity'::timestamptz, NULL::uuid, 10)", "bs_plan_end(now(), now(), '{}'::date[], 0::bigint, 0::bigint, NULL::uuid, NULL::text)", "bs_plan_pass(now(), now() + interval '2 days', 10)",
	'bs_pause(NULL::text)', 'bs_resume()', 'bs_create_partitions(13)', "bs_drop_partitions('3 months'::interval, false)", "bs_upkeep('partitions'::text, 'hand'::text)", "bs_upkeep('retention'::text, 'hand'::text)",
	"bs_upkeep('recovery'::text, 'hand'::text)", 'bs_health()', 'bs_metrics(NULL::text)', 'bs_worker_stats()', 'bs_broker_stats()', 'bs_relay_stats()', 'bs_scheduler_stats()', 'bs_histogram_stats()', 'bs_counts(now(), 10::bigint)', 'bs_days(current_date, current_date)', "bs_metrics('due'::text)", 'bs_installation_state()', 'bs_uninstall_cron()',
	"bs_retry_message('$message'::uuid)", "bs_retry_failed(now() - interval '1 day')", "bs_claim_holders(now())", "bs_report_sender('remote/x/1/00000000'::text, '1 min'::interval, 1, 'idle'::text, '{0,0,0}'::bigint[], '{0,0,0,0,0,0,0}'::bigint[], array_fill(0::bigint, '{18}'), array_fill(0::bigint, '{18}'), ''::text)", 'bs_sender_stats()', "bs_metrics('sender_up'::text)", "bs_next_due(now())",
	"bs_due_messages(10, '{}'::uuid[], true, now())", "bs_mark_queued(ARRAY['$message'::uuid], ARRAY[now()], ARRAY[now()], '1 min'::interval, now())",
	"bs_claim_copies('x'::text, '1 min'::interval, ARRAY['$message'::uuid], ARRAY[now()], now(), NULL::bigint)", "bs_claim('x'::text, 10, '1 min'::interval, now() + interval '2 days', NULL::bigint)",
	"bs_take_back(10::bigint, now())", "bs_recover('{x}'::text[], true, now() + interval '3 days')", 'bs_wake()',
	"bs_record(ARRAY['$message'::uuid], ARRAY[now()], ARRAY['$message'::uuid], '{SENT}'::text[], '{x}'::text[], '{NULL}'::timestamptz[], '{1}'::int[], '{x}'::text[], '{x}'::text[], ARRAY[now()])");
foreach my $call (@calls)
{
	my ($out, $err);
	$node->psql('hostile', "SET search_path = pg_catalog; BEGIN; SELECT * FROM public.$call; " . ($call =~ /resume|update|seed|delete|restore/ ? 'COMMIT' : 'ROLLBACK'), stdout => \$out, stderr => \$err, on_error_stop => 1);
	is($err, '', $call =~ s/\(.*//sr);
}
here(q{UPDATE public.users SET timezone = 'Asia/Tokyo'; UPDATE public.users SET email = 'x' || email WHERE email LIKE 'seed%';
	INSERT INTO public.message_types (name, date_source, subject_template, text_template) VALUES ('NAME_DAY', 'user_dates', 's', 't');
	INSERT INTO public.user_dates SELECT id, 'NAME_DAY', '2000-02-03' FROM public.users; UPDATE public.message_types SET enabled = false WHERE name = 'ANNIVERSARY';
	UPDATE public.user_dates SET event_date = event_date + 1; DELETE FROM public.user_dates; DELETE FROM public.message_types WHERE name = 'NAME_DAY';
	SELECT count(*) FROM public.bs_status, public.bs_workers, public.bs_daily, public.bs_events;
	SELECT count(*) FROM public.bs_today; SELECT count(*) FROM public.bs_week; SELECT count(*) FROM public.bs_checks;
	BEGIN; UPDATE public.message_logs SET status = 'EXPIRED', scheduled_send_time = now() - interval '1 hour' WHERE id = (SELECT m.id FROM public.message_logs m JOIN public.users u ON u.id = m.user_id AND u.deleted_at IS NULL
		WHERE m.message_type = 'BIRTHDAY' AND to_char(u.birthday_date, 'MMDD') = to_char(m.local_date, 'MMDD') LIMIT 1);
	SELECT public.bs_send_late(id) FROM public.message_logs WHERE status = 'EXPIRED'; ROLLBACK});
set_conf($node, queue => 'rabbitmq');
set_conf($node, queue => 'postgres');
is(log_lines($node, qr/(?:LOG|ERROR):  hijacked/, $offset), 0, 'no decoy was ever run') or diag grep { /hijacked/ } split /^/, server_log($node, $offset);

# ---- A table of theirs with the name of a month is no month of ours: the worker's role
# has no power over it, nor it over the worker's.

here(q{CREATE TABLE public.message_logs_2035_01 (LIKE public.message_logs INCLUDING DEFAULTS); ALTER TABLE public.message_logs_2035_01 OWNER TO mallory; SET SESSION AUTHORIZATION mallory;
	CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE LOG 'hijacked as %', current_user; RETURN NEW; END$$;
	CREATE TRIGGER evil BEFORE UPDATE ON public.message_logs_2035_01 FOR EACH STATEMENT EXECUTE FUNCTION public.evil()});
foreach my $call (
	q{public.bs_record('{00000000-0000-0000-0000-000000000001}'::uuid[], '{2035-01-05}'::timestamptz[], '{00000000-0000-0000-0000-000000000001}'::uuid[], '{SENT}'::text[], '{x}'::text[], '{NULL}'::timestamptz[], '{1}'::int[], '{x}'::text[], '{x}'::text[], '{2035-01-05}'::timestamptz[])},
	q{public.bs_mark_queued('{00000000-0000-0000-0000-000000000001}'::uuid[], '{2035-01-05}'::timestamptz[], '{2035-01-05}'::timestamptz[], '1 min'::interval, '2035-01-06'::timestamptz)},
	q{public.bs_claim_copies('x'::text, '1 min'::interval, '{00000000-0000-0000-0000-000000000001}'::uuid[], '{2035-01-05}'::timestamptz[], '2035-01-06'::timestamptz, NULL::bigint)},
	q{public.bs_claim('x'::text, 10, '1 min'::interval, '2035-01-06'::timestamptz, NULL::bigint)}, q{public.bs_next_due('2035-01-06'::timestamptz)})
{
	$node->psql('hostile', "SET search_path = pg_catalog; SET SESSION AUTHORIZATION bs_worker; BEGIN; SELECT * FROM $call; ROLLBACK", on_error_stop => 0);
}
is(log_lines($node, qr/(?:LOG|ERROR):  hijacked/, $offset), 0, 'a table with the name of a month is not touched');

# ---- Every name of ours that is taken stops the installation, and nothing stays.

sql($node, 'CREATE DATABASE taken');
my $taken = <<'SQL';
DO $do$
DECLARE
	statement text;
	outcome text;
	outcomes text[] := '{}';
BEGIN
	FOREACH statement IN ARRAY $1 LOOP
		BEGIN
			EXECUTE statement;
			BEGIN
				CREATE EXTENSION birthday_scheduler SCHEMA public;
				outcome := statement || ': taken over';
			EXCEPTION WHEN duplicate_function OR duplicate_table OR duplicate_object THEN
				outcome := 'refused';
			END;
			RAISE EXCEPTION 'undo' USING ERRCODE = 'BS000';
		EXCEPTION WHEN SQLSTATE 'BS000' THEN
			outcomes := outcomes || outcome;
		END;
	END LOOP;
	RAISE NOTICE '% refused, others: %', cardinality(array_positions(outcomes, 'refused')), array_remove(outcomes, 'refused');
END
$do$;
SQL
my @relations = split /\n/, sql($node, q{SELECT c.relname FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' AND c.relkind IN ('r', 'p', 'v')}, 'model');
my @statements = map { "CREATE $_ " } ((map { ("TABLE public.$_ (x integer)", "VIEW public.$_ AS SELECT 1 AS x", "TYPE public.$_ AS ENUM ('x')") } @relations),
	(map { "FUNCTION public.$_ RETURNS integer LANGUAGE sql AS 'SELECT 1'" } grep { /^bs_(?:is_email|add_user|claim|plan|health|grant|wake|render|month_day|users_before_write|record|metrics|upkeep)\(/ } sort keys %ours));
my $list = join ', ', map { "\$q\$$_\$q\$" } @statements;
my ($out, $err) = ('', '');
$taken =~ s/\$1/ARRAY[$list]/;
$node->psql('taken', $taken, stdout => \$out, stderr => \$err);
like($err, qr/NOTICE:  @{[ scalar @statements ]} refused, others: \{\}/, 'each of ' . @statements . ' names that are taken stops it');
is(sql($node, q{SELECT count(*) FROM pg_extension WHERE extname = 'birthday_scheduler'}, 'taken'), 0, 'nothing was made');

$node->stop;
done_testing();
