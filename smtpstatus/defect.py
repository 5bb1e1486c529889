"""Describes an unexpected exception in one line without values, as its text might contain a secret."""

import traceback
from pathlib import Path

from smtpstatus.errors import ConfigError


def summary(error: BaseException) -> str:
    """The exception's type and the innermost place that raised it, such as `KeyError at dialects.py:90`."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def as_config_error(error: Exception) -> ConfigError:
    """The error itself, or for an unexpected one a `ConfigError` with its type and place."""
    if isinstance(error, ConfigError):
        return error
    return ConfigError(f"internal error while loading the configuration: {summary(error)}")
