"""Carrying out what a rule says, on any kind of connection."""
import asyncio
import socket
import struct


async def hang():
    """Never returns; ends when the connection does, or the catcher."""
    await asyncio.get_running_loop().create_future()


def reset(transport):
    """Goes away with a RST instead of an orderly end."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
    transport.abort()


async def send(writer, octets, drip_ms=None):
    """Sends at once, or one byte at a time, drip_ms apart."""
    if not drip_ms:
        writer.write(octets)
        await writer.drain()
        return
    for index in range(len(octets)):
        writer.write(octets[index:index + 1])
        await writer.drain()
        await asyncio.sleep(drip_ms / 1000)


async def before_answer(rule, transport):
    """Waits and silences.  Returns what ended the connection, or None."""
    if rule.get("delay_ms"):
        await asyncio.sleep(rule.get("delay_ms") / 1000)
    if rule.get("hang"):
        await hang()
    if rule.get("reset"):
        reset(transport)
        return "reset"
    if rule.get("close_before_reply"):
        transport.close()
        return "closed"
    return None


def silent_verdict(rule):
    """What before_answer() will do to the sender, for the records."""
    for key, verdict in (("hang", "hung"), ("reset", "reset"),
                         ("close_before_reply", "closed")):
        if rule.get(key):
            return verdict
    return None
