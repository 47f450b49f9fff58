# What anybody may put into the queue, and what becomes of messages that FAILED:
# dead letters, counted, with senders that live on.

use strict;
use warnings;

use BS::Amqp;
use BS::Broker;
use BS::Delivery;
use BS::Queue;
use BS::Test;
use Test::More;

my $broker = BS::Broker->new('main');
my $catcher = start_catcher(scratch_dir() . '/mail', '--brief');
my $node = queue_node('main', $broker, mail_url => $catcher->url);

sub rules { return write_script($catcher, { rules => [@_] }); }

ok(wait_workers($node, 4), 'four workers run');
well($node, 'at first');
my @workers = worker_pids($node, '');
my $amqp = BS::Amqp->new($broker->url);
my $dead = 0;

# Publishes them, and waits until each has come to the dead letters for the reason.
sub to_the_dead
{
	my ($what, $reason, @messages) = @_;
	my $before = broker_stats($node);
	my $wanted = $before->{$reason} + @messages;

	foreach my $message (@messages)
	{
		my ($body, %options) = ref $message ? @$message : $message;
		$amqp->publish($EXCHANGE, 'birthday', $body, %options);
	}
	$amqp->confirm;
	ok(wait_for(sub { broker_stats($node)->{$reason} == $wanted }, "$wanted $reason"),
		"$what: $reason");
	$dead += @messages;
	wait_empty($broker, $what, dead => $dead);
	my $after = broker_stats($node);
	is_deeply(
		[ map { $after->{$_} - $before->{$_} } grep { $_ ne $reason } qw(oversized malformed foreign failed) ],
		[ 0, 0, 0 ], "$what: and nothing else");
	return;
}

# ---- Bodies that are none of ours, none of them of a message that there is.

add_due($node, 1, 'sample', created_at => 'now()', birthday_date => q{(now() AT TIME ZONE 'UTC')::date - interval '28 years' + interval '1 day'});
my ($sample) = map { $_->[1] } copies($node, 'sample%');
ok(defined $sample, 'a message is planned for tomorrow');
my $id = $sample =~ /"id":"([^"]+)"/ ? $1 : '';
my $installation = installation($node);

sub changed
{
	my ($from, $to) = @_;
	my $body = $sample;

	$body =~ s/$from/$to/ or die "no $from in $body";
	return $body;
}

to_the_dead(
	'malformed', 'malformed',
	'', ' ', '{', '{}', '[]', 'null', '42', '"' . $id . '"', "\0" x 300, "\xff" x 300,
	'<xml/>', 'hello', $id,
	$sample . $sample, "$sample\0", "$sample x", substr($sample, 0, -1),
	changed('"version":1', '"version":"1"'), changed('"version":1', '"version":0'),
	changed('"version":1', '"version":-1'), changed('"version":1', '"version":1.5'),
	changed('"version":1', '"version":1e400'), changed('"version":1', '"version":[1]'),
	changed('"version":1,', ''), changed('"version":1', '"version":1,"version":1'),
	changed('"id":"[^"]+"', '"id":"x"'), changed('"id":"[^"]+"', '"id":null'),
	changed('"id":"[^"]+"', '"id":{"a":"b"}'), changed('"id":"....', '"id":"\u0000'),
	changed('"id":"[^"]+"', q{"id":"'; DROP TABLE users; --"}),
	changed('"id":"[^"]+"', '"id":"' . '0' x 400 . '"'),
	changed('"id":"', '"id":"{'), changed('"id":', '"ID":'),
	changed('send_time":"[^"]+"', 'send_time":"tomorrow"'),
	changed('send_time":"[^"]+"', 'send_time":"infinity"'),
	changed('send_time":"[^"]+"', 'send_time":"2023-02-29T09:00:00.000000Z"'),
	changed('send_time":"[^"]+"', 'send_time":"2023-02-28T24:00:60.000000Z"'),
	changed('send_time":"[^"]+"', 'send_time":"294276-12-31T23:59:59.999999Z"'),
	changed('send_time":"[^"]+"', 'send_time":1772348400'),
	changed('\.\d{6}Z', '.000000+00'), changed('\.\d{6}Z', 'Z'),
	'[' x 4000, '{"a":' x 600 . '1' . '}' x 600);

to_the_dead(
	'foreign', 'foreign',
	changed(quotemeta $installation, '1/1'),
	changed(quotemeta $installation, $installation . '0'),
	changed('/\d+"', '/1"'));

to_the_dead('oversized', 'oversized', 'x' x 4097, 'x' x 131_065, $sample . ' ' x 5000, '{' x 5_000_000);

# ---- Odd clothes.  The body counts, and this one's message is not due: the copy
# is dropped, without a dead letter.  (The same after a byte order mark: a reader of
# JSON may overlook it.)

my $nested = '';
$nested = "\0F" . pack('N/a', $nested) foreach 1 .. 17_000;
my %odd = (
	'no properties at all' => { properties => pack('n', 0) },
	'a table of 17,000 levels' => { headers => $nested },
	'arrays of 17,000 levels' => {
		headers => "\1a" . do { my $a = ''; $a = 'A' . pack('N/a', $a) foreach 1 .. 17_000; $a } },
	'a hundred thousand octets of one header' => { headers => "\1aS" . pack('N/a', 'y' x 100_000) },
	'headers of every type' => {
		headers => join '', "\1at\1", "\1bb\x80", "\1cB\xff", "\1ds\x80\0", "\1eu\xff\xff", "\1fI\x80\0\0\0",
		"\1gi\xff\xff\xff\xff", "\1hl\x80\0\0\0\0\0\0\0", "\1kf\x7f\x7f\xff\xff", "\1ld\x7f\xef\xff\xff\xff\xff\xff\xff",
		"\1mD\xff\xff\xff\xff\xff", "\1nS\0\0\0\0", "\1oT\xff\xff\xff\xff\xff\xff\xff\xff", "\1pV", "\1qx\0\0\0\1\0" },
	'a message-id of 255 octets' => { message_id => "\xff" x 255 },
	'a byte order mark' => {});
foreach my $what (sort keys %odd)
{
	my $before = broker_stats($node)->{dropped};

	$amqp->publish($EXCHANGE, 'birthday', $what =~ /mark/ ? "\xef\xbb\xbf$sample" : $sample, %{ $odd{$what} });
	my $taken = eval { $amqp->confirm; 1 };
	# A broker that will not have it is as good as one that hands it on.
	if (!$taken)
	{
		diag "$what: $@";
		$amqp = BS::Amqp->new($broker->url);
		next;
	}
	ok(wait_for(sub { broker_stats($node)->{dropped} == $before + 1 }, 'the copy to be dropped'),
		"$what: read, and dropped");
	wait_empty($broker, $what, dead => $dead);
}

# Bad bodies in such clothes, for the dead letters carry the headers along.
to_the_dead('malformed, with a table of 17,000 levels', 'malformed', [ 'x', headers => $nested ]);

# ---- A thousand at once delay nobody's mail, and the log is not flooded.

my $offset = -s $node->logfile;
$amqp->publish($EXCHANGE, 'birthday', "junk $_") foreach 1 .. 1000;
$amqp->confirm;
add_due($node, 100, 'amid');
each_once($node, $catcher, 'amid', 100, 'amid a thousand bad ones', seconds => 20);
$dead += 1000;
ok(wait_for(sub { $broker->depth($DEAD_LETTERS) == $dead }, 'dead letters'), 'all of them are dead letters');
cmp_ok(log_lines($node, qr/dead letters/, $offset), '<=', 2, 'and few lines of the log');
ok(wait_for(sub { (health($node)->{dead_letters} // -1) == $dead }, 'the count', 30),
	'bs_health() counts the dead letters');
is_deeply([ worker_pids($node, '') ], \@workers, 'the workers are the same as in the beginning');

# ---- Copies of messages that FAILED are dead letters too; bs_retry_message()
# brings a message back.

rules({ phase => 'rcpt', rcpt => 'never*', reply => '550 5.1.1 no such user' });
add_due($node, 10, 'never');
ok(wait_settled($node, 'never%'), 'refused: settled');
is(counts($node, 'never%'), 'FAILED 10', 'refused: FAILED');
wait_empty($broker, 'refused', dead => $dead += 10);
my $before = broker_stats($node)->{failed};
my @copies = copies($node, 'never%');
$amqp->publish($EXCHANGE, 'birthday', $_->[1], message_id => $_->[0]) foreach @copies;
$amqp->confirm;
wait_empty($broker, 'copies of what FAILED', dead => $dead += 10);
is(broker_stats($node)->{failed} - $before, 10, 'copies of what FAILED are counted');
is(counts($node, 'never%'), 'FAILED 10', 'copies of what FAILED change nothing');

rules();
sql($node, q{SELECT bs_retry_message(id) FROM message_logs WHERE recipient_email = 'never1@example.com'});
ok(wait_for(sub { counts($node, 'never%') eq 'FAILED 9, SENT 1' }, 'one to be sent'),
	'bs_retry_message() brings one back');
is(value($node, q{SELECT bs_retry_failed(now() - interval '2 days')}), 9, 'bs_retry_failed() the others');
each_once($node, $catcher, 'never', 10, 'brought back');
wait_empty($broker, 'brought back', dead => $dead);

# What FAILED with a copy in the queue: cancelled and finished ones are dropped.
set_conf($node, mail_url => '');
add_due($node, 3, 'cancel');
wait_count($node, 'cancel%', 'QUEUED 3');
sql($node, q{SELECT bs_cancel_message(id) FROM message_logs WHERE recipient_email LIKE 'cancel%'});
set_conf($node, mail_url => $catcher->url);
wait_empty($broker, 'cancelled', dead => $dead);
is(counts($node, 'cancel%'), 'CANCELLED 3', 'cancelled stays cancelled');
is(scalar(keys %{ $catcher->arrivals('cancel') }), 0, 'cancelled: no mail');

# ---- A sender that ends without a word gives back the copies that it held.  Beyond 20
# times, the limit by default since RabbitMQ 4, the broker makes them dead letters, and
# their messages are published again.

$broker->ctl('set_policy', 'limit', '^birthday', '{"delivery-limit":20}') if $broker->series < 400;
set_conf($node, mail_url => '', lease => '10min');
add_due($node, 5, 'limit');
wait_count($node, 'limit%', 'QUEUED 5');
my $returns = 0;
while ($broker->depth($DEAD_LETTERS) == $dead && $returns < 50)
{
	my $sender = BS::Amqp->new($broker->url);

	$sender->get($QUEUE, keep => 1) foreach 1 .. 5;
	$sender->close;
	wait_for(sub { $broker->depth($QUEUE) == 5 || $broker->depth($DEAD_LETTERS) > $dead }, 'them back');
	$returns++;
}
is($returns, 21, 'the limit: the 21st return is one too many');
wait_empty($broker, 'the limit', dead => $dead += 5);
is(counts($node, 'limit%'), 'QUEUED 5', 'the limit: the messages are still owed');
sql($node, q{UPDATE message_logs SET due_at = now() WHERE recipient_email LIKE 'limit%'});
set_conf($node, mail_url => $catcher->url);
each_once($node, $catcher, 'limit', 5, 'the limit');
wait_empty($broker, 'the limit, sent', dead => $dead);

# ---- Dead letters can be looked at, and say where they came from.

my $letter = $amqp->get($DEAD_LETTERS, keep => 1);
like($letter->{headers}, qr/x-death.*\Q$QUEUE\E/s, 'a dead letter says where it came from');
unlike(server_log($node), qr/\@example\.com|First\d/, 'the log names nobody');
unlike(server_log($node), qr/server process.*was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
