"""Who is owed what: made here, from a seed, without asking the server.

A batch is some hundred people and the mails that they are owed.  It is tried
until it is committed; whether it was, when a connection broke, the server is
asked afterwards.  The instants come from Python's zone rules.
"""
import dataclasses
import datetime
import random
import threading
import time
import uuid
import zoneinfo

from cluster import SqlError

UTC = datetime.timezone.utc
SECOND = 1000000
ZONES = ("Pacific/Kiritimati", "Pacific/Auckland", "Australia/Adelaide",
         "Asia/Tokyo", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Tehran",
         "Europe/Kyiv", "Europe/London", "Etc/UTC", "Atlantic/Azores",
         "America/St_Johns", "America/Sao_Paulo", "America/New_York",
         "America/Los_Angeles", "Pacific/Marquesas", "Pacific/Pago_Pago")
SETTLED_S = 3           # a change so long before the instant is in the mail
AHEAD_TYPES = 48


@dataclasses.dataclass
class Owed:
    """One mail."""
    user: str
    kind: str           # message type
    date: str           # local date
    due: int            # us since 1970
    rcpt: str
    names: set          # first names that its subject may have
    fate: str = "SENT"  # or FAILED, CANCELLED, EITHER, UNKNOWN,
                        # DROPPED
    since: float = 0    # when it was committed

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


class Load(threading.Thread):
    """Adds people, changes some and deletes some, until all are there.

    progress() says how much of the run is over, 0 to 1; as much of the people
    will have been added.
    """

    def __init__(self, cluster, seed, total, seconds, progress,
                 clock=time.time):
        super().__init__(name="load")
        self.cluster = cluster
        self.random = random.Random("load %s" % seed)
        self.total = total
        self.progress = progress
        self.clock = clock
        self.ledger = Ledger()
        self.added = 0
        self.retries = 0
        self.quit = threading.Event()
        self.trouble = None
        self.types = []         # (name, zone, instant)
        self.seconds = seconds
        self.ahead = []         # Owed that may still be changed

    # ---- types whose instants lie along the run ----

    def prepare(self):
        """Before the faults begin."""
        start = self.clock() + 5
        rows = []
        for i in range(AHEAD_TYPES):
            zone = self.random.choice(ZONES)
            instant = datetime.datetime.fromtimestamp(
                start + self.seconds * (i + self.random.random())
                / AHEAD_TYPES, UTC).replace(microsecond=0)
            local = instant.astimezone(zoneinfo.ZoneInfo(zone))
            name = "AHEAD_%d" % i
            self.types.append((name, zone, instant))
            rows.append((quoted(name), "'user_dates'",
                         "'%s {{first_name}}'" % name, "'Hello {{full_name}}'",
                         quoted(local.strftime("%H:%M:%S")), "'2000-01-01'"))
        self.cluster.sql(
            "UPDATE message_types SET subject_template = 'BIRTHDAY"
            " {{first_name}}' WHERE name = 'BIRTHDAY';"
            "INSERT INTO message_types (name, date_source, subject_template,"
            " text_template, send_time, active_since) VALUES " + values(rows))

    # ---- people ----

    def person(self):
        user = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        name = "F%s" % user[:8]
        bad = self.random.random() < 0.01
        rcpt = "%s%s@example.com" % ("nobody" if bad else "p", user[:13])
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

    # ---- getting it into the database ----

    def commit(self, sql, was_committed):
        """Tries until it is in; False where the run ended first."""
        while not self.quit.is_set():
            try:
                self.cluster.sql("BEGIN;\n%s\nCOMMIT;" % sql)
                return True
            except SqlError as error:
                self.retries += 1
                self.trouble = str(error)
                self.quit.wait(0.3)
            # An earlier try may have been committed without our hearing of it.
            try:
                if self.cluster.value(was_committed) == "t":
                    return True
            except SqlError:
                pass
        return False

    def enter(self, sql, owed):
        """People and what they are owed, known before it is tried: a broken
        connection must not hide them."""
        self.ledger.add(owed)
        committed = self.commit(
            sql, "SELECT EXISTS (SELECT FROM users WHERE id = '%s')"
            % owed[0].user)
        now = self.clock()
        for one in owed:
            one.since = now
            if not committed:
                one.fate = "UNKNOWN"
        if committed:
            self.added += len(owed)
        return committed

    def add_batch(self):
        count = self.random.choice((20, 50, 100, 100, 200, 500, 1000))
        count = max(1, min(count, self.total // 20, self.total - self.added))
        make = self.random.choice((self.birthdays, self.in_time))
        made = make(count)
        if made is None:
            return
        sql, owed = made
        if not self.enter(sql, owed):
            return
        if make == self.in_time:
            self.ahead.extend(one for one in owed
                              if self.random.random() < 0.1)

    def change_one(self):
        """A rename or a deletion, some of them shortly before the instant."""
        if not self.ahead:
            return
        one = self.ahead.pop(self.random.randrange(len(self.ahead)))
        if one.due < (self.clock() + 0.5) * SECOND:
            return
        if self.random.random() < 0.4:
            was = one.fate
            one.fate = "EITHER"
            if self.commit("SELECT bs_delete_user('%s') WHERE EXISTS (SELECT"
                           " FROM users WHERE id = '%s' AND deleted_at IS"
                           " NULL) \\g /dev/null" % (one.user, one.user),
                           "SELECT deleted_at IS NOT NULL FROM users"
                           " WHERE id = '%s'" % one.user):
                if one.due > (self.clock() + SETTLED_S) * SECOND:
                    one.fate = "CANCELLED"
            else:
                one.fate = was if was == "EITHER" else "EITHER"
            return
        name = "R" + one.user[9:13] + "x%d" % self.random.randrange(1000)
        one.names.add(name)
        if self.commit("UPDATE users SET first_name = '%s' WHERE id = '%s';"
                       % (name, one.user),
                       "SELECT first_name = '%s' FROM users WHERE id = '%s'"
                       % (name, one.user)) \
                and one.due > (self.clock() + SETTLED_S) * SECOND:
            one.names.clear()
            one.names.add(name)

    def run(self):
        try:
            while self.added < self.total and not self.quit.is_set():
                if self.added > self.total * self.progress():
                    self.quit.wait(0.1)
                    continue
                self.add_batch()
                for _ in range(self.random.randrange(4)):
                    self.change_one()
        except Exception as error:      # the main thread has to hear of it
            self.trouble = "load ended: %r" % error
            raise
