"""pytest plugin that runs the cases of aiosmtpd's test suite against the reference server.

aiosmtpd's controller class is replaced by one that starts the reference server on a real socket. The client, the
fixtures and the cases are aiosmtpd's. Only the codes of replies are compared, since texts differ between servers.
"""

import json
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from importlib.resources import files
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import aiosmtpd.controller
import pytest
from aiosmtpd.smtp import Envelope
from aiosmtpd.testing import statuscodes
from aiosmtpd.testing.helpers import ReceivingHandler
from anyio.from_thread import BlockingPortal, start_blocking_portal

from reference_server.limits import ServerLimits, SessionLimits
from tests.reference_server.inside import Inside, mail_server

DOMAINS = frozenset(
    {
        "example.com",
        "example.org",
        "machine.example",
        "mail",
        "127.0.0.1",
        "[127.0.0.1]",
        "[IPv6:2001:db8::1]",
        "[IPv6::1]",
    }
)
"""Those to which the suite sends mail."""

PATIENCE = 3
"""Seconds after which a client gives up: where servers differ, some cases would wait for ever."""


class Code(statuscodes.StatusCode):
    """A reply that the suite expects; equal to any reply with the same code."""

    unequal: ClassVar[list[tuple[int, int]]] = []
    """The comparisons that failed: the suite's code and ours."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, tuple), other
        if self.code != other[0]:
            self.unequal.append((self.code, other[0]))
        return bool(self.code == other[0])

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return self.code

    def __call__(self, *args: bytes) -> "Code":
        return self


class Box:
    """Stored messages in the form of the suite's receiving handler."""

    def __init__(self, inside: Inside, decode: bool) -> None:
        self._inside = inside
        self._decode = decode

    def __len__(self) -> int:
        return len(self._files())

    def __getitem__(self, index: int) -> Envelope:
        lines = self._files()[index].read_bytes().splitlines(keepends=True)
        # Return-Path, then Received over several lines.
        head = 2 + next(n for n, line in enumerate(lines[2:]) if not line.startswith(b"\t"))
        content = b"".join(lines[head:]).replace(b"\n", b"\r\n")
        envelope = Envelope()
        envelope.mail_from = lines[0].decode().removeprefix("Return-Path: <").removesuffix(">\n")
        envelope.rcpt_tos = [lines[3].decode().removeprefix("\tfor <").removesuffix(">;\n")]
        envelope.content = content.decode() if self._decode else content
        return envelope

    def _files(self) -> list[Path]:
        return sorted(self._inside.root.glob("*/new/*"), key=lambda file: file.name)


class Controller:
    """Replacement of aiosmtpd's controller that starts the reference server."""

    portal: ClassVar[BlockingPortal]
    """The event loop of all servers, in a thread of its own."""
    started: ClassVar[list[Inside]] = []
    """The servers of the case that runs."""

    hostname = "127.0.0.1"
    Delay = 300.0  # a controller of the suite has a shorter one

    def __init__(
        self,
        handler: object,
        hostname: str = "",
        port: int = 0,
        data_size_limit: int | None = SessionLimits().message_size,
        command_call_limit: int | dict[str, int] | None = None,
        decode_data: bool = False,
        **_: object,
    ) -> None:
        self.handler = handler
        self.port = port
        self._decode = decode_data
        size = data_size_limit or SessionLimits().message_size
        commands = SessionLimits().commands
        if isinstance(command_call_limit, int):
            commands = command_call_limit + 1  # the EHLO before them
        self._session_limits = SessionLimits(message_size=size, commands=commands)
        self._stack = ExitStack()

    def start(self) -> None:
        folder = tempfile.mkdtemp()
        self._stack.callback(shutil.rmtree, folder)
        running: AbstractContextManager[Inside] = self.portal.wrap_async_context_manager(
            mail_server(
                Path(folder),
                domains=DOMAINS,
                session_limits=self._session_limits,
                limits=ServerLimits(idle=self.Delay),
            )
        )
        inside = self._stack.enter_context(running)
        self.started.append(inside)
        self.port = inside.port
        if isinstance(self.handler, ReceivingHandler):
            vars(self.handler)["box"] = Box(inside, self._decode)

    def stop(self, **_: object) -> None:
        self._stack.close()


class Outcomes:
    """Outcome of each case, whether its client reached the server, and which codes were unexpected."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._failed: set[str] = set()
        self._cases: dict[str, dict[str, object]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)
        if report.when == "teardown":
            self._cases[report.nodeid] = {
                "passed": report.nodeid not in self._failed,
                "met": any(inside.status.connections for inside in Controller.started),
                "codes": list(Code.unequal),
            }
            Controller.started.clear()
            Code.unequal.clear()

    def pytest_sessionfinish(self) -> None:
        self._file.write_text(json.dumps(self._cases))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, required=True)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Installs the replacements before the suite's conftest.py is imported."""
    codes = statuscodes.SMTP_STATUS_CODES
    for name, value in list(vars(codes).items()):
        if name.startswith("S"):
            setattr(codes, name, Code(*value))
    vars(aiosmtpd.controller)["Controller"] = Controller
    # Two libraries that the suite imports: one for the path of its certificates, and one for mocking, with which its
    # cases change what is inside aiosmtpd.
    stand_in("pkg_resources", resource_filename=lambda package, name: str(files(package) / name))
    stand_in("pytest_mock", MockFixture=object)


def stand_in(name: str, **members: object) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def pytest_configure(config: pytest.Config) -> None:
    socket.setdefaulttimeout(PATIENCE)
    config.pluginmanager.register(Outcomes(config.getoption("--outcomes")))


@pytest.fixture(scope="session")
def session_mocker() -> SimpleNamespace:
    return SimpleNamespace(patch=lambda *_, **__: None)


@pytest.fixture(autouse=True, scope="session")
def _portal() -> Iterator[None]:
    with start_blocking_portal() as portal:
        Controller.portal = portal
        yield
