from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from exporter.http.web_file import WebFile
from exporter.routes.context import HttpOptions
from tests.exporter.running import (
    Exporter,
    MailServer,
    Start,
    one_target,
    running_exporter,
    running_mail_server,
)


@pytest.fixture
async def mail_server() -> AsyncIterator[MailServer]:
    async with running_mail_server() as server:
        yield server


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def started(
            text: str, options: HttpOptions | None = None, web: str | None = None
        ) -> Exporter:
            path = tmp_path / "config.yml"
            path.write_text(text)
            web_path = tmp_path / "web.yml"
            web_path.write_text(web or "")
            web_file = None if web is None else WebFile(web_path)
            return await stack.enter_async_context(running_exporter(path, options, web_file))

        yield started


@pytest.fixture
async def exporter(start: Start, mail_server: MailServer) -> Exporter:
    return await start(one_target(mail_server))
