"""Scripted next hop: a mail server in the test's event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Hop:
    """Mail server with a reply for each command; `messages` are those received, dot-stuffed."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.messages: list[bytes] = []
        self.greeting = b"220 hop.example\r\n"
        self.goodbye = b""
        """What follows the reply to EHLO in the same segment."""
        self.mail = b"250 2.1.0 Ok\r\n"
        self.resets = 0
        self.rcpt: Callable[[bytes], bytes] = lambda line: b"250 2.1.5 Ok\r\n"
        self.extensions: tuple[str, ...] = ("PIPELINING",)
        self.commands: list[bytes] = []
        """MAIL and XFORWARD as they came."""
        self.end: list[bytes] = []
        self.closes_after: int | None = None
        """Messages after which it closes each connection, without a word."""
        self.takes_content = True
        """Otherwise it closes the connection after 354."""
        self.hold: asyncio.Event | None = None
        """What it waits for before it replies to content."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting)
        taken, recipients = 0, 0
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb in (b"EHLO", b"LHLO"):
                lines = ("hop.example", *self.extensions, "HELP")
                marks = ["-"] * (len(lines) - 1) + [" "]
                offers = (f"250{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True))
                writer.write("".join(offers).encode() + self.goodbye)
            elif verb in (b"MAIL", b"XFOR"):
                self.commands.append(line)
                writer.write(self.mail if verb == b"MAIL" else b"250 2.0.0 Ok\r\n")
            elif verb == b"RSET":
                self.resets += 1
                writer.write(b"250 2.0.0 Ok\r\n")
            elif verb == b"RCPT":
                reply = self.rcpt(line)
                recipients += reply.startswith(b"2")
                writer.write(reply)
            elif verb == b"DATA":
                writer.write(b"354 go\r\n" if recipients else b"554 5.5.1 none\r\n")
                if recipients and not self.takes_content:
                    return
                if recipients:
                    self.messages.append(await reader.readuntil(b"\r\n.\r\n"))
                    if self.hold:
                        await self.hold.wait()
                    writer.write(self.end.pop(0) if self.end else b"250 2.0.0 Ok\r\n")
                    taken, recipients = taken + 1, 0
                    if taken == self.closes_after:
                        return
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 Bye\r\n")
                return
            else:
                writer.write(b"250 2.0.0 Ok\r\n")


@asynccontextmanager
async def next_hop() -> AsyncIterator[Hop]:
    hop = Hop()
    server = await asyncio.start_server(hop.serve, "127.0.0.1", 0, limit=1 << 24)
    hop.port = server.sockets[0].getsockname()[1]
    async with server:
        yield hop
