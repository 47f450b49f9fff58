"""Faults of the server's processes, of what it has, and by administrators."""
import contextlib
import os
import resource
import signal
import subprocess
import time

from cluster import LEASE_S, SqlError, is_alive
from fault import Skip, fault, send, stopped
from server import BenchError, wait_for

WORKERS = ("scheduler", "sender", "sender", "publisher")


def pick(stage, rng, kind):
    """A process of that kind, or Skip."""
    found = stage.cluster.workers(kind)
    if not found:
        raise Skip("no %s runs" % kind)
    return rng.choice(sorted(found))


# ---- processes of the server --------------------------------------------------

def kill_child(stage, pid):
    """The server restarts all its sessions."""
    if pid == stage.cluster.postmaster.pid:
        raise BenchError("the postmaster is no child")
    send(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), "a killed process to end", 10, 0.01)
    stage.cluster.bring_back()


@fault("server", 6, strikes=("server",))
def kill_sender(stage, rng):
    kill_child(stage, pick(stage, rng, "sender"))


@fault("server", 3, strikes=("server",))
def kill_scheduler(stage, rng):
    kill_child(stage, pick(stage, rng, "scheduler"))


@fault("server", 3, "broker", strikes=("server",))
def kill_publisher(stage, rng):
    kill_child(stage, pick(stage, rng, "publisher"))


@fault("server", 3, strikes=("server",))
def kill_any_process(stage, rng):
    kill_child(stage, rng.choice(sorted(stage.cluster.processes())))


@fault("server", 6, strikes=("server",))
def kill_whole_server(stage, rng):
    took = stage.cluster.kill_postmaster()
    stage.worst("workers outlived a killed postmaster, s", took)
    # A statement that is under way is finished first, however busy the machine.
    if took > 30:
        stage.complain("the workers of a killed postmaster ended after"
                       " %.1f s" % took)
    stage.cluster.launch()


@fault("all", 2, strikes=("server", "relay"))
def kill_everything(stage, rng):
    """As a power failure does, but for what the kernel keeps."""
    stage.relay.process.kill()
    if stage.broker:
        stage.broker.kill()
    stage.cluster.kill_postmaster()
    stage.relay.process.wait()
    time.sleep(rng.uniform(0, 1))
    stage.cluster.launch()
    stage.relay.start()
    if stage.broker:
        stage.broker.start()


@fault("server", strikes=("server",))
def stop_immediate(stage, rng):
    stage.cluster.stop_by(signal.SIGQUIT)
    stage.cluster.launch()


@fault("server", strikes=("server",))
def stop_fast(stage, rng):
    took = stage.cluster.stop_by(signal.SIGINT)
    stage.worst("fast stop, s", took)
    if took > 10:
        stage.complain("a fast stop took %.1f s" % took)
    stage.cluster.launch()


def freeze_process(stage, rng, pid):
    """Now and then for longer than a lease: the dead come back."""
    begin = time.time()
    with stopped(pid):
        time.sleep(rng.choice((rng.uniform(0.2, 2),
                               LEASE_S + rng.uniform(0.5, 3))))
    stage.strike(pid, begin)


@fault("server", 4)
def freeze_sender(stage, rng):
    freeze_process(stage, rng, pick(stage, rng, "sender"))


@fault("server")
def freeze_scheduler(stage, rng):
    freeze_process(stage, rng, pick(stage, rng, "scheduler"))


@fault("server", 2, "broker")
def freeze_publisher(stage, rng):
    freeze_process(stage, rng, pick(stage, rng, "publisher"))


@fault("server")
def freeze_any_process(stage, rng):
    freeze_process(stage, rng, rng.choice(sorted(stage.cluster.processes())))


@fault("server", 1)
def freeze_postmaster(stage, rng):
    with stopped(stage.cluster.postmaster.pid):
        time.sleep(rng.uniform(0.5, 4))


@fault("server", 3)
def terminate_worker(stage, rng):
    for _ in range(rng.randrange(1, 6)):
        pid = pick(stage, rng, rng.choice(WORKERS))
        begun = time.time()
        try:
            if stage.cluster.value("SELECT pg_terminate_backend(%d)" % pid,
                                   20) != "t":
                continue        # it has only just begun
        except SqlError:
            continue
        begin = time.monotonic()
        wait_for(lambda: not is_alive(pid), "a terminated worker to end",
                 30, 0.01)
        stage.worst("pg_terminate_backend of a worker, s",
                    time.monotonic() - begin)
        stage.strike(pid, begun)
        time.sleep(rng.uniform(0, 1.5))


@fault("server", 3)
def cancel_workers(stage, rng):
    for _ in range(rng.randrange(5, 30)):
        with contextlib.suppress(SqlError):
            stage.cluster.sql(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE"
                " backend_type LIKE 'birthday_scheduler%' \\g /dev/null", 20)
        time.sleep(rng.uniform(0, 0.1))


@fault("server", 1, strikes=("server",))
def terminate_everybody(stage, rng):
    with contextlib.suppress(SqlError):
        stage.cluster.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
            " pid <> pg_backend_pid() AND datname IS NOT NULL"
            " \\g /dev/null", 20)


# ---- what the server has too little of ------------------------------------------

def fill(path):
    """Takes all that a file system has left."""
    with open(path, "ab") as file:
        step = 64 << 20
        while step >= 4096:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), step)
                file.seek(0, os.SEEK_END)
            except OSError:
                step //= 4


def full_disk(stage, kind, seconds):
    filler = os.path.join(stage.cluster.disks[kind], "filler")
    try:
        fill(filler)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            # Leave no old segment to be written over.
            if kind == "wal":
                with contextlib.suppress(SqlError):
                    stage.cluster.sql("SELECT pg_switch_wal() \\g /dev/null",
                                      5)
            fill(filler + "2")
            time.sleep(0.3)
    finally:
        for path in (filler, filler + "2"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    stage.cluster.bring_back()


@fault("server", 2, "disks")
def data_disk_full(stage, rng):
    full_disk(stage, "data", rng.uniform(2, 8))


@fault("server", 2, "disks")
def wal_disk_full(stage, rng):
    full_disk(stage, "wal", rng.uniform(2, 8))


@fault("server")
def no_descriptors(stage, rng):
    """For one worker: as many as it has open, and no more."""
    pid = pick(stage, rng, rng.choice(WORKERS))
    begin = time.time()
    try:
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        few = len(os.listdir("/proc/%d/fd" % pid)) + rng.randrange(3)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, before[1]))
        time.sleep(rng.uniform(1, 5))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    except (ProcessLookupError, FileNotFoundError, PermissionError) as error:
        raise Skip("the worker ended") from error
    finally:
        stage.strike(pid, begin)


@fault("server", 1)
def no_connections(stage, rng):
    crowd = [subprocess.Popen(
        stage.cluster.psql() + ["-c", "SELECT pg_sleep(30)"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL) for _ in range(35)]
    time.sleep(rng.uniform(1, 4))
    for one in crowd:
        one.kill()
        one.wait()
    with contextlib.suppress(SqlError):
        stage.cluster.sql("SELECT pg_terminate_backend(pid) FROM"
                          " pg_stat_activity WHERE query LIKE"
                          " 'SELECT pg_sleep%' \\g /dev/null", 20)


@fault("server", 1, strikes=("server",))
def few_worker_slots(stage, rng):
    """A server that was started with too few, and then as it should be."""
    stage.cluster.stop_by(signal.SIGINT)
    stage.cluster.launch("-c", "max_worker_processes=%d" % rng.randrange(1, 4))
    time.sleep(rng.uniform(1, 4))
    stage.cluster.stop_by(signal.SIGINT)
    stage.cluster.launch()


@fault("server", 1)
def lock_tables(stage, rng):
    table = rng.choice(("message_logs", "users", "message_types",
                        "message_ledger"))
    with contextlib.suppress(SqlError):
        stage.cluster.sql("BEGIN; LOCK TABLE %s; SELECT pg_sleep(%.1f)"
                          " \\g /dev/null\nCOMMIT;" % (table, rng.uniform(
                              0.5, 3)), 20)


@fault("server", 2)
def lock_rows(stage, rng):
    """Of mails that are on their way, beyond their lease now and then."""
    with contextlib.suppress(SqlError):
        stage.cluster.sql("BEGIN; SELECT FROM message_logs WHERE status ="
                          " 'SENDING' LIMIT %d FOR UPDATE SKIP LOCKED"
                          " \\g /dev/null\nSELECT pg_sleep(%.1f)"
                          " \\g /dev/null\nCOMMIT;" % (
                              rng.choice((1, 10, 1000)),
                              rng.uniform(0.2, 8)), 20)


# ---- what an administrator does ------------------------------------------------

RELOADS = (("birthday_scheduler.mail_connections", ("1", "2", "4", "9")),
           ("birthday_scheduler.mail_timeout", ("1500ms", "2s")),
           ("birthday_scheduler.rate_limit", ("0", "200")),
           ("birthday_scheduler.breaker", ("0", "0.5")),
           ("birthday_scheduler.amqp_prefetch", ("1", "20", "300")),
           ("birthday_scheduler.lease", ("5s", "6s")),
           ("work_mem", ("4MB", "5MB")))


@fault("server", 3)
def reload_storm(stage, rng):
    with contextlib.suppress(SqlError):
        for _ in range(rng.randrange(5, 25)):
            name, choices = rng.choice(RELOADS)
            stage.cluster.sql("ALTER SYSTEM SET %s = '%s';" % (
                name, rng.choice(choices)), 20)
            stage.cluster.signal(signal.SIGHUP)
            time.sleep(rng.uniform(0, 0.15))
    stage.cluster.sql_at_last("ALTER SYSTEM RESET ALL;")
    stage.cluster.signal(signal.SIGHUP)


@fault("server", 1)
def pause_and_resume(stage, rng):
    stage.cluster.sql_at_last("SELECT bs_pause() \\g /dev/null")
    time.sleep(rng.uniform(0.5, 3))
    stage.cluster.sql_at_last("SELECT bs_resume() \\g /dev/null")


@fault("server", 2, "broker")
def switch_queue(stage, rng):
    for queue in ("postgres", "rabbitmq"):
        stage.cluster.sql_at_last("ALTER SYSTEM SET birthday_scheduler.queue"
                                  " = '%s';" % queue)
        stage.cluster.signal(signal.SIGHUP)
        time.sleep(rng.uniform(0.2, 4))
    stage.cluster.sql_at_last("ALTER SYSTEM RESET ALL;")
    stage.cluster.signal(signal.SIGHUP)


@fault("server", 2, strikes=("server",))
def promote_standby(stage, rng):
    stage.cluster.fail_over(rng.uniform(0, 2))
