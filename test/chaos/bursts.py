"""The whole server killed in the middle of a burst, again and again."""
import os
import random
import time

from load import Load
from storm import FINAL, at_rest, drain, reckon
from server import BenchError

LIMIT_S = 120           # for one burst to get as far as it is to be killed


class Counter:
    """How many mails have arrived since the last look."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "mails.jsonl")
        self.offset = 0
        self.count = 0

    def look(self):
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            octets = file.read()
        whole = octets.rfind(b"\n") + 1
        self.offset += whole
        self.count += octets.count(b"\n", 0, whole)
        return self.count


def one_burst(stage, load, counter, size, rng):
    """Killed when some part of it, by chance, has arrived."""
    made = None
    while made is None:
        made = load.birthdays(size)
    before = counter.look()
    if not load.enter(*made):
        raise BenchError("people could not be added: %s" % load.trouble)
    wanted = before + int(size * rng.uniform(0.02, 0.9))
    until = time.monotonic() + LIMIT_S
    while counter.look() < wanted:
        if time.monotonic() > until:
            stage.complain("a burst of %d did not get far in %d s"
                           % (size, LIMIT_S))
            return
        time.sleep(0.005)
    begin = time.time()
    with_broker = stage.broker is not None and rng.random() < 0.3
    if with_broker:
        stage.broker.kill()
    stage.worst("workers outlived a killed postmaster, s",
                stage.cluster.kill_postmaster())
    stage.cluster.launch()
    if with_broker:
        stage.start_broker()
    stage.strike("server", begin)
    stage.note("server and broker killed" if with_broker
               else "server killed", begin)


def bursts(stage, options, seed, say):
    """KILLS bursts of MESSAGES together; a Verdict."""
    rng = random.Random("bursts %s" % seed)
    load = Load(stage.cluster, seed, options.messages, 600, lambda: 1)
    load.prepare()
    counter = Counter(stage.relay.folder)
    began = time.monotonic()
    pending = []
    for _ in range(options.kills):
        one_burst(stage, load, counter, options.messages // options.kills,
                  rng)
        pending.append(int(stage.cluster.value(
            "SELECT count(*) FROM message_logs WHERE status NOT IN %s"
            % FINAL)))
    say("%d kills, with between %d and %d messages pending after each" % (
        options.kills, min(pending), max(pending)))
    drained = drain(stage, load)
    at_rest(stage)
    return reckon(stage, load, say, began, drained)
