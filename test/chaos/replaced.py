"""The extension dropped and created again under senders that send."""
import random
import time

from bursts import Counter
from cluster import AUDIT_SQL
from load import Load
from server import BenchError
from storm import at_rest, drain, reckon

LIMIT_S = 60            # until the senders of a new generation are at work
SLOW_S = 5


def drop(stage):
    """While everybody works; how long it took."""
    begin = time.time()
    started = time.monotonic()
    stage.cluster.sql("DROP EXTENSION birthday_scheduler CASCADE;", 120)
    took = time.monotonic() - started
    stage.worst("DROP EXTENSION, s", took)
    if took > SLOW_S:
        stage.complain("DROP EXTENSION took %.1f s" % took)
    stage.strike("server", begin)
    stage.note("extension dropped", begin)
    return time.time()


def refill(stage, load, counter, size, share):
    """A generation of messages, of which that share has arrived."""
    made = None
    while made is None:
        made = load.birthdays(size)
    wanted = counter.look() + int(size * share)
    if not load.enter(*made):
        raise BenchError("people could not be added: %s" % load.trouble)
    until = time.monotonic() + LIMIT_S
    while counter.look() < wanted:
        if time.monotonic() > until:
            stage.complain("a new extension sent less than %d of %d mails in"
                           " %d s" % (share * size, size, LIMIT_S))
            break
        time.sleep(0.01)
    return made[1]


def last_after(folder_mails, owed, moment):
    """How long after that moment a mail of these came."""
    mine = {one.key.replace(":", ".") for one in owed}
    return max([0.0] + [mail.time - moment
                        for key, came in folder_mails.items() if key in mine
                        for mail in came])


def replacements(stage, options, seed, say):
    """DROPS generations, of which the last is sent to its end; a Verdict."""
    rng = random.Random("replaced %s" % seed)
    load = Load(stage.cluster, seed, options.messages, 600, lambda: 1)
    load.prepare()
    counter = Counter(stage.relay.folder)
    began = time.monotonic()
    size = options.messages // (options.drops + 1)
    gone = []
    for _ in range(options.drops):
        owed = refill(stage, load, counter, size, rng.uniform(0.05, 0.8))
        gone.append((owed, drop(stage)))
        for one in owed:
            one.fate = "DROPPED"
        time.sleep(rng.uniform(0, 2))
        stage.cluster.sql("DROP TABLE audit; DROP FUNCTION audit();")
        stage.cluster.create_extension()
        stage.cluster.sql(AUDIT_SQL)
        load.types = []
        load.prepare()
    refill(stage, load, counter, size, 0.1)
    drained = drain(stage, load)
    at_rest(stage)
    verdict = reckon(stage, load, say, began, drained)
    mails = verdict.mails
    verdict.figures["mails of dropped messages, s after the drop, at most"] = \
        round(max(last_after(mails, *one) for one in gone), 2)
    return verdict
