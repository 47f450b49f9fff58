# A relay in every kind of trouble: what is delayed, what is given up, what is
# sent twice and what never is.

use strict;
use warnings;

use BS::Test;
use BS::Delivery;
use Test::More;
use Time::HiRes qw(time);

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main',
	mail_url => $catcher->url,
	mail_timeout => '1500ms',
	conf => 'log_min_messages = debug1');

sub rules { return write_script($catcher, { rules => [@_] }); }

sub mails_to
{
	my ($prefix) = @_;

	return grep { $_->{rcpt}[0] =~ /^\Q$prefix\E\d+@/ } $catcher->mails;
}

# How far "n messages have failed once, for that reason" has come.
sub wait_retrying
{
	my ($prefix, $count, $reason) = @_;

	return ok(
		wait_for(
			sub { sql($node, qq{SELECT count(*) FROM message_logs
				WHERE recipient_email LIKE '$prefix%' AND attempts >= 1
				  AND status_reason = '$reason'}) == $count },
			"$prefix: $count with $reason"),
		"$prefix: tried, $reason");
}

# ---- A recipient who cannot take mail just now is tried again after a while.

rules({ phase => 'rcpt', rcpt => 'grey*', reply => '450 4.2.0 try later', times => 1 });
add_due($node, 2, 'grey');
ok(wait_settled($node, 'grey%'), '450: settled');
is(counts($node, 'grey%'), 'SENT 2', '450: sent at last');
is(row($node, 'grey1@example.com')->{attempts}, 2, '450: at the second attempt');
my ($first) = grep { $_->{verdict} eq 'refused' && $_->{rcpt}[0] eq 'grey1@example.com' }
  $catcher->attempts;
my ($grey) = mails_to('grey');
cmp_ok($grey->{time} - $first->{time}, '>=', 0.45, '450: after half of retry_initial');

# ---- A relay that ends a session after some mails, by 421 or without being
# asked, costs neither attempts nor time.

foreach my $at_once (0, 1)
{
	my $prefix = "session$at_once";

	rules({ phase => 'session', after_messages => 3, at_once => $at_once });
	my $took = timed(
		sub {
			add_due($node, 60, $prefix);
			ok(wait_settled($node, "$prefix%"), "421 ($at_once): settled");
		});
	is(counts($node, "$prefix%"), 'SENT 60', "421 ($at_once): all are sent");
	is( sql($node, "SELECT max(attempts) || ',' || max(retry_count) FROM message_logs
			WHERE recipient_email LIKE '$prefix%'"),
		'1,0', "421 ($at_once): at the first attempt");
	is(scalar(mails_to($prefix)), 60, "421 ($at_once): once each");
	cmp_ok($took, '<', slow(5), "421 ($at_once): without delay");
}

# ---- A relay that takes a few mails a session and then says 452: the rest goes on
# over fresh sessions, at once and without spending attempts.

foreach my $phase (qw(mail rcpt data))
{
	rules({ phase => $phase, after_messages => 3, reply => '452 4.5.3 too many mails in this session' });
	my $start = time;
	add_due($node, 40, "few_$phase");
	ok(wait_settled($node, "few_$phase%", 20), "452 to $phase after three mails: settled");
	is(counts($node, "few_$phase%"), 'SENT 40', "452 to $phase: all sent");
	is(sql($node, "SELECT max(attempts) FROM message_logs WHERE recipient_email LIKE 'few_$phase%'"), 1, "452 to $phase: at the first attempt");
	is(scalar(mails_to("few_$phase")), 40, "452 to $phase: once each");
}

# ---- The name for EHLO: the domain of mail_from, or mail_helo. A relay that does not
# like it says 504, at RCPT as a rule; that is no message's fault.

my ($domain) = sql($node, 'SHOW birthday_scheduler.mail_from') =~ /@([^>]+)/;
rules();
add_due($node, 1, 'helo_default');
ok(wait_settled($node, 'helo_default%'), 'EHLO: settled');
is((mails_to('helo_default'))[0]{helo}, $domain, 'EHLO: the domain of mail_from');
set_conf($node, mail_helo => 'mx7.greetings.example.net');
rules({ phase => 'rcpt', rcpt => 'helo_named*', reply => '504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname', times => 1 });
add_due($node, 3, 'helo_named');
ok(wait_settled($node, 'helo_named%'), '504: settled');
is(counts($node, 'helo_named%'), 'SENT 3', '504: tried again and sent');
is((mails_to('helo_named'))[0]{helo}, 'mx7.greetings.example.net', 'EHLO: mail_helo');
set_conf($node, mail_helo => '');

# ---- Bad addresses are their owners' misfortune: the others are not delayed and
# the circuit stays closed, also where most addresses are bad.

set_conf($node, breaker => '0.5');
rules({ phase => 'rcpt', rcpt => 'nobody*', reply => '550 5.1.1 no such user' });
add_due($node, 40, 'nobody');
add_due($node, 10, 'somebody');
ok(wait_settled($node, '%body%', 10), '550: settled');
is(counts($node, 'nobody%'), 'FAILED 40', '550: given up');
is(counts($node, 'somebody%'), 'SENT 10', '550: the others are sent');
my $row = row($node, 'nobody7@example.com');
is("$row->{attempts} $row->{status_reason} $row->{api_response_code}",
	'1 refused 550', '550: at the first attempt, with the code');
like($row->{api_response_body}, qr/no such user/, '550: and what the relay said');
is(log_lines($node, 'pauses sending'), 0, '550: the circuit stays closed');
set_conf($node, breaker => '0');

# ---- Where no answer to the final dot can have come, nothing is in doubt: the
# mail arrives once.

rules();
$catcher->stop;
add_due($node, 3, 'refused');
wait_retrying('refused', 3, 'trouble');
$catcher->start;
ok(wait_settled($node, 'refused%'), 'refused connection: settled');
is(counts($node, 'refused%'), 'SENT 3', 'refused connection: sent when it is back');

my %silent = (
	greeting => { phase => 'connect', hang => 1 },
	hello => { phase => 'ehlo', hang => 1 },
	data => { phase => 'data', hang => 1 },
	nonsense => { phase => 'rcpt', raw => "what?\r\n" });
foreach my $case (sort keys %silent)
{
	# The sessions that are open would not see a new greeting.
	$catcher->stop;
	rules($silent{$case});
	$catcher->start;
	add_due($node, 3, $case);
	wait_retrying($case, 3, 'trouble');
	rules();
	ok(wait_settled($node, "$case%"), "$case: settled");
	is(counts($node, "$case%"), 'SENT 3', "$case: sent when it is over");
	is(scalar(mails_to($case)), 3, "$case: once each");
}

# ---- After the final dot a lost answer leaves a doubt: the mail is sent again,
# the same to the octet but for what relays add, so that a receiver can tell.

rules(
	{ phase => 'body', rcpt => 'cut*', close_before_reply => 1, times => 1 },
	{ phase => 'body', rcpt => 'mute*', hang => 1, times => 1 },
	{ phase => 'body', rcpt => 'rst*', reset => 1, times => 1 });
foreach my $case (qw(cut mute rst))
{
	add_due($node, 2, $case);
	ok(wait_settled($node, "$case%"), "$case: settled");
	is(counts($node, "$case%"), 'SENT 2', "$case: sent");
	my @twice = grep { $_->{rcpt}[0] eq "${case}1\@example.com" } $catcher->mails;
	is(scalar(@twice), 2, "$case: twice");
	is_deeply(
		[ @{ $twice[0] }{qw(message_id date headers text)} ],
		[ @{ $twice[1] }{qw(message_id date headers text)} ],
		"$case: with the same Message-ID and words");
	is(row($node, "${case}1\@example.com")->{attempts}, 2, "$case: two attempts");
}

# The same where the relay goes away amid the text: all of it had been handed to
# the connection, and no answer says that none of it was read.
rules({ phase => 'content', rcpt => 'amid*', close_before_reply => 1, after_bytes => 100 });
add_due($node, 2, 'amid');
wait_retrying('amid', 2, 'in_doubt');
rules();
ok(wait_settled($node, 'amid%'), 'amid: settled');
is(counts($node, 'amid%'), 'SENT 2', 'amid: sent');
is(scalar(mails_to('amid')), 2, 'amid: once each, as the relay took none of it');

set_conf($node, delivery_guarantee => 'at_most_once');
rules({ phase => 'body', rcpt => 'once*', close_before_reply => 1 },
	{ phase => 'data', rcpt => 'again*', reset => 1, times => 1 });
add_due($node, 2, 'once');
add_due($node, 2, 'again');
ok(wait_settled($node, 'once%'), 'at_most_once: settled');
is(counts($node, 'once%'), 'FAILED 2', 'at_most_once: given up');
is(row($node, 'once1@example.com')->{status_reason}, 'in_doubt', 'at_most_once: and why');
is(scalar(mails_to('once')), 2, 'at_most_once: sent once');
ok(wait_settled($node, 'again%'), 'at_most_once: settled');
is(counts($node, 'again%'), 'SENT 2', 'at_most_once: no doubt, no harm');
set_conf($node, delivery_guarantee => undef);

# ---- Attempts are counted, and the last one is the last.

set_conf($node, max_attempts => 2);
rules({ phase => 'rcpt', rcpt => 'never*', reply => '451 4.3.0 not now' });
add_due($node, 2, 'never');
ok(wait_settled($node, 'never%'), 'max_attempts: settled');
$row = row($node, 'never1@example.com');
is("$row->{status} $row->{status_reason} $row->{attempts} $row->{api_response_code}",
	'FAILED attempts 2 451', 'max_attempts: given up after two');
is( scalar(grep { $_->{phase} eq 'rcpt' && $_->{rcpt}[0] eq 'never1@example.com' }
		$catcher->attempts),
	2, 'max_attempts: the relay was asked twice');
like(server_log($node), qr/message \Q$row->{id}\E was given up: attempts/,
	'max_attempts: the log says so');
like(sql($node, 'SELECT bs_health()'), qr/messages failed/, 'max_attempts: and bs_health()');

# bs_retry_message() brings it back.
set_conf($node, max_attempts => undef);
rules();
sql($node, "SELECT bs_retry_message('$row->{id}')");
ok(wait_for(sub { row($node, 'never1@example.com')->{status} eq 'SENT' }, 'the retry'),
	'bs_retry_message() sends it after all');

# ---- A retry that could only come too late is not waited for.

my $soon = slow(4) . ' seconds';
set_conf($node, max_lateness => '60s', retry_initial => '1h', retry_max => '1h');
rules({ phase => 'rcpt', rcpt => 'late*', reply => '450 4.2.0 try later' });
sql($node, <<"SQL");
	INSERT INTO message_types (name, date_source, subject_template, text_template, send_time)
	SELECT 'NOW', 'user_dates', 'Now', 'Now', (now() AT TIME ZONE 'UTC' + interval '$soon')::time
SQL
add_due($node, 1, 'late', birthday_date => 'NULL');
sql($node, <<"SQL");
	INSERT INTO user_dates (user_id, message_type, event_date)
	SELECT id, 'NOW', (now() AT TIME ZONE 'UTC' + interval '$soon')::date FROM users
	 WHERE email LIKE 'late%'
SQL
ok(wait_settled($node, 'late%'), 'too late: settled');
$row = row($node, 'late1@example.com');
is("$row->{status} $row->{status_reason} $row->{attempts}", 'EXPIRED too_late 1',
	'too late: EXPIRED');

# ---- The log, at debug1, names no people; the relay's answers do.

unlike(server_log($node), qr/\@example\.com|First\d/, 'nobody is named in the log');

$node->stop;
done_testing();
