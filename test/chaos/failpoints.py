"""Every failpoint with every action, at its first and its second hit."""
import os
import re
import signal
import time

from cluster import SqlError, is_alive, stat_state
from load import Load
from server import TOP, BenchError
from storm import FINAL, at_rest, drain, reckon

TREE = os.path.join(TOP, "build", "failpoints", "build", "pg")
ACTIONS = ("kill9", "error", "fatal", "stop")
LEASE_S = 2
BATCH = 12
SETTINGS = {"birthday_scheduler.lease": "%ds" % LEASE_S,
            "birthday_scheduler.mail_timeout": "400ms",
            "birthday_scheduler.plan_interval": "1s"}

# Where a point can be reached only with one kind of queue.
ONLY = {"claim": "postgres", "copies": "rabbitmq", "copy": "rabbitmq",
        "ack": "rabbitmq", "due": "rabbitmq", "publish": "rabbitmq",
        "confirm": "rabbitmq", "mark": "rabbitmq", "publisher": "rabbitmq"}

ARM_SQL = """
CREATE FUNCTION bs_failpoint_arm(name text, action text, hit integer)
RETURNS void LANGUAGE C STRICT AS 'birthday_scheduler';
REVOKE ALL ON FUNCTION bs_failpoint_arm FROM PUBLIC;"""

# As a sender leaves them that died long ago.
LOST_SQL = """
UPDATE message_logs
   SET status = 'SENDING', due_at = now() - interval '1 second', attempts = 1,
       claimed_by = 'server/1/1', claim_token = gen_random_uuid()
 WHERE status = 'SCHEDULED' AND user_id = ANY ('{%s}');"""


def points(queue):
    """The names in the sources that this kind of queue comes by."""
    found = set()
    for folder, _, names in os.walk(os.path.join(TOP, "src")):
        for name in names:
            if name.endswith(".c"):
                with open(os.path.join(folder, name),
                          encoding="utf-8") as file:
                    found.update(re.findall(r'BS_FAILPOINT\("([^"]+)"\)',
                                            file.read()))
    return sorted(name for name in found
                  if ONLY.get(name.split("-")[0], queue) == queue)


class Log:
    """What the server says from now on."""

    def __init__(self, path):
        self.path = path
        self.offset = os.path.getsize(path)

    def says(self, text):
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(self.offset)
            return text in file.read()


def provoke(stage, load, name):
    """Some messages, and what else leads to the point."""
    sql, owed = load.birthdays(BATCH) or load.in_time(BATCH)
    if name.startswith("recover"):
        sql = sql.replace("SET session_replication_role = replica;\n", "") \
            + LOST_SQL % ",".join(one.user for one in owed)
    if not load.enter(sql, owed):
        raise BenchError("people could not be added: %s" % load.trouble)
    kinds = {"stop": "sender", "publisher": "publisher"}
    kind = kinds.get(name.split("-")[0])
    for pid in stage.cluster.workers(kind) if kind else ():
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def release(stage):
    """Lets the process that stands still go on, after its lease."""
    still = [pid for pid in stage.cluster.workers()
             if stat_state(pid) == "T"]
    time.sleep(LEASE_S + 1)
    for pid in still:
        if is_alive(pid):
            os.kill(pid, signal.SIGCONT)
    return len(still)


def settle(stage, seconds):
    """Until nothing is pending, or that long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if stage.cluster.value(
                    "SELECT count(*) FROM message_logs WHERE status NOT IN %s"
                    % FINAL) == "0":
                return
        except SqlError:
            pass
        time.sleep(0.1)


def one_point(stage, load, name, action, hit):
    begin = time.time()
    log = Log(stage.cluster.log)
    stage.cluster.sql_at_last(
        "SELECT bs_failpoint_arm('%s', '%s', %d) \\g /dev/null"
        % (name, action, hit))
    until = time.monotonic() + 30
    reached = 'failpoint "%s": %s' % (name, action)
    while not log.says(reached):
        if time.monotonic() > until:
            stage.complain("%s was never reached" % name)
            return
        provoke(stage, load, name)
        pause = time.monotonic() + 1
        while time.monotonic() < pause and not log.says(reached):
            time.sleep(0.02)
    if action == "stop" and release(stage) != 1:
        stage.complain("%s: nobody stood still" % name)
    stage.cluster.bring_back()
    settle(stage, 5)
    stage.strike("server", begin)
    stage.note("%s:%s:%d" % (name, action, hit), begin)


def all_points(stage, options, seed, say):
    """A Verdict."""
    actions = options.action or ACTIONS
    stage.cluster.sql(ARM_SQL)
    load = Load(stage.cluster, seed, 10 ** 9, 600, lambda: 1)
    load.prepare()
    names = points(stage.queue)
    began = time.monotonic()
    count = 0
    for name in names:
        for action in actions:
            for hit in options.hit or (1, 2):
                one_point(stage, load, name, action, hit)
                count += 1
    say("%d failpoints, %s, hits %s: %d cases" % (
        len(names), ", ".join(actions), options.hit or (1, 2), count))
    drained = drain(stage, load)
    at_rest(stage)
    return reckon(stage, load, say, began, drained)
