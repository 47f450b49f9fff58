# What people type: every view fits into 80 columns of psql, everything that \d+,
# \df+ and pg_settings show has a comment, and bs_explain() says what is then sent.

use strict;
use warnings;

use BS::Delivery;
use BS::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $catcher = start_catcher(scratch_dir() . '/mail');
my $node = mail_node('main', mail_url => $catcher->url);

# ---- 80 columns, with sample people, a past, trouble, and large numbers.

sub widest
{
	my ($statement) = @_;
	my ($out, $errors) = run_command([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', $statement ]);
	my ($line) = sort { length $b <=> length $a } map { utf8($_) } split /\n/, $out;

	is($errors, '', $statement);
	return $line // '';
}

sub fits
{
	my ($what) = @_;

	foreach my $view (qw(bs_status bs_workers bs_daily bs_today bs_week bs_checks))
	{
		my $line = widest("SELECT * FROM $view");

		cmp_ok(length $line, '<=', 80, "$what: $view fits") or diag $line;
	}
	return;
}

is(sql($node, 'SELECT count(*) >= 31 AND sum(sent + failed + open) = 0 FROM bs_daily'), 't', 'bs_daily has days without mail');
sql($node, 'SELECT bs_seed(200, true)');
# Long names, a type's included, and a message of today in each state.
is(sql($node, q{
	SELECT bs_pause() IS NULL;
	INSERT INTO message_types (name, date_source, send_time, subject_template, text_template, active_since)
	SELECT 'DAY_OF_THE_FIRST_' || n, 'birthday_date', '00:00', 's', 't', '2001-01-01' FROM unnest('{LETTER,ANSWER}'::text[]) AS n;
	INSERT INTO users (first_name, last_name, email, timezone, birthday_date, created_at)
	SELECT 'Wolfeschlegelsteinhausen ' || s, 'Bergerdorff von und zu ' || s, s || '@example.com', 'Etc/UTC',
		(now() AT TIME ZONE 'UTC')::date - interval '480 months', '2001-01-01'
	  FROM unnest('{SENT,FAILED,EXPIRED,CANCELLED,SENDING,SCHEDULED,QUEUED,RETRYING}'::text[]) AS s;
	BEGIN;
	UPDATE message_logs m SET status = split_part(m.recipient_name, ' ', 2), api_response_code = 550, attempts = 12, actual_send_time = now(),
		status_reason = CASE split_part(m.recipient_name, ' ', 2) WHEN 'CANCELLED' THEN 'date_changed' ELSE 'attempts' END
	 WHERE m.recipient_name LIKE 'Wolfe%';
	SELECT count(DISTINCT status) FROM bs_today WHERE why <> '' AND clock = to_char(now() AT TIME ZONE 'UTC', 'HH24:MI');
	COMMIT}), "f\n8", 'bs_today says why in each state');
fits('sample people');
sql($node, q{DELETE FROM users WHERE first_name LIKE 'Wolfe%'; DELETE FROM message_types WHERE name LIKE 'DAY_OF%'; SELECT bs_resume()});
is(sql($node, 'SELECT count(DISTINCT day) = max(day) - min(day) + 1 AND min(day) = current_date - 30 FROM bs_daily'), 't', 'bs_daily has a row for every day');
is(sql($node, 'SELECT count(*) FROM bs_status'), 1, 'bs_status is one row');
like(sql($node, q{SELECT string_agg(bar, '') FROM bs_daily}), qr/^[#!x.]*#[#!x.]*$/, 'a bar is made of four characters');

$catcher->stop;
add_due($node, 50, 'late');
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM bs_worker_stats() WHERE last_error LIKE 'the relay%'}) > 0 }, 'an error'),
	'a relay is away');
like(sql($node, q{SELECT string_agg(last_error, ' ') FROM bs_worker_stats()}), qr/127\.0\.0\.1/, 'bs_workers names it');
my $health = sql($node, 'SELECT bs_health()');
unlike($health, qr/127\.0\.0\.1|port \d/, 'bs_health() does not');
like($health, qr/sender \d.*: trouble with the relay \(connection\)/, 'but says what is wrong');
sql($node, q{SELECT bs_pause('the relay is being moved, and nobody knows for how long that will take this time: ask the people of the ground floor')});
fits('a pause with a reason, and a relay that is away');
sql($node, 'SELECT bs_resume()');
$catcher->start;
ok(wait_settled($node, 'late%'), 'it is back');

# Numbers of the largest day that is promised.
sql($node, q{
	INSERT INTO message_logs (user_id, message_type, message_content, subject, recipient_email, recipient_name, local_date,
		scheduled_send_time, due_at, status, actual_send_time, idempotency_key)
	SELECT u.id, 'BIRTHDAY', 'x', 'x', 'x', 'x', '2044-01-01', now() - interval '1 second', CASE WHEN n % 10 = 0 THEN now() + interval '1 day' END,
		CASE WHEN n % 10 = 0 THEN 'SCHEDULED' ELSE 'SENT' END, CASE WHEN n % 10 > 0 THEN now() + interval '40 hours' END, 'many' || n
	  FROM (SELECT id FROM users LIMIT 1) u, generate_series(1, 110000) n});
fits('a hundred thousand');
sql($node, q{DELETE FROM message_logs WHERE idempotency_key LIKE 'many%'});

# ---- Comments: what the extension makes, and each setting.

is( sql($node, q{
	SELECT string_agg(pg_describe_object(d.classid, d.objid, a.attnum), ', ')
	  FROM pg_depend d
	       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'birthday_scheduler'
	       LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	       LEFT JOIN pg_attribute b ON c.relkind IN ('r', 'p', 'c') AND b.attrelid = c.oid AND b.attnum > 0 AND NOT b.attisdropped
	       CROSS JOIN LATERAL (VALUES (0), (coalesce(b.attnum, 0))) AS a (attnum)
	 WHERE d.deptype = 'e'
	   -- a table's row type has the table's
	   AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (
	            SELECT FROM pg_type t JOIN pg_class k ON k.reltype IN (t.oid, t.typelem) WHERE t.oid = d.objid))
	   AND NOT EXISTS (SELECT FROM pg_description t
	                    WHERE t.classoid = d.classid AND t.objoid = d.objid AND t.objsubid = a.attnum)}),
	'',
	'every object of the extension, and every column, has a comment');
is( sql($node, q{SELECT string_agg(name, ', ') FROM pg_settings WHERE name LIKE 'birthday_scheduler.%' AND coalesce(short_desc, '') = ''}),
	'', 'every setting is described');
cmp_ok(sql($node, q{SELECT count(*) FROM pg_settings WHERE name LIKE 'birthday_scheduler.%'}), '>', 30, 'and they are there');

# ---- bs_explain() of users, and what then arrives.  One instant, ten seconds from
# now, is on three calendars: each type is due then in one of the zones, and in the
# others some hours later, or some hours ago, so that it is late.  Nothing is sent
# before bs_explain() was asked.

my @zones = ([ 'east', 'Pacific/Kiritimati' ], [ 'middle', 'Etc/UTC' ], [ 'west', 'Pacific/Pago_Pago' ]);
my $instant = sql($node, q{SELECT date_trunc('second', now()) + interval '10 seconds'});
my %user;

set_conf($node, mail_url => '');
ok(wait_for(sub { sql($node, q{SELECT count(*) FROM bs_workers WHERE state = 'no relay'}) == 2 }, 'senders to know'), 'no relay');
sql($node, q{UPDATE message_types SET active_since = now()});
foreach my $zone (@zones)
{
	sql($node, sprintf q{
		INSERT INTO message_types (name, date_source, send_time, subject_template, text_template, active_since)
		VALUES (upper('%1$s'), '%4$s', (timestamptz '%3$s' AT TIME ZONE '%2$s')::time, '{{first_name}} and the type %1$s', 'Hello', '2000-01-01')},
		@$zone, $instant, $zone->[0] eq 'middle' ? 'anniversary_date' : 'birthday_date');
}
foreach my $zone (@zones)
{
	$user{ $zone->[0] } = sql($node, sprintf q{
		INSERT INTO users (first_name, last_name, email, timezone, birthday_date, anniversary_date, created_at)
		SELECT '%1$s', 'Last', '%1$s@example.com', '%2$s', d - interval '30 years', d - interval '4 years', now() - interval '9 days'
		  FROM (SELECT (timestamptz '%3$s' AT TIME ZONE '%2$s')::date AS d) d RETURNING id}, @$zone, $instant);
}

# Nobody's birthday, and one whom nobody greets any more.
$user{nobody} = sql($node, q{SELECT bs_add_user('nobody', 'Last', 'nobody@example.com', 'Etc/UTC')});
$user{gone} = sql($node, q{SELECT bs_add_user('gone', 'Last', 'gone@example.com', 'Etc/UTC', date '1990-01-01')});
sql($node, "SELECT bs_delete_user('$user{gone}')");

sub answers
{
	my ($name) = @_;

	return map { my @e = split /\|/, $_, -1; { type => $e[0], date => $e[1], at => $e[2], status => $e[3], why => $e[4] } }
	  split /\n/, sql($node, "SELECT message_type, next_date, extract(epoch FROM send_at), status, explanation FROM bs_explain('$user{$name}')");
}

my %announced;
my $soon = sql($node, "SELECT extract(epoch FROM timestamptz '$instant')");

foreach my $name (sort keys %user)
{
	foreach my $answer (answers($name))
	{
		if (length $answer->{at} && $answer->{at} <= $soon)
		{
			$announced{"$name and the type " . lc $answer->{type}} = { %$answer, name => $name };
			like("$answer->{status}: $answer->{why}", qr/^SCHEDULED: The message is (?:planned|.* late).*\. The relay is in trouble: the settings make no relay/,
				"$name, $answer->{type}: is planned, and no relay is there");
		}
		elsif ($name eq 'nobody' || $name eq 'gone')
		{
			like($answer->{why}, qr/^The user (has no|is deleted)/, "$name, $answer->{type}: nothing, and it says why");
		}
	}
}
cmp_ok(scalar(keys %announced), '>=', 3, 'bs_explain() announces mails in each zone');
set_conf($node, mail_url => $catcher->url);
ok(wait_for(sub { sql($node, "SELECT now() >= '$instant'") eq 't' }, 'the instant'), 'the instant comes');
ok(wait_for(sub { sql($node, "SELECT count(*) FROM message_logs WHERE scheduled_send_time <= '$instant' AND status NOT IN ('SENT', 'FAILED', 'EXPIRED', 'CANCELLED')") == 0 }, 'the mails'), 'all is sent');
my @sent = grep { $_->{rcpt}[0] =~ /^(?:east|middle|west|nobody|gone)@/ } $catcher->mails;

is_deeply([ sort map { $_->{subject} } @sent ], [ sort keys %announced ], 'just what bs_explain() has announced is sent');
foreach my $mail (@sent)
{
	my $answer = $announced{ $mail->{subject} } or next;

	is($mail->{rcpt}[0], "$answer->{name}\@example.com", "$mail->{subject}: to the right one");
	cmp_ok($mail->{time} - $answer->{at}, '>=', 0, "$mail->{subject}: not before its instant");
	cmp_ok($mail->{time} - $soon, '<', slow(5), "$mail->{subject}: and soon after");
	is(sql($node, qq{SELECT local_date FROM message_logs WHERE user_id = '$user{ $answer->{name} }' AND message_type = '$answer->{type}'}),
		$answer->{date}, "$mail->{subject}: on its day");
	my ($next) = grep { $_->{type} eq $answer->{type} } answers($answer->{name});
	like($next->{why}, qr/ The message of $answer->{date} was sent at .*, \S+ after its time\.$/, "$mail->{subject}: and says that it was sent");
	is(substr($next->{date}, 0, 4) - substr($answer->{date}, 0, 4), 1, "$mail->{subject}: then it is next year's turn");
}

$node->stop;
done_testing();
