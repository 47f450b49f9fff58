"""The clock stepped forwards and backwards under a server that sends.

Server and relay live by the clock of stepped_clock.c; the monotonic clock goes
on, as it does when a real clock is stepped.  Half a day passes in some minutes.
"""
import os
import random
import struct
import time

from bursts import Counter
from load import AHEAD_TYPES, Load
from server import TOP, BenchError
from storm import at_rest, drain, reckon

LIBRARY = os.path.join(TOP, "build", "chaos_c", "stepped_clock.so")
DAY_PART_S = 12 * 3600
UNSURE_S = 2        # a mail may be stamped so long after it was begun


def preload(folder):
    """The environment of whoever lives by the clock in the folder."""
    if not os.path.exists(LIBRARY):
        raise BenchError("make %s first" % os.path.relpath(LIBRARY, TOP))
    path = os.path.join(folder, "clock")
    with open(path, "wb") as file:
        file.write(struct.pack("=q", 0))
    return {"LD_PRELOAD": LIBRARY, "STEPPED_CLOCK": path}


class Clock:
    """The wrong one."""

    def __init__(self, stage):
        self.stage = stage
        self.path = os.path.join(stage.folder, "clock")
        self.offset = 0
        self.steps = []         # (before, after), of those backwards

    def now(self):
        return time.time() + self.offset

    def step(self, seconds):
        before = self.now()
        self.offset += seconds
        with open(self.path, "r+b", buffering=0) as file:
            file.write(struct.pack("=q", int(self.offset * 1e9)))
        after = self.now()
        if seconds < 0:
            self.steps.append((before, after))
        # Both clocks that were true then.
        for moment in (before, after):
            for whom in ("server", "relay"):
                self.stage.strike(whom, moment - 3, moment + 3)
            self.stage.note("clock stepped", moment, end=moment)
        return "%+.0f s" % seconds

    def latest(self, moment):
        """The clock that a sender may have read for a mail so stamped."""
        return max([moment] + [before + moment - after
                               for before, after in self.steps
                               if after <= moment <= after + UNSURE_S])


def one_step(load, clock, counter, rng):
    """Most of them where it hurts: in the middle of what is just due."""
    coming = sorted(entry[2].timestamp() for entry in load.types
                    if entry[2].timestamp() > clock.now())
    kind = rng.random()
    if coming and kind < 0.7:
        clock.step(coming[0] - clock.now() - rng.uniform(0.2, 2))
        before = counter.look()
        until = time.monotonic() + 3
        wanted = load.total // AHEAD_TYPES * rng.random()
        while counter.look() - before < wanted and time.monotonic() < until:
            time.sleep(0.005)
        kind = rng.random()
    if kind < 0.5:
        clock.step(-rng.choice((1, 5, 60, 1000)) * rng.uniform(0.5, 1.5))
    elif kind < 0.8:
        clock.step(rng.choice((3, 60, 1000)) * rng.uniform(0.5, 1.5))
    time.sleep(rng.uniform(0.1, 2))


def clock_steps(stage, options, seed, say):
    """STEPS steps over MESSAGES messages planned before; a Verdict."""
    rng = random.Random("clock %s" % seed)
    clock = Clock(stage)
    load = Load(stage.cluster, seed, options.messages, DAY_PART_S, lambda: 1,
                clock.now)
    load.prepare()
    for entry in load.types:
        if not load.enter(*load.in_time(options.messages // AHEAD_TYPES,
                                        entry)):
            raise BenchError("people could not be added: %s" % load.trouble)
    counter = Counter(stage.relay.folder)
    began = time.monotonic()
    for _ in range(options.steps):
        one_step(load, clock, counter, rng)
    passed = clock.offset
    clock.step(max(0, DAY_PART_S + 60 - clock.offset))
    say("%d steps, %d of them back; %.1f hours passed in %.0f s" % (
        len(stage.events), len(clock.steps), passed / 3600,
        time.monotonic() - began))
    drained = drain(stage, load)
    at_rest(stage)
    return reckon(stage, load, say, began, drained, clock.latest)
