# What planning could not do at once is made up for soon, without another change.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;

# No relay: nothing is sent, the scheduler works.
my $node = mail_node('main', plan_interval => 3600);

sub value { my ($sql) = @_; return sql($node, $sql); }

# ---- A change of a user meets a message that another session has locked and then
# leaves as it was.

my $id = value(q{INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	VALUES ('Ann', 'Test', 'ann@example.com', 'Pacific/Honolulu',
	        ((now() AT TIME ZONE 'UTC')::date + 1) - interval '30 years', now() - interval '20 days')
	RETURNING id});
sql($node, 'SELECT bs_plan()');
my $send_time = "SELECT scheduled_send_time FROM message_logs WHERE user_id = '$id'";
my $as_wanted = "SELECT m.scheduled_send_time = bs_send_time(u.timezone, m.local_date, '00:00')
	FROM message_logs m JOIN users u ON u.id = m.user_id WHERE u.id = '$id'";
ok(wait_for(sub { value($as_wanted) eq 't' }, 'the message'), 'a message is planned');
my $old_time = value($send_time);
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT bs_cancel_message(id) FROM message_logs WHERE user_id = '$id'");
sql($node, "UPDATE users SET timezone = 'Asia/Tokyo' WHERE id = '$id'");
is(value($send_time), $old_time, 'a locked message: the change of the user waits for nobody');
$session->query_safe('ROLLBACK');
$session->quit;
ok(wait_for(sub { value($as_wanted) eq 't' }, 'the new time'),
	'a locked message: it follows the change once the lock is gone');
isnt(value($send_time), $old_time, 'a locked message: that is another time');

done_testing();
