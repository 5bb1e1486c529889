"""Secrets: written in place, in the environment, or in a file that is read again when it changes."""

from collections.abc import Mapping
from pathlib import Path

from smtpstatus.document import ConfigError

_CREDENTIALS = "CREDENTIALS_DIRECTORY"


class Secret:
    """A secret text that its text form never shows."""

    def __init__(self, text: str, origin: str, path: Path | None = None) -> None:
        self.text = text
        self.origin = origin
        """Where it comes from, in words that may be shown."""
        self._path = path
        self._stamp = _stamp(path) if path else None

    @property
    def can_change(self) -> bool:
        return self._path is not None

    @classmethod
    def given(cls, text: str, origin: str) -> "Secret":
        """The text of a variable, which has surrogates where its bytes are no UTF-8. Raises `ConfigError`."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{origin} is not UTF-8 text: give it another secret") from None
        return cls(text, origin)

    @classmethod
    def read(cls, path: Path) -> "Secret":
        """The first line of a file. Raises `ConfigError`."""
        return cls(_first_line(path), f"the file {path}", path)

    def refresh(self) -> bool:
        """Read the file again if it was changed; returns whether the secret is another one.

        Raises `ConfigError` once for each change that makes the file unreadable; the old text stays.
        """
        if self._path is None:
            return False
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        before, self.text = self.text, _first_line(self._path)
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


def _first_line(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the secret file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the secret file {path} is not UTF-8 text") from None
    line = text.removesuffix("\n").removesuffix("\r")
    if not line or "\n" in line:
        raise ConfigError(
            f"the secret file {path} must hold one line, the secret and nothing else"
        )
    return line


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is written or replaced, also through the links of a Kubernetes volume."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
