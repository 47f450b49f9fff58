"""What it costs while there is nothing to do, and what it keeps of its work."""
import time

from burst import one_burst
from cases import Figure, clear, wait_until_idle
from server import Server, children
from sinks import Sink

USERS_SQL = """
INSERT INTO users (first_name, last_name, email, timezone, birthday_date)
SELECT 'First' || n, 'Last' || n, 'idle' || n || '@example.com', 'Europe/Kyiv',
       ((now() AT TIME ZONE 'UTC')::date + 100 + n %% 100 - interval '40 years')::date
  FROM generate_series(1, %d) AS n;
VACUUM ANALYZE;
CHECKPOINT;
"""

DEAD_SQL = """
SELECT (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'birthday_scheduler%')
"""


def used(pid):
    """Seconds on a processor, times it was woken, MB of its own."""
    with open("/proc/%d/schedstat" % pid, encoding="ascii") as file:
        seconds = int(file.read().split()[0]) / 1e9
    found = {}
    with open("/proc/%d/status" % pid, encoding="utf-8",
              errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            found[key] = value.split()
    return (seconds, int(found["voluntary_ctxt_switches"][0]),
            int(found["RssAnon"][0]) / 1024)


def total(pids):
    return [sum(column) for column in zip(*map(used, pids))]


def look(options, server, runs):
    session = server.session()
    workers = [pid for pid in server.worker_pids("") if pid]
    others = [pid for pid in children(server.postmaster_pid())
              if pid not in workers]
    dead = int(session.value(DEAD_SQL).split("|")[0])
    before, rest = total(workers), total(others)
    time.sleep(options.idle_seconds)
    after, rest_after = total(workers), total(
        [pid for pid in others if pid in children(server.postmaster_pid())])
    dead_after, connections = map(int, session.value(DEAD_SQL).split("|"))
    seconds = options.idle_seconds
    for name, value in (
            ("cpu", (after[0] - before[0]) * 100 / seconds),
            ("woken", (after[1] - before[1]) / seconds),
            ("grown", (after[2] - before[2]) * 1024),
            ("rest", max(0.0, rest_after[0] - rest[0]) * 100 / seconds),
            ("dead", max(0, dead_after - dead)),
            ("connections", connections)):
        runs.setdefault(name, []).append(value)


def idle(options, folder):
    sink = Sink()
    server = Server(folder, sink.url)
    runs = {}
    try:
        server.start()
        session = server.session()
        session.ask("SELECT bs_resume() \\g /dev/null")
        # Everything has been at work once: caches and memory are as they stay.
        one_burst(server, 1000, {})
        clear(session)
        session.ask(USERS_SQL % options.idle_people)
        wait_until_idle(session)
        time.sleep(5)
        for _ in range(options.runs):
            look(options, server, runs)
    finally:
        server.stop()
        sink.stop()
    return ("%d users, nothing due: %d s of it, after a burst of 1,000"
            % (options.idle_people, options.idle_seconds)), [
        Figure("CPU of all workers", "%", runs["cpu"],
               "of one core, by /proc/PID/schedstat: scheduler, publisher and "
               "senders", ("<", 0.1)),
        Figure("wake-ups of all workers", "1/s", runs["woken"],
               "voluntary context switches", None),
        Figure("growth of the workers' memory", "kB", runs["grown"],
               "RssAnon", None),
        Figure("connections to the database", "", runs["connections"], "",
               None),
        Figure("dead rows made", "", runs["dead"], "", None),
        Figure("CPU of the server's other processes", "%", runs["rest"],
               "PostgreSQL's own: checkpointer, walwriter, autovacuum and so "
               "on", None)], server


# ---- what is kept --------------------------------------------------------------

BURSTS = 10


def own_memory(server):
    """MB of each worker, by kind; the larger of two senders."""
    session = server.session()
    wait_until_idle(session)
    return {kind: max(used(pid)[2] for pid in server.worker_pids(kind))
            for kind in ("scheduler", "publisher", "sender")}


def memory(options, folder):
    sink = Sink()
    server = Server(folder, sink.url)
    runs = {}
    try:
        for _ in range(options.runs):
            server.start()
            server.session().ask("SELECT bs_resume() \\g /dev/null")
            one_burst(server, options.memory_mails, {})
            first = own_memory(server)
            for _ in range(BURSTS - 1):
                one_burst(server, options.memory_mails, {})
            for kind, megabytes in own_memory(server).items():
                runs.setdefault(kind, []).append((first[kind], megabytes))
            server.shut_down()
    finally:
        server.stop()
        sink.stop()
    figures = []
    for kind, found in runs.items():
        figures += [
            Figure("%s after %d messages" % (kind, options.memory_mails),
                   "MB", [before for before, _ in found],
                   "RssAnon, at rest" if not figures else "", None),
            Figure("%s after %d" % (kind, options.memory_mails * BURSTS),
                   "MB", [after for _, after in found], "", None),
            Figure("%s: ratio" % kind, "x",
                   [after / before for before, after in found], "",
                   ("<", 1.1))]
    return ("what workers have for themselves after %d bursts of %d messages, "
            "beside the first" % (BURSTS, options.memory_mails)), figures, server
