"""bs_sender: what one, two and four of them get into a relay that is far away, and
what one costs beside the server."""
import os
import subprocess
import time

from burst import plan_burst
from cases import Figure, wait_until_idle
from server import (DATABASE, BenchError, Server, cpu_by_group, cpu_seconds,
                    wait_for)
from sinks import Line, Sink

ROUND_TRIP_MS = 20
COUNTS = (1, 2, 4)


class Senders:
    """So many bs_sender, at work."""

    def __init__(self, server, folder, count, url):
        self.log = os.path.join(folder, "senders.log")
        with open(self.log, "w", encoding="utf-8") as log:
            self.processes = [subprocess.Popen(
                [server.program("bs_sender"), "--mail-tls=off",
                 "--mail-url", url, "--database",
                 "host=%s dbname=%s user=bench_remote" % (
                     server.sockets, DATABASE)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                for _ in range(count)]
        try:
            wait_for(lambda: self.lines("at work") == count, "bs_sender")
        except BenchError:
            self.stop()
            raise

    def lines(self, words):
        with open(self.log, encoding="utf-8") as log:
            return sum(words in line for line in log)

    def cpu(self):
        return sum(cpu_seconds(process.pid) for process in self.processes)

    def stop(self):
        for process in self.processes:
            process.terminate()
        codes = [process.wait() for process in self.processes]
        if any(codes):
            raise BenchError("bs_sender ended with %s" % codes)


def one_burst(server, senders, mails, cpu):
    """Mails a second from the due instant until the last one was recorded."""
    session = server.session()
    wait_until_idle(session)
    due = plan_burst(session, mails)
    time.sleep(max(0, due - 0.2 - time.time()))
    before = (cpu_by_group(server, {}), senders.cpu())
    wait_for(lambda: session.value(
        "SELECT count(*) FROM message_logs WHERE status <> 'SENT'") == "0",
        "the burst to be sent", 300, 0.2)
    after = (cpu_by_group(server, {}), senders.cpu())
    cpu["server"].append(sum(after[0][name] - before[0][name]
                             for name in after[0]) * 1000 / mails)
    cpu["sender"].append((after[1] - before[1]) * 1000 / mails)
    last = float(session.value(
        "SELECT extract(epoch FROM max(updated_at)) FROM message_logs"))
    return mails / (last - due)


def remote(options, folder):
    mails = options.remote_mails
    sink = Sink()
    line = Line(sink.port, ROUND_TRIP_MS)
    # Its own sender has no relay.
    server = Server(folder, "", {"birthday_scheduler.senders": "1"})
    rates = {count: [] for count in COUNTS}
    near = []
    cpu = {"far": {"server": [], "sender": []},
           "near": {"server": [], "sender": []}}
    try:
        server.start()
        server.session().ask(
            "SELECT bs_resume() \\g /dev/null\n"
            "CREATE ROLE bench_remote LOGIN;"
            "SELECT bs_grant('bench_remote', 'sender') \\g /dev/null")
        for _ in range(options.runs):
            for count in COUNTS:
                senders = Senders(server, folder, count, line.url)
                try:
                    rates[count].append(one_burst(
                        server, senders, mails * count, cpu["far"]))
                finally:
                    senders.stop()
            senders = Senders(server, folder, 1, sink.url)
            try:
                near.append(one_burst(server, senders, mails * 4,
                                      cpu["near"]))
            finally:
                senders.stop()
    finally:
        server.stop()
        line.stop()
        sink.stop()
    return (
        "%d mails for each bs_sender, due at one instant, into smtp-sink %d ms "
        "away (there and back),\n8 connections each; database, senders, line "
        "and sink on this machine" % (mails, ROUND_TRIP_MS),
        [Figure("mails a second, %d bs_sender" % count, "1/s", rates[count],
                "from the due instant until the last one was recorded as SENT"
                if count == 1 else "", None) for count in COUNTS]
        + [Figure("%d of them against one" % count, "x",
                  [many / one for many, one in zip(rates[count], rates[1])],
                  "", (">", 0.85 * count)) for count in COUNTS[1:]]
        + [Figure("mails a second, one, relay beside it", "1/s", near,
                  "the same without the line", None),
           Figure("CPU per 1,000 mails: bs_sender", "s",
                  cpu["near"]["sender"], "of that one, user and system", None),
           Figure("CPU per 1,000 mails: server", "s", cpu["near"]["server"],
                  "all processes of the server", None)], server)
