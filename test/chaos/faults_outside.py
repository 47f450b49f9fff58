"""Faults of the relay, of the broker, and of the network to them."""
import time

from fault import Skip, fault, stopped
from server import BenchError

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


@fault("relay", strikes=("relay",))
def relay_refuses_connections(stage, rng):
    stage.relay.set_rules([{"phase": "connect", "reply": "421 4.3.2 no",
                            "close": True}])
    stage.proxy.mode("relay", "reset")
    time.sleep(rng.uniform(1, 5))
    stage.relay.set_rules(())


@fault("relay", strikes=("relay",))
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


@fault("relay", 4, strikes=("relay",))
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


@fault("relay", strikes=("relay",))
def relay_a_byte_a_second(stage, rng):
    phase = rng.choice(("ehlo", "rcpt", "data", "body"))
    rules(stage, rng, some(rng, phase=phase, drip_ms=1000))


@fault("relay", strikes=("relay",))
def relay_slow(stage, rng):
    rules(stage, rng, {"phase": rng.choice(("mail", "body")),
                       "delay_ms": rng.choice((100, 700, 1900, 2200))})


@fault("relay")
def relay_talks_nonsense(stage, rng):
    rules(stage, rng, some(rng, phase=rng.choice(("ehlo", "mail", "rcpt")),
                           raw=rng.choice(("what?\r\n", "\r\n\r\n",
                                           "999 x\r\n", "250\r\n250\r\n"))))


@fault("relay", 3, strikes=("relay",))
def relay_frozen(stage, rng):
    with stopped(stage.relay.process.pid):
        time.sleep(rng.uniform(1, 5))


@fault("relay", 3, strikes=("relay",))
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


@fault("relay", 5, strikes=("relay",))
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
