"""Faults at random over a load that never ends, and the reckoning."""
import concurrent.futures
import os
import random
import time

from cluster import Cluster, SqlError
from faults import FAULTS, Skip
from load import Load
from server import BenchError
from stage import Broker, Proxy, Relay, Stage
from verdict import NO_ROW, judge, story

FINAL = "('SENT', 'FAILED', 'CANCELLED', 'EXPIRED')"
DRAIN_S = 300
ESTIMATE_S = 3.5            # of a fault, for the instants of the load


def build(folder, queue, disks, settings=None, tree=None,
          preload=lambda folder: {}):
    """A Stage with everything running."""
    stage = Stage(folder, queue)
    settings = dict(settings or {})
    try:
        environment = preload(folder)
        stage.relay = Relay(folder, environment)
        stage.relay.set_rules(())
        targets = {"relay": stage.relay.port}
        if queue == "rabbitmq":
            stage.broker = Broker(folder)
            targets["broker"] = stage.broker.port
        stage.proxy = Proxy(**targets)
        settings["birthday_scheduler.queue"] = queue
        if stage.broker:
            settings["birthday_scheduler.amqp_url"] = stage.broker.address(
                stage.proxy.ports["broker"])
        stage.cluster = Cluster(
            folder, "smtp://127.0.0.1:%d" % stage.proxy.ports["relay"],
            disks, settings, tree, environment)
        stage.cluster.create()
    except BaseException:
        stage.close()
        raise
    return stage


def possible(stage, with_disks):
    """Those that can be done here, by name."""
    has = {None: True, "broker": stage.broker is not None,
           "disks": with_disks}
    return {name: one for name, one in FAULTS.items() if has[one.needs]}


def perform(stage, one, seed):
    begin = time.time()
    skipped = None
    try:
        one.act(stage, random.Random(seed))
    except Skip as reason:
        skipped = str(reason)
    except (BenchError, OSError) as error:
        stage.complain("%s: %s" % (one.name, error))
        try:
            stage.cluster.bring_back()
        except (BenchError, OSError) as worse:
            stage.complain("after %s: %s" % (one.name, worse))
    for whom in one.strikes:
        stage.strike(whom, begin)
    stage.note(one.name, begin, skipped)


class Lanes:
    """One thread a lane, for the whole run: a relay that one of them starts
    ends with the thread."""

    def __init__(self):
        self.lanes = {}
        self.running = {}

    def put(self, lane, *work):
        """Waits until the lane is free; "all" has no others beside it."""
        if lane == "all":
            self.wait()
            self.put("server", *work)
            self.wait()
            return
        if lane not in self.lanes:
            self.lanes[lane] = concurrent.futures.ThreadPoolExecutor(
                1, thread_name_prefix=lane)
        elif self.running[lane]:
            self.running[lane].result()
        self.running[lane] = self.lanes[lane].submit(*work)

    def wait(self):
        for future in self.running.values():
            future.result()

    def close(self):
        for lane in self.lanes.values():
            lane.shutdown(wait=False, cancel_futures=True)


def drain(stage, load):
    """Until nothing is pending; how long it took."""
    begin = time.monotonic()
    known = 0
    while True:
        try:
            pending = int(stage.cluster.value(
                "SELECT count(*) FROM message_logs WHERE status NOT IN %s"
                % FINAL))
            known = int(stage.cluster.value(
                "SELECT count(*) FROM message_logs"))
            if pending == 0 and known >= sum(
                    one.fate not in NO_ROW
                    for one in load.ledger.owed.values()):
                return time.monotonic() - begin
        except SqlError as error:
            pending = error
        if time.monotonic() - begin > DRAIN_S:
            stage.complain("after %d s without faults %s were still pending,"
                           " %d planned" % (DRAIN_S, pending, known))
            return time.monotonic() - begin
        time.sleep(0.5)


def at_rest(stage):
    """All workers run, and health says so."""
    deadline = time.monotonic() + 30
    while True:
        missing = stage.cluster.sql_at_last(
            "SELECT worker FROM bs_workers WHERE pid IS NULL")
        if not missing:
            break
        if time.monotonic() > deadline:
            stage.complain("not running: " + ", ".join(missing))
            break
        time.sleep(0.3)


def reckon(stage, load, say, began, drained, latest=None):
    """The end of any run: a Verdict, and the stories of what is wrong."""
    stage.read_log()
    verdict = judge(stage.cluster, load.ledger.owed, stage.relay.folder,
                    stage, load.clock(), latest)
    verdict.figures["time, s"] = round(time.monotonic() - began)
    verdict.figures["of it until all was sent after the last fault, s"] = \
        round(drained, 1)
    verdict.figures["statements of the load that failed"] = load.retries
    if stage.broker:
        verdict.figures["queues that a killed broker forgot"] = \
            stage.lost_queues
    for name, value in stage.worsts.items():
        verdict.figures["worst: " + name] = round(value, 2)
    verdict.faults += stage.complaints
    for key in verdict.odd_keys:
        say(story(stage.cluster, load.ledger.owed, stage.relay.folder, key))
    return verdict


def storm(stage, options, seed, say):
    """FAULTS faults over MESSAGES messages; a Verdict."""
    rng = random.Random("storm %s" % seed)
    table = possible(stage, options.with_disks)
    if options.only:
        table = {name: one for name, one in table.items()
                 if name in options.only}
    names, weights = zip(*((name, one.weight) for name, one in table.items()))
    done = 0
    load = Load(stage.cluster, seed, options.messages,
                options.faults * ESTIMATE_S,
                lambda: done / max(1, options.faults) + 0.02)
    load.prepare()
    stage.load = load
    lanes = Lanes()
    began = time.monotonic()
    try:
        load.start()
        time.sleep(2)           # a while without any fault
        for number in range(options.faults):
            one = table[rng.choices(names, weights)[0]]
            lanes.put(one.lane, perform, stage, one,
                      "%s %s %d" % (seed, one.name, number))
            done = number + 1
            time.sleep(rng.expovariate(1 / options.gap))
            if not load.is_alive() and load.added < load.total:
                raise BenchError(load.trouble)
        lanes.wait()
        stormed = time.monotonic() - began
        say("%d faults in %.0f s; the rest is to be sent" % (
            options.faults, stormed))
        load.join(DRAIN_S)
        if load.is_alive():
            load.quit.set()
            load.join()
            stage.complain("people could not be added: %s" % load.trouble)
        drained = drain(stage, load)
        at_rest(stage)
        for number, act in enumerate(stage.afterwards):
            act(stage, random.Random("%s afterwards %d" % (seed, number)))
        if stage.afterwards:
            drain(stage, load)
    finally:
        load.quit.set()
        load.join()
        lanes.close()
    return reckon(stage, load, say, began, drained)


def table_of_faults(stage):
    """By kind: how many, and how many came to nothing."""
    counts = {}
    for name, _, _, skipped in stage.events:
        done, none = counts.get(name, (0, 0))
        counts[name] = (done + (skipped is None), none + (
            skipped is not None))
    return ["%6d  %s%s" % (done, name, ", and %d in vain" % none
                           if none else "")
            for name, (done, none) in sorted(counts.items())]


def keep(stage, folder):
    """The cluster lies in a file system that goes with the process."""
    cluster, data = stage.cluster, os.path.join(folder, "kept")
    cluster.stop()
    if os.path.isdir(cluster.data):
        cluster.run("cp", "-a", cluster.data, data)
        os.unlink(os.path.join(data, "pg_wal"))
        cluster.run("cp", "-a", cluster.wal, os.path.join(data, "pg_wal"))
