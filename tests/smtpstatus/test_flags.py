import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstatus.errors import ConfigError
from smtpstatus.flags import Flag, Flags, natural, one_of, positive

FLAGS = Flags(
    "program",
    "PROGRAM",
    (
        Flag("log.level", "info", "LEVEL", "minimum log level, 100% of lines"),
        Flag("web.listen-address", ":1", "ADDRESS", "repeatable", ","),
        Flag("filter", "", "COMMAND", "repeatable", r"\n"),
        Flag("check", "", "", "a switch"),
    ),
    "What it does.",
    "More about it.",
)


def test_a_flag_overrides_its_variable_which_overrides_the_default() -> None:
    environ = {"PROGRAM_LOG_LEVEL": "warn", "PROGRAM_CHECK": "true"}

    assert FLAGS.parse([], {}).text("log.level") == ("info", "--log.level")
    assert FLAGS.parse([], environ).text("log.level") == ("warn", "PROGRAM_LOG_LEVEL")
    assert FLAGS.parse(["--log.level=a", "--log.level", "b"], environ).text("log.level") == (
        "b",
        "--log.level",
    )
    assert [FLAGS.parse([], env).switch("check") for env in ({}, environ)] == [False, True]
    assert FLAGS.parse(["--check"], {}).switch("check")


def test_an_empty_variable_is_unset() -> None:
    given = FLAGS.parse([], {"PROGRAM_LOG_LEVEL": "", "PROGRAM_FILTER": "", "PROGRAM_CHECK": ""})

    assert given.text("log.level")[0] == "info"
    assert given.each("filter", str) == ()
    assert not given.switch("check")


def test_the_variable_of_a_repeatable_flag_holds_several_values() -> None:
    environ = {"PROGRAM_WEB_LISTEN_ADDRESS": ":1, :2,", "PROGRAM_FILTER": "a, b\nc\n"}
    given = FLAGS.parse([], environ)

    assert given.each("web.listen-address", str) == (":1", ":2")
    assert given.each("filter", str) == ("a, b", "c")
    assert FLAGS.parse(["--filter=a,b"], environ).each("filter", str) == ("a,b",)
    assert FLAGS.parse([], {}).each("web.listen-address", str) == (":1",)


def test_the_text_of_a_variable_is_not_changed() -> None:
    assert FLAGS.parse([], {"PROGRAM_LOG_LEVEL": " a,b "}).text("log.level")[0] == " a,b "


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token=secretpa"], "unknown flag --token; see --help"),
        (["--token", "secretpa"], "unknown flag --token; see --help"),
        (["--log.lev", "secretpa"], "unknown flag --log.lev; see --help"),
        (["secretpa"], "unexpected argument: a flag's name begins with --; see --help"),
        (["--log.level"], "--log.level: expected one argument; see --help"),
        (["--check=secretpa"], "--check: takes no value; see --help"),
    ],
)
def test_a_wrong_argument_is_named_without_its_value(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        FLAGS.parse(arguments, {})

    assert str(error.value).startswith(message)
    assert "secretpa" not in str(error.value)


def test_an_invalid_value_is_reported_with_its_flag_or_variable() -> None:
    for arguments, environ, place in (
        (["--log.level=x"], {}, "--log.level"),
        ([], {"PROGRAM_LOG_LEVEL": "x"}, "PROGRAM_LOG_LEVEL"),
    ):
        with pytest.raises(ConfigError, match=f"^{place}: 'x' is not one of info, warn$"):
            FLAGS.parse(arguments, environ).one("log.level", one_of("info", "warn"))


def test_help_has_every_flag_with_its_variable_and_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        FLAGS.parse(["--help"], {})
    text = " ".join(capsys.readouterr().out.split())

    assert ended.value.code == 0
    assert (
        "--log.level LEVEL minimum log level, 100% of lines [PROGRAM_LOG_LEVEL] (default: info)"
        in text
    )


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1e3", "²", "1" * 16, "0x1"])
def test_a_number_is_written_in_decimal_digits(text: str) -> None:
    for read in (natural, positive):
        with pytest.raises(ValueError, match="expected a whole number"):
            read(text)
    assert (natural("0"), positive("10")) == (0, 10)
    with pytest.raises(ValueError, match="above 0"):
        positive("0")


@given(st.lists(st.text(max_size=12), max_size=4), st.text(max_size=12))
def test_any_arguments_are_parsed_or_rejected_in_one_line(
    arguments: list[str], value: str
) -> None:
    try:
        FLAGS.parse(
            [argument for argument in arguments if argument not in ("-h",)],
            {"PROGRAM_FILTER": value},
        )
        message = ""
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message or any("\n" in argument for argument in arguments)
