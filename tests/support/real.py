"""Locates the real programs that tests use: Prometheus, swaks, a browser, mail servers."""

import os
import shutil
from typing import NoReturn

import pytest


def require(program: str) -> str:
    """Returns the path of a program. If it is missing, skips the test, or fails it under SMTPSTATUS_REQUIRE_REAL=1."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed")
    return path


def missing(text: str) -> NoReturn:
    """Skips the test because a real part is missing, or fails it under SMTPSTATUS_REQUIRE_REAL=1."""
    if os.environ.get("SMTPSTATUS_REQUIRE_REAL") == "1":
        pytest.fail(text)
    pytest.skip(text)
