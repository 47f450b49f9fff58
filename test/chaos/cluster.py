"""The server that is maltreated, found again after whatever was done to it."""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "bench"))
# pylint: disable=wrong-import-position
from server import (BenchError, Server, children, stat_fields,
                    wait_for)  # noqa: E402

DATABASE = "chaos"
ROLE = "chaos_worker"
LEASE_S = 6
READY_S = 90            # how long a server may take to come back

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "30",
    "timezone": "UTC",
    "shared_preload_libraries": "birthday_scheduler",
    "max_worker_processes": "16",
    "max_prepared_transactions": "20",
    "max_wal_size": "96MB",
    "min_wal_size": "32MB",
    # Statements of ours name people; the log must not.
    "log_min_error_statement": "panic",
    "log_line_prefix": "%m [%p] %b ",
    "birthday_scheduler.database": DATABASE,
    "birthday_scheduler.role": ROLE,
    "birthday_scheduler.mail_tls": "off",
    "birthday_scheduler.mail_from": "Chaos <chaos@example.com>",
    "birthday_scheduler.mail_timeout": "2s",
    "birthday_scheduler.lease": "%ds" % LEASE_S,
    "birthday_scheduler.plan_interval": "5s",
    "birthday_scheduler.max_attempts": "1000",
    "birthday_scheduler.retry_initial": "1s",
    "birthday_scheduler.retry_max": "3s",
    "birthday_scheduler.breaker": "0",
}

# Every move of every message, whoever makes it.
AUDIT_SQL = """
CREATE TABLE audit (
    n bigint GENERATED ALWAYS AS IDENTITY, at timestamptz, id uuid, key text,
    old text, new text, reason text, attempts integer, claimed_by text,
    began timestamptz DEFAULT now());
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.audit (at, id, key, old, new, reason, attempts, claimed_by)
    VALUES (clock_timestamp(), NEW.id, NEW.idempotency_key,
            CASE TG_OP WHEN 'UPDATE' THEN OLD.status END, NEW.status,
            NEW.status_reason, NEW.attempts, NEW.claimed_by);
    RETURN NULL;
END $$;
CREATE TRIGGER audit_insert AFTER INSERT ON message_logs
    FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER audit_update AFTER UPDATE ON message_logs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status
          OR OLD.attempts IS DISTINCT FROM NEW.attempts)
    EXECUTE FUNCTION audit();
"""


class SqlError(BenchError):
    """What psql said."""


def title(pid):
    """What the server's process calls itself, or ''."""
    try:
        with open("/proc/%d/cmdline" % pid, encoding="utf-8",
                  errors="replace") as file:
            return file.read().replace("\0", " ").strip()
    except OSError:
        return ""


def stat_state(pid):
    """The letter of proc(5), X for a process that is gone."""
    fields = stat_fields(pid)
    return fields[0] if fields else "X"


def is_alive(pid):
    return stat_state(pid) not in "ZX"


class Cluster(Server):
    """A cluster below two folders, which may be small file systems."""

    def __init__(self, folder, mail_url, disks, settings=None, tree=None,
                 preload=None):
        super().__init__(folder, mail_url)
        self.disks = disks
        self.generation = 0
        self.settings = {**SETTINGS,
                         "unix_socket_directories": self.sockets,
                         "birthday_scheduler.mail_url": mail_url,
                         **(settings or {})}
        self.data, self.wal = self.places()
        self.port = 5432
        self.log = os.path.join(folder, "server.log")
        self.postmaster = None
        if tree:
            self.bin = self.find_programs(tree)
        if preload:
            self.environment.update(preload)

    def places(self):
        """Folders for one more data directory and its WAL."""
        self.generation += 1
        return tuple(os.path.join(self.disks[kind], "%s%d" % (
            kind, self.generation)) for kind in ("data", "wal"))

    # ---- life ----

    def create(self, extension=True):
        self.run(self.program("initdb"), "-D", self.data, "-X", self.wal,
                 "-U", "postgres", "-A", "trust", "-N", "--encoding=UTF8",
                 "--locale=C.UTF-8")
        self.write_settings(self.data, self.settings)
        setup = "CREATE DATABASE %s;\n\nCREATE ROLE %s LOGIN;\n\n" % (
            DATABASE, ROLE)
        subprocess.run(
            [self.program("postgres"), "--single", "-j", "-D", self.data,
             "-c", "shared_preload_libraries=", "postgres"], input=setup,
            encoding="utf-8", check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=self.environment)
        self.launch()
        if extension:
            self.create_extension()
            self.sql(AUDIT_SQL)

    def create_extension(self):
        self.sql("CREATE EXTENSION birthday_scheduler;"
                 "SELECT bs_grant('%s', 'worker');"
                 "UPDATE message_types SET active_since = '2000-01-01';"
                 "SELECT bs_resume();" % ROLE)

    @staticmethod
    def write_settings(data, settings):
        with open(os.path.join(data, "postgresql.conf"), "a",
                  encoding="utf-8") as conf:
            for name, value in settings.items():
                conf.write("%s = '%s'\n" % (name, value))

    def launch(self, *options):
        """Starts the postmaster itself, so that it is a child of ours."""
        with open(self.log, "a", encoding="utf-8") as log:
            self.postmaster = subprocess.Popen(
                [self.program("postgres"), "-D", self.data, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment, start_new_session=True)
        self.wait_ready()

    def is_up(self):
        return self.postmaster is not None and self.postmaster.poll() is None

    def wait_ready(self, seconds=READY_S):
        """Until a statement that writes succeeds."""
        wait_for(lambda: self.answers() or not self.is_up(),
                 "the server to answer", seconds, 0.1)
        if not self.is_up():
            raise BenchError("the server has ended with %s"
                             % self.postmaster.returncode)

    def answers(self):
        try:
            return self.sql("SELECT 1 WHERE NOT pg_is_in_recovery()",
                            5) == ["1"]
        except SqlError:
            return False

    def bring_back(self):
        """After a fault: a server that runs and answers, as before it."""
        if not self.is_up():
            self.launch()
        else:
            try:
                self.wait_ready()
            except BenchError:
                if self.is_up():
                    raise
                self.launch()

    def signal(self, number):
        self.postmaster.send_signal(number)

    def stop_by(self, number, seconds=60):
        """Stops with TERM, INT or QUIT; how long it took."""
        begin = time.monotonic()
        self.signal(number)
        self.postmaster.wait(seconds)
        return time.monotonic() - begin

    def kill_postmaster(self):
        """kill -9; how long our workers took to notice.  A backend that runs
        a statement may take as long as that does."""
        workers, family = self.workers(), self.processes()
        begin = time.monotonic()
        self.signal(signal.SIGKILL)
        self.postmaster.wait()
        wait_for(lambda: not any(map(is_alive, workers)),
                 "the workers of a killed postmaster to end", 60, 0.02)
        took = time.monotonic() - begin
        wait_for(lambda: not any(map(is_alive, family)),
                 "the children of a killed postmaster to end", 60, 0.02)
        return took

    def fail_over(self, seconds):
        """A synchronous standby is made, the primary killed after some time,
        the standby promoted; it is this cluster from then on."""
        data, wal = self.places()
        port = 5432 + self.generation
        former = self.data, self.wal
        standby = None
        try:
            self.run(self.program("pg_basebackup"), "-D", data,
                     "--waldir=" + wal, "-X", "stream", "-c", "fast", "-R",
                     "-h", self.sockets, "-p", str(self.port),
                     "-U", "postgres")
            self.write_settings(data, {"port": port})
            with open(self.log, "a", encoding="utf-8") as log:
                standby = subprocess.Popen(
                    [self.program("postgres"), "-D", data],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=self.environment, start_new_session=True)
            # All connections may be taken for a moment.
            self.sql_at_last(
                "ALTER SYSTEM SET synchronous_standby_names = '*';", 30)
            self.signal(signal.SIGHUP)
            wait_for(lambda: self.sql_at_last(
                "SELECT 1 FROM pg_stat_replication"
                " WHERE sync_state = 'sync'", 30) == ["1"],
                "the standby to follow", 30, 0.1)
            time.sleep(seconds)
        except BenchError:
            if standby is not None:
                standby.kill()
                standby.wait()
            self.sql_at_last("ALTER SYSTEM RESET synchronous_standby_names;")
            self.signal(signal.SIGHUP)
            self.forget(data, wal)
            raise
        self.kill_postmaster()
        self.postmaster, self.port = standby, port
        self.data, self.wal = data, wal
        self.run(self.program("pg_ctl"), "-D", data, "promote", "-W")
        self.wait_ready()
        self.forget(*former)

    @staticmethod
    def forget(*places):
        for place in places:
            shutil.rmtree(place, ignore_errors=True)

    def stop(self):
        if self.is_up():
            self.signal(signal.SIGINT)
            try:
                self.postmaster.wait(20)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGQUIT)
                self.postmaster.wait(20)
        shutil.rmtree(self.sockets, ignore_errors=True)

    # ---- processes ----

    def processes(self, pattern=""):
        """Children of the postmaster with that in their title."""
        return [pid for pid in children(self.postmaster.pid)
                if pattern in title(pid)]

    def workers(self, kind=""):
        return self.processes("postgres: birthday_scheduler " + kind)

    # ---- SQL ----

    def psql(self, database=DATABASE):
        return [self.program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1",
                "-h", self.sockets, "-p", str(self.port), "-U", "postgres",
                "-d", database]

    def sql(self, text, seconds=60, database=DATABASE):
        """Runs statements; the lines that they print, or SqlError."""
        try:
            done = subprocess.run(
                self.psql(database), input=text, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, encoding="utf-8", check=False,
                timeout=seconds,
                env={**self.environment, "PGCONNECT_TIMEOUT": "5",
                     "PGOPTIONS": "-c client_min_messages=warning"})
        except subprocess.TimeoutExpired as error:
            raise SqlError("no answer within %s s" % seconds) from error
        if done.returncode != 0:
            raise SqlError(done.stderr.strip()[-500:])
        return done.stdout.splitlines()

    @contextlib.contextmanager
    def session(self, text, seconds=40):
        """Runs statements beside what the caller does, and is ended if they
        take longer; yields the process of psql."""
        psql = subprocess.Popen(
            self.psql(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, encoding="utf-8",
            env={**self.environment, "PGCONNECT_TIMEOUT": "5"})
        try:
            with contextlib.suppress(BrokenPipeError):
                psql.stdin.write(text)
                psql.stdin.close()
            yield psql
            with contextlib.suppress(subprocess.TimeoutExpired):
                psql.wait(seconds)
        finally:
            psql.kill()
            psql.wait()

    def value(self, text, seconds=60):
        return self.sql(text, seconds)[0]

    def sql_at_last(self, text, seconds=120):
        """The same, tried again until the server lets it."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.sql(text, seconds)
            except SqlError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
