"""Adds the people of a run: who is owed what is made here, from a seed.

A batch is some hundred people and the mails that they are owed.  It is tried
until it is committed; whether it was, when a connection broke, the server is
asked afterwards.
"""
import datetime
import random
import threading
import time
import zoneinfo

from cluster import SqlError
from people import SECOND, UTC, ZONES, Change, Ledger, People, quoted, values

SETTLED_S = 3           # a change so long before the instant is in the mail
AHEAD_TYPES = 48
TYPES_SQL = ("INSERT INTO message_types (name, date_source, subject_template,"
             " text_template, send_time, active_since) VALUES ")


class Load(threading.Thread, People):
    """Adds people, changes some and deletes some, until all are there.

    progress() says how much of the run is over, 0 to 1; as much of the people
    will have been added.
    """

    def __init__(self, cluster, seed, total, seconds, progress,
                 clock=time.time):
        threading.Thread.__init__(self, name="load")
        People.__init__(self, random.Random("load %s" % seed), [], clock)
        self.cluster = cluster
        self.total = total
        self.progress = progress
        self.ledger = Ledger()
        self.added = 0
        self.retries = 0
        self.quit = threading.Event()
        self.trouble = None
        self.seconds = seconds
        self.ahead = []         # Owed that may still be changed

    # ---- types whose instants lie along the run ----

    def prepare(self):
        """Before the faults begin."""
        start = self.clock() + 5
        rows = [self.new_type("AHEAD_%d" % i, start + self.seconds * (
            i + self.random.random()) / AHEAD_TYPES)
            for i in range(AHEAD_TYPES)]
        self.cluster.sql(
            "UPDATE message_types SET subject_template = 'BIRTHDAY"
            " {{first_name}}' WHERE name = 'BIRTHDAY';" + TYPES_SQL
            + values(rows))

    def new_type(self, name, second):
        """The row of one; the last of "types" is it."""
        zone = self.random.choice(ZONES)
        instant = datetime.datetime.fromtimestamp(second, UTC).replace(
            microsecond=0)
        local = instant.astimezone(zoneinfo.ZoneInfo(zone))
        self.types.append((name, zone, instant))
        return (quoted(name), "'user_dates'", "'%s {{first_name}}'" % name,
                "'Hello {{full_name}}'", quoted(local.strftime("%H:%M:%S")),
                "'2000-01-01'")

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
        """One batch of the load; False if the run ended first."""
        committed = self.enter_besides(sql, owed)
        if committed:
            self.added += len(owed)
        return committed

    def enter_besides(self, sql, owed):
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
            change = Change("deleted", tried=self.clock())
            one.changes.append(change)
            if self.commit("SELECT bs_delete_user('%s') WHERE EXISTS (SELECT"
                           " FROM users WHERE id = '%s' AND deleted_at IS"
                           " NULL) \\g /dev/null" % (one.user, one.user),
                           "SELECT deleted_at IS NOT NULL FROM users"
                           " WHERE id = '%s'" % one.user):
                change.known = self.clock()
                if one.due > (self.clock() + SETTLED_S) * SECOND:
                    one.fate = "CANCELLED"
            else:
                one.fate = was if was == "EITHER" else "EITHER"
            return
        name = "R" + one.user[9:13] + "x%d" % self.random.randrange(1000)
        one.names.add(name)
        change = Change("name", name, self.clock())
        one.changes.append(change)
        if self.commit("UPDATE users SET first_name = '%s' WHERE id = '%s';"
                       % (name, one.user),
                       "SELECT first_name = '%s' FROM users WHERE id = '%s'"
                       % (name, one.user)):
            change.known = self.clock()

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
