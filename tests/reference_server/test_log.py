import json
import logging

from reference_server.log import Lines


def record(**extra: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"msg": "message %s", "args": ("stored",), "levelname": "INFO"} | extra
    )


def test_logfmt_quotes_what_would_break_a_line_apart() -> None:
    line = Lines("logfmt").format(record(id="a-1", size=5, error='a "b"\nc=d', empty=""))

    assert line.split(" ", 1)[1] == (
        r'level=info msg="message stored" id=a-1 size=5 error="a \"b\"\nc=d" empty=""'
    )


def test_json_is_one_object_per_line() -> None:
    line = Lines("json").format(record(size=5, error="a\nb"))

    fields = json.loads(line)
    assert "\n" not in line
    assert fields.pop("time")
    assert fields == {"level": "info", "msg": "message stored", "size": 5, "error": "a\nb"}


def test_an_exception_stays_on_one_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        line = Lines("logfmt").format(record(exc_info=(ValueError, error, error.__traceback__)))

    assert "\n" not in line
    assert "ValueError: broken" in line
