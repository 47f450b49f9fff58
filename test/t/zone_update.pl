# The time zone database is replaced under a server that works, file by file, as a
# package does it: within a minute all that is pending stands at the new instants.
# What was sent by the old rules is not sent again, and of a burst that is under way
# nothing is lost.

use strict;
use warnings;

use BS::Zones;
use BS::Test;
use BS::Delivery;
use File::Copy ();
use File::Find ();
use Test::More;
use Time::HiRes qw(time);

my ($zones, $copy) = zone_folders();

# As dpkg does it: all new files beside the old ones, then each takes its place, by name.
sub prepare_zones
{
	my ($changed) = @_;
	my @files;

	File::Find::find({ no_chdir => 1, wanted => sub { push @files, $_ if -f $_ && !-l $_ } }, $copy);
	foreach my $file (@files)
	{
		my $name = substr($file, length($copy) + 1);

		File::Copy::copy("$zones/" . ($changed->{$name} // $name), "$file.new") or die "cannot copy $name: $!";
	}
	return sort @files;
}

# ---- Five zones five hours east of Greenwich, without summer time: what becomes of
# nine o'clock there, in minutes from what it was, once the files are others.

my %fate = (
	'Asia/Tashkent' => [ 'Asia/Dhaka', -60 ],
	'Asia/Karachi' => [ 'Asia/Dubai', 60 ],
	'Asia/Dushanbe' => [ 'Asia/Kabul', 30 ],
	'Asia/Samarkand' => [ undef, 0 ],
	'Indian/Maldives' => [ undef, 0 ]);    # its file goes
my $each = 60;
my $burst = 1600;
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = mail_node('main', mail_url => $catcher->url, senders => 2);

# Half an hour ahead, for each of them, and half an hour ago. The day is the zones' own.
sql($node, q{UPDATE message_types SET enabled = (name = 'BIRTHDAY')});
sql($node, q{CREATE TABLE moments AS
	SELECT t.name, t.at, (t.at AT TIME ZONE 'Asia/Samarkand')::date AS day, (t.at AT TIME ZONE 'Asia/Samarkand')::time AS hour
	  FROM (VALUES ('AHEAD', date_trunc('second', now()) + interval '30 minutes'), ('PAST', date_trunc('second', now()) - interval '30 minutes')) AS t (name, at)});
sql($node, q{INSERT INTO message_types (name, date_source, cadence, subject_template, text_template, send_time, active_since)
	SELECT name, 'user_dates', 'once', name, 'Hello {{first_name}}', hour, '2000-01-01' FROM moments});
my $number = 0;
foreach my $zone (sort keys %fate)
{
	$number++;
	add_due($node, $each, "zone$number-", timezone => "'$zone'", birthday_date => 'NULL');
	sql($node, "INSERT INTO user_dates (user_id, message_type, event_date, created_at)
		SELECT u.id, m.name, m.day, '2000-01-01' FROM users u, moments m WHERE u.timezone = '$zone'");
}
my $owed = $each * keys %fate;
wait_count($node, 'zone%', "SCHEDULED $owed, SENT $owed");
is(sql($node, q{SELECT count(DISTINCT l.scheduled_send_time - m.at), max(l.scheduled_send_time - m.at) FROM message_logs l JOIN moments m ON m.name = l.message_type}),
	'1|00:00:00', 'one instant for all of them');
sql($node, 'CREATE TABLE before AS SELECT id, idempotency_key, status FROM message_logs');

# ---- The update comes amid a burst.

set_conf($node, rate_limit => 20);
add_due($node, $burst, 'burst');
ok(wait_for(sub { $catcher->mails > $owed + 100 }, 'the burst'), 'a burst is under way');
my @before = worker_pids($node, '');
my $offset = -s $node->logfile;
my @files = prepare_zones({ map { ($_ => $fate{$_}[0] // $_) } keys %fate });
cmp_ok(scalar(@files), '>', 300, @files . ' files are there twice');

# Where each row belongs: said by hand, not by a zone file.
my $places = join ', ', map { "('$_', $fate{$_}[1])" } sort keys %fate;
my $wrong = qq{SELECT count(*) FROM message_logs l JOIN users u ON u.id = l.user_id JOIN moments m ON m.name = l.message_type
	JOIN (VALUES $places) AS p (zone, minutes) ON p.zone = u.timezone
	WHERE m.name = 'AHEAD' AND l.scheduled_send_time <> m.at + p.minutes * interval '1 minute'};
is(sql($node, $wrong), 3 * $each, 'what is pending stands at the old instants');
my $began = time;
rename("$_.new", $_) or die "cannot rename $_: $!" foreach @files;
unlink("$copy/Indian/Maldives") or die "cannot remove a zone: $!";
ok(wait_for(sub { sql($node, $wrong) eq '0' }, 'the new instants', 60), 'and within a minute at the new ones')
  or diag sql($node, q{SELECT u.timezone, l.scheduled_send_time - m.at, l.status, count(*) FROM message_logs l JOIN users u ON u.id = l.user_id JOIN moments m ON m.name = l.message_type GROUP BY 1, 2, 3});
note sprintf('it took %.1f s', time - $began);
cmp_ok(sql($node, q{SELECT count(*) FROM message_logs WHERE recipient_email LIKE 'burst%' AND status = 'SCHEDULED'}), '>', 0, 'while the burst goes on');
ok(wait_for(sub { log_lines($node, qr/the time zone database has changed, starting afresh/, $offset) >= 3 }, 'workers that leave'),
	'all workers have started afresh');
ok(wait_workers($node, scalar @before), 'and are back');
my %old = map { $_ => 1 } @before;
is_deeply([ grep { $old{$_} } worker_pids($node, '') ], [], 'there is none with the old rules');

# ---- Once each, and the rest waits.

# Tashkent's instant is past now.
set_conf($node, rate_limit => 400);
ok(wait_settled($node, 'burst%', 90), 'the burst is sent');
wait_count($node, 'zone%', sprintf('SCHEDULED %d, SENT %d', $owed - $each, $owed + $each));
is(sql($node, q{SELECT string_agg(DISTINCT u.timezone, ' ') FROM message_logs l JOIN users u ON u.id = l.user_id WHERE l.message_type = 'AHEAD' AND l.status = 'SENT'}),
	'Asia/Tashkent', 'whose hour has come gets it at once');
is(sql($node, q{SELECT count(*) FROM message_logs l JOIN before b USING (id, idempotency_key) WHERE b.status IN ('SENT', l.status) OR l.status = 'SENT'}),
	2 * $owed, 'the same rows with the same keys');
# Karachi's hour of the message that is sent lies ahead by now: nobody thinks of another one.
sql($node, 'SELECT bs_plan()');
is(sql($node, q{SELECT count(*), count(DISTINCT (user_id, message_type)) FROM message_logs WHERE message_type <> 'BIRTHDAY'}), 2 * $owed . '|' . 2 * $owed, 'no message is planned twice');
is(sql($node, q{SELECT count(*), count(DISTINCT user_id) FROM message_logs WHERE recipient_email LIKE 'burst%' AND status = 'SENT'}), "$burst|$burst", 'none of the burst is lost');
my %seen;
$seen{ $_->{message_id} }++ foreach $catcher->mails;
is(scalar(keys %seen), $owed + $each + $burst, 'each is mailed');
is(scalar(grep { $_ != 1 } values %seen), 0, 'once');
like(sql($node, 'SELECT explanation FROM bs_explain((SELECT id FROM users WHERE timezone = \'Indian/Maldives\' LIMIT 1)) WHERE message_type = \'AHEAD\''),
	qr/does not know the time zone "Indian\/Maldives"/, 'bs_explain() says which zone is gone');

$node->stop;
done_testing();
