"""Passes connections on to a port of ::1, for a service that listens nowhere else:  relay PORT

Runs inside, on the socket that systemd opened at the same port of 127.0.0.1.
"""

import asyncio
import socket
import sys

PORT = int(sys.argv[1])
SOCKET = 3  # the first that systemd passes, see sd_listen_fds(3)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on, and then the end."""
    try:
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, to its end."""
    try:
        inner_reader, inner_writer = await asyncio.open_connection("::1", PORT)
    except OSError:
        writer.close()
        return
    await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
    inner_writer.close()
    writer.close()


async def main() -> None:
    """Take connections until systemd ends this."""
    server = await asyncio.start_server(relay, sock=socket.socket(fileno=SOCKET))
    await server.serve_forever()


asyncio.run(main())
