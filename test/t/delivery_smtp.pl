# Mail over SMTP: a thousand people in thirty zones, all scripts, nothing early,
# nothing twice, and no value from a row that becomes more than a value.

use strict;
use warnings;
use utf8;

use BS::Test;
use BS::Delivery;
use Test::More;
use Time::HiRes qw(time);

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main',
	mail_url => $catcher->url,
	mail_reply_to => 'Люди <people@example.com>',
	mail_list_unsubscribe => 'https://example.com/u?a=1');

# The mails of one recipient are a list; so are addresses that have a fault.
my $mails;

sub bad_ones
{
	my ($check, @rows) = @_;
	my @bad = map { $_->{recipient_email} } grep { !$check->($_) } @rows;

	splice(@bad, 5) if @bad > 5;
	return [@bad];
}

sub statement
{
	my ($text) = @_;

	utf8::encode($text);
	return sql($node, $text);
}

# ---- A thousand people whose local hour strikes within the next seconds.  Each
# zone has a message type of its own, whose send_time is that zone's wall clock
# at one of five instants; so every one of them is planned ahead and has its
# instant computed by the zone's rules.  Every eighth type is a trial for dots and
# for a line of 5,000 characters.

my $long_line = 'Ünïcode and plain ' . ('long ' x 1000);
my $template = "Hey, {{full_name}}!\n.\n..two dots\n.dot\n\n$long_line\n"
  . "From now on {{#age}}{{age}} years{{/age}} \x{1F382}\nFrom the end";
my $lead = slow(8);
my $start = time;
my $zones = statement(<<"SQL");
	SET client_min_messages = warning;
	CREATE TABLE strike AS
	SELECT row_number() OVER () AS zone_number, z.zone,
	       date_trunc('second', now()) + interval '$lead seconds'
	           + row_number() OVER () % 5 * interval '1 second' AS at
	  FROM unnest('{Pacific/Kiritimati,Pacific/Chatham,Pacific/Auckland,Australia/Adelaide,
	       Asia/Tokyo,Australia/Eucla,Asia/Shanghai,Asia/Bangkok,Asia/Yangon,Asia/Dhaka,
	       Asia/Kathmandu,Asia/Kolkata,Asia/Karachi,Asia/Kabul,Asia/Dubai,Asia/Tehran,
	       Europe/Kyiv,Europe/Berlin,Etc/UTC,Atlantic/Azores,America/Noronha,
	       America/Sao_Paulo,America/St_Johns,America/Halifax,America/New_York,
	       America/Chicago,America/Denver,America/Los_Angeles,America/Anchorage,
	       Pacific/Marquesas,Pacific/Honolulu,Pacific/Pago_Pago}'::text[]) AS z (zone)
	-- no hour that exists twice
	 WHERE (now() - interval '3 hours') AT TIME ZONE z.zone + interval '6 hours'
	       = (now() + interval '3 hours') AT TIME ZONE z.zone;
	INSERT INTO message_types (name, date_source, subject_template, text_template,
	                           html_template, send_time)
	SELECT 'STRIKE_' || s.zone_number, 'user_dates', 'Für {{first_name}}, alles Gute \x{1F389}',
	       CASE WHEN s.zone_number % 8 = 0 THEN \$\$$template\$\$
	            ELSE E'Hey, {{full_name}}\n.\n' END, '<p>Hey, <b>{{full_name}}</b></p>',
	       (s.at AT TIME ZONE s.zone)::time
	  FROM strike s;
	SELECT count(*) FROM strike;
SQL
statement(<<"SQL");
	BEGIN;
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	SELECT (ARRAY['Дмитро', 'مريم', '小明', E'Zoë\x{1F468}\x{200D}\x{1F469}\x{200D}\x{1F467}', 'Ingrid',
	              'लक्ष्मी', 'D''Arcy', '"Al" <b>', 'A&B; C', 'Müller,'])[1 + n % 10],
	       (ARRAY['Шевченко', 'الخوارزمي', '王', 'Ọlá', 'Smith.'])[1 + n % 5] || ' ' || n,
	       'strike' || n || '\@example.com', s.zone, '1990-06-15', now() - interval '9 days'
	  FROM generate_series(1, 1000) n
	       JOIN strike s ON s.zone_number = 1 + n % $zones;
	INSERT INTO user_dates (user_id, message_type, event_date)
	SELECT u.id, 'STRIKE_' || s.zone_number, (s.at AT TIME ZONE s.zone)::date - interval '28 years'
	  FROM users u JOIN strike s ON s.zone = u.timezone
	 WHERE u.email LIKE 'strike%';
	COMMIT;
SQL
diag sprintf('%d zones; planned after %.1f s', $zones, time - $start);
is(counts($node, 'strike%'), 'SCHEDULED 1000', 'all are planned ahead');

# What was planned is the instant that the test asked for.
is( statement(<<'SQL'), 0, 'every send time is the instant of its zone');
	SELECT count(*) FROM message_logs m
	       JOIN users u ON u.id = m.user_id JOIN strike s ON s.zone = u.timezone
	 WHERE m.scheduled_send_time <> s.at
SQL

ok(wait_settled($node, 'strike%', 90), 'all are sent');
is(counts($node, 'strike%'), 'SENT 1000', 'each of them is SENT');
is(scalar($catcher->mails), 1000, 'the relay took 1000 mails');
$mails = by_recipient($catcher->mails);
is(scalar(keys %$mails), 1000, 'for 1000 people, so nobody got two');

my @rows = rows($node, 'strike%');

sub mail_of { return $mails->{ $_[0]{recipient_email} }[0]; }

# Nothing arrives before its instant, and what arrives is late by little.
is_deeply(bad_ones(sub { mail_of($_[0])->{time} >= $_[0]{scheduled} }, @rows),
	[], 'no mail is early');
my @late = sort { $a <=> $b }
  map { mail_of($_)->{time} - $_->{scheduled} } @rows;
diag sprintf('lateness: median %.0f ms, 99 %% %.0f ms, worst %.0f ms',
	1000 * $late[500], 1000 * $late[990], 1000 * $late[-1]);
cmp_ok($late[-1], '<', slow(30), 'no mail is late, whatever else the machine has to do');

# The words arrive as they are stored: text, HTML, subject and name.
sub same_text
{
	my ($mail, $row) = @_;
	my $text = $mail->{text} // '';

	$text =~ s/\r\n/\n/g;
	return $text eq $row->{message_content};
}
is_deeply(bad_ones(sub { same_text(mail_of($_[0]), $_[0]) }, @rows),
	[], 'the text is message_content, with dots and long lines');
my ($long) = grep { length $_->{message_content} > 5000 } @rows;
ok( $long->{message_content} =~
	  /^\.\n\.\.two.*\Q$long_line\E\nFrom now on 28 years \x{1F382}\n/ms,
	'which is the template filled in');
is_deeply(
	bad_ones(
		sub {
			(my $html = mail_of($_[0])->{html} // '') =~ s/\r\n/\n/g;
			return $html eq $_[0]{html_content};
		},
		@rows),
	[],
	'the HTML part is html_content');
my ($angry) = grep { $_->{recipient_name} =~ /<b>/ } @rows;
like(mail_of($angry)->{html}, qr/&lt;b&gt;/, 'in which a name is escaped');
unlike(mail_of($angry)->{html}, qr/"Al" <b>/, 'and never markup');
is_deeply(bad_ones(sub { mail_of($_[0])->{subject} eq $_[0]{subject} }, @rows),
	[], 'the subject is the stored one');
is_deeply(
	bad_ones(
		sub {
			my $to = mail_of($_[0])->{to};
			return @$to == 1
			  && $to->[0]{name} eq $_[0]{recipient_name}
			  && $to->[0]{address} eq $_[0]{recipient_email};
		},
		@rows),
	[],
	'the name in To is the stored one');

# On the wire all of it is what the strictest relay takes.
is_deeply(
	bad_ones(
		sub {
			my $mail = mail_of($_[0]);
			my $wire = $mail->{wire};
			return
			     $wire->{longest_line} <= 998
			  && !$wire->{bare_lf}
			  && !$wire->{bare_cr}
			  && !$wire->{nul}
			  && !$wire->{eight_bit}
			  && @{ $mail->{defects} } == 0;
		},
		@rows),
	[],
	'seven bits, short lines, CRLF, no defects');
is_deeply(
	[ sort map { lc } @{ mail_of($rows[0])->{header_names} } ],
	[
		sort qw(date from reply-to to subject message-id auto-submitted
		  list-unsubscribe list-unsubscribe-post mime-version content-type)
	],
	'the headers are those that belong there');

# The Message-ID is the key in another dress; the row tells what happened.
is_deeply(
	bad_ones(
		sub {
			(my $key = $_[0]{idempotency_key}) =~ tr/:/./;
			return mail_of($_[0])->{message_id} =~ /^<\Q$key\E@[\w.-]+>$/;
		},
		@rows),
	[],
	'Message-ID derives from the key');
my $now = time;
is_deeply(
	bad_ones(
		sub {
			my ($row) = @_;
			return
			     $row->{api_response_code} == 250
			  && $row->{api_response_body} eq mail_of($row)->{answer}
			  && $row->{attempts} == 1
			  && $row->{retry_count} == 0
			  && $row->{status_reason} eq 'accepted'
			  && $row->{tried} >= $row->{scheduled}
			  && $row->{sent} >= $row->{tried} - 0.001
			  && $row->{sent} <= $now
			  && !defined $row->{claim_token}
			  && !defined $row->{due}
			  && !defined $row->{error_message};
		},
		@rows),
	[],
	'code, text, times and attempts are in the row');
is( sql($node, 'SELECT sum(sent), sum(failed) FROM bs_workers'),
	'1000|0', 'bs_workers counts them');

# ---- A name that holds a line break and another header is refused.

my $evil = "E'Eve\\r\\nBcc: victim\@example.com\\r\\n\\r\\nHello'";
my ($code, undef, $said) = $node->psql('postgres',
	"SET log_min_error_statement = panic; SELECT bs_add_user($evil, 'Evil', 'eve\@example.com', 'Etc/UTC')");
like($said, qr/first_name must not contain control characters/,
	'bs_add_user() refuses control characters');
is(sql($node, "SELECT count(*) FROM users WHERE email = 'eve\@example.com'"), '0',
	'and changes nothing');

# With triggers off raw line breaks reach the MIME writer, the last defence.
statement(<<"SQL");
	SET session_replication_role = replica;
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	SELECT $evil, E'x\\n.\\nRCPT TO:<victim\@example.com>', 'raw1\@example.com', 'Etc/UTC',
	       (now() AT TIME ZONE 'UTC')::date - interval '28 years', now() - interval '1 day';
	RESET session_replication_role;
	SELECT bs_plan();
SQL
ok(wait_settled($node, 'raw%'), 'a raw line break in a name does not stop the mail');
like(row($node, 'raw1@example.com')->{recipient_name},
	qr/^Eve\r\nBcc/, 'the row had it');
my ($mail) = @{ by_recipient($catcher->mails)->{'raw1@example.com'} };
is_deeply($mail->{rcpt}, ['raw1@example.com'], 'one recipient');
is(scalar(grep { /^(bcc|rcpt)/i } @{ $mail->{header_names} }),
	0, 'no header came of it');
is($mail->{to}[0]{address}, 'raw1@example.com', 'To is the user');
ok(!$mail->{wire}{bare_lf} && !$mail->{wire}{bare_cr}, 'no bare line break');

# A subject and an address written straight into the log are no way either: the
# subject is cleaned, and nobody is mailed at an address that is not the user's.
statement("SELECT bs_add_user('Eve', 'Evil', 'planted1\@example.com', 'Etc/UTC')");
statement(<<"SQL");
	INSERT INTO message_logs (user_id, message_type, message_content, subject, recipient_email,
	       recipient_name, local_date, scheduled_send_time, due_at, idempotency_key, type_version)
	SELECT u.id, 'BIRTHDAY', v.text, E'Hi\\r\\nBcc: victim\@example.com', v.address,
	       'Eve Evil', '2020-01-01', now(), now(), u.id || ':BIRTHDAY:2020-01-0' || v.n, t.version
	  FROM users u, message_types t,
	       (VALUES (1, E'planted1\@example.com', E'a\\rb\\r\\n.\\r\\nc\\n.\\nQUIT'),
	               (2, E'planted2\@example.com>\\r\\nRCPT TO:<victim\@example.com', 'x')) v (n, address, text)
	 WHERE u.email = 'planted1\@example.com' AND t.name = 'BIRTHDAY';
	SELECT bs_wake_senders(now());
SQL
ok(wait_settled($node, 'planted%'), 'planted rows come to an end');
is(counts($node, 'planted%'), 'CANCELLED 1, SENT 1', 'what goes elsewhere is not sent');
($mail) = @{ by_recipient($catcher->mails)->{'planted1@example.com'} };
is(scalar(grep { /^bcc$/i } @{ $mail->{header_names} }), 0, 'no Bcc');
like($mail->{subject}, qr/^Hi +Bcc: victim/, 'the subject is one line');
my $text = $mail->{text};
$text =~ s/\r\n?/\n/g;
is($text, "a\nb\n.\nc\n.\nQUIT", 'a text with stray line ends arrives whole');
is( scalar(grep { grep { /victim/ } @{ $_->{rcpt} } } $catcher->mails),
	0, 'the victim got nothing');

# ---- The log names ids, not people, whatever its level.

unlike(server_log($node), qr/example\.com|Шевченко|victim/,
	'the log has no address and no name');

$node->stop;
done_testing();
