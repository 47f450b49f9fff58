#!/usr/bin/python3
"""Does Python read in our mails what we wrote into them?

usage: mime_roundtrip.py [DRIVER [MAILS]]

DRIVER is test/unit/mime_driver.c as the makefile builds it
(build/unit/mime_driver).
Generates MAILS (2000) nasty mails, the same in every run, lets the driver build
them, and reads them with the email and json packages.  Prints TAP.
"""

import datetime
import email
import email.header
import email.policy
import email.utils
import json
import random
import re
import struct
import subprocess
import sys

ABSENT = 0xFFFFFFFF

FAMILY = '\U0001F469\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466'

WORDS = [
    'Anna', 'Lee', "O'Neill", 'J.', 'Zo\u00EB', 'M\u00FCller',
    '\u0410\u043D\u043D\u0430', '\u0645\u0631\u062D\u0628\u0627',
    '\u738B\u5C0F\u660E', '\U0001F382', FAMILY, 'e\u0301', '\u200B', '\uFEFF',
    '\U000E0067', 'x' * 100, 'y' * 5000, '\u00E9' * 300, '\U0001F382' * 90,
]

BREAKERS = [
    '\r\n', '\n', '\r', '\t', ' ', '  ', ' ' * 90, '.', '\n.\n', '\r\n.\r\n',
    '\n.\r\n', '\r.\r', '=', '=?', '?=', '=?UTF-8?B?QQ==?=', '=?utf-8?q?x?=',
    '=\r\n', 'From ', '\nFrom ', '--', '\r\n--=_bs_', '\r\nBcc: x@y.org',
    'Bcc: x@y.org,', '\r\n\r\n', '"', '\\', '\\"', '<', '>', ',', ';', ':',
    '(', ')', '@', '[', ']', '<x@y.org>', 'x@y.org, z@y.org', '\0'[:0],
    '\x01', '\x0B', '\x0C', '\x1B', '\x1C', '\x1D', '\x1E', '\x1F', '\x7F',
    '\u0080', '\u0085', '\u009F', '\u2028', '\u2029', '\u202E', '\u202A',
    '\u2066', '\u2069', '\u200E', '\u200F', '\u061C', '</p><script>', '&amp;',
]

URIS = [None, '', 'https://example.org/u?id=1&t=a,b', 'HTTPS://example.org/',
        'mailto:leave@example.org?subject=x', 'no uri', 'https://x y',
        'https://x\r\nBcc: a@b.org', 'https://m\u00FCnchen.example/',
        'https://example.org/' + 'x' * 900, 'https://example.org/' + 'x' * 2000]

SENDERS = [
    ('post@example.org', '', 'post@example.org'),
    ('Birthdays <post@example.org>', 'Birthdays', 'post@example.org'),
    ('"Lee, Anna" <post@example.org>', 'Lee, Anna', 'post@example.org'),
    ('"A \\"B\\" \\\\C" <a.b+c@example.org>', 'A "B" \\C',
     'a.b+c@example.org'),
    ('Gr\u00FC\u00DFe von der Post <post@example.org>',
     'Gr\u00FC\u00DFe von der Post', 'post@example.org'),
]

ADDRESSES = [
    'anna@example.org', 'a+b@c.example', 'x' * 64 + '@' + 'y' * 63 + '.example',
    "!#$%&'*+-/?=^_`{|}~@example.org",
    'a' * 64 + '@' + '.'.join(['b' * 60, 'b' * 60, 'b' * 59]) + '.example',
]

CONTROLS = re.compile('[\x00-\x1F\x7F-\x9F\u2028\u2029]+')
BIDI = re.compile('[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]')


def some_text(rng, longest):
    """A string of words and of what has broken mails before."""
    parts = []
    for _ in range(rng.randrange(longest)):
        pool = WORDS if rng.random() < 0.4 else BREAKERS
        parts.append(rng.choice(pool))
        if rng.random() < 0.3:
            parts.append(' ')
    return ''.join(parts)


def some_mail(rng):
    sender = rng.choice(SENDERS)
    kind = rng.choice(['BIRTHDAY', 'ANNIVERSARY', 'first_day-2'])
    day = datetime.date(2024, 1, 1) + datetime.timedelta(rng.randrange(4000))
    return {
        'sender': sender,
        'from': sender[0],
        'reply_to': rng.choice([None, '', 'help@example.org',
                                'Hilfe \u00DC <help@example.org>']),
        'to_name': rng.choice([None, some_text(rng, 6), some_text(rng, 30)]),
        'to_address': rng.choice(ADDRESSES),
        'subject': rng.choice([None, some_text(rng, 6), some_text(rng, 60)]),
        'text': rng.choice([None, some_text(rng, 10), some_text(rng, 200)]),
        'html': rng.choice([None, '', some_text(rng, 10),
                            some_text(rng, 200)]),
        'key': '%032x:%s:%s' % (rng.getrandbits(128), kind, day),
        'unsubscribe': rng.choice(URIS),
        'date': rng.randrange(-2208988800, 253402300800),
    }


def packed(string):
    if string is None:
        return struct.pack('>I', ABSENT)
    octets = string.encode('utf-8')
    return struct.pack('>I', len(octets)) + octets


def unpacked(stream):
    head = stream.read(4)
    if len(head) < 4:
        raise EOFError('the driver has ended')
    length = struct.unpack('>I', head)[0]
    return None if length == ABSENT else stream.read(length)


def cleaned(text, name):
    """What must be seen of a text in a header."""
    text = text or ''
    if name:
        # A dropped character does not part two controls.
        text = BIDI.sub('', text)
    return CONTROLS.sub(' ', text).strip(' ')


def lines(octets):
    return octets.replace(b'\r\n', b'\n')


class Wrong(Exception):
    pass


def same(got, wanted, what):
    if got != wanted:
        raise Wrong('%s: got %.300r, wanted %.300r' % (what, got, wanted))


def check_octets(raw):
    if not raw.endswith(b'\r\n'):
        raise Wrong('the last line has no end')
    if re.search(rb'[^\t\r\n\x20-\x7E]', raw):
        raise Wrong('not plain ASCII')
    if re.search(rb'\r(?!\n)|(?<!\r)\n', raw):
        raise Wrong('a bare CR or LF')
    head, body = raw.split(b'\r\n\r\n', 1)
    for line in head.split(b'\r\n'):
        if len(line) > 998 or not line.strip():
            raise Wrong('a header line of %d' % len(line))
    for line in body.split(b'\r\n'):
        if len(line) > 76:
            raise Wrong('a body line of %d' % len(line))


def check_mailbox(header, legacy, name, address, what):
    """One recipient, in the eyes of both of Python's parsers.

    The newer one, up to Python 3.12, puts a blank between encoded words of a
    name and makes one of two; so there blanks do not count.
    """
    same(len(header.addresses), 1, what + ': recipients')
    same(header.addresses[0].addr_spec, address, what + ': address')
    same(header.addresses[0].display_name.replace(' ', ''),
         name.replace(' ', ''), what + ': name')
    encoded, addr_spec = email.utils.parseaddr(legacy.replace('\r\n', ''))
    same(addr_spec, address, what + ': address, as of old')
    same(str(email.header.make_header(email.header.decode_header(encoded))),
         name, what + ': name, as of old')


def check_part(part, kind, text):
    same(part.get_content_type(), 'text/' + kind, 'content type')
    same(part.get_content_charset(), 'utf-8', 'charset')
    wanted = (text or '').encode('utf-8')
    same(lines(part.get_payload(decode=True)), lines(wanted), kind)
    same(lines(part.get_content().encode('utf-8')), lines(wanted),
         kind + ' as content')
    same(part.defects, [], kind + ': defects')


def check_mail(raw, mail):
    check_octets(raw)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    same(message.defects, [], 'defects')
    legacy = email.message_from_bytes(raw, policy=email.policy.compat32)

    wanted = ['Date', 'From', 'To', 'Subject', 'Message-ID', 'Auto-Submitted',
              'MIME-Version', 'Content-Type']
    if mail['reply_to']:
        wanted.append('Reply-To')
    if not mail['html']:
        wanted.append('Content-Transfer-Encoding')
    uri = mail['unsubscribe'] or ''
    if re.fullmatch('[A-Za-z][A-Za-z0-9+.-]*:[!-;=?-~]*', uri) and \
            len(uri) <= 978:
        wanted.append('List-Unsubscribe')
        same(str(message['List-Unsubscribe']), '<%s>' % uri, 'unsubscribe')
        if uri.lower().startswith('https:'):
            wanted.append('List-Unsubscribe-Post')
            same(str(message['List-Unsubscribe-Post']),
                 'List-Unsubscribe=One-Click', 'one click')
    same(sorted(message.keys()), sorted(wanted), 'headers')
    for name, header in message.items():
        same(list(getattr(header, 'defects', [])), [], name + ': defects')

    check_mailbox(message['From'], legacy['From'],
                  cleaned(mail['sender'][1], True),
                  mail['sender'][2], 'From')
    check_mailbox(message['To'], legacy['To'],
                  cleaned(mail['to_name'], True), mail['to_address'], 'To')
    if mail['reply_to']:
        name, _, address = mail['reply_to'].rpartition(' ')
        check_mailbox(message['Reply-To'], legacy['Reply-To'], name,
                      address.strip('<>'), 'Reply-To')
    same(str(message['Subject']), cleaned(mail['subject'], False), 'Subject')
    same(message['Date'].datetime,
         datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) +
         datetime.timedelta(seconds=mail['date']), 'Date')
    same(str(message['Message-ID']), '<%s@birthday-scheduler.invalid>' %
         mail['key'].replace(':', '.'), 'Message-ID')
    same(str(message['Auto-Submitted']), 'auto-generated', 'Auto-Submitted')
    same(str(message['MIME-Version']), '1.0', 'MIME-Version')

    if not mail['html']:
        check_part(message, 'plain', mail['text'])
        return
    same(message.get_content_type(), 'multipart/alternative', 'content type')
    parts = message.get_payload()
    same(len(parts), 2, 'parts')
    same(message.preamble, None, 'preamble')
    same(message.epilogue, '', 'epilogue')
    check_part(parts[0], 'plain', mail['text'])
    check_part(parts[1], 'html', mail['html'])


def check_json(raw, mail):
    wanted = {
        'email': mail['to_address'],
        'subject': cleaned(mail['subject'], False),
        'message': mail['text'] or '',
        'idempotency_key': mail['key'],
    }
    if cleaned(mail['to_name'], True):
        wanted['name'] = cleaned(mail['to_name'], True)
    if mail['html']:
        wanted['html'] = mail['html']
    same(json.loads(raw.decode('utf-8')), wanted, 'JSON')


def build(driver, mail):
    """The mail and the JSON that the driver makes, and who checks them."""
    for field in ('from', 'reply_to', 'to_name', 'to_address', 'subject',
                  'text', 'html', 'key', 'unsubscribe'):
        driver.stdin.write(packed(mail[field]))
    driver.stdin.write(struct.pack('>q', mail['date']))
    driver.stdin.flush()
    return [('mail', check_mail, unpacked(driver.stdout)),
            ('JSON', check_json, unpacked(driver.stdout))]


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else 'build/unit/mime_driver'
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    rng = random.Random(20260501)
    failures = {'mail': [], 'JSON': []}
    driver = subprocess.Popen([program], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    try:
        for number in range(count):
            mail = some_mail(rng)
            for what, check, raw in build(driver, mail):
                try:
                    if raw is None:
                        raise Wrong('nothing was built')
                    check(raw, mail)
                except Exception as error:
                    failures[what].append('%d: %r' % (number, error))
        driver.stdin.close()
    except (BrokenPipeError, EOFError) as error:
        failures['mail'].append('%d: %r' % (number, error))
    driver.wait()

    print('%s 1 - S14 Python reads in %d mails what was written' %
          ('not ok' if failures['mail'] else 'ok', count))
    print('%s 2 - and in as many pieces of JSON' %
          ('not ok' if failures['JSON'] else 'ok'))
    print('%s 3 - the driver ends well' %
          ('ok' if driver.returncode == 0 else 'not ok'))
    for what, messages in failures.items():
        for message in messages[:10]:
            print('# %s %s' % (what, message))
    print('1..3')
    return 1 if any(failures.values()) or driver.returncode else 0


if __name__ == '__main__':
    sys.exit(main())
