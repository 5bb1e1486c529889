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
_UNDISTURBED_S = 1.0
_SLOWEST_S = 1.0
_SLOWER = 10.0
"""How much longer than undisturbed requests others may take (99th percentile), beyond `_SLOWEST_S`."""


class Bystander:
    """Requests some paths all the time, each in a thread and on a new connection."""

    def __init__(self, port: int) -> None:
        self.failures: list[str] = []
        self.refused = dict.fromkeys(PATHS, 0)
        """Number of responses with status 503."""
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
                self.refused[path] += answer.status == 503
                if answer.status not in (200, 503):
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
    process: Process, port: int, *, peak_mib: int, log_lines: int, refused: float = 0.0
) -> Iterator[None]:
    """Fails unless other clients are served while the block runs, and nothing is left over afterwards.

    `log_lines` is the maximum number of lines logged, and `refused` the share of requests that may get 503.
    """
    idle, logged = usage(process.pid), len(process.lines)
    undisturbed = Bystander(port)
    time.sleep(_UNDISTURBED_S)
    undisturbed.stop()
    bystander = Bystander(port)
    try:
        yield
    finally:
        bystander.stop()

    assert not bystander.failures, bystander.failures[:5]
    for path in PATHS:
        assert bystander.refused[path] <= refused * len(bystander.seconds[path]), path
        usual_s = undisturbed.percentile_s(path, 0.9)
        assert bystander.percentile_s(path, 0.99) < _SLOWEST_S + _SLOWER * usual_s, path
    assert usage(process.pid).peak_mib < peak_mib
    eventually(lambda: usage(process.pid).descriptors <= idle.descriptors + 2)
    assert len(process.lines) - logged <= log_lines, process.lines[-20:]
    assert "Traceback" not in process.output
