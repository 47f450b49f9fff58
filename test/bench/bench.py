#!/usr/bin/python3
"""Measures what the project promises; what "make bench" runs.

    bench.py --out DIR [--quick] [--runs N] [--seed N] [CASE]...

Without a case: all but peers.  Each has a fresh server on the disk of DIR, with
fsync on and default settings but for those that are printed; publish and the
broker cases a fresh RabbitMQ too.  Every figure is the median of N runs with the
smallest and the largest beside it.  All of it, each run's value too, is kept as
JSON in DIR.  Called by tools/bench.sh, as a user that is not root.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time

from broker import http_through_broker, publish, through_broker
from burst import burst, burst_http, burst_large
from cases import lateness, lone, planning, steady
from crud import copy, crud
from far import delay
from idle import idle, memory
from months import months
from peers import peers
from remote import remote
from scale import day, grown
from server import SETTINGS, BenchError, BenchSkip

SIZES = {           # full, quick; of several, separated by commas, each is taken
    "runs": (5, 1),
    "lone_mails": (200, 20),
    "lateness_mails": (1000, 250),
    "lateness_seconds": (20, 5),
    "steady_rates": ((12, 120), (12, 120)),
    "steady_seconds": (600, 2),
    "burst_mails": (100000, 3000),
    "large_mails": (2000, 200),
    "planning_people": (20000, 4000),
    "day_users": ((1000000, 10000000), (20000, 100000)),
    "crud_people": (100000, 10000),
    "crud_seconds": (5, 1),
    "copy_people": (1000000, 100000),
    "publish_messages": (20000, 3000),
    "months_people": (10000, 1000),
    "months_rows": (10000000, 20000),
    "grown_rows": ((1000000, 10000000), (20000, 100000)),
    "grown_messages": (20000, 2000),
    "idle_people": (10000, 1000),
    "idle_seconds": (60, 5),
    "memory_mails": (20000, 2000),
    "delay_ms": ((20, 100), (20,)),
    "delay_seconds": (10, 1),
    "remote_mails": (2000, 200),
    "peers_mails": (20000, 2000),
}

CASES = {
    "lone": lone,
    "lateness": lateness,
    "steady": steady,
    "burst": burst,
    "burst-http": burst_http,
    "burst-large": burst_large,
    "planning": planning,
    "day": day,
    "crud": crud,
    "copy": copy,
    "publish": publish,
    "broker": through_broker,
    "broker-http": http_through_broker,
    "months": months,
    "grown": grown,
    "idle": idle,
    "memory": memory,
    "delay": delay,
    "remote": remote,
    "peers": peers,
}
ON_REQUEST = ("peers",)     # made of what npm brings


def numbers(text):
    return tuple(map(int, text.split(",")))


def in_text(sizes):
    return ",".join(map(str, sizes)) if isinstance(sizes, tuple) \
        else str(sizes)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--quick", action="store_true",
                        help="small and once: does it work at all?")
    parser.add_argument("--seed", type=int, default=20260101)
    for name, (full, quick) in SIZES.items():
        parser.add_argument("--" + name.replace("_", "-"),
                            type=numbers if isinstance(full, tuple) else int,
                            help="%s, quick %s" % (in_text(full),
                                                   in_text(quick)))
    parser.add_argument("cases", nargs="*", metavar="case",
                        help=", ".join(CASES))
    options = parser.parse_args()
    options.out = os.path.abspath(options.out)
    for name, sizes in SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, sizes[options.quick])
    options.cases = options.cases or [
        name for name in CASES if name not in ON_REQUEST]
    for name in options.cases:
        if name not in CASES:
            parser.error("no such case: " + name)
    return options


def first_match(path, key):
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith(key):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return "unknown"


def machine(folder):
    disk = subprocess.run(["stat", "-f", "-c", "%T", folder],
                          stdout=subprocess.PIPE, encoding="utf-8",
                          check=True).stdout.strip()
    return {"processor": first_match("/proc/cpuinfo", "model name"),
            "processors": len(os.sched_getaffinity(0)),
            "memory": first_match("/proc/meminfo", "MemTotal"),
            "system": platform.platform(),
            "file system": disk,
            "load before": "%.2f" % os.getloadavg()[0]}


def shown(value):
    if value >= 1000:
        return "%d" % round(value)
    return "%.1f" % value if value >= 10 else "%.2f" % value


def summary(figure):
    """The figure with its middle and spread, as JSON has it."""
    middle = statistics.median(figure.values)
    document = {"name": figure.name, "unit": figure.unit, "median": middle,
                "min": min(figure.values), "max": max(figure.values),
                "runs": figure.values, "meaning": figure.meaning}
    if figure.aim is not None:
        sign, aim = figure.aim
        document["aim"] = "%s %g" % (sign, aim)
        document["reached"] = middle < aim if sign == "<" else middle > aim
    return document


def print_case(note, documents):
    print(note + ":\n")
    print("    %-44s %9s %9s %9s  %-4s %s" % (
        "", "median", "min", "max", "", "aim"))
    for figure in documents:
        aim = ""
        if "aim" in figure:
            aim = "%s %s: %s" % (figure["aim"], figure["unit"],
                                 "yes" if figure["reached"] else "no")
        print(("    %-44s %9s %9s %9s  %-4s %s" % (
            figure["name"], shown(figure["median"]), shown(figure["min"]),
            shown(figure["max"]), figure["unit"], aim)).rstrip())
    print()
    for figure in documents:
        if figure["meaning"]:
            print("    %s: %s." % (figure["name"].partition(", p50")[0],
                                   figure["meaning"]))
    print(flush=True)


def main():
    options = arguments()
    os.makedirs(options.out, exist_ok=True)
    started = datetime.datetime.now(datetime.timezone.utc)
    report = {"started": started.isoformat(timespec="seconds"),
              "quick": options.quick, "seed": options.seed,
              "sizes": {name: getattr(options, name) for name in SIZES},
              "machine": machine(options.out), "settings": SETTINGS,
              "cases": {}}
    for key, value in report["machine"].items():
        print("%-12s %s" % (key, value))
    print("%-12s as the server comes (fsync on), but for" % "settings")
    for setting in SETTINGS.items():
        print("             %s = '%s'" % setting)
    print("%-12s %d, seed %d%s\n" % (
        "runs", options.runs, options.seed,
        ": quick, the figures mean little" if options.quick else ""),
        flush=True)
    if float(report["machine"]["load before"]) > 0.5:
        print("The machine is busy with other things: figures will be worse "
              "than they are.\n", flush=True)
    for name in options.cases:
        begin = time.monotonic()
        try:
            note, figures, _ = CASES[name](options, options.out)
        except BenchSkip as reason:
            print("%s is left out: %s.\n" % (name, reason), flush=True)
            report["cases"][name] = {"skipped": str(reason)}
            continue
        documents = [summary(figure) for figure in figures]
        report["cases"][name] = {"note": note, "figures": documents,
                                 "seconds": round(time.monotonic() - begin)}
        print_case(note, documents)
    path = os.path.join(options.out,
                        started.strftime("%Y%m%dT%H%M%SZ.json"))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    print("Kept in %s." % os.path.relpath(path))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit("bench.py: %s" % error)
