#!/usr/bin/python3
"""A line of some length to a server on this machine.

    delay.py PORT MS      listens on a free port, prints it, and hands octets on
                          to PORT of this machine, MS later, in both directions

Runs until its standard input ends.  Order is kept, nothing is ever lost; a line
has no limit to what is under way on it.
"""
import asyncio
import sys


async def carry(reader, writer, seconds):
    loop = asyncio.get_running_loop()
    while True:
        octets = await reader.read(65536)
        if not octets:
            loop.call_later(seconds, writer.close)
            return
        loop.call_later(seconds, writer.write, octets)


async def serve(port, seconds):
    async def connection(reader, writer):
        there_reader, there_writer = await asyncio.open_connection(
            "127.0.0.1", port)
        await asyncio.gather(carry(reader, there_writer, seconds),
                             carry(there_reader, writer, seconds),
                             return_exceptions=True)

    server = await asyncio.start_server(connection, "127.0.0.1", 0,
                                        backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, lambda: sys.stdin.read(1) or ended.set())
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
