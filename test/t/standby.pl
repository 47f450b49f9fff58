# Replication: a standby sends nothing until it is promoted, then it goes on where
# the primary was; a standby that never confirms holds up no shutdown.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;
use Time::HiRes qw(time);

my $catcher = start_catcher(scratch_dir() . '/mail');
my $primary = mail_node('primary', streaming => 1, mail_url => $catcher->url,
	conf => "shared_buffers = 16MB\n");
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# ---- The standby has the tables and no workers.

add_due($primary, 10, 'before');
ok(wait_settled($primary, 'before%'), 'the primary sends');
$primary->wait_for_catchup($standby);
is(counts($standby, 'before%'), 'SENT 10', 'the standby has the rows');
is(scalar(worker_pids($standby, '')), 0, 'and no workers');
is(sql($standby, 'SELECT count(*), count(pid) FROM bs_workers'), '4|0', 'as bs_workers says');
like(sql($standby, 'SELECT bs_health()'), qr/0 of 4 workers are at work/, 'and bs_health()');
my $err;
$standby->psql('postgres', 'SELECT bs_resume()', stderr => \$err,
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  25006/, 'bs_resume() fails as writing does there');

# ---- The primary dies with messages that are due, planned and half sent: the
# promoted standby sends all of them.  It is no copy.

write_script($catcher, { rules => [ { phase => 'body', rcpt => 'after*', delay_ms => 50 } ] });
my $before = $catcher->mails;
add_due($primary, 300, 'after');
ok(wait_for(sub { $catcher->mails > $before + 40 }, 'a part of the mails'), 'the primary is sending');
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
is(scalar(worker_pids($standby, '')), 0, 'the standby still has no workers');
my $start = time;
$standby->promote;
ok(wait_settled($standby, 'after%', 30), 'promoted: settled');
diag sprintf('promoted: all is sent after %.1f s', time - $start);
is(sql($standby, 'SELECT bs_installation_state()'), 'adopted', 'promoted: it is no copy');
is(counts($standby, 'after%'), 'SENT 300', 'promoted: all is sent');
my $mails = by_recipient(grep { $_->{rcpt}[0] =~ /^after/ } $catcher->mails);
is(scalar(keys %$mails), 300, 'promoted: nobody is left out');
my @twice = grep { @$_ > 1 } values %$mails;
is(scalar(grep { $_->[0]{message_id} ne $_->[1]{message_id} } @twice), 0,
	'promoted: what came twice has the same Message-ID');
is(scalar(grep { @$_ > 2 } @twice), 0, 'promoted: nothing came three times');
diag sprintf('promoted: %d were sent twice', scalar @twice);

# ---- A synchronous standby that is away: commits wait, nothing is sent without a
# claim that is safe, and a shutdown does not wait.

write_script($catcher, { rules => [] });
set_conf($standby, '=synchronous_standby_names' => 'nobody');
sql($standby, q{SET synchronous_commit = local;
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	SELECT 'F', 'L', 'sync' || n || '@example.com', 'Etc/UTC',
	       (now() AT TIME ZONE 'UTC')::date - interval '28 years', now() - interval '1 day'
	  FROM generate_series(1, 20) AS n});
ok( wait_for(sub { sql($standby, q{SELECT count(*) FROM pg_stat_activity
		WHERE backend_type LIKE 'birthday_scheduler sender%' AND wait_event = 'SyncRep'}) >= 1 },
		'a sender to wait'),
	'no standby: a sender waits for its claim');
is(scalar(grep { $_->{rcpt}[0] =~ /^sync/ } $catcher->mails), 0, 'no standby: nothing is sent');
my $took = stop_timed($standby);
diag sprintf('no standby: fast stop after %.3f s', $took);
cmp_ok($took, '<', slow(2), 'no standby: a fast stop ends');
$standby->append_conf('postgresql.auto.conf', "synchronous_standby_names = ''");
$standby->start;
ok(wait_settled($standby, 'sync%', 20), 'without it: settled');
is(counts($standby, 'sync%'), 'SENT 20', 'without it: all is sent');
is(scalar(grep { $_->{rcpt}[0] =~ /^sync/ } $catcher->mails), 20, 'without it: once each');

unlike(server_log($_), qr/\@example\.com|First\d/, $_->name . ': the log names nobody')
  foreach $primary, $standby;
$standby->stop;
done_testing();
