# Promotion of a standby in mid-burst with remote senders: they find the new primary by
# themselves and record there what they sent. With synchronous commit nothing is lost
# and nothing sent twice; with asynchronous commit what the primary had committed and
# not handed on is sent again, and that window is measured.

use strict;
use warnings;

use BS::Delivery;
use BS::Sender;
use BS::Test;
use Test::More;
use Time::HiRes qw(time);

my $count = 1500;
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');

write_script($catcher, { rules => [ { phase => 'body', delay_ms => 15 } ] });

sub arrived { my ($prefix) = @_; return scalar map { @$_ } values %{ $catcher->arrivals($prefix) }; }

# A pair, and two senders that know both.
sub pair
{
	my ($name) = @_;
	my $primary = remote_node("${name}_primary", streaming => 1, lease => '60s', conf => "shared_buffers = 16MB\n");

	$primary->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new("${name}_standby");
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "primary_conninfo = '" . $primary->connstr . " application_name=standby user=postgres'");
	$standby->start;
	my @senders = map { BS::Sender->new([ $primary, $standby ], "${name}_$_", mail_url => $catcher->url, mail_timeout => '15s')->start } 1, 2;
	return ($primary, $standby, @senders);
}

# What the three ledgers say in the end: rows, mails, and what the senders have counted.
sub compare
{
	my ($name, $standby, $senders, $doubles_min, $doubles_max) = @_;

	ok(wait_settled($standby, "$name%", 90), "$name: settled");
	is(counts($standby, "$name%"), "SENT $count", "$name: each row is SENT");
	my $arrivals = $catcher->arrivals($name);
	is(scalar(keys %$arrivals), $count, "$name: nobody is left out");
	my @twice = grep { @$_ > 1 } values %$arrivals;
	is(scalar(grep { @$_ > 2 } @twice), 0, "$name: nothing came three times");
	is(scalar(grep { $_->[0][1] ne $_->[1][1] } @twice), 0, "$name: what came twice has one Message-ID");
	cmp_ok(scalar(@twice), '>=', $doubles_min, "$name: at least $doubles_min twice");
	cmp_ok(scalar(@twice), '<=', $doubles_max, "$name: at most $doubles_max twice");
	is(sql($standby, q{SELECT count(*) FROM message_logs WHERE status = 'SENDING'}), 0, "$name: nothing is held");
	foreach my $sender (@$senders)
	{
		is($sender->stop, 0, "$name: $sender->{name} ends as asked");
		is($sender->count_log(qr/connected to the database/), 2, "$name: $sender->{name} had two connections");
	}
	return scalar @twice;
}

# ---- Synchronous: what was committed is there.

my ($primary, $standby, @senders) = pair('sync');
set_conf($primary, '=synchronous_standby_names' => 'standby');
ok( wait_for(sub { sql($primary, q{SELECT sync_state FROM pg_stat_replication}) eq 'sync' }, 'the standby'),
	'sync: the standby confirms');
add_due($primary, $count, 'sync');
ok(wait_for(sub { arrived('sync') > $count / 3 }, 'a part of the mails'), 'sync: in mid-burst');
$primary->stop('immediate');
my $start = time;
$standby->promote;
my $before = arrived('sync');
ok(wait_for(sub { arrived('sync') > $before + 100 }, 'sending to go on'), 'sync: sending goes on');
diag sprintf('sync: a hundred mails more %.1f s after the promotion', time - $start);
compare('sync', $standby, \@senders, 0, 0);
$standby->stop;

# ---- Asynchronous, with a standby that has fallen behind by a moment: what was
# recorded in that moment is not known to the new primary.

($primary, $standby, @senders) = pair('async');
my $offset = -s $standby->logfile;
add_due($primary, $count, 'async');
ok(wait_for(sub { arrived('async') > $count / 3 }, 'a part of the mails'), 'async: in mid-burst');
my $receiver = sql($standby, 'SELECT pid FROM pg_stat_wal_receiver');
$before = arrived('async');
kill 'STOP', $receiver;
ok(wait_for(sub { arrived('async') >= $before + 150 }, 'more mails'), 'async: the standby falls behind');
$primary->stop('immediate');
kill 'KILL', $receiver if !kill('CONT', $receiver);
my $window = arrived('async') - $before;
$standby->promote;
my $twice = compare('async', $standby, \@senders, 1, $window + 2 * (8 + 128));
diag "async: $window mails were taken while the standby was behind, $twice came twice";
$standby->stop;

unlike(join('', map { server_log($_) } $primary, $standby), qr/\@example\.com|First\d/, 'the logs name nobody');
done_testing();
