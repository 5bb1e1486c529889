import re
from pathlib import Path

import pytest

from protocol.address import HostPort
from protocol.dialects import DIALECTS
from protocol.token import Token
from reference_server.config import parse
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.route import Route
from reference_server.transform import Bounds
from smtpstatus.duration import format_duration
from smtpstatus.errors import ConfigError

DOCUMENT = Path(__file__).parents[2] / "docs/reference-server.md"
TOKEN = {"SMTPSTATUS_TOKEN": "secretpa", "PATH": "/usr/bin:/bin"}


def test_only_a_token_is_required() -> None:
    config = parse([], TOKEN)

    assert (config.smtp, config.status) == (
        HostPort("127.0.0.1", 2525),
        HostPort("127.0.0.1", 7030),
    )
    assert config.token == Token.parse("secretpa")
    assert config.domains[0] == "localhost"
    assert (config.programs, config.transforms_enabled) == ((), True)


def test_defaults_are_those_of_the_limits() -> None:
    config = parse([], TOKEN)

    assert (config.bounds, config.session_limits, config.limits) == (
        Bounds(),
        SessionLimits(),
        ServerLimits(),
    )
    assert [format_duration(seconds) for seconds in (0.7, 90, 300, 7200)] == [
        "700ms",
        "90s",
        "5m",
        "2h",
    ]


def test_flags_take_precedence_over_environment_variables() -> None:
    environment = TOKEN | {
        "SMTPSTATUS_SERVER_SMTP_LISTEN_ADDRESS": "127.0.0.1:1",
        "SMTPSTATUS_SERVER_STATUS_LISTEN_ADDRESS": "[::1]:2",
        "SMTPSTATUS_SERVER_DOMAIN": "one.example, two.example",
        "SMTPSTATUS_SERVER_TRANSFORM": "cat -\nsed s/a,b/c/\n",
        "SMTPSTATUS_SERVER_TRANSFORMS": "off",
        "SMTPSTATUS_SERVER_MAILDIR": "/var/mail",
        "SMTPSTATUS_SERVER_SMTP_MAX_MESSAGE_BYTES": "1000",
        "SMTPSTATUS_SERVER_SMTP_IDLE_TIMEOUT": "500ms",
    }

    config = parse(["--smtp.listen-address", "127.0.0.1:3"], environment)

    assert (config.smtp, config.status) == (HostPort("127.0.0.1", 3), HostPort("::1", 2))
    assert config.domains == ("one.example", "two.example")
    assert [program.argv[1:] for program in config.programs] == [("-",), ("s/a,b/c/",)]
    assert (config.transforms_enabled, config.maildir) == (False, Path("/var/mail"))
    assert config.session_limits.message_size == config.bounds.output == 1000
    assert config.limits.idle == 0.5


def test_repeated_flags_replace_the_variable() -> None:
    config = parse(
        ["--domain", "A.example", "--domain", "b.example"],
        TOKEN | {"SMTPSTATUS_SERVER_DOMAIN": "c.example"},
    )

    assert config.domains == ("a.example", "b.example")


def test_the_token_is_taken_from_flag_file_and_variables_in_this_order(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("fromfile\n")

    assert parse(["--token", "fromflag"], TOKEN).token == Token.parse("fromflag")
    assert parse(["--token-file", str(file)], TOKEN).token == Token.parse("fromfile")
    twin = {"SMTPSTATUS_SERVER_TOKEN": "fromtwin"}
    assert parse(["--token-file", str(file)], twin).token == Token.parse("fromfile")
    assert parse([], TOKEN | {"SMTPSTATUS_SERVER_TOKEN": "fromtwin"}).token == Token.parse(
        "fromtwin"
    )
    assert parse([], TOKEN | {"SMTPSTATUS_SERVER_TOKEN_FILE": str(file)}).token == (
        Token.parse("fromfile")
    )


def test_the_dialect_determines_the_length_of_the_token() -> None:
    config = parse(["--dialect", "group-6", "--token", "hex:6f"], {})

    assert (config.dialect, config.token) == (DIALECTS["group-6"], Token(b"o"))


def test_errors_name_the_variable_and_never_the_token() -> None:
    with pytest.raises(ConfigError) as caught:
        parse([], {"SMTPSTATUS_TOKEN": "sesame"})
    assert str(caught.value).startswith("SMTPSTATUS_TOKEN: token has 6 bytes")
    assert "sesame" not in str(caught.value)

    with pytest.raises(
        ConfigError, match=r"^SMTPSTATUS_SERVER_SMTP_MAX_ERRORS: invalid number 'x'"
    ):
        parse([], TOKEN | {"SMTPSTATUS_SERVER_SMTP_MAX_ERRORS": "x"})
    with pytest.raises(ConfigError, match=r"^SMTPSTATUS_SERVER_TRANSFORM: no program 'nothing'"):
        parse([], TOKEN | {"SMTPSTATUS_SERVER_TRANSFORM": "nothing"})


def test_transforms_require_prlimit(tmp_path: Path) -> None:
    (tmp_path / "cat").symlink_to("/bin/cat")

    with pytest.raises(ConfigError, match="install util-linux"):
        parse(["--transform", "cat"], TOKEN | {"PATH": str(tmp_path)})


def test_the_repr_of_the_configuration_hides_the_token() -> None:
    assert "secretpa" not in repr(parse([], TOKEN))


def test_the_document_lists_exactly_the_flags_of_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    flags = set(re.findall(r"^  (--[a-z.-]+)", capsys.readouterr().out, re.M)) - {"--version"}

    document = DOCUMENT.read_text()
    shortened = {
        "--smtp.max-connections-per-address",
        "--smtp.message-timeout",
        "--smtp.session-timeout",
    }
    assert flags
    assert {flag for flag in flags - shortened if f"`{flag}`" not in document} == set()


def test_the_hostname_defaults_to_that_of_the_machine() -> None:
    assert parse([], TOKEN).hostname == parse([], TOKEN).domains[-1]
    assert parse(["--smtp.hostname", "mx.example"], TOKEN).hostname == "mx.example"
    assert parse(["--smtp.hostname", "mx.example"], TOKEN).domains == ("localhost", "mx.example")


@pytest.mark.parametrize("name", ["a b", "mx_.example\n", "grüße.example"])
def test_a_hostname_that_is_not_an_ascii_domain_is_rejected(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--smtp\.hostname: invalid host name"):
        parse(["--smtp.hostname", name], TOKEN)


def route(*flags: str) -> Route:
    return parse(flags, TOKEN).route


def test_a_route_without_flags_stores_for_every_user() -> None:
    plain = route()

    assert (plain.lmtp, plain.next_hop, plain.users, plain.catch_all) == (None, None, (), None)
    assert plain.may_relay("127.0.0.1")
    assert plain.may_relay("")
    assert plain.may_relay("::ffff:127.0.0.1")
    assert plain.may_relay("::1%lo")
    assert not plain.may_relay("192.0.2.1")
    assert not plain.may_relay("unknown")


def test_a_next_hop_replaces_smtp_and_maildirs() -> None:
    config = parse(
        ["--lmtp.listen-address", "unix:/run/x/lmtp", "--next-hop", "smtp://127.0.0.1:10026",
         "--relay-from", "192.0.2.0/24", "--relay-from", "2001:db8::/32"],
        TOKEN,
    )  # fmt: skip

    assert config.smtp is None
    assert str(config.route.lmtp) == "unix:/run/x/lmtp"
    assert str(config.route.next_hop) == "smtp://127.0.0.1:10026"
    assert config.route.may_relay("192.0.2.9")
    assert config.route.may_relay("2001:db8::1")
    assert not config.route.may_relay("127.0.0.1")


HOP = ("--next-hop", "smtp://127.0.0.1:10026")
LMTP = ("--lmtp.listen-address", "127.0.0.1:10025")
BAD_ROUTES = {
    "no listener": HOP,
    "maildir": (*HOP, *LMTP, "--maildir", "x"),
    "domain": (*HOP, *LMTP, "--domain", "example.com"),
    "user": (*HOP, *LMTP, "--user", "ann"),
    "catch-all": (*HOP, *LMTP, "--catch-all", "ann"),
    "smtp": (
        *("--next-hop", "lmtp://127.0.0.1:24"),
        *("--smtp.listen-address", "127.0.0.1:2525"),
    ),
    "hop": ("--next-hop", "127.0.0.1:25", *LMTP),
    "address": ("--lmtp.listen-address", "unix:lmtp"),
    "network": ("--relay-from", "192.0.2.1/24"),
    "user name": ("--user", "ann@example.com"),
    "empty user": ("--user", "a b"),
}


@pytest.mark.parametrize("flags", BAD_ROUTES.values(), ids=BAD_ROUTES)
def test_an_invalid_route_is_rejected_in_one_line_that_names_the_flag(
    flags: tuple[str, ...],
) -> None:
    with pytest.raises(ConfigError, match=r"^--[a-z.-]+: [^\n]+$"):
        route(*flags)
