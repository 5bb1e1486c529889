"""The reply to a message by the exit status of a transform, and what is logged."""

from pathlib import Path

import pytest

from reference_server.exit_status import TransformFailed, check_exit_status
from reference_server.reply import Reply

FAILED = Reply(451, "4.3.0", "Error: local error in processing")
MISCONFIGURED = Reply(451, "4.3.5", "Error: server configuration error")
REPLIES = {
    65: Reply(554, "5.6.0", "Message content rejected"),
    69: Reply(554, "5.3.0", "Message rejected"),
    76: Reply(554, "5.6.0", "Message content rejected"),
    77: Reply(554, "5.7.1", "Message rejected"),
    100: Reply(554, "5.6.0", "Message rejected"),
    **dict.fromkeys((64, 66, 67, 68, 70, 72, 78, 126, 127), MISCONFIGURED),
}
"""docs/reference-server.md; any other status is a failure."""


def failure(path: Path, code: int, errors: bytes = b"") -> TransformFailed:
    path.write_bytes(errors)
    with path.open("rb", buffering=0) as file:
        file.read()  # as the program left it
        with pytest.raises(TransformFailed) as caught:
            check_exit_status("footer", code, file)
    return caught.value


def test_status_0_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "errors"
    path.write_bytes(b"a warning\n")
    with path.open("rb", buffering=0) as file:
        check_exit_status("footer", 0, file)


@pytest.mark.parametrize("code", [*range(1, 256), -1, -9, -15])
def test_every_status_has_the_documented_reply(code: int, tmp_path: Path) -> None:
    assert failure(tmp_path / "errors", code).reply == REPLIES.get(code, FAILED)


@pytest.mark.parametrize(
    ("code", "errors", "logged"),
    [
        (1, b"", "footer ended with 1: no message"),
        (75, b"try again\nlater\n", "footer ended with 75: try again"),
        (-1, b"", "footer was killed by signal 1: no message"),
        (-15, b"  bye  \n", "footer was killed by signal 15: bye"),
        (1, b"\x1f !~\x7f\xe4", "footer ended with 1: ? !~??"),
        (1, b"x" * 201, f"footer ended with 1: {'x' * 200}"),
    ],
)
def test_the_log_has_the_status_and_the_first_line_on_stderr(
    code: int, errors: bytes, logged: str, tmp_path: Path
) -> None:
    assert str(failure(tmp_path / "errors", code, errors)) == logged


@pytest.mark.parametrize(
    ("code", "errors", "reply"),
    [
        (65, b"no", Reply(554, "5.6.0", "no")),
        (65, b"5.7.1 no", Reply(554, "5.7.1", "no")),
        (65, b"5.123.123  no", Reply(554, "5.123.123", "no")),
        (65, b"5.1234.1 no", Reply(554, "5.6.0", "5.1234.1 no")),
        (65, b"5.1.1234 no", Reply(554, "5.6.0", "5.1.1234 no")),
        (65, b"4.7.1 no", Reply(554, "5.6.0", "4.7.1 no")),
        (64, b"no", MISCONFIGURED),
    ],
)
def test_the_text_of_a_rejection_is_that_of_the_program(
    code: int, errors: bytes, reply: Reply, tmp_path: Path
) -> None:
    assert failure(tmp_path / "errors", code, errors).reply == reply
