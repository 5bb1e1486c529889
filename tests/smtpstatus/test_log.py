import io
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics import ExporterMetrics
from protocol.vocabulary import Command
from smtpstatus.log import Formatter, LogFormat, QueueingHandler, configure
from tests.exporter.running import Exporter, MailServer


def record(message: str = "Target is down", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("exporter", logging.WARNING, __file__, 1, message, None, None)
    made.created = 1795410000.1234
    vars(made).update(fields)
    return made


def test_a_log_line_has_the_standard_fields_and_those_of_the_record() -> None:
    line = Formatter("logfmt").format(record(target="mail-1", count=3, err="no answer", good=True))

    assert line == (
        'time=2026-11-23T05:00:00.123Z level=warn msg="Target is down"'
        ' target=mail-1 count=3 err="no answer" good=true'
    )


def test_json_has_the_same_fields() -> None:
    line = Formatter("json").format(record(target="mail-1", count=3, nothing=None))

    assert json.loads(line) == {
        "time": "2026-11-23T05:00:00.123Z",
        "level": "warn",
        "msg": "Target is down",
        "target": "mail-1",
        "count": 3,
        "nothing": None,
    }


def test_an_exception_is_logged_in_one_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        failed = record()
        failed.exc_info = sys.exc_info()

    line = Formatter("logfmt").format(failed)
    assert "\n" not in line
    assert "ValueError: broken" in line


@given(st.text(), st.text(), st.sampled_from(["logfmt", "json"]))
def test_no_value_can_forge_a_line_or_a_field(message: str, value: str, form: LogFormat) -> None:
    line = Formatter(form).format(record("%s", client=value, args=(message,)))

    assert len(line.splitlines()) == 1
    if form == "logfmt":
        assert re.fullmatch(
            r'time=\S+ level=warn msg="(?:[^"\\]|\\.)*" client=(?:"(?:[^"\\]|\\.)*"|[^\s"=]+)',
            line,
        )
    else:
        assert json.loads(line)["client"] == value


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield io.StringIO()
    root.handlers, root.level = before


def test_records_below_the_level_are_not_written(stream: io.StringIO) -> None:
    configure("warn", "logfmt", stream)
    logging.getLogger("exporter.x").info("not this")
    logging.getLogger("exporter.x").warning("this")
    logging.getLogger().handlers[0].flush()

    assert re.fullmatch(r'time=(\S+) level=warn msg="this"\n', stream.getvalue())
    at = stream.getvalue().split()[0].removeprefix("time=")
    assert datetime.fromisoformat(at).tzinfo is not None


def test_failures_to_accept_connections_are_logged_once_a_minute(stream: io.StringIO) -> None:
    configure("info", "logfmt", stream)
    for second in (0, 1, 59, 60, 61, 120):
        for message in ("socket.accept() out of system resource\nsocket: x", f"other {second}"):
            line = record(message)
            line.created += second
            logging.getLogger("asyncio").handle(line)

    logging.getLogger().handlers[0].flush()
    lines = stream.getvalue().splitlines()
    assert len([line for line in lines if "out of system resource" in line]) == 3
    assert len([line for line in lines if "other" in line]) == 6


class StuckReader(io.StringIO):
    """Stream whose writes block until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.released = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.waiting.set()
        self.released.wait()
        return super().write(text)


def test_a_stalled_log_reader_blocks_no_caller_and_dropped_lines_are_counted() -> None:
    reader = StuckReader()
    handler = QueueingHandler("logfmt", reader, queued_lines=5)
    handler.handle(record("first"))
    assert reader.waiting.wait(5)

    for number in range(12):
        handler.handle(record(f"line {number}"))
    reader.released.set()
    handler.flush()

    lines = reader.getvalue().splitlines()
    assert [line.partition("msg=")[2] for line in lines[:6]] == [
        '"first"', *(f'"line {number}"' for number in range(5)),
    ]  # fmt: skip
    assert len(lines) == 7
    assert re.fullmatch(r'time=\S+ level=warn msg="Log lines dropped: .*" lines=7', lines[6])


def test_flush_does_not_wait_forever_for_a_stalled_reader() -> None:
    reader = StuckReader()
    handler = QueueingHandler("logfmt", reader)
    handler.handle(record("first"))
    started = time.monotonic()

    handler.flush()

    assert 0.5 < time.monotonic() - started < 5
    reader.released.set()


def test_lines_that_cannot_be_written_are_counted_as_dropped() -> None:
    class Broken(io.StringIO):
        broken = True

        def write(self, text: str) -> int:
            if self.broken:
                raise BrokenPipeError
            return super().write(text)

    reader = Broken()
    handler = QueueingHandler("logfmt", reader)
    for message in ("one", "two"):
        handler.handle(record(message))
        handler.flush()
    reader.broken = False

    handler.handle(record("three"))
    handler.flush()

    assert re.search(r'msg="three"\n.*msg="Log lines dropped: .*" lines=2\n', reader.getvalue())


async def test_a_target_that_fails_and_recovers_is_logged_in_two_lines(
    exporter: Exporter, mail_server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        await exporter.http.get("/metrics")
    mail_server.values.pop(Command.CONNECTIONS)
    for path in ("/metrics", "/probe?target=mail-1", "/api/v1/targets"):
        await exporter.http.get(path)
    mail_server.values[Command.CONNECTIONS] = 1
    for _ in range(3):
        await exporter.http.get("/metrics")

    lines = [vars(record) for record in caplog.records if record.name == "exporter.service"]
    assert [(line["message"], line["target"]) for line in lines] == [
        ("Target is down", "mail-1"),
        ("Target is back", "mail-1"),
    ]
    assert lines[0]["reason"] == "server"
    assert lines[0]["address"] == mail_server.address


def test_two_applications_in_one_process_count_separately() -> None:
    one, other = ExporterMetrics(), ExporterMetrics()
    one.writes.labels("done").inc()

    assert (
        other.registry.get_sample_value("smtpstatus_exporter_writes_total", {"outcome": "done"})
        == 0
    )
