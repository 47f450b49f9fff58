#!/usr/bin/python3
"""read_calendar.py FILE YEAR: what a calendar program makes of an iCalendar file.

Prints a line for each event: UID, summary, and its dates up to the end of that
year, tab-separated, the dates by blanks.  Fails for what RFC 5545 does not allow.
"""
import datetime
import sys

from dateutil.rrule import rrulestr
from icalendar import Calendar

with open(sys.argv[1], 'rb') as file:
    octets = file.read()
last = datetime.datetime(int(sys.argv[2]), 12, 31)

# The parser forgives all this, others do not.
lines = octets.removesuffix(b'\n').split(b'\r\n')     # psql ends with a line end of its own
for line in lines[:-1]:
    assert len(line) <= 75, 'a line has more than 75 octets'
    assert b'\n' not in line and b'\r' not in line, 'a line does not end with CR LF'
    line.decode('utf-8')

calendar = Calendar.from_ical(octets)
assert calendar['VERSION'] == '2.0' and calendar['PRODID'], 'VERSION or PRODID is missing'
assert not calendar.errors, calendar.errors
seen = set()
for event in calendar.walk('VEVENT'):
    assert not event.errors, event.errors
    assert event['UID'] not in seen, 'a UID is there twice'
    seen.add(event['UID'])
    assert event['DTSTAMP'].dt.utcoffset() == datetime.timedelta(0), 'DTSTAMP is not UTC'
    start = event['DTSTART'].dt
    assert type(start) is datetime.date, 'DTSTART is not a date'
    noon = datetime.datetime.combine(start, datetime.time())
    dates = [noon]
    if 'RRULE' in event:
        rule = rrulestr(event['RRULE'].to_ical().decode(), dtstart=noon)
        dates = list(rule.between(noon, last, inc=True))
        assert dates[0] == noon, 'DTSTART is not the first date of the rule'
    print(event['UID'], event['SUMMARY'].replace('\t', '?'),
          ' '.join(d.strftime('%Y-%m-%d') for d in dates), sep='\t')
