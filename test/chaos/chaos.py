#!/usr/bin/python3
"""Injects faults and compares three ledgers; what "make chaos" runs.

    chaos.py --out DIR [--seed N] [--queue postgres|rabbitmq|both]
             [--faults N] [--messages N] [--hours H] [--only FAULT]...
             [storm|bursts|clock|replaced|failpoints]...

Each run has a fresh server, a mail catcher that records every delivery, a
proxy before it, and with rabbitmq a broker.  What happens follows from the
seed, but not when the machine gets to it.  The exit code is 0 only where
nothing was lost, early, recorded twice, or sent twice without need.  Called by
tools/chaos.sh, as a user that is not root.
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from bursts import bursts  # noqa: E402
import clock  # noqa: E402
import failpoints  # noqa: E402
from faults import FAULTS  # noqa: E402
from replaced import replacements  # noqa: E402
from storm import build, keep, storm, table_of_faults  # noqa: E402
from server import BenchError  # noqa: E402

DISKS = ("data", "wal")


def arguments():
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--out", required=True, help="where the runs keep their files")
    add("--seed", type=int, help="a random one, printed")
    add("--queue", choices=("postgres", "rabbitmq", "both"), default="both")
    add("--faults", type=int, default=60, help="in each run")
    add("--messages", type=int, default=10000, help="in each run")
    add("--kills", type=int, default=10, help="bursts: in each run")
    add("--steps", type=int, default=60, help="clock: in each run")
    add("--drops", type=int, default=8, help="replaced: in each run")
    add("--guarantee", choices=("at_least_once", "at_most_once"),
        default="at_least_once")
    add("--gap", type=float, default=1.2, help="mean seconds between faults")
    add("--hours", type=float, default=0,
        help="go on with the next seed for so long")
    add("--only", action="append", choices=sorted(FAULTS), default=[])
    add("--action", action="append", choices=failpoints.ACTIONS, default=[],
        help="failpoints: only this")
    add("--hit", action="append", type=int, default=[],
        help="failpoints: only this")
    add("what", nargs="*", metavar="run",
        help="storm (default), bursts, clock, replaced, failpoints")
    add("--inside", help=argparse.SUPPRESS)     # file systems of our own?
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(1000000)
    options.out = os.path.abspath(options.out)
    options.what = options.what or ["storm"]
    for what in options.what:
        if what not in RUNS:
            parser.error("no such run: " + what)
    return options


def mount_disks(options):
    """Starts this program again where it has two small file systems, if that
    can be had; returns why not."""
    places = {kind: os.path.join(options.out, "disks", kind)
              for kind in DISKS}
    for place in places.values():
        os.makedirs(place, exist_ok=True)
    # Room for two servers, one of them a standby.
    sizes = {"data": 600 + options.messages * 20 // 1000, "wal": 600}
    mounts = " && ".join(
        "mount -t tmpfs -o size=%dM,mode=0700 none '%s'" % (
            sizes[kind], places[kind]) for kind in DISKS)
    enter = ["unshare", "--user", "--mount", "--map-current-user",
             "--keep-caps", "sh", "-c"]
    tried = subprocess.run(enter + [mounts], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           encoding="utf-8", check=False)
    if tried.returncode != 0:
        return tried.stdout.strip()
    os.execvp("unshare", enter + [
        mounts + ' && exec setpriv --inh-caps=-all --ambient-caps=-all "$@"',
        "sh", sys.executable, "-B", *sys.argv, "--inside", "yes"])
    return None


def say(text):
    print(text, flush=True)


# How it is built, what is done, how it is announced.
RUNS = {
    "storm": ({}, storm, "%(faults)d faults over %(messages)d messages"),
    "bursts": ({}, bursts, "%(kills)d kills of the server in the middle of"
               " bursts, %(messages)d messages"),
    "clock": ({"preload": clock.preload}, clock.clock_steps,
              "%(steps)d steps of the clock, %(messages)d messages"),
    "replaced": ({}, replacements, "the extension dropped and created"
                 " %(drops)d times, %(messages)d messages"),
    "failpoints": ({"settings": failpoints.SETTINGS,
                    "tree": failpoints.TREE}, failpoints.all_points,
                   "every failpoint"),
}


def one_run(options, what, queue, seed):
    """True where all was well."""
    how, act, title = RUNS[what]
    folder = os.path.join(options.out, "%s-%s-%d" % (what, queue, seed))
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    disks = {kind: os.path.join(options.out, "disks", kind)
             if options.with_disks else folder for kind in DISKS}
    say("\n== %s, queue %s, seed %d: %s" % (
        what, queue, seed, title % vars(options)))
    stage = build(folder, queue, disks, **{**how, "settings": {
        "birthday_scheduler.delivery_guarantee": options.guarantee,
        **how.get("settings", {})}})
    good = False
    try:
        verdict = act(stage, options, seed, say)
        good = not verdict.faults
        if act == storm:
            say("\n".join(table_of_faults(stage)))
        for text in stage.seen:
            say("        saw  " + text)
        for name, value in verdict.figures.items():
            say("%10s  %s" % (value, name))
        if verdict.silence_at:
            worst = verdict.figures[
                "worst silence while something was due, s"]
            say("            then: " + ", ".join(stage.near(
                verdict.silence_at - worst, verdict.silence_at)))
        for text in verdict.faults:
            say("WRONG: " + text)
        if not good:
            keep(stage, folder)
    finally:
        stage.close()
        for place in set(disks.values()) if options.with_disks else ():
            for entry in os.listdir(place):
                shutil.rmtree(os.path.join(place, entry), ignore_errors=True)
    if good:
        shutil.rmtree(folder)
        say("well")
    else:
        say("seed %d; kept in %s" % (seed, folder))
    return good


def main():
    options = arguments()
    os.makedirs(options.out, exist_ok=True)
    if "--seed" not in sys.argv:
        sys.argv += ["--seed", str(options.seed)]
    why_not = None
    if options.inside is None:
        why_not = mount_disks(options)
        options.inside = "no"
    options.with_disks = options.inside == "yes"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say("seed %d" % options.seed)
    if why_not:
        say("no full disks: a file system of our own cannot be had here: "
            + why_not)
    queues = ["postgres", "rabbitmq"] if options.queue == "both" \
        else [options.queue]
    until = time.monotonic() + options.hours * 3600
    seed, good = options.seed, True
    while True:
        for what in options.what:
            for queue in queues:
                good = one_run(options, what, queue, seed) and good
        seed += 1
        if time.monotonic() >= until or not good:
            return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as trouble:
        sys.exit("chaos.py: %s" % trouble)
