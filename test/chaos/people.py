"""Who is owed what: people and their mails, made from a source of randomness
without asking the server.  The instants come from Python's zone rules.
"""
import dataclasses
import datetime
import threading
import time
import uuid
import zoneinfo

UTC = datetime.timezone.utc
SECOND = 1000000
ZONES = ("Pacific/Kiritimati", "Pacific/Auckland", "Australia/Adelaide",
         "Asia/Tokyo", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Tehran",
         "Europe/Kyiv", "Europe/London", "Etc/UTC", "Atlantic/Azores",
         "America/St_Johns", "America/Sao_Paulo", "America/New_York",
         "America/Los_Angeles", "Pacific/Marquesas", "Pacific/Pago_Pago")


@dataclasses.dataclass
class Change:
    """What became of a user, and when a claim has to know."""
    what: str               # rcpt, name, deleted; away: not due for now
    value: str = ""
    tried: float = 0        # not committed before
    known: float = float("inf")     # committed before, if at all
    until: float = float("inf")     # away: its end was tried


@dataclasses.dataclass
class Owed:
    """One mail."""
    user: str
    kind: str           # message type
    date: str           # local date
    due: int            # us since 1970
    rcpt: str
    names: set          # first names that its subject may have
    fate: str = "SENT"  # or FAILED, CANCELLED, EITHER, UNKNOWN, DROPPED; NEVER:
                        # no row, no mail; GONE: any row, mails by "changes"
    since: float = 0    # when it was committed
    changes: list = dataclasses.field(default_factory=list)

    @property
    def rcpts(self):
        """Every address that it may ever have gone to."""
        return {self.rcpt} | {one.value for one in self.changes
                              if one.what == "rcpt"}

    @property
    def key(self):
        return "%s:%s:%s" % (self.user, self.kind, self.date)


def micros(moment):
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=UTC)
            ) // datetime.timedelta(microseconds=1)


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def values(rows):
    return ",\n".join("(" + ", ".join(row) + ")" for row in rows)


class Ledger:
    """What has to be sent."""

    def __init__(self):
        self.owed = {}          # key: Owed
        self.lock = threading.Lock()

    def add(self, batch):
        with self.lock:
            for one in batch:
                self.owed[one.key] = one

    def __len__(self):
        return len(self.owed)


class People:
    """Makes people.

    types: (name, zone, instant) of message types whose instants lie along the
    run; clock() is the time by which the server lives.
    """

    def __init__(self, source, types, clock=time.time, prefix="p"):
        self.random = source
        self.types = types
        self.clock = clock
        self.prefix = prefix        # of the addresses

    def person(self):
        user = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        name = "F%s" % user[:8]
        bad = self.random.random() < 0.01
        rcpt = "%s%s@example.com" % ("nobody" if bad else self.prefix, user[:13])
        return user, name, rcpt, "FAILED" if bad else "SENT"

    @staticmethod
    def users_sql(people):
        """Without an address in the text: a server logs what a process that
        was killed was doing, and stage.py looks for addresses in the log."""
        return (
            "INSERT INTO users (id, first_name, last_name, email, timezone,"
            " birthday_date, created_at) VALUES " + values(
                (quoted(user), quoted(name), "'Last'",
                 quoted(rcpt.replace(".com", "")) + " || '.com'",
                 quoted(zone), birthday, "now() - interval '40 days'")
                for user, name, rcpt, zone, birthday in people) + ";\n")

    def birthdays(self, count):
        """Nine o'clock was within the last 23 hours: due at once."""
        zone = self.random.choice(ZONES)
        info = zoneinfo.ZoneInfo(zone)
        now = datetime.datetime.fromtimestamp(self.clock(), UTC)
        day = now.astimezone(info).date()
        while True:
            nine = datetime.datetime.combine(
                day, datetime.time(9), info).astimezone(UTC)
            if nine < now - datetime.timedelta(minutes=1):
                break
            day -= datetime.timedelta(days=1)
        if nine < now - datetime.timedelta(hours=23):
            return None
        # a leap year, so that the day exists
        born = quoted(day.replace(year=1980).isoformat())
        people, owed = [], []
        for _ in range(count):
            user, name, rcpt, fate = self.person()
            people.append((user, name, rcpt, zone, born))
            owed.append(Owed(user, "BIRTHDAY", day.isoformat(), micros(nine),
                             rcpt, {name}, fate))
        sql = self.users_sql(people)
        if self.random.random() < 0.25:     # the scheduler has to find them
            sql = "SET session_replication_role = replica;\n" + sql
        return sql, owed

    def in_time(self, count, entry=None):
        """Planned ahead, for an instant of the run."""
        now = self.clock()
        coming = [one for one in self.types if one[2].timestamp() > now + 2]
        kind, zone, instant = entry or self.random.choice(
            coming[:6] or self.types[-3:])
        date = instant.astimezone(
            zoneinfo.ZoneInfo(zone)).date().isoformat()
        people, owed = [], []
        for _ in range(count):
            user, name, rcpt, fate = self.person()
            people.append((user, name, rcpt, zone, "NULL"))
            owed.append(Owed(user, kind, date, micros(instant), rcpt, {name},
                             fate))
        sql = self.users_sql(people) + (
            "INSERT INTO user_dates (user_id, message_type, event_date,"
            " created_at) VALUES " + values(
                (quoted(one.user), quoted(kind), quoted(date),
                 "now() - interval '40 days'") for one in owed) + ";\n")
        return sql, owed
