"""The real programs that tests use: Prometheus, swaks, a browser."""

import os
import shutil

import pytest


def require(program: str) -> str:
    """The path of a program. Missing, it skips the test, or fails it under SMTPSTATUS_REQUIRE_REAL=1."""
    path = shutil.which(program)
    if path is None:
        text = f"{program} is not installed"
        if os.environ.get("SMTPSTATUS_REQUIRE_REAL") == "1":
            pytest.fail(text)
        pytest.skip(text)
    return path
