"""Runs the `smtpstatus` command in a thread, so that a server can run in the test's event loop."""

import asyncio
import json
from typing import Any

import pytest

from protocol.__main__ import main


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = ""
        self.err = ""

    async def __call__(self, *arguments: str) -> int:
        try:
            status = await asyncio.to_thread(main, arguments)
        except SystemExit as stop:  # argparse's way
            status = int(stop.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return status

    @property
    def json(self) -> Any:
        return json.loads(self.out)
