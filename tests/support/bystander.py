"""Another client of an exporter, while hostile ones are at work."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.gauge import usage
from tests.support.processes import Process, eventually

PATHS = ("/-/healthy", "/metrics")
_INTERVAL_S = 0.05


class Bystander:
    """Requests some paths all the time, each in a thread and on a new connection.

    Every request must be answered, and from `settled_s` seconds on with 200.
    """

    def __init__(self, port: int, settled_s: float) -> None:
        self._counts_from = time.monotonic() + settled_s
        self.failures: list[str] = []
        self.seconds: dict[str, list[float]] = {path: [] for path in PATHS}
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(path,)) for path in PATHS]
        for thread in self._threads:
            thread.start()

    def _ask(self, path: str) -> None:
        while not self._stopping.wait(_INTERVAL_S):
            before = time.monotonic()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                connection.close()
                if answer.status != 200 and before > self._counts_from:
                    self.failures.append(f"{path}: {answer.status}")
            except OSError as error:
                self.failures.append(f"{path}: {error}")
            self.seconds[path].append(time.monotonic() - before)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def percentile_s(self, path: str, share: float) -> float:
        """Seconds within which this share of the requests was answered."""
        seconds = sorted(self.seconds[path])
        return seconds[int(share * (len(seconds) - 1))]


@contextmanager
def unaffected(
    process: Process,
    port: int,
    *,
    peak_mib: int,
    slowest_s: float,
    log_lines: int,
    settled_s: float = 0.0,
) -> Iterator[None]:
    """Fails unless other clients are served while the block runs, and nothing is left over afterwards.

    `slowest_s` is the 99th percentile of their response times, and `log_lines` the maximum number of lines logged.
    """
    idle, logged = usage(process.pid), len(process.lines)
    bystander = Bystander(port, settled_s)
    try:
        yield
    finally:
        bystander.stop()

    assert not bystander.failures, bystander.failures[:5]
    for path in PATHS:
        assert bystander.percentile_s(path, 0.99) < slowest_s, path
    assert usage(process.pid).peak_mib < peak_mib
    eventually(lambda: usage(process.pid).descriptors <= idle.descriptors + 2)
    assert len(process.lines) - logged <= log_lines, process.lines[-20:]
    assert "Traceback" not in process.output
