#!/usr/bin/python3
"""A TCP proxy whose network can be made bad.

    proxy.py NAME=LISTEN_PORT:TARGET_PORT...

Port 0 is a free one; the first line on standard output is JSON with the ports.
Each line on standard input sets the mode of one name:

    NAME pass            octets go through
    NAME silence         nothing goes through, in either direction; what was
                         sent is kept and delivered when it passes again
    NAME lose            the same, but what is sent is lost for ever, and with
                         it the connection, which nobody is told of
    NAME mute            what the target says is lost, from now on
    NAME slow MS         each piece waits so long
    NAME drip MS         the target's octets one at a time, so far apart
    NAME reset           every connection ends with a RST; then as "pass"
    NAME refuse          new connections end with a RST at once

It ends with its standard input.  All on 127.0.0.1.
"""
import asyncio
import contextlib
import json
import os
import socket
import struct
import sys

HOST = "127.0.0.1"
PIECE = 65536


def reset(writer):
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
    writer.transport.abort()


class Route:
    """One listening port and where it leads."""

    def __init__(self, target):
        self.target = target
        self.mode = "pass"
        self.ms = 0
        self.changed = asyncio.Event()
        self.writers = set()
        self.for_ever = asyncio.get_running_loop().create_future()

    def set_mode(self, mode, ms=0):
        if mode == "reset":
            for writer in list(self.writers):
                reset(writer)
            mode = "pass"
        self.mode, self.ms = mode, ms
        self.changed.set()
        self.changed = asyncio.Event()

    async def serve(self, reader, writer):
        if self.mode == "refuse":
            reset(writer)
            return
        try:
            there, to_there = await asyncio.open_connection(HOST, self.target)
        except OSError:
            reset(writer)
            return
        pair = (writer, to_there)
        self.writers.update(pair)
        try:
            await asyncio.gather(self.carry(reader, to_there, False),
                                 self.carry(there, writer, True))
        except OSError:
            for one in pair:
                reset(one)
        finally:
            self.writers.difference_update(pair)
            for one in pair:
                one.close()

    async def carry(self, reader, writer, back):
        """One direction, until its end."""
        lost = False
        while True:
            octets = await reader.read(PIECE)
            while self.mode == "silence":
                await self.changed.wait()
            if self.mode == "lose" or (self.mode == "mute" and back):
                lost = True
            if lost:            # a gap: nothing after it may arrive
                if not octets:
                    await asyncio.shield(self.for_ever)
                continue
            if not octets:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            if self.mode == "slow":
                await asyncio.sleep(self.ms / 1000)
            while self.mode == "drip" and back and octets:
                writer.write(octets[:1])
                octets = octets[1:]
                await asyncio.sleep(self.ms / 1000)
            writer.write(octets)
            await writer.drain()


async def main():
    loop = asyncio.get_running_loop()
    routes, ports, servers = {}, {}, []
    for word in sys.argv[1:]:
        name, _, rest = word.partition("=")
        listen, _, target = rest.partition(":")
        route = routes[name] = Route(int(target))
        servers.append(await asyncio.start_server(
            route.serve, HOST, int(listen), backlog=512))
        ports[name] = servers[-1].sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := (await commands.readline()).decode().split():
        routes[line[0]].set_mode(line[1], *map(int, line[2:]))
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
