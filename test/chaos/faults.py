"""What is done to the server and to all that it depends on.

A fault is a function of the stage and a source of randomness; it returns when
all is as before, or says in an exception what did not come back.  The lane
says what it takes hold of: two of one lane never overlap, others do.
"""
import collections
import contextlib
import os
import resource
import signal
import subprocess
import time

from cluster import LEASE_S, SqlError, is_alive
from server import BenchError, wait_for

Fault = collections.namedtuple("Fault", "name lane weight act needs")
FAULTS = collections.OrderedDict()

WORKERS = ("scheduler", "sender", "sender", "publisher")


class Skip(Exception):
    """There is nothing to be maltreated just now; the sentence says why."""


def fault(lane, weight=2, needs=None):
    def register(act):
        name = act.__name__
        FAULTS[name] = Fault(name, lane, weight, act, needs)
        return act
    return register


def pick(stage, rng, kind):
    """A process of that kind, or Skip."""
    found = stage.cluster.workers(kind)
    if not found:
        raise Skip("no %s runs" % kind)
    return rng.choice(sorted(found))


def send(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.contextmanager
def stopped(pid):
    send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pid, signal.SIGCONT)


# ---- processes of the server --------------------------------------------------

def kill_child(stage, pid):
    """The server restarts all its sessions."""
    if pid == stage.cluster.postmaster.pid:
        raise BenchError("the postmaster is no child")
    send(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), "a killed process to end", 10, 0.01)
    stage.cluster.bring_back()


@fault("server", 6)
def kill_sender(stage, rng):
    kill_child(stage, pick(stage, rng, "sender"))


@fault("server", 3)
def kill_scheduler(stage, rng):
    kill_child(stage, pick(stage, rng, "scheduler"))


@fault("server", 3, "broker")
def kill_publisher(stage, rng):
    kill_child(stage, pick(stage, rng, "publisher"))


@fault("server", 3)
def kill_any_process(stage, rng):
    kill_child(stage, rng.choice(sorted(stage.cluster.processes())))


@fault("server", 6)
def kill_whole_server(stage, rng):
    took = stage.cluster.kill_postmaster()
    stage.worst("workers outlived a killed postmaster, s", took)
    # A statement that is under way is finished first, however busy the machine.
    if took > 30:
        stage.complain("the workers of a killed postmaster ended after"
                       " %.1f s" % took)
    stage.cluster.launch()


@fault("all", 2)
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


@fault("server")
def stop_immediate(stage, rng):
    stage.cluster.stop_by(signal.SIGQUIT)
    stage.cluster.launch()


@fault("server")
def stop_fast(stage, rng):
    took = stage.cluster.stop_by(signal.SIGINT)
    stage.worst("fast stop, s", took)
    if took > 10:
        stage.complain("a fast stop took %.1f s" % took)
    stage.cluster.launch()


def freeze_process(stage, rng, pid):
    """Now and then for longer than a lease: the dead come back."""
    with stopped(pid):
        time.sleep(rng.choice((rng.uniform(0.2, 2),
                               LEASE_S + rng.uniform(0.5, 3))))


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
        time.sleep(rng.uniform(0, 1.5))


@fault("server", 3)
def cancel_workers(stage, rng):
    for _ in range(rng.randrange(5, 30)):
        with contextlib.suppress(SqlError):
            stage.cluster.sql(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE"
                " backend_type LIKE 'birthday_scheduler%' \\g /dev/null", 20)
        time.sleep(rng.uniform(0, 0.1))


@fault("server", 1)
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


def full_disk(stage, rng, kind):
    filler = os.path.join(stage.cluster.disks[kind], "filler")
    try:
        fill(filler)
        until = time.monotonic() + rng.uniform(2, 8)
        while time.monotonic() < until:
            # Leave no old segment to be written over.
            with contextlib.suppress(SqlError):
                stage.cluster.sql("SELECT pg_switch_wal() \\g /dev/null", 5)
            fill(filler + "2")
            time.sleep(0.3)
    finally:
        for path in (filler, filler + "2"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    stage.cluster.bring_back()


@fault("server", 2, "disks")
def data_disk_full(stage, rng):
    full_disk(stage, rng, "data")


@fault("server", 2, "disks")
def wal_disk_full(stage, rng):
    full_disk(stage, rng, "wal")


@fault("server")
def no_descriptors(stage, rng):
    """For one worker: as many as it has open, and no more."""
    pid = pick(stage, rng, rng.choice(WORKERS))
    try:
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        few = len(os.listdir("/proc/%d/fd" % pid)) + rng.randrange(3)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, before[1]))
        time.sleep(rng.uniform(1, 5))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    except (ProcessLookupError, FileNotFoundError, PermissionError) as error:
        raise Skip("the worker ended") from error


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


@fault("server", 1)
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


@fault("server", 2)
def promote_standby(stage, rng):
    stage.cluster.fail_over(rng.uniform(0, 2))


# ---- the relay and the way to it -------------------------------------------------

def rules(stage, rng, *specs):
    """Rules for a while."""
    stage.relay.set_rules(specs)
    time.sleep(rng.uniform(1, 5))
    stage.relay.set_rules(())


def some(rng, **spec):
    """On all occasions, or on each n-th one."""
    if rng.random() < 0.7:
        spec["every"] = rng.randrange(2, 12)
    return spec


@fault("relay")
def relay_refuses_4xx(stage, rng):
    phase = rng.choice(("mail", "rcpt", "data", "body"))
    rules(stage, rng, some(rng, phase=phase, reply=rng.choice(
        ("450 4.2.0 later", "451 4.3.0 trouble", "452 4.3.1 full",
         "421 4.7.0 too many"))))


@fault("relay")
def relay_refuses_connections(stage, rng):
    stage.relay.set_rules([{"phase": "connect", "reply": "421 4.3.2 no",
                            "close": True}])
    stage.proxy.mode("relay", "reset")
    time.sleep(rng.uniform(1, 5))
    stage.relay.set_rules(())


@fault("relay")
def relay_ends_sessions(stage, rng):
    rules(stage, rng, {"phase": "session", "after_messages": rng.randrange(
        1, 5), "at_once": rng.random() < 0.5})


@fault("relay")
def relay_hangs(stage, rng):
    phase = rng.choice(("ehlo", "mail", "rcpt", "data", "body"))
    rules(stage, rng, some(rng, phase=phase, hang=True))


@fault("relay", 3)
def relay_cuts_in_data(stage, rng):
    rules(stage, rng, some(rng, phase="content", after_bytes=rng.choice(
        (0, 100)), close_before_reply=True))


@fault("relay", 4)
def relay_cuts_after_dot(stage, rng):
    how = rng.choice(({"close_before_reply": True}, {"reset": True},
                      {"raw": "250-2.0.0 half an ans\r\n250 2", "close": True},
                      {"raw": "2", "close": True}, {"hang": True}))
    rules(stage, rng, some(rng, phase="body", accept=True, **how))


@fault("relay")
def relay_refuses_and_keeps(stage, rng):
    """A relay that forgets what it was just given: nothing is taken."""
    rules(stage, rng, some(rng, phase="body", accept=False,
                           close_before_reply=True))


@fault("relay")
def relay_a_byte_a_second(stage, rng):
    phase = rng.choice(("ehlo", "rcpt", "data", "body"))
    rules(stage, rng, some(rng, phase=phase, drip_ms=1000))


@fault("relay")
def relay_slow(stage, rng):
    rules(stage, rng, {"phase": rng.choice(("mail", "body")),
                       "delay_ms": rng.choice((100, 700, 1900, 2200))})


@fault("relay")
def relay_talks_nonsense(stage, rng):
    rules(stage, rng, some(rng, phase=rng.choice(("ehlo", "mail", "rcpt")),
                           raw=rng.choice(("what?\r\n", "\r\n\r\n",
                                           "999 x\r\n", "250\r\n250\r\n"))))


@fault("relay", 3)
def relay_frozen(stage, rng):
    with stopped(stage.relay.process.pid):
        time.sleep(rng.uniform(1, 5))


@fault("relay", 3)
def relay_restarts(stage, rng):
    stage.relay.process.kill()
    stage.relay.process.wait()
    time.sleep(rng.uniform(0, 3))
    stage.relay.start()


def network(stage, rng, name):
    mode = rng.choice((("silence",), ("lose",), ("mute",), ("slow", "300"),
                       ("drip", "1000"), ("reset",), ("refuse",)))
    stage.proxy.mode(name, *mode)
    time.sleep(rng.uniform(0.5, 5))
    # What was lost leaves a gap: these connections are of no use any more, and
    # now and then somebody on the way tells.
    stage.proxy.mode(name, rng.choice(("pass", "reset")))
    stage.proxy.mode(name, "pass")


@fault("relay", 5)
def network_to_relay(stage, rng):
    network(stage, rng, "relay")


# ---- the broker --------------------------------------------------------------------

@fault("broker", 6, "broker")
def kill_broker(stage, rng):
    stage.broker.kill()
    time.sleep(rng.uniform(0, 2))
    stage.start_broker()


@fault("broker", 2, "broker")
def restart_broker(stage, rng):
    stage.broker.shut_down()
    time.sleep(rng.uniform(0, 5))
    stage.broker.start()


@fault("broker", 3, "broker")
def freeze_broker(stage, rng):
    with stopped(stage.broker.pid):
        time.sleep(rng.choice((rng.uniform(0.5, 4), rng.uniform(9, 12))))


@fault("broker", 8, "broker")
def network_to_broker(stage, rng):
    network(stage, rng, "broker")


def about_queue(stage, command):
    try:
        stage.broker.call("ctl", command, "birthday.messages.queue")
    except BenchError as error:
        if "not_found" not in str(error) and "not found" not in str(error):
            raise
        raise Skip("nobody has declared the queue yet") from error


@fault("broker", 3, "broker")
def purge_queue(stage, rng):
    about_queue(stage, "purge_queue")


@fault("broker", 2, "broker")
def delete_queue(stage, rng):
    about_queue(stage, "delete_queue")


@fault("broker", 2, "broker")
def broker_alarm(stage, rng):
    stage.broker.call("ctl", "set_disk_free_limit", "900GB")
    time.sleep(rng.uniform(1, 6))
    stage.broker.call("ctl", "set_disk_free_limit", "1MB")
