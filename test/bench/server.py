"""A server for one benchmark, what listens beside it, and what they cost."""
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
DATABASE = "bench"
ROLE = "bench_worker"

# All that is not as the server comes.  fsync and the rest of durability are on.
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "20",
    "timezone": "UTC",
    "shared_preload_libraries": "birthday_scheduler",
    "birthday_scheduler.database": DATABASE,
    "birthday_scheduler.role": ROLE,
    "birthday_scheduler.mail_tls": "off",
    "birthday_scheduler.mail_from": "Bench <bench@example.com>",
}


class BenchError(Exception):
    """A sentence for people."""


class BenchSkip(Exception):
    """Why a case cannot be measured here."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=60, every=0.05):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError("waited %d s in vain for %s" % (seconds, what))
        time.sleep(every)


class Session:
    """One psql that stays, so that asking costs the server little."""

    def __init__(self, server, database):
        self.process = subprocess.Popen(
            [server.program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1",
             "-h", server.sockets, "-U", "postgres", "-d", database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8",
            env={**server.environment, "PGOPTIONS":
                 "-c client_min_messages=warning"})

    def ask(self, sql):
        """Runs statements; what they print, a list of lines."""
        try:
            self.process.stdin.write(sql + "\n;\\echo @@done\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        lines = []
        for line in self.process.stdout:
            if line == "@@done\n":
                return lines
            lines.append(line.rstrip("\n"))
        raise BenchError("SQL failed: " + self.process.stderr.read().strip())

    def value(self, sql):
        return self.ask(sql)[0]

    def document(self, sql):
        return json.loads(self.value(sql))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Server:
    """A fresh cluster with the extension and its worker role."""

    def __init__(self, folder, mail_url, settings=()):
        self.folder = folder
        self.data = os.path.join(folder, "data")
        self.environment = {key: text for key, text in os.environ.items()
                            if not key.startswith("PG")}
        self.sockets = tempfile.mkdtemp(prefix="bs_bench.", dir="/tmp")
        self.bin = self.find_programs()
        self.settings = {**SETTINGS,
                         "unix_socket_directories": self.sockets,
                         "birthday_scheduler.mail_url": mail_url,
                         **dict(settings)}
        self.sessions = {}

    @staticmethod
    def find_programs(tree=os.path.join(TOP, "build", "pg")):
        for folder, _, names in os.walk(tree):
            if "initdb" in names and "postgres" in names:
                return folder
        raise BenchError("%s is not there; run tools/private_pg.sh" % tree)

    def program(self, name):
        return os.path.join(self.bin, name)

    def run(self, *command, **more):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8", check=False,
            env=self.environment, **more)
        if done.returncode != 0:
            raise BenchError("%s failed: %s" % (
                os.path.basename(command[0]), done.stdout[-2000:]))

    def start(self):
        shutil.rmtree(self.data, ignore_errors=True)
        self.run(self.program("initdb"), "-D", self.data, "-U", "postgres",
                 "-A", "trust", "-N", "--encoding=UTF8",
                 "--locale=C.UTF-8")
        with open(os.path.join(self.data, "postgresql.conf"), "a",
                  encoding="utf-8") as conf:
            for name, value in self.settings.items():
                conf.write("%s = '%s'\n" % (name, value))
        setup = "CREATE DATABASE %s;\n\nCREATE ROLE %s LOGIN;\n\n" % (
            DATABASE, ROLE)
        subprocess.run(
            [self.program("postgres"), "--single", "-j", "-D", self.data,
             "postgres"], input=setup, encoding="utf-8", check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.launch()
        session = self.session()
        session.ask("CREATE EXTENSION birthday_scheduler;"
                    "SELECT bs_grant('%s', 'worker') \\g /dev/null" % ROLE)

    def launch(self):
        # Not through a pipe: the server would hold it open.
        log = os.path.join(self.folder, "server.log")
        done = subprocess.run(
            [self.program("pg_ctl"), "-D", self.data, "-w", "-l", log,
             "start"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False, env=self.environment)
        if done.returncode != 0:
            with open(log, encoding="utf-8", errors="replace") as file:
                raise BenchError("the server did not start: "
                                 + file.read()[-2000:])

    def session(self, database=DATABASE):
        if database not in self.sessions:
            self.sessions[database] = Session(self, database)
        return self.sessions[database]

    def shut_down(self):
        for session in self.sessions.values():
            session.close()
        self.sessions = {}
        with contextlib.suppress(BenchError):
            self.run(self.program("pg_ctl"), "-D", self.data, "-m", "fast",
                     "-w", "stop")

    def start_cold(self):
        """Again, with nothing of the data in memory."""
        self.shut_down()
        for folder, _, names in os.walk(self.data):
            for name in names:
                fd = os.open(os.path.join(folder, name), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)
        self.launch()

    def restart(self, settings):
        """With settings for which a reload is not enough."""
        for name, value in settings.items():
            self.session().ask("ALTER SYSTEM SET %s = '%s'" % (name, value))
        self.shut_down()
        self.launch()

    def drop(self, database):
        if database in self.sessions:
            self.sessions.pop(database).close()
        self.session().ask("DROP DATABASE %s (FORCE);" % database)

    def stop(self):
        self.shut_down()
        shutil.rmtree(self.sockets, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)

    def change(self, settings):
        """Settings for which a reload is enough."""
        session = self.session()
        for name, value in settings.items():
            session.ask("ALTER SYSTEM SET %s = '%s'" % (name, value))
        session.ask("SELECT pg_reload_conf() \\g /dev/null")

    # ---- what its processes cost ----

    def worker_pids(self, kind):
        return [int(pid) for pid in self.session().ask(
            "SELECT pid FROM bs_workers WHERE worker LIKE '%%%s%%'"
            " AND pid IS NOT NULL" % kind)]

    def postmaster_pid(self):
        with open(os.path.join(self.data, "postmaster.pid"),
                  encoding="ascii") as file:
            return int(file.readline())

    def version(self):
        return self.session().value("SELECT version()")


def stat_fields(pid):
    """/proc/PID/stat from the third field on (proc(5)), or None."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8",
                  errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu_seconds(pid, with_children=False):
    fields = stat_fields(pid)
    if fields is None:
        return 0.0
    last = 15 if with_children else 13      # utime stime cutime cstime
    return sum(map(int, fields[11:last])) * TICK_S


def children(parent):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(int(entry))
            if fields is not None and int(fields[1]) == parent:
                found.append(int(entry))
    return found


def cpu_by_group(server, others):
    """CPU seconds so far of the senders, the publisher, the rest of the server,
    and of other processes, by name; children that have ended are with the
    rest."""
    found, seen = {}, set()
    for kind in ("sender", "publisher"):
        pids = server.worker_pids(kind)
        seen.update(pids)
        found[kind + "s" * (kind == "sender")] = sum(map(cpu_seconds, pids))
    postmaster = server.postmaster_pid()
    rest = [pid for pid in children(postmaster) if pid not in seen]
    found["server, rest"] = sum(map(cpu_seconds, rest)) + cpu_seconds(
        postmaster, with_children=True)
    found.update({name: cpu_seconds(pid) for name, pid in others.items()})
    return found


def machine_cpu():
    """CPU seconds that all processors together have been busy so far."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = list(map(int, file.readline().split()[1:9]))
    return (sum(ticks) - ticks[3] - ticks[4]) * TICK_S      # idle, iowait


def memory_mb(pid):
    """What the process has resident now: without shared memory, and its own
    (anonymous) part alone."""
    found = {}
    with open("/proc/%d/status" % pid, encoding="utf-8",
              errors="replace") as file:
        for line in file:
            words = re.match(r"(RssFile|RssAnon):\s+(\d+) kB", line)
            if words:
                found[words[1]] = int(words[2]) / 1024
    return found["RssFile"] + found["RssAnon"], found["RssAnon"]


class Catcher:
    """test/lib/mail_catcher.py: knows when each mail came."""

    def __init__(self, folder, environment=None):
        self.folder = os.path.join(folder, "mail")
        self.environment = {**os.environ, **(environment or {})}
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.port = 0
        self.start()
        self.url = "smtp://127.0.0.1:%d" % self.port

    def start(self):
        """Again after stop(): on the port that it had."""
        ports = os.path.join(self.folder, "ports.json")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(ports)
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-B",
             os.path.join(TOP, "test", "lib", "mail_catcher.py"),
             "--dir", self.folder, "--smtp-port", str(self.port),
             "--die-with-parent"], stdin=subprocess.DEVNULL,
            env=self.environment)
        wait_for(lambda: os.path.exists(ports), "the mail catcher")
        with open(ports, encoding="utf-8") as file:
            self.port = json.load(file)["smtp"]

    def arrivals(self):
        """Recipient: when the mail for it arrived, in Unix seconds."""
        with open(os.path.join(self.folder, "mails.jsonl"),
                  encoding="utf-8") as file:
            mails = [json.loads(line) for line in file
                     if line.endswith("\n")]
        return {mail["rcpt"][0]: mail["time"] for mail in mails}

    def stop(self):
        self.process.terminate()
        self.process.wait()
