"""HTTP client that behaves like Prometheus: persistent connections, gzip, a timeout header."""

import gzip
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import cycle

from benchmarks.process import Process

_HEADERS = {
    "Accept": "text/plain;version=0.0.4",
    "Accept-Encoding": "gzip",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}


@dataclass(frozen=True, slots=True)
class Page:
    text: str
    seconds: float


def fetch(port: int, path: str, method: str = "GET") -> Page:
    """Sends one request. Raises `RuntimeError` for a status other than 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    began = time.perf_counter()
    connection.request(method, path, headers=_HEADERS)
    answer = connection.getresponse()
    body = answer.read()
    seconds = time.perf_counter() - began
    connection.close()
    if answer.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    if answer.status != 200:
        raise RuntimeError(f"{method} {path}: {answer.status} {body[:200]!r}")
    return Page(body.decode(), seconds)


def probe_rate(port: int, paths: Sequence[str], scrapers: int, probes: int) -> float:
    """Probes per second of `scrapers` simultaneous clients over persistent connections, one request each."""
    requests = cycle([_request(path) for path in paths])
    with selectors.DefaultSelector() as selector:
        waiting: dict[socket.socket, _Answer] = {}
        began = time.perf_counter()
        for _ in range(scrapers):
            connection = socket.create_connection(("127.0.0.1", port))
            selector.register(connection, selectors.EVENT_READ)
            waiting[connection] = _Answer()
            connection.sendall(next(requests))
        done, sent = 0, scrapers
        while done < probes:
            for key, _ in selector.select(30):
                connection = key.fileobj  # type: ignore[assignment]
                if waiting[connection].feed(connection.recv(1 << 18)):
                    done += 1
                    waiting[connection] = _Answer()
                    if sent < probes:
                        connection.sendall(next(requests))
                        sent += 1
        seconds = time.perf_counter() - began
        for connection in waiting:
            connection.close()
    return probes / seconds


class _Answer:
    """HTTP response that arrives in parts."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, piece: bytes) -> bool:
        """Whether it is complete. Raises `RuntimeError` for a status other than 200."""
        self._bytes += piece
        head, end, body = self._bytes.partition(b"\r\n\r\n")
        if not piece or (end and not head.startswith(b"HTTP/1.1 200")):
            raise RuntimeError(f"no good answer: {self._bytes[:300]!r}")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        return bool(end) and len(body) == int(length)


def _request(path: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in _HEADERS.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass(slots=True)
class Watch:
    """Response times of /-/healthy during other work, in seconds, and the maximum number of descriptors."""

    latencies: list[float] = field(default_factory=list)
    descriptors: int = 0


@contextmanager
def watching(port: int, process: Process) -> Iterator[Watch]:
    """Requests /-/healthy repeatedly: a blocked event loop delays a response by the same time."""
    watch, stop = Watch(), threading.Event()

    def look() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        while not stop.wait(0.002):
            began = time.perf_counter()
            connection.request("GET", "/-/healthy")
            connection.getresponse().read()
            watch.latencies.append(time.perf_counter() - began)
            watch.descriptors = max(watch.descriptors, process.descriptors())
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
