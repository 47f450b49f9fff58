# Mail over an HTTP API: what each answer means, and that a second try of the
# same message is recognizable as one.

use strict;
use warnings;
use utf8;

use BS::Test;
use BS::Delivery;
use POSIX qw(strftime);
use Test::More;
use Time::HiRes qw(time);

my $dir = scratch_dir();
my $catcher = start_catcher("$dir/mail");

# A key for the API is a secret and comes from a file.
my $headers = "$dir/headers";
PostgreSQL::Test::Utils::append_to_file($headers,
	"Authorization: Bearer canary-4711\nX-Tag: birthday\n");
chmod 0600, $headers;

my $node = mail_node('main',
	mail_url => $catcher->url('http') . '/send',
	mail_timeout => '1500ms',
	http_headers_file => $headers,
	conf => 'log_min_messages = debug1');

# Calls of one address, in order, and the row.
my ($calls, %row);

sub settle
{
	my ($seconds) = @_;

	ok(wait_settled($node, '%', $seconds), 'everything is settled');
	$calls = by_recipient(grep { ref $_->{body} } $catcher->api_calls);
	%row = map { $_->{recipient_email} => $_ } rows($node, '%');
	return;
}

sub calls { return @{ $calls->{"$_[0]1\@example.com"} // [] }; }
sub gap { my @c = calls($_[0]); return $c[1]{time} - $c[0]{time}; }

# is_row('bad', 'FAILED refused 400', 1 attempt): the row and the calls agree.
sub is_row
{
	my ($prefix, $wanted, $attempts, $what) = @_;
	my $row = $row{"${prefix}1\@example.com"};

	is( join(' ',
			$row->{status}, $row->{status_reason} // '-',
			$row->{api_response_code} // 'none'),
		$wanted,
		$what);
	is($row->{attempts}, $attempts, "... after $attempts attempts");
	is(scalar(calls($prefix)), $attempts, '... each of which was a call');
	my %keys = map { $_->{headers}{'idempotency-key'} => 1 } calls($prefix);
	is_deeply([ keys %keys ], [ $row->{idempotency_key} ],
		'... with the same Idempotency-Key');
	return;
}

# ---- Every kind of answer, all at the same time: none disturbs another.

my $date = int(time) + 5;
my $moved = $catcher->url('http') . '/elsewhere';
write_script($catcher, { rules => [
	{ phase => 'http', email => 'odd1@*', status => 200, body => '<html>{"what' },
	{ phase => 'http', email => 'empty1@*', status => 202, body => '' },
	{ phase => 'http', email => 'bad1@*', status => 400 },
	{ phase => 'http', email => 'gone1@*', status => 404, times => 1 },
	{ phase => 'http', email => 'login1@*', status => 401, times => 1 },
	{ phase => 'http', email => 'many1@*', status => 429, times => 1,
		headers => { 'Retry-After' => '3' } },
	{ phase => 'http', email => 'busy1@*', status => 503, times => 1,
		headers => { 'Retry-After' => '3' } },
	{ phase => 'http', email => 'date1@*', status => 503, times => 1,
		headers => { 'Retry-After' =>
			strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime $date) } },
	{ phase => 'http', email => 'broken1@*', status => 500, times => 2 },
	{ phase => 'http', email => 'hang1@*', hang => 1, times => 1 },
	{ phase => 'http', email => 'moved1@*', status => 302, times => 1,
		headers => { Location => $moved } },
	{ phase => 'http', email => 'drop1@*', close_before_reply => 1, times => 1 },
	{ phase => 'http', email => 'reset1@*', reset => 1, times => 1 } ] });
sql($node, 'BEGIN; UPDATE message_types SET html_template = $$<p>{{full_name}}</p>$$; COMMIT');
foreach my $prefix (qw(good odd empty bad gone login many busy date broken
	hang moved drop reset))
{
	add_due($node, 1, $prefix, first_name => "'Софія <i>\x{1F388}'")
	  if $prefix eq 'good';
	add_due($node, 1, $prefix) if $prefix ne 'good';
}
settle(40);

# 2xx means accepted, also when nobody can read what the API says beside it.
is_row('good', 'SENT accepted 200', 1, '200 is accepted');
is_row('odd', 'SENT accepted 200', 1, '200 with half a page is accepted');
is_row('empty', 'SENT accepted 202', 1, '202 with nothing is accepted');
my ($good) = calls('good');
my $row = $row{'good1@example.com'};
is($good->{method}, 'POST', 'it is a POST');
is($good->{path}, '/send', 'to the path of the URL');
is($good->{body}{message}, $row->{message_content}, 'message is the text');
is($good->{body}{subject}, $row->{subject}, 'subject is the subject');
is($good->{body}{name}, "Софія <i>\x{1F388} Last", 'name is the name');
is($good->{body}{html}, "<p>Софія &lt;i&gt;\x{1F388} Last</p>",
	'html is the HTML part, escaped');
like($good->{headers}{'content-type'}, qr{^application/json}, 'it is JSON');
is($good->{headers}{authorization}, 'Bearer canary-4711',
	'with the header lines of the file');
like($row{'odd1@example.com'}{api_response_body}, qr/<html>/,
	'the answer is kept');

# What is wrong with this one message stays wrong: no second try.
is_row('bad', 'FAILED refused 400', 1, '400 is for good');
is_row('gone', 'SENT accepted 200', 2, '404 is trouble with mail_url: tried again');

# A redirect is neither followed nor taken for success, and no message's fault.
is_row('moved', 'SENT accepted 200', 2, 'a redirect is tried again');
is(scalar(grep { $_->{path} eq '/elsewhere' } $catcher->api_calls),
	0, 'nobody went there');

# What may pass is tried again; Retry-After says when, in seconds or as a date.
is_row('login', 'SENT accepted 200', 2, '401 is our trouble, not the message\'s');
is_row('broken', 'SENT accepted 200', 3, '500 is tried again');
is_row('many', 'SENT accepted 200', 2, '429 is tried again');
cmp_ok(gap('many'), '>=', 3, '... not before Retry-After');
cmp_ok(gap('many'), '<', slow(6), '... and not long after');
is_row('busy', 'SENT accepted 200', 2, '503 is tried again');
cmp_ok(gap('busy'), '>=', 3, '... not before Retry-After');
is_row('date', 'SENT accepted 200', 2, '503 with a date is tried again');
cmp_ok((calls('date'))[1]{time}, '>=', $date - 1, '... not before the date');

# No answer: the API may have it or not, so it gets it again, with the same key.
is_row('hang', 'SENT accepted 200', 2, 'a hang is tried again');
cmp_ok(gap('hang'), '>=', 1.5, '... after mail_timeout');
cmp_ok(gap('hang'), '<', slow(5), '... and soon');
is_row('drop', 'SENT accepted 200', 2, 'a lost answer is tried again');
is_row('reset', 'SENT accepted 200', 2, 'so is a reset');
is_deeply(
	(calls('drop'))[0]{body},
	(calls('drop'))[1]{body},
	'the second time it says the same');

# ---- Who would rather lose a mail than get two says at_most_once.

set_conf($node, delivery_guarantee => 'at_most_once');
write_script($catcher, { rules => [
	{ phase => 'http', email => 'once*', hang => 1 },
	{ phase => 'http', email => 'lost*', close_before_reply => 1 },
	{ phase => 'http', email => 'sure*', status => 500, times => 1 } ] });
add_due($node, 1, $_) foreach qw(once lost sure);
settle(20);
is_row('once', 'FAILED in_doubt none', 1, 'a hang ends as in doubt');
is_row('lost', 'FAILED in_doubt none', 1, 'a lost answer ends as in doubt');
is_row('sure', 'SENT accepted 200', 2, 'an answer leaves no doubt');

# ---- An API that is away delays the mail and no more.

set_conf($node, delivery_guarantee => undef);
write_script($catcher, { rules => [] });
$catcher->stop;
add_due($node, 3, 'away');
ok( wait_for(
		sub { sql($node, q{SELECT count(*) FROM message_logs
			WHERE recipient_email LIKE 'away%' AND attempts >= 1
			  AND status = 'RETRYING' AND status_reason = 'trouble'}) == 3 },
		'three failed attempts'),
	'a refused connection is trouble');
$catcher->start;
ok(wait_settled($node, 'away%'), 'they go when it is back');
is(counts($node, 'away%'), 'SENT 3', 'all of them');

# ---- The log, at debug1, has no address, no name, no secret.

unlike(server_log($node), qr/example\.com>|\@example\.com|Соф|canary/,
	'nothing personal or secret is in the log');

$node->stop;
done_testing();
