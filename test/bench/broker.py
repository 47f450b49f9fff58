"""What goes through RabbitMQ: publishing beside the least that a program can do,
and messages end to end."""
import os
import re
import subprocess

from burst import burst_runs, cost_figures, rate_figures
from cases import (LATENESS_NOTE, Figure, lateness_figures, lateness_runs,
                   with_catcher)
from server import TOP, BenchError, Server, wait_for
from sinks import HttpSink, Sink, run_program

SCRIPT = os.path.join(TOP, "tools", "private_rabbitmq.sh")
WINDOW = 2048       # what the publisher keeps unconfirmed
BODY_OCTETS = 160   # what a body of ours has


class Broker:
    """A RabbitMQ of the run's own; see tools/private_rabbitmq.sh."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "broker")
        self.url = self.call("start")
        # Of guest, whose password is what a link takes if it is told none.
        self.plain_url = re.sub("//[^@]*@", "//", self.url)
        self.pid = int(self.call("pid"))
        self.version = self.call("eval", "rabbit_misc:version()")

    def call(self, command, *arguments):
        done = subprocess.run(
            [SCRIPT, command, self.folder, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8", check=False)
        if done.returncode != 0:
            raise BenchError(done.stderr.strip()[-2000:])
        return done.stdout.strip()

    def settings(self):
        return {"birthday_scheduler.queue": "rabbitmq",
                "birthday_scheduler.amqp_url": self.plain_url}

    def remove_queues(self):
        """What one program left must not slow down the other."""
        for line in self.call("ctl", "--quiet", "list_queues",
                              "--no-table-headers", "name").splitlines():
            self.call("ctl", "--quiet", "delete_queue", line)

    def stop(self):
        self.call("stop")
        subprocess.run(["rm", "-rf", self.folder], check=True)


def wait_until_up(session, broker):
    """Until the publisher and every sender have their connection."""
    workers = int(session.value(
        "SELECT current_setting('birthday_scheduler.senders')::int + 1"))
    wait_for(lambda: session.value("SELECT up FROM bs_broker_stats()") == "t"
             and int(broker.call("eval", "length(rabbit_networking:"
                                 "connections())")) == workers,
             "the connections to the broker")


# ---- publishing -------------------------------------------------------------

def published(program, broker, count):
    url = broker.url if program == "publish_bare" else broker.plain_url
    found = run_program(program, url, count, WINDOW, BODY_OCTETS)
    broker.remove_queues()
    return found


def publish(options, folder):
    count = options.publish_messages
    broker = Broker(folder)
    found = {"publish_link": [], "publish_bare": []}
    try:
        for program in found:       # queues and code paths are warm after it
            published(program, broker, min(count, 2000))
        for _ in range(options.runs):
            for program, answers in found.items():
                answers.append(published(program, broker, count))
    finally:
        broker.stop()

    ours, bare = found["publish_link"], found["publish_bare"]
    note = ("%d persistent, mandatory messages of %d octets to a quorum queue "
            "of RabbitMQ %s,\nat most %d of them unconfirmed; one process, "
            "one connection, then the other program" % (
                count, BODY_OCTETS, broker.version, WINDOW))
    figures = [
        Figure("confirmed publishes a second", "1/s",
               [run["rate"] for run in ours],
               "src/core/amqp/amqp.c, driven by poll(): test/bench/"
               "publish_link.c", None),
        Figure("bare librabbitmq loop", "1/s", [run["rate"] for run in bare],
               "the library's blocking calls and nothing else: test/bench/"
               "publish_bare.c", None),
        Figure("ratio of the two", "", [
            mine["rate"] / theirs["rate"] for mine, theirs in
            zip(ours, bare)], "in the same run", (">", 0.7))]
    for name, runs in (("ours", ours), ("bare loop", bare)):
        figures.append(Figure(
            "CPU per 1,000 publishes: " + name, "ms",
            [(run["cpu_user"] + run["cpu_system"]) * 1e6 / count
             for run in runs], "", None))
    return note, figures, None


# ---- end to end -------------------------------------------------------------

def burst_through(options, folder, broker, sink):
    server = Server(folder, sink.url, broker.settings())
    try:
        server.start()
        session = server.session()
        session.ask("SELECT bs_resume() \\g /dev/null")
        wait_until_up(session, broker)
        runs, note = burst_runs(options, server, sink, {"broker": broker.pid})
    finally:
        server.stop()
        sink.stop()
    return runs, (note + ";\nall of it through a queue of RabbitMQ %s on the "
                  "same machine" % broker.version), server


def through_broker(options, folder):
    broker = Broker(folder)
    try:
        runs, note, server = burst_through(options, folder, broker, Sink())

        def late_ones(server, catcher):
            wait_until_up(server.session(), broker)
            return lateness_runs(options, server, catcher,
                                 options.lateness_mails,
                                 options.lateness_seconds)

        late, _ = with_catcher(folder, late_ones, broker.settings())
    finally:
        broker.stop()
    note += ".\nLateness: " + LATENESS_NOTE % (options.lateness_mails,
                                               options.lateness_seconds)
    return note, (rate_figures(runs, (">", 4500)) + cost_figures(runs, None)
                  + lateness_figures(late, {})), server


def http_through_broker(options, folder):
    broker = Broker(folder)
    try:
        runs, note, server = burst_through(options, folder, broker,
                                           HttpSink(folder))
    finally:
        broker.stop()
    return note, rate_figures(runs, None) + cost_figures(runs, None), server
