"""Hostile HTTP/1.1 byte streams, and their strict interpretation by h11."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import h11

PATHS = ["/-/healthy", "/metrics?collect[]=exporter", "/", "/sd", "/api/v1/targets/x/transforms"]
HEADERS = [
    b"Host: exporter",
    b"Host: a\r\nHost: b",
    b"Connection: close",
    b"Connection: keep-alive, Upgrade",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    b"Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: xchunked",
    b"Content-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: +5",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Expect: 100-continue",
    b"Authorization: Bearer guess",
    b"Authorization: Basic " + b"QTpB" * 40,
    b"X-Prometheus-Scrape-Timeout-Seconds: 1e-9",
    b"Accept: " + b"text/plain," * 200,
    b"Range: bytes=0-0,1-1",
    b"X: a\r\n folded",
    b"X: \x00\x7f",
    b": empty",
    b"no colon",
    b"Trailer: Authorization",
]
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"0\r\nAuthorization: Bearer secret\r\n\r\n",
    b"5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"FFFFFFFFFFFFFFFFF\r\nx",
    b"5\r\nhelloX\r\n0\r\n\r\n",
    b"GET /-/healthy HTTP/1.1\r\nHost: smuggled\r\n\r\n",
    b"\n",
]
START_LINES = [
    b"%(method)s %(path)s HTTP/1.1",
    b"%(method)s %(path)s HTTP/1.1",
    b"%(method)s %(path)s HTTP/1.1",
    b"%(method)s %(path)s HTTP/1.0",
    b"%(method)s http://other%(path)s HTTP/1.1",
    b"%(method)s %(path)s HTTP/2.0",
    b"%(method)s %(path)s%%0A HTTP/1.1",
    b"%(method)s",
    b"PRI * HTTP/2.0",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]
METHODS = [b"GET", b"GET", b"POST", b"PUT", b"OPTIONS", b"get", b"X" * 40]


def request(random: Random) -> bytes:
    """A request, valid or not."""
    line = random.choice(START_LINES)
    if b"%(" in line:
        words = {b"method": random.choice(METHODS), b"path": random.choice(PATHS).encode()}
        line %= words
    headers = random.sample(HEADERS, random.randrange(5))
    if random.random() < 0.8:
        headers.insert(0, HEADERS[0])
    body = random.choice(BODIES) if random.random() < 0.5 else b""
    end = b"\r\n" if random.random() < 0.9 else b"\n"
    return end.join([line, *headers, b"", body])


def stream(random: Random) -> bytes:
    """A byte stream of several requests, with some bytes changed, inserted, deleted or cut off."""
    data = bytearray(b"".join(request(random) for _ in range(random.randrange(1, 6))))
    for _ in range(random.choice([0, 0, 0, 1, 3])):
        place = random.randrange(len(data) + 1)
        change: Callable[[], None] = random.choice(
            [
                lambda place=place: data.__setitem__(slice(place, place + 1), b"\r\n"),
                lambda place=place: data.__setitem__(slice(place, place + 3), b""),
                lambda place=place: data.__setitem__(slice(place, place), random.randbytes(2)),
                lambda place=place: data.__delitem__(slice(place, None)),
            ]
        )
        change()
    return bytes(data)


def segments(random: Random, data: bytes) -> list[bytes]:
    """Splits the stream at random places."""
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(4)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Number of request heads that h11 reads in a stream, and whether an error or a close ended them."""

    requests: int
    rejected: bool
    closed: bool


def strict_verdict(data: bytes) -> Verdict:
    """Parses `data` followed by the end of the stream, answering each request so that the next can follow.

    Empty lines before a request are ignored, as RFC 9112, 2.2 recommends; h11 itself rejects them.
    """
    count = 0
    while data := data.lstrip(b"\r\n"):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
        connection.receive_data(data)
        event: object = None
        while not isinstance(event, h11.EndOfMessage):
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                return Verdict(count, rejected=True, closed=False)
            if event is h11.NEED_DATA:
                return Verdict(count, rejected=False, closed=False)
            count += isinstance(event, h11.Request)
        if _state(connection) is not h11.SEND_RESPONSE:  # an accepted upgrade would follow
            return Verdict(count, rejected=False, closed=True)
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if _state(connection) is h11.MUST_CLOSE:
            return Verdict(count, rejected=False, closed=True)
        data = connection.trailing_data[0]
    return Verdict(count, rejected=False, closed=False)


def _state(connection: h11.Connection) -> object:
    return connection.our_state


def statuses(answer: bytes) -> list[int]:
    """The status codes of the final responses in `answer`, which h11 must accept. No request may be a HEAD."""
    found = []
    rest = answer
    while rest:
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(rest)
        connection.receive_data(b"")
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                found.append(event.status_code)
            elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return found
        rest = connection.trailing_data[0]
    return found
