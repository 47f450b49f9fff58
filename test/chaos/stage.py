"""Everything that a run needs beside the server, and what it notices."""
import datetime
import json
import os
import subprocess
import threading
import time

import broker
from server import BenchError, Catcher

HERE = os.path.dirname(os.path.abspath(__file__))
NEAR_S = 3              # how near a fault has to be to be the cause


class Relay(Catcher):
    """The mail catcher and its rules."""

    def __init__(self, folder, environment=None):
        super().__init__(folder, environment)
        self.layers = {}
        self.lock = threading.Lock()

    def set_rules(self, specs, layer="relay"):
        """Rules of one lane; those of the others stay."""
        with self.lock:
            self.layers[layer] = tuple(specs)
            self.write([spec for name in sorted(self.layers)
                        for spec in self.layers[name]])

    def write(self, specs):
        path = os.path.join(self.folder, "script.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            # Patterns of ours always refuse; the run's rules come after them.
            json.dump({"rules": [
                {"phase": "rcpt", "rcpt": "nobody*",
                 "reply": "550 5.1.1 no such user"}, *specs]}, file)
        os.replace(path + ".new", path)


# Queues that nothing serves; 3.10 forgets one that was declared just before a
# kill -9, and then refuses whatever is published to it, for ever.
DOWN = """string:join(
    [binary_to_list(element(4, amqqueue:get_name(Q)))
     || Q <- rabbit_amqqueue:list(),
        rabbit_amqqueue:info(Q, [state]) == [{state, down}]], " ")"""


class Broker(broker.Broker):
    """One that is killed, and started again with what it holds."""

    def address(self, port):
        """Its URL by way of another port, for guest."""
        return "%s:%d" % (self.plain_url.rpartition(":")[0], port)

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    def start(self):
        self.call("start")
        self.pid = int(self.call("pid"))

    def delete_lost(self):
        """What docs/queue.md tells people to do; how many there were."""
        names = self.call("eval", DOWN).strip('[]"').split()
        for name in names:
            self.call("ctl", "delete_queue", name)
        return len(names)

    def kill(self):
        self.call("kill9")

    def shut_down(self):
        self.call("stop")


class Proxy:
    """The way to the relay and to the broker."""

    def __init__(self, **targets):
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-B", os.path.join(HERE, "proxy.py"),
             *("%s=0:%d" % target for target in targets.items())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        self.ports = json.loads(self.process.stdout.readline())
        self.lock = threading.Lock()

    def mode(self, name, *words):
        with self.lock:
            self.process.stdin.write(" ".join((name, *words)) + "\n")
            self.process.stdin.flush()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Stage:
    """One run: who is on it, what was done, what was noticed."""

    def __init__(self, folder, queue):
        self.folder = folder
        self.queue = queue
        self.cluster = None
        self.relay = None
        self.proxy = None
        self.broker = None
        self.lost_queues = 0        # by a killed broker
        self.events = []            # (name, begin, end, skipped because)
        self.strikes = []           # (whom, begin, end)
        self.load = None
        self.afterwards = []        # what wants silence: done once all is sent
        self.seen = []              # what faults say of themselves
        self.worsts = {}
        self.complaints = []
        self.lock = threading.Lock()

    def worst(self, name, value):
        with self.lock:
            self.worsts[name] = max(value, self.worsts.get(name, 0))

    def complain(self, text):
        with self.lock:
            self.complaints.append(text)

    def note(self, name, begin, skipped=None, end=None):
        end = end or time.time()
        with self.lock:
            self.events.append((name, begin, end, skipped))
            with open(os.path.join(self.folder, "faults.log"), "a",
                      encoding="utf-8") as file:
                file.write("%.3f %.3f %s%s\n" % (
                    begin, end, name,
                    " skipped: " + skipped if skipped else ""))

    def strike(self, whom, begin, end=None):
        """From begin to end "server", "relay" or a process could not tell or
        record what became of a mail."""
        with self.lock:
            self.strikes.append((whom, begin, end or time.time()))

    def saw(self, text):
        with self.lock:
            self.seen.append(text)

    def start_broker(self):
        """After a kill."""
        self.broker.start()
        lost = self.broker.delete_lost()
        with self.lock:
            self.lost_queues += lost

    def near(self, begin, end):
        """What was done between two moments."""
        return sorted({name for name, first, last, skipped in self.events
                       if first <= end and last >= begin})

    def read_log(self):
        """The server must not have ended by a fault of its own, nor have
        named anybody."""
        with open(self.cluster.log, encoding="utf-8",
                  errors="replace") as file:
            for line in file:
                if "was terminated by signal" in line and not any(
                        "signal %d:" % number in line for number in (9,)) \
                        and not ("signal 6:" in line and self.may_panic()):
                    self.complain("server log: " + line.strip())
                if "terminating any other active server processes" in line:
                    moment = datetime.datetime.strptime(
                        line[:23] + "+0000", "%Y-%m-%d %H:%M:%S.%f%z")
                    self.strike("server", moment.timestamp() - 1,
                                moment.timestamp() + 1)
                if "@example.com" in line:
                    self.complain("the log names somebody: " + line.strip())
                if "TRAP:" in line:
                    self.complain("server log: " + line.strip())

    def may_panic(self):
        """A server PANICs where there is no room for WAL, or a checkpoint."""
        return any(name in ("wal_disk_full", "data_disk_full",
                            "data_disk_full_long", "wal_disk_full_long")
                   for name, *_ in self.events)

    def close(self):
        for part in (self.cluster, self.proxy, self.relay, self.broker):
            if part is not None:
                try:
                    part.stop()
                except (BenchError, OSError, subprocess.SubprocessError):
                    pass
