"""The list of faults, and what all of them use.

A fault is a function of the stage and a source of randomness; it returns when
all is as before, or says in an exception what did not come back.  The lane
says what it takes hold of: two of one lane never overlap, others do.

"strikes" names what the fault makes unable to tell or to record an outcome for
as long as it lasts: "server" for all its processes, "relay" for connections to
the relay.  A fault that strikes one process tells the stage so itself.  Only
this excuses a second copy of a mail.
"""
import collections
import contextlib
import os
import signal

Fault = collections.namedtuple("Fault", "name lane weight act needs strikes")
FAULTS = collections.OrderedDict()


class Skip(Exception):
    """There is nothing to be maltreated just now; the sentence says why."""


def fault(lane, weight=2, needs=None, strikes=()):
    def register(act):
        name = act.__name__
        FAULTS[name] = Fault(name, lane, weight, act, needs, strikes)
        return act
    return register


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
