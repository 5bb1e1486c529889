"""Secrets from the configuration file, the environment, or files that are reread when they change."""

from collections.abc import Mapping
from pathlib import Path

from smtpstatus.errors import ConfigError
from smtpstatus.secret import read_secret, secret_text

Stamp = tuple[int, ...] | None

_CREDENTIALS = "CREDENTIALS_DIRECTORY"


class Secret:
    """A secret text that its repr does not show."""

    def __init__(
        self, text: str, origin: str, path: Path | None = None, stamp: Stamp = None
    ) -> None:
        self.text = text
        self.origin = origin
        """Where it comes from, for log lines and errors."""
        self._path = path
        self._stamp = stamp

    @property
    def can_change(self) -> bool:
        return self._path is not None

    @property
    def device(self) -> int | None:
        """The file system that had the file when it was last seen; None if there was no file."""
        return self._stamp[-1] if self._stamp else None

    @classmethod
    def given(cls, text: str, origin: str = "") -> "Secret":
        """The text of a document or a variable. Raises `ValueError`, which does not repeat it."""
        return cls(secret_text(text), origin)

    @classmethod
    def read(cls, path: Path) -> "Secret":
        """The one line of a file. Raises `ValueError`, which repeats neither path nor content."""
        stamp = _stamp(
            path
        )  # before reading, so that the next refresh notices a concurrent change
        return cls(read_secret(path), f"the file {path}", path, stamp)

    def refresh(self) -> bool:
        """Rereads the file if it has changed; returns whether the secret is a different one.

        Raises `ConfigError` once for each change that makes the file unusable; the old text is kept.
        """
        if self._path is None:
            return False
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            before, self.text = self.text, read_secret(self._path)
        except ValueError as error:
            raise ConfigError(f"{self.origin}: {error}") from None
        return before != self.text


def file_path(text: str, directory: Path, environ: Mapping[str, str]) -> Path:
    """The path of a secret's file: relative to `directory`, or below $CREDENTIALS_DIRECTORY as systemd sets it.

    Raises `ValueError`.
    """
    for prefix in (f"${_CREDENTIALS}/", f"${{{_CREDENTIALS}}}/"):
        if text.startswith(prefix):
            if _CREDENTIALS not in environ:
                raise ValueError(
                    f"${_CREDENTIALS} is not set: systemd sets it for a unit with LoadCredential="
                )
            return Path(environ[_CREDENTIALS], text.removeprefix(prefix))
    return directory / text


def _stamp(path: Path) -> Stamp:
    """Stamp that changes when a file is written or replaced, also through the links of a Kubernetes volume."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
