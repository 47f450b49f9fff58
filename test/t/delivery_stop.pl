# A stop while an outcome is being recorded, and the disk or the machine is slow: it is
# recorded, and nothing is sent twice.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', mail_url => $catcher->url, senders => 1);

sub sent { return scalar grep { $_->{rcpt}[0] =~ /^slow/ } $catcher->mails; }

sql($node, <<'SQL');
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NEW; END';
	CREATE TRIGGER slow BEFORE UPDATE ON message_logs FOR EACH ROW WHEN (NEW.status = 'SENT') EXECUTE FUNCTION slow();
SQL
foreach my $how (qw(server worker))
{
	my $before = sent();

	add_due($node, 1, "slow-$how-");
	ok(wait_for(sub { sent() > $before }, 'the mail'), "$how: the mail is out");
	ok( wait_for(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) == 1 }, 'the recording'),
		"$how: its outcome is being recorded");
	if ($how eq 'server')
	{
		$node->stop('fast');
		$node->start;
	}
	else
	{
		sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
	}
	ok(wait_settled($node, "slow-$how-%"), "$how: settled");
	is(counts($node, "slow-$how-%"), 'SENT 1', "$how: sent");
	is(sql($node, "SELECT attempts FROM message_logs WHERE recipient_email LIKE 'slow-$how-%'"), 1, "$how: by one attempt");
	is(sent(), $before + 1, "$how: one mail");
}

$node->stop;
done_testing();
