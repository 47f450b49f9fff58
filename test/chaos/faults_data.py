"""Faults of the data: tables and users that others hold, move or change.

Whoever is needed for one is added for it, from the fault's own source of
randomness.  What a fault does to a user goes into the ledger: claims.py holds
each mail against it.
"""
import collections
import contextlib
import datetime
import time

from cluster import LEASE_S, SqlError
from fault import Skip, fault
from faults_server import full_disk
from load import TYPES_SQL
from people import Change, People, values
from server import BenchError

CAUGHT_UP_S = 15        # past the triggers: three times plan_interval
QUIET_S = 62            # a due message needs no longer, whoever made it
WEST = "Pacific/Pago_Pago"
MONTH_SQL = ("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent ="
             " 'message_logs'::regclass AND inhrelid::regclass::text LIKE"
             " '%' || to_char(now(), 'YYYY_MM')")


def people(stage, rng, prefix="p"):
    return People(rng, list(stage.load.types), stage.load.clock, prefix)


def due_now(stage, rng, count, prefix="p"):
    """People whose mail is due at once; None is no answer."""
    made = None
    while made is None:
        made = people(stage, rng, prefix).birthdays(count)
    return made


def enter(stage, made):
    if not stage.load.enter_besides(*made):
        raise Skip("the load has ended")
    return made[1]


def users(owed):
    return "ANY ('{%s}')" % ",".join(one.user for one in owed)


def wait_claimed(stage, owed, seconds=10):
    """Until some of them are on their way."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(SqlError):
            if stage.cluster.value(
                    "SELECT count(*) FROM message_logs WHERE status ="
                    " 'SENDING' AND user_id = " + users(owed), 5) != "0":
                return
        time.sleep(0.02)
    raise Skip("nothing was on its way")


@contextlib.contextmanager
def on_their_way(stage, rng):
    """Mails that the relay takes within a second, some of them right now."""
    stage.relay.set_rules([{"phase": "body", "delay_ms": 800}], "data")
    try:
        owed = enter(stage, due_now(stage, rng, rng.randrange(50, 200)))
        wait_claimed(stage, owed)
        yield owed
    finally:
        stage.relay.set_rules((), "data")


def beyond_lease(rng):
    return LEASE_S + rng.uniform(2, 6)


def fates(stage, owed, text):
    """What the kit saw, in a line: how these stand at the end of the fault."""
    with contextlib.suppress(SqlError):
        stage.saw("%s; %d messages then: %s" % (text, len(owed), ", ".join(
            stage.cluster.sql(
                "SELECT count(*) || ' ' || status || coalesce(' ' ||"
                " status_reason, '') FROM message_logs WHERE user_id = %s"
                " GROUP BY status, status_reason ORDER BY 1" % users(owed),
                20))))


# ---- tables that are locked, away or full, for longer than a lease ---------------

@fault("data", 3)
def lock_table_long(stage, rng):
    with on_their_way(stage, rng) as owed:
        month = stage.cluster.value(MONTH_SQL)
        table = rng.choice((month, month, "message_logs", "users",
                            "bs_pending_outcomes"))
        mode = rng.choice(("SHARE", "ACCESS EXCLUSIVE"))
        seconds = beyond_lease(rng)
        with stage.cluster.session(
                "BEGIN; LOCK TABLE %s IN %s MODE; SELECT pg_sleep(%.1f);"
                "COMMIT;" % (table, mode, seconds)):
            pass
        fates(stage, owed, "%s locked in %s mode for %.1f s" % (
            table, mode, seconds))


def form_of(stage, month):
    """Its keys, checks and indexes."""
    return stage.cluster.sql_at_last(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = '%s'::regclass UNION ALL SELECT '', indexdef FROM"
        " pg_indexes WHERE tablename = '%s' ORDER BY 1, 2" % (month, month))


def attach(stage, month, bound):
    """However often it takes."""
    attached = ("SELECT count(*) FROM pg_inherits WHERE inhrelid ="
                " '%s'::regclass" % month)
    until = time.monotonic() + 120
    while stage.cluster.sql_at_last(attached) != ["1"]:
        try:
            stage.cluster.sql("SET timezone = 'UTC'; SET lock_timeout = '5s';"
                              " ALTER TABLE message_logs ATTACH PARTITION %s"
                              " %s;" % (month, bound), 30)
        except SqlError as error:
            if time.monotonic() > until:
                raise BenchError("%s could not be attached: %s" % (
                    month, error)) from error
            time.sleep(0.3)


@fault("data", 2)
def detach_month(stage, rng):
    with on_their_way(stage, rng) as owed:
        month = stage.cluster.value(MONTH_SQL)
        bound = stage.cluster.value(
            "SET timezone = 'UTC'; SELECT pg_get_expr(relpartbound, oid) FROM"
            " pg_class WHERE oid = '%s'::regclass" % month)
        before = form_of(stage, month)
        seconds = beyond_lease(rng)
        try:
            stage.cluster.sql("SET lock_timeout = '5s'; ALTER TABLE"
                              " message_logs DETACH PARTITION %s;" % month, 30)
            time.sleep(seconds)
        except SqlError as error:
            raise Skip("it could not be detached") from error
        finally:
            attach(stage, month, bound)
        if form_of(stage, month) != before:
            stage.complain("%s came back with other keys or checks" % month)
        fates(stage, owed, "%s detached for %.1f s" % (month, seconds))


def long_full_disk(stage, rng, kind):
    with on_their_way(stage, rng) as owed:
        seconds = beyond_lease(rng)
        full_disk(stage, kind, seconds)
        fates(stage, owed, "the disk of %s full for %.1f s" % (kind, seconds))


@fault("server", 2, "disks")
def data_disk_full_long(stage, rng):
    long_full_disk(stage, rng, "data")


@fault("server", 1, "disks")
def wal_disk_full_long(stage, rng):
    long_full_disk(stage, rng, "wal")


# ---- prepared transactions ---------------------------------------------------------

def prepare(stage, sql, name):
    try:
        stage.cluster.sql("BEGIN;\n%s\nPREPARE TRANSACTION '%s';" % (
            sql, name), 30)
    except SqlError as error:
        if stage.cluster.sql_at_last("SELECT 1 FROM pg_prepared_xacts WHERE"
                                     " gid = '%s'" % name) != ["1"]:
            raise Skip("it could not be prepared") from error


def finish(stage, name, how):
    """COMMIT or ROLLBACK by another session, even over a crash."""
    stage.cluster.sql_at_last(
        "SELECT '%s PREPARED ' || quote_literal(gid) FROM pg_prepared_xacts"
        " WHERE gid = '%s' \\gexec" % (how, name))


@fault("data", 3)
def prepared_users(stage, rng):
    """Added by one that is committed or rolled back, renamed by another."""
    sql, owed = due_now(stage, rng, 20) if rng.random() < 0.5 \
        else people(stage, rng).in_time(20)
    how = rng.choice(("COMMIT", "COMMIT", "ROLLBACK"))
    name = "add %s" % owed[0].user
    stage.load.ledger.add(owed)
    for one in owed:
        if how == "ROLLBACK":
            one.fate = "NEVER"
        one.since = float("inf")
    try:
        try:
            prepare(stage, sql, name)
        except Skip:
            for one in owed:
                one.fate = "NEVER"
            raise
        time.sleep(rng.uniform(0, 3))
    finally:
        finish(stage, name, how)
    for one in owed:
        one.since = stage.load.clock()
    if how == "COMMIT":
        renamed(stage, rng, owed[:5])
    if len(stage.afterwards) < 1:
        stage.afterwards.append(prepared_in_silence)


def renamed(stage, rng, owed):
    name, gid = "Q%05d" % rng.randrange(100000), "name %s" % owed[0].user
    changes = []
    for one in owed:
        changes.append(Change("name", name, stage.load.clock()))
        one.names.add(name)
        one.changes.append(changes[-1])
    prepare(stage, "SET LOCAL lock_timeout = '5s'; UPDATE users SET first_name"
            " = '%s' WHERE id = %s;" % (name, users(owed)), gid)
    time.sleep(rng.uniform(0, 2))
    how = rng.choice(("COMMIT", "ROLLBACK"))
    finish(stage, gid, how)
    for change in changes:
        if how == "COMMIT":
            change.known = stage.load.clock()


def prepared_in_silence(stage, rng):
    """Nobody else is there to wake a sender."""
    load = stage.load
    row = load.new_type("QUIET", load.clock() + 9)
    stage.cluster.sql_at_last(TYPES_SQL + values([row]))
    time.sleep(3)
    sql, owed = people(stage, rng).in_time(3, load.types[-1])
    load.ledger.add(owed)
    prepare(stage, sql, "silence")
    finish(stage, "silence", "COMMIT")
    begin = time.monotonic()
    for one in owed:
        one.since = load.clock()
    until = owed[0].due / 1000000 + QUIET_S
    while load.clock() < until and stage.cluster.value(
            "SELECT count(*) FROM message_logs WHERE attempts > 0 AND user_id"
            " = " + users(owed)) != str(len(owed)):
        time.sleep(0.5)
    fates(stage, owed, "COMMIT PREPARED and then silence for %.0f s"
          % (time.monotonic() - begin))
    # The end of the run does not depend on it.
    stage.cluster.sql_at_last("SELECT bs_wake() \\g /dev/null")


# ---- changes that meet a claim or a lock ---------------------------------------------

def change(stage, rng, one, kinds):
    """One user changed; the Change, committed or not."""
    load, user = stage.load, one.user
    kind = rng.choice(kinds)
    if kind == "date" and one.kind == "BIRTHDAY":
        sql = "UPDATE users SET birthday_date = birthday_date - 60"
    elif kind == "date":
        sql = "UPDATE user_dates SET event_date = event_date - 60"
    elif kind == "zone":
        sql = "UPDATE users SET timezone = '%s'" % WEST
    elif kind == "name":
        made = Change("name", "S%05d" % rng.randrange(100000))
        one.names.add(made.value)
        sql = "UPDATE users SET first_name = '%s'" % made.value
    elif kind == "rcpt":
        made = Change("rcpt", another_address(one))
        sql = "UPDATE users SET email = '%s' || '.com'" \
            % made.value.replace(".com", "")
    else:
        made = Change("deleted")
        sql = "UPDATE users SET deleted_at = now()"
        one.fate = "EITHER" if one.fate != "FAILED" else one.fate
    if kind in ("date", "zone"):
        made = Change("away", kind)
    where = "user_id" if "user_dates" in sql else "id"
    made.tried = load.clock()
    one.changes.append(made)
    with contextlib.suppress(SqlError):
        stage.cluster.sql("%s WHERE %s = '%s';" % (sql, where, user), 20)
        made.known = load.clock()
    return made


def put_back(stage, owed, zones):
    """Who was away is due again."""
    for one in owed:
        for made in one.changes:
            if made.what != "away":
                continue
            made.until = min(made.until, stage.load.clock())
            if made.value == "zone":
                stage.cluster.sql_at_last(
                    "UPDATE users SET timezone = '%s' WHERE id = '%s';" % (
                        zones[one.user], one.user))
            else:
                date = "(SELECT regexp_replace(%s::text, '^[0-9]+', '1980')" \
                    "::date)" % ("'%s'" % one.date)
                stage.cluster.sql_at_last(
                    "UPDATE users SET birthday_date = %s WHERE id = '%s';" % (
                        date, one.user) if one.kind == "BIRTHDAY" else
                    "UPDATE user_dates SET event_date = '%s' WHERE user_id ="
                    " '%s';" % (one.date, one.user))


def zones_of(stage, owed):
    return dict(line.split("|") for line in stage.cluster.sql_at_last(
        "SELECT id, timezone FROM users WHERE id = " + users(owed)))


def another_address(one):
    """The relay refuses it if it refuses the first one."""
    return one.rcpt.replace("@", "n@") if one.fate == "FAILED" \
        else "n" + one.rcpt


def is_ahead_in_the_west(one):
    """Is nine o'clock of that date, at UTC-11, hours away?"""
    nine = datetime.datetime.fromisoformat(one.date + "T20:00:00+00:00")
    return nine.timestamp() > time.time() + 3600


def movable(owed, zones):
    """A user is moved west only if that makes the mail wait."""
    west = (WEST, "Pacific/Marquesas")
    return ("name", "rcpt", "deleted", "date", "zone") if all(
        zones.get(one.user, WEST) not in west and is_ahead_in_the_west(one)
        for one in owed) else ("name", "rcpt", "deleted", "date")


def say_changes(stage, owed, text):
    kinds = collections.Counter(made.value if made.what == "away"
                                else made.what
                                for one in owed for made in one.changes
                                if made.known < float("inf"))
    fates(stage, owed, "%s: %s" % (text, ", ".join(
        "%d %s" % (count, kind) for kind, count in sorted(kinds.items()))))


@fault("data", 3)
def change_claimed(stage, rng):
    """While the relay is about to say 450; now and then somebody has the user
    locked when the retry comes."""
    stage.relay.set_rules([{"phase": "rcpt", "rcpt": "c*", "delay_ms": 1500,
                            "reply": "450 4.2.0 later"}], "data")
    owed, zones = [], {}
    try:
        owed = enter(stage, due_now(stage, rng, rng.randrange(4, 12), "c"))
        zones = zones_of(stage, owed)
        wait_claimed(stage, owed)
        for one in owed:
            change(stage, rng, one, movable(owed, zones))
        locked = rng.choice((0, 4, LEASE_S + 3))
        with stage.cluster.session(
                "BEGIN; SELECT FROM users WHERE id = %s FOR UPDATE;"
                " SELECT pg_sleep(%d); COMMIT;" % (users(owed), locked)):
            time.sleep(0.3)
            stage.relay.set_rules((), "data")
        time.sleep(2)
    finally:
        stage.relay.set_rules((), "data")
        say_changes(stage, owed, "changed while claimed, then locked")
        put_back(stage, owed, zones)


@fault("data", 3)
def cancel_rolled_back(stage, rng):
    """Meanwhile another session changes the user."""
    coming = [one for one in stage.load.types
              if one[2].timestamp() > stage.load.clock() + 4]
    if not coming:
        raise Skip("nothing is planned ahead")
    owed = enter(stage, people(stage, rng).in_time(
        rng.randrange(4, 12), min(coming, key=lambda one: one[2])))
    zones = zones_of(stage, owed)
    try:
        with stage.cluster.session(
                "BEGIN; SELECT bs_cancel_message(id) FROM message_logs WHERE"
                " user_id = %s AND status = 'SCHEDULED'; SELECT pg_sleep(%.1f);"
                " ROLLBACK;" % (users(owed), rng.uniform(1, 5))):
            time.sleep(0.3)
            for one in owed:
                change(stage, rng, one, movable(owed, zones))
        # Until it would have been due.
        time.sleep(min(8, max(0, owed[0].due / 1000000
                              - stage.load.clock())) + 1)
    finally:
        say_changes(stage, owed, "cancelled, changed and rolled back")
        put_back(stage, owed, zones)


@fault("data", 2)
def past_the_triggers(stage, rng):
    """Users deleted and changed with session_replication_role = replica."""
    owed = enter(stage, people(stage, rng).in_time(rng.randrange(4, 12)))
    for one in owed:
        what = rng.choice(("erased", "rcpt", "name"))
        value = {"erased": "", "rcpt": another_address(one),
                 "name": "T%05d" % rng.randrange(100000)}[what]
        made = Change("deleted" if what == "erased" else what, value,
                      stage.load.clock())
        one.changes.append(made)
        if what == "erased":
            one.fate = "GONE"
            sql = "DELETE FROM users"
        elif what == "rcpt":
            sql = "UPDATE users SET email = '%s' || '.com'" \
                % value.replace(".com", "")
        else:
            one.names.add(value)
            sql = "UPDATE users SET first_name = '%s'" % value
        with contextlib.suppress(SqlError):
            stage.cluster.sql("SET session_replication_role = replica; %s"
                              " WHERE id = '%s';" % (sql, one.user), 20)
            # Who is not there gets nothing; the rest a pass may find later.
            made.known = stage.load.clock() + (
                0 if what == "erased" else CAUGHT_UP_S)
    say_changes(stage, owed, "past the triggers")
